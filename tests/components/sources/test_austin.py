import re

import pytest

from components.sources.austin import Austin
from components.sources.base import DataError, Entry, Reason

DOGS = (
    "AnimalID,AnimalInternal-ID,AnimalName,AnimalType,AnimalSex,AnimalCurrentWeightPounds,"
    "AnimalDOB,AnimalBreed,AnimalColor,AnimalPattern\n"
    'APA-A-1,101,Rex,Dog,M,60.5,20150401,"Retriever, Golden",Gold,NULL\n'
    'APA-A-2,102,"Bella ""Bee""",Dog,F,NULL,NULL,"Retriever, Yellow Labrador /Mix",Tan,Brindle\n'
    "APA-A-3,103,Tom,Cat,M,9,20190101,Domestic Shorthair,Grey,Tabby\n"
    "APA-A-4,104,NULL,Dog,F,30,20180505,NULL,Black,NULL\n"
)
PHOTOS = (
    "AnimalInternal-ID,PhotoUrl\n"
    "101,https://live-cdn.shelterluv.com/a/first.jpg\n"
    "102,https://www.shelterluv.com/b/only.png\n"
    "101,https://elsewhere.example/second.JPEG?width=500\n"
)


def offers(photos=(), dogs=DOGS, urls=PHOTOS, failed=None):
    """What is offered where these files lie in `photos/`, beside the tables."""
    tables = {"apa_dogs.csv": dogs, "apa_photos.csv": urls, "not_downloaded.csv": failed}
    files = {
        name: table if isinstance(table, bytes) else table.encode()
        for name, table in tables.items()
        if table is not None
    }
    files |= {f"photos/{name}": b"photo" for name in photos}
    entries = [Entry("austin", name, f"austin/{name}", 0, len(it)) for name, it in files.items()]
    return {
        offer.entry.name: offer
        for offer in Austin().offers(entries, lambda entry: files[entry.name])
    }


def remotes(folder, urls=PHOTOS, mirror=""):
    folder.mkdir(exist_ok=True)
    (folder / "apa_dogs.csv").write_text(DOGS)
    (folder / "apa_photos.csv").write_text(urls)
    return Austin().remotes(str(folder), mirror)


def url_list(*urls):
    return "AnimalInternal-ID,PhotoUrl\n" + "".join(f'7,"{url}"\n' for url in urls)


def test_a_photo_is_of_the_dog_that_its_name_begins_with():
    found = offers(["101_1.jpg", "101_2.jpeg", "102_1.png"])

    assert {name: (it.dog_id, it.breed, it.problem) for name, it in found.items()} == {
        "photos/101_1.jpg": ("austin/101", "Retriever, Golden", None),
        "photos/101_2.jpeg": ("austin/101", "Retriever, Golden", None),
        "photos/102_1.png": ("austin/102", "Retriever, Yellow Labrador /Mix", None),
    }


def test_the_dogs_are_joined_by_their_internal_id_wherever_its_column_stands():
    dogs = "AnimalBreed,AnimalInternal-ID,AnimalID\nBeagle,101,102\nPug,102,101\n"

    found = offers(["101_1.jpg"], dogs, url_list())

    assert found["photos/101_1.jpg"].breed == "Beagle"


def test_a_dog_whose_breed_is_null_has_none():
    found = offers(["104_1.jpg"])["photos/104_1.jpg"]

    assert found.dog_id == "austin/104"
    assert found.breed is None
    assert found.problem is None


@pytest.mark.parametrize("urls", [PHOTOS, "\ufeff" + PHOTOS, PHOTOS.replace("\n", "\r\n")])
@pytest.mark.parametrize("dogs", [DOGS, "\ufeff" + DOGS, DOGS.replace("\n", "\r\n")])
def test_tables_may_begin_with_a_mark_and_end_their_lines_in_any_way(dogs, urls):
    found = offers(["102_1.png"], dogs, urls)

    assert found["photos/102_1.png"].breed == "Retriever, Yellow Labrador /Mix"
    assert set(found) == {"photos/102_1.png", "photos/101_1", "photos/101_2"}


def test_what_a_table_holds_beside_its_columns_does_not_matter():
    dogs = "AnimalInternal-ID,AnimalBreed\n 101 , Beagle ,more,and more\n\n102\n"

    found = offers(["101_1.jpg", "102_1.jpg"], dogs, url_list())

    assert found["photos/101_1.jpg"].breed == "Beagle"
    assert found["photos/102_1.jpg"].dog_id == "austin/102"


def test_an_animal_without_a_type_is_a_dog():
    dogs = "AnimalInternal-ID,AnimalType,AnimalBreed\n1,NULL,Beagle\n2,dog,Beagle\n3,DOG,Beagle\n"

    found = offers(["1_1.jpg", "2_1.jpg", "3_1.jpg"], dogs, url_list())

    assert [it.problem for it in found.values()] == [None, None, None]


def test_a_cat_is_not_a_dog():
    found = offers(["103_1.jpg"])["photos/103_1.jpg"]

    assert found.problem == Reason.NOT_A_DOG
    assert "Cat" in found.detail
    assert found.dog_id == "austin/103"


