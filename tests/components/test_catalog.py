import dataclasses
import json

import pytest

from components import catalog
from components.catalog import Photo
from components.sources.base import Reason

FULL = Photo(
    photo_id="stanford/Images/a/b.jpg",
    source="stanford",
    uri="stanford/images.tar",
    offset=512,
    size=99,
    sha256="ab12",
    width=500,
    height=375,
    breed="Shih-Tzu",
    dog_id="individuals/Bärli",
    bodies=((1.0, 2.0, 30.5, 40.0), (0.0, 0.0, 100.0, 100.0)),
    head_box=(1.0, 2.0, 3.0, 4.0),
    licence="mine",
    unpacked=120,
    views=("cropped", "individual"),
    phash="0f" * 32,
    group="stanford/Images/a/a.jpg",
    listed="train",
    unlisted="Löwchen",
    split="val",
    detail="moved",
)
BARE = Photo("individuals/x/1.jpg", "individuals", "individuals/x/1.jpg", 0, 1, "cd34")


@pytest.mark.parametrize("photo", [FULL, BARE, dataclasses.replace(BARE, reason=Reason.EXACT_COPY)])
def test_a_row_comes_back_from_its_line(photo):
    line = photo.to_json()

    assert "\n" not in line
    assert Photo.from_json(line) == photo
    assert isinstance(Photo.from_json(line).reason, Reason | None)


def test_the_line_holds_the_whole_contract():
    row = json.loads(FULL.to_json())

    assert set(row) >= {
        "photo_id", "source", "uri", "sha256", "width", "height", "breed", "dog_id", "body_box",
        "head_box", "licence", "split", "reason", "views", "phash", "group", "listed", "unlisted",
        "unpacked", "detail",
    }  # fmt: skip
    assert row["body_box"] == [0.0, 0.0, 100.0, 100.0]


def test_the_body_box_is_that_of_the_largest_dog():
    assert FULL.body_box == (0.0, 0.0, 100.0, 100.0)
    assert BARE.body_box is None


@pytest.mark.parametrize("views", [(), ("individual",), ("cropped", "uncropped"), catalog.VIEWS])
def test_an_accepted_photo_stands_in_the_views_that_its_source_serves(views):
    photo = dataclasses.replace(BARE, views=views, split="train")

    assert tuple(view for view in catalog.VIEWS if catalog.in_view(photo, view)) == views


@pytest.mark.parametrize("reason", [None, Reason.NEAR_COPY])
def test_a_photo_without_a_split_stands_in_no_view(reason):
    photo = dataclasses.replace(FULL, views=catalog.VIEWS, split=None, reason=reason)

    assert not any(catalog.in_view(photo, view) for view in catalog.VIEWS)


def test_what_a_photo_shows_puts_it_in_no_view_that_its_source_does_not_serve():
    photo = dataclasses.replace(FULL, views=("individual",))

    assert photo.breed
    assert photo.bodies
    assert [view for view in catalog.VIEWS if catalog.in_view(photo, view)] == ["individual"]


def test_written_rows_are_read_back_in_the_order_of_the_parts(tmp_path):
    catalog.write(str(tmp_path), [BARE], "photos-00001.jsonl")
    catalog.write(str(tmp_path), [FULL, FULL], "photos-00000.jsonl")
    (tmp_path / "photos-00002.jsonl.partial").write_text("half a li")

    assert list(catalog.read(str(tmp_path))) == [FULL, FULL, BARE]


def test_a_part_that_is_written_again_replaces_the_first(tmp_path):
    catalog.write(str(tmp_path), [FULL, FULL])
    catalog.write(str(tmp_path), [BARE])

    assert list(catalog.read(str(tmp_path))) == [BARE]


def test_counts_add_up_by_source_and_reason():
    reasons = [None, Reason.UNREADABLE, Reason.EXACT_COPY, Reason.EXACT_COPY]
    rows = [
        dataclasses.replace(FULL, reason=reason, split=None if reason else "train")
        for reason in reasons
    ]

    counts = catalog.count([*rows, dataclasses.replace(BARE, split="val")])

    assert counts == {
        "stanford": {
            "offered": 4,
            "accepted": 1,
            "rejected": 3,
            "reasons": {"unreadable": 1, "exact_copy": 2},
        },
        "individuals": {"offered": 1, "accepted": 1, "rejected": 0, "reasons": {}},
    }
    for row in counts.values():
        assert row["offered"] == row["accepted"] + row["rejected"]
        assert row["rejected"] == sum(row["reasons"].values())


def test_a_row_without_split_or_reason_is_seen_in_the_counts():
    (row,) = catalog.count([dataclasses.replace(BARE, split=None)]).values()

    assert row["offered"] == 1
    assert row["accepted"] + row["rejected"] == 0


def test_a_dog_with_one_accepted_photo_can_not_be_matched():
    def of(dog, number, **more):
        return dataclasses.replace(BARE, photo_id=f"{dog}/{number}", dog_id=dog, **more)

    rows = [
        of("rex", 1, split="train"),
        of("rex", 2, split="train"),
        of("ada", 1, split="test"),
        of("ada", 2, reason=Reason.UNREADABLE),
        of("bo", 1, reason=Reason.UNREADABLE),
        of("cy", 1, split="val"),
        dataclasses.replace(BARE, split="train"),
    ]

    assert catalog.single_photo_dogs(rows) == ["ada", "cy"]


def test_spellings_that_the_vocabulary_lacks_are_counted_the_most_frequent_first():
    rows = [dataclasses.replace(BARE, unlisted=spelling) for spelling in ("Löwchen", "", "Laika")]
    others = [dataclasses.replace(FULL, unlisted="Laika", reason=Reason.UNKNOWN_BREED)] * 2

    counts = catalog.unknown_breeds([*rows, *others])

    assert list(counts.items()) == [
        ("stanford/Laika", 2),
        ("individuals/Löwchen", 1),
        ("individuals/Laika", 1),
    ]
