"""The curated schemas agree with the vocabulary and with what the records hold."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from models import examples, vocabulary

SCHEMA = Path(__file__).resolve().parents[1] / "schema"
VOCABULARY = vocabulary.parse((SCHEMA / vocabulary.FILE).read_text())
VIEWS = ("cropped", "uncropped", "individual")


def read(view: str) -> schema_pb2.Schema:
    return text_format.Parse((SCHEMA / f"{view}.pbtxt").read_text(), schema_pb2.Schema())


@pytest.mark.parametrize("view", ["cropped", "uncropped"])
def test_the_breeds_are_those_of_the_vocabulary(view):
    schema = read(view)

    (domain,) = [domain for domain in schema.string_domain if domain.name == "breed"]
    (label,) = [feature for feature in schema.feature if feature.name == examples.LABEL]
    assert list(domain.value) == list(VOCABULARY.breeds)
    assert (label.int_domain.min, label.int_domain.max) == (0, len(VOCABULARY.breeds) - 1)


@pytest.mark.parametrize("view", VIEWS)
def test_every_feature_is_one_that_statistics_are_computed_over(view):
    assert {feature.name for feature in read(view).feature} <= set(examples.STATISTICS_FEATURES)


def test_the_views_differ_in_what_they_know():
    known = {view: {feature.name for feature in read(view).feature} for view in VIEWS}

    assert examples.BREED in known["cropped"] & known["uncropped"]
    assert examples.BREED not in known["individual"]
    assert examples.DOG_ID in known["individual"]
    assert set(examples.BOX.values()) <= known["uncropped"] - known["cropped"]