@pytest.mark.parametrize("name", ["999_1.jpg", "rex.jpg", "_1.jpg", "101.jpg"])
@pytest.mark.parametrize("dogs", [DOGS, DOGS + "APA-A-5,NULL,Max,Dog,M,1,NULL,Pug,Tan,NULL\n"])
def test_a_photo_of_an_animal_that_no_table_has_is_a_bad_annotation(dogs, name):
    found = offers([name], dogs)[f"photos/{name}"]

    assert found.problem == Reason.BAD_ANNOTATION
    assert "is not in apa_dogs.csv" in found.detail
    assert found.dog_id is None


def test_an_id_may_hold_an_underscore():
    dogs = "AnimalInternal-ID,AnimalBreed\na_1,Beagle\na,Pug\n"

    found = offers(["a_1_2.jpg", "a_1.jpg"], dogs, url_list())

    assert found["photos/a_1_2.jpg"].dog_id == "austin/a_1"
    assert found["photos/a_1.jpg"].dog_id == "austin/a"


@pytest.mark.parametrize("internal", ["a_1", "A.7", "12.0"])
def test_a_photo_that_is_missing_is_one_of_its_dog_whatever_the_id(internal):
    dogs = f"AnimalInternal-ID,AnimalBreed\n{internal},Beagle\n"
    urls = f"AnimalInternal-ID,PhotoUrl\n{internal},https://x.example/1.jpg\n"

    found = offers([], dogs, urls)[f"photos/{internal}_1"]

    assert found.problem == Reason.NOT_DOWNLOADED
    assert found.dog_id == f"austin/{internal}"


def test_a_url_without_its_file_is_offered_as_not_downloaded_with_the_url():
    found = offers(["101_2.jpeg", "102_1.png"])

    missing = found["photos/101_1"]
    assert set(found) == {"photos/101_2.jpeg", "photos/102_1.png", "photos/101_1"}
    assert missing.problem == Reason.NOT_DOWNLOADED
    assert "https://live-cdn.shelterluv.com/a/first.jpg" in missing.detail
    assert (missing.dog_id, missing.breed) == ("austin/101", "Retriever, Golden")


def test_what_the_download_said_of_a_dead_link_is_its_reason():
    failed = (
        "file,url,problem\n101_1.jpg,https://www.shelterluv.com/a/first.jpg,HTTP 404 Not Found\n"
    )

    found = offers(["101_2.jpeg"], failed=failed)

    assert found["photos/101_1"].detail == (
        "https://live-cdn.shelterluv.com/a/first.jpg: HTTP 404 Not Found"
    )
    assert "no such file in photos/" in found["photos/102_1"].detail


def test_a_file_that_came_by_other_means_counts_more_than_what_the_download_said():
    failed = "file,url,problem\n101_1.jpg,https://x.example/1.jpg,HTTP 404 Not Found\n"

    found = offers(["101_1.jpg", "101_2.jpeg", "102_1.png"], failed=failed)

    assert [it.problem for it in found.values()] == [None, None, None]


def test_photos_are_counted_in_the_order_of_their_rows():
    urls = "AnimalInternal-ID,PhotoUrl\n" + "".join(
        f"{dog},https://x.example/{dog}-{number}.jpg\n" for number in range(1, 12) for dog in (7, 8)
    )
    dogs = "AnimalInternal-ID,AnimalBreed\n7,Beagle\n8,Pug\n"

    found = offers(["7_3.jpg", "8_11.jpg"], dogs, urls)

    assert len(found) == 22
    for dog in (7, 8):
        for number in range(1, 12):
            if (dog, number) not in {(7, 3), (8, 11)}:
                detail = found[f"photos/{dog}_{number}"].detail
                assert detail.startswith(f"https://x.example/{dog}-{number}.jpg: ")


def test_photos_that_lie_here_come_before_those_that_do_not():
    names = list(offers(["102_1.png", "101_2.jpeg"]))

    assert names == ["photos/102_1.png", "photos/101_2.jpeg", "photos/101_1"]


def test_a_row_without_id_or_address_asks_for_nothing(tmp_path):
    urls = "AnimalInternal-ID,PhotoUrl\nNULL,https://x.example/1.jpg\n101,NULL\n101,\n,\n"

    assert offers([], urls=urls) == {}
    assert remotes(tmp_path / "austin", urls) == []


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ({"dogs": None}, "austin/ holds no apa_dogs.csv: add it"),
        ({"urls": None}, "austin/ holds no apa_photos.csv: add it"),
        (
            {"dogs": "AnimalID,AnimalBreed\n1,Pug\n"},
            "austin/apa_dogs.csv: no column AnimalInternal-ID; expected AnimalInternal-ID, "
            "AnimalBreed, found AnimalID, AnimalBreed",
        ),
        (
            {"dogs": "AnimalInternal-ID,Breed\n1,Pug\n"},
            "austin/apa_dogs.csv: no column AnimalBreed",
        ),
        (
            {"urls": "AnimalInternal-ID,Url\n"},
            "austin/apa_photos.csv: no column PhotoUrl; expected AnimalInternal-ID, PhotoUrl, "
            "found AnimalInternal-ID, Url",
        ),
        ({"urls": ""}, "austin/apa_photos.csv: no column AnimalInternal-ID"),
        ({"failed": "url\nx\n"}, "austin/not_downloaded.csv: no column file"),
        ({"dogs": DOGS.replace("Rex", "Rexå").encode("latin-1")}, "austin/apa_dogs.csv: no CSV"),
        ({"urls": PHOTOS.encode("utf-16")}, "austin/apa_photos.csv: no CSV in UTF-8"),
        (
            {"urls": PHOTOS + f'101,"{"x" * 200_000}"\n'},
            "austin/apa_photos.csv: no CSV in UTF-8",
        ),
    ],
)
def test_tables_that_cannot_be_used_are_an_error_that_says_what_was_found(tables, says):
    with pytest.raises(DataError, match=re.escape(says)):
        offers(["101_1.jpg"], **tables)


