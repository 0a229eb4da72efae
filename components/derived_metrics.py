"""TFMA metrics that are a function of what another computation of TFMA came to."""

from collections.abc import Callable
from typing import Any

from tensorflow_model_analysis.metrics import calibration_histogram, metric_types

BINS = 10  # of a calibration error


def place(model_name: str, output_name: str, example_weighted: bool) -> dict[str, Any]:
    """What tells a computation from that of another model, as TFMA's keys take it."""
    return {
        "model_name": model_name,
        "output_name": output_name,
        "example_weighted": example_weighted,
    }


def derived(
    name: str,
    computations: metric_types.MetricComputations,
    value: Callable[[Any], Any],
    at: dict[str, Any],
) -> metric_types.MetricComputations:
    """Computations, and a metric that is a function of what the last of them comes to.

    Where that is a dict, each of its labels has a value.
    """
    source, key = computations[-1].keys[-1], metric_types.MetricKey(name=name, **at)
    result = metric_types.DerivedMetricComputation(
        keys=[key], result=lambda metrics: _keyed(key, value(metrics[source]))
    )
    return [*computations, result]


def _keyed(key: metric_types.MetricKey, value: Any) -> dict[metric_types.MetricKey, Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {
        key._replace(sub_key=metric_types.SubKey(class_id=label)): of for label, of in value.items()
    }


def calibration_error(
    name: str, eval_config: Any, at: dict[str, Any], **classes: Any
) -> metric_types.MetricComputations:
    """How far probabilities are from what is observed, over `BINS` bins of equal width.

    Args:
      name: of the metric.
      eval_config: TFMA's.
      at: what `place` gave.
      classes: which classes of a prediction count, as TFMA's `sub_key` and `aggregation_type`.
    """
    computations = calibration_histogram.calibration_histogram(
        num_buckets=BINS, eval_config=eval_config, **at, **classes
    )
    return derived(name, computations, _error, at)


def _error(histogram: Any) -> float:
    weight = sum(bucket.weighted_examples for bucket in histogram)
    off = sum(abs(bin_.weighted_labels - bin_.weighted_predictions) for bin_ in histogram)
    return float(off / weight) if weight else float("nan")
