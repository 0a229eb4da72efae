"""What the evaluation of a match model takes: seconds, and memory at its peak.

    python benchmarks/evaluation.py

Embeddings are drawn, two photos of each dog that scatter around it, for an encoder's own time is
that of its forward pass, once a photo. Each part runs in a process of its own:

- search: one photo of every dog in the gallery, every other photo a probe, one draw of it;
- measure: every figure of RetrievalEvaluator of these photos, mAP of all against all among them;
- curves: what the figures become in smaller and larger galleries, and with several photos a dog;
- pairs: TFMA's evaluation of scored pairs, written and read as a run does.
"""

import concurrent.futures
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable

import folds
import numpy as np

WIDTH = 256  # of an embedding


def embeddings(dogs: int) -> tuple[np.ndarray, list[str]]:
    """Two photos of each dog: float32 [2 x dogs, WIDTH], unit length, and whose each is."""
    random = np.random.default_rng(0)
    centre = random.normal(size=(dogs, WIDTH)).astype(np.float32)
    photos = [centre + random.normal(size=centre.shape).astype(np.float32) for _ in range(2)]
    found = np.concatenate(photos)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found, [f"dog-{number}" for number in range(dogs)] * 2


def search(dogs: int) -> str:
    """One draw: as many probes as dogs."""
    from components import retrieval

    retrieval.DRAWS = 1
    retrieval.search(*embeddings(dogs))
    return f"{dogs:,} probes x {dogs:,} dogs"


def measure(dogs: int) -> str:
    """All figures of an encoder."""
    from components import retrieval_evaluator

    retrieval_evaluator.measure(*embeddings(dogs), shipped=0.5)
    return f"{2 * dogs:,} photos"


def curves(dogs: int) -> str:
    """All galleries."""
    from components import retrieval_evaluator

    retrieval_evaluator.curves(*embeddings(dogs), 0.01, 0.5)
    return f"{2 * dogs:,} photos"


def pairs(count: int) -> str:
    """Scored pairs of as many photos as have that many pairs, of two models, through Evaluator."""
    import tensorflow as tf
    from google.protobuf import json_format
    from tfx.components.evaluator.executor import Executor
    from tfx.types import standard_artifacts

    from components import model_gate, pair_scores
    from models import examples
    from pipeline import gates

    found, dogs = embeddings(math.ceil((1 + math.sqrt(1 + 8 * count)) / 4))

    def score(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.asarray(((one * other).sum(axis=1) + 1) / 2)

    made = {
        "pairs": standard_artifacts.Examples(),
        "model": standard_artifacts.Model(),
        "baseline": standard_artifacts.Model(),
        "evaluation": standard_artifacts.ModelEvaluation(),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, artifact in made.items():
            artifact.uri = os.path.join(folder, name)
        for model in ("model", "baseline"):  # that the Evaluator names, and does not call
            tf.saved_model.save(tf.Module(), os.path.join(folder, model, "Format-Serving"))
        facts = [examples.Facts("drawn", "", 300, 0.5)] * len(dogs)
        ids = [f"photo-{number}" for number in range(len(dogs))]
        encoders = {"model": found, "untrained": found, "baseline": found}
        scorers = {"model": score, "baseline": score}
        pair_scores.write_pairs(made["pairs"], ids, dogs, facts, encoders, scorers)
        config = gates.match_eval_config(baseline=True)
        Executor().Do(
            {
                "examples": [made["pairs"]],
                "model": [made["model"]],
                "baseline_model": [made["baseline"]],
            },
            {"evaluation": [made["evaluation"]]},
            {
                "eval_config": json_format.MessageToJson(config, preserving_proto_field_name=True),
                "example_splits": '["test"]',
                "module_path": "components.pair_scores",
            },
        )
        measured = model_gate.evaluation_metrics(made["evaluation"].uri)
    return f"{measured['examples']:,.0f} pairs"


def taken(part: Callable[[int], str], size: int) -> tuple[str, float, float]:
    """What a part was of, its seconds, and MiB of its process at the peak, libraries included."""
    from components import replay_probe

    start = time.monotonic()
    what = part(size)
    return what, time.monotonic() - start, replay_probe.peak_mib()


def main() -> None:
    """Prints a row for each part."""
    parser = folds.Parser(__doc__)
    parser.add_argument("--dogs", type=int, default=5000, help="in the gallery, and as many probes")
    parser.add_argument("--pairs", type=int, default=10_000, help="that TFMA evaluates, at most")
    arguments = parser.read()
    parts = [(search, arguments.dogs), (measure, arguments.dogs), (curves, arguments.dogs)]
    print("| part | of | s | MiB |\n| --- | --- | ---: | ---: |")
    for part, size in [*parts, (pairs, arguments.pairs)]:
        own = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, own) as process:
            what, seconds, peak = process.submit(taken, part, size).result()
        print(f"| {part.__name__} | {what} | {seconds:.1f} | {peak:.0f} |", flush=True)
    print(f"\n{folds.load()}")


if __name__ == "__main__":
    main()
