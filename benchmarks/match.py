"""How well the match model tells dogs that it has never seen: three folds by dog, three seeds.

    python benchmarks/match.py --data photos --weights mobilenet_v2.weights.h5
    python benchmarks/match.py ... --losses all --seeds 0        every loss, for the table in docs
    python benchmarks/match.py ... --start TEACHER               from a breed teacher's model folder

The dogs of `individuals/` are dealt into three folds. Each fold is the test once; of the other two
one dog in eight is `val`, which fits the probability, and the rest is trained on. Measured on the
test fold, for the trained encoder and for the untrained backbone (average pooling) on the same
photos and draws: single-shot recall@k (a gallery of one random photo a dog, all others are probes,
mean of 100 draws), mAP (every photo against all others), area under the ROC curve over all pairs
and over the hard ones (the same breed where it is known, else the nearest other dog by the
untrained backbone), and the expected calibration error of `same_dog` with both kinds of pair
weighing alike.

Wanted with MPDD's 95 dogs and MobileNetV2: recall@1 and mAP 7 points or more above those of the
untrained backbone, and a calibration error below 0.05. Rows are kept in `--results`; what is there
is not measured again.
"""

import collections
import dataclasses
import itertools
import os
import tempfile
import time
from typing import Any

import folds
import numpy as np

FOLDS = 3
LOSS = "supcon+arcface"
VAL = 8  # one dog of as many
LEAST = 3 * FOLDS  # dogs, or a fold has too few to train on


def deal(dogs: list[str], fold: int) -> dict[str, str]:
    """The split of every dog: test, val or train."""
    names = sorted(set(dogs))
    order = np.random.default_rng(0).permutation(len(names))
    split = {}
    for place, index in enumerate(order):
        test = place % FOLDS == fold
        split[names[index]] = "test" if test else "val" if place // FOLDS % VAL == 0 else "train"
    return split


def measure(
    embeddings: np.ndarray, untrained: np.ndarray, examples: list[folds.Example], fit: Any
) -> dict[str, Any]:
    """Every figure of one encoder on the test photos; `fit` is its calibration, if it has one."""
    from sklearn.metrics import roc_auc_score

    from components import pair_scores, retrieval_evaluator
    from models import calibration

    dogs = [example.dog_id for example in examples]
    names, breeds = np.array(dogs), np.array([example.breed or "" for example in examples])
    first, second = np.triu_indices(len(names), k=1)
    cosines, same = (embeddings @ embeddings.T)[first, second], names[first] == names[second]
    nearest = pair_scores.nearest_others(untrained, dogs)
    alike = (nearest[first] == second) | (nearest[second] == first)
    known = (breeds[first] != "") & (breeds[second] != "")
    hard = same | np.where(known, breeds[first] == breeds[second], alike)
    figures = {
        **retrieval_evaluator.measure(embeddings, dogs),
        "auc_all": float(roc_auc_score(same, cosines)),
        "auc_hard": float(roc_auc_score(same[hard], cosines[hard])),
    }
    if fit:
        probability = calibration.probability(cosines, fit)
        weights = calibration.balanced(same)
        figures["ece"] = calibration.expected_calibration_error(probability, same, weights)
        table = calibration.reliability(probability, same, weights)
        figures["reliability"] = [dataclasses.astuple(row) for row in table]
    return figures


def run(unit: dict[str, Any], examples: list[folds.Example], arguments: Any) -> dict[str, Any]:
    """Trains and measures one fold with one seed and one loss."""
    import keras

    from models import backbones, devices, input_pipeline, job, match, match_training, tracking

    start = time.monotonic()
    split = deal([example.dog_id for example in examples], unit["fold"])
    parts = {name: [e for e in examples if split[e.dog_id] == name] for name in ("train", "val")}
    test = [example for example in examples if split[example.dog_id] == "test"]
    side, registered = arguments.image_size, backbones.get(arguments.backbone)
    with tempfile.TemporaryDirectory() as folder:
        place = {
            name: folds.write(os.path.join(folder, name), part) for name, part in parts.items()
        }
        base = arguments.start or folds.write_start(os.path.join(folder, "w"), arguments.weights)
        config = job.Config(
            backbone=arguments.backbone,
            image_size=side,
            epochs=arguments.epochs,
            batch_size=arguments.batch_size,
            pretrained=True,
            seed=unit["seed"],
            vocabulary=folds.VOCABULARY,
            loss=unit["loss"],
        )
        keras.utils.set_random_seed(unit["seed"])
        task = job.Job(config, place["train"], place["val"], base, "", os.path.join(folder, "log"))
        trained = match_training.train(task, tracking.Tracker("off", "", "", {}))
        photos = input_pipeline.labelled(folds.write(os.path.join(folder, "test"), test), side, 64)
        embedded = match_training.embedded(devices.inference(trained.served), photos)
        backbone = registered.build(side)
        registered.load(backbone, arguments.weights)
        plain = devices.inference(match.untrained(backbone, side))
        untrained = match_training.embedded(plain, photos)
    keras.backend.clear_session()
    before = measure(untrained, untrained, test, None)
    after = measure(embedded, untrained, test, trained.calibration)
    return {
        **unit,
        **after,
        **{f"untrained {name}": value for name, value in before.items()},
        "seconds": time.monotonic() - start,
    }


