"""The devices that a net trains on, and the precision that they are fast in."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@contextlib.contextmanager
def devices(*, shared: bool = True) -> Iterator[None]:
    """What a net is built under: all GPUs of the machine, and the precision that they are fast in.

    Args:
      shared: with several GPUs each takes its share of every batch
        (`tf.distribute.MirroredStrategy`). Not for a loss that compares the photos of a batch with
        each other: each GPU would see its own only.
    """
    gpus = tf.config.list_physical_devices("GPU")
    described = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    before = keras.config.dtype_policy()
    many = shared and len(tf.config.list_logical_devices("GPU")) > 1
    keras.config.set_dtype_policy(precision(described, many))
    strategy = tf.distribute.MirroredStrategy() if many else tf.distribute.get_strategy()
    try:
        with strategy.scope():
            yield
    finally:
        keras.config.set_dtype_policy(before)


def precision(gpus: Sequence[Mapping[str, Any]], many: bool = False) -> str:
    """The fastest policy that every GPU computes in hardware.

    Args:
      gpus: TensorFlow's details of each; none on a machine without GPUs.
      many: several of them share each batch. Keras 3 then looks for overflow of float16 on the
        first of them only, and an overflow on another one would spoil the weights.

    Returns:
      bfloat16 from compute capability 8 on, float16 from 7 on, else plain float32.
    """
    least = min((gpu.get("compute_capability", (0, 0)) for gpu in gpus), default=(0, 0))
    if least >= (8, 0):
        return "mixed_bfloat16"
    return "mixed_float16" if least >= (7, 0) and not many else "float32"


def plain(net: keras.Model, build: Callable[[], keras.Model]) -> keras.Model:
    """A trained net in float32 on one device, as it is saved: `build` makes it anew there."""
    shared = isinstance(net.weights[0].value, tf.distribute.DistributedValues)
    if net.dtype_policy.name == "float32" and not shared:
        return net
    result = build()
    result.set_weights(net.get_weights())
    return result


def inference(net: keras.Model) -> Callable[[Any], np.ndarray]:
    """The net as a graph that takes batches of any size: images -> array.

    (`net.predict` would compile it for the CPU by XLA, which is slower to make and to run.)
    """
    signature = [tf.TensorSpec(net.input_shape, tf.float32)]
    run = tf.function(lambda images: net(images, training=False), input_signature=signature)
    return lambda images: np.asarray(run(images))
