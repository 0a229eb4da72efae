"""`--download`: fetches the public sources into the data folder before anything reads it."""

import csv
import os
from collections.abc import Sequence

from components import download
from components.sources.austin import FAILED
from components.sources.base import DataError, Source
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
    said = []
    for name, mirror in wanted:
        folder = os.path.join(data, name)
        os.makedirs(folder, exist_ok=True)
        remotes = SOURCES[name].remotes(folder, mirror)
        log.info("fetching %s", name)
        fetched = download.fetch(remotes, name)
        _settle(SOURCES[name], folder, fetched)
        dead = sum(1 for item in fetched if item.problem)
        said.append(
            f"{name:<12} {len(fetched) - dead:>6} of {len(fetched)} files are there"
            + (f", {dead} can't be had ({os.path.join(folder, FAILED)})" if dead else "")
        )
    return said


def _settle(source: Source, folder: str, fetched: Sequence[download.Fetched]) -> None:
    failed = [item for item in fetched if item.problem]
    if source.optional:
        _write_failed(os.path.join(folder, FAILED), failed)
    if failed and (not source.optional or len(failed) == len(fetched)):
        first = failed[0]
        again = "" if first.final else "; run the same command to go on where it stopped"
        raise DataError(
            f"--download {source.name}: {first.remote.url}: {first.problem} ({len(failed)} of "
            f"{len(fetched)} files failed){again}, or fetch it by other means into {folder}"
        )


def _write_failed(path: str, failed: Sequence[download.Fetched]) -> None:
    """The links that are dead, for the ledger; no file when there is none."""
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
