"""A data folder on disk: which files count, what they hold, and where each photo lies."""

import dataclasses
import hashlib
import json
import os
import posixpath
import threading
import unicodedata
import zlib
from collections.abc import Iterable, Mapping, Sequence

from components import archives, parallel
from components.catalog import Photo
from components.seen import Seen
from components.sources.base import (
    NOT_DOWNLOADED,
    RECORDS,
    DataError,
    Entry,
    Source,
    is_photo,
)
from components.sources.registry import SOURCES
from models import places
from models.places import Stamp
from models.progress import Rate

_READ = 1 << 22
# Larger archives are digested in blocks of this, on all cores. All else has its plain sha256, which
# is the same packed and unpacked.
BLOCK = 1 << 28
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

    def write(self, file: str) -> None:
        """Writes the listing, all of it or nothing."""
        places.write(file, self.listing())

    def listing(self) -> bytes:
        """The containers as JSON lines."""
        lines = (json.dumps(dataclasses.asdict(item)) + "\n" for item in self.containers)
        return "".join(lines).encode()

    @classmethod
    def read(cls, file: str) -> "Dataset":
        """Reads what `write` wrote."""
        with places.reading(file) as stream:
            return cls(tuple(Container(**json.loads(line)) for line in stream), ())

    @property
    def sources(self) -> list[str]:
        """The sources that have files here."""
        return sorted({item.source for item in self.containers})


def version_of(digest: str) -> str:
    """The id of a data version: the beginning of the digest of its content."""
    return digest[:12]


def list_containers(data: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Lists the (source, path) of every file that a source claims, and the names of what is left.

    An archive right below a source's folder is one of its files, whatever its name, and one beside
    the folders that is named after a source is that source's. What is left
    are the other files of the sources' folders, their hidden folders, and the other entries beside
    the sources' folders; the last two are not looked into.

    Raises:
      DataError: no source finds a file, or a file's name is no text.
    """
    claimed: list[tuple[str, str]] = []
    left = []
    data = places.resolved(data)
    for entry in _listed(data):
        name = entry.removesuffix("/")
        if archives.source_of(name) in SOURCES:
            claimed.append((archives.source_of(name), name))
        elif name not in SOURCES or entry == name:
            left.append(name)
    for source in SOURCES.values():
        folder = posixpath.join(data, source.name)
        paths = _walk_bucket(folder) if places.remote(folder) else _walk(folder)
        _check_names(paths, posixpath.join(data, source.name))
        for path in sorted(paths):
            inside = f"{source.name}/{path}"
            if path.endswith(".part") and archives.is_archive(path.removesuffix(".part")):
                raise DataError(
                    f"{posixpath.join(data, inside)} is half a download: go on with --download "
                    f"{source.name}, or remove it"
                )
            if _is_container(source, path):
                claimed.append((source.name, inside))
            elif posixpath.basename(path) not in (RECORDS, NOT_DOWNLOADED):
                left.append(inside)
    if not claimed:
        raise DataError(
            f"data folder {data} holds no photos: expected "
            f"{' or '.join(source.layout for source in SOURCES.values())}, found {_some(left)}"
        )
    return sorted(claimed, key=lambda item: item[1]), left


def _is_container(source: Source, path: str) -> bool:
    loose = "/" not in path and not path.startswith(".")
    return _claims(source, path) or (loose and archives.is_archive(path))


def _claims(source: Source, name: str) -> bool:
    """Whether a file is the source's; nothing hidden is, wherever it lies."""
    hidden = any(part.startswith(".") for part in name.split("/"))
    return not hidden and source.claims(name)


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
    """Every file below a folder, relative to it; links to folders are followed, once each.

    A hidden folder is named, with a slash behind it, and not looked into.
    """
    found = []
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_cannot_list, followlinks=True):
        if os.path.realpath(parent) in seen:
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        hidden = [f"{name}/" for name in folders if name.startswith(".")]
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = os.path.relpath(parent, folder)
        below = "" if relative == "." else f"{relative}/"
        found += [below + name for name in (*names, *hidden)]
    return found


def _walk_bucket(folder: str) -> list[str]:
    """Every file below a folder of a bucket, as `_walk`, the folders of a depth all at once."""
    if not places.is_folder(folder):
        return []
    found = []
    below = [""]
    while below:
        listed = parallel.each(lambda name: _listed(folder, name), below, batch=1, waiting=True)
        paths = [path for paths in listed for path in paths]
        below = [path for path in paths if path.endswith("/") and not _is_hidden(path)]
        found += [path for path in paths if not path.endswith("/") or _is_hidden(path)]
    return found


def _listed(folder: str, below: str = "") -> list[str]:
    place = posixpath.join(folder, below).rstrip("/")
    try:
        return [below + name for name in places.names(place)]
    except OSError as error:
        raise DataError(f"data folder {place} can't be listed ({error.strerror})") from error


