"""Teachers from elsewhere: what is refused, and what lies in their place afterwards."""

import os
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
import wandb_server

from models import backbones, breed, export
from pipeline import inputs, teachers
from pipeline.settings import Settings, SettingsError

SIDE, BREEDS = 8, 5
PHOTOS = tf.TensorSpec([None, SIDE, SIDE, 3], tf.float32, name="images")
ARTIFACT = f"wandb:{wandb_server.ENTITY}/{wandb_server.PROJECT}/{wandb_server.ARTIFACT}:latest"


class Teacher(tf.Module):
    """The mean colour, times a matrix [3, BREEDS]."""

    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.matrix = tf.Variable(scale * tf.reshape(tf.range(3.0 * BREEDS), [3, BREEDS]))

    @tf.function(input_signature=[PHOTOS])
    def logits(self, images):
        return {"logits": tf.reduce_mean(images, axis=(1, 2)) @ self.matrix}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serving_default(self, serialized):
        breeds = self.matrix.shape[1]
        return {"probabilities": tf.ones([tf.shape(serialized)[0], breeds]) / breeds}


def save(folder: Path, *names: str, module: Teacher | None = None) -> str:
    module = module or Teacher()
    names = names or ("logits", "serving_default")
    signatures = {name: getattr(module, name) for name in names}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return str(folder)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    return save(tmp_path_factory.mktemp("teacher"))


@pytest.fixture
def folder(tmp_path) -> Path:
    """Of the inputs."""
    (tmp_path / "inputs").mkdir()
    return tmp_path / "inputs"


@pytest.fixture
def service(teacher, monkeypatch, tmp_path):
    """W&B, with the teacher as an artifact."""
    names = [path for path in Path(teacher).rglob("*") if path.is_file()]
    files = {str(path.relative_to(teacher)): path.read_bytes() for path in names}
    for variable in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    with wandb_server.running(files) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
        yield server


def bring(teacher: str, folder: Path, side: int = SIDE, breeds: int = BREEDS) -> tuple[str, str]:
    return teachers.bring(teacher, side, breeds, str(folder))


def refusal(teacher: str, folder: Path, **wanted: int) -> str:
    """Why a teacher is refused; nothing is left of it."""
    with pytest.raises(SettingsError) as error:
        bring(teacher, folder, **wanted)
    assert [path for path in folder.iterdir() if path.name != "wandb"] == []
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"--teacher {teacher}: ")
    return str(error.value)


def answer(place: str) -> list[float]:
    model = tf.saved_model.load(os.path.join(place, "Format-Serving"))
    photo = tf.reshape(tf.constant([1.0, 2.0, 3.0]), [1, 1, 1, 3]) * tf.ones([1, SIDE, SIDE, 1])
    return model.signatures["logits"](images=photo)["logits"].numpy()[0].tolist()


def test_a_folder_is_copied_to_a_place_of_its_content(teacher, folder):
    place, digest = bring(teacher, folder)

    assert place == str(folder / digest)
    assert [path.name for path in folder.iterdir()] == [digest]
    # (1, 2, 3) times the rows 0..4, 5..9, 10..14: 0 + 10 + 30, and 6 more with each column.
    assert answer(place) == pytest.approx([40, 46, 52, 58, 64])


def test_the_same_content_has_the_same_place_wherever_it_lies(teacher, folder, tmp_path):
    first = bring(teacher, folder)
    moved = shutil.copytree(teacher, tmp_path / "moved")
    (moved / "labels.txt").write_text("what lies beside a SavedModel is no part of it")

    assert bring(str(moved), folder) == first
    assert len(list(folder.iterdir())) == 1


def test_other_weights_have_another_place(teacher, folder, tmp_path):
    first, _ = bring(teacher, folder)
    second, _ = bring(save(tmp_path / "other", module=Teacher(2.0)), folder)

    assert first != second
    assert answer(second) == pytest.approx([80, 92, 104, 116, 128])


def test_what_an_interrupted_run_left_is_no_teacher(teacher, folder):
    (folder / ".teacher" / "Format-Serving").mkdir(parents=True)
    (folder / ".teacher" / "Format-Serving" / "saved_model.pb").write_bytes(b"half")

    place, _ = bring(teacher, folder)

    assert answer(place)[0] == pytest.approx(40)
    assert not (folder / ".teacher").exists()


def test_a_model_without_logits_is_refused_by_what_it_has(folder, tmp_path):
    words = refusal(save(tmp_path / "model", "serving_default"), folder)

    assert "has the signatures serving_default; a teacher needs logits" in words


