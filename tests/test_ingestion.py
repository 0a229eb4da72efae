"""Whole ingestions: every source, packed and unpacked, killed, leaking, and fetched."""

import csv
import io
import random
import signal
import tarfile
import threading
import zipfile
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image
from runs import Project

STAGES = ("data_extraction", "data_transformation", "data_preprocessing", "data_processing")
INGEST = [f"--{stage}" for stage in STAGES]
DOGS = [f"dog-{number}" for number in range(14)]  # by their hashes, some stand in each split
BOX = (4, 5, 60, 44)


def jpeg(seed, quality=90):
    """A smooth picture of its own for every seed, 64 x 48 pixels."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    image = Image.fromarray(noise).resize((64, 48), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def voc(*tags, box=BOX):
    edges = "".join(
        f"<{edge}>{value}</{edge}>"
        for edge, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    boxes = "".join(f"<{tag}>{edges}</{tag}>" for tag in tags)
    return f"<annotation><object>{boxes}</object></annotation>".encode()


def table(*rows):
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def stanford(seed):
    files = {}
    for folder in ("n02086240-Shih-Tzu", "n02099267-flat-coated_retriever"):
        for number in range(24):
            stem = f"{folder}/{folder.partition('-')[0]}_{number}"
            files[f"Images/{stem}.jpg"] = jpeg(next(seed))
            files[f"Annotation/{stem}"] = voc("bndbox")
    files["Images/n02086240-Shih-Tzu/n02086240_0.jpg"] = jpeg(next(seed))[:900]
    files["Annotation/n02086240-Shih-Tzu/n02086240_1"] = voc("bndbox", box=(4, 5, 65, 44))
    files["Annotation/n02086240-Shih-Tzu/n02086240_2"] = b"<annotation/>"
    files["Images/n02000000-wolf/n02000000_1.jpg"] = jpeg(next(seed))
    files["Annotation/n02000000-wolf/n02000000_1"] = voc("bndbox")
    return files


def tsinghua(seed):
    files = {}
    for number in range(24):
        name = f"200-n000008-Airedale/n{number}.jp{'e' if number % 2 else ''}g"
        files[f"low-resolution/{name}"] = jpeg(next(seed))
        files[f"Low-Annotations/{name}.xml"] = voc("headbndbox", "bodybndbox")
    return files


def austin(seed):
    files = {
        "apa_dogs.csv": table(
            ["AnimalInternal-ID", "AnimalType", "AnimalBreed"],
            *((n, "Dog", "Retriever, Yellow Labrador /Mix") for n in range(12)),
            (12, "Cat", "Domestic Short Hair"),
        ),
        "apa_photos.csv": table(
            ["AnimalInternal-ID", "PhotoUrl"],
            *((n, f"https://example.com/{n}/{k}.jpg") for n in range(13) for k in (1, 2)),
            (0, "https://example.com/gone.jpg"),
        ),
    }
    return files | {f"photos/{n}_{k}.jpg": jpeg(next(seed)) for n in range(13) for k in (1, 2)}


def breeds(seed):
    files = {f"Golden Retriever/{number}.jpg": jpeg(next(seed)) for number in range(24)}
    return files | {f"Labradoodle/{number}.jpg": jpeg(next(seed)) for number in range(2)}


def individuals(seed):
    files = {f"{dog}/{number}.jpg": jpeg(next(seed)) for dog in DOGS for number in range(3)}
    return files | {"lonely/1.jpg": jpeg(next(seed))}


SOURCES = {
    "stanford": (stanford, {"Images": "images.tar", "Annotation": "annotation.tar"}),
    "tsinghua": (
        tsinghua,
        {"low-resolution": "low-resolution.zip", "Low-Annotations": "low-annotations.zip"},
    ),
    "austin": (austin, {"photos": "photos.tar"}),
    "breeds": (breeds, {"": "mine.zip"}),
    "individuals": (individuals, {"": "mine.tar"}),
}
REASONS = {
    "stanford": {"unreadable": 1, "box_outside_frame": 1, "bad_annotation": 1, "unknown_breed": 1},
    "tsinghua": {},
    "austin": {"not_a_dog": 2, "not_downloaded": 1},
    "breeds": {"unknown_breed": 2, "near_copy": 1},
    "individuals": {},
}


def all_files():
    seed = iter(range(1000))
    files = {name: make(seed) for name, (make, _) in SOURCES.items()}
    shared = files["stanford"]["Images/n02086240-Shih-Tzu/n02086240_5.jpg"]
    files["tsinghua"]["low-resolution/200-n000008-Airedale/n90.jpg"] = shared
    files["tsinghua"]["Low-Annotations/200-n000008-Airedale/n90.jpg.xml"] = voc("bodybndbox")
    image = Image.open(io.BytesIO(shared)).resize((96, 72))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    files["breeds"]["Golden Retriever/again.jpg"] = buffer.getvalue()
    return files


def unpack(data, files):
    for source, held in files.items():
        for name, content in held.items():
            path = data / source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def pack(data, files):
    for source, held in files.items():
        _, archives = SOURCES[source]
        (data / source).mkdir(parents=True)
        for name, content in held.items():
            folder = name.partition("/")[0]
            archive = archives.get(folder, archives.get(""))
            if archive is None:
                (data / source / name).write_bytes(content)
            else:
                add(data / source / archive, name, content)


def add(archive, name, content):
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr(name, content)
    else:
        with tarfile.open(archive, "a") as file:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))


def flags(data):
    return ["--data", str(data), "--backbone", "small_cnn", "--image_size", "64"]


@pytest.fixture(scope="module")
def files():
    return all_files()


@pytest.fixture(scope="module")
def unpacked(files, tmp_path_factory):
    """An undisturbed ingestion of all sources, unpacked: (project, data folder, printed)."""
    folder = tmp_path_factory.mktemp("unpacked")
    unpack(folder / "photos", files)
    project = Project.copy(folder)
    views = ["--cropped", "--uncropped", "--individual"]
    code, printed = project.run(*flags(folder / "photos"), *views, *INGEST)
    assert code == 0, printed
    return project, folder / "photos", printed


def test_every_photo_of_every_source_is_one_row_with_a_split_or_a_reason(unpacked, files):
    project, _, printed = unpacked
    summary = project.summary()

    photos = {
        source: sum(1 for name in held if name.endswith((".jpg", ".jpeg")))
        for source, held in files.items()
    }
    photos["austin"] += 1  # a row of the table whose photo is not there
    expected = {**REASONS, "tsinghua": {"exact_copy": 1}}
    for source, row in summary["photos"].items():
        assert row["offered"] == photos[source], source
        assert row["reasons"] == expected[source], source
        assert row["accepted"] == photos[source] - sum(expected[source].values()), source
    boxed = [summary["photos"][source]["accepted"] for source in ("stanford", "tsinghua")]
    assert sum(summary["splits"]["uncropped"].values()) == sum(boxed)
    assert summary["single_photo_dogs"] == ["individuals/lonely"]
    assert summary["unknown_breeds"] == {"breeds/Labradoodle": 2, "stanford/wolf": 1}
    for words in ("individuals/lonely", "breeds/Labradoodle (2)", "4 breeds: val has"):
        assert words in printed


def test_every_breed_of_twenty_photos_stands_in_every_split(unpacked):
    project, _, _ = unpacked

    splits: dict[str, set[str]] = {}
    for photo in project.ledger():
        if photo.split and "cropped" in photo.views:
            splits.setdefault(photo.breed, set()).add(photo.split)

    assert len(splits) == 4
    assert all(found == {"train", "val", "test"} for found in splits.values())


def test_archives_give_the_records_of_their_unpacked_folders(unpacked, files, tmp_path):
    project, _, _ = unpacked
    pack(tmp_path / "photos", files)
    packed = Project.copy(tmp_path)
    views = ["--cropped", "--uncropped", "--individual"]

    code, printed = packed.run(*flags(tmp_path / "photos"), *views, *INGEST)

    assert code == 0, printed
    assert packed.records() == project.records()
    assert len(packed.records()) == 9
    assert packed.summary()["photos"] == project.summary()["photos"]
    rows = {photo.photo_id: (photo.split, photo.reason) for photo in project.ledger()}
    assert {photo.photo_id: (photo.split, photo.reason) for photo in packed.ledger()} == rows


def test_an_ingestion_killed_again_and_again_comes_to_the_same_records(unpacked, tmp_path):
    undisturbed, data, _ = unpacked
    project = Project.copy(tmp_path)
    rng = random.Random(0)

    for finished in ("DatasetImporter", "PhotoCatalog", "ImageExampleGen_cropped"):
        process = project.start(*flags(data), "--cropped", *INGEST)
        # A node's line comes when it is done: the kill falls into one of the next ones.
        for line in process.stdout:
            if finished in line:
                break
        threading.Event().wait(rng.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
    code, printed = project.run(*flags(data), "--cropped", *INGEST)

    assert code == 0, printed
    records = undisturbed.records()
    expected = {name: digest for name, digest in records.items() if "_cropped/" in name}
    assert len(expected) == 3
    assert project.records() == expected
    held = [path for path in project.output.rglob("*tfrecord*") if "Split-" in str(path)]
    assert len(held) == 3, "a killed run left records behind"


def test_a_dog_in_two_splits_ends_the_run_at_the_gate(unpacked, tmp_path):
    _, data, _ = unpacked
    project = Project.copy(tmp_path)
    own = "photo.dog_id or photo.group or photo.photo_id"
    project.edit("components/split_assigner.py", own, "photo.photo_id")

    code, printed = project.run(*flags(data), "--individual", *INGEST)

    assert code == 1
    assert "DataGate failed" in printed
    assert "dog individuals/dog-1 stands in" in printed
    assert "individuals/dog-1/0.jpg" in printed


def test_a_reencoded_copy_in_another_source_ends_the_run_at_the_gate(unpacked, tmp_path):
    _, data, _ = unpacked
    project = Project.copy(tmp_path)
    project.edit("components/copies.py", "return _mark_near(marked)", "return marked")
    project.edit(
        "components/split_assigner.py",
        "for unit in found.values():\n        unit.split = _split(unit, upstream)",
        "for name, unit in found.items():\n        unit.split = 'test' if 'again' in name else "
        "'train' if 'n02086240_5.' in name else _split(unit, upstream)",
    )

    code, printed = project.run(*flags(data), "--cropped", *INGEST)

    assert code == 1
    assert "DataGate failed" in printed
    assert "breeds/Golden Retriever/again.jpg" in printed
    assert "stanford/Images/n02086240-Shih-Tzu/n02086240_5.jpg" in printed


class Upstream:
    """A server of files on loopback that breaks off, refuses, and forgets some."""

    def __init__(self, files):
        self.files = files
        self.requests = Counter()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                upstream.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request):
        name = request.path.lstrip("/")
        self.requests[name] += 1
        if name not in self.files:
            request.send_error(404)
            return
        content = self.files[name]
        start = int(request.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        request.send_response(206 if start else 200)
        request.send_header("ETag", '"one"')
        if start:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            request.send_header("Content-Range", span)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        cut = len(content) // 2 if self.requests[name] == 1 else len(content)
        request.wfile.write(content[start:cut])

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def upstream():
    servers = []

    def serve(files):
        servers.append(Upstream(files))
        return servers[-1]

    yield serve
    for server in servers:
        server.close()


def test_archives_are_fetched_over_a_line_that_breaks(files, upstream, tmp_path):
    pack(tmp_path / "there", {"stanford": files["stanford"]})
    held = {path.name: path.read_bytes() for path in (tmp_path / "there" / "stanford").iterdir()}
    server = upstream(held)
    project = Project.copy(tmp_path)
    data = tmp_path / "photos"

    code, printed = project.run(
        *flags(data), "--download", f"stanford={server.url}", "--data_extraction"
    )

    assert code == 0, printed
    assert "2 of 3 files are there" in printed  # lists.tar is not needed
    assert "ignored" not in printed
    assert (data / "stanford" / "images.tar").read_bytes() == held["images.tar"]
    assert server.requests["images.tar"] == 2
    assert not list(data.rglob("*.part*"))


def test_dead_links_of_single_photos_are_rows_of_the_ledger(upstream, tmp_path):
    held = {f"{n}/{k}.jpg": jpeg(10 * n + k) for n in range(12) for k in (1, 2)}
    del held["3/2.jpg"]
    server = upstream(held)
    data = tmp_path / "photos"
    project = Project.copy(tmp_path)
    (data / "austin").mkdir(parents=True)
    dogs = [(n, "Dog", "Poodle, Toy") for n in range(12)]
    links = [(n, f"{server.url}/{n}/{k}.jpg") for n in range(12) for k in (1, 2)]
    header = ["AnimalInternal-ID", "AnimalType", "AnimalBreed"]
    (data / "austin" / "apa_dogs.csv").write_bytes(table(header, *dogs))
    (data / "austin" / "apa_photos.csv").write_bytes(
        table(["AnimalInternal-ID", "PhotoUrl"], *links)
    )

    code, printed = project.run(*flags(data), "--download", "austin", *INGEST[:3])

    assert code == 0, printed
    assert "23 of 24 files are there" in printed
    row = project.summary()["photos"]["austin"]
    assert (row["offered"], row["reasons"]) == (24, {"not_downloaded": 1})
    (missing,) = [photo for photo in project.ledger() if photo.reason]
    assert missing.dog_id == "austin/3"
    assert "/3/2.jpg" in missing.detail
    assert "404" in missing.detail


def test_a_source_that_is_not_there_ends_the_run_before_it_begins(upstream, tmp_path):
    server = upstream({})
    project = Project.copy(tmp_path)
    wanted = f"tsinghua={server.url}"

    code, printed = project.run(*flags(tmp_path / "photos"), "--download", wanted)

    assert code == 2
    assert "--download tsinghua" in printed
    assert "404" in printed
    assert "low-annotations.zip" in printed
