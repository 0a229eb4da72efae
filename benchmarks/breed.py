"""How well the breed teacher and its student do: five folds, three seeds, paired intervals.

    python benchmarks/breed.py --data photos --weights mobilenet_v2.weights.h5

The photos with a known breed (`stanford/`, `breeds/`, `tsinghua/`; cut to the dog) are dealt into
five folds, stratified by breed. Each fold is the test once; of the rest one photo in eight is
`val`. Compared on the same test photos: logistic regression on the features of the untrained
backbone (fitted on train and val); the teacher as it is served, which looks at each photo both ways
round; its student, which looks once at a smaller picture; and the same student without a teacher:
from the start weights, on labels alone, as a teacher is trained, for as many epochs as the student.
Predictions are pooled over the folds; the difference of two models is given with a paired 95 %
interval (bootstrap over the photos, of the mean over the seeds). Latency is that of one photo as
TFLite on one thread, the networks in turn, and told against one look of the teacher too.

Wanted: the teacher not below the logistic regression, the student above the one without a teacher
and within 2 points of its own, at a quarter of its latency. Stanford Dogs is drawn from ImageNet:
start weights from there have seen many of these photos. Rows are kept in `--results`; what is there
is not measured again.
"""

import collections
import itertools
import os
import tempfile
import time
from typing import Any

import folds
import numpy as np

FOLDS = 5
VAL = 8  # one photo of as many
LEAST = FOLDS + 2  # photos of a breed, or a fold has none of it to train on
DRAWS = 10_000
MODELS = ("regression", "teacher", "student", "alone")


def deal(breeds: list[str], fold: int) -> np.ndarray:
    """The split of every photo: test, val or train; each breed is dealt evenly."""
    split = np.empty(len(breeds), dtype="<U5")
    names = np.array(breeds)
    for breed in np.unique(names):
        own = np.random.default_rng(0).permutation(np.flatnonzero(names == breed))
        for place, index in enumerate(own):
            test = place % FOLDS == fold
            split[index] = "test" if test else "val" if place // FOLDS % VAL == 0 else "train"
    return split


