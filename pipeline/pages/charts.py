"""The charts of a report: what Plotly draws, what stands beside it in words, and its figures.

Colours are those of Okabe and Ito (2008), which people of any colour vision tell apart; what they
say, dashes, marks or hatching say too. The page's script gives text and lines its own colours.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pipeline.pages.evidence import Evidence

BLUE, ORANGE, GREEN, PINK, SKY, RED = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00",
)  # fmt: skip
_SPLITS = (("train", BLUE, ""), ("val", ORANGE, "/"), ("test", GREEN, "x"))
_MOST = 40  # breeds of a chart; the table beside it has all


@dataclasses.dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
      name: unique on the page.
      title: what it shows.
      alt: what it says, for whoever does not see it.
      figure: data and layout, as Plotly reads them.
      columns, rows: the figures behind it.
      height: pixels.
    """

    name: str
    title: str
    alt: str
    figure: dict[str, Any]
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    height: int = 320


def _figure(traces: Iterable[Mapping[str, Any]], **layout: Any) -> dict[str, Any]:
    """Checks the traces and the layout; raises ValueError at what Plotly does not know."""
    from plotly import graph_objects

    layout = {"margin": {"l": 60, "r": 16, "t": 16, "b": 48}, "template": "none"} | layout
    built = graph_objects.Figure(data=list(traces), layout=layout).to_plotly_json()
    built["layout"].pop("template", None)
    return dict(built)


def _axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": title}, "automargin": True, **more}


_ABOVE = {
    "orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal",
}  # fmt: skip


def _text(name: str) -> str:
    """A name as Plotly shows it, which reads some HTML in its labels."""
    short = name if len(name) <= 40 else f"{name[:39]}…"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def splits(run: Evidence) -> Chart | None:
    """Photos of every view, by split."""
    found = run.summary["splits"]
    if not found:
        return None
    traces = [
        {
            "type": "bar", "name": split, "x": list(found),
            "y": [found[view].get(split, 0) for view in found],
            "marker": {"color": colour, "pattern": {"shape": shape}},
        }
        for split, colour, shape in _SPLITS
    ]  # fmt: skip
    told = "; ".join(
        f"{view}: " + ", ".join(f"{n} {split}" for split, n in found[view].items())
        for view in found
    )
    return Chart(
        "splits", "Photos by view and split", f"Bars. {told}.",
        _figure(traces, barmode="stack", legend=_ABOVE, yaxis=_axis("photos"), xaxis=_axis("view")),
        ("view", "train", "val", "test"),
        [[view, *(found[view].get(split, 0) for split, _, _ in _SPLITS)] for view in found],
    )  # fmt: skip


def breeds(run: Evidence) -> Chart | None:
    """Photos of every breed, by split."""
    found = run.breeds()
    if not found:
        return None
    shown = list(found)[:_MOST][::-1]
    traces = [
        {
            "type": "bar", "name": split, "orientation": "h",
            "y": [_text(breed) for breed in shown],
            "x": [found[breed][split] for breed in shown],
            "marker": {"color": colour, "pattern": {"shape": shape}},
        }
        for split, colour, shape in _SPLITS
    ]  # fmt: skip
    first, last = next(iter(found)), list(found)[-1]
    more = f", the {_MOST} most frequent" if len(found) > _MOST else ""
    return Chart(
        "breeds", f"Photos by breed ({len(found)} breeds{more})",
        f"Bars. Most photos: {first}, {found[first].total()}; fewest: {last}, "
        f"{found[last].total()}.",
        _figure(
            traces, barmode="stack", legend=_ABOVE, xaxis=_axis("photos"),
            yaxis=_axis("", type="category"),
        ),
        ("breed", "train", "val", "test"),
        [[breed, *(found[breed][split] for split, _, _ in _SPLITS)] for breed in found],
        height=120 + 18 * len(shown),
    )  # fmt: skip


