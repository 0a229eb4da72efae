"""What the command lines share."""

import argparse
import os
import shlex
import sys
from typing import NoReturn

OUTPUT = "./output"


class FailureError(RuntimeError):
    """What was started failed; the message says where and why."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as all that comes after it does."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with exit code 2."""
        self.exit(2, f"{self.prog}: {message} (--help lists the flags)\n")


def python() -> str:
    """What to call this Python by on a command line that is typed here."""
    here = os.path.relpath(sys.executable)
    return sys.executable if here.startswith(os.pardir) else here


def typed(words: str, output: str) -> str:
    """A command of this program as it is typed here, for an output folder."""
    flag = "" if output == os.path.abspath(OUTPUT) else f" --output {shlex.quote(output)}"
    return f"{python()} local_runner.py {words}{flag}"
