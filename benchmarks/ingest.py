"""How fast photos become records, and in how much memory, beside three other ways.

    python benchmarks/ingest.py --data photos          all of it, on photos of your own
    python benchmarks/ingest.py                        on drawn photos
    python benchmarks/ingest.py --data photos --photos 2000 --repeats 1 --memory 0

Each measurement is a fresh process that may use one core or two; all ways get the same photos, made
beforehand from those given by cutting and encoding them anew, so that no two are equal. `bare` is
the limit: libjpeg-turbo decoding each whole photo and encoding one of the records' size, and
nothing else. Rates leave out the start of Python and its imports, but for the process pool, whose
workers have to import what they use. Medians of the repeats, in photos per second.
"""

import argparse
import concurrent.futures
import io
import json
import multiprocessing
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator

import folds

SIDE = 224
_QUALITY = 90  # of the photos made: about what cameras and the web use
_INGESTION = ("DatasetImporter", "PhotoCatalog", "SplitAssigner", "ImageExampleGen_cropped")


def make_photos(source: str, folder: str, count: int) -> None:
    """Writes `count` different photos with boxes, made from those of a data folder.

    Args:
      source: a data folder with Stanford Dogs in it.
      folder: gets `stanford/images.tar` and `stanford/annotation.tar`.
      count: how many photos.
    """
    originals = list(_originals(source))
    random.Random(0).shuffle(originals)
    place = pathlib.Path(folder) / "stanford"
    place.mkdir(parents=True)
    with (
        tarfile.open(place / "images.tar", "w") as images,
        tarfile.open(place / "annotation.tar", "w") as annotations,
        concurrent.futures.ProcessPoolExecutor() as pool,
    ):
        jobs = ((originals[n % len(originals)], n) for n in range(count))
        for n, (name, data, xml) in enumerate(pool.map(_variant, jobs, chunksize=50)):
            stem = f"{name}/{name.partition('-')[0]}_{n}"
            _add(images, f"Images/{stem}.jpg", data)
            _add(annotations, f"Annotation/{stem}", xml)


def _make_photos_quietly(source: str, folder: str, count: int) -> None:
    """`make_photos` in a process of its own, for what it imports has much to say."""
    command = [sys.executable, __file__, "--way", "photos", "--data", source]
    done = subprocess.run(
        [*command, "--result", folder, "--cores", str(count)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"making photos of {source} failed:\n{done.stderr[-3000:]}")


def _originals(source: str) -> Iterator[tuple[str, bytes, tuple[float, float, float, float]]]:
    """(folder, bytes, largest box) of every good photo of Stanford Dogs."""
    from components import dataset, photo_catalog
    from models import vocabulary

    entries, _ = dataset.entries(source, dataset.read_dataset(source))
    breeds = vocabulary.read(folds.VOCABULARY)
    reader = dataset.Reader(source)
    for photo in photo_catalog.list_photos(entries, breeds, source):
        if photo.source == "stanford" and not photo_catalog.look(photo, reader).reason:
            data = reader.photo(photo)
            yield photo.photo_id.split("/")[2], data, photo.body_box


def _variant(job: tuple) -> tuple[str, bytes, bytes]:
    """One photo cut a little at each side and encoded anew, with its box."""
    from PIL import Image

    (name, data, (xmin, ymin, xmax, ymax)), number = job
    image = Image.open(io.BytesIO(data)).convert("RGB")
    rng = random.Random(number)
    left, top, right, bottom = (rng.uniform(0, 0.12) for _ in range(4))
    width, height = image.size
    frame = (
        int(min(left * width, xmin)),
        int(min(top * height, ymin)),
        int(max((1 - right) * width, xmax)),
        int(max((1 - bottom) * height, ymax)),
    )
    buffer = io.BytesIO()
    image.crop(frame).save(buffer, "JPEG", quality=_QUALITY)
    edges = zip(
        ("xmin", "ymin", "xmax", "ymax"),
        (xmin - frame[0], ymin - frame[1], xmax - frame[0], ymax - frame[1]),
        strict=True,
    )
    box = "".join(f"<{edge}>{value:.0f}</{edge}>" for edge, value in edges)
    xml = f"<annotation><object><bndbox>{box}</bndbox></object></annotation>"
    return name, buffer.getvalue(), xml.encode()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def bare(data: str, cores: int) -> float:
    """Seconds for decoding every photo and encoding one of the records' size."""
    import numpy as np
    import simplejpeg

    from models import pixels

    with tarfile.open(pathlib.Path(data) / "stanford" / "images.tar") as archive:
        photos = [archive.extractfile(item).read() for item in archive]  # type: ignore[union-attr]
    record = pixels.load(photos[0], SIDE)

    def work(photo: bytes) -> None:
        simplejpeg.decode_jpeg(photo)
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(record), quality=pixels.JPEG_QUALITY, colorsubsampling="444"
        )

    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        for _ in pool.map(work, photos, chunksize=1):
            pass
    return time.perf_counter() - start


