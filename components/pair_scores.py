"""PairScores: embeds every test photo once and scores pairs of them.

What follows reads scores and embeddings only; no encoder runs twice on a photo.
"""

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tfx.components.util import examples_utils
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components import artifacts, colours
from models import calibration
from models import examples as features
from models.progress import Rate

MOST_PAIRS = 20_000
_EMBEDDINGS = "embeddings.npz"
_BATCH = 64
_ROWS = 1024  # of the similarity matrix that are held at a time


@component
def PairScores(  # noqa: N802 - TFX names the node after the function
    examples: InputArtifact[standard_artifacts.Examples],
    model: InputArtifact[standard_artifacts.Model],
    pairs: OutputArtifact[standard_artifacts.Examples],
    embeddings: OutputArtifact[artifacts.Embeddings],
    backbone: Parameter[str],
    image_size: Parameter[int],
    code: Parameter[str],
    start_weights: InputArtifact[standard_artifacts.Model] = None,
    baseline: InputArtifact[standard_artifacts.Model] = None,
) -> None:
    """Embeds the test photos with every encoder that is compared, and scores pairs.

    Args:
      examples: read: the individual view, its test split.
      model: read: the match model.
      pairs: written: tf.Examples of pairs with their scores, in one split, test.
      embeddings: written: float [N, D] for `model`, `untrained`, `histogram` and, if there is one,
        `baseline`; of models `threshold/model`, the cosine from which on they say "same dog".
      backbone: of the untrained encoder that the model has to beat.
      image_size: side of the Examples' photos, pixels.
      code: digest of the code, for the cache.
      start_weights: read: what the backbone started from, None for random weights.
      baseline: read: the pushed model that the new one has to be as good as.
    """
    del code
    records = list(features.scan(artifact_utils.get_split_uri([examples], "test")))
    encoders = {
        "model": _served(model),
        "untrained": _untrained(backbone, image_size, start_weights and start_weights.uri),
        "histogram": colours.histograms,
        **({"baseline": _served(baseline)} if baseline else {}),
    }
    photos = [features.encoded_image(data) for _, data in records]
    embedded = {name: embed(photos, encoders[name], name) for name in encoders}
    dogs = [record.dog_id for record, _ in records]
    ids = [record.photo_id for record, _ in records]
    facts = [features.facts(data) for _, data in records]
    scorers = {"model": _scorer(model), **({"baseline": _scorer(baseline)} if baseline else {})}
    told = {
        f"threshold/{name}": np.array(threshold(score, embedded[name].shape[1]))
        for name, score in scorers.items()
    }
    _save(embeddings, {**embedded, **told}, ids, dogs)
    write_pairs(pairs, ids, dogs, facts, embedded, scorers)


Encoder = Callable[[list[bytes]], np.ndarray]


def _load(model: standard_artifacts.Model) -> Any:
    import tensorflow as tf

    return tf.saved_model.load(path_utils.serving_model_path(model.uri))


def _served(model: standard_artifacts.Model) -> Encoder:
    """The `embed` of an exported model, pixels included."""
    import tensorflow as tf

    loaded = _load(model)

    def encode(photos: list[bytes]) -> np.ndarray:
        return loaded.signatures["embed"](image_bytes=tf.constant(photos))["embedding"].numpy()

    return encode


def _untrained(backbone: str, image_size: int, weights: str | None) -> Encoder:
    """The start weights' pooled features."""
    import keras
    import tensorflow as tf

    from models import backbones, job, match, pixels

    keras.utils.set_random_seed(0)
    registered = backbones.get(backbone)
    net = registered.build(image_size)
    if weights:
        registered.load(net, job.start_weights(weights))
    encoder = match.untrained(net, image_size)

    def encode(photos: list[bytes]) -> np.ndarray:
        images = [pixels.fit_in_graph(tf.constant(photo), image_size) for photo in photos]
        return encoder(tf.stack(images), training=False).numpy()

    return encode


def embed(photos: Sequence[bytes], encode: Encoder, name: str) -> np.ndarray:
    """Embeds encoded photos: float [N, D]."""
    rate = Rate(f"embedding with {name}", len(photos))
    parts = []
    for start in range(0, len(photos), _BATCH):
        parts.append(encode(list(photos[start : start + _BATCH])))
        rate.add(len(parts[-1]))
    return np.concatenate(parts)


