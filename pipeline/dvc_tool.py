"""DVC, called as the tool that it is, in the projects of one output folder.

`<output>/versions` is the project that somebody who knows DVC finds: its configuration, one DVC
file a version, and `storage`, the remote that needs nothing else. Work is done in scratch projects
that are thrown away: a kill leaves nothing there that counts.
"""

import contextlib
import dataclasses
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence

from pipeline.settings import SettingsError

STORAGE = "storage"
SCRATCH = ".scratch-"
_CONFIG = f"""\
[core]
    no_scm = True
    analytics = false
    check_update = false
    remote = {STORAGE}
['remote "{STORAGE}"']
    url = ../{STORAGE}
"""
_FILES = {
    os.path.join(".dvc", "config"): _CONFIG,
    os.path.join(".dvc", ".gitignore"): "/config.local\n/tmp\n/cache\n",
    ".dvcignore": f"/{STORAGE}\n/{SCRATCH}*\n",
}
_SCRATCH_CONFIG = """\
[core]
    no_scm = True
[cache]
    dir = cache
    type = {links}
"""


class DvcError(RuntimeError):
    """DVC could not do it; the message is its own last one."""


@dataclasses.dataclass(frozen=True)
class Project:
    """A DVC project to work in.

    Attributes:
      folder: its root.
      versions: the project whose remotes and credentials hold in it, too.
    """

    folder: str
    versions: str

    def run(self, *words: str) -> str:
        """Runs `dvc <words>` and returns what it printed; its complaints go to stderr as well.

        Nothing else does: the words and the configuration may hold secrets, and stderr is a log.

        Raises:
          DvcError: it failed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *words],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        print(f"dvc {words[0]}: {done.returncode}\n{done.stderr}", file=sys.stderr, flush=True)
        if done.returncode:
            raise DvcError(f"dvc {words[0]} failed: {_last_words(done.stderr or done.stdout)}")
        return done.stdout

    def objects(self) -> list[str]:
        """What lies in the project's cache, by names that are the same in a remote."""
        cache = os.path.join(self.folder, ".dvc", "cache")
        paths = glob.glob(os.path.join(glob.escape(cache), "files", "md5", "??", "*"))
        return sorted(os.path.relpath(path, cache) for path in paths)

    def _environment(self) -> dict[str, str]:
        """The project's configuration as DVC's system level: below the user's own, and a scratch's.

        The relative paths in it keep their meaning that way.
        """
        kept = {key: value for key, value in os.environ.items() if key not in _MISLEADING}
        return kept | {
            "DVC_NO_ANALYTICS": "1",
            "DVC_SYSTEM_CONFIG_DIR": os.path.join(self.versions, ".dvc"),
            "DVC_SITE_CACHE_DIR": os.path.join(self.folder, ".dvc", "tmp", "site"),
        }


_MISLEADING = ("DVC_ROOT", "DVC_STAGE")  # of a DVC that we may have been started by


def require() -> None:
    """Checks that DVC is there.

    Raises:
      SettingsError: it is not.
    """
    try:
        import dvc  # noqa: F401 - it is called as a tool
    except ImportError:
        raise SettingsError(
            "data versions are kept by DVC, which is not installed: pip install "
            "'spotted[versions]' (or make env)"
        ) from None


def project(output: str) -> str:
    """The folder of the project that stays, made where it is missing."""
    folder = os.path.join(output, "versions")
    os.makedirs(os.path.join(folder, ".dvc"), exist_ok=True)
    for name, text in _FILES.items():
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            write(path, text)
    return folder


def write(path: str, text: str) -> None:
    """Writes a file that is there whole or not at all."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


@contextlib.contextmanager
def scratch(versions: str, parent: str, prefix: str, links: str) -> Iterator[Project]:
    """A project in `parent` to work in, without a trace once it is left; a killed one's goes, too.

    Args:
      versions: the project that stays.
      parent: where the new one lies: on the file system where its results are to be.
      prefix: of its name, and of no other folder's there.
      links: DVC's `cache.type`.
    """
    for left in glob.glob(os.path.join(glob.escape(parent), f"{glob.escape(prefix)}*")):
        shutil.rmtree(left, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
    try:
        os.mkdir(os.path.join(folder, ".dvc"))
        write(os.path.join(folder, ".dvc", "config"), _SCRATCH_CONFIG.format(links=links))
        secrets = os.path.join(versions, ".dvc", "config.local")
        if os.path.exists(secrets):
            os.symlink(secrets, os.path.join(folder, ".dvc", "config.local"))
        yield Project(folder, versions)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class Remote:
    """Where DVC puts data.

    Attributes:
      name: in DVC's configuration.
      url: a folder, or whatever address DVC knows.
      new: it is not in the configuration yet.
    """

    name: str
    url: str
    new: bool = False


def remote(work: Project, wanted: str | None) -> Remote:
    """The remote of a name or an address; DVC's default one for None. A new one is added to `work`.

    Raises:
      SettingsError: a name that DVC's configuration does not have.
      DvcError: DVC can't use the address, or lacks a plugin for it.
    """
    found = _choose(wanted, work.run("config", "--list").splitlines())
    if found.new:
        work.run("remote", "add", found.name, found.url)
    if "://" in found.url:
        work.run("push", "-r", found.name)  # nothing to push yet, but a missing plugin shows
    return found


def folder_of(place: Remote, versions: str) -> str | None:
    """The folder of a remote, None where it is none."""
    if "://" in place.url:
        return None
    return os.path.normpath(os.path.join(versions, ".dvc", place.url))


def _choose(wanted: str | None, config: Sequence[str]) -> Remote:
    values = dict(line.partition("=")[::2] for line in config)
    urls = {
        key.removeprefix("remote.").removesuffix(".url"): url
        for key, url in values.items()
        if key.startswith("remote.") and key.endswith(".url")
    }
    name = values.get("core.remote", STORAGE) if wanted is None else wanted
    if name in urls:
        return Remote(name, urls[name])
    if os.sep not in name:
        raise SettingsError(
            f"--remote {name}: DVC knows no remote of that name (known are {', '.join(urls)}): "
            "give one of these, an address such as s3://bucket/folder, or a folder with a / in it"
        )
    url = _address(name)
    for known, other in urls.items():
        if other == url:
            return Remote(known, url)
    return Remote(_free_name(url, urls), url, new=True)


def _address(text: str) -> str:
    text = text.removeprefix("file://")
    return text if "://" in text else os.path.abspath(os.path.expanduser(text))


def _free_name(url: str, taken: Collection[str]) -> str:
    """A name for a new remote, after the last part of its address."""
    last = url.rstrip("/").rpartition("/")[2].lower()
    base = re.sub(r"[^a-z0-9]+", "-", last).strip("-") or "remote"
    names = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def _last_words(printed: str) -> str:
    """The last error that DVC printed, as one line, with the plugin to install where one lacks."""
    errors = re.findall(r"^ERROR: (.*?)(?:\n\s*\n|\Z)", printed, re.MULTILINE | re.DOTALL)
    text = " ".join((errors[-1] if errors else printed).split()) or "it said nothing"
    plugin = re.search(r"requires 'dvc-(\w+)' to be installed", text)
    return text + (f": pip install 'dvc[{plugin[1]}]'" if plugin else "")
