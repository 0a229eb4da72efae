"""Whole runs on the built-in sample, as `make run` starts them."""

import shutil
from pathlib import Path

import pytest
from runs import EVERY_NODE, Project

from components import catalog
from pipeline.metadata import Store


@pytest.fixture(scope="module")
def sample_run(tmp_path_factory) -> tuple[Project, str]:
    """A finished run on the built-in sample, as `make run` starts it."""
    project = Project.copy(tmp_path_factory.mktemp("sample"))
    code, printed = project.run()
    assert code == 0, printed
    return project, printed


def test_the_sample_ends_with_both_models_pushed(sample_run):
    project, printed = sample_run
    summary = project.summary()

    assert {node["id"] for node in summary["nodes"]} == EVERY_NODE
    assert {node["state"] for node in summary["nodes"]} == {"run"}
    assert all(gate["passed"] for gate in summary["gates"])
    for path in summary["pushed"].values():
        assert (Path(path) / "saved_model.pb").is_file()
        assert path in printed


def test_pushed_models_answer_about_photos_they_never_saw(sample_run):
    import tensorflow as tf

    project, _ = sample_run
    pushed = project.summary()["pushed"]
    dogs = _test_dogs(project)
    breed = tf.saved_model.load(pushed["breed"]).signatures["classify"]
    match = tf.saved_model.load(pushed["match"]).signatures["compare"]

    first, second = (tf.constant([photos[0], photos[1]]) for photos in dogs[:2])
    same = match(image_bytes_a=first[:1], image_bytes_b=first[1:])["same_dog"].numpy()
    other = match(image_bytes_a=first[:1], image_bytes_b=second[:1])["same_dog"].numpy()
    classes = breed(image_bytes=first)["classes"].numpy()

    assert same[0] > other[0]
    assert classes.shape == (2, 5)


def _test_dogs(project: Project) -> list[list[bytes]]:
    store = Store(str(project.output / "metadata.sqlite"))
    node = store.nodes(store.runs()[0])["SplitAssigner"]
    (sample,) = (project.output / "sample").iterdir()
    dogs: dict[str, list[bytes]] = {}
    for photo in catalog.read(store.outputs(node)["splits"].uri):
        if photo.split == "test" and photo.dog_id:
            dogs.setdefault(photo.dog_id, []).append((sample / photo.uri).read_bytes())
    return list(dogs.values())


def test_a_second_run_takes_everything_from_the_cache(sample_run):
    project, _ = sample_run
    before = project.summary()

    code, printed = project.run()

    assert code == 0, printed
    assert project.executed() == set()
    after = project.summary()
    assert {node["state"] for node in after["nodes"]} == {"cached"}
    assert after["pushed"] == before["pushed"]
    assert after["breed"] == before["breed"]
    assert after["match"] == before["match"]


def test_what_is_served_is_what_the_newest_run_made(sample_run):
    """Runs A, B, A, B: each is compared with what served before it, and serves after it."""
    project, _ = sample_run
    first = project.summary()["pushed"]

    code, printed = project.run("--epochs", "25")
    assert code in (0, 3), printed
    other = project.summary()
    assert other["match"]["baseline.mAP"] > 0.5
    assert other["breed"]["baseline"]["top1"] > 0.5
    assert other["match"]["baseline.gallery"] == other["match"]["gallery"]

    for flags in ([], ["--epochs", "25"], []):
        code, printed = project.run(*flags)
        assert code in (0, 3), printed
        summary = project.summary()
        for model, path in summary["pushed"].items():
            if path is not None:
                versions = sorted(
                    Path(path).parent.iterdir(), key=lambda version: int(version.name)
                )
                assert Path(path) == versions[-1], f"{model}: another version is served"
    assert not any(name.startswith("Trainer") for name in project.executed())
    assert summary["pushed"] != first


def test_a_pushed_version_that_was_deleted_is_pushed_again(sample_run):
    project, _ = sample_run
    code, printed = project.run()
    deleted = Path(project.summary()["pushed"]["match"])
    shutil.rmtree(deleted.parent)

    code, printed = project.run()

    assert code == 0, printed
    assert Path(project.summary()["pushed"]["match"]).is_dir()
    assert "Pusher_match" in project.executed()
