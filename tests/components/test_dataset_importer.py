import json
import tarfile
import zipfile

import pytest

from components import artifacts, dataset, dataset_importer
from components.sources.base import DataError, Entry

PHOTO = b"photo " * 100


@pytest.fixture
def data(tmp_path):
    """Two photos on their own, two in archives, and five files that are nobody's."""
    folder = tmp_path / "data"
    (folder / "individuals" / "rex").mkdir(parents=True)
    for number in range(2):
        (folder / "individuals" / "rex" / f"{number}.jpg").write_bytes(PHOTO + bytes([number]))
    (folder / "individuals" / "notes.txt").write_text("not mine")
    (folder / "cats").mkdir()
    with zipfile.ZipFile(folder / "individuals" / "more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("individuals/bella/ü.jpg", "individuals/README.md", "__MACOSX/._ü.jpg"):
            archive.writestr(name, PHOTO)
    (folder / "breeds").mkdir()
    with tarfile.open(folder / "breeds" / "mine.tar", "w") as tar:
        tar.add(folder / "individuals" / "rex" / "0.jpg", "beagle/1.jpg")
        tar.add(folder / "individuals" / "notes.txt", "notes.txt")
    return folder


@pytest.fixture
def run(tmp_path):
    """Runs the node on a data folder that the runner has read."""

    def node(folder, found, digest=""):
        found.write(str(tmp_path / f"{digest or found.digest}.jsonl"))
        made = artifacts.Dataset()
        made.uri = str(tmp_path / "artifact")
        (tmp_path / "artifact").mkdir()
        executor = dataset_importer.DatasetImporter.EXECUTOR_SPEC.executor_class()
        parameters = {
            "data": str(folder),
            "listings": str(tmp_path),
            "digest": digest or found.digest,
            "code": "of the code",
        }
        executor.Do({}, {"entries": [made]}, parameters)
        return made

    return node


def test_entries_come_back_as_they_were_written(tmp_path):
    rows = [
        Entry("stanford", "Images/a/b.jpg", "stanford/images.tar", 512, 99, "ab12"),
        Entry("individuals", "Bärli 1/ü.jpg", "individuals/Bärli 1/ü.jpg", 0, 7, "cd34"),
        Entry("tsinghua", "low-resolution/a/b.jpg", "tsinghua/a.zip", 40, 70, "ef56", 99),
    ]

    dataset_importer.write(str(tmp_path), rows)

    assert dataset_importer.read(str(tmp_path)) == rows


def test_the_node_writes_every_entry_with_a_place_that_can_be_read(data, run):
    found = dataset.read_dataset(str(data))

    made = run(data, found)

    rows = dataset_importer.read(made.uri)
    assert rows == dataset.entries(str(data), found)[0]
    assert [(row.source, row.name) for row in rows] == [
        ("breeds", "beagle/1.jpg"),
        ("individuals", "bella/ü.jpg"),
        ("individuals", "rex/0.jpg"),
        ("individuals", "rex/1.jpg"),
    ]
    with dataset.Reader(str(data)) as reader:
        assert [reader.entry(row)[: len(PHOTO)] for row in rows] == [PHOTO] * 4


def test_the_node_counts_and_names_the_members_that_are_left_over(data, run):
    made = run(data, dataset.read_dataset(str(data)))

    with open(f"{made.uri}/{dataset_importer.IGNORED}", encoding="utf-8") as file:
        assert json.load(file) == [
            "breeds/mine.tar/notes.txt",
            "individuals/more.zip/individuals/README.md",
            "individuals/more.zip/__MACOSX/._ü.jpg",
        ]
    assert made.get_int_custom_property("ignored") == 3


def test_the_node_says_how_much_it_found_and_of_what(data, run):
    found = dataset.read_dataset(str(data))

    made = run(data, found)

    assert made.get_int_custom_property("files") == 4
    assert made.get_string_custom_property("digest") == found.digest
    assert made.get_string_custom_property("data_version") == found.digest[:12]


def test_a_photo_that_came_since_the_runner_read_the_folder_is_left_to_the_next_run(data, run):
    found = dataset.read_dataset(str(data))
    (data / "individuals" / "rex" / "2.jpg").write_bytes(PHOTO)

    assert run(data, found).get_int_custom_property("files") == 4


def test_an_archive_that_changed_since_the_runner_read_it_is_an_error_that_names_it(data, run):
    found = dataset.read_dataset(str(data))
    with zipfile.ZipFile(data / "individuals" / "more.zip", "a") as archive:
        archive.writestr("individuals/bella/2.jpg", PHOTO)

    with pytest.raises(DataError, match=r"individuals/more\.zip is not what it was"):
        run(data, found)


def test_a_listing_of_other_data_is_an_error(data, run):
    found = dataset.read_dataset(str(data))

    with pytest.raises(RuntimeError, match=r"0123\.jsonl is not the listing of 0123"):
        run(data, found, digest="0123")
