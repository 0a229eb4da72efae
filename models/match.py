"""The match model: one shared encoder, generalised-mean pooling, embeddings of unit length.

Two photos are compared by the cosine of their embeddings; a logistic curve fitted on the validation
dogs turns the cosine into a probability.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from models import losses, mirror

RIDGE = 3.0  # of the whitening, in mean variances

_BY_PAIRS = {
    "supcon": losses.supervised_contrastive,
    "triplet": losses.batch_hard_triplet,
    "contrastive": losses.contrastive,
}


@keras.saving.register_keras_serializable("spotted")
class GeneralisedMean(keras.layers.Layer):
    """Pools features [N, h, w, D] to [N, D] by a learned power mean (Radenovic et al., 2018).

    Power 1 is average pooling, a large power is max pooling; retrieval does best between.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{**kwargs, "dtype": "float32"})  # whatever the policy: powers overflow

    def build(self, shape: Any) -> None:
        """Makes the power, 3 at the start."""
        self.power = self.add_weight(
            name="power", shape=(), initializer=keras.initializers.Constant(3.0)
        )

    def call(self, features: Any) -> Any:
        """Returns float32 [N, D].

        The maximum is taken out before the power, so that no power under- or overflows. The mean
        is homogeneous, so as a constant the maximum changes neither the value nor its slope.
        """
        positive = ops.maximum(features, 1e-6)
        top = ops.stop_gradient(ops.max(positive, axis=(1, 2), keepdims=True))
        mean = ops.mean(ops.power(positive / top, self.power), axis=(1, 2))
        return ops.power(mean, 1.0 / self.power) * top[:, 0, 0]


def encoder(backbone: keras.Model, side: int | None) -> keras.Model:
    """Builds the encoder.

    Args:
      backbone: images [N, side, side, 3] in [0, 255] -> features [N, h, w, D].
      side: of the images, pixels; None takes any.

    Returns:
      keras.Model, images [N, side, side, 3] -> embedding [N, D], unit length.
    """
    images = keras.Input((side, side, 3), name="images")
    pooled = GeneralisedMean(name="pool")(backbone(images))
    return keras.Model(images, _unit(pooled, "embedding"))


def whitening(embeddings: np.ndarray, dogs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """What makes the directions weigh less in which photos of one dog differ: pose, light, place.

    Method: within-class covariance normalisation (Hatch et al., 2006, Interspeech), about the mean
    of all photos. `RIDGE` holds it back where there are few dogs to learn it from.

    Args:
      embeddings: float [N, D], unit length, of the training photos.
      dogs: [N].

    Returns:
      matrix float32 [D, D] and offset float32 [D]: embeddings @ matrix + offset is whitened.
    """
    _, dog, counts = np.unique(np.asarray(dogs), return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), embeddings.shape[1]))
    np.add.at(sums, dog, embeddings)
    within = embeddings - (sums / counts[:, None])[dog]
    variances, directions = np.linalg.eigh(within.T @ within / len(within))
    least = max(variances.mean(), 1e-12)
    scales = np.sqrt(least / (np.maximum(variances, 0.0) + RIDGE * least))
    matrix = (directions * scales) @ directions.T
    offset = -embeddings.mean(axis=0) @ matrix
    return matrix.astype(np.float32), offset.astype(np.float32)


def whitened(net: keras.Model, matrix: np.ndarray, offset: np.ndarray) -> keras.Model:
    """Puts a `whitening` behind an encoder, at unit length again; it does not train."""
    layer = keras.layers.Dense(len(offset), trainable=False, dtype="float32", name="whitening")
    model = keras.Model(net.input, _unit(layer(net.output), "whitened"))
    layer.set_weights([matrix, offset])
    return model


def served(net: keras.Model, side: int, sizes: Sequence[int] = ()) -> keras.Model:
    """An encoder that looks at each photo more than once: `mirror.mirrored`, at unit length."""
    looks = mirror.mirrored(net, side, sizes)
    return keras.Model(looks.input, _unit(looks.output, "embedding"))


def _unit(vectors: Any, name: str) -> Any:
    return keras.layers.UnitNormalization(dtype="float32", name=name)(vectors)


