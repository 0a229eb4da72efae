"""A run on a Flink cluster of two task managers, beside the same run in memory.

    make flink ARGS="--photos 1000"    fetches Flink and Beam's job server first, and calls
    python benchmarks/flink.py --flink DIR --server DIR

Three runs of `local_runner.py` on the same drawn photos: in memory; on the cluster; and on it with
a task manager and its Python workers killed while records are written, once a first shard is whole.
What they come to is compared: records and split by the digests of their files, statistics value by
value to twelve digits, metrics to six. Prints the seconds of every node that Beam carries, and ends
with exit code 1 where something differs.
"""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from typing import Any

import cluster
import folds

from components import catalog
from components.sources import sample
from pipeline.metadata import Store

_OF_THE_SAMPLE = 1000  # photos, about
_NODES = ("PhotoCatalog", "ImageExampleGen", "StatisticsGen", "Evaluator")  # by Beam
_DOUBLE = re.compile(r"-?\d+\.\d+(e[+-]?\d+)?")
_RUN = [
    "--backbone", "small_cnn", "--image_size", "64", "--batch_size", "32", "--epochs", "2",
]  # fmt: skip


def draw(folder: pathlib.Path, photos: int) -> None:
    """Draws about as many photos, by the means of the built-in sample."""
    times = max(1, round(photos / _OF_THE_SAMPLE))
    sample.PHOTOS_PER_BREED *= times
    sample.DOGS_PER_BREED *= times
    sample.draw(folder)


