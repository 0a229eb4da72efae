"""summary.json and the closing table: what one run did, read back from ML Metadata."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components import (
    artifacts,
    catalog,
    data_gate,
    dataset,
    dataset_importer,
    model_gate,
    replay_check,
    split_assigner,
)
from models.job import HISTORY
from pipeline.metadata import Node, Store
from pipeline.settings import MODELS, Pushed, Settings, serving_version


def summarise(
    settings: Settings, store: Store, run: str, node_ids: Sequence[str]
) -> dict[str, Any]:
    """Builds summary.json of a run.

    Args:
      settings: of the run.
      store: ML Metadata.
      run: its id.
      node_ids: every node of the graph, in order; those that the run has not are skipped.

    Raises:
      RuntimeError: the ledger has not one row for each photo of the catalogue.
    """
    nodes = store.nodes(run)
    outputs = {name: store.outputs(node) for name, node in nodes.items() if node.state != "failed"}
    photos = _photos(outputs)
    if photos and len(photos) != _offered(outputs["PhotoCatalog"]):
        raise RuntimeError(f"the ledger has {len(photos)} rows, the catalogue has others")
    verdicts = {model: _verdict(outputs.get(f"ModelGate_{model}")) for model in MODELS}
    return {
        "run_id": run,
        "settings": _settings(settings),
        "photos": catalog.count(photos, catalogued="SplitAssigner" not in outputs),
        "ledger": outputs["SplitAssigner"]["splits"].uri if "SplitAssigner" in outputs else None,
        "ignored_files": len(_ignored(settings, outputs)),
        "ignored_examples": _ignored(settings, outputs)[:5],
        "splits": _splits(photos, settings.views),
        "dogs": {
            split: len({p.dog_id for p in photos if p.dog_id and p.split == split})
            for split in catalog.SPLITS
        },
        "evenness": split_assigner.evenness(photos),
        "single_photo_dogs": catalog.single_photo_dogs(photos),
        "unknown_breeds": catalog.unknown_breeds(photos),
        "breed": _breed(verdicts["breed"], _history(outputs.get("Trainer_breed_student"))),
        "match": _match(verdicts["match"]),
        "retrieval": _retrieval(outputs),
        "phone": _history(outputs.get("Trainer_breed_student")).get("phone", {}),
        "data": _data(settings, outputs.get("DataGate")),
        "gates": [_gate(model, verdict) for model, verdict in verdicts.items() if verdict]
        + [gate for model in MODELS for gate in _replay(model, outputs)],
        "pushed": {
            model: _pushed(outputs.get(f"Pusher_{model}"), store.pushed(settings.serving(model)))
            for model in MODELS
        },
        "withdrawn": {model: _withdrawn(outputs.get(f"Pusher_{model}")) for model in MODELS},
        "nodes": [_node(name, nodes.get(name)) for name in node_ids],
    }


def _settings(settings: Settings) -> dict[str, Any]:
    """What decided what the run did, flag by flag; places of this machine as they were given."""
    told = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    del told["inputs"]
    return {key: list(value) if isinstance(value, tuple) else value for key, value in told.items()}


def check_counts(summary: Mapping[str, Any]) -> None:
    """Checks that every photo is accounted for exactly once.

    Raises:
      RuntimeError: the counts of a source do not add up.
    """
    for source, row in summary["photos"].items():
        reasons = sum(row["reasons"].values())
        if row["offered"] != row["accepted"] + row["rejected"] or reasons != row["rejected"]:
            raise RuntimeError(f"the counts of {source} do not add up: {row}")


def write(summary: Mapping[str, Any], output: str) -> str:
    """Writes `runs/<run id>/summary.json`, and the same as the newest, `summary.json`."""
    folder = os.path.join(output, "runs", str(summary["run_id"]))
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "summary.json")
    for target in (path, os.path.join(output, "summary.json")):
        with open(target + ".partial", "w") as file:
            json.dump(summary, file, indent=1)
        os.replace(target + ".partial", target)
    return path


def _photos(outputs: Mapping[str, Mapping[str, Any]]) -> list[catalog.Photo]:
    """The ledger; before there is one, the catalogue."""
    for node, key in (("SplitAssigner", "splits"), ("PhotoCatalog", "photos")):
        if node in outputs:
            return list(catalog.read(outputs[node][key].uri))
    return []


def _ignored(settings: Settings, outputs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What belongs to no source: files of the data folder, and members of its archives."""
    ignored = list(settings.inputs.ignored) if settings.inputs else []
    if "DatasetImporter" in outputs:
        folder = outputs["DatasetImporter"]["entries"].uri
        with open(os.path.join(folder, dataset_importer.IGNORED)) as file:
            ignored += json.load(file)
    return ignored


