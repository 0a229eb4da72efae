"""The artifact types that TFX has none for."""

from tfx import v1 as tfx
from tfx.types.artifact import Property, PropertyType

METRICS, CURVES = "metrics.json", "curves.json"  # files of an evaluation of our own
_INT = Property(type=PropertyType.INT)
_STRING = Property(type=PropertyType.STRING)


class Dataset(tfx.dsl.Artifact):
    """Where every file of a data folder lies (`entries.jsonl`); `digest` names its content."""

    TYPE_NAME = "SpottedDataset"
    PROPERTIES = {"digest": _STRING, "data_version": _STRING, "files": _INT, "ignored": _INT}


class PhotoCatalog(tfx.dsl.Artifact):
    """One row for every offered photo, before the split (`photos-*.jsonl`)."""

    TYPE_NAME = "SpottedPhotoCatalog"
    PROPERTIES = {"data_version": _STRING, "offered": _INT, "accepted": _INT, "rejected": _INT}


class SplitManifest(tfx.dsl.Artifact):
    """The ledger: every offered photo with its split or its reason (`photos-*.jsonl`, CSVs)."""

    TYPE_NAME = "SpottedSplitManifest"
    PROPERTIES = {"data_version": _STRING, "offered": _INT, "accepted": _INT, "rejected": _INT}


class DataVerdict(tfx.dsl.Artifact):
    """What DataGate found (`verdict.json`); `passed` is 0 where the user let it go on."""

    TYPE_NAME = "SpottedDataVerdict"
    PROPERTIES = {"data_version": _STRING, "passed": _INT, "problems": _INT, "warnings": _INT}


class Embeddings(tfx.dsl.Artifact):
    """Every test photo's embedding by every encoder compared (`embeddings.npz`)."""

    TYPE_NAME = "SpottedEmbeddings"
    PROPERTIES = {"photos": _INT}


class BreedBaselines(tfx.dsl.Artifact):
    """Top-1 of what a breed model has to be better than (`metrics.json`)."""

    TYPE_NAME = "SpottedBreedBaselines"


class RetrievalMetrics(tfx.dsl.Artifact):
    """Recall, false alarms and so on (`metrics.json`), by size of the gallery (`curves.json`)."""

    TYPE_NAME = "SpottedRetrievalMetrics"
