import keras
import numpy as np
import pytest
import tensorflow as tf

from models import backbones, breed, distillation, export

BREEDS = ["akita", "beagle", "corgi", "dingo", "eurasier", "fox"]
SIDE = 32


def classifier(seed):
    keras.utils.set_random_seed(seed)
    return breed.classifier(backbones.get("small_cnn").build(SIDE), SIDE, range(6), 6)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (8, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def net():
    return classifier(0)


@pytest.fixture(scope="module")
def serving(net, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("teacher") / "Format-Serving")
    export.BreedExport(net, SIDE, BREEDS).save(folder)
    return folder


def test_a_teacher_gives_the_logits_of_its_network(net, serving, images):
    assert np.allclose(distillation.load(serving)(images), net(images), atol=1e-4)


def test_a_teacher_answers_inside_a_graph_and_for_batches_of_any_size(net, serving, images):
    teacher = tf.function(distillation.load(serving))

    for count in (1, 5):
        assert np.allclose(teacher(images[:count]), net(images[:count]), atol=1e-4)


def batches(images):
    return tf.data.Dataset.from_tensor_slices((images, np.zeros(len(images)))).batch(3)


def test_a_student_that_is_its_teacher_agrees_and_weighs_as_much(net, serving, images):
    told = distillation.compare(net, serving, batches(images))

    assert told["agreement"] == 1.0
    assert told["student_bytes"] == sum(weight.nbytes for weight in net.get_weights())
    assert told["teacher_bytes"] == pytest.approx(told["student_bytes"], rel=0.05)
    assert told["latency_ratio"] == told["student_ms"] / told["teacher_ms"] > 0


def test_agreement_is_the_share_of_photos_with_the_same_top_breed(serving, images):
    other = classifier(1)
    teacher = distillation.load(serving)
    expected = np.mean(np.argmax(other(images), 1) == np.argmax(teacher(images), 1))

    told = distillation.compare(other, serving, batches(images))

    assert told["agreement"] == pytest.approx(expected)
    assert expected < 1


@keras.saving.register_keras_serializable("test")
class Counting(keras.layers.Layer):
    """Counts how often Python comes by."""

    calls = 0

    def call(self, images):
        Counting.calls += 1
        return images


def test_the_student_is_made_a_graph_once_for_all_batches(serving, images):
    photos = keras.Input((SIDE, SIDE, 3))
    student = keras.Model(photos, classifier(1)(Counting()(photos)))
    Counting.calls = 0

    distillation.compare(student, serving, batches(images))  # of 3, 3 and 2, and one photo alone

    assert Counting.calls == 1
