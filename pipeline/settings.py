"""One frozen Settings, made in one place, checked before anything heavy is imported."""

import dataclasses
import os
from collections.abc import Mapping, Sequence

from components import archives
from components.sources.registry import SOURCES
from models import backbones

STAGES = (
    "data_extraction",
    "data_transformation",
    "data_preprocessing",
    "data_processing",
    "model_training",
)
MODELS = ("breed", "match")
MODEL_VIEWS = ("cropped", "individual")  # what the models are trained on
MODEL_OF = {"cropped": "breed", "uncropped": "breed", "individual": "match"}  # view -> model


class SettingsError(ValueError):
    """A setting that can't work; the message names the flag to change."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a run reads, as content-addressed places: the same content is the same place.

    Attributes:
      data: folder of the photos.
      listing: file that lists what counts there, with its digests.
      digest: of their content.
      rules: text of TFDV's custom validations.
      ignored: names of what lies beside them and belongs to no source.
      schemas: by view, the curated schema.
      vocabulary: the breed table.
      weights: folder that holds the start weights, None to start from random ones.
      weights_digest: of their content.
      baselines: by model, the candidates to compare with, newest first.
      before: by view, what an earlier run on other data left whose model was blessed.
    """

    data: str
    listing: str
    digest: str
    schemas: Mapping[str, str]
    vocabulary: str
    rules: str = ""
    ignored: tuple[str, ...] = ()
    weights: str | None = None
    weights_digest: str = ""
    baselines: Mapping[str, Sequence["Pushed"]] = dataclasses.field(default_factory=dict)
    before: Mapping[str, "Before"] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Pushed:
    """A version that was pushed.

    Attributes:
      version: its number.
      fingerprint: of what made it.
      model_uri: the model artifact behind it.
      served: it still lies where it was pushed to.
      data_version: of the data behind it.
      artifact: its id in ML Metadata.
    """

    version: str
    fingerprint: str
    model_uri: str
    served: bool = True
    data_version: str = ""
    artifact: int = 0


