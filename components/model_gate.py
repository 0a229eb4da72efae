"""ModelGate: reads every evaluation of one model and gives the only blessing."""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components import artifacts, worst_examples
from models import examples
from models.job import HISTORY

VERDICT = "verdict.json"
LEAST = 20  # examples of a slice that is judged


@component
def ModelGate(  # noqa: N802 - TFX names the node after the function
    model: InputArtifact[standard_artifacts.Model],
    evaluation: InputArtifact[standard_artifacts.ModelEvaluation],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    rules: Parameter[str],
    bless_anyway: Parameter[str],
    code: Parameter[str],
    photos: InputArtifact[standard_artifacts.Examples] = None,
    pairs: InputArtifact[standard_artifacts.Examples] = None,
    teacher_evaluation: InputArtifact[standard_artifacts.ModelEvaluation] = None,
    baselines: InputArtifact[artifacts.BreedBaselines] = None,
    training: InputArtifact[standard_artifacts.ModelRun] = None,
    retrieval: InputArtifact[artifacts.RetrievalMetrics] = None,
) -> None:
    """Applies every rule to the metrics.

    Args:
      model: read: the model that is judged.
      evaluation: read: its TFMA evaluation, a baseline's with it.
      blessing: written: BLESSED or NOT_BLESSED, and `verdict.json` with every rule and metric, by
        slice and by label too.
      rules: JSON list of `Rule`.
      bless_anyway: why the model is blessed whatever the rules say, "" when it is not.
      code: digest of the code, for the cache.
      photos: read: of a breed model, what it was evaluated on: a refusal names the worst of them.
      pairs: read: of a match model, likewise.
      teacher_evaluation: read: a TFMA evaluation against its teacher, where it has one.
      baselines: read: BreedBaselines' figures, for breed.
      training: read: what the student's trainer told of its teacher, for breed.
      retrieval: read: the RetrievalEvaluator's figures, for match.
    """
    del code
    metrics = evaluation_metrics(evaluation.uri)
    slices = evaluation_slices(evaluation.uri)
    if teacher_evaluation:
        metrics |= of_teacher(evaluation_metrics(teacher_evaluation.uri))
        for name, values in evaluation_slices(teacher_evaluation.uri).items():
            slices[name] = slices.get(name, {}) | of_teacher(values)
    for measured in (retrieval, baselines):
        if measured:
            metrics |= figures_by_name(measured.uri)
    if training:
        metrics |= _beside_teacher(training.uri)
    results = [judge(Rule(**rule), metrics, slices) for rule in json.loads(rules)]
    shown: dict[str, list[str]] = {}  # by slice: several rules may fail in one
    for result in (result for result in results if not result["passed"]):
        part = result.get("slice", "")
        if part not in shown:
            shown[part] = _worst(part, model, photos, pairs)
        result["examples"] = shown[part]
    passed = all(result["passed"] for result in results)
    blessed = passed or bool(bless_anyway)
    verdict = {
        "passed": passed,
        "blessed_anyway": "" if passed else bless_anyway,
        "rules": results,
        "metrics": _plain_all(metrics),
        "slices": {name: _plain_all(values) for name, values in slices.items()},
        "breeds": {
            label: _plain_all(values) for label, values in evaluation_breeds(evaluation.uri).items()
        },
    }
    with fileio.open(os.path.join(blessing.uri, VERDICT), "w") as file:
        file.write(json.dumps(verdict, indent=1, allow_nan=False))
    with fileio.open(os.path.join(blessing.uri, "BLESSED" if blessed else "NOT_BLESSED"), "w") as f:
        f.write("")
    blessing.set_int_custom_property("blessed", int(blessed))
    if blessed and not passed:
        blessing.set_string_custom_property("blessed_anyway", bless_anyway)
    blessing.set_string_custom_property("current_model", model.uri)
    blessing.set_int_custom_property("current_model_id", model.id)


