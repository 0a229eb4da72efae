"""The curated schemas agree with the vocabulary, the sources, and what the records hold."""

from pathlib import Path

import measured
import pytest
import tensorflow_data_validation as tfdv
from apache_beam.options.pipeline_options import PipelineOptions
from tensorflow_metadata.proto.v0 import anomalies_pb2

from components.sources.registry import SOURCES
from models import examples, vocabulary

SCHEMA = Path(__file__).resolve().parents[1] / "schema"
VOCABULARY = vocabulary.parse((SCHEMA / vocabulary.FILE).read_text())
VIEWS = ("cropped", "uncropped", "individual")
OF_BOXES = (*examples.BOX.values(), examples.BOX_AREA, examples.BOX_CLASS, examples.BOX_LABEL)
BEAM = PipelineOptions(["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"])


def read(view):
    return tfdv.load_schema_text(str(SCHEMA / f"{view}.pbtxt"))


def features(view):
    return {feature.name: feature for feature in read(view).feature}


def domain(view, name):
    """The values of the domain of a feature."""
    schema = read(view)
    (used,) = [feature.domain for feature in schema.feature if feature.name == name]
    (values,) = [list(domain.value) for domain in schema.string_domain if domain.name == used]
    return values


def optional(view):
    return {name for name, feature in features(view).items() if not feature.presence.min_fraction}


@pytest.mark.parametrize("view", ["cropped", "uncropped"])
def test_the_breeds_are_those_of_the_vocabulary(view):
    assert domain(view, examples.BREED) == list(VOCABULARY.breeds)


def test_a_known_dog_may_be_of_no_breed():
    assert domain("individual", examples.BREED) == [*VOCABULARY.breeds, vocabulary.MIXED]


def test_a_box_holds_a_breed_or_just_a_dog():
    assert domain("uncropped", examples.BOX_CLASS) == [*VOCABULARY.breeds, "dog"]


@pytest.mark.parametrize("view", VIEWS)
def test_the_labels_are_those_of_the_vocabulary(view):
    allowed = features(view)[examples.LABEL].int_domain

    labels = [VOCABULARY.label(breed) for breed in VOCABULARY.breeds]
    assert (allowed.min, allowed.max) == (min(labels), max(labels))


def test_the_label_of_a_box_is_one_more_for_zero_is_the_background():
    breed = features("uncropped")[examples.LABEL].int_domain
    box = features("uncropped")[examples.BOX_LABEL].int_domain

    assert (box.min, box.max) == (breed.min + 1, breed.max + 1)


@pytest.mark.parametrize("view", VIEWS)
def test_the_sources_of_a_view_are_those_that_offer_photos_for_it(view):
    offering = {name for name, source in SOURCES.items() if view in source.views}
    # A dog's photo takes over breed and boxes of its exact copies, and their views with them.
    of_dogs = {name for name, source in SOURCES.items() if "individual" in source.views}

    assert set(domain(view, examples.SOURCE)) == offering | of_dogs


@pytest.mark.parametrize("view", VIEWS)
def test_every_domain_is_used_and_says_nothing_twice(view):
    schema = read(view)

    used = {feature.domain for feature in schema.feature if feature.domain}
    assert used == {domain.name for domain in schema.string_domain}
    for values in schema.string_domain:
        assert len(set(values.value)) == len(values.value)


@pytest.mark.parametrize("view", VIEWS)
def test_every_feature_is_one_that_statistics_are_computed_over(view):
    assert set(features(view)) <= set(examples.STATISTICS_FEATURES)


def test_the_views_differ_in_what_they_know():
    known = {view: set(features(view)) for view in VIEWS}

    assert {examples.BREED, examples.LABEL} <= set.intersection(*known.values())
    assert examples.DOG_ID in known["individual"] - known["cropped"] - known["uncropped"]
    assert known["uncropped"] - known["cropped"] == {*OF_BOXES, examples.FILE_NAME}


def test_what_not_every_source_knows_is_optional():
    assert optional("cropped") == set()
    assert optional("uncropped") == set()
    assert optional("individual") == {examples.BREED, examples.LABEL}


