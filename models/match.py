"""The match model: one shared encoder, generalised-mean pooling, embeddings of unit length.

Two photos are compared by the cosine of their embeddings; a logistic curve fitted on the validation
dogs turns the cosine into a probability.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from models import losses


@keras.saving.register_keras_serializable("spotted")
class GeneralisedMean(keras.layers.Layer):
    """Pools features [N, h, w, D] to [N, D] by a learned power mean (Radenovic et al., 2018).

    Power 1 is average pooling, a large power is max pooling; retrieval does best between.
    """

    def build(self, shape: Any) -> None:
        """Makes the power, 3 at the start."""
        self.power = self.add_weight(
            name="power", shape=(), initializer=keras.initializers.Constant(3.0)
        )

    def call(self, features: Any) -> Any:
        """Returns float [N, D]."""
        positive = ops.maximum(features, 1e-6)
        mean = ops.mean(ops.power(positive, self.power), axis=(1, 2))
        return ops.power(mean, 1.0 / self.power)


def encoder(backbone: keras.Model, side: int) -> keras.Model:
    """Builds the encoder.

    Args:
      backbone: images [N, side, side, 3] in [0, 255] -> features [N, h, w, D].
      side: of the images, pixels.

    Returns:
      keras.Model, images [N, side, side, 3] -> embedding [N, D], unit length.
    """
    images = keras.Input((side, side, 3), name="images")
    pooled = GeneralisedMean(name="pool")(backbone(images))
    return keras.Model(images, keras.layers.UnitNormalization(name="embedding")(pooled))


def untrained(backbone: keras.Model, side: int) -> keras.Model:
    """The encoder that a trained one has to beat: the start weights, averaged, unit length."""
    images = keras.Input((side, side, 3), name="images")
    pooled = keras.layers.GlobalAveragePooling2D()(backbone(images))
    return keras.Model(images, keras.layers.UnitNormalization()(pooled))


class Siamese(keras.Model):
    """Trains an encoder on batches of several photos of several dogs."""

    def __init__(self, net: keras.Model):
        super().__init__()
        self.net = net

    def call(self, images: Any, training: bool | None = None) -> Any:
        """Returns embeddings [N, D]."""
        return self.net(images, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Supervised contrastive loss over the batch."""
        return losses.supervised_contrastive(y, y_pred)


def mean_average_precision(embeddings: np.ndarray, dogs: Sequence[str]) -> float:
    """MAP of every photo as a probe against all others, the photos of its dog being right.

    Args:
      embeddings: float [N, D], unit length.
      dogs: [N].

    Returns:
      The mean over the photos whose dog has another photo; 0 when there is none, or when the
      embeddings are no numbers.
    """
    if not np.isfinite(embeddings).all():
        return 0.0
    names = np.asarray(dogs)
    precisions = []
    for index in range(len(names)):
        similarity = embeddings @ embeddings[index]
        order = np.argsort(-np.delete(similarity, index), kind="stable")
        right = np.delete(names == names[index], index)[order]
        if right.any():
            hits = np.flatnonzero(right)
            precisions.append(float(np.mean(np.arange(1, len(hits) + 1) / (hits + 1))))
    return float(np.mean(precisions)) if precisions else 0.0


def calibrate(cosines: np.ndarray, same: np.ndarray, steps: int = 50) -> tuple[float, float]:
    """Fits P(same dog) = sigmoid(scale * cosine + offset) on pairs (Platt, 1999).

    Pairs of the same dog and of different dogs weigh alike, so 0.5 is where both are as likely when
    one in two pairs is the same dog; Newton's method on the weighted log-likelihood with a slight
    pull to 0 that keeps perfectly separated pairs finite.

    Args:
      cosines: float [P].
      same: bool [P], both kinds present.
      steps: Newton steps.

    Returns:
      (scale, offset).
    """
    inputs = np.stack([cosines, np.ones_like(cosines)], axis=1).astype(np.float64)
    weights = np.where(same, 0.5 / max(same.sum(), 1), 0.5 / max((~same).sum(), 1))
    pull = 1e-4 * np.eye(2)
    parameters = np.zeros(2)
    for _ in range(steps):
        probability = 1 / (1 + np.exp(-np.clip(inputs @ parameters, -30, 30)))
        gradient = inputs.T @ (weights * (probability - same)) + pull @ parameters
        curvature = (inputs.T * (weights * probability * (1 - probability))) @ inputs + pull
        parameters -= np.linalg.solve(curvature, gradient)
    return float(parameters[0]), float(parameters[1])