def dogs(run: Evidence) -> Chart | None:
    """How many dogs have how many photos."""
    found = run.dogs()
    if not found:
        return None
    trace = {
        "type": "bar", "x": list(found), "y": list(found.values()), "marker": {"color": BLUE},
    }  # fmt: skip
    total = sum(found.values())
    return Chart(
        "dogs", "Dogs by number of photos",
        f"Bars. {total} dogs have {min(found)} to {max(found)} photos each.",
        _figure([trace], xaxis=_axis("photos of a dog", type="category"), yaxis=_axis("dogs")),
        ("photos of a dog", "dogs"), [list(row) for row in found.items()],
    )  # fmt: skip


def training(run: Evidence, trainer: str) -> Chart:
    """Loss and score of every epoch."""
    history = run.history(trainer)
    loss, score = history["loss"], history["val_score"]
    epochs = list(range(1, len(loss) + 1))
    name = trainer.removeprefix("Trainer_").replace("_", " ")
    measure = "mAP" if trainer == "Trainer_match" else "negative log-loss"
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "name": "loss, train", "x": epochs,
            "y": loss, "line": {"color": BLUE}, "marker": {"symbol": "circle"},
        },
        {
            "type": "scatter", "mode": "lines+markers", "name": f"{measure}, val", "x": epochs,
            "y": score, "yaxis": "y2", "line": {"color": RED, "dash": "dash"},
            "marker": {"symbol": "square"},
        },
    ]  # fmt: skip
    best = max(range(len(score)), key=lambda epoch: score[epoch]) if score else 0
    return Chart(
        f"training-{trainer}", f"Training of {name}",
        f"Lines. The loss goes from {loss[0]:.3f} to {loss[-1]:.3f} in {len(loss)} epochs; the "
        f"score of val is best in epoch {best + 1}: {score[best]:.3f}.",
        _figure(
            traces, legend=_ABOVE, yaxis=_axis("loss"),
            xaxis=_axis("epoch", tickmode="linear", tick0=1, dtick=math.ceil(len(loss) / 10)),
            yaxis2=_axis(
                f"{measure}, val", overlaying="y", side="right", showgrid=False, tickformat=".4~g"
            ),
            margin={"l": 60, "r": 64, "t": 16, "b": 48},
        ),
        ("epoch", "loss, train", f"{measure}, val"),
        [list(row) for row in zip(epochs, loss, score, strict=True)],
    )  # fmt: skip


def confusion(run: Evidence) -> Chart | None:
    """Which breeds the student takes for which."""
    cells = run.confusions()
    if not cells:
        return None
    wrong: dict[str, int] = {}
    for breed, said, number in cells:
        for name in (breed, said):
            wrong[name] = wrong.get(name, 0) + (number if breed != said else 0)
    shown = sorted(wrong, key=lambda name: (-wrong[name], name))[:_MOST]
    shown = sorted(shown)
    count = {(breed, said): number for breed, said, number in cells}
    totals = {name: sum(n for breed, _, n in cells if breed == name) for name in shown}
    shares = [
        [count.get((breed, said), 0) / totals[breed] if totals[breed] else 0.0 for said in shown]
        for breed in shown
    ]
    labels = [_text(name) for name in shown]
    trace = {
        "type": "heatmap", "x": labels, "y": labels, "z": shares, "zmin": 0, "zmax": 1,
        "colorscale": "Cividis",
        "customdata": [[count.get((breed, said), 0) for said in shown] for breed in shown],
        "hovertemplate": "%{y}, taken for %{x}: %{customdata} photos (%{z:.0%})<extra></extra>",
        "colorbar": {"title": {"text": "share"}, "tickformat": ".0%", "thickness": 12},
    }  # fmt: skip
    right = sum(number for breed, said, number in cells if breed == said)
    total = sum(number for _, _, number in cells)
    of = f" (the {_MOST} that are confused most)" if len(wrong) > _MOST else ""
    return Chart(
        "confusion", f"Which breed is taken for which{of}",
        f"A map of colours. {right} of {total} test photos lie on its diagonal, which is right.",
        _figure(
            [trace], xaxis=_axis("said", tickangle=-60, type="category"),
            yaxis=_axis("is", autorange="reversed", type="category"),
        ),
        ("is", "said", "photos"), sorted(([*cell] for cell in cells), key=lambda cell: -cell[2]),
        height=220 + 18 * len(shown),
    )  # fmt: skip


