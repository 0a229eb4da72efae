"""TFDV's statistics of small tables, and the artifacts that hold what TFDV says of them."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_data_validation.anomalies.proto import custom_validation_config_pb2
from tensorflow_metadata.proto.v0 import schema_pb2

from components import statistics_checks

NAMES = {"statistics": "FeatureStats.pb", "anomalies": "SchemaDiff.pb"}


def statistics(**columns: list) -> Any:
    """The statistics that StatisticsGen would make of a table."""
    buckets = statistics_checks.HISTOGRAM_BUCKETS
    return tfdv.generate_statistics_from_dataframe(
        pd.DataFrame(columns), tfdv.StatsOptions(num_histogram_buckets=buckets), n_jobs=1
    )


def schema(text: str) -> Any:
    return text_format.Parse(text, schema_pb2.Schema())


def rules(text: str) -> Any:
    return text_format.Parse(text, custom_validation_config_pb2.CustomValidationConfig())


@dataclasses.dataclass
class Folder:
    """A folder in place of an artifact."""

    uri: str
    data_version: str = ""


def write(folder: Path, kind: str, of_split: Mapping[str, Any]) -> Folder:
    """Writes statistics or anomalies of every split as their artifact holds them."""
    for split, found in of_split.items():
        (folder / f"Split-{split}").mkdir(parents=True)
        (folder / f"Split-{split}" / NAMES[kind]).write_bytes(found.SerializeToString())
    return Folder(str(folder))


def write_schema(folder: Path, found: Any) -> Folder:
    folder.mkdir(parents=True)
    tfdv.write_schema_text(found, str(folder / "schema.pbtxt"))
    return Folder(str(folder))
