"""What a run left: its summary, and the artifacts of its nodes, read back from ML Metadata."""

import base64
import collections
import dataclasses
import functools
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from components import catalog
from pipeline.lineage import Lineage, Step
from pipeline.metadata import Node, Store
from pipeline.settings import SettingsError

THUMBNAIL = 128  # longer side, pixels
PER_REASON = 6  # rejected photos that are shown for each reason
CONFUSED = 5  # pairs of breeds
PER_PAIR = 4  # photos of each
PROBES = 6  # that are shown found, and as many that are not
FIRST = 5  # of the gallery
ANOMALIES, STATISTICS = "SchemaDiff.pb", "FeatureStats.pb"  # TFDV's, of a split
_BATCH = 64
_TRIED = 64  # photos of a breed that are asked about


@dataclasses.dataclass(frozen=True)
class Picture:
    """A photo as it is shown.

    Attributes:
      photo_id: as in the ledger.
      source: a data URI, "" where the photo can't be shown.
      about: what is to be said of it.
    """

    photo_id: str
    source: str
    about: str = ""


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A breed that is taken for another one.

    Attributes:
      breed: what the photos show.
      said: what the model says.
      photos: how many of the test photos.
      of: how many there are of the breed.
      shown: some of them.
    """

    breed: str
    said: str
    photos: int
    of: int
    shown: tuple[Picture, ...]


@dataclasses.dataclass(frozen=True)
class Search:
    """A probe and whom the model finds.

    Attributes:
      probe: the photo.
      dog: whose it is.
      place: of its dog in the gallery, 1 is first.
      found: the first of the gallery: (photo, cosine, whether it is the probe's dog).
    """

    probe: Picture
    dog: str
    place: int
    found: tuple[tuple[Picture, float, bool], ...]


def runs(output: str) -> list[str]:
    """The runs that have a summary, newest first."""
    folder = os.path.join(output, "runs")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    there = [n for n in names if os.path.isfile(os.path.join(folder, n, "summary.json"))]
    return sorted(there, reverse=True)


def summary(output: str, run: str) -> dict[str, Any]:
    """The summary.json of one of `runs`.

    Raises:
      SettingsError: it is none.
    """
    path = os.path.join(output, "runs", run, "summary.json")
    try:
        with open(path, encoding="utf-8") as file:
            found: dict[str, Any] = json.load(file)
    except ValueError as error:
        raise SettingsError(
            f"{path}: is not the JSON that a run leaves ({error}): put back what it was, or remove "
            "its folder"
        ) from error
    return found


class Evidence:
    """One run.

    Args:
      output: the output folder.
      run: its id, None for the newest.

    Attributes:
      summary: its summary.json.
      nodes: what ML Metadata knows of every node that it had, by name.

    Raises:
      SettingsError: there is no such run.
    """

    def __init__(self, output: str, run: str | None = None):
        known = runs(output)
        if not known:
            raise SettingsError(f"--output {output}: no run has ended there")
        if run is not None and run not in known:
            shown = ", ".join(known[:8])
            raise SettingsError(f"{run}: no such run has ended in {output} (there are: {shown})")
        self.output = output
        self.run = run or known[0]
        self.folder = os.path.join(output, "runs", self.run)
        self.summary = summary(output, self.run)
        self.store = Store(os.path.join(output, "metadata.sqlite"))
        self.nodes: dict[str, Node] = (
            self.store.nodes(self.run) if self.run in self.store.runs() else {}
        )

    @functools.cached_property
    def lineage(self) -> Lineage:
        """All of ML Metadata."""
        return Lineage(self.output)

    def uri(self, node: str, key: str) -> str:
        """Where an output of a node lies, "" where it is gone or never was."""
        return self.store.uri(self.nodes.get(node), key)

    def file(self, node: str, key: str, name: str) -> dict[str, Any]:
        """A JSON file of an artifact, {} where it is gone or never was."""
        path = os.path.join(self.uri(node, key), name)
        if not self.uri(node, key) or not os.path.isfile(path):
            return {}
        with open(path, encoding="utf-8") as file:
            found: dict[str, Any] = json.load(file)
        return found

    def verdict(self, model: str) -> dict[str, Any]:
        """ModelGate's verdict.json."""
        return self.file(f"ModelGate_{model}", "blessing", "verdict.json")

    def history(self, trainer: str) -> dict[str, Any]:
        """A trainer's history.json."""
        return self.file(trainer, "model_run", "history.json")

    @property
    def trainers(self) -> list[str]:
        """The trainers that ended."""
        return [name for name in self.nodes if name.startswith("Trainer") and self.history(name)]

    def baseline(self, model: str) -> str:
        """The version that a model was compared with, "" where there was none."""
        node = self.nodes.get(f"Baseline_{model}")
        if node is None:
            return ""
        (artifact,) = self.store.outputs(node).values()
        pushed = self.store.pushed(os.path.join(self.output, "serving", model))
        return next((item.version for item in pushed if item.model_uri == artifact.uri), "")

    @functools.cached_property
    def photos(self) -> list[catalog.Photo]:
        """The ledger; before there is one, the catalogue."""
        for node, key in (("SplitAssigner", "splits"), ("PhotoCatalog", "photos")):
            if folder := self.uri(node, key):
                return list(catalog.read(folder))
        return []

    def breeds(self) -> dict[str, collections.Counter[str]]:
        """Photos of every breed, by split, the most frequent first."""
        found: dict[str, collections.Counter[str]] = {}
        for photo in self.photos:
            if photo.split and photo.breed and not photo.dog_id:
                found.setdefault(photo.breed, collections.Counter())[photo.split] += 1
        return dict(sorted(found.items(), key=lambda item: (-item[1].total(), item[0])))

    def dogs(self) -> dict[int, int]:
        """How many dogs have so many accepted photos."""
        per_dog = collections.Counter(p.dog_id for p in self.photos if p.dog_id and p.split)
        return dict(sorted(collections.Counter(per_dog.values()).items()))

    def rejected(self) -> dict[str, list[Picture]]:
        """Some rejected photos of every reason, as far as they can be shown."""
        by_reason: dict[str, list[catalog.Photo]] = {}
        for photo in self.photos:
            if photo.reason:
                by_reason.setdefault(str(photo.reason), []).append(photo)
        node = self.nodes.get("DatasetImporter")
        read = reader(str(node.parameters.get("data", "")) if node else "")
        return {
            reason: [
                Picture(photo.photo_id, thumbnail(read(photo)), photo.detail)
                for photo in sorted(found, key=lambda photo: photo.photo_id)[:PER_REASON]
            ]
            for reason, found in sorted(by_reason.items())
        }

    def copies_across(self) -> list[tuple[str, str]]:
        """Photos of which a copy stands in another split: none, or the data leak."""
        groups: dict[str, set[str]] = {}
        for photo in self.photos:
            if photo.group and photo.split:
                groups.setdefault(photo.group, set()).add(photo.split)
        return [
            (photo.photo_id, str(photo.split))
            for photo in self.photos
            if photo.group and photo.split and len(groups[photo.group]) > 1
        ]

    def dogs_across(self) -> list[str]:
        """Dogs that stand in more than one split: none, or the data leak."""
        splits: dict[str, set[str]] = {}
        for photo in self.photos:
            if photo.dog_id and photo.split:
                splits.setdefault(photo.dog_id, set()).add(photo.split)
        return sorted(dog for dog, found in splits.items() if len(found) > 1)

    def anomalies(self) -> dict[str, dict[str, str]]:
        """What ExampleValidator found, by view and split, then by feature."""
        found: dict[str, dict[str, str]] = {}
        for name in self.nodes:
            folder = self.uri(name, "anomalies") if name.startswith("ExampleValidator") else ""
            for split, path in of_splits(folder, ANOMALIES):
                found[f"{name.partition('_')[2]}, {split}"] = anomalies(path)
        return found

    @functools.cached_property
    def vocabulary(self) -> Sequence[str]:
        """Breeds, by label; empty where the run's own table is gone."""
        from models import vocabulary

        node = self.nodes.get("PhotoCatalog")
        path = str(node.parameters.get("breeds", "")) if node else ""
        return vocabulary.read(path).breeds if os.path.isfile(path) else ()

    def plots(self, evaluator: str, part: str = "", model: str = "") -> dict[str, Any]:
        """TFMA's plots of one slice, by kind, as its own protocol buffers say them.

        Args:
          evaluator: the node.
          part: the slice, such as "pair/set:all"; "" is the whole.
          model: candidate or baseline, "" for what an Evaluator of one model has.
        """
        found = self._plots(evaluator, model)
        return found.get(part, {})

    @functools.lru_cache  # noqa: B019 - as long as the run that it is of
    def _plots(self, evaluator: str, model: str) -> dict[str, dict[str, Any]]:
        import tensorflow_model_analysis as tfma

        folder = self.uri(evaluator, "evaluation")
        if not folder:
            return {}
        config = tfma.load_eval_result(folder)
        names = [spec.name for spec in config.config.model_specs]
        if len(names) > 1:
            config = tfma.load_eval_result(folder, model_name=model or "candidate")
        return {
            ",".join(f"{name}:{value}" for name, value in part): {
                kind: plot for of_class in told[""].values() for kind, plot in of_class.items()
            }
            for part, told in config.plots
            if told
        }

    def confusions(self) -> list[tuple[str, str, int]]:
        """(breed, what the student says, test photos) of every cell of the confusion matrix."""
        plot = self.plots("Evaluator_breed_student")
        matrices = plot.get("multiClassConfusionMatrixAtThresholds", {}).get("matrices", [])
        name = dict(enumerate(self.vocabulary)).get
        return [
            (
                name(cell.get("actualClassId", 0), str(cell.get("actualClassId", 0))),
                name(cell.get("predictedClassId", 0), str(cell.get("predictedClassId", 0))),
                round(cell["numWeightedExamples"]),
            )
            for matrix in matrices[:1]
            for cell in matrix["entries"]
        ]

    def most_confused(self) -> list[Confusion]:
        """The pairs of breeds that the student confuses most, with photos."""
        cells = self.confusions()
        totals: collections.Counter[str] = collections.Counter()
        for breed, _, number in cells:
            totals[breed] += number
        wrong = sorted((c for c in cells if c[0] != c[1]), key=lambda c: (-c[2], c[0], c[1]))
        chosen = wrong[:CONFUSED]
        shown = self._taken_for({(breed, said) for breed, said, _ in chosen})
        return [
            Confusion(breed, said, number, totals[breed], tuple(shown.get((breed, said), ())))
            for breed, said, number in chosen
        ]

    def _taken_for(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], list[Picture]]:
        """Test photos of (breed, what the student says)."""
        from models import examples

        model = self.uri("Trainer_breed_student", "model")
        split = self._split("ImageExampleGen_cropped")
        if not (wanted and model and split):
            return {}
        import tensorflow as tf
        from tfx.utils import path_utils

        answer = tf.saved_model.load(path_utils.serving_model_path(model)).signatures["classify"]
        tried: collections.Counter[str] = collections.Counter()
        taken: list[tuple[str, str, bytes]] = []
        breeds = {breed for breed, _ in wanted}
        for record, data in examples.scan(split):
            breed = self.vocabulary[record.label]
            if breed in breeds and tried[breed] < _TRIED:
                tried[breed] += 1
                taken.append((record.photo_id, breed, examples.encoded_image(data)))
        found: dict[tuple[str, str], list[Picture]] = {}
        for start in range(0, len(taken), _BATCH):
            batch = taken[start : start + _BATCH]
            said = answer(image_bytes=tf.constant([photo for _, _, photo in batch]))
            names = [name.decode() for name in said["classes"].numpy()[:, 0]]
            sure = said["probabilities"].numpy()[:, 0]
            for (photo_id, breed, photo), name, chance in zip(batch, names, sure, strict=True):
                rows = found.setdefault((breed, name), [])
                if (breed, name) in wanted and len(rows) < PER_PAIR:
                    rows.append(Picture(photo_id, thumbnail(photo), f"{chance:.0%} sure"))
        return found

    def _split(self, node: str, split: str = "test") -> str:
        folder = self.uri(node, "examples")
        place = os.path.join(folder, f"Split-{split}")
        return place if folder and os.path.isdir(place) else ""

    def searches(self) -> tuple[list[Search], list[Search], int]:
        """Probes that find their dog, probes that do not, and how many dogs the gallery has.

        The gallery holds the first photo of every test dog, by its id; the probes are the others.
        The figures of the report are means over many such galleries, drawn at random.
        """
        split = self._split("ImageExampleGen_individual")
        folder = self.uri("PairScores", "embeddings")
        if not (split and folder):
            return [], [], 0
        with np.load(os.path.join(folder, "embeddings.npz")) as stored:
            ids, dogs = stored["photo_id"].tolist(), stored["dog_id"].tolist()
            vectors = stored["model"]
        order = sorted(range(len(ids)), key=lambda row: ids[row])
        template: dict[str, int] = {}
        for row in order:
            template.setdefault(dogs[row], row)
        gallery = np.array(sorted(template.values()))
        ranked: list[tuple[int, float, int, np.ndarray, np.ndarray]] = []
        for row in order:
            if row == template[dogs[row]]:
                continue
            scores = vectors[gallery] @ vectors[row]
            nearest = np.argsort(-scores, kind="stable")
            before = int(np.flatnonzero(gallery[nearest] == template[dogs[row]])[0])
            margin = float(scores[nearest[0]] - scores[nearest[before]])
            first = nearest[:FIRST]
            ranked.append((before + 1, margin, row, gallery[first], scores[first]))
        right = [item for item in ranked if item[0] == 1]
        wrong = sorted((i for i in ranked if i[0] > 1), key=lambda i: (-i[1], ids[i[2]]))[:PROBES]
        right = right[:: max(1, len(right) // PROBES)][:PROBES]
        shown = {ids[row] for item in (*right, *wrong) for row in (item[2], *item[3])}
        pictures = self._pictures(split, shown)

        def search(item: tuple[int, float, int, np.ndarray, np.ndarray]) -> Search:
            place, _, probe, nearest, scores = item
            return Search(
                pictures[ids[probe]],
                dogs[probe],
                place,
                tuple(
                    (pictures[ids[row]], float(score), dogs[row] == dogs[probe])
                    for row, score in zip(nearest, scores, strict=True)
                ),
            )

        return [search(item) for item in right], [search(item) for item in wrong], len(gallery)

    def _pictures(self, split: str, wanted: set[str]) -> dict[str, Picture]:
        from models import examples

        found = {photo_id: Picture(photo_id, "") for photo_id in wanted}
        for record, data in examples.scan(split):
            if record.photo_id in wanted:
                source = thumbnail(examples.encoded_image(data))
                found[record.photo_id] = Picture(record.photo_id, source)
        return found

    def steps(self) -> list[tuple[str, Step | None, dict[str, Any]]]:
        """Every node of the graph: its name, its execution, its row of the summary."""
        return [
            (row["id"], self.lineage.steps.get(self._execution(row["id"])), row)
            for row in self.summary["nodes"]
        ]

    def _execution(self, name: str) -> int:
        return self.nodes[name].execution if name in self.nodes else -1


def thumbnail(photo: bytes) -> str:
    """A small JPEG of a photo as a data URI, "" where it is none."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(photo)) as opened:
            opened.draft("RGB", (2 * THUMBNAIL, 2 * THUMBNAIL))
            upright = ImageOps.exif_transpose(opened) or opened
            small = upright.convert("RGB")
            small.thumbnail((THUMBNAIL, THUMBNAIL))
    except Exception:  # Pillow raises nearly anything on a file that is no picture
        return ""
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def reader(data: str) -> Callable[[catalog.Photo], bytes]:
    """Reads a photo of the data folder; b"" where it is not there as it was."""
    from components import dataset

    def read(photo: catalog.Photo) -> bytes:
        try:
            with dataset.Reader(data) as reader:
                return reader.photo(photo)
        except (OSError, ValueError, RuntimeError):
            return b""

    return read if data else lambda photo: b""


def of_splits(folder: str, name: str) -> Iterator[tuple[str, str]]:
    """The files of that name in an artifact's folders of splits: (split, path)."""
    for place in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, place, name)
        if os.path.isfile(path):
            yield place.removeprefix("Split-"), path


def anomalies(path: str) -> dict[str, str]:
    """What TFDV says in a file of `ANOMALIES`, by feature."""
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    found = anomalies_pb2.Anomalies()
    with open(path, "rb") as file:
        found.ParseFromString(file.read())
    return {
        feature: "; ".join(f"{reason.short_description}: {reason.description}" for reason in told)
        for feature, told in sorted(
            (name, info.reason) for name, info in found.anomaly_info.items()
        )
    }


def flat(
    told: Any, above: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value of nested JSON, with its path."""
    items: Iterable[tuple[str | int, Any]]
    if isinstance(told, Mapping):
        items = told.items()
    elif isinstance(told, list):
        items = enumerate(told)
    else:
        yield above, told
        return
    for key, value in items:
        yield from flat(value, (*above, key))
