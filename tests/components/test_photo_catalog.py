import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image
from told import numbers

from components import artifacts, catalog, copies, dataset, dataset_importer, photo_catalog
from components.catalog import Photo
from components.sources.base import DataError, Entry, Reason
from components.sources.registry import SOURCES
from models import perceptual, pixels, vocabulary

BREEDS = vocabulary.parse(
    "label,breed,stanford,tsinghua,austin\n"
    "0,Shih-Tzu,Shih-Tzu,Shih_Tzu,Shih Tzu\n"
    "1,pug,pug_dog,pug,Pug\n"
    ",mixed / unknown,,,Mixed Breed\n"
)
XML = (
    b"<annotation><object><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax>"
    b"</bndbox></object></annotation>"
)
TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


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
    data = encoded(picture(20, 30))
    row = photo(data, breed="pug", bodies=((0.0, 0.0, 30.0, 20.0),))
    phash = perceptual.hash_of(pixels.glance(data, perceptual.SIDE)[0])

    assert look(row) == dataclasses.replace(row, width=30, height=20, phash=phash)


def test_the_size_is_that_of_the_upright_photo(photo, look, picture, encoded):
    row = look(photo(encoded(picture(20, 30), exif=TURNED)))

    assert (row.width, row.height) == (20, 30)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_a_truncated_photo_is_unreadable(share, photo, look, picture, encoded):
    data = encoded(picture(200, 300))

    row = look(photo(data[: int(share * len(data))]))

    assert (row.reason, row.phash) == (Reason.UNREADABLE, "")
    assert row.detail


def test_a_photo_of_a_file_that_is_gone_is_unreadable(look):
    row = look(Photo("s/1.jpg", "s", "gone.jpg", 0, 9, "a"))

    assert row.reason == Reason.UNREADABLE
    assert "gone.jpg" in row.detail


def test_other_bytes_than_were_digested_end_the_run(photo, look, picture, encoded, tmp_path):
    row = photo(encoded(picture(20, 30)))
    (tmp_path / "held").write_bytes(bytes(100) + encoded(picture(20, 30, 1)))

    with pytest.raises(DataError, match="held is not what it was when the run began"):
        look(row)


def test_a_member_of_an_archive_that_inflates_no_more_ends_the_run(photo, look):
    with pytest.raises(DataError, match="held is not what it was when the run began"):
        look(photo(b"no deflate stream", unpacked=99))


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


@pytest.mark.parametrize("reason", [it for it in Reason if it != Reason.NOT_DOWNLOADED])
def test_a_reason_that_is_known_already_stays(reason, photo, look, picture, encoded):
    outside = ((0.0, 0.0, 99.0, 99.0),)

    whole = look(photo(encoded(picture(20, 30)), bodies=outside, reason=reason, detail="why"))
    broken = look(photo(b"no photo", reason=reason, detail="why"))

    assert whole.reason == broken.reason == reason
    assert whole.detail == broken.detail == "why"
    assert (whole.width, whole.height) == (30, 20)
    assert (broken.width, broken.height) == (0, 0)


def test_a_photo_that_was_not_downloaded_is_not_read(photo, look, picture, encoded):
    row = photo(encoded(picture(20, 30)), reason=Reason.NOT_DOWNLOADED, detail="404")

    assert look(row) == row


def painted(kind, picture):
    """A 30 x 20 picture that is no plain JPEG: the Pillow image, its format and its options."""
    image = Image.fromarray(picture(20, 30, 5))
    deep = np.asarray(image.convert("L"), np.uint16) * 257
    return {
        "a PNG": (image, "PNG", {}),
        "a WebP": (image, "WEBP", {}),
        "CMYK": (image.convert("CMYK"), "JPEG", {}),
        "a palette": (image.convert("P"), "PNG", {}),
        "a transparent palette": (image.convert("P"), "PNG", {"transparency": 0}),
        "16 bits": (Image.fromarray(deep), "PNG", {}),
        "grey": (image.convert("L"), "JPEG", {}),
        "grey with alpha": (image.convert("LA"), "PNG", {}),
        "black and white": (image.convert("1"), "PNG", {}),
        "a progressive JPEG": (image, "JPEG", {"progressive": True}),
        "turned by EXIF": (image.transpose(Image.Transpose.ROTATE_90), "JPEG", {"exif": TURNED}),
        "a turned PNG": (image.transpose(Image.Transpose.ROTATE_90), "PNG", {"exif": TURNED}),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "a PNG",
        "a WebP",
        "CMYK",
        "a palette",
        "a transparent palette",
        "16 bits",
        "grey",
        "grey with alpha",
        "black and white",
        "a progressive JPEG",
        "turned by EXIF",
        "a turned PNG",
    ],
)
def test_a_photo_named_jpg_is_accepted_whatever_it_holds(kind, catalogue, picture, encoded):
    image, encoding, options = painted(kind, picture)

    (row,) = catalogue({"individuals/rex/1.jpg": encoded(image, encoding, **options)})

    assert (row.reason, row.detail) == (None, "")
    assert (row.width, row.height) == (30, 20)
    assert len(row.phash) == 64


