"""The breed model for a phone: TFLite files that are kept only where they agree with the network.

Both files take one photo, cut to the dog, padded and resized as `models.pixels` does: `images`,
uint8 [1, side, side, 3]. Both give `probabilities`, float32 [1, C], of the breeds in the order of
`labels.txt`. They differ in what they reckon with:

  float16  weights in two bytes each, arithmetic in float32.
  int8     weights and activations in one byte each, on scales that real photos set; the softmax
           over the logits is in float32 again, so that unlikely breeds keep a probability.

The logit of -1e9 that takes untrained breeds out of the race would stretch the one scale of all
logits until every trained breed had the same. So it is left out: the softmax goes over the trained
breeds alone, and the others get the probability 0 afterwards, which is the same function.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from models import progress

FILES = {"float16": "model.tflite", "int8": "model.int8.tflite"}
AGREEMENT = {"float16": 0.99, "int8": 0.95}  # the least share of photos with the same top breed
LEAST = 8  # photos that a file is judged by: on a few any file may agree
LABELS = "labels.txt"
_FLOAT_OPS = ["SOFTMAX", "PAD", "PADV2", "GATHER"]  # what int8 leaves in float32


def export(
    net: Any,
    side: int,
    breeds: Sequence[str],
    representative: np.ndarray,
    photos: np.ndarray,
    folder: str,
) -> dict[str, Any]:
    """Writes the files that agree with the network, and the breeds, into a folder.

    A file that disagrees, or that TFLite can't make of this network, is left out: the report says
    why, and so does the log. Beside a SavedModel the files are in nobody's way.

    Args:
      net: keras.Model, images [N, side, side, 3] in [0, 255] -> logits [N, C], with a layer
        `trained`, a `breed.TrainedClassesOnly`.
      side: pixels.
      breeds: [C], the vocabulary in label order.
      representative: [R, side, side, 3] in [0, 255], training photos that set the scales of int8; a
        hundred will do.
      photos: [P, side, side, 3] in [0, 255], other photos, to compare answers on.
      folder: gets `model.tflite`, `model.int8.tflite` and, with any of them, `labels.txt`; what it
        has of these names goes.

    Returns:
      For "float16" and for "int8" the figures of `compare`, or nothing but None for them where
      there is no file to compare; `kept`; and `reason` where it is not. For "keras" `ms`.

    Raises:
      ValueError: arrays, breeds and network don't go together.
    """
    _check(net, side, breeds, {"representative": representative, "photos": photos})
    rows = [photo[np.newaxis] for photo in _pixels(photos)]
    answers, milliseconds = _asked(_network(net), rows)
    report: dict[str, Any] = {"keras": {"ms": milliseconds}}
    files = {LABELS: "".join(f"{breed}\n" for breed in breeds).encode()}
    for name, file in FILES.items():
        progress.log.info("making the %s model for phones", name)
        report[name], model = _checked(net, name, representative, rows, answers)
        if report[name]["kept"]:
            files[file] = model
        else:
            progress.log.warning("no %s: %s", file, report[name]["reason"])
    _write(folder, files if len(files) > 1 else {})
    return report


def convert(net: Any, name: str, representative: np.ndarray) -> bytes:
    """Makes a TFLite model.

    Args:
      net: as `export`.
      name: "float16" or "int8".
      representative: as `export`; float16 has no use for it.

    Returns:
      The content of the file.

    Raises:
      Exception: of TensorFlow, and of many kinds, when the network has what TFLite has not.
    """
    import tensorflow as tf

    # The network holds its weights as constants: what is tracked beside it is nothing.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([_function(net)], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if name == "float16":
        converter.target_spec.supported_types = [tf.float16]
        model: bytes = converter.convert()
        return model
    return _quantised(converter, _pixels(representative))


def compare(
    model: bytes, photos: Sequence[np.ndarray], answers: np.ndarray, bound: float
) -> dict[str, Any]:
    """Asks a TFLite model, on one thread, what the network was asked.

    Args:
      model: the content of the file.
      photos: [P] of uint8 [1, side, side, 3].
      answers: float [P, C], the network's probabilities.
      bound: the least share of the photos that have to have the same top breed. One photo may
        differ though that is more than its share.

    Returns:
      `bytes`; `ms`, the median for one photo; `agreement`, the share of photos with the same top
      breed; `difference`, the mean absolute one over all photos and breeds; `kept`, whether the
      model agrees well enough on LEAST photos or more; `reason` if it does not.
    """
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(model_content=model, num_threads=1)
    ask = interpreter.get_signature_runner("serving_default")
    given, milliseconds = _asked(lambda images: ask(images=images)["probabilities"], photos)
    same = (given.argmax(axis=1) == answers.argmax(axis=1)) & np.isfinite(given).all(axis=1)
    wrong, allowed = int((~same).sum()), max(1, int((1 - bound) * len(photos)))
    figures: dict[str, Any] = {
        "bytes": len(model),
        "ms": milliseconds,
        "agreement": float(same.mean()),
        "difference": float(np.abs(given - answers).mean()),
        "kept": len(photos) >= LEAST and wrong <= allowed,
    }
    if len(photos) < LEAST:
        figures["reason"] = f"{len(photos)} photos to compare on; {LEAST} are needed to judge it"
    elif not figures["kept"]:
        figures["reason"] = (
            f"another top breed than the network's on {wrong} of {len(photos)} photos, "
            f"{allowed} may differ"
        )
    return figures


def _checked(
    net: Any,
    name: str,
    representative: np.ndarray,
    photos: Sequence[np.ndarray],
    answers: np.ndarray,
) -> tuple[dict[str, Any], bytes]:
    """The figures of one kind of file, and its content."""
    none = dict.fromkeys(("bytes", "ms", "agreement", "difference"))
    if not np.isfinite(answers).all():  # scales of such a network would end the process
        return {**none, "kept": False, "reason": "the network's own answers are no numbers"}, b""
    try:
        model = convert(net, name, representative)
    except Exception as error:  # hours of training must not be lost to a file for phones
        return {**none, "kept": False, "reason": f"TFLite can't make it: {_first(error)}"}, b""
    return compare(model, photos, answers, AGREEMENT[name]), model


def _first(error: Exception) -> str:
    """An exception's kind and the first line of what it says."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _function(net: Any) -> Any:
    """The network as one concrete function from pixels to probabilities, its weights inside it.

    Keras' variables can't be frozen by the converter of TensorFlow 2.16: it would end the process.
    """
    import tensorflow as tf

    logits, labels = _raw(net), net.get_layer("trained").labels
    places = np.full(net.output_shape[-1], len(labels))
    places[labels] = range(len(labels))
    moved, kept = (
        [variable.numpy() for variable in variables]
        for variables in (logits.trainable_variables, logits.non_trainable_variables)
    )

    def probabilities(images: Any) -> dict[str, Any]:
        weights = [[tf.constant(value) for value in values] for values in (moved, kept)]
        answer, _ = logits.stateless_call(*weights, tf.cast(images, tf.float32), training=False)
        trained = tf.nn.softmax(tf.gather(answer, labels, axis=1))
        untrained = tf.pad(trained, [[0, 0], [0, 1]])  # one more, of probability 0
        return {"probabilities": tf.gather(untrained, places, axis=1)}

    images = tf.TensorSpec([1, *net.input_shape[1:]], tf.uint8, name="images")
    return tf.function(probabilities).get_concrete_function(images)


