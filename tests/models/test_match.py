import contextlib
import itertools
import math
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score

from models import backbones, losses, match

ROOT = Path(__file__).resolve().parents[2]


def at_angles(*degrees):
    turns = np.radians(degrees)
    return np.stack([np.cos(turns), np.sin(turns)], axis=1)


def test_mean_average_precision_by_hand():
    # Nearest first, seen from a at 0: b10, a30, b100, so its dog is second: 1/2. From a at 30: b10,
    # a0, b100: 1/2. From b at 10: a0, a30, b100: 1/3. From b at 100: a30, b10, a0: 1/2.
    # Mean: (1/2 + 1/2 + 1/3 + 1/2) / 4 = 11/24.
    value = match.mean_average_precision(at_angles(0, 30, 10, 100), ["a", "a", "b", "b"])

    assert value == pytest.approx(11 / 24)


def test_average_precision_of_several_right_photos_by_hand():
    # From a at 0: a11, b21, a30: (1/1 + 2/3) / 2 = 5/6. From a at 11: b21, a0, a30:
    # (1/2 + 2/3) / 2 = 7/12. From a at 30: b21, a11, a0: 7/12. b has no other photo.
    # Mean: (5/6 + 7/12 + 7/12) / 3 = 2/3.
    value = match.mean_average_precision(at_angles(0, 11, 21, 30), ["a", "a", "b", "a"])

    assert value == pytest.approx(2 / 3)


def test_mean_average_precision_is_that_of_scikit_learn():
    random = np.random.default_rng(3)
    embeddings = random.normal(size=(40, 8))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    dogs = random.integers(0, 6, 40)
    similarity = embeddings @ embeddings.T
    expected = []
    for probe in range(40):
        others = np.arange(40) != probe
        right = dogs[others] == dogs[probe]
        expected.append(average_precision_score(right, similarity[probe][others]))

    value = match.mean_average_precision(embeddings, [str(dog) for dog in dogs])

    assert value == pytest.approx(np.mean(expected))


def test_a_perfect_encoder_has_a_mean_average_precision_of_one():
    assert match.mean_average_precision(at_angles(0, 1, 90, 91), ["a", "a", "b", "b"]) == 1.0


def test_without_a_dog_with_two_photos_it_is_zero():
    assert match.mean_average_precision(at_angles(0, 20), ["a", "b"]) == 0.0


def test_neighbours_are_the_most_alike_of_the_other_dogs():
    # Means: a at 10 (of 0 and 20), b at 50, c at 100, d at 180. From a: b 40, c 90, d 170. From b:
    # a 40, c 50, d 130. From c: b 50, d 80, a 90. From d: c 80, b 130, a 170.
    embeddings = at_angles(0, 50, 180, 20, 100)

    found = match.neighbours(embeddings, ["a", "b", "d", "a", "c"], k=2)

    assert found == {"a": ["b", "c"], "b": ["a", "c"], "c": ["b", "d"], "d": ["c", "b"]}


def test_neighbours_go_by_the_direction_of_the_mean():
    # a's mean of -60 and 60 points to 0 with a length of 1/2; b at 10 is nearer to it than c at 70.
    found = match.neighbours(at_angles(-60, 60, 10, 70), ["a", "a", "b", "c"], k=1)

    assert found == {"a": ["b"], "b": ["a"], "c": ["b"]}


def test_there_are_no_more_neighbours_than_other_dogs():
    assert match.neighbours(at_angles(0, 10), ["a", "b"], k=5) == {"a": ["b"], "b": ["a"]}
    assert match.neighbours(at_angles(0, 10), ["a", "a"], k=5) == {"a": []}


def test_neighbours_of_many_dogs_are_those_of_the_whole_matrix():
    embeddings = np.random.default_rng(0).normal(size=(1500, 8))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    names = [f"{number:04}" for number in range(1500)]
    similarity = embeddings @ embeddings.T - 9 * np.eye(1500)

    found = match.neighbours(embeddings, names, k=3)

    expected = np.argsort(-similarity, axis=1)[:, :3]
    assert [found[name] for name in names] == [[names[one] for one in row] for row in expected]


def test_embeddings_have_unit_length():
    net = match.encoder(backbones.get("small_cnn").build(32), 32)
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)

    embeddings = net(images).numpy()

    assert embeddings.shape == (3, 128)
    assert np.linalg.norm(embeddings, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)


