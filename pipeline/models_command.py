"""`local_runner.py models` and `rollback`: the versions that were pushed, and which one serves."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline import settings as settings_lib
from pipeline.command_line import OUTPUT, Parser, typed
from pipeline.local import OK, locked
from pipeline.settings import MODELS, SettingsError

if TYPE_CHECKING:
    from pipeline.releases import Release

_METRICS = {"breed": ("top1", "top5"), "match": ("recall@1", "mAP", "auc_all")}
_STYLE: Any = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
_ABOUT = """\
Lists every version of the models that was pushed from an output folder, newest first, with its
data, its run, its gate's verdict and its metrics."""
_STATES = """\
states
  serving    the largest number in output/serving/MODEL, which TensorFlow Serving takes
  kept       there, but older
  withdrawn  taken back by `rollback`: there as VERSION.withdrawn, which nothing serves
  gone       its folder was deleted
  damaged    its folder is there, but has no saved_model.pb

examples
  python local_runner.py models                        both models
  python local_runner.py models breed
  python local_runner.py models match --json           all metrics and rules, for machines
  python local_runner.py rollback breed                serve the version before

exit codes
  0 done    2 bad input
"""
_ROLLBACK = """\
Serves an earlier version again. TensorFlow Serving takes the largest number that it finds in
output/serving/MODEL, so the versions above are renamed to VERSION.withdrawn, which it passes over.
Nothing is deleted or copied, a whole version serves at every moment, and a call that was cut is
finished by the same call.

A withdrawn version stays withdrawn: a run with its settings does not push it again, and says so.
The next run's models are compared with the version that serves, and what it pushes serves."""
_ROLLBACK_EPILOG = """\
examples
  python local_runner.py rollback breed                  the version before
  python local_runner.py rollback breed --to 1795636258  any version that is there, and forward
  python local_runner.py models breed                    which ones there are

exit codes
  0 done    2 bad input, nothing was changed    130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The command line behind the word `models`."""
    result = Parser("local_runner.py models", description=_ABOUT, epilog=_STATES, **_STYLE)
    result.add_argument("model", nargs="?", choices=MODELS, help="default: both")
    result.add_argument("--json", action="store_true", help="print JSON, with all that is known")
    result.add_argument("--output", metavar="DIR", default=OUTPUT, help="default: ./output")
    return result


def rollback_parser() -> argparse.ArgumentParser:
    """The command line behind the word `rollback`."""
    result = Parser(
        "local_runner.py rollback", description=_ROLLBACK, epilog=_ROLLBACK_EPILOG, **_STYLE
    )
    result.add_argument("model", choices=MODELS, help="which one")
    result.add_argument(
        "--to",
        metavar="VERSION",
        help="the version to serve, withdrawn or not (default: the newest one there is below the "
        "one that serves)",
    )
    result.add_argument("--output", metavar="DIR", default=OUTPUT, help="default: ./output")
    return result


def models(argv: list[str]) -> int:
    """Runs what stands behind `models` on the command line and returns the exit code."""
    return _run("models", _list, parser().parse_args(argv))


def rollback(argv: list[str]) -> int:
    """Runs what stands behind `rollback` on the command line and returns the exit code."""
    return _run("rollback", _roll_back, rollback_parser().parse_args(argv))


def _run(
    word: str, action: Callable[[argparse.Namespace], None], arguments: argparse.Namespace
) -> int:
    """Runs an action; what is wrong with its input is one line."""
    arguments.output = os.path.abspath(arguments.output)
    try:
        settings_lib.check_output(arguments.output)
        action(arguments)
        return OK
    except (SettingsError, OSError) as error:
        print(f"local_runner.py {word}: {error}", file=sys.stderr)
        return 2


def _list(arguments: argparse.Namespace) -> None:
    from pipeline import releases

    wanted = [arguments.model] if arguments.model else MODELS
    found = {model: releases.history(arguments.output, model) for model in wanted}
    if arguments.json:
        rows = {model: [item.as_json() for item in found[model]] for model in found}
        print(json.dumps(rows, indent=1))
        return
    tables = (
        "\n".join(_table(model, items) if items else _nothing(model, arguments.output))
        for model, items in found.items()
    )
    print("\n\n".join(tables))


def _nothing(model: str, output: str) -> Iterator[str]:
    yield f"{model}: no version was pushed from {output} yet"
    yield f"  {typed('--data photos', output)} trains it, and pushes what passes its gate"


def _table(model: str, rows: Sequence["Release"]) -> Iterator[str]:
    """Two lines a version: what it is, and where it comes from and lies."""
    width = max(len(model), *(len(str(item.version)) for item in rows))
    metrics = "".join(f"  {name:>8}" for name in _METRICS[model])
    yield f"{model:<{width}}  {'state':<9}  {'pushed':<16}  {'data':<12}{metrics}  gate"
    for item in rows:
        known = item.verdict.get("metrics", {})
        cells = "".join(f"  {_cell(known.get(name)):>8}" for name in _METRICS[model])
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(item.time))
        data = item.data_version or "-"
        yield f"{item.version:<{width}}  {item.state:<9}  {when}  {data:<12}{cells}  {item.gate}"
        yield f"{'':<{width}}  run {item.run or 'unknown'}, {_short(item.path)}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _short(path: str) -> str:
    """A path as it is typed here."""
    here = os.path.relpath(path)
    return path if here.startswith(os.pardir) else here


def _roll_back(arguments: argparse.Namespace) -> None:
    from pipeline import releases

    output, model = arguments.output, arguments.model
    folder = releases.folder_of(output, model)
    if not os.path.isdir(folder):
        raise SettingsError(f"--output {output}: no version of {model} serves there")
    with locked(output):
        change = releases.roll_back(output, model, arguments.to)
    print(f"{model}: version {change.serves} serves ({_short(folder)}/{change.serves})")
    for number in change.withdrawn:
        print(f"withdrawn: {number} ({_short(folder)}/{number}{releases.WITHDRAWN})")
    if change.served is not None:
        print(f"undo: {typed(f'rollback {model} --to {change.served}', output)}")
