"""ImageExampleGen: crops, resizes and writes the TFRecords of one view.

Beam carries nothing but names of shards: one element is one shard, whose photos are read, cropped,
encoded and written where it is processed. What a shard holds depends on the manifest alone, so the
records are the same on any runner and after any number of retries.
"""

import dataclasses
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np
from tfx.components.util import examples_utils
from tfx.dsl.component.experimental.annotations import (
    BeamComponentParameter,
    InputArtifact,
    OutputArtifact,
    Parameter,
)
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import standard_artifacts

from components import artifacts, catalog, parallel
from components.catalog import Photo
from components.dataset import Reader
from components.sources.base import DataError
from models import examples, geometry, pixels, progress, vocabulary
from models.geometry import Box

_PLANS = "plans"  # folder that lists the photos of each shard while these are written
_ASIDE = "partial-"  # before the name of a file that is being written
SHARD = 500  # photos: some 15 MB at 224 px, well under the 200 MB that a shard may have
_FULL = 448  # pixels of side up to which a shard has that many photos; of larger ones it has less


@dataclasses.dataclass(frozen=True)
class Shape:
    """What becomes of a photo.

    Attributes:
      view: cropped keeps the largest dog, the others the whole photo.
      side: of the written photo, pixels.
      margin: kept round the largest dog's box, as a share of the box's longer side.
    """

    view: str
    side: int
    margin: float = 0.0


@component(use_beam=True)
def ImageExampleGen(  # noqa: N802 - TFX names the node after the function
    splits: InputArtifact[artifacts.SplitManifest],
    examples: OutputArtifact[standard_artifacts.Examples],
    view: Parameter[str],
    image_size: Parameter[int],
    crop_margin: Parameter[float],
    data: Parameter[str],
    breeds: Parameter[str],
    code: Parameter[str],
    beam_pipeline: BeamComponentParameter[beam.Pipeline] = None,
) -> None:
    """Writes the Examples of one view.

    Args:
      splits: read: every photo with its split.
      examples: written: plain TFRecords of tf.Example, in the splits train, val and test.
      view: cropped, uncropped or individual.
      image_size: side of the square photos, pixels.
      crop_margin: kept round the box of the cropped view, as a share of its longer side.
      data: the content-addressed data folder.
      breeds: the content-addressed breed table.
      code: digest of the code, for the cache.
      beam_pipeline: given by TFX.

    Raises:
      DataError: a split of the view is empty, or a photo changed since it was looked at.
    """
    del code
    table = vocabulary.read(breeds)
    shards = list(plan(catalog.read(splits.uri), view, image_size))
    check_splits(shards, view)
    for split in catalog.SPLITS:
        fileio.makedirs(os.path.join(examples.uri, f"Split-{split}"))
    assert beam_pipeline is not None, "TFX makes the Beam pipeline"
    shape = Shape(view, image_size, crop_margin)
    write_shards(shards, data, examples.uri, shape, table, beam_pipeline)
    describe(examples)
    version = splits.get_string_custom_property("data_version")
    artifacts.tell(examples, data_version=version)


def write_shards(
    shards: Sequence[tuple[str, list[Photo]]],
    data: str,
    folder: str,
    shape: Shape,
    breeds: vocabulary.Vocabulary,
    beam_pipeline: beam.Pipeline,
) -> None:
    """Writes every shard, and removes the lists of photos that the workers went by.

    Args:
      shards: as `plan` gives them.
      data: the data folder.
      folder: gets the files.
      shape: what becomes of each photo.
      breeds: for the labels.
      beam_pipeline: an empty one; it is run.
    """
    plans = os.path.join(folder, _PLANS)
    fileio.makedirs(plans)
    for name, photos in shards:
        catalog.write(plans, photos, _flat(name))
    total = sum(len(photos) for _, photos in shards)
    with beam_pipeline as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create([name for name, _ in shards])
            | "Spread" >> beam.Reshuffle()
            | "Write" >> beam.ParDo(_WriteShard(data, folder, shape, breeds, total))
        )
    fileio.rmtree(plans)
    for left in fileio.glob(os.path.join(folder, f"{_ASIDE}*")):  # of workers that were lost
        fileio.remove(left)


