import keras
import numpy as np
import pytest
import tensorflow as tf

from models import backbones, breed, breed_training

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
    student = breed.classifier(SMALL.build(32), 64, [0, 1], 3, halve=True)

    student.set_weights(teacher.get_weights())

    for first, second in zip(student.get_weights(), teacher.get_weights(), strict=True):
        assert np.array_equal(first, second)


def test_the_student_sees_the_picture_halved():
    student = breed.classifier(SMALL.build(32), 64, [0, 1], 3, halve=True)
    plain = breed.classifier(SMALL.build(32), 32, [0, 1], 3)
    plain.set_weights(student.get_weights())
    whole = images(64)
    halved = whole.reshape(2, 32, 2, 32, 2, 3).mean(axis=(2, 4))

    assert student(whole).numpy() == pytest.approx(plain(halved).numpy(), abs=1e-4)


def test_loss_of_labels_alone_by_hand():
    # Probabilities 3/4, 1/4, 0 and label 0. Smoothing 0.1 over the two trained breeds makes the
    # target (0.95, 0.05): 0.95 ln(4/3) + 0.05 ln 4 = 0.34261.
    model = breed.Classifier(answers_its_input())
    logits = np.array([[np.log(3.0), 0.0, 7.0]], np.float32)

    loss = model.compute_loss(logits, np.array([0]), model(logits), training=True)

    assert float(loss) == pytest.approx(0.34261, abs=1e-5)


def test_loss_under_a_teacher_by_hand():
    # The student is undecided: ln 2 = 0.69315 for its label, smoothed or not. The teacher says
    # (3/4, 1/4) at T = 2: 4 * KL = 0.52325 (see test_losses). 0.3 * 0.69315 + 0.7 * 0.52325 =
    # 0.57422. Validation asks for the label alone.
    model = breed.Classifier(answers_its_input(), teacher=answers_its_input())
    seen = np.array([[2 * np.log(3.0), 0.0, 0.0]], np.float32)
    predicted = np.array([[0.0, 0.0, -1e9]], np.float32)

    training = model.compute_loss(seen, np.array([0]), predicted, training=True)
    validation = model.compute_loss(seen, np.array([0]), predicted, training=False)

    assert float(training) == pytest.approx(0.57422, abs=1e-5)
    assert float(validation) == pytest.approx(0.69315, abs=1e-5)


def test_the_teacher_does_not_learn():
    teacher = breed.classifier(SMALL.build(32), 32, [0, 1], 3)
    student = breed.classifier(SMALL.build(32), 32, [0, 1], 3)

    model = breed.Classifier(student, teacher)

    assert len(model.trainable_variables) == len(student.trainable_variables)


def test_validation_by_hand():
    # Two of three photos are right: 0.34261 each (as above). The third gives its label 1/4:
    # 0.95 ln 4 + 0.05 ln(4/3) = 1.33136. Mean: (2 * 0.34261 + 1.33136) / 3 = 0.67220.
    logits = np.log(np.array([[3, 1, 1], [1, 3, 1], [3, 1, 1]], np.float32))
    batches = [(logits[:2], tf.constant([0, 1])), (logits[2:], tf.constant([1]))]

    accuracy, loss = breed_training.evaluate(answers_its_input(), batches)

    assert accuracy == pytest.approx(2 / 3)
    assert loss == pytest.approx(0.67220, abs=1e-5)


def test_a_validation_photo_of_an_untrained_breed_does_not_drown_the_others():
    batches = [(np.zeros((2, 3), np.float32), tf.constant([0, 2]))]  # label 2 was never trained

    _, loss = breed_training.evaluate(answers_its_input(), batches)

    assert loss < 10