def _is_hidden(path: str) -> bool:
    return posixpath.basename(path.rstrip("/")).startswith(".")


def _cannot_list(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise DataError(
            f"{error.filename} can't be listed ({error.strerror}): mend or move it"
        ) from error


def read_dataset(data: str, before: Seen | None = None) -> Dataset:
    """Reads every claimed file once, on all cores, for its digest.

    Args:
      data: the folder.
      before: a file of which this knows the digest is not read; gets those of all that are there.

    Raises:
      DataError: as `list_containers`, or a file can't be read.
    """
    claimed, ignored = list_containers(data)
    data = places.resolved(data)
    before = Seen() if before is None else before
    stamps = _stamps(data, [path for _, path in claimed])
    known = {path: before.digest(path, stamp) for path, stamp in stamps.items() if stamp}
    digests = {path: digest for path, digest in known.items() if digest}
    digests |= _digest_all(data, [path for _, path in claimed if path not in digests], stamps)
    before.digests.clear()  # what is not there any more is not worth knowing
    for path, digest in digests.items():
        stamp = stamps[path]
        if stamp and digest != UNREADABLE:  # what hinders reading may go and leave no trace
            before.note(path, stamp, digest)
    containers = (
        Container(source, path, _size(stamps[path]), digests[path]) for source, path in claimed
    )
    return Dataset(tuple(containers), tuple(ignored))


def _stamps(data: str, paths: Sequence[str]) -> dict[str, Stamp | None]:
    """Size and time of every file."""

    def stamp(path: str) -> Stamp | None:
        return places.stamp(posixpath.join(data, path))

    return dict(zip(paths, parallel.each(stamp, paths, waiting=places.remote(data)), strict=True))


def _size(stamp: Stamp | None) -> int:
    return stamp[0] if stamp else 0


def _digest_all(
    data: str, paths: Sequence[str], stamps: Mapping[str, Stamp | None]
) -> dict[str, str]:
    """The digest of every file, `UNREADABLE` for a photo that can't be read."""
    rate = Rate("reading data", len(paths), "files")
    whole = [
        path for path in paths if not archives.is_archive(path) or _size(stamps[path]) <= BLOCK
    ]
    digests = {}

    def read(path: str) -> str:
        return _digest_file(posixpath.join(data, path))

    found = parallel.each(read, whole, waiting=places.remote(data))
    for path, digest in zip(whole, found, strict=True):
        digests[path] = digest
        rate.add(1)
    for path in paths:
        if path not in digests:
            digests[path] = digest_in_blocks(posixpath.join(data, path))
            rate.add(1)
    return digests


def _digest_file(path: str) -> str:
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError(0, "it is no regular file")
        return sha256_of_file(path)
    except OSError as error:
        # One photo is a row of the ledger, not the end of the run; but an object of a bucket is
        # whole, and what can't be read now can be read another time.
        if is_photo(path) and not places.remote(path):
            return UNREADABLE
        raise DataError(f"{path} can't be read ({error.strerror}): mend or move it") from error


def digest_in_blocks(path: str, block: int = BLOCK) -> str:
    """Sha256 over the sha256 of every block of a file, the blocks read on all cores.

    Raises:
      DataError: the file can't be read.
    """

    def digest(start: int) -> bytes:
        found, end = hashlib.sha256(), start + block
        for offset in range(start, end, _READ):
            found.update(file.read(offset, min(_READ, end - offset)))
        return found.digest()

    try:
        with places.File(path) as file:
            starts = range(0, file.size, block)
            return hashlib.sha256(b"".join(parallel.each(digest, starts, batch=1))).hexdigest()
    except OSError as error:
        raise DataError(f"{path} can't be read ({error.strerror}): mend or move it") from error


def digest_of_archive(path: str) -> str:
    """The digest that an archive has as a container.

    Raises:
      OSError: it can't be read.
      DataError: it is large, and can't be read.
    """
    with places.File(path) as file:
        large = file.size > BLOCK
    return digest_in_blocks(path) if large else sha256_of_file(path)


def sha256_of_file(path: str) -> str:
    """Hexadecimal sha256 of a file's content."""
    digest = hashlib.sha256()
    with places.reading(path) as stream:
        while block := stream.read(_READ):
            digest.update(block)
    return digest.hexdigest()


def entries(data: str, dataset: Dataset) -> tuple[list[Entry], list[str]]:
    """Every file of every source, those in archives one by one, and the members left over.

    Names are ids, so they are in Unicode's composed form (NFC), whatever a file system has.

    The members of an archive are read once, on all cores, for their sha256.

    Raises:
      DataError: an archive is damaged, or a name is held twice.
    """
    data = places.resolved(data)
    found: list[Entry] = []
    left: list[str] = []
    for container in dataset.containers:
        source = SOURCES[container.source]
        inside = unicodedata.normalize("NFC", container.path.partition("/")[2])
        if _claims(source, inside):
            found.append(
                Entry(
                    source.name, inside, container.path, 0, container.size, container.sha256
                )
            )  # fmt: skip
        else:
            # By its real path: messages are about the user's file, not about a link to it.
            path = places.real(posixpath.join(data, container.path))
            if digest_of_archive(path) != container.sha256:
                raise _changed(path)
            own, foreign = _members(source, container, path)
            found += own
            left += foreign
    _check_once(found, data)
    return found, left


def _check_once(found: Iterable[Entry], data: str) -> None:
    seen: dict[tuple[str, str], str] = {}
    for entry in found:
        first = seen.setdefault((entry.source, entry.name), entry.container)
        if first != entry.container:
            raise DataError(
                f"{entry.source}/{entry.name} lies both in {first} and in {entry.container} (in "
                f"{data}): remove one of the two"
            )


def _members(source: Source, container: Container, path: str) -> tuple[list[Entry], list[str]]:
    """The members of an archive that its source claims, digested, and the names of the others."""
    members = archives.members(path)
    _check_names((member.name for member in members), path)
    own: dict[str, archives.Member] = {}
    left = []
    for member in members:
        # An archive of the whole folder has the folder's name in front of every path.
        name = unicodedata.normalize("NFC", member.name).removeprefix(f"{source.name}/")
        if name in own:
            raise DataError(f"{path} holds {member.name} twice: pack it again")
        if _claims(source, name):
            own[name] = member
        else:
            left.append(f"{container.path}/{member.name}")
    rate = Rate(f"reading {container.path}", len(own), "files")
    with places.File(path) as file:

        def entry(item: tuple[str, archives.Member]) -> Entry:
            name, member = item
            digest = _digest(file, member, path)
            rate.add(1)
            return Entry(
                source.name, name, container.path, member.offset, member.size, digest,
                member.unpacked,
            )  # fmt: skip

        return list(parallel.each(entry, list(own.items()))), left


def _digest(file: places.File, member: archives.Member, path: str) -> str:
    """Sha256 of a member's content, checked against its CRC where it has one."""
    try:
        data = archives.inflate(file.read(member.offset, member.size), member.unpacked)
    except ValueError as error:
        raise DataError(f"{path}: {member.name} {error}: fetch the archive again") from error
    if member.crc is not None and zlib.crc32(data) != member.crc:
        raise DataError(f"{path}: {member.name} is damaged (CRC): fetch the archive again")
    return hashlib.sha256(data).hexdigest()


def _changed(path: str) -> DataError:
    return DataError(
        f"{places.real(path)} is not what it was when the run began (or, with --trust_mtime, "
        "when it was last read): start the run again, without --trust_mtime"
    )


class Reader:
    """Reads entries by offset, from any thread, keeping the last archive open between reads."""

    def __init__(self, data: str):
        self._data = places.resolved(data)
        self._path = ""
        self._file: places.File | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __call__(self, container: str, offset: int, size: int, unpacked: int = 0) -> bytes:
        """The bytes of one entry.

        Raises:
          OSError: the file can't be read.
          ValueError: they don't unpack to what the archive promised.
        """
        if archives.is_archive(container):
            data = self._of_archive(container, offset, size)
        else:
            with places.reading(posixpath.join(self._data, container)) as stream:
                stream.seek(offset)
                data = stream.read(size)
        return archives.inflate(data, unpacked)

    def _of_archive(self, container: str, offset: int, size: int) -> bytes:
        with self._lock:
            if container != self._path or self._file is None:
                self._close()
                self._file = places.File(posixpath.join(self._data, container))
                self._path = container
            return self._file.read(offset, size)

    def _checked(self, container: str, offset: int, size: int, unpacked: int, sha256: str) -> bytes:
        where = posixpath.join(self._data, container)
        if sha256 == UNREADABLE:  # to open what is no regular file may take forever
            raise OSError(f"{where} could not be read when the run began")
        try:
            data = self(container, offset, size, unpacked)
        except ValueError as error:
            raise _changed(where) from error
        except OSError as error:
            if not places.remote(where):
                raise
            raise DataError(f"{where} can't be read now: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != sha256:
            raise _changed(where)
        return data

    def entry(self, entry: Entry) -> bytes:
        """The bytes of one entry, if they are still those that were digested.

        Raises:
          OSError: the file can't be read.
          DataError: the content is another one than when the run began, or a bucket, where it may
            be readable the next time, does not give it.
        """
        return self._checked(
            entry.container, entry.offset, entry.size, entry.unpacked, entry.sha256
        )

    def photo(self, photo: Photo) -> bytes:
        """The bytes of a photo; raises as `entry` does."""
        return self._checked(photo.uri, photo.offset, photo.size, photo.unpacked, photo.sha256)

    def close(self) -> None:
        """Closes what is open."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
