import keras
import pytest
import tensorflow as tf

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
