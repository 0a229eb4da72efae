import numpy as np
import pytest
import tensorflow as tf

from models import examples


def features_of(data):
    return tf.train.Example.FromString(data).features.feature


def photo(number, **more):
    return examples.serialize(
        {examples.PHOTO_ID: f"s/{number}.jpg", examples.ENCODED: bytes(number), **more}
    )


def test_names_are_those_of_the_object_detection_api():
    assert examples.ENCODED == "image/encoded"
    assert examples.FORMAT == "image/format"
    assert examples.HEIGHT == "image/height"
    assert examples.WIDTH == "image/width"
    assert examples.SHA256 == "image/key/sha256"
    assert examples.PHOTO_ID == "image/source_id"
    assert examples.BOX == {
        "xmin": "image/object/bbox/xmin",
        "ymin": "image/object/bbox/ymin",
        "xmax": "image/object/bbox/xmax",
        "ymax": "image/object/bbox/ymax",
    }
    assert examples.BOX_CLASS == "image/object/class/text"
    assert examples.BOX_LABEL == "image/object/class/label"
    assert examples.FILE_NAME == "image/filename"


def test_statistics_leave_the_pixels_out():
    assert examples.ENCODED not in examples.STATISTICS_FEATURES
    assert len(set(examples.STATISTICS_FEATURES)) == len(examples.STATISTICS_FEATURES)


def test_statistics_cover_the_boxes_with_their_classes():
    boxes = {*examples.BOX.values(), examples.BOX_CLASS, examples.BOX_LABEL}

    assert {*boxes, examples.FILE_NAME} <= set(examples.STATISTICS_FEATURES)


def test_equal_features_give_equal_bytes_whatever_their_order():
    forwards = {"a": 1, "b": "x", "c": [0.5], **{f"f{n}": n for n in range(30)}}
    backwards = dict(reversed(forwards.items()))

    assert examples.serialize(forwards) == examples.serialize(backwards)


def test_features_are_written_in_sorted_order():
    data = examples.serialize({"zebra": 1, "apple": 2, "mango": 3})

    places = [data.index(name) for name in (b"apple", b"mango", b"zebra")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("value", "kind", "stored"),
    [
        ("dög", "bytes_list", ["dög".encode()]),
        (b"\xff", "bytes_list", [b"\xff"]),
        (["a", b"b"], "bytes_list", [b"a", b"b"]),
        (-3, "int64_list", [-3]),
        ([1, 2], "int64_list", [1, 2]),
        (0.5, "float_list", [0.5]),
        ([1, 0.5], "float_list", [1.0, 0.5]),
    ],
)
def test_a_value_becomes_its_kind_of_feature(value, kind, stored):
    feature = features_of(examples.serialize({"it": value}))["it"]

    assert feature.WhichOneof("kind") == kind
    assert list(getattr(feature, kind).value) == stored


@pytest.mark.parametrize("value", [["a", 1], [None], [np.zeros(2)]])
def test_a_value_of_no_kind_is_an_error(value):
    with pytest.raises(TypeError, match="bytes, int64 or float"):
        examples.serialize({"it": value})


def test_scan_says_where_each_record_lies(tmp_path, write_split):
    rows = [photo(number, dog_id=f"dog-{number}", label=number) for number in (1, 700, 40)]
    split = write_split(tmp_path / "Split-train", rows)

    scanned = list(examples.scan(split))

    assert [data for _, data in scanned] == rows
    for record, data in scanned:
        with open(record.file, "rb") as stream:
            stream.seek(record.offset)
            assert stream.read(record.length) == data
    assert [record.photo_id for record, _ in scanned] == ["s/1.jpg", "s/700.jpg", "s/40.jpg"]
    assert [record.dog_id for record, _ in scanned] == ["dog-1", "dog-700", "dog-40"]
    assert [record.label for record, _ in scanned] == [1, 700, 40]


def test_scan_tells_what_a_record_does_not_say(tmp_path, write_split):
    split = write_split(tmp_path, [examples.serialize({examples.ENCODED: b"x"})])

    ((record, _),) = examples.scan(split)

    assert (record.photo_id, record.dog_id, record.label) == ("", "", -1)


def test_scan_goes_through_the_files_in_order(tmp_path):
    for number in (1, 0):
        with tf.io.TFRecordWriter(str(tmp_path / f"data_tfrecord-0000{number}-of-00002")) as file:
            file.write(photo(number))

    assert [record.photo_id for record, _ in examples.scan(str(tmp_path))] == ["s/0.jpg", "s/1.jpg"]


def test_files_takes_a_folder_or_its_pattern(tmp_path, write_split):
    split = write_split(tmp_path, [photo(1)])

    assert examples.files(split) == examples.files(split + "/*") == examples.files(split + "/")


def test_a_split_without_files_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no TFRecord file"):
        examples.files(str(tmp_path))


def test_encoded_image_returns_the_photo():
    assert examples.encoded_image(photo(9)) == bytes(9)


@pytest.mark.parametrize(
    ("side", "bucket"),
    [
        (0, "<256"), (255, "<256"), (256, "256-511"), (511, "256-511"), (512, "512-1023"),
        (1023, "512-1023"), (1024, "1024+"), (6000, "1024+"),
    ],
)  # fmt: skip
def test_buckets_of_the_side(side, bucket):
    assert examples.size_bucket(side) == bucket


@pytest.mark.parametrize(
    ("photos", "bucket"),
    [(0, "<1"), (1, "1-19"), (19, "1-19"), (20, "20-99"), (99, "20-99"), (100, "100+")],
)
def test_buckets_of_a_breeds_training_photos(photos, bucket):
    assert examples.rarity_bucket(photos) == bucket


@pytest.mark.parametrize(
    ("brightness", "bucket"), [(0.0, "dark"), (0.3, "middle"), (0.7, "bright"), (1.0, "bright")]
)
def test_buckets_of_the_brightness(brightness, bucket):
    assert examples.brightness_bucket(brightness) == bucket


def test_what_an_example_says_of_its_photo():
    data = examples.serialize(
        {
            examples.SOURCE: "austin",
            examples.BREED: "Pug",
            examples.ORIGINAL_WIDTH: 640,
            examples.ORIGINAL_HEIGHT: 480,
            examples.BRIGHTNESS: 0.5,
        }
    )

    assert examples.facts(data) == examples.Facts("austin", "Pug", 640, 0.5)
    assert examples.facts(examples.serialize({})) == examples.Facts("", "", 0, 0.0)