def test_a_model_that_no_evaluator_can_ask_is_refused(folder, tmp_path):
    words = refusal(save(tmp_path / "model", "logits"), folder)

    assert "has the signatures logits; a teacher needs logits" in words
    assert "serving_default" in words


def test_a_teacher_of_other_photos_is_refused_with_both_sizes(teacher, folder):
    words = refusal(teacher, folder, side=16)

    assert "takes images float32 [N, 8, 8, 3], and --image_size 16" in words


def test_a_teacher_of_other_breeds_is_refused_with_both_numbers(teacher, folder):
    words = refusal(teacher, folder, breeds=130)

    assert "gives logits float32 [N, 5], and schema/breeds.csv has 130 breeds" in words


def test_a_signature_of_other_names_is_refused(folder, tmp_path):
    class Renamed(Teacher):
        @tf.function(input_signature=[tf.TensorSpec([None, SIDE, SIDE, 3], name="photos")])
        def logits(self, photos):
            return {"scores": tf.reduce_mean(photos, axis=(1, 2)) @ self.matrix}

    words = refusal(save(tmp_path / "model", module=Renamed()), folder)

    assert "takes photos and gives scores; expected images and logits" in words


EXAMPLES = tf.TensorSpec([None], tf.string)


class OfPhotos(Teacher):
    """Evaluators hand over Examples, not photos."""

    @tf.function(input_signature=[PHOTOS])
    def serving_default(self, images):
        return {"probabilities": tf.nn.softmax(self.logits(images)["logits"])}


class OfScores(Teacher):
    @tf.function(input_signature=[EXAMPLES])
    def serving_default(self, serialized):
        return {"scores": tf.ones([tf.shape(serialized)[0], BREEDS]) / BREEDS}


class OfOtherBreeds(Teacher):
    @tf.function(input_signature=[EXAMPLES])
    def serving_default(self, serialized):
        return {"probabilities": tf.ones([tf.shape(serialized)[0], 4]) / 4}


class OfTwoAnswers(Teacher):
    @tf.function(input_signature=[EXAMPLES])
    def serving_default(self, serialized):
        probabilities = tf.ones([tf.shape(serialized)[0], BREEDS]) / BREEDS
        return {"probabilities": probabilities, "classes": serialized}


class OfNoProbabilities(Teacher):
    @tf.function(input_signature=[EXAMPLES])
    def serving_default(self, serialized):
        return {"probabilities": tf.ones([tf.shape(serialized)[0], BREEDS])}


class OfOtherExamples(Teacher):
    @tf.function(input_signature=[EXAMPLES])
    def serving_default(self, serialized):
        wanted = {"photo": tf.io.FixedLenFeature([BREEDS], tf.float32)}
        return {"probabilities": tf.io.parse_example(serialized, wanted)["photo"]}


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (OfPhotos, "takes images float32 [N, 8, 8, 3] and gives probabilities float32 [N, 5]; exp"),
        (OfScores, "gives scores float32 [N, 5]; expected string [N], serialized Examples, and"),
        (OfOtherBreeds, "gives probabilities float32 [N, 4]; expected"),
        (OfTwoAnswers, "gives classes string [N], probabilities float32 [N, 5]; expected"),
        (OfNoProbabilities, "5 probabilities that add up to 5; expected 5 that add up to 1"),
        (OfOtherExamples, "can't be used"),
    ],
)
def test_a_model_that_evaluators_cannot_ask_is_refused_by_what_it_does(
    module, words, folder, tmp_path
):
    found = refusal(save(tmp_path / "model", module=module()), folder)

    assert words in found
    assert "serving_default" in found or module is OfOtherExamples


def test_a_model_that_this_project_exported_is_a_teacher(folder, tmp_path):
    net = breed.classifier(backbones.get("small_cnn").build(32), 32, [0, 1], BREEDS)
    export.BreedExport(net, 32, [*"abcde"]).save(str(tmp_path / "model"))

    place, digest = bring(str(tmp_path / "model"), folder, side=32)

    assert os.path.basename(place) == digest


def test_a_teacher_whose_logits_are_no_numbers_is_refused(folder, tmp_path):
    words = refusal(save(tmp_path / "model", module=Teacher(float("nan"))), folder)

    assert "no numbers" in words


