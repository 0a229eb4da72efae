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
import resource
import tempfile
import time
from collections.abc import Callable, Sequence

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


def search(dogs: int) -> None:
    """One draw: as many probes as dogs."""
    from components import retrieval

    retrieval.DRAWS = 1
    retrieval.search(*embeddings(dogs))


def measure(dogs: int) -> None:
    """All figures of an encoder."""
    from components import retrieval_evaluator

    retrieval_evaluator.measure(*embeddings(dogs), shipped=0.5)


def curves(dogs: int) -> None:
    """All galleries."""
    from components import retrieval_evaluator

    retrieval_evaluator.curves(*embeddings(dogs), 0.01, 0.5)


def pairs(count: int) -> None:
    """Scored pairs of as many photos as have that many pairs, through TFX's Evaluator."""
    from google.protobuf import json_format
    from tfx.components.evaluator.executor import Executor
    from tfx.types import standard_artifacts

    from components import pair_scores
    from models import examples
    from pipeline import gates

    found, dogs = embeddings(math.ceil((1 + math.sqrt(1 + 8 * count)) / 4))

    def score(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.asarray(((one * other).sum(axis=1) + 1) / 2)

    made = standard_artifacts.Examples(), standard_artifacts.ModelEvaluation()
    with tempfile.TemporaryDirectory() as folder:
        for artifact, name in zip(made, ("pairs", "evaluation"), strict=True):
            artifact.uri = os.path.join(folder, name)
        facts = [examples.Facts("drawn", "", 300, 0.5)] * len(dogs)
        ids = [f"photo-{number}" for number in range(len(dogs))]
        encoders = {"model": found, "untrained": found, "baseline": found}
        scorers = {"model": score, "baseline": score}
        pair_scores.write_pairs(made[0], ids, dogs, facts, encoders, scorers)
        config = gates.match_eval_config(baseline=True)
        Executor().Do(
            {"examples": [made[0]]},
            {"evaluation": [made[1]]},
            {
                "eval_config": json_format.MessageToJson(config, preserving_proto_field_name=True),
                "example_splits": '["test"]',
            },
        )


def taken(part: Callable[[int], None], size: int) -> tuple[float, float]:
    """Seconds of a part, and MiB of its process at the peak, libraries included."""
    start = time.monotonic()
    part(size)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.monotonic() - start, peak


def main() -> None:
    """Prints a row for each part."""
    parser = folds.Parser(__doc__)
    parser.add_argument("--dogs", type=int, default=5000, help="in the gallery, and as many probes")
    parser.add_argument("--pairs", type=int, default=10_000, help="that TFMA evaluates")
    arguments = parser.read()
    parts: Sequence[tuple[Callable[[int], None], int, str]] = [
        (search, arguments.dogs, f"{arguments.dogs:,} probes x {arguments.dogs:,} dogs"),
        (measure, arguments.dogs, f"{2 * arguments.dogs:,} photos"),
        (curves, arguments.dogs, f"{2 * arguments.dogs:,} photos"),
        (pairs, arguments.pairs, f"{arguments.pairs:,} pairs"),
    ]
    print("| part | of | s | MiB |\n| --- | --- | ---: | ---: |")
    for part, size, what in parts:
        own = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(1, own) as process:
            seconds, peak = process.submit(taken, part, size).result()
        print(f"| {part.__name__} | {what} | {seconds:.1f} | {peak:.0f} |", flush=True)
    print(f"\n{folds.load()}")


if __name__ == "__main__":
    main()
