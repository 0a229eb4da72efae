"""Whole runs on photos of a user, judged by ML Metadata and by the files they leave."""

import hashlib
import json
import os
import shutil
import signal
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import gcs
import looked
import pytest
from runs import BASELINES, BREED_NODES, CROPPED, MATCH_NODES, RETRIEVAL_NODES, SCHEMAS, Project

from components.sources import sample
from models import backbones
from pipeline.metadata import Store

HOSTILE = ["<img src=x onerror=alert(1)>", 'it\'s "Rex" & {{ 7 * 7 }}', "\u202eכלב", "x" * 200]

# Those of the spoiled photos.
SPOILED_BREEDS = [
    name.partition("_")[0] for name in (sample.TRUNCATED_PHOTO, sample.PHOTO_WITH_BOX_OUTSIDE)
]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    sample.draw(folder)
    return folder


@pytest.fixture(scope="module")
def data(drawn: Path, tmp_path_factory) -> Path:
    """Thirty of the drawn dogs, two of the breeds, and photos that have to be rejected.

    Beside the folder lie the weights that training starts from.
    """
    folder = tmp_path_factory.mktemp("data") / "photos"
    (folder / "stanford").mkdir(parents=True)
    for name in ("images.tar", "annotation.tar"):
        with (
            tarfile.open(drawn / "stanford" / name) as whole,
            tarfile.open(folder / "stanford" / name, "w") as part,
        ):
            for member in whole:
                if any(breed in member.name for breed in SPOILED_BREEDS):
                    part.addfile(member, whole.extractfile(member))
    dogs = sorted((drawn / "individuals").iterdir())[:30]
    for dog, name in zip(dogs, [dog.name for dog in dogs[: -len(HOSTILE)]] + HOSTILE, strict=True):
        shutil.copytree(dog, folder / "individuals" / name)
    dogs = sorted((folder / "individuals").iterdir())
    good = sorted(dogs[0].iterdir())[0]
    (dogs[0] / "zz_cut.jpg").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (dogs[0] / "zz_text.jpg").write_text("this is not a photo")
    (dogs[0] / "zz_empty.jpg").write_bytes(b"")
    (dogs[0] / "zz_copy.jpg").write_bytes(good.read_bytes())
    (folder / "individuals" / "notes.txt").write_text("belongs to no source")
    start = backbones.get("small_cnn").build(64)
    start.layers[-1].save_weights(folder.with_name("start.weights.h5"))
    return folder


@pytest.fixture(scope="module")
def small(data: Path, tmp_path_factory) -> Project:
    """A finished run on the small data set, one epoch long."""
    project = Project.copy(tmp_path_factory.mktemp("small"))
    code, printed = project.run(*flags(data))
    assert code in (0, 3), printed
    return project


@pytest.fixture
def clone(small: Project, tmp_path) -> Iterator[Project]:
    """A fresh clone of the source that works in the output folder of the finished run.

    What it pushes goes again: with it the next run would have another baseline.
    """
    before = set(small.output.glob("serving/*/*"))
    yield Project.copy(tmp_path, small.output)
    for version in set(small.output.glob("serving/*/*")) - before:
        shutil.rmtree(version)


def flags(data: Path) -> list[str]:
    weights = str(data.with_name("start.weights.h5"))
    return [
        "--data", str(data), "--backbone", "small_cnn", "--weights", weights,
        "--image_size", "64", "--epochs", "1",
    ]  # fmt: skip


def test_the_report_of_a_run_shows_hostile_names_as_text(small):
    summary = small.summary()
    report = small.output / "runs" / summary["run_id"] / "report.html"

    with looked.browser() as opened:
        looked.check(opened, report.as_uri(), looked.PHONE)
    text = "".join(looked.Figures(report.read_text()).text)
    for dog in {p.dog_id for p in small.ledger() if p.dog_id and p.split == "test"}:
        assert dog in text


