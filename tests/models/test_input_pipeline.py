import itertools

import numpy as np
import pytest
import tensorflow as tf

from models import augment, examples, input_pipeline, pixels

SIDE = 16
COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
ENOUGH = 3


def example(number, image, label=None, **more):
    return examples.serialize(
        {
            examples.PHOTO_ID: f"s/{number}",
            examples.ENCODED: pixels.encode(image),
            examples.LABEL: number if label is None else label,
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
        example(number, np.full((SIDE, SIDE, 3), colour, np.uint8), -1, dog_id=f"dog-{dog}")
        for number, (dog, colour) in enumerate(photos)
    ]
    return [record for record, _ in examples.scan(write_split(tmp_path / "Split-train", rows))]


@pytest.fixture
def kennel(tmp_path, picture, write_split):
    """Makes records of dogs with one photo each, from the label of each dog's breed."""

    def records(*labels):
        rows = [
            example(dog, picture(SIDE, SIDE, dog), label, dog_id=f"dog-{dog:02}")
            for dog, label in enumerate(labels)
        ]
        return [record for record, _ in examples.scan(write_split(tmp_path / "Kennel", rows))]

    return records


def take(dataset, count):
    return [tuple(part.numpy() for part in batch) for batch in dataset.take(count)]


def drawn(records, dogs, count, **more):
    """The dogs of the first batches, one photo of each."""
    dataset = input_pipeline.identities(records, SIDE, dogs, 1, 0, policy="none", **more)
    return [batch.tolist() for _, batch in take(dataset, count)]


def equal(first, second):
    pairs = zip(itertools.chain(*first), itertools.chain(*second), strict=True)
    return all(np.array_equal(*pair) for pair in pairs)


def test_parse_reads_back_what_was_written(picture):
    image = picture(SIDE, SIDE)

    parsed = input_pipeline.parse(example(5, image, dog_id="rex"), SIDE)

    assert parsed["image"].dtype == tf.uint8
    assert np.abs(parsed["image"].numpy().astype(int) - image).max() <= 8  # JPEG
    assert (int(parsed["label"]), parsed["dog_id"].numpy()) == (5, b"rex")


def test_parse_of_a_photo_without_label_or_dog(picture):
    row = examples.serialize({examples.ENCODED: pixels.encode(picture(SIDE, SIDE))})

    parsed = input_pipeline.parse(row, SIDE)

    assert (int(parsed["label"]), parsed["dog_id"].numpy()) == (-1, b"")


def test_labelled_reads_a_split_once_in_order(split):
    batches = take(input_pipeline.labelled(split, SIDE, 4), 9)

    assert [len(images) for images, _ in batches] == [4, 4, 2]
    assert np.concatenate([labels for _, labels in batches]).tolist() == list(range(10))


@pytest.mark.parametrize("seed", [0, 7])
def test_training_gives_the_same_batches_for_the_same_seed(split, seed):
    first, second = (take(input_pipeline.training(split, SIDE, 4, seed), 6) for _ in range(2))

    assert equal(first, second)


def test_training_gives_other_batches_for_another_seed(split):
    first, second = (take(input_pipeline.training(split, SIDE, 4, seed), 6) for seed in (7, 8))

    assert not equal(first, second)


def test_training_shows_every_photo_once_an_epoch(split):
    labels = [batch for _, batch in take(input_pipeline.training(split, SIDE, 5, 7), 4)]

    first, second = np.concatenate(labels[:2]), np.concatenate(labels[2:])
    assert sorted(first) == sorted(second) == list(range(10))
    assert first.tolist() != second.tolist()


def test_training_leaves_no_photo_out_where_there_are_several_files(tmp_path, picture):
    for shard in range(3):
        with tf.io.TFRecordWriter(str(tmp_path / f"data_tfrecord-{shard}-of-3")) as writer:
            for number in range(4 * shard, 4 * shard + 4):
                writer.write(example(number, picture(SIDE, SIDE, number)))

    labels = [batch for _, batch in take(input_pipeline.training(str(tmp_path), SIDE, 6, 7), 2)]

    assert sorted(np.concatenate(labels)) == list(range(12))


@pytest.mark.parametrize("policy", list(augment.POLICIES))
def test_training_goes_on_where_an_epoch_began(split, policy):
    whole = take(input_pipeline.training(split, SIDE, 4, 7, policy), 10)  # 2 batches an epoch

    later = take(input_pipeline.training(split, SIDE, 4, 7, policy, first_epoch=3), 4)

    assert equal(whole[6:], later)
    assert not equal(whole[4:8], later)


def test_training_does_not_hang_on_the_seed_of_the_process(split):
    first, second = [], []
    for seed, batches in ((1, first), (2, second)):
        tf.random.set_seed(seed)
        batches += take(input_pipeline.training(split, SIDE, 4, 7), 4)

    assert equal(first, second)


def test_training_leaves_the_seed_of_the_process_alone(split):
    tf.random.set_seed(5)
    expected = tf.random.uniform([3]).numpy()

    tf.random.set_seed(5)
    take(input_pipeline.training(split, SIDE, 4, 7), 1)

    assert np.array_equal(tf.random.uniform([3]), expected)


def test_training_repeats_a_split_of_less_than_a_batch(split):
    batches = take(input_pipeline.training(split, SIDE, 24, 7), 2)

    for _, labels in batches:  # 10 photos: two of each, and a third of four
        assert sorted(np.unique(labels, return_counts=True)[1]) == [2] * 6 + [3] * 4
    images, labels = batches[0]
    first, second = images[labels == 3][:2]
    assert not np.allclose(first, second, atol=1)


def test_training_drops_the_rest_of_an_epoch(split):
    labels = [batch for _, batch in take(input_pipeline.training(split, SIDE, 4, 7), 6)]

    for epoch in (labels[:2], labels[2:4], labels[4:]):
        assert len(set(np.concatenate(epoch))) == 8


MIXES = [kind for kind in augment.MIXES if kind != "none"]


def mixing(split, kind, seed=7, first_epoch=0, policy="none"):
    return input_pipeline.training(split, SIDE, 4, seed, policy, first_epoch, kind, 10)


@pytest.mark.parametrize("kind", MIXES)
def test_the_target_of_a_mixed_photo_says_how_much_of_each_it_shows(kind, tmp_path, write_split):
    """Photos of one colour each: the mean of a mixed photo is the mean of the colours in it."""
    colours = np.random.default_rng(0).integers(0, 256, (10, 3))
    flat = [np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in colours]
    rows = [example(number, image) for number, image in enumerate(flat)]
    batches = take(mixing(write_split(tmp_path / "Split-train", rows), kind), 8)

    for images, targets in batches:
        assert (images.shape, images.dtype) == ((4, SIDE, SIDE, 3), np.float32)
        assert (targets.shape, targets.dtype) == ((4, 10), np.float32)
        assert images.mean(axis=(1, 2)) == pytest.approx(targets @ colours, abs=2)  # JPEG
        assert targets.sum(axis=1) == pytest.approx(np.ones(4), abs=1e-5)
    assert any(((targets > 0.01).sum(axis=1) == 2).all() for _, targets in batches)


def test_every_batch_is_mixed_in_its_own_way(split):
    most = {float(targets[0].max()) for _, targets in take(mixing(split, "cutmix"), 8)}

    assert len(most) > 4


@pytest.mark.parametrize("kind", MIXES)
def test_mixed_batches_are_the_same_for_the_same_seed_and_where_an_epoch_began(split, kind):
    whole = take(mixing(split, kind, policy="light"), 10)  # 2 batches an epoch

    assert equal(whole, take(mixing(split, kind, policy="light"), 10))
    assert equal(whole[6:], take(mixing(split, kind, first_epoch=3, policy="light"), 4))
    assert not equal(whole, take(mixing(split, kind, seed=8, policy="light"), 10))


def test_mixing_changes_neither_the_order_nor_the_photos(split):
    """What is mixed into the photos of a batch is what the plain stream has in that place."""
    plain = take(input_pipeline.training(split, SIDE, 4, 7), 3)
    mixed = take(mixing(split, "mixup", policy="light"), 3)

    for (images, labels), (faded, targets) in zip(plain, mixed, strict=True):
        share = targets[0, labels[0]]
        expected = images * share + np.roll(images, 1, axis=0) * (1 - share)
        assert faded == pytest.approx(expected, abs=1e-3)


def test_an_unknown_mix_and_a_mix_without_classes_are_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="unknown mixing of photos 'stir'; known: none, mixup"):
        input_pipeline.training("nowhere", SIDE, 4, 7, mix="stir", classes=10)
    with pytest.raises(ValueError, match="expected the number of classes, found 0"):
        input_pipeline.training("nowhere", SIDE, 4, 7, mix="both")


