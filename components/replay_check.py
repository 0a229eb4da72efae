"""ReplayCheck: asks a model again, in a fresh process, before it ships.

It stands where TFX's InfraValidator does, which needs Docker, and gives the same blessing.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils

from components import replay_probe
from models import golden

REPORT = "replay.json"
MOST_SECONDS = 900
_FIGURES = ("load_s", "latency_ms", "peak_mib", "megabytes", "photos")
_LAST_LINES = 5


@component
def ReplayCheck(  # noqa: N802 - TFX names the node after the function
    model: InputArtifact[standard_artifacts.Model],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
    kind: Parameter[str],
    ceilings: Parameter[str],
    code: Parameter[str],
) -> None:
    """Replays the golden photos of training, and sends bytes that are no photo.

    Args:
      model: read: the SavedModel and its golden answers.
      blessing: written: INFRA_BLESSED or INFRA_NOT_BLESSED, and `replay.json` with every check.
      kind: of the model, breed or match.
      ceilings: JSON {figure: the most it may be}, of `latency_ms`, `peak_mib`, `megabytes`.
      code: digest of the code, for the cache.

    Raises:
      ValueError: there is no such kind.
    """
    del code
    serving = path_utils.serving_model_path(model.uri)
    report = replay(serving, golden.path(serving), kind, json.loads(ceilings))
    with fileio.open(os.path.join(blessing.uri, REPORT), "w") as file:
        file.write(json.dumps(report, indent=1, allow_nan=False))
    name = "INFRA_BLESSED" if report["passed"] else "INFRA_NOT_BLESSED"
    with fileio.open(os.path.join(blessing.uri, name), "w") as file:
        file.write("")
    blessing.set_int_custom_property("blessed", int(report["passed"]))
    for figure in ("latency_ms", "peak_mib"):
        if report[figure] is not None:
            blessing.set_float_custom_property(figure, report[figure])


def replay(
    serving: str,
    golden_file: str,
    kind: str,
    ceilings: Mapping[str, float] | None = None,
    seconds: float = MOST_SECONDS,
) -> dict[str, Any]:
    """Asks a copy of a SavedModel, which so has nothing of what lies beside it.

    Args:
      serving: folder of the SavedModel.
      golden_file: its golden answers (`models.golden`).
      kind: one of `replay_probe.KINDS`.
      ceilings: of figures; one that was not measured is above it.
      seconds: after which the process is ended.

    Returns:
      `passed`; `checks`, each with `check`, `passed` and `reason`; `load_s`, `latency_ms` (the
      median of one photo), `peak_mib`, `megabytes` (of the SavedModel) and `photos`, None where
      it did not come so far.

    Raises:
      ValueError: there is no such kind.
    """
    if kind not in replay_probe.KINDS:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(replay_probe.KINDS)}")
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        copy = os.path.join(folder, "model")
        io_utils.copy_dir(serving, copy)
        found: dict[str, Any] = {"checks": [], "megabytes": _megabytes(copy)}
        if fileio.exists(golden_file):
            io_utils.copy_file(golden_file, os.path.join(folder, "golden.npz"))
            found |= _probed(folder, kind, seconds)
        else:
            reason = f"there is no {golden_file}, which training writes: train the model again"
            found["checks"] = [{"check": "golden", "passed": False, "reason": reason}]
    figures = {name: found.get(name) for name in _FIGURES}
    found["checks"] += [
        _ceiling(name, figures[name], most) for name, most in sorted((ceilings or {}).items())
    ]
    passed = all(check["passed"] for check in found["checks"])
    return {"passed": passed, "checks": found["checks"], **figures}


def _ceiling(name: str, value: float | None, most: float) -> dict[str, Any]:
    """The check of one figure."""
    passed = value is not None and value <= most
    told = "was not measured" if value is None else f"{value:g}"
    reason = f"{name} {told}, {most:g} is the most"
    check = f"{name} ceiling"
    return {"check": check, "passed": passed, "value": value, "bound": most, "reason": reason}


def _probed(folder: str, kind: str, seconds: float) -> dict[str, Any]:
    """The probe's report on a folder's `model` and `golden.npz`, with how its process ended."""
    model, answers, report, printed = (
        os.path.join(folder, name) for name in ("model", "golden.npz", REPORT, "printed")
    )
    with open(printed, "wb") as output:
        ended = _run([model, answers, kind, report], output, seconds)
    found: dict[str, Any] = {"checks": []}
    if os.path.exists(report):
        with open(report) as file:
            found = json.load(file)
    check = {"check": "process", "passed": not ended, "reason": ended or "ended by itself"}
    if ended:
        check["reason"] = f"{ended}; it printed last: {_last_lines(printed)}"
    found["checks"].append(check)
    return found


def _run(arguments: Sequence[str], output: IO[bytes], seconds: float) -> str:
    """Runs the probe; how it ended otherwise than it should, or nothing.

    It sees no GPU: golden answers are those of a CPU.
    """
    try:
        code = subprocess.run(
            [sys.executable, "-I", replay_probe.__file__, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return f"was ended after {seconds:g} s"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit status {code}" if code else ""


def _last_lines(path: str) -> str:
    with open(path, errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return " | ".join(lines[-_LAST_LINES:]) or "nothing"


def _megabytes(folder: str) -> float:
    files = (os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)
    return round(sum(os.path.getsize(file) for file in files) / 1e6, 3)
