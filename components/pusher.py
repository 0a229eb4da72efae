"""Pusher: copies a blessed model to where it is served, whole or not at all."""

import os
import time

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils


@component
def Pusher(  # noqa: N802 - TFX names the node after the function
    model: InputArtifact[standard_artifacts.Model],
    model_blessing: InputArtifact[standard_artifacts.ModelBlessing],
    pushed_model: OutputArtifact[standard_artifacts.PushedModel],
    destination: Parameter[str],
    fingerprint: Parameter[str],
    code: Parameter[str],
) -> None:
    """Pushes a blessed model as the next version.

    Args:
      model: read: the model.
      model_blessing: read: ModelGate's.
      pushed_model: written: where the version lies; nothing when the model was refused.
      destination: folder of this model's versions.
      fingerprint: digest of the data, code and settings that made the model; a later run looks for
        the newest version that has another one, as its baseline.
      code: digest of the code, for the cache.
    """
    del code
    pushed = model_blessing.get_int_custom_property("blessed") == 1
    pushed_model.set_int_custom_property("pushed", int(pushed))
    if not pushed:
        return
    version = str(int(time.time()))
    path = push(path_utils.serving_model_path(model.uri), destination, version)
    pushed_model.set_string_custom_property("pushed_destination", path)
    pushed_model.set_string_custom_property("pushed_version", version)
    pushed_model.set_string_custom_property("fingerprint", fingerprint)
    pushed_model.set_string_custom_property("model_uri", model.uri)


def push(source: str, destination: str, version: str) -> str:
    """Copies a SavedModel aside and renames it, so that a reader never sees half a version.

    Args:
      source: the SavedModel's folder.
      destination: folder of the versions.
      version: a number, larger than any before; one that is taken is counted up.

    Returns:
      The version's folder.
    """
    while fileio.exists(os.path.join(destination, version)):
        version = str(int(version) + 1)
    aside = os.path.join(destination, f".partial-{version}")
    if fileio.exists(aside):
        fileio.rmtree(aside)
    fileio.makedirs(destination)
    io_utils.copy_dir(source, aside)
    path = os.path.join(destination, version)
    fileio.rename(aside, path)
    return path
