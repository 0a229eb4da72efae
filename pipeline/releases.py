"""Every version of a model that was pushed, and which of them serves."""

import dataclasses
import json
import os
import time
from collections.abc import Sequence
from typing import Any

from components import serving
from components.serving import WITHDRAWN
from pipeline.metadata import Push, Store
from pipeline.settings import Pushed, SettingsError

SERVING = "serving"  # the largest number
KEPT = "kept"  # there, and smaller
OUT = "withdrawn"
GONE = "gone"  # its folder was deleted
DAMAGED = "damaged"  # its folder is there and is no SavedModel
_VERDICT = "verdict.json"  # ModelGate's, which can't be imported without TensorFlow
_SHOWN = 8  # versions that a message names


@dataclasses.dataclass(frozen=True)
class Release:
    """A version that was pushed.

    Attributes:
      version: its number.
      state: one of the words above.
      path: its folder; where it was when it is gone.
      time: when it was pushed, seconds since the epoch.
      data_version: of the data behind it, "" when ML Metadata doesn't know the version.
      run: the run that pushed it, "" too.
      verdict: its gate's verdict.json, {} when that is gone.
    """

    version: int
    state: str
    path: str
    time: float
    data_version: str = ""
    run: str = ""
    verdict: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def gate(self) -> str:
        """What the gate said."""
        if not self.verdict:
            return "unknown"
        failed = [rule["rule"] for rule in self.verdict["rules"] if not rule["passed"]]
        if self.verdict["passed"]:
            return "passed"
        anyway = self.verdict.get("blessed_anyway")
        return f"refused: {', '.join(failed)}" + (
            f"; pushed all the same: {anyway}" if anyway else ""
        )

    def as_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        return {
            "version": self.version,
            "state": self.state,
            "pushed": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self.time)),
            "data_version": self.data_version or None,
            "run_id": self.run or None,
            "gate": self.gate,
            "metrics": self.verdict.get("metrics", {}),
            "rules": self.verdict.get("rules", []),
            "path": self.path,
        }


@dataclasses.dataclass(frozen=True)
class Change:
    """What a rollback did.

    Attributes:
      serves: the number that serves now.
      served: the one that served before, None when none did.
      withdrawn: the numbers that it withdrew, newest first.
    """

    serves: int
    served: int | None
    withdrawn: tuple[int, ...]


def folder_of(output: str, model: str) -> str:
    """Where the versions of a model lie."""
    return os.path.join(output, "serving", model)


def history(output: str, model: str) -> list[Release]:
    """Every version that was pushed or lies in the model's folder, newest first."""
    folder = folder_of(output, model)
    store = Store(os.path.join(output, "metadata.sqlite"))
    pushed = {int(item.version): item for item in store.pushed(folder)}
    there = _numbers(folder)
    newest = max(_numbers(folder, withdrawn=False), default=None)
    return [
        _release(folder, number, number == newest, store, pushed.get(number))
        for number in sorted({*pushed, *there}, reverse=True)
    ]


def _numbers(folder: str, withdrawn: bool = True) -> set[int]:
    """The versions that lie in a folder."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    wanted = [name for name in names if withdrawn or not name.endswith(WITHDRAWN)]
    return {number for name in wanted if (number := serving.number(name)) is not None}


def states(output: str, model: str) -> dict[int, str]:
    """The states of the versions that lie in a model's folder."""
    folder = folder_of(output, model)
    newest = max(_numbers(folder, withdrawn=False), default=None)
    return {number: _state(folder, number, number == newest)[0] for number in _numbers(folder)}


def _state(folder: str, number: int, newest: bool) -> tuple[str, str]:
    """The state of a version, and where it lies or was."""
    path = os.path.join(folder, str(number))
    state = SERVING if newest else KEPT
    if not os.path.isdir(path):
        state = OUT if os.path.isdir(path + WITHDRAWN) else GONE
    path += WITHDRAWN if state == OUT else ""
    if state != GONE and not os.path.isfile(os.path.join(path, "saved_model.pb")):
        state = DAMAGED
    return state, path


def _release(
    folder: str, number: int, newest: bool, store: Store, pushed: Pushed | None
) -> Release:
    state, path = _state(folder, number, newest)
    if pushed is None:
        return Release(number, state, path, os.path.getmtime(path))
    push = store.push(pushed)
    return Release(number, state, path, push.time, pushed.data_version, push.run, _verdict(push))


def _verdict(push: Push) -> dict[str, Any]:
    path = os.path.join(push.blessing, _VERDICT)
    if not os.path.isfile(path):
        return {}
    with open(path) as file:
        verdict: dict[str, Any] = json.load(file)
    return verdict


def roll_back(output: str, model: str, to: str | None) -> Change:
    """Serves an earlier version, or any that is asked for.

    Args:
      output: the output folder, which the caller holds.
      model: breed or match.
      to: the version, None for the newest one there is below the one that serves.

    Raises:
      SettingsError: there is no such version, or it can't serve, or it serves.
    """
    releases = history(output, model)
    folder = folder_of(output, model)
    newest = max(_numbers(folder, withdrawn=False), default=None)
    number = _previous(model, releases, newest) if to is None else _asked(model, releases, to)
    if number == newest:
        raise SettingsError(f"--to {to}: {model} serves it already")
    return Change(number, newest, tuple(reversed(serve(folder, number))))


def _previous(model: str, releases: Sequence[Release], newest: int | None) -> int:
    """The newest whole version below the one that serves."""
    if newest is None:
        raise SettingsError(f"{model}: no version serves ({_names(releases)})")
    older = next((item for item in releases if item.version < newest and item.state == KEPT), None)
    if older is None:
        raise SettingsError(
            f"{model}: version {newest} serves, and nothing older is there to go back to "
            f"({_names(releases)}); --to VERSION takes a withdrawn one, too"
        )
    return older.version


def _asked(model: str, releases: Sequence[Release], to: str) -> int:
    """The number of a version that is asked for and can serve."""
    found = next((item for item in releases if str(item.version) == to), None)
    if found is None:
        raise SettingsError(f"--to {to}: {model} has no such version ({_names(releases)})")
    if found.state == GONE:
        raise SettingsError(f"--to {to}: its folder was deleted ({_names(releases)})")
    if found.state == DAMAGED:
        raise SettingsError(f"--to {to}: {found.path} has no saved_model.pb, so it can't serve")
    return found.version


def _names(releases: Sequence[Release]) -> str:
    """Numbers, each with its state."""
    shown = [f"{item.version} {item.state}" for item in releases]
    more = len(shown) - _SHOWN
    return ", ".join(shown[:_SHOWN] + [f"{more} more"] * (more > 0)) or "none was pushed"


def serve(folder: str, number: int) -> list[int]:
    """Makes a version the largest number in a folder, by renaming.

    Those above it are withdrawn from the oldest to the newest: what serves does so until the last
    rename puts the asked one in its place, and none in between ever serves. A call that is cut at
    any point is finished by the same call.

    Args:
      folder: of the versions.
      number: of one that is there, withdrawn or not.

    Returns:
      The numbers that were withdrawn, oldest first.
    """
    path = os.path.join(folder, str(number))
    if not os.path.isdir(path):
        os.rename(path + WITHDRAWN, path)
    above = sorted(item for item in _numbers(folder, withdrawn=False) if item > number)
    for item in above:
        newer = os.path.join(folder, str(item))
        os.rename(newer, newer + WITHDRAWN)
    return above
