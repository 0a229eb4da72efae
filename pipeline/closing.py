"""The closing table of a run."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components import split_assigner
from models import tracking
from pipeline.command_line import typed
from pipeline.settings import Settings

_BREED = ("top1", "top5", "macro_f1", "log_loss", "ece", "examples", "agreement", "ms", "MB")
_MATCH = ("recall@1", "recall@5", "mAP", "auc_all", "auc_hard", "gallery", "probes")


def lines(settings: Settings, summary: Mapping[str, Any], seconds: float) -> Iterator[str]:
    """What a person wants to know at the end, line by line.

    Args:
      settings: of the run.
      summary: its summary.json.
      seconds: how long the whole run took.
    """
    yield ""
    yield from _photos(settings, summary)
    yield from _table("breed", _BREED, summary["breed"])
    yield from _phone(summary.get("phone", {}))
    yield from _table("match", _MATCH, _by_model(summary["match"]))
    yield from _galleries(summary.get("retrieval", {}))
    yield from _data(summary["data"], summary.get("error"))
    for gate in summary["gates"]:
        yield from _gate(gate)
    yield ""
    yield from _states(summary, seconds)
    ended = {node["id"] for node in summary["nodes"] if node["state"] in ("run", "cached")}
    for model, path in summary["pushed"].items():
        if f"Pusher_{model}" in ended:
            withdrawn = summary["withdrawn"][model]
            yield f"{model:<9} {path or _not_pushed(settings, model, withdrawn)}"
    if summary["ledger"]:
        yield f"ledger    {summary['ledger']} (rejected.csv, breeds.csv, a CSV for each split)"
    if settings.wandb != tracking.OFF and os.path.isdir(settings.tracking):
        send = f" (send it: wandb sync {settings.tracking}/wandb/offline-run-*)"
        yield f"wandb     {settings.tracking}{send if settings.wandb == tracking.OFFLINE else ''}"
    yield f"artifacts {settings.pipeline_root}"
    yield f"metadata  {settings.metadata}"


def _gate(gate: Mapping[str, Any]) -> Iterator[str]:
    """A gate's verdict, with what each failed rule is about; ReplayCheck has checks, no rules."""
    anyway = gate["blessed_anyway"]
    refused = f"REFUSED, and blessed all the same: {anyway}" if anyway else "REFUSED"
    yield f"gate {gate['gate']}: {'passed' if gate['passed'] else refused}"
    waiting = 0
    rules = gate.get("rules") or [{}] * len(gate["reasons"])
    for reason, rule in zip(gate["reasons"], rules, strict=True):
        if rule and rule["passed"] and rule["bound"] is None:
            waiting += 1
            continue
        yield f"  {reason}"
        yield from (f"    {text}" for text in rule.get("examples", ()))
    if waiting:
        yield f"  passed, as nothing is there to compare with: {waiting} more"


def _phone(files: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The student's files for phones: how large, how fast, how true to the network."""
    for name, found in files.items():
        if found.get("kept"):
            yield (
                f"for phones  {name}: {found['bytes'] / 1e6:.1f} MB, {found['ms']:.1f} ms, "
                f"{found['agreement']:.1%} of val as the network"
            )
        elif "kept" in found:
            yield f"for phones  no {name}: {found['reason']}"
    if files:
        yield ""


def _galleries(found: Mapping[str, Any]) -> Iterator[str]:
    """How often the right dog is found, and how often a wrong one, by the number of dogs."""
    rows = found.get("by_size", ())
    if not rows:
        return
    columns = ("recall@1", "recall@5", "recall@10", "false_alarm", "threshold")
    yield f"{'gallery':<22}" + "".join(f"{column:>13}" for column in columns)
    for row in rows:
        size = f"{row['gallery']:,} dogs{' (estimated)' if row['extrapolated'] else ''}"
        yield f"{size:<22}" + "".join(f"{_cell(row.get(column)):>13}" for column in columns)
    if filtered := found.get("filtered"):
        yield (
            f"breed asked first: recall@1 {filtered['recall@1']:.3f}, recall@5 "
            f"{filtered['recall@5']:.3f}, {filtered['kept']:.0%} of the dogs compared"
        )
    yield ""


def _not_pushed(settings: Settings, model: str, withdrawn: str | None) -> str:
    """Why, and what serves."""
    versions = settings.inputs.baselines.get(model, ()) if settings.inputs else ()
    served = next((item.version for item in versions if item.served), None)
    keeps = f"version {served} keeps serving" if served else "none is served yet"
    if withdrawn:
        back = typed(f"rollback {model} --to {withdrawn}", settings.output)
        return f"not pushed, version {withdrawn} was withdrawn; {keeps} (to serve it: {back})"
    return f"not pushed, its gate refused it (above); {keeps}"


def _photos(settings: Settings, summary: Mapping[str, Any]) -> Iterator[str]:
    for source, row in summary["photos"].items():
        reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(row["reasons"].items()))
        yield (
            f"{source:<12} {row['offered']:>6} photos offered, {row['accepted']:>6} accepted, "
            f"{row['rejected']} rejected{f' ({reasons})' if reasons else ''}"
        )
    if summary["ignored_files"]:
        named = ", ".join(summary["ignored_examples"])
        more = ", …" if summary["ignored_files"] > 5 else ""
        yield f"{summary['ignored_files']} ignored, they belong to no source: {named}{more}"
    for view, splits in summary["splits"].items():
        dogs = ", ".join(f"{split} {n}" for split, n in summary["dogs"].items())
        yield (
            f"{view:<12} "
            + ", ".join(f"{split} {n}" for split, n in splits.items())
            + (f" (dogs: {dogs})" if view == "individual" else "")
        )
    yield from _remarks(summary)
    if summary["photos"]:
        yield ""


