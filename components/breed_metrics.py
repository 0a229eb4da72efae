"""TFMA metrics of breeds that TFMA has not itself; its configuration names them."""

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
from tensorflow_model_analysis.metrics import (
    calibration_plot,
    metric_types,
    multi_class_confusion_matrix_metrics,
)

from components import derived_metrics

# The likeliest breed of each photo: its probability, and whether it is right.
_TOP = metric_types.SubKey(top_k=1)
_ALIKE = metric_types.AggregationType(micro_average=True)


class MacroF1(metric_types.Metric):
    """The mean F1 of the breeds that there are photos of.

    Args:
      name: of the metric.
      code: digest of this project's part of the evaluation, for the cache: an Evaluator has no
        other place for it.
    """

    def __init__(self, name: str = "macro_f1", code: str = ""):
        super().__init__(_of_matrix(macro_f1), name=name)


class PrecisionByBreed(metric_types.Metric):
    """Of the photos that are taken for a breed, the share that is of it; by label.

    TFMA's own Precision needs a computation for each breed of the vocabulary.
    """

    def __init__(self, name: str = "precision"):
        super().__init__(_of_matrix(precision), name=name)


class RecallByBreed(metric_types.Metric):
    """Of the photos of a breed, the share that is taken for it; by label."""

    def __init__(self, name: str = "recall"):
        super().__init__(_of_matrix(recall), name=name)


class TopCalibrationError(metric_types.Metric):
    """How far the likeliest breed's probability is from the share that is right, over ten bins.

    (Guo et al., 2017, arXiv:1706.04599.)
    """

    def __init__(self, name: str = "expected_calibration_error"):
        error = derived_metrics.calibration_error(sub_key=_TOP, aggregation_type=_ALIKE)
        super().__init__(error, name=name)


class TopCalibrationPlot(calibration_plot.CalibrationPlot):
    """TFMA's CalibrationPlot, of the likeliest breed: TFMA lets no configuration ask for that."""

    def __init__(self, name: str = "calibration_plot"):
        super().__init__(num_buckets=derived_metrics.BINS, name=name)

    def computations(self, **given: Any) -> metric_types.MetricComputations:
        """TFMA's own; whatever classes are asked for, the likeliest is meant."""
        return super().computations(**{**given, "sub_keys": [_TOP], "aggregation_type": _ALIKE})


class CosineSimilarity(metric_types.Metric):
    """The mean cosine of what the candidate and the baseline say of a photo."""

    def __init__(self, name: str = "cosine_similarity"):
        super().__init__(derived_metrics.compared(cosine), name=name)


class Disagreement(metric_types.Metric):
    """The share of photos that the candidate takes for another breed than the baseline."""

    def __init__(self, name: str = "disagreement"):
        super().__init__(derived_metrics.compared(disagree), name=name)


for _metric in (
    MacroF1,
    PrecisionByBreed,
    RecallByBreed,
    TopCalibrationError,
    TopCalibrationPlot,
    CosineSimilarity,
    Disagreement,
):
    metric_types.register_metric(_metric)

Matrix = dict[Any, float]  # (true label, said label) -> photos
Counts = collections.defaultdict[int, float]  # label -> photos


def macro_f1(matrix: Matrix) -> float:
    """The mean F1 of the true labels of a confusion matrix; no number for an empty one."""
    right, true, said = _counts(matrix)
    scores = [2 * right[label] / (true[label] + said[label]) for label in true]
    return float(np.mean(scores)) if scores else float("nan")


def precision(matrix: Matrix) -> dict[int, float]:
    """Right of what was said, by label that was."""
    right, _, said = _counts(matrix)
    return {label: right[label] / said[label] for label in said}


def recall(matrix: Matrix) -> dict[int, float]:
    """Right of what is true, by label that there is."""
    right, true, _ = _counts(matrix)
    return {label: right[label] / true[label] for label in true}


def _counts(matrix: Matrix) -> tuple[Counts, Counts, Counts]:
    """By label, how often it was said rightly, was true, and was said."""
    right, true, said = (collections.defaultdict[int, float](float) for _ in range(3))
    for (label, answer), photos in matrix.items():
        right[label] += photos * (label == answer)
        true[label] += photos
        said[answer] += photos
    return right, true, said


def _of_matrix(value: Callable[[Matrix], Any]) -> Any:
    """How TFMA computes a function of the confusion matrix of the likeliest breed."""
    matrices = multi_class_confusion_matrix_metrics.multi_class_confusion_matrices
    return derived_metrics.of(lambda found: value(found.get(0.0, {})), matrices, thresholds=[0.0])


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """The cosine of two vectors of probabilities [C]."""
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def disagree(one: np.ndarray, other: np.ndarray) -> float:
    """1 where two vectors of probabilities [C] have another likeliest breed, else 0."""
    return float(one.argmax() != other.argmax())
