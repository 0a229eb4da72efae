import ast
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import backbones, breed, breed_training, pixels

SMALL = backbones.get("small_cnn")


def images(side, count=2):
    values = np.random.default_rng(0).uniform(0, 255, (count, side, side, 3))
    return values.astype(np.float32)


def answers_its_input(labels=(0, 1), classes=3):
    logits = keras.Input((classes,))
    layer = breed.TrainedClassesOnly(labels, classes, name="trained")
    return keras.Model(logits, layer(logits))


def test_untrained_breeds_get_probability_zero():
    net = breed.classifier(SMALL.build(32), 32, [4, 1, 1], 6)

    probabilities = tf.nn.softmax(net(images(32))).numpy()

    assert (probabilities[:, [0, 2, 3, 5]] == 0.0).all()
    assert (probabilities[:, [1, 4]] > 0.0).all()
    assert probabilities.sum(axis=1) == pytest.approx([1.0, 1.0], abs=1e-6)


def test_trained_breeds_keep_their_logits():
    logits = np.array([[0.5, -2.0, 9.0]], np.float32)

    assert answers_its_input()(logits).numpy()[0, :2].tolist() == [0.5, -2.0]


def test_a_classifier_comes_back_from_its_file(tmp_path):
    net = breed.classifier(SMALL.build(32), 32, [0, 2], 4)

    net.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")

    assert again(images(32)).numpy() == pytest.approx(net(images(32)).numpy(), abs=1e-5)
    assert again.get_layer("trained").labels == [0, 2]


def test_the_student_takes_the_weights_of_its_teacher():
    teacher = breed.classifier(SMALL.build(64), 64, [0, 1], 3)
    student = breed.classifier(SMALL.build(32), 64, [0, 1], 3)

    student.set_weights(teacher.get_weights())

    for first, second in zip(student.get_weights(), teacher.get_weights(), strict=True):
        assert np.array_equal(first, second)


def test_the_student_sees_the_picture_halved():
    student = breed.classifier(SMALL.build(32), 64, [0, 1], 3)
    plain = breed.classifier(SMALL.build(32), 32, [0, 1], 3)
    plain.set_weights(student.get_weights())
    whole = images(64)
    halved = whole.reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4))

    assert student(whole).numpy() == pytest.approx(plain(halved).numpy(), abs=1e-4)


