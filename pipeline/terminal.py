"""What a person sees while a run goes on: one status line, one line for each finished node."""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from models.progress import log

_EVERY = 15.0  # seconds between status lines where they can't be overwritten


class InterruptedRunError(Exception):
    """Ctrl-C, as an exception that TFX cleans up after: it removes the running node's outputs."""


class Terminal(logging.Handler):
    """Owns the real terminal; everything else that prints goes to a log file.

    Attributes:
      nodes: how many nodes the run has, for "3/30".
      interrupted: whether somebody asked to stop.
    """

    def __init__(self, stream: TextIO):
        super().__init__()
        self.nodes = 0
        self.interrupted = False
        self._stream = stream
        self._live = stream.isatty()
        self._node: str | None = None
        self._number = 0
        self._ran = False
        self._text = ""
        self._done = threading.Event()
        self._lock = threading.RLock()
        self._started = self._shown = time.monotonic()

    def tick(self) -> None:
        """Keeps the clock of the status line going, once a second, until `close`."""
        while not self._done.wait(1):
            with self._lock:
                if self._node:
                    self._status(self._text)

    def close(self) -> None:
        """Ends `tick`."""
        self._done.set()
        super().close()

    def say(self, text: str = "") -> None:
        """Prints a line that stays."""
        with self._lock:
            self._stream.write(("\r\033[K" if self._live else "") + text + "\n")
            self._stream.flush()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes progress, and TFX's own words about where it is."""
        text = str(record.msg)
        if record.name == log.name:
            self._text = record.getMessage()
            if record.levelno > logging.INFO:
                self._stay(self._text)
            else:
                self._status(self._text)
        elif text == "Component %s is running.":
            self._begin(str(record.args[0]))  # type: ignore[index]
        elif text == "Component %s is finished.":
            self._end("done" if self._ran else "cached")
        elif text.startswith(("Going to run a new execution", "Running as an importer")):
            self._ran = True
        elif text == "Reusing existing artifact":
            self._ran = False

    def stop_if_asked(self) -> None:
        """Raises again what a library may have swallowed: many imports catch every exception.

        Raises:
          InterruptedRunError: somebody asked to stop.
        """
        if self.interrupted:
            raise InterruptedRunError

    def failed(self, state: str = "FAILED") -> str | None:
        """Closes the running node's line and returns its name, None when none was running."""
        node = self._node
        if node:
            self._end(state)
        return node

    def _begin(self, node: str) -> None:
        self.stop_if_asked()
        self._node, self._ran = node, False
        self._number += 1
        self._text = ""
        self._started = time.monotonic()
        self._shown = self._started
        self._overwrite("")

    def _end(self, state: str) -> None:
        seconds = time.monotonic() - self._started
        self.say(f"  {self._place()} {self._node:<28} {state:<7} {seconds:6.1f} s")
        self._node = None

    def _place(self) -> str:
        return f"{self._number:>2}/{self.nodes}"

    def _status(self, text: str) -> None:
        if self._live:
            self._overwrite(text)
        elif time.monotonic() - self._shown >= _EVERY:
            self._shown = time.monotonic()
            self._stay(text)

    def _stay(self, text: str) -> None:
        self.say(f"  {self._place()} {self._node} … {text}" if self._node else f"  {text}")

    def _overwrite(self, text: str) -> None:
        if self._live:
            width = os.get_terminal_size(self._stream.fileno()).columns or 80
            seconds = time.monotonic() - self._started
            place = f"  {self._place()} {self._node} {seconds:.0f} s " if self._node else "  "
            self._stream.write("\r\033[K" + (place + text)[: width - 1])
            self._stream.flush()


@contextlib.contextmanager
def quiet(log_file: str) -> Iterator[Terminal]:
    """Sends all that anybody prints or logs to a file, and yields the terminal.

    File descriptors are redirected, so that what C++ libraries print goes there too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with (
        open(kept[0], "w", closefd=False, errors="replace") as stream,
        open(log_file, "ab", buffering=0) as target,
    ):
        os.dup2(target.fileno(), 1)
        os.dup2(target.fileno(), 2)
        terminal = Terminal(stream)
        log.setLevel(logging.INFO)
        log.addHandler(terminal)
        threading.Thread(target=terminal.tick, daemon=True).start()
        try:
            yield terminal
        finally:
            log.removeHandler(terminal)
            terminal.close()
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
