"""Austin Pets Alive: photos of individual shelter dogs.

Format: `apa_dogs.csv` has a row for each dog (AnimalInternal-ID, AnimalType, AnimalBreed, …),
`apa_photos.csv` one for each photo (AnimalInternal-ID, PhotoUrl). The k-th photo of a dog, in the
order of its rows and counted from 1, lies as `photos/<AnimalInternal-ID>_<k>.<ending>`, or below
`photos/` in an archive. `not_downloaded.csv` is what the download left of dead links.
"""

import csv
import dataclasses
import io
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import SplitResult, urlsplit, urlunsplit

from components.sources.base import (
    NOT_DOWNLOADED,
    DataError,
    Entry,
    Offer,
    Read,
    Reason,
    Remote,
    is_photo,
)

DOGS, PHOTOS = "apa_dogs.csv", "apa_photos.csv"
_ID, _TYPE, _BREED, _URL = "AnimalInternal-ID", "AnimalType", "AnimalBreed", "PhotoUrl"
_MOVED = {"live-cdn.shelterluv.com": "www.shelterluv.com"}
_MOST_BYTES = 64 << 20  # of one photo


class Austin:
    """The `austin/` folder."""

    name = "austin"
    licence = "the shelter's; ask before you publish"
    layout = f"austin/{DOGS} with austin/{PHOTOS} and austin/photos/"
    views: tuple[str, ...] = ("individual",)
    public = True

    def claims(self, name: str) -> bool:
        """The tables and the photos."""
        folder, _, inside = name.partition("/")
        return name in (DOGS, PHOTOS, NOT_DOWNLOADED) or (
            folder == "photos" and "/" not in inside and is_photo(inside)
        )

    def offers(self, entries: Iterable[Entry], read: Read) -> Iterator[Offer]:
        """Every photo that lies here, then every photo of the table that does not."""
        held = list(entries)
        tables = {e.name: e for e in held if e.name in (DOGS, PHOTOS, NOT_DOWNLOADED)}
        for table in (DOGS, PHOTOS):
            if table not in tables:
                raise DataError(f"austin/ holds no {table}: add it")
        dogs = {row[_ID]: row for row in _rows(read(tables[DOGS]), DOGS, (_ID, _BREED))}
        here = [entry for entry in held if entry.name not in tables]
        for entry in here:
            yield _complete(Offer(entry), _dog(_stem(entry.name)), dogs)
        photos = _urls(read(tables[PHOTOS]))
        stems = {_stem(entry.name) for entry in here}
        problems = _problems(read(tables[NOT_DOWNLOADED])) if NOT_DOWNLOADED in tables else {}
        for stem, url in photos.items():
            if stem not in stems:
                place = Entry(self.name, f"photos/{stem}", tables[PHOTOS].container, 0, 0)
                found = f"{url}: {problems.get(stem, 'no such file in photos/')}"
                missing = Offer(place, problem=Reason.NOT_DOWNLOADED, detail=found)
                yield _complete(missing, _dog(stem), dogs)

    def remotes(self, folder: str, mirror: str) -> Sequence[Remote]:
        """Every photo of the table; the tables themselves have no public place."""
        for name in (DOGS, PHOTOS):
            if not os.path.isfile(posixpath.join(folder, name)):
                raise DataError(
                    f"{posixpath.join(folder, name)} is missing: it says which photos there are, "
                    f"and has no public address; put {DOGS} and {PHOTOS} into {folder}"
                )
        with open(posixpath.join(folder, DOGS), "rb") as file:
            list(_rows(file.read(), DOGS, (_ID, _BREED)))  # what is wrong with it is said now
        with open(posixpath.join(folder, PHOTOS), "rb") as file:
            urls = _urls(file.read())
        photos = posixpath.join(folder, "photos")
        here = os.listdir(photos) if os.path.isdir(photos) else []
        endings = {_stem(name): name for name in here if is_photo(name)}
        return [
            Remote(
                _address(url, mirror),
                posixpath.join(photos, endings.get(stem, stem + _ending(url))),
                most=_MOST_BYTES,
                needed=False,
                check=_check_photo,
            )
            for stem, url in urls.items()
        ]


