"""tf.data: from TFRecords to augmented batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from models import examples

SMALLEST_CROP = 0.85  # of the side: a crop much tighter cuts off ears, and makes train unlike test
SHUFFLE = 2048  # serialized Examples held while shuffling: some 50 MB at 224 px


def parse(serialized: Any, side: int) -> dict[str, Any]:
    """Parses one Example: image float32 [side, side, 3] in [0, 255], label int64, dog_id string."""
    import tensorflow as tf

    features = tf.io.parse_single_example(
        serialized,
        {
            examples.ENCODED: tf.io.FixedLenFeature([], tf.string),
            examples.LABEL: tf.io.FixedLenFeature([], tf.int64, default_value=-1),
            examples.DOG_ID: tf.io.FixedLenFeature([], tf.string, default_value=""),
        },
    )
    image = tf.io.decode_jpeg(features[examples.ENCODED], channels=3, dct_method="INTEGER_ACCURATE")
    image = tf.ensure_shape(tf.cast(image, tf.float32), [side, side, 3])
    return {"image": image, "label": features[examples.LABEL], "dog_id": features[examples.DOG_ID]}


def augment(image: Any, seed: Any) -> Any:
    """Mirrors, zooms, shifts and relights one photo.

    Args:
      image: float32 [side, side, 3] in [0, 255].
      seed: int [2]; the same seed gives the same result.

    Returns:
      float32 [side, side, 3] in [0, 255].
    """
    import tensorflow as tf

    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 5))
    side = image.shape[0]
    image = tf.image.stateless_random_flip_left_right(image, seeds[0])
    smaller = tf.random.stateless_uniform(
        [], seeds[1], int(side * SMALLEST_CROP), side + 1, tf.int32
    )
    image = tf.image.stateless_random_crop(image, [smaller, smaller, 3], seeds[2])
    image = tf.image.resize(image, [side, side])
    image = tf.image.stateless_random_contrast(image, 0.75, 1.25, seeds[3])
    image = image * tf.random.stateless_uniform([3], seeds[4], 0.8, 1.2)
    return tf.clip_by_value(image, 0.0, 255.0)


def _seeded(dataset: Any, seed: int) -> Any:
    import tensorflow as tf

    seeds = tf.data.Dataset.counter().map(lambda index: tf.stack([index, seed]))
    return tf.data.Dataset.zip(dataset, seeds)


def labelled(split: str, side: int, batch: int) -> Any:
    """A split once, in order: batches of (image [N, side, side, 3], label [N])."""
    import tensorflow as tf

    def example(serialized: Any) -> Any:
        parsed = parse(serialized, side)
        return parsed["image"], parsed["label"]

    dataset = tf.data.TFRecordDataset(examples.files(split))
    dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch).prefetch(tf.data.AUTOTUNE)


def training(split: str, side: int, batch: int, seed: int) -> Any:
    """A split for ever, shuffled and augmented: batches of (image, label)."""
    import tensorflow as tf

    def example(serialized: Any, example_seed: Any) -> Any:
        parsed = parse(serialized, side)
        return augment(parsed["image"], example_seed), parsed["label"]

    dataset = tf.data.TFRecordDataset(examples.files(split)).shuffle(SHUFFLE, seed=seed).repeat()
    dataset = _seeded(dataset, seed).map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def identities(
    records: Sequence[examples.Record], side: int, dogs: int, photos: int, seed: int
) -> Any:
    """Batches for metric learning, for ever: `dogs` dogs with `photos` photos each (P x K).

    Only places of records are held; a photo's bytes are read when it is drawn.

    Args:
      records: the training records.
      side: pixels.
      dogs: P, how many dogs stand in a batch, or as many as there are.
      photos: K, how many photos of each; a dog with fewer repeats some (augmented differently).
      seed: of the draw and of the augmentation.

    Returns:
      tf.data.Dataset of (image [P*K, side, side, 3], dog [P*K]: int32, equal for the same dog).
    """
    import tensorflow as tf

    dogs = min(dogs, len({record.dog_id for record in records}))

    def example(drawn: Any, example_seed: Any) -> Any:
        serialized, dog = drawn
        return augment(parse(serialized, side)["image"], example_seed), dog

    dataset = tf.data.Dataset.from_generator(
        lambda: _draw(records, dogs, photos, seed),
        output_signature=(tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)),
    )
    dataset = _seeded(dataset, seed).map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(dogs * photos, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def _draw(
    records: Sequence[examples.Record], dogs: int, photos: int, seed: int
) -> Iterator[tuple[bytes, int]]:
    import tensorflow as tf

    of_dog: dict[str, list[examples.Record]] = {}
    for record in records:
        of_dog.setdefault(record.dog_id, []).append(record)
    groups = [of_dog[dog] for dog in sorted(of_dog)]
    files = {record.file: tf.io.gfile.GFile(record.file, "rb") for record in records}
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(groups))
        for start in range(0, max(1, len(groups) - dogs + 1), dogs):
            for dog in order[start : start + dogs]:
                group = groups[dog]
                repeats = len(group) < photos
                for index in random.choice(len(group), photos, replace=repeats):
                    yield _read(files, group[index]), int(dog)


def _read(files: dict[str, Any], record: examples.Record) -> bytes:
    stream = files[record.file]
    stream.seek(record.offset)
    data: bytes = stream.read(record.length)
    return data
