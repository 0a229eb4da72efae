"""`--beam`: what Beam gets, and what is refused before any work."""

import json

import pytest

import kubeflow_runner
import local_runner
from pipeline import beam
from pipeline.settings import SettingsError

POOL = ["--environment_config=127.0.0.1:50000", "--job_endpoint=127.0.0.1:8099"]


def told(arguments: list[str]) -> dict[str, str]:
    return dict(word.removeprefix("--").partition("=")[::2] for word in arguments)


def test_nothing_said_is_this_machine():
    assert beam.arguments([]) == beam.arguments(["local"])
    assert told(beam.arguments([]))["direct_running_mode"] == "in_memory"


def test_an_option_of_ones_own_wins_and_keeps_every_value():
    found = beam.arguments(
        ["--direct_running_mode=multi_threading", "--experiments=a", "--experiments=b"]
    )

    assert told(found)["direct_running_mode"] == "multi_threading"
    assert [word for word in found if "experiments" in word] == [
        "--experiments=a",
        "--experiments=b",
    ]
    assert len([word for word in found if word.startswith("--direct_running_mode")]) == 1


def test_flink_leads_to_a_job_server_and_to_workers_that_are_there():
    found = told(beam.arguments(["flink", *POOL, "--parallelism=4"]))

    assert found["runner"] == "FlinkRunner"
    assert (found["environment_type"], found["parallelism"]) == ("EXTERNAL", "4")


def test_flink_takes_the_options_of_its_job_server():
    found = told(beam.arguments(["flink", *POOL, "--number_of_execution_retries=9"]))

    assert found["number_of_execution_retries"] == "9"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["spark"], "--beam spark: expected one of local, flink, dataflow"),
        (["flink", "dataflow"], "--beam flink dataflow: expected one of"),
        (["--no-such=1"], "--beam=--no-such=1: expected --beam=--OPTION=VALUE"),
        (["--no_such=1"], "--beam=--no_such=1: Beam has no such option"),
        (["--parallelism=many"], "argument --parallelism: invalid int value: 'many'"),
        (["flink"], "give --beam=--job_endpoint=… or --beam=--flink_master=…"),
        (["flink", POOL[1]], "give --beam=--environment_config=… too"),
        (["dataflow"], "give --beam=--project=…, --beam=--region=…"),
    ],
)
def test_what_cannot_work_is_said(words, said):
    with pytest.raises(SettingsError) as caught:
        beam.arguments(words)
    assert said in str(caught.value)


def test_a_local_run_cannot_go_to_dataflow(capsys):
    assert local_runner.main(["--beam", "dataflow"]) == 2
    assert "kubeflow_runner.py compile --beam dataflow" in capsys.readouterr().err


def test_a_compiled_file_tells_every_beam_node_where_dataflow_is(tmp_path):
    flags = ["--project", "shelter", "--region", "europe-west4", "--beam", "dataflow"]
    image = "europe-west4-docker.pkg.dev/shelter/spotted/spotted:1"
    place = ["--pipeline_root", "gs://bucket/spotted", "--image", image]

    assert kubeflow_runner.main(["compile", *flags, *place, "--output", str(tmp_path)]) == 0

    spec = json.loads((tmp_path / "pipeline.json").read_text())["pipelineSpec"]
    executors = spec["deploymentSpec"]["executors"]
    found = {
        name: set(executor["container"]["args"])
        for name, executor in executors.items()
        if "--runner=DataflowRunner" in executor["container"]["args"]
    }
    wanted = {
        "--project=shelter", "--region=europe-west4", "--temp_location=gs://bucket/spotted/temp",
        f"--sdk_container_image={image}",
    }  # fmt: skip
    assert all(wanted <= words for words in found.values())
    kinds = {name.partition("_")[0] for name in found}
    assert {"PhotoCatalog", "ImageExampleGen", "StatisticsGen", "Evaluator"} <= kinds
