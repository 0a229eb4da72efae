"""TFMA metrics of pairs that TFMA has not itself; its configuration names them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import (
    binary_confusion_matrices,
    calibration_histogram,
    metric_types,
    metric_util,
)

_THRESHOLDS = 10_000
_BINS = 10


def _equal_error_rate(matrices: Any) -> float:
    false, missed, right, found = (
        np.array(getattr(matrices, part), float) for part in ("fp", "fn", "tn", "tp")
    )
    alarms = false / np.maximum(false + right, 1e-12)
    misses = missed / np.maximum(missed + found, 1e-12)
    nearest = int(np.abs(alarms - misses).argmin())
    return float(alarms[nearest] + misses[nearest]) / 2


def _calibration_error(histogram: Any) -> float:
    weight = sum(bucket.weighted_examples for bucket in histogram)
    off = sum(abs(bin_.weighted_labels - bin_.weighted_predictions) for bin_ in histogram)
    return float(off / weight) if weight else float("nan")


def _of(value: Callable[[Any], float], source: Callable[..., Any], **told: int) -> Any:
    """How TFMA computes a metric that is a function of another computation, `source`.

    TFMA hands over what the inner function's arguments name.
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
            keys=[key], result=lambda metrics: {key: value(metrics[taken])}
        )
        return [*before, own]

    return metric_util.merge_per_key_computations(computations)


class EqualErrorRate(metric_types.Metric):
    """Where as many pairs of different dogs are let pass as pairs of one dog are missed.

    Over 10,000 thresholds; the mean of both rates where they are nearest. (ISO/IEC 19795-1)
    """

    def __init__(self, name: str = "equal_error_rate"):
        matrices = binary_confusion_matrices.binary_confusion_matrices
        super().__init__(_of(_equal_error_rate, matrices, num_thresholds=_THRESHOLDS), name=name)


class ExpectedCalibrationError(metric_types.Metric):
    """How far the probability is from the share of pairs of one dog, over ten bins of it.

    (Guo et al., 2017, arXiv:1706.04599.)
    """

    def __init__(self, name: str = "expected_calibration_error"):
        histogram = calibration_histogram.calibration_histogram
        super().__init__(_of(_calibration_error, histogram, num_buckets=_BINS), name=name)


metric_types.register_metric(EqualErrorRate)
metric_types.register_metric(ExpectedCalibrationError)
