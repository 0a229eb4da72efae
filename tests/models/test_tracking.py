"""Weights & Biases as it really is: its own files are read back, and its server stands in only for
where the network would be.
"""

import json
import logging
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import wandb_server
from wandb.proto import wandb_internal_pb2
from wandb.sdk.internal.datastore import DataStore

from models import tracking

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    {
        "photo": np.full((8, 8, 3), shade, np.uint8),
        "true": "pug",
        "predicted": "beagle",
        "probability": shade / 100,
    }
    for shade in range(40)
]


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path) -> None:
    """Nobody's key, home or temporary folder."""
    isolate(monkeypatch, tmp_path)


def isolate(patch: pytest.MonkeyPatch, folder: Path) -> None:
    for variable in [name for name in os.environ if name.startswith(("WANDB", "SPOTTED_WANDB"))]:
        patch.delenv(variable)
    patch.delenv("NETRC", raising=False)
    for name in ("home", "tmp", "work"):
        (folder / name).mkdir()
    patch.setenv("HOME", str(folder / "home"))
    patch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    patch.chdir(folder / "work")


def records(folder: Path, kind: str) -> list:
    """The records of a kind in the only run of a folder, in their order."""
    (path,) = folder.glob("wandb/*run-*/run-*.wandb")
    store = DataStore()
    store.open_for_scan(str(path))
    found = []
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == kind:
            found.append(getattr(record, kind))
    return found


def history(folder: Path) -> list[dict]:
    return [
        {"/".join(item.nested_key): json.loads(item.value_json) for item in record.item}
        for record in records(folder, "history")
    ]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [entry.getMessage() for entry in caplog.records if entry.levelno == logging.WARNING]


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> Iterator[Path]:
    """A folder in which a training of three epochs was tracked, as only work of a home."""
    folder = tmp_path_factory.mktemp("offline")
    model = folder / "model"
    (model / "variables").mkdir(parents=True)
    (model / "saved_model.pb").write_bytes(b"graph")
    (model / "variables" / "variables.index").write_bytes(b"index")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        settings = {"backbone": "small_cnn", "epochs": 3}
        with tracking.Tracker("offline", "../given", "breed_teacher", settings) as tracker:
            for epoch in (1, 2, 3):
                tracker.epoch(epoch, {"loss": 1 / epoch, "images/s": np.float32(50)})
            tracker.predictions(lambda: ROWS)
            tracker.model(str(model), "spotted-breed-teacher")
    return folder


def test_a_run_holds_its_name_and_its_settings(offline):
    (run,) = records(offline / "given", "run")

    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert run.display_name == "breed_teacher"
    assert run.project == "spotted"
    assert (config["backbone"], config["epochs"]) == ("small_cnn", 3)


def test_a_run_holds_every_epoch(offline):
    epochs = history(offline / "given")

    assert [epoch["_step"] for epoch in epochs] == [1, 2, 3]
    assert [epoch["loss"] for epoch in epochs] == pytest.approx([1, 1 / 2, 1 / 3])
    assert [epoch["images/s"] for epoch in epochs] == [50, 50, 50]


def test_a_run_holds_a_table_of_the_first_predictions(offline):
    tables = [item for item in records(offline / "given", "artifact") if item.type == "run_table"]

    contents = {item.path: item.local_path for item in tables[0].manifest.contents}
    table = json.loads(Path(contents["predictions.table.json"]).read_text())
    assert table["columns"] == ["photo", "true", "predicted", "probability"]
    assert [row[1:] for row in table["data"]] == [
        ["pug", "beagle", shade / 100] for shade in range(tracking.SAMPLES)
    ]
    photos = [Path(contents[row[0]["path"]]) for row in table["data"]]
    assert all(photo.read_bytes().startswith(b"\x89PNG") for photo in photos)


def test_a_run_names_the_files_of_the_model(offline):
    (model,) = [item for item in records(offline / "given", "artifact") if item.type == "model"]

    assert model.name == "spotted-breed-teacher"
    assert {item.path: item.local_path for item in model.manifest.contents} == {
        "saved_model.pb": str(offline / "model" / "saved_model.pb"),
        "variables/variables.index": str(offline / "model" / "variables" / "variables.index"),
    }


def test_a_run_that_was_left_in_order_is_finished(offline):
    (end,) = records(offline / "given", "exit")

    assert end.exit_code == 0


def test_nothing_lies_outside_of_the_folder(offline):
    assert [list((offline / name).iterdir()) for name in ("home", "tmp", "work")] == [[], [], []]


def test_no_process_stays(offline):
    assert multiprocessing.active_children() == []


TRAINING = """\
import sys, time
from models import tracking
if __name__ == "__main__":
    with tracking.Tracker("offline", "given", "x", {}) as tracker:
        tracker.epoch(1, {"loss": 0.5})
        print("training", flush=True)
        while True:
            time.sleep(0.1)  # a signal just before a long sleep is heard at its end only
"""


