"""A planned run: the compiled graph, TFX's LocalDagRunner, and what came of it."""

import dataclasses
import itertools
import traceback
from collections.abc import Sequence
from typing import Any

from absl import logging as absl_logging
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.portable import runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from components import data_gate, dataset
from components.sources.base import DataError
from pipeline import graph, stages, summary
from pipeline.metadata import Store
from pipeline.settings import (
    MODEL_OF,
    MODELS,
    Before,
    Pushed,
    Settings,
    serving_version,
    withdrawn_version,
)
from pipeline.terminal import InterruptedRunError, Terminal


class NodeError(RuntimeError):
    """A node failed; the message says which and why.

    Attributes:
      findings: DataGate's, where it was that.
    """

    def __init__(self, message: str, findings: data_gate.Findings | None = None):
        super().__init__(message)
        self.findings = findings


class Execution:
    """One run of the graph.

    Args:
      settings: with `inputs` filled in.
      run_id: the run's name in ML Metadata.

    Attributes:
      settings: with the versions pushed before.
      plan: which nodes run, and on what they build.

    Raises:
      SettingsError: the asked stages can't run yet.
    """

    def __init__(self, settings: Settings, run_id: str):
        Store(settings.metadata).end_abandoned(settings.pipeline_root)
        self.settings = _with_earlier_runs(settings)
        self._run_id = run_id
        self._ir = compiler.Compiler().compile(graph.create_pipeline(self.settings))
        runtime_parameter_utils.substitute_runtime_parameter(
            self._ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id}
        )
        self._push_what_is_not_served()
        self.plan = stages.plan(settings, self._ir, Store(settings.metadata))

    def run(self, terminal: Terminal) -> NodeError | None:
        """Runs the planned nodes; returns what went wrong, if something did."""
        absl_logging.set_verbosity(absl_logging.INFO)
        absl_logging.get_absl_logger().addHandler(terminal)
        ids = [node.node_info.id for node in self._nodes()]
        options = None if len(self.plan.nodes) == len(ids) else self._partial()
        try:
            LocalDagRunner().run_with_ir(self._ir, options)
        except Exception as error:
            if terminal.interrupted:
                raise InterruptedRunError from error
            node = terminal.failed()
            if node is None:
                raise
            absl_logging.error("%s", traceback.format_exc())
            cause = _cause(error)
            findings = cause.findings if isinstance(cause, data_gate.WrongDataError) else None
            return NodeError(f"{node} failed: {_why(error)}", findings)
        finally:
            absl_logging.get_absl_logger().removeHandler(terminal)
        return self._unfinished()

    def summary(self, error: NodeError | None = None) -> dict[str, Any]:
        """summary.json of the run, and of what went wrong, if something did."""
        ids = [node.node_info.id for node in self._nodes()]
        built = summary.summarise(self.settings, Store(self.settings.metadata), self._run_id, ids)
        summary.check_counts(built)
        if error is not None and error.findings is not None:
            built["data"] |= data_gate.as_json(error.findings)
        return built | {"error": str(error) if error else None}

    def _push_what_is_not_served(self) -> None:
        """Takes a Pusher out of the cache when its version was pushed once and is not served now.

        Its folder was deleted, or a version of something else came after it. What was withdrawn by
        hand stays so, which the Pusher is told.
        """
        assert self.settings.inputs is not None, "the runner fills in the inputs"
        for model, versions in self.settings.inputs.baselines.items():
            node = next((n for n in self._nodes() if n.node_info.id == f"Pusher_{model}"), None)
            if node is None:
                continue
            own = node.parameters.parameters["fingerprint"].field_value.string_value
            stays = serving_version(versions, own) or withdrawn_version(versions, own)
            if not stays and own in {pushed.fingerprint for pushed in versions}:
                node.execution_options.caching_options.enable_cache = False

    def _nodes(self) -> list[Any]:
        return [node.pipeline_node for node in self._ir.nodes]

    def _partial(self) -> pipeline_pb2.RunOptions:
        options = pipeline_pb2.RunOptions()
        options.partial_run.from_nodes.extend(self.plan.nodes)
        options.partial_run.to_nodes.extend(self.plan.nodes)
        if self.plan.base:
            strategy = options.partial_run.snapshot_settings.base_pipeline_run_strategy
            strategy.base_run_id = self.plan.base
        else:
            options.partial_run.snapshot_settings.latest_pipeline_run_strategy.SetInParent()
        return options

    def _unfinished(self) -> NodeError | None:
        """TFX does not raise when a node's inputs can't be resolved: look whether all ran."""
        nodes = Store(self.settings.metadata).nodes(self._run_id)
        missing = [
            name for name in self.plan.nodes if name not in nodes or nodes[name].state == "failed"
        ]
        return NodeError(f"{missing[0]} did not run: its inputs are missing") if missing else None


def _with_earlier_runs(settings: Settings) -> Settings:
    """Adds the versions that were pushed before, and what is known of the data behind them."""
    assert settings.inputs is not None, "the runner fills in the inputs"
    store = Store(settings.metadata)
    pushed = {model: store.pushed(settings.serving(model)) for model in MODELS}
    own = dataset.version_of(settings.inputs.digest)
    before = {
        view: found
        for view in settings.views
        if (found := _before(store, view, pushed[MODEL_OF[view]], own, settings))
    }
    return dataclasses.replace(
        settings, inputs=dataclasses.replace(settings.inputs, baselines=pushed, before=before)
    )


def _before(
    store: Store, view: str, versions: Sequence[Pushed], own: str, settings: Settings
) -> Before | None:
    """What the last version was trained on that was pushed before this data's first one.

    So data that were blessed once are compared with the same data as then, whatever came later.

    Args:
      store: ML Metadata.
      view: its name.
      versions: of the view's model, newest first.
      own: version of this run's data.
      settings: of this run.
    """
    if any(store.let_in(item) for item in versions if item.data_version == own):
        return None  # somebody looked at how these data differ, and the model was blessed
    earlier = itertools.takewhile(lambda item: item.data_version != own, reversed(versions))
    known = [pushed for pushed in earlier if pushed.data_version]
    return store.before(view, known[-1], graph.shape(settings, view)) if known else None


def _why(error: BaseException) -> str:
    """The first cause in the project's own words, else the last error's own."""
    cause = _cause(error)
    if cause is not None:
        return str(cause)
    return f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error) else ''}"


def _cause(error: BaseException) -> DataError | None:
    """The first cause that is about the data."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, DataError):
        seen = seen.__cause__ or seen.__context__
    return seen
