import dataclasses
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import checkpoint, job, training
from models.tracking import Tracker

CONFIG = job.Config(
    backbone="small_cnn",
    image_size=32,
    epochs=3,
    batch_size=4,
    pretrained=False,
    seed=0,
    vocabulary="",
)
OFF = Tracker("off", "", "", {})


class Regression(keras.Model):
    def __init__(self):
        super().__init__()
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(4), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
        backbone = keras.Sequential([keras.Input((2,)), *layers], name="backbone")
        inputs = keras.Input((2,))
        head = keras.layers.Dense(1, name="head")
        self.net = keras.Model(inputs, head(keras.layers.Dropout(0.1)(backbone(inputs))))

    def call(self, x, training=None):
        return self.net(x, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean((y - y_pred) ** 2)


def task(folder, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    return job.Job(config, "", "", None, str(folder / "Format-Serving"), str(folder / "log"))


@pytest.fixture(autouse=True)
def no_states(monkeypatch):
    """Another test's run may have left word of a folder of its own."""
    monkeypatch.delenv(checkpoint.FOLDER_VARIABLE, raising=False)


@pytest.fixture
def states(tmp_path, monkeypatch):
    """The folder in which trainings keep their state."""
    monkeypatch.setenv(checkpoint.FOLDER_VARIABLE, str(tmp_path / "state"))
    return tmp_path / "state"


def batches(epoch):
    """The same five batches in every epoch."""
    return stream(0).take(5).repeat()


def stream(epoch):
    """Five other batches in every epoch."""
    x = np.random.default_rng(0).normal(3, 2, size=(50, 4, 2)).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((x, x.sum(axis=2, keepdims=True))).skip(5 * epoch)


def fit_with(scores, folder, phases=(), choosing=True, **changes):
    """Trains a new net; returns it, its weights at every score, and the curves."""
    model, seen = Regression(), []

    def score():
        seen.append(model.net.get_weights())
        return "val score", scores[len(seen) - 1]

    told = task(folder, epochs=len(scores), **changes)
    curves = training.fit(model, batches, 20, told, score, OFF, phases, choosing)
    return model, seen, curves


def statistics(net):
    return net.get_layer("backbone").layers[1].moving_mean.numpy().tolist()


def same(weights, others):
    return all(np.array_equal(one, other) for one, other in zip(weights, others, strict=True))


@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.1, 0.9, 0.4], 1), ([0.9, 0.1, 0.4], 0), ([0.1, 0.4, 0.9], 2), ([0.5, 0.5, 0.5], 0)],
)
def test_fit_keeps_the_weights_of_the_best_epoch(scores, best, tmp_path):
    model, seen, _ = fit_with(scores, tmp_path)

    assert not np.array_equal(seen[0][0], seen[1][0])
    assert same(model.net.get_weights(), seen[best])


def test_an_epoch_without_a_score_never_beats_one_with_a_score(tmp_path):
    model, seen, _ = fit_with([float("nan"), 0.9, 0.4], tmp_path)

    assert same(model.net.get_weights(), seen[1])


def test_fit_returns_loss_and_score_of_every_epoch(tmp_path):
    _, _, history = fit_with([0.1, 0.9, 0.4], tmp_path)

    assert history["val_score"] == [0.1, 0.9, 0.4]
    assert len(history["loss"]) == 3
    assert history["loss"][-1] < history["loss"][0]


def test_what_is_scored_is_an_average_over_the_steps_and_training_goes_on_from_the_last(tmp_path):
    """With one step an epoch the average is the weights themselves; with five it lags behind."""
    model = Regression()
    pairs = []

    def score():
        average = model.net.get_layer("head").kernel.numpy().copy()
        pairs.append(average)
        return "", 0.0

    training.fit(model, batches, 20, task(tmp_path, epochs=2), score, OFF)
    optimizer = model.optimizer
    kernel = model.net.get_layer("head").kernel
    place = [variable is kernel for variable in model.trainable_variables].index(True)
    averages = optimizer._model_variables_moving_average[place].numpy()

    assert np.allclose(pairs[-1], averages)
    assert float(optimizer.ema_momentum) == pytest.approx(0.8)  # 1 - 1 / 5 steps