def _raw(net: Any) -> Any:
    """The network up to the logits before the untrained breeds are taken out, all in float32.

    It may have been trained in mixed precision, which is for other hardware than phones.
    """
    import keras

    def plain(layer: Any) -> Any:
        config = layer.get_config()
        precise = {"dtype": "float32"} if "dtype" in config else {}  # bare operations have none
        return layer.__class__.from_config({**config, **precise})

    logits = keras.Model(net.inputs, net.get_layer("trained").input)
    copy = keras.models.clone_model(logits, clone_function=plain, recursive=True)
    copy.set_weights(logits.get_weights())
    return copy


def _quantised(converter: Any, photos: np.ndarray) -> bytes:
    """An int8 model but for `_FLOAT_OPS`; the debugger is what can leave operations out."""
    import tensorflow as tf

    def batches() -> Any:
        return ([photo[np.newaxis]] for photo in photos)

    converter.representative_dataset = batches
    options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=_FLOAT_OPS)
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=batches, debug_options=options
    )
    model: bytes = debugger.get_nondebug_quantized_model()
    return model


def _network(net: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The network itself: uint8 [1, side, side, 3] -> probabilities [1, C]."""
    import tensorflow as tf

    @tf.function
    def answer(images: Any) -> Any:
        logits = net(tf.cast(images, tf.float32), training=False)
        return tf.nn.softmax(tf.cast(logits, tf.float32))

    return lambda images: answer(tf.constant(images)).numpy()


def _asked(
    ask: Callable[[np.ndarray], np.ndarray], photos: Sequence[np.ndarray]
) -> tuple[np.ndarray, float]:
    """All answers [P, C], photo by photo, and the median of their times in milliseconds."""
    answers, seconds = [], []
    for photo in photos:
        start = time.perf_counter()
        answers.append(ask(photo)[0])
        seconds.append(time.perf_counter() - start)
    return np.array(answers), float(np.median(seconds) * 1e3)


def _pixels(photos: np.ndarray) -> np.ndarray:
    """Photos of any dtype as uint8."""
    return np.clip(np.rint(photos), 0, 255).astype(np.uint8)


def _check(net: Any, side: int, breeds: Sequence[str], arrays: dict[str, np.ndarray]) -> None:
    if tuple(net.input_shape) != (None, side, side, 3):
        raise ValueError(f"the network takes {net.input_shape}, not photos of {side} pixels")
    if net.output_shape[-1] != len(breeds):
        raise ValueError(f"the network knows {net.output_shape[-1]} breeds, not {len(breeds)}")
    for name, array in arrays.items():
        if array.shape[1:] != (side, side, 3) or not len(array):
            raise ValueError(
                f"{name} has the shape {array.shape}: give one photo or more, each "
                f"{(side, side, 3)}"
            )


def _write(folder: str, files: dict[str, bytes]) -> None:
    """Replaces this module's files in a folder, each of them whole or not at all."""
    import tensorflow as tf

    for name in (*FILES.values(), LABELS):
        path = os.path.join(folder, name)
        if tf.io.gfile.exists(path):
            tf.io.gfile.remove(path)
    for name, data in files.items():
        part = os.path.join(folder, f".{name}.part")
        with tf.io.gfile.GFile(part, "wb") as file:
            file.write(data)
        tf.io.gfile.rename(part, os.path.join(folder, name), overwrite=True)