def test_the_encoder_to_beat_has_unit_length_and_no_power():
    net = match.untrained(backbones.get("small_cnn").build(32), 32)
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)

    assert np.linalg.norm(net(images), axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert net.count_params() == backbones.get("small_cnn").weights


def pooled(features, power):
    layer = match.GeneralisedMean()
    layer.build(features.shape)
    layer.set_weights([np.float32(power)])
    return layer(features).numpy()


def test_power_three_is_the_start_and_by_hand():
    # ((1 + 8 + 27 + 64) / 4)^(1/3) = 25^(1/3) = 2.92402
    features = np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]], np.float32)

    assert float(match.GeneralisedMean()(features)[0, 0]) == pytest.approx(2.92402, abs=1e-4)


def test_power_one_is_the_mean():
    features = np.random.default_rng(0).uniform(0, 5, (2, 4, 4, 3)).astype(np.float32)

    assert pooled(features, 1.0) == pytest.approx(features.mean(axis=(1, 2)), rel=1e-4)


def test_a_large_power_approaches_the_maximum():
    features = np.random.default_rng(0).uniform(0.2, 1, (2, 4, 4, 3)).astype(np.float32)

    maximum = features.max(axis=(1, 2))
    near, far = pooled(features, 60.0), pooled(features, 6.0)

    assert near == pytest.approx(maximum, rel=0.05)  # 16^(-1/60) = 0.955 at the least
    assert (np.abs(near - maximum) < np.abs(far - maximum)).all()


def test_an_encoder_comes_back_from_its_file(tmp_path):
    net = match.encoder(backbones.get("small_cnn").build(32), 32)
    net.get_layer("pool").set_weights([np.float32(2.5)])
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)

    net.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")

    assert again(images).numpy() == pytest.approx(net(images).numpy(), abs=1e-6)


def test_pooling_is_in_full_precision_under_mixed_precision():
    # 300^3 is beyond float16, whose largest number is 65504. ((300^3 + 3 * 100^3) / 4)^(1/3):
    # (27e6 + 3e6) / 4 = 7.5e6, its cube root is 195.743.
    features = np.array([[[[300.0], [100.0]], [[100.0], [100.0]]]], np.float16)

    with mixed_precision():
        layer = match.GeneralisedMean()
        value = layer(features)

    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert float(value[0, 0]) == pytest.approx(195.743, abs=1e-2)


def test_a_power_that_would_underflow_has_a_finite_gradient():
    features = tf.Variable(np.array([[[[0.0], [1e-3]], [[2e-3], [0.0]]]], np.float32))
    layer = match.GeneralisedMean()
    layer.build(features.shape)
    layer.set_weights([np.float32(40.0)])

    with tf.GradientTape() as tape:
        value = layer(features)
    gradients = tape.gradient(value, [features, layer.power.value])

    # 2e-3 * 4^(-1/40) = 1.9319e-3: the other three are nothing beside it.
    assert float(value[0, 0]) == pytest.approx(1.9319e-3, rel=1e-4)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_the_gradient_of_the_mean_by_hand():
    # d/dx_i of (mean x^3)^(1/3) = x_i^2 / 4 * 25^(-2/3) for 1, 2, 3, 4: 25^(-2/3) = 0.116961.
    features = tf.Variable(np.array([[[[1.0], [2.0]], [[3.0], [4.0]]]], np.float32))
    layer = match.GeneralisedMean()

    with tf.GradientTape() as tape:
        value = layer(features)
    gradient = tape.gradient(value, features)

    expected = np.array([1, 4, 9, 16]) / 4 * 0.116961
    assert gradient.numpy().ravel() == pytest.approx(expected, rel=1e-4)


@contextlib.contextmanager
def mixed_precision():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def test_embeddings_are_in_full_precision_under_mixed_precision():
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)

    with mixed_precision():
        backbone = backbones.get("small_cnn").build(32)
        nets = [match.encoder(backbone, 32), match.untrained(backbone, 32)]
        embeddings = [net(images) for net in nets]

    for embedding in embeddings:
        assert keras.backend.standardize_dtype(embedding.dtype) == "float32"
        assert np.linalg.norm(embedding, axis=1) == pytest.approx([1, 1, 1], abs=1e-6)


def identity(width=2):
    """A net whose embedding is its input at unit length."""
    return keras.Sequential([keras.Input((width,)), keras.layers.UnitNormalization()])