def test_from_scratch_the_statistics_of_batch_normalisation_move(tmp_path):
    model, _, _ = fit_with([0.1, 0.2], tmp_path, pretrained=False)

    assert statistics(model.net) != statistics(Regression().net)


def test_when_pretrained_the_statistics_stand_still_and_the_weights_move(tmp_path):
    model, _, _ = fit_with([0.1, 0.2], tmp_path, pretrained=True)

    assert statistics(model.net) == statistics(Regression().net)
    assert not np.array_equal(model.net.get_weights()[0], Regression().net.get_weights()[0])


def test_phases_set_the_backbone_free_from_its_top_down(tmp_path):
    phases = [training.Phase(1, share, 1e-2) for share in (0.0, 0.5, 1.0)]
    start = Regression().net.get_weights()

    _, seen, curves = fit_with([0.1, 0.2, 0.3], tmp_path, phases, pretrained=True)

    first, last, head = 0, 6, 8  # kernels of the two dense layers of the backbone, and of the head
    moved = [
        [not np.array_equal(now[k], before[k]) for k in (first, last, head)]
        for before, now in zip([start, *seen[:-1]], seen, strict=True)
    ]
    assert moved == [[False, False, True], [False, True, True], [True, True, True]]
    assert curves["val_score"] == [0.1, 0.2, 0.3]


def test_the_best_epoch_may_be_one_of_the_head_alone(tmp_path):
    phases = [training.Phase(2, 0.0, 1e-2), training.Phase(3, 1.0, 1e-2)]

    model, seen, _ = fit_with([0.1, 0.9, 0.3, 0.4, 0.5], tmp_path, phases)

    assert same(model.net.get_weights(), seen[1])


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 7, 12, 30])
def test_the_phases_of_a_fine_tuning_are_all_epochs_and_free_ever_more(epochs):
    config = dataclasses.replace(CONFIG, epochs=epochs, pretrained=True)

    phases = training.gradual(config, 1e-4)

    assert sum(phase.epochs for phase in phases) == epochs
    assert [phase.moving for phase in phases] == sorted(phase.moving for phase in phases)
    assert training.gradual(dataclasses.replace(config, pretrained=False), 1e-4) == [
        training.Phase(epochs, 1.0, job.RATE["scratch"])
    ]


def test_training_ends_when_no_epoch_has_been_better_for_long(tmp_path):
    """Patience is half of the epochs, and five at least."""
    _, _, curves = fit_with([0.9, *[0.1] * 11], tmp_path)

    assert len(curves["val_score"]) == 1 + 6


def test_a_training_that_chooses_no_epoch_goes_on_and_keeps_the_last(tmp_path):
    model, seen, curves = fit_with([0.9, *[0.1] * 11], tmp_path, choosing=False)

    assert len(curves["val_score"]) == 12
    assert same(model.net.get_weights(), seen[-1])


def test_fit_trains_even_on_less_than_a_batch(tmp_path):
    model = Regression()
    before = model.net.get_weights()

    training.fit(model, batches, 1, task(tmp_path), lambda: ("val score", 1.0), OFF)

    assert not np.array_equal(before[0], model.net.get_weights()[0])


def interrupted(folder, after, **changes):
    """Trains until epoch `after` has been scored, and is cut in the next one."""
    model, epochs = Regression(), []

    def score():
        epochs.append(1)
        if len(epochs) > after:
            raise KeyboardInterrupt
        return "", float(len(epochs))

    phases = [training.Phase(2, 0.0, 1e-2), training.Phase(4, 1.0, 1e-2)]
    told = task(folder, epochs=6, **changes)
    with pytest.raises(KeyboardInterrupt):
        training.fit(model, stream, 20, told, score, OFF, phases)
    return told, phases


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_a_training_that_was_cut_goes_on_and_ends_like_one_that_was_not(after, tmp_path, states):
    whole, counted = Regression(), iter(range(1, 7))
    told, phases = interrupted(tmp_path / "cut", after)
    left = iter(range(after + 1, 7))
    again = Regression()
    resumed = training.fit(again, stream, 20, told, lambda: ("", float(next(left))), OFF, phases)
    checkpoint.remove(told)

    told = task(tmp_path / "whole", epochs=6)
    curves = training.fit(whole, stream, 20, told, lambda: ("", float(next(counted))), OFF, phases)

    assert resumed["val_score"] == curves["val_score"] == [1, 2, 3, 4, 5, 6]
    assert resumed["loss"] == pytest.approx(curves["loss"], rel=1e-4)
    for one, other in zip(again.net.get_weights(), whole.net.get_weights(), strict=True):
        assert np.allclose(one, other, atol=1e-4)


