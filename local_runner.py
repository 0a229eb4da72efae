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
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # or each request to a bucket is a line
os.environ.setdefault("GCS_READAHEAD_BUFFER_SIZE_BYTES", str(1 << 20))  # models/places.py

from pipeline import beam, flags
from pipeline import settings as settings_lib
from pipeline.command_line import Parser
from pipeline.settings import (
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
  python local_runner.py lineage rex          which models saw this dog; of a model, what made it
  python local_runner.py report               the page of a run, or of two runs beside each other
  python local_runner.py browse               runs, artifacts and their lineage, to click through

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
    flags.add_models(result.add_argument_group("models"))
    flags.add_breed(result.add_argument_group("the breed models' photos"))
    flags.add_student(result.add_argument_group("the breed model's student, and its teacher"))
    flags.add_match(result.add_argument_group("the match model"))
    flags.add_evaluation(result.add_argument_group("evaluation"))
    flags.add_tracking(result.add_argument_group("tracking"))
    flags.add_views(
        result.add_argument_group(
            "views (default: cropped and individual, as far as there are photos for them)"
        )
    )
    flags.add_beam(result.add_argument_group("beyond this machine"))
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


_STAGE_HELP = {
    "data_extraction": "DatasetImporter: check the data folder, find every file",
    "data_transformation": "PhotoCatalog: one row a photo, with breed, dog and boxes",
    "data_preprocessing": "SplitAssigner: train, val, test, and the ledger of rejects",
    "data_processing": "ImageExampleGen to DataGate: records, statistics, validation",
    "model_training": "all that follows: training, evaluation, gates, push",
}


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
        views=tuple(view for view in flags.VIEWS if getattr(arguments, view)),
        stages=stages or STAGES,
        data_version=arguments.data_version,
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
        wandb=arguments.wandb,
        beam=_beam(arguments.beam),
    )


def _beam(words: list[str]) -> tuple[str, ...]:
    if "dataflow" in words:
        raise SettingsError(
            "--beam dataflow: its workers can't reach the folders of this machine: "
            "kubeflow_runner.py compile --beam dataflow works in a bucket"
        )
    return tuple(beam.arguments(words))


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


def lineage(argv: list[str]) -> int:
    """The command `lineage`."""
    from pipeline import lineage_command

    return lineage_command.main(argv)


def report(argv: list[str]) -> int:
    """The command `report`."""
    from pipeline import report_command

    return report_command.main(argv)


def browse(argv: list[str]) -> int:
    """The command `browse`."""
    from pipeline import browse_command

    return browse_command.main(argv)


def rollback(argv: list[str]) -> int:
    """The command `rollback`."""
    from pipeline import models_command

    return models_command.rollback(argv)


_COMMANDS = {
    "browse": browse,
    "data": data,
    "lineage": lineage,
    "models": models,
    "report": report,
    "rollback": rollback,
    "schema": schema,
}


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
    except BrokenPipeError:  # of a reader such as `head`, which has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:  # before there is anything to keep or to end
        return 130


if __name__ == "__main__":
    sys.exit(main())
