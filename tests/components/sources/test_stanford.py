import io

import numpy as np
import pytest
import scipy.io

from components import archives
from components.sources.base import DataError, Entry, Reason
from components.sources.stanford import Stanford

BOX = (1.0, 2.0, 30.0, 40.0)


def xml(*boxes, filename="n02085620_7"):
    objects = "".join(
        f"<object><name>x</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin>"
        f"<xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>"
        for a, b, c, d in boxes
    )
    return f"<annotation><filename>{filename}</filename>{objects}</annotation>".encode()


def split_list(*names, **options):
    """A list as upstream has it: a cell array of names, with two columns beside it."""
    buffer = io.BytesIO()
    columns = {
        "file_list": np.array([[name] for name in names], object),
        "annotation_list": np.array([[name.partition(".")[0]] for name in names], object),
        "labels": np.ones((len(names), 1), np.uint8),
    }
    scipy.io.savemat(buffer, columns, **options)
    return buffer.getvalue()


def offers(files):
    entries = [
        Entry("stanford", name, "stanford/all.tar", 0, len(data)) for name, data in files.items()
    ]
    return list(Stanford().offers(entries, lambda entry: files[entry.name]))


def offer(folder="n02085620-Chihuahua", annotation=None, ending=".jpg"):
    """The offer of one photo, beside another that has its annotation."""
    files = {
        f"Images/{folder}/n02085620_7{ending}": b"photo",
        "Annotation/n02085620-Chihuahua/n02085620_8": xml(BOX),
    }
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

    assert found.bodies == (BOX, (5.0, 6.0, 7.0, 8.0))
    assert found.problem is None
    assert found.head_box is None


def test_a_box_outside_the_frame_is_offered_as_it_is():
    found = offer(annotation=xml((-3, 2, 90_000, 40)))

    assert found.bodies == ((-3.0, 2.0, 90_000.0, 40.0),)
    assert found.problem is None


def test_the_name_inside_the_annotation_does_not_count():
    assert offer(annotation=xml(BOX, filename="%s")).bodies == (BOX,)


@pytest.mark.parametrize("ending", [".jpg", ".jpeg", ".png", ".JPG"])
def test_a_photo_may_have_any_ending(ending):
    assert offer(annotation=xml(BOX), ending=ending).bodies == (BOX,)


@pytest.mark.parametrize(
    ("annotation", "detail"),
    [
        pytest.param(None, "no annotation", id="missing"),
        *(
            pytest.param(
                broken,
                "Annotation/n02085620-Chihuahua/n02085620_7 has no box that can be read",
                id=name,
            )
            for name, broken in [
                ("empty", b""),
                ("cut", xml(BOX)[:-20]),
                ("without object", xml()),
                ("inside out", xml((30, 2, 1, 40))),
                ("one of two is bad", xml(BOX, (9, 9, 3, 3))),
            ]
        ),
    ],
)
def test_a_photo_without_a_usable_annotation_is_offered_as_a_problem(annotation, detail):
    found = offer(annotation=annotation)

    assert found.problem == Reason.BAD_ANNOTATION
    assert found.detail == detail
    assert found.bodies == ()
    assert found.breed == "Chihuahua"


def test_an_annotation_belongs_to_the_photo_of_its_own_folder():
    first, second = offers(
        {
            "Annotation/n1-pug/n_1": xml(BOX),
            "Annotation/n2-chow/n_1": xml((5, 6, 7, 8)),
            "Images/n1-pug/n_1.jpg": b"photo",
            "Images/n2-chow/n_1.jpg": b"photo",
        }
    )

    assert first.bodies == (BOX,)
    assert second.bodies == ((5.0, 6.0, 7.0, 8.0),)


def test_photos_without_any_annotation_are_an_error_that_says_what_is_missing():
    with pytest.raises(DataError, match=r"no annotation: add annotation\.tar"):
        offers({"Images/n1-pug/n1_1.jpg": b"photo"})


def test_annotations_without_photos_are_an_error_that_says_what_to_add():
    with pytest.raises(DataError, match=r"no photo: add images\.tar"):
        offers({"Annotation/n1-pug/n1_1": xml(BOX)})


def test_split_lists_of_other_photos_are_an_error_that_names_one():
    mat = io.BytesIO()
    names = np.array([["n1-pug/n1_9.jpg"]], dtype=object).T
    scipy.io.savemat(mat, {"file_list": names})
    files = {"Annotation/n1-pug/n1_1": xml(BOX), "Images/n1-pug/n1_1.jpg": b"photo"}

    with pytest.raises(DataError, match="n1-pug/n1_9 first, and none of them is here"):
        offers(files | {"train_list.mat": mat.getvalue()})


