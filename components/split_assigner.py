"""SplitAssigner: train, val or test for every accepted photo, whole dogs together."""

import csv
import dataclasses
import hashlib
import io
import os
from collections.abc import Iterable

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio

from components import artifacts, catalog
from components.catalog import Photo

BREED_SHARES = (0.70, 0.15, 0.15)
DOG_SHARES = (0.80, 0.10, 0.10)


@component
def SplitAssigner(  # noqa: N802 - TFX names the node after the function
    photos: InputArtifact[artifacts.PhotoCatalog],
    splits: OutputArtifact[artifacts.SplitManifest],
    code: Parameter[str],
) -> None:
    """Assigns the splits and writes the ledger.

    Args:
      photos: read: one row for every offered photo.
      splits: written: the same rows with their split, and `<view>-<split>.csv` for people.
      code: digest of the code, for the cache.

    Raises:
      RuntimeError: a row has neither a split nor a reason, or both.
    """
    del code
    rows = [assign(photo) for photo in catalog.read(photos.uri)]
    if astray := [row.photo_id for row in rows if (row.split is None) == (row.reason is None)]:
        raise RuntimeError(f"{len(astray)} photos are not accounted for once, {astray[0]} first")
    catalog.write(splits.uri, rows)
    for view in catalog.VIEWS:
        for split in catalog.SPLITS:
            with fileio.open(os.path.join(splits.uri, f"{view}-{split}.csv"), "w") as file:
                file.write(manifest(rows, view, split))
    splits.offered = len(rows)
    splits.rejected = sum(1 for row in rows if row.reason)
    splits.accepted = sum(1 for row in rows if row.split)


def assign(photo: Photo) -> Photo:
    """Gives an accepted photo its split.

    A photo of a known dog goes where its dog goes; any other goes by its own id. Both come from a
    hash alone, so adding photos never moves one.
    """
    if photo.reason:
        return photo
    shares = DOG_SHARES if photo.dog_id else BREED_SHARES
    return dataclasses.replace(photo, split=split_of(photo.dog_id or photo.photo_id, shares))


def split_of(key: str, shares: tuple[float, float, float]) -> str:
    """The split of a stable id: its hash as a number in [0, 1) against the shares."""
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    train, val, _ = shares
    return "train" if place < train else "val" if place < train + val else "test"


def manifest(rows: Iterable[Photo], view: str, split: str) -> str:
    """The CSV of one view and split."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["filename", "label", "source", "uri", "sha256", "width", "height"])
    for row in rows:
        if row.split == split and catalog.in_view(row, view):
            label = row.dog_id if view == "individual" else row.breed
            table.writerow(
                [row.photo_id, label, row.source, row.uri, row.sha256, row.width, row.height]
            )
    return text.getvalue()