DOGS = np.array([1, 1, 2])
EMBEDDINGS = at_angles(0, 10, 50).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("supcon", losses.supervised_contrastive),
        ("triplet", losses.batch_hard_triplet),
        ("contrastive", losses.contrastive),
    ],
)
def test_siamese_is_trained_by_the_loss_that_it_is_told(name, function):
    loss = match.Siamese(identity(), name).compute_loss(y=DOGS, y_pred=EMBEDDINGS)

    assert float(loss) == pytest.approx(float(function(DOGS, EMBEDDINGS)))


def test_siamese_is_trained_by_the_supervised_contrastive_loss_unless_told():
    loss = match.Siamese(identity()).compute_loss(y=DOGS, y_pred=EMBEDDINGS)

    assert float(loss) == pytest.approx(float(losses.supervised_contrastive(DOGS, EMBEDDINGS)))


def test_arcface_has_a_proxy_for_each_dog():
    # Every photo lies on its proxy, the other two proxies are at 90 and 180 degrees: scale 20 and
    # margin 0.2 give 20 cos 0.2 = 19.60133 against 0 and -20: ln(1 + e^-19.6 + e^-39.6) = 3e-9.
    # A photo of dog 0 on the proxy at 90: 20 cos(90 degrees + 0.2) = -3.97339 against 20 (its own
    # place) and 0 (the one at 180): 20 + 3.97339 = 23.97339.
    model = match.Siamese(identity(), "arcface", identities=3)
    model.proxies.assign(at_angles(0, 90, 180))

    right = model.compute_loss(y=np.array([0, 1, 2]), y_pred=at_angles(0, 90, 180))
    wrong = model.compute_loss(y=np.array([0]), y_pred=at_angles(90))

    assert float(right) == pytest.approx(0.0, abs=1e-6)
    assert float(wrong) == pytest.approx(23.97339, abs=1e-4)


def test_supcon_and_arcface_are_added_behind_a_neck():
    # The neck centres the four photos and puts each dimension to a variance of 1. Along x they are
    # 1, 0, -1, 0 and along y 0, 1, 0, -1, so it only stretches both by the root of 2: the angles
    # stay, and ArcFace is what it is without.
    dogs, embeddings = np.array([0, 0, 1, 1]), at_angles(0, 90, 180, 270).astype(np.float32)
    model = match.Siamese(identity(), "supcon+arcface", identities=2)

    loss = model.compute_loss(y=dogs, y_pred=embeddings)

    expected = losses.supervised_contrastive(dogs, embeddings)
    expected += losses.arcface(dogs, embeddings, model.proxies)
    assert float(loss) == pytest.approx(float(expected), rel=1e-3)


def test_the_neck_takes_out_what_all_photos_share():
    # Seen from their mean the two dogs are opposite, however alike the embeddings are: with proxies
    # across, the logits are 20 cos 0.2 and -20.
    model = match.Siamese(identity(), "supcon+arcface", identities=2)
    dogs, embeddings = np.array([0, 1]), at_angles(-5, 5).astype(np.float32)
    model.proxies.assign(at_angles(-90, 90))

    loss = model.compute_loss(y=dogs, y_pred=embeddings)  # supcon is 0: nobody has a positive

    assert float(loss) == pytest.approx(0.0, abs=1e-4)


def test_the_neck_gives_every_dimension_of_a_wide_embedding_the_same_weight():
    embeddings = np.random.default_rng(0).normal(size=(64, 1280)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    model = match.Siamese(identity(1280), "supcon+arcface", identities=2)

    spread = np.std(model.neck(embeddings, training=True), axis=0)

    assert spread == pytest.approx(np.ones(1280), abs=0.01)


def test_embeddings_that_are_all_the_same_have_a_finite_gradient_through_the_neck():
    # What the neck leaves of them is of length 0.
    model = match.Siamese(identity(), "supcon+arcface", identities=2)
    embeddings = tf.Variable(at_angles(0, 0, 0, 0).astype(np.float32))

    with tf.GradientTape() as tape:
        loss = model.compute_loss(y=np.array([0, 0, 1, 1]), y_pred=embeddings)
    gradients = tape.gradient(loss, [embeddings, model.proxies.value])

    assert np.isfinite(loss)
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_what_a_loss_learns_beside_the_encoder_is_no_part_of_it():
    net = identity()
    model = match.Siamese(net, "supcon+arcface", identities=3)

    assert [tuple(weight.shape) for weight in model.trainable_weights] == [(3, 2), (2,)]
    assert net.weights == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("arcfac", 3),
            "unknown match loss 'arcfac'; known: supcon, triplet, arcface, contrastive",
        ),
        (("arcface", 0), "ArcFace needs the number of training dogs, found 0"),
        (("supcon+arcface",), "ArcFace needs the number of training dogs, found 0"),
    ],
)
def test_a_loss_that_cannot_be_trained_is_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        match.Siamese(identity(), *arguments)


