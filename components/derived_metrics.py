"""TFMA metrics that are a function of what another computation of TFMA came to."""

from collections.abc import Callable
from typing import Any

from tensorflow_model_analysis.metrics import calibration_histogram, metric_types, metric_util

BINS = 10  # of a calibration error


def of(value: Callable[[Any], Any], source: Callable[..., Any], **told: Any) -> Any:
    """How TFMA computes a metric from another computation.

    Args:
      value: of what the last computation of `source` came to: the metric, or one for each label.
      source: makes TFMA's computations.
      told: what `source` is told beside the model and the weights.

    Returns:
      What a `metric_types.Metric` takes; TFMA hands over what the inner function's arguments name.
    """

    def computations(
        name: str,
        eval_config: Any = None,
        model_name: str = "",
        output_name: str = "",
        example_weighted: bool = False,
    ) -> metric_types.MetricComputations:
        place: dict[str, Any] = {"model_name": model_name, "output_name": output_name}
        place["example_weighted"] = example_weighted
        before = source(eval_config=eval_config, **told, **place)
        key, taken = metric_types.MetricKey(name=name, **place), before[-1].keys[-1]
        own = metric_types.DerivedMetricComputation(
            keys=[key], result=lambda metrics: _keyed(key, value(metrics[taken]))
        )
        return [*before, own]

    return metric_util.merge_per_key_computations(computations)


def calibration_error(**classes: Any) -> Any:
    """How far probabilities are from what is observed, over `BINS` bins of equal width.

    Args:
      classes: which classes of a prediction count, as TFMA's `sub_key` and `aggregation_type`.
    """
    histogram = calibration_histogram.calibration_histogram
    return of(_error, histogram, num_buckets=BINS, **classes)


def _keyed(key: metric_types.MetricKey, value: Any) -> dict[metric_types.MetricKey, Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {
        key._replace(sub_key=metric_types.SubKey(class_id=label)): found
        for label, found in value.items()
    }


def _error(histogram: Any) -> float:
    weight = sum(bucket.weighted_examples for bucket in histogram)
    off = sum(abs(bin_.weighted_labels - bin_.weighted_predictions) for bin_ in histogram)
    return float(off / weight) if weight else float("nan")
