"""Run the Spotted pipeline on this machine.

python local_runner.py                      everything, on the built-in sample of drawn dogs
python local_runner.py --data photos        everything, on your photos
python local_runner.py data                 the contents that the photos had, and how to keep them
python local_runner.py models               the versions that were pushed, and which one serves
"""

import argparse
import os
import sys

# Keras 3 has to be chosen before anything imports TensorFlow: TFX would choose Keras 2.
os.environ["TF_USE_LEGACY_KERAS"] = "0"

from models import augment, backbones, losses, tracking
from pipeline import settings as settings_lib
from pipeline.command_line import Parser
from pipeline.settings import (
    MATCH_LOSS,
    MATCH_STARTS,
    REAL,
    SAMPLE,
    STAGES,
    Settings,
    SettingsError,
)

_EPILOG = """\
the data folder holds one or more of
  stanford/      Stanford Dogs: images.tar and annotation.tar (and lists.tar)
  tsinghua/      Tsinghua Dogs: low-resolution.zip and low-annotations.zip
  austin/        Austin Pets Alive: apa_dogs.csv, apa_photos.csv and photos/
  breeds/        your own: one folder a breed, named as in schema/breeds.csv, with its photos
  individuals/   your own: one folder a dog, named by its id, with its photos
archives (.tar, .zip) may lie unpacked, and folders packed: individuals.zip, or individuals/any.zip

examples
  python local_runner.py
  python local_runner.py --data photos --epochs 20
  python local_runner.py --data photos --download stanford --data_extraction
  python local_runner.py --data photos --data_processing --image_size 160
  python local_runner.py --data photos --backbone mobilenet_v2 --weights mobilenet.weights.h5
  python local_runner.py --data_version 3fa9c1d20b7e

other commands (each with a --help of its own)
  python local_runner.py data                 lists the versions of the photos; data put and
                                              data restore keep them and bring them back
  python local_runner.py schema               where the data do not fit the curated schema
  python local_runner.py models               lists the versions of the models that were pushed
  python local_runner.py rollback breed       serves the version before again

exit codes
  0 done, every model was pushed, or was withdrawn by hand before
  1 a node failed    2 bad input, nothing was run
  3 done, but a gate refused a model    130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = Parser(
        "local_runner.py",
        description="Trains the breed and the match model from a folder of dog photos, evaluates "
        "them, and pushes those that pass their gate. What has not changed is not done again.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # a misspelt flag is an error, not a guess
    )
    _add_data(result.add_argument_group("data and output"))
    _add_models(result.add_argument_group("models"))
    _add_breed(result.add_argument_group("the breed models' photos"))
    _add_student(result.add_argument_group("the breed model's student, and its teacher"))
    _add_match(result.add_argument_group("the match model"))
    _add_evaluation(result.add_argument_group("evaluation"))
    _add_tracking(result.add_argument_group("tracking"))
    _add_views(
        result.add_argument_group(
            "views (default: cropped and individual, as far as there are photos for them)"
        )
    )
    _add_stages(result.add_argument_group("stages (default: --pipeline)"))
    return result


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data", metavar="DIR", help="your photos; without it, a drawn sample")
    group.add_argument(
        "--data_version",
        metavar="ID",
        help="an earlier content of the photos instead: its id, or the first 4 digits or more "
        "(`local_runner.py data` lists them)",
    )
    group.add_argument("--output", metavar="DIR", default="./output", help="default: ./output")
    group.add_argument(
        "--download",
        metavar="SOURCE,…",
        help="fetch stanford, tsinghua, austin (one or more) into --data first, going on where an "
        "earlier download stopped; SOURCE=URL takes it from a mirror",
    )
    group.add_argument(
        "--upstream_splits",
        action="store_true",
        help="keep to the split lists of Stanford and Tsinghua Dogs (lists.tar; train.lst and "
        "validation.lst), to compare with published figures",
    )
    group.add_argument(
        "--allow_anomalies",
        action="store_true",
        help="go on with data that DataGate finds wrong; the verdict says so for good",
    )
    group.add_argument(
        "--trust_mtime",
        action="store_true",
        help="for very large data: don't read files whose size and time are those of the last run",
    )


def _add_models(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--image_size",
        type=int,
        metavar="N",
        help=f"side of the photos in the records, pixels (default: {REAL.image_size}, "
        f"for the sample {SAMPLE.image_size})",
    )
    group.add_argument(
        "--crop_margin",
        type=float,
        default=0.0,
        metavar="X",
        help="kept round the dog's box in the cropped view, as a share of the box's longer side "
        "(0 to 1, default: 0)",
    )
    group.add_argument(
        "--backbone",
        metavar="NAME",
        help=f"one of {', '.join(backbones.BACKBONES)} (default: {REAL.backbone}, for the sample "
        f"{SAMPLE.backbone})",
    )
    group.add_argument(
        "--weights",
        metavar="imagenet|none|FILE",
        help=f"what the backbone starts from (default: imagenet, for {backbones.SMALL} none); FILE "
        "is a Keras .weights.h5 without the classifier",
    )
    group.add_argument(
        "--epochs",
        type=int,
        metavar="N",
        help=f"passes over the training photos, for each model (default: {REAL.epochs}, for the "
        f"sample {SAMPLE.epochs})",
    )
    group.add_argument(
        "--batch_size",
        type=int,
        metavar="N",
        help=f"photos a training step (default: {REAL.batch_size}, for the sample "
        f"{SAMPLE.batch_size})",
    )


def _add_breed(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--augment",
        metavar="NAME",
        default=Settings.augment,
        help=f"how photos are changed in training: one of {', '.join(augment.POLICIES)} (default: "
        f"{Settings.augment})",
    )
    group.add_argument(
        "--mix",
        metavar="|".join(augment.MIXES),
        default=Settings.mix,
        help="how the photos of a batch are mixed with each other in training (default: "
        f"{Settings.mix})",
    )


def _add_student(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--student",
        metavar="NAME",
        help="the student's backbone (default: the teacher's, which is --backbone)",
    )
    group.add_argument(
        "--student_size",
        type=int,
        metavar="N",
        help="side of the picture that the student's backbone sees, pixels (default: 2/3 of "
        "--image_size)",
    )
    group.add_argument(
        "--student_weights",
        metavar="imagenet|none|FILE",
        help="what a --student of another backbone than the teacher's starts from (default: "
        f"imagenet, for {backbones.SMALL} none); with the teacher's backbone it starts from the "
        "teacher or, with --teacher, from --weights",
    )
    group.add_argument(
        "--teacher",
        metavar="DIR|wandb:…",
        help="learn from this model instead of training a teacher: a SavedModel such as "
        "output/serving/breed/<version>, or wandb:ENTITY/PROJECT/ARTIFACT:ALIAS",
    )


def _add_match(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--match_loss",
        metavar="NAME",
        help=f"one of {', '.join(losses.MATCH_LOSSES)} (default: {MATCH_LOSS['pretrained']}, "
        f"without start weights {MATCH_LOSS['scratch']})",
    )
    group.add_argument(
        "--match_start",
        metavar="|".join(MATCH_STARTS),
        default=MATCH_STARTS[0],
        help="what its backbone starts from: --weights or, where these are none, always the breed "
        "teacher; with --teacher and no --weights from random ones, for nothing can start from a "
        f"SavedModel (default: {MATCH_STARTS[0]})",
    )


def _add_evaluation(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--false_alarm_rate",
        type=float,
        metavar="X",
        default=Settings.false_alarm_rate,
        help="how often a dog that nobody misses may be taken for a missing one: the evaluation "
        f"finds the threshold that keeps it (0 to 1, default: {Settings.false_alarm_rate})",
    )
    group.add_argument(
        "--bless_anyway",
        metavar="REASON",
        help="push models that ModelGate refuses all the same; the verdict keeps the reason, in "
        "your words, for good",
    )


def _add_tracking(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--wandb",
        metavar="|".join(tracking.MODES),
        default=tracking.OFF,
        help="record training with Weights & Biases: into output/wandb, to be sent by `wandb "
        f"sync`, or as it goes (default: {tracking.OFF})",
    )


_VIEW_HELP = {
    "cropped": "the largest dog of each photo of a known breed: trains the breed model",
    "uncropped": "whole photos of known breeds with the boxes of all dogs: records only",
    "individual": "photos of known dogs: trains the match model",
}
_STAGE_HELP = {
    "data_extraction": "DatasetImporter: check the data folder, find every file",
    "data_transformation": "PhotoCatalog: one row a photo, with breed, dog and boxes",
    "data_preprocessing": "SplitAssigner: train, val, test, and the ledger of rejects",
    "data_processing": "ImageExampleGen to DataGate: records, statistics, validation",
    "model_training": "all that follows: training, evaluation, gates, push",
}


def _add_views(group: argparse._ArgumentGroup) -> None:
    for view, text in _VIEW_HELP.items():
        group.add_argument(f"--{view}", action="store_true", help=text)


def _add_stages(group: argparse._ArgumentGroup) -> None:
    for stage, text in _STAGE_HELP.items():
        group.add_argument(f"--{stage}", action="store_true", help=text)
    group.add_argument(
        "--pipeline", action="store_true", help="every stage; what did not change is not run again"
    )


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Turns the command line into settings, with the defaults that fit the data.

    Raises:
      SettingsError: a flag can't work.
    """
    preset = SAMPLE if _is_sample(arguments) else REAL
    backbone = arguments.backbone or preset.backbone
    stages = tuple(stage for stage in STAGES if getattr(arguments, stage))
    if arguments.pipeline and stages:
        raise SettingsError(f"--pipeline runs every stage: leave it or --{stages[0]} out")
    return Settings(
        data=arguments.data,
        output=arguments.output,
        backbone=backbone,
        weights=arguments.weights or settings_lib.usual_weights(backbone),
        image_size=preset.image_size if arguments.image_size is None else arguments.image_size,
        epochs=preset.epochs if arguments.epochs is None else arguments.epochs,
        batch_size=preset.batch_size if arguments.batch_size is None else arguments.batch_size,
        crop_margin=arguments.crop_margin,
        trust_mtime=arguments.trust_mtime,
        allow_anomalies=arguments.allow_anomalies,
        upstream_splits=arguments.upstream_splits,
        download=_downloads(arguments.download),
        views=tuple(view for view in _VIEW_HELP if getattr(arguments, view)),
        stages=stages or STAGES,
        data_version=arguments.data_version,
        student=arguments.student or "",
        student_size=_student_size(arguments.student_size),
        student_weights=arguments.student_weights or "",
        teacher=arguments.teacher,
        augment=arguments.augment,
        mix=arguments.mix,
        match_loss=arguments.match_loss or "",
        match_start=arguments.match_start,
        false_alarm_rate=arguments.false_alarm_rate,
        bless_anyway=_reason(arguments.bless_anyway),
        wandb=arguments.wandb,
    )


