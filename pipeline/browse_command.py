"""`local_runner.py browse`: ML Metadata, to click through."""

import argparse
import contextlib
import os
import sys

from pipeline.command_line import OUTPUT, Parser
from pipeline.settings import SettingsError

_PORT = 8765
_ABOUT = """\
Serves pages over ML Metadata on this machine: runs, nodes, artifacts with their properties and
previews, photos and dogs with the models that saw them, and the lineage to click through. It reads
only, answers to 127.0.0.1 only, and shows a run that goes on as far as it is. Ctrl-C ends it."""
_EPILOG = """\
exit codes
  0 ended by Ctrl-C    2 bad input, or no run was made there
"""


def parser() -> argparse.ArgumentParser:
    """The command line behind the word `browse`."""
    result = Parser(
        "local_runner.py browse", description=_ABOUT, epilog=_EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    result.add_argument("--output", metavar="DIR", default=OUTPUT, help="default: ./output")
    result.add_argument(
        "--port", type=int, metavar="N", default=_PORT, help=f"0 for any (default: {_PORT})"
    )
    return result


def main(argv: list[str]) -> int:
    """Runs what stands behind `browse` on the command line and returns the exit code."""
    arguments = parser().parse_args(argv)
    from pipeline.pages import browser
    from pipeline.terminal import quiet

    try:
        site = browser.Site(os.path.abspath(arguments.output))
        server = browser.Server(site, arguments.port)
    except (SettingsError, OSError, OverflowError) as error:
        why = (
            f"--port {arguments.port}: {error}"
            if isinstance(error, (OSError, OverflowError))
            else error
        )
        print(f"local_runner.py browse: {why}", file=sys.stderr)
        return 2
    # What libraries say of a preview goes nowhere; what goes wrong is said on its page.
    with contextlib.suppress(KeyboardInterrupt), server, quiet(os.devnull) as terminal:
        terminal.say(f"{server.address} (Ctrl-C ends it)")
        server.serve_forever()
    return 0