def calibration(
    run: Evidence, name: str, title: str, told: Mapping[str, tuple[str, str, str]]
) -> Chart | None:
    """How often models are right that are so sure.

    Args:
      run: the run.
      name: of the chart.
      title: of the chart.
      told: what is drawn: (Evaluator, slice, model) by name.
    """
    marks = (("circle", BLUE, "solid"), ("square", ORANGE, "dash"), ("diamond", GREEN, "dot"))
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "name": "as sure as right", "x": [0, 1],
            "y": [0, 1], "line": {"color": "#888888", "dash": "dot", "width": 1},
        }
    ]  # fmt: skip
    rows: list[list[Any]] = []
    for (label, where), (symbol, colour, dash) in zip(told.items(), marks, strict=False):
        buckets = list(_buckets(run.plots(*where)))
        rows += [[label, *bucket] for bucket in buckets]
        if buckets:
            traces.append(
                {
                    "type": "scatter", "mode": "lines+markers", "name": label,
                    "x": [said for said, _, _ in buckets], "y": [seen for _, seen, _ in buckets],
                    "line": {"color": colour, "dash": dash}, "marker": {"symbol": symbol},
                }
            )  # fmt: skip
    if not rows:
        return None
    off = max(rows, key=lambda row: abs(row[1] - row[2]))
    return Chart(
        name, title,
        f"Lines beside the diagonal. Furthest off: {off[0]} says {off[1]:.0%} where {off[2]:.0%} "
        "are right.",
        _figure(
            traces, legend=_ABOVE, xaxis=_axis("said", range=[0, 1.02], tickformat=".0%"),
            yaxis=_axis("observed", range=[0, 1.02], tickformat=".0%"),
        ),
        ("model", "said", "observed", "weight"), rows,
    )  # fmt: skip


def _buckets(plot: Mapping[str, Any]) -> Iterator[tuple[float, float, float]]:
    for bucket in plot.get("calibrationHistogramBuckets", {}).get("buckets", ()):
        weight = bucket.get("numWeightedExamples", 0.0)
        if weight:
            said = bucket.get("totalWeightedRefinedPrediction", 0.0) / weight
            yield said, bucket.get("totalWeightedLabel", 0.0) / weight, weight


def roc(run: Evidence) -> Chart | None:
    """Pairs of one dog that are found, beside pairs of two dogs that are taken for one."""
    sets = {"all pairs": "all", "dogs that look alike": "hard", "dogs of one breed": "same_breed"}
    marks = (("solid", BLUE), ("dash", RED), ("dot", GREEN))
    traces, rows = [], []
    for (label, part), (dash, colour) in zip(sets.items(), marks, strict=True):
        points = list(_rates(run.plots("Evaluator_match", f"pair/set:{part}")))
        if points:
            rows += [[label, *point] for point in points]
            traces.append(
                {
                    "type": "scatter", "mode": "lines", "name": label,
                    "x": [false for _, false, _ in points], "y": [true for _, _, true in points],
                    "line": {"color": colour, "dash": dash},
                }
            )  # fmt: skip
    if not rows:
        return None
    found = run.summary["match"]
    told = [
        f"area under it, {key}: {found[key]:.3f}" for key in ("auc_all", "auc_hard") if key in found
    ]
    return Chart(
        "roc", "ROC of pairs of photos", f"Lines. {'; '.join(told)}.",
        _figure(
            traces, legend=_ABOVE,
            xaxis=_axis("two dogs, taken for one", type="log", range=[-3, 0], tickformat=".1%"),
            yaxis=_axis("one dog, found", range=[0, 1.02], tickformat=".0%"),
        ),
        ("pairs", "threshold", "two dogs, taken for one", "one dog, found"), rows,
    )  # fmt: skip


