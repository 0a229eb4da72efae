import dataclasses
import hashlib
import random

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.runners.portability import fn_api_runner
from PIL import Image

from components import image_example_gen
from components.catalog import Photo
from components.sources.base import DataError, Reason
from models import examples, pixels, vocabulary

SIDE = 32


@pytest.fixture(scope="module")
def breeds(vocabulary_text):
    return vocabulary.parse(vocabulary_text)


def row(number, split, **more):
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return Photo(f"s/{number}.jpg", "s", f"{number}.jpg", 0, 1, digest, 80, 60, split=split, **more)


def rows(count):
    splits = ["train", "train", "val", "test"]
    return [row(number, splits[number % 4], breed="pug") for number in range(count)]


def written(photo, data, view, breeds):
    serialized = image_example_gen.to_example(photo, data, view, SIDE, breeds)
    return tf.train.Example.FromString(serialized).features.feature


def test_the_plan_covers_each_photo_of_the_view_once():
    others = [
        row(9000, "train", dog_id="a"),
        row(9001, None, breed="pug", reason=Reason.UNREADABLE),
    ]
    photos = rows(2400)

    plan = list(image_example_gen.plan([*photos, *others], "cropped"))

    planned = [photo.photo_id for _, shard in plan for photo in shard]
    assert sorted(planned) == sorted(photo.photo_id for photo in photos)
    assert all(photo.split == name.split("/")[0][6:] for name, shard in plan for photo in shard)


def test_a_split_of_many_photos_has_several_shards():
    plan = list(image_example_gen.plan(rows(2400), "cropped"))  # 1200, 600 and 600 photos

    assert [(name, len(shard)) for name, shard in plan] == [
        ("Split-train/data_tfrecord-00000-of-00003", 500),
        ("Split-train/data_tfrecord-00001-of-00003", 500),
        ("Split-train/data_tfrecord-00002-of-00003", 200),
        ("Split-val/data_tfrecord-00000-of-00002", 500),
        ("Split-val/data_tfrecord-00001-of-00002", 100),
        ("Split-test/data_tfrecord-00000-of-00002", 500),
        ("Split-test/data_tfrecord-00001-of-00002", 100),
    ]


def test_the_plan_does_not_depend_on_the_order_of_the_rows():
    photos = rows(1000)
    shuffled = random.Random(0).sample(photos, len(photos))

    first, second = (list(image_example_gen.plan(it, "cropped")) for it in (photos, shuffled))

    assert first == second
    assert [photo.photo_id for photo in first[0][1]] != sorted(it.photo_id for it in first[0][1])


def test_an_empty_split_still_has_its_file():
    plan = list(image_example_gen.plan([row(1, "train", breed="pug")], "cropped"))

    assert [len(shard) for _, shard in plan] == [1, 0, 0]


@pytest.fixture
def dog_photo():
    """80 x 60, black, with a white dog at (40, 10, 60, 30) and a small one at (0, 50, 8, 60)."""
    image = np.zeros((60, 80, 3), np.uint8)
    image[10:30, 40:60] = 255
    return image, ((0.0, 50.0, 8.0, 60.0), (40.0, 10.0, 60.0, 30.0))


def test_the_cropped_view_keeps_the_largest_dog_alone(dog_photo, encoded, breeds):
    image, bodies = dog_photo
    photo = row(1, "train", breed="pug", bodies=bodies)

    features = written(photo, encoded(image, "PNG"), "cropped", breeds)

    stored = pixels.decode(features[examples.ENCODED].bytes_list.value[0])
    assert stored.shape == (SIDE, SIDE, 3)
    assert stored.min() >= 250
    assert not set(examples.BOX.values()) & set(features)


def test_the_uncropped_view_keeps_all_and_says_where_the_dogs_are(dog_photo, encoded, breeds):
    # 80 x 60 becomes 32 x 24 with 4 rows of padding above: x / 80, (4 + y * 0.4) / 32.
    image, bodies = dog_photo
    photo = row(1, "train", breed="pug", bodies=bodies)

    features = written(photo, encoded(image, "PNG"), "uncropped", breeds)

    boxes = {edge: list(features[name].float_list.value) for edge, name in examples.BOX.items()}
    assert boxes["xmin"] == pytest.approx([0.0, 0.5])
    assert boxes["ymin"] == pytest.approx([24 / 32, 8 / 32])
    assert boxes["xmax"] == pytest.approx([0.1, 0.75])
    assert boxes["ymax"] == pytest.approx([28 / 32, 16 / 32])
    assert list(features[examples.BOX_CLASS].bytes_list.value) == [b"pug", b"pug"]


