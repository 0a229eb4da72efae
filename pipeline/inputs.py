"""What a run reads, put into content-addressed places before the graph is built.

Locally a place is `output/inputs/<digest>`: a link to where the content lies now. The content
decides the name, so touching or moving a folder changes nothing, and a changed photo does.
"""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from components import dataset, digests, seen
from components.catalog import VIEWS
from components.sources.registry import SOURCES
from models import backbones, places, vocabulary
from models.progress import log
from pipeline import downloads, teachers, versions
from pipeline.settings import MODEL_VIEWS, Inputs, Settings, SettingsError, check_views

_SCHEMA = digests.ROOT / "schema"


def prepare(settings: Settings, say: Callable[[str], None] = print) -> Settings:
    """Fills in `inputs`, and `views` where none were asked for; downloads are said.

    What is fetched comes first: that can fail, and reading the data may take long.

    Raises:
      SettingsError: a view is asked for that the data has no photos for, or a version that is gone.
      DataError: the data can't be used.
      DvcError: an earlier content could not be brought back.
      WeightsError: the ImageNet weights can't be had.
    """
    folder = os.path.join(settings.output, "inputs")
    if settings.data is not None:
        for line in downloads.run(settings.data, settings.download):
            say(line)
    apart = apart_from_data(settings, folder)
    data, found = _data(settings, folder)
    found.write(os.path.join(folder, f"{found.digest}.jsonl"))
    inputs = dataclasses.replace(
        apart,
        data=link(settings.output, found.digest, data),
        digest=found.digest,
        drawn=versions.is_drawn(settings),
        ignored=found.ignored,
    )
    views = _views(settings.views, found.sources)
    settings = dataclasses.replace(settings, views=views, inputs=inputs)
    check_views(settings)
    return settings


def apart_from_data(settings: Settings, folder: str) -> Inputs:
    """All but the data.

    Args:
      settings: of the run.
      folder: of the inputs.

    Raises:
      SettingsError: the schema, the breed table or the teacher can't be used.
      WeightsError: the ImageNet weights can't be had.
    """
    weights, digest = _start_weights(settings, folder, settings.backbone, settings.weights)
    student_weights, student_digest = _student_weights(settings, folder)
    schemas = {view: _schema(folder, view) for view in VIEWS}
    table = _vocabulary(folder)
    teacher, teacher_digest = _teacher(settings, folder, table)
    return Inputs(
        data="",
        listings=folder,
        digest="",
        schemas=schemas,
        rules=_rules(),
        vocabulary=table,
        weights=weights,
        weights_digest=digest,
        student_weights=student_weights,
        student_weights_digest=student_digest,
        teacher=teacher,
        teacher_digest=teacher_digest,
    )


def _data(settings: Settings, folder: str) -> tuple[str, dataset.Dataset]:
    """The folder that this run's photos lie in, and what it holds."""

    def read(data: str) -> dataset.Dataset:
        return _read(data, folder, settings.trust_mtime)

    if settings.data_version is not None:
        return versions.read(settings.output, settings.data_version, read)
    data = sample(settings.output) if settings.data is None else place_of(settings.data)
    return data, read(data)


def place_of(data: str) -> str:
    """A data folder by its whole path."""
    return data.rstrip("/") if places.remote(data) else os.path.abspath(data)


def _read(data: str, folder: str, trust_mtime: bool) -> dataset.Dataset:
    """Reads the data folder, and keeps the digests for a run that trusts times.

    Args:
      data: the data folder.
      folder: of the inputs.
      trust_mtime: a file of the size and time that it had when it was last read is not read again.
    """
    file = os.path.join(folder, "seen", f"{digests.of_text(places.real(data))}.jsonl")
    before = seen.read(file) if trust_mtime else seen.Seen()
    found = dataset.read_dataset(data, before)
    before.write(file)
    return found


def _schema(folder: str, view: str) -> str:
    """The content-addressed place of a view's schema.

    Comments do not count. The exact versions of the libraries do: no other parameter of the node
    that imports the schema says them.

    Raises:
      SettingsError: it is no schema.
    """
    try:
        content = (_SCHEMA / f"{view}.pbtxt").read_bytes()
        schema = text_format.Parse(content.decode(), schema_pb2.Schema())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise SettingsError(f"schema/{view}.pbtxt is no TFDV schema: {error}; mend it") from None
    _check_domains(view, schema)
    digest = digests.of_text(str(schema), digests.of_lock())
    return _place(folder, f"{view}.pbtxt", content, digest)


def _check_domains(view: str, schema: schema_pb2.Schema) -> None:
    """Sees that every domain that a feature names is there: TFDV checks nothing where it is not.

    Raises:
      SettingsError: one is not there.
    """
    there = {domain.name for domain in schema.string_domain}
    for feature in schema.feature:
        if feature.domain and feature.domain not in there:
            raise SettingsError(
                f"schema/{view}.pbtxt: feature {feature.name} names the domain {feature.domain}, "
                f"which is not there (there are {', '.join(sorted(there))}); mend it"
            )


def _vocabulary(folder: str) -> str:
    """The content-addressed place of the breed table.

    Raises:
      SettingsError: it can't be read.
    """
    try:
        content = (_SCHEMA / vocabulary.FILE).read_bytes()
        place = _place(folder, vocabulary.FILE, content)
        vocabulary.read(place)
    except (OSError, ValueError) as error:
        raise SettingsError(f"schema/{vocabulary.FILE} can't be read: {error}; mend it") from None
    return place


