"""The TFX run_fn of the match model."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import backbones, breed, examples, export, input_pipeline, match
from models.training import KERAS_MODEL, Config, Job, fit, load_keras, start_weights

PHOTOS_PER_DOG = 4


def match_model(fn_args: Any) -> None:
    """Trains the Siamese encoder, from the breed teacher's backbone where there is one."""
    job = Job.of(fn_args)
    config = job.config
    net = match.encoder(_match_backbone(job), config.image_size)
    records = [record for record, _ in examples.scan(job.train)]
    data = input_pipeline.identities(
        records,
        config.image_size,
        max(2, config.batch_size // PHOTOS_PER_DOG),
        PHOTOS_PER_DOG,
        config.seed,
    )

    def score() -> tuple[str, float]:
        return "val mAP", match.mean_average_precision(*embed_split(net, job.val, config))

    history = fit(match.Siamese(net), data, len(records), job, score)
    scale, offset = _calibration(*embed_split(net, job.val, config))
    export.MatchExport(net, config.image_size, scale, offset).save(job.serving)
    job.save(net, {**history, "calibration": [scale, offset]})


def _match_backbone(job: Job) -> keras.Model:
    registered = backbones.get(job.config.backbone)
    backbone = registered.build(job.config.image_size)
    if job.base and tf.io.gfile.exists(os.path.join(job.base, KERAS_MODEL)):
        layers = {"TrainedClassesOnly": breed.TrainedClassesOnly}
        teacher = load_keras(job.base, layers)
        backbone.set_weights(teacher.get_layer("backbone").get_weights())
    elif job.base:
        registered.load(backbone, start_weights(job.base))
    return backbone


def embed_split(net: keras.Model, split: str, config: Config) -> tuple[np.ndarray, list[str]]:
    """Embeds a split: (float [N, D], dog ids [N]), in the order of its records."""
    dogs = [record.dog_id for record, _ in examples.scan(split)]
    batches = input_pipeline.labelled(split, config.image_size, config.batch_size)
    embeddings = [net(images, training=False).numpy() for images, _ in batches]
    return np.concatenate(embeddings), dogs


def _calibration(embeddings: np.ndarray, dogs: Sequence[str]) -> tuple[float, float]:
    names = np.asarray(dogs)
    first, second = np.triu_indices(len(names), k=1)
    cosines = np.einsum("pd,pd->p", embeddings[first], embeddings[second])
    return match.calibrate(cosines, names[first] == names[second])
