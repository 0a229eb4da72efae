"""A teacher as any SavedModel with the signature `logits`, and what its student gained and saved.

Method: Hinton et al., 2015, arXiv:1503.02531; teacher and student always look at the same augmented
view (Beyer et al., 2022, arXiv:2106.05237).
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

Teacher = Callable[[Any], Any]
_REPEATS = 10


def load(serving: str) -> Teacher:
    """Loads a teacher.

    Args:
      serving: folder of a SavedModel whose signature `logits` takes `images`, float32 [N, S, S, 3]
        in [0, 255].

    Returns:
      Images to logits [N, C], for eager and for graph code.
    """
    loaded = tf.saved_model.load(serving)
    signature = loaded.signatures["logits"]

    def answer(images: Any) -> Any:
        return signature(images=tf.cast(images, tf.float32))["logits"]

    answer.model = loaded  # type: ignore[attr-defined]  # whose variables must outlive this call
    return answer


def compare(student: keras.Model, serving: str, photos: Any) -> dict[str, float]:
    """Sets a student against its teacher.

    Args:
      student: images [N, S, S, 3] -> logits [N, C].
      serving: the teacher's SavedModel, as `load` takes it.
      photos: batches of (image, label), of any sizes.

    Returns:
      agreement: the share of photos with the same top breed; student_ms, teacher_ms: median time of
      one photo; latency_ratio; student_bytes, teacher_bytes: of the weights.
    """
    answer, teacher = (
        tf.function(ask, input_signature=[tf.TensorSpec(student.input_shape, tf.float32)])
        for ask in (lambda images: student(images, training=False), load(serving))
    )
    agreed = [_agree(answer(images), teacher(images)) for images, _ in photos]
    one = next(iter(photos))[0][:1]
    taken = _milliseconds(one, student=answer, teacher=teacher)
    sizes = {
        "student_bytes": float(sum(weight.nbytes for weight in student.get_weights())),
        "teacher_bytes": float(_weights_size(serving)),
    }
    return {
        "agreement": float(np.concatenate(agreed).mean()),
        "student_ms": taken["student"],
        "teacher_ms": taken["teacher"],
        "latency_ratio": taken["student"] / taken["teacher"],
        **sizes,
    }


def _agree(first: Any, second: Any) -> np.ndarray:
    """Where two logits [N, C] have the same top breed: bool [N]."""
    return np.asarray(np.argmax(first, axis=1) == np.argmax(second, axis=1))


def _milliseconds(photo: Any, **runs: Callable[[Any], Any]) -> dict[str, float]:
    """The median time of each, asked in turns: what else the machine does is shared by all."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        run(photo)
    for _ in range(_REPEATS):
        for name, run in runs.items():
            start = time.perf_counter()
            np.asarray(run(photo))
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(times) for name, times in taken.items()}


def _weights_size(serving: str) -> int:
    folder = os.path.join(serving, "variables")
    names = [name for name in tf.io.gfile.listdir(folder) if "data" in name]
    return sum(int(tf.io.gfile.stat(os.path.join(folder, name)).length) for name in names)
