"""A compiled pipeline file on its way to Vertex Pipelines: checked, sent, watched, repeated.

Everything that can be looked at beforehand is, and all that is wrong is said at once: a pipeline
that fails for want of a label fails after an hour of paid machines.

Interfaces: Artifact Registry (https://distribution.github.io/distribution/spec/api), Cloud Storage
(https://cloud.google.com/storage/docs/json_api), IAM, and Vertex AI by its own client over REST,
which goes through the proxies that https_proxy names.
"""

import concurrent.futures
import contextlib
import dataclasses
import datetime
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from components import dataset, digests
from components.sources.base import DataError
from models import places
from pipeline import inputs
from pipeline.command_line import FailureError
from pipeline.settings import MODELS, SettingsError

LABEL = "org.spotted.code"  # of the image: the digest of the code in it
_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+\d+")
_ACCOUNT = re.compile(r"[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com")
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.index.v1+json",
)
# Where buckets lie that have no single region.
_CONTINENTS = {"eu": "europe", "us": "us", "asia": "asia"}
_PAIRS = {
    "eur4": ("europe-north1", "europe-west4"),
    "nam4": ("us-central1", "us-east1"),
    "asia1": ("asia-northeast1", "asia-northeast2"),
}
_PATIENCE = 60.0  # seconds for one answer
WAIT = 15.0  # seconds between two looks at a run


class SubmissionError(FailureError):
    """Vertex refused or failed; the message says what it said."""


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a pipeline runs, and as whom.

    Attributes:
      project: id of the Google Cloud project.
      region: for example europe-west4.
      account: e-mail address of the service account that the tasks run as.
    """

    project: str
    region: str
    account: str

    def problems(self) -> Iterator[str]:
        """What can't be right, by its form."""
        told = {
            "--project": (self.project, _PROJECT, "the id of a Google Cloud project"),
            "--region": (self.region, _REGION, "a region such as europe-west4"),
            "--service_account": (self.account, _ACCOUNT, "NAME@PROJECT.iam.gserviceaccount.com"),
        }
        for flag, (value, form, wanted) in told.items():
            if not value:
                yield f"{flag} is missing: give {wanted}, here or to `compile`"
            elif not form.fullmatch(value):
                yield f"{flag} {value}: expected {wanted}"

    def note(self, job: dict[str, Any]) -> None:
        """Writes it into a pipeline file, where the fields of a PipelineJob are for it."""
        job["name"] = f"projects/{self.project}/locations/{self.region}"
        job["serviceAccount"] = self.account

    @classmethod
    def noted(cls, job: Mapping[str, Any], **given: str | None) -> "Target":
        """What a pipeline file says, and what is given instead."""
        _, project, _, region, *_ = [*str(job.get("name", "")).split("/"), "", "", "", ""]
        found = {"project": project, "region": region, "account": job.get("serviceAccount", "")}
        return cls(**{key: given.get(key) or value for key, value in found.items()})


@dataclasses.dataclass(frozen=True)
class Ready:
    """A submission that nothing speaks against.

    Attributes:
      job: the pipeline file's content, with its image by digest.
      target: where it goes.
      values: of the pipeline's parameters.
      uploads: what the bucket still lacks: place in it -> content, or the file that holds it.
    """

    job: dict[str, Any]
    target: Target
    values: dict[str, Any]
    uploads: dict[str, bytes | str]


