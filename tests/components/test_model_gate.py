import dataclasses
import json

import pandas as pd
import pytest
import tensorflow_model_analysis as tfma
from sklearn.metrics import roc_auc_score

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

    assert model_gate.retrieval_metrics(str(tmp_path)) == {
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