def test_a_rehearsal_of_the_compiled_file_in_a_bucket_comes_to_the_same(small, data, tmp_path):
    """The match model's part: photos, records, model and verdict lie in Cloud Storage."""
    vertex, root = tmp_path / "vertex", tmp_path / "root"
    photos = ("--data", "gs://bucket/photos")
    code, printed = small.kubeflow(
        "compile", "--output", str(vertex), "--pipeline_root", "gs://bucket/spotted",
        "--image", "europe-west4-docker.pkg.dev/shelter/spotted/spotted:1", *flags(data), *photos,
        "--individual", "--bless_anyway", "one epoch is no training",
    )  # fmt: skip
    assert code == 0, printed

    with gcs.serving(tmp_path / "gcs", "bucket") as server:
        gcs.upload(server, "bucket", data, "photos")
        code, printed = small.kubeflow(
            "rehearse", "--file", str(vertex / "pipeline.json"), *photos,
            "--root", "gs://bucket/root", **server.environment(),
        )  # fmt: skip

    assert code == 0, printed
    (work,) = vertex.glob("rehearsal-*")
    assert {path.name for path in work.iterdir()} == {"image", "logs", "rehearsal.log"}
    for name in server.names("bucket", "root/"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(server.objects["bucket", f"root/{name}"].data)
    (pushed,) = (root / "serving" / "match").iterdir()
    assert (pushed / "saved_model.pb").is_file()
    assert f"gs://bucket/root/serving/match/{pushed.name}" in printed
    store = Store(str(small.output / "metadata.sqlite"))
    gate = store.nodes(store.runs()[-1])["ModelGate_match"]
    local = Path(store.outputs(gate)["blessing"].uri, "verdict.json")
    there = root / "artifacts" / "ModelGate_match" / "blessing" / "verdict.json"
    found, wanted = (json.loads(path.read_text()) for path in (there, local))
    assert found["metrics"] == pytest.approx(wanted["metrics"], abs=1e-6)
    assert [r["passed"] for r in found["rules"]] == [r["passed"] for r in wanted["rules"]]
    records = root / "artifacts" / "ImageExampleGen_individual" / "examples"
    digests = {
        f"ImageExampleGen_individual/{path.relative_to(records)}": hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in records.rglob("*tfrecord*")
    }
    assert digests
    assert digests.items() <= small.records().items()


def test_every_photo_is_accounted_for(small, data):
    summary = small.summary()
    offered = len([path for path in (data / "individuals").glob("*/*") if path.is_file()])

    photos = summary["photos"]["individuals"]
    assert photos["offered"] == offered
    assert photos["reasons"] == {"unreadable": 3, "exact_copy": 1}
    assert photos["accepted"] == offered - 4
    assert summary["photos"]["stanford"]["reasons"] == {"unreadable": 1, "box_outside_frame": 1}
    for source in summary["photos"].values():
        assert source["offered"] == source["accepted"] + source["rejected"]
        assert source["rejected"] == sum(source["reasons"].values())
    assert summary["ignored_files"] == 1
    assert sum(summary["splits"]["individual"].values()) == photos["accepted"]
    accepted = summary["photos"]["stanford"]["accepted"]
    assert sum(summary["splits"]["cropped"].values()) == accepted


def ran(project: Project, data: Path, *more: str) -> set[str]:
    """The nodes that a run executes."""
    code, printed = project.run(*flags(data), *more)
    assert code in (0, 3), printed
    return project.executed()


def test_moved_photos_and_a_fresh_clone_with_other_comments_run_nothing(clone, data):
    moved = data.with_name("moved")
    for path in data.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    clone.append("models/match.py", "\n\n# says nothing\n")
    clone.append("components/retrieval_evaluator.py", "\n\n# says nothing\n")
    data.rename(moved)
    try:
        assert ran(clone, moved) == set()
    finally:
        moved.rename(data)


def test_an_edited_component_runs_again_with_what_follows(clone, data):
    clone.edit("components/retrieval_evaluator.py", "(1000, 10_000)", "(1000, 20_000)")

    assert ran(clone, data) == RETRIEVAL_NODES


def test_an_edited_model_is_trained_again_with_what_follows(clone, data):
    clone.edit("models/calibration.py", "STEPS = 50", "STEPS = 51")

    assert ran(clone, data) == MATCH_NODES


def test_another_crop_trains_the_breed_model_alone(clone, data):
    assert ran(clone, data, "--crop_margin", "0.1") == {
        *CROPPED, "DataGate", *BASELINES, *BREED_NODES,
    }  # fmt: skip


def test_a_new_verdict_on_the_same_data_trains_nothing(clone, data):
    clone.edit("schema/cropped.pbtxt", "max: 6.1", "max: 6.2")

    validation = {"ImportSchemaGen_cropped", "ExampleValidator_cropped", "DataGate"}
    assert ran(clone, data, "--allow_anomalies") == validation


def test_a_stage_flag_runs_its_nodes_only(small, data):
    code, printed = small.run(*flags(data), "--data_preprocessing")

    assert code == 0, printed
    states = {node["id"]: node["state"] for node in small.summary()["nodes"]}
    assert states["DatasetImporter"] == states["PhotoCatalog"] == "cached"
    assert states["SplitAssigner"] in ("run", "cached")
    # TFX takes over what does not depend on the stage, so the schemas too; all else is left out.
    reached = {"DatasetImporter", "PhotoCatalog", "SplitAssigner", *SCHEMAS}
    assert {states[name] for name in set(states) - reached} == {"skipped"}


def test_a_stage_on_records_of_another_size_names_the_stage_to_run_first(small, data):
    code, printed = small.run(*flags(data), "--image_size", "96", "--model_training")

    assert code == 2
    assert "image_size=64" in printed
    assert "--data_processing first" in printed


def test_nothing_is_trained_on_the_uncropped_view(small, data):
    code, printed = small.run(*flags(data), "--uncropped", "--model_training")

    assert code == 2
    assert "nothing is trained on --uncropped" in printed


def test_an_interrupted_run_keeps_nothing_of_the_running_node_and_goes_on(data, tmp_path):
    project = Project.copy(tmp_path)
    process = project.start(*flags(data), "--cropped", "--individual")
    for line in process.stdout:
        if "ImageExampleGen_individual" in line:  # StatisticsGen takes seconds
            break
    time.sleep(0.5)  # interrupt in the middle of a node, not between two
    process.send_signal(signal.SIGINT)
    process.communicate()

    assert process.returncode == 130
    store = Store(str(project.output / "metadata.sqlite"))
    node = store.nodes(store.runs()[0]).get("StatisticsGen_cropped")
    statistics = project.output / "artifacts" / "StatisticsGen_cropped" / "statistics"
    # A library that swallows the request lets its node end; the run then ends before the next one.
    finished = {str(node.execution)} if node and node.state == "run" else set()
    assert {path.name for path in statistics.glob("*")} == finished

    code, printed = project.run(*flags(data), "--data_processing")
    assert code == 0, printed
    states = {node["id"]: node["state"] for node in project.summary()["nodes"]}
    assert states["ImageExampleGen_individual"] == "cached"
    assert states["DataGate"] == "run"


def test_an_interrupted_training_goes_on_and_says_so(clone, data):
    command = (*flags(data), "--epochs", "30", "--model_training")  # the later flag counts
    first = clone.start(*command)
    while first.poll() is None and not list((clone.output / "training").glob("*/state.npz")):
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    printed, _ = first.communicate()

    assert first.returncode == 130, printed
    assert "the training of Trainer_breed_teacher is kept up to its last whole epoch" in printed

    second = clone.start(*command)
    on = next((line for line in second.stdout if "goes on after epoch" in line), "")
    second.send_signal(signal.SIGINT)
    second.communicate()

    assert "Trainer_breed_teacher … a training that was cut goes on after epoch" in on
    assert on.rstrip().endswith("/30")


def test_two_runs_on_one_output_folder_is_an_error(data, tmp_path):
    project = Project.copy(tmp_path)
    first = project.start(*flags(data))
    while not (project.output / ".lock").exists() or not list((project.output / "logs").glob("*")):
        time.sleep(0.1)

    code, printed = project.run(*flags(data))
    first.send_signal(signal.SIGINT)
    first.communicate()

    assert first.returncode == 130
    assert code == 2
    assert "another run" in printed
    assert str(first.pid) in printed
