import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from models import calibration


def sigmoid(value):
    return 1 / (1 + np.exp(-value))


def drawn(share, pairs=400, seed=0):
    """Cosines [P] of drawn pairs, of which a share is of the same dog: bool [P]."""
    random = np.random.default_rng(seed)
    same = random.random(pairs) < share
    return np.clip(0.2 + 0.3 * same + random.normal(0, 0.2, pairs), -1, 1), same


def test_both_kinds_of_pair_weigh_a_half():
    weights = calibration.balanced(np.array([True, False, False, False, True]))

    assert weights == pytest.approx([1 / 4, 1 / 6, 1 / 6, 1 / 6, 1 / 4])


def test_with_one_kind_of_pair_it_has_all_the_weight():
    assert calibration.balanced(np.array([False, False])) == pytest.approx([1 / 2, 1 / 2])
    assert calibration.balanced(np.array([True])) == pytest.approx([1.0])


def test_every_dog_and_every_two_dogs_weigh_alike():
    # Same: a twice, b once, so 1/2 is shared out as 1/8, 1/8, 1/4. Different: a and b in either
    # order three times, a and c once: 1/12 three times, and 1/4.
    first = np.array(["a", "a", "b", "a", "b", "a", "a"])
    second = np.array(["a", "a", "b", "b", "a", "b", "c"])

    weights = calibration.balanced_dogs(first, second)

    assert weights == pytest.approx([1 / 8, 1 / 8, 1 / 4, 1 / 12, 1 / 12, 1 / 12, 1 / 4])


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_calibration_is_the_balanced_logistic_regression(share):
    cosines, same = drawn(share)
    weights = calibration.balanced(same)
    centre = np.average(cosines, weights=weights)
    spread = np.sqrt(np.average((cosines - centre) ** 2, weights=weights))
    # The same objective: scikit-learn's C is 1 / pull for weights that sum to 1.
    regression = LogisticRegression(C=1 / 1e-3, tol=1e-10).fit(
        (cosines[:, None] - centre) / spread, same, sample_weight=weights
    )

    scale, offset = calibration.calibrate(cosines, same)

    expected = regression.coef_[0, 0] / spread
    assert scale == pytest.approx(expected, rel=1e-3)
    assert offset == pytest.approx(regression.intercept_[0] - expected * centre, rel=1e-3)


def test_calibration_takes_the_weights_that_it_is_given():
    cosines, same = drawn(0.3)
    weights = np.random.default_rng(1).uniform(0, 1, 400)

    def loss(parameters):
        probability = np.clip(sigmoid(parameters[0] * cosines + parameters[1]), 1e-12, 1 - 1e-12)
        return -np.average(np.log(np.where(same, probability, 1 - probability)), weights=weights)

    found = calibration.calibrate(cosines, same, weights)

    assert loss(found) == pytest.approx(minimize(loss, [1.0, 0.0]).fun, abs=1e-3)
    assert loss(calibration.calibrate(cosines, same)) > loss(found) + 0.01


def test_calibration_does_not_depend_on_the_range_that_the_cosines_fill():
    cosines, same = drawn(0.3)

    scale, offset = calibration.calibrate(cosines, same)
    narrow = calibration.calibrate(0.9 + cosines / 100, same)

    assert narrow == pytest.approx((100 * scale, offset - 90 * scale), rel=1e-6)


def test_calibration_of_mirrored_pairs_has_its_half_in_the_middle():
    # The same dog at 0.1 and 0.5, other dogs at 0.1 and -0.3: mirror images about 0.1.
    cosines = np.array([0.1, 0.5, 0.1, -0.3])
    same = np.array([True, True, False, False])

    scale, offset = calibration.calibrate(cosines, same)

    assert scale > 0
    assert sigmoid(scale * 0.1 + offset) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("apart", [1.0, 0.01])
def test_calibration_of_separated_pairs_is_finite_and_sure(apart):
    cosines = apart * np.array([0.9, 0.8, 0.1, 0.0])
    same = np.array([True, True, False, False])

    scale, offset = calibration.calibrate(cosines, same)

    assert np.isfinite([scale, offset]).all()
    assert sigmoid(scale * cosines[0] + offset) > 0.95
    assert sigmoid(scale * cosines[3] + offset) < 0.05


@pytest.mark.parametrize("same", [[True, True], [False, False], [True, False]])
def test_calibration_of_too_little_is_finite(same):
    found = calibration.calibrate(np.array([0.3, 0.3]), np.array(same))

    assert np.isfinite(found).all()
    assert sigmoid(found[0] * 0.3 + found[1]) == pytest.approx(np.mean(same), abs=0.01)


def test_calibration_does_not_depend_on_how_many_pairs_are_of_different_dogs():
    cosines = np.array([0.7, 0.5, 0.4, 0.6, 0.1, 0.2])
    same = np.array([True, True, True, False, False, False])
    more = np.r_[cosines, np.tile(cosines[3:], 9)], np.r_[same, [False] * 27]

    assert calibration.calibrate(*more) == pytest.approx(calibration.calibrate(cosines, same))


