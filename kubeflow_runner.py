"""The Spotted pipeline on Vertex Pipelines: one file, rehearsed here, submitted there.

python kubeflow_runner.py compile --pipeline_root gs://bucket/spotted --image IMAGE
python kubeflow_runner.py rehearse
python kubeflow_runner.py submit --data gs://bucket/photos --watch
"""

import argparse
import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

# Keras 3 has to be chosen before anything imports TensorFlow: TFX would choose Keras 2.
os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # or each request to a bucket is a line
os.environ.setdefault("GCS_READAHEAD_BUFFER_SIZE_BYTES", str(1 << 20))  # models/places.py

from models import places, tracking
from models.backbones import WeightsError
from pipeline import beam, flags
from pipeline import settings as settings_lib
from pipeline.command_line import FailureError, Parser, python
from pipeline.settings import REAL, SAMPLE, Settings, SettingsError
from pipeline.terminal import quiet

if TYPE_CHECKING:
    from pipeline.submission import Ready, Target

FOLDER = "./vertex"
FILE = "pipeline.json"
_IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+(:[\w.-]+|@sha256:[0-9a-f]{64})")

_EPILOG = """\
commands (each with a --help of its own)
  compile     writes the pipeline file, and beside it what it reads: schemas, breed table, weights
  rehearse    runs that file here, task by task, as Vertex would: before anyone pays for a machine
  submit      checks all that can be checked, uploads what is missing, starts the file at Vertex
  watch       follows a run there, node by node
  schedule    runs the file there again and again

exit codes
  0 done    1 a task failed, or Vertex refused    2 bad input, nothing was run
  3 a gate refused a model    130 interrupted
"""


def compile_parser() -> argparse.ArgumentParser:
    """The command line of `compile`."""
    result = Parser(
        "kubeflow_runner.py compile",
        description="Writes the pipeline file for Vertex Pipelines. Backbone, weights, views are "
        "fixed in it; data, data_version, image_size, student_size, epochs and root are parameters "
        "of every run of it. Nothing is asked of Google Cloud.",
        allow_abbrev=False,
    )
    group = result.add_argument_group("where it will run")
    group.add_argument(
        "--pipeline_root", metavar="gs://…", required=True,
        help="the folder of everything: inputs/, artifacts/ and serving/ lie below it",
    )  # fmt: skip
    group.add_argument(
        "--image", metavar="IMAGE", required=True,
        help="reference of the container image, with a tag or a digest",
    )  # fmt: skip
    group.add_argument(
        "--data", metavar="DIR", help="default of the parameter data; without it, for the sample"
    )
    group.add_argument("--data_version", metavar="DIGEST", help="default of that parameter")
    _add_target(group)
    group.add_argument(
        "--wandb_secret", metavar="projects/P/secrets/NAME",
        help="record training with Weights & Biases, by the key that this secret of Secret Manager "
        "holds; the file names the secret, and only the training reads it",
    )  # fmt: skip
    group.add_argument(
        "--output", metavar="DIR", default=FOLDER, help=f"gets {FILE} (default: {FOLDER})"
    )
    flags.add_models(result.add_argument_group("models"))
    flags.add_breed(result.add_argument_group("the breed models' photos"))
    flags.add_student(result.add_argument_group("the breed model's student, and its teacher"))
    flags.add_match(result.add_argument_group("the match model"))
    flags.add_evaluation(result.add_argument_group("evaluation"))
    flags.add_beam(result.add_argument_group("beyond one machine"))
    flags.add_views(result.add_argument_group("views (default: cropped and individual)"))
    return result


def _add_target(group: argparse._ActionsContainer) -> None:
    told = "(default: what `compile` was told)" if isinstance(group, Parser) else ""
    group.add_argument("--project", metavar="ID", help=f"of Google Cloud {told}")
    group.add_argument("--region", metavar="NAME", help=f"such as europe-west4 {told}")
    group.add_argument("--service_account", metavar="EMAIL", help=f"that the tasks run as {told}")


