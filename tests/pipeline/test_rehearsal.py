"""A compiled file that is run here: what it needs, and what stops it. Whole: test_sample_run."""

import json
import sys
from pathlib import Path

import pytest
from test_vertex import compiled

import kubeflow_runner
from components import digests
from pipeline import rehearsal
from pipeline.rehearsal import Rehearsal, RehearsalError


def small_job(command: list[str], **changes) -> dict:
    """Two tasks, of which the second reads what the first writes."""
    kind = {"instanceSchema": "title: tfx.Model\ntype: object\n"}
    container = {"container": {"command": command, "args": ["{{$}}"]}}
    spec = {
        "root": {
            "inputDefinitions": {"parameters": {"epochs": {"defaultValue": 3}}},
            "dag": {
                "tasks": {
                    "b": {
                        "componentRef": {"name": "b"},
                        "dependentTasks": ["a"],
                        "inputs": {
                            "artifacts": {
                                "model": {
                                    "taskOutputArtifact": {
                                        "producerTask": "a", "outputArtifactKey": "made",
                                    }
                                }
                            }
                        },
                    },
                    "a": {
                        "componentRef": {"name": "a"},
                        "inputs": {
                            "parameters": {
                                "epochs": {"componentInputParameter": "epochs"},
                                "text": {
                                    "runtimeValue": {
                                        "constant": "{{$.inputs.parameters['epochs']}} times"
                                    }
                                },
                            }
                        },
                    },
                }
            },
        },
        "components": {
            "a": {
                "executorLabel": "one",
                "outputDefinitions": {"artifacts": {"made": {"artifactType": kind}}},
            },
            "b": {"executorLabel": "one"},
        },
        "deploymentSpec": {"executors": {"one": container}},
    }  # fmt: skip
    for name, change in changes.items():
        change(spec, spec["root"]["dag"]["tasks"][name])
    return {"pipelineSpec": spec}


# Writes down what it was told, and says of its output that it has seven layers.
TELL = """
import json, os, sys
told = json.loads(sys.argv[1])
file = told["outputs"]["outputFile"]
os.makedirs(os.path.dirname(file), exist_ok=True)
open(file + ".told", "w").write(sys.argv[1])
made = {key: {"artifacts": [{"metadata": {"layers": 7}}]} for key in told["outputs"]["artifacts"]}
json.dump({"artifacts": made}, open(file, "w"))
"""


def rehearsed(job: dict, root: Path, values: dict | None = None) -> dict:
    return Rehearsal(
        job, str(root), str(root), values or {}, ["requirements.lock"], lambda line: None
    ).run()


def told(root: Path, task: str) -> dict:
    return json.loads((root / "artifacts" / task / "executor_output.json.told").read_text())


def test_a_task_gets_its_parameters_and_what_the_tasks_before_it_said_of_their_outputs(tmp_path):
    rehearsed(small_job(["python", "-c", TELL]), tmp_path, {"epochs": 5})

    assert told(tmp_path, "a")["inputs"]["parameterValues"] == {"epochs": 5, "text": "5 times"}
    (model,) = told(tmp_path, "b")["inputs"]["artifacts"]["model"]["artifacts"]
    assert model["metadata"] == {"layers": 7}
    assert model["uri"] == str(tmp_path / "artifacts" / "a" / "made")
    assert Path(model["uri"]).is_dir()


def test_a_task_sees_the_files_of_the_image_and_this_python(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "kept")
    look = (
        "import os, sys; print(sorted(os.listdir())); print(sys.executable); "
        "print(os.environ.get('SECRET')); sys.exit('SomeError: seen')"
    )

    with pytest.raises(RehearsalError, match="a ended with exit status 1: SomeError: seen"):
        rehearsed(small_job(["python", "-c", look]), tmp_path)

    lines = (tmp_path / "logs" / "a.log").read_text().splitlines()
    assert lines[:3] == ["['requirements.lock']", sys.executable, "None"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {
                "a": lambda spec, task: spec["deploymentSpec"]["executors"].update(
                    one={"resolver": 1}
                )
            },
            "a: resolver is no kind of task known here",
        ),
        ({"b": lambda spec, task: task.update(dependentTasks=["c"])}, "no such task: c"),
        ({"a": lambda spec, task: task.update(dependentTasks=["b"])}, "they wait for each other"),
        (
            {
                "a": lambda spec, task: task["inputs"]["parameters"].update(
                    text={"taskOutputParameter": {}}
                )
            },
            "a: text is given as taskOutputParameter, not known here",
        ),
        (
            {"b": lambda spec, task: task["inputs"]["artifacts"].update(model={"other": {}})},
            "b: model is given as other, not known here",
        ),
        (
            {"a": lambda spec, task: spec["root"]["inputDefinitions"].update(parameters={})},
            "a: epochs is the pipeline's parameter epochs, without value",
        ),
    ],
)
def test_what_is_not_known_is_an_error(tmp_path, changes, words):
    with pytest.raises(RehearsalError, match=words):
        rehearsed(small_job(["python", "-c", TELL], **changes), tmp_path)


def test_without_a_module_in_the_image_the_node_that_needs_it_fails(
    tmp_path, monkeypatch, few_photos
):
    job = compiled(tmp_path)
    files = [name for name in digests.image_files() if name != "components/dataset.py"]
    monkeypatch.setattr(digests, "image_files", lambda: files)
    root = str(tmp_path / "root")

    with pytest.raises(RehearsalError, match=r"DatasetImporter ended .*'dataset'"):
        rehearsal.rehearse(job, str(tmp_path), root, root, str(few_photos), {}, lambda line: None)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--file", "nothing.json"], "--file nothing.json: there is none: run `compile` first"),
        (["--file", "README.md"], "--file README.md: can't be read"),
    ],
)
def test_a_file_that_is_none_is_refused(flags, words, capsys, monkeypatch):
    monkeypatch.chdir(digests.ROOT)

    assert kubeflow_runner.main(["rehearse", *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_root_that_holds_something_is_refused(tmp_path, capsys):
    (tmp_path / "pipeline.json").write_text("{}")

    flags = ["--file", str(tmp_path / "pipeline.json"), "--root", str(tmp_path)]
    assert kubeflow_runner.main(["rehearse", *flags]) == 2
    assert "is not empty: give a new folder" in capsys.readouterr().err
