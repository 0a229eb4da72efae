"""What lies in a bucket, through TensorFlow's own GCS file system: the same as in a folder."""

import concurrent.futures
import dataclasses
import shutil
import subprocess
import tarfile
from pathlib import Path

import gcs
import keras
import pytest
import tensorflow as tf
from runs import Project

import local_runner
from components import dataset, pusher
from components.sources.base import DataError
from models import backbones, places
from pipeline import inputs, teachers
from pipeline.settings import Settings, SettingsError, check


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that this process and those that it starts are led to."""
    with (
        gcs.serving(tmp_path_factory.mktemp("gcs"), "bucket") as found,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in found.environment().items():
            patch.setenv(name, value)
        yield found


def put(server, folder: Path, name: str) -> str:
    gcs.upload(server, "bucket", folder, name)
    return f"gs://bucket/{name}"


def test_the_library_asks_for_the_real_hosts(server):
    places.write("gs://bucket/hosts/one", b"1")

    assert places.read("gs://bucket/hosts/one") == b"1"
    assert {"storage.googleapis.com", "www.googleapis.com"} & server.connected


def test_a_file_is_written_read_and_looked_at(server):
    path = "gs://bucket/places/inner/file"
    places.write(path, b"0123456789" * 1000)

    size, time = places.stamp(path)
    assert (size, time > 0) == (10000, True)
    assert places.exists(path)
    assert places.exists("gs://bucket/places")
    assert places.is_folder("gs://bucket/places")
    assert not places.is_folder(path)
    assert places.names("gs://bucket/places") == ["inner/"]
    assert places.names("gs://bucket/places/inner") == ["file"]
    with places.File(path) as file, concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: file.read(place, 3), range(0, 9990, 9)))
    assert file.size == 10000
    wanted = b"0123456789" * 1000
    assert found == [wanted[place : place + 3] for place in range(0, 9990, 9)]


def test_what_is_not_there_is_an_error_of_the_file_system(server):
    for call in (places.read, places.names, places.File):
        with pytest.raises(OSError, match=r"gone|does not exist|not found") as caught:
            call("gs://bucket/gone")
        assert isinstance(caught.value, FileNotFoundError)
    assert places.stamp("gs://bucket/gone") is None
    assert not places.exists("gs://bucket/gone")
    assert not places.is_folder("gs://nobodys/gone")


def test_a_folder_is_copied_there_and_back(server, tmp_path):
    for name in ("one", "inner/two", "inner/most/three"):
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_text(name)

    places.copy(str(tmp_path / "from"), "gs://bucket/copied/")
    places.copy("gs://bucket/copied", str(tmp_path / "to"))

    assert server.names("bucket", "copied/") == ["inner/most/three", "inner/two", "one"]
    assert subprocess.run(["diff", "-r", tmp_path / "from", tmp_path / "to"]).returncode == 0


@pytest.fixture(scope="module")
def photos(few_photos, tmp_path_factory) -> Path:
    """Loose photos, a tar of some, and two that are none."""
    folder = tmp_path_factory.mktemp("photos") / "photos"
    shutil.copytree(few_photos, folder)
    (folder / "individuals" / "dog-1" / "empty.jpg").touch()
    (folder / "individuals" / "dog-2" / "0.jpg").write_bytes(b"\xff\xd8 half")
    with tarfile.open(folder / "breeds.tar", "w") as tar:
        tar.add(folder / "breeds", "breeds")
    shutil.rmtree(folder / "breeds")
    return folder


def photo_bytes(folder: str, found: dataset.Dataset) -> dict[str, bytes]:
    told, _ = dataset.entries(folder, found)
    with dataset.Reader(folder) as reader:
        return {entry.name: reader.entry(entry) for entry in told}


def test_photos_are_the_same_version_and_the_same_bytes(server, photos):
    place = put(server, photos, "dataset")

    local, there = dataset.read_dataset(str(photos)), dataset.read_dataset(place)

    assert there.digest == local.digest
    assert [c.path for c in there.containers] == [c.path for c in local.containers]
    assert photo_bytes(place, there) == photo_bytes(str(photos), local)


def test_a_photo_that_goes_while_it_is_read_is_an_error_not_a_reject(server, photos):
    place = put(server, photos, "shrinking")
    found = dataset.read_dataset(place)
    told, _ = dataset.entries(place, found)
    (entry, *_) = [entry for entry in told if entry.container.endswith(".jpg")]
    del server.objects["bucket", f"shrinking/{entry.container}"]

    with dataset.Reader(place) as reader, pytest.raises(DataError, match=entry.container):
        reader.entry(entry)


@pytest.mark.parametrize("place", ["gs://bucket/nothing-here", "gs://nobodys/photos"])
def test_a_place_without_photos_is_named(server, place):
    with pytest.raises(DataError, match=f"data folder {place}"):
        dataset.read_dataset(place)


@pytest.fixture
def model(tmp_path) -> str:
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    net.export(str(tmp_path / "model"), verbose=False)
    return str(tmp_path / "model")


def test_a_version_is_pushed_with_what_makes_it_one_last(server, model, tmp_path):
    path = pusher.push(model, "gs://bucket/serving/breed", 7, lambda version: f"card of {version}")

    assert path == "gs://bucket/serving/breed/7"
    ages = {name: made.generation for (_, name), made in server.objects.items()}
    folder = "serving/breed/7/"
    inside = {name: age for name, age in ages.items() if name.startswith(folder)}
    assert max(inside, key=lambda name: inside[name]) == f"{folder}saved_model.pb"
    assert f"{folder}model_card.md" in inside
    rows = tf.constant([[1.0, 2.0, 3.0]])
    # TensorFlow holds Python's lock while it reads variables, and the server is this very process.
    places.copy(path, str(tmp_path / "pushed"))
    local, pushed = (tf.saved_model.load(place) for place in (model, str(tmp_path / "pushed")))
    assert pushed.serve(rows).numpy() == pytest.approx(local.serve(rows).numpy())
    assert pusher.serves(model, "gs://bucket/serving/breed")


def test_what_an_interrupted_push_left_is_removed_and_its_number_not_used_again(server, model):
    server.put("bucket", "serving/match/8/variables/variables.index", b"half")
    assert not pusher.serves(model, "gs://bucket/serving/match")

    path = pusher.push(model, "gs://bucket/serving/match", 7, str)

    assert path == "gs://bucket/serving/match/9"
    assert server.names("bucket", "serving/match/8/") == []


def test_start_weights_and_a_teacher_are_fetched_once_they_are_what_is_needed(
    server, model, tmp_path
):
    backbone = backbones.get(backbones.SMALL)
    path = tmp_path / "own.weights.h5"
    backbone.build(64).save_weights(path)
    server.put("bucket", "weights/own.weights.h5", path.read_bytes())
    server.put("bucket", "weights/other.weights.h5", b"no weights")
    settings = Settings(
        data=None,
        output=str(tmp_path),
        backbone=backbone.name,
        weights="none",
        image_size=64,
        epochs=1,
        batch_size=32,
    )

    def prepared(name):
        told = check(dataclasses.replace(settings, weights=f"gs://bucket/weights/{name}"))
        return inputs.apart_from_data(told, str(tmp_path / "inputs"))

    found = prepared("own.weights.h5")
    assert (Path(found.weights) / "start.weights.h5").read_bytes() == path.read_bytes()
    with pytest.raises(SettingsError, match=r"--weights gs://bucket/weights/other.* no HDF5 file"):
        prepared("other.weights.h5")
    with pytest.raises(SettingsError, match=r"--weights gs://bucket/weights/gone.* can't be read"):
        prepared("gone.weights.h5")
    put(server, Path(model), "teacher")
    with pytest.raises(SettingsError, match="--teacher gs://bucket/teacher: has the signatures"):
        teachers.bring("gs://bucket/teacher", 64, 5, str(tmp_path / "inputs"))
    with pytest.raises(SettingsError, match="--teacher gs://bucket/none: "):
        teachers.bring("gs://bucket/none", 64, 5, str(tmp_path / "inputs"))


def test_a_run_on_a_bucket_is_the_run_on_its_folder(server, photos, tmp_path):
    place = put(server, photos, "run")
    stages = ("--data_extraction", "--data_transformation", "--data_preprocessing")
    (tmp_path / "project").mkdir()
    project = Project.copy(tmp_path / "project")

    code, printed = project.run("--data", place, *stages)
    assert code == 0, printed
    there = project.ledger()
    code, printed = project.run("--data", str(photos), *stages)

    assert code == 0, printed
    assert project.executed() == set()
    assert project.ledger() == there
    assert len(there) > 80


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data", "gs://UPPER/x"], "--data gs://UPPER/x: expected a folder or gs://BUCKET"),
        (["--data", "s3://bucket/x"], "--data s3://bucket/x: expected a folder or gs://BUCKET"),
        (["--data", "gs://b-b/x", "--download", "stanford"], "nothing is downloaded to a bucket"),
        (["--weights", "gs://b-b/x.txt"], "expected gs://BUCKET/….weights.h5"),
        (["--output", "gs://b-b/x"], "--output gs://b-b/x: expected a folder of this machine"),
        (["data", "put", "--data", "gs://b-b/x"], "--data gs://b-b/x: DVC works on folders"),
    ],
)
def test_what_no_bucket_can_be_is_said_before_any_work(flags, words, capsys):
    assert local_runner.main(flags) == 2
    assert words in capsys.readouterr().err
