"""The TFX run_fn of the match model."""

import dataclasses
import hashlib
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from models import (
    backbones,
    calibration,
    checkpoint,
    devices,
    examples,
    export,
    input_pipeline,
    match,
    progress,
    tracking,
    training,
)
from models.job import KERAS_MODEL, Config, Job, load_keras, start_weights

# Photos of a dog in a batch. A fine-tuning learns dogs by heart, the later the more each differs.
PHOTOS_PER_DOG = {"pretrained": 8, "scratch": 4}
VIEWS = "identity"  # augmentation policy
NEIGHBOURS = 7
MOVING, RATE = 0.6, 3e-4  # of a backbone that starts from weights
LARGER = 9 / 7  # side of the larger picture that is looked at, to that of training
COMPARED_PHOTOS = 2000  # of `val` with each other: two million pairs say enough
_SHOWN = 32  # pairs among the sample predictions
_WORDS = {True: "same dog", False: "different dogs"}


def match_model(fn_args: Any) -> None:
    """Trains the Siamese encoder from the start weights, or else from the breed teacher's backbone.

    A backbone that was fine-tuned to tell breeds has begun to forget what tells dogs of one breed
    apart, so published weights are the better start; from scratch the teacher's are.
    """
    job = Job.of(fn_args, "match")
    with tracking.Tracker.from_environment("match", job.settings) as tracker:
        trained = train(job, tracker)
        side = job.config.image_size
        shown = next(iter(input_pipeline.labelled(job.val, side, 2 * _SHOWN)))[0].numpy()
        exported = export.MatchExport(trained.served, side, *trained.calibration)
        exported.save(job.serving)
        exported.check(job.serving, job.val)
        job.save(trained.net, trained.history)
        tracker.predictions(lambda: _predictions(job, trained, shown))
        tracker.model(job.serving, "spotted-match")
        checkpoint.remove(job)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained match model.

    Attributes:
      net: the encoder, in float32.
      served: what is served of it: the same, looking at each photo both ways round; one that was
        fine-tuned at two sizes, and whitened.
      calibration: scale and offset of the probability of "same dog".
      history: the curves, the calibration, and its reliability on `val`.
    """

    net: keras.Model
    served: keras.Model
    calibration: tuple[float, float]
    history: dict[str, Any]


def train(job: Job, tracker: tracking.Tracker) -> Trained:
    """Trains the encoder, and calibrates it on the dogs of `val`.

    A fine-tuning sees its embeddings whitened (`match.whitening`), as they will be served, and so
    does not spend itself on what a matrix can do. It goes on to its end: of the epochs in which a
    few dogs of `val` fare best, chance has the choice, and what an end is too much of,
    `training.blend` takes back.
    """
    config = job.config
    side, photos = (
        config.image_size,
        PHOTOS_PER_DOG["pretrained" if config.pretrained else "scratch"],
    )
    dogs = max(2, config.batch_size // photos)
    records = [record for record, _ in examples.scan(job.train)]
    val = input_pipeline.labelled(job.val, side, config.batch_size)
    names = _dogs([record for record, _ in examples.scan(job.val)])
    check(names)

    def build() -> keras.Model:
        return match.encoder(_backbone(job), side)

    with devices.devices(shared=False):
        net = trained = build()
        start, alike = net.get_weights(), None
        if config.pretrained:
            embeddings = _of_train(net, job, len(records))
            alike = _alike(embeddings, records)
            trained = match.whitened(net, *match.whitening(embeddings, _dogs(records)))
        embed = devices.inference(trained)
        model = match.Siamese(trained, config.loss, len(set(_dogs(records))))

        def score() -> tuple[str, float]:
            precision = _precision(embedded(embed, val), names)
            return f"val mAP {precision:.3f}", precision

        steps = max(1, len(records) // config.batch_size)

        def data(epoch: int) -> Any:
            return input_pipeline.identities(
                records, side, dogs, photos, config.seed, VIEWS,
                skip=epoch * steps, neighbours=alike,
            )  # fmt: skip

        choosing = not config.pretrained
        history = training.fit(
            model, data, len(records), job, score, tracker, phases(config), choosing
        )
    net = devices.plain(net, build)
    if config.pretrained:
        net.set_weights(training.blend(start, net.get_weights()))
    served = _finished(net, job, records) if config.pretrained else match.served(net, side)
    fitted, told = _calibrate(embedded(devices.inference(served), val), names)
    return Trained(net, served, fitted, {**history, **told})


def check(dogs: Sequence[str]) -> None:
    """Sees to it that there are pairs of both kinds to choose an epoch and to calibrate by.

    Args:
      dogs: of all photos of `val`.

    Raises:
      ValueError: there are not.
    """
    counts = np.unique(np.asarray(dogs), return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2:
        raise ValueError(
            f"the match model needs two dogs in val, and two photos of one of them: found "
            f"{len(counts)}, with {counts.max(initial=0)} at most of one; add dogs, or photos of "
            "those that are there"
        )


def _finished(net: keras.Model, job: Job, records: Sequence[examples.Record]) -> keras.Model:
    """What is served of an encoder that was fine-tuned.

    It looks both ways, at the picture and at a larger one: in training a part of every photo was
    cut out and enlarged, so dogs were larger (Touvron et al., 2019, arXiv:1906.06423). Its
    embeddings are whitened with the training photos.
    """
    side = job.config.image_size
    look = match.encoder(backbones.get(job.config.backbone).build(None), None)
    look.set_weights(net.get_weights())
    looks = match.served(look, side, (side, round(side * LARGER)))
    embeddings = _of_train(looks, job, len(records))
    return match.whitened(looks, *match.whitening(embeddings, _dogs(records)))


def _of_train(net: keras.Model, job: Job, count: int) -> np.ndarray:
    """The embeddings of the `count` training photos, float [N, D], in their records' order."""
    photos = input_pipeline.labelled(job.train, job.config.image_size, job.config.batch_size)
    embed, rate = devices.inference(net), progress.Rate("embedding the training photos", count)

    def counted(images: Any) -> np.ndarray:
        found = embed(images)
        rate.add(len(found))
        return found

    return embedded(counted, photos)