def prepare(
    job: dict[str, Any],
    folder: str,
    target: Target,
    values: Mapping[str, Any],
    say: Callable[[str], None],
) -> Ready:
    """Checks all that can be checked before anything is paid for.

    Args:
      job: the pipeline file's content.
      folder: where it lies, with its `inputs`.
      target: where it is to go.
      values: of the parameters that are given; `data_version` None for what the folder holds now,
        "" for what it holds when a run begins.
      say: is told what is looked at.

    Raises:
      SettingsError: with all that is wrong, a line each.
    """
    problems = [*target.problems(), *_code_problems(job), *_number_problems(values)]
    root = job["runtimeConfig"]["gcsOutputDirectory"].removesuffix("/artifacts")
    told = {**values, "root": root}
    uploads: dict[str, bytes | str] = {}
    try:
        google = Google()
    except SettingsError as error:
        raise SettingsError("\n".join([*problems, str(error)])) from None
    say("looking at the image, the bucket and the project")
    (image,) = images(job)
    pinned, wrong = google.image(image)
    problems += [*wrong, *google.bucket(root, target.region)]
    if not list(target.problems()):
        problems += [*google.vertex(target), *google.account(target)]
    if not problems:
        try:
            uploads = _inputs(folder, root)
            uploads |= _data(job, folder, root, told, say)
        except DataError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{error.filename or root}: can't be read: {error.strerror}")
    if problems:
        raise SettingsError("\n".join(problems))
    job = json.loads(json.dumps(job).replace(json.dumps(image), json.dumps(pinned)))
    if not told["data_version"]:  # the folder may hold something else under the same name
        importer = job["pipelineSpec"]["root"]["dag"]["tasks"]["DatasetImporter"]
        importer["cachingOptions"] = {"enableCache": False}
    return Ready(job, target, told, uploads)


def images(job: Mapping[str, Any]) -> set[str]:
    """The images that the tasks of a pipeline file run in."""
    executors = job["pipelineSpec"]["deploymentSpec"]["executors"].values()
    return {told["container"]["image"] for told in executors if "container" in told}


def _code_problems(job: Mapping[str, Any]) -> Iterator[str]:
    code = digests.of_project()
    if job.get("labels", {}).get("code") != code[:12]:
        yield "the file was compiled from other code than is here: run `compile` again"


def _number_problems(values: Mapping[str, Any]) -> Iterator[str]:
    """What no model takes; the rest depends on what the file was compiled for."""
    bounds = {"image_size": (32, 1024), "student_size": (32, 1024), "epochs": (1, 10_000)}
    for name, (least, most) in bounds.items():
        if name in values and not least <= values[name] <= most:
            yield f"--{name} {values[name]}: expected {least} to {most}"
    if values.get("image_size", 0) % 2:
        yield f"--image_size {values['image_size']}: must be even"


def _inputs(folder: str, root: str) -> dict[str, bytes | str]:
    """What the graph reads beside the data; their names are digests of their contents."""
    return _lacking(os.path.join(folder, "inputs"), f"{root}/inputs")


def _lacking(folder: str, target: str) -> dict[str, bytes | str]:
    """The files of a folder that are not in the target yet: place there -> file."""
    found = {f"{target}/{name}": os.path.join(folder, name) for name in places.files(folder)}
    with concurrent.futures.ThreadPoolExecutor(places.AT_ONCE) as pool:
        there = dict(zip(found, pool.map(places.stamp, found), strict=True))
    return {place: file for place, file in found.items() if there[place] is None}


def _data(
    job: Mapping[str, Any],
    folder: str,
    root: str,
    told: dict[str, Any],
    say: Callable[[str], None],
) -> dict[str, bytes | str]:
    """The listing of the photos, and of the built-in sample the photos too; completes `told`."""
    sample = f"{root}/sample"
    defaults = job["pipelineSpec"]["root"]["inputDefinitions"]["parameters"]
    place = told.setdefault("data", defaults["data"]["defaultValue"])
    version = told.get("data_version")
    if version is None:
        version = defaults["data_version"]["defaultValue"] or None
    uploads: dict[str, bytes | str] = {}
    if not places.is_bucket(place):
        raise DataError(f"--data {place}: expected gs://BUCKET/FOLDER, which the tasks can read")
    if version is None:
        here = place
        if place == sample:
            here = inputs.sample(folder)
            uploads = _lacking(here, sample)
        say(f"reading {here}: its digest is the version of the data")
        found = dataset.read_dataset(here)
        version = found.digest
        uploads[f"{root}/inputs/{version}.jsonl"] = found.listing()
    elif version:
        listing = f"{root}/inputs/{version}.jsonl"
        if not places.exists(listing):
            raise DataError(
                f"--data_version {version}: there is no {listing}: leave it out, and it is made"
            )
    told["data_version"] = version
    return uploads


