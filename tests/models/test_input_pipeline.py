import itertools

import numpy as np
import pytest
import tensorflow as tf

from models import examples, input_pipeline, pixels

SIDE = 16
COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
FEW, ENOUGH = 1, 3


def example(number, image, **more):
    return examples.serialize(
        {
            examples.PHOTO_ID: f"s/{number}",
            examples.ENCODED: pixels.encode(image),
            examples.LABEL: number,
            **more,
        }
    )


@pytest.fixture
def split(tmp_path, picture, write_split):
    rows = [example(number, picture(SIDE, SIDE, number)) for number in range(10)]
    return write_split(tmp_path / "Split-train", rows)


@pytest.fixture
def records(tmp_path, write_split):
    """Seven dogs with a red, a green and a blue photo each, and one with a single red one."""
    photos = [(dog, colour) for dog in range(7) for colour in COLOURS] + [(7, COLOURS[0])]
    rows = [
        example(number, np.full((SIDE, SIDE, 3), colour, np.uint8), dog_id=f"dog-{dog}")
        for number, (dog, colour) in enumerate(photos)
    ]
    return [record for record, _ in examples.scan(write_split(tmp_path / "Split-train", rows))]


def take(dataset, count):
    return [tuple(part.numpy() for part in batch) for batch in dataset.take(count)]


def equal(first, second):
    pairs = zip(itertools.chain(*first), itertools.chain(*second), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def test_parse_reads_back_what_was_written(picture):
    image = picture(SIDE, SIDE)

    parsed = input_pipeline.parse(example(5, image, dog_id="rex"), SIDE)

    assert parsed["image"].dtype == tf.float32
    assert np.abs(parsed["image"].numpy() - image).max() <= 8  # JPEG
    assert (int(parsed["label"]), parsed["dog_id"].numpy()) == (5, b"rex")


def test_parse_of_a_photo_without_label_or_dog(picture):
    row = examples.serialize({examples.ENCODED: pixels.encode(picture(SIDE, SIDE))})

    parsed = input_pipeline.parse(row, SIDE)

    assert (int(parsed["label"]), parsed["dog_id"].numpy()) == (-1, b"")


@pytest.mark.parametrize("seed", range(8))
def test_augment_keeps_shape_and_range(seed, picture):
    image = tf.constant(picture(SIDE, SIDE, seed), tf.float32)

    changed = input_pipeline.augment(image, [seed, 0])

    assert changed.shape == (SIDE, SIDE, 3)
    assert changed.dtype == tf.float32
    assert float(tf.reduce_min(changed)) >= 0.0
    assert float(tf.reduce_max(changed)) <= 255.0


def test_augment_depends_on_its_seed_alone(picture):
    image = tf.constant(picture(SIDE, SIDE), tf.float32)
    in_graph = tf.function(input_pipeline.augment)

    eager = input_pipeline.augment(image, [3, 4])

    assert np.array_equal(eager, input_pipeline.augment(image, [3, 4]))
    assert np.allclose(eager, in_graph(image, tf.constant([3, 4])), atol=1e-3)
    assert not np.allclose(eager, input_pipeline.augment(image, [4, 4]), atol=1)


def test_augment_mirrors_some_photos(picture):
    image = tf.constant(np.tile(np.arange(SIDE)[None, :, None] * 15.0, (SIDE, 1, 3)), tf.float32)

    slopes = [
        float(tf.reduce_mean(changed[:, -1] - changed[:, 0]))
        for changed in (input_pipeline.augment(image, [seed, 0]) for seed in range(12))
    ]

    assert min(slopes) < 0 < max(slopes)


def test_labelled_reads_a_split_once_in_order(split):
    batches = take(input_pipeline.labelled(split, SIDE, 4), 9)

    assert [len(images) for images, _ in batches] == [4, 4, 2]
    assert np.concatenate([labels for _, labels in batches]).tolist() == list(range(10))


def test_training_gives_the_same_batches_for_the_same_seed(split):
    first, second = (take(input_pipeline.training(split, SIDE, 4, 7), 6) for _ in range(2))

    assert equal(first, second)


def test_training_gives_other_batches_for_another_seed(split):
    first, second = (take(input_pipeline.training(split, SIDE, 4, seed), 6) for seed in (7, 8))

    assert not equal(first, second)


def test_training_shows_every_photo_once_an_epoch(split):
    labels = [batch for _, batch in take(input_pipeline.training(split, SIDE, 5, 7), 4)]

    first, second = np.concatenate(labels[:2]), np.concatenate(labels[2:])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first.tolist() != second.tolist()


def test_training_changes_a_photo_from_epoch_to_epoch(split):
    batches = take(input_pipeline.training(split, SIDE, 10, 7), 2)

    first, second = (images[labels.tolist().index(3)] for images, labels in batches)

    assert not np.allclose(first, second, atol=1)


def test_identities_gives_each_dog_of_a_batch_the_same_number_of_photos(records):
    for images, dogs in take(input_pipeline.identities(records, SIDE, 3, 4, 0), 12):
        assert images.shape == (12, SIDE, SIDE, 3)
        assert sorted(np.unique(dogs, return_counts=True)[1]) == [4, 4, 4]


def test_identities_takes_different_photos_where_a_dog_has_enough(records):
    for images, dogs in take(input_pipeline.identities(records, SIDE, 2, ENOUGH, 0), 12):
        colour = images.mean(axis=(1, 2)).argmax(axis=1)
        for dog in np.unique(dogs):
            assert sorted(colour[dogs == dog]) == ([0, 1, 2] if dog < 7 else [0, 0, 0])


def test_identities_changes_a_repeated_photo(records):
    lonely = [
        images[dogs == 7]
        for images, dogs in take(input_pipeline.identities(records, SIDE, 2, 4, 0), 12)
        if 7 in dogs
    ]

    assert lonely
    assert all(len(np.unique(images.mean(axis=(1, 2, 3)))) > 1 for images in lonely)


def test_identities_shows_every_dog_though_they_do_not_fill_whole_batches(records):
    batches = take(input_pipeline.identities(records, SIDE, 3, 2, 0), 40)

    assert set(np.concatenate([dogs for _, dogs in batches])) == set(range(8))


def test_identities_gives_the_same_batches_for_the_same_seed(records):
    first, second = (take(input_pipeline.identities(records, SIDE, 3, 2, 5), 5) for _ in range(2))
    other = take(input_pipeline.identities(records, SIDE, 3, 2, 6), 5)

    assert equal(first, second)
    assert not equal(first, other)
