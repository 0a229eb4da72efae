"""The three trainers on a handful of tiny photos, as TFX calls them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from models import (
    breed_training,
    checkpoint,
    examples,
    export,
    job,
    losses,
    match_training,
    mirror,
    pixels,
    tracking,
    vocabulary,
)

VOCABULARY = str(Path(__file__).resolve().parents[2] / "schema" / "breeds.csv")
SIDE, EPOCHS = 64, 2
LOSS = losses.MATCH_LOSSES[0]
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


def arguments(data, folder, base=None, **told):
    return FnArgs(
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
            **told,
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
    breed_training.breed_student(arguments(data, folder, teacher, side=SIDE // 2, start="teacher"))
    return folder


@pytest.fixture(scope="module")
def matcher(data, teacher, tmp_path_factory):
    folder = tmp_path_factory.mktemp("match")
    match_training.match_model(arguments(data, folder, teacher, loss=LOSS))
    return folder


def history(folder):
    return json.loads((folder / "run" / "history.json").read_text())


def served(folder, signature, **inputs):
    model = tf.saved_model.load(str(folder / "Format-Serving"))
    tensors = {name: tf.constant(values) for name, values in inputs.items()}
    return {name: value.numpy() for name, value in model.signatures[signature](**tensors).items()}


@pytest.mark.parametrize("trainer", ["teacher", "student", "matcher"])
def test_every_curve_of_the_history_has_a_point_for_every_epoch(trainer, request):
    told = history(request.getfixturevalue(trainer))
    curves = {name: told[name] for name in ("loss", "val_score")}

    assert {name: len(values) for name, values in curves.items()} == dict.fromkeys(curves, EPOCHS)
    assert all(np.isfinite(values).all() for values in curves.values())


def test_a_trainer_that_ended_leaves_no_state(data, teacher, tmp_path, monkeypatch):
    monkeypatch.setenv(checkpoint.FOLDER_VARIABLE, str(tmp_path / "state"))

    match_training.match_model(arguments(data, tmp_path, teacher, loss="triplet", epochs=1))

    assert (tmp_path / "state").is_dir()
    assert not list((tmp_path / "state").iterdir())


def test_the_student_tells_how_it_compares_with_its_teacher_and_on_a_phone(student):
    told = history(student)

    assert told["student"]["agreement"] >= 0.9  # two breeds of one colour each
    assert told["student"]["latency_ratio"] > 0
    assert told["phone"]["float16"]["kept"]
    assert (student / "Format-Serving" / "model.tflite").exists()


def test_breed_models_tell_what_they_were_trained_on(teacher, student):
    breeds = vocabulary.read(VOCABULARY).breeds

    for folder in (teacher, student):
        told = export.training_photos(str(folder / "Format-Serving"))
        assert told == {breeds[label]: 16 for label in LABELS}


def start_of(teacher, tmp_path):
    """The weights of a teacher's backbone, as start weights."""
    base = tmp_path / "start"
    base.mkdir()
    backbone = job.load_keras(str(teacher)).get_layer("backbone")
    backbone.layers[-1].save_weights(base / "start.weights.h5")
    return base


def fine_tuned(data, teacher, tmp_path, **told):
    """A teacher trained from the weights of another one's backbone."""
    base = start_of(teacher, tmp_path)
    task = job.Job.of(arguments(data, tmp_path, base, **told), "breed-teacher")
    task = dataclasses.replace(task, base=str(base))
    return breed_training.train_teacher(task, tracking.Tracker.from_environment("fine", {}))


def test_a_fine_tuning_starts_with_a_head_that_fits_its_backbone(data, teacher, tmp_path):
    net, curves = fine_tuned(data, teacher, tmp_path, epochs=1)

    scratch = history(teacher)
    assert curves["loss"][0] < 0.75 * scratch["loss"][0]
    kernel = net.get_layer("head").kernel.numpy()
    assert np.flatnonzero(np.abs(kernel).sum(axis=0) > 1e-2).tolist() == sorted(LABELS)


@pytest.mark.parametrize(
    ("before", "after", "photos", "expected"),
    [
        (0.8, 0.7, 100, False),
        (0.8, 0.8, 100, False),
        (0.86, 0.9, 56, False),  # a standard error is 0.0401
        (0.86, 0.9, 57, True),  # 0.0397
        (0.9, 1.0, 10, True),
    ],
)
def test_a_fine_tuning_is_kept_where_it_is_better_by_a_standard_error(
    before, after, photos, expected
):
    assert breed_training.earned(before, after, photos) == expected


