"""Lineage in ML Metadata: what made a model, and which models a photo or a dog reached.

A node that was taken from the cache writes nothing: its outputs are those of the execution that
ran. So every artifact has one writer, and everything behind or beyond it is found by following
writers and readers (https://www.tensorflow.org/tfx/guide/mlmd).
"""

import collections
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from components import catalog
from pipeline import metadata
from pipeline.releases import GONE, SERVING, folder_of, states
from pipeline.settings import MODELS, SettingsError

# What a split of a photo did for a model.
ROLES = {"train": "trained on", "val": "chosen and calibrated by", "test": "evaluated on"}
THROUGH = "learned from a model that was"  # the student from its teacher, above one of the roles
_SHOWN = 8  # names in a message


@dataclasses.dataclass(frozen=True)
class Step:
    """An execution.

    Attributes:
      execution: its id in ML Metadata.
      node: its name in the graph.
      run: the run that it belongs to.
      state: run, cached or failed.
      code: digest of its code, "" where TFX's own code is all there is.
      parameters: its execution properties.
    """

    execution: int
    node: str
    run: str
    state: str
    code: str
    parameters: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Made:
    """An artifact.

    Attributes:
      artifact: its id in ML Metadata.
      kind: name of its type.
      uri: where it lies.
      properties: all that is said of it.
    """

    artifact: int
    kind: str
    uri: str
    properties: Mapping[str, Any]


class Lineage:
    """All executions and artifacts of an output folder, read once.

    Attributes:
      steps: by execution.
      made: by artifact.
    """

    def __init__(self, output: str):
        self.output = output
        database = os.path.join(output, "metadata.sqlite")
        if not os.path.exists(database):
            raise SettingsError(f"--output {output}: no run was made there")
        store = metadata.connect(database)
        runs = _members(store, "pipeline_run")
        nodes = {key: name.partition(".")[2] for key, name in _members(store, "node").items()}
        self.steps: dict[int, Step] = {}
        cached = set()
        for item in store.get_executions():
            told = _values({**item.properties, **item.custom_properties})
            state = metadata.state(item)
            self.steps[item.id] = Step(
                item.id, nodes.get(item.id, ""), runs.get(item.id, ""), state, _code(told), told
            )
            if state != "run":
                cached.add(item.id)
        kinds = {kind.id: kind.name for kind in store.get_artifact_types()}
        self.made = {
            item.id: Made(
                item.id, kinds[item.type_id], item.uri,
                _values({**item.properties, **item.custom_properties}),
            )
            for item in store.get_artifacts()
        }  # fmt: skip
        self._inputs: dict[int, list[int]] = collections.defaultdict(list)
        self._outputs: dict[int, list[int]] = collections.defaultdict(list)
        self._taken: dict[int, list[int]] = collections.defaultdict(list)
        self._writer: dict[int, int] = {}
        self._readers: dict[int, list[int]] = collections.defaultdict(list)
        events = store.get_events_by_execution_ids(list(self.steps))
        for event in sorted(events, key=lambda event: event.execution_id):
            step, artifact = event.execution_id, event.artifact_id
            if not metadata.is_output(event):
                self._inputs[step].append(artifact)
                if step not in cached:
                    self._readers[artifact].append(step)
                continue
            self._taken[step].append(artifact)
            if artifact not in self._writer:
                self._writer[artifact] = step
                self._outputs[step].append(artifact)

    def writer(self, artifact: int) -> Step | None:
        """What wrote an artifact."""
        found = self._writer.get(artifact)
        return self.steps[found] if found is not None else None

    def behind(self, artifacts: Iterable[int]) -> list[Step]:
        """Every execution that artifacts come from, in the order in which they ran."""
        found: set[int] = set()
        waiting = list(artifacts)
        while waiting:
            step = self._writer.get(waiting.pop())
            if step is not None and step not in found:
                found.add(step)
                waiting += self._inputs[step]
        return [self.steps[step] for step in sorted(found)]

    def read_by(self, step: Step) -> list[Made]:
        """The artifacts that an execution read."""
        return [self.made[artifact] for artifact in self._inputs[step.execution]]

    def written_by(self, step: Step) -> list[Made]:
        """The artifacts that an execution wrote."""
        return [self.made[artifact] for artifact in self._outputs[step.execution]]

    def wrote_or_took(self, step: Step) -> list[Made]:
        """The artifacts that an execution wrote, or took from the cache."""
        return [self.made[artifact] for artifact in self._taken[step.execution]]

    def readers(self, artifact: int) -> list[Step]:
        """The executions that read an artifact and ran."""
        return [self.steps[step] for step in self._readers[artifact]]


