"""Fetches files over HTTP: several at a time, resumed where they were cut off, checked.

A file comes to `<path>.part` and gets its name when it is whole, so whatever has the name is whole.
A later call goes on where one was stopped. `downloads.json` beside the files records what came, so
that nothing is fetched twice, and a file that is no longer what came is fetched again.
"""

import dataclasses
import os
import queue
from collections.abc import Sequence

from components.download import session
from components.download.crew import Crew
from components.download.patience import Hosts, Patience
from components.download.problems import RefusedError
from components.download.progress import Progress
from components.download.records import Records
from components.download.transfer import Call, Transfer
from components.sources.base import Remote


@dataclasses.dataclass(frozen=True)
class Fetched:
    """What became of a file.

    Attributes:
      remote: the file.
      problem: why it is not there, one line for people; "" when it is there.
      final: whether trying again is pointless.
      sha256: of the content, hexadecimal; "" with a problem.
    """

    remote: Remote
    problem: str
    final: bool
    sha256: str


def fetch(
    remotes: Sequence[Remote], what: str, workers: int = 8, patience: Patience = Patience()
) -> list[Fetched]:
    """Fetches files, as far as they are not there yet.

    A file that is there stays if it is what an earlier call fetched, or has the given digest. One
    that no call fetched is somebody's own: it is never overwritten.

    Args:
      remotes: the files, each with a path of its own.
      what: the work's name on the progress line.
      workers: files fetched at the same time.
      patience: with a server that fails.

    Returns:
      What became of each file, in order.

    Raises:
      ValueError: two files have the same path.
      DataError: a `downloads.json` can't be read.
    """
    _refuse_same_paths(remotes)
    return _Fetching(remotes, what, patience).run(min(max(workers, 1), len(remotes)))


def _refuse_same_paths(remotes: Sequence[Remote]) -> None:
    urls: dict[str, str] = {}
    for remote in remotes:
        place = os.path.abspath(remote.path)
        if place in urls:
            raise ValueError(
                f"{remote.path}: both {urls[place]} and {remote.url} would go there; give each "
                "a path of its own"
            )
        urls[place] = remote.url


class _Fetching:
    """The work of one call."""

    def __init__(self, remotes: Sequence[Remote], what: str, patience: Patience):
        folders = {_folder(remote) for remote in remotes}
        self._records = {folder: Records(folder) for folder in folders}
        self._call = Call(Crew(), patience, Hosts(), Progress(what, remotes))
        self._done: dict[int, Fetched] = {}
        self._todo: queue.SimpleQueue[tuple[int, Remote] | None] = queue.SimpleQueue()
        for item in enumerate(remotes):
            self._todo.put(item)

    def run(self, workers: int) -> list[Fetched]:
        """Does it all, and returns what became of each file, in order."""
        for _ in range(workers):
            self._todo.put(None)
        try:
            self._call.crew.run(self._worker, workers)
        finally:
            for records in self._records.values():
                records.write()
        return [self._done[index] for index in range(len(self._done))]

    def _worker(self) -> None:
        with session.opened() as opened:
            for index, remote in iter(self._todo.get, None):
                transfer = Transfer(self._call, opened, remote)
                self._done[index] = self._one(transfer, remote)
                self._call.crew.pulse()
                self._call.progress.finished(remote.path, bool(self._done[index].problem))

    def _one(self, transfer: Transfer, remote: Remote) -> Fetched:
        try:
            return Fetched(remote, "", False, self._there(transfer, remote))
        except RefusedError as refused:
            return Fetched(remote, str(refused), refused.final, "")
        except OSError as error:
            problem = f"{error.filename or remote.path}: {error.strerror or error}"
            return Fetched(remote, problem, False, "")

    def _there(self, transfer: Transfer, remote: Remote) -> str:
        """Digest of the file, fetched if it has to be."""
        records = self._records[_folder(remote)]
        sha256 = records.kept(remote)
        if not sha256:
            sha256 = transfer.run()
            records.add(remote, sha256)
        return sha256


def _folder(remote: Remote) -> str:
    return os.path.dirname(os.path.abspath(remote.path))
