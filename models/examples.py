"""The tf.Examples of the pipeline: feature names, writing, reading, random access.

The names are those of the TF Object Detection API's `tf_example_decoder`, plus the project's own.
"""

import dataclasses
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ENCODED = "image/encoded"
FORMAT = "image/format"
HEIGHT = "image/height"
WIDTH = "image/width"
SHA256 = "image/key/sha256"
PHOTO_ID = "image/source_id"
BOX = {edge: f"image/object/bbox/{edge}" for edge in ("xmin", "ymin", "xmax", "ymax")}
BOX_AREA = "image/object/area"
BOX_CLASS = "image/object/class/text"
BOX_LABEL = "image/object/class/label"
FILE_NAME = "image/filename"
BREED = "breed"
LABEL = "label"
DOG_ID = "dog_id"
SOURCE = "source"
ORIGINAL_WIDTH = "original/width"
ORIGINAL_HEIGHT = "original/height"
BRIGHTNESS = "quality/brightness"
SHARPNESS = "quality/sharpness"
SATURATION = "quality/saturation"

# What the statistics are computed over: everything but the pixels.
STATISTICS_FEATURES = [
    FORMAT, HEIGHT, WIDTH, PHOTO_ID, FILE_NAME, *BOX.values(), BOX_CLASS, BOX_LABEL, BREED, LABEL,
    DOG_ID, SOURCE, ORIGINAL_WIDTH, ORIGINAL_HEIGHT, BRIGHTNESS, SHARPNESS,
    SATURATION, BOX_AREA,
]  # fmt: skip

# A pair of photos, as the match Evaluator reads it.
PAIR_A = "pair/a"
PAIR_B = "pair/b"
PAIR_SET = "pair/set"  # every set that the pair belongs to: "all", "hard" and so on
PAIR_LABEL = "pair/same_dog"
PAIR_WEIGHT = "pair/weight"  # under which both kinds of pair sum to the same
PAIR_SOURCE = "pair/source"
PAIR_SIZE = "pair/size"
PAIR_BRIGHTNESS = "pair/brightness"
PAIR_SCORE = "pair/score"
PAIR_BASELINE_SCORE = "pair/baseline_score"

# What an evaluation of photos is sliced by; no record holds it.
SIZE_BUCKET = "size"
BRIGHTNESS_BUCKET = "brightness"
RARITY_BUCKET = "rarity"

# What evaluations are sliced by; a bucket begins with its bound.
SIDES = (256, 512, 1024)  # of the original's longer side, pixels
PHOTOS = (1, 20, 100)  # of a breed in training
LIGHT = {"dark": 0.3, "middle": 0.7, "bright": float("inf")}  # mean brightness below

Value = str | bytes | int | float | Sequence[Any]


def serialize(features: Mapping[str, Value]) -> bytes:
    """Serializes a tf.train.Example with its features in sorted order, so equal means equal bytes.

    Raises:
      TypeError: a value is of none of the three kinds that tf.Example has.
    """
    import tensorflow as tf

    kinds = {name: _feature(tf, value) for name, value in sorted(features.items())}
    example = tf.train.Example(features=tf.train.Features(feature=kinds))
    data: bytes = example.SerializeToString(deterministic=True)
    return data