class Google:
    """What is asked of Google Cloud, as whoever is logged in.

    Raises:
      SettingsError: nobody is.
    """

    def __init__(self) -> None:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError
        from google.auth.transport.requests import AuthorizedSession

        try:
            self.credentials, _ = google.auth.default(scopes=[_SCOPE])
        except DefaultCredentialsError:
            raise SettingsError(
                "nobody is logged in to Google Cloud: gcloud auth application-default login"
            ) from None
        self._session = AuthorizedSession(self.credentials)

    def ask(self, url: str, **headers: str) -> tuple[int, Mapping[str, str], Any]:
        """Status, headers and JSON of an answer; raises SubmissionError."""
        import requests
        from google.auth.exceptions import GoogleAuthError

        try:
            answer = self._session.get(url, headers=headers, timeout=_PATIENCE)
            return answer.status_code, answer.headers, answer.json()
        except ValueError:  # no JSON, as of a proxy
            return answer.status_code, answer.headers, {}
        except (requests.RequestException, GoogleAuthError) as error:
            raise SubmissionError(f"{url} can't be asked: {error}") from None

    def image(self, image: str) -> tuple[str, list[str]]:
        """The image by its digest, and what speaks against it."""
        host, _, path = image.partition("/")
        name, tag = re.fullmatch(r"(.*?)(?:@|:)([^/]*)", path).groups()  # type: ignore[union-attr]
        if not host.endswith(("-docker.pkg.dev", "gcr.io")):
            return image, [
                f"{image}: Vertex takes images from Artifact Registry: "
                "REGION-docker.pkg.dev/PROJECT/REPOSITORY/NAME:TAG"
            ]
        base = f"https://{host}/v2/{name}"
        accept = ", ".join(_MANIFESTS)
        code, headers, told = self.ask(f"{base}/manifests/{tag}", Accept=accept)
        if code == 200 and "manifests" in told:  # of several platforms
            fits = [
                item["digest"]
                for item in told["manifests"]
                if item.get("platform", {}).get("architecture") == "amd64"
            ]
            if not fits:
                return image, [f"{image}: is for other machines than linux/amd64"]
            code, headers, told = self.ask(f"{base}/manifests/{fits[0]}", Accept=accept)
        if code != 200:
            return image, [f"{image}: {_no(code, 'is not in the registry: make image, push it')}"]
        pinned = f"{host}/{name}@{headers.get('docker-content-digest', tag)}"
        code, _, config = self.ask(f"{base}/blobs/{told['config']['digest']}")
        found = (config.get("config", {}).get("Labels") or {}).get(LABEL) if code == 200 else None
        if found is None:
            return image, [f"{image}: has no label {LABEL}: build it with `make image`"]
        if found != digests.of_project():
            return image, [
                f"{image}: holds other code ({found[:12]}) than is here "
                f"({digests.of_project()[:12]}): make image, push it under a new tag, compile"
            ]
        return pinned, []

    def bucket(self, root: str, region: str) -> list[str]:
        """What speaks against the bucket of the pipeline root."""
        name = root.removeprefix("gs://").partition("/")[0]
        code, _, told = self.ask(f"https://storage.googleapis.com/storage/v1/b/{name}")
        if code != 200:
            return [f"gs://{name}: {_no(code, 'there is no such bucket')}"]
        location = str(told["location"]).lower()
        parts = told.get("customPlacementConfig", {}).get("dataLocations", [])
        near = {location, *(part.lower() for part in parts), *_PAIRS.get(location, ())}
        if region in near or region.startswith(f"{_CONTINENTS.get(location, '?')}-"):
            return []
        return [f"gs://{name}: lies in {location}, the pipeline would run in {region}"]

    def vertex(self, target: Target) -> list[str]:
        """What hinders pipelines in the project and the region."""
        where = f"projects/{target.project}/locations/{target.region}"
        code, _, told = self.ask(
            f"https://{target.region}-aiplatform.googleapis.com/v1/{where}/pipelineJobs?pageSize=1"
        )
        if code == 200:
            return []
        said = told.get("error", {}).get("message", "") if isinstance(told, dict) else ""
        return [f"{where}: {_no(code, 'there is no such project or region')}: {said}".rstrip(": ")]

    def account(self, target: Target) -> list[str]:
        """Whether the service account is not there, where that may be asked."""
        code, _, _ = self.ask(
            f"https://iam.googleapis.com/v1/projects/-/serviceAccounts/{target.account}"
        )
        return [f"--service_account {target.account}: there is none"] if code == 404 else []


