"""The card of a pushed model: what it is for, what it was made of, how good it is, and where not.

The sections are those of Mitchell et al. (2019), Model Cards for Model Reporting.
"""

import collections
import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from components import catalog

FILE = "model_card.md"
VIEWS = {"breed": "cropped", "match": "individual"}
_USE = {
    "breed": """\
It names the five likeliest breeds of the dog on a photo, to help people describe and search. The
photo is cut to the dog; everything else (turning, padding, resizing) happens inside the model.

It does not tell one dog from another, nor what a dog is like, and is not made for any decision
about a dog or its keeper (bans, housing, insurance). It knows no mixes: of a mixed dog it names the
pure breeds that it looks like.""",
    "match": """\
It orders the missing dogs by how much they look like a dog that somebody spotted, and says how
likely two photos show the same dog. A person looks at the first few and decides.

It does not prove whose a dog is, and nobody should be called on its word alone: see the false
alarms below. The photos are cut to the dog; everything else happens inside the model.""",
}
MEASURED = {
    "breed": ("top1", "top5", "macro_f1", "log_loss", "ece"),
    "match": (
        "recall@1", "recall@5", "recall@10", "median_rank", "mAP", "found", "false_alarm",
        "threshold", "found_at_rate", "auc", "auc_hard", "tpr_at_1_in_100", "tpr_at_1_in_1000",
        "equal_error_rate", "ece",
    ),
}  # fmt: skip
WORDS = {
    "top1": "share of photos whose likeliest breed is right",
    "top5": "share with the right breed among the five likeliest",
    "macro_f1": "F1, all breeds alike",
    "log_loss": "log-loss",
    "ece": "calibration error",
    "recall@1": "share of probes whose dog comes first",
    "recall@5": "share among the first five",
    "recall@10": "share among the first ten",
    "median_rank": "median place of the right dog",
    "mAP": "mean average precision",
    "found": "right dog first, and `same_dog` 0.5 or more",
    "false_alarm": "another dog at 0.5 or more, the right one not in the gallery",
    "threshold": "cosine that keeps the wanted rate of such false alarms",
    "found_at_rate": "right dog first, and at that cosine or more",
    "auc": "area under the ROC curve of pairs",
    "auc_hard": "the same, dogs that look alike",
    "tpr_at_1_in_100": "pairs of one dog found, at one false in 100",
    "tpr_at_1_in_1000": "the same, at one false in 1,000",
    "equal_error_rate": "equal error rate",
}
_BESIDE = {
    "breed": ("teacher", "baseline", "majority", "histogram"),
    "match": ("baseline", "untrained", "histogram"),
}
_COLUMNS = {
    "teacher": "its teacher",
    "baseline": "version before",
    "majority": "commonest breed",
    "untrained": "untrained network",
    "histogram": "colours alone",
}
_SLICED = {"breed": "top1", "match": "auc"}
_BREED, _SET = "breed:", "pair/set:"  # slices that have tables of their own
FEW = 20  # examples of a slice that says little


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a card tells of.

    Attributes:
      kind: breed or match.
      recipe: how it was trained, in words, by name.
      pretrained: it, or the teacher that it learned from, starts from weights that were trained
        elsewhere.
      drawn: the photos are those of the built-in sample.
      data_version: of the data.
      fingerprint: digest of data, code and settings.
      verdict: ModelGate's verdict.json.
      replay: ReplayCheck's replay.json.
      curves: the RetrievalEvaluator's curves.json, {} for breed.
      breeds: the vocabulary, in label order.
    """

    kind: str
    recipe: Mapping[str, Any]
    pretrained: bool
    drawn: bool
    data_version: str
    fingerprint: str
    verdict: Mapping[str, Any]
    replay: Mapping[str, Any]
    curves: Mapping[str, Any]
    breeds: Sequence[str]


def write(facts: Facts, photos: Iterable[catalog.Photo], version: int) -> str:
    """The card, in Markdown.

    Args:
      facts: of the model.
      photos: the ledger.
      version: the number that it is served under, seconds since the epoch.
    """
    data = _data(facts.kind, photos)
    parts = [
        f"# Spotted {facts.kind} model, version {version}",
        _details(facts, version),
        "## Intended use",
        _USE[facts.kind],
        "## Data and licences",
        *_data_section(facts, data),
        "## Metrics",
        *_metrics(facts),
        "## Slices",
        *_slices(facts),
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(facts, {row[0] for row in data})),
        "## What let it pass",
        *_gates(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _details(facts: Facts, version: int) -> str:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(version))
    rows = {
        **facts.recipe,
        "data version": f"`{facts.data_version}`",
        "fingerprint of data, code and settings": f"`{facts.fingerprint[:12]}`",
        "pushed": when,
    }
    return "\n".join(f"- {name}: {value}" for name, value in rows.items())


def _data(kind: str, photos: Iterable[catalog.Photo]) -> list[tuple[str, str, dict[str, int]]]:
    """Photos of each split, and dogs, by source and licence."""
    counts: dict[tuple[str, str], dict[str, int]] = {}
    dogs = collections.defaultdict[tuple[str, str], set[str]](set)
    for photo in photos:
        if catalog.in_view(photo, VIEWS[kind]):
            place = photo.source, photo.licence
            split = counts.setdefault(place, dict.fromkeys(catalog.SPLITS, 0))
            split[str(photo.split)] += 1
            dogs[place] |= {photo.dog_id} if photo.dog_id else set()
    return [
        (source, licence, {**counts[source, licence], "dogs": len(dogs[source, licence])})
        for source, licence in sorted(counts)
    ]


def _data_section(facts: Facts, data: list[tuple[str, str, dict[str, int]]]) -> Iterator[str]:
    columns = [*catalog.SPLITS, *(["dogs"] if facts.kind == "match" else [])]
    rows = [
        [source, licence, *(f"{numbers[column]:,}" for column in columns)]
        for source, licence, numbers in data
    ]
    yield _table(["source", "licence", *columns], rows)
    if facts.drawn:
        yield "The photos are drawings: the built-in sample. The model is of no use for real dogs."
    match = facts.kind == "match"
    yield (
        f"`train` made the model, `val` watched it{' and calibrated it' if match else ''}, `test` "
        f"gave every figure below. {'No dog is in two of them. ' if match else ''}What a licence "
        "forbids for its photos may hold for a model that was made of them."
    )


def _metrics(facts: Facts) -> Iterator[str]:
    metrics, kind = facts.verdict["metrics"], facts.kind
    beside = [name for name in _BESIDE[kind] if any(m.startswith(f"{name}.") for m in metrics)]
    rows = [
        [
            f"{WORDS[name]} (`{name}`)",
            _cell(metrics.get(name)),
            _interval(metrics, name),
            *(_cell(metrics.get(f"{other}.{name}")) for other in beside),
        ]
        for name in MEASURED[kind]
        if metrics.get(name) is not None and not _certain(name, metrics)
    ]
    head = ["", "this model", "95 % interval", *(_COLUMNS[name] for name in beside)]
    yield _table(head, rows)
    if kind == "match":
        yield (
            f"The gallery held {metrics['gallery']:.0f} dogs of `test`, and "
            f"{metrics['probes']:.0f} photos were looked up."
        )
        yield from _galleries(facts.curves)


def _certain(name: str, metrics: Mapping[str, Any]) -> bool:
    """Whether a recall among the first k is that of a gallery of no more than k dogs: always 1."""
    _, _, k = name.partition("recall@")
    return bool(k) and int(k) >= metrics.get("gallery", math.inf)


def _galleries(curves: Mapping[str, Any]) -> Iterator[str]:
    columns = ("recall@1", "recall@5", "recall@10", "false_alarm")
    first = {
        "by_size": ("dogs in the gallery", _dogs_there),
        "by_photos": ("photos of each dog there", lambda row: f"{row['photos']}"),
    }
    for curve, (head, told) in first.items():
        rows = [
            [told(row), *(_cell(row.get(column)) for column in columns)]
            for row in curves.get(curve, ())
        ]
        if rows:
            yield _table([head, *(f"`{column}`" for column in columns)], rows)


def _dogs_there(row: Mapping[str, Any]) -> str:
    return f"{row['gallery']:,}{' (estimated)' if row['extrapolated'] else ''}"


def _slices(facts: Facts) -> Iterator[str]:
    metric = _SLICED[facts.kind]
    rows = [
        [name, f"{values.get('examples', 0):,.0f}", _cell(values.get(metric)),
         _interval(values, metric)]
        for name, values in sorted(facts.verdict["slices"].items())
        if name and not name.startswith((_BREED, _SET))
    ]  # fmt: skip
    head = ["slice", "examples", f"`{metric}`", "95 % interval"]
    told = len(head) if any(row[-1] != "-" for row in rows) else -1
    yield _table(head[:told], [row[:told] for row in rows])
    if breeds := _breeds(facts):
        yield "By breed, the least found first:"
        yield _table(["breed", "photos", "recall", "precision"], breeds)


def _breeds(facts: Facts) -> list[list[str]]:
    """Each breed that `test` has photos of."""
    counts = {
        name.removeprefix(_BREED): values.get("examples", 0)
        for name, values in facts.verdict["slices"].items()
        if name.startswith(_BREED)
    }
    found = [
        (values["recall"], facts.breeds[int(label)], values.get("precision"))
        for label, values in facts.verdict["breeds"].items()
        if values.get("recall") is not None
    ]
    return [
        [name, f"{counts.get(name, 0):.0f}", _cell(recall), _cell(precision)]
        for recall, name, precision in sorted(found, key=lambda row: row[:2])
    ]


def _limits(facts: Facts, sources: set[str]) -> Iterator[str]:
    if facts.pretrained and sources & {"stanford", "tsinghua"}:
        yield (
            "Stanford Dogs was drawn from ImageNet, and Tsinghua Dogs has photos of it. A network "
            "that starts from ImageNet weights, or learns from one that did, has seen such photos "
            "before, those of `test` among them, with their breed: the figures of these sources "
            "are too good. Of a shelter's own photos expect less."
        )
    few = [
        name
        for name, values in facts.verdict["slices"].items()
        if name and not name.startswith((_BREED, _SET)) and values.get("examples", 0) < FEW
    ]
    if few:
        yield f"Fewer than {FEW} examples, which say little: {', '.join(sorted(few))}."
    if facts.kind == "breed":
        yield (
            f"`test` has photos of {len(_breeds(facts))} breeds of the {len(facts.breeds)} in the "
            "table; a breed that training had no photo of is never said."
        )
    else:
        yield (
            "The dogs of `test` are those of the sources above. Those that a city misses may look "
            "more alike."
        )
        dogs = facts.verdict["metrics"]["gallery"]
        if any(row["extrapolated"] for row in facts.curves.get("by_size", ())):
            yield "Figures of larger galleries are estimates that assume they do not."
        else:
            yield f"Only {dogs:.0f} dogs were looked for: nothing is said of larger galleries."
    yield "Dogs change: coats are clipped, puppies grow. Nothing here measures that."


def _gates(facts: Facts) -> Iterator[str]:
    verdict, replay = facts.verdict, facts.replay
    if anyway := verdict["blessed_anyway"]:
        yield f"**The gate refused this model, and it was blessed all the same: {anyway}**"
    yield "\n".join(
        f"- {'passed' if rule['passed'] else '**FAILED**'} {rule['rule']}: {rule['reason']}"
        for rule in verdict["rules"]
    )
    yield (
        f"Replayed in a fresh process: {len(replay['checks'])} checks passed, "
        f"{replay['latency_ms']:.1f} ms a photo, {replay['megabytes']:.1f} MB on disk, "
        f"{replay['peak_mib']:.0f} MiB of memory at the most."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of GitHub's Markdown; what stands right of the first column is a number or short."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def _interval(values: Mapping[str, float | None], name: str) -> str:
    low, high = (values.get(f"{name}_{end}") for end in ("low", "high"))
    return "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value > 1 and float(value).is_integer() else f"{value:.3f}"
