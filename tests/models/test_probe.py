import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from models import probe


def clouds(counts=(60, 40, 20), width=8, scale=1.0):
    """Photos of three breeds that overlap a little."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(counts)), counts)
    centres = random.normal(0, 1, (len(counts), width))
    features = centres[labels] + random.normal(0, 0.8, (len(labels), width))
    return (scale * features + 5).astype(np.float32), labels


def probabilities(features, kernel, bias):
    raised = np.exp(features @ kernel + bias)
    return raised / raised.sum(axis=1, keepdims=True)


def test_it_is_logistic_regression_on_standardised_features():
    features, labels = clouds()
    weights = np.array([0.5, 1.0, 3.0])

    kernel, bias = probe.fit(features, labels, 3, weights)

    spread = (features - features.mean(axis=0)) / features.std(axis=0)
    each = weights[labels] / weights[labels].sum()
    expected = LogisticRegression(C=1 / probe.RIDGE, tol=1e-8, max_iter=10_000)
    expected.fit(spread, labels, sample_weight=each)
    assert probabilities(features, kernel, bias) == pytest.approx(
        expected.predict_proba(spread), abs=1e-3
    )


def test_breeds_without_photos_and_photos_without_breed_do_not_count():
    features, labels = clouds()
    without = np.where(labels == 2, -1, 4 * labels)  # labels 0 and 4 of 6 classes

    kernel, bias = probe.fit(features, without, 6, np.ones(6))
    known = labels < 2
    expected, _ = probe.fit(features[known], labels[known], 2, np.ones(2))

    assert not kernel[:, [1, 2, 3, 5]].any()
    assert not bias[[1, 2, 3, 5]].any()
    assert kernel[:, [0, 4]] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_a_feature_counts_the_same_at_any_scale(scale):
    features, labels = clouds()
    scaled, _ = clouds(scale=scale)

    plain = probabilities(features, *probe.fit(features, labels, 3, np.ones(3)))

    assert probabilities(scaled, *probe.fit(scaled, labels, 3, np.ones(3))) == pytest.approx(
        plain, abs=1e-2
    )


def test_a_feature_that_never_moves_gets_no_weight():
    features, labels = clouds()
    features[:, 3] = 7.0

    kernel, bias = probe.fit(features, labels, 3, np.ones(3))

    assert np.isfinite(kernel).all()
    assert np.isfinite(bias).all()
    assert kernel[3] == pytest.approx(0, abs=1e-3)


def test_one_breed_alone_is_always_right():
    features, _ = clouds()

    kernel, bias = probe.fit(features, np.full(len(features), 1), 3, np.ones(3))

    assert probabilities(features, kernel, bias).shape == (len(features), 3)
    assert np.isfinite(kernel).all()
    assert np.isfinite(bias).all()