@pytest.mark.parametrize(("side", "wanted"), [(64, 48), (96, 40)])
def test_a_student_of_any_side_sees_the_whole_picture(side, wanted):
    """A picture of one colour is that colour at every size; only the padding of a net differs."""
    backbone = keras.Sequential(
        [keras.Input((wanted, wanted, 3)), keras.layers.Rescaling(1 / 255)], name="backbone"
    )
    net = breed.classifier(backbone, side, [0, 1], 3)
    left = np.zeros((1, side, side, 3), np.float32)
    left[:, :, : side // 2] = 255
    pooled = keras.Model(net.input, net.layers[-4].output)

    assert pooled(left).numpy() == pytest.approx(np.full((1, 3), 0.5), abs=0.01)


def test_a_photo_of_a_rare_breed_weighs_more_by_hand():
    # (1 - 0.99) / (1 - 0.99^n): n = 1 gives 1, n = 2 gives 0.01 / 0.0199 = 0.50251. Three photos:
    # the mean is (1 + 2 * 0.50251) / 3 = 0.66834, so the weights are 1.49624 and 0.75188.
    weights = breed.balance([0, 2, 2], 4)

    assert weights.tolist() == pytest.approx([1.49624, 0.0, 0.75188, 0.0], abs=1e-5)


def test_where_every_breed_has_as_many_photos_all_weigh_one():
    assert breed.balance([0, 0, 1, 1], 2).tolist() == pytest.approx([1.0, 1.0])


EVEN = np.ones(3, np.float32)


def test_a_weight_multiplies_the_loss_of_its_breed():
    model = breed.Classifier(answers_its_input(), np.array([2.0, 1.0, 1.0]))
    logits = np.array([[np.log(3.0), 0.0, 7.0]], np.float32)

    loss = model.compute_loss(logits, np.array([0]), model(logits), training=True)

    assert float(loss) == pytest.approx(2 * 0.34261, abs=1e-5)  # as below, twice


def test_loss_of_labels_alone_by_hand():
    # Probabilities 3/4, 1/4, 0 and label 0. Smoothing 0.1 over the two trained breeds makes the
    # target (0.95, 0.05): 0.95 ln(4/3) + 0.05 ln 4 = 0.34261.
    model = breed.Classifier(answers_its_input(), EVEN)
    logits = np.array([[np.log(3.0), 0.0, 7.0]], np.float32)

    loss = model.compute_loss(logits, np.array([0]), model(logits), training=True)

    assert float(loss) == pytest.approx(0.34261, abs=1e-5)


def test_loss_under_a_teacher_by_hand():
    # The student is undecided: ln 2 = 0.69315 for its label, smoothed or not. The teacher says
    # (0.63397, 0.36603) at T = 4, as the square root of 3 to 1: 16 * KL = 0.58145.
    # 0.1 * 0.69315 + 0.9 * 0.58145 = 0.59262.
    model = breed.Classifier(answers_its_input(), EVEN, answers_its_input())
    seen = np.array([[2 * np.log(3.0), 0.0, 0.0]], np.float32)
    predicted = np.array([[0.0, 0.0, -1e9]], np.float32)

    loss = model.compute_loss(seen, np.array([0]), predicted)

    assert float(loss) == pytest.approx(0.59262, abs=1e-5)


def test_a_teacher_that_knows_a_breed_more_than_the_data_has_is_learned_from():
    # As above, though the teacher thinks of the third breed, which is not among the data.
    model = breed.Classifier(answers_its_input(), EVEN, lambda images: images)
    seen = np.array([[2 * np.log(3.0), 0.0, 20.0]], np.float32)
    predicted = np.array([[0.0, 0.0, -1e9]], np.float32)

    loss = model.compute_loss(seen, np.array([0]), predicted)

    assert float(loss) == pytest.approx(0.59262, abs=1e-5)


def test_loss_of_a_mixed_photo_by_hand():
    # Probabilities 3/4 and 1/4, target (0.6, 0.4), smoothed (0.59, 0.41): 0.59 ln(4/3) + 0.41 ln 4
    # = 0.73811. Its breeds weigh 2 and 1, so it weighs 0.6 * 2 + 0.4 * 1 = 1.6: 1.18098.
    model = breed.Classifier(answers_its_input(), np.array([2.0, 1.0, 1.0]))
    logits = np.array([[np.log(3.0), 0.0, 7.0]], np.float32)

    loss = model.compute_loss(logits, np.array([[0.6, 0.4, 0.0]], np.float32), model(logits))

    assert float(loss) == pytest.approx(1.18098, abs=1e-5)


def test_a_mix_that_mixes_nothing_costs_what_the_labels_cost():
    model = breed.Classifier(answers_its_input(), np.array([2.0, 1.0, 1.0]))
    logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    labels = np.array([0, 1, 0, 0, 1, 1])

    plain = model.compute_loss(logits, labels, model(logits))
    targets = model.compute_loss(logits, np.eye(3, dtype=np.float32)[labels], model(logits))

    assert float(plain) == pytest.approx(float(targets), abs=1e-6)


def test_the_teacher_does_not_learn():
    teacher = breed.classifier(SMALL.build(32), 32, [0, 1], 3)
    student = breed.classifier(SMALL.build(32), 32, [0, 1], 3)

    model = breed.Classifier(student, EVEN, lambda images: teacher(images, training=False))

    assert len(model.trainable_variables) == len(student.trainable_variables)


PRESENT = np.array([1.0, 1.0, 0.0], np.float32)


def test_validation_by_hand():
    # Two of three photos are right: 0.34261 each (as above). The third gives its label 1/4:
    # 0.95 ln 4 + 0.05 ln(4/3) = 1.33136. Mean: (2 * 0.34261 + 1.33136) / 3 = 0.67220.
    logits = np.log(np.array([[3, 1, 1], [1, 3, 1], [3, 1, 1]], np.float32))
    batches = [(logits[:2], tf.constant([0, 1])), (logits[2:], tf.constant([1]))]

    accuracy, loss = breed_training.evaluate(answers_its_input(), PRESENT, batches)

    assert accuracy == pytest.approx(2 / 3)
    assert loss == pytest.approx(0.67220, abs=1e-5)


def test_a_validation_photo_of_an_untrained_breed_does_not_drown_the_others():
    batches = [(np.zeros((2, 3), np.float32), tf.constant([0, 2]))]  # label 2 was never trained

    _, loss = breed_training.evaluate(answers_its_input(), PRESENT, batches)

    assert loss < 10


ROOT = Path(__file__).resolve().parents[2]
REPLICAS = """
import numpy as np, tensorflow as tf, keras
from models import breed

two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
for count in (1, 2):
    with tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(count)]).scope():
        keras.utils.set_random_seed(0)
        points = keras.Input((2,))
        trained = breed.TrainedClassesOnly([0, 1], 2, name="trained")
        net = keras.Model(points, trained(keras.layers.Dense(2)(points)))
        model = breed.Classifier(net, np.array([1.0, 2.0]))
        model.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    points = np.array([[1, 2], [2, 1], [-1, 0], [0, -1]] * count, np.float32)
    labels = np.array([0, 0, 1, 1] * count, np.int32)
    loss = model.fit(tf.data.Dataset.from_tensors((points, labels)), verbose=0).history["loss"]
    print(loss + [float(one) for weight in model.trainable_weights for one in np.ravel(weight)])
"""


def test_two_replicas_with_the_same_photos_learn_what_one_learns():
    # Keras adds up the gradients of the replicas: twice the step, if the loss were not shared out.
    command = [sys.executable, "-c", REPLICAS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)

    assert done.returncode == 0, done.stderr
    one, two = (ast.literal_eval(line) for line in done.stdout.splitlines()[-2:])
    assert two == pytest.approx(one, abs=1e-5)


@pytest.mark.parametrize(("side", "wanted"), [(64, 32), (64, 42), (96, 64), (40, 40)])
def test_a_smaller_picture_is_an_average_and_leaves_a_net_out_of_training(side, wanted):
    backbone = backbones.get("small_cnn").build(wanted)
    net = breed.classifier(backbone, side, [0, 1], 2)
    photo = np.random.default_rng(0).uniform(0, 255, (2, side, side, 3)).astype(np.float32)

    answer = net(photo).numpy()

    fitted = [pixels.fit(image.astype(np.uint8), wanted) for image in photo]
    near = net.get_layer("head")(
        backbone(np.stack(fitted).astype(np.float32), training=False).numpy().mean(axis=(1, 2))
    )
    assert np.array_equal(answer, net(photo, training=False).numpy())
    assert answer == pytest.approx(near.numpy(), abs=0.05)
