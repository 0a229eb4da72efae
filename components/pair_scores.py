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

from components import artifacts
from models import examples as features
from models.progress import Rate

MOST_PAIRS = 20_000
_BATCH = 64


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
      embeddings: written: float [N, D] for `model`, `untrained` and, if there is one, `baseline`.
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
        **({"baseline": _served(baseline)} if baseline else {}),
    }
    photos = [features.encoded_image(data) for _, data in records]
    embedded = {name: embed(photos, encoders[name], name) for name in encoders}
    dogs = [record.dog_id for record, _ in records]
    ids = [record.photo_id for record, _ in records]
    _save(embeddings, embedded, ids, dogs)
    scorers = {"model": _scorer(model), **({"baseline": _scorer(baseline)} if baseline else {})}
    _write(pairs, ids, dogs, embedded, scorers)


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

    from models import backbones, match, pixels, training

    keras.utils.set_random_seed(0)
    registered = backbones.get(backbone)
    net = registered.build(image_size)
    if weights:
        registered.load(net, training.start_weights(weights))
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
    with fileio.open(os.path.join(artifact.uri, "embeddings.npz"), "wb") as file:
        file.write(buffer.getvalue())
    artifact.photos = len(ids)


def _scorer(model: standard_artifacts.Model) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The `score` of an exported model: same_dog [P] from two embeddings [P, D]."""
    import tensorflow as tf

    score = _load(model).signatures["score"]

    def scores(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        result = score(embedding_a=tf.constant(first), embedding_b=tf.constant(second))
        return np.asarray(result["same_dog"].numpy())

    return scores


def choose_pairs(ids: Sequence[str], dogs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of photos, or `MOST_PAIRS` of them by a hash of their ids: two int arrays [P]."""
    first, second = np.triu_indices(len(ids), k=1)
    if len(first) > MOST_PAIRS:
        same = np.asarray(dogs)[first] == np.asarray(dogs)[second]
        kept = np.concatenate([_sample(np.flatnonzero(kind), ids) for kind in (same, ~same)])
        first, second = first[kept], second[kept]
    return first, second


def _sample(pairs: np.ndarray, ids: Sequence[str]) -> np.ndarray:
    """At most half of `MOST_PAIRS`, drawn from a seed of the photos' ids."""
    seed = int.from_bytes(hashlib.sha256("\0".join(ids).encode()).digest()[:8], "big")
    random = np.random.default_rng(seed)
    return random.permutation(pairs)[: MOST_PAIRS // 2]


def nearest_others(embeddings: np.ndarray, dogs: Sequence[str]) -> np.ndarray:
    """For every photo, the most similar photo of another dog: int [N]."""
    names = np.asarray(dogs)
    similarity = embeddings @ embeddings.T
    similarity[names[:, None] == names[None, :]] = -np.inf
    return similarity.argmax(axis=1)


def pair_sets(
    first: np.ndarray, second: np.ndarray, dogs: Sequence[str], untrained: np.ndarray
) -> Iterator[list[str]]:
    """The sets of every pair: "all", and "hard" for positives and for hard negatives.

    A negative is hard when the untrained encoder takes one photo for the nearest of the other's
    look-alikes. (The individual view knows no breeds; where it does, the same breed is hard.)
    """
    names = np.asarray(dogs)
    nearest = nearest_others(untrained, dogs)
    for a, b in zip(first, second, strict=True):
        hard = names[a] == names[b] or nearest[a] == b or nearest[b] == a
        yield ["all", "hard"] if hard else ["all"]


def _write(
    artifact: standard_artifacts.Examples,
    ids: Sequence[str],
    dogs: Sequence[str],
    embedded: Mapping[str, np.ndarray],
    scorers: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]],
) -> None:
    import tensorflow as tf

    first, second = choose_pairs(ids, dogs)
    columns = {"model": features.PAIR_SCORE, "baseline": features.PAIR_BASELINE_SCORE}
    scores = {
        columns[name]: score(embedded[name][first], embedded[name][second])
        for name, score in scorers.items()
    }
    folder = os.path.join(artifact.uri, "Split-test")
    fileio.makedirs(folder)
    with tf.io.TFRecordWriter(os.path.join(folder, "data_tfrecord-00000-of-00001")) as writer:
        for row, sets in enumerate(pair_sets(first, second, dogs, embedded["untrained"])):
            a, b = int(first[row]), int(second[row])
            writer.write(
                features.serialize(
                    {
                        features.PAIR_A: ids[a],
                        features.PAIR_B: ids[b],
                        features.PAIR_SET: sets,
                        features.PAIR_LABEL: float(dogs[a] == dogs[b]),
                        **{column: float(values[row]) for column, values in scores.items()},
                    }
                )
            )
    artifact.split_names = '["test"]'
    examples_utils.set_payload_format(artifact, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> Any:
    """What the match Evaluator calls: read the scores as they stand, run no model.

    The Evaluator is given the model all the same, so that it knows what it judges.
    """
    import tensorflow_model_analysis as tfma

    del eval_shared_model
    return tfma.default_extractors(
        eval_shared_model=None,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
