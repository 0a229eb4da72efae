"""One run on this machine: lock, inputs, graph, TFX's LocalDagRunner, summary."""

import contextlib
import dataclasses
import fcntl
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.dataset import version_of
from components.sources.base import DataError
from models import tracking
from models.backbones import WeightsError
from pipeline.dvc_tool import DvcError
from pipeline.settings import Settings, SettingsError
from pipeline.terminal import InterruptedRunError, Terminal, quiet

OK, FAILED, REFUSED, INTERRUPTED = 0, 1, 3, 130


def run(settings: Settings) -> int:
    """Runs the pipeline.

    Returns:
      The exit code: 0 done, 1 a node failed, 3 a model was refused, 130 interrupted.

    Raises:
      SettingsError: the input can't be used, or another run holds the output folder.
    """
    settings = dataclasses.replace(settings, output=os.path.abspath(settings.output))
    start, run_id = time.time(), time.strftime("%Y%m%d-%H%M%S")
    log_file = make_folders(settings.output, run_id)
    _check_artifacts(settings)
    with working(settings.output, log_file) as terminal:
        try:
            return _run(settings, terminal, run_id, log_file)
        except Exception as error:
            if terminal.interrupted:
                left = _left(settings, terminal.failed("stopped"), start)
                terminal.say(f"interrupted: {left}; run the same command to go on")
                return INTERRUPTED
            if isinstance(error, (DataError, WeightsError, DvcError)):
                raise SettingsError(str(error)) from error
            raise


def _left(settings: Settings, node: str | None, start: float) -> str:
    """What an interrupted run leaves behind, in words."""
    if node is None:
        return "what was finished or fetched is kept"
    if any(path.stat().st_mtime > start for path in Path(settings.training).glob("*/state.npz")):
        return f"the training of {node} is kept up to its last whole epoch, finished nodes whole"
    return f"{node} left nothing, the finished nodes are kept"


def review_schema(output: str, accept: bool) -> int:
    """Shows where the data do not fit the curated schemas (`schema_review.review`)."""
    from pipeline import schema_review

    logs = os.path.join(output, "logs")
    if not os.path.isdir(logs):
        raise SettingsError(
            f"--output {output}: no run was made there: run --data_processing first"
        )
    with working(output, os.path.join(logs, "schema.log")) as terminal:
        try:
            schema_review.review(output, accept, terminal.say)
        except InterruptedRunError:
            return INTERRUPTED
    return OK


def make_folders(output: str, name: str) -> str:
    """Makes the output folder ready and returns the path of a log in it.

    Raises:
      SettingsError: it can't be written to.
    """
    logs = os.path.join(output, "logs")
    log_file = os.path.join(logs, f"{name}.log")
    try:
        os.makedirs(logs, exist_ok=True)
        for path in (log_file, os.path.join(output, ".lock")):
            with open(path, "a"):
                pass
    except OSError as error:
        raise SettingsError(
            f"--output {output}: can't write there ({error.strerror}: {error.filename})"
        ) from None
    return log_file


def _check_artifacts(settings: Settings) -> None:
    if os.path.exists(settings.metadata) and not os.path.isdir(settings.pipeline_root):
        raise SettingsError(
            f"--output {settings.output}: metadata.sqlite tells of artifacts, but the folder "
            "artifacts is gone: remove metadata.sqlite too, or give another folder"
        )
    os.makedirs(settings.pipeline_root, exist_ok=True)


@contextlib.contextmanager
def working(output: str, log_file: str) -> Iterator[Terminal]:
    """Holds the output folder, and yields the terminal; Ctrl-C is an `InterruptedRunError`.

    Raises:
      SettingsError: somebody else holds it.
    """
    with (
        locked(output),
        _scratch(),
        quiet(log_file) as terminal,
        _interruptible(terminal),
    ):
        yield terminal


@contextlib.contextmanager
def locked(output: str) -> Iterator[None]:
    """Holds the output folder.

    Raises:
      SettingsError: another run holds it.
    """
    with open(os.path.join(output, ".lock"), "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise SettingsError(
                f"--output {output}: another run (process {file.read().strip() or 'unknown'}) is "
                "working there; wait for it, or give another folder"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.contextmanager
def _scratch() -> Iterator[None]:
    """Gives libraries a folder for their temporary files: some, Beam too, leave theirs behind."""
    with tempfile.TemporaryDirectory(prefix="spotted-", ignore_cleanup_errors=True) as folder:
        kept, tempfile.tempdir = tempfile.tempdir, folder
        try:
            yield
        finally:
            tempfile.tempdir = kept


@contextlib.contextmanager
def _interruptible(terminal: Terminal) -> Iterator[None]:
    def interrupt(number: int, frame: Any) -> None:
        terminal.interrupted = True
        raise InterruptedRunError

    kept = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _photos(settings: Settings) -> str:
    if settings.data_version is not None:
        return f"data version {version_of(settings.data_version)}"
    return settings.data or "the built-in sample"


def _report(output: str, run_id: str) -> str:
    """Where the run's page lies; what stands against one does not undo the run."""
    from pipeline.pages import report

    try:
        return report.write(output, run_id)
    except InterruptedRunError:
        raise
    except Exception as error:
        traceback.print_exc()  # into the log
        return f"could not be written ({type(error).__name__}: {error}); the log has more"


def _run(settings: Settings, terminal: Terminal, run_id: str, log_file: str) -> int:
    from pipeline import inputs

    start = time.monotonic()
    terminal.say(f"Spotted: {_photos(settings)} -> {settings.output}")
    settings = inputs.prepare(settings, terminal.say)
    if settings.teacher and not settings.student_differs and not settings.pretrained:
        terminal.say("  the student starts from random weights: a --teacher gives answers only")
    os.environ[tracking.MODE_VARIABLE] = settings.wandb
    os.environ[tracking.FOLDER_VARIABLE] = settings.tracking
    terminal.say("  starting TFX")
    from models import checkpoint
    from pipeline import closing
    from pipeline import summary as summaries
    from pipeline.execution import Execution

    os.environ[checkpoint.FOLDER_VARIABLE] = settings.training
    terminal.stop_if_asked()
    execution = Execution(settings, run_id)
    terminal.nodes = len(execution.plan.nodes)
    error = execution.run(terminal)
    summary = execution.summary(error)
    path = summaries.write(summary, settings.output)
    for line in closing.lines(execution.settings, summary, time.monotonic() - start):
        terminal.say(line)
    terminal.say(f"summary   {path}")
    terminal.say(f"report    {_report(settings.output, run_id)}")
    terminal.say(f"log       {log_file}")
    if error is not None:
        terminal.say(f"\nlocal_runner.py: {error}")
        return FAILED
    passed = all(gate["passed"] or gate["blessed_anyway"] for gate in summary["gates"])
    return OK if passed else REFUSED
