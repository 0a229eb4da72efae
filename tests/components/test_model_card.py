import dataclasses

import pytest

from components import catalog, model_card

METRICS = {
    "top1": 0.9, "top1_low": 0.85, "top1_high": 0.95, "log_loss": 0.4,
    "teacher.top1": 0.95, "baseline.top1": 0.8, "majority.top1": 0.1,
}  # fmt: skip
SLICES = {
    "": {"examples": 60, "top1": 0.9},
    "source:stanford": {"examples": 40, "top1": 0.95, "top1_low": 0.9, "top1_high": 1.0},
    "size:<256": {"examples": 5, "top1": 0.4},
    "breed:Pug": {"examples": 12, "top1": 0.5},
}
FACTS = model_card.Facts(
    kind="breed",
    recipe={"network": "efficientnet_v2_b0", "epochs": 12},
    pretrained=True,
    drawn=False,
    data_version="d1",
    fingerprint="0123456789abcdef",
    verdict={
        "metrics": METRICS,
        "slices": SLICES,
        "breeds": {"1": {"recall": 0.5, "precision": 0.25}, "0": {"recall": 0.75}, "2": {}},
        "rules": [
            {"rule": "floor", "passed": True, "reason": "top1 0.900 >= 0.600"},
            {"rule": "calibrated", "passed": False, "reason": "ece 0.300 is above 0.250"},
        ],
        "blessed_anyway": "",
    },
    replay={"checks": [1, 2], "latency_ms": 2.5, "megabytes": 8.0, "peak_mib": 900.0},
    curves={},
    breeds=("Beagle", "Pug", "Boxer"),
)


def photo(number, source="stanford", split="train", view="cropped", dog=None):
    return catalog.Photo(
        f"{source}/{number}", source, f"{number}.jpg", 0, 1, "0", views=(view,), split=split,
        licence=f"that of {source}", dog_id=dog,
    )  # fmt: skip


PHOTOS = [
    *(photo(n, split=split) for n, split in enumerate(["train"] * 3 + ["val", "test"])),
    photo(9, source="austin", split="test"),
    photo(10, view="individual", source="austin", dog="a"),
    photo(11, view="individual", source="austin", dog="a"),
    photo(12, view="individual", source="austin", dog="b"),
]


def card(photos=PHOTOS, **changes):
    return model_card.write(dataclasses.replace(FACTS, **changes), photos, 1700000000)


def verdict(**changes):
    return {**FACTS.verdict, **changes}


def test_it_says_what_the_model_is():
    text = card()

    assert text.startswith("# Spotted breed model, version 1700000000\n")
    for line in (
        "- network: efficientnet_v2_b0",
        "- epochs: 12",
        "- data version: `d1`",
        "- fingerprint of data, code and settings: `0123456789ab`",
        "- pushed: 2023-11-14 22:13 UTC",
    ):
        assert line in text.splitlines()


def test_photos_are_counted_by_source_and_licence_in_the_view_of_the_model():
    text = card()

    assert "| source | licence | train | val | test |" in text
    assert "| stanford | that of stanford | 3 | 1 | 1 |" in text
    assert "| austin | that of austin | 0 | 0 | 1 |" in text


def test_of_dogs_their_number_stands_beside():
    match = {"gallery": 6.0, "probes": 36.0, "recall@1": 0.75}

    text = card(kind="match", verdict=verdict(metrics=match, slices={}, breeds={}))

    assert "| source | licence | train | val | test | dogs |" in text
    assert "| austin | that of austin | 3 | 0 | 0 | 2 |" in text
    assert "that of stanford" not in text
    assert "The gallery held 6 dogs of `test`, and 36 photos were looked up." in text


def test_metrics_stand_beside_their_interval_and_what_they_are_compared_with():
    text = card()

    assert (
        "|  | this model | 95 % interval | its teacher | version before | commonest breed |" in text
    )
    assert "(`top1`) | 0.900 | 0.850 to 0.950 | 0.950 | 0.800 | 0.100 |" in text
    assert "(`log_loss`) | 0.400 | - | - | - | - |" in text
    assert "macro_f1" not in text  # was not measured


def test_slices_and_breeds_have_tables_of_their_own():
    lines = card().splitlines()

    assert "| source:stanford | 40 | 0.950 | 0.900 to 1.000 |" in lines
    assert "| size:<256 | 5 | 0.400 | - |" in lines
    pug = lines.index("| Pug | 12 | 0.500 | 0.250 |")
    assert lines[pug + 1] == "| Beagle | 0 | 0.750 | - |"
    assert not any("Boxer" in line or "| breed:" in line for line in lines)


def test_slices_of_which_none_has_an_interval_have_no_column_for_one():
    slices = {"": {"examples": 60}, "pair/source:austin": {"examples": 60, "auc": 0.9}}
    match = {"gallery": 6.0, "probes": 36.0, "recall@1": 0.75}

    text = card(kind="match", verdict=verdict(metrics=match, slices=slices, breeds={}))

    assert "| slice | examples | `auc` |\n" in text
    assert "| pair/source:austin | 60 | 0.900 |\n" in text


@pytest.mark.parametrize(
    ("by_size", "told"),
    [
        ([{"gallery": 6, "extrapolated": 0}], "- Only 6 dogs were looked for: nothing is said of"),
        ([{"gallery": 1000, "extrapolated": 1}], "- Figures of larger galleries are estimates"),
    ],
)
def test_a_match_card_says_what_is_not_known_of_larger_galleries(by_size, told):
    found = {"gallery": 6.0, "probes": 36.0, "recall@1": 0.75, "recall@5": 0.9, "recall@10": 1.0}

    text = card(
        kind="match",
        verdict=verdict(metrics=found, slices={}, breeds={}),
        curves={"by_size": by_size},
    )

    assert told in text
    assert "(`recall@5`)" in text
    assert "(`recall@10`)" not in text  # of six dogs, every one is among the first ten


def test_slices_with_few_examples_are_named_among_the_limits():
    assert "- Fewer than 20 examples, which say little: size:<256." in card().splitlines()


@pytest.mark.parametrize(
    ("pretrained", "photos", "told"),
    [(True, PHOTOS, True), (False, PHOTOS, False), (True, PHOTOS[5:], False)],
)
def test_the_overlap_with_imagenet_is_told_where_there_is_one(pretrained, photos, told):
    assert ("drawn from ImageNet" in card(photos, pretrained=pretrained)) is told


@pytest.mark.parametrize("drawn", [True, False])
def test_a_model_of_drawings_says_so(drawn):
    assert ("of no use for real dogs" in card(drawn=drawn)) is drawn


def test_every_rule_stands_there_and_why_it_was_blessed_all_the_same():
    text = card(verdict=verdict(blessed_anyway="a pilot"))

    assert "- passed floor: top1 0.900 >= 0.600" in text
    assert "- **FAILED** calibrated: ece 0.300 is above 0.250" in text
    assert "blessed all the same: a pilot**" in text
    assert "all the same" not in card()


def test_larger_galleries_are_said_to_be_estimated():
    rows = [
        {"gallery": 30, "extrapolated": False, "recall@1": 0.75, "false_alarm": 0.5},
        {"gallery": 1000, "extrapolated": True, "recall@1": 0.25},
    ]
    match = {"gallery": 30.0, "probes": 36.0}

    text = card(
        kind="match",
        verdict=verdict(metrics=match, slices={}, breeds={}),
        curves={"by_size": rows},
    )

    assert "| 30 | 0.750 | - | - | 0.500 |" in text
    assert "| 1,000 (estimated) | 0.250 | - | - | - |" in text