@pytest.mark.parametrize("options", [{}, {"do_compression": True}], ids=["plain", "packed"])
@pytest.mark.parametrize("folder", ["", "lists/"])
def test_the_splits_of_the_lists_are_offered(folder, options):
    files = {
        "Annotation/n02085620-Chihuahua/n02085620_1": xml(BOX),
        "Images/n02085620-Chihuahua/n02085620_1.jpg": b"photo",
        "Images/n02085620-Chihuahua/n02085620_2.jpg": b"photo",
        "Images/n02085620-Chihuahua/n02085620_3.jpg": b"photo",
        "Images/n02099267-flat-coated_retriever/n02085620_1.jpg": b"photo",
        f"{folder}train_list.mat": split_list(
            "n02085620-Chihuahua/n02085620_1.jpg",
            "n02099267-flat-coated_retriever/n02085620_1.jpg",
            **options,
        ),
        f"{folder}test_list.mat": split_list("n02085620-Chihuahua/n02085620_2.jpg", **options),
    }

    found = offers(files)

    assert [it.listed for it in found] == ["train", "test", None, "train"]


def test_a_list_may_name_one_photo_or_none():
    files = {
        "Annotation/n1-pug/n1_1": xml(BOX),
        "Images/n1-pug/n1_1.jpg": b"photo",
        "train_list.mat": split_list("n1-pug/n1_1.jpg"),
        "test_list.mat": split_list(),
    }

    assert [it.listed for it in offers(files)] == ["train"]


def without_cells():
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"labels": np.ones((3, 1))})
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>404 not found</html>", id="web page"),
        pytest.param(bytes(2000), id="zeros"),
        pytest.param(split_list("a/b.jpg")[:-40], id="cut"),
        pytest.param(split_list("a/b.jpg", do_compression=True)[:-20], id="packed and cut"),
        pytest.param(without_cells(), id="another table"),
    ],
)
def test_a_damaged_list_is_an_error_that_names_it(data):
    files = {
        "Annotation/n1-pug/n1_1": xml(BOX),
        "Images/n1-pug/n1_1.jpg": b"photo",
        "train_list.mat": data,
    }

    with pytest.raises(DataError, match=r"stanford/all\.tar \(train_list\.mat\): no split list"):
        offers(files)


@pytest.mark.parametrize(
    ("name", "claimed"),
    [
        ("Images/n02085620-Chihuahua/n02085620_7.jpg", True),
        ("Images/n02105855-Shetland_sheepdog/n02105855_2933.JPEG", True),
        ("Annotation/n02085620-Chihuahua/n02085620_7", True),
        ("train_list.mat", True),
        ("test_list.mat", True),
        ("lists/train_list.mat", True),
        ("file_list.mat", False),
        ("Images/n02085620-Chihuahua/._n02085620_7.jpg", False),
        ("Images/n02085620-Chihuahua/Thumbs.db", False),
        ("Annotation/n02085620-Chihuahua/n02085620_7.jpg", False),
        ("Annotation/n02085620-Chihuahua/._n02085620_7", False),
        ("Annotation/n02085620-Chihuahua/.DS_Store", False),
        ("images/n02085620-Chihuahua/n02085620_7.jpg", False),
        ("n02085620-Chihuahua/n02085620_7.jpg", False),
        ("Images", False),
        ("Annotation", False),
        ("README", False),
        ("README.txt", False),
    ],
)
def test_it_claims_photos_annotations_and_lists(name, claimed):
    assert Stanford().claims(name) == claimed


@pytest.mark.parametrize(
    "name",
    [
        "Images/n02085620-Chihuahua/old/n02085620_7.jpg",
        "Annotation/n02085620-Chihuahua/old/n02085620_7",
    ],
)
def test_it_claims_nothing_that_lies_deeper(name):
    assert not Stanford().claims(name)


def test_three_archives_come_from_its_own_place():
    remotes = Stanford().remotes("data/stanford", "")

    home = "http://vision.stanford.edu/aditya86/ImageNetDogs"
    assert {remote.url: remote.path for remote in remotes} == {
        f"{home}/{name}": f"data/stanford/{name}"
        for name in ("annotation.tar", "images.tar", "lists.tar")
    }
    assert all(remote.check is archives.check for remote in remotes)


@pytest.mark.parametrize("mirror", ["https://mirror.example/dogs", "https://mirror.example/dogs/"])
def test_a_mirror_stands_for_its_place(mirror):
    urls = {remote.url for remote in Stanford().remotes("data/stanford", mirror)}

    assert urls == {
        f"https://mirror.example/dogs/{name}"
        for name in ("annotation.tar", "images.tar", "lists.tar")
    }
