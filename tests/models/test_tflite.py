"""The files for phones, of a small net that was taught to tell four colours."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import backbones, breed, export, tflite

SIDE = 32
COLOURS = {1: (210, 60, 60), 2: (60, 200, 60), 4: (60, 60, 210), 6: (200, 200, 60)}
BREEDS = ["basset", "beagle", "borzoi", "collie", "husky", "pug", "saluki"]  # three without photos
FIGURES = {"bytes", "ms", "agreement", "difference", "kept"}


@pytest.fixture(scope="module")
def photos(picture):
    """uint8 [60, SIDE, SIDE, 3], their labels in turn."""
    colours = list(COLOURS.values())
    return np.stack(
        [
            ((picture(SIDE, SIDE, seed) + 2.0 * np.array(colours[seed % 4])) / 3).astype(np.uint8)
            for seed in range(60)
        ]
    )


@pytest.fixture(scope="module")
def net(photos):
    keras.utils.set_random_seed(0)
    backbone = backbones.get("small_cnn").build(SIDE // 2)
    net = breed.classifier(backbone, SIDE, COLOURS, len(BREEDS))
    labels = np.array([list(COLOURS)[number % 4] for number in range(len(photos))])
    model = breed.Classifier(net, np.ones(len(BREEDS)))
    model.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=False)
    model.fit(photos.astype(np.float32), labels, epochs=8, batch_size=12, verbose=0)
    return net


@pytest.fixture(scope="module")
def exported(net, photos, tmp_path_factory):
    """The folder of a SavedModel with the files beside it, and the report."""
    folder = tmp_path_factory.mktemp("serving")
    export.BreedExport(net, SIDE, BREEDS).save(str(folder))
    report = tflite.export(net, SIDE, BREEDS, photos[:30], photos[30:], str(folder))
    return folder, report


def softmax(net, photos):
    return tf.nn.softmax(net(photos.astype(np.float32), training=False)).numpy()


def runner(path):
    return tf.lite.Interpreter(model_path=str(path)).get_signature_runner()


def asked(path, photos):
    ask = runner(path)
    return np.concatenate([ask(images=photo[None])["probabilities"] for photo in photos])


@pytest.mark.parametrize("file", tflite.FILES.values())
def test_a_file_takes_one_photo_of_bytes_and_gives_every_breed_a_probability(file, exported):
    ask = runner(exported[0] / file)
    (given,), (answer,) = ask.get_input_details().items(), ask.get_output_details().items()

    assert (given[0], given[1]["dtype"], [*given[1]["shape"]]) == (
        "images",
        np.uint8,
        [1, SIDE, SIDE, 3],
    )
    assert (answer[0], answer[1]["dtype"], [*answer[1]["shape"]]) == (
        "probabilities",
        np.float32,
        [1, len(BREEDS)],
    )


@pytest.mark.parametrize(("kind", "most"), [("float16", 0.002), ("int8", 0.08)])
def test_a_file_answers_as_the_network_does(kind, most, exported, net, photos):
    folder, report = exported
    expected = softmax(net, photos[30:])

    answers = asked(folder / tflite.FILES[kind], photos[30:])

    assert (answers.argmax(axis=1) == expected.argmax(axis=1)).all()
    assert set(expected.argmax(axis=1)) == set(COLOURS)
    assert np.abs(answers - expected).max() <= most
    assert report[kind]["agreement"] == 1.0
    assert report[kind]["difference"] == pytest.approx(np.abs(answers - expected).mean(), abs=1e-6)


@pytest.mark.parametrize("file", tflite.FILES.values())
def test_breeds_without_photos_have_no_probability_and_the_others_add_up(file, exported, photos):
    answers = asked(exported[0] / file, photos[:8])

    assert (answers[:, [0, 3, 5]] == 0).all()
    assert answers.sum(axis=1) == pytest.approx(np.ones(8), abs=1e-5)


def test_int8_tells_unlikely_breeds_apart(exported, photos):
    """A softmax in int8 knows steps of 1/256 only."""
    answers = asked(exported[0] / "model.int8.tflite", photos)[:, list(COLOURS)]

    assert ((answers > 0) & (answers < 1 / 512)).any()


def test_the_report_is_json_and_says_what_lies_there(exported):
    folder, report = exported

    assert json.loads(json.dumps(report)) == report
    assert {name: set(figures) for name, figures in report.items()} == {
        "keras": {"ms"},
        "float16": FIGURES,
        "int8": FIGURES,
    }
    for kind, file in tflite.FILES.items():
        assert report[kind]["kept"]
        assert report[kind]["bytes"] == (folder / file).stat().st_size
        assert report[kind]["ms"] > 0


def test_int8_is_the_smaller_one_and_both_are_smaller_than_the_weights(exported, net):
    _, report = exported

    assert report["int8"]["bytes"] < report["float16"]["bytes"] < 4 * net.count_params()


def test_the_saved_model_serves_as_before_and_nothing_half_written_is_left(exported, net, photos):
    folder, _ = exported
    model = tf.saved_model.load(str(folder))

    logits = model.signatures["logits"](images=tf.constant(photos[:5], tf.float32))["logits"]

    assert tf.nn.softmax(logits).numpy() == pytest.approx(softmax(net, photos[:5]), abs=1e-5)
    assert {path.name for path in folder.iterdir()} == {
        "saved_model.pb", "fingerprint.pb", "variables", "assets",
        "labels.txt", "model.tflite", "model.int8.tflite",
    }  # fmt: skip


def test_labels_are_the_breeds_in_label_order(exported):
    assert (exported[0] / "labels.txt").read_text().splitlines() == BREEDS


def answers_of(photos, wrong):
    """What a network would have said whose top breed is another one on `wrong` photos."""
    answers = np.zeros((len(photos), len(BREEDS)), np.float32)
    answers[np.arange(len(photos)), [list(COLOURS)[number % 4] for number in range(60)]] = 1
    answers[:wrong] = np.roll(answers[:wrong], 1, axis=1)
    return answers


@pytest.mark.parametrize(
    ("bound", "wrong", "kept"),
    [
        (0.99, 1, True),  # a hundredth of 60 is no whole photo: one may differ all the same
        (0.99, 2, False),
        (0.95, 3, True),  # 0.05 * 60
        (0.95, 4, False),
    ],
)
def test_a_file_is_kept_by_how_many_photos_it_disagrees_on(bound, wrong, kept, exported, photos):
    model = (exported[0] / "model.tflite").read_bytes()
    rows = [photo[None] for photo in photos]

    figures = tflite.compare(model, rows, answers_of(photos, wrong), bound)

    assert figures["agreement"] == pytest.approx(1 - wrong / 60)
    assert figures["kept"] is kept
    assert ("reason" in figures) is not kept
    assert kept or f"on {wrong} of 60 photos" in figures["reason"]


@pytest.mark.parametrize(("count", "kept"), [(1, False), (7, False), (8, True)])
def test_on_a_handful_of_photos_no_file_is_judged(count, kept, exported, photos):
    """It agrees on all of them, but so might a wrong one."""
    model = (exported[0] / "model.tflite").read_bytes()
    rows = [photo[None] for photo in photos[:count]]

    figures = tflite.compare(model, rows, answers_of(photos, 0)[:count], 0.99)

    assert (figures["agreement"], figures["kept"]) == (1.0, kept)
    assert kept or figures["reason"] == f"{count} photos to compare on; 8 are needed to judge it"


def test_the_difference_is_the_mean_over_photos_and_breeds(exported, photos):
    """With no answer at all the difference is what the file says: 1 in 7 breeds a photo."""
    model = (exported[0] / "model.tflite").read_bytes()

    figures = tflite.compare(model, [photos[0][None]], np.zeros((1, len(BREEDS))), 0.99)

    assert figures["difference"] == pytest.approx(1 / 7, abs=1e-6)


def test_a_file_that_disagrees_is_left_out_and_an_older_one_goes(net, photos, tmp_path, caplog):
    """Scales set by black photos cut everything off that real ones excite."""
    (tmp_path / "model.int8.tflite").write_bytes(b"of an earlier try")

    report = tflite.export(net, SIDE, BREEDS, np.zeros_like(photos[:4]), photos, str(tmp_path))

    assert report["int8"]["agreement"] < 0.95
    assert not report["int8"]["kept"]
    assert "of 60 photos" in report["int8"]["reason"]
    assert ("spotted.progress", report["int8"]["reason"]) in [
        (record.name, record.args[-1]) for record in caplog.records if record.args
    ]
    assert {path.name for path in tmp_path.iterdir()} == {"labels.txt", "model.tflite"}


@keras.saving.register_keras_serializable("test")
class Digamma(keras.layers.Layer):
    """An operation that TFLite does not have."""

    def call(self, images):
        return tf.math.digamma(images + 1.0)


def test_a_network_that_tflite_cannot_hold_leaves_no_file_but_a_reason(photos, tmp_path):
    (tmp_path / "labels.txt").write_text("of an earlier try")
    images = keras.Input((SIDE, SIDE, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(Digamma()(images))
    logits = keras.layers.Dense(len(BREEDS))(pooled)
    odd = keras.Model(images, breed.TrainedClassesOnly([1, 2], 7, name="trained")(logits))

    report = tflite.export(odd, SIDE, BREEDS, photos[:4], photos[:4], str(tmp_path))

    for kind in tflite.FILES:
        assert not report[kind]["kept"]
        assert report[kind]["agreement"] is None
        assert "TFLite can't make it" in report[kind]["reason"]
        assert "\n" not in report[kind]["reason"]
    assert list(tmp_path.iterdir()) == []


def test_a_network_whose_answers_are_no_numbers_leaves_no_file(net, photos, tmp_path):
    lost = keras.models.clone_model(net)
    lost.set_weights([np.full_like(weight, np.nan) for weight in net.get_weights()])

    report = tflite.export(lost, SIDE, BREEDS, photos[:4], photos[:4], str(tmp_path))

    for kind in tflite.FILES:
        assert report[kind]["reason"] == "the network's own answers are no numbers"
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_half_precision_is_converted_in_float32(net, photos):
    half = keras.models.clone_model(
        net,
        clone_function=lambda layer: layer.__class__.from_config(
            {
                **layer.get_config(),
                "dtype": "float32" if layer.name in ("trained", "head") else "mixed_bfloat16",
            }
        ),
        recursive=True,
    )
    half.set_weights(net.get_weights())

    model = tflite.convert(half, "float16", photos)

    figures = tflite.compare(model, [photo[None] for photo in photos], softmax(net, photos), 0.99)
    assert "bfloat16" in {
        layer.compute_dtype for layer in half.get_layer("backbone").layers[-1].layers
    }
    assert figures["agreement"] == 1.0
    assert figures["difference"] < 1e-3


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v3_small"])
def test_a_net_of_keras_applications_is_converted(name, photos):
    keras.utils.set_random_seed(0)
    large = breed.classifier(backbones.get(name).build(SIDE), 2 * SIDE, [1, 2], len(BREEDS))
    rows = np.repeat(np.repeat(photos[:4], 2, axis=1), 2, axis=2)

    sizes = [len(tflite.convert(large, kind, rows)) for kind in tflite.FILES]

    weights = large.count_params()
    assert 1.9 * weights < sizes[0] < 2.4 * weights
    assert 1.0 * weights < sizes[1] < 1.5 * weights


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"side": 64}, "not photos of 64 pixels"),
        ({"breeds": BREEDS[:5]}, "knows 7 breeds, not 5"),
        ({"photos": np.zeros((2, 16, 16, 3))}, r"photos has the shape \(2, 16, 16, 3\)"),
        ({"representative": np.zeros((0, SIDE, SIDE, 3))}, "representative has the shape"),
    ],
)
def test_what_does_not_go_together_is_refused_before_the_work(change, words, net, photos, tmp_path):
    given = {
        "side": SIDE, "breeds": BREEDS, "representative": photos, "photos": photos, **change,
    }  # fmt: skip

    with pytest.raises(ValueError, match=words):
        tflite.export(net, folder=str(tmp_path), **given)

    assert list(tmp_path.iterdir()) == []
