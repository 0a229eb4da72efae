"""FilteredRetrieval: whether the breed model, asked first, helps or hinders the search."""

import json
import os
from collections.abc import Sequence

import numpy as np
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components import artifacts, pair_scores, retrieval, retrieval_evaluator
from models import examples as features


@component
def FilteredRetrieval(  # noqa: N802 - TFX names the node after the function
    examples: InputArtifact[standard_artifacts.Examples],
    embeddings: InputArtifact[artifacts.Embeddings],
    breed: InputArtifact[standard_artifacts.Model],
    metrics: OutputArtifact[artifacts.RetrievalMetrics],
    false_alarm_rate: Parameter[float],
    code: Parameter[str],
) -> None:
    """Searches among the dogs only that may be of the probe's breed.

    No gate reads it: a new breed model is no reason to judge, and to push, the match model again.

    Args:
      examples: read: the individual view, its test split.
      embeddings: read: the same photos, embedded.
      breed: read: the breed model.
      metrics: written: `metrics.json`, {"filtered": …}: the row of the whole gallery, and the
        others as its by_size, as in RetrievalEvaluator's curves; kept is the share of the gallery
        that is still compared.
      false_alarm_rate: that the thresholds are wanted for.
      code: digest of the code, for the cache.
    """
    import tensorflow as tf

    del code
    stored = pair_scores.read_embeddings(embeddings)
    records = features.scan(artifact_utils.get_split_uri([examples], "test"))
    photos = {record.photo_id: features.encoded_image(data) for record, data in records}
    classify = tf.saved_model.load(path_utils.serving_model_path(breed.uri)).signatures["classify"]
    named = pair_scores.embed(
        [photos[photo_id] for photo_id in stored["photo_id"].tolist()],
        lambda some: classify(image_bytes=tf.constant(some))["classes"].numpy(),
        "breed",
    )
    found = retrieval.search(stored["model"], stored["dog_id"].tolist(), allowed=columns(named))
    shipped = float(stored["threshold/model"])
    figures = retrieval_evaluator.whole_and_parts(found, false_alarm_rate, shipped)
    figures["kept"] = float(found.kept.mean()) if found.kept.size else 0.0
    with fileio.open(os.path.join(metrics.uri, artifacts.METRICS), "w") as file:
        file.write(json.dumps({"filtered": figures}, indent=1))


def columns(named: np.ndarray | Sequence[Sequence[str]]) -> np.ndarray:
    """The breeds that each photo was taken for [N, K] as a table: bool [N, C]."""
    named = np.asarray(named)
    names, column = np.unique(named, return_inverse=True)
    seen = np.zeros((len(named), len(names)), bool)
    seen[np.arange(len(named))[:, np.newaxis], column.reshape(named.shape)] = True
    return seen
