import json
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components import artifacts, catalog, pusher


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    for name, text in {
        "saved_model.pb": "graph",
        "variables/variables.index": "weights",
        "assets/breeds.txt": "pug",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def card(version):
    return f"card of {version}"


def listing(folder):
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_the_whole_folder_is_pushed(model, tmp_path):
    destination = tmp_path / "pushed" / "breed"

    path = pusher.push(str(model), str(destination), 1700000000, card)

    assert path == str(destination / "1700000000")
    wanted = {**listing(model), "model_card.md": "card of 1700000000"}
    assert listing(destination / "1700000000") == wanted
    assert [found.name for found in destination.iterdir()] == ["1700000000"]


def test_a_version_that_is_taken_counts_up_and_keeps_the_old(model, tmp_path):
    destination = tmp_path / "pushed"
    first = pusher.push(str(model), str(destination), 7, card)
    (model / "saved_model.pb").write_text("newer graph")

    second, third = (pusher.push(str(model), str(destination), 7, card) for _ in range(2))

    assert [path.rpartition("/")[2] for path in (first, second, third)] == ["7", "8", "9"]
    assert (destination / "7" / "saved_model.pb").read_text() == "graph"
    assert (destination / "8" / "saved_model.pb").read_text() == "newer graph"


def test_a_clock_that_went_back_does_not_hide_the_newest(model, tmp_path):
    destination = tmp_path / "pushed"
    pusher.push(str(model), str(destination), 1700000000, card)

    path = pusher.push(str(model), str(destination), 1600000000, card)

    assert path.endswith("/1700000001")


def test_the_number_of_a_withdrawn_version_stays_below_the_next(model, tmp_path):
    destination = tmp_path / "pushed"
    for name in ("7", "9.withdrawn", "notes.withdrawn", "11.copy"):
        (destination / name).mkdir(parents=True)

    path = pusher.push(str(model), str(destination), 7, card)

    assert path.endswith("/10")
    assert (destination / "9.withdrawn").is_dir()


def test_what_an_interrupted_push_left_is_not_part_of_the_version(model, tmp_path):
    left = tmp_path / "pushed" / ".partial-7"
    left.mkdir(parents=True)
    (left / "half.index").write_text("half")

    path = pusher.push(str(model), str(tmp_path / "pushed"), 7, card)

    assert path.endswith("/7")
    assert set(listing(tmp_path / "pushed" / "7")) == {*listing(model), "model_card.md"}
    assert not left.exists()


def test_a_reader_that_lists_versions_sees_numbers_only(model, tmp_path):
    left = tmp_path / "pushed" / ".partial-3"
    left.mkdir(parents=True)

    pusher.push(str(model), str(tmp_path / "pushed"), 7, card)

    seen = [found.name for found in (tmp_path / "pushed").iterdir()]
    assert [name for name in seen if not name.startswith(".")] == ["7"]


def test_a_pushed_savedmodel_answers_as_before(tmp_path):
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    net.export(str(tmp_path / "model"), verbose=False)

    path = pusher.push(str(tmp_path / "model"), str(tmp_path / "pushed"), 1, card)

    rows = tf.constant([[1.0, 2.0, 3.0]])
    assert tf.saved_model.load(path).serve(rows).numpy() == pytest.approx(net(rows).numpy())


@pytest.fixture
def run(model, tmp_path):
    """Calls the component: (gate, replay, the gate's reason) -> PushedModel."""
    model.rename(tmp_path / "Format-Serving")
    breeds = tmp_path / "breeds.csv"
    breeds.write_text("label,breed\n0,beagle\n")
    photo = catalog.Photo(
        "s/1", "stanford", "1.jpg", 0, 1, "0", views=("cropped",), split="test", licence="research"
    )
    (tmp_path / "ledger").mkdir()
    catalog.write(str(tmp_path / "ledger"), [photo])
    told = {
        "destination": str(tmp_path / "serving"), "fingerprint": "f",
        "withdrawn": "", "breeds": str(breeds), "code": "of it",
        "card": json.dumps({"kind": "breed", "recipe": {}, "pretrained": False, "drawn": False}),
    }  # fmt: skip

    def call(gate=1, replay=1, reason="top1 0.900 >= 0.600"):
        rule = {"rule": "floor", "passed": True, "reason": reason}
        metrics = {"metrics": {"top1": 0.9}, "slices": {}, "breeds": {}}
        reports = {
            "verdict.json": {"rules": [rule], "blessed_anyway": "", **metrics},
            "replay.json": {"checks": [], "latency_ms": 1.0, "megabytes": 2.0, "peak_mib": 3.0},
        }
        blessings = []
        for (name, report), kind, value in zip(
            reports.items(),
            (standard_artifacts.ModelBlessing, standard_artifacts.InfraBlessing),
            (gate, replay),
            strict=True,
        ):
            blessings.append(artifact(kind(), tmp_path))
            blessings[-1].set_int_custom_property("blessed", value)
            (tmp_path / name).write_text(json.dumps(report))
        pushed = artifact(standard_artifacts.PushedModel(), tmp_path)
        ledger = artifact(artifacts.SplitManifest(), tmp_path / "ledger")
        artifacts.tell(ledger, data_version="d")
        inputs = {
            "model": [artifact(standard_artifacts.Model(), tmp_path)],
            "model_blessing": blessings[:1],
            "infra_blessing": blessings[1:],
            "ledger": [ledger],
        }
        pusher.Pusher.EXECUTOR_SPEC.executor_class().Do(inputs, {"pushed_model": [pushed]}, told)
        return pushed

    return call


def artifact(made, folder: Path):
    made.uri = str(folder)
    return made


@pytest.mark.parametrize(("gate", "replay", "pushed"), [(1, 1, 1), (1, 0, 0), (0, 1, 0)])
def test_both_blessings_are_needed(run, tmp_path, gate, replay, pushed):
    out = run(gate, replay)

    assert out.get_int_custom_property("pushed") == pushed
    assert len(list(tmp_path.glob("serving/*/saved_model.pb"))) == pushed


def test_a_new_verdict_on_what_serves_pushes_nothing(run, tmp_path):
    first = run()

    second = run(reason="another reason")

    assert [out.get_int_custom_property("pushed") for out in (first, second)] == [1, 0]
    assert second.get_string_custom_property("fingerprint") == "f"
    assert len(list((tmp_path / "serving").iterdir())) == 1


@pytest.mark.parametrize("change", ["variables/variables.index", "assets/new.txt"])
def test_a_model_that_differs_in_one_file_is_pushed_beside_the_old(run, tmp_path, change):
    run()
    (tmp_path / "Format-Serving" / change).write_text("other weights")

    assert run().get_int_custom_property("pushed") == 1
    assert len(list((tmp_path / "serving").iterdir())) == 2


def test_a_model_that_served_before_another_is_pushed_again(run, tmp_path):
    run()
    (tmp_path / "serving" / "9999999999").mkdir()

    assert run().get_int_custom_property("pushed") == 1


def test_a_version_has_a_card_of_its_own(run, tmp_path):
    path = run().get_string_custom_property("pushed_destination")

    text = Path(path, "model_card.md").read_text()
    assert text.startswith(f"# Spotted breed model, version {Path(path).name}\n")
    assert "| stanford | research | 0 | 0 | 1 |" in text
