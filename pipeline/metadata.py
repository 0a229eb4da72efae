"""Reading ML Metadata: runs, their nodes, what these wrote."""

import dataclasses
import glob
import os
import shutil
from collections.abc import Mapping
from typing import Any

from components import serving
from pipeline.settings import Before, Pushed, SettingsError

_DATASET = "components.Dataset"  # the type's name; to import the type takes seconds
_DONE = {"COMPLETE": "run", "CACHED": "cached"}


@dataclasses.dataclass(frozen=True)
class Node:
    """One node of one run.

    Attributes:
      node_id: its name in the graph.
      execution: its id in ML Metadata.
      state: run, cached or failed.
      seconds: from registration to the last update.
      parameters: its execution properties.
    """

    node_id: str
    execution: int
    state: str
    seconds: float
    parameters: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Used:
    """A content that a run has read.

    Attributes:
      digest: of the content.
      files: how many it holds, those in archives counted one by one.
      first: when a run wrote down what it holds, seconds since the epoch.
      runs: the ids of all runs on it, newest first.
    """

    digest: str
    files: int
    first: float
    runs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Push:
    """How a version came to be.

    Attributes:
      run: the id of the run that first pushed it, "" where ML Metadata has none.
      time: when, seconds since the epoch.
      blessing: folder of its gate's verdict, "" where ML Metadata has none.
    """

    run: str
    time: float
    blessing: str


