import keras
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from models import backbones, losses, match


def at_angles(*degrees):
    turns = np.radians(degrees)
    return np.stack([np.cos(turns), np.sin(turns)], axis=1)


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


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


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_calibration_is_the_balanced_logistic_regression(share):
    random = np.random.default_rng(0)
    same = random.random(400) < share
    cosines = np.clip(0.2 + 0.3 * same + random.normal(0, 0.2, 400), -1, 1)
    # The same objective: its pull of 1e-4 is 1 / (C n), on the offset as on the scale.
    regression = LogisticRegression(
        C=1 / (1e-4 * 400), fit_intercept=False, class_weight="balanced", tol=1e-10
    ).fit(np.stack([cosines, np.ones(400)], axis=1), same)

    scale, offset = match.calibrate(cosines, same)

    assert (scale, offset) == pytest.approx(tuple(regression.coef_[0]), rel=1e-3)


def test_calibration_of_mirrored_pairs_has_its_half_in_the_middle():
    # The same dog at 0.1 and 0.5, other dogs at 0.1 and -0.3: mirror images about 0.1.
    cosines = np.array([0.1, 0.5, 0.1, -0.3])
    same = np.array([True, True, False, False])

    scale, offset = match.calibrate(cosines, same)

    assert scale > 0
    assert sigmoid(scale * 0.1 + offset) == pytest.approx(0.5, abs=1e-3)


def test_calibration_of_separated_pairs_is_finite_and_sure():
    cosines = np.array([0.9, 0.8, 0.1, 0.0])
    same = np.array([True, True, False, False])

    scale, offset = match.calibrate(cosines, same)

    assert np.isfinite([scale, offset]).all()
    assert sigmoid(scale * 0.9 + offset) > 0.95
    assert sigmoid(scale * 0.0 + offset) < 0.05


def test_calibration_does_not_depend_on_how_many_pairs_are_of_different_dogs():
    cosines = np.array([0.7, 0.5, 0.4, 0.6, 0.1, 0.2])
    same = np.array([True, True, True, False, False, False])

    few = match.calibrate(cosines, same)
    many = match.calibrate(np.r_[cosines, np.tile(cosines[3:], 9)], np.r_[same, [False] * 27])

    assert many == pytest.approx(few)


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


def test_siamese_is_trained_by_the_supervised_contrastive_loss():
    model = match.Siamese(keras.Sequential([keras.Input((2,)), keras.layers.UnitNormalization()]))
    dogs, embeddings = np.array([1, 1, 2]), at_angles(0, 10, 50).astype(np.float32)

    loss = model.compute_loss(y=dogs, y_pred=embeddings)

    assert float(loss) == pytest.approx(float(losses.supervised_contrastive(dogs, embeddings)))