def test_the_box_of_the_record_frames_the_dog_of_its_picture(dog_photo, encoded, breeds):
    image, bodies = dog_photo
    photo = row(1, "train", breed="pug", bodies=bodies[1:])

    features = written(photo, encoded(image, "PNG"), "uncropped", breeds)

    stored = pixels.decode(features[examples.ENCODED].bytes_list.value[0])
    left, top, right, bottom = (
        round(features[examples.BOX[edge]].float_list.value[0] * SIDE)
        for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    assert (left, top, right, bottom) == (16, 8, 24, 16)
    assert stored[top + 1 : bottom - 1, left + 1 : right - 1].min() >= 240
    assert stored[top, : left - 2].max() <= 15


def test_the_individual_view_keeps_all_and_knows_the_dog(dog_photo, encoded, breeds):
    image, _ = dog_photo
    photo = row(1, "train", dog_id="individuals/rex")

    features = written(photo, encoded(image, "PNG"), "individual", breeds)

    assert features[examples.DOG_ID].bytes_list.value[0] == b"individuals/rex"
    assert examples.LABEL not in features
    assert not set(examples.BOX.values()) & set(features)
    stored = pixels.decode(features[examples.ENCODED].bytes_list.value[0])
    assert (np.abs(stored[:3].astype(int) - pixels.PAD) <= 3).all()


def test_every_record_says_what_it_is(dog_photo, encoded, breeds):
    image, bodies = dog_photo
    photo = row(1, "train", breed="pug", bodies=bodies)

    features = written(photo, encoded(image, "PNG"), "uncropped", breeds)

    values = {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in features.items()
    }
    assert values["image/format"] == [b"jpeg"]
    assert (values["image/height"], values["image/width"]) == ([SIDE], [SIDE])
    assert values["image/key/sha256"] == [photo.sha256.encode()]
    assert values["image/source_id"] == [b"s/1.jpg"]
    assert values["source"] == [b"s"]
    assert (values["breed"], values["label"]) == ([b"pug"], [breeds.label("pug")])
    assert (values["original/width"], values["original/height"]) == ([80], [60])
    # 128 on a quarter of the square, 255 on 8 x 8 of its 1,024 pixels: (256 * 128 + 64 * 255) /
    # (1024 * 255) = 0.188, and the small dog is black.
    assert values["quality/brightness"] == pytest.approx([0.188], abs=1e-3)
    assert values["quality/sharpness"][0] > 0
    assert values["image/encoded"][0].startswith(b"\xff\xd8")


def test_where_a_photo_was_taken_is_not_written(picture, encoded, breeds):
    tags = Image.Exif()
    tags.get_ifd(0x8825).update({1: "N", 29: "2031:02:03"})  # GPSLatitudeRef, GPSDateStamp
    data = encoded(picture(60, 80), exif=tags.tobytes())

    record = image_example_gen.to_example(
        row(1, "train", dog_id="a"), data, "individual", SIDE, breeds
    )

    assert b"2031:02:03" in data
    assert b"2031:02:03" not in record
    assert b"Exif" not in record


def test_a_photo_without_boxes_has_records_of_the_right_type(picture, encoded, breeds):
    photo = row(1, "train", breed="pug", bodies=())

    record = image_example_gen.to_example(
        photo, encoded(picture(60, 80)), "uncropped", SIDE, breeds
    )

    spec = {name: tf.io.VarLenFeature(tf.float32) for name in examples.BOX.values()}
    parsed = tf.io.parse_single_example(record, spec)
    assert [tf.size(parsed[name].values).numpy() for name in spec] == [0, 0, 0, 0]


def test_a_photo_that_broke_meanwhile_is_an_error_that_names_it(picture, encoded, breeds):
    data = encoded(picture(60, 80))

    with pytest.raises(DataError, match=r"photo s/1\.jpg changed while the run went on"):
        image_example_gen.to_example(
            row(1, "train", breed="pug"), data[: len(data) // 2], "uncropped", SIDE, breeds
        )


def test_shards_are_written_by_beam_as_the_plan_says(tmp_path, picture, encoded, breeds):
    photos = []
    for number, split in enumerate(["train", "train", "train", "val", "test"]):
        data = encoded(picture(60, 80, number))
        (tmp_path / f"{number}.jpg").write_bytes(data)
        photo = row(number, split, breed="pug", bodies=((0.0, 0.0, 40.0, 40.0),))
        photos.append(dataclasses.replace(photo, size=len(data)))
    shards = list(image_example_gen.plan(photos, "cropped"))
    for split in ("train", "val", "test"):
        (tmp_path / "out" / f"Split-{split}").mkdir(parents=True)
    write = image_example_gen._WriteShard(
        str(tmp_path), str(tmp_path / "out"), "cropped", SIDE, breeds, len(photos)
    )

    with beam.Pipeline(runner=fn_api_runner.FnApiRunner()) as pipeline:
        _ = pipeline | "Shards" >> beam.Create(shards) | "Write" >> beam.ParDo(write)

    for name, planned in shards:
        folder = str(tmp_path / "out" / name.split("/")[0])
        found = [record.photo_id for record, _ in examples.scan(folder)]
        assert found == [photo.photo_id for photo in planned]
    assert not list((tmp_path / "out").glob("partial-*"))
