"""How long work says how far it is: a logger that a runner shows on its status line."""

import functools
import logging
import threading
import time

log = logging.getLogger("spotted.progress")
STAYS = logging.INFO + 5  # the level of what is still to be read when the work has gone on


class Rate:
    """Counts work, from any thread, and reports it about once a second."""

    def __init__(self, what: str, total: int, unit: str = "photos"):
        self._what, self._total, self._unit = what, total, unit
        self._done = 0
        self._lock = threading.Lock()
        self._start = self._shown = time.monotonic()

    def add(self, count: int, note: str = "") -> None:
        """Adds finished work, in units; `note` is shown behind the figures."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            due = now - self._shown >= 1 or self._done >= self._total
            self._shown = now if due else self._shown
        if due:
            rate = self._done / max(now - self._start, 1e-9)
            left = (self._total - self._done) / max(rate, 1e-9)
            log.info(
                "%s %d/%d %s · %.0f/s%s%s",
                *(self._what, self._done, self._total, self._unit, rate),
                f" · {left:.0f} s left" if left > 0 else "",
                f" · {note}" if note else "",
            )


@functools.lru_cache(maxsize=8)
def shared(what: str, total: int, work: str) -> Rate:
    """The one counter of all workers of this process on a piece of work, named by its folder."""
    del work
    return Rate(what, total)
