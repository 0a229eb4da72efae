"""Small models as training leaves them, replayed; and models that must not pass."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components import replay_check, replay_probe
from models import backbones, breed, examples, export, golden, match, pixels

SIDE, PHOTOS = 32, 6
BREEDS = ["beagle", "husky", "borzoi", "basset", "pug", "collie", "saluki"]
HOSTILE = ["nothing", "text", "half a JPEG", "random bytes", "a giant PNG", "a giant JPEG"]


def breed_export():
    keras.utils.set_random_seed(0)
    net = breed.classifier(backbones.get("small_cnn").build(SIDE), SIDE, range(6), len(BREEDS))
    return export.BreedExport(net, SIDE, BREEDS)


def match_export():
    keras.utils.set_random_seed(0)
    net = match.encoder(backbones.get("small_cnn").build(SIDE), SIDE)
    return export.MatchExport(net, SIDE, 20.0, -10.0)


@pytest.fixture(scope="module")
def split(tmp_path_factory, picture, write_split):
    photos = [pixels.encode(picture(SIDE, SIDE, seed)) for seed in range(PHOTOS)]
    rows = [examples.serialize({examples.ENCODED: photo}) for photo in photos]
    return write_split(tmp_path_factory.mktemp("records") / "Split-val", rows)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, split):
    """Folders of model artifacts, by kind, as a trainer leaves them."""
    folders = {}
    for kind, exported in (("breed", breed_export()), ("match", match_export())):
        folders[kind] = tmp_path_factory.mktemp(kind)
        exported.save(str(folders[kind] / "Format-Serving"))
        exported.check(str(folders[kind] / "Format-Serving"), split)
    return folders


def node(folder, kind, ceilings=None):
    """Runs the component: (model artifact's folder, kind) -> its blessing and its report."""
    model, blessing = standard_artifacts.Model(), standard_artifacts.InfraBlessing()
    model.uri, blessing.uri = str(folder), str(folder / "blessing")
    shutil.rmtree(blessing.uri, ignore_errors=True)
    (folder / "blessing").mkdir()
    executor = replay_check.ReplayCheck.EXECUTOR_SPEC.executor_class()
    told = {"kind": kind, "ceilings": json.dumps(ceilings or {}), "code": "of it"}
    executor.Do({"model": [model]}, {"blessing": [blessing]}, told)
    return blessing, json.loads((folder / "blessing" / "replay.json").read_text())


def refused(report):
    """Why, by the name of each check that was not passed."""
    assert not report["passed"]
    return {found["check"]: found["reason"] for found in report["checks"] if not found["passed"]}


def changed(artifact, kind, folder, **signatures):
    """A copy of a model artifact in which other signatures answer."""
    shutil.copytree(artifact[kind], folder, ignore=shutil.ignore_patterns("Format-Serving"))
    module = tf.Module()
    module.kept = tf.saved_model.load(str(artifact[kind] / "Format-Serving"))
    kept = dict(module.kept.signatures)
    tf.saved_model.save(module, str(folder / "Format-Serving"), signatures={**kept, **signatures})
    return folder


def saved_with(exported, artifact, kind, folder, change):
    """A copy of a model artifact whose weights were changed after training."""
    shutil.copytree(artifact[kind], folder, ignore=shutil.ignore_patterns("Format-Serving"))
    exported.net.set_weights([change(weights) for weights in exported.net.get_weights()])
    exported.save(str(folder / "Format-Serving"))
    return folder


def test_golden_answers_are_kept_beside_the_model(artifact, split):
    found = replay_probe.read(golden.path(str(artifact["breed"] / "Format-Serving")))

    records = [examples.encoded_image(data) for _, data in examples.scan(split)]
    images = np.stack([pixels.decode(record) for record in records]).astype(np.float32)
    expected = tf.nn.softmax(breed_export().net(images)).numpy()
    assert found.jpegs == records
    assert found.answers == pytest.approx(expected, abs=1e-6)
    assert found.png_answers.shape == (PHOTOS, len(BREEDS))
    assert (artifact["breed"] / "Format-Golden" / "golden.npz").is_file()


@pytest.mark.parametrize(("kind", "second"), [("breed", "classify"), ("match", "compare")])
def test_a_model_that_is_as_training_left_it_passes(kind, second, artifact):
    blessing, report = node(artifact[kind], kind)

    names = [found["check"] for found in report["checks"]]
    asked = [f"{what}, {sent}" for sent in ("JPEG", "PNG") for what in ("golden answers", second)]
    refusals = [f"refuses {name}" for name in HOSTILE]
    assert [found for found in report["checks"] if not found["passed"]] == []
    assert names == ["golden", "load", "weights", "alone", *asked, "latency", *refusals, "process"]
    reasons = {found["check"]: found["reason"] for found in report["checks"]}
    for giant in ("a giant PNG", "a giant JPEG"):
        assert "30000 x 30000 pixels, 100,000,000 is the most" in reasons[f"refuses {giant}"]
    assert report["passed"] is True
    assert report["photos"] == PHOTOS
    assert min(report[figure] for figure in ("load_s", "latency_ms", "megabytes")) > 0
    assert 100 < report["peak_mib"] < 3000
    assert (artifact[kind] / "blessing" / "INFRA_BLESSED").exists()
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_float_custom_property("latency_ms") == report["latency_ms"]
    assert blessing.get_float_custom_property("peak_mib") == report["peak_mib"]


def test_weights_that_changed_after_training_are_refused(artifact, tmp_path):
    folder = saved_with(breed_export(), artifact, "breed", tmp_path / "m", lambda w: w * 1.05)

    blessing, report = node(folder, "breed")

    why = refused(report)
    assert {"golden answers, JPEG", "golden answers, PNG", "classify, JPEG"} <= set(why)
    assert "apart, 0.0001 is the most" in why["golden answers, JPEG"]
    assert blessing.get_int_custom_property("blessed") == 0
    assert (folder / "blessing" / "INFRA_NOT_BLESSED").exists()
    assert not (folder / "blessing" / "INFRA_BLESSED").exists()


def test_a_weight_that_is_no_number_is_refused_though_no_answer_shows_it(artifact, tmp_path):
    def spoiled(weights):
        return np.where(np.arange(weights.size).reshape(weights.shape) == 0, np.nan, weights)

    folder = saved_with(match_export(), artifact, "match", tmp_path / "m", spoiled)

    why = refused(node(folder, "match")[1])

    assert set(why) == {"weights"}
    assert "weights are no numbers" in why["weights"]


def test_answers_that_are_no_numbers_are_refused():
    with pytest.raises(replay_probe.RefusedError, match="not finite"):
        replay_probe.Breed({}).compare(np.full((1, 2), np.nan), np.zeros((1, 2)))


def test_a_model_that_answers_whatever_it_is_sent_is_refused(artifact, tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def embed(image_bytes):
        return {"embedding": tf.ones([tf.size(image_bytes), 128]) / 128**0.5}

    why = refused(node(changed(artifact, "match", tmp_path / "m", embed=embed), "match")[1])

    assert {f"refuses {name}" for name in HOSTILE} <= set(why)
    assert why["refuses text"] == "it was answered like a photo"


def test_a_model_that_kills_its_process_is_refused_and_the_node_ends(artifact, tmp_path):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def embed(image_bytes):
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="out of luck")]):
            return {"embedding": tf.ones([tf.size(image_bytes), 128])}

    blessing, report = node(changed(artifact, "match", tmp_path / "m", embed=embed), "match")

    (why,) = refused(report).values()
    assert "was ended by SIGABRT; it printed last: " in why
    assert "golden answers, JPEG ..." in why
    assert (report["latency_ms"], report["peak_mib"], report["photos"]) == (None, None, PHOTOS)
    assert blessing.get_int_custom_property("blessed") == 0


