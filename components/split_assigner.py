"""SplitAssigner: train, val or test for every accepted photo, what belongs together together.

Photos of one dog belong together, and near copies of one picture do. Such a unit goes where the
hash of its least id says, so that adding photos moves no other one, with two exceptions that are
told: a breed of `WHOLE_BREED` photos that the hash leaves without one in some split, or a set of
`ENOUGH_DOGS` dogs with fewer than two, gets the units there that stood nearest; and units that an
added near copy joins become one.
"""

import csv
import dataclasses
import hashlib
import io
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio

from components import artifacts, catalog
from components.catalog import SPLITS, Photo
from components.copies import Groups
from components.sources.base import DataError

BREED_SHARES = (0.70, 0.15, 0.15)
DOG_SHARES = (0.80, 0.10, 0.10)
WHOLE_BREED = 20  # photos from which on a breed stands in every split
ENOUGH_DOGS = 10  # from which on every split has two, so that there are dogs to tell apart


@component
def SplitAssigner(  # noqa: N802 - TFX names the node after the function
    photos: InputArtifact[artifacts.PhotoCatalog],
    splits: OutputArtifact[artifacts.SplitManifest],
    upstream: Parameter[int],
    code: Parameter[str],
) -> None:
    """Assigns the splits and writes the ledger.

    Args:
      photos: read: one row for every offered photo.
      splits: written: the same rows with their split; for people `<view>-<split>.csv`,
        `breeds.csv` and `rejected.csv`.
      upstream: 1 to keep to the split lists of the sources that have some, else 0.
      code: digest of the code, for the cache.

    Raises:
      DataError: no source has the split lists that were asked for.
      RuntimeError: a row has neither a split nor a reason, or both.
    """
    del code
    rows = assign(list(catalog.read(photos.uri)), upstream=bool(upstream))
    if astray := [row.photo_id for row in rows if (row.split is None) == (row.reason is None)]:
        raise RuntimeError(f"{len(astray)} photos are not accounted for once, {astray[0]} first")
    catalog.write(splits.uri, rows)
    for view in catalog.VIEWS:
        for split in SPLITS:
            _write(splits.uri, f"{view}-{split}.csv", manifest(rows, view, split))
    _write(splits.uri, "breeds.csv", breed_table(rows))
    _write(splits.uri, "rejected.csv", rejects(rows))
    artifacts.tell(
        splits,
        data_version=photos.get_string_custom_property("data_version"),
        offered=len(rows),
        rejected=sum(1 for row in rows if row.reason),
        accepted=sum(1 for row in rows if row.split),
    )


def _write(folder: str, name: str, text: str) -> None:
    with fileio.open(os.path.join(folder, name), "w") as file:
        file.write(text)


@dataclasses.dataclass
class _Unit:
    """Photos that no split may part."""

    photos: list[Photo]
    split: str = ""
    place: float = 0.0


def assign(photos: Sequence[Photo], upstream: bool = False) -> list[Photo]:
    """Gives every accepted photo its split.

    Args:
      photos: every row.
      upstream: a photo that its source lists as test goes to test, one that it lists as train to
        train or val; the others go by their hash.

    Raises:
      DataError: `upstream`, and no photo is listed.
    """
    accepted = [photo for photo in photos if not photo.reason]
    if upstream and not any(photo.listed for photo in accepted):
        raise DataError(
            "--upstream_splits: no photo is in a split list; add stanford/lists.tar, or "
            "train.lst and validation.lst to tsinghua/, or leave the flag out"
        )
    found = {name: _Unit(rows, place=place_of(name)) for name, rows in units(accepted).items()}
    for unit in found.values():
        unit.split = _split(unit, upstream)
    moved = _complete(list(found.values()), upstream)
    splits = {photo.photo_id: unit.split for unit in found.values() for photo in unit.photos}
    return [
        dataclasses.replace(
            photo, split=splits.get(photo.photo_id), detail=moved.get(photo.photo_id, photo.detail)
        )
        for photo in photos
    ]


def units(photos: Sequence[Photo]) -> dict[str, list[Photo]]:
    """Dogs, groups of near copies, and what these join, each by its least id; else one photo."""
    joined = Groups()
    for photo in photos:
        if photo.dog_id and photo.group:
            joined.join(photo.dog_id, photo.group)
    found: dict[str, list[Photo]] = {}
    for photo in photos:
        name = joined.of(photo.dog_id or photo.group or photo.photo_id)
        found.setdefault(name, []).append(photo)
    return found