def separable(dogs=8, photos=6, seed=0):
    """Points [N, 16] that differ by dog in three dimensions, and more by chance in the others."""
    random = np.random.default_rng(seed)
    dog = np.repeat(np.arange(dogs), photos)
    corners = np.array(list(itertools.product([-1, 1], repeat=3)), np.float32)[:dogs]
    chance = random.normal(0, 2, (len(dog), 13))
    return np.concatenate([corners[dog], chance], axis=1).astype(np.float32), dog.astype(np.int32)


def recall(embeddings, dogs):
    similarity = embeddings @ embeddings.T - 2 * np.eye(len(dogs))
    return float((dogs[similarity.argmax(axis=1)] == dogs).mean())


@pytest.mark.parametrize("name", losses.MATCH_LOSSES)
def test_a_linear_encoder_finds_every_dog_with_each_loss(name):
    keras.utils.set_random_seed(0)
    points, dogs = separable()
    layers = [keras.Input((16,)), keras.layers.Dense(8), keras.layers.UnitNormalization()]
    net = keras.Sequential(layers)
    model = match.Siamese(net, name, identities=8)
    model.compile(optimizer=keras.optimizers.Adam(0.03), jit_compile=False)
    before = recall(net(points).numpy(), dogs)

    model.fit(tf.data.Dataset.from_tensors((points, dogs)).repeat(150), verbose=0)

    unseen, theirs = separable(seed=1)
    assert before < 0.6
    assert recall(net(points).numpy(), dogs) == 1.0
    assert recall(net(unseen).numpy(), theirs) > 0.9


def test_training_goes_on_from_saved_weights_of_the_whole_model(tmp_path):
    points, dogs = separable()

    def make():
        net = keras.Sequential([keras.Input((16,)), keras.layers.Dense(8)])
        return match.Siamese(net, "supcon+arcface", identities=8)

    first, second = make(), make()
    first.neck(net_output := first(points), training=True)
    first.save_weights(tmp_path / "model.weights.h5")
    second.load_weights(tmp_path / "model.weights.h5")

    loss = [float(model.compute_loss(y=dogs, y_pred=net_output)) for model in (first, second)]
    assert loss[0] == loss[1]


def test_whitening_by_hand():
    """Dogs at (0, 0) and (4, 2), whose photos differ by 1 along the first axis, 0 on the other.

    The variances within are 1 and 0, their mean is 1/2; behind a ridge of 3 of it the scales are
    sqrt(0.5 / 2.5) and sqrt(0.5 / 1.5), about the mean of the photos at (2, 1).
    """
    photos = np.array([[-1.0, 0.0], [1.0, 0.0], [3.0, 2.0], [5.0, 2.0]])

    matrix, offset = match.whitening(photos, ["a", "a", "b", "b"])

    scales = [math.sqrt(1 / 5), math.sqrt(1 / 3)]
    assert matrix == pytest.approx(np.diag(scales), abs=1e-6)
    assert offset == pytest.approx([-2 * scales[0], -scales[1]], abs=1e-6)


def test_whitening_weighs_nothing_where_no_dog_has_two_photos():
    matrix, offset = match.whitening(np.eye(3), ["a", "b", "c"])

    assert matrix == pytest.approx(np.eye(3) * matrix[0, 0], abs=1e-6)
    assert matrix[0, 0] > 0
    assert np.isfinite(offset).all()


def test_a_whitened_encoder_applies_what_was_fitted_and_does_not_train_it():
    net = match.encoder(backbones.get("small_cnn").build(32), 32)
    images = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)
    matrix, offset = np.random.default_rng(1).normal(size=(128, 128)), np.linspace(-1, 1, 128)

    whitened = match.whitened(net, matrix, offset)

    expected = net(images).numpy() @ matrix + offset
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert whitened(images).numpy() == pytest.approx(expected, abs=1e-4)
    assert len(whitened.trainable_weights) == len(net.trainable_weights)
