"""Losses of the two models."""

from typing import Any


def supervised_contrastive(labels: Any, embeddings: Any, temperature: float = 0.1) -> Any:
    """Supervised contrastive loss, L_out of Khosla et al., 2020 (arXiv:2004.11362).

    Every photo is an anchor; the other photos of its dog are its positives, all other photos of the
    batch stand in the denominator. Anchors without a positive do not count.

    Args:
      labels: [N] or [N, 1], equal for photos of the same dog.
      embeddings: float [N, D], unit length.
      temperature: the cosine's divisor.

    Returns:
      Scalar, the mean over the anchors that have a positive (0 when none has).
    """
    from keras import ops

    labels = ops.reshape(labels, (-1, 1))
    itself = ops.eye(ops.shape(labels)[0])
    positive = ops.cast(ops.equal(labels, ops.transpose(labels)), "float32") - itself
    logits = ops.matmul(embeddings, ops.transpose(embeddings)) / temperature - 1e9 * itself
    log_probability = ops.log_softmax(logits, axis=1)
    positives = ops.sum(positive, axis=1)
    per_anchor = -ops.sum(positive * log_probability, axis=1) / ops.maximum(positives, 1.0)
    anchors = ops.cast(positives > 0, "float32")
    return ops.sum(per_anchor * anchors) / ops.maximum(ops.sum(anchors), 1.0)


def smoothed_cross_entropy(labels: Any, logits: Any, present: Any, smoothing: float = 0.1) -> Any:
    """Cross-entropy with label smoothing over the classes that training has.

    Args:
      labels: int [N].
      logits: float [N, C].
      present: float [C], 1 for a class with training photos and 0 for the others.
      smoothing: the share of the target that is spread evenly over the present classes (Szegedy et
        al., 2016, arXiv:1512.00567).

    Returns:
      float [N].
    """
    from keras import ops

    hard = ops.one_hot(labels, ops.shape(logits)[-1])
    target = (1 - smoothing) * hard + smoothing * present / ops.sum(present)
    return -ops.sum(target * ops.log_softmax(logits, axis=-1), axis=-1)


def distillation(teacher_logits: Any, student_logits: Any, temperature: float) -> Any:
    """T² KL(teacher || student) of the softened distributions (Hinton et al., 2015).

    arXiv:1503.02531. T² keeps the gradient's size the same whatever the temperature.

    Args:
      teacher_logits: float [N, C].
      student_logits: float [N, C].
      temperature: T.

    Returns:
      float [N].
    """
    from keras import ops

    teacher = ops.log_softmax(teacher_logits / temperature, axis=-1)
    student = ops.log_softmax(student_logits / temperature, axis=-1)
    return temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)
