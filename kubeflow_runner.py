"""Compile the Spotted pipeline for Vertex Pipelines, and rehearse the file on this machine.

python kubeflow_runner.py compile --pipeline_root gs://bucket/spotted --image IMAGE
python kubeflow_runner.py rehearse
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable

# Keras 3 has to be chosen before anything imports TensorFlow: TFX would choose Keras 2.
os.environ["TF_USE_LEGACY_KERAS"] = "0"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # or each request to a bucket is a line

from models import places
from models.backbones import WeightsError
from pipeline import flags
from pipeline import settings as settings_lib
from pipeline.command_line import Parser
from pipeline.settings import REAL, SAMPLE, Settings, SettingsError
from pipeline.terminal import quiet

FOLDER = "./vertex"
FILE = "pipeline.json"
_IMAGE = re.compile(r"[a-z0-9.-]+(:\d+)?(/[a-z0-9._-]+)+(:[\w.-]+|@sha256:[0-9a-f]{64})")

_EPILOG = """\
commands (each with a --help of its own)
  compile     writes the pipeline file, and beside it what it reads: schemas, breed table, weights
  rehearse    runs that file here, task by task, as Vertex would: before anyone pays for a machine

exit codes
  0 done    1 a task failed    2 bad input, nothing was run    3 a gate refused a model
  130 interrupted
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
    group.add_argument(
        "--output", metavar="DIR", default=FOLDER, help=f"gets {FILE} (default: {FOLDER})"
    )
    flags.add_models(result.add_argument_group("models"))
    flags.add_breed(result.add_argument_group("the breed models' photos"))
    flags.add_student(result.add_argument_group("the breed model's student, and its teacher"))
    flags.add_match(result.add_argument_group("the match model"))
    flags.add_evaluation(result.add_argument_group("evaluation"))
    flags.add_views(result.add_argument_group("views (default: cropped and individual)"))
    return result


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
    from pipeline import vertex

    try:
        ready = vertex.prepare(settings, folder)
    except WeightsError as error:
        raise SettingsError(str(error)) from error
    defaults = {
        vertex.ROOT: root,
        "data": arguments.data or f"{root}/sample",
        "data_version": arguments.data_version or "",
    }
    job = vertex.compiled(ready, arguments.image, defaults)
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
    for name in ("image_size", "student_size", "epochs"):
        result.add_argument(
            f"--{name}", type=int, metavar="N", help="instead of the default that the file has"
        )
    return result


def rehearse(argv: list[str]) -> int:
    """The command `rehearse`."""
    arguments = rehearse_parser().parse_args(argv)
    try:
        with open(arguments.file) as file:
            job = json.load(file)
    except FileNotFoundError:
        raise SettingsError(
            f"--file {arguments.file}: there is none: run `compile` first"
        ) from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"--file {arguments.file}: can't be read: {error}") from None
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
    numbers = {
        name: getattr(arguments, name)
        for name in ("image_size", "student_size", "epochs")
        if getattr(arguments, name) is not None
    }
    from pipeline import rehearsal

    os.makedirs(work, exist_ok=True)
    try:
        with quiet(os.path.join(work, "rehearsal.log")) as terminal:
            passed = rehearsal.rehearse(
                job, folder, work, root, arguments.data, numbers, terminal.say
            )
    except rehearsal.RehearsalError as error:
        print(f"kubeflow_runner.py: {error}", file=sys.stderr)
        return 1
    return 0 if passed else 3


_COMMANDS = {"compile": compile_, "rehearse": rehearse}


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
        print(f"kubeflow_runner.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
