"""PhotoCatalog: one row for every photo that a source offers, looked at once."""

import dataclasses
import os
from collections.abc import Iterable, Iterator

import apache_beam as beam
from tfx.dsl.component.experimental.annotations import (
    BeamComponentParameter,
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio

from components import artifacts, catalog, dataset_importer
from components.catalog import Photo
from components.dataset import Reader
from components.sources.base import Entry, Offer, Reason
from components.sources.registry import SOURCES
from models import pixels, progress, vocabulary
from models.geometry import Box

_CHUNK = 200  # photos a Beam element looks at, and writes as one part file


@component(use_beam=True)
def PhotoCatalog(  # noqa: N802 - TFX names the node after the function
    entries: InputArtifact[artifacts.Dataset],
    photos: OutputArtifact[artifacts.PhotoCatalog],
    data: Parameter[str],
    breeds: Parameter[str],
    code: Parameter[str],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Lists the photos of every source, accepted or rejected with a reason.

    Args:
      entries: read: where everything lies.
      photos: written: one row for every photo, without a split yet.
      data: the content-addressed data folder.
      breeds: the content-addressed breed table.
      code: digest of the code, for the cache.
      beam_pipeline: given by TFX.
    """
    del code
    table = vocabulary.read(breeds)
    offered = list_photos(dataset_importer.read(entries.uri), table, data)
    looked = os.path.join(photos.uri, "looked-at")
    fileio.makedirs(looked)
    chunks = [
        (number, offered[start : start + _CHUNK])
        for number, start in enumerate(range(0, len(offered), _CHUNK))
    ]
    assert beam_pipeline is not None, "TFX makes the Beam pipeline"
    with beam_pipeline as pipeline:
        _ = (
            pipeline
            | "Chunks" >> beam.Create(chunks)
            | "Spread" >> beam.Reshuffle()
            | "Look" >> beam.ParDo(_Look(data, looked, len(offered)))
        )
    rows = mark_copies(catalog.read(looked))
    catalog.write(photos.uri, rows)
    fileio.rmtree(looked)
    if len(rows) != len(offered):
        raise RuntimeError(f"{len(offered)} photos were offered, {len(rows)} were written")
    photos.offered = len(rows)
    photos.rejected = sum(1 for row in rows if row.reason)
    photos.accepted = photos.offered - photos.rejected


def list_photos(entries: Iterable[Entry], breeds: vocabulary.Vocabulary, data: str) -> list[Photo]:
    """Every offered photo of every source, before its pixels are looked at."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.source, []).append(entry)
    reader = Reader(data)
    try:
        return [
            _row(offer, breeds)
            for name in sorted(groups)
            for offer in SOURCES[name].offers(groups[name], reader.entry)
        ]
    finally:
        reader.close()


def _row(offer: Offer, breeds: vocabulary.Vocabulary) -> Photo:
    entry = offer.entry
    named = offer.breed is not None
    breed = breeds.canonical(entry.source, offer.breed or "") if named else None
    unknown = Reason.UNKNOWN_BREED if named and breed is None else None
    return Photo(
        photo_id=f"{entry.source}/{entry.name}",
        source=entry.source,
        uri=entry.container,
        offset=entry.offset,
        size=entry.size,
        sha256=entry.sha256,
        breed=breed,
        dog_id=offer.dog_id,
        bodies=offer.bodies,
        licence=SOURCES[entry.source].licence,
        reason=unknown or offer.problem,
        detail=f"breed {offer.breed!r}" if unknown else "",
    )


def mark_copies(photos: Iterable[Photo]) -> list[Photo]:
    """Rejects every photo whose exact bytes were already accepted from an earlier row."""
    first: dict[str, str] = {}
    marked = []
    for photo in photos:
        if not photo.reason and photo.sha256 in first:
            copy_of = f"of {first[photo.sha256]}"
            photo = dataclasses.replace(photo, reason=Reason.EXACT_COPY, detail=copy_of)
        if not photo.reason:
            first[photo.sha256] = photo.photo_id
        marked.append(photo)
    return marked


class _Look(beam.DoFn):
    """Looks at a chunk of photos and writes it as one part file."""

    def __init__(self, data: str, folder: str, total: int):
        self._data, self._folder, self._total = data, folder, total

    def process(self, chunk: tuple[int, list[Photo]]) -> Iterator[None]:
        """Writes the part file of one chunk."""
        number, photos = chunk
        reader = Reader(self._data)
        rows = [look(photo, reader) for photo in photos]
        reader.close()
        catalog.write(self._folder, rows, f"photos-{number:05d}.jsonl")
        progress.shared("looking at photos", self._total, self._folder).add(len(rows))
        yield from ()


def look(photo: Photo, reader: Reader) -> Photo:
    """Reads a photo to its last row and checks its boxes against its frame."""
    try:
        data = reader(photo.uri, photo.offset, photo.size)
        width, height = pixels.size(data)
        if not photo.reason:
            pixels.decode(data, smallest_side=1)
    except (OSError, pixels.UnreadablePhotoError) as error:
        reason = photo.reason or Reason.UNREADABLE
        return dataclasses.replace(photo, reason=reason, detail=photo.detail or str(error))
    photo = dataclasses.replace(photo, width=width, height=height)
    outside = [box for box in photo.bodies if not _inside(box, width, height)]
    if outside and not photo.reason:
        detail = f"box {outside[0]} in {width} x {height}"
        return dataclasses.replace(photo, reason=Reason.BOX_OUTSIDE_FRAME, detail=detail)
    return photo


def _inside(box: Box, width: int, height: int) -> bool:
    xmin, ymin, xmax, ymax = box
    return xmin >= 0 and ymin >= 0 and xmax <= width and ymax <= height
