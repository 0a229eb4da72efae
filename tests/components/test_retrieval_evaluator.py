import json

import numpy as np
import pytest

from components import retrieval
from components.retrieval_evaluator import THRESHOLDS, curves, measure, open_set


def unit(*vectors):
    array = np.array(vectors, np.float32)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def test_a_perfect_encoder_finds_every_dog_first():
    embeddings = np.repeat(np.eye(12, dtype=np.float32), 2, axis=0)
    dogs = [f"dog-{number // 2}" for number in range(24)]

    metrics = measure(embeddings, dogs)

    assert metrics == {
        "recall@1": 1.0,
        "recall@5": 1.0,
        "recall@10": 1.0,
        **{f"recall@{k}_{end}": 1.0 for k in (1, 5, 10) for end in ("low", "high")},
        "median_rank": 1.0,
        "mAP": 1.0,
        "threshold": pytest.approx(0.0),  # any more than a right angle
        "found_at_rate": 1.0,
        "gallery": 12,
        "probes": 12,
    }


def test_the_worst_encoder_finds_the_dog_last():
    # Each dog's second photo looks exactly away from its first: among 12 dogs the right one is
    # always the last, behind the other eleven at a right angle.
    first = np.eye(12, dtype=np.float32)
    embeddings = np.concatenate([first, -first])
    dogs = [f"dog-{number}" for number in range(12)] * 2

    metrics = measure(embeddings, dogs)

    assert (metrics["recall@1"], metrics["recall@5"], metrics["recall@10"]) == (0.0, 0.0, 0.0)
    assert metrics["mAP"] == pytest.approx(1 / 23)  # the right photo is the last of 23


def test_ties_count_against_the_model():
    # All photos look the same: the 6 other dogs of the gallery stand before the right one, so it is
    # the seventh.
    embeddings = np.ones((14, 1), np.float32)

    metrics = measure(embeddings, [f"dog-{number % 7}" for number in range(14)])

    assert (metrics["recall@1"], metrics["recall@5"], metrics["recall@10"]) == (0.0, 0.0, 1.0)


def test_recall_by_hand():
    # Photos of a at 0 and 10 degrees, of b at 60 and 24. A draw has one probe of each dog, whose
    # other photo is in the gallery. Probe a0: a10 is 10 away, b at least 24: right. a10: a0 is 10
    # away, b at least 14: right. b60: b24 is 36 away, a at least 50: right. b24: b60 is 36 away, a
    # at most 24: wrong. Either photo of b is as likely the probe: (1 + 1/2) / 2 = 3/4 on average.
    degrees = np.radians([0, 10, 60, 24])
    embeddings = np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)

    metrics = measure(embeddings, ["a", "a", "b", "b"])

    # 100 draws of a fair coin: a standard deviation of 0.05 on a half, 0.025 on the recall.
    assert metrics["recall@1"] == pytest.approx(0.75, abs=0.1)
    assert metrics["recall@5"] == 1.0
    assert (metrics["gallery"], metrics["probes"]) == (2, 2)


def test_the_figures_are_the_same_every_time():
    embeddings = unit(*np.random.default_rng(0).normal(size=(60, 8)))
    dogs = [f"dog-{number % 20}" for number in range(60)]

    assert measure(embeddings, dogs) == measure(embeddings, dogs)


def test_an_encoder_that_knows_nothing_finds_as_often_as_chance():
    embeddings = unit(*np.random.default_rng(0).normal(size=(400, 32)))
    dogs = [f"dog-{number % 20}" for number in range(400)]

    metrics = measure(embeddings, dogs)

    assert metrics["recall@1"] == pytest.approx(1 / 20, abs=0.02)
    assert metrics["recall@5"] == pytest.approx(5 / 20, abs=0.05)
    assert metrics["recall@10"] == pytest.approx(10 / 20, abs=0.05)


