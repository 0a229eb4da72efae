import dataclasses
import json

import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from sklearn.metrics import roc_auc_score
from tfx.types import standard_artifacts

from components import model_gate
from components.model_gate import Rule

FLOOR = Rule("accurate enough", "top1", bound=0.8)
KEPT = Rule("as good as the baseline", "top1", reference="baseline.top1", margin=0.02)
NAN = float("nan")


@pytest.mark.parametrize(("value", "passed"), [(0.9, True), (0.8, True), (0.7999, False)])
def test_a_metric_must_reach_its_bound(value, passed):
    result = model_gate.judge(FLOOR, {"top1": value})

    assert result["passed"] is passed
    assert (result["rule"], result["value"], result["bound"]) == ("accurate enough", value, 0.8)


# The margins are exact in binary, so that "as good as the bound" is exact too.
@pytest.mark.parametrize(("value", "passed"), [(0.75, True), (0.625, True), (0.5, False)])
def test_a_metric_may_be_worse_than_its_reference_by_the_margin(value, passed):
    rule = Rule("kept", "top1", reference="baseline.top1", margin=0.125)

    result = model_gate.judge(rule, {"top1": value, "baseline.top1": 0.75})

    assert result["passed"] is passed
    assert result["bound"] == 0.625


def test_a_reference_that_has_to_be_there_fails_when_it_is_missing():
    needed = dataclasses.replace(KEPT, optional=False)

    result = model_gate.judge(needed, {"top1": 0.99})

    assert result["passed"] is False
    assert "no baseline.top1 to compare with" in result["reason"]


def test_an_optional_reference_that_is_missing_passes_whatever_was_measured():
    result = model_gate.judge(dataclasses.replace(KEPT, optional=True), {"top1": 0.1})

    assert result["passed"] is True
    assert result["bound"] is None
    assert "no baseline.top1 to compare with" in result["reason"]


@pytest.mark.parametrize("rule", [FLOOR, KEPT])
@pytest.mark.parametrize("metrics", [{}, {"top1": NAN}, {"top1": NAN, "baseline.top1": 0.5}])
def test_a_metric_that_is_missing_or_no_number_fails(rule, metrics):
    result = model_gate.judge(rule, metrics)

    assert result["passed"] is False
    assert result["value"] is None


LIGHT = Rule("calibrated", "ece", bound=0.25, at_most=True)
NO_WORSE = Rule("no worse", "top1", reference="baseline.top1", margin=0.125, optional=True,
                slices=("source",), slice_margin=0.25)  # fmt: skip


@pytest.mark.parametrize(("value", "passed"), [(0.1, True), (0.25, True), (0.2501, False)])
def test_a_metric_of_which_less_is_better_may_be_its_bound_at_most(value, passed):
    result = model_gate.judge(LIGHT, {"ece": value})

    assert result["passed"] is passed
    assert ("<= 0.250" if passed else "is above 0.250") in result["reason"]


@pytest.mark.parametrize(("value", "passed"), [(0.625, True), (0.75, False)])
def test_less_is_better_than_a_reference_too(value, passed):
    rule = Rule("no worse", "loss", reference="baseline.loss", margin=0.125, at_most=True)

    assert model_gate.judge(rule, {"loss": value, "baseline.loss": 0.5})["passed"] is passed


def slices(**values):
    """By source: (examples, top1, the baseline's)."""
    return {
        f"source:{name}": {"examples": count, "top1": one, "baseline.top1": other}
        for name, (count, one, other) in values.items()
    }


GOOD = {"top1": 0.9, "baseline.top1": 0.9}


def test_a_rule_must_hold_in_every_slice_and_names_the_worst():
    found = slices(austin=(50, 0.9, 0.9), stanford=(50, 0.5, 0.9), tsinghua=(50, 0.25, 0.9))

    result = model_gate.judge(NO_WORSE, GOOD, found)

    assert result["passed"] is False
    assert result["slice"] == "source:tsinghua"
    assert (result["value"], result["bound"]) == (0.25, pytest.approx(0.65))
    assert result["reason"].startswith("in source:tsinghua, and 1 more: top1 0.250 is below")


