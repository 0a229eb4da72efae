"""Losses of the two models."""

import math
from typing import Any

# What the match model can be trained with; match.Siamese puts them together.
MATCH_LOSSES = ("supcon", "triplet", "arcface", "contrastive", "supcon+arcface")


def supervised_contrastive(labels: Any, embeddings: Any, temperature: float = 0.1) -> Any:
    """Supervised contrastive loss, L_out of Khosla et al., 2020 (arXiv:2004.11362).

    Every photo is an anchor; the other photos of its dog are its positives, all other photos of the
    batch stand in the denominator. Anchors without a positive do not count.

    Args:
      labels: [N] or [N, 1], equal for photos of the same dog.
      embeddings: float [N, D], unit length.
      temperature: the cosine's divisor.

    Returns:
      float32 scalar, the mean over the anchors that have a positive (0 when none has).
    """
    from keras import ops

    positive, _ = _pairs(labels)
    itself = ops.eye(ops.shape(positive)[0])
    logits = _cosines(embeddings) / temperature - 1e9 * itself
    log_probability = ops.log_softmax(logits, axis=1)
    positives = ops.sum(positive, axis=1)
    per_anchor = -ops.sum(positive * log_probability, axis=1) / ops.maximum(positives, 1.0)
    return _mean(per_anchor, positives > 0)


def batch_hard_triplet(labels: Any, embeddings: Any, margin: float = 0.2) -> Any:
    """Triplet loss on the hardest photos of the batch (Hermans et al., 2017, arXiv:1703.07737).

    Every photo is an anchor: its farthest photo of the same dog has to be nearer than its nearest
    photo of another dog, by the margin. Anchors that lack either do not count.

    Args:
      labels: [N] or [N, 1], equal for photos of the same dog.
      embeddings: float [N, D], unit length, so that distances lie in 0..2.
      margin: in Euclidean distance.

    Returns:
      float32 scalar, the mean over the anchors (0 when there is none).
    """
    from keras import ops

    positive, negative = _pairs(labels)
    distance = _distances(embeddings)
    farthest = ops.max(distance * positive, axis=1)
    nearest = ops.min(distance + 10.0 * (1.0 - negative), axis=1)
    anchors = ops.logical_and(ops.any(positive > 0, axis=1), ops.any(negative > 0, axis=1))
    return _mean(ops.relu(farthest - nearest + margin), anchors)


def contrastive(labels: Any, embeddings: Any, margin: float = 1.0) -> Any:
    """The plain Siamese loss (Hadsell et al., 2006) over all pairs of the batch.

    A pair of one dog costs half its squared distance, a pair of two dogs half the square of what
    its distance lacks to the margin. Each kind is averaged for itself, so that the many pairs of
    different dogs weigh no more than the few of the same.

    Args:
      labels: [N] or [N, 1], equal for photos of the same dog.
      embeddings: float [N, D], unit length, so that distances lie in 0..2.
      margin: the distance beyond which a pair of two dogs costs nothing.

    Returns:
      float32 scalar, the sum of the two means (a kind of which there is no pair gives 0).
    """
    from keras import ops

    positive, negative = _pairs(labels)
    distance = _distances(embeddings)
    pull = _mean(ops.square(distance) / 2, positive > 0)
    push = _mean(ops.square(ops.relu(margin - distance)) / 2, negative > 0)
    return pull + push


def arcface(
    labels: Any, embeddings: Any, proxies: Any, scale: float = 20.0, margin: float = 0.2
) -> Any:
    """Additive angular margin loss (Deng et al., 2019, arXiv:1801.07698).

    Cross-entropy over the cosines to one learned proxy a dog, in which the angle to the own proxy
    counts as wider by the margin. Where that would pass 180 degrees, and the cosine grow again, it
    goes on falling along a line instead: cos t - margin * sin(margin).

    Args:
      labels: int [N] or [N, 1], the dog's row in `proxies`.
      embeddings: float [N, D], of any length.
      proxies: float [C, D], of any length.
      scale: of the cosines, an inverse temperature.
      margin: radians.

    Returns:
      float32 scalar, the mean over the photos.
    """
    from keras import ops

    cosine = ops.matmul(_unit(embeddings), ops.transpose(_unit(proxies)))
    # Kept off 0, where the root's slope has no bound: the cosine is then +1 or -1.
    sine = ops.sqrt(ops.maximum(1.0 - ops.square(cosine), 1e-6))
    wider = cosine * math.cos(margin) - sine * math.sin(margin)
    beyond = cosine < -math.cos(margin)
    target = ops.where(beyond, cosine - margin * math.sin(margin), wider)
    own = ops.one_hot(ops.reshape(labels, (-1,)), ops.shape(proxies)[0])
    logits = scale * ops.where(own > 0, target, cosine)
    return -ops.mean(ops.sum(own * ops.log_softmax(logits, axis=1), axis=1))