def _check_photo(path: str) -> None:
    """Sees that a server sent no page about a photo that is gone."""
    with open(path, "rb") as file:
        if file.read(100).lstrip()[:1] == b"<":
            raise DataError("a page came, no photo")


def _complete(offer: Offer, internal: str, dogs: Mapping[str, Mapping[str, str]]) -> Offer:
    """A photo with what the tables say of its dog."""
    dog = dogs.get(internal)
    if not internal or dog is None:
        detail = offer.detail or f"{_ID} {internal!r} is not in {DOGS}"
        problem = offer.problem or Reason.BAD_ANNOTATION
        return dataclasses.replace(offer, problem=problem, detail=detail)
    kind = dog.get(_TYPE) or "Dog"
    if kind.lower() != "dog":
        offer = dataclasses.replace(offer, problem=Reason.NOT_A_DOG, detail=f"{_TYPE} {kind!r}")
    return dataclasses.replace(offer, breed=dog[_BREED] or None, dog_id=f"austin/{internal}")


def _dog(stem: str) -> str:
    """The AnimalInternal-ID in a photo's name."""
    return stem.rpartition("_")[0]


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0]


def _rows(data: bytes, name: str, columns: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a table, blanks and `NULL` taken away.

    Raises:
      DataError: a column is missing, or the table can't be read.
    """
    try:
        table = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        found = [column for column in table.fieldnames or () if column]
        if missing := [column for column in columns if column not in found]:
            raise DataError(
                f"austin/{name}: no column {missing[0]}; expected {', '.join(columns)}, found "
                f"{', '.join(found) or 'nothing'}"
            )
        for row in table:
            yield {key: _text(value) for key, value in row.items() if isinstance(key, str)}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"austin/{name}: no CSV in UTF-8 ({error}): export it again") from error


def _text(value: str | None) -> str:
    text = (value or "").strip()
    return "" if text == "NULL" else text


def _urls(data: bytes) -> dict[str, str]:
    """The address of each photo by its file name's stem, in the order of the table."""
    urls: dict[str, str] = {}
    counts: dict[str, int] = {}
    for row in _rows(data, PHOTOS, (_ID, _URL)):
        if row[_ID] and row[_URL]:
            counts[row[_ID]] = counts.get(row[_ID], 0) + 1
            urls[f"{_safe(row[_ID])}_{counts[row[_ID]]}"] = row[_URL]
    return urls


def _safe(internal: str) -> str:
    """An id that is a file name.

    Raises:
      DataError: it would lead into another folder.
    """
    if "/" in internal or internal.startswith("."):
        raise DataError(f"austin/{PHOTOS}: {_ID} {internal!r} can't be a file name: mend the table")
    return internal


def _ending(url: str) -> str:
    """The photo's ending by its address; .jpg where it says nothing that we know."""
    ending = posixpath.splitext(_parts(url).path)[1].lower()
    return ending if is_photo(f"photo{ending}") else ".jpg"


def _address(url: str, mirror: str) -> str:
    """Where a photo lies today: hosts move."""
    parts = _parts(url)
    if mirror:
        return mirror.rstrip("/") + urlunsplit(("", "", parts.path, parts.query, ""))
    if parts.netloc in _MOVED:
        return urlunsplit(parts._replace(netloc=_MOVED[parts.netloc]))
    return url


def _parts(url: str) -> SplitResult:
    """An address in its parts; one that is none has no part, and the download will say so."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _problems(data: bytes) -> dict[str, str]:
    """Why each dead link was given up, by the photo's stem."""
    rows = _rows(data, NOT_DOWNLOADED, ("file", "problem"))
    return {_stem(row["file"]): row["problem"] for row in rows}