def pipeline(data: str, cores: int) -> dict[str, float]:
    """Seconds of the ingestion's nodes, in a run of the whole data side of the pipeline."""
    del cores  # as many as the process may use
    import local_runner

    with tempfile.TemporaryDirectory() as output:
        flags = ["--data", data, "--output", output, "--cropped", "--weights", "none"]
        stages = ("extraction", "transformation", "preprocessing", "processing")
        code = local_runner.main([*flags, *(f"--data_{stage}" for stage in stages)])
        if code:
            raise SystemExit(code)
        summary = json.loads((pathlib.Path(output) / "summary.json").read_text())
    return {node["id"]: node["seconds"] for node in summary["nodes"] if node["id"] in _INGESTION}


def process_pool(data: str, cores: int) -> float:
    """Seconds of a plain pool of processes that crops, resizes and encodes, start-up included."""
    from components import catalog, image_example_gen, photo_catalog, split_assigner
    from components.dataset import Reader, entries, read_dataset
    from models import vocabulary

    breeds = vocabulary.read(folds.VOCABULARY)
    found, _ = entries(data, read_dataset(data))
    reader = Reader(data)
    listed = photo_catalog.list_photos(found, breeds, data)
    rows = split_assigner.assign([photo_catalog.look(photo, reader) for photo in listed])
    shards = list(image_example_gen.plan(rows, "cropped"))
    assert all(catalog.in_view(photo, "cropped") for _, photos in shards for photo in photos)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        jobs = [(data, folder, name, photos, breeds) for name, photos in shards]
        with multiprocessing.get_context("spawn").Pool(cores) as pool:
            pool.map(_write_shard, jobs, chunksize=1)
        return time.perf_counter() - start


def _write_shard(job: tuple) -> None:
    import tensorflow as tf

    from components import image_example_gen
    from components.dataset import Reader

    data, folder, name, photos, breeds = job
    shape = image_example_gen.Shape("cropped", SIDE)
    reader = Reader(data)
    with tf.io.TFRecordWriter(os.path.join(folder, name.replace("/", "-"))) as writer:
        for photo in photos:
            content = reader.photo(photo)
            writer.write(image_example_gen.to_example(photo, content, shape, breeds))


def import_example_gen(data: str, cores: int) -> float:
    """Seconds of TFX's ImportExampleGen on ready-made Examples of the photos as they are.

    It neither decodes nor crops: it reads, splits, shuffles and compresses.
    """
    import tensorflow as tf
    from tfx import v1 as tfx

    from models import examples

    del cores
    with tempfile.TemporaryDirectory() as folder:
        records = pathlib.Path(folder) / "records"
        records.mkdir()
        with (
            tarfile.open(pathlib.Path(data) / "stanford" / "images.tar") as archive,
            tf.io.TFRecordWriter(str(records / "photos.tfrecord")) as writer,
        ):
            for item in archive:
                photo = archive.extractfile(item).read()  # type: ignore[union-attr]
                writer.write(examples.serialize({examples.ENCODED: photo}))
        return _run_import(tfx, folder, str(records))


def _run_import(tfx: object, folder: str, records: str) -> float:
    from pipeline import beam
    from pipeline.metadata import Store

    node = tfx.components.ImportExampleGen(input_base=records)  # type: ignore[attr-defined]
    database = os.path.join(folder, "metadata.sqlite")
    config = tfx.orchestration.metadata.sqlite_metadata_connection_config(database)  # type: ignore[attr-defined]
    tfx.orchestration.LocalDagRunner().run(  # type: ignore[attr-defined]
        tfx.dsl.Pipeline(  # type: ignore[attr-defined]
            pipeline_name="import",
            pipeline_root=os.path.join(folder, "artifacts"),
            components=[node],
            metadata_connection_config=config,
            beam_pipeline_args=beam.arguments(()),
        )
    )
    store = Store(database)
    return store.nodes(store.runs()[0])["ImportExampleGen"].seconds


