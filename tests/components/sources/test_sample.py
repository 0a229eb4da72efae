import os
import subprocess
import sys
from pathlib import Path

import pytest

from components import catalog, copies, dataset, photo_catalog
from components.sources import sample
from components.sources.base import Reason
from models import vocabulary

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    sample.draw(folder)
    return str(folder)


@pytest.fixture(scope="module")
def photos(drawn, vocabulary_text):
    """Every offered photo, looked at."""
    entries, _ = dataset.entries(drawn, dataset.read_dataset(drawn))
    offered = photo_catalog.list_photos(entries, vocabulary.parse(vocabulary_text), drawn)
    with dataset.Reader(drawn) as reader:
        return copies.mark([photo_catalog.look(photo, reader) for photo in offered])


def of_source(photos, source):
    return [photo for photo in photos if photo.source == source]


def test_it_lies_in_the_layouts_of_the_real_sources(drawn):
    found = dataset.read_dataset(drawn)

    _, left = dataset.entries(drawn, found)
    assert found.ignored == ()
    assert left == []
    assert found.sources == ["individuals", "stanford"]
    assert sorted(os.listdir(Path(drawn) / "stanford")) == ["annotation.tar", "images.tar"]


def test_it_holds_eight_breeds_with_fifty_photos_each(photos):
    breeds = [photo.breed for photo in of_source(photos, "stanford")]

    assert len(set(breeds)) == 8
    assert {breeds.count(breed) for breed in breeds} == {sample.PHOTOS_PER_BREED}


def test_it_holds_forty_dogs_or_more_with_several_photos_each(photos):
    dogs = [photo.dog_id for photo in of_source(photos, "individuals")]

    assert len(set(dogs)) >= 40
    assert min(dogs.count(dog) for dog in set(dogs)) >= 4


def test_all_of_it_is_accepted_but_the_two_photos_that_are_bad_on_purpose(photos):
    rejected = {Path(photo.photo_id).stem: photo.reason for photo in photos if photo.reason}

    assert rejected == {
        sample.TRUNCATED_PHOTO: Reason.UNREADABLE,
        sample.PHOTO_WITH_BOX_OUTSIDE: Reason.BOX_OUTSIDE_FRAME,
    }
    assert sum(row["rejected"] for row in catalog.count(photos).values()) == 2


def test_some_scenes_show_two_dogs_and_every_scene_one(photos):
    dogs = [len(photo.bodies) for photo in of_source(photos, "stanford")]

    assert set(dogs) == {1, 2}


def test_a_second_process_draws_the_same_bytes(drawn, tmp_path):
    code = f"from components.sources import sample; sample.draw({str(tmp_path)!r})"
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(ROOT)}

    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=tmp_path)

    assert dataset.read_dataset(str(tmp_path)).digest == dataset.read_dataset(drawn).digest
