"""`--download`: fetches the public sources into the data folder before anything reads it."""

import csv
import os
from collections.abc import Sequence

from components import download
from components.sources.base import NOT_DOWNLOADED, DataError, Source
from components.sources.registry import SOURCES
from models.progress import log


def run(data: str, wanted: Sequence[tuple[str, str]]) -> list[str]:
    """Fetches sources into their folders; what is there already is not fetched again.

    Args:
      data: the data folder, made if it does not exist.
      wanted: pairs of a source and its mirror, which may be "".

    Returns:
      A line for each source that says what came of it.

    Raises:
      DataError: an archive can't be had, or no photo of a source of single photos can.
    """
    try:
        return [_fetch(data, name, mirror) for name, mirror in wanted]
    except OSError as error:
        raise DataError(
            f"--download: {error.filename or data} can't be written or read ({error.strerror}): "
            "mend it, or give another --data"
        ) from error


def _fetch(data: str, name: str, mirror: str) -> str:
    """Fetches one source and says what came of it."""
    folder = os.path.join(data, name)
    os.makedirs(folder, exist_ok=True)
    remotes = SOURCES[name].remotes(folder, mirror)
    log.info("fetching %s", name)
    fetched = download.fetch(remotes, name)
    _settle(SOURCES[name], folder, fetched)
    failed = [item.remote.path for item in fetched if item.problem]
    there = f"{name:<12} {len(fetched) - len(failed):>6} of {len(fetched)} files are there"
    if not failed:
        return there
    named = ", ".join(map(os.path.basename, failed[:3])) + (", …" if len(failed) > 3 else "")
    return f"{there}; not to be had, and not needed: {named} (why: {_listed(folder)})"


def _settle(source: Source, folder: str, fetched: Sequence[download.Fetched]) -> None:
    """Lists what can't be had, and ends the run where the source is nothing without it."""
    failed = [item for item in fetched if item.problem]
    _list(failed, _listed(folder))
    needed = [item for item in failed if item.remote.needed]
    if failed and (needed or len(failed) == len(fetched)):
        first = (needed or failed)[0]
        again = "" if first.final else "; run the same command to try again"
        raise DataError(
            f"--download {source.name}: {first.remote.url}: {first.problem} ({len(failed)} of "
            f"{len(fetched)} files failed){again}, or fetch it by other means into {folder}"
        )


def _listed(folder: str) -> str:
    return os.path.join(folder, NOT_DOWNLOADED)


def _list(failed: Sequence[download.Fetched], path: str) -> None:
    """Writes down what can't be had, for the ledger; no file when there is nothing."""
    if not failed:
        if os.path.exists(path):
            os.remove(path)
        return
    with open(f"{path}.partial", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "url", "problem"])
        for item in failed:
            name = os.path.basename(item.remote.path)
            table.writerow([name, item.remote.url, item.problem])
    os.replace(f"{path}.partial", path)
