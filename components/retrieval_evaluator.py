"""RetrievalEvaluator: how often the right dog is among the first k of the gallery."""

import io
import json
import os
from collections.abc import Sequence

import numpy as np
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio

from components import artifacts
from models import match

DRAWS = 100
RANKS = (1, 5, 10)


@component
def RetrievalEvaluator(  # noqa: N802 - TFX names the node after the function
    embeddings: InputArtifact[artifacts.Embeddings],
    metrics: OutputArtifact[artifacts.RetrievalMetrics],
    code: Parameter[str],
) -> None:
    """Measures retrieval for every encoder of the embeddings.

    Args:
      embeddings: read: the test photos, embedded.
      metrics: written: `metrics.json`, {encoder: {metric: value}}.
      code: digest of the code, for the cache.
    """
    del code
    with fileio.open(os.path.join(embeddings.uri, "embeddings.npz"), "rb") as file:
        stored = dict(np.load(io.BytesIO(file.read())))
    dogs = stored.pop("dog_id").tolist()
    del stored["photo_id"]
    results = {name: measure(stored[name], dogs) for name in sorted(stored)}
    with fileio.open(os.path.join(metrics.uri, "metrics.json"), "w") as file:
        file.write(json.dumps(results, indent=1))


def measure(embeddings: np.ndarray, dogs: Sequence[str]) -> dict[str, float]:
    """Single-shot recall@k, and mAP.

    Args:
      embeddings: float [N, D], unit length.
      dogs: [N].

    Returns:
      recall@k: the share of probes whose dog is among the k nearest of a gallery of one random
      photo a dog, all other photos being probes; the mean of `DRAWS` draws, seeded. mAP: every
      photo against all others. gallery: how many dogs; probes: how many a draw.
    """
    names, index = np.unique(np.asarray(dogs), return_inverse=True)
    random = np.random.default_rng(0)
    ranks = np.concatenate([_ranks(embeddings, index, random) for _ in range(DRAWS)])
    recall = {f"recall@{k}": float((ranks < k).mean()) if ranks.size else 0.0 for k in RANKS}
    return {
        **recall,
        "mAP": match.mean_average_precision(embeddings, dogs),
        "gallery": len(names),
        "probes": len(dogs) - len(names),
    }


def _ranks(embeddings: np.ndarray, dog: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The place (0 is first) of the right dog for every probe of one draw.

    Ties count against the model: a dog that scores the same stands before the right one, and so
    does every dog when the scores are no numbers.
    """
    order = random.permutation(len(dog))
    gallery = np.array([order[dog[order] == one][0] for one in range(dog.max() + 1)])
    probes = np.setdiff1d(np.arange(len(dog)), gallery)
    similarity = embeddings[probes] @ embeddings[gallery].T
    right = similarity[np.arange(len(probes)), dog[probes]]
    return np.asarray((~(similarity < right[:, None])).sum(axis=1) - 1)
