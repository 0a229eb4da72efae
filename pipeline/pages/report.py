"""The report of a run, and two runs beside each other: one HTML file that needs nothing else."""

import functools
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from components import model_card
from pipeline.pages import charts, drawn
from pipeline.pages.evidence import Evidence, flat
from pipeline.settings import SettingsError

FILE = "report.html"
_SECTIONS = (
    ("verdict", "Verdict"), ("data", "Data"), ("training", "Training"), ("breed", "Breed"),
    ("match", "Match"), ("cost", "Cost"), ("lineage", "Lineage"), ("settings", "Settings"),
)  # fmt: skip
COUNTS = (
    "examples",
    "positives",
    "gallery",
    "probes",
    "median_rank",
    "offered",
    "accepted",
    "rejected",
)
_HEADLINES = {
    "breed": ("top1", "macro_f1", "ece"),
    "match": ("recall@1", "recall@5", "false_alarm"),
}
_BESIDE = {
    "breed": ("student", "teacher", "baseline", "majority", "histogram"),
    "match": ("", "baseline", "untrained", "histogram"),
}
_OF_DATA = (
    "data", "photos", "splits", "dogs", "evenness", "ignored_files", "single_photo_dogs",
    "unknown_breeds",
)  # fmt: skip
_PAIRS = ("auc", "tpr_at_1_in_100", "tpr_at_1_in_1000", "equal_error_rate", "ece", "positives")
_OF_SLICES = {
    "breed": ("examples", "top1", "top5", "macro_f1", "log_loss", "ece"),
    "match": ("examples", "positives", "auc", "tpr_at_1_in_100", "equal_error_rate", "ece"),
}


def write(output: str, run: str | None = None) -> str:
    """Writes `runs/<run>/report.html`, whole or not at all.

    Args:
      output: the output folder.
      run: its id, None for the newest.

    Returns:
      Its path.

    Raises:
      SettingsError: there is no such run.
    """
    found = Evidence(output, run)
    return _put(os.path.join(found.folder, FILE), page(found))


def write_beside(output: str, run: str | None, other: str) -> str:
    """Writes `runs/<run>/compare-<other>.html`: `write`, of two runs."""
    one, two = Evidence(output, run), Evidence(output, other)
    if one.run == two.run:
        raise SettingsError(f"--compare {other}: is the run itself, give another one")
    return _put(os.path.join(one.folder, f"compare-{two.run}.html"), beside(one, two))


def _put(path: str, text: str) -> str:
    with open(f"{path}.partial", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.partial", path)
    return path


@functools.cache
def environment() -> Any:
    """Jinja's, which escapes all that it is given."""
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.pages"),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
    )
    found.filters["shown"] = shown
    found.globals |= {"counts": COUNTS, "few": model_card.FEW}
    return found


@functools.cache
def asset(name: str) -> Any:
    """A style or a script of the templates' folder, as it is."""
    import markupsafe

    folder = os.path.join(os.path.dirname(__file__), "templates")
    with open(os.path.join(folder, name), encoding="utf-8") as file:
        return markupsafe.Markup(file.read())