def _rates(plot: Mapping[str, Any]) -> Iterator[tuple[float, float, float]]:
    """(threshold, false-positive rate, true-positive rate) of TFMA's matrices."""
    for matrix in plot.get("confusionMatrixAtThresholds", {}).get("matrices", ()):
        true, false = matrix.get("truePositives", 0.0), matrix.get("falsePositives", 0.0)
        positives = true + matrix.get("falseNegatives", 0.0)
        negatives = false + matrix.get("trueNegatives", 0.0)
        threshold = matrix.get("threshold", 0.0)
        if positives and negatives and math.isfinite(float(threshold)):
            yield float(threshold), false / negatives, true / positives


def ranks(run: Evidence) -> Chart | None:
    """How often the right dog is among the first k."""
    found = run.summary.get("retrieval", {}).get("ranks", {})
    if not found:
        return None
    marks = (
        ("solid", "circle", BLUE), ("dash", "square", ORANGE), ("dot", "diamond", GREEN),
        ("dashdot", "x", PINK),
    )  # fmt: skip
    order = sorted(found, key=lambda name: (name != "model", name))
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "name": name,
            "x": list(range(1, len(found[name]) + 1)), "y": found[name],
            "line": {"color": colour, "dash": dash}, "marker": {"symbol": symbol, "size": 5},
        }
        for name, (dash, symbol, colour) in zip(order, marks, strict=False)
    ]  # fmt: skip
    model = found["model"]
    return Chart(
        "ranks", "Recall at k",
        f"Lines. The model finds the dog first {model[0]:.0%} of the time, and among the first "
        f"{len(model)} {model[-1]:.0%}.",
        _figure(
            traces, legend=_ABOVE, xaxis=_axis("k, dogs that a person looks at", tickformat="d"),
            yaxis=_axis("right dog among them", range=[0, 1.02], tickformat=".0%"),
        ),
        ("k", *order),
        [[k + 1, *(found[name][k] for name in order)] for k in range(len(model))],
    )  # fmt: skip


def galleries(run: Evidence) -> Chart | None:
    """How the search fares in larger galleries."""
    rows = run.summary.get("retrieval", {}).get("by_size", ())
    if len(rows) < 2:
        return None
    marks = (
        ("recall@1", "solid", "circle", BLUE), ("recall@5", "dash", "square", ORANGE),
        ("recall@10", "dot", "diamond", GREEN),
    )  # fmt: skip
    traces = [
        {
            "type": "scatter", "mode": "lines+markers", "name": name,
            "x": [row["gallery"] for row in rows], "y": [row.get(name) for row in rows],
            "line": {"color": colour, "dash": dash},
            "marker": {
                "symbol": [f"{symbol}-open" if row["extrapolated"] else symbol for row in rows],
                "size": 8,
            },
        }
        for name, dash, symbol, colour in marks
    ]  # fmt: skip
    first, last = rows[0], rows[-1]
    return Chart(
        "galleries", "Recall by the number of missing dogs (open marks are estimated)",
        f"Falling lines. recall@1 is {first['recall@1']:.0%} among {first['gallery']} dogs and "
        f"{last['recall@1']:.0%} among {last['gallery']:,}.",
        _figure(
            traces, legend=_ABOVE, xaxis=_axis("dogs in the gallery", type="log", dtick=1),
            yaxis=_axis("recall", range=[0, 1.02], tickformat=".0%"),
        ),
        ("dogs", "estimated", "recall@1", "recall@5", "recall@10", "false alarm", "threshold"),
        [
            [
                row["gallery"], "yes" if row["extrapolated"] else "no", row.get("recall@1"),
                row.get("recall@5"), row.get("recall@10"), row.get("false_alarm"),
                row.get("threshold"),
            ]
            for row in rows
        ],
    )  # fmt: skip