SHOWN = ("recall@1", "recall@5", "mAP", "auc_all", "auc_hard")


def table(rows: list[dict[str, Any]]) -> None:
    """Prints the figures of every loss: the mean over the folds, and its spread over the seeds."""
    columns = (*SHOWN, "ece")
    print("| encoder | " + " | ".join(columns) + " |")
    print("| --- |" + " ---: |" * len(columns))
    for loss in dict.fromkeys(row["loss"] for row in rows):
        own = [row for row in rows if row["loss"] == loss]
        seeds = sorted({row["seed"] for row in own})

        def means(column: str, own: Any = own, seeds: Any = seeds) -> list[float]:
            return [np.mean([r[column] for r in own if r["seed"] == seed]) for seed in seeds]

        untrained = [folds.spread(means(f"untrained {name}")) for name in SHOWN]
        gains = [
            folds.spread([100 * (r[name] - r[f"untrained {name}"]) for r in own]) for name in SHOWN
        ]
        folds_ = len({row["fold"] for row in own})
        print(f"| untrained | {' | '.join(untrained)} | - |")
        print(f"| {loss} | " + " | ".join(folds.spread(means(name)) for name in columns) + " |")
        print(f"| gain, points (spread over {folds_} folds and {len(seeds)} seeds) | "
              + " | ".join(gains) + " | - |")  # fmt: skip


def reliability(rows: list[dict[str, Any]]) -> None:
    """Prints how often pairs of test photos were one dog, by what the model had said of them.

    The mean over folds and seeds; both kinds of pair weigh alike.
    """
    bins = np.array([bin_ for row in rows for bin_ in row["reliability"]])
    print("\n| said | is the same dog | share of the weight |\n| --- | ---: | ---: |")
    for low in np.unique(bins[:, 0]):
        _, high, said, observed, weight = bins[bins[:, 0] == low].T
        means = [weight @ values / weight.sum() for values in (said, observed)]
        share = weight.sum() / len(rows)
        print(f"| {low:.1f} to {high[0]:.1f}: {means[0]:.2f} | {means[1]:.2f} | {share:.3f} |")


def main() -> None:
    """Runs what is missing and prints the tables."""
    from models import losses

    parser = folds.Parser(__doc__)
    parser.add_argument("--data", required=True, help="a data folder with individuals/")
    parser.add_argument("--weights", required=True, help="the backbone's start weights")
    parser.add_argument("--backbone", default="mobilenet_v2", help="of the encoder")
    parser.add_argument("--start", help="folder of a breed teacher's model artifact to start from")
    parser.add_argument("--image_size", type=int, default=224, help="side of the photos, pixels")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the photos")
    parser.add_argument("--batch_size", type=int, default=48, help="photos a training step")
    parser.add_argument("--seeds", type=folds.numbers(), default="0,1,2", help="of trainings")
    parser.add_argument("--folds", type=folds.numbers(FOLDS), default="0,1,2", help="tested on")
    parser.add_argument(
        "--losses",
        type=folds.names(losses.MATCH_LOSSES),
        default=LOSS,
        help=f"one or more of {','.join(losses.MATCH_LOSSES)}, or all",
    )
    parser.add_argument("--results", default="match.jsonl", help="file of the rows that are done")
    arguments = parser.read()
    if arguments.start and not os.path.isdir(os.path.join(arguments.start, "Format-Keras")):
        parser.error(f"--start {arguments.start}: expected a trainer's model, with Format-Keras")
    examples = folds.read(os.path.realpath(arguments.data), "individual", arguments.image_size)
    results = folds.Results(arguments.results)
    photos = collections.Counter(example.dog_id for example in examples)
    if sum(count > 1 for count in photos.values()) < LEAST:
        parser.error(f"--data: {FOLDS} folds need {LEAST} dogs or more with two photos each")
    units = [
        {"loss": loss, "seed": seed, "fold": fold, "told": folds.told(arguments)}
        for seed, loss, fold in itertools.product(
            arguments.seeds, arguments.losses, arguments.folds
        )
    ]
    for unit in list(results.missing(units)):
        results.add(run(dict(unit), examples, arguments))
    table(results.of(units))
    reliability([row for row in results.of(units) if row["loss"] == LOSS])
    print(f"\n{len(examples)} photos, {arguments.image_size} px, {folds.load()}")


if __name__ == "__main__":
    main()
