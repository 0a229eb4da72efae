"""What earlier calls brought into a folder: `downloads.json`."""

import hashlib
import json
import os
import threading
import time
from typing import Any

from components.download.problems import RefusedError
from components.sources.base import RECORDS, DataError, Remote

_PAUSE = 20  # times as long as writing takes, until it is done again


class Records:
    """The records of a folder.

    Raises:
      DataError: the file is not what a call wrote.
    """

    def __init__(self, folder: str):
        self._path = os.path.join(folder, RECORDS)
        self._rows = _read(self._path)
        self._changed = False
        self._due = time.monotonic() + 1
        self._lock = threading.Lock()

    def kept(self, remote: Remote) -> str:
        """Digest of the file that is there, "" when it has to be fetched.

        Raises:
          RefusedError: another file lies there, and it is somebody's own.
        """
        if not os.path.lexists(remote.path):
            return ""
        record = self._rows.get(os.path.basename(remote.path))
        expected = remote.sha256.lower()
        if record and not expected and os.path.getsize(remote.path) != record["bytes"]:
            return ""
        with open(remote.path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        if sha256 == (expected or (record["sha256"] if record else sha256)):
            return sha256
        if record:
            return ""
        raise RefusedError(
            f"{remote.path} has sha256 {sha256}, expected {expected}, and was not fetched from "
            "here: move it away to have it fetched"
        )

    def add(self, remote: Remote, sha256: str) -> None:
        """Records a file that came, on disk soon."""
        row = {"url": remote.url, "bytes": os.path.getsize(remote.path), "sha256": sha256}
        with self._lock:
            self._rows[os.path.basename(remote.path)] = row
            self._changed = True
            due = time.monotonic() >= self._due
        if due:
            self.write()

    def write(self) -> None:
        """Writes what is not on disk yet, aside first."""
        with self._lock:
            if not self._changed:
                return
            start = time.monotonic()
            with open(self._path + ".partial", "w", encoding="utf-8") as file:
                file.write(json.dumps(self._rows))
            os.replace(self._path + ".partial", self._path)
            self._changed = False
            end = time.monotonic()
            # All rows are written each time: ever more rows must not mean ever more of the time.
            self._due = end + max(1.0, _PAUSE * (end - start))


def _read(path: str) -> dict[str, dict[str, Any]]:
    try:
        with open(path, encoding="utf-8") as file:
            rows = json.load(file)
        # Read here so that a record that lacks one ends the call before it begins.
        return {
            name: {"url": row["url"], "bytes": row["bytes"], "sha256": row["sha256"]}
            for name, row in rows.items()
        }
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{path}: expected url, bytes and sha256 of each file that was fetched, found "
            f"{type(error).__name__}: {error}; remove it, and the files beside it count as yours"
        ) from error