def regression(arguments: Any, place: dict[str, str]) -> np.ndarray:
    """Labels that logistic regression on the untrained backbone's features predicts for test."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from models import backbones, devices, input_pipeline, match

    registered = backbones.get(arguments.backbone)
    backbone = registered.build(arguments.image_size)
    registered.load(backbone, arguments.weights)
    features = devices.inference(match.untrained(backbone, arguments.image_size))
    found = {}
    for name, folder in place.items():
        batches = input_pipeline.labelled(folder, arguments.image_size, 64)
        parts = [(features(images), labels.numpy()) for images, labels in batches]
        found[name] = [np.concatenate(part) for part in zip(*parts, strict=True)]
    x, y = (np.concatenate([found["train"][n], found["val"][n]]) for n in (0, 1))
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000)).fit(x, y)
    return model.predict(found["test"][0])


def train(unit: dict[str, Any], arguments: Any, folder: str, place: dict[str, str]) -> Any:
    """Trains teacher, student and the student alone; returns their nets and the comparison."""
    import keras

    from models import breed_training, export, job, mirror, tracking

    off = tracking.Tracker("off", "", "", {})
    side = arguments.image_size
    start = folds.write_start(os.path.join(folder, "start"), arguments.weights)

    def task(name: str, base: str, **told: Any) -> job.Job:
        keras.utils.set_random_seed(unit["seed"])
        config = job.Config(
            backbone=arguments.backbone,
            image_size=side,
            epochs=told.pop("epochs", arguments.epochs),
            batch_size=arguments.batch_size,
            pretrained=True,
            seed=unit["seed"],
            vocabulary=folds.VOCABULARY,
            **told,
        )
        serving = os.path.join(folder, name, "Format-Serving")
        log = os.path.join(folder, name, "log")
        os.makedirs(log)
        return job.Job(config, place["train"], place["val"], base, serving, log)

    taught = task("teacher", start)
    teacher, curves = breed_training.train_teacher(taught, off)
    both = mirror.mirrored(teacher, side)
    export.BreedExport(both, side, breed_training.breeds_of(taught)).save(taught.serving)
    taught.save(teacher, curves)
    base = os.path.join(folder, "teacher")
    told = {"side": arguments.student_size, "epochs": arguments.student_epochs}
    told |= {"augment": arguments.student_augment}
    warm = task("student", base, start=breed_training.TEACHER, **told)
    student, history = breed_training.train_student(warm, off)
    untaught = task("alone", base, start=start, **told)
    alone, untold = breed_training.train_student(untaught, off, taught=False)
    kept = {"teacher kept": curves["probe"]["kept"], "alone kept": untold["probe"]["kept"]}
    nets = {"teacher": both, "one look": teacher, "student": student, "alone": alone}
    return nets, {**history["student"], **kept}


def lite(net: Any) -> Any:
    """A TFLite interpreter of a network, in float32 on one thread, for one photo at a time."""
    import tensorflow as tf

    split = (net.trainable_variables, net.non_trainable_variables)
    values = [[variable.numpy() for variable in variables] for variables in split]

    def answer(images: Any) -> Any:
        weights = [[tf.constant(value) for value in part] for part in values]
        return net.stateless_call(*weights, images, training=False)[0]

    images = tf.TensorSpec([1, *net.input_shape[1:]], tf.float32)
    frozen = tf.function(answer).get_concrete_function(images)
    model = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module()).convert()
    interpreter = tf.lite.Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def milliseconds(nets: dict[str, Any], photos: np.ndarray) -> dict[str, float]:
    """The median time of one photo through each network as TFLite, in turn."""
    asked = {name: lite(net) for name, net in nets.items()}
    taken: dict[str, list[float]] = {name: [] for name in nets}
    for photo in photos:
        for name, interpreter in asked.items():
            start = time.perf_counter()
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], photo[np.newaxis])
            interpreter.invoke()
            taken[name].append(1000 * (time.perf_counter() - start))
    return {name: float(np.median(times)) for name, times in taken.items()}


def run(unit: dict[str, Any], examples: list[folds.Example], arguments: Any) -> dict[str, Any]:
    """Trains and measures one fold with one seed."""
    import keras

    from models import devices, input_pipeline

    start = time.monotonic()
    split = deal([example.breed for example in examples], unit["fold"])
    with tempfile.TemporaryDirectory() as folder:
        place = {
            name: folds.write(
                os.path.join(folder, name),
                [e for e, own in zip(examples, split, strict=True) if own == name],
            )
            for name in ("train", "val", "test")
        }
        predicted = {"regression": regression(arguments, place)}
        nets, compared = train(unit, arguments, folder, place)
        batches = list(input_pipeline.labelled(place["test"], arguments.image_size, 64))
        labels = np.concatenate([labels.numpy() for _, labels in batches])
        for name, net in nets.items():
            answer = devices.inference(net)
            logits = np.concatenate([answer(images) for images, _ in batches])
            predicted[name] = logits.argmax(axis=1)
        del nets["alone"]  # the same network as the student
        taken = milliseconds(nets, batches[0][0].numpy())
    keras.backend.clear_session()
    right = {name: (predicted[name] == labels).astype(int).tolist() for name in MODELS}
    return {
        **unit,
        **{f"{name} top1": float(np.mean(right[name])) for name in MODELS},
        "agreement": float((predicted["student"] == predicted["teacher"]).mean()),
        **{name: compared[name] for name in compared if name != "agreement"},
        **{f"{name} tflite ms": taken[name] for name in taken},
        "tflite ratio": taken["student"] / taken["teacher"],
        "tflite ratio to one look": taken["student"] / taken["one look"],
        "right": right,
        "seconds": time.monotonic() - start,
    }


def interval(difference: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean over photos, by the bootstrap (Efron, 1979)."""
    random = np.random.default_rng(0)
    draws = [difference[random.integers(0, len(difference), len(difference))].mean()
             for _ in range(DRAWS)]  # fmt: skip
    return float(np.quantile(draws, 0.025)), float(np.quantile(draws, 0.975))