def test_a_photo_that_is_turned_by_exif_has_the_hash_of_the_upright_one(
    catalogue, picture, encoded
):
    image = picture(200, 300, 5)

    upright, turned = catalogue(
        {
            "individuals/ada/1.png": encoded(image, "PNG"),
            "individuals/rex/1.png": encoded(np.rot90(image), "PNG", exif=TURNED),
        }
    )

    assert (turned.width, turned.height) == (upright.width, upright.height) == (300, 200)
    assert turned.phash == upright.phash


@pytest.fixture
def catalogue(tmp_path):
    """Writes files of a data folder, by path, and gives the row of each photo, looked at."""

    def make(files):
        folder = tmp_path / "data"
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        entries, _ = dataset.entries(str(folder), dataset.read_dataset(str(folder)))
        reader = dataset.Reader(str(folder))
        offered = photo_catalog.list_photos(entries, BREEDS, str(folder))
        return [photo_catalog.look(row, reader) for row in offered]

    return make


@pytest.fixture
def stanford(tmp_path):
    def make(*folders, annotations=None):
        entries = []
        for folder in folders:
            files = {f"Images/{folder}/n1_1.jpg": b"photo"}
            files[f"Annotation/{folder}/n1_1"] = (annotations or {}).get(folder, XML)
            for name, data in files.items():
                path = tmp_path / "stanford" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
                digest = hashlib.sha256(data).hexdigest()
                entries.append(Entry("stanford", name, f"stanford/{name}", 0, len(data), digest))
        return photo_catalog.list_photos(entries, BREEDS, str(tmp_path))

    return make


def test_a_breed_gets_its_canonical_name(stanford):
    (photo,) = stanford("n1-pug_dog")

    assert photo.photo_id == "stanford/Images/n1-pug_dog/n1_1.jpg"
    assert (photo.breed, photo.reason, photo.split) == ("pug", None, None)
    assert (photo.unlisted, photo.listed, photo.group) == ("", None, None)
    assert photo.views == ("cropped", "uncropped")
    assert photo.bodies == ((1.0, 2.0, 9.0, 8.0),)
    assert photo.licence


def test_a_breed_that_the_vocabulary_does_not_have_is_a_reason(stanford):
    known, unknown = stanford("n1-Shih-Tzu", "n2-wolf")

    assert (known.breed, known.reason) == ("Shih-Tzu", None)
    assert (unknown.breed, unknown.reason) == (None, Reason.UNKNOWN_BREED)
    assert (known.unlisted, unknown.unlisted) == ("", "wolf")
    assert "wolf" in unknown.detail


def test_a_folder_that_names_no_breed_is_an_unknown_breed(stanford):
    (photo,) = stanford("n02085620")

    assert photo.reason == Reason.UNKNOWN_BREED


def test_what_a_source_finds_wrong_is_a_reason(stanford):
    xml = b"<annotation></annotation>"

    good, bad = stanford("n1-pug_dog", "n2-Shih-Tzu", annotations={"n2-Shih-Tzu": xml})

    assert good.reason is None
    assert bad.reason == Reason.BAD_ANNOTATION
    assert bad.detail == "Annotation/n2-Shih-Tzu/n1_1 has no box that can be read"


def test_what_a_source_finds_wrong_comes_before_an_unknown_breed(stanford):
    (photo,) = stanford("n1-wolf", annotations={"n1-wolf": b"<annotation></annotation>"})

    assert (photo.reason, photo.unlisted) == (Reason.BAD_ANNOTATION, "wolf")