def _rules() -> str:
    """The text of TFDV's custom validations, without comments.

    Raises:
      SettingsError: it holds something else.
    """
    from tensorflow_data_validation.anomalies.proto import custom_validation_config_pb2

    try:
        text = (_SCHEMA / "rules.pbtxt").read_text()
        rules = text_format.Parse(text, custom_validation_config_pb2.CustomValidationConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise SettingsError(f"schema/rules.pbtxt can't be read: {error}; mend it") from None
    return text_format.MessageToString(rules)


def _views(wanted: Sequence[str], sources: Sequence[str]) -> tuple[str, ...]:
    """The wanted views, or those that the models need, as far as the data has photos for them."""
    possible = {view for source in sources for view in SOURCES[source].views}
    for view in wanted:
        if view not in possible:
            able = [name for name, source in SOURCES.items() if view in source.views]
            raise SettingsError(
                f"--{view}: the data folder has no photos for it; it needs {' or '.join(able)}/ "
                f"(found {', '.join(sources)})"
            )
    return tuple(wanted) or tuple(view for view in MODEL_VIEWS if view in possible)


def sample(output: str) -> str:
    """The folder of the built-in sample, drawn once for each version of the drawing code."""
    from components.sources import sample as drawn

    version = digests.of_module("components.sources.sample")[:12]
    folder = os.path.join(output, "sample", version)
    if not os.path.isdir(folder):
        aside = os.path.join(output, "sample", f".partial-{version}")
        shutil.rmtree(aside, ignore_errors=True)
        log.info("drawing the built-in sample")
        drawn.draw(aside)
        os.rename(aside, folder)
    return folder


def _start_weights(
    settings: Settings, folder: str, backbone: str, weights: str, flag: str = "--weights"
) -> tuple[str | None, str]:
    """A content-addressed folder that holds the start weights, and their digest.

    None for a run that trains nothing: it must not fail for want of them.

    Args:
      settings: of the run.
      folder: of the inputs.
      backbone: whose they are.
      weights: imagenet, none, or a file.
      flag: that says which.
    """
    if weights == "none" or not _trains(settings):
        return None, ""
    if weights == "imagenet":
        file = _imagenet(folder, backbone, flag)
    elif places.remote(weights):
        file = _fetched(folder, weights, backbone, flag)
    else:
        file = os.path.abspath(weights)
    # Keras tells its two layouts apart by the file's name.
    name = "start.h5" if backbones.is_old_layout(file) else "start.weights.h5"
    with open(file, "rb") as stream:
        place = os.path.dirname(_place(folder, name, stream.read()))
    return place, os.path.basename(place)


def _fetched(folder: str, weights: str, backbone: str, flag: str) -> str:
    """A weights file of a bucket, as a file of this machine.

    Raises:
      SettingsError: it can't be read, or is none of the backbone's.
    """
    try:
        file = _place(folder, os.path.basename(weights), places.read(weights))
        backbones.check_weights(file, backbones.get(backbone))
    except OSError as error:
        raise SettingsError(f"{flag} {weights}: can't be read: {error.strerror}") from None
    except backbones.WeightsError as error:
        raise SettingsError(f"{flag} {weights}: {error}") from None
    return file


def _student_weights(settings: Settings, folder: str) -> tuple[str | None, str]:
    """Those of a student of another backbone than the teacher's; another one needs none."""
    if not settings.student_differs:
        return None, ""
    own = (settings.student, settings.student_weights)
    return _start_weights(settings, folder, *own, "--student_weights")


def _teacher(settings: Settings, folder: str, table: str) -> tuple[str | None, str]:
    """The place and the digest of a teacher that is not trained here; none for a run that trains
    nothing.
    """
    if settings.teacher is None or not _trains(settings):
        return None, ""
    breeds = len(vocabulary.read(table).breeds)
    return teachers.bring(settings.teacher, settings.image_size, breeds, folder)


def _trains(settings: Settings) -> bool:
    return "model_training" in settings.stages


def _imagenet(folder: str, backbone: str, flag: str) -> str:
    """Keras' ImageNet weights, kept in the output folder once they are there."""
    file = os.path.join(folder, "imagenet", f"{backbone}.weights.h5")
    if not os.path.exists(file):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        log.info("fetching the ImageNet weights of %s", backbone)
        aside = file.replace(".weights.h5", ".partial.weights.h5")
        backbones.get(backbone).fetch_imagenet(aside, flag)
        os.rename(aside, file)
    return file


def _place(folder: str, name: str, content: bytes, digest: str = "") -> str:
    """Writes `folder/<digest>/<name>` and returns that path.

    A copy, and of the very bytes that were digested: an edit while a run goes on can't get into it.

    Args:
      folder: of the inputs.
      name: of the file.
      content: of the file.
      digest: by default, of the content.
    """
    place = os.path.join(folder, digest or hashlib.sha256(content).hexdigest(), name)
    if os.path.isfile(place) and not os.path.islink(place):
        return place
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(f"{place}.partial", "wb") as file:
        file.write(content)
    os.replace(f"{place}.partial", place)
    return place


def link(output: str, digest: str, target: str) -> str:
    """Makes `inputs/<digest>` a link to where the content lies now."""
    place = versions.link_of(output, digest)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    _replace_link(place, target)
    return place


def _replace_link(place: str, target: str) -> None:
    if os.path.islink(place) and os.readlink(place) == target:
        return
    aside = f"{place}.new"
    if os.path.lexists(aside):
        os.remove(aside)
    os.symlink(target, aside)
    os.replace(aside, place)