def shown(value: Any, style: str = "") -> str:
    """A value as people read it.

    Args:
      value: a number, a text, None, or a list of such.
      style: "%" for a share, "n" for a number of things.
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown, value)) or "–"
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return str(value)
    if style == "%":
        return f"{value:.1%}"
    if style == "n":
        return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    if float(value).is_integer() and (isinstance(value, int) or abs(value) > 1):
        return f"{int(value):,}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"


def page(run: Evidence) -> str:
    """The report."""
    import markupsafe
    from plotly import offline

    summary = run.summary
    right, wrong, gallery = run.searches() if summary["match"] else ([], [], 0)
    anomalies = run.anomalies()
    told = {
        "run": run,
        "sections": _SECTIONS,
        "style": asset("page.css"),
        "script": asset("page.js"),
        "plotly": markupsafe.Markup(offline.get_plotlyjs()),
        "verdicts": [_verdict(run, model) for model in ("breed", "match")],
        "rejected": run.rejected(),
        "leaks": {
            "dogs": run.dogs_across(),
            "copies": [f"{name} ({split})" for name, split in run.copies_across()],
        },
        "anomalies": [
            (place, feature, text)
            for place, found in anomalies.items()
            for feature, text in found.items()
        ],
        "validated": list(anomalies),
        "charts": _charts(run),
        "metrics": {
            "breed": _metrics(run, "breed", _BESIDE["breed"]),
            "match": _metrics(run, "match", _BESIDE["match"]),
            "pairs": _pairs(summary["match"]),
        },
        "slices": {
            "breed": _slices(run, "breed"),
            "match": _slices(run, "match"),
            "breeds": _breeds(run),
        },
        "confused": run.most_confused(),
        "found": {"right": right, "wrong": wrong, "gallery": gallery},
        "states": _states(summary["nodes"]),
        "replays": [
            (place, gate) for place, gate in enumerate(summary["gates"]) if "latency_ms" in gate
        ],
        "graph": markupsafe.Markup(_graph(run)),
        "steps": [_step(run, *step) for step in run.steps()],
    }  # fmt: skip
    return str(environment().get_template("report.html.j2").render(told))


def _charts(run: Evidence) -> dict[str, Any]:
    student, teacher = "Evaluator_breed_student", "Evaluator_breed_teacher"
    of_breed = {
        "student": (student, "", "candidate"),
        "teacher": (teacher, "", "baseline"),
        "baseline": (student, "", "baseline") if run.baseline("breed") else ("", "", ""),
    }
    of_match = {"match": ("Evaluator_match", "pair/set:all", "candidate")}
    if run.baseline("match"):
        of_match["baseline"] = ("Evaluator_match", "pair/set:all", "baseline")
    return {
        "splits": charts.splits(run),
        "breeds": charts.breeds(run),
        "dogs": charts.dogs(run),
        "training": [charts.training(run, trainer) for trainer in run.trainers],
        "confusion": charts.confusion(run),
        "breed_calibration": charts.calibration(
            run, "breed-calibration", "How sure, and how often right", of_breed
        ),
        "match_calibration": charts.calibration(
            run, "match-calibration", "same_dog, and how often it is the same", of_match
        ),
        "ranks": charts.ranks(run),
        "galleries": charts.galleries(run),
        "open_set": charts.open_set(run),
        "roc": charts.roc(run),
        "times": charts.times(run),
    }


def _verdict(run: Evidence, model: str) -> dict[str, Any]:
    """What became of a model, and why."""
    summary = run.summary
    gates = [gate for gate in summary["gates"] if gate["gate"].split()[0] == model]
    path = summary["pushed"].get(model)
    withdrawn = summary.get("withdrawn", {}).get(model)
    refused = [gate for gate in gates if not gate["passed"] and not gate["blessed_anyway"]]
    state = {row["id"]: row["state"] for row in summary["nodes"]}.get(f"Pusher_{model}", "skipped")
    if path and state in ("run", "cached"):
        kind, sign, word = "pushed", "✓", "pushed"
    elif refused:
        kind, sign, word = "refused", "✗", "refused"
    elif withdrawn:
        kind, sign, word = (
            "withdrawn",
            "–",
            f"not pushed: version {withdrawn} was withdrawn by hand",
        )
    elif summary.get("error"):
        kind, sign, word = "failed", "✗", "not made: the run failed"
    else:
        kind, sign, word = "none", "–", "not made in this run"
    version = run.baseline(model)
    figures = summary[model].get("student", {}) if model == "breed" else summary[model]
    above: tuple[str, ...] = (
        ("summary", "breed", "student") if model == "breed" else ("summary", "match")
    )
    return {
        "model": model, "kind": kind, "sign": sign, "word": word,
        "path": path if kind == "pushed" else "",
        "beside": f"Compared with version {version}, which served." if version
        else ("No other version to compare with." if gates else ""),
        "anyway": next((gate["blessed_anyway"] for gate in gates if gate["blessed_anyway"]), ""),
        "failed": [
            rule | {"rule": rule.get("rule") or rule.get("check")}
            for gate in gates for rule in gate.get("rules") or gate.get("checks") or ()
            if not rule["passed"]
        ],
        "headline": [
            (name, [*above, name], figures[name]) for name in _HEADLINES[model] if name in figures
        ],
    }  # fmt: skip


def _metrics(run: Evidence, model: str, beside: Sequence[str]) -> dict[str, Any]:
    """The table of a model's metrics beside those of what it is compared with."""
    told = run.summary[model]

    def cell(column: str, metric: str) -> dict[str, Any]:
        if model == "breed":
            figures, path = told.get(column, {}), ["summary", "breed", column]
            names = {end: f"{metric}{end}" for end in ("", "_low", "_high")}
        else:
            figures, path = told, ["summary", "match"]
            above = f"{column}." if column else ""
            names = {end: f"{above}{metric}{end}" for end in ("", "_low", "_high")}
        return {
            "value": figures.get(names[""]), "of": [*path, names[""]],
            "low": figures.get(names["_low"]), "of_low": [*path, names["_low"]],
            "high": figures.get(names["_high"]), "of_high": [*path, names["_high"]],
        }  # fmt: skip

    known = model_card.MEASURED[model]
    more = ("agreement", "ms", "MB", "examples") if model == "breed" else ("gallery", "probes")
    measured = [*(name for name in known if model == "breed" or name not in _PAIRS), *more]
    rows = [
        (name, model_card.WORDS.get(name, ""), [cell(column, name) for column in beside])
        for name in measured
    ]
    rows = [row for row in rows if any(found["value"] is not None for found in row[2])]
    used = [
        place for place in range(len(beside))
        if any(row[2][place]["value"] is not None for row in rows)
    ]  # fmt: skip
    if not rows:
        return {}
    return {
        "columns": [beside[place] or "model" for place in used],
        "rows": [(name, words, [cells[place] for place in used]) for name, words, cells in rows],
    }