def compile_(argv: list[str]) -> int:
    """The command `compile`."""
    arguments = compile_parser().parse_args(argv)
    root = arguments.pipeline_root.rstrip("/")
    if not places.is_bucket(root):
        raise SettingsError(
            f"--pipeline_root {arguments.pipeline_root}: expected gs://BUCKET or gs://BUCKET/FOLDER"
        )
    if not _IMAGE.fullmatch(arguments.image):
        raise SettingsError(
            f"--image {arguments.image}: expected HOST/PATH:TAG or HOST/PATH@sha256:DIGEST"
        )
    if arguments.data and not places.is_bucket(arguments.data):
        raise SettingsError(
            f"--data {arguments.data}: expected gs://BUCKET/FOLDER: no task sees this machine's "
            "folders (rehearse --data FOLDER does)"
        )
    secret = arguments.wandb_secret
    if secret and not tracking.SECRET.fullmatch(secret):
        raise SettingsError(
            "--wandb_secret: expected projects/PROJECT/secrets/NAME, or that with "
            "/versions/NUMBER: where the key lies, never the key"
        )
    settings = settings_lib.check(_settings(arguments))
    folder = os.path.abspath(arguments.output)
    settings_lib.check_output(folder)
    os.makedirs(folder, exist_ok=True)
    with quiet(os.path.join(folder, "compile.log")) as terminal:
        terminal.say("compiling")
        _compile(settings, arguments, root, folder, terminal.say)
    return 0


def _compile(
    settings: Settings,
    arguments: argparse.Namespace,
    root: str,
    folder: str,
    say: Callable[[str], None],
) -> None:
    from pipeline import submission, vertex

    target = submission.Target(
        arguments.project or "", arguments.region or "", arguments.service_account or ""
    )
    if wrong := [text for text in target.problems() if " is missing" not in text]:
        raise SettingsError("\n".join(wrong))
    try:
        ready = vertex.prepare(settings, folder)
    except WeightsError as error:
        raise SettingsError(str(error)) from error
    defaults = {
        vertex.ROOT: root,
        "data": (arguments.data or f"{root}/sample").rstrip("/"),
        "data_version": arguments.data_version or "",
    }
    job = vertex.compiled(ready, arguments.image, defaults, arguments.wandb_secret or "")
    target.note(job)
    path = os.path.join(folder, FILE)
    with open(f"{path}.partial", "w") as file:
        json.dump(job, file, indent=1, sort_keys=True)
    os.replace(f"{path}.partial", path)
    tasks = job["pipelineSpec"]["root"]["dag"]["tasks"]
    say(f"{len(tasks)} tasks, views {', '.join(ready.views)}")
    say(f"pipeline  {path}")
    say(f"inputs    {os.path.join(folder, 'inputs')} (they belong to {root}/inputs)")


def _settings(arguments: argparse.Namespace) -> Settings:
    preset = REAL if arguments.data else SAMPLE
    backbone = arguments.backbone or preset.backbone
    return Settings(
        data=None,
        output=arguments.output,
        backbone=backbone,
        weights=arguments.weights or settings_lib.usual_weights(backbone),
        image_size=preset.image_size if arguments.image_size is None else arguments.image_size,
        epochs=preset.epochs if arguments.epochs is None else arguments.epochs,
        batch_size=preset.batch_size if arguments.batch_size is None else arguments.batch_size,
        crop_margin=arguments.crop_margin,
        views=tuple(view for view in flags.VIEWS if getattr(arguments, view)),
        student=arguments.student or "",
        student_size=flags.student_size(arguments.student_size),
        student_weights=arguments.student_weights or "",
        teacher=arguments.teacher,
        augment=arguments.augment,
        mix=arguments.mix,
        match_loss=arguments.match_loss or "",
        match_start=arguments.match_start,
        false_alarm_rate=arguments.false_alarm_rate,
        bless_anyway=flags.reason(arguments.bless_anyway),
        beam=tuple(
            beam.arguments(
                arguments.beam,
                {
                    "project": arguments.project or "",
                    "region": arguments.region or "",
                    "image": arguments.image,
                    "temp_location": f"{arguments.pipeline_root.rstrip('/')}/temp",
                    "account": arguments.service_account or "",
                },
            )
        ),
    )


def rehearse_parser() -> argparse.ArgumentParser:
    """The command line of `rehearse`."""
    result = Parser(
        "kubeflow_runner.py rehearse",
        description="Runs a compiled pipeline file on this machine: each task in a process of its "
        "own, by the command and arguments of its container, with the files of the image only.",
        allow_abbrev=False,
    )
    result.add_argument(
        "--file", metavar="FILE", default=os.path.join(FOLDER, FILE),
        help=f"that `compile` wrote (default: {os.path.join(FOLDER, FILE)})",
    )  # fmt: skip
    result.add_argument("--data", metavar="DIR", help="your photos; without it, a drawn sample")
    result.add_argument(
        "--root", metavar="DIR|gs://…",
        help="a new folder in the place of the pipeline root (default: rehearsal-<time> by FILE); "
        "of a bucket, that one still gets what the tasks print",
    )  # fmt: skip
    _add_numbers(result)
    return result


