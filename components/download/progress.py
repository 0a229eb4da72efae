"""One line about once a second that says how far a call is: bytes of few files, or many counted."""

import math
import threading
import time
from collections.abc import Sequence

from components.sources.base import Remote
from models.progress import Rate, log

_FEW = 8  # files whose progress is told in bytes: of more, each is a small part of the work


class Progress:
    """How far a call is, told from any thread."""

    def __init__(self, what: str, remotes: Sequence[Remote]):
        self._what = what
        self._rate = Rate(what, len(remotes), "files") if len(remotes) > _FEW else None
        self._failed = 0
        self._sizes: dict[str, tuple[int, float]] = {
            remote.path: (0, math.inf) for remote in remotes
        }
        self._came = 0
        self._start = self._shown = time.monotonic()
        self._lock = threading.Lock()

    def begin(self, path: str, size: int, total: int | None) -> None:
        """A file's content starts to come behind its first `size` bytes."""
        with self._lock:
            self._sizes[path] = (size, math.inf if total is None else total)

    def add(self, path: str, count: int) -> None:
        """Some bytes of a file came."""
        with self._lock:
            size, total = self._sizes[path]
            self._sizes[path] = (size + count, total)
            self._came += count
            due = time.monotonic() - self._shown >= 1
        if due and not self._rate:
            self._show()

    def finished(self, path: str, failed: bool) -> None:
        """Nothing more will come of a file."""
        with self._lock:
            self._failed += failed
            size, _ = self._sizes[path]
            self._sizes[path] = (size, size)
            note = f"{self._failed} failed" if self._failed else ""
        if self._rate:
            self._rate.add(1, note)
        elif self._came:
            self._show()

    def _show(self) -> None:
        with self._lock:
            self._shown = time.monotonic()
            done = sum(size for size, _ in self._sizes.values()) / 1e6
            total = sum(total for _, total in self._sizes.values()) / 1e6
            rate = self._came / 1e6 / max(self._shown - self._start, 1e-9)
        whole, left = "", ""
        if total < math.inf:
            whole, left = f"/{total:.0f}", f" · {(total - done) / max(rate, 1e-9):.0f} s left"
        log.info("%s %.0f%s MB · %.1f MB/s%s", self._what, done, whole, rate, left)
