"""`local_runner.py schema`: what the newest statistics say against the curated schemas."""

import difflib
import os
from collections.abc import Callable, Iterable
from typing import Any

from components import digests
from components.catalog import SPLITS, VIEWS
from pipeline.settings import SettingsError

_SCHEMA = digests.ROOT / "schema"


def review(output: str, accept: bool, say: Callable[[str], None] = print) -> None:
    """Proposes a schema for each view that has statistics, and shows the difference.

    The proposal is the curated schema, changed where the newest statistics do not fit it, by TFDV.

    Args:
      output: folder of the runs; gets `schema/<view>.pbtxt`.
      accept: replace the curated schemas by the proposals.
      say: prints a line.

    Raises:
      SettingsError: no run left statistics, or a curated schema can't be read.
    """
    found = _statistics(output)
    if not found:
        raise SettingsError(
            f"--output {output}: no run left statistics there: run --data_processing first"
        )
    for view, (run, folder) in found.items():
        curated, proposal = _propose(view, folder)
        place = os.path.join(output, "schema", f"{view}.pbtxt")
        _write(place, view, proposal)
        lines = list(_difference(view, curated, proposal))
        if not lines:
            say(f"{view}: the data of run {run} fit schema/{view}.pbtxt (no word on other checks)")
            continue
        say(f"{view}: schema/{view}.pbtxt, and what it would be to fit the data of run {run}:")
        for line in lines:
            say(f"  {line}")
        for name in _unchecked(proposal):
            say(f"  beware: {name} would be DEPRECATED, which is not checked: mend it by hand")
        say(f"proposal  {place}")
        if accept:
            _write(str(_SCHEMA / f"{view}.pbtxt"), view, proposal)
            say(f"accepted  schema/{view}.pbtxt")
        else:
            say("mend the data, or take the proposals over: python local_runner.py schema --accept")


def _statistics(output: str) -> dict[str, tuple[str, str]]:
    """The newest run that has statistics, and where they lie, by view."""
    from pipeline.metadata import Store

    store = Store(os.path.join(output, "metadata.sqlite"))
    for run in store.runs():
        nodes = store.nodes(run)
        places = {
            view: store.uri(nodes.get(f"StatisticsGen_{view}"), "statistics") for view in VIEWS
        }
        if any(places.values()):
            return {view: (run, place) for view, place in places.items() if place}
    return {}


def _propose(view: str, folder: str) -> tuple[Any, Any]:
    """The curated schema, and the same made to fit the statistics of every split."""
    import tensorflow_data_validation as tfdv
    from google.protobuf import text_format

    try:
        curated = tfdv.load_schema_text(str(_SCHEMA / f"{view}.pbtxt"))
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise SettingsError(f"schema/{view}.pbtxt is no TFDV schema: {error}; mend it") from None
    proposal = curated
    for split in SPLITS:
        path = os.path.join(folder, f"Split-{split}", "FeatureStats.pb")
        proposal = tfdv.update_schema(proposal, tfdv.load_stats_binary(path))
    return curated, proposal


def _unchecked(schema: Any) -> list[str]:
    """The features that TFDV gave up on: of another type in the data, or not in them."""
    from tensorflow_metadata.proto.v0 import schema_pb2

    return [
        feature.name
        for feature in schema.feature
        if feature.lifecycle_stage == schema_pb2.DEPRECATED
    ]


def _difference(view: str, curated: Any, proposal: Any) -> Iterable[str]:
    before, after = (str(schema).splitlines() for schema in (curated, proposal))
    return difflib.unified_diff(before, after, "curated", "proposal", n=6, lineterm="")


def _write(path: str, view: str, schema: Any) -> None:
    """Writes a schema as text, aside first, with the comments that head the curated one."""
    lines = (_SCHEMA / f"{view}.pbtxt").read_text().splitlines(keepends=True)
    comments = "".join(line for line in lines if line.startswith("#"))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.partial", "w") as file:
        file.write(comments + str(schema))
    os.replace(f"{path}.partial", path)
