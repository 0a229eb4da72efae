"""BreedBaselines: how far one comes without knowing anything of dogs."""

import itertools
import json
import os
from collections.abc import Iterator

import numpy as np
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts

from components import artifacts, colours
from models import examples as features

_BATCH = 64


@component
def BreedBaselines(  # noqa: N802 - TFX names the node after the function
    examples: InputArtifact[standard_artifacts.Examples],
    metrics: OutputArtifact[artifacts.BreedBaselines],
    code: Parameter[str],
) -> None:
    """Measures the commonest breed, and colours, on the test photos.

    Args:
      examples: read: the cropped view, its train and test splits.
      metrics: written: `metrics.json`, {"majority": {"top1": x}, "histogram": {"top1": y}}.
      code: digest of the code, for the cache.
    """
    del code
    train, test = (artifact_utils.get_split_uri([examples], name) for name in ("train", "test"))
    with fileio.open(os.path.join(metrics.uri, artifacts.METRICS), "w") as file:
        file.write(json.dumps(measure(train, test), indent=1))


def measure(train: str, test: str) -> dict[str, dict[str, float]]:
    """The share of test photos that each baseline gets right.

    majority: always the commonest breed of training, of several the one of the least label.
    histogram: the breed whose mean colour histogram (`colours.histograms`) is the nearest.

    Args:
      train: folder of the training records.
      test: folder of the test records.
    """
    means, counts = breed_means(train)
    right, photos = np.zeros(2), 0
    for labels, found in _batches(test):
        nearest = distances(found, means).argmin(axis=1)
        right += [np.sum(labels == counts.argmax()), np.sum(labels == nearest)]
        photos += len(labels)
    shares = right / photos
    return {"majority": {"top1": float(shares[0])}, "histogram": {"top1": float(shares[1])}}


def breed_means(split: str) -> tuple[np.ndarray, np.ndarray]:
    """The mean histogram of every label, and how many photos it has.

    Returns:
      float [C, 512], without a number where a label has no photo, and int [C]; C is the largest
      label and one.
    """
    sums: dict[int, np.ndarray] = {}
    counts: dict[int, int] = {}
    for labels, found in _batches(split):
        for label, histogram in zip(labels.tolist(), found, strict=True):
            sums[label] = sums.get(label, 0) + histogram.astype(np.float64)
            counts[label] = counts.get(label, 0) + 1
    means = np.full((max(sums) + 1, len(next(iter(sums.values())))), np.nan)
    for label, total in sums.items():
        means[label] = total / counts[label]
    return means, np.array([counts.get(label, 0) for label in range(len(means))])


def distances(colours: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Squared distances of photos [N, D] to breeds [C, D]: [N, C], inf to one without photos."""
    products = colours @ means.T
    squares = np.square(colours).sum(axis=1)[:, None] + np.square(means).sum(axis=1)
    return np.nan_to_num(squares - 2 * products, nan=np.inf)


def _batches(split: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Labels [n] and colour histograms [n, 512] of a few photos at a time."""
    records = features.scan(split)
    while batch := list(itertools.islice(records, _BATCH)):
        labels = np.array([record.label for record, _ in batch])
        yield labels, colours.histograms([features.encoded_image(data) for _, data in batch])
