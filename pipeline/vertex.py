"""The graph as Vertex Pipelines runs it: the pipeline file, its parameters, its machines.

TFX's KubeflowV2DagRunner builds the file. What it can't say is put in afterwards: parameters inside
longer values, machines, retries. A value that depends on a parameter is written as kfp writes an
f-string: the task gets the parameter as a further input, and the value names that input.
(https://www.kubeflow.org/docs/components/pipelines/reference/api-spec, PipelineSpec.)
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from components import digests
from models import tracking
from pipeline import graph, inputs, machines
from pipeline.settings import MODEL_VIEWS, Settings

ROOT = "root"
# The numbers among them, by what the graph calls them.
_NUMBERS = {
    "image_size": "image_size",
    "side": "student_size",
    "student_size": "student_size",
    "epochs": "epochs",
}
_TYPES = {ROOT: "STRING", "data": "STRING", "data_version": "STRING"}
_TYPES |= dict.fromkeys(("image_size", "student_size", "epochs"), "NUMBER_INTEGER")
_EXTRA = "pipelinechannel--"  # as kfp names such inputs
_NAMED = re.compile(r"\{\{\$\.inputs\.parameters\['([a-z_-]+)'\]\}\}")
_MARK = "<{}>"


def parameter(name: str) -> str:
    """What stands for a parameter of the pipeline in a value of the graph."""
    return f"{{{{$.inputs.parameters['{name}']}}}}"


def prepare(settings: Settings, folder: str) -> Settings:
    """Writes what the graph reads beside the data below a folder, to be taken to the root.

    Args:
      settings: of the run.
      folder: gets `inputs/`.

    Returns:
      The settings as `compiled` takes them.

    Raises:
      SettingsError: one of them can't be used.
    """
    found = inputs.apart_from_data(settings, os.path.join(folder, "inputs"))
    places = {
        field.name: _moved(getattr(found, field.name), folder)
        for field in dataclasses.fields(found)
    }
    places |= {"data": parameter("data"), "digest": parameter("data_version")}
    return dataclasses.replace(
        settings,
        output=parameter(ROOT),
        views=settings.views or MODEL_VIEWS,
        inputs=dataclasses.replace(found, **places),
    )


def _moved(place: Any, folder: str) -> Any:
    """A place below a folder, as the pipeline names it; whatever else is as it was."""
    if isinstance(place, Mapping):
        return {key: _moved(value, folder) for key, value in place.items()}
    if isinstance(place, str) and place.startswith(folder + os.sep):
        return parameter(ROOT) + place.removeprefix(folder).replace(os.sep, "/")
    return place


def compiled(
    settings: Settings, image: str, defaults: Mapping[str, str], secret: str = ""
) -> dict[str, Any]:
    """The pipeline file.

    Args:
      settings: with `inputs`, whose places lie below `parameter(ROOT)`; `output` is that itself.
      image: reference of the container image.
      defaults: of the parameters that are text.
      secret: of Secret Manager, with the key for Weights & Biases; "" to record no training.

    Returns:
      A PipelineJob as JSON, as google.cloud.aiplatform loads it.
    """
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=image, use_pipeline_spec_2_1=True
        )
    )
    job: dict[str, Any] = runner.run(graph.create_pipeline(settings), write_out=False)
    job["runtimeConfig"]["gcsOutputDirectory"] = f"{defaults[ROOT]}/artifacts"
    job["labels"] |= {"pipeline": graph.NAME, "code": digests.of_project()[:12]}
    spec = job["pipelineSpec"]
    values = {**defaults, **{name: getattr(settings, name) for name in _NUMBERS.values()}}
    spec["root"]["inputDefinitions"] = {
        "parameters": {
            name: {"parameterType": kind, "defaultValue": values[name]}
            for name, kind in _TYPES.items()
        }
    }
    for name, task in sorted(spec["root"]["dag"]["tasks"].items()):
        component = spec["components"][task["componentRef"]["name"]]
        executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
        _parametrise(task, component, executor)
        machine = machines.of(name)
        task["retryPolicy"] = {
            "maxRetryCount": machine.retries,
            "backoffDuration": "60s",
            "backoffFactor": 2.0,
        }
        if "container" in executor:
            executor["container"]["resources"] = machine.resources()
        if secret and name.startswith("Trainer"):
            executor["container"]["env"] = [
                {"name": tracking.MODE_VARIABLE, "value": tracking.ONLINE},
                {"name": tracking.FOLDER_VARIABLE, "value": "/tmp/wandb"},
                {"name": tracking.SECRET_VARIABLE, "value": secret},
            ]
    check(job)
    return job


def check(job: Mapping[str, Any]) -> None:
    """Sees that a pipeline file says what kfp knows, and refers to what there is.

    Neither Vertex's client nor its parser looks at references; a task would fail, hours later.

    Raises:
      google.protobuf.json_format.ParseError: a field is none of PipelineSpec's.
      ValueError: a reference leads nowhere; the message lists them all.
    """
    spec = job["pipelineSpec"]
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    wrong = [
        f"{name}: {problem}"
        for name, task in spec["root"]["dag"]["tasks"].items()
        for problem in _dangling(task, spec)
    ]
    if wrong:
        raise ValueError("; ".join(sorted(wrong)))


def _dangling(task: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[str]:
    """What a task refers to, and is not there; and what it gives, and nobody asked for."""
    tasks, components = spec["root"]["dag"]["tasks"], spec["components"]
    known = spec["root"]["inputDefinitions"]["parameters"]
    component = components.get(task["componentRef"]["name"])
    if component is None:
        yield f"no component {task['componentRef']['name']}"
        return
    if component["executorLabel"] not in spec["deploymentSpec"]["executors"]:
        yield f"no executor {component['executorLabel']}"
    yield from (f"no task {name}" for name in task.get("dependentTasks", ()) if name not in tasks)
    for kind in ("parameters", "artifacts"):
        given = task.get("inputs", {}).get(kind, {})
        told = component.get("inputDefinitions", {}).get(kind, {})
        yield from (f"{kind} {name} is not declared" for name in given.keys() - told.keys())
    for name, value in task.get("inputs", {}).get("parameters", {}).items():
        if value.get("componentInputParameter", next(iter(known))) not in known:
            yield f"{name} is no parameter of the pipeline: {value['componentInputParameter']}"
        for used in _NAMED.findall(str(value.get("runtimeValue", {}).get("constant", ""))):
            if used not in task["inputs"]["parameters"]:
                yield f"{name} is made of {used}, which is not there"
    for name, value in task.get("inputs", {}).get("artifacts", {}).items():
        made = value.get("taskOutputArtifact", {})
        producer = tasks.get(made.get("producerTask"))
        writer = components.get(producer["componentRef"]["name"], {}) if producer else {}
        outputs = writer.get("outputDefinitions", {}).get("artifacts", {})
        if made.get("outputArtifactKey") not in outputs:
            yield f"{name} comes from {made.get('producerTask')}, which writes no such thing"


def _parametrise(task: dict[str, Any], component: dict[str, Any], executor: dict[str, Any]) -> None:
    """Lets a task's values depend on the pipeline's parameters."""
    given = task.setdefault("inputs", {}).setdefault("parameters", {})
    told = component.setdefault("inputDefinitions", {}).setdefault("parameters", {})
    if importer := executor.get("importer"):
        given["uri"] = {"runtimeValue": importer["artifactUri"]}
        told["uri"] = {"parameterType": "STRING"}
        importer["artifactUri"] = {"runtimeParameter": "uri"}
    further: set[str] = set()
    for name, value in given.items():
        given[name], used = _dependent(name, value["runtimeValue"]["constant"])
        further |= used
    for name in sorted(further):
        given[_EXTRA + name] = {"componentInputParameter": name}
        told[_EXTRA + name] = {"parameterType": _TYPES[name]}


def _dependent(name: str, constant: Any) -> tuple[dict[str, Any], set[str]]:
    """How a task gets a value, and of which parameters of the pipeline a part of it is made."""
    if name in _NUMBERS:
        return {"componentInputParameter": _NUMBERS[name]}, set()
    if isinstance(constant, str):
        text = _with_numbers(name, constant)
        whole = _NAMED.fullmatch(text)
        if whole:
            return {"componentInputParameter": whole[1]}, set()
        if used := set(_NAMED.findall(text)):
            named = _NAMED.sub(lambda found: parameter(_EXTRA + found[1]), text)
            return {"runtimeValue": {"constant": named}}, used
    return {"runtimeValue": {"constant": constant}}, set()


def _with_numbers(name: str, text: str) -> str:
    """A value in which numbers that are parameters of the pipeline give way to these."""
    if name == "fingerprint":  # of the graph alone, as long as nobody knows the parameters
        parts = ("data_version", *dict.fromkeys(_NUMBERS.values()))
        return "/".join([text, *(parameter(part) for part in parts)])
    if name not in ("custom_config", "card"):
        return text
    told = json.loads(text)
    for part in (told, told.get("recipe", {})):
        for key in _NUMBERS.keys() & part.keys():
            part[key] = _MARK.format(_NUMBERS[key])
    marked = re.compile(f'"{_MARK.format("([a-z_]+)")}"')
    return marked.sub(lambda found: parameter(found[1]), json.dumps(told))
