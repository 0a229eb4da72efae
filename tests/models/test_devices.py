import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import backbones, breed, devices, match

H100 = {"device_name": "NVIDIA H100", "compute_capability": (9, 0)}
T4 = {"device_name": "Tesla T4", "compute_capability": (7, 5)}
P100 = {"device_name": "Tesla P100", "compute_capability": (6, 0)}


@pytest.mark.parametrize(
    ("gpus", "policy"),
    [
        ([], "float32"),
        ([H100], "mixed_bfloat16"),
        ([H100, T4], "mixed_float16"),
        ([T4], "mixed_float16"),
        ([T4, P100], "float32"),
        ([{}], "float32"),
    ],
)
def test_precision_is_what_every_gpu_computes_in_hardware(gpus, policy):
    assert devices.precision(gpus) == policy


def test_several_gpus_that_share_a_batch_do_not_compute_in_float16():
    assert devices.precision([T4, T4], many=True) == "float32"
    assert devices.precision([H100, H100], many=True) == "mixed_bfloat16"


def test_without_a_gpu_a_net_is_built_in_float32_and_the_policy_is_put_back():
    with devices.devices():
        assert keras.config.dtype_policy().name == "float32"

    assert keras.config.dtype_policy().name == "float32"


def classifier():
    return breed.classifier(backbones.get("small_cnn").build(32), 32, [0, 1], 3)


def encoder():
    return match.encoder(backbones.get("small_cnn").build(32), 32)


@pytest.mark.parametrize("build", [classifier, encoder])
def test_a_net_of_mixed_precision_answers_in_float32_and_is_saved_in_it(build):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = build()
    finally:
        keras.config.set_dtype_policy("float32")
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)

    plain = devices.plain(net, build)

    assert net.get_layer("backbone").layers[-1].compute_dtype == "bfloat16"
    assert net(images).dtype == plain(images).dtype == tf.float32
    assert plain.get_layer("backbone").layers[-1].compute_dtype == "float32"
    assert np.allclose(plain(images), net(images), atol=0.05)


def test_inference_takes_batches_of_any_size():
    net = classifier()
    answer = devices.inference(net)

    for count in (1, 3, 5):
        images = np.zeros((count, 32, 32, 3), np.float32)
        assert np.allclose(answer(images), net(images), atol=1e-5)


_MIRRORED = """
import keras, numpy as np, tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from models import backbones, breed, training

def step(strategy, model_of):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = model_of()
        model.compile(training._optimizer(0.01, 1, 1), jit_compile=False)
    x = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype("float32")
    y = np.repeat([0, 1], 4)
    loss = model.fit(tf.data.Dataset.from_tensors((x, y)), verbose=0).history["loss"][0]
    return loss, model.net.get_layer("backbone").layers[-1].layers[1].kernel.numpy()

def classifier():
    net = breed.classifier(backbones.get("small_cnn").build(32), 32, [0, 1], 3)
    for layer in net.get_layer("backbone").layers[-1].layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    net.layers[-3].rate = 0.0
    return breed.Classifier(net, np.ones(3))

one = step(tf.distribute.get_strategy(), classifier)
two = step(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), classifier)
assert abs(one[0] - two[0]) < 1e-4, (one[0], two[0])
assert np.allclose(one[1], two[1], atol=1e-5), abs(one[1] - two[1]).max()
print("equal")
"""


def test_two_devices_make_the_step_that_one_makes():
    """The losses of the shares add up to that of the whole batch, and so do the gradients."""
    root = Path(__file__).resolve().parents[2]

    done = subprocess.run(
        [sys.executable, "-c", _MIRRORED],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )

    assert done.stdout.strip().endswith("equal"), done.stderr[-3000:]