@pytest.mark.parametrize(
    "found",
    [
        slices(stanford=(50, 0.7, 0.9)),  # within the margin of a slice, not that of the whole
        slices(stanford=(model_gate.LEAST - 1, 0.1, 0.9)),  # too few to tell
        {"breed:Pug": {"examples": 50, "top1": 0.1, "baseline.top1": 0.9}},  # not asked for
        {"source:new": {"examples": 50, "top1": 0.1}},  # the baseline's was not measured
        {"source:mixed": {"examples": 500, "positives": 3, "top1": 0.1, "baseline.top1": 0.9}},
    ],
)
def test_slices_that_say_nothing_against_a_model(found):
    assert model_gate.judge(NO_WORSE, GOOD, found)["passed"] is True


def test_to_beat_is_more_than_to_equal():
    beats = dataclasses.replace(KEPT, margin=0.0, beats=True)

    as_good = model_gate.judge(beats, {"top1": 0.75, "baseline.top1": 0.75})
    better = model_gate.judge(beats, {"top1": 0.8, "baseline.top1": 0.75})

    assert (as_good["passed"], better["passed"]) == (False, True)
    assert "top1 0.750 is not above 0.750" in as_good["reason"]


@pytest.mark.parametrize(
    ("rule", "metrics", "worst"),
    [
        (Rule("floor", "top1", bound=0.6), {"top1": 0.5}, "source:stanford"),
        (Rule("calibrated", "ece_all", bound=0.1, at_most=True), {"ece_all": 0.3}, "size:<256"),
        (KEPT, {"top1": 0.5, "baseline.top1": 0.9}, "size:<256"),  # against its own reference
        (Rule("first", "recall@1", bound=0.5), {"recall@1": 0.1}, None),  # no slice has it
    ],
)
def test_a_rule_that_fails_as_a_whole_names_the_worst_slice(rule, metrics, worst):
    found = {
        "": {"examples": 100, "top1": 0.1, "ece": 0.9},
        "source:stanford": {"examples": 50, "top1": 0.4, "baseline.top1": 0.4, "ece": 0.1},
        "size:<256": {"examples": 50, "top1": 0.5, "baseline.top1": 0.9, "ece": 0.4},
        "breed:Pug": {"examples": 3, "top1": 0.0, "baseline.top1": 1.0, "ece": 1.0},  # too few
    }

    result = model_gate.judge(rule, metrics, found)

    assert result["passed"] is False
    assert result.get("slice") == worst


def test_a_slice_without_a_number_is_the_worst():
    found = slices(austin=(50, NAN, 0.9), stanford=(50, 0.1, 0.9))

    assert model_gate.judge(NO_WORSE, GOOD, found)["slice"] == "source:austin"


def test_a_model_that_is_worse_as_a_whole_is_told_so_with_its_worst_slice():
    result = model_gate.judge(
        NO_WORSE, {"top1": 0.5, "baseline.top1": 0.9}, slices(austin=(50, 0.1, 0.9))
    )

    assert result["slice"] == "source:austin"
    assert result["reason"].startswith("top1 0.500 is below 0.775")


def test_the_interval_of_a_value_stands_beside_it():
    result = model_gate.judge(FLOOR, {"top1": 0.9, "top1_low": 0.8, "top1_high": 0.95})

    assert (result["low"], result["high"]) == (0.8, 0.95)
    assert model_gate.judge(FLOOR, {"top1": 0.9})["low"] is None


def test_a_reference_that_is_no_number_fails():
    result = model_gate.judge(KEPT, {"top1": 0.9, "baseline.top1": NAN})

    assert result["passed"] is False


def test_every_result_is_plain_json():
    metrics = {"top1": 0.9, "baseline.top1": NAN}

    for rule in (FLOOR, KEPT, Rule("x", "missing", bound=0.5)):
        json.dumps(model_gate.judge(rule, metrics), allow_nan=False)


def test_the_reason_tells_value_bound_and_reference():
    passed = model_gate.judge(FLOOR, {"top1": 0.9})
    failed = model_gate.judge(KEPT, {"top1": 0.5, "baseline.top1": 0.9})

    assert passed["reason"] == "top1 0.900 >= 0.800"
    assert failed["reason"] == "top1 0.500 is below 0.880 (baseline.top1 less 0.02)"


