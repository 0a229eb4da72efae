"""A copy of the project that a test may edit and run, with one output folder."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from components import catalog
from pipeline.metadata import Store

# They register what lies there, in every run anew, and compute nothing.
IMPORTERS = re.compile("StartWeights|(Baseline|LedgerBefore|StatisticsBefore)_")
ROOT = Path(__file__).resolve().parents[1]
CROPPED = {
    "ImageExampleGen_cropped", "StatisticsGen_cropped", "SchemaGen_cropped",
    "ExampleValidator_cropped",
}  # fmt: skip
INDIVIDUAL = {
    "ImageExampleGen_individual", "StatisticsGen_individual", "SchemaGen_individual",
    "ExampleValidator_individual",
}  # fmt: skip
DATA_NODES = {
    "DatasetImporter", "PhotoCatalog", "SplitAssigner", *CROPPED, *INDIVIDUAL, "DataGate",
}  # fmt: skip
SCHEMAS = {"ImportSchemaGen_cropped", "ImportSchemaGen_individual"}
BREED_NODES = {
    "Trainer_breed_teacher", "Trainer_breed_student", "Evaluator_breed_teacher",
    "Evaluator_breed_student", "ModelGate_breed", "ReplayCheck_breed", "Pusher_breed",
    "FilteredRetrieval",
}  # fmt: skip
RETRIEVAL_NODES = {"RetrievalEvaluator", "FilteredRetrieval", "ModelGate_match", "Pusher_match"}
MATCH_NODES = {
    "Trainer_match", "PairScores", "Evaluator_match", "ReplayCheck_match", *RETRIEVAL_NODES,
}  # fmt: skip
# It reads the cropped view alone, and no model.
BASELINES = {"BreedBaselines"}
EVERY_NODE = DATA_NODES | SCHEMAS | BASELINES | BREED_NODES | MATCH_NODES


class Project:
    """See above."""

    def __init__(self, folder: Path, output: Path | None = None):
        self.folder = folder
        self.output = output or folder / "output"

    @classmethod
    def copy(cls, folder: Path, output: Path | None = None) -> "Project":
        """A fresh clone in `folder`, which works in a folder of its own or in `output`."""
        for name in ("kubeflow_runner.py", "local_runner.py", "requirements.lock"):
            shutil.copy(ROOT / name, folder / name)
        for name in ("pipeline", "components", "models", "schema"):
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        return cls(folder, output)

    def start(self, *flags: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "local_runner.py", *flags, "--output", str(self.output)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *flags: str) -> tuple[int, str]:
        process = self.start(*flags)
        printed, _ = process.communicate()
        assert "report    could not be written" not in printed, printed
        return process.returncode, printed

    def kubeflow(self, *flags: str, **environment: str) -> tuple[int, str]:
        """Runs `kubeflow_runner.py`."""
        done = subprocess.run(
            [sys.executable, "kubeflow_runner.py", *flags],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(self.folder), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout

    def summary(self) -> dict:
        return json.loads((self.output / "summary.json").read_text())

    def executed(self) -> set[str]:
        """The nodes that the newest run executed, importers aside."""
        store = Store(str(self.output / "metadata.sqlite"))
        nodes = store.nodes(store.runs()[0]).values()
        return {
            node.node_id
            for node in nodes
            if node.state == "run" and not IMPORTERS.match(node.node_id)
        }

    def edit(self, file: str, old: str, new: str) -> None:
        """Replaces what stands there once."""
        text = (self.folder / file).read_text()
        assert text.count(old) == 1, f"{file} should hold {old!r} once"
        (self.folder / file).write_text(text.replace(old, new))

    def append(self, file: str, text: str) -> None:
        with (self.folder / file).open("a") as stream:
            stream.write(text)

    def ledger(self) -> list[catalog.Photo]:
        """Every offered photo of the newest run."""
        store = Store(str(self.output / "metadata.sqlite"))
        node = store.nodes(store.runs()[0])["SplitAssigner"]
        return list(catalog.read(store.outputs(node)["splits"].uri))

    def records(self) -> dict[str, str]:
        """The sha256 of every file of records of the newest run, by view and name."""
        store = Store(str(self.output / "metadata.sqlite"))
        found = {}
        for name, node in store.nodes(store.runs()[0]).items():
            if name.startswith("ImageExampleGen"):
                folder = Path(store.outputs(node)["examples"].uri)
                for path in sorted(folder.rglob("*tfrecord*")):
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    found[f"{name}/{path.relative_to(folder)}"] = digest
        return found