WAYS: dict[str, Callable[[str, int], float | dict[str, float]]] = {
    "bare": bare,
    "pipeline": pipeline,
    "process pool": process_pool,
    "ImportExampleGen": import_example_gen,
}


def measure(way: str, data: str, cores: int) -> tuple[float | dict[str, float], int]:
    """Runs one way in a process of its own.

    Returns:
      What it measured, seconds, and the most memory that the process held, MiB.
    """
    with tempfile.NamedTemporaryFile("r") as result, tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, __file__, "--way", way, "--data", data, "--cores", str(cores)]
        done = subprocess.run(
            [*command, "--result", result.name], stdout=said, stderr=subprocess.STDOUT, check=False
        )
        if done.returncode:
            said.seek(0)
            raise SystemExit(f"{way} failed:\n{said.read()[-3000:]}")
        found = json.load(result)
    return found["seconds"], found["mebibytes"]


def _run_way(arguments: argparse.Namespace) -> None:
    """The inside of `measure`."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    seconds = WAYS[arguments.way](arguments.data, arguments.cores)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    pathlib.Path(arguments.result).write_text(json.dumps({"seconds": seconds, "mebibytes": peak}))


def _speeds(data: str, photos: int, repeats: int) -> Iterator[str]:
    """The table of rates, measured in turns so that a busy minute hits every way."""
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(repeats):
        for way in WAYS:
            for cores in (1, 2):
                for name, seconds in _named(way, measure(way, data, cores)[0]):
                    rates.setdefault((name, cores), []).append(photos / seconds)
    medians = {key: statistics.median(values) for key, values in rates.items()}
    yield f"| {photos:,} photos | 1 core, photos/s | of bare | 2 cores, photos/s | 2 cores / 1 |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name in dict.fromkeys(name for name, _ in medians):
        one, two = medians[name, 1], medians[name, 2]
        share = one / medians["bare", 1]
        yield f"| {name} | {one:.0f} | {share:.2f} | {two:.0f} | {two / one:.2f} |"


def _named(way: str, seconds: float | dict[str, float]) -> Iterator[tuple[str, float]]:
    """The rows of the table that one measurement gives."""
    if not isinstance(seconds, dict):
        yield way, seconds
        return
    yield "this pipeline, from files to records", sum(seconds.values())
    for node, taken in seconds.items():
        if taken > 0.2:
            yield f"… of it {node}", taken


def _memory(source: str, counts: list[int]) -> Iterator[str]:
    peaks = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            _make_photos_quietly(source, folder, count)
            peaks.append(measure("pipeline", folder, 2)[1])
    yield "| photos | peak memory of the data side, MiB | ratio |"
    yield "| ---: | ---: | ---: |"
    for count, peak in zip(counts, peaks, strict=True):
        yield f"| {count:,} | {peak:,} | {peak / peaks[0]:.2f} |"


def main() -> None:
    """Measures, and prints tables in Markdown."""
    parser = folds.Parser(__doc__)
    parser.add_argument("--data", help="a data folder with stanford/ in it; default: the sample")
    parser.add_argument("--photos", type=int, default=5000, help="to measure speed on")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each way")
    parser.add_argument(
        "--memory", default="2000,20000", help="numbers of photos to measure memory at; 0 for none"
    )
    for inner in ("--way", "--cores", "--result"):
        parser.add_argument(inner, help=argparse.SUPPRESS, type=int if inner == "--cores" else str)
    arguments = parser.read()
    if arguments.way == "photos":
        make_photos(arguments.data, arguments.result, arguments.cores)
    elif arguments.way:
        _run_way(arguments)
    else:
        _report(arguments)


def _report(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = arguments.data or folds.sample(folder)
        data = os.path.join(folder, "photos")
        print(f"making {arguments.photos:,} photos", flush=True)
        _make_photos_quietly(source, data, arguments.photos)
        tables = [_speeds(data, arguments.photos, arguments.repeats)]
        counts = [int(count) for count in arguments.memory.split(",") if int(count)]
        if counts:
            tables.append(_memory(source, counts))
        for table in tables:
            print("\n" + "\n".join(table), flush=True)
        print(f"\n{folds.load()}")


if __name__ == "__main__":
    main()
