"""Which earlier data a run is compared with."""

import pytest
from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline import execution
from pipeline.metadata import Store
from pipeline.settings import Settings

OWN = "0123456789ab"


class Records:
    """An ML Metadata database that gets what runs leave of their data and of a pushed model."""

    def __init__(self, folder):
        self.settings = Settings("photos", str(folder), "small_cnn", "none", 64, 1, 8)
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = self.settings.metadata
        config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self._store = metadata_store.MetadataStore(config)
        self._folder = folder

    def push(self, version: int, data_version: str, allowed: int = 0) -> str:
        """Records a run that pushed a breed model; returns where its ledger lies."""
        ledger = self._folder / f"ledger-{version}"
        ledger.mkdir()
        run = self._context("pipeline_run", f"run-{version}")
        self._write(run, "SplitAssigner", "splits", self._artifact("SplitManifest", str(ledger)))
        verdict = self._artifact("DataVerdict", "")
        self._write(run, "DataGate", "verdict", verdict, allow_anomalies=allowed)
        pushed = self._artifact("PushedModel", "")
        for key, value in {
            "pushed_version": str(version),
            "pushed_destination": f"{self.settings.serving('breed')}/{version}",
            "data_version": data_version,
        }.items():
            pushed.custom_properties[key].string_value = value
        self._write(run, "Pusher_breed", "pushed_model", pushed)
        return str(ledger)

    def before(self, own: str):
        """What a run on data of a version is compared with."""
        store = Store(self.settings.metadata)
        versions = store.pushed(self.settings.serving("breed"))
        return execution._before(store, "cropped", versions, own, self.settings)

    def _artifact(self, kind: str, uri: str):
        type_id = self._store.put_artifact_type(mlmd.ArtifactType(name=kind))
        return mlmd.Artifact(type_id=type_id, uri=uri)

    def _context(self, kind: str, name: str):
        type_id = self._store.put_context_type(mlmd.ContextType(name=kind))
        return mlmd.Context(type_id=type_id, name=name)

    def _write(self, run, node: str, key: str, artifact, **parameters: int) -> None:
        type_id = self._store.put_execution_type(mlmd.ExecutionType(name=node))
        done = mlmd.Execution(type_id=type_id, last_known_state=mlmd.Execution.COMPLETE)
        for name, value in parameters.items():
            done.custom_properties[name].int_value = value
        event = mlmd.Event(type=mlmd.Event.OUTPUT)
        event.path.steps.add().key = key
        contexts = [run, self._context("node", f"spotted.{node}")]
        self._store.put_execution(
            done, [(artifact, event)], contexts, reuse_context_if_already_exist=True
        )


@pytest.fixture
def records(tmp_path) -> Records:
    return Records(tmp_path)


def test_new_data_are_compared_with_the_newest(records):
    records.push(10, "older")
    ledger = records.push(20, "newest")

    found = records.before(OWN)

    assert (found.data_version, found.ledger) == ("newest", ledger)


def test_data_that_were_blessed_once_are_compared_as_then_whatever_came_later(records):
    records.push(10, "older")
    ledger = records.push(20, "then")
    records.push(30, OWN)
    records.push(40, "later")
    records.push(50, OWN)

    found = records.before(OWN)

    assert (found.data_version, found.ledger) == ("then", ledger)


def test_data_that_were_let_in_and_blessed_are_let_in_for_good(records):
    records.push(10, "older")
    records.push(20, OWN, allowed=1)
    records.push(30, OWN)

    assert records.before(OWN) is None
    assert records.before("more").data_version == OWN


def test_a_version_of_unknown_data_is_passed_over(records):
    ledger = records.push(10, "known")
    records.push(20, "")

    found = records.before(OWN)

    assert (found.data_version, found.ledger) == ("known", ledger)


@pytest.mark.parametrize(
    "versions",
    [[], [OWN], [OWN, "later"], [""]],
    ids=["nothing pushed", "only these data", "others came later", "of unknown data"],
)
def test_without_other_data_there_is_nothing_to_compare_with(versions, records):
    for number, version in enumerate(versions, start=1):
        records.push(10 * number, version)

    assert records.before(OWN) is None
