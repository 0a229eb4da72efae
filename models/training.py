"""The fit loop that the three trainers share.

Each trains on `train`, keeps the epoch that is best on `val`, and never sees `test`.
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import progress, tracking
from models.checkpoint import State
from models.job import Config, Job

BLEND = 0.5  # of the way of a fine-tuning


@dataclasses.dataclass(frozen=True)
class Phase:
    """Some epochs in which a part of the backbone moves.

    Attributes:
      epochs: how many.
      moving: the share of the backbone's layers that trains, from its top down.
      rate: peak learning rate; each phase warms up to it and comes down to zero.
    """

    epochs: int
    moving: float
    rate: float


def gradual(config: Config, rate: float) -> list[Phase]:
    """Phases for a backbone that starts from weights, under a head that fits them (`probe`).

    First the upper half of the backbone moves, whose features are the most special to what it was
    trained on, and then all of it (Howard and Ruder, 2018, arXiv:1801.06146).

    Args:
      config: the settings; from scratch everything moves from the start.
      rate: of the upper half; the whole goes at half of it.
    """
    if not config.pretrained:
        return [Phase(config.epochs, 1.0, config.rate)]
    upper = config.epochs // 2
    phases = [Phase(upper, 0.5, rate), Phase(config.epochs - upper, 1.0, rate / 2)]
    return [phase for phase in phases if phase.epochs]


def fit(
    model: keras.Model,
    data: Callable[[int], Any],
    photos: int,
    job: Job,
    score: Callable[[], tuple[str, float]],
    tracker: tracking.Tracker,
    phases: Sequence[Phase] = (),
    choosing: bool = True,
) -> dict[str, list[float]]:
    """Trains with AdamW and a moving average of the weights, and keeps the best epoch's average.

    After every epoch the state is on disk (`checkpoint.State`), so that a training that was cut
    goes on with the epoch in which it was cut; who has written all that came of it removes the
    state. A phase begins with the average that the one before it ended with.

    Args:
      model: has a `net` with a layer `backbone`, and its own loss.
      data: given an epoch, endless batches from that one on.
      photos: how many photos one epoch is.
      job: the settings and the log folder.
      score: called after each epoch: how the model does on `val`, in words and as a number of
        which larger is better.
      tracker: is told every epoch.
      phases: that follow each other; by default one, in which everything moves.
      choosing: False keeps the last epoch, where `val` is too small to tell epochs apart.

    Returns:
      The loss and the score of every epoch.

    Raises:
      FloatingPointError: the loss is no number any more.
    """
    config = job.config
    steps = max(1, photos // config.batch_size)
    state = State(model, job, choosing)
    watch = _Watch(score, state, steps, config, tracker)
    callbacks = [watch, keras.callbacks.TensorBoard(job.log, write_graph=False)]
    first = 0
    for phase in phases or [Phase(config.epochs, 1.0, config.rate)]:
        last = first + phase.epochs
        if state.epoch < last and not state.ended:
            release(model.net.get_layer("backbone"), phase.moving, config.pretrained)
            model.compile(optimizer=_optimizer(phase.rate, steps, phase.epochs), jit_compile=False)
            epoch = state.start(first)
            span = {"initial_epoch": epoch, "epochs": last, "steps_per_epoch": steps}
            model.fit(data(epoch), verbose=0, callbacks=callbacks, **span)
        first = last
    model.net.set_weights(state.best)
    return state.curves


def blend(start: Sequence[np.ndarray], trained: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The weights half-way from the start to the end of a fine-tuning.

    Between the two lies a net that knows the training photos less by heart and others better
    (Wortsman et al., 2022, arXiv:2109.01903).
    """
    return [first + BLEND * (last - first) for first, last in zip(start, trained, strict=True)]


def release(backbone: keras.Model, moving: float, pretrained: bool) -> None:
    """Lets a share of a backbone's layers train, from its top down.

    Batch normalisation keeps the statistics that a backbone came with: batches of a fine-tuning are
    small and few, and published weights may have their statistics folded away. A layer that is not
    trainable runs in inference mode. (Calling the backbone with `training=False` would not do: the
    outer model's own `training` overrules it.)
    """
    layers = _leaves(backbone)
    frozen = round(len(layers) * (1 - moving))
    for place, layer in enumerate(layers):
        statistics = pretrained and isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = place >= frozen and not statistics


def _leaves(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers that hold no others, from the input on."""
    inner = getattr(layer, "layers", [])
    return [leaf for part in inner for leaf in _leaves(part)] or [layer]


def _optimizer(rate: float, steps: int, epochs: int) -> keras.optimizers.Optimizer:
    """AdamW, a tenth of the steps as warm-up, a cosine to zero, averaged over about an epoch."""
    warm_up = steps * epochs // 10
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps * epochs - warm_up), warmup_target=rate, warmup_steps=warm_up
    )
    return keras.optimizers.AdamW(
        schedule,
        weight_decay=1e-4,
        clipnorm=1.0 / tf.distribute.get_strategy().num_replicas_in_sync,  # each clips its share
        use_ema=True,
        ema_momentum=min(0.999, 1 - 1 / steps),
    )


class _Watch(keras.callbacks.Callback):
    """Scores the averaged weights of every epoch, and says how far training is."""

    def __init__(
        self,
        score: Callable[[], tuple[str, float]],
        state: State,
        steps: int,
        config: Config,
        tracker: tracking.Tracker,
    ):
        super().__init__()
        self._score, self._state, self._config, self._steps = score, state, config, steps
        self._tracker = tracker
        self._epoch, self._shown = 0, ""
        left = config.epochs - state.epoch
        self._rate = progress.Rate("training", steps * left * config.batch_size)

    def on_train_begin(self, logs: Any = None) -> None:
        self._last_epoch = self.params["epochs"]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch, self._begun = epoch + 1, time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        epoch = f"epoch {self._epoch}/{self._config.epochs} batch {batch + 1}/{self._steps}"
        loss = float((logs or {}).get("loss", np.nan))
        self._rate.add(self._config.batch_size, f"{epoch} · loss {loss:.3f}{self._shown}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = {} if logs is None else logs
        seconds = time.monotonic() - self._begun
        rate = float(self.model.optimizer.learning_rate)
        if not np.isfinite(logs["loss"]):
            raise FloatingPointError(
                f"the loss of epoch {epoch + 1} is {logs['loss']} (learning rate {rate:g}, "
                f"{keras.config.dtype_policy().name}): look at the photos and at the start weights"
            )
        with _averaged(self.model, for_good=epoch + 1 == self._last_epoch) as average:
            text, logs["val_score"] = self._score()
        self._shown = f" · {text}"
        self._state.add(logs, average)
        speed = self._steps * self._config.batch_size / seconds
        told = {**logs, "learning_rate": rate, "photos_per_second": speed}
        self._tracker.epoch(epoch + 1, told)
        self.model.stop_training = self._state.ended


@contextlib.contextmanager
def _averaged(model: keras.Model, *, for_good: bool) -> Iterator[list[np.ndarray]]:
    """Puts the optimiser's moving averages in place of the weights, yields those of the net.

    At the end of a phase for good: Keras would do it then, but after the state was written.
    """
    moving = [variable.numpy() for variable in model.trainable_variables]
    model.optimizer.finalize_variable_values(model.trainable_variables)
    yield model.net.get_weights()
    if not for_good:
        for variable, value in zip(model.trainable_variables, moving, strict=True):
            variable.assign(value)