@pytest.mark.parametrize("internal", ["../7", "a/7", "/etc/passwd", "..", ".hidden"])
def test_an_id_that_would_lead_elsewhere_is_refused(internal, tmp_path):
    urls = f"AnimalInternal-ID,PhotoUrl\n{internal},https://x.example/1.jpg\n"

    with pytest.raises(DataError, match=r"apa_photos\.csv: .* can't be a file name: mend"):
        remotes(tmp_path / "austin", urls)
    with pytest.raises(DataError, match=r"apa_photos\.csv: .* can't be a file name: mend"):
        offers(["101_1.jpg"], urls=urls)


def test_every_photo_of_the_table_is_fetched_to_its_name_from_where_it_lies_today(tmp_path):
    found = remotes(tmp_path / "austin")

    photos = tmp_path / "austin" / "photos"
    assert {remote.path: remote.url for remote in found} == {
        str(photos / "101_1.jpg"): "https://www.shelterluv.com/a/first.jpg",
        str(photos / "101_2.jpeg"): "https://elsewhere.example/second.JPEG?width=500",
        str(photos / "102_1.png"): "https://www.shelterluv.com/b/only.png",
    }
    assert {remote.most for remote in found} == {64 << 20}


@pytest.mark.parametrize("mirror", ["http://127.0.0.1:8000/x", "http://127.0.0.1:8000/x/"])
def test_a_mirror_stands_for_every_host(mirror, tmp_path):
    found = remotes(tmp_path / "austin", mirror=mirror)

    assert {remote.url for remote in found} == {
        "http://127.0.0.1:8000/x/a/first.jpg",
        "http://127.0.0.1:8000/x/b/only.png",
        "http://127.0.0.1:8000/x/second.JPEG?width=500",
    }


@pytest.mark.parametrize(
    ("url", "ending"),
    [
        ("https://x.example/1.jpg", ".jpg"),
        ("https://x.example/1.JPG", ".jpg"),
        ("https://x.example/1.Jpeg", ".jpeg"),
        ("https://x.example/1.png?size=9.gif", ".png"),
        ("https://x.example/1.webp#top", ".webp"),
        ("https://x.example/1", ".jpg"),
        ("https://x.example/", ".jpg"),
        ("https://x.example", ".jpg"),
        ("https://x.example/photo.php?id=1.png", ".jpg"),
        ("https://x.example/1.jpg/../../etc", ".jpg"),
        ("https://x.example/.png", ".jpg"),
    ],
)
def test_a_file_has_the_ending_of_its_address_or_jpg(url, ending, tmp_path):
    (remote,) = remotes(tmp_path / "austin", url_list(url))

    assert remote.path == str(tmp_path / "austin" / "photos" / f"7_1{ending}")


def test_an_address_that_is_none_is_left_to_the_download(tmp_path):
    found = remotes(tmp_path / "austin", url_list("http://[broken/1.jpg", "no address", "x:y"))

    assert len(found) == 3
    assert found[0].url == "http://[broken/1.jpg"


@pytest.mark.parametrize("missing", ["apa_dogs.csv", "apa_photos.csv"])
def test_without_its_tables_nothing_can_be_fetched_and_the_error_says_so(missing, tmp_path):
    for name, table in (("apa_dogs.csv", DOGS), ("apa_photos.csv", PHOTOS)):
        if name != missing:
            (tmp_path / name).write_text(table)

    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path / missing))} is missing"):
        Austin().remotes(str(tmp_path), "")


@pytest.mark.parametrize(
    ("name", "claimed"),
    [
        ("apa_dogs.csv", True),
        ("apa_photos.csv", True),
        ("not_downloaded.csv", True),
        ("photos/101_1.jpg", True),
        ("photos/101_1.HEIC", True),
        ("photos/._101_1.jpg", False),
        ("photos/old/101_1.jpg", False),
        ("photos/downloads.json", False),
        ("photos/101_1.jpg.part", False),
        ("photos/apa_dogs.csv", False),
        ("101_1.jpg", False),
        ("downloads.json", False),
        ("._apa_dogs.csv", False),
        ("README.md", False),
        ("README", False),
    ],
)
def test_it_claims_its_tables_and_photos(name, claimed):
    assert Austin().claims(name) == claimed