def photo(source, **more):
    """A photo of a beagle with the features that every view has."""
    return {
        examples.FORMAT: "jpeg",
        examples.HEIGHT: 64,
        examples.WIDTH: 64,
        examples.PHOTO_ID: f"{source}/1.jpg",
        examples.SOURCE: source,
        examples.ORIGINAL_WIDTH: 300,
        examples.ORIGINAL_HEIGHT: 200,
        examples.BRIGHTNESS: 0.5,
        examples.SHARPNESS: 1.5,
        examples.SATURATION: 0.25,
        **more,
    }


def of_breed(source, breed="beagle", **more):
    return photo(source, **{examples.BREED: breed, examples.LABEL: VOCABULARY.label(breed)}, **more)


def whole(source, *breeds, **more):
    """A whole photo of 64 x 64 with a box for each of the breeds, the middle of it."""
    boxes = dict.fromkeys((examples.BOX["xmin"], examples.BOX["ymin"]), [0.25] * len(breeds))
    boxes |= dict.fromkeys((examples.BOX["xmax"], examples.BOX["ymax"]), [0.75] * len(breeds))
    boxes[examples.BOX_AREA] = [32.0 * 32.0] * len(breeds)
    boxes[examples.BOX_CLASS] = list(breeds)
    boxes[examples.BOX_LABEL] = [VOCABULARY.label(breed) + 1 for breed in breeds]
    return of_breed(source, **{examples.FILE_NAME: "1.jpg"}, **(boxes if breeds else {}), **more)


def known_dog(source, **more):
    return photo(source, **{examples.DOG_ID: f"{source}/rex"}, **more)


def measure(photos, tmp_path, write_split):
    """The statistics of the records of photos."""
    rows = [examples.serialize(photo) for photo in photos]
    (file,) = examples.files(write_split(tmp_path, rows))
    return tfdv.generate_statistics_from_tfrecord(
        file,
        stats_options=tfdv.StatsOptions(feature_allowlist=list(examples.STATISTICS_FEATURES)),
        pipeline_options=BEAM,
    )


def wrong_in(statistics, view, environment=None):
    """What TFDV finds wrong: feature -> a short description."""
    found = tfdv.validate_statistics(statistics, read(view), environment).anomaly_info
    return {name: info.short_description for name, info in found.items()}


def anomalies(view, photos, tmp_path, write_split):
    """What TFDV finds wrong in the records of photos."""
    return wrong_in(measure(photos, tmp_path, write_split), view)


@pytest.mark.parametrize(
    ("view", "photos"),
    [
        ("cropped", [of_breed("stanford"), of_breed("breeds", "teddy")]),
        ("uncropped", [whole("stanford", "beagle", "teddy"), whole("tsinghua", "Chihuahua")]),
        ("uncropped", [whole("individuals", "beagle"), whole("tsinghua", "beagle", "pug")]),
        ("individual", [known_dog("individuals")]),
        ("individual", [known_dog("austin", breed="beagle", label=11), known_dog("individuals")]),
        ("individual", [known_dog("austin", breed=vocabulary.MIXED)]),
    ],
    ids=["cropped", "boxes", "several boxes", "no breed", "some breeds", "a mix"],
)
def test_records_as_the_sources_give_them_are_valid(view, photos, tmp_path, write_split):
    assert anomalies(view, photos, tmp_path, write_split) == {}


@pytest.mark.parametrize(
    ("view", "photos", "wrong"),
    [
        ("cropped", [photo("stanford")], {examples.BREED, examples.LABEL}),
        ("individual", [known_dog("stanford")], {examples.SOURCE}),
        ("uncropped", [whole("stanford"), whole("stanford", "pug")], set(OF_BOXES)),
        ("cropped", [of_breed("stanford") | {examples.LABEL: 130}], {examples.LABEL}),
        ("uncropped", [of_breed("breeds")], {examples.FILE_NAME, examples.SOURCE, *OF_BOXES}),
        (
            "uncropped",
            [whole("stanford", "beagle") | {examples.BOX_LABEL: [0]}],
            {examples.BOX_LABEL},
        ),
        (
            "uncropped",
            [whole("stanford", "pug") | {examples.BOX_LABEL: [131]}],
            {examples.BOX_LABEL},
        ),
        ("individual", [known_dog("austin", breed="cat", label=130)], {"breed", "label"}),
        ("individual", [photo("individuals")], {examples.DOG_ID}),
    ],
)
def test_records_that_no_source_may_give_are_found(view, photos, wrong, tmp_path, write_split):
    assert set(anomalies(view, photos, tmp_path, write_split)) == wrong


