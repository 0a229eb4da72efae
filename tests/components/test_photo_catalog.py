import dataclasses
import hashlib

import pytest

from components import dataset, photo_catalog
from components.catalog import Photo
from components.sources.base import Entry, Reason
from models import vocabulary

BREEDS = vocabulary.parse("label,breed,stanford\n0,Shih-Tzu,Shih-Tzu\n1,pug,pug_dog\n")
XML = (
    b"<annotation><object><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax>"
    b"</bndbox></object></annotation>"
)


@pytest.fixture
def photo(tmp_path):
    """A row for bytes that are stored in the data folder, behind 100 others."""

    def make(data, **more):
        (tmp_path / "held").write_bytes(bytes(100) + data)
        digest = hashlib.sha256(data).hexdigest()
        return Photo("s/1.jpg", "s", "held", 100, len(data), digest, **more)

    return make


@pytest.fixture
def look(tmp_path):
    return lambda row: photo_catalog.look(row, dataset.Reader(str(tmp_path)))


def test_a_good_photo_gets_its_size_and_no_reason(photo, look, picture, encoded):
    row = photo(encoded(picture(20, 30)), breed="pug", bodies=((0.0, 0.0, 30.0, 20.0),))

    assert look(row) == dataclasses.replace(row, width=30, height=20)


def test_the_size_is_that_of_the_upright_photo(photo, look, picture, encoded):
    turned = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"

    row = look(photo(encoded(picture(20, 30), exif=turned)))

    assert (row.width, row.height) == (20, 30)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_photo_is_unreadable(share, photo, look, picture, encoded):
    data = encoded(picture(200, 300))

    row = look(photo(data[: int(share * len(data))]))

    assert row.reason == Reason.UNREADABLE


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((0.0, 0.0, 30.0, 20.0), None),
        ((-0.5, 0.0, 30.0, 20.0), Reason.BOX_OUTSIDE_FRAME),
        ((0.0, -1.0, 30.0, 20.0), Reason.BOX_OUTSIDE_FRAME),
        ((0.0, 0.0, 30.5, 20.0), Reason.BOX_OUTSIDE_FRAME),
        ((0.0, 0.0, 30.0, 21.0), Reason.BOX_OUTSIDE_FRAME),
        ((40.0, 0.0, 50.0, 20.0), Reason.BOX_OUTSIDE_FRAME),
    ],
)
def test_every_box_lies_inside_the_frame(box, reason, photo, look, picture, encoded):
    row = photo(encoded(picture(20, 30)), bodies=((1.0, 1.0, 5.0, 5.0), box))

    assert look(row).reason == reason


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_that_is_known_already_stays(reason, photo, look, picture, encoded):
    outside = ((0.0, 0.0, 99.0, 99.0),)

    whole = look(photo(encoded(picture(20, 30)), bodies=outside, reason=reason))
    broken = look(photo(b"no photo", reason=reason))

    assert whole.reason == broken.reason == reason
    assert (whole.width, whole.height) == (30, 20)
    assert (broken.width, broken.height) == (0, 0)


def row(number, sha256, reason=None):
    return Photo(f"s/{number}", "s", "u", 0, 1, sha256, reason=reason)


def test_the_first_of_equal_photos_is_kept():
    marked = photo_catalog.mark_copies([row(1, "a"), row(2, "b"), row(3, "a"), row(4, "a")])

    copy = Reason.EXACT_COPY
    assert [photo.reason for photo in marked] == [None, None, copy, copy]
    assert [photo.photo_id for photo in marked] == ["s/1", "s/2", "s/3", "s/4"]


def test_a_copy_of_a_rejected_photo_is_kept():
    bad = Reason.BAD_ANNOTATION

    marked = photo_catalog.mark_copies([row(1, "a", bad), row(2, "a"), row(3, "a", bad)])

    assert [photo.reason for photo in marked] == [bad, None, bad]


@pytest.fixture
def stanford(tmp_path):
    def make(*folders, annotated=True):
        entries = []
        for folder in folders:
            files = {f"Images/{folder}/n1_1.jpg": b"photo"}
            files |= {f"Annotation/{folder}/n1_1": XML} if annotated else {}
            for name, data in files.items():
                path = tmp_path / "stanford" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                held = f"stanford/{name}"
                entries.append(Entry("stanford", name, held, 0, len(data), held))
        return photo_catalog.list_photos(entries, BREEDS, str(tmp_path))

    return make


def test_a_breed_gets_its_canonical_name(stanford):
    (photo,) = stanford("n1-pug_dog")

    assert photo.photo_id == "stanford/Images/n1-pug_dog/n1_1.jpg"
    assert (photo.breed, photo.reason, photo.split) == ("pug", None, None)
    assert photo.bodies == ((1.0, 2.0, 9.0, 8.0),)
    assert photo.licence


def test_a_breed_that_the_vocabulary_does_not_have_is_a_reason(stanford):
    known, unknown = stanford("n1-Shih-Tzu", "n2-wolf")

    assert (known.breed, known.reason) == ("Shih-Tzu", None)
    assert (unknown.breed, unknown.reason) == (None, Reason.UNKNOWN_BREED)
    assert "wolf" in unknown.detail


def test_a_folder_that_names_no_breed_is_an_unknown_breed(stanford):
    (photo,) = stanford("n02085620")

    assert photo.reason == Reason.UNKNOWN_BREED


def test_what_a_source_finds_wrong_is_a_reason(stanford):
    (photo,) = stanford("n1-pug_dog", annotated=False)

    assert photo.reason == Reason.BAD_ANNOTATION


def test_sources_are_listed_by_name_and_dogs_are_known(tmp_path):
    entries = [
        Entry("individuals", "rex/1.jpg", "individuals/rex/1.jpg", 0, 1, "a"),
        Entry("individuals", "rex/2.jpg", "individuals/rex/2.jpg", 0, 1, "b"),
    ]

    photos = photo_catalog.list_photos(entries, BREEDS, str(tmp_path))

    assert [photo.dog_id for photo in photos] == ["individuals/rex"] * 2
    assert [photo.breed for photo in photos] == [None, None]
