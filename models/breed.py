"""The breed model: a backbone, average pooling, one linear layer over the whole vocabulary.

The teacher looks at the whole picture. The student is the same network on the picture halved, a
quarter of the work, started from the teacher and taught by its softened answers.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from models import losses

TEMPERATURE = 2.0
TEACHER_SHARE = 0.7  # of the student's loss; the rest is the labels' own


@keras.saving.register_keras_serializable("spotted")
class TrainedClassesOnly(keras.layers.Layer):
    """Takes breeds without a training photo out of the race.

    The model's classes are the whole vocabulary, so that a label means the same breed in every
    version; a breed that training never saw gets a logit of -1e9, which is a probability of 0.
    """

    def __init__(self, labels: Sequence[int], classes: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.labels = sorted({int(label) for label in labels})
        self.classes = classes

    @property
    def present(self) -> Any:
        """Float [C]: 1 for a breed with training photos."""
        return ops.sum(ops.one_hot(self.labels, self.classes), axis=0)

    def call(self, logits: Any) -> Any:
        """Returns float [N, C] with the untrained breeds pushed out."""
        return logits + (self.present - 1.0) * 1e9

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        return {**super().get_config(), "labels": self.labels, "classes": self.classes}


def classifier(
    backbone: keras.Model,
    side: int,
    labels: Sequence[int],
    classes: int,
    *,
    halve: bool = False,
) -> keras.Model:
    """Builds the classifier.

    Args:
      backbone: images [N, s, s, 3] in [0, 255] -> features [N, h, w, D].
      side: of the images that come in, pixels.
      labels: the labels that have training photos.
      classes: C, the size of the vocabulary.
      halve: average 2 x 2 pixels before the backbone, which then was built for `side // 2`.

    Returns:
      keras.Model, images [N, side, side, 3] in [0, 255] -> logits [N, C].
    """
    images = keras.Input((side, side, 3), name="images")
    seen = keras.layers.AveragePooling2D(2)(images) if halve else images
    pooled = keras.layers.GlobalAveragePooling2D()(backbone(seen))
    logits = keras.layers.Dense(classes, name="head")(keras.layers.Dropout(0.2)(pooled))
    return keras.Model(images, TrainedClassesOnly(labels, classes, name="trained")(logits))


class Classifier(keras.Model):
    """Trains a classifier on smoothed labels and, with a teacher, on the teacher's answers."""

    def __init__(self, net: keras.Model, teacher: keras.Model | None = None):
        super().__init__()
        self.net = net
        self.teacher = teacher
        if teacher is not None:
            teacher.trainable = False

    def call(self, images: Any, training: bool | None = None) -> Any:
        """Returns logits [N, C]."""
        return self.net(images, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Smoothed cross-entropy, mixed with distillation while training under a teacher."""
        present = self.net.get_layer("trained").present
        loss = losses.smoothed_cross_entropy(y, y_pred, present)
        if training and self.teacher is not None:
            answers = self.teacher(x, training=False)
            taught = losses.distillation(answers, y_pred, TEMPERATURE)
            loss = (1 - TEACHER_SHARE) * loss + TEACHER_SHARE * taught
        return ops.mean(loss)
