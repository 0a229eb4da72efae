"""A breed teacher that comes from elsewhere: a SavedModel's folder, or an artifact of W&B.

It is checked, and put into a content-addressed place from which TFX imports it as a model.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from components import dataset, digests
from models import examples, pixels, places, tracking
from models.progress import log
from pipeline.settings import SettingsError

_WANDB = "wandb:"
_FORM = r"wandb:[^/:\s]+/[^/:\s]+/[^/:\s]+:[^/:\s]+"
_GRAPH = "saved_model.pb"
_PARTS = (_GRAPH, "variables", "assets")  # what makes a SavedModel; other things may lie beside it
_NEEDED = {"logits", "serving_default"}
# In a process of its own: W&B tries again for minutes, and this one can be ended. What arrives
# damaged it would keep, and give again the next time.
_DOWNLOAD = """\
import shutil, sys, wandb
name, root, kept = sys.argv[1:]
artifact = wandb.Api(timeout=30).artifact(name)
artifact.download(root=root)
try:
    artifact.verify(root=root)
except ValueError:
    shutil.rmtree(kept)
    raise
"""


def check_name(teacher: str) -> None:
    """Checks, in milliseconds, that a teacher can be one.

    Raises:
      SettingsError: there is no SavedModel, or it is no name of an artifact, or W&B can't be asked.
    """
    if places.remote(teacher):
        return
    if not teacher.startswith(_WANDB):
        _check_folder(teacher)
        return
    if not re.fullmatch(_FORM, teacher):
        raise SettingsError(
            f"--teacher {teacher}: expected wandb:ENTITY/PROJECT/ARTIFACT:ALIAS, for example "
            "wandb:me/spotted/spotted-breed-teacher:latest"
        )
    try:
        tracking.check(tracking.ONLINE)
    except tracking.TrackingError as error:
        raise SettingsError(f"--teacher {teacher}: {error}") from None


def _check_folder(teacher: str) -> None:
    if not os.path.isdir(teacher):
        what = "is not a folder" if os.path.exists(teacher) else "does not exist"
        raise SettingsError(
            f"--teacher {teacher}: {what}; give a SavedModel's folder, such as "
            "output/serving/breed/<version>, or wandb:ENTITY/PROJECT/ARTIFACT:ALIAS"
        )
    if not os.path.isfile(os.path.join(teacher, _GRAPH)):
        found = sorted(os.listdir(teacher))
        inner = [name for name in found if os.path.isfile(os.path.join(teacher, name, _GRAPH))]
        hint = f": give {os.path.join(teacher, inner[-1])}" if inner else ""
        raise SettingsError(
            f"--teacher {teacher}: expected a SavedModel, with {_GRAPH} in it, found "
            f"{_some(found)}{hint}"
        )


def bring(teacher: str, side: int, breeds: int, folder: str) -> tuple[str, str]:
    """Puts a teacher into its place, whole or not at all.

    Args:
      teacher: a SavedModel's folder, of a bucket too, or `wandb:ENTITY/PROJECT/ARTIFACT:ALIAS`.
      side: of the photos that it will be shown, pixels.
      breeds: how many it has to tell apart.
      folder: of the inputs.

    Returns:
      A folder that is laid out as a Model artifact, with the SavedModel in `Format-Serving`, and
      the digest of its content, which is its name.

    Raises:
      SettingsError: it can't be had, is no SavedModel, or does not do what a teacher has to.
    """
    aside = os.path.join(folder, ".teacher")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        model = os.path.join(aside, "Format-Serving")
        _copy(_find(teacher, aside, folder), model, teacher)
        _check_signatures(model, teacher, side, breeds)
        digest = _digest(model)
        place = os.path.join(folder, digest)
        if not os.path.isdir(place):
            _check_answers(model, teacher, side, breeds)
            whole = os.path.join(aside, "whole")
            os.mkdir(whole)
            os.rename(model, os.path.join(whole, "Format-Serving"))
            os.rename(whole, place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return place, digest


def _find(teacher: str, aside: str, folder: str) -> str:
    """The folder where the SavedModel lies, once it was fetched."""
    if not teacher.startswith(_WANDB) and not places.remote(teacher):
        return os.path.abspath(teacher)
    fetched = os.path.join(aside, "fetched")
    os.makedirs(fetched)
    if places.remote(teacher):
        log.info("fetching the teacher %s", teacher)
        try:
            places.copy(teacher, fetched)
        except OSError as error:
            raise SettingsError(f"--teacher {teacher}: can't be read: {error.strerror}") from None
        return fetched
    _download(teacher, fetched, os.path.join(folder, "wandb"))
    return fetched


def _download(teacher: str, root: str, kept: str) -> None:
    """Downloads an artifact.

    Args:
      teacher: its name.
      root: folder to write it to.
      kept: folder of W&B's own, with its cache: what was downloaded once is not again.
    """
    _check_reachable(teacher)
    log.info("downloading the teacher %s", teacher)
    os.makedirs(kept, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", _DOWNLOAD, teacher.removeprefix(_WANDB), root, kept],
        env=os.environ | tracking.environment(kept),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    print(done.stderr, file=sys.stderr, flush=True)
    if done.returncode:
        raise SettingsError(f"--teacher {teacher}: W&B can't give it: {_last_words(done.stderr)}")


def _check_reachable(teacher: str) -> None:
    import requests

    try:
        requests.head(tracking.host(), timeout=10)
    except requests.RequestException as error:
        raise SettingsError(
            f"--teacher {teacher}: {tracking.host()} can't be reached ({type(error).__name__}): "
            "check the network, or download it by other means and give its folder"
        ) from None


def _last_words(printed: str) -> str:
    """The last exception that a process printed, as one line."""
    named = re.findall(r"^[\w.]*(?:Error|Exception)\b.*", printed, re.MULTILINE)
    return named[-1] if named else (" ".join(printed.split()) or "it said nothing")


def _copy(source: str, model: str, teacher: str) -> None:
    """Copies the parts of a SavedModel."""
    _check_found(source, teacher)
    try:
        os.makedirs(model)
        for name in _PARTS:
            path = os.path.join(source, name)
            if os.path.isdir(path):
                shutil.copytree(path, os.path.join(model, name))
            elif os.path.exists(path):
                shutil.copyfile(path, os.path.join(model, name))
    except OSError as error:
        raise SettingsError(f"--teacher {teacher}: can't be copied ({error})") from None


def _check_found(source: str, teacher: str) -> None:
    """An artifact of W&B may hold anything, and a folder may have gone since it was checked."""
    if not os.path.isfile(os.path.join(source, _GRAPH)):
        found = _some(os.listdir(source)) if os.path.isdir(source) else "no folder"
        raise SettingsError(
            f"--teacher {teacher}: expected a SavedModel, with {_GRAPH} in it, found {found}"
        )


def _check_signatures(model: str, teacher: str, side: int, breeds: int) -> None:
    """Reads what the model takes and gives, without building it."""
    found = _signatures(model, teacher)
    if not set(found) >= _NEEDED:
        raise SettingsError(
            f"--teacher {teacher}: has the signatures {_some(found)}; a teacher needs logits "
            "(images -> logits) and serving_default: give a breed model that this project exported"
        )
    taken, given = (_shape(part) for part in (found["logits"].inputs, found["logits"].outputs))
    if set(taken) != {"images"} or set(given) != {"logits"}:
        raise SettingsError(
            f"--teacher {teacher}: its signature logits takes {_some(taken)} and gives "
            f"{_some(given)}; expected images and logits"
        )
    if taken["images"] != ("float32", -1, side, side, 3):
        raise SettingsError(
            f"--teacher {teacher}: takes images {_words(taken['images'])}, and --image_size "
            f"{side} makes {_words(('float32', -1, side, side, 3))}: give another --image_size, or "
            "another teacher"
        )
    if given["logits"] != ("float32", -1, breeds):
        raise SettingsError(
            f"--teacher {teacher}: gives logits {_words(given['logits'])}, and schema/breeds.csv "
            f"has {breeds} breeds, which are {_words(('float32', -1, breeds))}: give a teacher of "
            "these breeds"
        )
    _check_asked_by_evaluators(found["serving_default"], teacher, breeds)


def _check_asked_by_evaluators(signature: Any, teacher: str, breeds: int) -> None:
    """Evaluators hand serialized Examples to the one input, and read one answer."""
    taken, given = (_shape(part) for part in (signature.inputs, signature.outputs))
    wanted = {"probabilities": ("float32", -1, breeds)}
    if [*taken.values()] != [("string", -1)] or given != wanted:
        raise SettingsError(
            f"--teacher {teacher}: its signature serving_default takes {_all_words(taken)} and "
            f"gives {_all_words(given)}; expected string [N], serialized Examples, and "
            f"{_all_words(wanted)}: give a breed model that this project exported"
        )


def _signatures(model: str, teacher: str) -> dict[str, Any]:
    """The SignatureDefs of a SavedModel, by name."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel()
    try:
        with open(os.path.join(model, _GRAPH), "rb") as file:
            saved.ParseFromString(file.read())
    except DecodeError as error:
        raise SettingsError(f"--teacher {teacher}: {_GRAPH} can't be read ({error})") from None
    return {
        name: signature
        for graph in saved.meta_graphs
        if "serve" in graph.meta_info_def.tags
        for name, signature in graph.signature_def.items()
        if not name.startswith("__")
    }