def _worst(part: str, model: Any, photos: Any, pairs: Any) -> list[str]:
    """What a model got most wrong in a slice, of what there is."""
    if photos:
        split = artifact_utils.get_split_uri([photos], "test")
        return worst_examples.of_photos(split, path_utils.serving_model_path(model.uri), part)
    if pairs:
        return worst_examples.of_pairs(artifact_utils.get_split_uri([pairs], "test"), part)
    return []


@dataclasses.dataclass(frozen=True)
class Rule:
    """One rule: a metric and what it must reach.

    Attributes:
      name: what people call it.
      metric: that must be `bound` at least.
      bound: a number, unless `reference` is given.
      reference: another metric: the bound is its value, and worse than it by `margin`.
      margin: how much worse than the reference is still good.
      at_most: the metric must be `bound` at most: less is better.
      beats: as good as the bound is not enough.
      optional: the reference may be missing, because there is no such model yet; then any number
        passes. Without a reference it is the metric that compares, and may be missing.
      slices: features by which photos are sliced, in each slice of which the rule must hold too,
        where the slice has `LEAST` examples, of pairs `LEAST` of each kind; against the reference
        of the same slice.
      slice_margin: that of a slice, whose figures are coarser.
    """

    name: str
    metric: str
    bound: float | None = None
    reference: str | None = None
    margin: float = 0.0
    at_most: bool = False
    beats: bool = False
    optional: bool = False
    slices: Sequence[str] = ()
    slice_margin: float = 0.0


Slices = Mapping[str, Mapping[str, float]]  # by name, such as "source:stanford"


def judge(rule: Rule, metrics: Mapping[str, float], slices: Slices | None = None) -> dict[str, Any]:
    """The result of one rule.

    A metric that is missing or not a number fails.

    Returns:
      JSON: `rule`, `passed`, `value`, `bound`, `low` and `high` (the 95 % interval of the value,
      where there is one), `reason` in words, and of a rule that failed `slice`, the worst one.
    """
    result = _judge(rule, metrics, rule.margin)
    large = {name: values for name, values in (slices or {}).items() if name and _enough(values)}
    failed = [
        (_short_of(rule, found), name, found)
        for name, values in large.items()
        if name.partition(":")[0] in rule.slices
        if not (found := _judge(rule, values, rule.slice_margin))["passed"]
    ]
    if failed:
        _, name, found = max(failed, key=lambda item: item[:2])
        others = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        told = {"passed": False, "slice": name}
        if result["passed"]:
            told |= {key: found[key] for key in ("value", "bound")}
            told["reason"] = f"in {name}{others}: {found['reason']}"
        result |= told
    elif not result["passed"] and (worst := _worst_slice(rule, result["bound"], large)):
        result["slice"] = worst
    return result


def _enough(values: Mapping[str, float]) -> bool:
    """Whether a slice has examples to be judged by."""
    examples_ = values.get("examples", 0)
    positives = values.get("positives")
    least = examples_ if positives is None else min(positives, examples_ - positives)
    return least >= LEAST


def _worst_slice(rule: Rule, bound: float | None, slices: Slices) -> str:
    """Where a metric that failed as a whole is the furthest from its bound, "" where none tells."""
    metric = rule.metric.removesuffix("_all")  # of all pairs, in a slice plainly so
    short = []
    for name, values in slices.items():
        if math.isfinite(values.get(metric, math.nan)):
            own = values.get(rule.reference) if rule.reference else None
            against = {"value": values[metric], "bound": bound if own is None else own}
            short.append((_short_of(rule, against), name))
    return max(short)[1] if short else ""


def _short_of(rule: Rule, found: Mapping[str, Any]) -> float:
    """By how much a slice misses its bound; one without a number misses it by the most."""
    if found["value"] is None or found["bound"] is None:
        return math.inf
    return float(found["value"] - found["bound"]) * (1 if rule.at_most else -1)


