"""Pusher: copies a blessed model to where it is served, with its card, whole or not at all."""

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components import artifacts, catalog, model_card, model_gate, replay_check, serving
from models import places, vocabulary

_ASIDE = ".partial-"
_LAST = "saved_model.pb"  # of a version: without it nothing loads the others
_CHUNK = 1 << 20  # bytes that are compared at a time


@component
def Pusher(  # noqa: N802 - TFX names the node after the function
    model: InputArtifact[standard_artifacts.Model],
    model_blessing: InputArtifact[standard_artifacts.ModelBlessing],
    infra_blessing: InputArtifact[standard_artifacts.InfraBlessing],
    ledger: InputArtifact[artifacts.SplitManifest],
    pushed_model: OutputArtifact[standard_artifacts.PushedModel],
    destination: Parameter[str],
    fingerprint: Parameter[str],
    withdrawn: Parameter[str],
    card: Parameter[str],
    breeds: Parameter[str],
    code: Parameter[str],
    retrieval: InputArtifact[artifacts.RetrievalMetrics] = None,
) -> None:
    """Pushes a blessed model as the next version, unless it serves already or was withdrawn.

    Args:
      model: read: the model.
      model_blessing: read: ModelGate's.
      infra_blessing: read: ReplayCheck's.
      ledger: read: which photos the model was made of, and of which version the data were.
      pushed_model: written: where the version lies; nothing when the model was refused, is
        withdrawn, or is what serves: a new verdict on the same model makes no new version of it.
      destination: folder of this model's versions.
      fingerprint: digest of the data, code and settings that made the model; a later run looks for
        the newest version that has another one, as its baseline.
      withdrawn: the version of this model that was withdrawn by hand and stays so, "" for none.
      card: JSON of the `model_card.Facts` that are known before: kind, recipe, pretrained, drawn.
      breeds: path of the breed table.
      code: digest of the code, for the cache.
      retrieval: read: how a match model fares in larger galleries.
    """
    del code
    blessings = (model_blessing, infra_blessing)
    blessed = all(given.get_int_custom_property("blessed") == 1 for given in blessings)
    pushed_model.set_int_custom_property("pushed", 0)
    if not blessed:
        return
    if withdrawn:
        pushed_model.set_string_custom_property("withdrawn", withdrawn)
        return
    data_version = ledger.get_string_custom_property("data_version")
    pushed_model.set_string_custom_property("fingerprint", fingerprint)
    serving_model = path_utils.serving_model_path(model.uri)
    if serves(serving_model, destination):
        return
    facts = model_card.Facts(
        **json.loads(card),
        data_version=data_version,
        fingerprint=fingerprint,
        verdict=_json(model_blessing.uri, model_gate.VERDICT),
        replay=_json(infra_blessing.uri, replay_check.REPORT),
        curves=_json(retrieval.uri, artifacts.CURVES) if retrieval else {},
        breeds=vocabulary.read(breeds).breeds,
    )

    def written(version: int) -> str:
        return model_card.write(facts, catalog.read(ledger.uri), version)

    path = push(serving_model, destination, int(time.time()), written)
    pushed_model.set_int_custom_property("pushed", 1)
    pushed_model.set_string_custom_property("pushed_destination", path)
    pushed_model.set_string_custom_property("pushed_version", os.path.basename(path))
    pushed_model.set_string_custom_property("data_version", data_version)
    pushed_model.set_string_custom_property("model_uri", model.uri)


def _json(folder: str, name: str) -> dict[str, Any]:
    with fileio.open(os.path.join(folder, name)) as file:
        found: dict[str, Any] = json.loads(file.read())
    return found


def push(source: str, destination: str, version: int, card: Callable[[int], str]) -> str:
    """Copies a SavedModel, so that a reader never sees half a version.

    It is copied aside and renamed; in a bucket, where that takes as long as the copy, it is copied
    in the order in which a version without its end is none: `saved_model.pb` comes last.

    Args:
      source: the SavedModel's folder.
      destination: folder of the versions.
      version: a number; where a version as large is there already, withdrawn or not, the next after
        that is taken, so that the newest push is the one that is served.
      card: of the number that it gets, what the version's `model_card.md` says.

    Returns:
      The version's folder.
    """
    fileio.makedirs(destination)
    there = _versions(destination)
    for left in there:
        folder = os.path.join(destination, left)
        if left.startswith(_ASIDE) or (
            places.remote(folder) and not fileio.exists(os.path.join(folder, _LAST))
        ):
            fileio.rmtree(folder)
    taken = [number for name in there if (number := serving.number(name)) is not None]
    version = max([version, *(number + 1 for number in taken)])
    path = os.path.join(destination, str(version))
    aside = os.path.join(destination, f"{_ASIDE}{version}")
    place = path if places.remote(path) else aside  # no folder of a bucket is renamed at once
    fileio.makedirs(place)
    for name in sorted(_files(source), key=lambda name: (name == _LAST, name)):
        if name == _LAST:
            places.write(os.path.join(place, model_card.FILE), card(version).encode())
        fileio.makedirs(os.path.dirname(os.path.join(place, name)))
        fileio.copy(os.path.join(source, name), os.path.join(place, name))
    if place != path:
        fileio.rename(place, path)
    return path


def _versions(destination: str) -> list[str]:
    """What lies in the folder of the versions."""
    return [name.rstrip("/") for name in places.names(destination)]


def serves(source: str, destination: str) -> bool:
    """Whether the version that serves is this SavedModel, file by file.

    Args:
      source: the SavedModel's folder.
      destination: folder of the versions.
    """
    there = _versions(destination) if fileio.exists(destination) else []
    newest = max((int(name) for name in there if name.isdecimal()), default=None)
    if newest is None:
        return False
    served = os.path.join(destination, str(newest))
    names = set(_files(source))
    return names == set(_files(served)) - {model_card.FILE} and all(
        _same(os.path.join(source, name), os.path.join(served, name)) for name in names
    )


def _files(folder: str) -> Iterator[str]:
    """Every file below a folder, by its path inside it."""
    for place, _, names in fileio.walk(folder):
        yield from (os.path.relpath(os.path.join(place, name), folder) for name in names)


def _same(one: str, other: str) -> bool:
    with fileio.open(one, "rb") as first, fileio.open(other, "rb") as second:
        while (bytes_ := first.read(_CHUNK)) == second.read(_CHUNK):
            if not bytes_:
                return True
    return False
