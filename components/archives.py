"""Archives, read where they lie: which files a tar or zip holds, and at which offsets.

Nothing is ever unpacked to disk, so a name can't lead outside a folder; names that try are refused
all the same, with links, devices, and members that are too large or that overlap. Reading a member
takes memory for its packed and its unpacked bytes, each `MOST_BYTES` at most, whatever its header
promises.

Formats: POSIX.1-2001 tar (pax, ustar, GNU); PKWARE's APPNOTE 6.3 for zip, stored or deflated.
"""

import itertools
import os
import posixpath
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

from components.sources.base import DataError
from models import places

MOST_BYTES = 256 << 20  # of one member, unpacked
MOST_TIMES = 100  # that the members of an archive may be larger than the archive
_ROOM = 1 << 30  # bytes that the members may have in any case
_TAR_BLOCK = 512
_ZIP_LOCAL = struct.Struct("<4s5H3L2H")  # the header in front of a member's bytes
_ZIP_UTF8 = 0x800  # the flag of a name in UTF-8
_ZIP_END = struct.Struct("<4s4H2LH")  # the end of the directory
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")  # gzip, bzip2, xz, …
ENDINGS = (".tar", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".7z", ".rar")


class Member(NamedTuple):
    """One file of an archive.

    Attributes:
      name: its path inside the archive, normalised.
      offset: where its bytes start in the archive.
      size: bytes in the archive.
      unpacked: bytes after inflating; 0 when it is stored as it is.
      crc: its CRC-32, None in a tar.
    """

    name: str
    offset: int
    size: int
    unpacked: int = 0
    crc: int | None = None


class _RefusedError(ValueError):
    """What is wrong with an archive, without its path."""


def is_archive(name: str) -> bool:
    """Whether a file name says that it is an archive, of whatever kind."""
    return name.lower().endswith(ENDINGS)


def source_of(name: str) -> str:
    """What an archive is named after; "" of a name that is no archive's."""
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)
    return name[: -len(ending)] if ending else ""


def members(path: str) -> list[Member]:
    """The regular files of a tar or zip, in the archive's order.

    Raises:
      DataError: compressed as a whole, damaged, cut short, or with members that are refused.
    """
    try:
        _check_packing(path)
        found = list((_zip_members if _is_zip(path) else _tar_members)(path))
        with places.File(path) as file:
            _check_sizes(found, file.size)
    except Exception as error:  # the readers raise whatever a damaged file leads them to
        raise DataError(
            f"{path}: expected a whole tar (not compressed) or zip, but {_why(error)}: fetch it "
            "again, or unpack it yourself and remove the archive"
        ) from error
    return found


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, _RefusedError) else f"it is damaged ({error})"


def _check_packing(path: str) -> None:
    with places.reading(path) as stream:
        start = stream.read(6)
    if start.startswith(_COMPRESSED):
        raise _RefusedError("it is compressed as a whole")


def _is_zip(path: str) -> bool:
    """By its name, which a file that is being fetched has with `.part` behind it."""
    return path.lower().removesuffix(".part").endswith(".zip")


def inflate(data: bytes, unpacked: int) -> bytes:
    """The bytes of a member as `members` gave them: inflated where `unpacked` is not 0.

    Raises:
      ValueError: the bytes are no deflate stream of exactly that length.
    """
    if not unpacked:
        return data
    try:
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        result = stream.decompress(data, unpacked + 1)
    except zlib.error as error:
        raise ValueError(f"is damaged in its archive ({error})") from error
    if len(result) != unpacked or not stream.eof:
        raise ValueError(f"unpacks to other than the {unpacked:,} bytes that its archive promises")
    return result


