"""`local_runner.py lineage`: from a model back to its photos, from a photo on to its models."""

import argparse
import collections
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.command_line import OUTPUT, Parser
from pipeline.settings import SettingsError

if TYPE_CHECKING:
    from components.catalog import Photo
    from pipeline.lineage import Lineage, Reach

_ABOUT = """\
Answers where something comes from and where it went, by ML Metadata. Of a model or an artifact:
the nodes that made it, with the digests of their code, the data and the photos behind it. Of a
photo or a dog: every model that it reached, how, and which pushed versions these are, withdrawn
ones too."""
_EPILOG = """\
WHAT is one of
  breed, match              the version that serves
  match/1795693770          any version that was pushed; its folder will do
  artifact:12               an artifact, by its id in ML Metadata
  individuals/rex/1.jpg     a photo: its source and its path inside it, as in the ledger
  rex                       a dog: its id, as in the ledger

examples
  python local_runner.py lineage match
  python local_runner.py lineage rex                    which models saw this dog?
  python local_runner.py lineage rex --json
  python local_runner.py lineage match --picture match.svg

exit codes
  0 done    2 bad input, or nothing of that name
"""


def parser() -> argparse.ArgumentParser:
    """The command line behind the word `lineage`."""
    result = Parser(
        "local_runner.py lineage", description=_ABOUT, epilog=_EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    result.add_argument("what", metavar="WHAT", help="see below")
    result.add_argument("--json", action="store_true", help="print JSON, with all that is known")
    result.add_argument("--picture", metavar="FILE", help="draw it too, as an SVG")
    result.add_argument("--output", metavar="DIR", default=OUTPUT, help="default: ./output")
    return result


def main(argv: list[str]) -> int:
    """Runs what stands behind `lineage` on the command line and returns the exit code."""
    arguments = parser().parse_args(argv)
    from pipeline import lineage
    from pipeline.pages import drawn, picture

    try:
        known = lineage.Lineage(os.path.abspath(arguments.output))
        made = lineage.find(known, arguments.what)
        if made is not None:
            told = lineage.source(known, made)
            lines = _source(told)
            svg = drawn.of_artifact(known, made) if arguments.picture else ""
        else:
            rows = lineage.rows_of(known, arguments.what)
            if not rows:
                raise SettingsError(
                    f"{arguments.what}: no run in {arguments.output} was offered such a photo or "
                    "dog, and it names no model (--help says what can be named)"
                )
            reached = lineage.beyond(known, rows)
            told = _told(known, arguments.what, rows, reached)
            lines = _reached(told)
            svg = drawn.of_reach(known, arguments.what, rows, reached) if arguments.picture else ""
        if arguments.picture:
            try:
                picture.write(svg, arguments.picture)
            except OSError as error:
                raise SettingsError(f"--picture {arguments.picture}: {error.strerror}") from error
    except (SettingsError, OSError) as error:
        print(f"local_runner.py lineage: {error}", file=sys.stderr)
        return 2
    print(json.dumps(told, indent=1) if arguments.json else "\n".join(lines), flush=True)
    if arguments.picture:
        print(f"picture   {arguments.picture}", file=sys.stderr)
    return 0


def _source(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{told['type']} {told['uri']} (artifact:{told['artifact']})"
    yield f"data      {', '.join(told['data_versions']) or 'unknown'}"
    for view, counts in told["photos"].items():
        yield f"photos    {view}: " + ", ".join(f"{key} {n}" for key, n in sorted(counts.items()))
    yield ""
    yield f"{'execution':>9}  {'node':<28} {'code':<12} run"
    for step in told["nodes"]:
        code = step["code"][:12] or "TFX's own"
        yield f"{step['execution']:>9}  {step['node']:<28} {code:<12} {step['run_id']}"


def _told(
    known: "Lineage",
    what: str,
    rows: Mapping[int, Sequence["Photo"]],
    reached: Sequence["Reach"],
) -> dict[str, Any]:
    offered = []
    for artifact, photos in rows.items():
        version = known.made[artifact].properties.get("data_version", "")
        offered += [
            {
                "photo_id": photo.photo_id, "dog_id": photo.dog_id, "data_version": version,
                "split": str(photo.split) if photo.split else None,
                "reason": str(photo.reason) if photo.reason else None, "detail": photo.detail,
                "copy_of": photo.copy_of,
            }
            for photo in photos
        ]  # fmt: skip
    return {"name": what, "offered": offered, "reached": [item.as_json() for item in reached]}


def _reached(told: Mapping[str, Any]) -> Iterator[str]:
    photos = {row["photo_id"] for row in told["offered"]}
    yield f"{told['name']}: {len(photos)} photo{'s' * (len(photos) != 1)}"
    by_version: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for row in told["offered"]:
        by_version[row["data_version"]][row["split"] or f"rejected: {row['reason']}"] += 1
    for version, counts in by_version.items():
        yield f"data {version}  " + ", ".join(f"{key} {n}" for key, n in sorted(counts.items()))
    yield ""
    if not told["reached"]:
        yield "no model saw it"
    for reach in told["reached"]:
        count = len(reach["photos"])
        yield (
            f"{reach['model']:<14} {reach['role']} {count} photo{'s' * (count != 1)} "
            f"(run {reach['run_id']}, execution {reach['execution']})"
        )
        for pushed in reach["pushed"]:
            yield f"{'':<14} {pushed['state']}: {pushed['path']}"
