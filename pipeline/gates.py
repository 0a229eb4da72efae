"""Every threshold in one place: what a model must reach, and how TFMA measures it."""

import dataclasses
import json
from typing import Any

import tensorflow_model_analysis as tfma
from google.protobuf import text_format

from components.ledger_checks import Bounds
from components.model_gate import Rule
from models import examples

_INTERVALS = """
options {
  compute_confidence_intervals { value: true }
  confidence_intervals { method: JACKKNIFE }
}
"""
_NUMBERS = 'metrics { class_name: "NotANumber" module: "components.derived_metrics" }'
PHOTO_SLICES = (
    examples.SOURCE,
    examples.SIZE_BUCKET,
    examples.BRIGHTNESS_BUCKET,
    examples.RARITY_BUCKET,
)
PAIR_SLICES = (examples.PAIR_SOURCE, examples.PAIR_SIZE, examples.PAIR_BRIGHTNESS)


def _served(metric: str, margin: float, **more: Any) -> Rule:
    """No worse than the version that serves, where there is one, by a margin."""
    name, reference = f"no worse than served, {metric}", f"baseline.{metric}"
    return Rule(name, metric, reference=reference, margin=margin, optional=True, **more)


NUMBERS = Rule("answers are numbers", "not_a_number", bound=0.0, at_most=True)
# A floor says that a model has learned something, a reference that it is as good as another one.
RULES = {
    "breed": (
        NUMBERS,
        Rule("floor", "top1", bound=0.60),
        Rule("better than the commonest breed", "top1", reference="majority.top1", beats=True),
        Rule("better than colours", "top1", reference="histogram.top1", beats=True),
        Rule("near its teacher", "top1", reference="teacher.top1", margin=0.10),
        Rule("answers like its teacher", "cosine_to_teacher", bound=0.75),
        Rule("agrees with its teacher", "disagreement", bound=0.25, at_most=True),
        Rule("faster than its teacher", "latency_ratio", bound=0.90, at_most=True),
        Rule("calibrated", "ece", bound=0.25, at_most=True),
        Rule(
            "not overconfident", "log_loss", reference="teacher.log_loss", margin=0.40, at_most=True
        ),
        _served("top1", 0.05, slices=PHOTO_SLICES, slice_margin=0.15),
        _served("top5", 0.03),
        _served("macro_f1", 0.05),
        _served("log_loss", 0.20, at_most=True, slices=PHOTO_SLICES, slice_margin=0.60),
        _served("ece", 0.10, at_most=True),
    ),
    "match": (
        NUMBERS,
        Rule("floor", "auc_all", bound=0.75),
        Rule("as good as untrained, first place", "recall@1", reference="untrained.recall@1"),
        Rule("better than untrained, overall", "mAP", reference="untrained.mAP", beats=True),
        Rule("as good as colours, first place", "recall@1", reference="histogram.recall@1"),
        Rule("better than colours, overall", "mAP", reference="histogram.mAP", beats=True),
        Rule("calibrated", "ece_all", bound=0.20, at_most=True),
        _served("mAP", 0.05),
        _served("recall@1", 0.05),
        _served("recall@5", 0.05),
        _served("found", 0.10),
        _served("false_alarm", 0.10, at_most=True),
        _served("auc", 0.03, slices=PAIR_SLICES, slice_margin=0.10),
        _served("auc_hard", 0.08),
        _served("tpr_at_1_in_100", 0.15),
        _served("ece_all", 0.05, at_most=True),
        Rule("steady", "flip_rate", bound=0.10, at_most=True, optional=True),
    ),
}

# What ReplayCheck lets pass, on a CPU: milliseconds of one photo, MB of the SavedModel, and MiB of
# the process at its peak.
CEILINGS = {
    "breed": {"latency_ms": 500.0, "megabytes": 150.0, "peak_mib": 4096.0},
    "match": {"latency_ms": 1000.0, "megabytes": 300.0, "peak_mib": 6144.0},
}

# What DataGate lets pass. The distances between splits and between runs stand in `schema/`.
DATA = Bounds(
    share=0.05,
    rejected=0.25,
    copies=0.05,
    dogs=0.01,
    relabelled=0.01,
    lost=0.20,
    same_data=0.05,
    tiny=48,
    dark=0.10,
    flat=1.0,
    grey=0.01,
)


def data_bounds() -> str:
    """`DATA` as DataGate reads it."""
    return json.dumps(dataclasses.asdict(DATA))


def rules(model: str) -> str:
    """The rules of a model as ModelGate reads them."""
    return json.dumps([vars(rule) for rule in RULES[model]])


