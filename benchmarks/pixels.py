"""Whether a served photo looks like a training photo: the same answers by both ways.

    python benchmarks/pixels.py                                    drawn photos, an untrained net
    python benchmarks/pixels.py --data photos --backbone mobilenet_v2 --weights FILE

Each photo goes through ingestion into a record, as trainers read it, and through a SavedModel, as a
service gets it: cut to the dog at full resolution by the client, as PNG or as JPEG, or as it is
where ingestion keeps it whole. Compared are the pixels, the embeddings by their cosine (wanted:
above 0.999), and the top breed by a linear layer that says which breed's mean features are nearest.

A photo that is sent as it is, or as PNG, has the pixels of its record, unless ingestion let the
decoder reduce it before it cut the dog out. A client's own JPEG adds a loss that no record has.
"""

import argparse
import dataclasses
import functools
import io
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import folds
import numpy as np

SENT = {"cropped": ("PNG", "JPEG"), "individual": ("it is",)}  # by view: what a client sends it as
ALIKE = 0.999
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Read:
    """One photo as ingestion makes it and trainers read it: uint8 [side, side, 3]."""

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

    return vocabulary.read(folds.VOCABULARY)


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
    from models import input_pipeline

    shape = image_example_gen.Shape(view, side)
    record = image_example_gen.to_example(photo, data, shape, _breeds())
    parsed = input_pipeline.parse(record, side)
    return Read(parsed["image"].numpy(), int(parsed["label"]))


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


def cosines(net: Any, side: int, read: Sequence[Read], sent: Sequence[bytes]) -> np.ndarray:
    """The cosine of each photo's two embeddings by the match model: float [N]."""
    import tensorflow as tf

    from models import export, match

    encoder = match.encoder(net, side)
    with tempfile.TemporaryDirectory() as folder:
        export.MatchExport(encoder, side, 1.0, 0.0).save(folder)
        embed = tf.saved_model.load(folder).signatures["embed"]
        served = _batches(lambda photos: embed(image_bytes=photos)["embedding"], sent)
    trained = _batches(encoder, [one.record for one in read])
    return (served * trained).sum(axis=1)


def same_pixels(side: int, read: Sequence[Read], sent: Sequence[bytes]) -> int:
    """How many photos have, bit for bit, the pixels of their record."""
    import tensorflow as tf

    from models import pixels

    fit = tf.function(
        lambda photo: pixels.fit_in_graph(photo, side),
        input_signature=[tf.TensorSpec([], tf.string)],
    )
    return sum(
        np.array_equal(one.record, fit(photo)) for one, photo in zip(read, sent, strict=True)
    )


def row(
    net: Any, side: int, view: str, kind: str, read: Sequence[Read], sent: Sequence[bytes]
) -> str:
    """A line of the table."""
    breeds = all(one.label >= 0 for one in read)
    same = f"{same_breeds(net, side, read, sent)} of {len(read)}" if breeds else ""
    alike = cosines(net, side, read, sent)
    figures = f"{alike.min():.5f} | {np.median(alike):.5f} | {(alike > ALIKE).sum()}"
    what = f"{len(read)} {view}, sent as {kind}"
    return f"| {what} | {same_pixels(side, read, sent)} | {figures} | {same} |"


def _report(arguments: argparse.Namespace, source: str) -> None:
    from models import backbones

    registered = backbones.get(arguments.backbone)
    side = arguments.side
    net = registered.build(side)
    if arguments.weights:
        registered.load(net, arguments.weights)
    print(f"| photos | same pixels | cosine, least | median | above {ALIKE} | same top breed |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for view, kinds in SENT.items():
        found = list(photos(source, view, arguments.photos))
        read = [ingested(*photo, view, side) for photo in found]
        for kind in kinds if read else ():
            sent = [client(*photo, kind) for photo in found]
            print(row(net, side, view, kind, read, sent), flush=True)


def main() -> None:
    """Measures, and prints a table in Markdown."""
    parser = folds.Parser(__doc__)
    parser.add_argument("--data", help="a data folder; default: the sample")
    parser.add_argument("--backbone", default="small_cnn", help="a name of models/backbones.py")
    parser.add_argument("--weights", help="its start weights; default: random ones")
    parser.add_argument("--side", type=int, default=224, help="of the records, pixels")
    parser.add_argument("--photos", type=int, default=200, help="of each view")
    arguments = parser.read()
    with tempfile.TemporaryDirectory() as folder:
        _report(arguments, arguments.data or folds.sample(folder))


if __name__ == "__main__":
    main()
