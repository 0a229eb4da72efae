"""TFMA metrics of pairs that TFMA has not itself; its configuration names them."""

from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import binary_confusion_matrices, metric_types

from components import derived_metrics

_THRESHOLDS = 10_000


class EqualErrorRate(metric_types.Metric):
    """Where as many pairs of different dogs are let pass as pairs of one dog are missed.

    Of 10,000 thresholds the one where both rates are nearest, and of both the mean.
    """

    def __init__(self, name: str = "equal_error_rate"):
        matrices = binary_confusion_matrices.binary_confusion_matrices
        rate = derived_metrics.of(_equal_error_rate, matrices, num_thresholds=_THRESHOLDS)
        super().__init__(rate, name=name)


class ExpectedCalibrationError(metric_types.Metric):
    """How far probabilities are from what is observed, over ten bins of equal width.

    (Naeini et al., 2015.)
    """

    def __init__(self, name: str = "expected_calibration_error"):
        super().__init__(derived_metrics.calibration_error(), name=name)


class FlipRate(metric_types.Metric):
    """The share of pairs that the candidate answers otherwise than the baseline."""

    def __init__(self, name: str = "flip_rate"):
        super().__init__(derived_metrics.compared(flips), name=name)


def flips(one: np.ndarray, other: np.ndarray) -> float:
    """1 where one of two probabilities [1] says "same dog" and the other does not, else 0."""
    return float((one.item() >= 0.5) != (other.item() >= 0.5))


metric_types.register_metric(FlipRate)
metric_types.register_metric(EqualErrorRate)
metric_types.register_metric(ExpectedCalibrationError)


def _equal_error_rate(matrices: Any) -> float:
    false, missed, right, found = (
        np.array(getattr(matrices, part), float) for part in ("fp", "fn", "tn", "tp")
    )
    if not (false + right).max(initial=0) or not (missed + found).max(initial=0):
        return float("nan")  # pairs of one kind only
    alarms = false / np.maximum(false + right, 1e-12)
    misses = missed / np.maximum(missed + found, 1e-12)
    nearest = int(np.abs(alarms - misses).argmin())
    return float(alarms[nearest] + misses[nearest]) / 2