def _dogs(records: Sequence[examples.Record]) -> list[str]:
    return [record.dog_id for record in records]


def phases(config: Config) -> list[training.Phase]:
    """One phase; a backbone that starts from weights keeps its lower layers as they are.

    There are edges and textures, which need no learning anew, and half of the work of a step.
    """
    if not config.pretrained:
        return [training.Phase(config.epochs, 1.0, config.rate)]
    return [training.Phase(config.epochs, MOVING, RATE)]


def _backbone(job: Job) -> keras.Model:
    registered = backbones.get(job.config.backbone)
    backbone = registered.build(job.config.image_size)
    if job.base and tf.io.gfile.exists(os.path.join(job.base, KERAS_MODEL)):
        teacher = load_keras(job.base)
        backbone.set_weights(teacher.get_layer("backbone").get_weights())
    elif job.base:
        registered.load(backbone, start_weights(job.base))
    return backbone


def embedded(embed: Callable[[Any], np.ndarray], batches: Any) -> np.ndarray:
    """Embeds batches of (image, label): float [N, D], in their order."""
    return np.concatenate([embed(images) for images, _ in batches])


def _alike(
    embeddings: np.ndarray, records: Sequence[examples.Record]
) -> Mapping[str, Sequence[str]] | None:
    """Each dog's most alike dogs by the start weights, unless every dog has a breed."""
    if all(record.label >= 0 for record in records):
        return None
    return match.neighbours(embeddings, _dogs(records), NEIGHBOURS)


def _calibrate(
    embeddings: np.ndarray, dogs: Sequence[str]
) -> tuple[tuple[float, float], dict[str, Any]]:
    """Fits the probability on pairs of `val`, and says how well it keeps what it says there."""
    cosines, first, second = pairs(embeddings, dogs)
    same, weights = first == second, calibration.balanced_dogs(first, second)
    scale, offset = calibration.calibrate(cosines, same, weights)
    probability = calibration.probability(cosines, (scale, offset))
    error = calibration.expected_calibration_error(probability, same, weights)
    table = calibration.reliability(probability, same, weights)
    told = {"calibration": [scale, offset], "calibration_error": error}
    served = {"served_val_mAP": _precision(embeddings, dogs)}
    return (scale, offset), {**told, **served, "reliability": [vars(row) for row in table]}


def _precision(embeddings: np.ndarray, dogs: Sequence[str]) -> float:
    kept = drawn(dogs)
    return match.mean_average_precision(embeddings[kept], [dogs[place] for place in kept])


def pairs(embeddings: np.ndarray, dogs: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of the photos of `drawn`: the cosine and the number of both dogs, [P]."""
    kept = drawn(dogs)
    _, number = np.unique(np.asarray(dogs), return_inverse=True)
    first, second = np.triu_indices(len(kept), k=1)
    cosines = (embeddings[kept] @ embeddings[kept].T)[first, second]
    return cosines, number[kept][first], number[kept][second]


def drawn(dogs: Sequence[str]) -> np.ndarray:
    """The places of some `COMPARED_PHOTOS` photos, int [n], by which a large `val` is judged.

    Dogs are drawn whole, by a hash of their id, so that every source has its share.
    """
    names, number = np.unique(np.asarray(dogs), return_inverse=True)
    place = np.argsort([hashlib.sha256(name.encode()).digest() for name in names])
    order = np.empty(len(names), int)
    order[place] = np.arange(len(names))
    return np.argsort(order[number], kind="stable")[:COMPARED_PHOTOS]


def _predictions(job: Job, trained: Trained, images: np.ndarray) -> Iterator[Mapping[str, Any]]:
    """What the tracker shows: pairs of photos of `val`, of one dog and of two dogs in turn.

    `images` are the first ones of `val`, float32 [n, side, side, 3].
    """
    names = [record.dog_id for record, _ in examples.scan(job.val)][: len(images)]
    embeddings = devices.inference(trained.served)(images)
    for first, second in itertools.islice(_shown(names), _SHOWN):
        cosine = float(embeddings[first] @ embeddings[second])
        same = float(calibration.probability(np.array(cosine), trained.calibration))
        yield {
            "photo": np.concatenate([images[first], images[second]], axis=1).astype(np.uint8),
            "true": _WORDS[names[first] == names[second]],
            "predicted": _WORDS[same >= 0.5],
            "probability": max(same, 1 - same),
        }


def _shown(names: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs of one dog and pairs of two dogs in turn, as far as there are both."""
    pairs_ = list(itertools.combinations(range(len(names)), 2))
    same = [pair for pair in pairs_ if names[pair[0]] == names[pair[1]]]
    other = [pair for pair in pairs_ if names[pair[0]] != names[pair[1]]]
    for both in zip(same, other[:: max(1, len(other) // max(1, len(same)))], strict=False):
        yield from both
