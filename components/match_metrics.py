"""TFMA metrics of pairs that TFMA has not itself; its configuration names them."""

from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import (
    binary_confusion_matrices,
    metric_types,
    metric_util,
)

from components import derived_metrics

_THRESHOLDS = 10_000


class EqualErrorRate(metric_types.Metric):
    """Where as many pairs of different dogs are let pass as pairs of one dog are missed.

    Over 10,000 thresholds; the mean of both rates where they are nearest. (ISO/IEC 19795-1)
    """

    def __init__(self, name: str = "equal_error_rate"):
        super().__init__(metric_util.merge_per_key_computations(_equal_error_rate), name=name)


class ExpectedCalibrationError(metric_types.Metric):
    """How far the probability is from the share of pairs of one dog, over ten bins of it.

    (Guo et al., 2017, arXiv:1706.04599.)
    """

    def __init__(self, name: str = "expected_calibration_error"):
        super().__init__(metric_util.merge_per_key_computations(_calibration_error), name=name)


metric_types.register_metric(EqualErrorRate)
metric_types.register_metric(ExpectedCalibrationError)


def _equal_error_rate(
    name: str,
    eval_config: Any = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    place = derived_metrics.place(model_name, output_name, example_weighted)
    computations = binary_confusion_matrices.binary_confusion_matrices(
        num_thresholds=_THRESHOLDS, eval_config=eval_config, **place
    )

    def rate(matrices: Any) -> float:
        false, missed, right, found = (
            np.array(getattr(matrices, part), float) for part in ("fp", "fn", "tn", "tp")
        )
        alarms = false / np.maximum(false + right, 1e-12)
        misses = missed / np.maximum(missed + found, 1e-12)
        nearest = int(np.abs(alarms - misses).argmin())
        return float(alarms[nearest] + misses[nearest]) / 2

    return derived_metrics.derived(name, computations, rate, place)


def _calibration_error(
    name: str,
    eval_config: Any = None,
    model_name: str = "",
    output_name: str = "",
    example_weighted: bool = False,
) -> metric_types.MetricComputations:
    place = derived_metrics.place(model_name, output_name, example_weighted)
    return derived_metrics.calibration_error(name, eval_config, place)