def test_a_fine_tuning_that_is_no_better_is_not_kept(data, teacher, tmp_path):
    net, curves = fine_tuned(data, teacher, tmp_path, epochs=1)

    assert curves["probe"] == {"val_accuracy": 1.0, "fine_tuned": 1.0, "kept": "probe"}
    start = job.load_keras(str(teacher)).get_layer("backbone").get_weights()
    for now, before in zip(net.get_layer("backbone").get_weights(), start, strict=True):
        assert np.array_equal(now, before)


def test_a_student_is_not_taken_back_to_its_probe(data, teacher, tmp_path):
    """Though both name every photo of `val` right: what its teacher told it would be lost."""
    base = start_of(teacher, tmp_path)
    told = {"start": str(base), "pretrained": True, "epochs": 1}
    task = job.Job.of(arguments(data, tmp_path, teacher, **told), "breed-student")

    net, curves = breed_training.train_student(task, tracking.Tracker.from_environment("x", {}))

    start = job.load_keras(str(teacher)).get_layer("backbone").get_weights()
    moved = zip(net.get_layer("backbone").get_weights(), start, strict=True)
    assert not all(np.array_equal(now, before) for now, before in moved)
    assert "probe" not in curves


def test_a_student_can_start_from_nothing_with_a_backbone_of_its_own(data, teacher, tmp_path):
    told = {"backbone": "mobilenet_v3_small", "start": "", "pretrained": False, "epochs": 1}

    breed_training.breed_student(arguments(data, tmp_path, teacher, side=32, **told))

    net = job.load_keras(str(tmp_path))
    assert net.get_layer("backbone").input_shape == (None, 32, 32, 3)
    assert net.output_shape == job.load_keras(str(teacher)).output_shape
    assert net.count_params() != job.load_keras(str(teacher)).count_params()