PROBABILITY = np.array([0.1, 0.3, 0.2, 0.8, 0.9, 1.0])
SAME = np.array([False, True, False, True, False, True])


def test_reliability_by_hand():
    # Below a half 0.1, 0.3, 0.2: mean 0.2, one of three the same. Above 0.8, 0.9, 1: mean 0.9, two
    # of three.
    low, high = calibration.reliability(PROBABILITY, SAME, bins=2)

    assert (low.low, low.high, high.low, high.high) == (0.0, 0.5, 0.5, 1.0)
    assert (low.predicted, low.observed, low.weight) == pytest.approx((0.2, 1 / 3, 1 / 2))
    assert (high.predicted, high.observed, high.weight) == pytest.approx((0.9, 2 / 3, 1 / 2))


def test_weighted_reliability_by_hand():
    # Weights 1, 2, 1: (0.1 + 2 * 0.3 + 0.2) / 4 = 0.225, observed 2 / 4; 4 of 8 of all weight.
    # Then 1, 3, 0: (0.8 + 3 * 0.9) / 4 = 0.875, observed 1 / 4.
    weights = np.array([1, 2, 1, 1, 3, 0])

    low, high = calibration.reliability(PROBABILITY, SAME, weights, bins=2)

    assert (low.predicted, low.observed, low.weight) == pytest.approx((0.225, 1 / 2, 1 / 2))
    assert (high.predicted, high.observed, high.weight) == pytest.approx((0.875, 1 / 4, 1 / 2))


def test_an_edge_belongs_to_the_bin_below_and_empty_bins_are_left_out():
    rows = calibration.reliability(np.array([0.0, 0.25, 0.75, 1.0]), SAME[:4], bins=4)

    assert [(row.low, row.high, row.weight) for row in rows] == [
        (0.0, 0.25, 0.5),
        (0.5, 0.75, 0.25),
        (0.75, 1.0, 0.25),
    ]


def test_reliability_is_the_calibration_curve_of_scikit_learn():
    random = np.random.default_rng(0)
    probability = random.uniform(0, 1, 300)
    same = random.random(300) < probability**2
    repeats = random.integers(1, 4, 300)

    rows = calibration.reliability(probability, same, repeats)

    observed, predicted = calibration_curve(
        np.repeat(same, repeats), np.repeat(probability, repeats), n_bins=10
    )
    assert [row.observed for row in rows] == pytest.approx(observed)
    assert [row.predicted for row in rows] == pytest.approx(predicted)


def test_expected_calibration_error_by_hand():
    # Half of the pairs are off by 1/3 - 0.2 = 0.13333, half by 0.9 - 2/3 = 0.23333: 0.18333.
    error = calibration.expected_calibration_error(PROBABILITY, SAME, bins=2)

    assert error == pytest.approx(0.18333, abs=1e-5)


def test_balanced_expected_calibration_error_by_hand():
    # The same dog at 0.9; other dogs at 0.1, 0.1 and 0.9, a weight of 1/6 each. Up to a half: 0.1
    # predicted, none observed, 1/3 of the weight. Above: 0.9 predicted, 1/2 of 2/3 = 3/4 observed.
    # 0.1 / 3 + 0.15 * 2 / 3 = 0.13333. By pairs it would be 0.1 / 2 + 0.4 / 2 = 0.25.
    probability, same = np.array([0.9, 0.1, 0.1, 0.9]), np.array([True, False, False, False])
    weights = calibration.balanced(same)

    balanced = calibration.expected_calibration_error(probability, same, weights, bins=2)
    by_pairs = calibration.expected_calibration_error(probability, same, bins=2)

    assert (balanced, by_pairs) == pytest.approx((0.13333, 0.25), abs=1e-5)


def test_probabilities_that_keep_what_they_say_have_no_error():
    probability = np.array([0.25] * 4 + [0.75] * 4)
    same = np.array([1, 0, 0, 0, 1, 1, 1, 0], bool)

    assert calibration.expected_calibration_error(probability, same) == pytest.approx(0.0)


def test_a_model_that_answers_no_numbers_has_the_worst_error():
    assert calibration.expected_calibration_error(np.array([0.5, np.nan]), SAME[:2]) == 1.0


@pytest.mark.parametrize(
    ("probability", "message"),
    [([], "no pairs"), ([0.5, 1.5], "found 1.5"), ([-2.0, 0.1], "found -2.0")],
)
def test_a_probability_that_is_none_is_refused(probability, message):
    with pytest.raises(ValueError, match=message):
        calibration.reliability(np.array(probability), SAME[: len(probability)])


def test_a_fitted_curve_keeps_what_it_says_on_other_pairs():
    cosines, same = drawn(0.1, pairs=20_000)
    others, truth = drawn(0.1, pairs=20_000, seed=1)
    scale, offset = calibration.calibrate(cosines, same)
    weights = calibration.balanced(truth)

    def error(probability):
        return calibration.expected_calibration_error(probability, truth, weights)

    assert error(sigmoid(scale * others + offset)) < 0.02
    assert error((1 + others) / 2) > 0.1
