import pytest

from components import archives
from components.sources.base import DataError, Entry, Reason
from components.sources.tsinghua import Tsinghua

BODY = (10.0, 20.0, 300.0, 400.0)
HEAD = (30.0, 40.0, 90.0, 110.0)
SMALL_BODY = (5.0, 6.0, 50.0, 60.0)
SMALL_HEAD = (7.0, 8.0, 20.0, 25.0)
AIREDALE = "200-n000008-Airedale"


def box(tag, edges):
    if edges is None:
        return ""
    named = zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True)
    return f"<{tag}>" + "".join(f"<{edge}>{at}</{edge}>" for edge, at in named) + f"</{tag}>"


def xml(*dogs):
    """An annotation of dogs, each a body and a head; None for a box that it lacks."""
    objects = "".join(
        f"<object><name>dog</name>{box('headbndbox', head)}{box('bodybndbox', body)}</object>"
        for body, head in dogs
    )
    return f"<annotation><filename>n107026.jpg</filename>{objects}</annotation>".encode()


def offers(files):
    entries = [
        Entry("tsinghua", name, "tsinghua/all.zip", 0, len(data)) for name, data in files.items()
    ]
    return list(Tsinghua().offers(entries, lambda entry: files[entry.name]))


def offer(annotation, folder=AIREDALE, name="n107026.jpg"):
    """The offer of one photo, beside another that has its annotation."""
    files = {
        f"low-resolution/{folder}/{name}": b"photo",
        f"Low-Annotations/{AIREDALE}/other.jpg.xml": xml((BODY, HEAD)),
    }
    if annotation is not None:
        files[f"Low-Annotations/{folder}/{name}.xml"] = annotation
    (only,) = offers(files)
    return only


@pytest.mark.parametrize(
    ("folder", "breed"),
    [
        ("200-n000008-Airedale", "Airedale"),
        ("1043-n000001-Shiba_Dog", "Shiba_Dog"),
        ("561-n000127-miniature_pinscher", "miniature_pinscher"),
        ("200-n000013-Shih-Tzu", "Shih-Tzu"),
        ("200-n000013-black-and-tan_coonhound", "black-and-tan_coonhound"),
        ("209-n000094-Fila Braziliero", "Fila Braziliero"),
    ],
)
def test_the_breed_follows_the_second_hyphen(folder, breed):
    assert offer(xml((BODY, HEAD)), folder).breed == breed


@pytest.mark.parametrize("name", ["n107026.jpg", "n107026.jpeg", "n107026.JPG", "n107026.png"])
def test_the_annotation_is_named_after_the_whole_file_name(name):
    found = offer(xml((BODY, HEAD)), name=name)

    assert found.bodies == (BODY,)
    assert found.head_box == HEAD
    assert found.problem is None


def test_two_photos_that_differ_by_their_ending_have_each_its_annotation():
    first, second = offers(
        {
            f"Low-Annotations/{AIREDALE}/n1.jpeg.xml": xml((SMALL_BODY, None)),
            f"Low-Annotations/{AIREDALE}/n1.jpg.xml": xml((BODY, None)),
            f"low-resolution/{AIREDALE}/n1.jpeg": b"photo",
            f"low-resolution/{AIREDALE}/n1.jpg": b"photo",
        }
    )

    assert first.bodies == (SMALL_BODY,)
    assert second.bodies == (BODY,)


@pytest.mark.parametrize(
    "dogs",
    [
        [(SMALL_BODY, SMALL_HEAD), (BODY, HEAD)],
        [(BODY, HEAD), (SMALL_BODY, SMALL_HEAD)],
        [(SMALL_BODY, SMALL_HEAD), (BODY, HEAD), (SMALL_BODY, SMALL_HEAD)],
    ],
)
def test_the_head_is_that_of_the_largest_body(dogs):
    found = offer(xml(*dogs))

    assert found.bodies == tuple(body for body, _ in dogs)
    assert found.head_box == HEAD


def test_the_head_is_not_the_largest_head():
    found = offer(xml((SMALL_BODY, (0, 0, 500, 500)), (BODY, HEAD)))

    assert found.head_box == HEAD


@pytest.mark.parametrize("head", [None, (90, 40, 30, 110), ("", 40, 90, 110)])
def test_a_head_that_is_missing_or_bad_is_no_problem(head):
    found = offer(xml((BODY, head)))

    assert found.bodies == (BODY,)
    assert found.head_box is None
    assert found.problem is None


def test_the_head_of_another_dog_does_not_stand_for_the_one_that_is_missing():
    found = offer(xml((SMALL_BODY, SMALL_HEAD), (BODY, None)))

    assert found.bodies == (SMALL_BODY, BODY)
    assert found.head_box is None


