import numpy as np
import pytest
import tensorflow as tf

from components import worst_examples
from models import backbones, breed, examples, export, pixels

PAIRS = [  # a, b, one dog, score, sets
    ("s/1", "s/2", 1.0, 0.9, ["all", "hard"]),
    ("s/1", "s/3", 0.0, 0.8, ["all", "hard"]),
    ("s/2", "s/3", 0.0, 0.95, ["all"]),
    ("s/4", "s/5", 1.0, 0.125, ["all", "hard"]),
]


@pytest.fixture
def pairs(tmp_path, write_split) -> str:
    rows = [
        examples.serialize(
            {
                examples.PAIR_A: a,
                examples.PAIR_B: b,
                examples.PAIR_LABEL: same,
                examples.PAIR_SCORE: score,
                examples.PAIR_SET: sets,
            }
        )
        for a, b, same, score, sets in PAIRS
    ]
    return write_split(tmp_path / "Split-test", rows)


def test_the_worst_pairs_come_first_and_right_ones_not_at_all(pairs):
    assert worst_examples.of_pairs(pairs) == [
        "s/2 and s/3: two dogs, same_dog 0.950",
        "s/4 and s/5: one dog, same_dog 0.125",
        "s/1 and s/3: two dogs, same_dog 0.800",
    ]


def test_the_worst_pairs_of_a_slice(pairs):
    assert worst_examples.of_pairs(pairs, "pair/set:hard") == [
        "s/4 and s/5: one dog, same_dog 0.125",
        "s/1 and s/3: two dogs, same_dog 0.800",
    ]
    assert worst_examples.of_pairs(pairs, "pair/set:none") == []


def test_photos_that_are_taken_for_another_breed(tmp_path, picture, write_split):
    # An untrained net whose head's bias says beagle, whatever it sees.
    breeds = ["beagle", "borzoi", "boxer", "collie", "pug"]
    net = breed.classifier(backbones.get("small_cnn").build(32), 32, range(5), 5)
    head = net.get_layer("head")
    kernel, bias = head.get_weights()
    head.set_weights([kernel * 0, bias + np.array([2, 0, 0, 0, 0], np.float32)])
    export.BreedExport(net, 32, breeds).save(str(tmp_path / "model"))
    export.tell_training(str(tmp_path / "model"), ["borzoi"])
    rows = [
        examples.serialize(
            {
                examples.ENCODED: pixels.encode(picture(32, 32, label)),
                examples.BREED: breeds[label],
                examples.PHOTO_ID: f"s/{label}",
                examples.SOURCE: "austin" if label == 4 else "stanford",
                examples.ORIGINAL_WIDTH: 100 if label == 3 else 300,
                examples.BRIGHTNESS: 0.1 if label == 2 else 0.5,
            }
        )
        for label in range(5)
    ]
    split = write_split(tmp_path / "Split-test", rows)

    model = str(tmp_path / "model")
    every = worst_examples.of_photos(split, model)
    parts = ("source:austin", "size:<256", "brightness:dark", "rarity:1-19")
    some = {
        part: [line.split(":")[0] for line in worst_examples.of_photos(split, model, part)]
        for part in parts
    }

    sure = tf.nn.softmax([2.0, 0, 0, 0, 0])[0]
    assert sorted(every) == [
        f"s/{label}: {breeds[label]}, taken for beagle ({sure:.3f})" for label in range(1, 5)
    ]
    assert some == dict(zip(parts, (["s/4"], ["s/3"], ["s/2"], ["s/1"]), strict=True))
