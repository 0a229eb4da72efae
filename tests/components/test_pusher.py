import keras
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components import pusher


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    for name, text in {"saved_model.pb": "graph", "variables/variables.index": "weights"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "assets").mkdir()
    return folder


def listing(folder):
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_the_whole_folder_is_pushed(model, tmp_path):
    destination = tmp_path / "pushed" / "breed"

    path = pusher.push(str(model), str(destination), 1700000000)

    assert path == str(destination / "1700000000")
    assert listing(destination / "1700000000") == listing(model)
    assert [found.name for found in destination.iterdir()] == ["1700000000"]


def test_a_version_that_is_taken_counts_up_and_keeps_the_old(model, tmp_path):
    destination = tmp_path / "pushed"
    first = pusher.push(str(model), str(destination), 7)
    (model / "saved_model.pb").write_text("newer graph")

    second, third = (pusher.push(str(model), str(destination), 7) for _ in range(2))

    assert [path.rpartition("/")[2] for path in (first, second, third)] == ["7", "8", "9"]
    assert (destination / "7" / "saved_model.pb").read_text() == "graph"
    assert (destination / "8" / "saved_model.pb").read_text() == "newer graph"


def test_a_clock_that_went_back_does_not_hide_the_newest(model, tmp_path):
    destination = tmp_path / "pushed"
    pusher.push(str(model), str(destination), 1700000000)

    path = pusher.push(str(model), str(destination), 1600000000)

    assert path.endswith("/1700000001")


def test_the_number_of_a_withdrawn_version_stays_below_the_next(model, tmp_path):
    destination = tmp_path / "pushed"
    for name in ("7", "9.withdrawn", "notes.withdrawn", "11.copy"):
        (destination / name).mkdir(parents=True)

    path = pusher.push(str(model), str(destination), 7)

    assert path.endswith("/10")
    assert (destination / "9.withdrawn").is_dir()


def test_what_an_interrupted_push_left_is_not_part_of_the_version(model, tmp_path):
    left = tmp_path / "pushed" / ".partial-7"
    left.mkdir(parents=True)
    (left / "half.index").write_text("half")

    path = pusher.push(str(model), str(tmp_path / "pushed"), 7)

    assert path.endswith("/7")
    assert listing(tmp_path / "pushed" / "7") == listing(model)
    assert not left.exists()


def test_a_reader_that_lists_versions_sees_numbers_only(model, tmp_path):
    left = tmp_path / "pushed" / ".partial-3"
    left.mkdir(parents=True)

    pusher.push(str(model), str(tmp_path / "pushed"), 7)

    seen = [found.name for found in (tmp_path / "pushed").iterdir()]
    assert [name for name in seen if not name.startswith(".")] == ["7"]


def test_a_pushed_savedmodel_answers_as_before(tmp_path):
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    net.export(str(tmp_path / "model"), verbose=False)

    path = pusher.push(str(tmp_path / "model"), str(tmp_path / "pushed"), 1)

    rows = tf.constant([[1.0, 2.0, 3.0]])
    assert tf.saved_model.load(path).serve(rows).numpy() == pytest.approx(net(rows).numpy())


@pytest.mark.parametrize(("gate", "replay", "pushed"), [(1, 1, 1), (1, 0, 0), (0, 1, 0)])
def test_both_blessings_are_needed(model, tmp_path, gate, replay, pushed):
    source, out = standard_artifacts.Model(), standard_artifacts.PushedModel()
    source.uri, out.uri = str(tmp_path / "artifact"), str(tmp_path / "out")
    model.parent.joinpath("artifact").mkdir()
    model.rename(tmp_path / "artifact" / "Format-Serving")
    blessings = (standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing())
    for blessing, value in zip(blessings, (gate, replay), strict=True):
        blessing.set_int_custom_property("blessed", value)
    told = {"fingerprint": "f", "data_version": "d", "withdrawn": "", "code": "of it"}

    pusher.Pusher.EXECUTOR_SPEC.executor_class().Do(
        {"model": [source], "model_blessing": [blessings[0]], "infra_blessing": [blessings[1]]},
        {"pushed_model": [out]},
        {"destination": str(tmp_path / "serving"), **told},
    )

    assert out.get_int_custom_property("pushed") == pushed
    assert len(list(tmp_path.glob("serving/*/saved_model.pb"))) == pushed
