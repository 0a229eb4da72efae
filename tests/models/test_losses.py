import keras
import numpy as np
import pytest
import tensorflow as tf
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


def at_angles(*degrees):
    turns = np.radians(degrees)
    return np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)


def triplet(dogs, embeddings, **options):
    return float(losses.batch_hard_triplet(np.array(dogs), embeddings, **options))


def contrastive(dogs, embeddings, **options):
    return float(losses.contrastive(np.array(dogs), embeddings, **options))


def arcface(dogs, embeddings, proxies, **options):
    return float(losses.arcface(np.array(dogs), embeddings, proxies, **options))


def test_triplet_takes_the_farthest_of_the_dog_and_the_nearest_of_the_others():
    # Chords: 60 degrees 1, 90 degrees 1.41421, 120 degrees 1.73205, 180 degrees 2. Dog 7 at 0 and
    # 90, dog 8 at 180 and 240. From 0: own 1.41421, other min(2, 1.73205): + 0.2 < 0. From 90: own
    # 1.41421, other 1.41421 (180): 0.2. From 180: own 1, other 1.41421: 0. From 240: own 1, other
    # 1.73205 (0): 0. Mean: 0.2 / 4 = 0.05.
    loss = triplet([7, 7, 8, 8], at_angles(0, 90, 180, 240))

    assert loss == pytest.approx(0.05, abs=1e-6)


def test_triplet_of_three_photos_of_a_dog_by_hand():
    # Dog 7 at 0, 60 and 120, dog 8 at 180. From 0: own 1.73205 (120), other 2: 0 at margin 0.2.
    # From 60: own 1, other 1.73205: 0. From 120: own 1.73205, other 1: 0.93205. Dog 8's only photo
    # is no anchor. Mean of the three anchors: 0.31068.
    loss = triplet([7, 7, 7, 8], at_angles(0, 60, 120, 180))

    assert loss == pytest.approx(0.31068, abs=1e-5)


def test_triplet_of_anchors_without_a_positive_or_a_negative_is_zero():
    assert triplet([1, 2, 3], at_angles(0, 20, 40)) == 0.0
    assert triplet([1, 1, 1], at_angles(0, 20, 40)) == 0.0


def test_contrastive_weighs_the_mean_of_each_kind_of_pair_alike():
    # Dog 7 at 0 and 60: distance 1, so 1 / 2. Dog 8 at 90 is 1.41421 from 0, which costs nothing,
    # and 30 degrees, 2 sin 15 = 0.51764, from 60: (1 - 0.51764)^2 / 2 = 0.11634. The pairs' mean is
    # 0.05817, whichever way each is counted: 0.5 + 0.05817 = 0.55817.
    loss = contrastive([7, 7, 8], at_angles(0, 60, 90))

    assert loss == pytest.approx(0.55817, abs=1e-5)


def test_contrastive_margin_is_a_distance():
    # No positive pair; 60 degrees are a distance of 1: (1.5 - 1)^2 / 2 = 0.125.
    assert contrastive([7, 8], at_angles(0, 60), margin=1.5) == pytest.approx(0.125, abs=1e-5)
    assert contrastive([7, 8], at_angles(0, 60), margin=0.99) == 0.0


def test_arcface_widens_the_angle_to_the_own_proxy():
    # 60 degrees from the own proxy and 30 from the other, margin 30 degrees: the logits are
    # 2 cos 90 = 0 and 2 cos 30 = 1.73205; ln(1 + e^1.73205) = 1.89495.
    loss = arcface([0], at_angles(0), at_angles(60, -30), scale=2.0, margin=np.radians(30))

    assert loss == pytest.approx(1.89495, abs=1e-5)


def test_arcface_takes_the_mean_over_photos_and_only_the_directions():
    # Without a margin, at scale 1: photo 0 on its proxy, the other at 90: ln(1 + e^-1) = 0.31326.
    # Photo 1 at 90 from its own and on the other: ln(1 + e) = 1.31326. Mean 0.81326.
    embeddings = at_angles(0, 0) * np.array([[3.0], [0.5]], np.float32)

    loss = arcface([[0], [1]], embeddings, 7 * at_angles(0, 90), scale=1.0, margin=0.0)

    assert loss == pytest.approx(0.81326, abs=1e-5)


def test_arcface_beyond_180_degrees_goes_on_falling():
    # Margin 0.2 is 11.459 degrees. At 180 degrees: -1 - 0.2 sin 0.2 = -1.03973. The other proxy
    # is at 90, its logit 0: ln(1 + e^1.03973) = 1.34246.
    loss = arcface([0], at_angles(0), at_angles(180, 90), scale=1.0, margin=0.2)

    assert loss == pytest.approx(1.34246, abs=1e-5)


def test_arcface_never_rewards_a_wider_angle():
    angles = np.linspace(0, 180, 181)

    values = [arcface([0], at_angles(0), at_angles(angle, 90), scale=1.0) for angle in angles]

    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("side", [1, -1])
