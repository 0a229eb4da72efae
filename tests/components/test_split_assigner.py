import csv
import dataclasses
import io
from collections import Counter

import pytest

from components import split_assigner
from components.catalog import SPLITS, Photo
from components.sources.base import Reason


def photo(number, **more):
    return Photo(f"s/{number}.jpg", "s", f"s/{number}.jpg", 0, 1, f"sha-{number}", 30, 20, **more)


def splits(photos):
    return {row.photo_id: row.split for row in map(split_assigner.assign, photos)}


def test_all_photos_of_a_dog_go_to_one_split():
    photos = [photo(number, dog_id=f"dogs/{number // 7}") for number in range(700)]

    of_dog = {}
    for row in map(split_assigner.assign, photos):
        of_dog.setdefault(row.dog_id, set()).add(row.split)

    assert {len(found) for found in of_dog.values()} == {1}
    assert {split for found in of_dog.values() for split in found} == set(SPLITS)


def test_adding_photos_never_moves_one():
    few = [photo(number, breed="pug") for number in range(0, 500, 5)]
    many = [photo(number, breed="pug") for number in range(500)]

    before, after = splits(few), splits(many[::-1])

    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize(
    ("shares", "kind"),
    [
        (split_assigner.BREED_SHARES, {"breed": "pug"}),
        (split_assigner.DOG_SHARES, {"dog_id": "dogs/{}"}),
    ],
)
def test_shares_are_met_over_ten_thousand(shares, kind):
    photos = [
        photo(number, **{name: text.format(number) for name, text in kind.items()})
        for number in range(10_000)
    ]

    counts = Counter(splits(photos).values())

    # The standard deviation of a share is 0.005 at the most.
    for split, share in zip(SPLITS, shares, strict=True):
        assert counts[split] / 10_000 == pytest.approx(share, abs=0.015)


def test_the_shares_are_whole():
    assert sum(split_assigner.BREED_SHARES) == pytest.approx(1.0)
    assert sum(split_assigner.DOG_SHARES) == pytest.approx(1.0)


def test_a_split_is_known_for_ever():
    # sha256("a") starts with ca, sha256("b") with 3e, sha256("hello") with 2c: 0.79, 0.24, 0.17.
    halves = (0.2, 0.5, 0.3)

    assert split_assigner.split_of("a", halves) == "test"
    assert split_assigner.split_of("b", halves) == "val"
    assert split_assigner.split_of("hello", halves) == "train"


def test_a_rejected_photo_gets_no_split():
    rejected = photo(1, breed="pug", reason=Reason.UNREADABLE)

    assert split_assigner.assign(rejected) == rejected


def test_the_manifest_lists_the_photos_of_its_view_and_split():
    rows = [
        photo(1, breed="black, tan", split="train"),
        photo(2, breed="pug", split="val"),
        photo(3, dog_id="dogs/rex", split="train"),
        photo(4, breed="pug", reason=Reason.UNREADABLE),
    ]

    breeds = split_assigner.manifest(rows, "cropped", "train")
    dogs = split_assigner.manifest(rows, "individual", "train")

    assert breeds == (
        "filename,label,source,uri,sha256,width,height\n"
        's/1.jpg,"black, tan",s,s/1.jpg,sha-1,30,20\n'
    )
    assert [row["label"] for row in csv.DictReader(io.StringIO(dogs))] == ["dogs/rex"]


def test_a_dog_of_known_breed_is_labelled_by_the_view():
    both = [dataclasses.replace(photo(1), breed="pug", dog_id="dogs/rex", split="test")]

    labels = {
        view: next(csv.DictReader(io.StringIO(split_assigner.manifest(both, view, "test"))))[
            "label"
        ]
        for view in ("uncropped", "individual")
    }

    assert labels == {"uncropped": "pug", "individual": "dogs/rex"}