def _pairs(labels: Any) -> tuple[Any, Any]:
    """Float32 [N, N] twice: 1 for two photos of one dog, and 1 for photos of two dogs."""
    from keras import ops

    labels = ops.reshape(labels, (-1, 1))
    same = ops.cast(ops.equal(labels, ops.transpose(labels)), "float32")
    return same - ops.eye(ops.shape(labels)[0]), 1.0 - same


def _cosines(embeddings: Any) -> Any:
    """Float32 [N, N], whatever the precision that the embeddings [N, D] came in."""
    from keras import ops

    embeddings = ops.cast(embeddings, "float32")
    return ops.matmul(embeddings, ops.transpose(embeddings))


def _distances(embeddings: Any) -> Any:
    """Euclidean distances [N, N] of unit vectors; below 0.001 they are 0, and so is their slope.

    A root's slope has no bound at 0, where every photo's distance to itself lies.
    """
    from keras import ops

    squared = 2.0 - 2.0 * _cosines(embeddings)
    apart = squared > 1e-6
    return ops.where(apart, ops.sqrt(ops.where(apart, squared, 1.0)), 0.0)


def _unit(vectors: Any) -> Any:
    """Vectors [N, D] at unit length, float32; one of length 0 stays so, and has a finite slope."""
    from keras import ops

    vectors = ops.cast(vectors, "float32")
    squared = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors * ops.rsqrt(ops.maximum(squared, 1e-12))


def _mean(values: Any, counted: Any) -> Any:
    """The mean of the values that count, 0 when none does."""
    from keras import ops

    counted = ops.cast(counted, "float32")
    return ops.sum(values * counted) / ops.maximum(ops.sum(counted), 1.0)


def targets(labels: Any, classes: int) -> Any:
    """What a classifier should answer: float [N, C].

    Args:
      labels: int [N], or float [N, C], which are targets already.
      classes: C.
    """
    from keras import ops

    return labels if len(labels.shape) == 2 else ops.one_hot(labels, classes)


def smoothed_cross_entropy(labels: Any, logits: Any, present: Any, smoothing: float = 0.1) -> Any:
    """Cross-entropy with label smoothing over the classes that training has.

    Args:
      labels: int [N], or targets float [N, C].
      logits: float [N, C].
      present: float [C], 1 for a class with training photos and 0 for the others.
      smoothing: the share of the target that is spread evenly over the present classes (Szegedy et
        al., 2016, arXiv:1512.00567).

    Returns:
      float [N].
    """
    from keras import ops

    hard = targets(labels, ops.shape(logits)[-1])
    target = (1 - smoothing) * hard + smoothing * present / ops.sum(present)
    return -ops.sum(target * ops.log_softmax(logits, axis=-1), axis=-1)


def distillation(teacher_logits: Any, student_logits: Any, present: Any, temperature: float) -> Any:
    """T² KL(teacher || student) of the softened distributions (Hinton et al., 2015).

    arXiv:1503.02531. T² keeps the gradient's size the same whatever the temperature. A teacher from
    elsewhere may know classes that the student can't answer: both distributions are over those that
    the student's training has.

    Args:
      teacher_logits: float [N, C].
      student_logits: float [N, C].
      present: float [C], 1 for a class with training photos and 0 for the others.
      temperature: T.

    Returns:
      float [N].
    """
    from keras import ops

    teacher, student = (
        ops.log_softmax(ops.where(present > 0, logits, -1e9) / temperature, axis=-1)
        for logits in (teacher_logits, student_logits)
    )
    return temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