def test_the_shipped_threshold_by_hand():
    # As below: a probe of a is 10 degrees from its dog, and b is 14 or more away; b's two photos
    # are 36 apart, and a is 24 at least (of b24, whose nearer photo of a is 14 away, or 24).
    degrees = np.radians([0, 10, 60, 24])
    embeddings = np.stack([np.cos(degrees), np.sin(degrees)], axis=1).astype(np.float32)

    strict = measure(embeddings, ["a", "a", "b", "b"], shipped=float(np.cos(np.radians(12))))
    lax = measure(embeddings, ["a", "a", "b", "b"], shipped=-1.0)

    assert strict["false_alarm"] == 0.0  # no photo of another dog is within 12 degrees
    assert strict["found"] == pytest.approx(0.5)  # the probes of a
    assert lax["false_alarm"] == 1.0


def test_figures_by_gallery_are_json_and_say_what_is_extrapolated():
    random = np.random.default_rng(0)
    dogs = [f"dog-{number // 2}" for number in range(80)]
    embeddings = unit(*(np.repeat(random.normal(size=(40, 8)), 2, 0) + random.normal(size=(80, 8))))

    found = curves(embeddings, dogs, 0.01, 0.5)

    json.dumps(found, allow_nan=False)
    sizes = [(row["gallery"], row["extrapolated"]) for row in found["by_size"]]
    assert sizes == [(10, 0), (30, 0), (40, 0), (1000, 1), (10_000, 1)]
    few = curves(embeddings[:20], dogs[:20], 0.01, 0.5)
    assert [row["gallery"] for row in few["by_size"]] == [10]
    assert all(row.get("threshold", 0) <= 1 for row in found["by_size"])
    recalls = [row["recall@1"] for row in found["by_size"]]
    alarms = [row["false_alarm"] for row in found["by_size"]]
    assert recalls == sorted(recalls, reverse=True)
    assert alarms == sorted(alarms)
    assert [row["photos"] for row in found["by_photos"]] == [1, 2, 3, 5]
    one, *_ = found["by_photos"]
    assert one["by_size"] == found["by_size"]
    for row in found["by_photos"]:
        whole = next(part for part in row["by_size"] if part["gallery"] == 40)
        assert {key: row[key] for key in whole} == whole


def test_dogs_with_a_single_photo_are_only_in_the_gallery():
    embeddings = unit((1, 0), (1, 0.1), (0, 1), (-1, 0))

    metrics = measure(embeddings, ["a", "a", "b", "c"])

    assert (metrics["gallery"], metrics["probes"]) == (3, 1)
    assert metrics["recall@1"] == 1.0


def test_without_a_probe_recall_is_zero():
    metrics = measure(unit((1, 0), (0, 1)), ["a", "b"])

    assert (metrics["recall@1"], metrics["mAP"], metrics["probes"]) == (0.0, 0.0, 0)


def test_an_encoder_that_gives_no_numbers_finds_nothing():
    embeddings = np.full((14, 3), np.nan, np.float32)

    metrics = measure(embeddings, [f"dog-{number % 7}" for number in range(14)])

    assert metrics["recall@1"] == 0.0


def test_the_trade_off_of_thresholds_goes_from_all_alarms_to_none():
    random = np.random.default_rng(3)
    embeddings = unit(*random.normal(size=(40, 4)))
    found = retrieval.search(embeddings, [f"dog-{number // 2}" for number in range(40)])

    rows = open_set(found)

    assert 10 < len(rows) <= THRESHOLDS + 1
    assert (rows[0]["false_alarm"], rows[-1]["false_alarm"]) == (1.0, 0.0)
    for key in ("false_alarm", "found"):
        values = [row[key] for row in rows]
        assert values == sorted(values, reverse=True)
    assert [row["threshold"] for row in rows] == sorted(row["threshold"] for row in rows)
    assert rows[0]["found"] <= found.recall(1)
    middle = rows[len(rows) // 2]
    assert middle["false_alarm"] == found.false_alarm(middle["threshold"])
    assert middle["found"] == found.found(middle["threshold"])


def test_dogs_that_nobody_can_be_searched_among_have_no_trade_off():
    found = retrieval.search(unit([1, 0], [0, 1]), ["a", "b"])

    assert open_set(found) == []