_NUMBERS = ("image_size", "student_size", "epochs")


def _add_numbers(group: argparse._ActionsContainer) -> None:
    for name in _NUMBERS:
        group.add_argument(
            f"--{name}", type=int, metavar="N", help="instead of the default that the file has"
        )


def _numbers(arguments: argparse.Namespace) -> dict[str, int]:
    given = {name: getattr(arguments, name) for name in _NUMBERS}
    return {name: value for name, value in given.items() if value is not None}


def _read(path: str) -> dict[str, Any]:
    """A pipeline file.

    Raises:
      SettingsError: it is none.
    """
    try:
        with open(path) as file:
            job: dict[str, Any] = json.load(file)
        if "pipelineSpec" not in job:
            raise ValueError("it holds no pipelineSpec")
    except FileNotFoundError:
        raise SettingsError(f"--file {path}: there is none: run `compile` first") from None
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"--file {path}: can't be read: {error}") from None
    return job


def rehearse(argv: list[str]) -> int:
    """The command `rehearse`."""
    arguments = rehearse_parser().parse_args(argv)
    folder = os.path.dirname(os.path.abspath(arguments.file))
    work = os.path.join(folder, f"rehearsal-{time.strftime('%Y%m%d-%H%M%S')}")
    root = (arguments.root or work).rstrip("/")
    if not places.remote(root):
        root = work = os.path.abspath(root)
    elif not places.is_bucket(root):
        raise SettingsError(f"--root {root}: expected a folder or gs://BUCKET/FOLDER")
    settings_lib.check_output(work)
    if os.path.isdir(work) and os.listdir(work):
        raise SettingsError(f"--root {root}: is not empty: give a new folder")
    job = _read(arguments.file)
    numbers = _numbers(arguments)
    from pipeline import rehearsal

    os.makedirs(work, exist_ok=True)
    with quiet(os.path.join(work, "rehearsal.log")) as terminal:
        passed = rehearsal.rehearse(job, folder, work, root, arguments.data, numbers, terminal.say)
    return 0 if passed else 3


def _add_submission(result: argparse.ArgumentParser) -> None:
    result.add_argument(
        "--file", metavar="FILE", default=os.path.join(FOLDER, FILE),
        help=f"that `compile` wrote (default: {os.path.join(FOLDER, FILE)})",
    )  # fmt: skip
    _add_target(result)
    result.add_argument("--data", metavar="gs://…", help="the photos (default: as compiled)")
    result.add_argument(
        "--data_version", metavar="DIGEST",
        help="of the photos, where their listing is in the bucket already; without it they are "
        "read from here, once, for it",
    )  # fmt: skip
    _add_numbers(result)


def submit_parser() -> argparse.ArgumentParser:
    """The command line of `submit`."""
    result = Parser(
        "kubeflow_runner.py submit",
        description="Checks all that can be checked before anyone pays: that the file and the "
        "image hold the code that is here, that bucket, region, project and account fit. Uploads "
        "what the bucket lacks, and starts the pipeline at Vertex.",
        allow_abbrev=False,
    )
    _add_submission(result)
    result.add_argument("--watch", action="store_true", help="follow it until it ends")
    result.add_argument(
        "--dry_run", action="store_true", help="check, and neither upload nor start anything"
    )
    return result


def submit(argv: list[str]) -> int:
    """The command `submit`."""
    arguments = submit_parser().parse_args(argv)
    with _at_vertex(arguments) as (say, ready):
        from pipeline import submission

        if arguments.dry_run:
            say(f"all is well; {len(ready.uploads)} files would be uploaded, and the run started")
            return 0
        submission.upload(ready, say)
        name = submission.submit(ready)
        say(f"run       {name}")
        say(f"console   {submission.link(name)}")
        if arguments.watch:
            return _follow(ready.target, name, say)
        say(f"watch it  {python()} kubeflow_runner.py watch {name}")
        return 0


