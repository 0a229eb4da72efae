"""What the breed Evaluators call before TFMA slices: buckets, which no record holds."""

import copy
from collections.abc import Mapping
from typing import Any

import apache_beam as beam
import numpy as np

from components import derived_metrics
from models import examples, export


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> Any:
    """TFMA's own extractors, one that adds buckets to the features, and one that mends answers."""
    import tensorflow_model_analysis as tfma

    features, *others = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    photos = export.training_photos(_candidate(eval_shared_model).model_path)
    added = tfma.extractors.Extractor("AddBuckets", beam.Map(add_buckets, photos))
    return [features, added, *derived_metrics.numbers(others)]


def _candidate(models: Any) -> Any:
    """The model that is judged, of one or of two."""
    models = models if isinstance(models, list) else [models]  # one is a tuple itself
    return next(model for model in models if model.model_name != "baseline")


def add_buckets(extracts: Mapping[str, Any], photos: Mapping[str, int] | None) -> dict[str, Any]:
    """TFMA's extracts of a batch of records, with their buckets among the features.

    Args:
      extracts: with the serialized Examples, and their features.
      photos: how many the candidate was trained on, by breed; None adds no rarity.
    """
    import tensorflow_model_analysis as tfma

    rows = [examples.buckets(examples.facts(data), photos) for data in extracts[tfma.INPUT_KEY]]
    added = {
        name: np.array([row[name].encode() for row in rows], object)[:, np.newaxis]
        for name in rows[0]
    }
    result = dict(copy.copy(extracts))
    result[tfma.FEATURES_KEY] = {**extracts[tfma.FEATURES_KEY], **added}
    return result