def _save(
    artifact: artifacts.Embeddings,
    embedded: Mapping[str, np.ndarray],
    ids: Sequence[str],
    dogs: Sequence[str],
) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, photo_id=np.array(ids), dog_id=np.array(dogs), **embedded)
    with fileio.open(os.path.join(artifact.uri, _EMBEDDINGS), "wb") as file:
        file.write(buffer.getvalue())
    artifacts.tell(artifact, photos=len(ids))


def read_embeddings(artifact: artifacts.Embeddings) -> dict[str, np.ndarray]:
    """What PairScores wrote of the test photos, by name."""
    with fileio.open(os.path.join(artifact.uri, _EMBEDDINGS), "rb") as file:
        return dict(np.load(io.BytesIO(file.read())))


def _scorer(model: standard_artifacts.Model) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The `score` of an exported model: same_dog [P] from two embeddings [P, D]."""
    import tensorflow as tf

    score = _load(model).signatures["score"]

    def scores(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        result = score(embedding_a=tf.constant(first), embedding_b=tf.constant(second))
        return np.asarray(result["same_dog"].numpy())

    return scores


def threshold(score: Callable[[np.ndarray, np.ndarray], np.ndarray], width: int) -> float:
    """The least cosine, of 4001 of them, that a model calls "same dog"; inf where it never does.

    Args:
      score: two embeddings [P, D] to a probability [P].
      width: D, two at least.
    """
    cosines = np.linspace(-1, 1, 4001)
    first = np.zeros((len(cosines), width), np.float32)
    first[:, 0] = 1
    second = np.zeros_like(first)
    second[:, 0], second[:, 1] = cosines, np.sqrt(1 - cosines**2)
    same = np.flatnonzero(score(first, second) >= 0.5)
    return float(cosines[same[0]]) if same.size else float("inf")


def choose_pairs(
    ids: Sequence[str], dogs: Sequence[str], nearest: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of photos, or `MOST_PAIRS` of them.

    When there are too many, half are positives, and the other half are all hard negatives and a
    random draw of the rest, seeded by the photos' ids.

    Args:
      ids: photo ids [N].
      dogs: [N].
      nearest: for every photo, the most similar photo of another dog: int [N].

    Returns:
      Two int arrays [P], the first photo of each pair before the second.
    """
    if len(ids) * (len(ids) - 1) // 2 <= MOST_PAIRS:
        first, second = np.triu_indices(len(ids), k=1)
        return first, second
    seed = hashlib.sha256("\0".join(ids).encode()).digest()[:8]
    random = np.random.default_rng(int.from_bytes(seed, "big"))
    names = np.unique(np.asarray(dogs), return_inverse=True)[1]
    half = MOST_PAIRS // 2
    positives = random.permutation(_positives(names))[:half]
    hard = np.unique(np.sort(np.stack([np.arange(len(ids)), nearest], axis=1)), axis=0)
    drawn = np.sort(random.integers(len(ids), size=(4 * MOST_PAIRS, 2)))
    drawn = drawn[names[drawn[:, 0]] != names[drawn[:, 1]]]
    negatives = np.concatenate([random.permutation(hard), drawn])
    _, order = np.unique(negatives, axis=0, return_index=True)
    chosen = np.concatenate([positives, negatives[np.sort(order)][:half]])
    return chosen[:, 0], chosen[:, 1]


def _positives(names: np.ndarray) -> np.ndarray:
    """All pairs of photos of one dog: int [P, 2]."""
    groups = [np.flatnonzero(names == name) for name in range(names.max() + 1)]
    pairs = [group[np.stack(np.triu_indices(len(group), k=1), axis=1)] for group in groups]
    return np.concatenate(pairs)


def nearest_others(embeddings: np.ndarray, dogs: Sequence[str]) -> np.ndarray:
    """For every photo, the most similar photo of another dog: int [N]."""
    names = np.unique(np.asarray(dogs), return_inverse=True)[1]
    nearest = []
    for start in range(0, len(names), _ROWS):
        rows = slice(start, start + _ROWS)
        similarity = embeddings[rows] @ embeddings.T
        similarity[names[rows, None] == names[None, :]] = -np.inf
        nearest.append(similarity.argmax(axis=1))
    return np.concatenate(nearest)


