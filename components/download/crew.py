"""Threads that stop together: when one fails, or the call they work for is interrupted."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable

_LEAVE = 1.0  # seconds that stopped threads get to close their files


class StoppedError(Exception):
    """The call is over; nothing on disk may be touched any more."""


class Crew:
    """The threads of one call."""

    def __init__(self) -> None:
        self._stop = threading.Event()

    def run(self, target: Callable[[], None], count: int) -> None:
        """Runs a function in several threads until it ended in all; its error is raised here."""
        ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        threads = []
        try:
            for _ in range(count):
                # Daemons: one that a silent server holds must not keep the program from ending.
                thread = threading.Thread(target=_tell, args=(target, ended), daemon=True)
                thread.start()
                threads.append(thread)
            # Not Thread.join, which takes an interrupt for the thread's end (up to Python 3.12).
            for _ in threads:
                if error := ended.get():
                    raise error
        finally:
            self._stop.set()
            _join(threads, _LEAVE)

    def pulse(self) -> None:
        """Raises StoppedError when the threads are to stop."""
        if self._stop.is_set():
            raise StoppedError

    def rest(self, seconds: float) -> None:
        """Waits, and raises StoppedError as soon as the threads are to stop."""
        self._stop.wait(seconds)
        self.pulse()


def _tell(target: Callable[[], None], ended: "queue.SimpleQueue[BaseException | None]") -> None:
    """Calls a function, and tells the queue how it ended."""
    try:
        # Told of too, it would keep open the connections that its traceback leads to.
        with contextlib.suppress(StoppedError):
            target()
        ended.put(None)
    except BaseException as error:
        ended.put(error)


def _join(threads: list[threading.Thread], seconds: float) -> None:
    """Waits for threads, at most some seconds for all of them."""
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
