import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import backbones, job, match, match_training
from models.examples import Record

SIDE = 32


@pytest.fixture(scope="module")
def encoder():
    keras.utils.set_random_seed(0)
    return match.encoder(backbones.get("small_cnn").build(SIDE), SIDE)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(0, 255, (3, SIDE, SIDE, 3)).astype(np.float32)


def test_a_served_encoder_gives_the_mean_of_both_ways_at_unit_length(encoder, images):
    both = encoder(images).numpy() + encoder(images[:, :, ::-1]).numpy()
    expected = both / np.linalg.norm(both, axis=1, keepdims=True)

    assert np.allclose(match.served(encoder, SIDE)(images), expected, atol=1e-5)


def test_a_served_encoder_does_not_tell_a_photo_from_its_mirror_image(encoder, images):
    served = match.served(encoder, SIDE)

    assert np.allclose(served(images), served(images[:, :, ::-1]), atol=1e-5)
    assert not np.allclose(encoder(images), encoder(images[:, :, ::-1]), atol=1e-3)


def test_an_encoder_looks_at_every_size_with_the_same_weights(images):
    net = match.encoder(backbones.get("small_cnn").build(None), None)
    larger = tf.image.resize(images, (40, 40))

    served = match.served(net, SIDE, (SIDE, 40))(images)

    looks = [net(view) for x in (images, larger) for view in (x, x[:, :, ::-1])]
    assert np.allclose(served, keras.utils.normalize(np.sum(looks, axis=0)), atol=1e-5)
    assert not np.allclose(served, match.served(net, SIDE)(images), atol=1e-3)


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v3_small", "efficientnet_v2_b0"])
def test_a_backbone_of_any_size_answers_as_one_of_that_size(backbone, images):
    fixed, free = (backbones.get(backbone).build(side) for side in (SIDE, None))
    free.set_weights(fixed.get_weights())

    answer = fixed(images, training=False).numpy()

    assert answer.std() > 0
    assert np.allclose(free(images, training=False), answer, atol=1e-3 * answer.std())


def test_a_served_encoder_comes_back_from_its_file(encoder, images, tmp_path):
    served = match.whitened(match.served(encoder, SIDE), 2 * np.eye(128), np.ones(128))

    served.save(tmp_path / "model.keras")

    again = keras.saving.load_model(tmp_path / "model.keras")
    assert np.allclose(again(images), served(images), atol=1e-5)


def test_pairs_are_all_pairs_with_their_cosine_and_the_numbers_of_their_dogs():
    # Unit vectors at 0, 60 and 90 degrees: cosines 1/2, 0 and cos 30.
    angles = np.radians([0, 60, 90])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    cosines, first, second = match_training.pairs(embeddings, ["a", "b", "a"])

    found = {
        (min(a, b), max(a, b), round(float(cosine), 3))
        for cosine, a, b in zip(cosines, first, second, strict=True)
    }
    assert found == {(0, 1, 0.5), (0, 0, 0.0), (0, 1, 0.866)}


def test_when_there_are_too_many_photos_whole_dogs_of_every_source_are_drawn(monkeypatch):
    monkeypatch.setattr(match_training, "COMPARED_PHOTOS", 40)
    dogs = [f"{source}/{dog}" for source in "ab" for dog in range(20) for _ in range(4)]

    _, first, second = match_training.pairs(np.eye(len(dogs)), dogs)

    drawn, photos = np.unique(np.concatenate([first, second]), return_counts=True)
    assert len(drawn) == 10
    assert len(set(photos)) == 1  # each dog stands there with all of its photos
    assert (drawn < 20).any()
    assert (drawn >= 20).any()


CONFIG = job.Config(
    backbone="small_cnn", image_size=SIDE, epochs=5, batch_size=16, pretrained=True, seed=0,
    vocabulary="",
)  # fmt: skip


def test_a_backbone_with_start_weights_keeps_its_lower_layers():
    (phase,) = match_training.phases(CONFIG)

    assert phase.epochs == 5
    assert phase.moving < 1


def test_from_scratch_everything_moves():
    (phase,) = match_training.phases(dataclasses.replace(CONFIG, pretrained=False))

    assert (phase.moving, phase.rate) == (1.0, job.RATE["scratch"])


def record(number, label):
    return Record(
        file="", offset=0, length=0, photo_id=str(number), dog_id=f"dog-{number}", label=label
    )


def test_look_alikes_are_found_where_a_dog_has_no_breed():
    mixed = [record(number, label) for number, label in enumerate((3, 3, -1, 3))]

    alike = match_training._alike(np.eye(4), mixed)

    assert set(alike) == {"dog-0", "dog-1", "dog-2", "dog-3"}


def test_where_every_dog_has_a_breed_no_look_alikes_are_looked_for():
    assert match_training._alike(np.eye(4), [record(number, 3) for number in range(4)]) is None


@pytest.mark.parametrize(
    ("dogs", "found"),
    [
        ([], "found 0"),
        (["a"] * 8, "found 1, with 8 at most"),
        (["a", "b"], "found 2, with 1 at most"),
    ],
)
def test_a_val_without_pairs_of_both_kinds_is_refused(dogs, found):
    with pytest.raises(ValueError, match=f"two dogs in val, and two photos of one.*{found}"):
        match_training.check(dogs)


def test_a_val_with_pairs_of_both_kinds_will_do():
    match_training.check(["a", "a", "b"])


def test_a_precision_is_that_of_the_photos_that_are_compared(monkeypatch):
    """Of three dogs the first two by their hash are compared: those that the embeddings tell."""
    dogs = np.array(["a", "b", "c"])
    order = [str(dogs[place]) for place in match_training.drawn(dogs)]
    places = {order[0]: [1, 0, 0], order[1]: [0, 1, 0]}
    names = [name for name in "abc" for _ in range(2)]
    embeddings = np.array([places.get(name, [0.6, 0.8, 0]) for name in names], np.float32)
    embeddings[names.index(order[2])] = [0, 1, 0]  # a photo that looks like another dog

    whole = match_training._precision(embeddings, names)
    monkeypatch.setattr(match_training, "COMPARED_PHOTOS", 4)

    assert whole < 1.0
    assert match_training._precision(embeddings, names) == 1.0
