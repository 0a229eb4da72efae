"""PhotoCatalog: one row for every photo that a source offers, looked at once."""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from tfx.dsl.component.experimental.annotations import (
    BeamComponentParameter,
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio

from components import artifacts, catalog, copies, dataset_importer, parallel
from components.catalog import Photo
from components.dataset import Reader
from components.sources.base import DataError, Entry, Offer, Reason
from components.sources.registry import SOURCES
from models import perceptual, pixels, progress, vocabulary
from models.geometry import Box

_CHUNK = 500  # photos a Beam element looks at: it reads them from one file and writes another


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
    assert beam_pipeline is not None, "TFX makes the Beam pipeline"
    looked = os.path.join(photos.uri, "looked-at")
    rows = copies.mark(look_at_all(offered, data, looked, beam_pipeline))
    catalog.write(photos.uri, rows)
    fileio.rmtree(looked)
    if len(rows) != len(offered):
        raise RuntimeError(f"{len(offered)} photos were offered, {len(rows)} were written")
    rejected = sum(1 for row in rows if row.reason)
    artifacts.tell(
        photos,
        data_version=entries.get_string_custom_property("data_version"),
        offered=len(rows),
        rejected=rejected,
        accepted=len(rows) - rejected,
    )


def look_at_all(
    offered: Sequence[Photo], data: str, folder: str, beam_pipeline: beam.Pipeline
) -> list[Photo]:
    """`look` at every photo, by Beam.

    Args:
      offered: the photos.
      data: the data folder.
      folder: for the lists that the workers read and write.
      beam_pipeline: an empty one; it is run.
    """
    fileio.makedirs(folder)
    starts = range(0, len(offered), _CHUNK)
    for number, start in enumerate(starts):
        catalog.write(folder, offered[start : start + _CHUNK], _part("offered", number))
    with beam_pipeline as pipeline:
        _ = (
            pipeline
            | "Chunks" >> beam.Create(range(len(starts)))
            | "Spread" >> beam.Reshuffle()
            | "Look" >> beam.ParDo(_Look(data, folder, len(offered)))
        )
    return list(catalog.read(folder))


def list_photos(entries: Iterable[Entry], breeds: vocabulary.Vocabulary, data: str) -> list[Photo]:
    """Every offered photo of every source, before its pixels are looked at."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.source, []).append(entry)
    with Reader(data) as reader:
        return [
            _row(offer, breeds)
            for name in sorted(groups)
            for offer in SOURCES[name].offers(groups[name], reader.entry)
        ]


def _row(offer: Offer, breeds: vocabulary.Vocabulary) -> Photo:
    entry, source = offer.entry, SOURCES[offer.entry.source]
    breed = breeds.canonical(source.name, offer.breed) if offer.breed else None
    unlisted = offer.breed if offer.breed is not None and breed is None else None
    # A photo that is there for its dog is good without its breed.
    unknown = Reason.UNKNOWN_BREED if unlisted is not None and not offer.dog_id else None
    return Photo(
        photo_id=f"{entry.source}/{entry.name}",
        source=entry.source,
        uri=entry.container,
        offset=entry.offset,
        size=entry.size,
        sha256=entry.sha256,
        breed=vocabulary.MIXED if unlisted is not None and offer.dog_id else breed,
        dog_id=offer.dog_id,
        bodies=offer.bodies,
        head_box=offer.head_box,
        licence=source.licence,
        unpacked=entry.unpacked,
        views=source.views,
        listed=offer.listed,
        unlisted=unlisted or "",
        reason=offer.problem or unknown,
        detail=offer.detail or (f"breed {unlisted!r}" if unlisted is not None else ""),
    )


def _part(what: str, number: int) -> str:
    return f"{what}-{number:05d}.jsonl"


class _Look(beam.DoFn):
    """Looks at a chunk of photos and writes it as one part file."""

    def __init__(self, data: str, folder: str, total: int):
        self._data, self._folder, self._total = data, folder, total

    def process(self, number: int) -> Iterator[None]:
        """Writes the part file of one chunk."""
        photos = list(catalog.read_part(os.path.join(self._folder, _part("offered", number))))
        with Reader(self._data) as reader:
            rows = list(parallel.each(lambda photo: look(photo, reader), photos))
        catalog.write(self._folder, rows, _part("photos", number))
        progress.shared("looking at photos", self._total, self._folder).add(len(rows))
        yield from ()


def look(photo: Photo, reader: Reader) -> Photo:
    """Reads a photo to its last row, hashes it, and checks its boxes against its frame.

    Raises:
      DataError: it is not the photo that was digested when the run began.
    """
    if photo.reason == Reason.NOT_DOWNLOADED:
        return photo
    try:
        data = reader.photo(photo)
        grey, width, height = pixels.glance(data, perceptual.SIDE)
    except DataError:
        raise  # the photo is another one than was digested
    except (OSError, ValueError) as error:
        unread = photo.reason or Reason.UNREADABLE
        return dataclasses.replace(photo, reason=unread, detail=photo.detail or str(error))
    reason, detail = photo.reason, photo.detail
    outside = [box for box in photo.bodies if not _inside(box, width, height)]
    if outside and not reason:
        reason, detail = Reason.BOX_OUTSIDE_FRAME, f"box {outside[0]} in {width} x {height}"
    return dataclasses.replace(
        photo,
        width=width,
        height=height,
        phash=perceptual.hash_of(grey),
        reason=reason,
        detail=detail,
    )


def _inside(box: Box, width: int, height: int) -> bool:
    xmin, ymin, xmax, ymax = box
    return xmin >= 0 and ymin >= 0 and xmax <= width and ymax <= height
