"""The three trainers on a handful of tiny photos, as TFX calls them."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx import v1 as tfx

from models import breed_training, examples, match_training, pixels, training

VOCABULARY = str(Path(__file__).resolve().parents[2] / "schema" / "breeds.csv")
SIDE, EPOCHS = 32, 2
LABELS = {4: (200, 60, 60), 11: (60, 60, 200)}  # a red breed and a blue one


def coloured(picture, colour, seed):
    return pixels.encode(((picture(SIDE, SIDE, seed) / 4 + np.array(colour)) / 2).astype(np.uint8))


@pytest.fixture(scope="module")
def data(tmp_path_factory, picture, write_split):
    """Both splits: photos with a label and a dog; four dogs of each breed."""
    folder = tmp_path_factory.mktemp("examples")
    for split, photos in (("train", 32), ("val", 16)):
        rows = [
            examples.serialize(
                {
                    examples.ENCODED: coloured(picture, LABELS[(4, 11)[number % 2]], number),
                    examples.PHOTO_ID: f"s/{split}-{number}",
                    examples.LABEL: (4, 11)[number % 2],
                    examples.DOG_ID: f"{split}-{number % 8}",
                }
            )
            for number in range(photos)
        ]
        write_split(folder / f"Split-{split}", rows)
    return folder


def arguments(data, folder, base=None):
    return tfx.components.FnArgs(
        train_files=[str(data / "Split-train" / "*")],
        eval_files=[str(data / "Split-val" / "*")],
        serving_model_dir=str(folder / "Format-Serving"),
        model_run_dir=str(folder / "run"),
        base_model=str(base / "Format-Serving") if base else None,
        custom_config={
            "backbone": "small_cnn",
            "image_size": SIDE,
            "epochs": EPOCHS,
            "batch_size": 8,
            "pretrained": base is not None,
            "seed": 0,
            "vocabulary": VOCABULARY,
        },
    )


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    breed_training.breed_teacher(arguments(data, folder))
    return folder


@pytest.fixture(scope="module")
def student(data, teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    breed_training.breed_student(arguments(data, folder, teacher))
    return folder


@pytest.fixture(scope="module")
def matcher(data, teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("match")
    match_training.match_model(arguments(data, folder, teacher))
    return folder


def history(folder):
    return json.loads((folder / "run" / "history.json").read_text())


def served(folder, signature, **inputs):
    model = tf.saved_model.load(str(folder / "Format-Serving"))
    tensors = {name: tf.constant(values) for name, values in inputs.items()}
    return {name: value.numpy() for name, value in model.signatures[signature](**tensors).items()}


@pytest.mark.parametrize("trainer", ["teacher", "student", "matcher"])
def test_every_curve_of_the_history_has_a_point_for_every_epoch(trainer, request):
    curves = history(request.getfixturevalue(trainer))
    curves.pop("calibration", None)

    assert "loss" in curves
    assert {name: len(values) for name, values in curves.items()} == dict.fromkeys(curves, EPOCHS)
    assert all(np.isfinite(values).all() for values in curves.values())


@pytest.mark.parametrize("trainer", ["teacher", "student", "matcher"])
def test_a_curve_has_the_same_name_whatever_its_values(trainer, request):
    names = history(request.getfixturevalue(trainer))

    assert not [name for name in names if any(letter.isdigit() for letter in name)]


@pytest.mark.parametrize("trainer", ["teacher", "student"])
def test_a_breed_model_knows_its_two_breeds_by_name(trainer, request, picture):
    photos = [coloured(picture, colour, 900) for colour in LABELS.values()]

    answer = served(request.getfixturevalue(trainer), "classify", image_bytes=photos)

    assert set(answer["classes"][:, :2].ravel()) == {b"Shih-Tzu", b"beagle"}
    assert answer["probabilities"][:, :2].sum(axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)


def test_the_student_has_the_shape_of_its_teacher_at_half_the_side(teacher, student):
    first, second = (training.load_keras(str(folder), {}) for folder in (teacher, student))

    assert first.input_shape == second.input_shape == (None, SIDE, SIDE, 3)
    assert first.get_layer("backbone").input_shape == (None, SIDE, SIDE, 3)
    assert second.get_layer("backbone").input_shape == (None, SIDE // 2, SIDE // 2, 3)
    assert first.count_params() == second.count_params()


def test_the_match_model_is_calibrated_and_embeds(matcher, picture):
    scale, offset = history(matcher)["calibration"]
    photo = [coloured(picture, LABELS[4], 900)]

    embedding = served(matcher, "embed", image_bytes=photo)["embedding"]
    same = served(matcher, "compare", image_bytes_a=photo, image_bytes_b=photo)["same_dog"]

    assert np.linalg.norm(embedding) == pytest.approx(1.0, abs=1e-5)
    assert float(same[0]) == pytest.approx(1 / (1 + np.exp(-(scale + offset))), abs=1e-4)


def test_the_match_model_starts_from_the_teachers_backbone(teacher, matcher):
    first, second = (training.load_keras(str(folder), {}) for folder in (teacher, matcher))
    statistics = [
        [layer.moving_mean.numpy() for layer in net.get_layer("backbone").layers[-1].layers
         if hasattr(layer, "moving_mean")]
        for net in (first, second)
    ]  # fmt: skip

    assert len(statistics[0]) == 4
    assert all(np.array_equal(*pair) for pair in zip(*statistics, strict=True))
