"""The flags that say what a run does, for every runner's command line."""

import argparse

from models import augment, backbones, losses, tracking
from pipeline.settings import MATCH_LOSS, MATCH_STARTS, REAL, SAMPLE, Settings, SettingsError


def add_models(group: argparse._ArgumentGroup) -> None:
    """What both models are made with."""
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


def add_breed(group: argparse._ArgumentGroup) -> None:
    """How the breed models' photos are changed."""
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


def add_student(group: argparse._ArgumentGroup) -> None:
    """The student, and its teacher."""
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


def add_match(group: argparse._ArgumentGroup) -> None:
    """The match model."""
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


def add_evaluation(group: argparse._ArgumentGroup) -> None:
    """What the gates look at."""
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


def add_tracking(group: argparse._ArgumentGroup) -> None:
    """Who is told of the training."""
    group.add_argument(
        "--wandb",
        metavar="|".join(tracking.MODES),
        default=tracking.OFF,
        help="record training with Weights & Biases: into output/wandb, to be sent by `wandb "
        f"sync`, or as it goes (default: {tracking.OFF})",
    )


def add_beam(group: argparse._ArgumentGroup) -> None:
    """Where Beam works."""
    group.add_argument(
        "--beam",
        metavar="PRESET|=--OPTION=VALUE",
        action="append",
        default=[],
        help="where ingestion, statistics and evaluation work: local (the default), flink or "
        "dataflow; given again, an option of Beam's, which wins: --beam flink "
        "--beam=--job_endpoint=host:8099",
    )


VIEWS = {
    "cropped": "the largest dog of each photo of a known breed: trains the breed model",
    "uncropped": "whole photos of known breeds with the boxes of all dogs: records only",
    "individual": "photos of known dogs: trains the match model",
}


def add_views(group: argparse._ArgumentGroup) -> None:
    """Which views are built."""
    for view, text in VIEWS.items():
        group.add_argument(f"--{view}", action="store_true", help=text)


def reason(given: str | None) -> str:
    """Why a refusal is overruled, "" when it is not.

    Raises:
      SettingsError: the reason is empty.
    """
    if given is not None and not given.strip():
        raise SettingsError("--bless_anyway: say why, in words")
    return (given or "").strip()


def student_size(given: int | None) -> int:
    """What was given, or 0, from which the settings make their default.

    Raises:
      SettingsError: 0 was given.
    """
    if given == 0:
        raise SettingsError("--student_size 0: expected a side in pixels, 32 or more")
    return given or 0
