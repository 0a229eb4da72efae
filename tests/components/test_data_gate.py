import json

import measured
import pytest
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx.types import standard_artifacts
from told import numbers

from components import artifacts, catalog, data_gate
from components.catalog import Photo
from components.data_gate import DataGate
from components.sources.base import DataError

BOUNDS = {
    "share": 0.05, "rejected": 0.25, "copies": 0.05, "dogs": 0.01, "relabelled": 0.01,
    "lost": 0.2, "same_data": 0.05, "tiny": 48, "dark": 0.1, "flat": 1.0, "grey": 0.01,
}  # fmt: skip
PARAMETERS = {
    "bounds": json.dumps(BOUNDS),
    "upstream": 0,
    "allow_anomalies": 0,
    "code": "of the code",
}


def photo(number, split, sha256=None, **more):
    return Photo(
        f"s/{number}", "s", "u", 0, 1, sha256 or f"sha-{number}", 64, 48,
        **{"split": split, "views": ("cropped", "uncropped"), "breed": "pug", **more},
    )  # fmt: skip


def of_dog(number, split, dog):
    return photo(number, split, dog_id=dog, views=("individual",))


def whole_set():
    return [photo(number, split) for number, split in enumerate(["train", "train", "val", "test"])]


@pytest.fixture
def node(tmp_path):
    """Runs the component over a ledger: (rows, parameters) -> the verdict's artifact."""

    def run(rows, **parameters):
        splits, verdict = artifacts.SplitManifest(), artifacts.DataVerdict()
        splits.uri, verdict.uri = str(tmp_path / "splits"), str(tmp_path / "verdict")
        artifacts.tell(splits, data_version="0123456789ab")
        for name in ("splits", "verdict"):
            (tmp_path / name).mkdir()
        catalog.write(splits.uri, rows)
        executor = DataGate.EXECUTOR_SPEC.executor_class()
        executor.Do({"splits": [splits]}, {"verdict": [verdict]}, {**PARAMETERS, **parameters})
        return verdict

    return run


def written(verdict):
    with open(f"{verdict.uri}/verdict.json") as file:
        return json.load(file)


def test_the_node_writes_its_verdict_on_a_good_ledger(node):
    verdict = node(whole_set())

    assert written(verdict) == {
        "passed": True,
        "problems": [],
        "warnings": [],
        "schema": [],
        "distances": {},
        "examples": {},
        "help": [],
    }
    assert numbers(verdict, "passed", "problems", "warnings") == (1, 0, 0)
    assert verdict.get_string_custom_property("data_version") == "0123456789ab"


LEAKS = [
    *(of_dog(1, "test", "a"), of_dog(2, "train", "a")),
    *(photo(number, split, "same") for number, split in ((5, "val"), (6, "test"))),
]
SENTENCES = [
    "dog a stands in test (s/1) and in train (s/2)",
    "one photo stands in test (s/6) and in val (s/5)",
]


def test_the_node_ends_the_run_with_every_problem(node, tmp_path):
    with pytest.raises(DataError) as error:
        node(LEAKS)

    first, *problems, one, other = str(error.value).splitlines()
    assert first == "the data set has 2 problems:"
    assert [line.strip() for line in problems] == SENTENCES
    assert "local_runner.py data" in one
    assert "--allow_anomalies" in other
    assert list((tmp_path / "verdict").iterdir()) == []


def test_what_is_allowed_passes_on_record(node):
    verdict = node(LEAKS, allow_anomalies=1)

    assert written(verdict)["problems"] == SENTENCES
    assert written(verdict)["passed"] is False
    assert numbers(verdict, "passed", "problems") == (0, 2)


def test_a_message_lists_twenty_problems_and_counts_the_rest(node):
    dogs = [
        of_dog(f"{n}-{split}", split, f"d{n:02}") for n in range(23) for split in ("val", "test")
    ]

    with pytest.raises(DataError) as error:
        node(dogs)

    lines = [line.strip() for line in str(error.value).splitlines()]
    assert lines[0] == "the data set has 23 problems:"
    assert lines[20].startswith("dog d19 stands in")
    assert lines[21] == "… and 3 more, in summary.json (data, problems)"


SCHEMA = measured.schema("""
    feature { name: "breed" type: BYTES
      skew_comparator { jensen_shannon_divergence { threshold: 0.02 } }
      drift_comparator { jensen_shannon_divergence { threshold: 0.02 } } }
    feature { name: "quality/brightness" type: FLOAT
      drift_comparator { jensen_shannon_divergence { threshold: 0.05 } } }
""")


def view_of(folder, splits, light=0.5):
    """What DataGate reads of a view: split -> breed -> photos, all as bright as one another."""
    found = {
        split: measured.statistics(
            **{
                "breed": [breed for breed, number in breeds.items() for _ in range(number)],
                "quality/brightness": [light + n % 10 / 100 for n in range(sum(breeds.values()))],
            }
        )
        for split, breeds in splits.items()
    }
    nothing = {split: anomalies_pb2.Anomalies() for split in splits}
    return {
        "statistics": measured.write(folder / "statistics", "statistics", found),
        "anomalies": measured.write(folder / "anomalies", "anomalies", nothing),
        "schema": measured.write_schema(folder / "schema", SCHEMA),
        "proposal": measured.write_schema(folder / "proposal", SCHEMA),
    }


def ledger_of(splits):
    return [
        photo(f"{split}-{breed}-{n}", split, breed=breed)
        for split, breeds in splits.items()
        for breed, number in breeds.items()
        for n in range(number)
    ]


def checked(splits, inputs, upstream=False):
    found = data_gate.Findings()
    bounds = data_gate.Bounds(**BOUNDS)
    data_gate.check_view(found, ledger_of(splits), "cropped", inputs, bounds, upstream)
    return found


@pytest.mark.parametrize("upstream", [False, True])
def test_a_sources_own_test_list_may_show_other_breeds_than_its_train_list(upstream, tmp_path):
    splits = {
        "train": {"pug": 600, "beagle": 100},
        "val": {"pug": 130, "beagle": 20},
        "test": {"pug": 75, "beagle": 75},
    }

    found = checked(splits, view_of(tmp_path, splits), upstream)

    told = found.warnings if upstream else found.problems
    assert [text for text in told if "breed differs between train and test" in text]
    assert bool(found.problems) != upstream


@pytest.mark.parametrize("same_shape", [0, 1])
def test_pixels_of_another_size_are_not_compared_and_it_says_so(same_shape, tmp_path):
    splits = {"train": {"pug": 700}, "val": {"pug": 150}, "test": {"pug": 150}}
    inputs = view_of(tmp_path / "now", splits)
    ledger, then = artifacts.SplitManifest(), standard_artifacts.ExampleStatistics()
    ledger.uri = str(tmp_path / "ledger")
    artifacts.tell(ledger, data_version="0123456789ab")
    (tmp_path / "ledger").mkdir()
    catalog.write(ledger.uri, ledger_of(splits))
    then.uri = view_of(tmp_path / "then", splits, light=0.2)["statistics"].uri
    then.set_int_custom_property("same_shape", same_shape)

    found = checked(splits, {**inputs, "ledger_before": ledger, "statistics_before": then})

    drifted = [text for text in found.problems if "quality/brightness has drifted" in text]
    skipped = [text for text in found.warnings if "another size or crop" in text]
    assert (len(drifted), len(skipped)) == (same_shape, 1 - same_shape)
    assert bool(found.help) == bool(same_shape)
