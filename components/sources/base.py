"""What every source adapter offers.

A source's files lie on their own in its folder or in archives there; an adapter sees their names
and, where it asks, their bytes, and can't tell the difference.
"""

import dataclasses
import enum
import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from models.geometry import Box


class DataError(ValueError):
    """The data folder can't be used as it is; the message says which file, why, and what to do."""


class Reason(enum.StrEnum):
    """Why a photo was rejected: the whole, closed list."""

    UNREADABLE = "unreadable"
    NOT_DOWNLOADED = "not_downloaded"
    BAD_ANNOTATION = "bad_annotation"
    BOX_OUTSIDE_FRAME = "box_outside_frame"
    UNKNOWN_BREED = "unknown_breed"
    NOT_A_DOG = "not_a_dog"
    EXACT_COPY = "exact_copy"
    NEAR_COPY = "near_copy"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file of a source, lying on its own or in an archive.

    Attributes:
      source: the adapter's name.
      name: the path inside the source, the same for an archive and for its unpacked folder.
      container: the path of the file that holds it, relative to the data folder.
      offset: where it starts in the container, bytes.
      size: bytes in the container.
      sha256: of its content, hexadecimal.
      unpacked: bytes after inflating; 0 when it is stored as it is.
    """

    source: str
    name: str
    container: str
    offset: int
    size: int
    sha256: str = ""
    unpacked: int = 0


@dataclasses.dataclass(frozen=True)
class Offer:
    """A photo that a source offers, before anybody looked at its pixels.

    Attributes:
      entry: where it lies.
      breed: as the source spells it, None where the source does not say.
      dog_id: unique across sources, None where the source does not say.
      bodies: the box of every dog of the photo, pixels of the original, in the order given.
      head_box: of the dog with the largest body, pixels of the original.
      listed: "train" or "test" where the source's own split lists name the photo.
      problem: why it can't be used, already known without its pixels.
      detail: what was found, for people.
    """

    entry: Entry
    breed: str | None = None
    dog_id: str | None = None
    bodies: tuple[Box, ...] = ()
    head_box: Box | None = None
    listed: str | None = None
    problem: Reason | None = None
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Remote:
    """A file to fetch.

    Attributes:
      url: http or https.
      path: where it goes; folders that are missing are made.
      sha256: of the content, hexadecimal; "" when it is not known.
      most: bytes that it may have.
      needed: the source is nothing without it; a photo that is not needed is a row of the ledger.
      check: called with the path of the whole part, before it gets its name; raises DataError when
        the content is not what it should be, such as a damaged archive.
    """

    url: str
    path: str
    sha256: str = ""
    most: int = 1 << 40
    needed: bool = True
    check: Callable[[str], None] | None = None


# What `--download` leaves in a source's folder beside what it fetched.
RECORDS = "downloads.json"  # what came from where, with its digest
NOT_DOWNLOADED = "not_downloaded.csv"  # what could not be had, and why

Read = Callable[[Entry], bytes]


class Source(Protocol):
    """One kind of folder below the data folder.

    Attributes:
      name: of the folder and of the source.
      licence: under which its photos come.
      layout: what its folder holds, for messages.
      views: the views that its photos can be in.
      public: it has a public place to fetch it from.
    """

    name: str
    licence: str
    layout: str
    views: tuple[str, ...]
    public: bool

    def claims(self, name: str) -> bool:
        """Whether a file belongs to the source, by its path inside the source's folder."""

    def offers(self, entries: Iterable[Entry], read: Read) -> Iterator[Offer]:
        """Every photo of the source, in the order of its entries.

        Args:
          entries: the files that the source claims.
          read: returns an entry's bytes.

        Raises:
          DataError: the files don't make up the source.
        """

    def remotes(self, folder: str, mirror: str) -> Sequence[Remote]:
        """What to fetch into the source's folder; nothing for a source that has no public place.

        Args:
          folder: of the source; it may hold what says which photos there are.
          mirror: a URL to take instead of the source's own place, or "".

        Raises:
          DataError: what says which photos there are is missing or can't be read.
        """


def check_lists(listed: Mapping[str, str], offered: Collection[str], source: str) -> None:
    """Sees that a source's split lists are of its photos.

    Args:
      listed: photo -> split.
      offered: the photos that are there.
      source: for the message.

    Raises:
      DataError: none of the listed photos is there.
    """
    if listed and offered and not any(name in listed for name in offered):
        raise DataError(
            f"{source}/: its split lists name {len(listed):,} photos, {next(iter(listed))} first, "
            f"and none of them is here (here is {next(iter(offered))}): mend or remove the lists"
        )


# Also kinds that can't be decoded here: their photos are offered, so that the ledger names them.
PHOTO_ENDINGS = (
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
    ".heic",
    ".heif",
    ".avif",
)


def is_photo(path: str) -> bool:
    """Whether a file name says that it is a photo, hidden files (`._x.jpg`) aside."""
    name = posixpath.basename(path)
    return name.lower().endswith(PHOTO_ENDINGS) and not name.startswith(".")
