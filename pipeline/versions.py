"""Data versions: the contents that an output folder knows, and where each of them lies.

A version is the content of a data folder. Its id is the start of the content's digest, so the same
photos are the same version wherever they lie, and one changed pixel makes another.
"""

import dataclasses
import os
import re
from collections.abc import Callable, Mapping

from components import dataset
from components.dataset import Dataset, version_of
from components.sources.base import DataError
from models import places
from pipeline import vault
from pipeline.metadata import Store, Used
from pipeline.settings import Settings, SettingsError

_SHOWN = 8  # versions that a message names


@dataclasses.dataclass(frozen=True)
class Version:
    """A content that the output folder knows.

    Attributes:
      digest: of the content.
      folder: where it was seen last, "" when nobody wrote that down.
      restored: where it was restored to, or would be.
      kept: what is under DVC of it.
      since: when it was seen first, as far as known, seconds since the epoch.
    """

    digest: str
    folder: str
    restored: str
    kept: vault.Kept | None
    since: float

    @property
    def version(self) -> str:
        """The version id."""
        return version_of(self.digest)

    @property
    def there(self) -> bool:
        """Whether the folder is still there, as far as is known without asking a bucket."""
        return places.remote(self.folder) or os.path.isdir(self.folder)

    @property
    def place(self) -> str:
        """Where it lies, in words, without a look at the photos: they may have changed."""
        if self.kept:
            seen = f", last seen in {self.folder}" if self.there else ""
            return f"DVC ({self.kept.remote}){seen}"
        if self.there:
            return f"last seen in {self.folder}"
        return "gone" + (f" (was in {self.folder})" if self.folder else "")


def link_of(output: str, digest: str) -> str:
    """The link to where a content was seen last."""
    return os.path.join(output, "inputs", digest)


def known(output: str) -> list[Version]:
    """Every content that was seen in a folder or put under DVC, newest first."""
    kept = {item.digest: item for item in vault.kept(output)}
    found = [_version(output, digest, kept) for digest in _linked(output) | set(kept)]
    return sorted(found, key=lambda version: version.since, reverse=True)


def _linked(output: str) -> set[str]:
    """Data sets are links; what else lies there (schemas, weights) are folders."""
    folder = os.path.join(output, "inputs")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return {
        name
        for name in names
        if re.fullmatch(r"[0-9a-f]{64}", name) and os.path.islink(os.path.join(folder, name))
    }


def _version(output: str, digest: str, kept: Mapping[str, vault.Kept]) -> Version:
    link = link_of(output, digest)
    folder = os.readlink(link) if os.path.islink(link) else ""
    file = kept[digest].file if digest in kept else ""
    times = [os.lstat(path).st_mtime for path in (link, file) if os.path.lexists(path)]
    place = vault.restored(output, digest)
    return Version(digest, folder, place, kept.get(digest), min(times, default=0.0))


def history(output: str) -> list[tuple[Version, Used | None]]:
    """Every content that anything is known of, with the runs on it, newest first."""
    seen = {item.digest: item for item in Store(os.path.join(output, "metadata.sqlite")).datasets()}
    versions = {version.digest: version for version in known(output)}
    for digest, item in seen.items():
        version = versions.get(digest) or _version(output, digest, {})
        versions[digest] = dataclasses.replace(version, since=item.first)
    newest = sorted(versions.values(), key=lambda version: version.since, reverse=True)
    return [(version, seen.get(version.digest)) for version in newest]


def find(output: str, text: str, flag: str) -> Version:
    """The version whose id, or whole digest, starts with a text.

    Args:
      output: the output folder.
      text: four or more hex digits.
      flag: what to call the text in a message.

    Raises:
      SettingsError: there is none, or more than one.
    """
    start = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{4,64}", start):
        raise SettingsError(
            f"{flag} {text}: expected the first 4 or more of a version's hex digits, as "
            "`local_runner.py data` lists them"
        )
    found = _starting(start, known(output)) or _starting(start, [v for v, _ in history(output)])
    if len(found) == 1:
        return found[0]
    if found:
        raise SettingsError(f"{flag} {text}: give more digits, it may be {_names(found)}")
    raise SettingsError(
        f"{flag} {text}: {output} knows no such version ({_names(known(output))}); give --data "
        "with a folder that has it, or the right --output"
    )


def _starting(start: str, versions: list[Version]) -> list[Version]:
    return [version for version in versions if version.digest.startswith(start)]


def _names(versions: list[Version]) -> str:
    """Ids, each with its place."""
    shown = [f"{version.version}: {version.place}" for version in versions]
    more = len(shown) - _SHOWN
    return "; ".join(shown[:_SHOWN] + [f"and {more} more"] * (more > 0)) or "it knows none"


def is_sample(output: str, text: str) -> bool:
    """Whether a text names a version of the built-in sample; False where it names none."""
    try:
        version = find(output, text, "")
    except SettingsError:
        return False
    drawn = os.path.join(os.path.abspath(output), "sample", "")
    return version.folder.startswith(drawn) or bool(version.kept and version.kept.sample)


def is_drawn(settings: Settings) -> bool:
    """Whether a run is on the built-in sample, now or as it was."""
    if settings.data_version is None:
        return settings.data is None
    return is_sample(settings.output, settings.data_version)


def check_usable(version: Version) -> None:
    """Checks, without reading any data, that a version may be had.

    Raises:
      SettingsError: it is not under DVC, and the folder that it was seen in is gone.
    """
    if not (version.kept or version.there or os.path.isdir(version.restored)):
        raise _gone(version)


def read(
    output: str, digest: str, reader: Callable[[str], Dataset] = dataset.read_dataset
) -> tuple[str, Dataset]:
    """The folder that holds a version, restored from DVC if need be, and what it holds.

    Args:
      output: the output folder.
      digest: of the content.
      reader: reads a folder that may hold it.

    Raises:
      SettingsError: it can't be had any more.
      DvcError: DVC could not restore it.
    """
    version = find(output, digest, "--data_version")
    for folder in dict.fromkeys((version.folder, version.restored)):
        found = _read(folder, reader)
        if found is not None and found.digest == version.digest:
            return folder, found
    if version.kept is not None:
        return version.restored, vault.restore(output, version.kept, version.restored)
    raise _gone(version)


def holds(folder: str, digest: str) -> bool:
    """Whether a folder is there and its photos are that content."""
    found = _read(folder, dataset.read_dataset)
    return found is not None and found.digest == digest


def _read(folder: str, reader: Callable[[str], Dataset]) -> Dataset | None:
    try:
        return reader(folder) if places.is_folder(folder) else None
    except (DataError, OSError):
        return None


def _gone(version: Version) -> SettingsError:
    why = f"{version.folder}, where it was seen last, is no longer there"
    if not version.folder:
        why = "nothing says where it was seen"
    elif version.there:
        why = f"{version.folder}, where it was seen last, holds other data now"
    return SettingsError(
        f"--data_version {version.version}: {why}, and it was not put under DVC, so it can't be "
        "brought back: give --data with a folder that has it (`local_runner.py data put --data "
        "DIR` keeps a version before its photos change)"
    )
