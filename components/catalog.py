"""Rows of photos: the contract between the catalogue, the splits, the records and the ledger."""

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

from components.sources.base import Reason
from models.geometry import Box

SPLITS = ("train", "val", "test")
VIEWS = ("cropped", "uncropped", "individual")


@dataclasses.dataclass(frozen=True)
class Photo:
    """One offered photo; it ends with a split or with a reason, never with both.

    Attributes:
      photo_id: unique and stable: the source and the path inside it.
      source: the adapter's name.
      uri: the file that holds it, relative to the data folder.
      offset: where it starts in that file, bytes.
      size: bytes.
      sha256: of its bytes.
      width: of the upright photo, pixels; 0 when it can't be read.
      height: likewise.
      breed: canonical name, None when not known.
      dog_id: unique across sources, None when not known.
      bodies: the box of every dog, pixels of the original.
      head_box: pixels of the original, None when not known.
      licence: under which the photo came.
      split: train, val or test once assigned.
      reason: why it was rejected.
      detail: what was found, for people.
    """

    photo_id: str
    source: str
    uri: str
    offset: int
    size: int
    sha256: str
    width: int = 0
    height: int = 0
    breed: str | None = None
    dog_id: str | None = None
    bodies: tuple[Box, ...] = ()
    head_box: Box | None = None
    licence: str = ""
    split: str | None = None
    reason: Reason | None = None
    detail: str = ""

    @property
    def body_box(self) -> Box | None:
        """The largest dog's box."""
        return max(self.bodies, key=_area, default=None)

    def to_json(self) -> str:
        """One line."""
        return json.dumps({**dataclasses.asdict(self), "body_box": self.body_box})

    @classmethod
    def from_json(cls, line: str) -> "Photo":
        """Reads what `to_json` wrote."""
        row = json.loads(line)
        del row["body_box"]
        row["bodies"] = tuple(tuple(box) for box in row["bodies"])
        row["head_box"] = tuple(row["head_box"]) if row["head_box"] else None
        row["reason"] = Reason(row["reason"]) if row["reason"] else None
        return cls(**row)


def _area(box: Box) -> float:
    xmin, ymin, xmax, ymax = box
    return (xmax - xmin) * (ymax - ymin)


def in_view(photo: Photo, view: str) -> bool:
    """Whether an accepted photo belongs to a view: breeds to two of them, known dogs to one."""
    return photo.dog_id is not None if view == "individual" else photo.breed is not None


def write(folder: str, photos: Iterable[Photo], name: str = "photos-00000.jsonl") -> None:
    """Writes rows, aside first, so that a part file is whole or not there."""
    from tfx.dsl.io import fileio

    path = os.path.join(folder, name)
    with fileio.open(path + ".partial", "w") as file:
        for photo in photos:
            file.write(photo.to_json() + "\n")
    fileio.rename(path + ".partial", path, overwrite=True)


def read(folder: str) -> Iterator[Photo]:
    """Reads all rows of a folder, in the order of its part files."""
    from tfx.dsl.io import fileio

    for path in sorted(fileio.glob(os.path.join(folder, "photos-*.jsonl"))):
        with fileio.open(path) as file:
            yield from (Photo.from_json(line) for line in file)


def count(photos: Iterable[Photo]) -> dict[str, dict[str, Any]]:
    """Counts by source: offered, accepted, rejected, and the reasons of the rejected."""
    counts: dict[str, dict[str, Any]] = {}
    for photo in photos:
        row = counts.setdefault(
            photo.source, {"offered": 0, "accepted": 0, "rejected": 0, "reasons": {}}
        )
        row["offered"] += 1
        row["accepted"] += photo.split is not None
        row["rejected"] += photo.reason is not None
        if photo.reason:
            row["reasons"][photo.reason] = row["reasons"].get(photo.reason, 0) + 1
    return counts
