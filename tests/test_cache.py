"""Which nodes run again after an edit, and which do not, judged by ML Metadata.

Every test runs the data stages in a fresh clone of the source, on the output folder of one first
run: what it does not edit has to come from the cache.
"""

import os
import re
import shutil
from pathlib import Path

import pytest
from runs import CROPPED, DATA_NODES, INDIVIDUAL, SCHEMAS, Project

STAGES = ("data_extraction", "data_transformation", "data_preprocessing", "data_processing")
INGEST = ["--backbone", "small_cnn", "--image_size", "64", *(f"--{stage}" for stage in STAGES)]
RECORDS = {*CROPPED, *INDIVIDUAL, "DataGate"}


@pytest.fixture(scope="module")
def first(few_photos, tmp_path_factory) -> Project:
    """A finished ingestion."""
    project = Project.copy(tmp_path_factory.mktemp("first"))
    code, printed = project.run("--data", str(few_photos), *INGEST)
    assert code == 0, printed
    assert project.executed() == DATA_NODES | SCHEMAS
    return project


@pytest.fixture
def clone(first, tmp_path) -> Project:
    """A fresh clone of the source that works in the output folder of the first run."""
    (tmp_path / "clone").mkdir()
    return Project.copy(tmp_path / "clone", first.output)


@pytest.fixture
def own(few_photos, tmp_path) -> Path:
    """A copy of the data in another place, with the times of now."""
    return Path(shutil.copytree(few_photos, tmp_path / "moved", copy_function=shutil.copyfile))


def ran(project: Project, data: Path, *flags: str) -> set[str]:
    """The nodes that a run executes."""
    code, printed = project.run("--data", str(data), *(flags or INGEST))
    assert code == 0, printed
    return project.executed()


def change_a_pixel(photo: Path) -> None:
    """Another photo of the same size and time."""
    before = photo.stat()
    content = bytearray(photo.read_bytes())
    content[-20] ^= 1  # a bit of the last rows
    photo.write_bytes(content)
    os.utime(photo, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_fresh_clone_with_other_comments_docstrings_and_spaces_runs_nothing(clone, few_photos):
    clone.append("components/photo_catalog.py", "\n\n# says nothing\n")
    clone.edit("components/split_assigner.py", "BREED_SHARES = (", "BREED_SHARES  =  (")
    clone.edit("components/copies.py", '"""Copies of photos, across', '"""Copies across')
    clone.append("models/pixels.py", "# says nothing\n")
    clone.edit("models/perceptual.py", '"""A perceptual hash:', '"""The hash:')
    clone.append("schema/rules.pbtxt", "# says nothing\n")
    for view in ("cropped", "individual"):
        clone.append(f"schema/{view}.pbtxt", "\n# says nothing\n")
    clone.append("requirements.lock", "    # says nothing\n")

    assert ran(clone, few_photos) == set()


def test_moved_and_touched_photos_beside_files_of_no_source_run_nothing(clone, own):
    for path in own.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (own / "notes.txt").write_text("belongs to no source")
    (own / "breeds" / "pug" / "notes.txt").write_text("belongs to no photo")

    assert ran(clone, own) == set()


@pytest.mark.parametrize(
    ("file", "old", "new", "nodes"),
    [
        pytest.param(
            "components/image_example_gen.py", "SHARD = 500", "SHARD = 501", RECORDS,
            id="a component",
        ),
        pytest.param(
            "models/perceptual.py", "_FLAT = 3.0", "_FLAT = 3.1", DATA_NODES - {"DatasetImporter"},
            id="a function that a component imports",
        ),
        pytest.param(
            "components/statistics_checks.py", "_SIGMAS = 3", "_SIGMAS = 4", {"DataGate"},
            id="a function that the gate imports",
        ),
        pytest.param(
            "schema/cropped.pbtxt", "max: 6.1", "max: 6.2",
            {"ImportSchemaGen_cropped", "ExampleValidator_cropped", "DataGate"},
            id="a bound of a schema",
        ),
    ],
)  # fmt: skip
def test_an_edit_runs_the_nodes_that_read_it_and_what_follows(
    file, old, new, nodes, clone, few_photos
):
    clone.edit(file, old, new)

    assert ran(clone, few_photos) == nodes


def test_another_version_of_a_dependency_runs_everything(clone, few_photos):
    lock = (clone.folder / "requirements.lock").read_text()
    pin = re.search(r"^numpy==\S+", lock, re.MULTILINE)[0]
    clone.edit("requirements.lock", pin, f"{pin}.post1")

    assert ran(clone, few_photos) == DATA_NODES | SCHEMAS


@pytest.mark.parametrize(
    ("flags", "nodes"),
    [
        (["--crop_margin", "0.1"], {*CROPPED, "DataGate"}),
        (["--allow_anomalies"], {"DataGate"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_flag_runs_what_it_is_about_and_what_follows(flags, nodes, clone, few_photos):
    assert ran(clone, few_photos, *INGEST, *flags) == nodes


def test_a_pixel_changed_at_the_same_size_and_time_runs_all_that_reads_photos(clone, own):
    change_a_pixel(own / "individuals" / "dog-0" / "0.jpg")

    assert ran(clone, own) == DATA_NODES


def test_a_new_photo_runs_all_that_reads_photos(clone, own, picture, encoded):
    (own / "breeds" / "pug" / "new.jpg").write_bytes(encoded(picture(72, 96, 1000)))

    assert ran(clone, own) == DATA_NODES


def test_trusted_times_are_all_that_is_looked_at(clone, own):
    photo = own / "individuals" / "dog-1" / "0.jpg"
    trusting = ["--backbone", "small_cnn", "--data_extraction", "--trust_mtime"]
    assert ran(clone, own, *trusting) == set()  # in this place, read for the first time

    change_a_pixel(photo)
    assert ran(clone, own, *trusting) == set()

    os.utime(photo, (1_000_000_000, 1_000_000_000))
    assert ran(clone, own, *trusting) == {"DatasetImporter"}