def _judge(rule: Rule, metrics: Mapping[str, float], margin: float) -> dict[str, Any]:
    value = metrics.get(rule.metric, math.nan)
    result = {"rule": rule.name, "value": _plain(value), "bound": None}
    for end in ("low", "high"):
        result[end] = _plain(metrics.get(f"{rule.metric}_{end}"))
    if rule.reference is not None and rule.reference not in metrics:
        reason = f"{rule.metric} {value:.3f}, and no {rule.reference} to compare with"
        return result | {"passed": rule.optional and not math.isnan(value), "reason": reason}
    if rule.reference is None and rule.optional and rule.metric not in metrics:
        return result | {"passed": True, "reason": f"no {rule.metric}: nothing to compare with"}
    sign = 1 if rule.at_most else -1
    bound = rule.bound if rule.reference is None else metrics[rule.reference] + sign * margin
    assert bound is not None, f"rule {rule.name} needs a bound or a reference"
    ahead = sign * (bound - value)  # NaN of what is no number: neither holds then
    passed = ahead > 0 if rule.beats else ahead >= 0
    words = ("<=", "is above") if rule.at_most else (">=", "is below")
    if rule.beats:
        words = ("<", "is not below") if rule.at_most else (">", "is not above")
    room = f" {'plus' if rule.at_most else 'less'} {margin:g}" if margin else ""
    against = f" ({rule.reference}{room})" if rule.reference else ""
    reason = f"{rule.metric} {value:.3f} {words[0] if passed else words[1]} {bound:.3f}{against}"
    return result | {"passed": passed, "bound": _plain(bound), "reason": reason}


def _plain(value: float | None) -> float | None:
    """A number that JSON has, None for what it has not."""
    return value if value is not None and math.isfinite(value) else None


def _plain_all(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _plain(value) for name, value in values.items()}


_NAMES = {
    "sparse_categorical_accuracy": "top1",
    "sparse_top_k_categorical_accuracy": "top5",
    "sparse_categorical_crossentropy": "log_loss",
    "auc": "auc",
    "tpr_at_1_in_100": "tpr_at_1_in_100",
    "tpr_at_1_in_1000": "tpr_at_1_in_1000",
    "equal_error_rate": "equal_error_rate",
    "expected_calibration_error": "ece",
    "flip_rate_diff": "flip_rate",  # TFMA calls what compares two models a difference
    "not_a_number": "not_a_number",
    "mean_label": "mean_label",
    "macro_f1": "macro_f1",
    "cosine_similarity_diff": "cosine",
    "disagreement_diff": "disagreement",
    "precision": "precision",
    "recall": "recall",
    "example_count": "examples",
}
_OF_A_CURVE = ("auc", "tpr_at_1_in_100", "tpr_at_1_in_1000", "equal_error_rate")
_CLASS = "classId:"  # how TFMA names the figures of one label


def evaluation_metrics(uri: str) -> dict[str, float]:
    """The figures of a TFMA evaluation: `top1`, or `auc_hard` for the slice hard of a pair set.

    Those of the baseline are named `baseline.top1`, the ends of a 95 % interval, where one was
    computed, `top1_low` and `top1_high`.
    """
    flat: dict[str, float] = {}
    for name, values in evaluation_slices(uri).items():
        feature, _, value = name.partition(":")
        if feature in ("", examples.PAIR_SET):
            flat |= {metric + (value and f"_{value}"): found for metric, found in values.items()}
    return flat


def of_teacher(metrics: Mapping[str, float]) -> dict[str, float]:
    """Of an evaluation whose baseline is the teacher: `teacher.top1`, and how far both agree."""
    found = {
        f"teacher.{name.removeprefix('baseline.')}": value
        for name, value in metrics.items()
        if name.startswith("baseline.")
    }
    compared = {"cosine": "cosine_to_teacher", "disagreement": "disagreement"}
    return found | {
        told + end: metrics[name + end]
        for name, told in compared.items()
        for end in ("", "_low", "_high")
        if name + end in metrics
    }


