"""Pusher: copies a blessed model to where it is served, whole or not at all."""

import os
import time

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils

from components import serving

_ASIDE = ".partial-"


@component
def Pusher(  # noqa: N802 - TFX names the node after the function
    model: InputArtifact[standard_artifacts.Model],
    model_blessing: InputArtifact[standard_artifacts.ModelBlessing],
    infra_blessing: InputArtifact[standard_artifacts.InfraBlessing],
    pushed_model: OutputArtifact[standard_artifacts.PushedModel],
    destination: Parameter[str],
    fingerprint: Parameter[str],
    data_version: Parameter[str],
    withdrawn: Parameter[str],
    code: Parameter[str],
) -> None:
    """Pushes a blessed model as the next version, unless it was withdrawn.

    Args:
      model: read: the model.
      model_blessing: read: ModelGate's.
      infra_blessing: read: ReplayCheck's.
      pushed_model: written: where the version lies; nothing when the model was refused
        or is withdrawn.
      destination: folder of this model's versions.
      fingerprint: digest of the data, code and settings that made the model; a later run looks for
        the newest version that has another one, as its baseline.
      data_version: of the data that the model was trained on.
      withdrawn: the version of this model that was withdrawn by hand and stays so, "" for none.
      code: digest of the code, for the cache.
    """
    del code
    blessings = (model_blessing, infra_blessing)
    blessed = all(given.get_int_custom_property("blessed") == 1 for given in blessings)
    pushed_model.set_int_custom_property("pushed", int(blessed and not withdrawn))
    if not blessed:
        return
    if withdrawn:
        pushed_model.set_string_custom_property("withdrawn", withdrawn)
        return
    path = push(path_utils.serving_model_path(model.uri), destination, int(time.time()))
    pushed_model.set_string_custom_property("pushed_destination", path)
    pushed_model.set_string_custom_property("pushed_version", os.path.basename(path))
    pushed_model.set_string_custom_property("fingerprint", fingerprint)
    pushed_model.set_string_custom_property("data_version", data_version)
    pushed_model.set_string_custom_property("model_uri", model.uri)


def push(source: str, destination: str, version: int) -> str:
    """Copies a SavedModel aside and renames it, so that a reader never sees half a version.

    Args:
      source: the SavedModel's folder.
      destination: folder of the versions.
      version: a number; where a version as large is there already, withdrawn or not, the next after
        that is taken, so that the newest push is the one that is served.

    Returns:
      The version's folder.
    """
    fileio.makedirs(destination)
    there = fileio.listdir(destination)
    for left in (name for name in there if name.startswith(_ASIDE)):
        fileio.rmtree(os.path.join(destination, left))
    taken = [number for name in there if (number := serving.number(name)) is not None]
    version = max([version, *(number + 1 for number in taken)])
    aside = os.path.join(destination, f"{_ASIDE}{version}")
    io_utils.copy_dir(source, aside)
    path = os.path.join(destination, str(version))
    fileio.rename(aside, path)
    return path
