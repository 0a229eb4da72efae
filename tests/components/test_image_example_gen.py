import dataclasses
import hashlib
import io
import random
import zlib

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from apache_beam.runners.portability import fn_api_runner
from PIL import Image
from tfx.types import standard_artifacts

from components import artifacts, catalog, image_example_gen
from components.catalog import VIEWS, Photo
from components.image_example_gen import ImageExampleGen, Shape
from components.sources.base import DataError, Reason
from models import examples, pixels, vocabulary

SIDE = 32
BOXED = ("cropped", "uncropped")
# Exif and TIFF 6.0: orientation 6, to be turned a quarter clockwise.
TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


@pytest.fixture(scope="module")
def breeds(vocabulary_text):
    return vocabulary.parse(vocabulary_text)


def row(number, split, **more):
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return Photo(
        f"s/{number}.jpg", "s", f"{number}.jpg", 0, 1, digest,
        **{"width": 80, "height": 60, "split": split, "views": BOXED, **more},
    )  # fmt: skip


def holding(photo, data):
    """The row, of these bytes."""
    return dataclasses.replace(photo, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def rows(count):
    splits = ["train", "train", "val", "test"]
    return [row(number, splits[number % 4], breed="pug") for number in range(count)]


def written(photo, data, view, breeds, margin=0.0):
    shape = Shape(view, SIDE, margin)
    serialized = image_example_gen.to_example(photo, data, shape, breeds)
    return tf.train.Example.FromString(serialized).features.feature


def stored(features):
    """The picture of a record, uint8 [H, W, 3]."""
    return pixels.decode(features[examples.ENCODED].bytes_list.value[0])


def test_the_plan_covers_each_photo_of_the_view_once():
    others = [
        row(9000, "train", dog_id="a", views=("individual",)),
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

    image = stored(features)
    assert image.shape == (SIDE, SIDE, 3)
    assert image.min() >= 250
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
    pug = breeds.label("pug")
    assert list(features[examples.BOX_LABEL].int64_list.value) == [pug + 1, pug + 1]


def test_the_box_of_the_record_frames_the_dog_of_its_picture(dog_photo, encoded, breeds):
    image, bodies = dog_photo
    photo = row(1, "train", breed="pug", bodies=bodies[1:])

    features = written(photo, encoded(image, "PNG"), "uncropped", breeds)

    picture = stored(features)
    left, top, right, bottom = (
        round(features[examples.BOX[edge]].float_list.value[0] * SIDE)
        for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    assert (left, top, right, bottom) == (16, 8, 24, 16)
    assert picture[top + 1 : bottom - 1, left + 1 : right - 1].min() >= 240
    assert picture[top, : left - 2].max() <= 15


def test_the_individual_view_keeps_all_and_knows_the_dog(dog_photo, encoded, breeds):
    image, bodies = dog_photo
    photo = row(1, "train", dog_id="individuals/rex", views=("individual",), bodies=bodies)

    features = written(photo, encoded(image, "PNG"), "individual", breeds)

    assert features[examples.DOG_ID].bytes_list.value[0] == b"individuals/rex"
    assert examples.LABEL not in features
    assert not set(examples.BOX.values()) & set(features)
    assert (np.abs(stored(features)[:3].astype(int) - pixels.PAD) <= 3).all()


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
    assert values["image/filename"] == [b"s/1.jpg"]
    assert values["source"] == [b"s"]
    assert (values["breed"], values["label"]) == ([b"pug"], [breeds.label("pug")])
    assert (values["original/width"], values["original/height"]) == ([80], [60])
    # Without the padding, and the row next to it, 22 x 32 pixels remain: 255 on 8 x 8 of them, or
    # 0.091, and the small dog is black.
    assert values["quality/brightness"] == pytest.approx([64 / 704], abs=1e-3)
    assert values["quality/sharpness"][0] > 0
    assert values["quality/saturation"] == pytest.approx([0.0], abs=1e-3)  # no colour anywhere
    assert values["image/encoded"][0].startswith(b"\xff\xd8")


def test_padding_is_no_quality_of_a_photo(encoded, breeds):
    black = np.zeros((60, 80, 3), np.uint8)
    photo = row(1, "train", breed="pug")

    features = written(photo, encoded(black, "PNG"), "cropped", breeds)

    for name in ("brightness", "sharpness", "saturation"):
        assert features[f"quality/{name}"].float_list.value[0] == 0


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_where_a_photo_was_taken_is_not_written(kind, view, picture, encoded, breeds):
    tags = Image.Exif()
    tags[0x010E] = "Marktplatz 7"  # ImageDescription
    tags.get_ifd(0x8825).update({1: "N", 29: "2031:02:03"})  # GPSLatitudeRef, GPSDateStamp
    data = encoded(picture(60, 80), kind, exif=tags.tobytes())
    photo = row(1, "train", dog_id="a", bodies=((0.0, 0.0, 80.0, 60.0),))

    record = image_example_gen.to_example(photo, data, Shape(view, SIDE), breeds)

    for private in (b"2031:02:03", b"Marktplatz 7"):
        assert private in data
        assert private not in record
    assert b"Exif" not in record
    assert not Image.open(io.BytesIO(examples.encoded_image(record))).getexif()


def test_a_margin_is_kept_round_the_largest_dog(encoded, breeds):
    # The box of 20 x 16 at (40, 20): half of 20 more on every side is (30, 10, 70, 46).
    inside = np.zeros((60, 80, 3), np.uint8)
    inside[10:46, 30:70] = 255
    photo = row(1, "train", breed="pug", bodies=((40.0, 20.0, 60.0, 36.0), (0.0, 0.0, 4.0, 4.0)))

    white, black = (
        stored(written(photo, encoded(image, "PNG"), "cropped", breeds, margin=0.5))
        for image in (inside, 255 - inside)
    )

    # 40 x 36 becomes 32 x 29 (28.8), with 1 row of padding above and 2 below.
    assert white[1:30].min() >= 250
    assert black[1:30].max() <= 5
    assert (np.abs(np.delete(white, np.s_[1:30], axis=0).astype(int) - pixels.PAD) <= 3).all()


def test_a_margin_ends_at_the_frame(encoded, breeds):
    # The box of 20 x 10 at the left upper corner: 10 more on every side is (0, 0, 30, 20).
    inside = np.zeros((60, 80, 3), np.uint8)
    inside[:20, :30] = 255
    photo = row(1, "train", breed="pug", bodies=((0.0, 0.0, 20.0, 10.0),))

    white, black = (
        stored(written(photo, encoded(image, "PNG"), "cropped", breeds, margin=0.5))
        for image in (inside, 255 - inside)
    )

    # 30 x 20 becomes 32 x 21 (21.3), with 5 rows of padding above and 6 below.
    assert white[5:26].min() >= 250
    assert black[5:26].max() <= 5
    assert (np.abs(np.delete(white, np.s_[5:26], axis=0).astype(int) - pixels.PAD) <= 3).all()


@pytest.mark.parametrize("view", ["uncropped", "individual"])
def test_a_margin_means_nothing_to_whole_photos(view, dog_photo, encoded, breeds):
    image, bodies = dog_photo
    photo = row(1, "train", breed="pug", dog_id="a", bodies=bodies)
    data = encoded(image, "PNG")

    assert written(photo, data, view, breeds, 0.5) == written(photo, data, view, breeds)


def test_the_crop_of_a_turned_photo_is_that_of_the_upright_one(dog_photo, encoded, breeds):
    image, bodies = dog_photo
    photo = row(1, "train", breed="pug", bodies=bodies)

    turned = stored(written(photo, encoded(np.rot90(image), "PNG", exif=TURNED), "cropped", breeds))

    assert turned.min() >= 250


def test_a_photo_without_boxes_is_whole_in_the_cropped_view(picture, encoded, breeds):
    image = picture(60, 80, 3)
    photo = row(1, "train", breed="pug")

    features = written(photo, encoded(image, "PNG"), "cropped", breeds, margin=0.2)

    whole = pixels.fit(image, SIDE)
    assert np.abs(stored(features).astype(int) - whole).max() <= 16
    assert features[examples.LABEL].int64_list.value == [breeds.label("pug")]


def test_a_dog_of_mixed_breed_has_its_breed_and_no_label(picture, encoded, breeds):
    photo = row(1, "train", breed=vocabulary.MIXED, dog_id="austin/7")

    features = written(photo, encoded(picture(60, 80)), "individual", breeds)

    assert features[examples.BREED].bytes_list.value == [b"mixed / unknown"]
    assert examples.LABEL not in features


def test_a_dog_of_known_breed_has_both(picture, encoded, breeds):
    photo = row(1, "train", breed="pug", dog_id="austin/7")

    features = written(photo, encoded(picture(60, 80)), "individual", breeds)

    assert features[examples.LABEL].int64_list.value == [breeds.label("pug")]
    assert features[examples.DOG_ID].bytes_list.value == [b"austin/7"]


def test_box_features_are_relative_to_the_padded_square():
    # 60 x 80 becomes 24 x 32 with 4 columns of padding to the left: (4 + x * 0.4) / 32, y / 80.
    bodies = ((0.0, 0.0, 60.0, 80.0), (15.0, 20.0, 30.0, 60.0))
    photo = row(1, "train", breed="pug", bodies=bodies, width=60, height=80)

    features = image_example_gen.box_features(photo, SIDE, 6)

    assert features[examples.BOX["xmin"]] == pytest.approx([0.125, 0.3125])
    assert features[examples.BOX["ymin"]] == pytest.approx([0.0, 0.25])
    assert features[examples.BOX["xmax"]] == pytest.approx([0.875, 0.5])
    assert features[examples.BOX["ymax"]] == pytest.approx([1.0, 0.75])
    assert features[examples.BOX_CLASS] == ["pug", "pug"]
    assert features[examples.BOX_LABEL] == [7, 7]


def test_a_box_of_no_known_breed_is_a_dog_without_a_class_label():
    photo = row(1, "train", bodies=((1.0, 2.0, 3.0, 4.0),))

    features = image_example_gen.box_features(photo, SIDE, None)

    assert features[examples.BOX_CLASS] == ["dog"]
    assert examples.BOX_LABEL not in features


def test_the_area_of_a_box_is_in_pixels_of_the_record():
    # 80 x 60 becomes 32 x 24: the dog of 20 x 20 becomes 8 x 8, the one of 8 x 10 3.2 x 4.
    bodies = ((40.0, 10.0, 60.0, 30.0), (0.0, 50.0, 8.0, 60.0))

    features = image_example_gen.box_features(row(1, "train", bodies=bodies), SIDE, None)

    assert features[examples.BOX_AREA] == pytest.approx([64.0, 12.8])


@pytest.mark.parametrize(
    ("box", "area"),
    [
        ((0.25, 0.25, 0.75, 0.5), 128.0),  # 16 x 8
        ((0.75, 0.25, 0.25, 0.5), -128.0),  # left and right turned round
        ((0.25, 0.5, 0.75, 0.25), -128.0),  # top and bottom
        ((0.75, 0.5, 0.25, 0.25), -128.0),  # both, though the product of the sides is positive
        ((0.5, 0.25, 0.5, 0.5), 0.0),  # nothing between left and right
    ],
)
def test_only_a_box_the_right_way_round_has_a_positive_area(box, area):
    edges = {edge: [at] for edge, at in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)}

    assert image_example_gen.areas(edges, SIDE) == pytest.approx([area])


def test_no_box_is_no_feature():
    assert image_example_gen.box_features(row(1, "train", breed="pug"), SIDE, 6) == {}


@pytest.mark.parametrize("seed", range(5))
def test_boxes_stay_in_the_square_whatever_the_size_of_the_photo(seed):
    rng = random.Random(seed)
    for _ in range(400):
        width, height = rng.randint(1, 5000), rng.randint(1, 5000)
        whole = (0.0, 0.0, float(width), float(height))
        pixel = (width - 1.0, height - 1.0, float(width), float(height))
        photo = row(1, "train", breed="pug", bodies=(whole, pixel), width=width, height=height)

        features = image_example_gen.box_features(photo, 256, 0)

        edges = {edge: np.float32(features[name]) for edge, name in examples.BOX.items()}
        for low, high in (("xmin", "xmax"), ("ymin", "ymax")):
            assert (edges[low] >= 0).all()
            assert (edges[low] < edges[high]).all()
            assert (edges[high] <= 1).all()


def test_a_photo_without_boxes_has_records_of_the_right_type(picture, encoded, breeds):
    photo = row(1, "train", breed="pug", bodies=())

    record = image_example_gen.to_example(
        photo, encoded(picture(60, 80)), Shape("uncropped", SIDE), breeds
    )

    spec = {name: tf.io.VarLenFeature(tf.float32) for name in examples.BOX.values()}
    parsed = tf.io.parse_single_example(record, spec)
    assert [tf.size(parsed[name].values).numpy() for name in spec] == [0, 0, 0, 0]


@pytest.mark.parametrize("view", VIEWS)
def test_a_photo_that_broke_meanwhile_is_an_error_that_names_it(view, picture, encoded, breeds):
    data = encoded(picture(60, 80))

    with pytest.raises(DataError, match=r"photo s/1\.jpg changed while the run went on"):
        image_example_gen.to_example(
            row(1, "train", breed="pug"), data[: len(data) // 2], Shape(view, SIDE), breeds
        )


@pytest.mark.parametrize(
    ("photos", "view", "message"),
    [
        (
            [row(1, "train"), row(2, "train"), row(3, "val")],
            "cropped",
            "view cropped: nothing in test; 3 photos of a known breed were accepted: add photos",
        ),
        (
            [row(n, "train", dog_id=f"d/{n // 2}", views=("individual",)) for n in range(4)],
            "individual",
            "view individual: nothing in val and test; 2 dogs were accepted, and a dog goes where "
            "the hash of its id says, one in ten to val and one in ten to test: add dogs",
        ),
    ],
)
def test_an_empty_split_is_an_error_that_says_what_there_is(photos, view, message):
    shards = list(image_example_gen.plan(photos, view))

    with pytest.raises(DataError) as error:
        image_example_gen.check_splits(shards, view)

    assert str(error.value) == message


def test_three_splits_with_something_in_each_are_no_error():
    shards = list(image_example_gen.plan(rows(4), "cropped"))

    image_example_gen.check_splits(shards, "cropped")


def test_shards_are_written_by_beam_as_the_plan_says(tmp_path, picture, encoded, breeds):
    photos = []
    for number, split in enumerate(["train", "train", "train", "val", "test"]):
        data = encoded(picture(60, 80, number))
        (tmp_path / f"{number}.jpg").write_bytes(data)
        photo = row(number, split, breed="pug", bodies=((0.0, 0.0, 40.0, 40.0),))
        photos.append(holding(photo, data))
    shards = list(image_example_gen.plan(photos, "cropped"))
    for split in ("train", "val", "test"):
        (tmp_path / "out" / f"Split-{split}").mkdir(parents=True)
    out, shape = str(tmp_path / "out"), Shape("cropped", SIDE)

    pipeline = beam.Pipeline(runner=fn_api_runner.FnApiRunner())
    image_example_gen.write_shards(shards, str(tmp_path), out, shape, breeds, pipeline)

    for name, planned in shards:
        folder = str(tmp_path / "out" / name.split("/")[0])
        found = [record.photo_id for record, _ in examples.scan(folder)]
        assert found == [photo.photo_id for photo in planned]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "Split-train", "Split-val", "Split-test"
    }  # fmt: skip


# The features of the Object Detection API's `TfExampleDecoder` as it parses them by default, field
# for field (github.com/tensorflow/models, research/object_detection/data_decoders).
TEXT, NUMBER = (
    tf.io.FixedLenFeature((), kind, default) for kind, default in ((tf.string, ""), (tf.int64, 1))
)
READER = {
    "image/encoded": TEXT,
    "image/format": tf.io.FixedLenFeature((), tf.string, "jpeg"),
    "image/filename": TEXT,
    "image/key/sha256": TEXT,
    "image/source_id": TEXT,
    "image/height": NUMBER,
    "image/width": NUMBER,
    "image/class/text": tf.io.VarLenFeature(tf.string),
    "image/class/label": tf.io.VarLenFeature(tf.int64),
    "image/neg_category_ids": tf.io.VarLenFeature(tf.int64),
    "image/not_exhaustive_category_ids": tf.io.VarLenFeature(tf.int64),
    "image/class/confidence": tf.io.VarLenFeature(tf.float32),
    "image/object/bbox/xmin": tf.io.VarLenFeature(tf.float32),
    "image/object/bbox/xmax": tf.io.VarLenFeature(tf.float32),
    "image/object/bbox/ymin": tf.io.VarLenFeature(tf.float32),
    "image/object/bbox/ymax": tf.io.VarLenFeature(tf.float32),
    "image/object/class/label": tf.io.VarLenFeature(tf.int64),
    "image/object/class/text": tf.io.VarLenFeature(tf.string),
    "image/object/area": tf.io.VarLenFeature(tf.float32),
    "image/object/is_crowd": tf.io.VarLenFeature(tf.int64),
    "image/object/difficult": tf.io.VarLenFeature(tf.int64),
    "image/object/group_of": tf.io.VarLenFeature(tf.int64),
    "image/object/weight": tf.io.VarLenFeature(tf.float32),
}
OPTIONAL = ("is_crowd", "difficult", "group_of", "weight")
COLOURS = ((255, 0, 255), (0, 255, 255), (255, 255, 0))
LARGE = 256


def read_as_detection(record):
    """What the reader makes of a record: its fields, the image, boxes [N, 4] as ymin to xmax."""
    fields = tf.io.parse_single_example(record, READER)
    image = tf.io.decode_jpeg(fields["image/encoded"], channels=3)
    sides = [
        fields[f"image/object/bbox/{edge}"].values for edge in ("ymin", "xmin", "ymax", "xmax")
    ]
    return fields, image.numpy(), tf.stack(sides, axis=1).numpy()


def painted(height, width, bodies, picture):
    """A dim photo with every dog a rectangle of its own colour."""
    image = picture(height, width, 4) // 4
    for box, colour in zip(bodies, COLOURS, strict=False):
        xmin, ymin, xmax, ymax = map(int, box)
        image[ymin:ymax, xmin:xmax] = colour
    return image


def frame_of(image, colour):
    """Where a colour stands in a picture: ymin, xmin, ymax, xmax in pixels."""
    near = (np.abs(image.astype(int) - colour) < 60).all(axis=2)
    ys, xs = np.nonzero(near)
    return np.array([ys.min(), xs.min(), ys.max() + 1, xs.max() + 1])


TWO_DOGS = ((0.1, 0.2, 0.4, 0.9), (0.5, 0.0, 1.0, 0.6))  # shares of width and height


@pytest.mark.parametrize("dogs", [TWO_DOGS, TWO_DOGS[:1], ()], ids=["two", "one", "none"])
@pytest.mark.parametrize(
    ("height", "width"), [(300, 400), (400, 300), (256, 256), (60, 80), (1200, 1600)]
)
def test_a_stock_tf_object_detection_api_input_reader_takes_the_uncropped_records(
    height, width, dogs, picture, encoded, breeds
):
    scale = (width, height, width, height)
    bodies = tuple(
        tuple(float(round(edge * by)) for edge, by in zip(box, scale, strict=True)) for box in dogs
    )
    data = encoded(painted(height, width, bodies, picture), quality=95)
    photo = row(1, "train", breed="pug", bodies=bodies, width=width, height=height)

    record = image_example_gen.to_example(photo, data, Shape("uncropped", LARGE), breeds)

    fields, image, boxes = read_as_detection(record)
    assert image.shape == (LARGE, LARGE, 3)
    assert (fields["image/height"], fields["image/width"]) == (LARGE, LARGE)
    assert fields["image/format"] == b"jpeg"
    assert fields["image/filename"] == fields["image/source_id"] == b"s/1.jpg"
    assert fields["image/key/sha256"] == photo.sha256.encode()
    assert boxes.shape == (len(dogs), 4)
    assert ((boxes >= 0) & (boxes <= 1)).all()
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    texts = fields["image/object/class/text"].values.numpy()
    labels = fields["image/object/class/label"].values.numpy()
    assert list(texts) == [b"pug"] * len(dogs)
    assert list(labels - 1) == [breeds.label("pug")] * len(dogs)
    # The reader makes ones of no weights, and takes no flag for false.
    assert all(tf.size(fields[f"image/object/{name}"].values) == 0 for name in OPTIONAL)
    areas = fields["image/object/area"].values.numpy()
    sides = (boxes[:, 2:] - boxes[:, :2]) * LARGE
    assert areas == pytest.approx(sides.prod(axis=1), rel=1e-5)
    for box, colour in zip(boxes * LARGE, COLOURS, strict=False):
        assert np.abs(box - frame_of(image, colour)).max() <= 1.5


def test_the_first_breed_of_the_table_is_class_one(picture, encoded, breeds):
    photo = row(1, "train", breed=breeds.breeds[0], bodies=((0.0, 0.0, 9.0, 9.0),))

    record = image_example_gen.to_example(
        photo, encoded(picture(60, 80)), Shape("uncropped", LARGE), breeds
    )

    fields, _, _ = read_as_detection(record)
    assert fields["image/object/class/label"].values.numpy().tolist() == [1]  # 0 is the background


def test_the_boxes_of_a_turned_photo_land_on_its_dogs(picture, encoded, breeds):
    bodies = ((40.0, 60.0, 160.0, 270.0), (200.0, 0.0, 400.0, 180.0))
    upright = painted(300, 400, bodies, picture)
    photo = row(1, "train", breed="pug", bodies=bodies, width=400, height=300)

    data = encoded(np.ascontiguousarray(np.rot90(upright)), quality=95, exif=TURNED)
    record = image_example_gen.to_example(photo, data, Shape("uncropped", LARGE), breeds)

    _, image, boxes = read_as_detection(record)
    for box, colour in zip(boxes * LARGE, COLOURS, strict=False):
        assert np.abs(box - frame_of(image, colour)).max() <= 1.5


@pytest.fixture
def node(tmp_path, vocabulary_text):
    """Runs the component over rows and files: (rows, files, view, side) -> its folder."""

    def run(rows, files, view, side):
        for name in ("data", "splits", "examples"):
            (tmp_path / name).mkdir()
        for name, data in files.items():
            (tmp_path / "data" / name).write_bytes(data)
        (tmp_path / "breeds.csv").write_text(vocabulary_text)
        splits, written = artifacts.SplitManifest(), standard_artifacts.Examples()
        splits.uri, written.uri = str(tmp_path / "splits"), str(tmp_path / "examples")
        artifacts.tell(splits, data_version="0123456789ab")
        catalog.write(splits.uri, rows)
        executor = ImageExampleGen.EXECUTOR_SPEC.executor_class()
        executor.Do(
            {"splits": [splits]},
            {"examples": [written]},
            {
                "view": view,
                "image_size": side,
                "crop_margin": 0.1,
                "data": str(tmp_path / "data"),
                "breeds": str(tmp_path / "breeds.csv"),
                "code": "c",
            },
        )
        return written, tmp_path / "examples"

    return run


def test_the_node_writes_plain_records_that_the_detection_reader_takes(node, picture, encoded):
    bodies = ((10.0, 20.0, 40.0, 50.0), (45.0, 5.0, 75.0, 30.0))
    photos, files = [], {}
    for number, split in enumerate(["train", "train", "val", "test"]):
        data = encoded(painted(60, 80, bodies, picture), quality=90 + number)
        # The last one lies deflated, as in a zip.
        packed = zlib.compress(data, wbits=-15) if split == "test" else data
        unpacked = len(data) if split == "test" else 0
        files[f"{number}.jpg"] = packed
        photo = row(number, split, breed="pug", bodies=bodies)
        photos.append(
            dataclasses.replace(holding(photo, data), size=len(packed), unpacked=unpacked)
        )

    artifact, folder = node(photos, files, "uncropped", LARGE)

    assert artifact.split_names == '["train", "val", "test"]'
    assert artifact.get_string_custom_property("data_version") == "0123456789ab"
    found = {}
    for split in ("train", "val", "test"):
        shards = [str(path) for path in (folder / f"Split-{split}").iterdir()]
        assert [name.rpartition("/")[2] for name in shards] == ["data_tfrecord-00000-of-00001"]
        for record in tf.data.TFRecordDataset(shards):
            fields, image, boxes = read_as_detection(record)
            assert (image.shape, boxes.shape) == ((LARGE, LARGE, 3), (2, 4))
            found[fields["image/source_id"].numpy().decode()] = split
    assert found == {photo.photo_id: photo.split for photo in photos}


def test_the_node_says_which_split_is_empty_before_it_writes(node, tmp_path, picture, encoded):
    data = encoded(picture(60, 80))
    photos = [holding(row(1, "train", breed="pug"), data)]

    with pytest.raises(DataError, match="view cropped: nothing in val and test"):
        node(photos, {"1.jpg": data}, "cropped", SIDE)

    assert list((tmp_path / "examples").iterdir()) == []