def test_training_of_no_photo_says_where_none_is(tmp_path, write_split):
    folder = write_split(tmp_path / "Split-train", [])

    with pytest.raises(ValueError, match=r"no photo in the TFRecord files of .*Split-train"):
        input_pipeline.training(folder, SIDE, 4, 7)


def test_an_unknown_policy_is_refused_before_anything_is_read(records):
    with pytest.raises(ValueError, match="unknown augmentation 'wild'; known: none, light"):
        input_pipeline.training("nowhere", SIDE, 4, 7, "wild")
    with pytest.raises(ValueError, match="unknown augmentation 'wild'"):
        input_pipeline.identities(records, SIDE, 2, 2, 7, "wild")


def test_training_without_augmentation_gives_the_photos_as_they_are(split):
    stored = {
        int(label): image
        for images, labels in take(input_pipeline.labelled(split, SIDE, 4), 3)
        for image, label in zip(images, labels, strict=True)
    }

    for images, labels in take(input_pipeline.training(split, SIDE, 4, 7, "none"), 3):
        assert images.dtype == np.float32
        for image, label in zip(images, labels, strict=True):
            assert np.array_equal(image, stored[int(label)])


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


@pytest.mark.parametrize("skip", [1, 2, 5])
def test_identities_goes_on_after_any_batch(records, skip):
    whole = take(input_pipeline.identities(records, SIDE, 3, 2, 5), skip + 3)

    later = take(input_pipeline.identities(records, SIDE, 3, 2, 5, skip=skip), 3)

    assert equal(whole[skip:], later)
    assert not equal(whole[:3], later)