def table(rows: list[dict[str, Any]]) -> None:
    """Prints each model's top-1 and the differences that count."""
    seeds = sorted({row["seed"] for row in rows})
    whole = [s for s in seeds if len({r["fold"] for r in rows if r["seed"] == s}) == FOLDS]
    if not whole:
        print(f"no seed has all {FOLDS} folds yet")
        return
    pooled = {
        name: np.array(
            [
                [hit for row in sorted(rows, key=lambda row: row["fold"])
                 if row["seed"] == seed for hit in row["right"][name]]
                for seed in whole
            ]
        )
        for name in MODELS
    }  # fmt: skip
    print("| model | top-1, mean ± sd over the seeds |\n| --- | ---: |")
    for name, hits in pooled.items():
        print(f"| {name} | {folds.spread(hits.mean(axis=1).tolist())} |")
    print("\n| difference | points | 95 % interval |\n| --- | ---: | --- |")
    for one, other in (("teacher", "regression"), ("student", "teacher"), ("student", "alone")):
        difference = 100 * (pooled[one] - pooled[other]).mean(axis=0)
        low, high = interval(difference)
        print(f"| {one} - {other} | {difference.mean():+.2f} | {low:+.2f} to {high:+.2f} |")
    ratios = ("tflite ratio", "tflite ratio to one look")
    times = [f"{name} tflite ms" for name in ("student", "teacher", "one look")]
    for name in ("agreement", *ratios, *times):
        print(f"{name}: median {np.median([row[name] for row in rows]):.3f}")
    for name in ("teacher", "alone"):
        count = sum(row[f"{name} kept"] == "fine-tuned" for row in rows)
        print(f"{name}: the fine-tuning was kept in {count} of {len(rows)}")
    sizes = [np.median([row[f"{name}_bytes"] for row in rows]) / 1e6 for name in MODELS[1:3]]
    print(f"size of the weights: teacher {sizes[0]:.1f} MB, student {sizes[1]:.1f} MB")


def main() -> None:
    """Runs what is missing and prints the tables."""
    from models import augment

    parser = folds.Parser(__doc__)
    parser.add_argument("--data", required=True, help="a data folder with photos of breeds")
    parser.add_argument("--weights", required=True, help="the backbone's start weights")
    parser.add_argument("--backbone", default="mobilenet_v2", help="of teacher and student")
    parser.add_argument("--student_size", type=int, default=144, help="side that it sees, pixels")
    parser.add_argument("--image_size", type=int, default=288, help="side of the photos, pixels")
    parser.add_argument("--epochs", type=int, default=6, help="the teacher's")
    parser.add_argument("--student_epochs", type=int, default=12, help="the student's")
    parser.add_argument("--student_augment", default="light", help="as --augment of a run")
    parser.add_argument("--batch_size", type=int, default=16, help="photos a training step")
    parser.add_argument("--seeds", type=folds.numbers(), default="0,1,2", help="of trainings")
    parser.add_argument("--folds", type=folds.numbers(FOLDS), default="0,1,2,3,4", help="tested on")
    parser.add_argument("--results", default="breed.jsonl", help="file of the rows that are done")
    arguments = parser.read()
    if not 32 <= arguments.student_size <= arguments.image_size:
        parser.error(f"--student_size {arguments.student_size}: expected 32 to --image_size")
    if arguments.student_augment not in augment.POLICIES:
        parser.error(f"--student_augment: expected one of {', '.join(augment.POLICIES)}")
    examples = folds.read(os.path.realpath(arguments.data), "cropped", arguments.image_size)
    for breed, count in collections.Counter(example.breed for example in examples).items():
        if count < LEAST:
            parser.error(f"--data: {breed} has {count} photos, {FOLDS} folds need {LEAST} or more")
    results = folds.Results(arguments.results)
    units = [
        {"seed": seed, "fold": fold, "told": folds.told(arguments)}
        for seed, fold in itertools.product(arguments.seeds, arguments.folds)
    ]
    for unit in list(results.missing(units)):
        results.add(run(dict(unit), examples, arguments))
    table(results.of(units))
    print(f"\n{len(examples)} photos, {arguments.image_size} px, {folds.load()}")


if __name__ == "__main__":
    main()