def describe(examples: standard_artifacts.Examples) -> None:
    """Says on the artifact what its files are.

    Its file format stays unset: TFX has no name for plain TFRecords, and its readers tell them by
    their file names.
    """
    examples.split_names = json.dumps(list(catalog.SPLITS))
    examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)


def plan(
    photos: Iterable[Photo], view: str, side: int = _FULL
) -> Iterator[tuple[str, list[Photo]]]:
    """The shards of a view: (file below the artifact, its photos in the order of a hash).

    The larger the side of a photo, the fewer photos a shard has. The order mixes breeds and dogs,
    so that a reader that shuffles little still sees all kinds.
    """
    of_split: dict[str, list[Photo]] = {split: [] for split in catalog.SPLITS}
    for photo in photos:
        if catalog.in_view(photo, view):
            of_split[str(photo.split)].append(photo)
    most = SHARD if side <= _FULL else SHARD * _FULL**2 // side**2
    for split, rows in of_split.items():
        rows.sort(key=lambda row: row.sha256)
        shards = max(1, -(-len(rows) // most))
        for number in range(shards):
            name = f"data_tfrecord-{number:05d}-of-{shards:05d}"
            yield os.path.join(f"Split-{split}", name), rows[number * most : (number + 1) * most]


def check_splits(shards: Iterable[tuple[str, list[Photo]]], view: str) -> None:
    """Sees that no split is empty, before anything is written.

    Raises:
      DataError: with what there is, and what to add.
    """
    photos = [photo for _, rows in shards for photo in rows]
    found = {photo.split for photo in photos}
    empty = [split for split in catalog.SPLITS if split not in found]
    if not empty:
        return
    dogs = len({photo.dog_id for photo in photos})
    what = (
        f"{dogs} dogs were accepted, and a dog goes where the hash of its id says, one in ten to "
        "val and one in ten to test: add dogs"
        if view == "individual"
        else f"{len(photos)} photos of a known breed were accepted: add photos"
    )
    raise DataError(f"view {view}: nothing in {' and '.join(empty)}; {what}")


def _flat(name: str) -> str:
    return name.replace(os.sep, "-")


class _WriteShard(beam.DoFn):
    """Writes one shard, aside first, so that a shard is whole or not there."""

    def __init__(
        self,
        data: str,
        folder: str,
        shape: Shape,
        breeds: vocabulary.Vocabulary,
        total: int,
    ):
        self._data, self._folder, self._shape = data, folder, shape
        self._breeds, self._total = breeds, total

    def process(self, name: str) -> Iterator[None]:
        """Writes one file, of the photos that its plan lists."""
        import tensorflow as tf

        photos = list(catalog.read_part(os.path.join(self._folder, _PLANS, _flat(name))))
        rate = progress.shared(f"writing {self._shape.view} photos", self._total, self._folder)
        path = os.path.join(self._folder, name)
        aside = os.path.join(self._folder, f"{_ASIDE}{uuid.uuid4().hex}-{_flat(name)}")
        with Reader(self._data) as reader, tf.io.TFRecordWriter(aside) as writer:

            def example(photo: Photo) -> bytes:
                data = reader.photo(photo)
                return to_example(photo, data, self._shape, self._breeds)

            for record in parallel.each(example, photos):
                writer.write(record)
                rate.add(1)
        fileio.rename(aside, path, overwrite=True)
        yield from ()


def to_example(photo: Photo, data: bytes, shape: Shape, breeds: vocabulary.Vocabulary) -> bytes:
    """One photo as a serialized tf.Example.

    Args:
      photo: its row.
      data: its bytes.
      shape: what becomes of it.
      breeds: for the label.

    Raises:
      DataError: the photo can't be read any more, though the catalogue could.
    """
    side, box = shape.side, photo.body_box if shape.view == "cropped" else None
    if box:
        box = geometry.widened(box, shape.margin, photo.width, photo.height)
    try:
        image = pixels.load(data, side, box)
    except pixels.UnreadablePhotoError as error:
        raise DataError(
            f"photo {photo.photo_id} changed while the run went on ({error})"
        ) from error
    features = _features(photo, image, unpadded(image, photo, box), breeds)
    if shape.view == "uncropped":
        features[examples.FILE_NAME] = photo.photo_id
        features |= box_features(photo, side, features.get(examples.LABEL))
    return examples.serialize(features)


def unpadded(image: np.ndarray, photo: Photo, box: Box | None) -> np.ndarray:
    """The part of a padded square that shows the photo: padding is no quality of a photo.

    Without the row or column next to the padding, which rounding may have made one of it.

    Args:
      image: uint8 [side, side, 3], as `pixels.load` gives it.
      photo: its row.
      box: what was kept of it, pixels of the original; None for all.
    """
    xmin, ymin, xmax, ymax = box or (0, 0, photo.width, photo.height)
    height, width, top, left = pixels.square(
        max(1, round(ymax - ymin)), max(1, round(xmax - xmin)), image.shape[0]
    )
    rows, columns = (top > 0 and height > 2), (left > 0 and width > 2)
    return image[top + rows : top + height - rows, left + columns : left + width - columns]


def _features(
    photo: Photo, image: np.ndarray, shown: np.ndarray, breeds: vocabulary.Vocabulary
) -> dict[str, examples.Value]:
    """What every view's Example holds of a padded square and the photo that it shows."""
    brightness, sharpness, saturation = pixels.quality(np.ascontiguousarray(shown))
    features: dict[str, examples.Value] = {
        examples.ENCODED: pixels.encode(image),
        examples.FORMAT: "jpeg",
        examples.HEIGHT: image.shape[0],
        examples.WIDTH: image.shape[1],
        examples.SHA256: photo.sha256,
        examples.PHOTO_ID: photo.photo_id,
        examples.SOURCE: photo.source,
        examples.ORIGINAL_WIDTH: photo.width,
        examples.ORIGINAL_HEIGHT: photo.height,
        examples.BRIGHTNESS: brightness,
        examples.SHARPNESS: sharpness,
        examples.SATURATION: saturation,
    }
    if photo.breed:
        features[examples.BREED] = photo.breed
    if photo.breed and photo.breed != vocabulary.MIXED:
        features[examples.LABEL] = breeds.label(photo.breed)
    if photo.dog_id:
        features[examples.DOG_ID] = photo.dog_id
    return features


def box_features(
    photo: Photo, side: int, label: examples.Value | None
) -> dict[str, examples.Value]:
    """Every dog's box, relative to the padded square, and its class; nothing without a box.

    Classes are numbered from 1, as the Object Detection API does: its 0 is the background.
    """
    if not photo.bodies:
        return {}
    height, width, top, left = pixels.square(photo.height, photo.width, side)
    scale_x, scale_y = width / photo.width, height / photo.height
    boxes = {
        "xmin": [(left + box[0] * scale_x) / side for box in photo.bodies],
        "ymin": [(top + box[1] * scale_y) / side for box in photo.bodies],
        "xmax": [(left + box[2] * scale_x) / side for box in photo.bodies],
        "ymax": [(top + box[3] * scale_y) / side for box in photo.bodies],
    }
    named: dict[str, examples.Value] = {examples.BOX[edge]: boxes[edge] for edge in boxes}
    named[examples.BOX_AREA] = areas(boxes, side)
    if isinstance(label, int):
        named[examples.BOX_LABEL] = [label + 1] * len(photo.bodies)
    return named | {examples.BOX_CLASS: [photo.breed or "dog"] * len(photo.bodies)}


def areas(boxes: Mapping[str, Sequence[float]], side: int) -> list[float]:
    """The area of each box, pixels of the record; 0 or less where one is turned inside out.

    No schema can say that xmin is less than xmax, but it can say that an area is positive.

    Args:
      boxes: xmin, ymin, xmax and ymax -> one value a box, relative to the square.
      side: of the square, pixels.
    """
    return [
        min(xmax - xmin, ymax - ymin) * abs(max(xmax - xmin, ymax - ymin)) * side**2
        for xmin, ymin, xmax, ymax in zip(
            boxes["xmin"], boxes["ymin"], boxes["xmax"], boxes["ymax"], strict=True
        )
    ]