def _tar_members(path: str) -> Iterator[Member]:
    with places.File(path) as file:
        end = file.size
    with places.reading(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
        for item in archive:
            if item.isdir() and not item.size:
                continue
            if not item.isreg() or item.issparse():
                raise _RefusedError(f"{item.name!a} in it is a link, a device or sparse")
            if item.size < 0 or item.offset_data + item.size > end:
                raise _RefusedError(f"it ends inside {item.name!a}")
            yield Member(_name(item.name), item.offset_data, item.size)
        _check_tar_end(stream, archive.offset)


def _check_tar_end(stream: IO[bytes], offset: int) -> None:
    """Sees that an archive ends with nothing but zeros, two blocks or more by the format.

    The reader takes anything that is no header for the end, so this tells an archive that stops or
    goes bad in between from a whole one.
    """
    stream.seek(offset)
    block = stream.read(_TAR_BLOCK)
    if len(block) < _TAR_BLOCK:
        raise _RefusedError(f"it stops at byte {offset:,}, before its end mark")
    while block:
        if block.count(0) != len(block):
            raise _RefusedError(f"it is damaged at byte {offset:,}")
        block = stream.read(1 << 20)


def _zip_members(path: str) -> Iterator[Member]:
    with places.reading(path) as stream, zipfile.ZipFile(stream) as archive:
        _check_zip_count(stream, len(archive.infolist()))
        for item in archive.infolist():
            if item.is_dir():
                continue
            _check_zip_item(item)
            offset = _zip_data(stream, item.header_offset, item.filename)
            packed = item.compress_type == zipfile.ZIP_DEFLATED
            yield Member(
                _name(_zip_name(item)),
                offset,
                item.compress_size if item.file_size else 0,
                item.file_size if packed else 0,
                item.CRC,
            )


def _check_zip_count(stream: IO[bytes], found: int) -> None:
    """Sees that the directory lists as many members as its end says: the reader does not."""
    stream.seek(0, os.SEEK_END)
    stream.seek(-min(stream.tell(), _ZIP_END.size + 0xFFFF), os.SEEK_CUR)
    tail = stream.read()
    place = tail.rfind(b"PK\x05\x06")
    count = _ZIP_END.unpack_from(tail, place)[4]
    if count not in (found & 0xFFFF, 0xFFFF):
        raise _RefusedError(f"its directory counts {count:,} files and lists {found:,}")


def _check_zip_item(item: zipfile.ZipInfo) -> None:
    if stat.S_IFMT(item.external_attr >> 16) not in (0, stat.S_IFREG):
        raise _RefusedError(f"{item.filename!a} in it is a link or a device")
    if item.flag_bits & 1:
        raise _RefusedError(f"{item.filename!a} in it is encrypted")
    if item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _RefusedError(f"{item.filename!a} in it is packed by an unknown method")
    if item.compress_type == zipfile.ZIP_STORED and item.compress_size != item.file_size:
        raise _RefusedError(f"{item.filename!a} in it has two sizes")


def _zip_name(item: zipfile.ZipInfo) -> str:
    """A member's path; many packers write UTF-8 without the flag that says so."""
    if item.flag_bits & _ZIP_UTF8:
        return item.filename
    try:
        return item.filename.encode("cp437").decode()
    except UnicodeError:
        return item.filename


def _zip_data(stream: IO[bytes], header: int, name: str) -> int:
    """Where a member's bytes start: behind its local header, whose length varies."""
    stream.seek(header)
    fields = _ZIP_LOCAL.unpack(stream.read(_ZIP_LOCAL.size))
    if fields[0] != b"PK\x03\x04":
        raise _RefusedError(f"it is damaged in front of {name!a}")
    return header + _ZIP_LOCAL.size + int(fields[-2]) + int(fields[-1])


def _name(name: str) -> str:
    """A member's path, normalised.

    Raises:
      _RefusedError: it leads outside the archive's own folder.
    """
    result = posixpath.normpath(name)
    if name.startswith("/") or "\\" in name or "\0" in name or result.split("/")[0] in ("..", "."):
        raise _RefusedError(f"{name!a} in it leads outside its folder")
    return result


def _check_sizes(found: list[Member], archive: int) -> None:
    """Refuses members that no data set has: huge, overlapping, or unpacking without end."""
    for item in found:
        if max(item.size, item.unpacked) > MOST_BYTES:
            size = max(item.size, item.unpacked)
            raise _RefusedError(f"{item.name!a} in it has {size:,} bytes, {MOST_BYTES:,} is most")
    total = sum(item.unpacked or item.size for item in found)
    if total > MOST_TIMES * archive + _ROOM:
        raise _RefusedError(f"its {archive:,} bytes would unpack to {total:,}")
    placed = sorted((item for item in found if item.size), key=lambda item: item.offset)
    for one, other in itertools.pairwise(placed):
        if one.offset + one.size > other.offset:
            raise _RefusedError(f"{one.name!a} and {other.name!a} in it share bytes")
    if placed and placed[-1].offset + placed[-1].size > archive:
        raise _RefusedError(f"it ends inside {placed[-1].name!a}")


def check(path: str) -> None:
    """Sees that an archive is whole, by its own account.

    Raises:
      DataError: see `members`.
    """
    members(path)
