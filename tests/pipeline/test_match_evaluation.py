"""The match model's TFMA figures equal those that scikit-learn computes from the raw scores."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from sklearn import metrics
from tfx.components.evaluator.executor import Executor
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts

from components import model_gate
from models import calibration, examples
from pipeline import gates

PAIRS = 3000
BINNED = 1e-3  # TFMA looks at 10,000 thresholds
EXACT = 1e-6


def rates(same: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    alarms, found, _ = metrics.roc_curve(same, scores, drop_intermediate=False)
    return alarms, found


def at(same: np.ndarray, scores: np.ndarray, alarm: float) -> float:
    """The true-positive rate where at most so many negatives pass."""
    alarms, found = rates(same, scores)
    return float(found[alarms <= alarm].max())


def equal_error(same: np.ndarray, scores: np.ndarray) -> float:
    alarms, found = rates(same, scores)
    nearest = np.abs(alarms - (1 - found)).argmin()
    return float(alarms[nearest] + 1 - found[nearest]) / 2


@pytest.fixture(scope="module")
def pairs() -> pd.DataFrame:
    """One pair in five is of one dog; every second negative and every positive is hard."""
    random = np.random.default_rng(0)
    same = random.random(PAIRS) < 0.2
    score = 1 / (1 + np.exp(-random.normal(np.where(same, 1.5, -1.5), 1.5)))
    hard = same | (random.random(PAIRS) < 0.5)
    return pd.DataFrame(
        {
            examples.PAIR_LABEL: same.astype(float),
            examples.PAIR_WEIGHT: calibration.balanced(same) * PAIRS,
            examples.PAIR_SCORE: score,
            examples.PAIR_BASELINE_SCORE: np.clip(score + random.normal(0, 0.2, PAIRS), 0, 1),
            examples.PAIR_SET: np.where(hard, "hard", "easy"),
            examples.PAIR_SOURCE: np.where(random.random(PAIRS) < 0.5, "austin", "individuals"),
            examples.PAIR_SIZE: "512-1023",
            examples.PAIR_BRIGHTNESS: "middle",
        }
    )


@pytest.fixture(scope="module")
def figures(pairs, tmp_path_factory) -> dict[str, float]:
    folder = str(tmp_path_factory.mktemp("evaluation"))
    tfma.analyze_raw_data(pairs, gates.match_eval_config(baseline=True), output_path=folder)
    return model_gate.evaluation_metrics(folder)


@pytest.mark.parametrize("prefix", ["", "baseline."])
@pytest.mark.parametrize("suffix", ["", "_hard"])
def test_roc_figures(pairs, figures, prefix, suffix):
    rows = pairs[pairs[examples.PAIR_SET] == "hard"] if suffix else pairs
    score = rows[examples.PAIR_BASELINE_SCORE if prefix else examples.PAIR_SCORE].to_numpy()
    same = rows[examples.PAIR_LABEL].to_numpy()
    wanted = {
        "auc": metrics.roc_auc_score(same, score),
        "tpr_at_1_in_100": at(same, score, 0.01),
        "tpr_at_1_in_1000": at(same, score, 0.001),
        "equal_error_rate": equal_error(same, score),
    }

    found = {name: figures[f"{prefix}{name}{suffix}"] for name in wanted}
    assert found == pytest.approx(wanted, abs=BINNED)


def test_the_calibration_error_weighs_both_kinds_of_pair_alike(pairs, figures):
    same = pairs[examples.PAIR_LABEL].to_numpy() > 0
    score = pairs[examples.PAIR_SCORE].to_numpy()

    wanted = calibration.expected_calibration_error(score, same, calibration.balanced(same))
    plain = calibration.expected_calibration_error(score, same, np.ones(PAIRS) / PAIRS)

    assert figures["ece"] == pytest.approx(wanted, abs=EXACT)
    assert abs(plain - wanted) > 0.01


def test_flips_against_the_version_that_serves(pairs, figures):
    new = pairs[examples.PAIR_SCORE] > 0.5
    old = pairs[examples.PAIR_BASELINE_SCORE] > 0.5

    assert figures["flip_rate"] == pytest.approx(np.mean(new != old), abs=EXACT)


def executed(rows: list[dict], folder: Path, write_split) -> dict[str, dict[str, float]]:
    """The figures by slice of pairs that are written and read as in a run."""
    write_split(folder / "pairs" / "Split-test", [examples.serialize(row) for row in rows])
    tf.saved_model.save(tf.Module(), str(folder / "model" / "Format-Serving"))
    pairs, model = standard_artifacts.Examples(), standard_artifacts.Model()
    found = standard_artifacts.ModelEvaluation()
    pairs.split_names = '["test"]'
    kind = example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE
    examples_utils.set_payload_format(pairs, kind)
    for artifact, name in ((pairs, "pairs"), (model, "model"), (found, "found")):
        artifact.uri = str(folder / name)
    config = gates.match_eval_config(baseline=False)
    Executor().Do(
        {"examples": [pairs], "model": [model]},
        {"evaluation": [found]},
        {
            "eval_config": json_format.MessageToJson(config, preserving_proto_field_name=True),
            "example_splits": '["test"]',
            "module_path": "components.pair_scores",
        },
    )
    return model_gate.evaluation_slices(found.uri)


def row(label: float, score: float, source: str) -> dict:
    return {
        examples.PAIR_A: "a", examples.PAIR_B: "b", examples.PAIR_LABEL: label,
        examples.PAIR_SCORE: score, examples.PAIR_WEIGHT: 1.0, examples.PAIR_SET: ["all"],
        examples.PAIR_SOURCE: source, examples.PAIR_SIZE: "512-1023",
        examples.PAIR_BRIGHTNESS: "middle",
    }  # fmt: skip


def test_pairs_of_one_kind_have_no_curve(tmp_path, write_split):
    # Dogs of two sources are never one dog. TFMA says an AUC of 0 of such a slice.
    both = [row(float(n % 2), 0.9 * (n % 2), "austin") for n in range(40)]
    other = [row(0.0, 0.1, "austin and individuals") for _ in range(40)]

    found = executed(both + other, tmp_path, write_split)

    assert found["pair/source:austin"]["auc"] == pytest.approx(1.0)
    assert found["pair/source:austin"]["positives"] == 20
    mixed = found["pair/source:austin and individuals"]
    assert mixed["positives"] == 0
    assert not {"auc", "equal_error_rate", "tpr_at_1_in_100"} & set(mixed)
    assert mixed["ece"] == pytest.approx(0.1)


def test_scores_that_are_no_numbers_are_counted(tmp_path, write_split):
    rows = [row(float(n % 2), np.nan if n < 10 else 0.9 * (n % 2), "austin") for n in range(40)]

    found = executed(rows, tmp_path, write_split)[""]

    assert found["not_a_number"] == pytest.approx(0.25)
    numbers = next(rule for rule in gates.RULES["match"] if rule.metric == "not_a_number")
    assert not model_gate.judge(numbers, found)["passed"]


def test_pairs_are_counted_by_slice(pairs, figures):
    assert figures["examples"] == PAIRS
    assert figures["examples_hard"] == (pairs[examples.PAIR_SET] == "hard").sum()
