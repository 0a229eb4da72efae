"""What both models' TFMA metrics are made of: functions of other metrics, means over examples."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import calibration_histogram, metric_types, metric_util
from tensorflow_model_analysis.utils import model_util

BINS = 10  # of a calibration error
_NO_NUMBER = -1.0  # stands for an answer that is none


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


Compare = Callable[[np.ndarray, np.ndarray], float]


def mean(value: Callable[[np.ndarray], float]) -> Callable[..., metric_types.MetricComputations]:
    """How TFMA computes the mean over all examples of a function of what a model says."""

    def computations(
        name: str, eval_config: Any, model_names: Iterable[str]
    ) -> metric_types.MetricComputations:
        return [
            _mean(metric_types.MetricKey(name, model), eval_config, [model], value)
            for model in model_names
        ]

    return computations


def compared(compare: Compare) -> Callable[..., metric_types.MetricComputations]:
    """How TFMA computes the mean of a comparison of the candidate with the baseline.

    TFMA's own comparisons (ModelCosineSimilarity, BooleanFlipRates) count part of the examples
    twice when they merge accumulators.
    """

    def computations(
        name: str, eval_config: Any, model_names: Iterable[str]
    ) -> metric_types.MetricComputations:
        baseline = model_util.get_baseline_model_spec(eval_config)
        if baseline is None:
            return []
        return [
            _mean(
                metric_types.MetricKey(name, model, is_diff=True),
                eval_config,
                [model, baseline.name],
                compare,
            )
            for model in model_names
            if model != baseline.name
        ]

    return computations


def _mean(
    key: metric_types.MetricKey, eval_config: Any, models: Sequence[str], value: Any
) -> metric_types.MetricComputation:
    combiner = _Mean(key, eval_config, models, value)
    return metric_types.MetricComputation(keys=[key], preprocessors=None, combiner=combiner)


@dataclasses.dataclass
class _Sum:
    value: float = 0.0
    examples: int = 0


class _Mean(beam.CombineFn):
    def __init__(
        self,
        key: metric_types.MetricKey,
        eval_config: Any,
        models: Sequence[str],
        value: Callable[..., float],
    ):
        self._key, self._eval_config = key, eval_config
        self._models, self._value = models, value

    def create_accumulator(self) -> _Sum:
        return _Sum()

    def add_input(self, accumulator: _Sum, element: metric_types.StandardMetricInputs) -> _Sum:
        found = self._value(*(self._said(element, model) for model in self._models))
        return _Sum(accumulator.value + found, accumulator.examples + 1)

    def merge_accumulators(self, accumulators: Iterable[_Sum]) -> _Sum:
        sums = list(accumulators)
        return _Sum(sum(part.value for part in sums), sum(part.examples for part in sums))

    def extract_output(self, accumulator: _Sum) -> dict[metric_types.MetricKey, float]:
        found = accumulator.value / accumulator.examples if accumulator.examples else float("nan")
        return {self._key: found}

    def _said(self, element: metric_types.StandardMetricInputs, model: str) -> np.ndarray:
        _, said, _ = next(
            metric_util.to_label_prediction_example_weight(
                element, eval_config=self._eval_config, model_name=model, flatten=False
            )
        )
        return np.asarray(said)


class NotANumber(metric_types.Metric):
    """The share of examples of which a model says something that is no number."""

    def __init__(self, name: str = "not_a_number"):
        super().__init__(mean(lambda said: float((said == _NO_NUMBER).any())), name=name)


metric_types.register_metric(NotANumber)


def numbers(extractors: Sequence[Any]) -> list[Any]:
    """TFMA's extractors, and one more: answers that are no numbers, at which metrics raise, change.

    They become wrong ones, which `NotANumber` counts.

    Args:
      extractors: the last one slices, after which TFMA evaluates and takes no further one.
    """
    import tensorflow_model_analysis as tfma

    *before, slices = extractors
    return [*before, tfma.extractors.Extractor("Numbers", beam.Map(_numbers)), slices]


def _numbers(extracts: Mapping[str, Any]) -> dict[str, Any]:
    import tensorflow_model_analysis as tfma

    result = dict(copy.copy(extracts))
    said = result[tfma.PREDICTIONS_KEY]
    result[tfma.PREDICTIONS_KEY] = (
        {model: _finite(answer) for model, answer in said.items()}
        if isinstance(said, Mapping)
        else _finite(said)
    )
    return result


def _finite(answer: Any) -> np.ndarray:
    """An answer, or as many times the number that stands for none."""
    said = np.asarray(answer)
    return said if np.isfinite(said).all() else np.full_like(said, _NO_NUMBER)


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