def _shape(tensors: Any) -> dict[str, tuple[Any, ...]]:
    """The type and the sides of tensors, by name; -1 is any, and no sides are an unknown rank."""
    import tensorflow as tf

    return {
        name: (tf.as_dtype(tensor.dtype).name, *(dim.size for dim in tensor.tensor_shape.dim))
        for name, tensor in tensors.items()
    }


def _words(shape: Sequence[Any]) -> str:
    return f"{shape[0]} [{', '.join('N' if side == -1 else str(side) for side in shape[1:])}]"


def _all_words(shapes: dict[str, tuple[Any, ...]]) -> str:
    return ", ".join(f"{name} {_words(shape)}" for name, shape in sorted(shapes.items()))


def _check_answers(model: str, teacher: str, side: int, breeds: int) -> None:
    """Loads the model and shows it a grey photo, as a student does and as an evaluator does."""
    import numpy as np

    try:
        logits, probabilities = _answers(model, side)
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise SettingsError(f"--teacher {teacher}: can't be used ({reason})") from None
    if not np.isfinite(logits).all():
        raise SettingsError(f"--teacher {teacher}: its logits of a grey photo are no numbers")
    if probabilities.shape != (1, breeds) or not abs(probabilities.sum() - 1) < 0.01:
        raise SettingsError(
            f"--teacher {teacher}: its signature serving_default gives a grey photo "
            f"{probabilities.size} probabilities that add up to {probabilities.sum():.3g}; "
            f"expected {breeds} that add up to 1"
        )


def _answers(model: str, side: int) -> tuple[Any, Any]:
    """What both signatures say of a grey photo: logits [1, C] and probabilities [1, C]."""
    import numpy as np
    import tensorflow as tf

    signatures = tf.saved_model.load(model).signatures
    grey = np.full((side, side, 3), pixels.PAD, np.uint8)
    example = examples.serialize({examples.ENCODED: pixels.encode(grey)})
    (name,) = signatures["serving_default"].structured_input_signature[1]
    logits = signatures["logits"](images=tf.constant(grey[None], tf.float32))["logits"]
    answer = signatures["serving_default"](**{name: tf.constant([example])})
    return logits.numpy(), answer["probabilities"].numpy()


def _digest(model: str) -> str:
    """Digest of the names and the bytes of all files."""
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(model) for name in names]
    named = [(os.path.relpath(path, model), dataset.sha256_of_file(path)) for path in paths]
    return digests.of_text(*(text for pair in sorted(named) for text in pair))


def _some(names: Any) -> str:
    listed = sorted(names)
    return ", ".join(listed[:8]) + (", …" if len(listed) > 8 else "") or "nothing"
