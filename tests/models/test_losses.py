import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import log_loss

from models import losses

ALONE = [1.0, 0.0]
ACROSS = [0.0, 1.0]


def supcon(dogs, embeddings, temperature=1.0):
    embeddings = np.array(embeddings, np.float32)
    return float(losses.supervised_contrastive(np.array(dogs), embeddings, temperature))


def test_supcon_takes_the_mean_of_the_positives_log_probabilities():
    # Cosines: 1-2 is 1, 1-3 and 2-3 are 0. Photo 1 gives its two positives e/(e+1) and 1/(e+1):
    # -(1 - ln(e+1) + 0 - ln(e+1)) / 2 = ln(e+1) - 1/2 = 0.81326. Photo 2 the same. Photo 3 gives
    # 1/2 to each: ln 2 = 0.69315. Mean: (2 * 0.81326 + 0.69315) / 3 = 0.77322.
    loss = supcon([7, 7, 7], [ALONE, ALONE, ACROSS])

    assert loss == pytest.approx(0.77322, abs=1e-5)


def test_supcon_anchor_without_positive_does_not_count():
    # Photos 1 and 2 each give the other e/(e+1): -ln = ln(1 + 1/e) = 0.31326. Photo 3, the only one
    # of its dog, is no anchor but stands in both denominators.
    loss = supcon([7, 7, 8], [ALONE, ALONE, ACROSS])

    assert loss == pytest.approx(0.31326, abs=1e-5)


def test_supcon_divides_cosines_by_the_temperature():
    # As above, with the cosine 1 / 0.1 = 10: ln(1 + e^-10) = 4.5399e-5.
    loss = supcon([7, 7, 8], [ALONE, ALONE, ACROSS], temperature=0.1)

    assert loss == pytest.approx(4.5399e-5, rel=1e-2)


def test_supcon_of_a_batch_without_positives_is_zero():
    assert supcon([1, 2, 3], [ALONE, ALONE, ACROSS]) == 0.0


def test_supcon_takes_labels_as_a_column_too():
    embeddings = [ALONE, ACROSS, ALONE, ACROSS]

    assert supcon([[1], [1], [2], [2]], embeddings) == supcon([1, 1, 2, 2], embeddings)


def test_smoothing_spreads_over_the_present_classes_only():
    # Classes 0 and 1 are present, with probabilities 3/4 and 1/4; class 2 is pushed out. Smoothing
    # 0.3 makes the target of label 0 (0.85, 0.15, 0): 0.85 ln(4/3) + 0.15 ln 4 = 0.45247.
    logits = np.array([[np.log(3.0), 0.0, -1e9]], np.float32)
    present = np.array([1.0, 1.0, 0.0], np.float32)

    loss = losses.smoothed_cross_entropy(np.array([0]), logits, present, 0.3)

    assert float(loss[0]) == pytest.approx(0.45247, abs=1e-5)


def test_smoothing_over_all_classes_by_hand():
    # Probabilities 1/2, 1/4, 1/4, label 0, smoothing 0.3: 0.8 ln 2 + 0.2 ln 4 = 0.83178.
    logits = np.log(np.array([[2.0, 1.0, 1.0]], np.float32))

    loss = losses.smoothed_cross_entropy(np.array([0]), logits, np.ones(3, np.float32), 0.3)

    assert float(loss[0]) == pytest.approx(0.83178, abs=1e-5)


def test_without_smoothing_it_is_the_log_loss():
    random = np.random.default_rng(0)
    logits = random.normal(size=(20, 5)).astype(np.float32)
    labels = np.arange(20) % 5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    loss = losses.smoothed_cross_entropy(labels, logits, np.ones(5, np.float32), 0.0)

    assert np.mean(loss) == pytest.approx(log_loss(labels, probabilities), rel=1e-5)


def test_distillation_is_scaled_by_the_temperature_squared():
    # T = 2 softens the teacher to (3/4, 1/4) and the student to (1/2, 1/2):
    # 4 * (3/4 ln 3/2 + 1/4 ln 1/2) = 4 * 0.130812 = 0.52325.
    teacher = np.array([[2 * np.log(3.0), 0.0]], np.float32)

    loss = losses.distillation(teacher, np.zeros((1, 2), np.float32), temperature=2.0)

    assert float(loss[0]) == pytest.approx(0.52325, abs=1e-5)


def test_distillation_of_equal_logits_is_zero_and_of_others_is_not():
    logits = np.array([[3.0, -1.0, -1e9]], np.float32)

    same = float(losses.distillation(logits, logits + 5.0, 2.0)[0])
    other = float(losses.distillation(logits, logits[:, [1, 0, 2]], 2.0)[0])

    assert same == pytest.approx(0.0, abs=1e-6)
    assert other > 1.0


def test_distillation_at_temperature_one_is_the_relative_entropy():
    random = np.random.default_rng(1)
    teacher, student = random.normal(size=(2, 10, 4)).astype(np.float32)

    loss = losses.distillation(teacher, student, temperature=1.0)

    assert np.asarray(loss) == pytest.approx(
        entropy(np.exp(teacher), np.exp(student), axis=1), rel=1e-4
    )
