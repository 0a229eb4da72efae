"""What all tests share. The environment is set before anything can import TensorFlow."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
os.environ["GCS_READAHEAD_BUFFER_SIZE_BYTES"] = str(1 << 20)
# Two test processes share the cores: each is the quicker for not asking for both.
os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
os.environ["TF_NUM_INTEROP_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
# The files that take minutes, longest first: two processes that take file by file end together
# when the short ones come last.
LONGEST = (
    "test_sample_run.py",
    "test_end_to_end.py",
    "test_ingestion.py",
    "test_cache.py",
    "test_stages.py",
    "test_sample.py",
    "test_run_fns.py",
    "test_replay_check.py",
    "test_submission.py",
    "test_image.py",
    "test_faults.py",
    "test_pages.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(LONGEST)))


def _picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))


def _encoded(image: np.ndarray | Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def picture() -> Callable[..., np.ndarray]:
    """A smooth picture of its own for every seed: (height, width, seed) -> uint8 [H, W, 3]."""
    return _picture


@pytest.fixture(scope="session")
def encoded() -> Callable[..., bytes]:
    """An image file: (array or Pillow image, format, Pillow's options) -> bytes."""
    return _encoded


@pytest.fixture(scope="session")
def few_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for all data stages: two breeds of 24 photos, and 14 dogs of three."""
    folder = tmp_path_factory.mktemp("few") / "photos"
    names = [f"breeds/{breed}/{n}.jpg" for breed in ("beagle", "pug") for n in range(24)]
    names += [f"individuals/dog-{dog}/{n}.jpg" for dog in range(14) for n in range(3)]
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(_encoded(_picture(72, 96, seed)))
    return folder


@pytest.fixture(scope="session")
def vocabulary_text() -> str:
    """The committed breed table."""
    return (ROOT / "schema" / "breeds.csv").read_text()


@pytest.fixture(scope="session")
def write_split() -> Callable[[Path, Iterable[bytes]], str]:
    """Writes serialized Examples as the only TFRecord file of a split and returns its folder."""
    import tensorflow as tf

    def write(folder: Path, rows: Iterable[bytes]) -> str:
        folder.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(folder / "data_tfrecord-00000-of-00001")) as writer:
            for row in rows:
                writer.write(row)
        return str(folder)

    return write