def untrained(backbone: keras.Model, side: int) -> keras.Model:
    """The encoder that a trained one has to beat: the start weights, averaged, unit length."""
    images = keras.Input((side, side, 3), name="images")
    pooled = keras.layers.GlobalAveragePooling2D(dtype="float32")(backbone(images))
    return keras.Model(images, _unit(pooled, "embedding"))


class Siamese(keras.Model):
    """Trains an encoder on batches of several photos of several dogs.

    The encoder is `net`; what a loss learns beside it (the proxies of ArcFace, one a dog, and the
    neck before them) is thrown away after training.

    Args:
      net: images -> embedding [N, D], unit length.
      loss: one of `losses.MATCH_LOSSES`; parts joined by "+" are added up.
      identities: how many training dogs there are; labels are 0..identities-1. Only ArcFace asks.

    Raises:
      ValueError: an unknown loss, or ArcFace without a number of dogs.
    """

    def __init__(self, net: keras.Model, loss: str = "supcon", identities: int = 0):
        super().__init__()
        if loss not in losses.MATCH_LOSSES:
            known = ", ".join(losses.MATCH_LOSSES)
            raise ValueError(f"unknown match loss {loss!r}; known: {known}")
        self.net = net
        self.parts = tuple(loss.split("+"))
        self.proxies = self.neck = None
        if "arcface" in self.parts:
            self._add_proxies(identities)
        self.build(net.input_shape)

    def _add_proxies(self, identities: int) -> None:
        """Makes the proxies, and a neck where another loss shapes the embedding itself.

        Proxies count by their direction only, so the shorter they start the faster they turn. At
        this length they find their dogs within some tens of steps even at a rate that is right for
        fine-tuning; longer, they would stay where chance put them and draw the encoder there.
        """
        if identities < 1:
            raise ValueError(f"ArcFace needs the number of training dogs, found {identities}")
        width = self.net.output_shape[-1]
        start = keras.initializers.RandomNormal(stddev=1e-3)
        self.proxies = self.add_weight(
            name="proxies", shape=(identities, width), initializer=start, dtype="float32"
        )
        if len(self.parts) > 1:
            self.neck = _neck(width)

    def build(self, shape: Any) -> None:
        """Says that every weight is there: the encoder comes built, the rest is made with it."""

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
        """The loss of a batch: float32 scalar."""
        return sum(self._part(part, y, y_pred, training) for part in self.parts)

    def _part(self, name: str, dogs: Any, embeddings: Any, training: bool) -> Any:
        if name != "arcface":
            return _BY_PAIRS[name](dogs, embeddings)
        seen = embeddings if self.neck is None else self.neck(embeddings, training=training)
        return losses.arcface(dogs, seen, self.proxies)


def _neck(width: int) -> keras.layers.Layer:
    """Batch normalisation without an offset, as Luo et al., 2019 (arXiv:1903.07071) have it.

    A dimension of a unit vector has a variance of about 1 / width, which the usual epsilon of 1e-3
    would drown.
    """
    neck = keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-3 / width, center=False, dtype="float32", name="neck"
    )
    neck.build((None, width))
    return neck


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


def neighbours(embeddings: np.ndarray, dogs: Sequence[str], k: int) -> dict[str, list[str]]:
    """For each dog the k other dogs that look most like it, the nearest first.

    Dogs are compared by the cosine of their mean embeddings; a block of them at a time, so that
    memory grows with the number of dogs and not with its square.

    Args:
      embeddings: float [N, D], unit length.
      dogs: [N].
      k: how many; fewer where there are not as many other dogs.
    """
    names, index, counts = np.unique(np.asarray(dogs), return_inverse=True, return_counts=True)
    k = min(k, len(names) - 1)
    if k < 1:
        return {str(name): [] for name in names}
    starts = np.cumsum(counts) - counts
    means = np.add.reduceat(embeddings[np.argsort(index, kind="stable")], starts, axis=0)
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    found: dict[str, list[str]] = {}
    for start in range(0, len(names), 1024):
        unlike = -means[start : start + 1024] @ means.T
        rows = np.arange(len(unlike))
        unlike[rows, start + rows] = np.inf  # a dog is not its own neighbour
        nearest = np.argpartition(unlike, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(unlike, nearest, axis=1), axis=1, kind="stable")
        for row, places in zip(rows, np.take_along_axis(nearest, order, axis=1), strict=True):
            found[str(names[start + row])] = names[places].tolist()
    return found