@pytest.mark.parametrize(
    ("annotation", "detail"),
    [
        pytest.param(None, "no annotation", id="missing"),
        *(
            pytest.param(
                broken,
                f"Low-Annotations/{AIREDALE}/n107026.jpg.xml has no body box that can be read",
                id=name,
            )
            for name, broken in [
                ("no dog", xml()),
                ("no body", xml((None, HEAD))),
                ("one of two has no body", xml((BODY, HEAD), (None, SMALL_HEAD))),
                ("bad body", xml(((300, 20, 10, 400), HEAD))),
                ("cut", xml((BODY, HEAD))[:-10]),
                ("another format", xml((BODY, HEAD)).replace(b"bodybndbox", b"bndbox")),
            ]
        ),
    ],
)
def test_a_photo_without_a_body_box_is_offered_as_a_problem(annotation, detail):
    found = offer(annotation)

    assert found.problem == Reason.BAD_ANNOTATION
    assert found.detail == detail
    assert found.bodies == ()
    assert found.head_box is None
    assert found.breed == "Airedale"


def test_photos_without_any_annotation_are_an_error_that_says_what_is_missing():
    with pytest.raises(DataError, match=r"no annotation: add low-annotations\.zip"):
        offers({f"low-resolution/{AIREDALE}/n1.jpg": b"photo"})


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("folder", ["", "TrainValSplit/"])
def test_the_validation_photos_are_its_test_split(folder, newline):
    train = f".//{AIREDALE}/n1.jpg{newline}.//209-n000094-Fila Braziliero/n1.jpg{newline}"
    files = {
        f"Low-Annotations/{AIREDALE}/n1.jpg.xml": xml((BODY, HEAD)),
        f"low-resolution/{AIREDALE}/n1.jpg": b"photo",
        f"low-resolution/{AIREDALE}/n2.jpeg": b"photo",
        f"low-resolution/{AIREDALE}/n3.jpg": b"photo",
        "low-resolution/209-n000094-Fila Braziliero/n1.jpg": b"photo",
        f"{folder}train.lst": train.encode(),
        f"{folder}validation.lst": f"{newline} .//{AIREDALE}/n2.jpeg ".encode(),
    }

    found = offers(files)

    assert [it.listed for it in found] == ["train", "test", None, "train"]


@pytest.mark.parametrize(
    ("name", "claimed"),
    [
        (f"low-resolution/{AIREDALE}/n107026.jpg", True),
        (f"low-resolution/{AIREDALE}/n107026.jpeg", True),
        (f"Low-Annotations/{AIREDALE}/n107026.jpg.xml", True),
        ("train.lst", True),
        ("validation.lst", True),
        (f"low-resolution/{AIREDALE}/._n107026.jpg", False),
        (f"low-resolution/{AIREDALE}/old/n107026.jpg", False),
        ("low-resolution/n107026.jpg", False),
        (f"Low-Annotations/{AIREDALE}/n107026.txt", False),
        (f"high-resolution/{AIREDALE}/n107026.jpg", False),
        ("test.lst", False),
        ("low-resolution", False),
        ("README.md", False),
        ("README", False),
    ],
)
def test_it_claims_photos_annotations_and_lists(name, claimed):
    assert Tsinghua().claims(name) == claimed


@pytest.mark.parametrize(
    "name",
    [
        f"Low-Annotations/{AIREDALE}/._n107026.jpg.xml",
        f"Low-Annotations/{AIREDALE}/old/n107026.jpg.xml",
    ],
)
def test_it_claims_nothing_that_is_deeper_or_hidden(name):
    assert not Tsinghua().claims(name)


def test_two_archives_come_from_their_own_places():
    remotes = Tsinghua().remotes("data/tsinghua", "")

    assert {remote.path: remote.url for remote in remotes} == {
        "data/tsinghua/low-annotations.zip": (
            "https://cg.cs.tsinghua.edu.cn/ThuDogs/low-annotations.zip"
        ),
        "data/tsinghua/low-resolution.zip": (
            "https://cloud.tsinghua.edu.cn/f/80013ef29c5f42728fc8/?dl=1"
        ),
    }
    assert all(remote.check is archives.check for remote in remotes)


@pytest.mark.parametrize("mirror", ["https://mirror.example/dogs", "https://mirror.example/dogs/"])
def test_a_mirror_stands_for_both_places(mirror):
    urls = {remote.url for remote in Tsinghua().remotes("data/tsinghua", mirror)}

    assert urls == {
        "https://mirror.example/dogs/low-annotations.zip",
        "https://mirror.example/dogs/low-resolution.zip",
    }
