"""The breed vocabulary: one table, whose row number is the label.

Rows are only ever appended, so that a label means the same breed in every version of every model.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence

FILE = "breeds.csv"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The canonical breed names in label order, and how each source spells them."""

    breeds: Sequence[str]
    spellings: Mapping[str, Mapping[str, str]]  # source -> its spelling -> canonical name

    def label(self, breed: str) -> int:
        """The label of a canonical name."""
        return list(self.breeds).index(breed)

    def canonical(self, source: str, spelling: str) -> str | None:
        """The canonical name of a source's spelling, None when the table does not have it."""
        return self.spellings.get(source, {}).get(spelling)


def read(path: str) -> Vocabulary:
    """Reads the table from a file; raises as `parse`."""
    with open(path, encoding="utf-8") as file:
        return parse(file.read())


def parse(text: str) -> Vocabulary:
    """Reads the table: columns `label`, `breed`, then one of spellings for each source.

    Raises:
      ValueError: a label is not its row's number, or a breed stands twice.
    """
    rows = list(csv.DictReader(io.StringIO(text)))
    breeds = [row["breed"] for row in rows]
    for number, row in enumerate(rows):
        if row["label"] != str(number):
            raise ValueError(f"{FILE}: row {number + 1} has label {row['label']}, not {number}")
    if len(set(breeds)) != len(breeds):
        raise ValueError(f"{FILE}: a breed stands twice")
    sources = [column for column in (rows[0] if rows else {}) if column not in ("label", "breed")]
    spellings = {
        source: {row[source]: row["breed"] for row in rows if row[source]} for source in sources
    }
    return Vocabulary(breeds, spellings)