@dataclasses.dataclass(frozen=True)
class Reach:
    """A model that photos reached, in one way.

    Attributes:
      model: breed or match, and what of it: breed_teacher, breed_student, match.
      step: the trainer.
      role: what the photos did for it.
      photos: their ids.
      releases: versions that were pushed of it, as (path, state).
    """

    model: str
    step: Step
    role: str
    photos: tuple[str, ...]
    releases: tuple[tuple[str, str], ...]

    def as_json(self) -> dict[str, Any]:
        """All of it, for machines."""
        return {
            "model": self.model,
            "run_id": self.step.run,
            "execution": self.step.execution,
            "role": self.role,
            "photos": list(self.photos),
            "pushed": [{"path": path, "state": state} for path, state in self.releases],
        }


def rows_of(lineage: Lineage, name: str) -> dict[int, list[catalog.Photo]]:
    """The rows of a photo, or of all photos of a dog, by the artifact of the ledger they stand in.

    Args:
      lineage: of the output folder.
      name: a photo id, a dog id, or what a dog id has behind its source.

    Raises:
      SettingsError: dogs of several sources have that name.
    """
    found: dict[int, list[catalog.Photo]] = {}
    for made in lineage.made.values():
        if made.kind.endswith("SplitManifest") and os.path.isdir(made.uri):
            near = catalog.read(made.uri, json.dumps(name)[1:])  # at the end of a value
            if rows := [row for row in near if name in _names(row)]:
                found[made.artifact] = rows
    dogs = {str(row.dog_id) for rows in found.values() for row in rows if name != row.photo_id}
    if len(dogs) > 1:
        raise SettingsError(f"{name}: may be {', '.join(sorted(dogs))}: give it whole")
    return found


def _names(row: catalog.Photo) -> tuple[str, ...]:
    dog = row.dog_id or row.photo_id
    return row.photo_id, dog, dog.partition("/")[2]


def beyond(lineage: Lineage, rows: Mapping[int, Sequence[catalog.Photo]]) -> list[Reach]:
    """Every model that photos reached, directly or through another model, oldest first."""
    released = _released(lineage.output)
    found: list[Reach] = []
    for step in lineage.steps.values():
        if not step.node.startswith("Trainer"):
            continue
        for model in lineage.written_by(step):
            if model.kind != "Model":
                continue
            own = {read.artifact for read in lineage.read_by(step)}
            roles: dict[str, set[str]] = {}
            for view, ledger, direct in _ways(lineage, model, own):
                for row in rows.get(ledger.artifact, ()):
                    if catalog.in_view(row, view):
                        role = ROLES[str(row.split)]
                        role = role if direct else f"{THROUGH} {role}"
                        roles.setdefault(role, set()).add(row.photo_id)
            name = step.node.removeprefix("Trainer_")
            pushed = tuple(sorted(_pushed(lineage, model, released)))
            found += [
                Reach(name, step, role, tuple(sorted(photos)), pushed)
                for role, photos in sorted(roles.items())
            ]
    return found


def _ways(lineage: Lineage, model: Made, own: set[int]) -> Iterator[tuple[str, Made, bool]]:
    """(view, ledger, whether its own trainer read the records) behind a model."""
    for step in lineage.behind([model.artifact]):
        if step.node.startswith("ImageExampleGen"):
            direct = any(made.artifact in own for made in lineage.written_by(step))
            for read in lineage.read_by(step):
                if read.kind.endswith("SplitManifest"):
                    yield str(step.parameters.get("view", "")), read, direct