def place_of(name: str) -> float:
    """The hash of a stable id as a number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def split_of(place: float, shares: tuple[float, float, float]) -> str:
    """Where a number in [0, 1) falls when the splits divide it up by their shares, in order."""
    train, val, _ = shares
    return "train" if place < train else "val" if place < train + val else "test"


def _split(unit: _Unit, upstream: bool) -> str:
    listed = {photo.listed for photo in unit.photos} - {None} if upstream else set()
    if "test" in listed:
        return "test"
    dogs = any(photo.dog_id for photo in unit.photos)
    shares = DOG_SHARES if dogs else BREED_SHARES
    if listed:
        train, val, _ = shares
        return split_of(unit.place, (train / (train + val), val / (train + val), 0.0))
    return split_of(unit.place, shares)


def _complete(units: Sequence[_Unit], upstream: bool) -> dict[str, str]:
    """Gives breeds, and the dogs together, the splits that the hash left without one of them.

    Args:
      units: all of them.
      upstream: leave a breed alone that a source's split list has photos of.

    Returns:
      What to say of each photo that moved, by its id.
    """
    ordered = sorted(units, key=lambda unit: unit.place)
    moved: dict[str, str] = {}
    for breed, own in _of_breed(ordered).items():
        if _enough(breed, own, upstream):
            moved |= _fill(own, _alone(breed, own), BREED_SHARES, 1, f"a photo of {breed}")
    dogs = [unit for unit in ordered if any(photo.dog_id for photo in unit.photos)]
    if len({photo.dog_id for unit in dogs for photo in unit.photos} - {None}) >= ENOUGH_DOGS:
        moved |= _fill(dogs, dogs, DOG_SHARES, 2, "two dogs")
    return moved


def whole_breeds(photos: Iterable[Photo], upstream: bool = False) -> set[str]:
    """The breeds that `assign` sees to it stand in every split.

    Args:
      photos: every row.
      upstream: as in `assign`.
    """
    accepted = [photo for photo in photos if not photo.reason]
    found = _of_breed([_Unit(rows) for rows in units(accepted).values()])
    return {
        breed
        for breed, own in found.items()
        if _enough(breed, own, upstream) and len(_alone(breed, own)) >= len(SPLITS)
    }


def _of_breed(units: Iterable[_Unit]) -> dict[str, list[_Unit]]:
    """The units that show a breed, by breed."""
    found: defaultdict[str, list[_Unit]] = defaultdict(list)
    for unit in units:
        for breed in sorted({str(photo.breed) for photo in unit.photos if _shows_breed(photo)}):
            found[breed].append(unit)
    return dict(found)


def _enough(breed: str, own: Iterable[_Unit], upstream: bool) -> bool:
    """Whether a breed has the photos to stand everywhere, and no source's list says where."""
    photos = [photo for unit in own for photo in unit.photos]
    number = sum(photo.breed == breed for photo in photos)
    return number >= WHOLE_BREED and not (upstream and any(photo.listed for photo in photos))


def _alone(breed: str, own: Iterable[_Unit]) -> list[_Unit]:
    """The units that may be moved for a breed: those of no other one."""
    return [unit for unit in own if {photo.breed for photo in unit.photos} == {breed}]


def _shows_breed(photo: Photo) -> bool:
    return "cropped" in photo.views and not photo.dog_id


def _fill(
    units: Sequence[_Unit],
    movable: Sequence[_Unit],
    shares: tuple[float, float, float],
    least: int,
    what: str,
) -> dict[str, str]:
    """Moves movable units to each split that has fewer than `least`: those that stood nearest."""
    middles = {"train": 0.0, "val": shares[0] + shares[1] / 2, "test": 1.0}
    moved: dict[str, str] = {}
    for split in reversed(SPLITS):
        for _ in range(least):
            counts = Counter(unit.split for unit in units)
            spare = [unit for unit in movable if counts[unit.split] > least]
            if counts[split] < least and spare:
                nearest = min(spare, key=lambda unit: abs(unit.place - middles[split]))
                nearest.split = split
                detail = f"moved to {split}, which the hash left without {what}"
                moved |= {photo.photo_id: detail for photo in nearest.photos}
    return moved


def breed_counts(rows: Iterable[Photo]) -> dict[str, Counter[str]]:
    """How many photos of each breed the breed model gets, by split."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if catalog.in_view(row, "cropped"):
            counts[str(row.breed)][str(row.split)] += 1
    return dict(counts)


def evenness(rows: Iterable[Photo]) -> dict[str, object]:
    """How evenly the splits divide the breeds.

    Returns:
      `breeds`: how many there are; `val` and `test`: the least, median and greatest share of a
      breed of `WHOLE_BREED` photos or more that is there; `incomplete`: those of them that lack a
      split all the same, because they are too few units or their source's lists say so.
    """
    counts = breed_counts(rows)
    whole = {breed: n for breed, n in counts.items() if n.total() >= WHOLE_BREED}
    shares = {split: sorted(n[split] / n.total() for n in whole.values()) for split in SPLITS[1:]}
    spread = {
        split: [round(of[0], 3), round(of[len(of) // 2], 3), round(of[-1], 3)]
        for split, of in shares.items()
        if of
    }
    incomplete = sorted(breed for breed, n in whole.items() if not all(n[s] for s in SPLITS))
    return {"breeds": len(counts), **spread, "incomplete": incomplete}


def breed_table(rows: Iterable[Photo]) -> str:
    """The CSV of `breed_counts`."""
    counts = sorted(breed_counts(rows).items())
    return _table(("breed", *SPLITS), ((breed, *(n[s] for s in SPLITS)) for breed, n in counts))


def rejects(rows: Iterable[Photo]) -> str:
    """The CSV of the photos that were rejected, and why."""
    return _table(
        ("filename", "source", "reason", "detail"),
        ((row.photo_id, row.source, row.reason, row.detail) for row in rows if row.reason),
    )


_COLUMNS = ("filename", "label", "source", "uri", "sha256", "width", "height", "group")


def manifest(rows: Iterable[Photo], view: str, split: str) -> str:
    """The CSV of one view and split."""
    return _table(
        _COLUMNS,
        (
            (
                row.photo_id,
                row.dog_id if view == "individual" else row.breed,
                *(row.source, row.uri, row.sha256, row.width, row.height, row.group or ""),
            )
            for row in rows
            if row.split == split and catalog.in_view(row, view)
        ),
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    return text.getvalue()
