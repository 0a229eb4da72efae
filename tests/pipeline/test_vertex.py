"""The pipeline file: valid, the same every time, of no machine; what it holds, in short."""

import copy
import dataclasses
import json
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud.aiplatform import pipeline_jobs
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2

import components
import kubeflow_runner
from components import artifacts, digests
from pipeline import machines, vertex
from pipeline.settings import Settings

GOLDEN = Path(__file__).parent / "vertex_golden.txt"
IMAGE = "europe-west4-docker.pkg.dev/shelter/spotted/spotted:1"
ROOT = "gs://bucket/spotted"
SETTINGS = Settings(
    data=None, output="unused", backbone="small_cnn", weights="none", image_size=64, epochs=30,
    batch_size=32,
)  # fmt: skip
DEFAULTS = {"root": ROOT, "data": f"{ROOT}/sample", "data_version": ""}


def compiled(folder: Path, **changes) -> dict:
    ready = vertex.prepare(dataclasses.replace(SETTINGS, **changes), str(folder))
    return vertex.compiled(ready, IMAGE, DEFAULTS)


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> dict:
    return compiled(tmp_path_factory.mktemp("compiled"))


def tasks(job: dict) -> dict:
    return job["pipelineSpec"]["root"]["dag"]["tasks"]


def summary(job: dict) -> str:
    """Nodes, edges, parameters and machines, a line each; digests are left out."""
    spec = job["pipelineSpec"]
    lines = [
        f"parameter {name}: {told['parameterType']}"
        for name, told in spec["root"]["inputDefinitions"]["parameters"].items()
    ]
    for name, task in tasks(job).items():
        inputs = task.get("inputs", {})
        before = ", ".join(sorted(task.get("dependentTasks", ())))
        executor = spec["deploymentSpec"]["executors"][f"{name}_executor"]
        told = executor["container"]["resources"]
        gpu = told.get("accelerator", {})
        lines += [
            f"{name} after: {before or 'nothing'}",
            f"{name} reads: {', '.join(sorted(inputs.get('artifacts', {}))) or 'nothing'}",
            f"{name} is told: {', '.join(sorted(inputs.get('parameters', {}))) or 'nothing'}",
            f"{name} on: {told['cpuLimit']:g} cores, {told['memoryLimit']:g} GB"
            + (f", {gpu['count']} {gpu['type']}" if gpu else "")
            + f", {task['retryPolicy'].get('maxRetryCount', 0)} retries"
            + (", cached" if task["cachingOptions"]["enableCache"] else ""),
        ]
    return "\n".join(sorted(lines)) + "\n"


def test_the_file_holds_the_golden_nodes_edges_parameters_and_machines(job):
    # To see what changed, and to take it over: write summary(job) to the file and look at its diff.
    assert summary(job) == GOLDEN.read_text()


def test_the_file_is_valid_for_kfp_and_for_vertex(job, tmp_path):
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(job))

    parsed = json_format.ParseDict(job["pipelineSpec"], pipeline_spec_pb2.PipelineSpec())
    loaded = pipeline_jobs.PipelineJob(
        display_name="spotted",
        template_path=str(path),
        parameter_values={"data": "gs://bucket/photos", "epochs": 3},
        project="shelter",
        location="europe-west4",
        credentials=AnonymousCredentials(),
    )

    assert parsed.schema_version == "2.1.0"
    assert len(parsed.root.dag.tasks) == 30
    told = loaded.to_dict()["runtimeConfig"]
    assert told["gcsOutputDirectory"] == f"{ROOT}/artifacts"
    assert told["parameterValues"] == {"data": "gs://bucket/photos", "epochs": 3}


def test_the_file_is_the_same_every_time_and_of_no_machine(job, tmp_path):
    text = json.dumps(job, sort_keys=True)

    assert json.dumps(compiled(tmp_path / "other"), sort_keys=True) == text
    for place in (str(tmp_path), str(digests.ROOT), "/tmp", str(Path.home())):
        assert f"{place}/" not in text


