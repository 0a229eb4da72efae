"""DataGate: a wrong data set never reaches a trainer."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import tensorflow_data_validation as tfdv
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts

from components import artifacts, catalog, copies
from components.catalog import Photo
from components.sources.base import DataError

_SHOWN = 5  # examples of a problem that a message lists


@component
def DataGate(  # noqa: N802 - TFX names the node after the function
    splits: InputArtifact[artifacts.SplitManifest],
    verdict: OutputArtifact[artifacts.DataVerdict],
    code: Parameter[str],
    cropped_anomalies: InputArtifact[standard_artifacts.ExampleAnomalies] = None,
    cropped_statistics: InputArtifact[standard_artifacts.ExampleStatistics] = None,
    uncropped_anomalies: InputArtifact[standard_artifacts.ExampleAnomalies] = None,
    uncropped_statistics: InputArtifact[standard_artifacts.ExampleStatistics] = None,
    individual_anomalies: InputArtifact[standard_artifacts.ExampleAnomalies] = None,
    individual_statistics: InputArtifact[standard_artifacts.ExampleStatistics] = None,
) -> None:
    """Ends the run when the data set is wrong.

    Args:
      splits: read: the ledger.
      verdict: written: what was checked.
      code: digest of the code, for the cache.
      cropped_anomalies: read: what ExampleValidator found in this view, when it is built.
      cropped_statistics: read: what StatisticsGen counted in this view.
      uncropped_anomalies: likewise.
      uncropped_statistics: likewise.
      individual_anomalies: likewise.
      individual_statistics: likewise.

    Raises:
      DataError: a check failed; the message lists what, where and how many.
    """
    del code
    views = {
        "cropped": (cropped_anomalies, cropped_statistics),
        "uncropped": (uncropped_anomalies, uncropped_statistics),
        "individual": (individual_anomalies, individual_statistics),
    }
    photos = list(catalog.read(splits.uri))
    problems = leaks(photos)
    examples: dict[str, dict[str, int]] = {}
    for view, (anomalies, statistics) in views.items():
        if anomalies is not None and statistics is not None:
            examples[view] = _example_counts(statistics.uri)
            problems += count_mismatches(photos, view, examples[view])
            problems += _anomalies(anomalies.uri, view)
    if problems:
        raise DataError(f"the data set has {len(problems)} problem(s):\n  " + "\n  ".join(problems))
    with fileio.open(os.path.join(verdict.uri, "verdict.json"), "w") as file:
        file.write(json.dumps({"passed": True, "examples": examples}, indent=1))


def leaks(photos: Sequence[Photo]) -> list[str]:
    """Names every dog, exact copy and near copy that stands in more than one split.

    Near copies are found anew from the hashes: the gate takes nobody's word for it.
    """
    accepted = [photo for photo in photos if photo.split]
    near = copies.near_groups(accepted)
    problems = _parted("dog {}", accepted, lambda photo: photo.dog_id)
    exact = _parted("one photo", accepted, lambda photo: photo.sha256)
    nearly = _parted("one picture, copied,", accepted, lambda photo: near.get(photo.photo_id))
    return problems + exact + nearly


def _parted(what: str, photos: Iterable[Photo], key_of: Callable[[Photo], str | None]) -> list[str]:
    """The keys whose photos stand in more than one split, with photos of each."""
    of_key: defaultdict[str, dict[str, list[str]]] = defaultdict(dict)
    for photo in photos:
        key = key_of(photo)
        if key:
            of_key[key].setdefault(str(photo.split), []).append(photo.photo_id)
    return [
        f"{what.format(key)} stands in "
        + " and in ".join(f"{split} ({_some(names)})" for split, names in sorted(found.items()))
        for key, found in of_key.items()
        if len(found) > 1
    ]


def count_mismatches(photos: Iterable[Photo], view: str, examples: Mapping[str, int]) -> list[str]:
    """Compares the number of Examples with the ledger, split by split; none may be empty."""
    expected = Counter(photo.split for photo in photos if catalog.in_view(photo, view))
    problems = []
    for split in catalog.SPLITS:
        if not expected[split]:
            problems.append(f"{view}: the split {split} is empty: add photos")
        if examples.get(split, 0) != expected[split]:
            problems.append(
                f"{view}: {split} has {examples.get(split, 0)} Examples, "
                f"the ledger says {expected[split]}"
            )
    return problems


def _example_counts(uri: str) -> dict[str, int]:
    counts = {}
    for split in catalog.SPLITS:
        statistics = tfdv.load_stats_binary(os.path.join(uri, f"Split-{split}", "FeatureStats.pb"))
        counts[split] = int(statistics.datasets[0].num_examples)
    return counts


def _anomalies(uri: str, view: str) -> list[str]:
    problems = []
    for split in catalog.SPLITS:
        path = os.path.join(uri, f"Split-{split}", "SchemaDiff.pb")
        found = _read_anomalies(path).anomaly_info
        problems += [
            f"{view}: {split}: feature {name}: {info.description or info.short_description}"
            for name, info in sorted(found.items())
        ]
    return problems


def _read_anomalies(path: str) -> Any:
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    with fileio.open(path, "rb") as file:
        return anomalies_pb2.Anomalies.FromString(file.read())


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(sorted(names)[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