def _released(output: str) -> dict[str, str]:
    """State by path of every version, under the path that it was pushed to."""
    return {
        os.path.join(folder_of(output, model), str(number)): state
        for model in MODELS
        for number, state in states(output, model).items()
    }


def _pushed(
    lineage: Lineage, model: Made, released: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    for step in lineage.readers(model.artifact):
        if step.node.startswith("Pusher"):
            for made in lineage.written_by(step):
                path = made.properties.get("pushed_destination")
                if path:
                    yield path, released.get(path, GONE)


def find(lineage: Lineage, what: str) -> Made | None:
    """The artifact that a text names: a model, a version of one or its folder, or artifact:ID.

    Args:
      lineage: of the output folder.
      what: breed, match/1795693770, output/serving/match/1795693770, artifact:12.

    Returns:
      The artifact, None for a text that is the name of none: it may be a photo or a dog.

    Raises:
      SettingsError: it is of the form of one, and there is none.
    """
    kind, _, number = what.partition(":")
    if kind == "artifact" and number.isdecimal():
        if int(number) not in lineage.made:
            raise SettingsError(f"{what}: ML Metadata has no such artifact")
        return lineage.made[int(number)]
    model, _, version = what.strip("/").rpartition("/")
    model = os.path.basename(model) or version
    if model not in MODELS:
        return None
    pushed = {
        os.path.basename(made.properties["pushed_destination"]): made
        for made in lineage.made.values()
        if made.kind == "PushedModel"
        and os.path.basename(os.path.dirname(made.properties.get("pushed_destination", "")))
        == model
    }
    if version == model:
        found = states(lineage.output, model)
        version = next((str(number) for number in found if found[number] == SERVING), version)
    if version not in pushed:
        known = ", ".join(sorted(pushed, reverse=True)[:_SHOWN]) or "none"
        raise SettingsError(f"{what}: no such version was pushed (there are: {known})")
    return pushed[version]


def source(lineage: Lineage, made: Made) -> dict[str, Any]:
    """What made an artifact: its nodes with their code, the data, and of a model its photos."""
    steps = lineage.behind([made.artifact])
    data = sorted(
        {
            read.properties["data_version"]
            for step in steps
            for read in lineage.written_by(step)
            if read.kind.endswith("Dataset") and "data_version" in read.properties
        }
    )
    photos: dict[str, dict[str, int]] = {}
    for step in steps:
        if step.node.startswith("ImageExampleGen"):
            view = str(step.parameters.get("view", ""))
            for read in lineage.read_by(step):
                if read.kind.endswith("SplitManifest") and os.path.isdir(read.uri):
                    splits = [
                        str(row.split)
                        for row in catalog.read(read.uri)
                        if catalog.in_view(row, view)
                    ]
                    photos[view] = dict(collections.Counter(splits))
    return {
        "artifact": made.artifact,
        "type": made.kind,
        "uri": made.properties.get("pushed_destination") or made.uri,
        "data_versions": data,
        "photos": photos,
        "nodes": [
            {
                "node": step.node, "execution": step.execution, "run_id": step.run,
                "code": step.code,
                "read": [read.artifact for read in lineage.read_by(step)],
                "wrote": [out.artifact for out in lineage.written_by(step)],
            }
            for step in steps
        ],
    }  # fmt: skip


def _code(told: Mapping[str, Any]) -> str:
    code = told.get("code")
    if code is None and isinstance(told.get("custom_config"), str):
        code = json.loads(told["custom_config"]).get("code")
    return str(code or "")


def _members(store: Any, kind: str) -> dict[int, str]:
    """Execution -> name of its context of a type."""
    return {
        execution.id: context.name
        for context in store.get_contexts_by_type(kind)
        for execution in store.get_executions_by_context(context.id)
    }


def _values(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: getattr(value, value.WhichOneof("value"))
        for key, value in properties.items()
        if value.WhichOneof("value")
    }
