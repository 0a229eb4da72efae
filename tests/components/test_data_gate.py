import pytest

from components import data_gate
from components.catalog import Photo


def photo(number, split, sha256=None, **more):
    return Photo(
        f"s/{number}", "s", "u", 0, 1, sha256 or f"sha-{number}", 30, 20, split=split, **more
    )


def whole_set():
    return [
        photo(number, split, breed="pug")
        for number, split in enumerate(["train", "train", "val", "test"])
    ]


def test_a_clean_split_has_no_leak():
    dogs = [photo(10, "train", dog_id="a"), photo(11, "train", dog_id="a")]

    assert data_gate.leaks([*whole_set(), *dogs]) == []


def test_a_dog_in_two_splits_is_a_leak_that_names_dog_splits_and_photos():
    (problem,) = data_gate.leaks([photo(1, "test", dog_id="a"), photo(2, "train", dog_id="a")])

    assert problem == "dog a stands in test and train: s/1, s/2"


def test_one_photo_in_two_splits_is_a_leak():
    (problem,) = data_gate.leaks(
        [photo(1, "val", "same", breed="pug"), photo(2, "train", "same", breed="pug")]
    )

    assert "one photo stands in train and val: s/1, s/2" in problem


def test_a_rejected_copy_is_no_leak():
    assert data_gate.leaks([photo(1, "val", "same"), photo(2, None, "same")]) == []


def test_a_long_list_is_cut():
    dogs = [photo(number, "train", dog_id="a") for number in range(8)]

    (problem,) = data_gate.leaks([*dogs, photo(8, "test", dog_id="a")])

    assert problem.endswith("s/0, s/1, s/2, s/3, s/4 and 4 more")


def test_equal_counts_are_no_problem():
    counts = {"train": 2, "val": 1, "test": 1}

    assert data_gate.count_mismatches(whole_set(), "cropped", counts) == []


@pytest.mark.parametrize("found", [1, 3])
def test_examples_that_are_missing_or_too_many_are_a_problem(found):
    counts = {"train": found, "val": 1, "test": 1}

    assert data_gate.count_mismatches(whole_set(), "cropped", counts) == [
        f"cropped: train has {found} Examples, the ledger says 2"
    ]


def test_a_split_without_examples_is_a_problem():
    counts = {"train": 2, "test": 1}

    assert data_gate.count_mismatches(whole_set(), "cropped", counts) == [
        "cropped: val has 0 Examples, the ledger says 1"
    ]


def test_an_empty_split_is_a_problem_though_the_counts_agree():
    rows = [photo for photo in whole_set() if photo.split != "val"]

    problems = data_gate.count_mismatches(rows, "cropped", {"train": 2, "val": 0, "test": 1})

    assert problems == ["cropped: the split val is empty: add photos"]


def test_photos_of_other_views_and_rejected_ones_do_not_count():
    others = [photo(10, "train", dog_id="a"), photo(11, None, breed="pug")]
    counts = {"train": 2, "val": 1, "test": 1}

    assert data_gate.count_mismatches([*whole_set(), *others], "uncropped", counts) == []
