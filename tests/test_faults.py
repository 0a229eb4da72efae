"""Faults planted in photos, schema and code, and who catches each, in what words.

`PYTHONPATH=. python tests/test_faults.py` prints the table: fault, caught by, message.
"""

import dataclasses
import functools
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import planted
import pytest
from PIL import Image, ImageFilter
from planted import PHOTOS, Outcome, clean, darker, edit_schema, ingest, lay, plant, repainted
from test_ingestion import add, jpeg
from test_ingestion import voc as annotation
from tfx.dsl.components.common.importer import Importer
from tfx.types import standard_artifacts

from components import (
    copies,
    image_example_gen,
    ledger_checks,
    model_gate,
    replay_check,
    split_assigner,
)
from components.catalog import Photo
from components.pusher import Pusher
from components.sources import voc
from components.sources.breeds import Breeds
from models import examples, vocabulary
from pipeline import graph, inputs
from pipeline.settings import Settings


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A data folder that is all well."""
    return lay(tmp_path_factory.mktemp("clean") / "photos", clean())


@pytest.fixture(scope="module")
def clean_run(photos) -> Outcome:
    """A run on it, with a model pushed, as blessed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph._Graph, "breed", _push_a_finished_model)
        return ingest(photos, photos.parent / "output", "--pipeline")


def _push_a_finished_model(nodes: graph._Graph) -> None:
    """In place of training: a model that is finished and blessed, and the real Pusher."""
    folder = Path(nodes.settings.output) / "finished"
    (folder / "Format-Serving").mkdir(parents=True, exist_ok=True)
    (folder / "Format-Serving" / "saved_model.pb").write_bytes(b"a model")
    told = {
        model_gate.VERDICT: {
            **{key: {} for key in ("metrics", "slices", "breeds")},
            "rules": [],
            "blessed_anyway": "",
        },
        replay_check.REPORT: {"checks": [], "latency_ms": 1, "megabytes": 1, "peak_mib": 1},
    }
    for name, report in told.items():
        (folder / name).write_text(json.dumps(report))
    model = Importer(str(folder), standard_artifacts.Model)
    blessings = [
        Importer(str(folder), kind, custom_properties={"blessed": 1})
        for kind in (standard_artifacts.ModelBlessing, standard_artifacts.InfraBlessing)
    ]
    gate, replay = (
        nodes.add(blessing, name).outputs["result"]
        for blessing, name in zip(blessings, ("Blessing", "Replay"), strict=True)
    )
    pusher = Pusher(
        model=nodes.add(model, "FinishedModel").outputs["result"],
        model_blessing=gate,
        infra_blessing=replay,
        ledger=nodes.output("SplitAssigner", "splits"),
        destination=nodes.settings.serving("breed"),
        fingerprint="finished",
        withdrawn="",
        card=nodes.card("breed", pretrained=False),
        breeds=nodes.inputs.vocabulary,
        code="finished",
    )
    nodes.add(pusher.with_id("Pusher_breed"))


@pytest.fixture
def told(record_property) -> Callable[..., None]:
    """Asserts who caught a fault and in which words, for the table: (fault, outcome, by, words)."""

    def tell(fault: str, outcome: Outcome, by: str, *words: str) -> None:
        line = outcome.line(*words)
        if by == "warning":
            assert outcome.code == 0, outcome.printed
            assert line.startswith("warning: ")
        elif by == "before the run":
            assert outcome.code == 2, outcome.printed
            assert not (outcome.output / "metadata.sqlite").exists()
        else:
            assert outcome.code == 1, outcome.printed
            outcome.line(f"{by} failed: ")
        record_property("caught", (fault, by, line))

    return tell


def test_clean_photos_pass_without_a_problem_or_a_warning(clean_run):
    found = clean_run.summary["data"]

    assert clean_run.code == 0, clean_run.printed
    assert found["passed"] is True
    assert found["problems"] == found["warnings"] == []
    assert "gate data: passed" in clean_run.printed


def without(*names: str) -> Callable[[dict], dict]:
    return lambda found: {name: value for name, value in found.items() if name not in names}


