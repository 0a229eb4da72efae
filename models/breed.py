"""The breed model: a backbone, average pooling, one linear layer over the whole vocabulary.

The student looks at a smaller picture, or has a smaller backbone, and is taught by the teacher's
softened answers.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from models import losses
from models.distillation import Teacher

TEMPERATURE = 4.0
TEACHER_SHARE = 0.9  # of the student's loss; the rest is the labels' own
RARE = 0.99


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
    backbone: keras.Model, side: int, labels: Sequence[int], classes: int
) -> keras.Model:
    """Builds the classifier.

    Args:
      backbone: images [N, s, s, 3] in [0, 255] -> features [N, h, w, D]; where s is less than
        `side` the images are made smaller for it.
      side: of the images that come in, pixels.
      labels: the labels that have training photos.
      classes: C, the size of the vocabulary.

    Returns:
      keras.Model, images [N, side, side, 3] in [0, 255] -> logits float32 [N, C].
    """
    images = keras.Input((side, side, 3), name="images")
    features = backbone(_smaller(images, side, backbone.input_shape[1]))
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    head = keras.layers.Dense(classes, name="head", dtype="float32")
    logits = head(keras.layers.Dropout(0.2)(pooled))
    return keras.Model(
        images, TrainedClassesOnly(labels, classes, name="trained", dtype="float32")(logits)
    )


def _smaller(images: Any, side: int, wanted: int) -> Any:
    """Averages whole blocks of pixels, of the images enlarged to a multiple of the wanted side.

    (Keras' Resizing would put the backbone behind it in training mode wherever nobody says which.)
    """
    block = -(-side // wanted)
    if side != block * wanted:
        images = ops.image.resize(images, (block * wanted, block * wanted))
    return keras.layers.AveragePooling2D(block)(images) if block > 1 else images


def balance(labels: Sequence[int], classes: int) -> np.ndarray:
    """Weighs the photos of rare breeds more, by the effective number of their breed's photos.

    Method: Cui et al., 2019, arXiv:1901.05555: a photo weighs (1 - b) / (1 - b^n), n photos of its
    breed; b = 0.99, so that beyond some hundreds of photos more of them bring nothing new.

    Args:
      labels: of all training photos.
      classes: C.

    Returns:
      float32 [C], whose mean over the training photos is 1; 0 for a breed without photos.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = np.where(counts > 0, (1 - RARE) / (1 - RARE ** np.maximum(counts, 1)), 0.0)
    mean = (weights * counts).sum() / max(counts.sum(), 1)
    return np.asarray(weights / mean, np.float32)


class Classifier(keras.Model):
    """Trains a classifier on smoothed labels and, with a teacher, on the teacher's answers.

    Args:
      net: images [N, S, S, 3] -> logits [N, C].
      weights: float [C], what a photo of each class weighs.
      teacher: images -> logits [N, C].
    """

    def __init__(self, net: keras.Model, weights: np.ndarray, teacher: Teacher | None = None):
        super().__init__()
        self.net = net
        self.teacher = teacher
        self._weights_of_classes = np.asarray(weights, np.float32)

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
        """Weighted, smoothed cross-entropy; under a teacher, mixed with distillation.

        `y` is int [N], or float [N, C] where photos are mixed: such a photo weighs the mean of what
        its classes weigh. On several devices each gives its share: Keras adds them up.
        """
        present = self.net.get_layer("trained").present
        targets = losses.targets(y, ops.shape(y_pred)[-1])
        weight = ops.sum(targets * self._weights_of_classes, axis=-1)
        loss = weight * losses.smoothed_cross_entropy(targets, y_pred, present)
        if self.teacher is not None:
            taught = losses.distillation(self.teacher(x), y_pred, present, TEMPERATURE)
            loss = (1 - TEACHER_SHARE) * loss + TEACHER_SHARE * taught
        return ops.mean(loss) / tf.distribute.get_strategy().num_replicas_in_sync
