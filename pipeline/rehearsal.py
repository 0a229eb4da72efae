"""A compiled pipeline file, run on this machine task by task, as Vertex would run it.

Every task is a process of its own, started by the command and the arguments of its container, with
the files that the image holds and nothing else of the project. What one task hands to the next is
what it says in its `executor_output.json`, as on Vertex.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from components import dataset, digests
from components.sources.base import DataError
from models import places
from pipeline import inputs
from pipeline.command_line import FailureError
from pipeline.settings import MODELS, SettingsError

_INPUT = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_WHOLE = "{{$}}"
# By the image.
SET = {
    "TF_USE_LEGACY_KERAS": "0",
    "TF_CPP_MIN_LOG_LEVEL": "1",  # or each request to a bucket is a line
    "PYTHONUNBUFFERED": "1",
    **places.READ_AHEAD,
}
# What leads a task to a bucket from here; on Vertex the machine itself is somebody.
_WAY = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "CLOUDSDK_CONFIG",
    "NO_GCE_CHECK",
    "STORAGE_EMULATOR_HOST",
    "https_proxy",
    "no_proxy",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
)
_CORES = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


class RehearsalError(FailureError):
    """A task failed, or is of a kind that is not known here; the message says which and why."""


def rehearse(
    job: Mapping[str, Any],
    folder: str,
    work: str,
    root: str,
    data: str | None,
    values: Mapping[str, Any],
    say: Callable[[str], None],
) -> bool:
    """Runs a pipeline file, and tells what came of it.

    Args:
      job: its content.
      folder: where it lies, with its `inputs`.
      work: a new folder of this machine, for the files of the image and what the tasks print.
      root: in the place of the pipeline root: the same folder, or one of a bucket.
      data: the photos, None for the built-in sample.
      values: of the pipeline's parameters that are numbers.
      say: is told how it goes.

    Returns:
      Whether every model was pushed.

    Raises:
      RehearsalError: a task failed.
      SettingsError: the photos can't be used.
    """
    start = time.monotonic()
    try:
        if places.remote(root) and places.is_folder(root) and places.names(root):
            raise SettingsError(f"--root {root}: is not empty: give a new folder")
        places.copy(os.path.join(folder, "inputs"), f"{root}/inputs")
        place = _sample(work, root) if data is None else inputs.place_of(data)
        found = dataset.read_dataset(place)
        found.write(f"{root}/inputs/{found.digest}.jsonl")
    except DataError as error:
        raise SettingsError(str(error)) from error
    except OSError as error:
        raise SettingsError(f"{root} can't be written: {error.strerror}") from error
    told = {**values, "root": root, "data": place, "data_version": found.digest}
    say(f"rehearsing {len(job['pipelineSpec']['root']['dag']['tasks'])} tasks in {root}")
    done = Rehearsal(job, work, root, told, digests.image_files(), say).run()
    pushed = True
    for model in MODELS:
        if f"Pusher_{model}" in done:
            blessing = done[f"ModelGate_{model}"]["blessing"]["uri"]
            for rule in json.loads(places.read(f"{blessing}/verdict.json"))["rules"]:
                if not rule["passed"]:
                    say(f"{model}: FAILED {rule['rule']}: {rule['reason']}")
            metadata = done[f"Pusher_{model}"]["pushed_model"]["metadata"]
            say(f"{model:<9} {metadata.get('pushed_destination', 'not pushed')}")
            pushed &= "pushed_destination" in metadata
    say(f"artifacts {root}/artifacts")
    say(f"logs      {os.path.join(work, 'logs')}, in {time.monotonic() - start:.0f} s")
    return pushed


def _sample(work: str, root: str) -> str:
    """The folder of the built-in sample, below the pipeline root."""
    drawn = inputs.sample(work)
    if not places.remote(root):
        return drawn
    places.copy(drawn, f"{root}/sample")
    return f"{root}/sample"


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal works on.

    Args:
      job: the pipeline file's content.
      work: folder of this machine for the files of the image and what the tasks print.
      root: folder for all else that it writes, of this machine or of a bucket.
      values: of the pipeline's parameters, where they are not the defaults.
      files: those that the image holds, relative to the project.
      say: is told of every task as it ends.
    """

    job: Mapping[str, Any]
    work: str
    root: str
    values: Mapping[str, Any]
    files: Sequence[str]
    say: Callable[[str], None]

    def run(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Runs every task.

        Returns:
          {task: {output: RuntimeArtifact as JSON}}.

        Raises:
          RehearsalError: a task failed.
        """
        image = os.path.join(self.work, "image")
        for name in self.files:
            place = os.path.join(image, name)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            shutil.copy2(digests.ROOT / name, place)
        spec = self.job["pipelineSpec"]
        known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
        values = {
            name: self.values.get(name, kind.get("defaultValue")) for name, kind in known.items()
        }
        tasks = spec["root"]["dag"]["tasks"]
        done: dict[str, dict[str, dict[str, Any]]] = {}
        for number, name in enumerate(_order(tasks), start=1):
            start = time.monotonic()
            task = tasks[name]
            component = spec["components"][task["componentRef"]["name"]]
            executor = spec["deploymentSpec"]["executors"][component["executorLabel"]]
            told = _parameters(name, task, values)
            given = _artifacts(name, task, done)
            outputs = self._outputs(name, component)
            if "container" in executor:
                done[name] = self._contain(name, executor["container"], image, told, given, outputs)
            elif "importer" in executor:
                done[name] = _import(name, executor["importer"], told, outputs)
            else:
                raise RehearsalError(f"{name}: {', '.join(executor)} is no kind of task known here")
            self.say(f"  {number:>2}/{len(tasks)}  {name:<28} {time.monotonic() - start:6.1f} s")
        return done

    def _outputs(self, name: str, component: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The artifacts that a task is to write, in folders that are there."""
        told = component.get("outputDefinitions", {})
        if told.get("parameters"):
            raise RehearsalError(f"{name}: parameters as outputs are not known here")
        found = {}
        for key, kind in told.get("artifacts", {}).items():
            uri = f"{self.root}/artifacts/{name}/{key}"
            if not places.remote(uri):  # in a bucket there are no folders, but names only
                os.makedirs(uri, exist_ok=True)
            found[key] = {
                "name": f"{name}/{key}",
                "uri": uri,
                "type": kind["artifactType"],
                "metadata": kind.get("metadata", {}),
            }
        return found

    def _contain(
        self,
        name: str,
        container: Mapping[str, Any],
        image: str,
        told: Mapping[str, Any],
        given: Mapping[str, dict[str, Any]],
        outputs: dict[str, dict[str, Any]],
    ) -> dict[str, dict[str, Any]]:
        """Runs a container's command; returns its outputs as it left them."""
        left = f"{self.root}/artifacts/{name}/executor_output.json"
        called = {
            "inputs": {"parameterValues": told, "artifacts": _listed(given)},
            "outputs": {"artifacts": _listed(outputs), "outputFile": left},
        }
        words = [*container["command"], *container["args"]]
        command = [json.dumps(called) if word == _WHOLE else word for word in words]
        log = os.path.join(self.work, "logs", f"{name}.log")
        os.makedirs(os.path.dirname(log), exist_ok=True)
        variables = {item["name"]: item["value"] for item in container.get("env", ())}
        with open(log, "wb") as file:
            code = subprocess.run(
                command, cwd=image, env=environment(image) | variables, stdout=file, stderr=file,
                check=False,
            ).returncode  # fmt: skip
        if code:
            raise RehearsalError(f"{name} ended with exit status {code}: {_why(log)} (log: {log})")
        written = json.loads(places.read(left)).get("artifacts", {})
        return {
            key: {**artifact, **written.get(key, {"artifacts": [{}]})["artifacts"][0]}
            for key, artifact in outputs.items()
        }


def environment(image: str) -> dict[str, str]:
    """What the image sets, and the Python that runs this in the place of its own."""
    kept = {
        key: os.environ[key]
        for key in ("HOME", "LANG", "TMPDIR", *_CORES, *_WAY)
        if key in os.environ
    }
    path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
    return {**kept, "PATH": path, "PYTHONPATH": image, **SET}


def _order(tasks: Mapping[str, Any]) -> Iterator[str]:
    """The tasks, each after those that it depends on.

    Raises:
      RehearsalError: one depends on what there is not, or on itself.
    """
    left = {name: set(task.get("dependentTasks", ())) for name, task in sorted(tasks.items())}
    while left:
        ready = [name for name, needs in left.items() if not needs & left.keys()]
        missing = {need for needs in left.values() for need in needs} - tasks.keys()
        if missing or not ready:
            raise RehearsalError(
                f"no such task: {', '.join(sorted(missing))}"
                if missing
                else f"they wait for each other: {', '.join(left)}"
            )
        yield from ready
        for name in ready:
            del left[name]


def _parameters(name: str, task: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """A task's parameters, those that others are made of first."""
    given = task.get("inputs", {}).get("parameters", {})
    found: dict[str, Any] = {}
    for key, told in given.items():
        if (of := told.get("componentInputParameter")) is not None:
            if of not in values or values[of] is None:
                raise RehearsalError(
                    f"{name}: {key} is the pipeline's parameter {of}, without value"
                )
            found[key] = values[of]
    for key, told in given.items():
        if key not in found:
            if "constant" not in told.get("runtimeValue", {}):
                raise RehearsalError(f"{name}: {key} is given as {', '.join(told)}, not known here")
            found[key] = _filled(told["runtimeValue"]["constant"], found)
    return found


def _filled(constant: Any, found: Mapping[str, Any]) -> Any:
    if not isinstance(constant, str):
        return constant
    return _INPUT.sub(lambda part: str(found[part[1]]), constant)


def _artifacts(
    name: str, task: Mapping[str, Any], done: Mapping[str, Mapping[str, dict[str, Any]]]
) -> dict[str, dict[str, Any]]:
    """A task's input artifacts, as the tasks before it left them."""
    found = {}
    for key, told in task.get("inputs", {}).get("artifacts", {}).items():
        made = told.get("taskOutputArtifact")
        if made is None:
            raise RehearsalError(f"{name}: {key} is given as {', '.join(told)}, not known here")
        found[key] = done[made["producerTask"]][made["outputArtifactKey"]]
    return found


def _import(
    name: str,
    importer: Mapping[str, Any],
    told: Mapping[str, Any],
    outputs: Mapping[str, dict[str, Any]],
) -> dict[str, dict[str, Any]]:
    """What an importer makes known."""
    uri = importer["artifactUri"]
    place = told[uri["runtimeParameter"]] if "runtimeParameter" in uri else uri["constant"]
    if not places.exists(place):
        raise RehearsalError(f"{name}: there is no {place}")
    ((key, artifact),) = outputs.items()
    return {key: {**artifact, "uri": place, "metadata": importer.get("metadata", {})}}


def _listed(artifacts: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    return {key: {"artifacts": [artifact]} for key, artifact in artifacts.items()}


def _why(log: str) -> str:
    """The last line of a log that says what went wrong, of all a module that is not there."""
    with open(log, errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]
    # TFX raises another error for it, which names its own class only.
    missing = [line for line in errors if re.search("No module named|cannot import name", line)]
    return (missing or errors or lines or ["it printed nothing"])[-1]
