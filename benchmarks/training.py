"""How fast the whole fit loop trains, beside its bare `train_step` on one batch in memory.

    python benchmarks/training.py --data photos      on photos of your own
    python benchmarks/training.py                    on drawn photos

The loop is the trainers' own: records from disk, augmentation, the moving average, progress line,
TensorBoard and the state on disk after every epoch. After each of its epochs as many bare steps of
the same model are timed, so that a busy minute hits both; the first epoch, which builds the graph,
does not count, and neither do the photos of `val`. Medians over the epochs, photos per second. The
small net at 64 px trains from scratch; MobileNetV2 and EfficientNetV2-B0 as a whole, with their
statistics frozen, as in a fine-tuning.
"""

import argparse
import os
import pathlib
import statistics
import tempfile
import time

import folds
import input_pipeline as inputs
import numpy as np

NETS = {"small_cnn": 64, "mobilenet_v2": 224, "efficientnet_v2_b0": 224}


def rates(backbone: str, split: str, side: int, arguments: argparse.Namespace) -> list[float]:
    """Photos a second of the loop and of the bare step, medians."""
    import tensorflow as tf

    from models import backbones, breed, checkpoint, job, tracking, training
    from models import input_pipeline as pipeline

    config = job.Config(
        backbone=backbone,
        image_size=side,
        epochs=arguments.repeats + 1,
        batch_size=arguments.batch,
        pretrained=backbone != backbones.SMALL,
        seed=0,
        vocabulary=folds.VOCABULARY,
    )
    os.environ[checkpoint.FOLDER_VARIABLE] = os.path.join(os.path.dirname(split), "states")
    task = job.Job(config, split, split, None, "", os.path.join(os.path.dirname(split), "log"))
    net = breed.classifier(backbones.get(backbone).build(side), side, range(10), 10)
    model = breed.Classifier(net, np.ones(10))
    fixed = next(iter(pipeline.training(split, side, arguments.batch, 0)))
    bare = tf.function(lambda images, labels: model.train_step((images, labels)))
    taken: dict[str, list[float]] = {"loop": [], "bare": []}
    left = time.monotonic()

    def score() -> tuple[str, float]:
        nonlocal left
        taken["loop"].append(time.monotonic() - left)
        bare(*fixed)
        start = time.monotonic()
        for _ in range(arguments.steps):
            losses = bare(*fixed)
        float(losses["loss"])
        taken["bare"].append(time.monotonic() - start)
        left = time.monotonic()
        return "", float(len(taken["bare"]))

    training.fit(
        model,
        lambda epoch: pipeline.training(split, side, arguments.batch, 0, "light", epoch),
        arguments.steps * arguments.batch,
        task,
        score,
        tracking.Tracker("off", "", "", {}),
    )
    photos = arguments.steps * arguments.batch
    return [photos / statistics.median(taken[name][1:]) for name in ("loop", "bare")]


def main() -> None:
    """Prints a row for each net."""
    parser = folds.Parser(__doc__)
    parser.add_argument("--data", help="a data folder; default: the drawn sample")
    parser.add_argument("--batch", type=int, default=32, help="photos a step")
    parser.add_argument("--steps", type=int, default=10, help="of an epoch")
    parser.add_argument("--repeats", type=int, default=5, help="epochs that count")
    known = list(NETS)
    parser.add_argument(
        "--nets", type=folds.names(known), default="all", help=f"one or more of {','.join(known)}"
    )
    arguments = parser.read()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or folds.sample(folder)
        print("| net | px | bare step, photos/s | whole loop, photos/s | ratio |")
        print("| --- | ---: | ---: | ---: | ---: |")
        for name in arguments.nets:
            side, place = NETS[name], pathlib.Path(folder) / name
            count = arguments.steps * arguments.batch
            split = inputs.write_records(data, place / "train", side, count)
            loop, bare = rates(name, split, side, arguments)
            print(f"| {name} | {side} | {bare:.1f} | {loop:.1f} | {loop / bare:.2f} |", flush=True)
    print(f"\n{folds.load()}")


if __name__ == "__main__":
    main()
