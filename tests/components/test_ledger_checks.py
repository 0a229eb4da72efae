import random

import numpy as np
import pytest

from components import ledger_checks
from components.catalog import Photo
from components.sources.base import Reason
from components.sources.sample.dogs import BREEDS, make_dog
from components.sources.sample.drawing import draw_dog, make_pose
from components.sources.sample.scenes import Placed, photograph
from models import perceptual, pixels


def photo(number, split, sha256=None, views=("cropped", "uncropped"), **more):
    return Photo(
        f"s/{number}", "s", "u", 0, 1, sha256 or f"sha-{number}", 30, 20, split=split, views=views,
        **more,
    )  # fmt: skip


def of_dog(number, split, dog, **more):
    return photo(number, split, dog_id=dog, views=("individual",), **more)


def whole_set():
    return [
        photo(number, split, breed="pug")
        for number, split in enumerate(["train", "train", "val", "test"])
    ]


def drawn(seed):
    """A dog in a scene, as the built-in sample draws it."""
    rng = random.Random(seed)
    dog = draw_dog(make_dog(f"dog-{seed}", BREEDS[seed % len(BREEDS)]), make_pose(rng), 110)
    return np.asarray(photograph([Placed(dog, 80, 60)], (200, 150), rng))


def hashed(data):
    return perceptual.hash_of(pixels.glance(data, perceptual.SIDE)[0])


@pytest.fixture
def looked_at(encoded):
    """A photo with the hash of a real JPEG of the picture `seed`."""

    def make(number, split, seed, quality=90, **more):
        phash = hashed(encoded(drawn(seed), quality=quality))
        return photo(number, split, f"sha-{seed}-{quality}", phash=phash, breed="pug", **more)

    return make


def test_a_clean_split_has_no_leak(looked_at):
    dogs = [of_dog(10, "train", "a"), of_dog(11, "train", "a"), of_dog(12, "test", "b")]
    pictures = [looked_at(20 + n, split, n) for n, split in enumerate(["train", "val", "test"] * 3)]

    assert ledger_checks.leaks([*whole_set(), *dogs, *pictures]) == []


def test_a_dog_in_two_splits_is_a_leak_that_names_dog_splits_and_photos():
    (problem,) = ledger_checks.leaks([of_dog(1, "test", "a"), of_dog(2, "train", "a")])

    assert problem == "dog a stands in test (s/1) and in train (s/2)"


def test_a_dog_in_all_splits_is_one_leak():
    rows = [of_dog(n, split, "a") for n, split in enumerate(["train", "val", "test", "train"])]

    assert ledger_checks.leaks(rows) == [
        "dog a stands in test (s/2) and in train (s/0, s/3) and in val (s/1)"
    ]


def test_one_photo_in_two_splits_is_a_leak():
    (problem,) = ledger_checks.leaks(
        [photo(1, "val", "same", breed="pug"), photo(2, "train", "same", breed="pug")]
    )

    assert problem == "one photo stands in train (s/2) and in val (s/1)"


def test_a_picture_that_was_encoded_again_in_two_splits_is_a_leak(looked_at):
    copy = looked_at("copy", "test", 1, quality=30)
    rows = [looked_at("original", "train", 1), copy, looked_at("other", "val", 2)]

    (problem,) = ledger_checks.leaks([*whole_set(), *rows])

    assert problem == "one picture, copied, stands in test (s/copy) and in train (s/original)"


def test_a_leak_is_found_whatever_the_groups_of_the_ledger_say(looked_at):
    rows = [
        looked_at(1, "train", 1, group="s/1"),
        looked_at(2, "test", 1, quality=30, group="s/2"),
        looked_at(3, "val", 3, group="s/3"),
        looked_at(4, "val", 4, group="s/3"),
    ]

    (problem,) = ledger_checks.leaks(rows)

    assert problem == "one picture, copied, stands in test (s/2) and in train (s/1)"


def test_near_copies_in_one_split_are_no_leak(looked_at):
    copies = [looked_at(f"copy-{quality}", "train", 1, quality) for quality in (30, 60, 90)]

    assert ledger_checks.leaks([*whole_set(), *copies]) == []


def test_every_leak_is_named(looked_at):
    rows = [
        of_dog(1, "test", "a"),
        of_dog(2, "train", "a"),
        photo(3, "val", "same"),
        photo(4, "train", "same"),
        looked_at(5, "val", 1),
        looked_at(6, "test", 1, quality=30),
        looked_at(7, "val", 2),
        looked_at(8, "train", 2, quality=30),
    ]

    assert ledger_checks.leaks(rows) == [
        "dog a stands in test (s/1) and in train (s/2)",
        "one photo stands in train (s/4) and in val (s/3)",
        "one picture, copied, stands in test (s/6) and in val (s/5)",
        "one picture, copied, stands in train (s/8) and in val (s/7)",
    ]


def test_a_rejected_copy_is_no_leak(looked_at):
    rows = [
        photo(1, "val", "same"),
        photo(2, None, "same", reason=Reason.EXACT_COPY),
        looked_at(3, "val", 1),
        looked_at(4, None, 1, quality=30, reason=Reason.NEAR_COPY),
    ]

    assert ledger_checks.leaks(rows) == []


def test_a_long_list_is_cut():
    dogs = [of_dog(number, "train", "a") for number in range(8)]

    (problem,) = ledger_checks.leaks([*dogs, of_dog(8, "test", "a")])

    assert problem == (
        "dog a stands in test (s/8) and in train (s/0, s/1, s/2, s/3, s/4 and 3 more)"
    )


def test_equal_counts_are_no_problem():
    counts = {"train": 2, "val": 1, "test": 1}

    assert ledger_checks.count_mismatches(whole_set(), "cropped", counts) == []


@pytest.mark.parametrize("found", [1, 3])
def test_examples_that_are_missing_or_too_many_are_a_problem(found):
    counts = {"train": found, "val": 1, "test": 1}

    assert ledger_checks.count_mismatches(whole_set(), "cropped", counts) == [
        f"cropped: train has {found} Examples, the ledger says 2"
    ]


def test_a_split_without_examples_is_a_problem():
    counts = {"train": 2, "test": 1}

    assert ledger_checks.count_mismatches(whole_set(), "cropped", counts) == [
        "cropped: val has 0 Examples, the ledger says 1"
    ]


def test_an_empty_split_is_a_problem_though_the_counts_agree():
    rows = [photo for photo in whole_set() if photo.split != "val"]

    problems = ledger_checks.count_mismatches(rows, "cropped", {"train": 2, "val": 0, "test": 1})

    assert problems == ["cropped: the split val is empty: add photos"]


def test_photos_of_other_views_and_rejected_ones_do_not_count():
    others = [of_dog(10, "train", "a"), photo(11, None, breed="pug", reason=Reason.UNREADABLE)]
    counts = {"train": 2, "val": 1, "test": 1}

    assert ledger_checks.count_mismatches([*whole_set(), *others], "uncropped", counts) == []


def test_each_view_is_counted_by_itself():
    rows = [*whole_set(), of_dog(10, "train", "a"), of_dog(11, "val", "b"), of_dog(12, "test", "c")]
    one_each = {"train": 1, "val": 1, "test": 1}

    assert ledger_checks.count_mismatches(rows, "individual", one_each) == []
    assert ledger_checks.count_mismatches(rows, "cropped", one_each) == [
        "cropped: train has 1 Examples, the ledger says 2"
    ]
