"""Looking at a photo more than once: both ways round, and at several sizes."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


def mirrored(net: keras.Model, side: int, sizes: Sequence[int] = ()) -> keras.Model:
    """A net that looks at a photo and at its mirror image: twice the work, and fewer mistakes.

    A dog walks to the left as often as to the right, and no answer should depend on which.

    Args:
      net: images [N, s, s, 3] -> [N, D].
      side: of the images that come in, pixels.
      sizes: the sides at which the net looks, each of them both ways round; where it is not `side`,
        the images are resized, and the net has to take it. By default `side` alone.

    Returns:
      keras.Model, images [N, side, side, 3] -> float32 [N, D], the mean of all answers.
    """
    images = keras.Input((side, side, 3), name="images")
    seen = [_resized(images, side, size) for size in sizes or (side,)]
    answers = [net(view) for image in seen for view in (image, Mirror()(image))]
    return keras.Model(images, keras.layers.Average(dtype="float32")(answers))


def _resized(images: Any, side: int, size: int) -> Any:
    # Keras' Resizing would put the net behind it in training mode wherever nobody says which.
    return images if size == side else ops.image.resize(images, (size, size))


@keras.saving.register_keras_serializable("spotted")
class Mirror(keras.layers.Layer):
    """Swaps left and right."""

    def call(self, images: Any) -> Any:
        """Images [N, h, w, 3] -> the same, seen from behind the picture."""
        return ops.flip(images, axis=2)
