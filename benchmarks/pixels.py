"""Whether a served photo looks like a training photo: the same answers by both ways.

    python benchmarks/pixels.py                                    drawn photos, an untrained net
    python benchmarks/pixels.py --data photos --backbone mobilenet_v2 --weights FILE

Each photo goes through ingestion into a record, as trainers read it, and through a SavedModel, as a
service gets it: cut to the dog at full resolution by the client and encoded anew, or as it is where
ingestion keeps it whole. Embeddings are compared by their cosine, breeds by a linear layer that
says which breed's mean features are nearest.

Of each photo ingestion's pixels are taken twice: before they are compressed, which says whether the
two engines see alike (wanted: cosines above 0.999), and as the record has them, with the JPEG's own
loss. The breed is always the record's.
"""

import argparse
import dataclasses
import functools
import io
import os
import pathlib
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

SENT = {"cropped": ("PNG", "JPEG"), "individual": ("it is",)}  # by view: what a client sends it as
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Read:
    """One photo as ingestion makes it: float32 [side, side, 3], before and after compression."""

    before: np.ndarray
    record: np.ndarray
    label: int


def photos(source: str, view: str, count: int) -> Iterator[tuple[Any, bytes]]:
    """(row, bytes) of `count` good photos of a view, drawn by a seed."""
    from components import dataset, photo_catalog

    entries, _ = dataset.entries(source, dataset.read_dataset(source))
    listed = photo_catalog.list_photos(entries, _breeds(), source)
    rows = [photo for photo in listed if view in photo.views]
    random.Random(0).shuffle(rows)
    with dataset.Reader(source) as reader:
        good = (looked for row in rows if not (looked := photo_catalog.look(row, reader)).reason)
        for _, photo in zip(range(count), good, strict=False):
            yield photo, reader.photo(photo)


@functools.cache
def _breeds() -> Any:
    from models import vocabulary

    return vocabulary.read(str(ROOT / "schema" / vocabulary.FILE))


def client(photo: Any, data: bytes, kind: str) -> bytes:
    """What a client sends: the dog cut out of the photo, as PNG or JPEG, or the photo as it is."""
    from PIL import Image

    from models import pixels

    if kind == "it is" or not photo.body_box:
        return data
    xmin, ymin, xmax, ymax = (int(edge + 0.5) for edge in photo.body_box)
    image = Image.fromarray(pixels.decode(data)[ymin:ymax, xmin:xmax])
    buffer = io.BytesIO()
    image.save(buffer, kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))
    return buffer.getvalue()


def ingested(photo: Any, data: bytes, view: str, side: int) -> Read:
    """What ingestion makes of a photo, read back as trainers do."""
    from components import image_example_gen
    from models import input_pipeline, pixels

    shape = image_example_gen.Shape(view, side)
    record = image_example_gen.to_example(photo, data, shape, _breeds())
    parsed = input_pipeline.parse(record, side)
    before = pixels.load(data, side, photo.body_box if view == "cropped" else None)
    return Read(before.astype(np.float32), parsed["image"].numpy(), int(parsed["label"]))


def classifier(net: Any, side: int, read: Sequence[Read]) -> Any:
    """A breed net on a backbone: the nearest breed by its mean features, which is a linear layer.

    |f - m|² is least where f · m - |m|² / 2 is most.
    """
    import keras

    from models import breed

    labels = np.array([one.label for one in read])
    model = breed.classifier(net, side, set(labels.tolist()), len(_breeds().breeds))
    head = model.get_layer("head")
    features = _batches(keras.Model(model.inputs, head.input), [one.record for one in read])
    means = np.zeros((len(_breeds().breeds), features.shape[1]), np.float32)
    for label in set(labels.tolist()):
        means[label] = features[labels == label].mean(axis=0)
    head.set_weights([means.T, -(means**2).sum(axis=1) / 2])
    return model


