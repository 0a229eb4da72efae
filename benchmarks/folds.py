"""What benchmarks share (no program): the command line, records of folds, results that last."""

import argparse
import hashlib
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"

from components import dataset  # noqa: E402
from models import backbones  # noqa: E402
from pipeline import command_line, settings  # noqa: E402

VOCABULARY = str(ROOT / "schema" / "breeds.csv")


class _Help(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    """Shows every default that is not spelled out."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        told = action.default is None or "default" in (action.help or "")
        return action.help if told else super()._get_help_string(action)


class Parser(command_line.Parser):
    """A benchmark's command line; what its flags name is looked at before anything is done.

    Args:
      about: the benchmark's docstring.
    """

    def __init__(self, about: str | None):
        name = os.path.basename(sys.argv[0])
        super().__init__(name, description=about, formatter_class=_Help, allow_abbrev=False)

    def read(self) -> argparse.Namespace:
        """Reads the flags; ends the program where a file or a name in them can't be used."""
        found = self.parse_args()
        told = vars(found)
        try:
            if told.get("data") is not None:
                settings.list_folder(found.data)
                dataset.list_containers(found.data)
            if told.get("weights") is not None:
                backbones.check_weights(found.weights, backbones.get(found.backbone))
            elif "backbone" in told:
                backbones.get(found.backbone)
        except ValueError as error:
            self.error(str(error))
        return found


def numbers(below: int | None = None) -> Callable[[str], list[int]]:
    """Reads `0,1,2`, for argparse."""

    def read(text: str) -> list[int]:
        parts = text.split(",")
        if not all(part.isdecimal() and (below is None or int(part) < below) for part in parts):
            most = f" below {below}" if below else ""
            raise argparse.ArgumentTypeError(f"{text!r}: expected numbers{most}, such as 0,1,2")
        return [int(part) for part in parts]

    return read


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Reads names with commas between, or `all`, for argparse."""

    def read(text: str) -> list[str]:
        found = list(known) if text == "all" else text.split(",")
        if unknown := [name for name in found if name not in known]:
            raise argparse.ArgumentTypeError(
                f"{unknown[0]!r}: expected one or more of {','.join(known)}, or all"
            )
        return found

    return read


class Example:
    """A photo as ingestion makes it: its Example, its breed and its dog."""

    def __init__(self, photo: Any, data: bytes):
        self.photo_id, self.breed, self.dog_id = photo.photo_id, photo.breed, photo.dog_id
        self.data = data


def read(data: str, view: str, side: int) -> list[Example]:
    """All good photos of a view, in the order of their ids."""
    from components import image_example_gen, photo_catalog
    from models import vocabulary

    breeds = vocabulary.read(VOCABULARY)
    reader = dataset.Reader(data)
    entries, _ = dataset.entries(data, dataset.read_dataset(data))
    shape = image_example_gen.Shape(view, side, 0.0)
    found = []
    for row in photo_catalog.list_photos(entries, breeds, data):
        if bool(row.dog_id) == (view == "individual"):
            photo = photo_catalog.look(row, reader)
            if not photo.reason:
                bytes_ = reader.photo(photo)
                example = image_example_gen.to_example(photo, bytes_, shape, breeds)
                found.append(Example(photo, example))
    if not found:
        raise SystemExit(f"--data {data}: no photo of the view {view}")
    return sorted(found, key=lambda example: example.photo_id)


def sample(folder: str) -> str:
    """Draws the sample data set in a folder; returns its own."""
    from components.sources import sample

    place = os.path.join(folder, "sample")
    sample.draw(place)
    return place


def write(folder: str, examples: Sequence[Example]) -> str:
    """Writes a split's records and returns its folder."""
    import tensorflow as tf

    os.makedirs(folder, exist_ok=True)
    with tf.io.TFRecordWriter(os.path.join(folder, "data_tfrecord-00000-of-00001")) as writer:
        for example in examples:
            writer.write(example.data)
    return folder


def write_start(folder: str, weights: str) -> str:
    """The start weights as the artifact that trainers read; returns its folder."""
    os.makedirs(folder, exist_ok=True)
    place = os.path.join(folder, "start.weights.h5")
    if not os.path.exists(place):
        os.symlink(os.path.abspath(weights), place)
    return folder


class Results:
    """One JSON line for each unit of work that is done; what is there is not done again."""

    def __init__(self, path: str):
        self._path = path
        self.rows: list[dict[str, Any]] = []
        if os.path.exists(path):
            with open(path, "r+") as file:
                whole = [line for line in file if line.endswith("\n")]
                file.seek(0)
                file.truncate(sum(len(line) for line in whole))
            self.rows = [json.loads(line) for line in whole]

    def of(self, units: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The rows of some units, as far as there are any."""
        return [row for unit in units for row in self.rows if _is(row, unit)]

    def missing(self, units: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """The units that have no row yet."""
        return (unit for unit in units if not self.of([unit]))

    def add(self, row: Mapping[str, Any]) -> None:
        """Adds a row and says it."""
        self.rows.append(dict(row))
        with open(self._path, "a") as file:
            file.write(json.dumps(row) + "\n")
        shown = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
        hidden = {k for k, v in row.items() if k == "told" or isinstance(v, (list, dict))}
        print({k: v for k, v in shown.items() if k not in hidden}, flush=True)


def _is(row: Mapping[str, Any], unit: Mapping[str, Any]) -> bool:
    return all(row.get(name) == value for name, value in unit.items())


def told(arguments: Any) -> str:
    """What tells a command's rows from those of another, or of other code."""
    chosen = {"seeds", "folds", "losses", "results"}
    kept = {name: value for name, value in vars(arguments).items() if name not in chosen}
    kept["data"] = os.path.realpath(arguments.data)
    kept["code"] = _code()
    return json.dumps(kept, sort_keys=True)


def _code() -> str:
    """Digest of what trains and measures, and of the packages that it runs on."""
    folders = ("benchmarks", "components", "models")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    digest = hashlib.sha256()
    for path in sorted([*sources, ROOT / "requirements.lock"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation (that of a sample; of a single value 0)."""
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=len(values) > 1):.3f}"


def load() -> str:
    """The machine's load, for the reader of the figures."""
    return f"load average {os.getloadavg()[0]:.1f}"
