"""The registry of backbones: a name, how many weights it has, how it wants its pixels.

A backbone maps float32 images [N, side, side, 3] in [0, 255] to features [N, h, w, D]; the scaling
that it was trained with is part of it. Nothing heavy is imported before `build`.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any


class WeightsError(ValueError):
    """A start-weights file that does not belong to the backbone."""


@dataclasses.dataclass(frozen=True)
class Backbone:
    """One registered backbone.

    Attributes:
      name: what `--backbone` takes.
      application: its name in `keras.applications`; None for the net that is defined here.
      weights: how many weights it has without its classifier; a file with another number of them
        can't be its own.
      symmetric: it wants its pixels in [-1, 1]; otherwise it scales them itself.
      smallest: the smallest side of an image that it takes, in pixels.
    """

    name: str
    application: str | None
    weights: int
    symmetric: bool
    smallest: int = 32

    def build(self, side: int | None) -> Any:
        """Returns the keras.Model on images [N, side, side, 3] in [0, 255], with random weights.

        `side` None takes images of any size.
        """
        import keras

        images = keras.Input((side, side, 3), name="images")
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(images) if self.symmetric else images
        return keras.Model(images, self._net(side)(scaled), name="backbone")

    def _net(self, side: int | None) -> Any:
        import keras

        if self.application is None:
            return _small_cnn(side)
        make: Callable[..., Any] = getattr(keras.applications, self.application)
        return make(include_top=False, weights=None, input_shape=(side, side, 3))

    def load(self, model: Any, path: str) -> None:
        """Loads start weights into a model of `build`.

        Raises:
          WeightsError: the file is of another network.
        """
        try:
            model.layers[-1].load_weights(path)
        except Exception as error:
            raise WeightsError(f"{path} does not fit backbone {self.name}: {error}") from error

    def fetch_imagenet(self, path: str, flag: str = "--weights") -> None:
        """Writes Keras' ImageNet weights to `path` (they are downloaded unless Keras has them).

        Args:
          path: of the file.
          flag: what asked for them, for the messages.

        Raises:
          WeightsError: there are none, or they could not be downloaded.
        """
        import keras

        if self.application is None:
            raise WeightsError(f"backbone {self.name} has no ImageNet weights: use {flag} none")
        make: Callable[..., Any] = getattr(keras.applications, self.application)
        try:
            make(include_top=False, weights="imagenet").save_weights(path)
        except Exception as error:
            raise WeightsError(
                f"the ImageNet weights of {self.name} could not be downloaded ({error}): check the "
                f"network, or give a file with {flag} FILE, or {flag} none"
            ) from error


def _small_cnn(side: int | None) -> Any:
    """Four plain convolution blocks, for drawn dogs and for tests.

    Batch normalisation forgets at 0.9 a step: with Keras' default a short training ends before
    the moving statistics have left their start.
    """
    import keras

    images = keras.Input((side, side, 3))
    x = images
    for width in (32, 64, 96, 128):
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
        x = keras.layers.MaxPooling2D(padding="same")(x)
    return keras.Model(images, x, name="small_cnn")


SMALL = "small_cnn"
_REGISTERED = (
    Backbone(SMALL, None, 186_464, symmetric=True),
    Backbone("efficientnet_v2_b0", "EfficientNetV2B0", 5_919_312, symmetric=False),
    Backbone("efficientnet_v2_b1", "EfficientNetV2B1", 6_931_124, symmetric=False),
    Backbone("efficientnet_v2_s", "EfficientNetV2S", 20_331_360, symmetric=False),
    Backbone("mobilenet_v2", "MobileNetV2", 2_257_984, symmetric=True),
    Backbone("mobilenet_v3_small", "MobileNetV3Small", 939_120, symmetric=False),
    Backbone("mobilenet_v3_large", "MobileNetV3Large", 2_996_352, symmetric=False),
    Backbone("resnet50_v2", "ResNet50V2", 23_564_800, symmetric=True),
    Backbone("inception_resnet_v2", "InceptionResNetV2", 54_336_736, symmetric=True, smallest=75),
)
BACKBONES = {backbone.name: backbone for backbone in _REGISTERED}


def get(name: str) -> Backbone:
    """Returns a registered backbone.

    Raises:
      ValueError: no such name; the message lists those that there are.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}; known: {', '.join(BACKBONES)}")
    return BACKBONES[name]


def is_old_layout(path: str) -> bool:
    """Whether an HDF5 weights file is of the layout before Keras 3, which Keras still publishes."""
    import h5py

    with h5py.File(path, "r") as file:
        return "layer_names" in file.attrs or "model_weights" in file


def check_weights(path: str, backbone: Backbone) -> None:
    """Checks that a weights file can be the backbone's, without building the network.

    Args:
      path: a Keras `.weights.h5` file, or the older HDF5 layout that Keras publishes.
      backbone: that is to start from it.

    Raises:
      WeightsError: the file is missing, is no HDF5, or holds another number of weights.
    """
    import h5py

    if not Path(path).is_file():
        raise WeightsError(f"weights file {path} does not exist")
    count = 0

    def add(_: str, item: Any) -> None:
        nonlocal count
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            count += item.size

    try:
        with h5py.File(path, "r") as file:
            file.visititems(add)
    except OSError as error:
        raise WeightsError(
            f"weights file {path} is no HDF5 file, or only a part of one: fetch it again"
        ) from error
    if count != backbone.weights:
        raise WeightsError(
            f"weights file {path} holds {count:,} weights, backbone {backbone.name} without its "
            f"classifier has {backbone.weights:,}: give the file of this backbone, saved with "
            "include_top=False"
        )
