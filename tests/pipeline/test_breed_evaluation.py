"""The breed model's TFMA figures equal those of scikit-learn and NumPy from the raw scores."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from google.protobuf import json_format
from sklearn import metrics
from tfx.components.evaluator.executor import Executor
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts

from components import breed_metrics, derived_metrics, model_gate
from components.sources import sample
from models import backbones, breed, examples, export, pixels
from pipeline import gates

SIDE = 32
EACH = 6  # photos of each breed
BREEDS = [drawn.name for drawn in sample.BREEDS] + ["saluki", "pug"]  # the last two: no photo
TRAINED_ON = {BREEDS[0]: 5, BREEDS[1]: 20, BREEDS[2]: 100}  # the others: none
EXACT = 1e-6
BINNED = 1e-3  # a score at the edge of a bin may be rounded into the next


def record(label: int, number: int) -> bytes:
    """A drawn photo; size and brightness go round the buckets."""
    image, _ = sample._breed_photo(sample.BREEDS[label], f"test_{label}_{number}")
    return examples.serialize(
        {
            examples.PHOTO_ID: f"drawn/{label}/{number}",
            examples.ENCODED: pixels.encode(pixels.load(sample._jpeg(image), SIDE)),
            examples.LABEL: label,
            examples.BREED: BREEDS[label],
            examples.SOURCE: ("stanford", "tsinghua")[number % 2],
            examples.ORIGINAL_WIDTH: (100, 300, 600, 1100)[number % 4],
            examples.ORIGINAL_HEIGHT: 90,
            examples.BRIGHTNESS: (0.2, 0.5, 0.8)[label % 3],
        }
    )


@dataclasses.dataclass(frozen=True)
class Measured:
    """Raw scores [N, C] of two models on the same photos, and TFMA's evaluations of them."""

    labels: np.ndarray
    student: np.ndarray
    teacher: np.ndarray
    beside: str  # the student, the teacher as baseline
    alone: str  # the student, with intervals

    @property
    def top(self) -> np.ndarray:
        return self.student.argmax(axis=1)


