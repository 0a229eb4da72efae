"""One frozen Settings, made in one place, checked before anything heavy is imported."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from components import archives
from components.sources.registry import SOURCES
from models import augment, backbones, losses, places, tracking

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
MATCH_LOSS = {"pretrained": "supcon+arcface", "scratch": "supcon"}  # docs/models.md has the table
MATCH_STARTS = ("weights", "teacher")


class SettingsError(ValueError):
    """A setting that can't work; the message names the flag to change."""


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What a run reads, as content-addressed places: the same content is the same place.

    Attributes:
      data: folder of the photos.
      listings: folder that holds `<digest>.jsonl`, which lists what counts there.
      digest: of their content.
      rules: text of TFDV's custom validations.
      drawn: the photos are those of the built-in sample.
      ignored: names of what lies beside them and belongs to no source.
      schemas: by view, the curated schema.
      vocabulary: the breed table.
      weights: folder that holds the start weights, None to start from random ones.
      weights_digest: of their content.
      student_weights: folder that holds the start weights of a student of another backbone than the
        teacher's, None for another student or one that starts from random ones.
      student_weights_digest: of their content.
      teacher: a Model artifact that was brought in, None where the run trains its teacher.
      teacher_digest: of its content.
      baselines: by model, the candidates to compare with, newest first.
      before: by view, what an earlier run on other data left whose model was blessed.
    """

    data: str
    listings: str
    digest: str
    schemas: Mapping[str, str]
    vocabulary: str
    rules: str = ""
    drawn: bool = False
    ignored: tuple[str, ...] = ()
    weights: str | None = None
    weights_digest: str = ""
    student_weights: str | None = None
    student_weights_digest: str = ""
    teacher: str | None = None
    teacher_digest: str = ""
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
      path: where it was pushed to.
      withdrawn: it lies there under the name of a withdrawn version.
    """

    version: str
    fingerprint: str
    model_uri: str
    served: bool = True
    data_version: str = ""
    artifact: int = 0
    path: str = ""
    withdrawn: bool = False


def serving_version(versions: Sequence[Pushed], fingerprint: str) -> Pushed | None:
    """The version that serves, where it is one of a fingerprint.

    Args:
      versions: of a model, newest first.
      fingerprint: of what made it.
    """
    newest = next((item for item in versions if item.served), None)
    return newest if newest and newest.fingerprint == fingerprint else None


