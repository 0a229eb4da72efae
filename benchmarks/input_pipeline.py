"""How fast a model trains from records, beside the same steps on one batch that lies in memory.

    python benchmarks/input_pipeline.py --data photos      on photos of your own
    python benchmarks/input_pipeline.py                    on drawn photos
    python benchmarks/input_pipeline.py --data photos --steps 4 --repeats 1

For each way of being fed: training photos per second, the same as a share of the fixed batch's,
that share by CPU time (which other work on the machine disturbs less), and what the input alone
delivers and costs a photo. Without an accelerator model and input share the cores: it is the CPU
time per photo that the share hangs on. Every measurement opens its stream anew and begins after
some steps that do not count, when what may be prefetched is; all ways are measured in turns, so
that a busy minute hits every one of them. Medians of the repeats.
"""

import argparse
import pathlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import folds

_SMALL_SIDE = 64  # of the photos for the small net
_CLASSES = 10
_DOGS, _PHOTOS_PER_DOG = 64, 4
_WARM_UP = 4  # steps
_FIXED = "one batch in memory"

Streams = dict[str, Callable[[], Any]]


def write_records(data: str, folder: pathlib.Path, side: int, count: int) -> str:
    """Writes `count` photos of a data folder as Examples, drawn from all and repeated if need be.

    Returns:
      The folder, with one TFRecord file in it.
    """
    import tensorflow as tf

    from models import examples, pixels

    images = [pixels.encode(image) for image in _crops(data, side, count)]
    folder.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001")) as writer:
        for number in range(count):
            features = {
                examples.ENCODED: images[number % len(images)],
                examples.LABEL: number % _CLASSES,
                examples.DOG_ID: f"dog-{number % _DOGS:02}",
            }
            writer.write(examples.serialize(features))
    return str(folder)


def _crops(data: str, side: int, most: int) -> Iterator[Any]:
    """Photos of a data folder, cut to the dog where there is a box: uint8 [side, side, 3]."""
    from components import dataset, photo_catalog
    from models import pixels, vocabulary

    breeds = vocabulary.read(folds.VOCABULARY)
    entries, _ = dataset.entries(data, dataset.read_dataset(data))
    photos = photo_catalog.list_photos(entries, breeds, data)
    random.Random(0).shuffle(photos)
    with dataset.Reader(data) as reader:
        for photo in photos[:most]:
            try:
                yield pixels.load(reader.photo(photo), side, photo.body_box)
            except pixels.UnreadablePhotoError:
                continue


def streams(split: str, side: int, batch: int) -> Streams:
    """Every way of being fed, by its name: it gives endless batches of (image, label)."""
    import tensorflow as tf

    from models import augment, examples, input_pipeline

    records = [record for record, _ in examples.scan(split)]
    dogs = batch // _PHOTOS_PER_DOG
    fixed = next(iter(input_pipeline.training(split, side, batch, 0, "none")))
    ways: Streams = {_FIXED: lambda: tf.data.Dataset.from_tensors(fixed).repeat()}
    for policy in augment.POLICIES:
        ways[f"training, {policy}"] = lambda policy=policy: input_pipeline.training(
            split, side, batch, 0, policy
        )
    ways["identities, identity"] = lambda: input_pipeline.identities(
        records, side, dogs, _PHOTOS_PER_DOG, 0
    )
    return ways


def train_step(backbone: str, side: int) -> Callable[[Any, Any], Any]:
    """One step of fine-tuning a classifier, compiled: (images, labels) -> loss."""
    import keras
    import tensorflow as tf

    from models import backbones

    net = backbones.get(backbone).build(side)
    pooled = keras.layers.GlobalAveragePooling2D()(net.output)
    model = keras.Model(net.input, keras.layers.Dense(_DOGS)(pooled))
    optimizer = keras.optimizers.AdamW(1e-4)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = model(images, training=True)
            losses = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
            loss = keras.ops.mean(losses)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return step


def measure(
    dataset: Any, work: Callable[[Any, Any], Any], batch: int, steps: int
) -> tuple[float, float]:
    """Takes batches from a new stream and works on them.

    Returns:
      Photos per second, and CPU seconds of this process per photo.
    """
    iterator = iter(dataset)
    for _ in range(_WARM_UP):
        work(*next(iterator))
    start, used = time.perf_counter(), time.process_time()
    for _ in range(steps):
        float(work(*next(iterator)))
    photos = steps * batch
    return photos / (time.perf_counter() - start), (time.process_time() - used) / photos


def _nothing(images: Any, labels: Any) -> float:
    """In the model's place where the input is measured alone."""
    del images, labels
    return 0.0


def _rows(backbone: str, split: str, side: int, arguments: argparse.Namespace) -> Iterator[str]:
    """The table of one model."""
    batch, step = arguments.batch, train_step(backbone, side)
    ways = streams(split, side, batch)
    fed: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    alone: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for _ in range(arguments.repeats):
        for way, stream in ways.items():
            fed[way].append(measure(stream(), step, batch, arguments.steps))
            alone[way].append(measure(stream(), _nothing, batch, 4 * arguments.steps))
    what = f"{backbone}, {side} px, batches of {batch}"
    yield f"| {what} | photos/s | of fixed | by CPU time | input alone, photos/s | ms of CPU |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for way in ways:
        rate, speed = (statistics.median(rate for rate, _ in taken[way]) for taken in (fed, alone))
        pairs = list(zip(fed[way], fed[_FIXED], strict=True))
        share = statistics.median(mine[0] / fixed[0] for mine, fixed in pairs)
        by_cpu = statistics.median(fixed[1] / mine[1] for mine, fixed in pairs)
        cost = 1000 * statistics.median(cpu for _, cpu in alone[way])
        yield f"| {way} | {rate:.1f} | {share:.3f} | {by_cpu:.3f} | {speed:,.0f} | {cost:.2f} |"


def main() -> None:
    """Measures, and prints a table in Markdown for each model."""
    parser = folds.Parser(__doc__)
    parser.add_argument("--data", help="a data folder; default: the drawn sample")
    parser.add_argument("--photos", type=int, default=1024, help="records to read from")
    parser.add_argument("--image_size", type=int, default=224, help="of MobileNetV2's photos")
    parser.add_argument("--batch", type=int, default=48, help="photos a step")
    parser.add_argument("--steps", type=int, default=10, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each way")
    arguments = parser.read()
    models = {"mobilenet_v2": arguments.image_size, "small_cnn": _SMALL_SIDE}
    with tempfile.TemporaryDirectory() as place:
        data = arguments.data or folds.sample(place)
        for backbone, side in models.items():
            folder = pathlib.Path(place) / "records" / str(side)
            split = write_records(data, folder, side, arguments.photos)
            print("\n".join(_rows(backbone, split, side, arguments)) + "\n", flush=True)
    print(folds.load())


if __name__ == "__main__":
    main()
