"""`local_runner.py schema` on the statistics of a real run."""

import shutil
from pathlib import Path

import pytest
import tensorflow_data_validation as tfdv
from planted import Outcome, clean, ingest, lay

import local_runner
from components.catalog import SPLITS
from pipeline import schema_review
from pipeline.settings import SettingsError

HEAD = "# The cropped view: one dog a photo, its breed known.\n"
# What is edited, and the line of the difference that takes it back. TFDV gives up a feature of
# another type: it is no longer checked.
TIGHTER = {
    "a value": ('  value: "pug"\n', "", '  +  value: "pug"'),
    "a type": (
        'name: "label"\n  type: INT',
        'name: "label"\n  type: BYTES',
        "  +  lifecycle_stage: DEPRECATED",
    ),
    "a range": ("min: 32 max: 1024", "min: 224 max: 1024", "  +    min: 64"),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Outcome:
    """An ingestion that is all well."""
    folder = tmp_path_factory.mktemp("review")
    outcome = ingest(lay(folder / "photos", clean()), folder / "output")
    assert outcome.code == 0, outcome.printed
    return outcome


@pytest.fixture
def curated(tmp_path, monkeypatch) -> Path:
    """The curated schema of the cropped view, in a copy that may be edited."""
    shutil.copytree(schema_review._SCHEMA, tmp_path / "schema")
    monkeypatch.setattr(schema_review, "_SCHEMA", tmp_path / "schema")
    return tmp_path / "schema" / "cropped.pbtxt"


def tighten(curated: Path, what: str) -> None:
    old, new, _ = TIGHTER[what]
    text = curated.read_text()
    assert old in text
    curated.write_text(text.replace(old, new, 1))


def review(run: Outcome, accept: bool = False) -> list[str]:
    """What the command says, line by line."""
    said: list[str] = []
    schema_review.review(str(run.output), accept, said.append)
    return said


def proposal(run: Outcome) -> Path:
    return run.output / "schema" / "cropped.pbtxt"


def anomalies(run: Outcome, schema: Path) -> dict:
    """What TFDV finds in the run's statistics against a schema: split -> features."""
    folder = Path(run.store.uri(run.nodes["StatisticsGen_cropped"], "statistics"))
    found = {
        split: tfdv.validate_statistics(
            tfdv.load_stats_binary(str(folder / f"Split-{split}" / "FeatureStats.pb")),
            tfdv.load_schema_text(str(schema)),
        ).anomaly_info
        for split in SPLITS
    }
    return {split: sorted(info) for split, info in found.items() if info}


def test_data_that_fit_are_said_to(run, curated):
    assert review(run) == [
        f"cropped: the data of run {run.summary['run_id']} fit schema/cropped.pbtxt "
        "(no word on other checks)"
    ]


@pytest.mark.parametrize("what", TIGHTER)
def test_the_difference_is_shown_and_the_proposal_fits_the_data(what, run, curated):
    tighten(curated, what)
    before = curated.read_text()
    assert set(anomalies(run, curated)) == set(SPLITS)

    said = review(run)

    assert said[0].startswith("cropped: schema/cropped.pbtxt, and what it would be to fit")
    assert TIGHTER[what][2] in said
    assert said[-2] == f"proposal  {proposal(run)}"
    assert "local_runner.py schema --accept" in said[-1]
    assert anomalies(run, proposal(run)) == {}
    assert curated.read_text() == before


def test_a_proposal_is_the_whole_schema(run, curated):
    whole = tfdv.load_schema_text(str(curated))
    tighten(curated, "a value")

    review(run)

    found = tfdv.load_schema_text(str(proposal(run)))
    assert found.feature == whole.feature
    breeds = {domain.name: set(domain.value) for domain in whole.string_domain}
    assert {domain.name: set(domain.value) for domain in found.string_domain} == breeds
    assert found.default_environment == whole.default_environment


def test_an_accepted_proposal_replaces_the_schema_and_keeps_its_head(run, curated):
    comments = [line for line in curated.read_text().splitlines() if line.startswith("#")]
    tighten(curated, "a type")

    said = review(run, accept=True)

    assert said[-1] == "accepted  schema/cropped.pbtxt"
    assert curated.read_text() == proposal(run).read_text()
    assert curated.read_text().splitlines()[: len(comments)] == comments
    assert curated.read_text().startswith(HEAD)
    assert anomalies(run, curated) == {}
    (again,) = review(run)
    assert "fit schema/cropped.pbtxt" in again


def test_views_that_were_not_built_are_left_as_they_are(run, curated):
    others = [curated.with_name(f"{view}.pbtxt") for view in ("uncropped", "individual")]
    before = [other.read_text() for other in others]
    tighten(curated, "a type")

    review(run, accept=True)

    assert [other.read_text() for other in others] == before
    assert [path.name for path in proposal(run).parent.iterdir()] == ["cropped.pbtxt"]


@pytest.mark.parametrize("content", [b"feature {", b"\xff\xfe"], ids=["a brace missing", "no text"])
def test_a_damaged_schema_is_named(content, run, curated):
    curated.write_bytes(content)

    with pytest.raises(SettingsError, match=r"schema/cropped\.pbtxt is no TFDV schema"):
        review(run)


def test_without_statistics_there_is_nothing_to_review(tmp_path):
    with pytest.raises(SettingsError, match="no run left statistics there"):
        schema_review.review(str(tmp_path), accept=False)


def test_without_a_run_the_command_ends_with_two(tmp_path, capsys):
    assert local_runner.main(["schema", "--output", str(tmp_path)]) == 2

    told = capsys.readouterr().err
    assert f"--output {tmp_path}" in told
    assert "run --data_processing first" in told
