"""Rows of photos: the contract between the catalogue, the splits, the records and the ledger."""

import dataclasses
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from components.sources.base import Reason
from models import places
from models.geometry import Box, area

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
      size: bytes in that file.
      unpacked: bytes after inflating; 0 when it is stored as it is.
      sha256: of its bytes.
      views: those that it can be in.
      width: of the upright photo, pixels; 0 when it can't be read.
      height: likewise.
      breed: canonical name, None when not known.
      dog_id: unique across sources, None when not known.
      bodies: the box of every dog, pixels of the original.
      head_box: pixels of the original, None when not known.
      licence: under which the photo came.
      phash: perceptual hash (`models.perceptual`), "" when it can't be read.
      group: of near copies, known by one of their ids; None when it has none.
      copy_of: the photo that it is an exact or a near copy of, where it was rejected for that.
      listed: train or test where the source's own split lists name it.
      unlisted: the breed as the source spells it, where the vocabulary does not have it.
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
    unpacked: int = 0
    views: tuple[str, ...] = ()
    phash: str = ""
    group: str | None = None
    copy_of: str | None = None
    listed: str | None = None
    unlisted: str = ""
    split: str | None = None
    reason: Reason | None = None
    detail: str = ""

    @property
    def body_box(self) -> Box | None:
        """The largest dog's box."""
        return max(self.bodies, key=area, default=None)

    def to_json(self) -> str:
        """One line."""
        return json.dumps({**vars(self), "body_box": self.body_box})

    @classmethod
    def from_json(cls, line: str) -> "Photo":
        """Reads what `to_json` wrote."""
        row = json.loads(line)
        del row["body_box"]
        row["bodies"] = tuple(tuple(box) for box in row["bodies"])
        row["views"] = tuple(row["views"])
        row["head_box"] = tuple(row["head_box"]) if row["head_box"] else None
        row["reason"] = Reason(row["reason"]) if row["reason"] else None
        return cls(**row)


def in_view(photo: Photo, view: str) -> bool:
    """Whether a photo stands in a view: it was accepted, and its source serves that view."""
    return photo.split is not None and view in photo.views


def write(folder: str, photos: Iterable[Photo], name: str = "photos-00000.jsonl") -> None:
    """Writes rows, aside first, so that a part file is whole or not there."""
    from tfx.dsl.io import fileio

    path = os.path.join(folder, name)
    aside = f"{path}.{uuid.uuid4().hex}.partial"  # of its own: a worker and its retry may overlap
    with fileio.open(aside, "w") as file:
        for photo in photos:
            file.write(photo.to_json() + "\n")
    fileio.rename(aside, path, overwrite=True)


def read(folder: str, having: str = "") -> Iterator[Photo]:
    """Reads all rows of a folder, in the order of its part files; or those whose text has another
    in it, which is quick.
    """
    for name in places.names(folder):
        if name.startswith("photos-") and name.endswith(".jsonl"):
            yield from read_part(os.path.join(folder, name), having)


def read_part(path: str, having: str = "") -> Iterator[Photo]:
    """Reads the rows of one file, or those whose text has another in it."""
    needle = having.encode()
    with places.reading(path) as stream:
        yield from (Photo.from_json(line.decode()) for line in stream if needle in line)


def count(photos: Iterable[Photo], catalogued: bool = False) -> dict[str, dict[str, Any]]:
    """Counts by source: offered, accepted, rejected, and the reasons of the rejected.

    Accepted is what has a split; with `catalogued`, before there are splits, what has no reason.
    """
    counts: dict[str, dict[str, Any]] = {}
    for photo in photos:
        row = counts.setdefault(
            photo.source, {"offered": 0, "accepted": 0, "rejected": 0, "reasons": {}}
        )
        row["offered"] += 1
        row["accepted"] += photo.split is not None or (catalogued and photo.reason is None)
        row["rejected"] += photo.reason is not None
        if photo.reason:
            row["reasons"][photo.reason] = row["reasons"].get(photo.reason, 0) + 1
    return counts


def single_photo_dogs(photos: Iterable[Photo]) -> list[str]:
    """The dogs that have one accepted photo only: nothing can be matched with it."""
    counts = Counter(photo.dog_id for photo in photos if photo.dog_id and not photo.reason)
    return sorted(str(dog) for dog, number in counts.items() if number < 2)


def unknown_breeds(photos: Iterable[Photo]) -> dict[str, int]:
    """What the sources call breeds that the vocabulary does not have: spelling -> photos."""
    rows = [row for row in photos if row.unlisted and row.reason in (None, Reason.UNKNOWN_BREED)]
    return dict(Counter(f"{row.source}/{row.unlisted}" for row in rows).most_common())