def trained(folder: Path, images: np.ndarray, labels: np.ndarray, seed: int) -> Path:
    """A small net that has looked at every other photo for a while; returns its artifact."""
    keras.utils.set_random_seed(seed)
    net = breed.classifier(backbones.get("small_cnn").build(SIDE), SIDE, labels, len(BREEDS))
    net.compile(
        keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    net.fit(images[::2], labels[::2], batch_size=10, epochs=12, verbose=0)
    export.BreedExport(net, SIDE, BREEDS).save(str(folder / "Format-Serving"))
    return folder


def artifact(kind: type, folder: Path) -> standard_artifacts.Model:
    made = kind()
    made.uri = str(folder)
    return made


def evaluated(records: Path, config: tfma.EvalConfig, folder: Path, *models: Path) -> str:
    """Runs TFX's Evaluator as the graph does."""
    given = artifact(standard_artifacts.Examples, records)
    given.split_names = '["test"]'
    kind = example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE
    examples_utils.set_payload_format(given, kind)
    inputs = {"examples": [given]}
    for key, model in zip(("model", "baseline_model"), models, strict=False):
        inputs[key] = [artifact(standard_artifacts.Model, model)]
    told = {
        "eval_config": json_format.MessageToJson(config, preserving_proto_field_name=True),
        "example_splits": '["test"]',
        "module_path": "components.breed_slices",
    }
    found = artifact(standard_artifacts.ModelEvaluation, folder)
    Executor().Do(inputs, {"evaluation": [found]}, told)
    return str(folder)


@pytest.fixture(scope="module")
def measured(tmp_path_factory, write_split) -> Measured:
    folder = tmp_path_factory.mktemp("breed")
    labels = np.repeat(np.arange(len(sample.BREEDS)), EACH)
    rows = [record(int(label), row % EACH) for row, label in enumerate(labels)]
    images = np.stack([pixels.decode(examples.encoded_image(row)) for row in rows])
    student, teacher = (
        trained(folder / str(seed), images.astype(np.float32), labels, seed) for seed in (0, 1)
    )
    told = [name for name, photos in TRAINED_ON.items() for _ in range(photos)]
    export.tell_training(str(student / "Format-Serving"), told)
    write_split(folder / "records" / "Split-test", rows)
    scores = [
        tf.saved_model.load(str(model / "Format-Serving"))
        .signatures["serving_default"](tf.constant(rows))["probabilities"]
        .numpy()
        for model in (student, teacher)
    ]
    both = gates.breed_eval_config(True, teacher=True)
    single = gates.breed_eval_config(False)
    beside = evaluated(folder / "records", both, folder / "beside", student, teacher)
    alone = evaluated(folder / "records", single, folder / "alone", student)
    return Measured(labels, *scores, beside, alone)


def independent(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """What scikit-learn says."""
    every, top = np.arange(len(BREEDS)), scores.argmax(axis=1)
    return {
        "examples": len(labels),
        "top1": metrics.accuracy_score(labels, top),
        "top5": metrics.top_k_accuracy_score(labels, scores, k=5, labels=every),
        "log_loss": metrics.log_loss(labels, scores.astype(np.float64), labels=every),
        "macro_f1": metrics.f1_score(labels, top, labels=np.unique(labels), average="macro"),
    }


def calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    sure, right = scores.max(axis=1).astype(np.float64), scores.argmax(axis=1) == labels
    bins = np.floor(10 * sure)
    return sum(
        abs(right[bins == one].sum() - sure[bins == one].sum()) for one in np.unique(bins)
    ) / len(labels)


def test_the_models_differ_from_each_other_and_from_chance(measured):
    figures = independent(measured.labels, measured.student)

    assert 0.2 < figures["top1"] < 0.98
    assert len(np.unique(np.floor(10 * measured.student.max(axis=1)))) >= 5
    assert (measured.top != measured.teacher.argmax(axis=1)).any()


@pytest.mark.parametrize("model", ["student", "teacher"])
def test_figures_of_both_models(measured, model):
    scores = getattr(measured, model)
    found = model_gate.evaluation_metrics(measured.beside)
    prefix = "baseline." if model == "teacher" else ""

    wanted = independent(measured.labels, scores)

    assert {name: found[prefix + name] for name in wanted} == pytest.approx(wanted, abs=EXACT)
    wanted = calibration_error(measured.labels, scores)
    assert found[f"{prefix}ece"] == pytest.approx(wanted, abs=BINNED)


def test_the_gate_reads_the_same_figures_with_intervals(measured):
    found = model_gate.evaluation_metrics(measured.alone)
    wanted = independent(measured.labels, measured.student)

    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=EXACT)
    # Twice the error of a share, of which 20 parts of the photos give an estimate.
    error = np.sqrt(wanted["top1"] * (1 - wanted["top1"]) / len(measured.labels))
    for end, sign in (("low", -1), ("high", 1)):
        width = sign * (found[f"top1_{end}"] - found["top1"])
        assert error < width < 4 * error
    assert {"macro_f1_low", "ece_high", "log_loss_low", "top5_high"} <= set(found)
    assert found["not_a_number"] == 0.0
    small = model_gate.evaluation_slices(measured.alone)["rarity:1-19"]
    assert not any(name.endswith(("_low", "_high")) for name in small)


def test_answers_that_are_no_numbers_are_counted_and_wrong(measured, write_split, tmp_path):
    net = breed.classifier(backbones.get("small_cnn").build(SIDE), SIDE, range(5), len(BREEDS))
    net.set_weights([np.full_like(weights, np.nan) for weights in net.get_weights()])
    export.BreedExport(net, SIDE, BREEDS).save(str(tmp_path / "model" / "Format-Serving"))
    rows = [record(label, number) for label in (1, 2) for number in range(EACH)]
    write_split(tmp_path / "records" / "Split-test", rows)
    config = gates.breed_eval_config(False)

    uri = evaluated(tmp_path / "records", config, tmp_path / "found", tmp_path / "model")

    found = model_gate.evaluation_metrics(uri)
    assert (found["not_a_number"], found["top1"], found["examples"]) == (1.0, 0.0, 2 * EACH)
    rules = {rule.name: model_gate.judge(rule, found) for rule in gates.RULES["breed"]}
    assert not rules["answers are numbers"]["passed"]
    assert not rules["floor"]["passed"]


def test_precision_and_recall_of_each_breed(measured):
    found = model_gate.evaluation_breeds(measured.beside)
    every = np.arange(len(BREEDS))
    of_class, recalled, _, _ = metrics.precision_recall_fscore_support(
        measured.labels, measured.top, labels=every, zero_division=np.nan
    )

    for label in every:
        for name, value in (("precision", of_class[label]), ("recall", recalled[label])):
            there = found.get(int(label), {}).get(name, np.nan)
            assert there == pytest.approx(value, abs=EXACT, nan_ok=True)


def plots(measured: Measured) -> dict:
    result = tfma.load_eval_result(measured.beside, model_name="candidate")
    return next(outputs[""] for key, outputs in result.plots if not key)


def test_the_confusion_matrix(measured):
    (matrix,) = plots(measured)[""]["multiClassConfusionMatrixAtThresholds"]["matrices"]
    found = np.zeros((len(BREEDS), len(BREEDS)))
    for entry in matrix["entries"]:
        place = entry.get("actualClassId", 0), entry.get("predictedClassId", 0)
        found[place] = entry["numWeightedExamples"]

    every = np.arange(len(BREEDS))
    assert (found == metrics.confusion_matrix(measured.labels, measured.top, labels=every)).all()


def test_the_calibration_plot_has_the_likeliest_breed_in_ten_bins(measured):
    buckets = plots(measured)["topK:1"]["calibrationHistogramBuckets"]["buckets"]
    photos = [bucket.get("numWeightedExamples", 0.0) for bucket in buckets]
    right = [bucket.get("totalWeightedLabel", 0.0) for bucket in buckets]

    bins = np.floor(10 * measured.student.max(axis=1)).astype(int)
    assert photos[1:11] == np.bincount(bins, minlength=10).tolist()  # the first is below 0
    hits = np.bincount(bins, measured.top == measured.labels, minlength=10)
    assert right[1:11] == hits.tolist()


def test_the_student_beside_its_teacher(measured):
    found = model_gate.of_teacher(model_gate.evaluation_metrics(measured.beside))
    one, other = measured.student.astype(float), measured.teacher.astype(float)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)

    assert found["cosine_to_teacher"] == pytest.approx(
        np.mean((one * other).sum(axis=1) / lengths), abs=EXACT
    )
    assert found["disagreement"] == pytest.approx(
        np.mean(measured.top != other.argmax(axis=1)), abs=EXACT
    )
    for name in ("cosine_to_teacher", "disagreement", "teacher.top1", "teacher.log_loss"):
        assert found[f"{name}_low"] <= found[name] <= found[f"{name}_high"]
    assert found["teacher.top1"] == pytest.approx(
        independent(measured.labels, other)["top1"], abs=EXACT
    )


