"""Whole runs on photos of a user, judged by ML Metadata and by the files they leave."""

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from runs import EVERY_NODE, MATCH_NODES, RETRIEVAL_NODES, SCHEMAS, Project


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    from components.sources import sample

    folder = tmp_path_factory.mktemp("drawn")
    sample.draw(folder)
    return folder


@pytest.fixture(scope="module")
def data(drawn: Path, tmp_path_factory) -> Path:
    """Thirty of the drawn dogs, the drawn breeds, and photos that have to be rejected."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    shutil.copytree(drawn / "stanford", folder / "stanford")
    for dog in sorted((drawn / "individuals").iterdir())[:30]:
        shutil.copytree(dog, folder / "individuals" / dog.name)
    dogs = sorted((folder / "individuals").iterdir())
    good = sorted(dogs[0].iterdir())[0]
    (dogs[0] / "zz_cut.jpg").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (dogs[0] / "zz_text.jpg").write_text("this is not a photo")
    (dogs[0] / "zz_empty.jpg").write_bytes(b"")
    (dogs[0] / "zz_copy.jpg").write_bytes(good.read_bytes())
    (folder / "individuals" / "notes.txt").write_text("belongs to no source")
    return folder


@pytest.fixture(scope="module")
def small(data: Path, tmp_path_factory) -> Project:
    """A finished run on the small data set, one epoch long."""
    project = Project.copy(tmp_path_factory.mktemp("small"))
    code, printed = project.run(*flags(data))
    assert code in (0, 3), printed
    return project


def flags(data: Path) -> list[str]:
    return ["--data", str(data), "--backbone", "small_cnn", "--image_size", "64", "--epochs", "1"]


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


def test_touching_and_moving_the_data_runs_nothing(small, data):
    moved = data.with_name("moved")
    for path in data.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    data.rename(moved)
    try:
        code, printed = small.run(*flags(moved))
    finally:
        moved.rename(data)

    assert code in (0, 3), printed
    assert small.executed() == set()


def test_an_edited_component_runs_again_with_what_follows(small, data):
    small.edit("components/retrieval_evaluator.py", "DRAWS = 100", "DRAWS = 101")

    code, printed = small.run(*flags(data))

    assert code in (0, 3), printed
    assert small.executed() == RETRIEVAL_NODES


def test_an_edited_model_is_trained_again_with_what_follows(small, data):
    small.edit("models/match.py", "steps: int = 50", "steps: int = 51")

    code, printed = small.run(*flags(data))

    assert code in (0, 3), printed
    assert small.executed() == MATCH_NODES


def test_a_changed_photo_runs_everything_that_reads_photos(small, data):
    photo = sorted((data / "individuals").glob("*/*.jpg"))[-1]
    before = photo.stat()
    content = bytearray(photo.read_bytes())
    content[-20] ^= 1  # a bit of the last rows: same size, and the time is set back
    photo.write_bytes(content)
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))

    code, printed = small.run(*flags(data))

    assert code in (0, 3), printed
    assert small.executed() == EVERY_NODE - SCHEMAS


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


def test_the_uncropped_view_passes_its_gate(small, data):
    code, printed = small.run(*flags(data), "--uncropped")

    assert code == 0, printed
    splits = small.summary()["splits"]["uncropped"]
    assert sum(splits.values()) == small.summary()["photos"]["stanford"]["accepted"]


def test_stages_run_one_after_another_each_on_the_one_before(data, tmp_path):
    project = Project.copy(tmp_path)

    code, printed = project.run(*flags(data), "--data_extraction")
    assert code == 0, printed
    code, printed = project.run(*flags(data), "--data_processing")
    assert code == 2
    assert "--data_transformation first" in printed

    for stage in ("--data_transformation", "--data_preprocessing", "--data_processing"):
        code, printed = project.run(*flags(data), stage)
        assert code == 0, printed


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
    statistics = project.output / "artifacts" / "StatisticsGen_cropped" / "statistics"
    assert not list(statistics.glob("*"))

    code, printed = project.run(*flags(data), "--data_processing")
    assert code == 0, printed
    states = {node["id"]: node["state"] for node in project.summary()["nodes"]}
    assert states["ImageExampleGen_individual"] == "cached"
    assert states["DataGate"] == "run"


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