def evaluation_slices(uri: str) -> dict[str, dict[str, float]]:
    """The figures of every slice of a TFMA evaluation, by its name.

    Returns:
      {"source:stanford": {"top1": …, "baseline.top1": …}}; the whole is named "".
    """
    return _by_model(uri, _by_slice)


def evaluation_breeds(uri: str) -> dict[int, dict[str, float]]:
    """The figures of every breed of a TFMA evaluation, over all photos, by its label.

    Returns:
      {7: {"precision": …, "recall": …, "baseline.precision": …}}; a breed that is never said has no
      precision, and one without photos no recall.
    """
    return _by_model(uri, _by_breed)


_Key = TypeVar("_Key")
_Figures = dict[_Key, dict[str, float]]


def _by_model(uri: str, figures: Callable[[Sequence[Any]], _Figures[_Key]]) -> _Figures[_Key]:
    """The candidate's figures, and beside them the baseline's."""
    import tensorflow_model_analysis as tfma

    with fileio.open(os.path.join(uri, "eval_config.json")) as file:
        models = json.loads(file.read())["evalConfig"]["modelSpecs"]
    if len(models) == 1:  # its figures have no name
        return figures(tfma.load_eval_result(uri, model_name="").slicing_metrics)
    found = figures(tfma.load_eval_result(uri, model_name="candidate").slicing_metrics)
    baseline = tfma.load_eval_result(uri, model_name="baseline").slicing_metrics
    for name, values in figures(baseline).items():
        told = {f"baseline.{metric}": value for metric, value in values.items()}
        found[name] = found.get(name, {}) | told
    return found


def _by_slice(slices: Sequence[Any]) -> dict[str, dict[str, float]]:
    return {
        ":".join(map(str, key[0])) if key else "": _known(_numbers(outputs[""][""]))
        for key, outputs in slices
    }


def _known(values: dict[str, float]) -> dict[str, float]:
    """Leaves out what a slice can't tell, and TFMA tells all the same.

    A ROC curve of pairs of one kind, and the interval of a handful of examples.
    """
    mean = values.pop("mean_label", None)
    if mean is not None:
        values["positives"] = round(mean * values["examples"])
        if values["positives"] in (0, values["examples"]):
            values = {name: value for name, value in values.items() if name not in _OF_A_CURVE}
    if values.get("examples", 0) < LEAST:
        values = {
            name: value for name, value in values.items() if not name.endswith(("_low", "_high"))
        }
    return values


def _by_breed(slices: Sequence[Any]) -> dict[int, dict[str, float]]:
    return {
        int(name.removeprefix(_CLASS)): _numbers(values)
        for key, outputs in slices
        for name, values in outputs[""].items()
        if not key and name.startswith(_CLASS)
    }


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """TFMA's values under our names, with the ends of their intervals."""
    found: dict[str, float] = {}
    for name, value in ((_NAMES[name], values[name]) for name in values if name in _NAMES):
        if "doubleValue" in value:
            found[name] = float(value["doubleValue"])
        elif bounded := value.get("boundedValue"):
            most = math.inf if name == "log_loss" else 1.0  # where a jackknife may end beyond
            found[name] = float(bounded["value"])
            found[f"{name}_low"] = max(0.0, float(bounded["lowerBound"]))
            found[f"{name}_high"] = min(most, float(bounded["upperBound"]))
    return found


def _beside_teacher(uri: str) -> dict[str, float]:
    """What a student's trainer measured: how long both take for one photo, as a ratio."""
    with fileio.open(os.path.join(uri, HISTORY)) as file:
        return {"latency_ratio": json.loads(file.read())["student"]["latency_ratio"]}


def figures_by_name(uri: str) -> dict[str, float]:
    """What an own evaluation measured: `recall@1`, and `untrained.recall@1` and so on."""
    with fileio.open(os.path.join(uri, artifacts.METRICS)) as file:
        results = json.loads(file.read())
    return {
        name if encoder == "model" else f"{encoder}.{name}": value
        for encoder, values in results.items()
        for name, value in values.items()
    }
