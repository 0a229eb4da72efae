import gzip
import io
import tarfile

import pytest

from components.sources.base import DataError, Entry, Reason, tar_entries
from components.sources.stanford import Stanford, parse_boxes

BOX = (1, 2, 30, 40)


def xml(*boxes, filename="n02085620_7"):
    objects = "".join(
        f"<object><name>x</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    return f"<annotation><filename>{filename}</filename>{objects}</annotation>".encode()


def offers(files):
    entries = [Entry("stanford", name, name, 0, len(data)) for name, data in sorted(files.items())]
    return list(Stanford().offers(entries, lambda entry: files[entry.name]))


def offer(folder="n02085620-Chihuahua", annotation=None, ending=".jpg"):
    files = {f"Images/{folder}/n02085620_7{ending}": b"photo"}
    if annotation is not None:
        files[f"Annotation/{folder}/n02085620_7"] = annotation
    (only,) = offers(files)
    return only


@pytest.mark.parametrize(
    ("folder", "breed"),
    [
        ("n02086240-Shih-Tzu", "Shih-Tzu"),
        ("n02102318-cocker_spaniel", "cocker_spaniel"),
        ("n02099267-flat-coated_retriever", "flat-coated_retriever"),
        ("n02099429-curly-coated_retriever", "curly-coated_retriever"),
        ("n02089078-black-and-tan_coonhound", "black-and-tan_coonhound"),
    ],
)
def test_the_breed_follows_the_first_hyphen(folder, breed):
    assert offer(folder, xml(BOX)).breed == breed


def test_every_dog_of_a_photo_has_its_box():
    found = offer(annotation=xml(BOX, (5, 6, 7, 8)))

    assert found.bodies == ((1.0, 2.0, 30.0, 40.0), (5.0, 6.0, 7.0, 8.0))
    assert found.problem is None


def test_the_name_inside_the_annotation_does_not_count():
    assert offer(annotation=xml(BOX, filename="%s")).bodies == (BOX,)


@pytest.mark.parametrize("ending", [".jpg", ".jpeg", ".png", ".JPG"])
def test_a_photo_may_have_any_ending(ending):
    assert offer(annotation=xml(BOX), ending=ending).bodies == (BOX,)


@pytest.mark.parametrize(
    "annotation",
    [
        pytest.param(None, id="missing"),
        pytest.param(b"", id="empty"),
        pytest.param(xml(BOX)[:-20], id="cut"),
        pytest.param(b"\xff\xfe\x00 no xml", id="bytes"),
        pytest.param(xml(), id="without object"),
        pytest.param(xml((30, 2, 1, 40)), id="inside out"),
        pytest.param(xml((1, 40, 30, 2)), id="upside down"),
        pytest.param(xml((1, 2, 1, 40)), id="empty box"),
        pytest.param(xml((1, 2, "", 40)), id="missing edge"),
        pytest.param(xml((1, 2, "wide", 40)), id="no number"),
        pytest.param(xml(("nan", 2, 30, 40)), id="nan"),
        pytest.param(xml(BOX, (9, 9, 3, 3)), id="one of two is bad"),
        pytest.param(b'<?xml version="1.0" encoding="dogs"?><a/>', id="unknown encoding"),
        pytest.param(b"<annotation><object><name>x</name></object></annotation>", id="no box"),
    ],
)
def test_a_photo_without_a_usable_annotation_is_offered_as_a_problem(annotation):
    found = offer(annotation=annotation)

    assert found.problem == Reason.BAD_ANNOTATION
    assert found.bodies == ()
    assert found.breed == "Chihuahua"


def test_annotations_and_other_files_are_no_photos():
    files = {
        "Images/n02085620-Chihuahua/n02085620_7.jpg": b"photo",
        "Images/n02085620-Chihuahua/._n02085620_7.jpg": b"of a Mac",
        "Images/n02085620-Chihuahua/Thumbs.db": b"of Windows",
        "Annotation/n02085620-Chihuahua/n02085620_7": xml(BOX),
        "Annotation/n02085620-Chihuahua/n02085620_7.jpg": b"strange",
    }

    assert [it.entry.name for it in offers(files)] == ["Images/n02085620-Chihuahua/n02085620_7.jpg"]


def test_fractions_of_a_pixel_are_read():
    assert parse_boxes(xml((1.5, 2, 30.25, 40))) == ((1.5, 2.0, 30.25, 40.0),)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["images.tar", "Images/a/b.jpg", "annotation.tar"], "both images.tar and Images/"),
        (["images.tar"], "neither annotation.tar nor Annotation/"),
        (["Annotation/a/b"], "neither images.tar nor Images/"),
    ],
)
def test_files_that_contradict_each_other_are_an_error(paths, names):
    with pytest.raises(DataError, match=names):
        Stanford().containers(paths)


def test_one_part_may_be_packed_and_the_other_unpacked():
    paths = ["Images/a/b.jpg", "annotation.tar"]

    assert Stanford().containers(paths) == paths


@pytest.fixture
def archive():
    """Three members of 600 bytes: each a block of header and two of data, 1,536 bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(3):
            member = tarfile.TarInfo(f"Images/n1-x/{number}.jpg")
            member.size = 600
            tar.addfile(member, io.BytesIO(bytes([number]) * 600))
    return buffer.getvalue()


def listed(path, data):
    path.write_bytes(data)
    return list(tar_entries("stanford", "stanford/images.tar", str(path)))


def test_members_of_an_archive_are_found_where_they_lie(archive, tmp_path):
    entries = listed(tmp_path / "images.tar", archive)

    assert [entry.name for entry in entries] == [f"Images/n1-x/{n}.jpg" for n in range(3)]
    for number, entry in enumerate(entries):
        assert archive[entry.offset : entry.offset + entry.size] == bytes([number]) * 600
        assert entry.container == "stanford/images.tar"


def damaged(data, place):
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(gzip.compress, id="compressed"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"<html>not found</html>" * 100, id="a web page"),
        pytest.param(lambda data: data[:900], id="cut inside a photo"),
        pytest.param(lambda data: data[: 1536 + 512 + 600], id="cut after a photo"),
        pytest.param(lambda data: data[: 2 * 1536], id="cut between photos"),
        pytest.param(lambda data: data[: 1536 + 100], id="cut inside a header"),
        pytest.param(lambda data: damaged(data, 10), id="first header damaged"),
        pytest.param(lambda data: damaged(data, 1536 + 10), id="second header damaged"),
    ],
)
def test_an_archive_that_is_not_whole_is_an_error_that_names_it(spoil, archive, tmp_path):
    with pytest.raises(DataError, match=r"images\.tar: expected a whole, uncompressed tar"):
        listed(tmp_path / "images.tar", spoil(archive))
