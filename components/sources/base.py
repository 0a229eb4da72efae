"""What every source adapter offers, and the two kinds of container that photos lie in.

A container is a file below the data folder: a photo, an annotation, or an archive of them. Photos
in an archive are read where they lie, by offset; nothing is unpacked.
"""

import dataclasses
import enum
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from models.geometry import Box


class DataError(ValueError):
    """The data folder can't be used as it is; the message says which file, why, and what to do."""


class Reason(enum.StrEnum):
    """Why a photo was rejected: the whole, closed list."""

    UNREADABLE = "unreadable"
    BAD_ANNOTATION = "bad_annotation"
    BOX_OUTSIDE_FRAME = "box_outside_frame"
    UNKNOWN_BREED = "unknown_breed"
    EXACT_COPY = "exact_copy"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file of a source, lying on its own or in an archive.

    Attributes:
      source: the adapter's name.
      name: the path inside the source, the same for an archive and for its unpacked folder.
      container: the path of the file that holds it, relative to the data folder.
      offset: where it starts in the container, bytes.
      size: bytes.
      sha256: of its content, hexadecimal.
    """

    source: str
    name: str
    container: str
    offset: int
    size: int
    sha256: str = ""


@dataclasses.dataclass(frozen=True)
class Offer:
    """A photo that a source offers, before anybody looked at its pixels.

    Attributes:
      entry: where it lies.
      breed: as the source spells it, None where the source does not say.
      dog_id: unique across sources, None where the source does not say.
      bodies: the box of every dog of the photo, pixels of the original, in the order given.
      problem: why it can't be used, already known from its annotation.
    """

    entry: Entry
    breed: str | None = None
    dog_id: str | None = None
    bodies: tuple[Box, ...] = ()
    problem: Reason | None = None


Read = Callable[[Entry], bytes]


class Source(Protocol):
    """One kind of folder below the data folder.

    Attributes:
      name: of the folder and of the source.
      licence: under which its photos come.
      layout: what its folder holds, for messages.
      views: the views that its photos can be in.
    """

    name: str
    licence: str
    layout: str
    views: tuple[str, ...]

    def containers(self, paths: Iterable[str]) -> list[str]:
        """Those of the files below the source's folder that belong to it, sorted.

        Args:
          paths: all files, relative to the source's folder.

        Raises:
          DataError: the files contradict each other.
        """

    def offers(self, entries: Iterable[Entry], read: Read) -> Iterator[Offer]:
        """Every photo of the source, in the order of its entries.

        Args:
          entries: the source's files.
          read: returns an entry's bytes.
        """


_TAR_BLOCK = 512
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


def tar_entries(source: str, container: str, path: str) -> Iterator[Entry]:
    """The regular files of an uncompressed tar archive, where they lie.

    Args:
      source: the adapter's name.
      container: the archive's path relative to the data folder.
      path: the archive's path.

    Raises:
      DataError: the archive is compressed, damaged, or ends early.
    """
    with open(path, "rb") as stream:
        stream.seek(0, 2)
        end = stream.tell()
        stream.seek(0)
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for member in archive:
                    if member.isdir():
                        continue
                    if not member.isreg():
                        raise tarfile.ReadError(f"{member.name} in it is a link or a device")
                    if member.offset_data + member.size > end:
                        raise tarfile.ReadError(f"it ends inside {member.name}")
                    name = posixpath.normpath(member.name)
                    yield Entry(source, name, container, member.offset_data, member.size)
                stream.seek(archive.offset)
                # The reader takes anything that is no header for the end: the end is two blocks of
                # zeros, so an archive that stops or goes bad in between is told from a whole one.
                if stream.read(_TAR_BLOCK) != bytes(_TAR_BLOCK):
                    raise tarfile.ReadError(f"it is damaged at byte {archive.offset:,}")
        except tarfile.TarError as error:
            raise DataError(
                f"{path}: expected a whole, uncompressed tar archive, but {error}: fetch it again, "
                "or unpack it and remove the archive"
            ) from error