def with_value(name: str, value: object) -> Callable[[dict], dict]:
    return lambda found: {**found, name: value}


# Faults of one group are planted together: one must not hide another.
IN_RECORDS = {
    "one": {
        "label missing": (without(examples.LABEL), ["feature label", "fewer examples"]),
        "breed that no vocabulary has": (
            with_value(examples.BREED, "Labradoodle"), ["feature breed", "Labradoodle"],
        ),
        "PNG": (with_value(examples.FORMAT, "png"), ["feature image/format", "png"]),
        "feature lost": (without(examples.ORIGINAL_WIDTH), ["original/width", "fewer examples"]),
        "feature that the schema does not know": (
            with_value(examples.FILE_NAME, "a.jpg"), ["feature image/filename", "New column"],
        ),
        "two values in place of one": (
            with_value(examples.ORIGINAL_HEIGHT, [48, 48]), ["feature original/height"],
        ),
        "not a number": (
            with_value(examples.BRIGHTNESS, float("nan")), ["quality/brightness", "NaN"],
        ),
    },
    "other": {
        "breed missing": (without(examples.BREED), ["feature breed", "fewer examples"]),
        "label out of the vocabulary": (
            with_value(examples.LABEL, 500), ["feature label", "large value: 500"],
        ),
        "photo of another size": (
            with_value(examples.HEIGHT, 8), ["feature image/height", "small value: 8"],
        ),
        "source that is none": (with_value(examples.SOURCE, "flickr"), ["source", "flickr"]),
        "brightness beyond its range": (
            with_value(examples.BRIGHTNESS, 200.0), ["quality/brightness", "200"],
        ),
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def run_with_records(clean_run, photos) -> Callable[[str], Outcome]:
    """A run whose records have the faults of a group, in every eighth Example."""

    @functools.cache
    def run(group: str) -> Outcome:
        spoilers = [spoil for spoil, _ in IN_RECORDS[group].values()]
        with pytest.MonkeyPatch.context() as patch:
            plant_in_records(patch, "_features", *spoilers)
            return ingest(photos, clean_run.output)

    return run


def plant_in_records(patch, name: str, *spoilers, every: bool = False) -> None:
    """Spoils what a function of ImageExampleGen makes of every eighth photo, or of every one."""
    whole = getattr(image_example_gen, name)

    def spoiled(photo, *given):
        found = whole(photo, *given)
        for spoil in spoilers if every or photo.sha256 < "2" else ():
            found = spoil(found)
        return found

    plant(patch, image_example_gen, name, spoiled)


@pytest.mark.parametrize(
    ("group", "fault"), [(group, fault) for group, held in IN_RECORDS.items() for fault in held]
)
def test_a_fault_in_records_ends_at_the_gate(group, fault, run_with_records, told):
    _, words = IN_RECORDS[group][fault]

    outcome = run_with_records(group)

    told(f"{fault} (records)", outcome, "DataGate", "cropped: train: ", *words)


def test_a_feature_of_another_type_ends_at_the_gate(clean_run, photos, monkeypatch, told):
    as_text = with_value(examples.ORIGINAL_WIDTH, "sixty-four")
    plant_in_records(monkeypatch, "_features", as_text, every=True)

    outcome = ingest(photos, clean_run.output)

    words = "cropped: train: feature original/width", "Expected data of type: INT"
    told("numbers written as text (records)", outcome, "DataGate", *words)


def test_a_feature_of_two_types_ends_in_the_statistics(clean_run, photos, monkeypatch, told):
    plant_in_records(monkeypatch, "_features", with_value(examples.SHARPNESS, "sharp"))

    outcome = ingest(photos, clean_run.output)

    # TFX's reader says it, in words that depend on how Beam happens to batch the records.
    words = "StatisticsGen_cropped failed", "type"
    told("some numbers written as text (records)", outcome, "StatisticsGen_cropped", *words)


@pytest.fixture(scope="module")
def run_with_boxes(clean_run, photos) -> Outcome:
    """A run that reads boxes mirrored, draws some too far, and numbers classes from 0."""
    whole = voc.boxes

    def mirrored(xml, *tag):
        return tuple((xmax, ymin, xmin, ymax) for xmin, ymin, xmax, ymax in whole(xml, *tag))

    with pytest.MonkeyPatch.context() as patch:
        plant(patch, voc, "boxes", mirrored)
        beyond = with_value(examples.BOX["ymax"], [1.2])
        background = with_value(examples.BOX_LABEL, [0])
        plant_in_records(patch, "box_features", beyond, background)
        return ingest(photos, clean_run.output, "--uncropped")


@pytest.mark.parametrize(("fault", "words"), [
    ("boxes turned inside out", ["feature image/object/area", "-"]),
    ("box beyond the frame", ["feature image/object/bbox/ymax", "1.2>1"]),
    ("class of the background", ["feature image/object/class/label", "small value: 0"]),
])  # fmt: skip
def test_a_fault_in_boxes_ends_at_the_gate(fault, words, run_with_boxes, told):
    told(f"{fault} (records)", run_with_boxes, "DataGate", "uncropped: train: ", *words)


def plant_in_splits(patch, move: Callable[[Photo], str | None]) -> None:
    """Lets SplitAssigner put photos elsewhere."""
    whole = split_assigner.assign

    def assign(*given, **named):
        return [
            dataclasses.replace(row, split=move(row)) if row.split else row
            for row in whole(*given, **named)
        ]

    plant(patch, split_assigner, "assign", assign)


LACKS = {"beagle": "val", "pug": "train", "Shih-Tzu": "test"}


@pytest.fixture(scope="module")
def run_lacking_breeds(clean_run, photos) -> Outcome:
    other = {"train": "val", "val": "train", "test": "train"}
    with pytest.MonkeyPatch.context() as patch:
        plant_in_splits(
            patch, lambda row: other[row.split] if row.split == LACKS.get(row.breed) else row.split
        )
        return ingest(photos, clean_run.output)


@pytest.mark.parametrize("breed", LACKS)
def test_a_breed_that_a_split_lacks_ends_at_the_gate(breed, run_lacking_breeds, told):
    split = LACKS[breed]

    words = f"cropped: no photo of {breed} in {split} (", f"{split} 0"
    told(f"a breed missing in {split}", run_lacking_breeds, "DataGate", *words)


def test_breeds_divided_otherwise_in_val_end_at_the_gate(clean_run, photos, monkeypatch, told):
    plant_in_splits(
        monkeypatch,
        lambda row: "val" if row.breed == "beagle" and row.sha256 < "a" else row.split,
    )

    outcome = ingest(photos, clean_run.output)

    words = "cropped: breed differs between train and val by", "at most"
    told("labels of val distributed unlike train's", outcome, "DataGate", *words)


def test_splits_of_other_shares_end_at_the_gate(clean_run, photos, monkeypatch, told):
    plant_in_splits(monkeypatch, lambda row: "test" if row.sha256 < "8" else row.split)

    outcome = ingest(photos, clean_run.output)

    told("half of the photos in test", outcome, "DataGate", "cropped: test has", "expected 15%")


@pytest.fixture(scope="module")
def run_with_leaks(clean_run) -> Outcome:
    """Copies that nobody notices, photos that go where they like, and dog ids from elsewhere."""
    files = clean()
    shih_tzu = f"stanford/Images/{planted.STANFORD[0]}/n02086240"
    files["breeds/pug/near.jpg"] = planted.copied(files[f"{shih_tzu}_5.jpg"])
    files["breeds/pug/same.jpg"] = files[f"{shih_tzu}_6.jpg"]
    places = {
        "near.jpg": "test", "_5.jpg": "train", "same.jpg": "test", "_6.jpg": "train",
        "dog-1/0.jpg": "test", "dog-1/1.jpg": "train",
    }  # fmt: skip
    offers = Breeds.offers

    def with_dogs(*given):
        for offer in offers(*given):
            dog = "individuals/dog-2" if offer.entry.name == "beagle/00.jpg" else None
            yield dataclasses.replace(offer, dog_id=dog)

    def move(row: Photo) -> str | None:
        ends = (split for end, split in places.items() if row.photo_id.endswith(end))
        return next(ends, row.split)

    with pytest.MonkeyPatch.context() as patch:
        plant(patch, copies, "mark", list)
        patch.setattr(Breeds, "offers", with_dogs)
        plant_in_splits(patch, move)
        return ingest(lay(clean_run.output / "leaking", files), clean_run.output)


@pytest.mark.parametrize(("fault", "words"), [
    ("a dog in two splits", ["dog individuals/dog-1 stands in", "individuals/dog-1/0.jpg"]),
    ("a near copy in two splits", ["one picture, copied, stands in", "pug/near.jpg", "_5.jpg"]),
    ("an exact copy in two splits", ["one photo stands in", "pug/same.jpg", "_6.jpg"]),
    ("one dog id in two sources", ["dog individuals/dog-2 is in 2 sources", "beagle/00.jpg"]),
])  # fmt: skip
def test_a_leak_ends_at_the_gate(fault, words, run_with_leaks, told):
    told(fault, run_with_leaks, "DataGate", *words)


@pytest.fixture(scope="module")
def run_with_other_counts(clean_run, photos) -> Outcome:
    whole = image_example_gen.plan

    def plan(*given):
        for name, rows in whole(*given):
            yield name, rows[:-3] if "train" in name else rows + rows[:2]

    with pytest.MonkeyPatch.context() as patch:
        plant(patch, image_example_gen, "plan", plan)
        return ingest(photos, clean_run.output)


@pytest.mark.parametrize(("fault", "words"), [
    ("Examples lost", ["cropped: train has 92 Examples, the ledger says 95"]),
    ("Examples written twice", ["cropped: test has 16 Examples, the ledger says 14"]),
])  # fmt: skip
def test_other_examples_than_the_ledger_says_end_at_the_gate(
    fault, words, run_with_other_counts, told
):
    told(fault, run_with_other_counts, "DataGate", *words)


SCHEMAS = {
    "wrong schema type": (
        'name: "label"\n  type: INT', 'name: "label"\n  type: BYTES', ["feature label", "BYTES"],
    ),
    "feature that the records lack": (
        "feature {",
        'feature { name: "dog_id" type: BYTES presence { min_fraction: 1 min_count: 1 } }\n'
        "feature {",
        ["feature dog_id", "missing"],
    ),
    "feature that the schema does not know": (
        'name: "original/width"', 'name: "original/breadth"', ["original/width", "New column"],
    ),
    "records of another size": (
        "min: 32 max: 1024", "min: 224 max: 224", ["feature image/height", "64"],
    ),
    "breed that the schema does not know": (
        '  value: "pug"\n', "", ["feature breed", "missing from the schema: pug"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", SCHEMAS)
def test_records_that_do_not_fit_the_schema_end_at_the_gate(
    fault, clean_run, photos, tmp_path, monkeypatch, told
):
    old, new, words = SCHEMAS[fault]
    edit_schema(monkeypatch, tmp_path / "schema", "cropped.pbtxt", old, new)

    outcome = ingest(photos, clean_run.output)

    told(f"{fault} (schema)", outcome, "DataGate", "cropped: train: ", *words)


@pytest.mark.parametrize(("fault", "file", "old", "new"), [
    ("a type that is none", "cropped.pbtxt", "type: BYTES", "type: TEXT"),
    ("a brace missing", "individual.pbtxt", "feature {", "feature"),
    ("a domain that is not there", "uncropped.pbtxt", 'domain: "format"', 'domain: "formats"'),
    ("a severity that is none", "rules.pbtxt", "severity: ERROR", "severity: FATAL"),
])  # fmt: skip
def test_a_schema_that_is_none_ends_before_the_run(
    fault, file, old, new, photos, tmp_path, monkeypatch, told
):
    edit_schema(monkeypatch, tmp_path / "schema", file, old, new)

    outcome = ingest(photos, tmp_path / "output")

    told(f"{fault} ({file})", outcome, "before the run", f"schema/{file}", "mend it")


def test_a_rule_that_is_no_sql_ends_where_it_is_asked(
    clean_run, photos, tmp_path, monkeypatch, told
):
    old, new = "feature.num_stats.mean > 0.1", "feature.num_stats.average > 0.1"
    edit_schema(monkeypatch, tmp_path / "schema", "rules.pbtxt", old, new)

    outcome = ingest(photos, clean_run.output)

    told("a rule that is no SQL", outcome, "ExampleValidator_cropped", "field called average")


@pytest.fixture(scope="module")
def run_with_odd_photos(tmp_path_factory) -> Outcome:
    """A run on photos of which some are bad, some are odd, and most are well."""
    files = clean()
    stanford = planted.STANFORD[0]
    image = f"stanford/Images/{stanford}/n02086240"
    box = f"stanford/Annotation/{stanford}/n02086240"
    files[f"{image}_0.jpg"] = files[f"{image}_0.jpg"][:900]
    files["individuals/dog-0/text.jpg"] = b"this is no photo"
    files["individuals/dog-0/empty.jpg"] = b""
    files[f"{box}_1"] = annotation("bndbox", box=(60, 5, 4, 44))
    files[f"{box}_2"] = annotation("bndbox", box=(4, 5, 65, 44))
    files["breeds/Labradoodle/1.jpg"] = jpeg(1)
    files["individuals/dog-1/copy.jpg"] = files["individuals/dog-1/0.jpg"]
    files |= {f"breeds/boxer/{number}.jpg": jpeg(100 + number) for number in range(5)}
    files |= {f"{box}_{number}": annotation("bndbox", box=(4, 5, 24, 20)) for number in (7, 8, 9)}
    files |= repainted(files, darker(0.1), "breeds/pug/00")
    folder = tmp_path_factory.mktemp("odd")
    return ingest(lay(folder / "photos", files), folder / "output")


@pytest.mark.parametrize(("fault", "photo", "reason", "words"), [
    ("photo cut off", "n02086240_0.jpg", "unreadable", "truncated"),
    ("text named .jpg", "individuals/dog-0/text.jpg", "unreadable", "no photo"),
    ("empty photo", "individuals/dog-0/empty.jpg", "unreadable", "an empty file"),
    ("box turned inside out (annotation)", "n02086240_1.jpg", "bad_annotation", "no box"),
    ("box beyond the frame (annotation)", "n02086240_2.jpg", "box_outside_frame", "65.0"),
    ("folder of an unknown breed", "Labradoodle/1.jpg", "unknown_breed", "Labradoodle"),
    ("photo there twice", "dog-1/copy.jpg", "exact_copy", "of individuals/dog-1/0.jpg"),
])  # fmt: skip
def test_a_bad_photo_is_a_row_of_the_ledger(
    fault, photo, reason, words, run_with_odd_photos, record_property
):
    (row,) = [row for row in run_with_odd_photos.ledger() if row.photo_id.endswith(photo)]

    assert run_with_odd_photos.code == 0
    assert row.reason == reason
    assert words in row.detail
    record_property("caught", (fault, "ledger", f"{row.photo_id}: {row.reason}: {row.detail}"))


@pytest.mark.parametrize(("fault", "words"), [
    ("a few dark photos", ["cropped: about 1 photo is dark", "below 0.1"]),
    ("dogs of few pixels", ["cropped: in 3 photos the dog is smaller than 48 pixels"]),
    ("a breed of few photos", ["cropped: 1 breed has fewer than 20 photos: boxer (5)"]),
])  # fmt: skip
def test_odd_photos_are_warned_of(fault, words, run_with_odd_photos, told):
    told(fault, run_with_odd_photos, "warning", *words)


@pytest.fixture(scope="module")
def run_with_bad_sources(tmp_path_factory) -> Outcome:
    """A run on one source whose breeds are all unknown and one that is half unreadable."""
    files = clean()
    bad = {f"breeds/Labradoodle/{number}.jpg": jpeg(number) for number in range(40)}
    files = {name: content for name, content in files.items() if not name.startswith("breeds/")}
    for name in files:
        if name.startswith("individuals/") and name.endswith("/0.jpg"):
            files[name] = files[name][:700]
    folder = tmp_path_factory.mktemp("bad")
    return ingest(lay(folder / "photos", files | bad), folder / "output")


@pytest.mark.parametrize(("fault", "words"), [
    ("a source of unknown breeds", ["breeds: 40 of 40 photos can't be used (unknown_breed 40)"]),
    ("a third of a source unreadable", ["individuals: 14 of 42 photos can't", "unreadable 14"]),
])  # fmt: skip
def test_a_source_that_is_mostly_rejected_ends_at_the_gate(
    fault, words, run_with_bad_sources, told
):
    told(fault, run_with_bad_sources, "DataGate", *words)


@pytest.fixture(scope="module")
def run_with_disagreeing_copies(tmp_path_factory) -> Outcome:
    """A run on photos that stand in two sources, some under two names."""
    files = clean()
    for number in range(PHOTOS):
        original = files[f"stanford/Images/{planted.STANFORD[0]}/n02086240_{number}.jpg"]
        breed = "pug" if number % 10 == 0 else "Shih-Tzu"
        files[f"breeds/{breed}/again_{number}.jpg"] = planted.copied(original)
    for dog in (1, 3, 5):
        files[f"individuals/dog-{dog + 1}/found.jpg"] = files[f"individuals/dog-{dog}/0.jpg"]
    folder = tmp_path_factory.mktemp("copies")
    return ingest(lay(folder / "photos", files), folder / "output")


@pytest.mark.parametrize(("fault", "words"), [
    ("a tenth of a source's copies named otherwise", [
        "3 of 30 copies name another breed", "breeds/pug/again_0.jpg (pug)", "(Shih-Tzu)",
    ]),
    ("photos of two dogs", [
        "3 pairs of dogs share a photo", "individuals/dog-1 and individuals/dog-2",
    ]),
])  # fmt: skip
def test_copies_that_disagree_end_at_the_gate(fault, words, run_with_disagreeing_copies, told):
    told(fault, run_with_disagreeing_copies, "DataGate", *words)


@pytest.mark.parametrize(("fault", "change", "words"), [
    ("photos without colour", lambda image: image.convert("L"), ["saturation", "without colour"]),
    ("blurred photos", lambda image: image.filter(ImageFilter.GaussianBlur(15)), [
        "sharpness", "blurred or flat",
    ]),
    ("dark photos", darker(0.15), ["brightness", "mean brightness"]),
])  # fmt: skip
def test_photos_that_are_all_bad_end_at_the_gate(fault, change, words, tmp_path, told):
    data = lay(tmp_path / "photos", repainted(clean(), change))

    outcome = ingest(data, tmp_path / "output")

    told(f"{fault} throughout", outcome, "DataGate", "cropped: train: feature quality/", *words)


def test_val_of_another_brightness_ends_at_the_gate(tmp_path, monkeypatch, told):
    files = clean(photos=75)
    whole = image_example_gen.to_example

    def to_example(photo, data, *given):
        content = repainted({"x.jpg": data}, darker(0.6))["x.jpg"] if photo.split == "val" else data
        return whole(photo, content, *given)

    plant(monkeypatch, image_example_gen, "to_example", to_example)

    outcome = ingest(lay(tmp_path / "photos", files), tmp_path / "output")

    words = "quality/brightness differs between train and val by", "at most"
    told("photos of val darkened", outcome, "DataGate", *words)


def blurred(image: Image.Image) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(2))


@pytest.mark.parametrize(("fault", "change", "feature"), [
    ("brightness drifted", darker(0.7), "quality/brightness"),
    ("sharpness drifted", blurred, "quality/sharpness"),
])  # fmt: skip
def test_photos_unlike_the_last_blessed_runs_end_at_the_gate(
    fault, change, feature, clean_run, tmp_path, told
):
    version = clean_run.summary["data"]["version"]
    data = lay(tmp_path / "photos", repainted(clean(), change))

    outcome = ingest(data, clean_run.output)

    words = f"cropped: {feature} has drifted by", f"last blessed run's data ({version})"
    told(fault, outcome, "DataGate", *words)


@pytest.fixture(scope="module")
def run_on_changed_photos(clean_run, tmp_path_factory) -> Outcome:
    """A run after the blessed one: a tenth of a source under another breed, a quarter gone."""
    files = clean()
    for number in range(0, PHOTOS, 5):
        files[f"breeds/pug/moved_{number}.jpg"] = files.pop(f"breeds/beagle/{number:02d}.jpg")
    for number in range(0, PHOTOS, 2):
        del files[f"stanford/Images/{planted.STANFORD[1]}/n02099267_{number}.jpg"]
    return ingest(lay(tmp_path_factory.mktemp("changed") / "photos", files), clean_run.output)


@pytest.mark.parametrize(("fault", "words"), [
    ("a tenth of a source relabelled", [
        "breeds: 6 of 60 photos have another label", "moved_0.jpg (beagle, now pug)",
    ]),
    ("a quarter of a source lost", ["stanford: 15 of 60 photos of the last blessed run"]),
])  # fmt: skip
def test_photos_changed_since_the_last_blessed_run_end_at_the_gate(
    fault, words, run_on_changed_photos, told
):
    told(fault, run_on_changed_photos, "DataGate", *words)


def test_a_breed_that_the_vocabulary_learns_is_no_label_noise(clean_run):
    """The first run's ledger again, some of whose photos had no breed or dog in an earlier one."""
    now = [photo for photo in clean_run.ledger() if photo.source == "individuals"]
    known = [dataclasses.replace(photo, breed="pug") for photo in now]
    mixed = [dataclasses.replace(photo, breed=vocabulary.MIXED) for photo in now]
    other = [dataclasses.replace(photo, breed="beagle") for photo in now]

    assert ledger_checks.relabelled(known, now, bound=0.01) == []
    assert ledger_checks.relabelled(known, mixed, bound=0.01) == []
    assert ledger_checks.relabelled(known, other, bound=0.01)
    assert ledger_checks.relabelled(now, known, bound=0.01)


def test_another_data_set_is_not_compared_with_the_last_blessed_run(tmp_path, clean_run, told):
    data = lay(tmp_path / "photos", clean(seed=50_000, prefix="another_"))

    outcome = ingest(data, clean_run.output)

    told("another data set", outcome, "warning", "cropped: hardly a photo of the last blessed run")


@pytest.mark.parametrize(("view", "files", "words"), [
    ("cropped", {f"breeds/pug/{number}.jpg": jpeg(number) for number in range(2)}, [
        "view cropped: nothing in", "photos of a known breed", "add photos",
    ]),
    ("individual", {f"individuals/{dog}/1.jpg": jpeg(dog) for dog in range(3)}, [
        "view individual: nothing in", "3 dogs were accepted", "add dogs",
    ]),
])  # fmt: skip
def test_an_empty_split_ends_before_records_are_written(view, files, words, tmp_path, told):
    data = lay(tmp_path / "photos", files)

    outcome = ingest(data, tmp_path / "output", f"--{view}")

    told(f"empty split ({view})", outcome, f"ImageExampleGen_{view}", *words)


def test_a_photo_swapped_while_the_run_goes_on_ends_it(photos, tmp_path, monkeypatch, told):
    data = tmp_path / "photos"
    shutil.copytree(photos, data)
    photo = data / "breeds" / "pug" / "03.jpg"
    prepare = inputs.prepare

    def prepare_and_swap(*given):
        found, stamp = prepare(*given), photo.stat()
        photo.write_bytes(jpeg(1)[: stamp.st_size].ljust(stamp.st_size, b"\0"))
        os.utime(photo, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        return found

    monkeypatch.setattr(inputs, "prepare", prepare_and_swap)

    outcome = ingest(data, tmp_path / "output")

    words = "breeds/pug/03.jpg", "is not what it was when the run began"
    told("photo swapped while the run goes on", outcome, "PhotoCatalog", *words)


@pytest.mark.parametrize(("name", "spoil"), [
    ("mine.zip", lambda content: content[:1000] + b"spoilt" + content[1006:]),
    ("mine.tar", lambda content: content[:5000]),
])  # fmt: skip
def test_a_damaged_archive_ends_in_the_first_node(name, spoil, tmp_path, told):
    data = tmp_path / "photos" / "breeds"
    data.mkdir(parents=True)
    for number in range(PHOTOS):
        add(data / name, f"pug/{number}.jpg", jpeg(number))
    (data / name).write_bytes(spoil((data / name).read_bytes()))

    outcome = ingest(data.parent, tmp_path / "output")

    told(f"damaged {name}", outcome, "DatasetImporter", f"breeds/{name}")


def test_nothing_is_trained_on_wrong_data(clean_run, photos, tmp_path, monkeypatch):
    old, new, _ = SCHEMAS["wrong schema type"]
    edit_schema(monkeypatch, tmp_path / "schema", "cropped.pbtxt", old, new)

    outcome = ingest(photos, clean_run.output, "--pipeline")

    assert outcome.code == 1
    states = {node["id"]: node["state"] for node in outcome.summary["nodes"]}
    assert states["DataGate"] == "failed"
    assert {state for name, state in states.items() if name.startswith("Trainer")} == {"skipped"}
    assert outcome.summary["pushed"] == {"breed": None, "match": None}
    assert "DataGate failed: the data set has 3 problems:" in outcome.printed
    assert outcome.summary["data"]["passed"] is False
    assert len(outcome.summary["data"]["problems"]) == 3
    assert outcome.summary["error"].startswith("DataGate failed")
    for words in ("cropped: val: feature label", "local_runner.py schema", "--allow_anomalies"):
        assert words in outcome.printed


def test_wrong_data_can_be_allowed_on_record(clean_run, photos, tmp_path, monkeypatch):
    old, new, _ = SCHEMAS["wrong schema type"]
    edit_schema(monkeypatch, tmp_path / "schema", "cropped.pbtxt", old, new)

    outcome = ingest(photos, clean_run.output, "--allow_anomalies")

    assert outcome.code == 0, outcome.printed
    verdict = outcome.store.outputs(outcome.nodes["DataGate"])["verdict"].custom_properties
    assert verdict["passed"].int_value == 0
    assert verdict["problems"].int_value == 3
    found = outcome.summary["data"]
    assert found["passed"] is False
    assert len(found["problems"]) == 3
    assert "gate data: ALLOWED, though it is wrong (--allow_anomalies)" in outcome.printed
    assert f"WRONG {found['problems'][0]}" in outcome.printed


def test_the_last_blessed_run_is_found_with_what_it_left(clean_run):
    settings = Settings("photos", str(clean_run.output), "small_cnn", "none", 64, 1, 8)
    (pushed,) = clean_run.store.pushed(settings.serving("breed"))
    shape = graph.shape(settings, "cropped")

    found = clean_run.store.before("cropped", pushed, shape)
    other_size = clean_run.store.before("cropped", pushed, {**shape, "image_size": 96})
    nobody = clean_run.store.before("cropped", dataclasses.replace(pushed, artifact=0), shape)

    assert found.data_version == clean_run.summary["data"]["version"]
    assert found.ledger == clean_run.summary["ledger"]
    assert (Path(found.statistics) / "Split-train" / "FeatureStats.pb").is_file()
    assert (found.same_shape, other_size.same_shape) == (True, False)
    assert other_size == dataclasses.replace(found, same_shape=False)
    assert nobody is None


class _Table:
    """Collects what the tests tell, as rows of Markdown."""

    def __init__(self):
        self.rows: list[tuple[str, str, str]] = []

    def pytest_runtest_logreport(self, report):
        self.rows += [value for name, value in report.user_properties if name == "caught"] * (
            report.when == "call"
        )


if __name__ == "__main__":
    table = _Table()
    ended = pytest.main([__file__, *sys.argv[1:]], plugins=[table])
    print("\n| fault | caught by | message |\n| --- | --- | --- |")
    for row in table.rows:
        print("|", " | ".join(text.replace("|", "\\|") for text in row), "|")
    sys.exit(ended)
