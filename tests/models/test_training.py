import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tfx import v1 as tfx

from models import training

CONFIG = training.Config(
    backbone="small_cnn",
    image_size=32,
    epochs=3,
    batch_size=4,
    pretrained=False,
    seed=0,
    vocabulary="",
)


class Regression(keras.Model):
    def __init__(self):
        super().__init__()
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(4), keras.layers.BatchNormalization()]
        backbone = keras.Sequential([keras.Input((2,)), *layers], name="backbone")
        inputs = keras.Input((2,))
        self.net = keras.Model(inputs, keras.layers.Dense(1, name="head")(backbone(inputs)))

    def call(self, x, training=None):
        return self.net(x, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean((y - y_pred) ** 2)


def job(folder, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    return training.Job(config, "", "", None, str(folder / "Format-Serving"), str(folder / "log"))


def endless():
    x = np.random.default_rng(0).normal(3, 2, size=(4, 2)).astype(np.float32)
    return tf.data.Dataset.from_tensors((x, x.sum(axis=1, keepdims=True))).repeat()


def fit_with(scores, folder, head_first=False, **changes):
    """Trains a new net; returns it, its weights after every epoch, and the curves."""
    model, seen = Regression(), []

    def score():
        seen.append(model.net.get_weights())
        return "val score", scores[len(seen) - 1]

    task = job(folder, epochs=len(scores), **changes)
    curves = training.fit(model, endless(), 20, task, score, head_first=head_first)
    return model, seen, curves


def statistics(net):
    return net.get_layer("backbone").layers[-1].moving_mean.numpy().tolist()


def assert_weights(model, expected):
    for now, then in zip(model.net.get_weights(), expected, strict=True):
        assert np.array_equal(now, then)


@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.1, 0.9, 0.4], 1), ([0.9, 0.1, 0.4], 0), ([0.1, 0.4, 0.9], 2), ([0.5, 0.5, 0.5], 0)],
)
def test_fit_keeps_the_weights_of_the_best_epoch(scores, best, tmp_path):
    model, seen, _ = fit_with(scores, tmp_path)

    assert not np.array_equal(seen[0][0], seen[1][0])
    assert_weights(model, seen[best])


def test_an_epoch_without_a_score_never_beats_one_with_a_score(tmp_path):
    model, seen, _ = fit_with([float("nan"), 0.9, 0.4], tmp_path)

    assert_weights(model, seen[1])


def test_fit_returns_loss_and_score_of_every_epoch(tmp_path):
    _, _, history = fit_with([0.1, 0.9, 0.4], tmp_path)

    assert history["val_score"] == [0.1, 0.9, 0.4]
    assert len(history["loss"]) == 3
    assert history["loss"][-1] < history["loss"][0]


def test_from_scratch_the_statistics_of_batch_normalisation_move(tmp_path):
    model, _, _ = fit_with([0.1, 0.2], tmp_path, pretrained=False)

    assert statistics(model.net) != statistics(Regression().net)


def test_when_pretrained_the_statistics_stand_still_and_the_weights_move(tmp_path):
    model, _, _ = fit_with([0.1, 0.2], tmp_path, pretrained=True)

    assert statistics(model.net) == statistics(Regression().net)
    assert not np.array_equal(model.net.get_weights()[0], Regression().net.get_weights()[0])


def test_a_new_head_has_the_first_quarter_of_the_epochs_for_itself(tmp_path):
    start = Regression().net.get_weights()

    _, seen, curves = fit_with([0.1, 0.2, 0.3, 0.4, 0.5], tmp_path, head_first=True)

    first_layer, head = 0, -2  # kernels of the backbone and of the head
    moved = [not np.array_equal(weights[first_layer], start[first_layer]) for weights in seen]
    assert moved == [False, True, True, True, True]  # a quarter of 5, rounded down, is 1
    assert not np.array_equal(seen[0][head], start[head])
    assert curves["val_score"] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_the_best_epoch_may_be_one_of_the_head_alone(tmp_path):
    model, seen, _ = fit_with([0.1, 0.9, 0.3, 0.4, 0.5], tmp_path, head_first=True)

    assert_weights(model, seen[1])


def test_fit_trains_even_on_less_than_a_batch(tmp_path):
    model = Regression()
    before = model.net.get_weights()

    training.fit(model, endless(), 1, job(tmp_path), lambda: ("val score", 1.0))

    assert not np.array_equal(before[0], model.net.get_weights()[0])


def test_a_pretrained_net_takes_smaller_steps():
    assert training.RATE["pretrained"] < training.RATE["scratch"] == CONFIG.rate


def test_job_reads_what_tfx_gives():
    fn_args = tfx.components.FnArgs(
        train_files=["data/Split-train/*"],
        eval_files=["data/Split-val/*"],
        serving_model_dir="model/Format-Serving",
        model_run_dir="run",
        base_model="teacher/Format-Serving",
        custom_config=dataclasses.asdict(CONFIG),
    )

    read = training.Job.of(fn_args)

    assert read.config == CONFIG
    assert (read.train, read.val) == ("data/Split-train/*", "data/Split-val/*")
    assert read.base == "teacher"
    assert (read.serving, read.log) == ("model/Format-Serving", "run")


def test_a_saved_job_can_be_loaded_again(tmp_path):
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    (tmp_path / "log").mkdir()

    job(tmp_path).save(net, {"loss": [0.5]})

    again = training.load_keras(str(tmp_path), {})
    assert np.array_equal(again.get_weights()[0], net.get_weights()[0])
    assert json.loads((tmp_path / "log" / "history.json").read_text()) == {"loss": [0.5]}


def test_start_weights_is_the_only_weights_file_of_its_folder(tmp_path):
    (tmp_path / "resnet.weights.h5").write_bytes(b"")

    assert training.start_weights(str(tmp_path)) == str(tmp_path / "resnet.weights.h5")