def test_arcface_on_and_opposite_to_its_proxy_has_a_finite_gradient(side):
    # Rounding makes these cosines a little less than 1, a little more, and 1.
    proxies = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    embeddings = tf.Variable(side * proxies / np.linalg.norm(proxies, axis=1, keepdims=True))

    with tf.GradientTape() as tape:
        loss = losses.arcface(np.arange(300), embeddings, proxies)

    assert np.isfinite(tape.gradient(loss, embeddings)).all()


DEGENERATE = {
    "identical embeddings": ([0, 0, 1, 1], [0, 0, 0, 0]),
    "a dog with one photo": ([0, 0, 1], [0, 10, 90]),
    "one dog": ([0, 0, 0], [0, 10, 20]),
    "no two of a dog": ([0, 1], [0, 180]),
    "one photo": ([1], [0]),
    "on the proxies": ([0, 0, 1, 1], [0, 0, 180, 180]),
    "opposite to the proxies": ([1, 1, 0, 0], [0, 0, 180, 180]),
}
AT_BATCH = {
    "supcon": losses.supervised_contrastive,
    "triplet": losses.batch_hard_triplet,
    "contrastive": losses.contrastive,
    "arcface": lambda labels, embeddings: losses.arcface(labels, embeddings, at_angles(0, 180)),
}


@pytest.mark.parametrize("name", AT_BATCH)
@pytest.mark.parametrize("batch", DEGENERATE)
def test_gradients_of_degenerate_batches_are_finite(name, batch):
    labels, angles = DEGENERATE[batch]
    embeddings = tf.Variable(at_angles(*angles))

    with tf.GradientTape() as tape:
        loss = AT_BATCH[name](np.array(labels), embeddings)

    gradient = tape.gradient(loss, embeddings)
    assert np.isfinite(loss)
    assert np.isfinite(tf.convert_to_tensor(gradient)).all()


@pytest.mark.parametrize("name", AT_BATCH)
def test_a_loss_is_computed_in_full_precision_whatever_it_is_given(name):
    labels, embeddings = np.array([0, 0, 1, 1]), tf.cast(at_angles(0, 40, 70, 200), tf.float16)

    loss = AT_BATCH[name](labels, embeddings)

    assert keras.backend.standardize_dtype(loss.dtype) == "float32"
    assert float(loss) == float(AT_BATCH[name](labels, tf.cast(embeddings, tf.float32)))


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


def test_smoothing_of_a_mixed_target_by_hand():
    # Probabilities 3/4 and 1/4, target (0.5, 0.5), which smoothing over both leaves as it is:
    # 0.5 ln(4/3) + 0.5 ln 4 = 0.83699. Unsmoothed, (0.7, 0.3): 0.7 ln(4/3) + 0.3 ln 4 = 0.61726.
    logits = np.log(np.array([[3.0, 1.0]] * 2, np.float32))
    mixed = np.array([[0.5, 0.5], [0.7, 0.3]], np.float32)

    smoothed = losses.smoothed_cross_entropy(mixed, logits, np.ones(2, np.float32), 0.3)
    plain = losses.smoothed_cross_entropy(mixed, logits, np.ones(2, np.float32), 0.0)

    assert float(smoothed[0]) == pytest.approx(0.83699, abs=1e-5)
    assert float(plain[1]) == pytest.approx(0.61726, abs=1e-5)


def test_distillation_is_scaled_by_the_temperature_squared():
    # T = 2 softens the teacher to (3/4, 1/4) and the student to (1/2, 1/2):
    # 4 * (3/4 ln 3/2 + 1/4 ln 1/2) = 4 * 0.130812 = 0.52325.
    teacher = np.array([[2 * np.log(3.0), 0.0]], np.float32)

    loss = losses.distillation(teacher, np.zeros((1, 2), np.float32), np.ones(2), 2.0)

    assert float(loss[0]) == pytest.approx(0.52325, abs=1e-5)


def test_distillation_of_equal_logits_is_zero_and_of_others_is_not():
    logits = np.array([[3.0, -1.0, -1e9]], np.float32)

    same = float(losses.distillation(logits, logits + 5.0, np.ones(3), 2.0)[0])
    other = float(losses.distillation(logits, logits[:, [1, 0, 2]], np.ones(3), 2.0)[0])

    assert same == pytest.approx(0.0, abs=1e-6)
    assert other > 1.0


def test_distillation_leaves_out_a_class_that_only_the_teacher_knows():
    # The teacher gives e^10 to class 2, which the student can't answer. Of the others it says
    # (3/4, 1/4) at T = 2, the student (1/2, 1/2): 0.52325, as above.
    teacher = np.array([[2 * np.log(3.0), 0.0, 20.0]], np.float32)
    student = np.array([[0.0, 0.0, -1e9]], np.float32)

    loss = losses.distillation(teacher, student, np.array([1.0, 1.0, 0.0]), temperature=2.0)

    assert float(loss[0]) == pytest.approx(0.52325, abs=1e-5)


def test_distillation_at_temperature_one_is_the_relative_entropy():
    random = np.random.default_rng(1)
    teacher, student = random.normal(size=(2, 10, 4)).astype(np.float32)

    loss = losses.distillation(teacher, student, np.ones(4), temperature=1.0)

    assert np.asarray(loss) == pytest.approx(
        entropy(np.exp(teacher), np.exp(student), axis=1), rel=1e-4
    )
