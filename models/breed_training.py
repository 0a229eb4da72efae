"""The TFX run_fns of the breed teacher and of its student."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import (
    backbones,
    breed,
    checkpoint,
    devices,
    distillation,
    examples,
    export,
    input_pipeline,
    losses,
    mirror,
    probe,
    progress,
    tflite,
    tracking,
    training,
    vocabulary,
)
from models.job import Job, load_keras, start_weights

TEACHER_RATE = 1e-5  # of a backbone whose features serve breeds well as they are
STUDENT_RATE = 1e-4  # of one that has to learn to see smaller pictures
TEACHER = "teacher"  # as the start of its student
_SHOWN = 32  # photos among the sample predictions
_REPRESENTATIVE = 128  # photos that the int8 ranges are taken from


def breed_teacher(fn_args: Any) -> None:
    """Trains the breed classifier on the whole picture.

    It answers for a photo both ways round: nobody waits for a teacher.
    """
    job = Job.of(fn_args, "breed-teacher")
    with tracking.Tracker.from_environment("breed-teacher", job.settings) as tracker:
        net, history = train_teacher(job, tracker)
        served = mirror.mirrored(net, job.config.image_size)
        _finish(job, tracker, net, served, history, "spotted-breed-teacher")


def breed_student(fn_args: Any) -> None:
    """Trains a smaller classifier under its teacher, and makes its phone export."""
    job = Job.of(fn_args, "breed-student")
    assert job.base is not None, "the graph gives the student its teacher"
    with tracking.Tracker.from_environment("breed-student", job.settings) as tracker:
        net, history = train_student(job, tracker)
        _finish(job, tracker, net, net, history, "spotted-breed-student")


def train_teacher(job: Job, tracker: tracking.Tracker) -> tuple[keras.Model, dict[str, Any]]:
    """Trains from the start weights, or from scratch.

    Returns:
      The classifier in float32 with its best weights, and its curves.
    """
    side = job.config.image_size
    weights = start_weights(job.base) if job.base else ""
    labels, breeds = labels_of(job), breeds_of(job)

    def build() -> keras.Model:
        backbone = _backbone(job.config.backbone, side, weights)
        return breed.classifier(backbone, side, labels, len(breeds))

    phases = training.gradual(job.config, TEACHER_RATE)
    return _train(job, tracker, build, labels, phases)


def train_student(
    job: Job, tracker: tracking.Tracker, *, taught: bool = True
) -> tuple[keras.Model, dict[str, Any]]:
    """Trains under the teacher, from the teacher's weights or from others.

    One that starts from weights keeps the last epoch: it learns from answers, not photos by heart.

    Args:
      job: whose `base` is the teacher.
      tracker: is told every epoch.
      taught: False leaves the teacher out, to see what it brings.

    Returns:
      The classifier in float32 with its best weights, and its curves with `student`, how it
      compares with the teacher (`distillation.compare`).
    """
    assert job.base is not None
    serving = os.path.join(job.base, "Format-Serving")
    labels, breeds = labels_of(job), breeds_of(job)
    config, warm = job.config, job.config.start == TEACHER
    weights = "" if warm or not config.start else start_weights(config.start)

    def build() -> keras.Model:
        backbone = _backbone(config.backbone, config.side or config.image_size, weights)
        return breed.classifier(backbone, config.image_size, labels, len(breeds))

    rate = STUDENT_RATE if config.pretrained else config.rate
    whole = [training.Phase(config.epochs, 1.0, rate)]
    phases = whole if warm else training.gradual(config, rate)
    net, history = _train(
        job,
        tracker,
        build,
        labels,
        phases,
        teacher=serving if taught else "",
        start=_weights_of(job.base) if warm else None,
    )
    photos = input_pipeline.labelled(job.val, config.image_size, config.batch_size)
    return net, {**history, "student": distillation.compare(net, serving, photos)}


def _backbone(name: str, side: int, weights: str) -> keras.Model:
    registered = backbones.get(name)
    backbone = registered.build(side)
    if weights:
        registered.load(backbone, weights)
    return backbone


def _weights_of(model_folder: str) -> list[np.ndarray]:
    """The weights of a classifier that was trained here."""
    weights: list[np.ndarray] = load_keras(model_folder).get_weights()
    return weights


def labels_of(job: Job) -> list[int]:
    """The labels of all training photos."""
    return [record.label for record, _ in examples.scan(job.train)]


def breeds_of(job: Job) -> Sequence[str]:
    """The vocabulary in label order."""
    return vocabulary.read(job.config.vocabulary).breeds


def _train(
    job: Job,
    tracker: tracking.Tracker,
    build: Callable[[], keras.Model],
    labels: Sequence[int],
    phases: Sequence[training.Phase] | None,
    teacher: str = "",
    start: list[np.ndarray] | None = None,
) -> tuple[keras.Model, dict[str, Any]]:
    """Trains what `build` makes, on the devices that there are.

    Everything that a step computes with is made in their scope: a teacher, the SavedModel in the
    folder of that name, lies on each of them.
    """
    config = job.config
    val = input_pipeline.labelled(job.val, config.image_size, config.batch_size)
    with devices.devices():
        net = build()
        classes = net.output_shape[-1]
        if start is not None:
            net.set_weights(start)
        taught_by = distillation.load(teacher) if teacher else None
        model = breed.Classifier(net, breed.balance(labels, classes), taught_by)

        answer, present = devices.inference(net), net.get_layer("trained").present

        def score() -> tuple[str, float]:
            accuracy, loss = evaluate(answer, present, val)
            return f"val accuracy {accuracy:.3f}, val loss {loss:.3f}", -loss

        def data(epoch: int) -> Any:
            return input_pipeline.training(
                job.train,
                config.image_size,
                config.batch_size,
                config.seed,
                config.augment,
                epoch,
                config.mix,
                classes,
            )

        probed = config.pretrained and start is None
        if probed:
            _fit_head(net, job, breed.balance(labels, classes))
        begun = net.get_weights()
        before, _ = evaluate(answer, present, val)
        choosing = not (teacher and config.pretrained)
        history: dict[str, Any] = training.fit(
            model, data, len(labels), job, score, tracker, phases or (), choosing
        )
        if config.pretrained:
            net.set_weights(training.blend(begun, net.get_weights()))
        if probed and not teacher:
            after, _ = evaluate(answer, present, val)
            photos = sum(1 for _ in examples.scan(job.val))
            kept = "fine-tuned" if earned(before, after, photos) else "probe"
            if kept == "probe":
                net.set_weights(begun)
            told = (before, after, kept)
            progress.log.info("val accuracy %.3f, fine-tuned %.3f: kept the %s", *told)
            history["probe"] = {"val_accuracy": before, "fine_tuned": after, "kept": kept}
    return devices.plain(net, build), history


def earned(before: float, after: float, photos: int) -> bool:
    """Whether a fine-tuning does better than the probe that it began as, by a standard error.

    A backbone that has seen a million photos loses something by every step on a few hundred, so
    that of two that do alike the simpler one is taken (Breiman et al., 1984, section 3.4.3).

    Args:
      before: the probe's accuracy on `val`.
      after: that of the fine-tuned.
      photos: how many there are in `val`.
    """
    return after - before > float(np.sqrt(after * (1 - after) / photos))


def _fit_head(net: keras.Model, job: Job, weights: np.ndarray) -> None:
    """Fits the head to the backbone as it is, on training photos seen both ways round."""
    head, side = net.get_layer("head"), job.config.image_size
    look = devices.inference(keras.Model(net.input, head.input))
    features, found = [], []
    for images, labels in input_pipeline.labelled(job.train, side, job.config.batch_size):
        features += [look(images), look(images[:, :, ::-1])]
        found += [labels.numpy()] * 2
        if len(found) * job.config.batch_size >= probe.MOST:
            break
    progress.log.info("fitting the head to %d views of photos", sum(map(len, found)))
    head.set_weights(
        probe.fit(np.concatenate(features), np.concatenate(found), len(weights), weights)
    )


def evaluate(
    answer: Callable[[Any], np.ndarray], present: Any, batches: Any
) -> tuple[float, float]:
    """Top-1 accuracy and smoothed cross-entropy over batches of (image, label).

    Args:
      answer: images -> logits [N, C].
      present: float [C], 1 for a breed that has training photos.
      batches: of (image, label).

    The second chooses the epoch: on a small split many epochs tie in accuracy. It is smoothed as in
    training, else the epoch that is least sure of itself would win, and leaves out photos of breeds
    that training never saw, whose loss no epoch can change.
    """
    answers = [(answer(images), labels.numpy()) for images, labels in batches]
    logits, labels = (np.concatenate(part) for part in zip(*answers, strict=True))
    known = tf.gather(present, labels)
    loss = known * losses.smoothed_cross_entropy(labels, logits, present)
    return float((logits.argmax(axis=1) == labels).mean()), float(tf.reduce_mean(loss))


def _finish(
    job: Job,
    tracker: tracking.Tracker,
    net: keras.Model,
    served: keras.Model,
    history: dict[str, Any],
    name: str,
) -> None:
    """Exports, for the student to a phone as well, and tells what is said of some photos.

    What is saved for further training is `net`, what is served is `served`.
    """
    breeds, side = breeds_of(job), job.config.image_size
    shown = _photos(job.val, side, _SHOWN)
    exported = export.BreedExport(served, side, breeds)
    exported.save(job.serving)
    exported.check(job.serving, job.val)
    export.tell_training(job.serving, [breeds[label] for label in labels_of(job)])
    if "student" in history:
        representative = _photos(job.train, side, _REPRESENTATIVE)[0]
        val = _photos(job.val, side, _REPRESENTATIVE)[0]
        phone = tflite.export(net, side, breeds, representative, val, job.serving)
        history = {**history, "phone": phone}
    job.save(net, history)
    tracker.predictions(lambda: _predictions(served, breeds, *shown))
    tracker.model(job.serving, name)
    checkpoint.remove(job)


def _photos(split: str, side: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first photos of a split, float32 [n, side, side, 3], and their labels [n]."""
    images, labels = next(iter(input_pipeline.labelled(split, side, count)))
    return images.numpy(), labels.numpy()


def _predictions(
    net: keras.Model, breeds: Sequence[str], images: np.ndarray, labels: np.ndarray
) -> Iterator[Mapping[str, Any]]:
    """What the tracker shows of each photo."""
    for image, label, row in zip(
        images, labels, tf.nn.softmax(net(images, training=False)).numpy(), strict=True
    ):
        best = int(row.argmax())
        yield {
            "photo": image.astype(np.uint8),
            "true": breeds[label],
            "predicted": breeds[best],
            "probability": float(row[best]),
        }