def _no(code: int, missing: str) -> str:
    if code == 404:
        return missing
    return f"no permission ({code})" if code in (401, 403) else f"the answer was {code}"


def upload(ready: Ready, say: Callable[[str], None]) -> None:
    """Takes to the bucket what it lacks, every object whole; raises SubmissionError."""

    def send(item: tuple[str, bytes | str]) -> None:
        place, content = item
        try:
            places.write(place, places.read(content) if isinstance(content, str) else content)
        except OSError as error:
            raise SubmissionError(f"{place} can't be written: {error.strerror}") from error

    with concurrent.futures.ThreadPoolExecutor(places.AT_ONCE) as pool:
        for number, _ in enumerate(pool.map(send, ready.uploads.items()), start=1):
            if number % 100 == 0 or number == len(ready.uploads):
                say(f"uploaded {number}/{len(ready.uploads)} files")


def _vertex(target: Target) -> Any:
    """Google's client, set up; over REST, since that goes through proxies."""
    from google.cloud import aiplatform

    aiplatform.init(project=target.project, location=target.region, api_transport="rest")
    return aiplatform


def _pipeline_job(ready: Ready) -> Any:
    """The job as Google's client knows it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(ready.job, file)
        file.flush()
        return _vertex(ready.target).PipelineJob(
            display_name=ready.job["pipelineSpec"]["pipelineInfo"]["name"],
            template_path=file.name,
            parameter_values=ready.values,
            labels=ready.job["labels"],
        )


def submit(ready: Ready) -> str:
    """Starts the pipeline.

    Returns:
      The job's name.

    Raises:
      SubmissionError: Vertex refused it.
    """
    with _said():
        job = _pipeline_job(ready)
        job.submit(service_account=ready.target.account)
    return str(job.resource_name)


def link(name: str) -> str:
    """Where people look at a job."""
    _, project, _, region, _, job = name.split("/")
    return (
        f"https://console.cloud.google.com/vertex-ai/locations/{region}/pipelines/runs/{job}"
        f"?project={project}"
    )


def watch(target: Target, name: str, say: Callable[[str], None]) -> bool:
    """Follows a job until it ends, and says of every task when and how it did.

    Args:
      target: where it runs.
      name: of the job, with or without where it runs.
      say: is told.

    Returns:
      Whether every model was pushed.

    Raises:
      SubmissionError: there is no such job, or it failed.
    """
    known: set[str] = set()
    while True:
        with _said():
            told = _vertex(target).PipelineJob.get(name).to_dict()
        names = told["pipelineSpec"]["root"]["dag"]["tasks"]
        details = told.get("jobDetail", {}).get("taskDetails", [])
        tasks = {task["taskName"]: task for task in details if task["taskName"] in names}
        ended = [task for task in tasks.values() if "endTime" in task]
        for task in sorted(ended, key=lambda task: str(task["endTime"])):
            if task["taskName"] not in known:
                known.add(task["taskName"])
                say(f"  {len(known):>2}/{len(names)}  {task['taskName']:<28} {_ended(task)}")
        state = str(told.get("state", "")).removeprefix("PIPELINE_STATE_")
        if state == "SUCCEEDED":
            return _pushed(tasks, say)
        if state in ("FAILED", "CANCELLED"):
            failed = [task for task in ended if task.get("state") == "FAILED"]
            why = [f"{task['taskName']}: {_message(task)}" for task in failed] or [_message(told)]
            raise SubmissionError(f"{state.lower()}: {'; '.join(why)} ({link(told['name'])})")
        time.sleep(WAIT)


def _message(told: Mapping[str, Any]) -> str:
    return str(told.get("error", {}).get("message", "no reason was given"))


def _ended(task: Mapping[str, Any]) -> str:
    if task["state"] == "SKIPPED":
        return "cached"
    times = [_seconds(task[key]) for key in ("startTime", "endTime") if key in task]
    took = f"{times[1] - times[0]:8.1f} s" if len(times) == 2 else ""
    return f"{task['state'].lower():<9} {took}".rstrip()


def _seconds(text: str) -> float:
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _pushed(tasks: Mapping[str, Mapping[str, Any]], say: Callable[[str], None]) -> bool:
    """Says where the models lie; returns whether all of them were pushed."""
    every = True
    for model in MODELS:
        if task := tasks.get(f"Pusher_{model}"):
            artifacts = task.get("outputs", {}).get("pushed_model", {}).get("artifacts", [{}])
            place = artifacts[0].get("metadata", {}).get("pushed_destination")
            say(f"{model:<9} {place or 'not pushed: its gate refused it'}")
            every &= place is not None
    return every


def schedule(ready: Ready, cron: str) -> str:
    """Runs the pipeline again and again; returns the schedule's name.

    Raises:
      SubmissionError: Vertex refused it.
    """
    with _said():
        made = _vertex(ready.target).PipelineJobSchedule(
            pipeline_job=_pipeline_job(ready), display_name=f"spotted {cron}"
        )
        made.create(cron=cron, max_concurrent_run_count=1, service_account=ready.target.account)
    return str(made.resource_name)


def schedules(target: Target) -> list[tuple[str, str, str, str]]:
    """(name, cron, state, next run) of the schedules of this pipeline; raises SubmissionError."""
    with _said():
        found = _vertex(target).PipelineJobSchedule.list()
        told = [item.to_dict() for item in found if item.display_name.startswith("spotted ")]
    return [
        (item["name"], item.get("cron", ""), item.get("state", ""), item.get("nextRunTime", ""))
        for item in told
    ]


def unschedule(target: Target, name: str) -> None:
    """Ends a schedule; what runs goes on; raises SubmissionError."""
    with _said():
        _vertex(target).PipelineJobSchedule.get(name).delete()


def check_cron(text: str) -> None:
    """Sees that a text is a cron expression.

    Raises:
      SettingsError: it is none.
    """
    zone, fields = re.fullmatch(r"(?:(?:CRON_)?TZ=(\S+)\s+)?(.*)", text.strip()).groups()  # type: ignore[union-attr]
    bounds = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
    parts = fields.split()
    good = len(parts) == len(bounds) and all(
        _in_bounds(item, *bound)
        for part, bound in zip(parts, bounds, strict=False)
        for item in part.split(",")
    )
    if not good or (zone is not None and "/" not in zone and zone != "UTC"):
        raise SettingsError(
            f'--cron "{text}": expected minute, hour, day of the month, month and day of the week, '
            'such as "0 3 * * 1", or with a time zone: "TZ=Europe/Berlin 0 3 * * 1"'
        )


def _in_bounds(item: str, least: int, most: int) -> bool:
    found = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?", item)
    if not found:
        return False
    numbers = [int(number) for number in found.groups()[:2] if number]
    step = int(found[3] or 1)
    return step > 0 and numbers == sorted(numbers) and all(least <= n <= most for n in numbers)


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """Whatever Google's client raises, as a SubmissionError in one line."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError, OSError, ValueError) as error:
        raise SubmissionError(" ".join(str(error).split())) from error
