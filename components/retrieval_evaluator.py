"""RetrievalEvaluator: how often the right dog is found, and how often a wrong one is."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio

from components import artifacts, pair_scores, retrieval
from models import match

EXTRAPOLATED = (1000, 10_000)
SHOWN = 20  # places of the gallery that recall is told for
THRESHOLDS = 100  # of the trade-off between what is found and what is a false alarm
LEAST = 20  # dogs that larger galleries are told from


@component
def RetrievalEvaluator(  # noqa: N802 - TFX names the node after the function
    embeddings: InputArtifact[artifacts.Embeddings],
    metrics: OutputArtifact[artifacts.RetrievalMetrics],
    false_alarm_rate: Parameter[float],
    code: Parameter[str],
) -> None:
    """Measures retrieval for every encoder of the embeddings.

    Args:
      embeddings: read: the test photos, embedded.
      metrics: written: `metrics.json`, {encoder: {metric: value}}, and `curves.json`: of the model
        what `curves` returns, and `open_set`; of all encoders `ranks`: recall@1, recall@2, ….
      false_alarm_rate: how often a dog that is not in the gallery may be taken for one that is; the
        threshold that keeps it is found.
      code: digest of the code, for the cache.
    """
    del code
    stored = pair_scores.read_embeddings(embeddings)
    dogs = stored.pop("dog_id").tolist()
    del stored["photo_id"]
    shipped = {
        name.partition("/")[2]: float(stored.pop(name))
        for name in list(stored)
        if name.startswith("threshold/")
    }
    found = {name: retrieval.search(stored[name], dogs) for name in sorted(stored)}
    results = {
        name: measure(stored[name], dogs, false_alarm_rate, shipped.get(name), found[name])
        for name in found
    }
    own = stored["model"], dogs, false_alarm_rate, shipped["model"], found["model"]
    ranks = {name: [each.recall(k + 1) for k in range(SHOWN)] for name, each in found.items()}
    _write(metrics.uri, artifacts.METRICS, results)
    _write(
        metrics.uri,
        artifacts.CURVES,
        {**curves(*own), "ranks": ranks, "open_set": open_set(found["model"])},
    )


def _write(folder: str, name: str, content: Any) -> None:
    with fileio.open(os.path.join(folder, name), "w") as file:
        file.write(json.dumps(content, indent=1, allow_nan=False))


def measure(
    embeddings: np.ndarray,
    dogs: Sequence[str],
    rate: float = 0.01,
    shipped: float | None = None,
    found: retrieval.Searches | None = None,
) -> dict[str, float]:
    """The figures of one encoder, with one random photo of each dog in the gallery.

    Args:
      embeddings: float [N, D], unit length.
      dogs: [N].
      rate: the false-alarm rate that a threshold is wanted for.
      shipped: the cosine from which on the model says "same dog".
      found: the searches, where they were made before.

    Returns:
      recall@k: the share of probes whose dog is among the k nearest; median_rank: 1 is first. mAP:
      every photo against all others. false_alarm: how often another dog reaches the shipped
      threshold where the right one is not in the gallery; found: how often the right one is first
      and reaches it where it is. `threshold` and `found_at_rate`: the cosine that keeps the wanted
      false-alarm rate, and what is found with it. gallery: how many dogs; probes: how many a draw.
      recall@k, false_alarm and found have the ends of their 95 % intervals beside them, as
      recall@k_low and recall@k_high.
    """
    found = found or retrieval.search(embeddings, dogs)
    threshold = found.threshold(rate)
    figures = {
        **{f"recall@{k}": found.recall(k) for k in retrieval.RANKS},
        **_intervals(found, shipped),
        "median_rank": found.median_rank(),
        "mAP": match.mean_average_precision(embeddings, dogs),
        "threshold": threshold,
        "found_at_rate": found.found(threshold),
        "gallery": len(set(dogs)),
        "probes": len(dogs) - len(set(dogs)),
    }
    if shipped is not None:
        figures["false_alarm"] = found.false_alarm(shipped)
        figures["found"] = found.found(shipped)
    return _finite(figures)


def _intervals(found: retrieval.Searches, shipped: float | None) -> dict[str, float]:
    hits = {f"recall@{k}": found.among(k) for k in retrieval.RANKS}
    if shipped is not None:
        hits |= {"false_alarm": found.alarmed(shipped), "found": found.identified(shipped)}
    return {
        f"{name}_{end}": value
        for name, each in hits.items()
        for end, value in zip(("low", "high"), found.interval(each), strict=True)
    }


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Leaves out what JSON has no number for: a threshold that nothing reaches, or everything."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _possible(row: Mapping[str, float]) -> dict[str, float]:
    """Leaves a threshold out that no cosine can reach."""
    return {
        name: value for name, value in _finite(row).items() if name != "threshold" or value <= 1
    }


def curves(
    embeddings: np.ndarray,
    dogs: Sequence[str],
    rate: float,
    shipped: float,
    found: retrieval.Searches | None = None,
) -> Mapping[str, list[dict[str, Any]]]:
    """How the figures change with the gallery; the arguments are those of `measure`.

    Returns:
      by_size: see `by_size`; by_photos: where the gallery holds the mean of so many `photos` of
      each dog: as a row of by_size, that of all dogs, and the others as its by_size.
    """
    found = found or retrieval.search(embeddings, dogs)
    by_photos = []
    for photos in retrieval.PHOTOS:
        several = found if photos == 1 else retrieval.search(embeddings, dogs, photos=photos)
        by_photos.append({"photos": photos, **whole_and_parts(several, rate, shipped)})
    return {"by_size": by_photos[0]["by_size"], "by_photos": by_photos}


def open_set(found: retrieval.Searches) -> list[dict[str, float]]:
    """What a threshold finds, and how often it is a false alarm.

    Returns:
      Rows of `threshold`, a cosine, `false_alarm` and `found`, as in `measure`: for thresholds at
      even steps of the false-alarm rate, from the loosest on.
    """
    best = np.sort(found.best[-1])
    if not best.size:
        return []
    steps = np.linspace(0, best.size - 1, THRESHOLDS).round().astype(int)
    thresholds = [*best[np.unique(steps)].tolist(), float(np.nextafter(best[-1], np.inf))]
    rows = (
        {
            "threshold": threshold,
            "false_alarm": found.false_alarm(threshold),
            "found": found.found(threshold),
        }
        for threshold in dict.fromkeys(thresholds)
    )
    return [row for row in rows if math.isfinite(row["threshold"])]


def whole_and_parts(found: retrieval.Searches, rate: float, shipped: float) -> dict[str, Any]:
    """The row of the gallery that holds every dog, with all rows as `by_size`."""
    rows = by_size(found, rate, shipped)
    return {**rows[len(found.sizes) - 1], "by_size": rows}


def by_size(found: retrieval.Searches, rate: float, shipped: float) -> list[dict[str, float]]:
    """The figures by the number of dogs in the gallery.

    Args:
      found: the searches.
      rate: the false-alarm rate that a threshold is wanted for.
      shipped: the cosine from which on the model says "same dog".

    Returns:
      A row with `gallery`, recall@k, false_alarm and threshold for galleries of so many dogs, drawn
      from those that there are, and, as `extrapolated`, for larger ones, where `LEAST` dogs are
      there. A threshold that no cosine can reach is left out.
    """
    larger = (size for size in EXTRAPOLATED if LEAST <= found.sizes[-1] < size)
    galleries: list[tuple[int, int, retrieval.Searches | retrieval.Beyond]] = [
        *((size, 0, found.gallery(place)) for place, size in enumerate(found.sizes)),
        *((size, 1, found.beyond(size)) for size in larger),
    ]
    return [
        _possible(
            {
                "gallery": size,
                "extrapolated": extrapolated,
                **{f"recall@{k}": gallery.recall(k) for k in retrieval.RANKS},
                "false_alarm": gallery.false_alarm(shipped),
                "threshold": gallery.threshold(rate),
            }
        )
        for size, extrapolated, gallery in galleries
    ]