def _reason(given: str | None) -> str:
    """Why a refusal is overruled, "" when it is not.

    Raises:
      SettingsError: the reason is empty.
    """
    if given is not None and not given.strip():
        raise SettingsError("--bless_anyway: say why, in words")
    return (given or "").strip()


def _student_size(given: int | None) -> int:
    """What was given, or 0, from which the settings make their default.

    Raises:
      SettingsError: 0 was given.
    """
    if given == 0:
        raise SettingsError("--student_size 0: expected a side in pixels, 32 or more")
    return given or 0


def _is_sample(arguments: argparse.Namespace) -> bool:
    if arguments.data_version is None:
        return arguments.data is None
    from pipeline import versions

    return versions.is_sample(arguments.output, arguments.data_version)


def _downloads(text: str | None) -> tuple[tuple[str, str], ...]:
    """Reads `SOURCE,SOURCE=URL` as pairs of a source and its mirror, which may be ""."""
    parts = [part.partition("=") for part in (text or "").split(",") if part]
    if text is not None and not parts:
        raise SettingsError("--download: name a source")
    return tuple((source.strip(), mirror.strip()) for source, _, mirror in parts)


def schema(argv: list[str]) -> int:
    """The command `schema`."""
    result = Parser(
        "local_runner.py schema",
        description="Shows where the statistics of the newest run do not fit the curated schemas "
        "of schema/, and writes what these would be to fit: the output folder's schema/.",
        allow_abbrev=False,
    )
    result.add_argument("--output", metavar="DIR", default="./output", help="default: ./output")
    result.add_argument(
        "--accept", action="store_true", help="replace the files of schema/ by the proposals"
    )
    arguments = result.parse_args(argv)
    from pipeline import local

    return local.review_schema(os.path.abspath(arguments.output), arguments.accept)


def data(argv: list[str]) -> int:
    """The command `data`."""
    from pipeline import data_command

    return data_command.main(argv)


def models(argv: list[str]) -> int:
    """The command `models`."""
    from pipeline import models_command

    return models_command.models(argv)


def rollback(argv: list[str]) -> int:
    """The command `rollback`."""
    from pipeline import models_command

    return models_command.rollback(argv)


_COMMANDS = {"data": data, "models": models, "rollback": rollback, "schema": schema}


def main(argv: list[str] | None = None) -> int:
    """Runs the command line and returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        if argv and argv[0] in _COMMANDS:
            return _COMMANDS[argv[0]](argv[1:])
        settings = settings_lib.check(read_settings(parser().parse_args(argv)))
        from pipeline import local

        return local.run(settings)
    except SettingsError as error:
        print(f"local_runner.py: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(
            f"local_runner.py: {sys.executable} has no {error.name}: build the environment with "
            "`make env`, then run .venv/bin/python local_runner.py",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:  # before there is anything to keep or to end
        return 130


if __name__ == "__main__":
    sys.exit(main())