def heard() -> None:
    """Lets Ctrl-C end the new process: what a shell starts in the background ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_training_that_is_ended_leaves_a_run_that_failed(end, tmp_path):
    (tmp_path / "training.py").write_text(TRAINING)
    training = subprocess.Popen(
        [sys.executable, str(tmp_path / "training.py")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=heard,
        text=True,
    )
    assert training.stdout.readline() == "training\n"

    if end == signal.SIGINT:
        os.killpg(training.pid, end)  # as a terminal does: to all processes
    else:
        os.kill(training.pid, end)
    training.wait(20)

    given = tmp_path / "work" / "given"
    until = time.monotonic() + 20
    while not records(given, "exit") and time.monotonic() < until:
        time.sleep(0.2)
    assert [item.exit_code for item in records(given, "exit")] == [1]
    assert [epoch["loss"] for epoch in history(given)] == [0.5]


def test_off_starts_and_imports_and_writes_nothing(tmp_path):
    code = (
        "import sys\n"
        "from models import tracking\n"
        "with tracking.Tracker.from_environment('x', {}) as tracker:\n"
        "    tracker.epoch(1, {'loss': 1.0})\n"
        "    tracker.predictions(list)\n"
        "    tracker.model('nowhere', 'x')\n"
        "import multiprocessing\n"
        "print(multiprocessing.active_children(), 'wandb' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "[] False False\n"
    assert list((tmp_path / "work").iterdir()) == []


def test_online_every_epoch_and_the_end_are_sent(monkeypatch, caplog):
    with wandb_server.running() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
        with tracking.Tracker("online", "given", "x", {}) as tracker:
            tracker.epoch(1, {"loss": 3.0})
            tracker.epoch(2, {"loss": 2.0})

    assert [line["loss"] for line in server.sent if "loss" in line] == [3.0, 2.0]
    assert server.finished == [0]
    assert warnings(caplog) == []


def track_until_the_server_goes_away(monkeypatch) -> float:
    """Tracks one epoch; returns how many seconds the end of the training took."""
    with wandb_server.running() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
        with tracking.Tracker("online", "given", "x", {}) as tracker:
            server.shutdown()
            server.server_close()
            tracker.epoch(1, {"loss": 3.0})
            start = time.monotonic()
    return time.monotonic() - start


def test_what_could_not_be_sent_is_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(tracking, "RETRIES", 1)
    monkeypatch.setattr(tracking, "LONGEST_WAIT", 2)

    track_until_the_server_goes_away(monkeypatch)

    assert [epoch["loss"] for epoch in history(tmp_path / "work" / "given")] == [3.0]


def test_a_server_that_goes_away_does_not_hold_up_a_training(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(tracking, "PATIENCE_AT_THE_END", 1.0)

    assert track_until_the_server_goes_away(monkeypatch) < 15

    (warning,) = warnings(caplog)
    assert "training goes on" in warning
    assert str(tmp_path / "work" / "given") in warning
    assert multiprocessing.active_children() == []


def test_a_server_that_is_not_there_costs_one_warning(monkeypatch, caplog):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
    monkeypatch.setattr(tracking, "PATIENCE_AT_THE_START", 3.0)

    with tracking.Tracker("online", "given", "x", {}) as tracker:
        tracker.epoch(1, {"loss": 3.0})
        tracker.model("nowhere", "x")

    assert len(warnings(caplog)) == 1
    assert "start" in warnings(caplog)[0]


def test_a_tracker_of_the_environment_survives_a_model_that_is_not_there(
    monkeypatch, tmp_path, caplog
):
    monkeypatch.setenv(tracking.MODE_VARIABLE, "offline")
    monkeypatch.setenv(tracking.FOLDER_VARIABLE, str(tmp_path / "given"))

    with tracking.Tracker.from_environment("match", {"epochs": 1}) as tracker:
        tracker.epoch(1, {"loss": 2.0})
        tracker.model("nowhere", "spotted-match")
        tracker.epoch(2, {"loss": 1.0})

    (warning,) = warnings(caplog)
    assert "nowhere" in warning
    assert records(tmp_path / "given", "run")[0].display_name == "match"
    assert [epoch["loss"] for epoch in history(tmp_path / "given")] == [2.0]


def test_a_folder_that_cannot_be_made_costs_one_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("a file")

    with tracking.Tracker("offline", str(tmp_path / "file"), "x", {}) as tracker:
        tracker.epoch(1, {"loss": 3.0})

    (warning,) = warnings(caplog)
    assert str(tmp_path / "file") in warning


def test_online_needs_a_key(monkeypatch):
    with pytest.raises(tracking.TrackingError, match=r"no key for https://api.wandb.ai: set WANDB"):
        tracking.check("online")

    tracking.check("offline")
    tracking.check("off")
    monkeypatch.setenv("WANDB_API_KEY", wandb_server.KEY)
    tracking.check("online")


@pytest.mark.parametrize(
    ("server", "entry", "found"),
    [
        ("", "machine api.wandb.ai login user password secret", True),
        ("", "machine example.org login user password secret", False),
        ("http://127.0.0.1:80/", "machine 127.0.0.1:80 login user password secret", True),
        ("http://127.0.0.1:80", "machine api.wandb.ai login user password secret", False),
        ("", "machine api.wandb.ai login", False),
    ],
)
def test_the_key_may_lie_in_netrc(server, entry, found, monkeypatch, tmp_path):
    if server:
        monkeypatch.setenv("WANDB_BASE_URL", server)
    file = tmp_path / "home" / ".netrc"
    file.write_text(entry)
    file.chmod(stat.S_IRUSR)

    if found:
        tracking.check("online")
    else:
        with pytest.raises(tracking.TrackingError, match="no key"):
            tracking.check("online")


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_without_wandb_the_extra_is_named(mode, tmp_path):
    (tmp_path / "work" / "wandb").mkdir()  # W&B's own runs: not the package
    code = (
        "import sys\n"
        "from models import tracking\n"
        "sys.path = ['', *(path for path in sys.path if 'site-packages' not in path)]\n"
        "tracking.check('off')\n"
        f"try: tracking.check('{mode}')\n"
        "except tracking.TrackingError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "spotted[tracking]" in done.stdout
