"""What DataGate asks of TFDV: distances and what chance does to them, anomalies, odd photos."""

import measured
import numpy as np
import pytest
import tensorflow_data_validation as tfdv

from components import statistics_checks
from components.catalog import SPLITS
from components.statistics_checks import DRIFT, SKEW, Distance, chance
from models import examples

COMPARED = measured.schema("""
    feature { name: "breed" type: BYTES
      skew_comparator { jensen_shannon_divergence { threshold: 0.02 } }
      drift_comparator { jensen_shannon_divergence { threshold: 0.03 } } }
    feature { name: "light" type: FLOAT
      skew_comparator { jensen_shannon_divergence { threshold: 0.05 } } }
    feature { name: "label" type: INT }
""")
MANY = 10**12  # of so many photos chance does nothing
CERTAIN = dict.fromkeys(SPLITS, MANY)
# Half pugs and half beagles against pugs alone; the middle is 3/4 and 1/4, and in bits
# (1/2 log2(2/3) + 1/2 log2(2) + log2(4/3)) / 2 is
HALF_FROM_ONE = 0.311278


def breeds(**numbers):
    """Statistics of so many photos of each breed."""
    return measured.statistics(breed=[name for name, n in numbers.items() for _ in range(n)])


def of_splits(train, val, test=None):
    return {"train": train, "val": val, "test": train if test is None else test}


def skewed(train, val, schema=COMPARED, sizes=CERTAIN):
    """The distances of val from train."""
    found = statistics_checks.skew(of_splits(train, val), schema, sizes)
    return [distance for distance in found if distance.other == "val"]


def test_chance_is_as_worked_out_by_hand():
    # Three classes have two degrees of freedom: 1.3 * 2 + 3 * sqrt(2 * 2) + 16/3 = 13.9333, which
    # times 1/100 + 1/50 = 0.03 and over 8 ln 2 = 5.545177 is
    assert chance(3, 100, 50) == pytest.approx(0.0753808, abs=1e-7)
    assert chance(3, 50, 100) == chance(3, 100, 50)


def test_chance_does_less_to_more_photos_and_more_to_more_classes():
    assert chance(3, 1000, 500) == pytest.approx(chance(3, 100, 50) / 10)
    assert chance(120, 1000, 500) > 10 * chance(3, 1000, 500)


def test_a_single_class_has_the_bound_of_two():
    assert chance(1, 100, 50) == chance(2, 100, 50)


@pytest.mark.parametrize("sizes", [(0, 100), (100, 0), (1, 1)])
def test_of_no_or_hardly_a_photo_nothing_can_be_told(sizes):
    assert chance(3, *sizes) == 1.0


def draw(rng, classes, number):
    """Statistics of photos of breeds that are equally frequent."""
    return measured.statistics(breed=[f"breed-{c}" for c in rng.choice(classes, number)])


def beyond_chance(one, other, sizes):
    """Whether the one distance between two samples is more than chance does."""
    compared = measured.schema("""
        feature { name: "breed" type: BYTES
          skew_comparator { jensen_shannon_divergence { threshold: 0 } } }
        feature { name: "light" type: FLOAT
          skew_comparator { jensen_shannon_divergence { threshold: 0 } } }
    """)
    train, val = sizes
    (found,) = skewed(one, other, compared, {"train": train, "val": val, "test": 1})
    return found.value > found.bound


@pytest.mark.parametrize(("k", "n", "m"), [(4, 200, 60), (8, 265, 68), (120, 600, 130)])
def test_two_samples_of_one_distribution_seldom_lie_beyond_chance(k, n, m):
    rng = np.random.default_rng(0)

    beyond = sum(beyond_chance(draw(rng, k, n), draw(rng, k, m), (n, m)) for _ in range(200))

    assert beyond / 200 < 0.02


