"""Ground for planting faults: small photos that are all well, and runs in this process.

The runs are those of `local_runner.py`: real nodes, TFX's runner, TFDV and ML Metadata. A fault is
planted in the photos, in the schema, or in the project's code, as a bug would be.
"""

import contextlib
import dataclasses
import functools
import io
import itertools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_ingestion import INGEST, jpeg, unpack, voc

import local_runner
import pipeline.execution  # noqa: F401 - now: its libraries keep the streams that they find
from components import catalog, digests
from components.catalog import Photo
from pipeline import inputs
from pipeline.metadata import Node, Store

Files = dict[str, bytes]  # path below the data folder -> content
STANFORD = ("n02086240-Shih-Tzu", "n02099267-flat-coated_retriever")
OWN = ("beagle", "pug")
PHOTOS = 30  # of each breed
DOGS = 14
_bugs = itertools.count()


def clean(photos: int = PHOTOS, seed: int = 10_000, prefix: str = "") -> Files:
    """Two breeds with boxes, two without, and dogs; every picture is another one.

    Args:
      photos: of each breed.
      seed: of the first picture.
      prefix: of the names of photos.
    """
    seeds = itertools.count(seed)
    files: Files = {}
    for folder in STANFORD:
        for number in range(photos):
            stem = f"{folder}/{prefix}{folder.partition('-')[0]}_{number}"
            files[f"stanford/Images/{stem}.jpg"] = jpeg(next(seeds))
            files[f"stanford/Annotation/{stem}"] = voc("bndbox")
    for breed in OWN:
        for number in range(photos):
            files[f"breeds/{breed}/{prefix}{number:02d}.jpg"] = jpeg(next(seeds))
    for dog in range(DOGS):
        for number in range(3):
            files[f"individuals/dog-{dog}/{prefix}{number}.jpg"] = jpeg(next(seeds))
    return files


def lay(data: Path, files: Files) -> Path:
    """Writes the files below a folder and returns it."""
    unpack(data, {"": files})
    return data


def repainted(files: Files, change: Callable[[Image.Image], Image.Image], below: str = "") -> Files:
    """The files, with every photo below a folder changed."""
    return files | {
        name: encoded(change(Image.open(io.BytesIO(content))))
        for name, content in files.items()
        if name.endswith(".jpg") and name.startswith(below)
    }


def encoded(image: Image.Image, quality: int = 90) -> bytes:
    """A JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def copied(content: bytes) -> bytes:
    """The same picture, encoded again."""
    return encoded(Image.open(io.BytesIO(content)), quality=95)


def darker(factor: float) -> Callable[[Image.Image], Image.Image]:
    """Takes light from a picture."""
    return lambda image: Image.fromarray((np.asarray(image) * factor).astype(np.uint8))


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run came to.

    Attributes:
      code: the exit code.
      printed: all that its user saw.
      output: its folder.
      summary: summary.json; {} when nothing was run.
    """

    code: int
    printed: str
    output: Path
    summary: dict[str, Any]

    @functools.cached_property
    def nodes(self) -> dict[str, Node]:
        """What ML Metadata says of the run."""
        return self.store.nodes(self.summary["run_id"])

    @functools.cached_property
    def store(self) -> Store:
        """The ML Metadata database."""
        return Store(str(self.output / "metadata.sqlite"))

    def ledger(self) -> list[Photo]:
        """Every offered photo."""
        return list(catalog.read(self.store.outputs(self.nodes["SplitAssigner"])["splits"].uri))

    def line(self, *words: str) -> str:
        """The line that the user saw that has all these words."""
        found = (line for line in self.printed.splitlines() if all(word in line for word in words))
        line = next(found, None)
        assert line is not None, f"no line has {words}:\n{self.printed}"
        return line.strip()


def ingest(data: Path, output: Path, *flags: str) -> Outcome:
    """Runs the data stages, unless flags name others, on the cropped view, unless they do."""
    views = {"--cropped", "--uncropped", "--individual"} & set(flags) or {"--cropped"}
    stages = [] if "--pipeline" in flags else INGEST
    time.sleep(1.01 - time.time() % 1)  # runs are named by the second in which they begin
    with _captured() as printed:
        code = local_runner.main(
            [
                *("--data", str(data), "--output", str(output)),
                *("--backbone", "small_cnn", "--image_size", "64"),
                *dict.fromkeys((*flags, *sorted(views), *stages)),
            ]
        )
    summary = output / "summary.json"
    found = json.loads(summary.read_text()) if code != 2 else {}
    return Outcome(code, printed(), output, found)


@contextlib.contextmanager
def _captured() -> Iterator[Callable[[], str]]:
    """Catches what is printed, be it by file descriptor."""
    with tempfile.TemporaryFile("w+") as file:
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                yield lambda: text
        finally:
            for number, descriptor in enumerate(kept, start=1):
                os.dup2(descriptor, number)
                os.close(descriptor)
            file.seek(0)
            text = file.read()


def plant(patch: pytest.MonkeyPatch, module: ModuleType, name: str, bug: Any) -> None:
    """Puts a bug into the project's code, which TFX's cache then takes for edited code."""
    patch.setattr(module, name, bug)
    digest, number = digests.of_module, next(_bugs)

    def of_module(other: str) -> str:
        edited = module.__name__ in _closure(other)
        return digest(other) + (f"-bug-{number}" if edited else "")

    patch.setattr(digests, "of_module", of_module)


_closure = functools.cache(digests._closure)


def edit_schema(patch: pytest.MonkeyPatch, folder: Path, file: str, old: str, new: str) -> None:
    """Lets runs read a copy of the schema folder in which a file was edited."""
    folder.mkdir()
    for path in inputs._SCHEMA.iterdir():
        (folder / path.name).write_text(path.read_text())
    text = (folder / file).read_text()
    assert old in text, f"{file} should hold {old!r}"
    (folder / file).write_text(text.replace(old, new, 1))
    patch.setattr(inputs, "_SCHEMA", folder)
