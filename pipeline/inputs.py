"""What a run reads, put into content-addressed places before the graph is built.

Locally a place is `output/inputs/<digest>`: a link to where the content lies now. The content
decides the name, so touching or moving a folder changes nothing, and a changed photo does.
"""

import hashlib
import os
import shutil
from collections.abc import Sequence

from components import dataset, digests
from components.sources import SOURCES
from models import backbones
from models.progress import log
from pipeline.settings import Inputs, Settings, SettingsError

_SCHEMA = digests.ROOT / "schema"


def prepare(settings: Settings) -> Inputs:
    """Reads the data, the schema and the start weights for their digests, and links them.

    Raises:
      SettingsError: a view is asked for that the data has no source for.
      DataError: the data can't be used.
      WeightsError: the ImageNet weights can't be had.
    """
    folder = os.path.join(settings.output, "inputs")
    data = os.path.abspath(settings.data or sample(settings.output))
    found = dataset.read_dataset(data)
    _check_views(settings.views, found.sources)
    schema = str(_SCHEMA)
    weights, digest = _weights(settings, folder)
    return Inputs(
        data=_link(folder, found.digest, data),
        digest=found.digest,
        schema=_link(folder, _schema_digest(), schema),
        weights=weights,
        weights_digest=digest,
    )


def _check_views(wanted: Sequence[str], sources: Sequence[str]) -> None:
    for view in wanted:
        able = [name for name, source in SOURCES.items() if view in source.views]
        if not set(able) & set(sources):
            raise SettingsError(
                f"--{view}: the data folder has no photos for it; it needs {' or '.join(able)}/ "
                f"(found {', '.join(sources)})"
            )


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


def _schema_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(_SCHEMA.iterdir()):
        if path.is_file():
            digest.update(f"{path.name}\0{dataset.sha256_of_file(str(path))}\n".encode())
    return digest.hexdigest()


def _weights(settings: Settings, folder: str) -> tuple[str | None, str]:
    """A content-addressed folder that holds the start weights, and their digest."""
    if settings.weights == "none":
        return None, ""
    file = os.path.abspath(settings.weights)
    if settings.weights == "imagenet":
        file = _imagenet(settings, folder)
    digest = dataset.sha256_of_file(file)
    place = os.path.join(folder, digest)
    os.makedirs(place, exist_ok=True)
    _replace_link(os.path.join(place, "start.weights.h5"), file)
    return place, digest


def _imagenet(settings: Settings, folder: str) -> str:
    """Keras' ImageNet weights, kept in the output folder once they are there."""
    file = os.path.join(folder, "imagenet", f"{settings.backbone}.weights.h5")
    if not os.path.exists(file):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        log.info("fetching the ImageNet weights of %s", settings.backbone)
        aside = file.replace(".weights.h5", ".partial.weights.h5")
        backbones.get(settings.backbone).fetch_imagenet(aside)
        os.rename(aside, file)
    return file


def _link(folder: str, digest: str, target: str) -> str:
    """Makes `folder/digest` a link to where the content lies now."""
    place = os.path.join(folder, digest)
    os.makedirs(folder, exist_ok=True)
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
