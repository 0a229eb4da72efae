"""What has come of a file: `<path>.part`, and `<path>.part.json` that says of what it is a part.

A part that an earlier call left is gone on with only where the server vouches that the file is
still the same (RFC 9110: Range, If-Range, validators). Within a call, a server that gives no
validator is taken at its word that the length is the same.
"""

import contextlib
import hashlib
import json
import os
import shutil
from typing import IO, TYPE_CHECKING, Any

from components.download import answers
from components.download.problems import TroubleError
from components.sources.base import Remote

if TYPE_CHECKING:
    from requests import Response


class Part:
    """What has come of a file.

    Attributes:
      path: of the part.
      size: bytes that came.
      total: bytes of the whole, None when it is not known.
      digest: sha256 of what came.
    """

    size: int
    total: int | None
    digest: "hashlib._Hash"

    def __init__(self, remote: Remote):
        self.path = remote.path + ".part"
        self._state = self.path + ".json"
        self._remote = remote
        self._forget()

    def __str__(self) -> str:
        whole = "" if self.total is None else f" of {self.total:,}"
        return f"{self.size:,}{whole} bytes"

    def load(self) -> None:
        """Takes over what an earlier call left, if a server can say whether it is still good."""
        os.makedirs(self._folder(), exist_ok=True)
        state = _read_state(self._state)
        if state.get("url") != self._remote.url or not state.get("validator"):
            return
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            self.digest = hashlib.file_digest(file, "sha256")
            self.size = file.tell()
            self.total, self._validator = state.get("total"), state["validator"]

    def free(self) -> int:
        """Bytes that the disk has room for."""
        return shutil.disk_usage(self._folder()).free

    def wanted(self) -> dict[str, str]:
        """The headers that ask for the rest."""
        if not self.size:
            return {}
        condition = {"If-Range": self._validator} if self._validator else {}
        return {"Range": f"bytes={self.size}-", **condition}

    def begin(self, response: "Response") -> None:
        """Starts from zero with an answer that holds everything."""
        # Emptied before the state changes: old bytes must never stand under a new validator.
        with open(self.path, "wb"):
            self._forget()
        self.total, self._validator = answers.length(response), answers.validator(response)
        state = {"url": self._remote.url, "validator": self._validator, "total": self.total}
        with open(self._state, "w", encoding="utf-8") as file:
            json.dump(state, file)

    def require_rest(self, response: "Response") -> None:
        """Makes sure that an answer goes on where the part ends, else starts over."""
        start, total = answers.start_and_total(response) or (-1, -1)
        same = not self._validator or answers.validator(response) in ("", self._validator)
        if start != self.size or self.total not in (None, total) or not same:
            self._start_over(
                f"HTTP 206 with range {answers.content_range(response)!r}, expected it from byte "
                f"{self.size:,}"
            )
        self.total = total

    def require_whole(self, response: "Response") -> None:
        """Makes sure that a server has no rest because there is none, else starts over."""
        totals = {self.total, answers.unsatisfied_total(response)} - {None}
        if not self.size or totals != {self.size}:
            self._start_over(answers.status(response))

    def append(self, file: IO[bytes], block: bytes) -> None:
        """Adds a block that came; `file` is open at the end of the part."""
        file.write(block)
        file.flush()
        self.digest.update(block)
        self.size += len(block)

    def rename(self) -> None:
        """Gives the part its name."""
        os.replace(self.path, self._remote.path)
        os.unlink(self._state)

    def remove(self) -> None:
        """Removes what came."""
        for path in (self.path, self._state):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        self._forget()

    def _folder(self) -> str:
        return os.path.dirname(os.path.abspath(self.path))

    def _forget(self) -> None:
        self.size, self.digest = 0, hashlib.sha256()
        self.total = None
        self._validator = ""

    def _start_over(self, problem: str) -> None:
        self.remove()
        raise TroubleError(problem, wait=0)


def _read_state(path: str) -> dict[str, Any]:
    """What stands beside a part; nothing where a call was stopped while it wrote it."""
    try:
        with open(path, encoding="utf-8") as file:
            state = json.load(file)
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}