def test_identities_says_which_dog_is_which(kennel):
    records = kennel(*[-1] * 5)
    stored = [pixels.decode(examples.encoded_image(read(record))) for record in records]

    for images, dogs in take(input_pipeline.identities(records, SIDE, 3, 1, 0, "none"), 4):
        for image, dog in zip(images, dogs, strict=True):
            assert np.abs(image - stored[dog]).max() <= 1


def read(record):
    with open(record.file, "rb") as file:
        file.seek(record.offset)
        return file.read(record.length)


def test_without_breeds_every_dog_comes_once_before_any_comes_again(kennel):
    batches = drawn(kennel(*[-1] * 8), 4, 4)

    assert sorted(batches[0] + batches[1]) == sorted(batches[2] + batches[3]) == list(range(8))


def test_half_of_a_batch_is_of_one_breed(kennel):
    records = kennel(*[dog % 5 for dog in range(40)])  # eight of each

    for dogs in drawn(records, 8, 30):
        assert len(set(dogs)) == 8
        assert max(np.bincount([dog % 5 for dog in dogs])) >= 4


def test_a_batch_takes_as_many_of_a_breed_as_there_are(kennel):
    records = kennel(*[7] * 2 + [-1] * 18)

    for dogs in drawn(records, 10, 30):
        assert len(set(dogs)) == 10
    together = [dogs for dogs in drawn(records, 10, 200) if dogs[0] in (0, 1)]
    assert together
    assert all({0, 1} <= set(dogs) for dogs in together)


def test_every_dog_is_seen_though_breeds_fill_half_of_a_batch(kennel):
    batches = drawn(kennel(*[dog % 5 for dog in range(40)]), 8, 40)

    assert set(itertools.chain(*batches)) == set(range(40))


def test_half_of_a_batch_is_a_dog_and_its_neighbours(kennel):
    records = kennel(*[-1] * 20)
    neighbours = {
        f"dog-{dog:02}": [f"dog-{(dog + n) % 20:02}" for n in (1, 2)] for dog in range(20)
    }

    for dogs in drawn(records, 6, 30, neighbours=neighbours):
        assert len(set(dogs)) == 6
        assert {(dogs[0] + 1) % 20, (dogs[0] + 2) % 20} <= set(dogs)


def test_a_known_breed_comes_before_neighbours(kennel):
    records = kennel(*[0] * 4 + [-1] * 16)
    neighbours = {"dog-00": [f"dog-{dog}" for dog in range(10, 20)]}

    batches = [dogs for dogs in drawn(records, 8, 200, neighbours=neighbours) if dogs[0] == 0]

    assert batches
    assert all({0, 1, 2, 3} <= set(dogs) for dogs in batches)


def test_a_neighbour_that_is_no_dog_is_named(kennel):
    with pytest.raises(ValueError, match="neighbours name 'rex', which is no dog of the records"):
        input_pipeline.identities(kennel(-1, -1), SIDE, 2, 1, 0, neighbours={"dog-00": ["rex"]})


def test_identities_of_no_records_says_so():
    with pytest.raises(ValueError, match="the training split is empty"):
        input_pipeline.identities([], SIDE, 2, 2, 0)


def test_identities_takes_every_photo_of_a_dog_before_it_repeats_one(records):
    for images, dogs in take(input_pipeline.identities(records, SIDE, 2, 6, 0, "none"), 6):
        colour = images.mean(axis=(1, 2)).argmax(axis=1)
        for dog in set(dogs) - {7}:
            assert sorted(colour[dogs == dog]) == [0, 0, 1, 1, 2, 2]