def _data(data: Mapping[str, Any], error: str | None) -> Iterator[str]:
    """What DataGate found; problems that end the run stand in its error."""
    if data["passed"] is None:
        return
    allowed = not data["passed"] and error is None
    verdict = "passed" if data["passed"] else "REFUSED"
    if allowed:
        verdict = "ALLOWED, though it is wrong (--allow_anomalies)"
    yield f"gate data: {verdict} (data version {data['version']})"
    yield from (f"  WRONG {problem}" for problem in data["problems"] if allowed)
    yield from (f"  warning: {warning}" for warning in data["warnings"])


def _remarks(summary: Mapping[str, Any]) -> Iterator[str]:
    """What a user may want to mend in the data."""
    even = summary["evenness"]
    of_breeds = not summary["splits"] or {"cropped", "uncropped"} & set(summary["splits"])
    if of_breeds and "val" in even:
        spread = "; ".join(
            f"{split} has {even[split][0]:.0%} to {even[split][2]:.0%} of each"
            for split in ("val", "test")
        )
        yield f"{_breeds(even['breeds'])}: {spread}" + (
            f"; not in every split: {_some(even['incomplete'])}" if even["incomplete"] else ""
        )
    elif of_breeds and even["breeds"]:
        yield (
            f"{_breeds(even['breeds'])}, none of {split_assigner.WHOLE_BREED} photos or more: a "
            "split may lack some"
        )
    if unknown := summary["unknown_breeds"]:
        counted = [f"{name} ({number})" for name, number in unknown.items()]
        yield f"breeds without a row in schema/breeds.csv: {_some(counted)}"
    if single := summary["single_photo_dogs"]:
        yield f"dogs with one photo only, which nothing can be matched with: {_some(single)}"


def _breeds(number: int) -> str:
    return f"{number} breed{'' if number == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _by_model(metrics: Mapping[str, float]) -> dict[str, dict[str, float]]:
    models: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        model, _, metric = name.rpartition(".")
        models.setdefault(model or "model", {})[metric] = value
    return models


def _table(
    title: str, columns: tuple[str, ...], models: Mapping[str, Mapping[str, float]]
) -> Iterator[str]:
    rows = {name: metrics for name, metrics in models.items() if metrics}
    if not rows:
        return
    yield f"{title:<12}" + "".join(f"{column:>10}" for column in columns)
    for name, metrics in rows.items():
        yield f"{name:<12}" + "".join(f"{_cell(metrics.get(column)):>10}" for column in columns)
    yield ""


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if float(value).is_integer() and value > 1 else f"{value:.3f}"


def _states(summary: Mapping[str, Any], seconds: float) -> Iterator[str]:
    states = [node["state"] for node in summary["nodes"]]
    counted = ", ".join(
        f"{states.count(state)} {state}"
        for state in ("run", "cached", "failed", "skipped")
        if state in states
    )
    yield f"nodes: {counted}, in {seconds:.0f} s"