def test_sources_are_listed_by_name_and_dogs_are_known(tmp_path):
    entries = [
        Entry("individuals", "rex/1.jpg", "individuals/rex/1.jpg", 0, 1, "a"),
        Entry("individuals", "rex/2.jpg", "individuals/rex/2.jpg", 0, 1, "b"),
    ]

    photos = photo_catalog.list_photos(entries, BREEDS, str(tmp_path))

    assert [photo.dog_id for photo in photos] == ["individuals/rex"] * 2
    assert [photo.breed for photo in photos] == [None, None]
    assert [photo.unlisted for photo in photos] == ["", ""]
    assert [photo.views for photo in photos] == [("individual",)] * 2


def test_every_source_says_which_views_its_photos_stand_in(tmp_path):
    entries = [
        Entry("breeds", "pug/1.jpg", "breeds/pug/1.jpg", 0, 1, "a"),
        Entry("individuals", "rex/1.jpg", "individuals/rex/1.jpg", 0, 1, "b"),
    ]

    photos = photo_catalog.list_photos(entries, BREEDS, str(tmp_path))

    assert [photo.source for photo in photos] == ["breeds", "individuals"]
    for photo in photos:
        assert photo.views == SOURCES[photo.source].views
        assert photo.licence == SOURCES[photo.source].licence


@pytest.mark.parametrize("folder", ["pug", "PUG", "Pug", "pug_dog", "pug-dog"])
def test_a_folder_of_breeds_may_spell_its_breed_as_the_table_or_a_source_does(
    folder, catalogue, picture, encoded
):
    (row,) = catalogue({f"breeds/{folder}/1.jpg": encoded(picture(20, 30))})

    assert row.photo_id == f"breeds/{folder}/1.jpg"
    assert (row.breed, row.reason, row.unlisted) == ("pug", None, "")
    assert (row.dog_id, row.bodies) == (None, ())


@pytest.mark.parametrize("folder", ["wolf", "mixed - unknown", "Mixed Breed"])
def test_a_folder_of_breeds_that_names_none_is_an_unknown_breed(
    folder, catalogue, picture, encoded
):
    (row,) = catalogue({f"breeds/{folder}/1.jpg": encoded(picture(20, 30))})

    assert (row.breed, row.reason) == (None, Reason.UNKNOWN_BREED)
    assert (row.unlisted, row.detail) == (folder, f"breed {folder!r}")


def austin_tables(breeds):
    """The two tables of the shelter: a dog `A<n>` of each breed with a photo at .../<n>.jpg."""
    dogs, photos = "AnimalInternal-ID,AnimalType,AnimalBreed\n", "AnimalInternal-ID,PhotoUrl\n"
    for number, breed in enumerate(breeds):
        dogs += f'A{number},Dog,"{breed}"\n'
        photos += f"A{number},https://example.org/{number}.jpg\n"
    return {
        "austin/apa_dogs.csv": dogs.encode(),
        "austin/apa_photos.csv": photos.encode(),
    }


@pytest.fixture
def shelter(catalogue, picture, encoded):
    """The row of a shelter dog's photo, of the breed that the shelter's table names."""

    def make(breed):
        photo = {"austin/photos/A0_1.jpg": encoded(picture(20, 30))}
        (row,) = catalogue(austin_tables([breed]) | photo)
        return row

    return make


def test_a_dog_of_known_breed_has_both(shelter):
    row = shelter("Pug")

    assert (row.dog_id, row.breed, row.unlisted) == ("austin/A0", "pug", "")
    assert (row.reason, row.views) == (None, ("individual",))


@pytest.mark.parametrize("breed", ["Laika", "Dachshund, Longhair"])
def test_a_dog_of_unknown_breed_stays_for_its_dog(breed, shelter):
    row = shelter(breed)

    assert (row.dog_id, row.breed, row.unlisted) == ("austin/A0", vocabulary.MIXED, breed)
    assert row.breed == "mixed / unknown"
    assert (row.reason, row.width) == (None, 30)