def _offered(catalogue: Mapping[str, Any]) -> int:
    return int(catalogue["photos"].custom_properties["offered"].int_value)


def _splits(photos: Sequence[catalog.Photo], views: Sequence[str]) -> dict[str, dict[str, int]]:
    if not any(photo.split for photo in photos):
        return {}
    return {
        view: {
            split: sum(1 for p in photos if p.split == split and catalog.in_view(p, view))
            for split in catalog.SPLITS
        }
        for view in views
    }


def _verdict(outputs: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not outputs:
        return None
    with open(os.path.join(outputs["blessing"].uri, model_gate.VERDICT)) as file:
        verdict: dict[str, Any] = json.load(file)
    return verdict


def _data(settings: Settings, outputs: Mapping[str, Any] | None) -> dict[str, Any]:
    """The data's version, and what DataGate found; `passed` is None before it has ended."""
    assert settings.inputs is not None, "the runner fills in the inputs"
    found: dict[str, Any] = {"passed": None, "problems": [], "warnings": []}
    if outputs:
        with open(os.path.join(outputs["verdict"].uri, data_gate.VERDICT)) as file:
            found = json.load(file)
    return {"version": dataset.version_of(settings.inputs.digest), **found}


def _history(outputs: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a trainer told of itself."""
    if not outputs:
        return {}
    with open(os.path.join(outputs["model_run"].uri, HISTORY)) as file:
        history: dict[str, Any] = json.load(file)
    return history


def _breed(
    verdict: Mapping[str, Any] | None, history: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    """The teacher's, the student's and the baseline's metrics, and what the student saves."""
    models: dict[str, dict[str, float]] = {"teacher": {}, "student": {}}
    if beside := history.get("student"):
        models["student"]["agreement"] = beside["agreement"]
        for model in ("teacher", "student"):
            models[model]["ms"] = beside[f"{model}_ms"]
            models[model]["MB"] = beside[f"{model}_bytes"] / 1e6
    for name, value in (verdict or {"metrics": {}})["metrics"].items():
        model, _, metric = name.rpartition(".")
        models.setdefault(model or "student", {})[metric] = value
    return models


def _match(verdict: Mapping[str, Any] | None) -> dict[str, float]:
    return dict(verdict["metrics"]) if verdict else {}


def _retrieval(outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """How the search fares in larger galleries, with several photos, and behind the breed model."""
    found: dict[str, Any] = {}
    files = (
        ("RetrievalEvaluator", artifacts.CURVES),
        ("FilteredRetrieval", artifacts.METRICS),
    )
    for node, name in files:
        if node in outputs:
            with open(os.path.join(outputs[node]["metrics"].uri, name)) as file:
                found |= json.load(file)
    return found


def _gate(model: str, verdict: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "gate": model,
        "passed": verdict["passed"],
        "blessed_anyway": verdict["blessed_anyway"],
        "rules": verdict["rules"],
        "reasons": [
            f"{'passed' if rule['passed'] else 'FAILED'} {rule['rule']}: {rule['reason']}"
            for rule in verdict["rules"]
        ],
    }


def _replay(model: str, outputs: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """ReplayCheck as a gate, with the figures that it took."""
    if found := outputs.get(f"ReplayCheck_{model}"):
        with open(os.path.join(found["blessing"].uri, replay_check.REPORT)) as file:
            report = json.load(file)
        checks = report.pop("checks")
        yield {
            "gate": f"{model} replay",
            **report,
            "checks": checks,
            "blessed_anyway": "",
            "reasons": [f"FAILED {c['check']}: {c['reason']}" for c in checks if not c["passed"]]
            or [f"passed {len(checks)} checks, {report['latency_ms']:.1f} ms a photo"],
        }


def _pushed(outputs: Mapping[str, Any] | None, versions: Sequence[Pushed]) -> str | None:
    """Where the version of this run's model lies that serves, pushed now or earlier."""
    fingerprint = _property(outputs, "fingerprint")
    found = serving_version(versions, fingerprint) if fingerprint else None
    return found.path if found else None


def _withdrawn(outputs: Mapping[str, Any] | None) -> str | None:
    """The version that was not pushed again, because it was withdrawn by hand."""
    return _property(outputs, "withdrawn") or None


def _property(outputs: Mapping[str, Any] | None, key: str) -> str:
    """What a Pusher wrote down, "" where it did not."""
    return outputs["pushed_model"].custom_properties[key].string_value if outputs else ""


def _node(name: str, node: Node | None) -> dict[str, Any]:
    if node is None:
        return {"id": name, "state": "skipped", "seconds": 0.0}
    return {"id": name, "state": node.state, "seconds": round(node.seconds, 2)}
