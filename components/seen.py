"""Digests of the files that an earlier run read, for data too large to be read every time."""

import dataclasses
import json
import os
from collections.abc import Iterator

from models.places import Stamp


@dataclasses.dataclass
class Seen:
    """What is known of the files of one data folder, by path below it.

    Attributes:
      digests: path -> (its stamp when it was read, its digest).
    """

    digests: dict[str, tuple[Stamp, str]] = dataclasses.field(default_factory=dict)

    def digest(self, path: str, stamp: Stamp) -> str | None:
        """The digest of a file that looks as it did when it was read, None for any other."""
        known, digest = self.digests.get(path, (None, None))
        return digest if known == stamp else None

    def note(self, path: str, stamp: Stamp, digest: str) -> None:
        """Keeps a digest."""
        self.digests[path] = (stamp, digest)

    def write(self, file: str) -> None:
        """Writes JSON lines, aside first."""
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(f"{file}.partial", "w") as stream:
            for path, (stamp, digest) in self.digests.items():
                stream.write(json.dumps([path, *stamp, digest]) + "\n")
        os.replace(f"{file}.partial", file)


def read(file: str) -> Seen:
    """Reads what `write` wrote; nothing is known where there is no such file, or a damaged one."""
    try:
        return Seen({path: ((size, time), digest) for path, size, time, digest in _rows(file)})
    except (FileNotFoundError, TypeError, ValueError):
        return Seen()


def _rows(file: str) -> Iterator[tuple[str, int, int, str]]:
    with open(file) as stream:
        for line in stream:
            path, size, time, digest = json.loads(line)
            yield path, size, time, digest
