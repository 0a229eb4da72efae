"""The TFX run_fns of the breed teacher and of its student."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from models import backbones, breed, examples, export, input_pipeline, losses, vocabulary
from models.training import Job, fit, load_keras, start_weights


def breed_teacher(fn_args: Any) -> None:
    """Trains the breed classifier on the whole picture."""
    job = Job.of(fn_args)
    registered, side = backbones.get(job.config.backbone), job.config.image_size
    backbone = registered.build(side)
    if job.base:
        registered.load(backbone, start_weights(job.base))
    labels, breeds = _labels(job), vocabulary.read(job.config.vocabulary).breeds
    model = breed.Classifier(breed.classifier(backbone, side, labels, len(breeds)))
    _train(job, model, len(labels), breeds, head_first=job.config.pretrained)


def breed_student(fn_args: Any) -> None:
    """Trains the same network on the halved picture, from its teacher and under it."""
    job = Job.of(fn_args)
    assert job.base is not None, "the graph gives the student its teacher"
    teacher = load_keras(job.base, {"TrainedClassesOnly": breed.TrainedClassesOnly})
    side = job.config.image_size
    half = backbones.get(job.config.backbone).build(side // 2)
    labels, breeds = _labels(job), vocabulary.read(job.config.vocabulary).breeds
    net = breed.classifier(half, side, labels, len(breeds), halve=True)
    net.set_weights(teacher.get_weights())
    _train(job, breed.Classifier(net, teacher), len(labels), breeds, head_first=False)


def _labels(job: Job) -> list[int]:
    return [record.label for record, _ in examples.scan(job.train)]


def _train(
    job: Job, model: breed.Classifier, photos: int, breeds: Sequence[str], *, head_first: bool
) -> None:
    config = job.config
    val = input_pipeline.labelled(job.val, config.image_size, config.batch_size)
    data = input_pipeline.training(job.train, config.image_size, config.batch_size, config.seed)

    def score() -> tuple[str, float]:
        accuracy, loss = evaluate(model.net, val)
        return f"val accuracy {accuracy:.3f}, val loss {loss:.3f}", -loss

    history = fit(model, data, photos, job, score, head_first=head_first)
    export.BreedExport(model.net, config.image_size, breeds).save(job.serving)
    job.save(model.net, history)


def evaluate(net: keras.Model, batches: Any) -> tuple[float, float]:
    """Top-1 accuracy and smoothed cross-entropy over batches of (image, label).

    The second chooses the epoch: on a small split many epochs tie in accuracy. It is smoothed as in
    training, else the epoch that is least sure of itself would win, and leaves out photos of breeds
    that training never saw, whose loss no epoch can change.
    """
    present = net.get_layer("trained").present
    right, loss, total = 0, 0.0, 0
    for images, labels in batches:
        logits = net(images, training=False)
        right += int((logits.numpy().argmax(axis=1) == labels.numpy()).sum())
        known = tf.gather(present, labels)
        loss += float(tf.reduce_sum(known * losses.smoothed_cross_entropy(labels, logits, present)))
        total += len(labels)
    return right / total, loss / total
