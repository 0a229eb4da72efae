"""An ML Metadata database that gets what runs leave of their data and of a pushed model."""

import json
from pathlib import Path

from ml_metadata import metadata_store
from ml_metadata.proto import metadata_store_pb2 as mlmd

from pipeline.settings import Settings


class Records:
    """See above; `folder` is the output folder."""

    def __init__(self, folder: Path):
        self.settings = Settings("photos", str(folder), "small_cnn", "none", 64, 1, 8)
        config = mlmd.ConnectionConfig()
        config.sqlite.filename_uri = self.settings.metadata
        config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        self._store = metadata_store.MetadataStore(config)
        self._folder = folder

    def push(
        self,
        version: int,
        data_version: str,
        allowed: int = 0,
        model: str = "breed",
        made_by: str = "",
        verdict: dict | None = None,
    ) -> str:
        """Records a run that pushed a model; returns where its ledger lies."""
        ledger = self._folder / f"ledger-{version}"
        ledger.mkdir(exist_ok=True)
        run = self._context("pipeline_run", f"run-{version}")
        self._write(run, "SplitAssigner", "splits", self._artifact("SplitManifest", str(ledger)))
        found = self._artifact("DataVerdict", "")
        self._write(run, "DataGate", "verdict", found, allow_anomalies=allowed)
        blessing = self._folder / f"blessing-{model}-{version}"
        blessing.mkdir()
        if verdict is not None:
            (blessing / "verdict.json").write_text(json.dumps(verdict))
        judged = self._artifact("ModelBlessing", str(blessing))
        judged.id = self._write(run, f"ModelGate_{model}", "blessing", judged)
        pushed = self._artifact("PushedModel", "")
        for key, value in {
            "pushed_version": str(version),
            "pushed_destination": f"{self.settings.serving(model)}/{version}",
            "fingerprint": made_by,
            "data_version": data_version,
        }.items():
            pushed.custom_properties[key].string_value = value
        self._write(run, f"Pusher_{model}", "pushed_model", pushed, judged)
        return str(ledger)

    def _artifact(self, kind: str, uri: str) -> mlmd.Artifact:
        type_id = self._store.put_artifact_type(mlmd.ArtifactType(name=kind))
        return mlmd.Artifact(type_id=type_id, uri=uri)

    def _context(self, kind: str, name: str) -> mlmd.Context:
        type_id = self._store.put_context_type(mlmd.ContextType(name=kind))
        return mlmd.Context(type_id=type_id, name=name)

    def _write(
        self,
        run: mlmd.Context,
        node: str,
        key: str,
        artifact: mlmd.Artifact,
        blessing: mlmd.Artifact | None = None,
        **parameters: int,
    ) -> int:
        """Records a finished execution; returns the id of what it wrote."""
        type_id = self._store.put_execution_type(mlmd.ExecutionType(name=node))
        done = mlmd.Execution(type_id=type_id, last_known_state=mlmd.Execution.COMPLETE)
        for name, value in parameters.items():
            done.custom_properties[name].int_value = value
        pairs = [(artifact, _event(mlmd.Event.OUTPUT, key))]
        if blessing is not None:
            pairs.append((blessing, _event(mlmd.Event.INPUT, "model_blessing")))
        contexts = [run, self._context("node", f"spotted.{node}")]
        _, ids, _ = self._store.put_execution(
            done, pairs, contexts, reuse_context_if_already_exist=True
        )
        return ids[0]


def _event(kind: "mlmd.Event.Type", key: str) -> mlmd.Event:
    event = mlmd.Event(type=kind)
    event.path.steps.add().key = key
    return event