def test_a_mean_of_merged_parts_counts_every_photo_once():
    # TFMA's ModelCosineSimilarity says 2/3 of the same parts.
    combine = derived_metrics._Mean(None, None, ["", "teacher"], breed_metrics.cosine)
    parts = [derived_metrics._Sum(1.0, 1), derived_metrics._Sum(0.0, 1)]

    assert combine.extract_output(combine.merge_accumulators(parts)) == {None: 0.5}


SLICES: dict[str, Callable[[int, int], bool]] = {
    "": lambda label, number: True,
    "source:tsinghua": lambda label, number: number % 2 == 1,
    f"breed:{BREEDS[3]}": lambda label, number: label == 3,
    "size:<256": lambda label, number: number % 4 == 0,
    "size:1024+": lambda label, number: number % 4 == 3,
    "brightness:middle": lambda label, number: label % 3 == 1,
    "rarity:<1": lambda label, number: label > 2,
    "rarity:1-19": lambda label, number: label == 0,
    "rarity:20-99": lambda label, number: label == 1,
    "rarity:100+": lambda label, number: label == 2,
}


@pytest.mark.parametrize("name", SLICES)
def test_slices_hold_their_photos(measured, name):
    here = np.array([SLICES[name](label, row % EACH) for row, label in enumerate(measured.labels)])
    for uri in (measured.beside, measured.alone):
        found = model_gate.evaluation_slices(uri)[name]

        wanted = independent(measured.labels[here], measured.student[here])
        assert {key: found[key] for key in wanted} == pytest.approx(wanted, abs=EXACT)


def test_every_slice_that_there_is(measured):
    found = model_gate.evaluation_slices(measured.beside)

    features = {name.partition(":")[0] for name in found}
    assert features == {"", "breed", "source", "size", "brightness", "rarity"}
    assert len(found) == 1 + len(sample.BREEDS) + 2 + 4 + 3 + 4


def test_macro_f1_by_hand():
    # Of label 0 two of three are right and one other is taken for it: 2 * 2 / (3 + 3). Of label 1
    # one of two is, and one other is taken for it: 2 * 1 / (2 + 2). Label 2 has no photo.
    matrix = {(0, 0): 2.0, (0, 1): 1.0, (1, 1): 1.0, (1, 0): 1.0}

    assert breed_metrics.macro_f1(matrix) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert breed_metrics.precision({(0, 0): 2.0, (0, 2): 1.0}) == {0: 1.0, 2: 0.0}
    assert breed_metrics.recall({(0, 0): 2.0, (0, 2): 1.0}) == {0: pytest.approx(2 / 3)}
    assert np.isnan(breed_metrics.macro_f1({}))