class Store:
    """Answers questions about one output folder; a folder without a database has no runs."""

    def __init__(self, database: str):
        self._store: Any = connect(database) if os.path.exists(database) else None

    def runs(self) -> list[str]:
        """The ids of all runs, newest first."""
        contexts = self._store.get_contexts_by_type("pipeline_run") if self._store else []
        contexts.sort(key=lambda context: context.create_time_since_epoch, reverse=True)
        return [context.name for context in contexts]

    def nodes(self, run: str) -> dict[str, Node]:
        """The nodes that a run executed, took from the cache, or took over from another run."""
        context = self._store.get_context_by_type_and_name("pipeline_run", run)
        executions = self._store.get_executions_by_context(context.id)
        executions.sort(key=lambda execution: execution.id)
        return {node.node_id: node for node in map(self._node, executions)}

    def outputs(self, node: Node) -> dict[str, Any]:
        """The artifacts that a node wrote, by output key (one each)."""
        events = self._store.get_events_by_execution_ids([node.execution])
        keys = {event.artifact_id: event.path.steps[0].key for event in events if is_output(event)}
        found = self._store.get_artifacts_by_id(list(keys))
        return {keys[artifact.id]: artifact for artifact in found}

    def pushed(self, destination: str) -> list[Pushed]:
        """All versions of a model that were ever pushed to a folder, newest first."""
        artifacts = self._store.get_artifacts_by_type("PushedModel") if self._store else []
        found = [_pushed(item) for item in artifacts if _belongs_to(item, destination)]
        return sorted(found, key=lambda pushed: int(pushed.version), reverse=True)

    def datasets(self) -> list[Used]:
        """Every content that was ever read, newest first."""
        artifacts = self._store.get_artifacts_by_type(_DATASET) if self._store else []
        by_digest: dict[str, list[Any]] = {}
        for artifact in artifacts:
            digest = artifact.custom_properties["digest"].string_value
            if digest:  # what a killed run registered has none
                by_digest.setdefault(digest, []).append(artifact)
        used = [self._used(digest, same) for digest, same in by_digest.items()]
        return sorted(used, key=lambda item: item.first, reverse=True)

    def _used(self, digest: str, same: list[Any]) -> Used:
        runs = {
            context.name
            for artifact in same
            for context in self._store.get_contexts_by_artifact(artifact.id)
            if context.type == "pipeline_run"
        }
        files = same[-1].custom_properties["files"].int_value
        first = min(artifact.create_time_since_epoch for artifact in same) / 1000
        return Used(digest, files, first, tuple(sorted(runs, reverse=True)))

    def before(self, view: str, pushed: Pushed, shape: Mapping[str, Any]) -> Before | None:
        """What the run left of a view that first pushed a version; None when it is gone.

        Args:
          view: its name.
          pushed: the version.
          shape: parameters of ImageExampleGen; photos of another shape have other statistics.
        """
        nodes = self._nodes_behind(pushed)
        ledger = self.uri(nodes.get("SplitAssigner"), "splits")
        if not ledger:
            return None
        records = nodes.get(f"ImageExampleGen_{view}")
        same = records is not None and all(
            records.parameters.get(key) == value for key, value in shape.items()
        )
        statistics = self.uri(nodes.get(f"StatisticsGen_{view}"), "statistics")
        return Before(pushed.data_version, ledger, statistics, same)

    def let_in(self, pushed: Pushed) -> bool:
        """Whether the run that first pushed a version let its data in with --allow_anomalies."""
        gate = self._nodes_behind(pushed).get("DataGate")
        return gate is not None and gate.parameters.get("allow_anomalies") == 1

    def push(self, pushed: Pushed) -> Push:
        """The run and the verdict behind a version."""
        writer = self._writer(pushed)
        events = self._store.get_events_by_execution_ids([writer] if writer else [])
        keys = {event.path.steps[0].key: event.artifact_id for event in events}
        read = self._store.get_artifacts_by_id([keys.get("model_blessing", 0)])
        (artifact,) = self._store.get_artifacts_by_id([pushed.artifact])
        time = artifact.create_time_since_epoch / 1000
        return Push(self._run_of(writer), time, read[0].uri if read else "")

    def _nodes_behind(self, pushed: Pushed) -> dict[str, Node]:
        """The nodes of the run that wrote a pushed version."""
        run = self._run_of(self._writer(pushed))
        return self.nodes(run) if run else {}

    def _writer(self, pushed: Pushed) -> int:
        """The execution that first wrote a version, 0 when there is none."""
        events = self._store.get_events_by_artifact_ids([pushed.artifact])
        return min((event.execution_id for event in events if is_output(event)), default=0)

    def _run_of(self, execution: int) -> str:
        """The run of an execution, "" when there is none."""
        contexts = self._store.get_contexts_by_execution(execution) if execution else ()
        return next((item.name for item in contexts if item.type == "pipeline_run"), "")

    def uri(self, node: Node | None, key: str) -> str:
        """Where an output of a node lies, "" when it is not there."""
        if node is None or node.state == "failed":
            return ""
        artifact = self.outputs(node).get(key)
        return artifact.uri if artifact is not None and os.path.isdir(artifact.uri) else ""

    def end_abandoned(self, pipeline_root: str) -> list[str]:
        """Ends the executions that a killed run left open, and removes what they had written.

        To be called while nobody else runs in the folder.

        Args:
          pipeline_root: where the artifacts lie, as `<node>/<output>/<execution>`.

        Returns:
          The nodes that they belonged to.
        """
        import ml_metadata
        from ml_metadata.proto import metadata_store_pb2 as mlmd

        if self._store is None:
            return []
        options = ml_metadata.ListOptions(filter_query="last_known_state = RUNNING")
        nodes = []
        for execution in self._store.get_executions(list_options=options):
            nodes.append(self._node(execution).node_id)
            for kind in ("*", os.path.join(".system", "*")):
                root = glob.escape(pipeline_root)
                place = os.path.join(root, nodes[-1], kind, str(execution.id))
                for folder in glob.glob(place):
                    shutil.rmtree(folder)
            execution.last_known_state = mlmd.Execution.FAILED
            self._store.put_executions([execution])
        return nodes

    def _original_properties(self, execution: int) -> dict[str, Any]:
        """The parameters behind an execution that a partial run took over, which has none itself.

        They stand on the execution that first wrote the same artifacts.
        """
        written = [
            event.artifact_id for event in self._store.get_events_by_execution_ids([execution])
        ]
        events = self._store.get_events_by_artifact_ids(written)
        writers = sorted({event.execution_id for event in events if is_output(event)})
        for original in self._store.get_executions_by_id(writers[:1]):
            return {**original.properties, **original.custom_properties}
        return {}

    def _node(self, execution: Any) -> Node:
        contexts = self._store.get_contexts_by_execution(execution.id)
        (name,) = [context.name for context in contexts if context.type == "node"]
        elapsed = execution.last_update_time_since_epoch - execution.create_time_since_epoch
        properties = {**execution.properties, **execution.custom_properties}
        properties = properties or self._original_properties(execution.id)
        parameters = {
            key: getattr(value, value.WhichOneof("value")) for key, value in properties.items()
        }
        node_id = name.partition(".")[2]
        return Node(node_id, execution.id, state(execution), elapsed / 1000, parameters)


def state(execution: Any) -> str:
    """What became of an execution: run, cached or failed."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    return _DONE.get(mlmd.Execution.State.Name(execution.last_known_state), "failed")


def is_output(event: Any) -> bool:
    """Whether an event says that an artifact was written."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    return bool(event.type == mlmd.Event.OUTPUT)


def connect(database: str) -> Any:
    """The store of a database file.

    Raises:
      SettingsError: it is none.
    """
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = database
    try:
        return metadata_store.MetadataStore(config)
    except RuntimeError as error:
        raise SettingsError(
            f"{database} can't be read as an ML Metadata database: it is damaged, or another file"
        ) from error


def _text(artifact: Any, key: str) -> str:
    value: str = artifact.custom_properties[key].string_value
    return value


def _belongs_to(artifact: Any, destination: str) -> bool:
    return os.path.dirname(_text(artifact, "pushed_destination")) == destination


def _pushed(artifact: Any) -> Pushed:
    path = _text(artifact, "pushed_destination")
    return Pushed(
        _text(artifact, "pushed_version"),
        _text(artifact, "fingerprint"),
        _text(artifact, "model_uri"),
        os.path.isdir(path),
        _text(artifact, "data_version"),
        artifact.id,
        path,
        os.path.isdir(path + serving.WITHDRAWN),
    )
