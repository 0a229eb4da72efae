"""Which nodes a stage flag runs, and whether those that it builds on can be reused."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message
from tfx.dsl.compiler import placeholder_utils
from tfx.orchestration.portable import data_types
from tfx.utils import proto_utils

from pipeline.graph import stage_of
from pipeline.metadata import Node, Store
from pipeline.settings import Settings, SettingsError


@dataclasses.dataclass(frozen=True)
class Plan:
    """What one run does.

    Attributes:
      nodes: the ids of the nodes that run, in order.
      reused: the ids of the earlier nodes that they build on, in order.
      base: the run that these are taken from, None when there are none.
    """

    nodes: tuple[str, ...]
    reused: tuple[str, ...]
    base: str | None


def plan(settings: Settings, ir: Any, store: Store) -> Plan:
    """Plans a run.

    Args:
      settings: the stages to run.
      ir: the compiled pipeline (TFX's Pipeline proto).
      store: the earlier runs.

    Raises:
      SettingsError: no earlier run left what the stages build on, or left it with other settings.
    """
    nodes = {node.pipeline_node.node_info.id: node.pipeline_node for node in ir.nodes}
    wanted = tuple(name for name in nodes if stage_of(name) in settings.stages)
    if not wanted:
        asked = " ".join(f"--{stage}" for stage in settings.stages)
        views = " ".join(f"--{view}" for view in settings.views)
        raise SettingsError(f"{asked}: nothing is trained on {views}; leave one of the flags out")
    reused = _upstream(nodes, wanted)
    if not reused:
        return Plan(wanted, (), None)
    return Plan(wanted, reused, _base(settings, {name: nodes[name] for name in reused}, store))


def _upstream(nodes: Mapping[str, Any], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Everything that the wanted nodes depend on and that does not run, in graph order."""
    waiting, seen = list(wanted), set(wanted)
    while waiting:
        for name in nodes[waiting.pop()].upstream_nodes:
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return tuple(name for name in nodes if name in seen and name not in wanted)


def _base(settings: Settings, reused: Mapping[str, Any], store: Store) -> str:
    """The newest run that holds every reused node with today's settings.

    Where there is none, the run that comes furthest says what to run first.
    """
    furthest, problem = (-1, False), ""
    for run in store.runs():
        nodes = store.nodes(run)
        for place, name in enumerate(reused):
            found = _obstacle(name, reused[name], nodes.get(name))
            if found:
                come = (place, name in nodes)  # what ran with other settings says more
                if come > furthest:
                    furthest, problem = come, found
                break
        else:
            return run
    first = next(iter(reused))
    asked = " ".join(f"--{stage}" for stage in settings.stages)
    raise SettingsError(f"{asked}: {problem or _obstacle(first, reused[first], None)}")


def _obstacle(name: str, wanted: Any, ran: Node | None) -> str:
    """Why what a node left can't be reused, and the stage to run first; empty when it can be."""
    if ran is not None and ran.state != "failed":
        return next(iter(differences(wanted, ran)), "")
    return f"no earlier run has {name} to build on: run --{stage_of(name)} first"


def _value(parameter: Any) -> Any:
    """What ML Metadata will hold of it: TFX compiles a proto to a placeholder, and stores JSON."""
    if parameter.WhichOneof("value") == "placeholder":
        context = placeholder_utils.ResolutionContext(data_types.ExecutionInfo())
        found = placeholder_utils.resolve_placeholder_expression(parameter.placeholder, context)
        return proto_utils.proto_to_json(found) if isinstance(found, Message) else found
    return getattr(parameter.field_value, parameter.field_value.WhichOneof("value"))


_MEANING = {"code": "its code has changed", "digest": "the data have changed"}


def differences(wanted: Any, ran: Node) -> list[str]:
    """What a node would be given now that it was not given then, each as a sentence."""
    found = []
    stage = stage_of(ran.node_id)
    for key, value in wanted.parameters.parameters.items():
        now = _value(value)
        then = ran.parameters.get(key)
        if now != then:
            change = _MEANING.get(key, f"it ran with {key}={then}, this run has {key}={now}")
            found.append(f"{ran.node_id} can't be reused, {change}: run --{stage} first")
    return found
