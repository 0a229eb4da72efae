"""The breed vocabulary: one table, whose row number is the label.

Rows are only ever appended, so that a label means the same breed in every version of every model.
The last row may have no label: it holds what sources say of a dog whose breed they don't know.
"""

import csv
import dataclasses
import functools
import io
import re
from collections.abc import Iterable, Mapping, Sequence

from models import places

FILE = "breeds.csv"
MIXED = "mixed / unknown"

_KEYS = ("label", "breed")
_SEPARATOR = " | "  # between several spellings of one breed in a cell
_SHELTER = "austin"  # the source whose breeds are free text, with mixes
_FOLDERS = "breeds"  # the source whose breeds are named by the user's own folders

Row = Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The canonical breed names in label order, and how each source spells them.

    Attributes:
      breeds: the breeds that have a label; MIXED is none of them.
      spellings: source -> its spelling -> canonical name or MIXED.
    """

    breeds: Sequence[str]
    spellings: Mapping[str, Mapping[str, str]]

    def label(self, breed: str) -> int:
        """The label of a canonical name.

        Raises:
          KeyError: the name is no breed of the table, as MIXED is not.
        """
        return self._labels[breed]

    def canonical(self, source: str, spelling: str) -> str | None:
        """The canonical name of a source's spelling, None when the table does not have it.

        A shelter's dog of two breeds, `Retriever, Golden /Mix`, is MIXED and not of the first of
        them. A user's folder may be named as the table or any source names its breed, in any case
        and with `_`, `-` or blanks between the words; MIXED is no such name.
        """
        if source == _FOLDERS:
            return self._folders.get(_fold(spelling))
        if source == _SHELTER:
            spelling = spelling.strip()
            if _is_mix(spelling):
                return MIXED
        return self.spellings.get(source, {}).get(spelling)

    @functools.cached_property
    def _labels(self) -> Mapping[str, int]:
        return {breed: label for label, breed in enumerate(self.breeds)}

    @functools.cached_property
    def _folders(self) -> Mapping[str, str]:
        """Folded name -> breed, without the names that would mean two breeds."""
        meant: dict[str, set[str]] = {}
        named = [(breed, breed) for breed in self.breeds]
        for spellings in self.spellings.values():
            named += [(spelling, breed) for spelling, breed in spellings.items() if breed != MIXED]
        for name, breed in named:
            meant.setdefault(_fold(name), set()).add(breed)
        return {name: breeds.pop() for name, breeds in meant.items() if len(breeds) == 1}


def read(path: str) -> Vocabulary:
    """Reads the table from a file; raises as `parse`."""
    return parse(places.read(path).decode())


def parse(text: str) -> Vocabulary:
    """Reads the table: columns `label`, `breed`, then one of spellings for each source.

    Returns:
      The labelled breeds, and every spelling of every row.

    Raises:
      ValueError: a column or a cell is missing, a label is not its row's number, a row other than
        the last has no label, MIXED and a missing label don't go together, a breed stands twice,
        or a source's spelling stands for two breeds.
    """
    table = csv.DictReader(io.StringIO(text))
    columns = list(table.fieldnames or ())
    if missing := [key for key in _KEYS if key not in columns]:
        raise ValueError(f"{FILE}: no column {missing[0]}; found {', '.join(columns) or 'nothing'}")
    rows = list(table)
    for number, row in enumerate(rows):
        _check(row, number, last=number == len(rows) - 1)
    _check_breeds(rows)
    sources = [column for column in columns if column not in _KEYS]
    breeds = [row["breed"] for row in rows if row["label"]]
    return Vocabulary(breeds, {source: _spellings(rows, source) for source in sources})


def _check(row: Row, number: int, last: bool) -> None:
    """Sees that a row is whole, and has the label that its place asks for."""
    here = f"{FILE}: row {number + 1}"
    if None in row or None in row.values():
        raise ValueError(f"{here} has not one cell for each column")
    label, breed = row["label"], row["breed"]
    if not label and not last:
        raise ValueError(f"{here} has no label; only the last row may have none")
    if not label and breed != MIXED:
        raise ValueError(f"{here} has no label, so its breed is {MIXED!r}, not {breed!r}")
    if label and breed == MIXED:
        raise ValueError(f"{here} is {MIXED!r}, so it has no label, not {label}")
    if label and label != str(number):
        raise ValueError(f"{here} has label {label}, not {number}")


def _check_breeds(rows: Sequence[Row]) -> None:
    first: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        before = first.setdefault(row["breed"], number)
        if before != number:
            raise ValueError(
                f"{FILE}: {row['breed']!r} stands twice, in row {before} and in row {number}"
            )


def _spellings(rows: Iterable[Row], source: str) -> dict[str, str]:
    """A source's spelling -> canonical name."""
    found: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        for spelling in filter(None, map(str.strip, row[source].split(_SEPARATOR))):
            breed = found.setdefault(spelling, row["breed"])
            if breed != row["breed"]:
                raise ValueError(
                    f"{FILE}: row {number} says that {source} spells {row['breed']!r} as "
                    f"{spelling!r}, which is {breed!r} already"
                )
    return found


def _is_mix(spelling: str) -> bool:
    """Whether a shelter names something after the first breed: a second one, or `Mix`."""
    return bool(spelling.partition("/")[2])


def _fold(name: str) -> str:
    """A name without its case, and with one blank between its words."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