def _batches(ask: Callable[[Any], Any], rows: Sequence[Any]) -> np.ndarray:
    """The answers to all rows [N, ...], asked in batches."""
    import tensorflow as tf

    parts = [rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH)]
    return np.concatenate([np.asarray(ask(tf.constant(np.array(part)))) for part in parts])


def same_breeds(net: Any, side: int, read: Sequence[Read], sent: Sequence[bytes]) -> int:
    """How many photos, each of a known breed, have the same top breed both ways."""
    import tensorflow as tf

    from models import export

    model, names = classifier(net, side, read), _breeds().breeds
    with tempfile.TemporaryDirectory() as folder:
        export.BreedExport(model, side, names).save(folder)
        classify = tf.saved_model.load(folder).signatures["classify"]
        served = _batches(lambda photos: classify(image_bytes=photos)["classes"], sent)
    trained = _batches(model, [one.record for one in read]).argmax(axis=1)
    return sum(names[a] == b.decode() for a, b in zip(trained, served[:, 0], strict=True))


def cosines(
    net: Any, side: int, read: Sequence[Read], sent: Sequence[bytes]
) -> tuple[np.ndarray, np.ndarray]:
    """The cosines of each photo's embeddings by the match model, before compression and after."""
    import tensorflow as tf

    from models import export, match

    encoder = match.encoder(net, side)
    with tempfile.TemporaryDirectory() as folder:
        export.MatchExport(encoder, side, 1.0, 0.0).save(folder)
        embed = tf.saved_model.load(folder).signatures["embed"]
        served = _batches(lambda photos: embed(image_bytes=photos)["embedding"], sent)
    before = _batches(encoder, [one.before for one in read])
    record = _batches(encoder, [one.record for one in read])
    return (served * before).sum(axis=1), (served * record).sum(axis=1)


def rows(
    net: Any, side: int, view: str, kind: str, read: Sequence[Read], sent: Sequence[bytes]
) -> Iterator[str]:
    """Two lines of the table."""
    breeds = all(one.label >= 0 for one in read)
    same = f"{same_breeds(net, side, read, sent)} of {len(read)}" if breeds else ""
    before, record = cosines(net, side, read, sent)
    for name, alike, said in (("before compression", before, ""), ("the record", record, same)):
        low, median = np.percentile(alike, [1, 50])
        figures = f"{alike.min():.5f} | {low:.5f} | {median:.5f} | {said}"
        yield f"| {len(read)} {view}, sent as {kind} | {name} | {figures} |"


def _report(arguments: argparse.Namespace, source: str) -> None:
    from models import backbones

    registered = backbones.get(arguments.backbone)
    side = arguments.side
    net = registered.build(side)
    if arguments.weights:
        registered.load(net, arguments.weights)
    print("| photos | beside | cosine, least | 1st percentile | median | same top breed |")
    print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    for view, kinds in SENT.items():
        found = list(photos(source, view, arguments.photos))
        read = [ingested(*photo, view, side) for photo in found]
        for kind in kinds if read else ():
            sent = [client(*photo, kind) for photo in found]
            print("\n".join(rows(net, side, view, kind, read, sent)), flush=True)


def main() -> None:
    """Measures, and prints a table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", help="a data folder; default: the sample")
    parser.add_argument("--backbone", default="small_cnn", help="a name of models/backbones.py")
    parser.add_argument("--weights", help="its start weights; default: random ones")
    parser.add_argument("--side", type=int, default=224, help="of the records, pixels")
    parser.add_argument("--photos", type=int, default=200, help="of each view")
    arguments = parser.parse_args()
    from models import backbones

    try:
        registered = backbones.get(arguments.backbone)
        if arguments.weights:
            backbones.check_weights(arguments.weights, registered)
    except ValueError as error:
        parser.error(str(error))
    with tempfile.TemporaryDirectory() as folder:
        _report(arguments, arguments.data or _sample(folder))


def _sample(folder: str) -> str:
    from components.sources import sample

    place = os.path.join(folder, "sample")
    sample.draw(place)
    return place


if __name__ == "__main__":
    main()
