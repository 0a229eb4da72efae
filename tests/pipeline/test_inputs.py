"""What a run reads, in places that are named by content."""

import dataclasses
import hashlib
import os
from pathlib import Path

import keras
import pytest
from planted import edit_schema

from components import dataset
from pipeline import inputs
from pipeline.settings import Settings, SettingsError

VIEWS = ("cropped", "uncropped", "individual")
HEAD = {
    "cropped": "# The cropped view",
    "uncropped": "# The uncropped view",
    "individual": "# The individual view",
}


@pytest.fixture
def edit(monkeypatch, tmp_path):
    """Edits a copy of the schemas, which runs then read: (file, old, new)."""

    def run(file: str, old: str, new: str) -> None:
        edit_schema(monkeypatch, tmp_path / "schema", file, old, new)

    return run


def place(folder: Path, view: str) -> str:
    return inputs._schema(str(folder / "inputs"), view)


@pytest.mark.parametrize("view", VIEWS)
def test_comments_in_a_schema_change_no_place(view, tmp_path, edit):
    before = place(tmp_path, view)

    edit(f"{view}.pbtxt", HEAD[view], f"# Says nothing.\n{HEAD[view]}")

    assert place(tmp_path, view) == before


@pytest.mark.parametrize("view", VIEWS)
def test_a_changed_bound_changes_the_place_of_its_schema_alone(view, tmp_path, edit):
    before = {name: place(tmp_path, name) for name in VIEWS}

    edit(f"{view}.pbtxt", "max: 1024", "max: 512")

    assert {name for name in VIEWS if place(tmp_path, name) != before[name]} == {view}


def test_a_place_holds_the_schema_as_it_is(tmp_path, edit):
    edit("cropped.pbtxt", "max: 1024", "max: 512")

    text = Path(place(tmp_path, "cropped")).read_text()

    assert text == (tmp_path / "schema" / "cropped.pbtxt").read_text()


@pytest.mark.parametrize("view", VIEWS)
def test_a_schema_that_names_a_domain_that_is_not_there_is_named(view, tmp_path, edit):
    edit(f"{view}.pbtxt", 'domain: "breed"', 'domain: "breeds"')

    with pytest.raises(SettingsError) as error:
        place(tmp_path, view)

    for words in (f"schema/{view}.pbtxt", "feature breed", "the domain breeds", "there are breed,"):
        assert words in str(error.value)


@pytest.mark.parametrize("view", VIEWS)
def test_a_schema_that_is_none_is_named(view, tmp_path, edit):
    edit(f"{view}.pbtxt", "type: BYTES", "type: TEXT")

    with pytest.raises(SettingsError, match=rf"schema/{view}\.pbtxt is no TFDV schema.*TEXT"):
        place(tmp_path, view)


def test_a_schema_that_is_no_text_is_named(tmp_path, edit):
    edit("cropped.pbtxt", "max: 1024", "max: 512")
    (tmp_path / "schema" / "cropped.pbtxt").write_bytes(b"\xff\xfe")

    with pytest.raises(SettingsError, match=r"schema/cropped\.pbtxt is no TFDV schema"):
        place(tmp_path, "cropped")


def test_a_schema_that_is_gone_is_named(tmp_path, edit):
    edit("cropped.pbtxt", "max: 1024", "max: 512")
    (tmp_path / "schema" / "cropped.pbtxt").unlink()

    with pytest.raises(SettingsError, match=r"schema/cropped\.pbtxt"):
        place(tmp_path, "cropped")


def test_rules_that_hold_something_else_are_named(edit):
    edit("rules.pbtxt", "severity: ERROR", "severity: FATAL")

    with pytest.raises(SettingsError, match=r"schema/rules\.pbtxt can't be read.*FATAL"):
        inputs._rules()


def test_a_student_of_another_backbone_has_a_place_of_its_own_weights(tmp_path, few_photos):
    own = tmp_path / "own.weights.h5"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]).save_weights(own)
    settings = Settings(
        str(few_photos), str(tmp_path / "output"), "mobilenet_v2", "none", 64, 1, 8,
        student="small_cnn", student_weights=str(own),
    )  # fmt: skip

    found = inputs.prepare(settings).inputs
    alone = inputs.prepare(dataclasses.replace(settings, student="mobilenet_v2")).inputs

    (copy,) = Path(found.student_weights).iterdir()
    assert copy.read_bytes() == own.read_bytes()
    assert found.student_weights_digest == hashlib.sha256(own.read_bytes()).hexdigest()
    assert (found.weights, alone.student_weights) == (None, None)


@pytest.mark.parametrize(
    ("flag", "changes"),
    [
        ("--match_start teacher", {"match_start": "teacher"}),
        ("--teacher nowhere", {"teacher": "nowhere"}),
    ],
)
def test_a_teacher_of_data_without_breeds_is_refused(flag, changes, tmp_path, few_photos):
    data = tmp_path / "photos"
    data.mkdir()
    (data / "individuals").symlink_to(few_photos / "individuals")
    settings = Settings(
        str(data), str(tmp_path / "output"), "small_cnn", "none", 64, 1, 8,
        stages=("data_extraction",), **changes,
    )  # fmt: skip

    with pytest.raises(SettingsError, match=f"{flag}: without the cropped view"):
        inputs.prepare(settings)


def test_the_listing_names_every_container_with_its_digest(tmp_path, few_photos):
    settings = Settings(str(few_photos), str(tmp_path / "output"), "small_cnn", "none", 64, 1, 8)

    found = inputs.prepare(settings).inputs

    listing = dataset.Dataset.read(os.path.join(found.listings, f"{found.digest}.jsonl"))
    listed = {item.path: item.sha256 for item in listing.containers}
    assert listed == {
        str(photo.relative_to(few_photos)): hashlib.sha256(photo.read_bytes()).hexdigest()
        for photo in few_photos.rglob("*.jpg")
    }
    assert listing.digest == found.digest