@pytest.mark.parametrize(("k", "n", "m"), [(4, 200, 60), (8, 265, 68), (120, 600, 130)])
def test_a_quarter_of_the_breeds_lies_beyond_chance(k, n, m):
    rng = np.random.default_rng(0)

    assert beyond_chance(draw(rng, k, n), draw(rng, k // 4, m), (n, m))


def lights(rng, mean, number):
    return measured.statistics(light=rng.normal(mean, 0.1, number).tolist())


def test_light_of_one_distribution_seldom_lies_beyond_chance_and_less_light_does():
    rng = np.random.default_rng(0)
    pairs = [(lights(rng, 0.5, 400), lights(rng, 0.5, 100)) for _ in range(200)]

    assert sum(beyond_chance(*pair, (400, 100)) for pair in pairs) / 200 < 0.02
    assert beyond_chance(pairs[0][0], lights(rng, 0.3, 100), (400, 100))


def test_skew_is_the_divergence_in_bits_and_names_the_class_that_differs_most():
    (found,) = skewed(breeds(pug=50, beagle=50), breeds(pug=20))

    assert found.value == pytest.approx(HALF_FROM_ONE, abs=1e-6)
    assert found.bound == pytest.approx(0.02)
    assert (found.kind, found.feature, found.other) == (SKEW, "breed", "val")
    assert found.detail == "most in beagle: 50.0%, then 0.0%"


def test_skew_compares_val_and_test_each_with_train():
    statistics = of_splits(breeds(pug=50, beagle=50), breeds(pug=30, beagle=30), breeds(pug=20))

    found = statistics_checks.skew(statistics, COMPARED, CERTAIN)

    assert [(item.other, round(item.value, 6)) for item in found] == [
        ("val", 0.0),
        ("test", HALF_FROM_ONE),
    ]


def test_a_bound_is_the_schemas_and_what_chance_does_to_the_classes_of_both():
    sizes = {"train": 100, "val": 50, "test": 200}
    statistics = of_splits(breeds(pug=5, beagle=5), breeds(pug=5, boxer=5), breeds(pug=9))

    val, test = statistics_checks.skew(statistics, COMPARED, sizes)

    assert val.bound == pytest.approx(0.02 + chance(3, 100, 50))
    assert test.bound == pytest.approx(0.02 + chance(2, 100, 200))


def test_a_numeric_feature_counts_as_thirty_classes_and_tells_its_means():
    train = measured.statistics(light=[0.5, 0.7] * 10)
    val = measured.statistics(light=[0.2, 0.3] * 10)

    (found,) = skewed(train, val, sizes={"train": 1000, "val": 1000, "test": 1000})

    # 1.3 * 29 + 3 * sqrt(58) + 16/3 = 65.880653, times 0.002, over 8 ln 2
    assert found.bound == pytest.approx(0.05 + 0.0237614, abs=1e-7)
    assert found.value == pytest.approx(1.0)
    assert found.detail == "mean 0.60, then 0.25"


def test_a_bound_is_never_more_than_the_largest_divergence():
    (found,) = skewed(breeds(pug=5), breeds(pug=5), sizes={"train": 5, "val": 0, "test": 5})

    assert found.bound == 1.0


def test_drift_has_the_other_comparator_and_tells_what_was_first():
    now, before = breeds(pug=20), breeds(pug=50, beagle=50)

    (found,) = statistics_checks.drift(now, before, COMPARED, (100, 50), "0123456789ab")

    assert found.value == pytest.approx(HALF_FROM_ONE, abs=1e-6)
    assert found.bound == pytest.approx(0.03 + chance(2, 100, 50))
    assert (found.kind, found.other) == (DRIFT, "0123456789ab")
    assert found.detail == "most in beagle: 50.0%, then 0.0%"


def test_the_schema_itself_is_left_as_it_is():
    text = str(COMPARED)

    skewed(breeds(pug=5), breeds(pug=5), sizes={"train": 5, "val": 5, "test": 5})

    assert str(COMPARED) == text


def test_a_feature_that_a_split_lacks_is_not_compared():
    train = measured.statistics(breed=["pug", "beagle"], light=[0.2, 0.4])

    assert [found.feature for found in skewed(train, breeds(pug=1))] == ["breed"]
    assert [found.feature for found in skewed(breeds(pug=1), train)] == ["breed"]


def test_a_feature_without_values_is_not_compared():
    train = measured.statistics(breed=["pug", "beagle"], light=[0.2, 0.4])
    val = measured.statistics(breed=[None, None], light=[0.2, 0.4])

    assert [found.feature for found in skewed(train, val)] == ["light"]


def test_a_schema_without_comparators_measures_nothing():
    plain = measured.schema('feature { name: "breed" type: BYTES }')
    one, other = breeds(pug=9), breeds(boxer=9)

    assert skewed(one, other, plain) == []
    assert statistics_checks.drift(one, other, plain, (MANY, MANY), "before") == []


def test_what_is_too_far_is_told_and_what_is_at_its_bound_is_not():
    distances = [
        Distance(SKEW, "breed", "val", 0.3, 0.25, "most in pug: 50.0%, then 0.0%"),
        Distance(SKEW, "breed", "test", 0.25, 0.25, ""),
        Distance(DRIFT, "light", "0123456789ab", 0.5, 0.125, "mean 0.60, then 0.25"),
    ]

    assert statistics_checks.too_far("cropped", distances) == [
        "cropped: breed differs between train and val by 0.300 (Jensen-Shannon), at most 0.250 is "
        "allowed; most in pug: 50.0%, then 0.0%",
        "cropped: light has drifted by 0.500 (Jensen-Shannon) from the last blessed run's data "
        "(0123456789ab), at most 0.125 is allowed; mean 0.60, then 0.25",
    ]


CURATED = measured.schema("""
    feature { name: "breed" type: BYTES presence { min_fraction: 1 min_count: 1 }
      shape { dim { size: 1 } } }
    feature { name: "light" type: FLOAT presence { min_fraction: 1 min_count: 1 }
      float_domain { min: 0 max: 1 } }
""")
RULES = measured.rules("""
    feature_validations {
      feature_path { step: "light" }
      validations { sql_expression: "feature.num_stats.mean > 0.1" severity: ERROR
        description: "the photos are dark" } }
""")
GOOD = {"breed": ["pug", "boxer"], "light": [0.25, 0.5]}


def anomalies(tmp_path, **splits):
    """What ExampleValidator would find in good splits, but for the columns that are given."""
    statistics = {split: measured.statistics(**splits.get(split, GOOD)) for split in SPLITS}
    found = {
        split: tfdv.validate_statistics(sample, CURATED, custom_validation_config=RULES)
        for split, sample in statistics.items()
    }
    folder = measured.write(tmp_path / "anomalies", "anomalies", found)
    return statistics_checks.anomalies(folder.uri, "cropped", statistics)


def test_good_splits_have_no_anomaly(tmp_path):
    assert anomalies(tmp_path) == []


def test_a_rule_that_is_broken_is_told_in_its_own_words(tmp_path):
    dark = {**GOOD, "light": [0.05, 0.1]}

    assert anomalies(tmp_path, val=dark) == [
        "cropped: val: feature light: the photos are dark (mean 0.075, median 0.100)"
    ]


def test_a_feature_that_is_missing_is_told_with_its_split(tmp_path):
    (found,) = anomalies(tmp_path, test={"light": [0.25, 0.5]})

    assert found == "cropped: test: feature breed: Column is completely missing"


def test_a_feature_that_is_missing_somewhere_is_not_told_to_have_no_shape(tmp_path):
    (found,) = anomalies(tmp_path, train={**GOOD, "breed": ["pug", None]})

    assert found.startswith("cropped: train: feature breed: ")
    assert "0.500000" in found  # the share that has it
    assert "shape" not in found


def test_a_value_out_of_its_range_is_told_with_the_value(tmp_path):
    (found,) = anomalies(tmp_path, train={**GOOD, "light": [0.25, 1.5]})

    assert found.startswith("cropped: train: feature light: ")
    assert "1.5" in found


def test_every_split_and_every_feature_is_told_in_order(tmp_path):
    wrong = {"light": [0.25, 1.5], "breed": [1, 2]}

    found = anomalies(tmp_path, val=wrong, train=wrong)

    assert [line.split(": ")[1:3] for line in found] == [
        ["train", "feature breed"],
        ["train", "feature light"],
        ["val", "feature breed"],
        ["val", "feature light"],
    ]


DARK, FLAT, GREY = examples.BRIGHTNESS, examples.SHARPNESS, examples.SATURATION


def with_quality(feature, *values):
    return measured.statistics(**{feature: list(values)})


@pytest.mark.parametrize(
    ("feature", "words"),
    [(DARK, "dark"), (FLAT, "blurred or flat"), (GREY, "without colour")],
)
def test_odd_photos_are_counted_over_all_splits(feature, words):
    odd, fine = with_quality(feature, *[0.0] * 3), with_quality(feature, *[0.9] * 8)

    found = statistics_checks.odd_photos(of_splits(odd, fine, odd), "cropped", {feature: 0.1})

    assert found == [f"cropped: about 6 photos are {words} ({feature} below 0.1)"]


def test_odd_photos_among_others_are_counted_about():
    evenly = with_quality(DARK, *np.linspace(0, 1, 1001).tolist())

    (found,) = statistics_checks.odd_photos({"train": evenly}, "cropped", {DARK: 0.25})

    assert 245 <= int(found.split()[2]) <= 255


def test_one_odd_photo_is_one():
    (found,) = statistics_checks.odd_photos(
        {"train": with_quality(DARK, 0.05)}, "cropped", {DARK: 0.1}
    )

    assert found.startswith("cropped: about 1 photo is dark")


@pytest.mark.parametrize("values", [(0.5,), (0.1, 0.1)], ids=["above", "at the bound"])
def test_no_odd_photo_is_no_warning(values):
    statistics = {"train": with_quality(DARK, *values)}

    assert statistics_checks.odd_photos(statistics, "cropped", {DARK: 0.1, GREY: 0.5}) == []


def test_statistics_are_read_and_counted_by_split(tmp_path):
    written = {split: breeds(pug=n) for n, split in enumerate(SPLITS, start=3)}
    folder = measured.write(tmp_path / "statistics", "statistics", written)

    found = statistics_checks.statistics_of(folder.uri)

    assert found == written
    assert statistics_checks.example_counts(found) == {"train": 3, "val": 4, "test": 5}


def test_a_schema_that_data_suggest_as_it_is_does_not_differ():
    assert statistics_checks.schema_differences(CURATED, CURATED) == []


@pytest.mark.parametrize(
    ("curated", "proposal", "difference"),
    [
        ('feature { name: "a" }', "", "a: not in the data"),
        ("", 'feature { name: "a" }', "a: not in the curated schema"),
        (
            'feature { name: "a" type: INT }',
            'feature { name: "a" type: BYTES }',
            "a: is INT, the data have BYTES",
        ),
        (
            'feature { name: "a" presence { min_fraction: 1 } }',
            'feature { name: "a" presence { min_count: 1 } }',
            "a: is required, by the data it may be missing",
        ),
        (
            'feature { name: "a" }',
            'feature { name: "a" presence { min_fraction: 1 } }',
            "a: may be missing, by the data it is required",
        ),
        (
            'feature { name: "a" domain: "d" } string_domain { name: "d" value: ["x", "y", "z"] }',
            'feature { name: "a" domain: "a" } string_domain { name: "a" value: ["x", "y"] }',
            "a: 3 values, 2 in the data",
        ),
        (
            'feature { name: "a" domain: "d" } string_domain { name: "d" value: ["x", "y", "z"] }',
            'feature { name: "a" string_domain { value: ["x", "v", "w"] } }',
            "a: 3 values, 3 in the data, 2 unknown",
        ),
    ],
)
def test_a_difference_between_schemas_is_told(curated, proposal, difference):
    schemas = measured.schema(curated), measured.schema(proposal)

    assert statistics_checks.schema_differences(*schemas) == [difference]


def test_values_that_only_one_schema_lists_are_no_difference():
    free = measured.schema('feature { name: "a" }')
    listed = measured.schema('feature { name: "a" string_domain { value: "x" } }')

    assert statistics_checks.schema_differences(free, listed) == []
    assert statistics_checks.schema_differences(listed, free) == []
