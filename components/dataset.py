"""A data folder on disk: which files count, what they hold, and where each photo lies."""

import concurrent.futures
import dataclasses
import hashlib
import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO

from components.sources.base import DataError, Entry, is_photo, tar_entries
from components.sources.registry import SOURCES
from models.progress import Rate

_READ = 1 << 22
UNREADABLE = "unreadable"  # stands where the digest of a file would


@dataclasses.dataclass(frozen=True)
class Container:
    """A file that belongs to a source: its path below the data folder, its size and content."""

    source: str
    path: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What a data folder holds.

    Attributes:
      containers: every file that a source claims, sorted by path.
      ignored: the files, and the entries beside the sources' folders, that no source claims.
    """

    containers: tuple[Container, ...]
    ignored: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Sha256 over names and contents: equal exactly when the data are the same."""
        lines = (f"{item.path}\0{item.sha256}\n" for item in self.containers)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def sources(self) -> list[str]:
        """The sources that have files here."""
        return sorted({item.source for item in self.containers})


def list_containers(data: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Lists the (source, path) of every file that a source claims, and the names of what is left.

    What is left are the other files of the sources' folders, and the other entries beside these
    folders, which are not looked into.

    Raises:
      DataError: no source finds a file, or a source's files contradict each other.
    """
    claimed: list[tuple[str, str]] = []
    left = sorted(set(os.listdir(data)) - set(SOURCES))
    for source in SOURCES.values():
        paths = _walk(posixpath.join(data, source.name))
        _check_names(paths, posixpath.join(data, source.name))
        own = source.containers(paths)
        claimed += [(source.name, f"{source.name}/{path}") for path in own]
        left += [f"{source.name}/{path}" for path in sorted(set(paths) - set(own))]
    if not claimed:
        raise DataError(
            f"data folder {data} holds no photos: expected "
            f"{' or '.join(source.layout for source in SOURCES.values())}, found {_some(left)}"
        )
    return sorted(claimed, key=lambda item: item[1]), left


def _check_names(paths: Iterable[str], where: str) -> None:
    """Names are ids: they have to be text, which a file system does not ask of them."""
    for path in paths:
        if not _is_text(path):
            raise DataError(f"{where}: the file name {path!a} is no UTF-8 text: rename it")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "") if names else "nothing"


def _walk(folder: str) -> list[str]:
    """Every file below a folder, relative to it; links to folders are followed, once each."""
    found = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = os.path.relpath(parent, folder)
        found += [posixpath.normpath(posixpath.join(relative, name)) for name in names]
    return found


def read_dataset(data: str) -> Dataset:
    """Reads every claimed file once, on all cores, for its sha256.

    Raises:
      DataError: as `list_containers`, or a file can't be read.
    """
    claimed, ignored = list_containers(data)
    rate = Rate("reading data", len(claimed), "files")

    def read(item: tuple[str, str]) -> Container:
        source, path = item
        full = posixpath.join(data, path)
        try:
            return Container(source, path, os.path.getsize(full), sha256_of_file(full))
        except OSError as error:
            if is_photo(path):  # one photo is a row of the ledger, not the end of the run
                return Container(source, path, 0, UNREADABLE)
            raise DataError(f"{full} can't be read ({error.strerror}): mend or move it") from error

    containers = []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for container in pool.map(read, claimed):
            containers.append(container)
            rate.add(1)
    return Dataset(tuple(containers), tuple(ignored))


def sha256_of_file(path: str) -> str:
    """Hexadecimal sha256 of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(_READ):
            digest.update(block)
    return digest.hexdigest()


def entries(data: str, dataset: Dataset) -> Iterator[Entry]:
    """Every file of every source, those in archives one by one.

    Raises:
      DataError: an archive is damaged, or holds a name twice.
    """
    seen: set[tuple[str, str]] = set()
    for entry in _entries(data, dataset):
        _check_names([entry.name], entry.container)
        if (entry.source, entry.name) in seen:
            raise DataError(f"{entry.container} in {data} holds {entry.name} twice: remove one")
        seen.add((entry.source, entry.name))
        yield entry


def _entries(data: str, dataset: Dataset) -> Iterator[Entry]:
    for container in dataset.containers:
        inside = container.path.partition("/")[2]
        if not container.path.endswith(".tar"):
            yield Entry(
                container.source, inside, container.path, 0, container.size, container.sha256
            )
            continue
        full = posixpath.join(data, container.path)
        with open(full, "rb") as stream:
            for entry in tar_entries(container.source, container.path, full):
                stream.seek(entry.offset)
                digest = hashlib.sha256(stream.read(entry.size)).hexdigest()
                yield dataclasses.replace(entry, sha256=digest)


class Reader:
    """Reads entries by offset, keeping an archive open between reads."""

    def __init__(self, data: str):
        self._data = data
        self._path = ""
        self._stream: BinaryIO | None = None

    def __call__(self, container: str, offset: int, size: int) -> bytes:
        """The bytes of one entry."""
        if container != self._path or self._stream is None:
            self.close()
            self._stream = open(posixpath.join(self._data, container), "rb")  # noqa: SIM115
            self._path = container
        self._stream.seek(offset)
        return self._stream.read(size)

    def entry(self, entry: Entry) -> bytes:
        """The bytes of one entry."""
        return self(entry.container, entry.offset, entry.size)

    def close(self) -> None:
        """Closes what is open."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
