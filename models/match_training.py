"""The TFX run_fn of the match model."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import backbones, breed, examples, export, input_pipeline, match
from models.training import KERAS_MODEL, Job, fit, load_keras, start_weights

PHOTOS_PER_DOG = 4
CALIBRATION_PHOTOS = 2000  # two million pairs say enough about two numbers


def match_model(fn_args: Any) -> None:
    """Trains the Siamese encoder from the start weights, or else from the breed teacher's backbone.

    A backbone that was fine-tuned to tell breeds has begun to forget what tells dogs of one breed
    apart, so published weights are the better start; from scratch the teacher's are.
    """
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

    val = input_pipeline.labelled(job.val, config.image_size, config.batch_size)
    dogs = [record.dog_id for record, _ in examples.scan(job.val)]

    def score() -> tuple[str, float]:
        precision = match.mean_average_precision(embed(net, val), dogs)
        return f"val mAP {precision:.3f}", precision

    history = fit(match.Siamese(net), data, len(records), job, score)
    scale, offset = _calibration(embed(net, val), dogs)
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


def embed(net: keras.Model, batches: Any) -> np.ndarray:
    """Embeds batches of (image, label): float [N, D], in their order."""
    return np.concatenate([net(images, training=False).numpy() for images, _ in batches])


def _calibration(embeddings: np.ndarray, dogs: Sequence[str]) -> tuple[float, float]:
    """Fits the calibration on all pairs, of the first `CALIBRATION_PHOTOS` photos by dog."""
    names = np.asarray(dogs)
    kept = np.argsort(names, kind="stable")[:CALIBRATION_PHOTOS]
    cosines = embeddings[kept] @ embeddings[kept].T
    pairs = np.triu_indices(len(kept), k=1)
    return match.calibrate(cosines[pairs], (names[kept, None] == names[kept])[pairs])
