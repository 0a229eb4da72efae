"""What the three trainers share: their job, and the fit loop.

Each trains on `train`, keeps the epoch that is best on `val`, and never sees `test`. A model
artifact holds `Format-Serving`, the SavedModel, and `Format-Keras`, from which another trainer
goes on.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import progress

KERAS_MODEL = os.path.join("Format-Keras", "model.keras")
# From scratch a net needs large steps; one that already sees must not forget.
RATE = {"scratch": 2e-3, "pretrained": 1e-4, "head": 3e-3}


@dataclasses.dataclass(frozen=True)
class Config:
    """What a trainer is told, as the JSON of TFX's `custom_config`.

    Attributes:
      backbone: a registered name.
      image_size: side of the Examples' photos, pixels.
      epochs: passes over `train`.
      batch_size: photos a step.
      pretrained: the backbone starts from weights that were trained before.
      seed: of initial weights, order and augmentation.
      vocabulary: path of the breed table.
      code: digest of the code behind the trainer; only there to make TFX's cache notice an edit.
    """

    backbone: str
    image_size: int
    epochs: int
    batch_size: int
    pretrained: bool
    seed: int
    vocabulary: str
    code: str = ""

    @property
    def rate(self) -> float:
        """Peak learning rate."""
        return RATE["pretrained" if self.pretrained else "scratch"]


@dataclasses.dataclass(frozen=True)
class Job:
    """One call of a run_fn: where to read, where to write.

    Attributes:
      config: the settings.
      train: folder of the training split.
      val: folder of the validation split.
      base: folder of the model artifact to start from, None to start anew.
      serving: folder for the SavedModel.
      log: folder for TensorBoard and history.json.
    """

    config: Config
    train: str
    val: str
    base: str | None
    serving: str
    log: str

    @classmethod
    def of(cls, fn_args: Any) -> "Job":
        """Reads TFX's FnArgs and seeds every generator."""
        config = Config(**fn_args.custom_config)
        keras.utils.set_random_seed(config.seed)
        base = os.path.dirname(fn_args.base_model) if fn_args.base_model else None
        return cls(
            config,
            fn_args.train_files[0],
            fn_args.eval_files[0],
            base,
            fn_args.serving_model_dir,
            fn_args.model_run_dir,
        )

    def save(self, net: keras.Model, history: Mapping[str, Sequence[float]]) -> None:
        """Writes what the next trainer and the report need beside the SavedModel."""
        path = os.path.join(os.path.dirname(self.serving), KERAS_MODEL)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        net.save(path)
        with tf.io.gfile.GFile(os.path.join(self.log, "history.json"), "w") as file:
            json.dump(history, file, indent=1)


def load_keras(model_folder: str, layers: Mapping[str, type]) -> keras.Model:
    """Loads the trainable network of a model artifact, with the project's own layers in it."""
    path = os.path.join(model_folder, KERAS_MODEL)
    model: keras.Model = keras.saving.load_model(path, custom_objects=dict(layers))
    return model


def start_weights(model_folder: str) -> str:
    """The weights file of an imported start-weights artifact."""
    (path,) = tf.io.gfile.glob(os.path.join(model_folder, "*.h5"))
    return str(path)


def fit(
    model: keras.Model,
    data: Any,
    photos: int,
    job: Job,
    score: Callable[[], tuple[str, float]],
    *,
    head_first: bool = False,
) -> dict[str, list[float]]:
    """Trains with AdamW, a short warm-up and a cosine to zero, and keeps the best epoch's weights.

    Args:
      model: has a `net` with a layer `backbone`, and its own loss.
      data: endless batches.
      photos: how many photos one epoch is.
      job: the settings and the log folder.
      score: called after each epoch: how the model does on `val`, in words and as a number of
        which larger is better.
      head_first: a quarter of the epochs goes to what is new on top of the backbone, before the
        backbone itself moves: the gradients of a random head would wreck it.

    Returns:
      The loss and the score of every epoch.
    """
    config = job.config
    steps = max(1, photos // config.batch_size)
    best = _KeepBest(score, steps, config)
    callbacks = [best, keras.callbacks.TensorBoard(job.log, write_graph=False)]
    head = config.epochs // 4 if head_first else 0
    phases = [(0, head, RATE["head"]), (head, config.epochs, config.rate)]
    curves: dict[str, list[float]] = {}
    for first, last, rate in (phase for phase in phases if phase[0] < phase[1]):
        _release(model.net.get_layer("backbone"), first >= head, config.pretrained)
        model.compile(optimizer=_optimizer(rate, steps * (last - first)), jit_compile=False)
        epochs = {"initial_epoch": first, "epochs": last, "steps_per_epoch": steps}
        history = model.fit(data, verbose=0, callbacks=callbacks, **epochs).history
        for name, values in history.items():
            curves.setdefault(name, []).extend(float(value) for value in values)
    model.net.set_weights(best.weights)
    return curves


def _release(backbone: keras.Model, moves: bool, pretrained: bool) -> None:
    """Lets a backbone train, but keeps the statistics of batch normalisation that it came with.

    A layer that is not trainable runs in inference mode. (Calling the backbone with
    `training=False` would not do: the outer model's own `training` overrules it.) Batches of a
    fine-tuning are small and few, and published weights may have their statistics folded away.
    """
    backbone.trainable = moves
    for layer in backbone._flatten_layers():
        if pretrained and isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False


def _optimizer(rate: float, steps: int) -> keras.optimizers.Optimizer:
    warm_up = steps // 10
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warm_up), warmup_target=rate, warmup_steps=warm_up
    )
    return keras.optimizers.AdamW(schedule, weight_decay=1e-4, clipnorm=1.0)


class _KeepBest(keras.callbacks.Callback):
    """Scores every epoch, remembers the best weights, and says how far training is."""

    def __init__(self, score: Callable[[], tuple[str, float]], steps: int, config: Config):
        super().__init__()
        self._score, self._config, self._steps = score, config, steps
        self._best, self._last = -np.inf, ""
        self._rate = progress.Rate("training", steps * config.epochs * config.batch_size)
        self._epoch = 0
        self.weights: list[np.ndarray] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        epoch = f"epoch {self._epoch}/{self._config.epochs} batch {batch + 1}/{self._steps}"
        loss = float((logs or {}).get("loss", np.nan))
        self._rate.add(self._config.batch_size, f"{epoch} · loss {loss:.3f}{self._last}")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        text, value = self._score()
        if logs is not None:
            logs["val_score"] = value
        self._last = f" · {text}"
        value = value if np.isfinite(value) else -np.inf
        if value > self._best or not self.weights:
            self._best, self.weights = value, self.model.net.get_weights()