def _pairs(told: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of pairs, by kind of pair."""
    sets = [
        name.removeprefix("auc_") for name in told if name.startswith("auc_") and "." not in name
    ]
    rows = [
        (
            name, model_card.WORDS.get(name, ""),
            [
                {"value": told.get(f"{name}_{part}"), "of": ["summary", "match", f"{name}_{part}"],
                 "low": None}
                for part in sets
            ],
        )
        for name in ("examples", *_PAIRS)
    ]  # fmt: skip
    return {"columns": sets, "rows": rows} if sets else {"columns": [], "rows": []}


def _slices(run: Evidence, model: str) -> dict[str, Any]:
    """The figures by slice, the worst first; those of a few examples, which say little, last."""
    columns = _OF_SLICES[model]
    found = run.verdict(model).get("slices", {})
    lead = columns[1] if model == "breed" else "auc"

    def worst(name: str) -> tuple[bool, float, str]:
        value = found[name].get(lead)
        few = found[name].get("examples", 0) < model_card.FEW
        return few, math.inf if value is None else value, name

    names = sorted((name for name in found if name and not name.startswith("breed:")), key=worst)
    source = f"ModelGate_{model}/blessing/verdict.json"
    return _rows(found, names, columns, [source, "slices"])


def _breeds(run: Evidence) -> dict[str, Any]:
    """Precision and recall by breed, the worst first."""
    found = run.verdict("breed").get("breeds", {})
    columns = (
        "recall",
        "recall_low",
        "recall_high",
        "precision",
        "precision_low",
        "precision_high",
    )
    names = sorted(found, key=lambda label: (found[label].get("recall") or 0.0, label))
    built = _rows(found, names, columns, ["ModelGate_breed/blessing/verdict.json", "breeds"])
    known = run.vocabulary
    built["rows"] = [
        (known[int(label)] if int(label) < len(known) else label, cells)
        for label, cells in built["rows"]
    ]
    return built


def _rows(
    found: Mapping[str, Mapping[str, Any]],
    names: Sequence[str],
    columns: Sequence[str],
    source: list[str],
) -> dict[str, Any]:
    return {
        "columns": columns,
        "rows": [
            (
                name,
                [{"value": found[name].get(key), "of": [*source, name, key]} for key in columns],
            )
            for name in names
        ],
    }


def _states(nodes: Iterable[Mapping[str, Any]]) -> str:
    nodes = list(nodes)
    states = [node["state"] for node in nodes]
    counted = ", ".join(
        f"{states.count(state)} {state}"
        for state in ("run", "cached", "failed", "skipped")
        if state in states
    )
    total = sum(node["seconds"] for node in nodes)
    return f"{len(nodes)} nodes: {counted}; {total:.0f} seconds in nodes."


def _step(run: Evidence, name: str, step: Any, row: Mapping[str, Any]) -> dict[str, Any]:
    node = run.nodes.get(name)
    written = run.store.outputs(node).values() if node else ()
    known = run.lineage.made
    code = step.code if step and step.code else ""
    return {
        "node": name, "state": row["state"], "execution": node.execution if node else None,
        "code": code[:12],
        "wrote": [known[artifact.id] for artifact in written if artifact.id in known],
        "parameters": {
            key: value for key, value in sorted((node.parameters if node else {}).items())
            if value != "" and key != "code"
        },
    }  # fmt: skip


def _graph(run: Evidence) -> str:
    """The picture of the nodes; a click leads to their rows."""
    steps = [step for _, step, _ in run.steps() if step is not None]
    links = {step.execution: f"#node-{step.node}" for step in steps}
    return drawn.of_run(run.lineage, steps, links)


def beside(one: Evidence, two: Evidence) -> str:
    """Two runs beside each other."""
    sections = (
        ("verdict", "Verdict", ("pushed", "gates", "error")),
        ("data", "Data", _OF_DATA),
        ("breed", "Breed", ("breed", "phone")),
        ("match", "Match", ("match", "retrieval")),
        ("cost", "Cost", ("nodes",)),
        ("settings", "Settings", ("settings",)),
    )  # fmt: skip
    told = {
        "one": one, "two": two, "style": asset("page.css"), "script": asset("page.js"),
        "sections": [
            {"name": name, "title": title, "rows": list(_differences(one, two, keys))}
            for name, title, keys in sections
        ],
    }  # fmt: skip
    return str(environment().get_template("compare.html.j2").render(told))


def _differences(one: Evidence, two: Evidence, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every value of either run, those that differ first."""
    found: dict[tuple[str | int, ...], list[Any]] = {}
    for place, run in enumerate((one, two)):
        for key in keys:
            for path, value in flat(_named(run.summary.get(key)), (key,)):
                found.setdefault(path, [None, None])[place] = value
    rows = []
    for path, (left, right) in found.items():
        change = None
        numbers = [isinstance(v, (int, float)) and not isinstance(v, bool) for v in (left, right)]
        if all(numbers):
            change = right - left
        rows.append(
            {
                "name": " · ".join(str(part) for part in path), "path": list(path),
                "left": left, "right": right, "change": change, "same": left == right,
            }
        )  # fmt: skip
    yield from sorted(rows, key=lambda row: row["same"])


def _named(told: Any) -> Any:
    """Rows of a list that have a name stand under it: a new one does not shift all others."""
    if isinstance(told, list) and told and isinstance(told[0], dict):
        for key in ("id", "gate", "rule", "check", "gallery", "photos"):
            if key in told[0] and len({row.get(key) for row in told}) == len(told):
                return {
                    str(row[key]): _named({k: v for k, v in row.items() if k != key})
                    for row in told
                }
    if isinstance(told, dict):
        return {key: _named(value) for key, value in told.items()}
    return told
