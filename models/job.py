"""What a trainer is told, and where it reads and writes.

A model artifact holds `Format-Serving`, the SavedModel, `Format-Golden`, what it has to answer, and
`Format-Keras`, from which another trainer goes on.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

HISTORY = "history.json"
KERAS_MODEL = os.path.join("Format-Keras", "model.keras")
# From scratch a net needs large steps; one that already sees must not forget.
RATE = {"scratch": 2e-3, "pretrained": 1e-4}


@dataclasses.dataclass(frozen=True)
class Config:
    """What a trainer is told, as the JSON of TFX's `custom_config`.

    Attributes:
      backbone: a registered name; the student's own, for the student.
      image_size: side of the Examples' photos, pixels.
      epochs: passes over `train`.
      batch_size: photos a step, over all devices.
      pretrained: the backbone starts from weights that were trained before.
      seed: of initial weights, order and augmentation.
      vocabulary: path of the breed table.
      side: of the picture that the backbone sees, pixels; 0 is all of it.
      start: what the student's backbone starts from: `teacher`, the folder of its start weights, or
        "" for random ones.
      augment: name of the policy that changes the breed models' photos.
      mix: how the photos of their batches are mixed with each other, a name in `augment.MIXES`.
      loss: name of the match model's loss.
      code: digest of the code behind the trainer; only there to make TFX's cache notice an edit.
    """

    backbone: str
    image_size: int
    epochs: int
    batch_size: int
    pretrained: bool
    seed: int
    vocabulary: str
    side: int = 0
    start: str = ""
    augment: str = "light"
    mix: str = "none"
    loss: str = ""
    code: str = ""

    @property
    def rate(self) -> float:
        """Peak learning rate of a net that moves as a whole."""
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
      trainer: its name, which tells it from the others of a run.
    """

    config: Config
    train: str
    val: str
    base: str | None
    serving: str
    log: str
    trainer: str = "trainer"

    @classmethod
    def of(cls, fn_args: Any, trainer: str) -> "Job":
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
            trainer,
        )

    def save(self, net: keras.Model, history: Mapping[str, Any]) -> None:
        """Writes what the next trainer and the report need beside the SavedModel."""
        path = os.path.join(os.path.dirname(self.serving), KERAS_MODEL)
        tf.io.gfile.makedirs(os.path.dirname(path))
        net.save(path)
        with tf.io.gfile.GFile(os.path.join(self.log, HISTORY), "w") as file:
            json.dump(history, file, indent=1)

    @property
    def settings(self) -> dict[str, Any]:
        """What decided the training, for people: what says nothing and places are left out."""
        told = {name: value for name, value in vars(self.config).items() if value or value is False}
        told |= {"seed": self.config.seed, "base": _last(self.base or "nothing")}
        told |= {"start": _last(self.config.start)} if self.config.start else {}
        return {name: value for name, value in told.items() if name != "vocabulary"}

    @property
    def key(self) -> str:
        """Digest of all that decides the training, down to the precision of the devices."""
        policy = keras.config.dtype_policy().name
        told = [dataclasses.asdict(self.config), self.train, self.val, self.base, policy]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _last(path: str) -> str:
    """The end of a path, which names an artifact or the digest of a content."""
    return "/".join(path.rstrip("/").split("/")[-3:])


def load_keras(model_folder: str) -> keras.Model:
    """Loads the trainable network of a model artifact, with the project's own layers in it."""
    from models import breed, match  # noqa: F401  # which register them

    model: keras.Model = keras.saving.load_model(os.path.join(model_folder, KERAS_MODEL))
    return model


def start_weights(model_folder: str) -> str:
    """The weights file of an imported start-weights artifact."""
    (path,) = tf.io.gfile.glob(os.path.join(model_folder, "*.h5"))
    return str(path)