@dataclasses.dataclass(frozen=True)
class Before:
    """What an earlier run left of a view.

    Attributes:
      data_version: of its data.
      ledger: folder of the ledger.
      statistics: folder of the view's statistics, "" where there are none.
      same_shape: its photos had the size and the crop of this run's.
    """

    data_version: str
    ledger: str
    statistics: str
    same_shape: bool = True


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides what a run does.

    Attributes:
      data: the user's data folder, None for the built-in sample or a version.
      output: where everything goes.
      backbone: a registered name.
      weights: imagenet, none, or a file.
      image_size: side of the photos in the records, pixels.
      epochs: passes over the training photos, for each model.
      batch_size: photos a training step.
      crop_margin: kept round the box of the cropped view, as a share of its longer side.
      trust_mtime: don't read files again whose size and time are those of the last run.
      allow_anomalies: go on, on record, with data that DataGate finds wrong.
      upstream_splits: keep to the split lists of the sources that have some.
      download: (source, mirror or "") of what is fetched into the data folder first.
      views: which views are built; with none, those that the models need and the data has.
      stages: which stages run; all of them is a full run.
      data_version: the earlier content to run on, by its digest or the start of it.
      seed: of everything random.
      inputs: what the run reads, once it is known.
    """

    data: str | None
    output: str
    backbone: str
    weights: str
    image_size: int
    epochs: int
    batch_size: int
    crop_margin: float = 0.0
    trust_mtime: bool = False
    allow_anomalies: bool = False
    upstream_splits: bool = False
    download: tuple[tuple[str, str], ...] = ()
    views: tuple[str, ...] = ()
    stages: tuple[str, ...] = STAGES
    data_version: str | None = None
    seed: int = 0
    inputs: Inputs | None = None

    @property
    def pretrained(self) -> bool:
        """Whether the backbone starts from weights."""
        return self.weights != "none"

    @property
    def full_run(self) -> bool:
        """Whether every stage runs."""
        return self.stages == STAGES

    @property
    def metadata(self) -> str:
        """The ML Metadata database."""
        return os.path.join(self.output, "metadata.sqlite")

    @property
    def pipeline_root(self) -> str:
        """Where the artifacts lie."""
        return os.path.join(self.output, "artifacts")

    def serving(self, model: str) -> str:
        """Where the versions of a model lie."""
        return os.path.join(self.output, "serving", model)


@dataclasses.dataclass(frozen=True)
class Preset:
    """Defaults of the flags that depend on whether the photos are drawn or real."""

    backbone: str
    image_size: int
    epochs: int
    batch_size: int


SAMPLE = Preset(backbones.SMALL, image_size=64, epochs=30, batch_size=32)
REAL = Preset("efficientnet_v2_b0", image_size=224, epochs=12, batch_size=48)


def check(settings: Settings) -> Settings:
    """Checks what can be known before any work, in milliseconds, and returns the settings.

    A data version is a whole digest afterwards.

    Raises:
      SettingsError: with one line that names the flag.
    """
    settings = _check_version(settings)
    _check_numbers(settings)
    _check_stages(settings)
    _check_backbone(settings)
    _check_data(settings)
    check_output(settings.output)
    return settings


def _check_backbone(settings: Settings) -> None:
    try:
        backbone = backbones.get(settings.backbone)
    except ValueError as error:
        raise SettingsError(f"--backbone: {error}") from None
    smallest = 2 * backbone.smallest
    if settings.image_size < smallest:
        raise SettingsError(
            f"--image_size {settings.image_size}: {backbone.name} needs at least {smallest} "
            f"(its student works at half the size, and takes {backbone.smallest} or more)"
        )
    _check_weights(settings, backbone)


def _check_version(settings: Settings) -> Settings:
    """An earlier content is known, and nothing else says what to run on."""
    if settings.data_version is None:
        return settings
    for flag, given in (("--data", settings.data), ("--download", settings.download)):
        if given:
            raise SettingsError(
                f"--data_version {settings.data_version} says what to run on: leave {flag} out"
            )
    from pipeline import versions  # which needs the errors above

    version = versions.find(settings.output, settings.data_version, "--data_version")
    versions.check_usable(version)
    return dataclasses.replace(settings, data_version=version.digest)


def _check_data(settings: Settings) -> None:
    """The data folder can be read and has a folder for every view that is asked for."""
    data = settings.data
    _check_download(settings)
    if data is None:
        return
    if settings.download and not os.path.exists(data):
        return
    names = list_folder(data)
    found = ", ".join(names[:5]) or "nothing"
    names += [source for source, _ in settings.download]
    names += [archives.source_of(name) for name in names]
    for view in settings.views or ("",):
        able = [name for name, source in SOURCES.items() if not view or view in source.views]
        if not set(able) & set(names):
            flag = f"--{view} --data {data}" if view else f"--data {data}"
            raise SettingsError(f"{flag}: expected {_layouts(able)} in it, found {found}")


def list_folder(data: str) -> list[str]:
    """What lies in a data folder.

    Raises:
      SettingsError: it is no folder, or can't be read.
    """
    if not os.path.isdir(data):
        what = "is not a folder" if os.path.exists(data) else "does not exist"
        raise SettingsError(f"--data {data}: {what}; give a folder that holds {_layouts()}")
    try:
        return sorted(os.listdir(data))
    except OSError as error:
        raise SettingsError(f"--data {data}: can't be read ({error.strerror})") from None


def _check_download(settings: Settings) -> None:
    """Only a source with a public place can be fetched, and only into a folder that is named."""
    able = [name for name, source in SOURCES.items() if source.public]
    for name, mirror in settings.download:
        if name not in able:
            raise SettingsError(f"--download {name}: expected one or more of {','.join(able)}")
        if mirror and not mirror.startswith(("http://", "https://")):
            raise SettingsError(f"--download {name}={mirror}: expected an http or https address")
    if settings.download and settings.data is None:
        names = ",".join(name for name, _ in settings.download)
        raise SettingsError(f"--download {names}: say where to with --data DIR")


def _layouts(names: Sequence[str] = tuple(SOURCES)) -> str:
    return " or ".join(SOURCES[name].layout for name in names)


def _check_numbers(settings: Settings) -> None:
    if settings.image_size % 2:
        raise SettingsError(f"--image_size {settings.image_size}: must be even")
    if settings.image_size > 1024:
        raise SettingsError(f"--image_size {settings.image_size}: must be 1024 or less")
    if settings.epochs < 1:
        raise SettingsError(f"--epochs {settings.epochs}: must be 1 or more")
    if not 0 <= settings.crop_margin <= 1:
        raise SettingsError(f"--crop_margin {settings.crop_margin}: must lie in 0 to 1")
    if settings.batch_size < 8:
        raise SettingsError(
            f"--batch_size {settings.batch_size}: must be 8 or more (two dogs, four photos each)"
        )


def _check_stages(settings: Settings) -> None:
    stages = settings.stages
    first = STAGES.index(stages[0])
    if first and not os.path.exists(settings.metadata):
        raise SettingsError(
            f"--{stages[0]}: there is no earlier run in {settings.output} to build on: "
            f"run --{STAGES[0]} first"
        )
    if tuple(stages) != STAGES[first : first + len(stages)]:
        named = " ".join(f"--{stage}" for stage in stages)
        raise SettingsError(f"{named}: stages that run together must follow each other")


def _check_weights(settings: Settings, backbone: backbones.Backbone) -> None:
    if settings.weights == "none":
        return
    if settings.weights == "imagenet":
        if backbone.application is None:
            raise SettingsError(f"--weights imagenet: {backbone.name} has none; use --weights none")
        return
    try:
        backbones.check_weights(settings.weights, backbone)
    except backbones.WeightsError as error:
        raise SettingsError(f"--weights: {error} (or give imagenet, or none)") from None


def check_output(output: str) -> None:
    """The nearest folder that exists has to let us write.

    Raises:
      SettingsError: it does not.
    """
    folder = os.path.abspath(output)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise SettingsError(f"--output {output}: {folder} is a file, expected a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"--output {output}: no permission to write in {folder}")
