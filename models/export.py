"""SavedModels that need nothing else: pixels, labels and calibration live inside.

Every signature that takes encoded photos works through its batch in chunks, so that memory stays
bounded however many rows a caller sends (TFMA sends up to 1,000).
"""

import collections
import itertools
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import examples, golden, input_pipeline, pixels, progress

CHUNK = 32
CHECKED = 16  # photos that a saved model is asked about again
TOLERANCE = 1e-3  # of a probability, or of a coordinate of a unit vector
STRINGS = tf.TensorSpec([None], tf.string)
# Beside a SavedModel, where TensorFlow Serving leaves it alone: breed -> photos in training.
TRAINED_ON = os.path.join("assets.extra", "training_photos.json")
PAIR = {"image_a": "image_a/encoded", "image_b": "image_b/encoded"}


def in_chunks(function: Callable[[tf.Tensor], tf.Tensor], rows: tf.Tensor, width: int) -> tf.Tensor:
    """Concatenates `function`, chunk -> [chunk, width], over chunks of `rows` [N]; N may be 0."""
    chunks = (tf.shape(rows)[0] + CHUNK - 1) // CHUNK
    results = tf.TensorArray(
        tf.float32, size=chunks, element_shape=[None, width], infer_shape=False
    )
    for index in tf.range(chunks):
        results = results.write(index, function(rows[index * CHUNK : (index + 1) * CHUNK]))
    return results.concat()


class _Exported(tf.Module):
    """What both models share: bytes in, network output out."""

    def __init__(self, net: keras.Model, side: int):
        super().__init__()
        self.net = net
        self.side = side

    def _photos(self, image_bytes: tf.Tensor) -> tf.Tensor:
        spec = tf.TensorSpec([self.side, self.side, 3], tf.float32)
        return tf.map_fn(
            lambda data: pixels.fit_in_graph(data, self.side), image_bytes, fn_output_signature=spec
        )

    def _run(self, images: tf.Tensor) -> tf.Tensor:
        """The network's output in float32, whatever precision it was trained in."""
        return tf.cast(self.net(images, training=False), tf.float32)

    def _outputs(self, image_bytes: tf.Tensor) -> tf.Tensor:
        return in_chunks(
            lambda chunk: self._run(self._photos(chunk)),
            image_bytes,
            int(self.net.output_shape[-1]),
        )

    def _save(self, folder: str, signatures: dict[str, Any]) -> None:
        progress.log.info("exporting the model")
        tf.saved_model.save(self, folder, signatures=signatures)

    def check(self, folder: str, split: str) -> None:
        """Loads what was saved, and asks it about photos that the network is asked about as well.

        What the network says of them is kept beside the SavedModel (`golden`).

        Args:
          folder: the SavedModel's.
          split: records; their first `CHECKED` photos are asked about, from their bytes on.

        Raises:
          RuntimeError: the answers differ by more than `TOLERANCE`, or are no numbers.
        """
        progress.log.info("asking the exported model")
        records = [data for _, data in itertools.islice(examples.scan(split), CHECKED)]
        images = next(iter(input_pipeline.labelled(split, self.side, CHECKED)))[0]
        given = self._given(tf.saved_model.load(folder).signatures, tf.constant(records))
        difference = np.abs(given - self._expected(self._run(images))).max()
        if not difference <= TOLERANCE:
            raise RuntimeError(
                f"{folder} answers otherwise than the network that was saved there: {difference:g} "
                f"apart on {len(records)} photos of {split}, {TOLERANCE:g} is allowed"
            )
        self._keep(folder, records, images.numpy().astype(np.uint8))

    def _keep(self, folder: str, records: Sequence[bytes], images: np.ndarray) -> None:
        """Writes golden answers of the CPU, since a GPU may round float32 before it multiplies."""
        again = np.stack([pixels.decode(pixels.encode(image)) for image in images])
        with tf.device("CPU"):
            answers, png_answers = (
                self._expected(self._run(tf.constant(photos, tf.float32))).numpy()
                for photos in (images, again)
            )
        jpegs = [examples.encoded_image(record) for record in records]
        golden.write(folder, jpegs, answers, png_answers)


