"""The TFX run_fns of the breed teacher and of its student."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from models import backbones, breed, examples, export, input_pipeline, losses, vocabulary
from models.training import Config, Job, fit, load_keras, start_weights


def breed_teacher(fn_args: Any) -> None:
    """Trains the breed classifier on the whole picture."""
    job = Job.of(fn_args)
    config = job.config
    backbone = backbones.get(config.backbone).build(config.image_size)
    if job.base:
        backbones.get(config.backbone).load(backbone, start_weights(job.base))
    net = _classifier(job, backbone)
    _train_breed(job, breed.Classifier(net))


def breed_student(fn_args: Any) -> None:
    """Trains the same network on the halved picture, from its teacher and under it."""
    job = Job.of(fn_args)
    assert job.base is not None, "the graph gives the student its teacher"
    teacher = load_keras(job.base, {"TrainedClassesOnly": breed.TrainedClassesOnly})
    half = backbones.get(job.config.backbone).build(job.config.image_size // 2)
    net = _classifier(job, half, halve=True)
    net.set_weights(teacher.get_weights())
    _train_breed(job, breed.Classifier(net, teacher))


def _classifier(job: Job, backbone: keras.Model, *, halve: bool = False) -> keras.Model:
    return breed.classifier(
        backbone,
        job.config.image_size,
        [record.label for record, _ in examples.scan(job.train)],
        len(_breeds(job.config)),
        halve=halve,
    )


def _breeds(config: Config) -> Sequence[str]:
    with tf.io.gfile.GFile(config.vocabulary) as file:
        return vocabulary.parse(file.read()).breeds


def _train_breed(job: Job, model: breed.Classifier) -> None:
    config = job.config
    photos = sum(1 for _ in examples.scan(job.train))
    val = input_pipeline.labelled(job.val, config.image_size, config.batch_size)
    data = input_pipeline.training(job.train, config.image_size, config.batch_size, config.seed)

    def score() -> tuple[str, float]:
        accuracy, loss = evaluate(model.net, val)
        return f"val accuracy {accuracy:.3f}, -loss", -loss

    new_head = config.pretrained and model.teacher is None
    history = fit(model, data, photos, job, score, head_first=new_head)
    export.BreedExport(model.net, config.image_size, _breeds(config)).save(job.serving)
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