UNLABELLED = {
    "cropped": (photo("stanford"), {examples.BREED, examples.LABEL}),
    "uncropped": (
        photo("stanford", **{examples.FILE_NAME: "1.jpg"}),
        {examples.BREED, examples.LABEL, *OF_BOXES},
    ),
    "individual": (photo("individuals"), {examples.DOG_ID}),  # not every dog's breed is known
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_photo_without_labels_may_be_served_and_not_be_trained_on(view, tmp_path, write_split):
    row, labels = UNLABELLED[view]

    statistics = measure([row], tmp_path, write_split)

    assert wrong_in(statistics, view, "SERVING") == {}
    assert set(wrong_in(statistics, view, "TRAINING")) == labels


def test_a_photo_that_is_served_has_all_that_is_no_label(tmp_path, write_split):
    row = {**photo("stanford"), examples.WIDTH: 5000}
    del row[examples.SOURCE]
    statistics = measure([row], tmp_path, write_split)

    for view in ("cropped", "individual"):
        found = set(wrong_in(statistics, view, "SERVING"))
        assert found == {examples.SOURCE, examples.WIDTH}


RULES = measured.rules((SCHEMA / "rules.pbtxt").read_text())
FINE = {examples.BRIGHTNESS: 0.5, examples.SHARPNESS: 1.5, examples.SATURATION: 0.25}


def broken_rules(**values):
    """The (feature, description) of the rules that photos break, fine but for some values."""
    columns = {name: [value] * 10 for name, value in {**FINE, **values}.items()}
    found = tfdv.validate_statistics(
        measured.statistics(**columns), measured.schema(""), custom_validation_config=RULES
    ).anomaly_info.values()
    custom = [(info, reason) for info in found for reason in info.reason if reason.type == CUSTOM]
    return [(".".join(info.path.step), reason.short_description) for info, reason in custom]


CUSTOM = anomalies_pb2.AnomalyInfo.CUSTOM_VALIDATION
BROKEN = [
    (examples.BRIGHTNESS, 0.05, "the mean brightness of the photos is not in 0.1 to 0.9"),
    (examples.BRIGHTNESS, 0.95, "the mean brightness of the photos is not in 0.1 to 0.9"),
    (
        examples.SHARPNESS,
        0.4,
        "half of the photos are blurred or flat: the median sharpness is not above 0.5",
    ),
    (
        examples.SATURATION,
        0.005,
        "half of the photos are without colour: the median saturation is not above 0.01",
    ),
]


@pytest.mark.parametrize(("feature", "value", "words"), BROKEN)
def test_a_rule_is_broken_by_photos_that_are_alike_wrong(feature, value, words):
    assert broken_rules(**{feature: value}) == [(feature, words)]


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        (examples.BRIGHTNESS, 0.11),
        (examples.BRIGHTNESS, 0.89),
        (examples.SHARPNESS, 0.51),
        (examples.SATURATION, 0.011),
    ],
)
def test_a_rule_holds_just_inside_its_bounds(feature, value):
    assert broken_rules(**{feature: value}) == []


def test_every_rule_has_photos_that_break_it():
    rules = {
        (".".join(found.feature_path.step), rule.description)
        for found in RULES.feature_validations
        for rule in found.validations
    }

    assert rules == {(feature, words) for feature, _, words in BROKEN}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("kind", ["skew_comparator", "drift_comparator"])
def test_breeds_and_the_look_of_photos_are_compared(view, kind):
    compared = {
        name: getattr(feature, kind).jensen_shannon_divergence.threshold
        for name, feature in features(view).items()
        if feature.HasField(kind)
    }

    look = dict.fromkeys((examples.BRIGHTNESS, examples.SHARPNESS, examples.SATURATION), 0.05)
    assert compared == look | ({} if view == "individual" else {examples.BREED: 0.02})
