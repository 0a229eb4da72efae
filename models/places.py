"""Files that lie on this machine or, with a scheme as in `gs://bucket/folder`, in a bucket.

What is read in one place only is read through here, so that a bucket is no other case to whoever
reads. A bucket is reached by TensorFlow's file systems, which TFX's fileio uses too; they are
imported for a bucket alone. Whatever goes wrong with one is an OSError, as on this machine.
"""

import concurrent.futures
import contextlib
import errno
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

Stamp = tuple[int, int]  # size in bytes, time of modification in nanoseconds
AT_ONCE = 32  # files of a bucket that are asked for: it answers slowly, and many
# How much TensorFlow reads of a bucket at once, in bytes: by itself 64 MiB, for each single photo.
# It is looked at when TensorFlow is imported.
READ_AHEAD = {"GCS_READAHEAD_BUFFER_SIZE_BYTES": str(1 << 20)}


def remote(path: str) -> bool:
    """Whether a path leads to a bucket."""
    return "://" in path


def is_bucket(path: str) -> bool:
    """Whether a path is of the form of one in Google Cloud Storage; nothing is asked."""
    return bool(re.fullmatch(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/.*)?", path))


def resolved(path: str) -> str:
    """The path; of a link to a bucket, which no file system follows, what it stands for."""
    if not remote(path) and os.path.islink(path) and remote(target := os.readlink(path)):
        return target
    return path


def real(path: str) -> str:
    """The path without links, for messages."""
    return path if remote(path) else os.path.realpath(path)


@contextlib.contextmanager
def _asked() -> Iterator[Any]:
    """TensorFlow's file systems, of which every error is an OSError."""
    import tensorflow as tf

    codes = {
        tf.errors.NotFoundError: errno.ENOENT,
        tf.errors.PermissionDeniedError: errno.EACCES,
        tf.errors.UnauthenticatedError: errno.EACCES,
    }
    try:
        yield tf.io.gfile
    except tf.errors.OpError as error:
        code = codes.get(type(error), errno.EIO)
        raise OSError(code, " ".join(error.message.split())) from error


class File:
    """A file that any thread reads anywhere.

    Raises:
      OSError: it can't be opened or, by its methods, can't be read.
    """

    def __init__(self, path: str):
        self._lock = threading.Lock()
        self._remote = remote(path)
        if self._remote:
            with _asked() as gfile:
                self.size = int(gfile.stat(path).length)
                self._file: Any = gfile.GFile(path, "rb")
        else:
            self._file = open(path, "rb")  # noqa: SIM115 - it is closed by close()
            self.size = os.fstat(self._file.fileno()).st_size

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from an offset on: as many as asked for, or as there are."""
        if not self._remote:
            return os.pread(self._file.fileno(), size, offset)
        with self._lock, _asked():
            self._file.seek(offset)
            data: bytes = self._file.read(size)
            return data

    def close(self) -> None:
        """Closes it."""
        self._file.close()


@contextlib.contextmanager
def reading(path: str) -> Iterator[BinaryIO]:
    """A file as a stream of bytes; raises OSError."""
    if remote(path):
        with _asked() as gfile, gfile.GFile(path, "rb") as stream:
            yield stream
    else:
        with open(path, "rb") as stream:
            yield stream


def read(path: str) -> bytes:
    """All bytes of a file; raises OSError."""
    with reading(path) as stream:
        return stream.read()


def write(path: str, data: bytes) -> None:
    """Writes a file, whole or not at all; raises OSError."""
    if remote(path):  # an object is there when all of it is
        with _asked() as gfile, gfile.GFile(path, "wb") as stream:
            stream.write(data)
        return
    with open(f"{path}.partial", "wb") as stream:
        stream.write(data)
    os.replace(f"{path}.partial", path)


def copy(folder: str, target: str) -> None:
    """Copies a folder with all that is in it, from and to a bucket too; raises OSError."""
    if not remote(folder) and not remote(target):
        shutil.copytree(folder, target)
        return

    def send(inside: str) -> None:
        place = f"{target.rstrip('/')}/{inside}"
        if not remote(place):
            os.makedirs(os.path.dirname(place), exist_ok=True)
        write(place, read(f"{folder.rstrip('/')}/{inside}"))

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(send, files(folder)):
            pass


def files(folder: str) -> Iterator[str]:
    """The paths of all files below a folder, relative to it; raises OSError."""
    for name in names(folder):
        if name.endswith("/"):
            yield from (name + inside for inside in files(f"{folder.rstrip('/')}/{name[:-1]}"))
        else:
            yield name


def exists(path: str) -> bool:
    """Whether there is such a file or folder."""
    return os.path.exists(path) if not remote(path) else is_folder(path) or bool(stamp(path))


def is_folder(path: str) -> bool:
    """Whether there is such a folder; a bucket that can't be asked has none."""
    if not remote(path):
        return os.path.isdir(path)
    try:
        with _asked() as gfile:
            return bool(gfile.isdir(path))
    except OSError:
        return False


def names(folder: str) -> list[str]:
    """What lies in a folder, sorted; a folder has a slash behind it. Raises OSError."""
    if remote(folder):
        with _asked() as gfile:
            if not gfile.isdir(folder):
                gfile.stat(folder)  # says why, where listdir says that there is no such folder
            return sorted({name for name in gfile.listdir(folder) if name.strip("/")})
    with os.scandir(folder) as found:
        return sorted(f"{item.name}/" if item.is_dir() else item.name for item in found)


def stamp(path: str) -> Stamp | None:
    """Size and time of modification of a regular file, None for all else."""
    try:
        if remote(path):
            with _asked() as gfile:
                found = gfile.stat(path)
            return int(found.length), int(found.mtime_nsec)
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