def test_retrieval_figures_are_named_by_their_encoder(tmp_path):
    results = {"model": {"recall@1": 0.7, "mAP": 0.6}, "untrained": {"recall@1": 0.4}}
    (tmp_path / "metrics.json").write_text(json.dumps(results))

    assert model_gate.figures_by_name(str(tmp_path)) == {
        "recall@1": 0.7,
        "mAP": 0.6,
        "untrained.recall@1": 0.4,
    }


def evaluated(folder, models):
    """A TFMA evaluation of four pairs, whose hard two come first."""
    pairs = pd.DataFrame(
        {
            "pair/same_dog": [1.0, 0.0, 1.0, 0.0],
            "pair/set": ["hard", "hard", "easy", "easy"],
            "pair/score": [0.9, 0.8, 0.3, 0.1],
            "pair/baseline_score": [0.5, 0.6, 0.7, 0.8],
        }
    )
    metrics = [tfma.MetricConfig(class_name=name) for name in ("AUC", "ExampleCount")]
    config = tfma.EvalConfig(
        model_specs=models,
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["pair/set"])],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )
    tfma.analyze_raw_data(pairs, config, output_path=str(folder))
    return model_gate.evaluation_metrics(str(folder))


def scored_by(column, **more):
    return tfma.ModelSpec(prediction_key=column, label_key="pair/same_dog", **more)


def test_the_figures_of_an_evaluation_by_set(tmp_path):
    # Of the four (same, other) couples of pairs, 0.9-0.8, 0.9-0.1 and 0.3-0.1 are in order: 3/4.
    figures = evaluated(tmp_path, [scored_by("pair/score")])

    assert figures["auc"] == pytest.approx(0.75)
    assert figures["auc"] == pytest.approx(roc_auc_score([1, 0, 1, 0], [0.9, 0.8, 0.3, 0.1]))
    assert (figures["auc_hard"], figures["auc_easy"]) == pytest.approx((1.0, 1.0))
    assert (figures["examples"], figures["examples_hard"]) == (4, 2)


def test_the_figures_of_the_baseline_stand_beside(tmp_path):
    # The baseline puts one couple of four in order: 0.7-0.6.
    baseline = scored_by("pair/baseline_score", name="baseline", is_baseline=True)

    figures = evaluated(tmp_path, [scored_by("pair/score", name="candidate"), baseline])

    assert (figures["auc"], figures["baseline.auc"]) == pytest.approx((0.75, 0.25))
    assert figures["baseline.auc_hard"] == pytest.approx(0.0)


def gated(tmp_path, bound, reason):
    """Runs the component on the evaluation above: its blessing and its verdict."""
    evaluated(tmp_path / "evaluation", [scored_by("pair/score")])
    model, evaluation = standard_artifacts.Model(), standard_artifacts.ModelEvaluation()
    blessing = standard_artifacts.ModelBlessing()
    model.uri, evaluation.uri = "model", str(tmp_path / "evaluation")
    blessing.uri = str(tmp_path / "blessing")
    (tmp_path / "blessing").mkdir()
    rules = json.dumps([dataclasses.asdict(Rule("floor", "auc", bound=bound))])
    model_gate.ModelGate.EXECUTOR_SPEC.executor_class().Do(
        {"model": [model], "evaluation": [evaluation]},
        {"blessing": [blessing]},
        {"rules": rules, "bless_anyway": reason, "code": "of it"},
    )
    return blessing, json.loads((tmp_path / "blessing" / "verdict.json").read_text())


@pytest.mark.parametrize(
    ("bound", "reason", "passed", "blessed", "anyway"),
    [
        (0.7, "", True, 1, ""),
        (0.8, "", False, 0, ""),
        (0.8, "a pilot", False, 1, "a pilot"),
        (0.7, "a pilot", True, 1, ""),  # nothing was overruled
    ],
)
def test_a_refused_model_is_blessed_with_a_reason_only(
    tmp_path, bound, reason, passed, blessed, anyway
):
    blessing, verdict = gated(tmp_path, bound, reason)

    assert (verdict["passed"], verdict["blessed_anyway"]) == (passed, anyway)
    assert blessing.get_int_custom_property("blessed") == blessed
    assert blessing.get_string_custom_property("blessed_anyway") == anyway
    names = {path.name for path in (tmp_path / "blessing").iterdir()}
    assert names == {"verdict.json", "BLESSED" if blessed else "NOT_BLESSED"}
