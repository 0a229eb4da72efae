"""The artifact types that TFX has none for.

Vertex takes the name of a type for the place of its class, a module and a name in it, and knows no
properties of it but custom ones: `tell` writes those.
"""

from tfx.types import Artifact

METRICS, CURVES = "metrics.json", "curves.json"  # files of an evaluation of our own


class Dataset(Artifact):
    """Where every file of a data folder lies (`entries.jsonl`); `digest` names its content."""

    TYPE_NAME = "components.Dataset"


class PhotoCatalog(Artifact):
    """One row for every offered photo, before the split (`photos-*.jsonl`)."""

    TYPE_NAME = "components.PhotoCatalog"


class SplitManifest(Artifact):
    """The ledger: every offered photo with its split or its reason (`photos-*.jsonl`, CSVs)."""

    TYPE_NAME = "components.SplitManifest"


class DataVerdict(Artifact):
    """What DataGate found (`verdict.json`); `passed` is 0 where the user let it go on."""

    TYPE_NAME = "components.DataVerdict"


class Embeddings(Artifact):
    """Every test photo's embedding by every encoder compared (`embeddings.npz`)."""

    TYPE_NAME = "components.Embeddings"


class BreedBaselines(Artifact):
    """Top-1 of what a breed model has to be better than (`metrics.json`)."""

    TYPE_NAME = "components.BreedBaselines"


class RetrievalMetrics(Artifact):
    """Recall, false alarms and so on (`metrics.json`), by size of the gallery (`curves.json`)."""

    TYPE_NAME = "components.RetrievalMetrics"


def tell(artifact: Artifact, **facts: str | int) -> None:
    """Writes what is to be known of an artifact without opening its files."""
    for name, value in facts.items():
        if isinstance(value, str):
            artifact.set_string_custom_property(name, value)
        else:
            artifact.set_int_custom_property(name, value)