def pair_sets(
    first: np.ndarray,
    second: np.ndarray,
    dogs: Sequence[str],
    nearest: np.ndarray,
    breeds: Sequence[str],
) -> Iterator[list[str]]:
    """The sets of every pair: all of them, and those that positives and some negatives make.

    A negative is "hard" when the untrained encoder takes one photo for the nearest of the other's
    look-alikes, "same_breed" when both dogs are of one known breed, else "other_breed". There is no
    set without negatives.
    """
    names, kinds = np.asarray(dogs), np.asarray(breeds)
    same = names[first] == names[second]
    alike = (kinds[first] != "") & (kinds[first] == kinds[second])
    negatives = {
        "hard": (nearest[first] == second) | (nearest[second] == first),
        "same_breed": alike,
        "other_breed": ~alike,
    }
    sets = {name: same | part for name, part in negatives.items() if (part & ~same).any()}
    for row in range(len(first)):
        yield ["all", *(name for name, inside in sets.items() if inside[row])]


def write_pairs(
    artifact: standard_artifacts.Examples,
    ids: Sequence[str],
    dogs: Sequence[str],
    facts: Sequence[features.Facts],
    embedded: Mapping[str, np.ndarray],
    scorers: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]],
) -> None:
    """Writes scored pairs of photos as TFMA reads them.

    Args:
      artifact: written: tf.Examples, in one split, test.
      ids: of the photos [N].
      dogs: [N].
      facts: [N], what pairs are sliced by.
      embedded: float [N, D] for `untrained`, which says what is hard, and for every scorer.
      scorers: for `model` and, if there is one, `baseline`: two embeddings [P, D] to the
        probability that they are of one dog [P].
    """
    import tensorflow as tf

    nearest = nearest_others(embedded["untrained"], dogs)
    first, second = choose_pairs(ids, dogs, nearest)
    columns = {"model": features.PAIR_SCORE, "baseline": features.PAIR_BASELINE_SCORE}
    scores = {
        columns[name]: score(embedded[name][first], embedded[name][second])
        for name, score in scorers.items()
    }
    names = np.asarray(dogs)
    weights = calibration.balanced(names[first] == names[second]) * len(first)
    sets = pair_sets(first, second, dogs, nearest, [photo.breed for photo in facts])
    folder = os.path.join(artifact.uri, "Split-test")
    fileio.makedirs(folder)
    with tf.io.TFRecordWriter(os.path.join(folder, "data_tfrecord-00000-of-00001")) as writer:
        for row, own in enumerate(sets):
            a, b = int(first[row]), int(second[row])
            writer.write(
                features.serialize(
                    {
                        features.PAIR_A: ids[a],
                        features.PAIR_B: ids[b],
                        features.PAIR_SET: own,
                        features.PAIR_WEIGHT: float(weights[row]),
                        **_slices(facts[a], facts[b]),
                        features.PAIR_LABEL: float(dogs[a] == dogs[b]),
                        **{column: float(values[row]) for column, values in scores.items()},
                    }
                )
            )
    artifact.split_names = '["test"]'
    examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)


def _slices(a: features.Facts, b: features.Facts) -> dict[str, str]:
    """What a pair is sliced by; a pair is as small and as dark as the worse of its photos."""
    sources = sorted({a.source, b.source})
    return {
        features.PAIR_SOURCE: " and ".join(sources),
        features.PAIR_SIZE: features.size_bucket(min(a.side, b.side)),
        features.PAIR_BRIGHTNESS: features.brightness_bucket(min(a.brightness, b.brightness)),
    }


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> Any:
    """What the match Evaluator calls: read the scores as they stand, run no model.

    The Evaluator is given the model all the same, so that it knows what it judges.
    """
    import tensorflow_model_analysis as tfma

    from components import derived_metrics

    del eval_shared_model
    scores = tfma.default_extractors(
        eval_shared_model=None,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    return derived_metrics.numbers(scores)
