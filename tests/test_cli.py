"""The command line, up to the point where work would begin."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*flags: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "local_runner.py"), *flags],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "individuals" / "rex").mkdir(parents=True)
    return folder


def test_help_names_every_flag_and_imports_nothing_heavy():
    code = (
        "import sys, local_runner\n"
        "try: local_runner.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'tensorflow', 'keras', 'apache_beam', 'tfx', 'h5py', 'PIL', 'cv2', 'wandb'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "HEAVY []" in done.stdout
    for flag in (
        "--data", "--output", "--image_size", "--backbone", "--weights", "--epochs", "--batch_size",
        "--data_extraction", "--data_transformation", "--data_preprocessing", "--data_processing",
        "--model_training", "--pipeline", "--cropped", "--uncropped", "--individual",
        "--download", "--upstream_splits", "--crop_margin", "--data_version", "--student",
        "--student_size", "--student_weights", "--teacher", "--match_loss", "--match_start",
        "--wandb", "--augment", "--mix", "--false_alarm_rate",
    ):  # fmt: skip
        assert flag in done.stdout


@pytest.mark.parametrize("words", [["data"], ["data", "put"], ["data", "restore"]])
def test_the_data_command_teaches_by_examples(words, tmp_path):
    done = run(*words, "--help", cwd=tmp_path)

    assert done.returncode == 0
    assert f"usage: local_runner.py {' '.join(words)}" in done.stdout
    assert f"python local_runner.py {' '.join(words)}" in done.stdout.partition("examples")[2]


def test_the_schema_command_says_what_it_is_for(tmp_path):
    done = run("schema", "--help")
    other = run("schema", "--acept")
    nowhere = run("schema", "--output", str(tmp_path))

    assert done.returncode == 0
    assert "--accept" in done.stdout
    assert (other.returncode, nowhere.returncode) == (2, 2)
    assert "--acept" in other.stderr
    assert "no run was made there" in nowhere.stderr


def test_what_is_asked_of_the_data_arrives_in_the_settings():
    import local_runner

    plain = local_runner.read_settings(local_runner.parser().parse_args([]))
    flags = ["--allow_anomalies", "--trust_mtime"]
    asked = local_runner.read_settings(local_runner.parser().parse_args(flags))

    assert (plain.allow_anomalies, plain.trust_mtime) == (False, False)
    assert (asked.allow_anomalies, asked.trust_mtime) == (True, True)


def test_what_is_not_said_of_the_student_follows_from_the_teacher():
    import local_runner

    def student(*flags: str) -> tuple[str, int, str]:
        settings = local_runner.read_settings(local_runner.parser().parse_args(flags))
        return settings.student, settings.student_size, settings.student_weights

    assert student() == ("small_cnn", 42, "")
    assert student("--data", "photos") == ("efficientnet_v2_b0", 149, "")
    assert student("--image_size", "90", "--backbone", "mobilenet_v2") == ("mobilenet_v2", 60, "")
    assert student("--student", "mobilenet_v2") == ("mobilenet_v2", 42, "imagenet")
    assert student("--data", "photos", "--student", "small_cnn") == ("small_cnn", 149, "none")
    assert student(
        "--student", "mobilenet_v2", "--student_size", "40", "--student_weights", "none"
    ) == ("mobilenet_v2", 40, "none")


def test_what_is_asked_of_training_arrives_in_the_settings():
    import local_runner

    def read(*flags: str) -> tuple[str | None, str, str, str]:
        settings = local_runner.read_settings(local_runner.parser().parse_args(flags))
        return settings.teacher, settings.match_loss, settings.match_start, settings.wandb

    assert read() == (None, "supcon", "weights", "off")
    assert read(
        "--teacher", "t", "--match_loss", "triplet", "--match_start", "teacher",
        "--wandb", "offline",
    ) == ("t", "triplet", "teacher", "offline")  # fmt: skip


def test_what_is_asked_of_augmentation_arrives_in_the_settings():
    import local_runner

    def read(*flags: str) -> tuple[str, str]:
        settings = local_runner.read_settings(local_runner.parser().parse_args(flags))
        return settings.augment, settings.mix

    assert read() == ("light", "none")
    assert read("--augment", "standard", "--mix", "cutmix") == ("standard", "cutmix")


def test_a_folder_without_runs_has_no_versions_and_is_not_made(tmp_path):
    done = run("data", cwd=tmp_path)

    assert done.returncode == 0
    assert "output knows no versions yet" in done.stdout
    assert not (tmp_path / "output").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--data", "nowhere"], ["--data nowhere", "does not exist"]),
        (["--data", "file"], ["--data file", "is not a folder"]),
        (["--data", "nowhere", "--cropped"], ["--data nowhere", "does not exist"]),
        (["--data", ""], ["--data", "does not exist"]),
        (["--data", "empty"], ["--data empty", "found nothing"]),
        (["--data", "other"], ["--data other", "individuals/<dog id>/", "found cats"]),
        (["--backbone", "resnet"], ["--backbone", "'resnet'", "mobilenet_v2"]),
        (["--weights", "nowhere.h5"], ["--weights", "nowhere.h5 does not exist"]),
        (["--weights", "file"], ["--weights", "no HDF5 file"]),
        (["--weights", "other.h5"], ["--weights", "holds 12 weights", "small_cnn", "186,464"]),
        (["--weights", "imagenet"], ["--weights imagenet", "small_cnn has none"]),
        (["--image_size", "63"], ["--image_size 63", "even"]),
        (["--image_size", "32"], ["--image_size 32", "at least 48"]),
        (["--image_size", "4096"], ["--image_size 4096", "1024 or less"]),
        (["--epochs", "0"], ["--epochs 0"]),
        (["--epoch", "3"], ["unrecognized arguments: --epoch"]),
        (["--model_training"], ["no earlier run", "--data_extraction first"]),
        (["--epochs", "many"], ["--epochs", "'many'", "--help"]),
        (["--batch_size", "4"], ["--batch_size 4"]),
        (["--output", "file"], ["--output file", "is a file"]),
        (["--output", "file/below"], ["--output file/below", "is a file"]),
        (["--pipeline", "--data_processing"], ["--pipeline", "--data_processing"]),
        (["--crop_margin", "-0.1"], ["--crop_margin -0.1", "0 to 1"]),
        (["--crop_margin", "1.5"], ["--crop_margin 1.5", "0 to 1"]),
        (["--crop_margin", "nan"], ["--crop_margin nan", "0 to 1"]),
        (["--download", "stanford"], ["--download stanford", "--data DIR"]),
        (["--data", "new", "--download", ""], ["--download", "name a source"]),
        (["--data", "new", "--download", "cats"], ["--download cats", "stanford,tsinghua,austin"]),
        (["--data", "new", "--download", "individuals"], ["--download individuals"]),
        (["--data", "new", "--download", "stanford=ftp://x"], ["stanford=ftp://x", "http"]),
        (["--data_extraction", "--model_training"], ["must follow each other"]),
        (["--data_version", "abc"], ["--data_version abc", "first 4 or more"]),
        (["--data_version", "dogs"], ["--data_version dogs", "first 4 or more"]),
        (["--data_version", ""], ["--data_version", "first 4 or more"]),
        (["--data_version", "abcd"], ["--data_version abcd", "./output knows no such", "--data"]),
        (
            ["--data_version", "abcd", "--data", "other"],
            ["--data_version abcd", "leave --data out"],
        ),
        (
            ["--data_version", "abcd", "--download", "stanford"],
            ["--data_version abcd", "leave --download out"],
        ),
        (["--student", "resnet"], ["--student", "'resnet'", "mobilenet_v2"]),
        (["--student_size", "65"], ["--student_size 65", "64 or less", "--image_size"]),
        (["--student_size", "16"], ["--student_size 16", "small_cnn needs at least 32"]),
        (["--student_size", "0"], ["--student_size 0", "pixels"]),
        (["--student_size", "-1"], ["--student_size -1", "at least 32"]),
        (["--image_size", "100", "--student", "inception_resnet_v2"], ["takes 75", "at least 114"]),
        (["--student_weights", "none"], ["--student_weights none", "its teacher", "--student"]),
        (
            ["--teacher", "teacher", "--student_weights", "none"],
            ["--student_weights none", "starts from --weights", "--student"],
        ),
        (
            ["--student", "mobilenet_v2", "--student_weights", "other.h5"],
            ["--student_weights: ", "holds 12 weights", "mobilenet_v2", "2,257,984"],
        ),
        (
            ["--student_weights", "nowhere.h5", "--student", "mobilenet_v2"],
            ["--student_weights: ", "nowhere.h5 does not exist"],
        ),
        (
            [
                "--backbone",
                "mobilenet_v2",
                "--weights",
                "none",
                "--student",
                "small_cnn",
                "--student_weights",
                "imagenet",
            ],
            ["--student_weights imagenet: small_cnn has none", "--student_weights none"],
        ),
        (["--match_loss", "softmax"], ["--match_loss softmax", "supcon, triplet, arcface"]),
        (["--false_alarm_rate", "1"], ["--false_alarm_rate 1", "between 0 and 1"]),
        (["--match_start", "imagenet"], ["--match_start imagenet", "weights, teacher"]),
        (["--match_start", "teacher", "--individual"], ["--match_start teacher", "--cropped"]),
        (
            ["--match_start", "teacher", "--cropped"],
            [
                "--match_start teacher: without the individual view there is no match model",
                "the views are cropped",
                "leave it out",
                "known dogs",
                "--individual",
            ],
        ),
        (["--augment", "wild"], ["--augment wild", "none, light, standard, randaugment, identity"]),
        (["--augment", ""], ["--augment ", "expected one of none, light"]),
        (["--mix", "stir"], ["--mix stir", "expected one of none, mixup, cutmix, both"]),
        (["--teacher", "nowhere"], ["--teacher nowhere", "does not exist", "wandb:ENTITY"]),
        (["--teacher", "empty"], ["--teacher empty", "saved_model.pb", "found nothing"]),
        (["--teacher", "wandb:art"], ["--teacher wandb:art", "wandb:ENTITY/PROJECT/ARTIFACT"]),
        (["--teacher", "wandb:me/p/a:v1"], ["--teacher wandb:me/p/a:v1", "no key for", "WANDB"]),
        (["--teacher", "teacher", "--individual"], ["--teacher teacher", "--cropped"]),
        (
            ["--teacher", "teacher", "--match_start", "teacher"],
            ["--match_start teacher", "--teacher teacher", "leave one"],
        ),
        (["--wandb", "yes"], ["--wandb yes", "offline, online, off"]),
        (["--wandb", "online"], ["--wandb online", "no key for", "WANDB_API_KEY", "wandb login"]),
        (["data", "keep"], ["local_runner.py data", "'keep'", "put", "restore", "--help"]),
        (["data", "put", "--data", "nowhere"], ["--data nowhere", "does not exist"]),
        (["data", "put", "--data", "file"], ["--data file", "is not a folder"]),
        (["data", "put", "--to", "x"], ["unrecognized arguments: --to"]),
        (["data", "put", "--output", "file"], ["--output file", "is a file"]),
        (["data", "--output", "file", "put"], ["--output file", "is a file"]),
        (["data", "restore"], ["local_runner.py data restore", "ID"]),
        (["data", "restore", "abc"], ["data: restore abc", "first 4 or more"]),
        (["data", "restore", "abcd"], ["data: restore abcd", "it knows none"]),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(tmp_path, flags, words):
    (tmp_path / "file").write_text("a file")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other" / "cats").mkdir(parents=True)
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "saved_model.pb").write_bytes(b"")
    with h5py.File(tmp_path / "other.h5", "w") as weights:
        weights["kernel"] = np.zeros((3, 4), np.float32)

    done = run(*flags, cwd=tmp_path, HOME=str(tmp_path), WANDB_API_KEY="", NETRC="")

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "output").exists()


def test_an_unwritable_output_is_one_line_and_exit_code_two(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):  # the superuser may write anywhere: give the folder away
        locked = Path("/proc/self/spotted")

    done = run("--output", str(locked))

    assert done.returncode == 2
    assert done.stderr.startswith(f"local_runner.py: --output {locked}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("taken", ["logs", ".lock"])
def test_an_output_folder_that_cannot_be_used_is_exit_code_two(taken, tmp_path):
    (tmp_path / "logs").write_text("a file") if taken == "logs" else (tmp_path / taken).mkdir()

    done = run("--output", str(tmp_path))

    assert done.returncode == 2
    assert "can't write there" in done.stderr
    assert done.stderr.count("\n") == 1


def test_metadata_without_its_artifacts_is_exit_code_two(tmp_path):
    (tmp_path / "metadata.sqlite").write_bytes(b"")

    done = run("--output", str(tmp_path))

    assert done.returncode == 2
    assert "the folder artifacts is gone" in done.stderr


def test_a_view_that_the_data_has_no_source_for_is_exit_code_two(data, tmp_path):
    (data / "individuals" / "rex" / "1.jpg").write_bytes(b"x")

    done = run("--data", str(data), "--backbone", "small_cnn", "--cropped", cwd=tmp_path)

    assert done.returncode == 2
    assert "--cropped" in done.stderr
    assert "stanford" in done.stderr


def test_loose_photos_are_told_where_to_go(data, tmp_path):
    (data / "individuals" / "1.jpg").write_bytes(b"x")

    done = run("--data", str(data), "--backbone", "small_cnn", cwd=tmp_path)

    assert done.returncode == 2
    assert "individuals/<dog id>/<photo>.jpg" in done.stderr
    assert "found individuals/1.jpg" in done.stderr


def test_a_source_folder_without_photos_is_exit_code_two(data, tmp_path):
    done = run("--data", str(data), "--backbone", "small_cnn", cwd=tmp_path)

    assert done.returncode == 2
    assert "holds no photos" in done.stderr


def test_start_weights_that_cannot_be_fetched_are_exit_code_two(data, tmp_path):
    (data / "individuals" / "rex" / "1.jpg").write_bytes(b"x")
    nobody_listens = "http://127.0.0.1:9"

    done = run(
        "--data", str(data), "--backbone", "mobilenet_v2", cwd=tmp_path,
        https_proxy=nobody_listens, HTTPS_PROXY=nobody_listens, KERAS_HOME=str(tmp_path / "keras"),
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr.startswith("local_runner.py: the ImageNet weights of mobilenet_v2")
    assert "--weights FILE" in done.stderr
    assert not list((tmp_path / "output" / "inputs" / "imagenet").iterdir())


def test_a_download_that_lacks_its_tables_says_so_before_it_asks_anybody(tmp_path):
    done = run("--data", "new", "--download", "austin", "--weights", "none", cwd=tmp_path)

    assert done.returncode == 2
    assert "new/austin/apa_dogs.csv is missing" in done.stderr
    assert done.stderr.count("\n") == 1