def _feature(tf: Any, value: Value) -> Any:
    values = [value] if isinstance(value, (str, bytes, int, float)) else list(value)
    if all(isinstance(item, (str, bytes)) for item in values):
        encoded = [item.encode() if isinstance(item, str) else item for item in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=encoded))
    if all(isinstance(item, int) for item in values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    if all(isinstance(item, (int, float)) for item in values):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    raise TypeError(f"tf.Example holds bytes, int64 or float, not {values[:3]!r}")


def files(split_folder: str) -> list[str]:
    """The TFRecord files of a split, sorted.

    Raises:
      FileNotFoundError: there is none.
    """
    import tensorflow as tf

    found = sorted(tf.io.gfile.glob(split_folder.rstrip("/*") + "/*"))
    if not found:
        raise FileNotFoundError(f"no TFRecord file in {split_folder}")
    return found


@dataclasses.dataclass(frozen=True)
class Record:
    """Where one Example lies in an uncompressed TFRecord file, and what it is of."""

    file: str
    offset: int
    length: int
    photo_id: str
    dog_id: str
    label: int


def scan(split_folder: str) -> Iterator[tuple[Record, bytes]]:
    """Reads every record of a split once, in order, with its place in the file.

    The framing is that of TFRecord: length (uint64), its CRC (uint32), the data, its CRC (uint32).
    """
    import tensorflow as tf

    for file in files(split_folder):
        with tf.io.gfile.GFile(file, "rb") as stream:
            offset = 0
            while header := stream.read(12):
                (length,) = struct.unpack("<Q", header[:8])
                data = stream.read(length)
                stream.read(4)
                yield _record(tf, file, offset + 12, data), data
                offset += 16 + length


def _record(tf: Any, file: str, offset: int, data: bytes) -> Record:
    features = tf.train.Example.FromString(data).features.feature
    text = {name: features[name].bytes_list.value for name in (PHOTO_ID, DOG_ID)}
    label = features[LABEL].int64_list.value
    return Record(
        file=file,
        offset=offset,
        length=len(data),
        photo_id=text[PHOTO_ID][0].decode() if text[PHOTO_ID] else "",
        dog_id=text[DOG_ID][0].decode() if text[DOG_ID] else "",
        label=label[0] if label else -1,
    )


@dataclasses.dataclass(frozen=True)
class Facts:
    """What an Example says of its photo: of the original, its longer side in pixels."""

    source: str
    breed: str
    side: int
    brightness: float


def facts(example: bytes) -> Facts:
    """Reads what a serialized Example says of its photo; what it does not is empty, or 0."""
    import tensorflow as tf

    features = tf.train.Example.FromString(example).features.feature
    text = {name: features[name].bytes_list.value for name in (SOURCE, BREED)}
    sides = (
        *features[ORIGINAL_WIDTH].int64_list.value,
        *features[ORIGINAL_HEIGHT].int64_list.value,
    )
    brightness = features[BRIGHTNESS].float_list.value
    return Facts(
        source=text[SOURCE][0].decode() if text[SOURCE] else "",
        breed=text[BREED][0].decode() if text[BREED] else "",
        side=max(sides, default=0),
        brightness=brightness[0] if brightness else 0.0,
    )


def size_bucket(side: int) -> str:
    """The bucket of an original's longer side: "<256", "256-511", "512-1023", "1024+"."""
    return _bucket(side, SIDES)


def rarity_bucket(photos: int) -> str:
    """The bucket of how many photos a breed has in training: "<1", "1-19", "20-99", "100+"."""
    return _bucket(photos, PHOTOS)


def _bucket(number: int, bounds: Sequence[int]) -> str:
    low = max((bound for bound in bounds if bound <= number), default=0)
    high = min((bound for bound in bounds if bound > number), default=0)
    return f"<{high}" if not low else f"{low}-{high - 1}" if high else f"{low}+"


def buckets(facts: Facts, photos: Mapping[str, int] | None = None) -> dict[str, str]:
    """What no record holds, and an evaluation of photos is sliced by.

    Args:
      facts: of a photo.
      photos: how many a model was trained on, by breed; None leaves rarity out.
    """
    found = {
        SIZE_BUCKET: size_bucket(facts.side),
        BRIGHTNESS_BUCKET: brightness_bucket(facts.brightness),
    }
    if photos is not None:
        found[RARITY_BUCKET] = rarity_bucket(photos.get(facts.breed, 0))
    return found


def brightness_bucket(brightness: float) -> str:
    """The bucket of a mean brightness in 0 to 1: dark, middle or bright."""
    return next(name for name, bound in LIGHT.items() if brightness < bound)


def encoded_image(example: bytes) -> bytes:
    """The photo of a serialized Example, as its JPEG bytes."""
    import tensorflow as tf

    features = tf.train.Example.FromString(example).features.feature
    data: bytes = features[ENCODED].bytes_list.value[0]
    return data