@contextlib.contextmanager
def _at_vertex(arguments: argparse.Namespace) -> Iterator[tuple[Callable[[str], None], "Ready"]]:
    """The terminal, and a submission that was checked; what libraries print goes to a file."""
    from pipeline import submission

    job = _read(arguments.file)
    folder = os.path.dirname(os.path.abspath(arguments.file))
    settings_lib.check_output(folder)
    values: dict[str, Any] = {**_numbers(arguments), "data_version": arguments.data_version}
    if arguments.data:
        values["data"] = arguments.data.rstrip("/")
    target = submission.Target.noted(
        job,
        project=arguments.project,
        region=arguments.region,
        account=arguments.service_account,
    )
    with quiet(os.path.join(folder, "submit.log")) as terminal:
        yield terminal.say, submission.prepare(job, folder, target, values, terminal.say)


def _follow(target: "Target", name: str, say: Callable[[str], None]) -> int:
    from pipeline import submission

    try:
        return 0 if submission.watch(target, name, say) else 3
    except KeyboardInterrupt:
        say(f"the run goes on: {python()} kubeflow_runner.py watch {name}")
        say(f"cancel it there: {submission.link(name)}")
        return 130


def watch(argv: list[str]) -> int:
    """The command `watch`."""
    result = Parser(
        "kubeflow_runner.py watch",
        description="Follows a run at Vertex until it ends: a line for every node.",
        allow_abbrev=False,
    )
    result.add_argument("run", metavar="RUN", help="its name, as `submit` says it")
    arguments = result.parse_args(argv)
    from pipeline import submission

    found = re.fullmatch(r"projects/([^/]+)/locations/([^/]+)/pipelineJobs/[^/]+", arguments.run)
    if not found:
        raise SettingsError(
            f"{arguments.run}: expected projects/PROJECT/locations/REGION/pipelineJobs/ID"
        )
    with quiet(os.devnull) as terminal:
        target = submission.Target(found[1], found[2], "")
        return _follow(target, arguments.run, terminal.say)


def schedule_parser() -> argparse.ArgumentParser:
    """The command line of `schedule`."""
    result = Parser(
        "kubeflow_runner.py schedule",
        description="Runs the pipeline at Vertex again and again, after the checks of `submit`. "
        "Without --data_version every run takes the photos as they are when it begins.",
        allow_abbrev=False,
    )
    what = result.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--cron", metavar="CRON", help='when: "0 3 * * 1" or "TZ=Europe/Berlin 0 3 * * 1"'
    )
    what.add_argument("--list", action="store_true", help="say what is scheduled")
    what.add_argument("--delete", metavar="NAME", help="end a schedule; what runs goes on")
    _add_submission(result)
    return result


def schedule(argv: list[str]) -> int:
    """The command `schedule`."""
    arguments = schedule_parser().parse_args(argv)
    from pipeline import submission

    if arguments.cron is None:
        target = submission.Target.noted(
            _read(arguments.file), project=arguments.project, region=arguments.region
        )
        if not (target.project and target.region):
            raise SettingsError("say where to look: --project and --region")
        with quiet(os.devnull) as terminal:
            if arguments.delete:
                submission.unschedule(target, arguments.delete)
                terminal.say(f"ended {arguments.delete}")
            else:
                rows = submission.schedules(target) or [("nothing is scheduled", "", "", "")]
                for row in rows:
                    terminal.say("  ".join(part for part in row if part))
        return 0
    submission.check_cron(arguments.cron)
    if arguments.data_version is None:
        arguments.data_version = ""
    with _at_vertex(arguments) as (say, ready):
        submission.upload(ready, say)
        say(f"schedule  {submission.schedule(ready, arguments.cron)}")
        say(f"when      {arguments.cron}")
    return 0


_COMMANDS = {
    "compile": compile_,
    "rehearse": rehearse,
    "submit": submit,
    "watch": watch,
    "schedule": schedule,
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    parser = Parser(
        "kubeflow_runner.py",
        description="The Spotted pipeline on Vertex Pipelines.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("command", choices=list(_COMMANDS), metavar="|".join(_COMMANDS))
    command = parser.parse_args(argv[:1]).command
    try:
        return _COMMANDS[command](argv[1:])
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"kubeflow_runner.py: {line}", file=sys.stderr)
        return 2
    except FailureError as error:
        print(f"kubeflow_runner.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