def test_a_state_is_there_until_it_is_removed(tmp_path, states):
    told, _ = interrupted(tmp_path, 3)
    assert [path.name for path in states.iterdir()] == ["trainer"]

    checkpoint.remove(told)

    assert not list(states.iterdir())


def test_another_job_does_not_go_on_from_the_state_but_takes_its_place(tmp_path, states):
    told, phases = interrupted(tmp_path, 3)
    other = dataclasses.replace(told, config=dataclasses.replace(told.config, seed=1))
    scored = []

    training.fit(
        Regression(), batches, 20, other, lambda: ("", float(scored.append(1) or 0)), OFF, phases
    )

    assert len(scored) == 6
    assert checkpoint.State(Regression(), told).epoch == 0
    assert checkpoint.State(Regression(), other).epoch == 6


def test_a_state_that_was_cut_while_it_was_written_does_not_count(tmp_path, states):
    told, _ = interrupted(tmp_path, 2)
    (states / "trainer" / "state.npz.partial").write_bytes(b"half of it")

    assert checkpoint.State(Regression(), told).epoch == 2


@pytest.mark.parametrize("left", [0, 100, 1000])
def test_a_damaged_state_is_as_good_as_none(left, tmp_path, states):
    told, _ = interrupted(tmp_path, 2)
    file = states / "trainer" / "state.npz"
    file.write_bytes(file.read_bytes()[:left])

    assert checkpoint.State(Regression(), told).epoch == 0


def test_without_a_folder_no_state_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv(checkpoint.FOLDER_VARIABLE, raising=False)
    told, _ = interrupted(tmp_path, 2)

    assert checkpoint.State(Regression(), told).epoch == 0


def test_a_loss_that_is_no_number_ends_the_training(tmp_path):
    endless = np.full((4, 2), np.inf, np.float32)
    x = tf.data.Dataset.from_tensors((endless, endless[:, :1]))

    with pytest.raises(FloatingPointError, match="the loss of epoch 1 is nan"):
        training.fit(Regression(), lambda _: x.repeat(), 20, task(tmp_path), lambda: ("", 0.0), OFF)


_KILLED = """
import pathlib, sys, time
sys.path[:0] = sys.argv[2:]
import test_training as t
def score():
    time.sleep(0.3)
    return "", 1.0
t.training.fit(t.Regression(), t.batches, 20,
    t.task(pathlib.Path(sys.argv[1]), epochs=100), score, t.OFF)
"""


def test_a_killed_training_left_a_whole_state(tmp_path, states):
    root, here = str(Path(__file__).resolve().parents[2]), str(Path(__file__).parent)
    process = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path), root, here])
    file = states / "trainer" / "state.npz"
    deadline = time.monotonic() + 120
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()

    state = checkpoint.State(Regression(), task(tmp_path, epochs=100))

    assert state.epoch >= 1
    assert len(state.curves["loss"]) == state.epoch


class Heard(Tracker):
    def __init__(self):
        super().__init__("off", "", "", {})
        self.epochs = []

    def epoch(self, number, metrics):
        self.epochs.append((number, sorted(metrics)))


def test_the_tracker_hears_of_every_epoch_counted_from_one(tmp_path):
    heard = Heard()

    training.fit(Regression(), batches, 20, task(tmp_path, epochs=2), lambda: ("", 0.5), heard)

    told = ["learning_rate", "loss", "photos_per_second", "val_score"]
    assert heard.epochs == [(1, told), (2, told)]


def test_a_blend_lies_half_way_from_the_start():
    start, trained = [np.array([0.0, 4.0])], [np.array([1.0, 0.0])]

    assert training.blend(start, trained)[0].tolist() == [0.5, 2.0]