class BreedExport(_Exported):
    """The breed model as it is served.

    Args:
      net: images [N, side, side, 3] -> logits [N, C].
      side: pixels.
      breeds: [C], the vocabulary in label order.
    """

    def __init__(self, net: keras.Model, side: int, breeds: Sequence[str]):
        super().__init__(net, side)
        self.breeds = tf.constant(list(breeds))

    @tf.function(input_signature=[STRINGS])
    def serving_default(self, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.Examples [N] -> `probabilities` [N, C]."""
        feature = {examples.ENCODED: tf.io.FixedLenFeature([], tf.string)}
        image_bytes = tf.io.parse_example(serialized, feature)[examples.ENCODED]
        return {"probabilities": tf.nn.softmax(self._outputs(image_bytes))}

    @tf.function(input_signature=[STRINGS])
    def classify(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded photos [N] -> the five likeliest `classes` [N, 5] and `probabilities` [N, 5]."""
        best = tf.math.top_k(tf.nn.softmax(self._outputs(image_bytes)), k=5)
        return {"classes": tf.gather(self.breeds, best.indices), "probabilities": best.values}

    def _given(self, signatures: Any, records: tf.Tensor) -> tf.Tensor:
        return signatures["serving_default"](serialized=records)["probabilities"]

    def _expected(self, outputs: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(outputs)

    def save(self, folder: str) -> None:
        """Writes the SavedModel; `logits` answers whole batches of photos cut and resized already.

        With it any breed model can teach another one on augmented photos: `images`, float32
        [N, side, side, 3] in [0, 255] -> `logits`, float32 [N, C].
        """
        images = tf.TensorSpec([None, self.side, self.side, 3], tf.float32, name="images")
        logits = tf.function(lambda images: {"logits": self._run(images)})
        signatures = {
            "serving_default": self.serving_default,
            "classify": self.classify,
            "logits": logits.get_concrete_function(images),
        }
        self._save(folder, signatures)


def tell_training(folder: str, breeds: Iterable[str]) -> None:
    """Writes beside a SavedModel how many photos of each breed it was trained on.

    Args:
      folder: the SavedModel's.
      breeds: that of every training photo.
    """
    path = os.path.join(folder, TRAINED_ON)
    tf.io.gfile.makedirs(os.path.dirname(path))
    with tf.io.gfile.GFile(path, "w") as file:
        json.dump(collections.Counter(breeds), file, indent=1, sort_keys=True)


def training_photos(folder: str) -> Mapping[str, int] | None:
    """What `tell_training` wrote, None where it wrote nothing."""
    path = os.path.join(folder, TRAINED_ON)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path) as file:
        photos: dict[str, int] = json.load(file)
    return photos


class MatchExport(_Exported):
    """The match model as it is served.

    Args:
      net: images [N, side, side, 3] -> embedding [N, D], unit length.
      side: pixels.
      scale: of the calibration (`calibration.calibrate`).
      offset: of the calibration.
    """

    def __init__(self, net: keras.Model, side: int, scale: float, offset: float):
        super().__init__(net, side)
        self.scale = tf.constant(scale, tf.float32)
        self.offset = tf.constant(offset, tf.float32)
        self.dimensions = int(net.output_shape[-1])

    def _same_dog(self, embedding_a: tf.Tensor, embedding_b: tf.Tensor) -> dict[str, tf.Tensor]:
        cosine = tf.reduce_sum(embedding_a * embedding_b, axis=-1)
        return {"same_dog": tf.sigmoid(self.scale * cosine + self.offset)}

    @tf.function(input_signature=[STRINGS])
    def serving_default(self, serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        """Serialized tf.Examples [N] that hold two photos -> `same_dog` [N]."""
        features = {name: tf.io.FixedLenFeature([], tf.string) for name in PAIR.values()}
        photos = tf.io.parse_example(serialized, features)
        return self._same_dog(*(self._outputs(photos[name]) for name in PAIR.values()))

    @tf.function(input_signature=[STRINGS])
    def embed(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded photos [N] -> `embedding` [N, D], unit length."""
        return {"embedding": self._outputs(image_bytes)}

    @tf.function(input_signature=[STRINGS, STRINGS])
    def compare(self, image_bytes_a: tf.Tensor, image_bytes_b: tf.Tensor) -> dict[str, tf.Tensor]:
        """Encoded photos [N] and [N] -> `same_dog` [N], a calibrated probability."""
        return self._same_dog(self._outputs(image_bytes_a), self._outputs(image_bytes_b))

    def _given(self, signatures: Any, records: tf.Tensor) -> tf.Tensor:
        feature = {examples.ENCODED: tf.io.FixedLenFeature([], tf.string)}
        image_bytes = tf.io.parse_example(records, feature)[examples.ENCODED]
        return signatures["embed"](image_bytes=image_bytes)["embedding"]

    def _expected(self, outputs: tf.Tensor) -> tf.Tensor:
        return outputs

    def save(self, folder: str) -> None:
        """Writes the SavedModel; `score` compares two kept embeddings without their photos."""
        embedding = tf.TensorSpec([None, self.dimensions], tf.float32)
        score = tf.function(
            lambda embedding_a, embedding_b: self._same_dog(embedding_a, embedding_b)
        ).get_concrete_function(
            tf.TensorSpec(embedding.shape, tf.float32, name="embedding_a"),
            tf.TensorSpec(embedding.shape, tf.float32, name="embedding_b"),
        )
        signatures = {
            "serving_default": self.serving_default,
            "embed": self.embed,
            "compare": self.compare,
            "score": score,
        }
        self._save(folder, signatures)
