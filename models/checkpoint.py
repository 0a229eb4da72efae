"""The state of a training that has not ended.

Where it is kept is no setting of the training: it is told by the environment.
"""

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from models import progress
from models.job import Job

FOLDER_VARIABLE = "SPOTTED_STATES"  # where trainings keep their state; without it they keep none

PATIENCE = 0.5  # of the epochs without a better one: the cosine has not come down before


class State:
    """What a training needs to go on; kept on disk after every epoch, whole or not at all.

    Args:
      model: whose `net` is trained.
      job: the settings.
      choosing: the best epoch is kept, and the training ends early; otherwise the last one is.
    """

    def __init__(self, model: keras.Model, job: Job, choosing: bool = True):
        self._model, self._choosing = model, choosing
        self._file, self._key = file_of(job), job.key
        self._epochs = job.config.epochs
        self._patience = max(5, round(PATIENCE * job.config.epochs))
        self._optimizer: list[np.ndarray] = []
        self._phase = 0
        self.best: list[np.ndarray] = model.net.get_weights()
        self.curves: dict[str, list[float]] = {}
        if self._file and tf.io.gfile.exists(self._file):
            self._load()

    @property
    def scores(self) -> list[float]:
        """The score of every epoch that is done; the worst where it is no number."""
        scores = np.array(self.curves.get("val_score", []))
        return np.where(np.isfinite(scores), scores, -np.inf).tolist()

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.scores)

    @property
    def ended(self) -> bool:
        """Whether too many epochs have passed without a better one."""
        if not self._choosing or not self.scores:
            return False
        return self.epoch - 1 - int(np.argmax(self.scores)) >= self._patience

    def start(self, phase: int) -> int:
        """Readies the compiled model for the phase that starts with an epoch; returns the next."""
        self._model.optimizer.build(self._model.trainable_variables)
        if self._optimizer and phase == self._phase:
            _assign(self._model.optimizer.variables, self._optimizer)
        self._optimizer, self._phase = [], phase
        return self.epoch

    def add(self, logs: Mapping[str, float], average: Sequence[np.ndarray]) -> None:
        """Adds an epoch that is done, and writes the state down."""
        better = not self.epoch or logs["val_score"] > max(self.scores)
        if better or not self._choosing:
            self.best = list(average)
        for name, value in logs.items():
            self.curves.setdefault(name, []).append(float(value))
        if self._file:
            self._save()

    def _save(self) -> None:
        parts = {
            "model": [variable.numpy() for variable in self._model.variables],
            "optimizer": [variable.numpy() for variable in self._model.optimizer.variables],
            "best": self.best,
        }
        arrays = {f"{part}/{n}": a for part, values in parts.items() for n, a in enumerate(values)}
        told = np.array(json.dumps({"key": self._key, "curves": self.curves, "phase": self._phase}))
        buffer = io.BytesIO()
        np.savez(buffer, told=told, **arrays)
        tf.io.gfile.makedirs(os.path.dirname(self._file))
        with tf.io.gfile.GFile(self._file + ".partial", "wb") as file:
            file.write(buffer.getvalue())
        tf.io.gfile.rename(self._file + ".partial", self._file, overwrite=True)

    def _load(self) -> None:
        """Goes on from the file; one that is another job's, or is damaged, is as good as none."""
        try:
            with tf.io.gfile.GFile(self._file, "rb") as file:
                stored = dict(np.load(io.BytesIO(file.read())))
            told = json.loads(str(stored.pop("told")))
            parts = {part: _numbered(stored, part) for part in ("model", "optimizer", "best")}
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            progress.log.warning("%s is damaged (%s): training starts anew", self._file, error)
            return
        if told["key"] != self._key:
            return
        _assign(self._model.variables, parts["model"])
        self.curves, self._phase = told["curves"], told["phase"]
        self.best, self._optimizer = parts["best"], parts["optimizer"]
        progress.log.log(
            progress.STAYS,
            "a training that was cut goes on after epoch %d/%d",
            *(self.epoch, self._epochs),
        )


def file_of(job: Job) -> str:
    """Where a trainer's state lies, "" for nowhere; there is one, of the job it was last at."""
    folder = os.environ.get(FOLDER_VARIABLE, "")
    return os.path.join(folder, job.trainer, "state.npz") if folder else ""


def remove(job: Job) -> None:
    """Forgets a training that has ended, once all that came of it is written."""
    file = file_of(job)
    if file and tf.io.gfile.exists(file):
        tf.io.gfile.rmtree(os.path.dirname(file))


def _assign(variables: Sequence[keras.Variable], values: Sequence[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _numbered(stored: Mapping[str, np.ndarray], part: str) -> list[np.ndarray]:
    """The arrays `part/0`, `part/1` and so on."""
    count = sum(1 for name in stored if name.startswith(f"{part}/"))
    return [stored[f"{part}/{number}"] for number in range(count)]
