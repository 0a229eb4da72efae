"""DatasetImporter: checks the data folder and writes down where everything in it lies."""

import dataclasses
import json
import os

from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio

from components import artifacts, dataset
from components.sources.base import Entry

IGNORED = "ignored.json"  # members of archives that belong to no source


@component
def DatasetImporter(  # noqa: N802 - TFX names the node after the function
    data: Parameter[str],
    listings: Parameter[str],
    digest: Parameter[str],
    code: Parameter[str],
    entries: OutputArtifact[artifacts.Dataset],
) -> None:
    """Indexes a data folder.

    Args:
      data: the content-addressed folder.
      listings: folder of what runners read: every file that counts, with its digest, in
        `<digest>.jsonl`.
      digest: of the whole content; "" for whatever the folder holds now, without a listing.
      code: digest of the code, for the cache.
      entries: written: one row for every file, those in archives one by one; and `ignored.json`.

    Raises:
      DataError: an archive is damaged, or another one than the runner read.
      RuntimeError: the listing is not of this digest.
    """
    del code
    listing = os.path.join(listings, f"{digest}.jsonl")
    found = dataset.Dataset.read(listing) if digest else dataset.read_dataset(data)
    digest = digest or found.digest
    if found.digest != digest:
        raise RuntimeError(f"{listing} is not the listing of {digest}")
    rows, left = dataset.entries(data, found)
    write(entries.uri, rows)
    with fileio.open(os.path.join(entries.uri, IGNORED), "w") as file:
        file.write(json.dumps(left, indent=1))
    artifacts.tell(
        entries,
        digest=digest,
        data_version=dataset.version_of(digest),
        files=len(rows),
        ignored=len(left),
    )


def write(folder: str, rows: list[Entry]) -> None:
    """Writes entries as JSON lines."""
    with fileio.open(os.path.join(folder, "entries.jsonl"), "w") as file:
        for row in rows:
            file.write(json.dumps(dataclasses.asdict(row)) + "\n")


def read(folder: str) -> list[Entry]:
    """Reads what `write` wrote."""
    with fileio.open(os.path.join(folder, "entries.jsonl")) as file:
        return [Entry(**json.loads(line)) for line in file]
