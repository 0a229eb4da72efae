"""The benchmarks' command lines: what is wrong with them is said before anything is done."""

import subprocess
import sys
from pathlib import Path

import h5py
import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
PARTS = ("cluster", "folds")  # of the others: no programs
PROGRAMS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in PARTS)
OF_PHOTOS = [name for name in PROGRAMS if name not in ("evaluation", "flink", "reading")]


def run(name: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / f"{name}.py"), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    return line


def needed(name: str) -> list[str]:
    return ["--weights", "none.h5"] if name in ("breed", "match") else []


@pytest.fixture
def photos(tmp_path) -> str:
    """A data folder with one photo, of a breed and of a dog."""
    for folder in ("breeds/Pug", "individuals/rex"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        (tmp_path / "photos" / folder / "1.jpg").write_bytes(b"not looked into")
    return str(tmp_path / "photos")


@pytest.fixture
def weights(tmp_path) -> str:
    """A weights file of no net."""
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        file["w"] = [1.0, 2.0]
    return str(tmp_path / "w.weights.h5")


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_says_how_to_call_it_and_the_defaults(name):
    done = run(name, "--help")

    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{name}.py" in done.stdout
    assert "(default: " in done.stdout


@pytest.mark.parametrize("name", OF_PHOTOS)
def test_a_data_folder_that_is_none_is_one_line(name, tmp_path):
    (tmp_path / "empty").mkdir()

    missing = one_line(run(name, "--data", str(tmp_path / "none"), *needed(name)))
    empty = one_line(run(name, "--data", str(tmp_path / "empty"), *needed(name)))

    assert f"{tmp_path / 'none'}: does not exist" in missing
    assert "holds no photos" in empty


@pytest.mark.parametrize("name", ["breed", "match", "pixels"])
def test_weights_that_do_not_fit_are_one_line(name, photos, weights, tmp_path):
    missing = one_line(run(name, "--data", photos, "--weights", str(tmp_path / "none.h5")))
    other = one_line(run(name, "--data", photos, "--weights", weights))
    unknown = one_line(run(name, "--data", photos, "--weights", weights, "--backbone", "vgg"))

    assert "none.h5 does not exist" in missing
    assert f"{weights} holds 2 weights" in other
    assert "unknown backbone 'vgg'" in unknown


@pytest.mark.parametrize(
    ("name", "flags", "told"),
    [
        ("breed", ["--folds", "0,5"], "'0,5': expected numbers below 5"),
        ("match", ["--folds", "3"], "'3': expected numbers below 3"),
        ("match", ["--seeds", "one"], "'one': expected numbers, such as"),
        ("match", ["--losses", "hinge"], "'hinge': expected one or more of supcon,"),
        ("training", ["--nets", "vgg"], "'vgg': expected one or more of small_cnn,"),
    ],
)
def test_a_value_that_is_none_is_one_line(name, flags, told, photos):
    assert told in one_line(run(name, "--data", photos, *needed(name), *flags))