def run(photos: pathlib.Path, output: pathlib.Path, flags: list[str]) -> float:
    """Runs the pipeline; returns its seconds. A gate may refuse models of so few epochs."""
    start = time.monotonic()
    done = subprocess.run(
        [
            sys.executable, str(folds.ROOT / "local_runner.py"), "--data", str(photos),
            "--output", str(output), *_RUN, *flags,
        ],
        env={**os.environ, "PYTHONPATH": str(folds.ROOT)}, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    if done.returncode not in (0, 3):
        sys.exit(f"{output.name}: exit code {done.returncode}\n{done.stdout[-3000:]}{done.stderr}")
    return time.monotonic() - start


def seconds(output: pathlib.Path) -> dict[str, float]:
    """How long every node took."""
    nodes = json.loads((output / "summary.json").read_text())["nodes"]
    return {node["id"]: node["seconds"] for node in nodes}


def results(output: pathlib.Path) -> dict[str, Any]:
    """What a run came to: of files a digest, of statistics and metrics the values."""
    import tensorflow_data_validation as tfdv

    store = Store(str(output / "metadata.sqlite"))
    found: dict[str, Any] = {}
    for name, node in store.nodes(store.runs()[0]).items():
        kind = name.partition("_")[0]
        if kind == "SplitAssigner":
            rows = catalog.read(store.outputs(node)["splits"].uri)
            text = "\n".join(row.to_json() for row in rows)
            found[name] = hashlib.sha256(text.encode()).hexdigest()
        elif kind == "ImageExampleGen":
            folder = pathlib.Path(store.outputs(node)["examples"].uri)
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[f"{name}/{path.relative_to(folder)}"] = digest
        elif kind == "StatisticsGen":
            folder = pathlib.Path(store.outputs(node)["statistics"].uri)
            for path in sorted(folder.rglob("FeatureStats.pb")):
                told = tfdv.load_stats_binary(str(path))
                for feature in told.datasets[0].features:
                    key = f"{name}/{path.parent.name}/{'.'.join(feature.path.step)}"
                    found[key] = _DOUBLE.sub(_rounded, str(feature))
    summary = json.loads((output / "summary.json").read_text())
    for model in ("breed", "match"):
        found |= {f"{model}.{key}": value for key, value in _numbers(summary[model]).items()}
    return found


def _rounded(found: re.Match[str]) -> str:
    """To twelve digits: the last ones of a sum depend on the order of its addends."""
    return f"{float(found[0]):.12g}"


def _numbers(told: Mapping[str, Any], above: str = "") -> dict[str, float]:
    """The numbers of the evaluation, but times, and intervals: TFMA's are of random parts."""
    found: dict[str, float] = {}
    for key, value in told.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{above}{key}.")
        elif isinstance(value, (int, float)) and not (
            key.endswith(("_low", "_high", "_ratio")) or key == "ms"
        ):
            found[above + key] = round(value, 6)
    return found


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Where two runs did not come to the same."""
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


class Killer(threading.Thread):
    """Kills a task manager with its workers as soon as a run has written its first shard."""

    def __init__(self, flink: cluster.Cluster, output: pathlib.Path):
        super().__init__(daemon=True)
        self._flink, self._output = flink, output
        self.said = ""

    def run(self) -> None:
        """Waits for the shard."""
        shards = "artifacts/ImageExampleGen_cropped/examples/*/Split-train/data_tfrecord-*"
        while not any(self._output.glob(shards)):
            time.sleep(0.05)
        workers = self._flink.kill(1)
        there = len(list(self._output.glob(shards)))
        self.said = f"killed task manager 1 and its {workers} workers, {there} shards were written"


def main() -> int:
    """Runs and prints."""
    parser = folds.Parser(__doc__)
    parser.add_argument("--photos", type=int, metavar="N", default=5000, help="about how many")
    parser.add_argument(
        "--work", metavar="DIR",
        help="where to work (default: a new temporary folder); of a call that was cut, what lies "
        "there whole is taken as it is",
    )  # fmt: skip
    parser.add_argument("--flink", metavar="DIR", required=True, help="folder of Flink's jars")
    parser.add_argument("--server", metavar="DIR", required=True, help="of the job server's jars")
    arguments = parser.read()
    if shutil.which("java") is None:
        parser.error("there is no java: Flink needs Java 17 (Debian: openjdk-17-jre-headless)")
    work = pathlib.Path(arguments.work or tempfile.mkdtemp(prefix="spotted-flink-")).resolve()
    print(f"work      {work}", flush=True)
    photos = work / "photos"
    if not photos.is_dir():
        aside = work / "photos.partial"
        shutil.rmtree(aside, ignore_errors=True)
        draw(aside, arguments.photos)
        aside.rename(photos)
    took, came, times = {}, {}, {}
    environment = {"PYTHONPATH": str(folds.ROOT), "TF_USE_LEGACY_KERAS": "0"}
    for name in ("memory", "flink", "killed"):
        output, whole = work / name, work / f"{name}.json"
        if whole.exists():
            took[name] = json.loads(whole.read_text())
        elif name == "memory":
            took[name] = run(photos, output, [])
        else:
            shutil.rmtree(output, ignore_errors=True)
            shutil.rmtree(work / f"cluster-{name}", ignore_errors=True)
            places = (pathlib.Path(arguments.flink), pathlib.Path(arguments.server))
            with cluster.running(
                cluster.Cluster(*places, work / f"cluster-{name}", environment)
            ) as flink:
                killer = Killer(flink, output)
                if name == "killed":
                    killer.start()
                took[name] = run(photos, output, flink.flags)
                if name == "killed":
                    print(killer.said or "nothing was killed", flush=True)
                    if not killer.said:
                        return 1
        whole.write_text(json.dumps(took[name]))
        came[name], times[name] = results(output), seconds(output)
        print(f"{name:<8} {took[name]:7.1f} s, {len(came[name])} results", flush=True)
    print(f"\n{'seconds of':<28}" + "".join(f"{name:>10}" for name in took))
    for node in times["memory"]:
        if node.startswith(_NODES):
            print(f"{node:<28}" + "".join(f"{times[name][node]:10.1f}" for name in took))
    wrong = 0
    for name in ("flink", "killed"):
        found = differing(came["memory"], came[name])
        wrong += len(found)
        print(f"{name:<8} {'equal' if not found else f'{len(found)} differ: {found[:5]}'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