@pytest.mark.parametrize("breed", ["Pug/Mix", "Mixed Breed", "Shih Tzu/Pug"])
def test_a_mixed_dog_is_no_unknown_spelling(breed, shelter):
    row = shelter(breed)

    assert (row.breed, row.unlisted, row.reason) == (vocabulary.MIXED, "", None)


def test_a_dog_whose_breed_is_left_empty_stays_for_its_dog(shelter):
    row = shelter("")

    assert (row.dog_id, row.breed, row.unlisted) == ("austin/A0", None, "")
    assert row.reason is None


def test_a_photo_that_was_not_downloaded_keeps_its_reason(catalogue, picture, encoded):
    tables = austin_tables(["Pug", "Pug", "Laika"])
    photo = {"austin/photos/A0_1.jpg": encoded(picture(20, 30))}
    dead = {"austin/not_downloaded.csv": b"file,problem\nphotos/A1_1.jpg,404 Not Found\n"}

    here, gone, never = catalogue(tables | photo | dead)

    assert here.reason is None
    for row, why in ((gone, "404 Not Found"), (never, "no such file in photos/")):
        assert row.reason == Reason.NOT_DOWNLOADED
        assert row.detail == f"https://example.org/{row.dog_id[-1]}.jpg: {why}"
        assert (row.width, row.height, row.phash) == (0, 0, "")
    assert [row.photo_id for row in (gone, never)] == [
        "austin/photos/A1_1",
        "austin/photos/A2_1",
    ]


def test_photos_that_were_not_downloaded_are_no_copies_of_each_other(catalogue, picture, encoded):
    photo = {"austin/photos/A0_1.jpg": encoded(picture(20, 30))}

    rows = copies.mark(catalogue(austin_tables(["Pug"] * 4) | photo))

    assert [row.reason for row in rows] == [None, *[Reason.NOT_DOWNLOADED] * 3]


def test_the_node_writes_one_row_for_each_offered_photo(tmp_path, picture, encoded):
    data = tmp_path / "data"
    jpeg = encoded(picture(60, 80, 1))
    files = {
        "individuals/ada/1.jpg": encoded(picture(60, 80, 2)),
        "individuals/rex/1.jpg": jpeg,
        "individuals/rex/2.jpg": jpeg,
        "individuals/rex/3.jpg": jpeg[:99],
        "breeds/pug/1.jpg": encoded(picture(60, 80, 3)),
        "breeds/pug/2.jpg": jpeg,
        "breeds/wolf/1.jpg": encoded(picture(60, 80, 4)),
    }
    for path, content in files.items():
        (data / path).parent.mkdir(parents=True, exist_ok=True)
        (data / path).write_bytes(content)
    (tmp_path / "breeds.csv").write_text("label,breed,stanford,tsinghua,austin\n0,pug,,,\n")
    entries, photos = artifacts.Dataset(), artifacts.PhotoCatalog()
    entries.uri, photos.uri = str(tmp_path / "entries"), str(tmp_path / "photos")
    artifacts.tell(entries, data_version="0123456789ab")
    for name in ("entries", "photos"):
        (tmp_path / name).mkdir()
    found, _ = dataset.entries(str(data), dataset.read_dataset(str(data)))
    dataset_importer.write(entries.uri, found)

    executor = photo_catalog.PhotoCatalog.EXECUTOR_SPEC.executor_class()
    executor.Do(
        {"entries": [entries]},
        {"photos": [photos]},
        {"data": str(data), "breeds": str(tmp_path / "breeds.csv"), "code": "c"},
    )

    rows = list(catalog.read(photos.uri))
    assert {row.photo_id: row.reason for row in rows} == {
        "breeds/pug/1.jpg": None,
        "breeds/pug/2.jpg": Reason.EXACT_COPY,
        "breeds/wolf/1.jpg": Reason.UNKNOWN_BREED,
        "individuals/ada/1.jpg": None,
        "individuals/rex/1.jpg": None,
        "individuals/rex/2.jpg": Reason.EXACT_COPY,
        "individuals/rex/3.jpg": Reason.UNREADABLE,
    }
    assert len(rows) == len(files)
    assert numbers(photos, "offered", "accepted", "rejected") == (7, 3, 4)
    assert photos.get_string_custom_property("data_version") == "0123456789ab"
    assert not (tmp_path / "photos" / "looked-at").exists()