@pytest.mark.parametrize("damage", [b"no graph", b""])
def test_a_graph_that_is_none_is_refused(damage, teacher, folder, tmp_path):
    broken = shutil.copytree(teacher, tmp_path / "broken")
    (broken / "saved_model.pb").write_bytes(damage)

    refusal(str(broken), folder)


def test_a_model_without_its_variables_is_refused(teacher, folder, tmp_path):
    broken = shutil.copytree(teacher, tmp_path / "broken")
    shutil.rmtree(broken / "variables")

    assert "can't be used" in refusal(str(broken), folder)


def test_a_folder_that_went_since_it_was_checked_is_refused(folder, tmp_path):
    assert "found no folder" in refusal(str(tmp_path / "gone"), folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "does not exist; give a SavedModel's folder"),
        ("file", "is not a folder"),
        ("versions", "expected a SavedModel, with saved_model.pb in it, found 1795450048"),
        ("wandb:spotted-breed-teacher:latest", "expected wandb:ENTITY/PROJECT/ARTIFACT:ALIAS"),
        ("wandb:me/spotted/teacher", "expected wandb:ENTITY/PROJECT/ARTIFACT:ALIAS"),
        ("wandb:me/spotted/teacher:v1", "there is no key for https://api.wandb.ai"),
    ],
)
def test_a_name_that_can_be_no_teacher_is_refused_at_once(name, words, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "versions" / "1795450048").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE", "NETRC"):
        monkeypatch.delenv(variable, raising=False)

    with pytest.raises(SettingsError) as error:
        teachers.check_name(name)

    assert str(error.value).startswith(f"--teacher {name}: {words}")


def test_an_artifact_is_downloaded_to_the_place_that_a_folder_has(service, teacher, folder):
    teachers.check_name(ARTIFACT)

    place, digest = bring(ARTIFACT, folder)

    assert (place, digest) == bring(teacher, folder)
    assert {path.name for path in folder.iterdir()} == {digest, "wandb"}
    assert answer(place)[0] == pytest.approx(40)


def test_what_was_downloaded_once_is_not_again(service, folder):
    first = bring(ARTIFACT, folder)
    service.served.clear()

    assert bring(ARTIFACT, folder) == first
    assert service.served == []


def test_an_artifact_that_is_not_there_is_refused_in_the_words_of_wandb(service, folder):
    words = refusal(ARTIFACT.replace(":latest", ":v7"), folder)

    assert "W&B can't give it" in words
    assert f"artifact '{wandb_server.ARTIFACT}:v7' not found" in words


def test_an_artifact_that_is_damaged_on_the_way_is_refused_and_fetched_again(service, folder):
    manifest, files = service.manifest(), dict(service.files)
    service.files["saved_model.pb"] = b"x" * len(files["saved_model.pb"])
    service.manifest = lambda: manifest

    assert "W&B can't give it" in refusal(ARTIFACT, folder)

    service.files = files
    assert answer(bring(ARTIFACT, folder)[0])[0] == pytest.approx(40)


def test_an_artifact_that_is_no_model_is_refused_by_what_it_holds(service, folder):
    service.files = {"photos.csv": b"1,2"}

    assert "with saved_model.pb in it, found photos.csv" in refusal(ARTIFACT, folder)


def test_a_server_that_cannot_be_reached_is_named(service, folder):
    service.shutdown()
    service.server_close()

    assert f"{service.url} can't be reached" in refusal(ARTIFACT, folder)


def settings(few_photos: Path, output: Path, teacher: str, **changes) -> Settings:
    return Settings(
        str(few_photos), str(output), "small_cnn", "none", SIDE, 1, 8, teacher=teacher, **changes
    )


def test_a_run_that_trains_nothing_asks_for_no_teacher(few_photos, tmp_path):
    stages = ("data_extraction",)

    found = inputs.prepare(settings(few_photos, tmp_path, "nowhere", stages=stages)).inputs

    assert (found.teacher, found.teacher_digest) == (None, "")


def test_a_run_knows_the_place_of_its_teacher(few_photos, tmp_path):
    class Whole(Teacher):
        def __init__(self):
            super().__init__()
            self.matrix = tf.Variable(tf.ones([3, 130]))

    whole = save(tmp_path / "whole", module=Whole())

    found = inputs.prepare(settings(few_photos, tmp_path / "output", whole)).inputs

    assert found.teacher == str(tmp_path / "output" / "inputs" / found.teacher_digest)
    assert os.path.isfile(os.path.join(found.teacher, "Format-Serving", "saved_model.pb"))