def test_a_teacher_lies_on_the_devices_that_its_student_trains_on(
    data, teacher, tmp_path, monkeypatch
):
    """As on a machine with two GPUs, whose place is taken by the processor."""
    listed, load = tf.config.list_logical_devices, tf.saved_model.load
    strategy, scopes = tf.distribute.MirroredStrategy(["CPU:0"]), []

    def load_and_tell(folder):
        scopes.append(tf.distribute.get_strategy())
        return load(folder)

    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: 2 * listed("CPU"))
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: strategy)
    monkeypatch.setattr(tf.saved_model, "load", load_and_tell)
    task = job.Job.of(
        arguments(data, tmp_path, teacher, side=SIDE // 2, epochs=1, start="teacher"),
        "breed-student",
    )

    _, told = breed_training.train_student(task, tracking.Tracker.from_environment("test", {}))

    assert scopes[0] is strategy  # to learn from; afterwards it is loaded to be compared with
    assert np.isfinite(told["loss"]).all()


def test_a_student_can_be_left_untaught(data, teacher, student, tmp_path):
    """Its loss is then that of the labels alone: another one, from the same start."""
    task = job.Job.of(
        arguments(data, tmp_path, teacher, side=SIDE // 2, epochs=1, start="teacher"),
        "breed-student",
    )

    _, told = breed_training.train_student(
        task, tracking.Tracker.from_environment("test", {}), taught=False
    )

    assert abs(told["loss"][0] - history(student)["loss"][0]) > 1e-3


@pytest.mark.parametrize("told", [{"mix": "both"}, {"augment": "none"}])
def test_photos_are_changed_as_the_trainer_is_told(told, data, teacher, tmp_path):
    plain = history(teacher)["loss"]
    task = job.Job.of(arguments(data, tmp_path, **told), "breed-teacher")

    _, changed = breed_training.train_teacher(task, tracking.Tracker.from_environment("test", {}))

    assert np.isfinite(changed["loss"]).all()
    assert changed["loss"] != pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize("trainer", ["teacher", "student"])
def test_a_breed_model_knows_its_two_breeds_by_name(trainer, request, picture):
    photos = [coloured(picture, colour, 900) for colour in LABELS.values()]

    answer = served(request.getfixturevalue(trainer), "classify", image_bytes=photos)

    assert set(answer["classes"][:, :2].ravel()) == {b"Shih-Tzu", b"beagle"}
    assert answer["probabilities"][:, :2].sum(axis=1) == pytest.approx([1.0, 1.0], abs=1e-5)


def test_the_student_has_the_shape_of_its_teacher_at_half_the_side(teacher, student):
    first, second = (job.load_keras(str(folder)) for folder in (teacher, student))

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
    first, second = (job.load_keras(str(folder)) for folder in (teacher, matcher))
    statistics = [
        [layer.moving_mean.numpy() for layer in net.get_layer("backbone").layers[-1].layers
         if hasattr(layer, "moving_mean")]
        for net in (first, second)
    ]  # fmt: skip

    assert len(statistics[0]) == 4
    assert all(np.array_equal(*pair) for pair in zip(*statistics, strict=True))


def test_a_tracker_is_told_what_decided_a_training_and_no_places(data, teacher):
    told = {"side": SIDE // 2, "start": "teacher"}

    settings = job.Job.of(arguments(data, Path("/a/b/model/7"), teacher, **told), "x").settings

    assert settings["start"] == "teacher"
    assert (settings["side"], settings["seed"]) == (SIDE // 2, 0)
    assert settings["base"].endswith(teacher.name)
    assert not {"vocabulary", "loss", "code"} & set(settings)
    assert not [value for value in settings.values() if str(value).startswith("/")]


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_tracker_is_told_whether_a_training_began_from_scratch(pretrained, data, teacher):
    task = job.Job.of(arguments(data, Path("/a"), teacher, pretrained=pretrained), "x")

    assert task.settings["pretrained"] is pretrained


def test_a_teacher_is_served_both_ways_round_and_saved_as_it_was_trained(teacher):
    images = np.random.default_rng(0).uniform(0, 255, (2, SIDE, SIDE, 3)).astype(np.float32)
    net = job.load_keras(str(teacher))

    answer = served(teacher, "logits", images=images)["logits"]

    both = [net(views, training=False) for views in (images, images[:, :, ::-1])]
    assert answer == pytest.approx(np.mean(both, axis=0), rel=1e-4, abs=1e-4)


def test_a_saved_model_that_answers_otherwise_is_refused(data, teacher):
    net = job.load_keras(str(teacher))
    breeds = vocabulary.read(VOCABULARY).breeds
    exported = export.BreedExport(mirror.mirrored(net, SIDE), SIDE, breeds)
    folder, split = str(teacher / "Format-Serving"), str(data / "Split-val" / "*")
    exported.check(folder, split)

    net.set_weights([0.9 * weight for weight in net.get_weights()])

    with pytest.raises(RuntimeError, match=r"Format-Serving answers otherwise .* 16 photos"):
        exported.check(folder, split)


class Cut(tracking.Tracker):
    """Ends a training after its second epoch, as Ctrl-C does."""

    def epoch(self, number, metrics):
        if number == 2:
            raise KeyboardInterrupt


def match(task, tracker):
    trained = match_training.train(task, tracker)
    return trained.served, trained.history


TRAIN = {"breed-student": breed_training.train_student, "match": match}


@pytest.mark.parametrize("trainer", TRAIN)
@pytest.mark.parametrize("pretrained", [False, True])
def test_a_training_that_was_cut_ends_as_if_it_had_not_been(
    trainer, pretrained, data, teacher, tmp_path, monkeypatch
):
    told = {"epochs": 3, "pretrained": pretrained}
    told |= (
        {"start": "teacher", "side": SIDE // 2} if trainer == "breed-student" else {"loss": LOSS}
    )

    def train(tracker):
        return TRAIN[trainer](
            job.Job.of(arguments(data, tmp_path, teacher, **told), trainer), tracker
        )

    whole, curves = train(tracking.Tracker.from_environment("whole", {}))
    monkeypatch.setenv(checkpoint.FOLDER_VARIABLE, str(tmp_path / "states"))
    with pytest.raises(KeyboardInterrupt):
        train(Cut.from_environment("cut", {}))

    again, told_again = train(tracking.Tracker.from_environment("again", {}))

    assert told_again["loss"] == pytest.approx(curves["loss"], rel=1e-4)
    pairs = zip(again.get_weights(), whole.get_weights(), strict=True)
    assert all(np.allclose(*pair, rtol=1e-3, atol=1e-4) for pair in pairs)