def open_set(run: Evidence) -> Chart | None:
    """Dogs that are found, beside dogs that nobody misses and that are taken for a missing one."""
    told = run.summary.get("retrieval", {})
    rows = told.get("open_set", ())
    if not rows:
        return None
    found = run.summary["match"]
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter", "mode": "lines", "name": "every threshold",
            "x": [row["false_alarm"] for row in rows], "y": [row["found"] for row in rows],
            "customdata": [row["threshold"] for row in rows], "line": {"color": BLUE},
            "hovertemplate": "cosine %{customdata:.3f}: found %{y:.1%}, false alarm %{x:.1%}"
            "<extra></extra>",
        },
    ]  # fmt: skip
    told_of = []
    if {"false_alarm", "found"} <= found.keys():
        traces.append(_point("same_dog 0.5", found["false_alarm"], found["found"], RED, "square"))
        told_of.append(
            f"at same_dog 0.5 {found['found']:.0%} are found and {found['false_alarm']:.0%} of the "
            "others raise a false alarm"
        )
    if "found_at_rate" in found and "threshold" in found:
        rate = max(
            (row["false_alarm"] for row in rows if row["threshold"] >= found["threshold"]),
            default=0.0,
        )
        label = f"cosine {found['threshold']:.3f}"
        traces.append(_point(label, rate, found["found_at_rate"], GREEN, "diamond"))
        told_of.append(
            f"at cosine {found['threshold']:.3f}, which keeps the wanted rate of false alarms, "
            f"{found['found_at_rate']:.0%} are found"
        )
    return Chart(
        "open-set", "Found, and false alarms", f"A line: {'; '.join(told_of)}.",
        _figure(
            traces, legend=_ABOVE,
            xaxis=_axis(
                "false alarm, of dogs that are not in the gallery", tickformat=".0%",
                range=[-0.02, 1.02],
            ),
            yaxis=_axis("found, of dogs that are", tickformat=".0%", range=[0, 1.02]),
        ),
        ("cosine", "false alarm", "found"),
        [[row["threshold"], row["false_alarm"], row["found"]] for row in rows],
    )  # fmt: skip


def _point(name: str, x: float, y: float, colour: str, symbol: str) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": [x], "y": [y],
        "marker": {"color": colour, "symbol": symbol, "size": 11},
    }  # fmt: skip


def times(run: Evidence) -> Chart:
    """How long every node took."""
    rows = [row for row in run.summary["nodes"] if row["state"] != "skipped"][::-1]
    kinds = (("run", BLUE, ""), ("cached", SKY, "/"), ("failed", RED, "x"))
    traces = [
        {
            "type": "bar", "orientation": "h", "name": state,
            "y": [row["id"] for row in rows if row["state"] == state],
            "x": [row["seconds"] for row in rows if row["state"] == state],
            "marker": {"color": colour, "pattern": {"shape": shape}},
        }
        for state, colour, shape in kinds
        if any(row["state"] == state for row in rows)
    ]  # fmt: skip
    longest = max(rows, key=lambda row: row["seconds"], default={"id": "none", "seconds": 0.0})
    return Chart(
        "times", "Seconds of every node",
        f"Bars. The longest is {longest['id']}: {longest['seconds']:.0f} s.",
        _figure(
            traces, legend=_ABOVE, xaxis=_axis("seconds"),
            yaxis=_axis(
                "", type="category", categoryorder="array",
                categoryarray=[row["id"] for row in rows],
            ),
        ),
        ("node", "state", "seconds"),
        [[row["id"], row["state"], row["seconds"]] for row in rows[::-1]],
        height=120 + 20 * len(rows),
    )  # fmt: skip