def test_a_model_that_cannot_be_loaded_is_refused(artifact, tmp_path):
    shutil.copytree(artifact["breed"], tmp_path / "m")
    graph = tmp_path / "m" / "Format-Serving" / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:1000])

    why = refused(node(tmp_path / "m", "breed")[1])

    assert list(why) == ["load"]
    assert "saved_model.pb" in why["load"]


def test_a_model_without_golden_answers_is_refused(artifact, tmp_path):
    ignored = shutil.ignore_patterns("Format-Golden")
    shutil.copytree(artifact["breed"], tmp_path / "m", ignore=ignored)

    why = refused(node(tmp_path / "m", "breed")[1])

    assert list(why) == ["golden"]
    assert "there is no " in why["golden"]
    assert "Format-Golden/golden.npz" in why["golden"]


def test_a_probe_that_hangs_is_ended(artifact):
    serving = str(artifact["breed"] / "Format-Serving")

    report = replay_check.replay(serving, golden.path(serving), "breed", seconds=0.2)

    assert refused(report)["process"].startswith("was ended after 0.2 s; it printed last: ")


def test_another_kind_of_model_is_an_error(artifact):
    with pytest.raises(ValueError, match="expected one of breed, match"):
        node(artifact["breed"], "cat")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Graph execution error:\n\nDetected at node a/b\n<stack traces unavailable>\n"
         "Input is empty.\n\t [[{{node a/b}}]] [Op:__inference_1]", "Input is empty."),
        ("no such key", "no such key"),
        ("\n", ""),
    ],
)  # fmt: skip
def test_of_an_error_is_told_what_is_wrong_and_not_where(text, first):
    assert replay_probe.said(ValueError(text)) == first


def test_a_model_that_is_too_slow_or_too_large_is_refused_by_name(artifact):
    ceilings = {"latency_ms": 1e-6, "megabytes": 1e-6, "peak_mib": 1e9}

    blessing, report = node(artifact["breed"], "breed", ceilings)

    failed = {check["check"]: check for check in report["checks"] if not check["passed"]}
    assert set(failed) == {"latency_ms ceiling", "megabytes ceiling"}
    assert failed["latency_ms ceiling"]["value"] == report["latency_ms"]
    assert failed["megabytes ceiling"]["reason"].endswith("1e-06 is the most")
    assert blessing.get_int_custom_property("blessed") == 0


def test_a_figure_that_was_not_measured_is_above_its_ceiling(artifact, tmp_path):
    shutil.copytree(artifact["breed"] / "Format-Serving", tmp_path / "Format-Serving")

    _, report = node(tmp_path, "breed", {"latency_ms": 1000.0})

    failed = {check["check"]: check["reason"] for check in report["checks"] if not check["passed"]}
    assert "latency_ms was not measured" in failed["latency_ms ceiling"]
