"""`local_runner.py data`: lists the versions of the photos, puts them under DVC, restores them."""

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from components.sources.base import DataError
from models import places
from pipeline import settings as settings_lib
from pipeline.command_line import OUTPUT, Parser, typed
from pipeline.dvc_tool import DvcError
from pipeline.local import FAILED, INTERRUPTED, OK, make_folders, working
from pipeline.settings import SettingsError

if TYPE_CHECKING:
    from pipeline.metadata import Used
    from pipeline.versions import Version

_STYLE: Any = {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
_ABOUT = """\
A version is the content of a data folder, named by the start of its digest: the same photos are the
same version wherever they lie, and one changed pixel makes another. Every run notes its version.
Photos that change in place are gone unless they were put under DVC before."""
_EPILOG = """\
examples
  python local_runner.py data                                 list the versions, newest first
  python local_runner.py data put --data photos               keep what photos holds now
  python local_runner.py data put --data photos --remote s3://bucket/dogs
  python local_runner.py data restore 3fa9c1d20b7e            bring it back
  python local_runner.py --data_version 3fa9c1d20b7e          run on it again

exit codes
  0 done    1 DVC failed    2 bad input    130 interrupted
"""
_PUT = """\
examples
  python local_runner.py data put --data photos               into output/versions/storage
  python local_runner.py data put --data photos --remote /mnt/backup/dogs
  python local_runner.py data put --data photos --remote s3://bucket/dogs
  python local_runner.py data put --data photos --remote backup

The last one is a remote that you have set up with DVC's own commands in output/versions, with its
credentials (`dvc remote add`, `dvc remote modify --local`)."""
_RESTORE = """\
examples
  python local_runner.py data restore 3fa9c1d20b7e
  python local_runner.py data restore 3fa9 --to photos-of-may
"""


def parser() -> argparse.ArgumentParser:
    """The command line behind the word `data`."""
    result = Parser("local_runner.py data", description=_ABOUT, epilog=_EPILOG, **_STYLE)
    result.add_argument("--output", metavar="DIR", default=OUTPUT, help="default: ./output")
    actions = result.add_subparsers(dest="action", metavar="[put | restore]")
    _add_put(actions)
    _add_restore(actions)
    return result


def _add_put(actions: Any) -> None:
    about = "put what a data folder holds now under DVC, whole or not at all"
    put = actions.add_parser("put", help=about, description=about, epilog=_PUT, **_STYLE)
    put.add_argument("--data", metavar="DIR", help="your photos; without it, the drawn sample")
    put.add_argument(
        "--remote",
        metavar="URL",
        help="where the copy goes: a folder, an address that DVC knows, or the name of a remote "
        "(default: DVC's own default, which is versions/storage in the output folder)",
    )
    _add_output(put)


def _add_restore(actions: Any) -> None:
    about = "bring a version back from DVC into a folder of its own, whole or not at all"
    restore = actions.add_parser(
        "restore", help=about, description=about, epilog=_RESTORE, **_STYLE
    )
    restore.add_argument("id", metavar="ID", help="the id, or its first 4 digits or more")
    restore.add_argument(
        "--to",
        metavar="DIR",
        help="a folder that is not there, or empty (default: versions/restored/ID in the output "
        "folder)",
    )
    _add_output(restore)


def _add_output(action: argparse.ArgumentParser) -> None:
    """The same flag as in front of the word: what is not given here leaves that one alone."""
    action.add_argument(
        "--output", metavar="DIR", default=argparse.SUPPRESS, help="default: ./output"
    )


def main(argv: list[str]) -> int:
    """Runs what stands behind `data` on the command line and returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        settings_lib.check_output(arguments.output)
        arguments.output = os.path.abspath(arguments.output)
        return _ACTIONS[arguments.action](arguments)
    except (SettingsError, DvcError) as error:
        print(f"local_runner.py data: {error}", file=sys.stderr)
        return FAILED if isinstance(error, DvcError) else 2


def _list(arguments: argparse.Namespace) -> int:
    from pipeline import versions

    rows = versions.history(arguments.output)
    if not rows:
        print(f"{arguments.output} knows no versions yet: each run notes its own")
        return OK
    print(f"{'version':<12}  {'first seen':<16}  {'files':>7}  {'runs':>4}  where")
    for version, seen in rows:
        print(_row(version, seen))
    return OK


def _row(version: "Version", seen: "Used | None") -> str:
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(version.since))
    files = seen.files if seen else version.kept.files if version.kept else ""
    runs = seen.runs if seen else ()
    last = f"; last run {runs[0]}" if runs else ""
    return (
        f"{version.version}  {since}  {files:>7}  {len(runs):>4}  {version.place}{last}"
    )  # fmt: skip


def _put(arguments: argparse.Namespace) -> int:
    if arguments.data is not None:
        _check_here("--data", arguments.data)
        settings_lib.list_folder(arguments.data)
    return _work(arguments, _put_now, "nothing was put; what the remote has by now is used again")


def _check_here(flag: str, path: str) -> None:
    if places.remote(path):
        raise SettingsError(
            f"{flag} {path}: DVC works on folders of this machine; what is in a bucket can keep "
            "its versions there: gcloud storage buckets update --versioning"
        )


def _put_now(arguments: argparse.Namespace, say: Callable[[str], None]) -> None:
    from pipeline import inputs, vault

    sample = arguments.data is None
    data = inputs.sample(arguments.output) if sample else os.path.abspath(arguments.data)
    item, place = vault.put(arguments.output, data, arguments.remote, sample)
    inputs.link(arguments.output, item.digest, data)
    if place is None:
        say(f"version {item.version} is under DVC already ({item.remote}): nothing was done")
    else:
        say(f"version {item.version}: {item.files} files, {item.size / 1e6:,.1f} MB, from {data}")
        say(f"lies in  {place.url}")
        say(f"DVC file {item.file}")
    say(f"restore  {typed(f'data restore {item.version}', arguments.output)}")
    say(f"run      {typed(f'--data_version {item.version}', arguments.output)}")


def _restore(arguments: argparse.Namespace) -> int:
    from pipeline import versions

    version = versions.find(arguments.output, arguments.id, "restore")
    if version.kept is None:
        raise SettingsError(
            f"restore {arguments.id}: version {version.version} was not put under DVC "
            f"({version.place}), so there is nothing to restore it from"
        )
    arguments.version = version
    _check_here("--to", arguments.to or "")
    arguments.to = os.path.abspath(arguments.to or version.restored)
    return _work(arguments, _restore_now, "nothing was restored")


def _restore_now(arguments: argparse.Namespace, say: Callable[[str], None]) -> None:
    from pipeline import inputs, vault, versions

    version = arguments.version
    there = versions.holds(arguments.to, version.digest)
    if not there:
        vault.restore(arguments.output, version.kept, arguments.to)
    inputs.link(arguments.output, version.digest, arguments.to)
    files = f"{version.kept.files} files {'are already' if there else 'are'} in {arguments.to}"
    say(f"version {version.version}: {files}")
    say(f"run      {typed(f'--data_version {version.version}', arguments.output)}")


def _work(
    arguments: argparse.Namespace,
    work: Callable[[argparse.Namespace, Callable[[str], None]], None],
    left: str,
) -> int:
    """Holds the output folder while an action works, and says what became of it.

    Raises:
      SettingsError: the input can't be used, or a run holds the folder.
      DvcError: DVC failed.
    """
    log_file = make_folders(arguments.output, time.strftime("data-%Y%m%d-%H%M%S"))
    with working(arguments.output, log_file) as terminal:
        try:
            work(arguments, terminal.say)
            return OK
        except Exception as error:
            if terminal.interrupted:
                terminal.say(f"interrupted: {left}")
                return INTERRUPTED
            if isinstance(error, DvcError):
                raise DvcError(f"{error} (log: {log_file})") from error
            if isinstance(error, (DataError, OSError)):
                raise SettingsError(str(error)) from error
            raise


_ACTIONS = {None: _list, "put": _put, "restore": _restore}
