"""ModelGate: reads every evaluation of one model and gives the only blessing."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

from components import artifacts
from models import examples

VERDICT = "verdict.json"


@component
def ModelGate(  # noqa: N802 - TFX names the node after the function
    model: InputArtifact[standard_artifacts.Model],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    rules: Parameter[str],
    code: Parameter[str],
    teacher_evaluation: InputArtifact[standard_artifacts.ModelEvaluation] = None,
    retrieval: InputArtifact[artifacts.RetrievalMetrics] = None,
) -> None:
    """Applies every rule to the metrics.

    Args:
      model: read: the model that is judged.
      evaluation: read: its TFMA evaluation, a baseline's with it.
      blessing: written: BLESSED or NOT_BLESSED, and `verdict.json` with every rule and metric.
      rules: JSON list of `Rule`.
      code: digest of the code, for the cache.
      teacher_evaluation: read: its teacher's TFMA evaluation, where it has one.
      retrieval: read: the RetrievalEvaluator's figures, for match.
    """
    del code
    metrics = evaluation_metrics(evaluation.uri)
    if teacher_evaluation:
        teacher = evaluation_metrics(teacher_evaluation.uri)
        metrics |= {f"teacher.{name}": value for name, value in teacher.items() if "." not in name}
    if retrieval:
        metrics |= retrieval_metrics(retrieval.uri)
    results = [judge(Rule(**rule), metrics) for rule in json.loads(rules)]
    passed = all(result["passed"] for result in results)
    verdict = {
        "passed": passed,
        "rules": results,
        "metrics": {name: _plain(value) for name, value in metrics.items()},
    }
    with fileio.open(os.path.join(blessing.uri, VERDICT), "w") as file:
        file.write(json.dumps(verdict, indent=1, allow_nan=False))
    with fileio.open(os.path.join(blessing.uri, "BLESSED" if passed else "NOT_BLESSED"), "w") as f:
        f.write("")
    blessing.set_int_custom_property("blessed", int(passed))
    blessing.set_string_custom_property("current_model", model.uri)
    blessing.set_int_custom_property("current_model_id", model.id)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule: a metric and what it must reach.

    Attributes:
      name: what people call it.
      metric: that must be `bound` at least.
      bound: a number, unless `reference` is given.
      reference: another metric: the bound is its value less `margin`.
      margin: how much worse than the reference is still good.
      optional: the reference may be missing, because there is no such model yet; then any number
        passes.
    """

    name: str
    metric: str
    bound: float | None = None
    reference: str | None = None
    margin: float = 0.0
    optional: bool = False


def judge(rule: Rule, metrics: Mapping[str, float]) -> dict[str, Any]:
    """The result of one rule: its name, whether it passed, the value, the bound, and why in words.

    A metric that is missing or not a number fails.
    """
    value = metrics.get(rule.metric, math.nan)
    if rule.reference is not None and rule.reference not in metrics:
        reason = f"{rule.metric} {value:.3f}, and no {rule.reference} to compare with"
        return _result(rule, rule.optional and not math.isnan(value), value, None, reason)
    bound = rule.bound if rule.reference is None else metrics[rule.reference] - rule.margin
    assert bound is not None, f"rule {rule.name} needs a bound or a reference"
    passed = value >= bound
    less = f" less {rule.margin:g}" if rule.margin else ""
    against = f" ({rule.reference}{less})" if rule.reference else ""
    reason = f"{rule.metric} {value:.3f} {'>=' if passed else 'is below'} {bound:.3f}{against}"
    return _result(rule, passed, value, bound, reason)


def _result(
    rule: Rule, passed: bool, value: float, bound: float | None, reason: str
) -> dict[str, Any]:
    return {
        "rule": rule.name,
        "passed": passed,
        "value": _plain(value),
        "bound": _plain(bound),
        "reason": reason,
    }


def _plain(value: float | None) -> float | None:
    """A number that JSON has, None for what it has not."""
    return value if value is not None and math.isfinite(value) else None


_NAMES = {
    "sparse_categorical_accuracy": "top1",
    "sparse_top_k_categorical_accuracy": "top5",
    "sparse_categorical_crossentropy": "log_loss",
    "auc": "auc",
    "example_count": "examples",
}


def evaluation_metrics(uri: str) -> dict[str, float]:
    """The figures of a TFMA evaluation: `top1`, or `auc_hard` for the slice hard of a pair set.

    Those of the baseline are named `baseline.top1`.
    """
    import tensorflow_model_analysis as tfma

    # TFMA drops the name of a model that is alone.
    alone = tfma.load_eval_result(uri, model_name="")
    if len(alone.config.model_specs) == 1:
        return _flat(alone.slicing_metrics)
    candidate = tfma.load_eval_result(uri, model_name="candidate")
    baseline = _flat(tfma.load_eval_result(uri, model_name="baseline").slicing_metrics)
    return _flat(candidate.slicing_metrics) | {
        f"baseline.{name}": value for name, value in baseline.items()
    }


def _flat(slices: Sequence[Any]) -> dict[str, float]:
    flat = {}
    for key, outputs in slices:
        if key and key[0][0] != examples.PAIR_SET:
            continue
        suffix = f"_{key[0][1]}" if key else ""
        for names in outputs.values():
            for values in names.values():
                for metric, value in values.items():
                    if metric in _NAMES and "doubleValue" in value:
                        flat[_NAMES[metric] + suffix] = float(value["doubleValue"])
    return flat


def retrieval_metrics(uri: str) -> dict[str, float]:
    """The RetrievalEvaluator's figures: `recall@1`, and `untrained.recall@1` and so on."""
    with fileio.open(os.path.join(uri, "metrics.json")) as file:
        results = json.loads(file.read())
    return {
        name if encoder == "model" else f"{encoder}.{name}": value
        for encoder, values in results.items()
        for name, value in values.items()
    }