def withdrawn_version(versions: Sequence[Pushed], fingerprint: str) -> Pushed | None:
    """The newest version of a fingerprint that is there, where it is withdrawn and none serves.

    Args:
      versions: of a model, newest first.
      fingerprint: of what made it.
    """
    own = [item for item in versions if item.fingerprint == fingerprint]
    newest = next((item for item in own if item.served or item.withdrawn), None)
    if newest is None or newest.served or serving_version(versions, fingerprint):
        return None
    return newest


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
      student: a registered name; "" becomes the backbone's.
      student_size: side of the picture that the student's backbone sees, pixels; 0 becomes 2/3 of
        `image_size`.
      student_weights: imagenet, none, or a file, for a student of another backbone; "" becomes what
        is usual for it, and stays where the student has the teacher's backbone.
      teacher: a SavedModel's folder or `wandb:ENTITY/PROJECT/ARTIFACT:ALIAS`, to learn from; None
        to train one.
      augment: one of `augment.POLICIES`, for the photos of the breed models.
      mix: one of `augment.MIXES`, for the batches of the breed models.
      match_loss: one of `losses.MATCH_LOSSES`; "" becomes what is best for the start.
      false_alarm_rate: how often a dog that nobody misses may be taken for a missing one, 0 to 1.
      bless_anyway: why models that a gate refuses are pushed all the same; "" when they are not.
      match_start: what the match model's backbone starts from, one of `MATCH_STARTS`.
      wandb: one of `tracking.MODES`.
      beam: the command line that Beam gets; empty for the preset `local`.
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
    student: str = ""
    student_size: int = 0
    student_weights: str = ""
    teacher: str | None = None
    augment: str = "light"
    mix: str = "none"
    match_loss: str = ""
    match_start: str = MATCH_STARTS[0]
    false_alarm_rate: float = 0.01
    bless_anyway: str = ""
    wandb: str = tracking.OFF
    beam: tuple[str, ...] = ()
    seed: int = 0
    inputs: Inputs | None = None

    def __post_init__(self) -> None:
        """Fills in what follows from other fields where it was left out."""
        student = self.student or self.backbone
        usual = "" if student == self.backbone else usual_weights(student)
        self._fill("student", student)
        self._fill("student_size", self.student_size or _student_side(self.image_size))
        self._fill("student_weights", self.student_weights or usual)
        best = MATCH_LOSS["pretrained" if self.pretrained else "scratch"]
        self._fill("match_loss", self.match_loss or best)

    def _fill(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # a frozen class's own way, in its init alone

    @property
    def pretrained(self) -> bool:
        """Whether the backbone starts from weights."""
        return self.weights != "none"

    @property
    def student_differs(self) -> bool:
        """Whether the student's backbone is another than the teacher's."""
        return self.student != self.backbone

    @property
    def full_run(self) -> bool:
        """Whether every stage runs."""
        return self.stages == STAGES

    @property
    def here(self) -> bool:
        """Whether the run keeps its records on this machine, and not Vertex in its own place."""
        return not self.output.startswith("{{")

    @property
    def metadata(self) -> str:
        """The ML Metadata database."""
        return os.path.join(self.output, "metadata.sqlite")

    @property
    def pipeline_root(self) -> str:
        """Where the artifacts lie."""
        return os.path.join(self.output, "artifacts")

    @property
    def training(self) -> str:
        """Where trainings that have not ended keep their state."""
        return os.path.join(self.output, "training")

    @property
    def tracking(self) -> str:
        """Where Weights & Biases keeps its runs."""
        return os.path.join(self.output, "wandb")

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


def usual_weights(backbone: str) -> str:
    """What a backbone starts from when nothing is said."""
    return "none" if backbone == backbones.SMALL else "imagenet"


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
    _check_student(settings)
    _check_choice("--augment", settings.augment, tuple(augment.POLICIES))
    _check_choice("--mix", settings.mix, augment.MIXES)
    _check_match(settings)
    _check_teacher(settings)
    if settings.views:
        check_views(settings)
    _check_data(settings)
    check_output(settings.output)
    check_tracking(settings.wandb)
    return settings


def _student_side(image_size: int) -> int:
    """The side of a student's picture: 0.44 of the pixels, enough to see most of what there is.

    Its teacher looks at each photo twice, so that is less than a quarter of its work.
    """
    return image_size * 2 // 3


def _least_side(student_size: int) -> int:
    """The least `image_size`, which is even, that gives a student as large a picture."""
    return 2 * -(-3 * student_size // 4)


def _check_backbone(settings: Settings) -> None:
    backbone = _registered("--backbone", settings.backbone)
    if settings.image_size < backbone.smallest:
        raise SettingsError(
            f"--image_size {settings.image_size}: {backbone.name} needs at least "
            f"{_least_side(backbone.smallest)} (or at least {backbone.smallest}, with "
            f"--student_size {backbone.smallest})"
        )
    _check_weights("--weights", settings.weights, backbone)


def _check_student(settings: Settings) -> None:
    student, size = _registered("--student", settings.student), settings.student_size
    if size > settings.image_size:
        raise SettingsError(
            f"--student_size {size}: must be {settings.image_size} or less, as --image_size is"
        )
    if size < student.smallest and size == _student_side(settings.image_size):
        raise SettingsError(
            f"--image_size {settings.image_size}: the student, {student.name}, works at 2/3 of "
            f"it and takes {student.smallest} or more: give at least "
            f"{_least_side(student.smallest)}, or "
            f"--student_size {student.smallest}"
        )
    if size < student.smallest:
        raise SettingsError(
            f"--student_size {size}: {student.name} needs at least {student.smallest}"
        )
    if settings.student_differs:
        _check_weights("--student_weights", settings.student_weights, student)
    elif settings.student_weights:
        start = "--weights" if settings.teacher else "its teacher"
        raise SettingsError(
            f"--student_weights {settings.student_weights}: a student with the teacher's backbone, "
            f"{student.name}, starts from {start}: leave it out, or name another --student"
        )


def _registered(flag: str, name: str) -> backbones.Backbone:
    try:
        return backbones.get(name)
    except ValueError as error:
        raise SettingsError(f"{flag}: {error}") from None


def _check_match(settings: Settings) -> None:
    _check_choice("--match_loss", settings.match_loss, losses.MATCH_LOSSES)
    _check_choice("--match_start", settings.match_start, MATCH_STARTS)
    if not 0 < settings.false_alarm_rate < 1:
        raise SettingsError(
            f"--false_alarm_rate {settings.false_alarm_rate:g}: expected a share between 0 and 1"
        )


def _check_choice(flag: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise SettingsError(f"{flag} {value}: expected one of {', '.join(choices)}")


def _check_teacher(settings: Settings) -> None:
    """The teacher's name can be one, and nothing is asked of it that a SavedModel can't do."""
    if settings.teacher is None:
        return
    from pipeline import teachers  # which needs the errors above

    teachers.check_name(settings.teacher)
    if settings.match_start == "teacher":
        raise SettingsError(
            f"--match_start teacher: --teacher {settings.teacher} is a SavedModel, whose backbone "
            "can't be taken out: leave one of them out"
        )


def check_views(settings: Settings) -> None:
    """Sees that a teacher that is named is there to teach, and has a model to start.

    Raises:
      SettingsError: the views have no breed model, or no match model.
    """
    breed = ("cropped", "breed teacher", "known breeds")
    match = ("individual", "match model", "known dogs")
    needed = [(f"--teacher {settings.teacher}", breed)] if settings.teacher is not None else []
    if settings.match_start == "teacher":
        needed += [("--match_start teacher", breed), ("--match_start teacher", match)]
    for flag, (view, model, photos) in needed:
        if view not in settings.views:
            raise SettingsError(
                f"{flag}: without the {view} view there is no {model} (the views are "
                f"{', '.join(settings.views)}): leave it out, or add photos of {photos} and "
                f"--{view}"
            )


def check_tracking(mode: str) -> None:
    """Sees that Weights & Biases can be used as asked, without importing it.

    Raises:
      SettingsError: it is not installed, or it is to be reached and there is no key.
    """
    _check_choice("--wandb", mode, tracking.MODES)
    try:
        tracking.check(mode)
    except tracking.TrackingError as error:
        raise SettingsError(f"--wandb {mode}: {error}") from None


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
    if places.remote(data):  # a bucket takes seconds to ask
        if not places.is_bucket(data):
            raise SettingsError(f"--data {data}: expected a folder or gs://BUCKET/FOLDER")
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
    if settings.download and places.remote(settings.data or ""):
        raise SettingsError(
            f"--data {settings.data}: nothing is downloaded to a bucket: download to a folder, and "
            f"copy that with gcloud storage cp -r FOLDER {settings.data}"
        )


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
    if settings.batch_size < 16:
        raise SettingsError(
            f"--batch_size {settings.batch_size}: must be 16 or more (two dogs, eight photos each)"
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


def _check_weights(flag: str, weights: str, backbone: backbones.Backbone) -> None:
    if weights == "none":
        return
    if weights == "imagenet":
        if backbone.application is None:
            raise SettingsError(f"{flag} imagenet: {backbone.name} has none; use {flag} none")
        return
    if places.remote(weights):  # it is looked at when it is fetched
        if not places.is_bucket(weights) or not weights.endswith(".h5"):
            raise SettingsError(f"{flag} {weights}: expected gs://BUCKET/….weights.h5")
        return
    try:
        backbones.check_weights(weights, backbone)
    except backbones.WeightsError as error:
        raise SettingsError(f"{flag}: {error} (or give imagenet, or none)") from None


def check_output(output: str) -> None:
    """The nearest folder that exists has to let us write.

    Raises:
      SettingsError: it does not.
    """
    if places.remote(output):
        raise SettingsError(
            f"--output {output}: expected a folder of this machine, for ML Metadata is a file in "
            "it; kubeflow_runner.py is what writes to buckets"
        )
    folder = os.path.abspath(output)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise SettingsError(f"--output {output}: {folder} is a file, expected a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(f"--output {output}: no permission to write in {folder}")
