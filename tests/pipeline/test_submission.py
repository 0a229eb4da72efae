"""A pipeline file on its way to Vertex: what is checked, what is sent, what is said of a run."""

import json
import os
import signal
import subprocess
import sys

import gcs
import pytest
import vertex_server
from vertex_server import ACCOUNT, KEY, REPOSITORY, SECRET

import kubeflow_runner
from components import dataset, digests
from models import tracking
from pipeline import submission
from pipeline.settings import SettingsError

IMAGE = f"europe-west4-docker.pkg.dev/{REPOSITORY}:1"
TARGET = ["--project", "shelter", "--region", "europe-west4", "--service_account", ACCOUNT]
ROOT = "gs://bucket/spotted"
WHERE = "projects/shelter/locations/europe-west4"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A compiled pipeline file."""
    folder = tmp_path_factory.mktemp("vertex")
    flags = ["--pipeline_root", ROOT, "--image", IMAGE, *TARGET, "--wandb_secret", SECRET]
    assert kubeflow_runner.main(["compile", *flags, "--output", str(folder)]) == 0
    return folder / "pipeline.json"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with (
        gcs.serving(tmp_path_factory.mktemp("gcs"), "bucket") as found,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in found.environment().items():
            patch.setenv(name, value)
        yield found


@pytest.fixture
def google(server):
    server.objects.clear()
    return vertex_server.Google(server, digests.of_project())


@pytest.fixture
def photos(server, google, few_photos):
    """Photos in the bucket."""
    gcs.upload(server, "bucket", few_photos, "photos")
    return "gs://bucket/photos"


def run(command, file, *flags):
    return kubeflow_runner.main([command, "--file", str(file), *flags])


def sent(google):
    ((name, job),) = google.jobs.items()
    return name, job


def test_what_vertex_gets_is_the_file_with_its_image_by_digest(
    google, server, file, photos, few_photos, capfd
):
    code = run("submit", file, "--data", photos, "--epochs", "3")

    told = capfd.readouterr()
    assert code == 0, told
    name, job = sent(google)
    written = json.loads(file.read_text())
    (pinned,) = submission.images(job)
    assert pinned.startswith(f"europe-west4-docker.pkg.dev/{REPOSITORY}@sha256:")
    same = json.loads(json.dumps(job["pipelineSpec"]).replace(pinned, IMAGE))
    assert same == written["pipelineSpec"]
    digest = dataset.read_dataset(str(few_photos)).digest
    assert job["runtimeConfig"]["parameterValues"] == {
        "root": ROOT, "data": photos, "data_version": digest, "epochs": 3,
    }  # fmt: skip
    assert job["runtimeConfig"]["gcsOutputDirectory"] == f"{ROOT}/artifacts"
    assert job["serviceAccount"] == ACCOUNT
    assert job["labels"]["code"] == digests.of_project()[:12]
    assert name.startswith(f"{WHERE}/pipelineJobs/")
    for line in (f"run       {name}", f"console   {submission.link(name)}"):
        assert line in told.out
    inputs = server.names("bucket", "spotted/inputs/")
    here = file.parent / "inputs"
    wanted = [str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()]
    assert inputs == sorted([*wanted, f"{digest}.jsonl"])


def test_what_the_bucket_has_is_not_uploaded_again(google, server, file, photos):
    assert run("submit", file, "--data", photos) == 0
    before = {name: made.generation for name, made in server.objects.items()}

    assert run("submit", file, "--data", photos) == 0

    after = {name: made.generation for name, made in server.objects.items()}
    assert {name for name in after if after[name] != before.get(name)} <= {
        name for name in after if name[1].endswith(".jsonl")
    }


def test_a_dry_run_changes_nothing(google, server, file, photos, capfd):
    before = dict(server.objects)

    assert run("submit", file, "--data", photos, "--dry_run") == 0

    assert server.objects == before
    assert google.jobs == {}
    assert "files would be uploaded" in capfd.readouterr().out


def test_without_photos_of_ones_own_the_sample_goes_along(google, server, file):
    assert run("submit", file) == 0

    values = sent(google)[1]["runtimeConfig"]["parameterValues"]
    assert values["data"] == f"{ROOT}/sample"
    there = dataset.read_dataset(f"{ROOT}/sample")
    assert there.digest == values["data_version"]


def test_everything_that_is_wrong_is_said_at_once(google, server, file, tmp_path, capfd):
    job = json.loads(file.read_text())
    job["labels"]["code"] = "0" * 12
    job["runtimeConfig"]["gcsOutputDirectory"] = "gs://nobodys/spotted/artifacts"
    (tmp_path / "pipeline.json").write_text(json.dumps(job))
    google.label = "0" * 64
    google.forbidden = "pipelineJobs"

    flags = ["--service_account", "gone@shelter.iam.gserviceaccount.com", "--image_size", "65"]
    code = run("submit", tmp_path / "pipeline.json", *flags, "--epochs", "0")

    told = capfd.readouterr().err
    assert code == 2
    for words in (
        "was compiled from other code than is here",
        "--image_size 65: must be even",
        "--epochs 0: expected 1 to",
        "holds other code (000000000000) than is here",
        "gs://nobodys: there is no such bucket",
        "no permission (403): Vertex AI API has not been used in it",
        "--service_account gone@shelter.iam.gserviceaccount.com: there is none",
    ):
        assert words in told
    assert google.jobs == {}
    assert server.objects == {}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--project", "UPPER"], "--project UPPER: expected the id of a Google Cloud project"),
        (["--region", "Holland"], "--region Holland: expected a region"),
        (["--region", "us-central1"], "gs://bucket: lies in europe-west4, the pipeline would run"),
        (["--service_account", "me@gmail.com"], "expected NAME@PROJECT.iam.gserviceaccount.com"),
        (["--data", "photos"], "--data photos: expected gs://BUCKET/FOLDER"),
        (["--data", "gs://bucket/nothing"], "gs://bucket/nothing can't be listed"),
        (["--data_version", "abc"], f"there is no {ROOT}/inputs/abc.jsonl"),
    ],
)
def test_a_wrong_flag_is_named(google, file, flags, words, capfd):
    assert run("submit", file, *flags) == 2
    assert words in capfd.readouterr().err
    assert google.jobs == {}


@pytest.mark.parametrize(
    ("location", "region", "fits"),
    [
        ("EU", "europe-west4", True), ("EU", "us-east1", False), ("EUR4", "europe-west4", True),
        ("EUR4", "europe-west1", False), ("US-EAST1", "us-east1", True), ("US", "us-east1", True),
    ],
)  # fmt: skip
def test_a_bucket_of_several_regions_is_near_to_all_of_them(
    google, server, monkeypatch, location, region, fits
):
    monkeypatch.setattr(server, "location", location)

    assert (submission.Google().bucket(ROOT, region) == []) is fits


def test_an_image_that_is_not_there_or_has_no_label_is_named(google, file, tmp_path, capfd):
    text = file.read_text()
    other = tmp_path / "pipeline.json"
    google.label = None
    assert run("submit", file) == 2
    assert "has no label org.spotted.code: build it with `make image`" in capfd.readouterr().err
    other.write_text(text.replace(IMAGE, IMAGE.replace(":1", ":2")))
    assert run("submit", other) == 2
    assert "is not in the registry: make image, push it" in capfd.readouterr().err
    other.write_text(text.replace(IMAGE, "ghcr.io/shelter/spotted:1"))
    assert run("submit", other) == 2
    assert "Vertex takes images from Artifact Registry" in capfd.readouterr().err


def test_without_a_login_it_says_how_to_log_in(file, monkeypatch, tmp_path, capfd):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")

    assert run("submit", file) == 2
    assert "gcloud auth application-default login" in capfd.readouterr().err


def task(name, state="SUCCEEDED", seconds=61, **more):
    start = {"startTime": "2026-01-01T00:00:00Z"}
    end = {"endTime": f"2026-01-01T00:{seconds // 60:02}:{seconds % 60:02}Z"}
    return {"taskName": name, "state": state, **start, **(end if seconds else {}), **more}


def pusher(model, place):
    metadata = {"pushed": 1, "pushed_destination": place} if place else {"pushed": 0}
    outputs = {"pushed_model": {"artifacts": [{"name": "a", "metadata": metadata}]}}
    return task(f"Pusher_{model}", seconds=90, outputs=outputs)


def seen(state, *tasks):
    return {"state": f"PIPELINE_STATE_{state}", "jobDetail": {"taskDetails": list(tasks)}}


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(submission, "WAIT", 0.05)


def test_a_run_is_followed_node_by_node(google, file, photos, impatient, capfd):
    first = task("DatasetImporter"), task("PhotoCatalog", "RUNNING", seconds=0)
    later = task("PhotoCatalog", "SKIPPED", seconds=80)
    pushed = pusher("breed", f"{ROOT}/serving/breed/7"), pusher("match", f"{ROOT}/serving/match/7")
    google.script = [seen("PENDING"), seen("RUNNING", *first)]
    google.script += [seen("SUCCEEDED", first[0], later, *pushed)]

    code = run("submit", file, "--data", photos, "--watch")

    told = capfd.readouterr().out
    assert code == 0
    assert told.count("DatasetImporter") == 1
    lines = [" ".join(line.split()) for line in told.splitlines()]
    assert "1/30 DatasetImporter succeeded 61.0 s" in lines
    assert "2/30 PhotoCatalog cached" in lines
    assert f"breed {ROOT}/serving/breed/7" in lines


def test_a_gate_that_refused_a_model_is_exit_code_3(google, file, photos, impatient, capfd):
    told = pusher("breed", f"{ROOT}/serving/breed/7"), pusher("match", "")
    google.script = [seen("SUCCEEDED", *told)]

    assert run("submit", file, "--data", photos, "--watch") == 3
    assert "not pushed: its gate refused it" in capfd.readouterr().out


def test_a_task_that_failed_is_named_with_its_error(google, file, photos, impatient, capfd):
    why = {"code": 9, "message": "The replica workerpool0-0 exited with status 1"}
    google.script = [seen("FAILED", task("Trainer_match", "FAILED", error=why))]

    assert run("submit", file, "--data", photos, "--watch") == 1
    told = capfd.readouterr().err
    assert "failed: Trainer_match: The replica workerpool0-0 exited with status 1" in told
    assert "console.cloud.google.com" in told


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_go_on(google, server, file, photos):
    google.script = [seen("RUNNING", task("DatasetImporter"))]
    process = subprocess.Popen(
        [sys.executable, "kubeflow_runner.py", "submit", "--file", str(file), "--data", photos,
         "--watch"],
        cwd=digests.ROOT, env={**os.environ, "PYTHONPATH": str(digests.ROOT)},
        stdout=subprocess.PIPE, text=True,
        # Whoever runs the tests in the background has it ignored, and so would this process.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    said = []
    for line in process.stdout:
        said.append(line)
        if "DatasetImporter" in line:
            process.send_signal(signal.SIGINT)
    code = process.wait(timeout=30)

    name, _ = sent(google)
    assert code == 130, said
    assert f"kubeflow_runner.py watch {name}" in said[-2]
    assert submission.link(name) in said[-1]
    assert not any("cancel" in asked for asked in google.asked)


def test_a_run_that_is_not_there_is_named(google, capfd):
    assert kubeflow_runner.main(["watch", f"{WHERE}/pipelineJobs/none"]) == 1
    assert f"there is no {WHERE}/pipelineJobs/none" in capfd.readouterr().err
    assert kubeflow_runner.main(["watch", "none"]) == 2


def test_a_schedule_is_made_listed_and_ended(google, file, photos, capfd):
    assert run("schedule", file, "--data", photos, "--cron", "TZ=Europe/Berlin 0 3 * * 1") == 0
    ((name, made),) = google.schedules.items()
    assert f"schedule  {name}" in capfd.readouterr().out
    assert made["cron"] == "TZ=Europe/Berlin 0 3 * * 1"
    assert int(made["maxConcurrentRunCount"]) == 1
    request = made["createPipelineJobRequest"]["pipelineJob"]
    assert request["serviceAccount"] == ACCOUNT
    assert request["runtimeConfig"]["parameterValues"]["data_version"] == ""
    cached = {
        name: task["cachingOptions"].get("enableCache", False)
        for name, task in request["pipelineSpec"]["root"]["dag"]["tasks"].items()
    }
    assert [name for name in cached if not cached[name]] == ["DatasetImporter"]

    assert run("schedule", file, "--list") == 0
    assert name in capfd.readouterr().out
    assert run("schedule", file, "--delete", name) == 0
    assert google.schedules == {}
    assert run("schedule", file, "--list") == 0
    assert "nothing is scheduled" in capfd.readouterr().out


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "0 3 * *",
        "60 3 * * 1",
        "0 3 * * mo",
        "*/0 3 * * 1",
        "TZ=Berlin 0 3 * * 1",
        "5-3 * * * *",
    ],
)
def test_what_is_no_cron_expression_is_refused(cron):
    with pytest.raises(SettingsError, match="--cron"):
        submission.check_cron(cron)


@pytest.mark.parametrize(
    "cron",
    ["0 3 * * 1", "*/15 0-6,22 1 */2 0", "TZ=UTC 0 0 * * *", "CRON_TZ=America/Lima 1 1 1 1 1"],
)
def test_a_cron_expression_is_taken(cron):
    submission.check_cron(cron)


def test_the_key_for_wandb_is_named_in_the_trainers_alone_and_read_by_them(google, file):
    text = file.read_text()
    executors = json.loads(text)["pipelineSpec"]["deploymentSpec"]["executors"]
    told = {
        name: {item["name"]: item["value"] for item in executor["container"].get("env", [])}
        for name, executor in executors.items()
    }
    trainers = {name for name, variables in told.items() if variables}
    assert {name.rpartition("_")[0] for name in trainers} == {
        "Trainer_breed_teacher", "Trainer_breed_student", "Trainer_match",
    }  # fmt: skip
    assert all(told[name][tracking.SECRET_VARIABLE] == SECRET for name in trainers)
    assert KEY not in text

    assert tracking.key_of(SECRET) == {"WANDB_API_KEY": KEY}
    with pytest.raises(tracking.TrackingError, match=r"roles/secretmanager.secretAccessor"):
        tracking.key_of("projects/shelter/secrets/none")
    assert KEY not in str(os.environ)
