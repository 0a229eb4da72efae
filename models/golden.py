"""Golden answers: what a trained network says of some photos, kept beside its SavedModel.

Whoever ships the SavedModel can ask it the same again, in another process or on another machine.
"""

import io
import os
from collections.abc import Sequence

import numpy as np

FILE = os.path.join("Format-Golden", "golden.npz")


def path(serving: str) -> str:
    """Where the golden answers of the SavedModel in the folder `serving` lie."""
    return os.path.join(os.path.dirname(serving.rstrip("/")), FILE)


def write(
    serving: str, jpegs: Sequence[bytes], answers: np.ndarray, png_answers: np.ndarray
) -> None:
    """Writes golden answers, as an .npz that holds no pickles.

    Args:
      serving: folder of the SavedModel.
      jpegs: [N], the photos as their records have them; in the file they are `jpegs`, uint8, all
        bytes in a row, and `lengths`, int64 [N].
      answers: float32 [N, D], the network's.
      png_answers: float32 [N, D], to the same pixels sent as PNG, which a SavedModel passes through
        a record's JPEG once more.
    """
    import tensorflow as tf

    buffer = io.BytesIO()
    np.savez(
        buffer,
        jpegs=np.frombuffer(b"".join(jpegs), np.uint8),
        lengths=np.array([len(jpeg) for jpeg in jpegs], np.int64),
        answers=answers,
        png_answers=png_answers,
    )
    tf.io.gfile.makedirs(os.path.dirname(path(serving)))
    with tf.io.gfile.GFile(path(serving), "wb") as file:
        file.write(buffer.getvalue())
