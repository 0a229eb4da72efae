"""tf.data: from TFRecords to augmented batches, which are the same in every process.

Nothing random hangs on what was drawn before it: the order of an epoch is drawn from (seed,
epoch), a batch of dogs from (seed, number of the batch), a photo's changes from (seed, place in the
stream), how a batch is mixed from (seed, place of its first photo). So a stream can begin in its
middle, where a killed training goes on.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from models import augment, examples

SHUFFLE = 2048  # serialized Examples held while shuffling: some 50 MB at 224 px
_EPOCH = 1 << 32  # more photos than an epoch has


def parse(serialized: Any, side: int) -> dict[str, Any]:
    """Parses one Example: image uint8 [side, side, 3], label int64, dog_id string."""
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
    image = tf.ensure_shape(image, [side, side, 3])
    return {"image": image, "label": features[examples.LABEL], "dog_id": features[examples.DOG_ID]}


def labelled(split: str, side: int, batch: int) -> Any:
    """A split once, in order: batches of (image [N, side, side, 3], label [N])."""
    import tensorflow as tf

    def example(serialized: Any) -> Any:
        parsed = parse(serialized, side)
        return tf.cast(parsed["image"], tf.float32), parsed["label"]

    dataset = tf.data.TFRecordDataset(examples.files(split))
    dataset = dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(batch).prefetch(tf.data.AUTOTUNE)


def training(
    split: str,
    side: int,
    batch: int,
    seed: int,
    policy: str = "light",
    first_epoch: int = 0,
    mix: str = "none",
    classes: int = 0,
) -> Any:
    """A split for ever, shuffled and augmented, in epochs of floor(photos / batch) whole batches.

    A split of less than a batch repeats photos, so that its epoch is one batch. The same arguments
    give the same batches: photos are decoded at the same time, but never overtake each other.

    Args:
      split: folder of TFRecord files.
      side: of its photos, pixels.
      batch: photos in a batch.
      seed: of the order and of the augmentation.
      policy: a name in `augment.POLICIES`.
      first_epoch: where to begin; the batches are those that the whole stream has from there.
      mix: a name in `augment.MIXES`: how the photos of a batch are mixed with each other.
      classes: C, of the targets of mixed photos; without mixing nothing asks.

    Returns:
      tf.data.Dataset of (image float32 [batch, side, side, 3] in [0, 255], label int64 [batch]);
      with a mix, of (image, target float32 [batch, C]).

    Raises:
      FileNotFoundError: there is no file in the split.
      ValueError: there is no photo in its files, no such policy or mix, or a mix without classes.
    """
    import tensorflow as tf

    augment.get(policy)
    augment.check_mix(mix)
    if mix != "none" and classes < 1:
        raise ValueError(f"{mix} makes targets: expected the number of classes, found {classes}")
    files = tf.constant(examples.files(split))
    repeats = _repeats(files, batch, split)

    def epoch(number: Any) -> Any:
        # Of this function's graph alone; the epoch is the other half. TensorFlow asks whether both
        # are 0, which it can't of a tensor, so this half never is.
        tf.random.set_seed(seed + 1)
        order = tf.random.experimental.stateless_shuffle(files, [seed, number])
        dataset = tf.data.TFRecordDataset(order)
        dataset = dataset.shuffle(SHUFFLE, seed=number, reshuffle_each_iteration=False)
        whole = dataset.repeat(repeats).batch(batch, drop_remainder=True)
        return whole.unbatch().enumerate(number * _EPOCH)

    def example(place: Any, serialized: Any) -> Any:
        parsed = parse(serialized, side)
        return augment.apply(policy, parsed["image"], [seed, place]), parsed["label"], place

    def mixed(images: Any, labels: Any, places: Any) -> tuple[Any, Any]:
        if mix == "none":
            return images, labels
        # No photo has a place below 0: these draws have nothing to do with a photo's changes.
        return augment.mix(mix, images, tf.one_hot(labels, classes), [seed, -1 - places[0]])

    dataset = tf.data.Dataset.counter(first_epoch).flat_map(epoch)
    dataset = dataset.map(example, tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(batch, drop_remainder=True).map(mixed).prefetch(tf.data.AUTOTUNE)


def _repeats(files: Any, batch: int, split: str) -> int:
    """How often a split has to be read to fill one batch.

    Raises:
      ValueError: there is nothing in it.
    """
    import tensorflow as tf

    photos = sum(1 for _ in tf.data.TFRecordDataset(files).take(batch))
    if not photos:
        raise ValueError(f"no photo in the TFRecord files of {split}; training needs one at least")
    return -(-batch // photos)


def identities(
    records: Sequence[examples.Record],
    side: int,
    dogs: int,
    photos: int,
    seed: int,
    policy: str = "identity",
    skip: int = 0,
    neighbours: Mapping[str, Sequence[str]] | None = None,
) -> Any:
    """Batches for metric learning, for ever: `dogs` dogs with `photos` photos each (P x K).

    What is hard to learn is to tell alike dogs apart (Hermans et al., 2017, arXiv:1703.07737, on
    why batches need hard negatives): half of a batch's dogs are of one breed, or one dog and its
    neighbours where no breed is known, as far as there are so many. The others come in turn, so
    that every dog is seen. Only places of records are held; a photo is read when it is drawn.

    Args:
      records: the training records.
      side: pixels.
      dogs: P, how many dogs stand in a batch, or as many as there are.
      photos: K, how many photos of each; a dog with fewer repeats some (augmented differently).
      seed: of the draw and of the augmentation.
      policy: a name in `augment.POLICIES`.
      skip: how many batches to leave out at the start; it costs nothing.
      neighbours: dog_id -> the dog_ids of those that look most alike, from which some are drawn.

    Returns:
      tf.data.Dataset of (image float32 [P*K, side, side, 3] in [0, 255], dog int32 [P*K], the
      place of the dog_id among all, sorted).

    Raises:
      ValueError: there are no records, a neighbour is none of their dogs, or no such policy.
    """
    import tensorflow as tf

    augment.get(policy)
    if not records:
        raise ValueError("no photo of a known dog to train on: the training split is empty")
    of_dog = _by_dog(records)
    alike = _alike(of_dog, neighbours or {})
    dogs = min(dogs, len(of_dog))
    size = dogs * photos

    def batches() -> Iterator[tuple[list[int], list[bytes], list[int]]]:
        files = {record.file: tf.io.gfile.GFile(record.file, "rb") for record in records}
        groups = list(of_dog.values())
        for number in itertools.count(skip):
            drawn = _draw(groups, alike, dogs, photos, seed, number)
            places = list(range(number * size, (number + 1) * size))
            yield places, [_read(files, record) for _, record in drawn], [dog for dog, _ in drawn]

    def example(place: Any, serialized: Any, dog: Any) -> Any:
        return augment.apply(policy, parse(serialized, side)["image"], [seed, place]), dog

    types = (tf.int64, tf.string, tf.int32)
    signature = tuple(tf.TensorSpec([size], kind) for kind in types)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature).unbatch()
    dataset = dataset.map(example, tf.data.AUTOTUNE, deterministic=True)
    return dataset.batch(size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def _by_dog(records: Sequence[examples.Record]) -> dict[str, list[examples.Record]]:
    """dog_id -> its records, sorted by dog_id."""
    of_dog: dict[str, list[examples.Record]] = {}
    for record in sorted(records, key=lambda record: record.dog_id):
        of_dog.setdefault(record.dog_id, []).append(record)
    return of_dog


def _alike(
    of_dog: Mapping[str, Sequence[examples.Record]], neighbours: Mapping[str, Sequence[str]]
) -> list[list[int]]:
    """For each dog the places of those that it is easily taken for; itself may be among them."""
    places = {dog: place for place, dog in enumerate(of_dog)}
    if unknown := set(itertools.chain(*neighbours.values())) - set(places):
        raise ValueError(f"neighbours name {min(unknown)!r}, which is no dog of the records")
    breeds = [max(record.label for record in group) for group in of_dog.values()]
    of_breed: dict[int, list[int]] = {}
    for place, breed in enumerate(breeds):
        of_breed.setdefault(breed, []).append(place)
    return [
        of_breed[breed] if breed >= 0 else [places[other] for other in neighbours.get(dog, ())]
        for dog, breed in zip(of_dog, breeds, strict=True)
    ]


def _draw(
    groups: Sequence[Sequence[examples.Record]],
    alike: Sequence[Sequence[int]],
    dogs: int,
    photos: int,
    seed: int,
    number: int,
) -> list[tuple[int, examples.Record]]:
    """The photos of one batch, and the places of their dogs."""
    random = np.random.default_rng([seed, 1, number])
    drawn = []
    for dog in _draw_dogs(alike, dogs, seed, number, random):
        order = np.resize(random.permutation(len(groups[dog])), photos)
        drawn += [(int(dog), groups[dog][place]) for place in order]
    return drawn


def _draw_dogs(
    alike: Sequence[Sequence[int]], dogs: int, seed: int, number: int, random: np.random.Generator
) -> np.ndarray:
    """The dogs of one batch: some in turn, some like the first of them, then any others."""
    companions = max(0, dogs // 2 - 1) if any(alike) else 0
    in_turn = dogs - companions
    batches = len(alike) // in_turn  # until every dog had its turn, but for a rest
    order = np.random.default_rng([seed, 0, number // batches]).permutation(len(alike))
    start = number % batches * in_turn
    chosen = order[start : start + in_turn]
    for pool in (alike[chosen[0]], order):
        free = np.setdiff1d(np.asarray(pool, int), chosen)
        count = min(dogs - len(chosen), len(free))
        chosen = np.append(chosen, random.choice(free, count, replace=False))
    return chosen


def _read(files: dict[str, Any], record: examples.Record) -> bytes:
    stream = files[record.file]
    stream.seek(record.offset)
    data: bytes = stream.read(record.length)
    return data