def ceilings(model: str) -> str:
    """`CEILINGS` of a model as ReplayCheck reads them."""
    return json.dumps(CEILINGS[model])


def breed_eval_config(baseline: bool, teacher: bool = False, code: str = "") -> tfma.EvalConfig:
    """Breed: how often right, how sure, and which breeds for which, by kind of photo.

    Args:
      baseline: a second model is measured beside the candidate.
      teacher: that is the candidate's teacher: the two are compared with each other.
      code: digest of the project's part of the evaluation, for the cache.
    """
    spec = f'label_key: "{examples.LABEL}" signature_name: "serving_default"'
    own = "components.breed_metrics"
    compared = ("CosineSimilarity", "Disagreement") if teacher else ()
    return text_format.Parse(
        f"""
        {_model_specs(spec, spec, baseline)}
        slicing_specs {{}}
        {_slices(examples.BREED, *PHOTO_SLICES)}
        metrics_specs {{
          metrics {{ class_name: "ExampleCount" }}
          metrics {{ class_name: "SparseCategoricalAccuracy" }}
          metrics {{ class_name: "SparseTopKCategoricalAccuracy" config: '"k": 5' }}
          metrics {{ class_name: "SparseCategoricalCrossentropy" }}
          metrics {{ class_name: "MultiClassConfusionMatrixPlot" }}
          metrics {{ class_name: "MacroF1" module: "{own}" config: '"code": "{code}"' }}
          metrics {{ class_name: "PrecisionByBreed" module: "{own}" }}
          metrics {{ class_name: "RecallByBreed" module: "{own}" }}
          metrics {{ class_name: "TopCalibrationError" module: "{own}" }}
          metrics {{ class_name: "TopCalibrationPlot" module: "{own}" }}
          {_NUMBERS}
          {"".join(f'metrics {{ class_name: "{name}" module: "{own}" }}' for name in compared)}
        }}
        {_INTERVALS}
        """,
        tfma.EvalConfig(),
    )


def match_eval_config(baseline: bool) -> tfma.EvalConfig:
    """Match, on pairs: ROC figures and calibration, by kind of pair and by kind of photo.

    Both kinds of pair weigh alike, which only the calibration feels. Pairs share photos, so an
    interval over them would be too narrow: RetrievalEvaluator gives some, over dogs.
    """
    label = f'label_key: "{examples.PAIR_LABEL}" example_weight_key: "{examples.PAIR_WEIGHT}"'
    own = "components.match_metrics"
    flips = f'metrics {{ class_name: "FlipRate" module: "{own}" }}' if baseline else ""
    candidate = f'{label} prediction_key: "{examples.PAIR_SCORE}"'
    served = f'{label} prediction_key: "{examples.PAIR_BASELINE_SCORE}"'
    return text_format.Parse(
        f"""
        {_model_specs(candidate, served, baseline)}
        slicing_specs {{}}
        {_slices(examples.PAIR_SET, *PAIR_SLICES)}
        metrics_specs {{
          metrics {{ class_name: "ExampleCount" }}
          metrics {{ class_name: "MeanLabel" }}
          {_NUMBERS}
          {flips}
          example_weights {{ unweighted: true }}
        }}
        metrics_specs {{
          metrics {{ class_name: "AUC" }}
          metrics {{
            class_name: "SensitivityAtSpecificity"
            config: '"specificity": 0.99, "num_thresholds": 10000, "name": "tpr_at_1_in_100"'
          }}
          metrics {{
            class_name: "SensitivityAtSpecificity"
            config: '"specificity": 0.999, "num_thresholds": 10000, "name": "tpr_at_1_in_1000"'
          }}
          metrics {{ class_name: "EqualErrorRate" module: "{own}" }}
          metrics {{ class_name: "ExpectedCalibrationError" module: "{own}" }}
          metrics {{ class_name: "CalibrationPlot" config: '"num_buckets": 10' }}
          metrics {{ class_name: "ConfusionMatrixPlot" config: '"num_thresholds": 200' }}
        }}
        """,
        tfma.EvalConfig(),
    )


def _slices(*features: str) -> str:
    return "".join(f'slicing_specs {{ feature_keys: "{feature}" }}' for feature in features)


def _model_specs(candidate: str, served: str, baseline: bool) -> str:
    specs = f'model_specs {{ name: "candidate" {candidate} }}'
    if baseline:
        specs += f' model_specs {{ name: "baseline" is_baseline: true {served} }}'
    return specs
