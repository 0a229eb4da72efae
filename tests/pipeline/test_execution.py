"""Which earlier data a run is compared with."""

import pytest
from recorded import Records

from pipeline import execution
from pipeline.metadata import Store

OWN = "0123456789ab"


@pytest.fixture
def records(tmp_path) -> Records:
    return Records(tmp_path)


def before(records: Records, own: str):
    """What a run on data of a version is compared with."""
    store = Store(records.settings.metadata)
    versions = store.pushed(records.settings.serving("breed"))
    return execution._before(store, "cropped", versions, own, records.settings)


def test_new_data_are_compared_with_the_newest(records):
    records.push(10, "older")
    ledger = records.push(20, "newest")

    found = before(records, OWN)

    assert (found.data_version, found.ledger) == ("newest", ledger)


def test_data_that_were_blessed_once_are_compared_as_then_whatever_came_later(records):
    records.push(10, "older")
    ledger = records.push(20, "then")
    records.push(30, OWN)
    records.push(40, "later")
    records.push(50, OWN)

    found = before(records, OWN)

    assert (found.data_version, found.ledger) == ("then", ledger)


def test_data_that_were_let_in_and_blessed_are_let_in_for_good(records):
    records.push(10, "older")
    records.push(20, OWN, allowed=1)
    records.push(30, OWN)

    assert before(records, OWN) is None
    assert before(records, "more").data_version == OWN


def test_a_version_of_unknown_data_is_passed_over(records):
    ledger = records.push(10, "known")
    records.push(20, "")

    found = before(records, OWN)

    assert (found.data_version, found.ledger) == ("known", ledger)


@pytest.mark.parametrize(
    "versions",
    [[], [OWN], [OWN, "later"], [""]],
    ids=["nothing pushed", "only these data", "others came later", "of unknown data"],
)
def test_without_other_data_there_is_nothing_to_compare_with(versions, records):
    for number, version in enumerate(versions, start=1):
        records.push(10 * number, version)

    assert before(records, OWN) is None