def dangle(part: dict, key: str) -> None:
    part[key] = "nothing"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda spec, task: dangle(task["componentRef"], "name"), "no component nothing"),
        (
            lambda spec, task: dangle(spec["components"]["Trainer_match"], "executorLabel"),
            "Trainer_match: no executor nothing",
        ),
        (lambda spec, task: task["dependentTasks"].append("nothing"), "no task nothing"),
        (
            lambda spec, task: dangle(
                task["inputs"]["artifacts"]["examples"]["taskOutputArtifact"], "producerTask"
            ),
            "examples comes from nothing",
        ),
        (
            lambda spec, task: dangle(
                task["inputs"]["artifacts"]["examples"]["taskOutputArtifact"], "outputArtifactKey"
            ),
            "examples comes from ImageExampleGen_individual, which writes no such thing",
        ),
        (
            lambda spec, task: task["inputs"]["parameters"].pop("pipelinechannel--epochs"),
            "custom_config is made of pipelinechannel--epochs, which is not there",
        ),
        (
            lambda spec, task: dangle(
                task["inputs"]["parameters"]["pipelinechannel--epochs"], "componentInputParameter"
            ),
            "pipelinechannel--epochs is no parameter of the pipeline: nothing",
        ),
        (
            lambda spec, task: task["inputs"]["parameters"].update(
                more={"runtimeValue": {"constant": 1}}
            ),
            "parameters more is not declared",
        ),
    ],
)
def test_a_reference_that_leads_nowhere_is_found(job, change, words):
    broken = copy.deepcopy(job)
    change(broken["pipelineSpec"], tasks(broken)["Trainer_match"])

    with pytest.raises(ValueError, match=words):
        vertex.check(broken)


def test_a_field_that_kfp_does_not_know_is_found(job):
    broken = copy.deepcopy(job)
    tasks(broken)["Trainer_match"]["retries"] = 3

    with pytest.raises(json_format.ParseError, match="retries"):
        vertex.check(broken)


def test_what_the_trainer_is_told_depends_on_the_parameters(job):
    told = tasks(job)["Trainer_breed_student"]["inputs"]["parameters"]

    text = told["custom_config"]["runtimeValue"]["constant"]
    for name, key in (("epochs", "epochs"), ("image_size", "image_size"), ("student_size", "side")):
        channel = f"pipelinechannel--{name}"
        assert f"\"{key}\": {{{{$.inputs.parameters['{channel}']}}}}" in text
        assert told[channel] == {"componentInputParameter": name}
    assert tasks(job)["ImageExampleGen_cropped"]["inputs"]["parameters"]["image_size"] == {
        "componentInputParameter": "image_size"
    }


def test_start_weights_are_imported_from_below_the_root(tmp_path):
    from models import backbones

    net = backbones.get("mobilenet_v2").build(64)
    net.save_weights(str(tmp_path / "w.weights.h5"))
    made = compiled(
        tmp_path / "compiled", backbone="mobilenet_v2", weights=str(tmp_path / "w.weights.h5")
    )

    executor = made["pipelineSpec"]["deploymentSpec"]["executors"]["StartWeights_executor"]
    told = tasks(made)["StartWeights"]["inputs"]["parameters"]
    place = told["uri"]["runtimeValue"]["constant"]
    assert executor["importer"]["artifactUri"] == {"runtimeParameter": "uri"}
    assert place.startswith("{{$.inputs.parameters['pipelinechannel--root']}}/inputs/")
    kept = tmp_path / "compiled" / "inputs" / place.rpartition("/")[2]
    assert (kept / "start.weights.h5").is_file()


def test_views_are_fixed_when_the_file_is_made(tmp_path):
    assert "Trainer_match" not in tasks(compiled(tmp_path, views=("cropped",)))


def test_every_machine_in_the_table_is_one_of_a_node(job):
    kinds = {name.partition("_")[0] for name in tasks(job)}

    assert set(machines.MACHINES) <= kinds


def test_vertex_finds_every_artifact_type_by_its_name():
    types = [
        kind
        for kind in vars(artifacts).values()
        if isinstance(kind, type) and kind.__module__ == artifacts.__name__
    ]

    assert types
    for kind in types:
        module, _, name = kind.TYPE_NAME.rpartition(".")
        assert module == "components"
        assert getattr(components, name) is kind
    with pytest.raises(AttributeError):
        _ = components.Nothing


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--pipeline_root", "bucket"], "--pipeline_root bucket: expected gs://"),
        (["--image", "spotted"], "--image spotted: expected HOST/PATH:TAG"),
        (["--epochs", "0"], "--epochs 0: must be 1"),
        (["--backbone", "x"], "--backbone"),
        (["--data", "photos"], "--data photos: expected gs://BUCKET/FOLDER"),
        (["--wandb_secret", "0123456789"], "where the key lies, never the key"),
        (["--region", "Holland"], "--region Holland: expected a region"),
    ],
)
def test_flags_that_can_not_work_are_refused(flags, words, capsys, tmp_path):
    usual = ["--pipeline_root", ROOT, "--image", IMAGE, "--output", str(tmp_path)]
    assert kubeflow_runner.main(["compile", *usual, *flags]) == 2
    assert words in capsys.readouterr().err
