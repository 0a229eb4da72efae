"""The versions of the models: listed, rolled back and forward, on real folders and ML Metadata."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from recorded import Records

from components import serving
from pipeline import models_command, releases
from pipeline.local import locked
from pipeline.metadata import Store
from pipeline.settings import serving_version, withdrawn_version

ROOT = Path(__file__).resolve().parents[2]
PASSED = {
    "passed": True,
    "rules": [{"rule": "floor", "passed": True, "reason": "top1 0.862 >= 0.600"}],
    "metrics": {"top1": 0.862, "top5": 1.0, "log_loss": 0.4},
}


class Output:
    """An output folder with versions of a model."""

    def __init__(self, folder: Path, model: str = "breed"):
        self.folder = folder
        self.model = model
        self.serving = folder / "serving" / model
        self.records = Records(folder)

    def push(self, *versions: int, made_by: str = "", verdict: dict | None = None) -> None:
        """Versions as the Pusher leaves them."""
        for version in versions:
            self.records.push(version, "0123456789ab", 0, self.model, made_by, verdict)
            folder = self.serving / str(version)
            folder.mkdir(parents=True)
            (folder / "saved_model.pb").write_text(str(version))

    def withdraw(self, version: int) -> None:
        folder = self.serving / str(version)
        folder.rename(f"{folder}{serving.WITHDRAWN}")

    def delete(self, version: int) -> None:
        (self.serving / str(version) / "saved_model.pb").unlink()
        (self.serving / str(version)).rmdir()

    def states(self) -> dict[int, str]:
        found = releases.history(str(self.folder), self.model)
        return {item.version: item.state for item in found}

    def served(self) -> str:
        """What TensorFlow Serving takes: the content of the largest number."""
        newest = max(int(name) for name in os.listdir(self.serving) if name.isdecimal())
        return (self.serving / str(newest) / "saved_model.pb").read_text()

    def rollback(self, *words: str) -> int:
        return models_command.rollback([self.model, *words, "--output", str(self.folder)])

    def pushed(self):
        store = Store(str(self.folder / "metadata.sqlite"))
        return store.pushed(str(self.serving))


@pytest.fixture
def output(tmp_path) -> Output:
    """With versions 10, 20 and 30 of breed, of which the last one serves."""
    result = Output(tmp_path)
    result.push(10, 20, 30, verdict=PASSED)
    return result


def test_each_version_has_the_state_of_its_folder(output):
    output.push(15, 16, 25)
    output.withdraw(25)
    output.delete(16)
    (output.serving / "15" / "saved_model.pb").unlink()

    states = output.states()

    assert states == {
        30: "serving",
        25: "withdrawn",
        20: "kept",
        16: "gone",
        15: "damaged",
        10: "kept",
    }
    assert list(states) == sorted(states, reverse=True)


def test_a_version_that_metadata_does_not_know_is_listed_too(output):
    (output.serving / "40").mkdir()
    (output.serving / "40" / "saved_model.pb").touch()
    (output.serving / ".partial-50").mkdir()

    newest = releases.history(str(output.folder), "breed")[0]

    assert (newest.version, newest.state, newest.gate) == (40, "serving", "unknown")
    assert (newest.run, newest.data_version) == ("", "")


def test_what_is_listed_says_where_a_version_comes_from(output, capsys):
    output.withdraw(30)

    assert models_command.models(["breed", "--output", str(output.folder)]) == 0

    lines = capsys.readouterr().out.splitlines()
    day = time.strftime("%Y-%m-%d")
    assert lines[0].split() == ["breed", "state", "pushed", "data", "top1", "top5", "gate"]
    assert len(lines) == 1 + 2 * 3
    assert re.fullmatch(
        rf"30 +withdrawn +{day} \d\d:\d\d +0123456789ab +0\.862 +1\.000 +passed", lines[1]
    )
    assert lines[2].strip() == f"run run-30, {output.serving}/30.withdrawn"
    assert lines[3].split()[:2] == ["20", "serving"]
    rows = lines[1::2]
    assert len({row.index("passed") for row in rows}) == 1
    assert max(map(len, rows)) <= 100


def test_a_row_of_match_fits_a_hundred_columns(tmp_path, capsys):
    output = Output(tmp_path, "match")
    metrics = {"recall@1": 0.969, "mAP": 0.976, "auc_all": None}
    output.push(1795636258, verdict={**PASSED, "metrics": metrics})

    models_command.models(["match", "--output", str(tmp_path)])

    title, row, _ = capsys.readouterr().out.splitlines()
    assert title.split()[-4:] == ["recall@1", "mAP", "auc_all", "gate"]
    assert row.split()[-4:] == ["0.969", "0.976", "-", "passed"]
    assert len(row) <= 100


def test_a_verdict_that_refused_or_is_gone_says_so(tmp_path):
    output = Output(tmp_path)
    refused = {"passed": False, "rules": [{"rule": "floor", "passed": False}], "metrics": {}}
    output.push(1, verdict=refused)
    output.push(2)

    gates = [item.gate for item in releases.history(str(tmp_path), "breed")]

    assert gates == ["unknown", "refused: floor"]


def test_what_was_pushed_against_its_gate_says_so_and_why(tmp_path):
    output = Output(tmp_path)
    rules = [{"rule": "floor", "passed": False}]
    output.push(1, verdict={"passed": False, "rules": rules, "blessed_anyway": "a pilot"})

    (found,) = releases.history(str(tmp_path), "breed")

    assert found.gate == "refused: floor; pushed all the same: a pilot"


def test_json_has_all_that_is_known(output, capsys):
    assert models_command.models(["--json", "--output", str(output.folder)]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert printed["match"] == []
    newest = printed["breed"][0]
    assert time.mktime(time.strptime(newest.pop("pushed")[:19], "%Y-%m-%dT%H:%M:%S"))
    assert newest == {
        "version": 30,
        "state": "serving",
        "data_version": "0123456789ab",
        "run_id": "run-30",
        "gate": "passed",
        "metrics": PASSED["metrics"],
        "rules": PASSED["rules"],
        "path": str(output.serving / "30"),
    }


def test_without_a_version_the_list_says_how_to_get_one(tmp_path, capsys):
    assert models_command.models(["--output", str(tmp_path / "none")]) == 0

    printed = capsys.readouterr().out
    assert "breed: no version was pushed" in printed
    assert f"local_runner.py --data photos --output {tmp_path}/none" in printed
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("command", [["models"], ["rollback", "breed"]])
def test_a_database_that_is_none_is_one_line(command, tmp_path):
    (tmp_path / "metadata.sqlite").write_text("not a database")
    (tmp_path / "serving" / "breed").mkdir(parents=True)

    done = _call(*command, "--output", str(tmp_path))

    assert done.returncode == 2
    assert "metadata.sqlite can't be read as an ML Metadata database" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_rollback_serves_the_version_before_and_can_be_undone(output, capsys):
    assert output.rollback() == 0

    assert output.served() == "20"
    assert output.states() == {30: "withdrawn", 20: "serving", 10: "kept"}
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"breed: version 20 serves ({output.serving}/20)"
    assert printed[1] == f"withdrawn: 30 ({output.serving}/30.withdrawn)"
    words = printed[2].partition("local_runner.py rollback breed ")[2].split()

    assert output.rollback(*words[:2]) == 0

    assert output.states() == {30: "serving", 20: "kept", 10: "kept"}
    assert output.served() == "30"


def test_any_version_that_is_there_can_be_asked_for(output):
    assert output.rollback("--to", "10") == 0
    assert output.states() == {30: "withdrawn", 20: "withdrawn", 10: "serving"}

    assert output.rollback("--to", "20") == 0
    assert output.states() == {30: "withdrawn", 20: "serving", 10: "kept"}


def test_damaged_and_deleted_versions_are_passed_over(output):
    output.push(25, 26)
    (output.serving / "25" / "saved_model.pb").unlink()
    output.delete(26)

    assert output.rollback() == 0

    assert output.served() == "20"


def test_what_serves_changes_once_and_is_whole_at_every_moment(output, monkeypatch):
    output.push(40)
    output.withdraw(20)
    rename, served = os.rename, [output.served()]

    def watched(source, target):
        rename(source, target)
        served.append(output.served())

    monkeypatch.setattr(os, "rename", watched)

    assert output.rollback("--to", "20") == 0

    assert served == ["40", "40", "40", "20"]


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_rollback_that_is_cut_is_finished_by_the_same_command(done, output, monkeypatch):
    output.push(40)
    output.withdraw(20)
    rename, calls = os.rename, []

    def cut(source, target):
        if len(calls) == done:
            raise KeyboardInterrupt
        calls.append(source)
        rename(source, target)

    monkeypatch.setattr(os, "rename", cut)
    with pytest.raises(KeyboardInterrupt):
        output.rollback("--to", "20")
    assert output.served() == "40"

    monkeypatch.setattr(os, "rename", rename)

    assert output.rollback("--to", "20") == 0
    assert output.states() == {40: "withdrawn", 30: "withdrawn", 20: "serving", 10: "kept"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "30"], "--to 30: breed serves it already"),
        (["--to", "7"], "no such version (30 serving, 20 kept, 10 gone, 5 withdrawn)"),
        (["--to", "x"], "no such version"),
        (["--to", "10"], "its folder was deleted (30 serving,"),
    ],
)
def test_a_version_that_cannot_be_served_is_one_line_and_exit_code_two(
    words, message, output, capsys
):
    output.delete(10)
    output.push(5)
    output.withdraw(5)
    before = sorted(os.listdir(output.serving))

    assert output.rollback(*words) == 2

    error = capsys.readouterr().err
    assert error.startswith("local_runner.py rollback: ")
    assert message in error
    assert error.count("\n") == 1
    assert sorted(os.listdir(output.serving)) == before


def test_a_damaged_version_is_not_served(output, capsys):
    (output.serving / "20" / "saved_model.pb").unlink()

    assert output.rollback("--to", "20") == 2

    assert f"{output.serving}/20 has no saved_model.pb" in capsys.readouterr().err


def test_with_nothing_older_the_message_names_what_there_is(tmp_path, capsys):
    output = Output(tmp_path)
    output.push(10, 20)
    output.withdraw(10)

    assert output.rollback() == 2

    error = capsys.readouterr().err
    assert "version 20 serves, and nothing older is there to go back to" in error
    assert "10 withdrawn" in error


def test_where_none_serves_a_withdrawn_one_can_be_asked_for(tmp_path, capsys):
    output = Output(tmp_path)
    output.push(10)
    output.withdraw(10)

    assert output.rollback() == 2
    assert "breed: no version serves (10 withdrawn)" in capsys.readouterr().err

    assert output.rollback("--to", "10") == 0
    assert output.served() == "10"
    assert "undo" not in capsys.readouterr().out


def test_where_nothing_was_pushed_a_rollback_makes_no_folder(tmp_path, capsys):
    folder = tmp_path / "output"

    assert models_command.rollback(["breed", "--output", str(folder)]) == 2

    assert "no version of breed serves there" in capsys.readouterr().err
    assert not folder.exists()


def test_a_rollback_waits_for_nobody(output, capsys):
    with locked(str(output.folder)):
        assert output.rollback() == 2

    error = capsys.readouterr().err
    assert f"another run (process {os.getpid()})" in error
    assert output.served() == "30"


@pytest.mark.parametrize("words", [["models", "cat"], ["rollback"], ["rollback", "breed", "--too"]])
def test_bad_words_are_one_line(words):
    done = _call(*words)

    assert done.returncode == 2
    assert done.stderr.startswith(f"local_runner.py {words[0]}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("word", ["models", "rollback"])
def test_the_help_teaches_by_examples(word):
    done = _call(word, "--help")

    assert done.returncode == 0
    assert f"python local_runner.py {word}" in done.stdout.partition("examples")[2]


def test_nothing_heavy_is_imported(output):
    code = (
        "import sys, local_runner\n"
        f"local_runner.main(['models', '--output', {str(output.folder)!r}])\n"
        f"local_runner.main(['rollback', 'breed', '--output', {str(output.folder)!r}])\n"
        "heavy = {'tensorflow', 'keras', 'apache_beam', 'tfx', 'h5py', 'PIL', 'cv2', 'wandb'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "HEAVY []" in done.stdout
    assert output.served() == "20"


def _call(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "local_runner.py"), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.parametrize(
    ("made_by", "withdrawn", "serves", "stays"),
    [
        ("a b", [], "b", ""),
        ("a b", [2], "a", "b"),
        ("a b a", [3], "b", "a"),
        ("a b a", [2, 3], "a", "b"),
        ("a b c", [2, 3], "a", "b c"),
        ("a b c", [2], "c", "b"),
    ],
    ids=["none", "the newest", "an older one is kept", "another serves", "two", "one in between"],
)
def test_what_was_withdrawn_stays_so_for_the_runs_that_make_it(
    made_by, withdrawn, serves, stays, tmp_path
):
    output = Output(tmp_path)
    for version, name in enumerate(made_by.split(), start=1):
        output.push(version, made_by=name)
    for version in withdrawn:
        output.withdraw(version)

    versions = output.pushed()

    names = "abc"
    assert [name for name in names if serving_version(versions, name)] == [serves]
    assert [name for name in names if withdrawn_version(versions, name)] == stays.split()
