"""`local_runner.py report`: the page of a run, or of two beside each other."""

import argparse
import os
import sys

from pipeline.command_line import OUTPUT, Parser
from pipeline.settings import SettingsError

_ABOUT = """\
Writes the report of a run: one HTML file that opens anywhere, without a network, and that can be
mailed. Every run writes its own at its end; this writes it again, of any run, or two runs beside
each other with the differences marked."""
_EPILOG = """\
examples
  python local_runner.py report                            of the newest run
  python local_runner.py report 20261127-093714
  python local_runner.py report --compare 20261127-093714  the newest run beside that one

exit codes
  0 done    2 bad input, or no such run
"""


def parser() -> argparse.ArgumentParser:
    """The command line behind the word `report`."""
    result = Parser(
        "local_runner.py report", description=_ABOUT, epilog=_EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    result.add_argument("run", metavar="RUN", nargs="?", help="its id (default: the newest)")
    result.add_argument("--compare", metavar="RUN", help="another run, to stand beside it")
    result.add_argument("--output", metavar="DIR", default=OUTPUT, help="default: ./output")
    return result


def main(argv: list[str]) -> int:
    """Runs what stands behind `report` on the command line and returns the exit code."""
    arguments = parser().parse_args(argv)
    output = os.path.abspath(arguments.output)
    from pipeline import local

    try:
        logs = os.path.join(output, "logs")
        if not os.path.isdir(logs):
            raise SettingsError(f"--output {arguments.output}: no run was made there")
        with local.quiet(os.path.join(logs, "report.log")) as terminal:
            from pipeline.pages import report

            if arguments.compare:
                path = report.write_beside(output, arguments.run, arguments.compare)
            else:
                path = report.write(output, arguments.run)
            terminal.say(f"report    {path}")
    except (SettingsError, OSError) as error:
        print(f"local_runner.py report: {error}", file=sys.stderr)
        return 2
    return 0
