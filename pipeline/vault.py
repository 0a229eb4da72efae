"""Contents of data folders under DVC: put there whole, and brought back whole.

`<output>/versions/<id>.dvc` exists once all that it stands for lies in its remote. A content is
named by its digest and read again on both ways, so what comes back is what was put, or an error.
"""

import contextlib
import dataclasses
import glob
import hashlib
import os
import posixpath
import re

from components import dataset, parallel
from components.dataset import Dataset, version_of
from components.sources.base import DataError
from models.progress import log
from pipeline import dvc_tool
from pipeline.dvc_tool import SCRATCH, DvcError, Remote
from pipeline.settings import SettingsError

# Never hard links: on the way in DVC would link the photos themselves into its cache, and take the
# right to write from them; on the way back, photos of the same bytes would be one file.
_PUT_LINKS = "symlink"
_RESTORE_LINKS = "reflink,copy"
_AGAIN = "Put it again from a folder that has it: local_runner.py data put --data DIR"


@dataclasses.dataclass(frozen=True)
class Kept:
    """A content under DVC.

    Attributes:
      digest: of the content.
      files: how many it has on disk.
      size: of them all, bytes.
      sample: it is the built-in sample's.
      remote: DVC's name of the place where it lies.
      file: the DVC file.
    """

    digest: str
    files: int
    size: int
    sample: bool
    remote: str
    file: str

    @property
    def version(self) -> str:
        """The version id."""
        return version_of(self.digest)


def kept(output: str) -> list[Kept]:
    """Everything under DVC in an output folder."""
    files = glob.glob(os.path.join(glob.escape(output), "versions", "*.dvc"))
    found = [_read(file) for file in sorted(files)]
    return [item for item in found if item is not None]


def find(output: str, digest: str) -> Kept | None:
    """What is kept of one content."""
    return next((item for item in kept(output) if item.digest == digest), None)


def restored(output: str, digest: str) -> str:
    """Where a content is restored to when nobody says otherwise."""
    return os.path.join(output, "versions", "restored", version_of(digest))


def _read(file: str) -> Kept | None:
    """Reads a DVC file; None for one that `put` did not write."""
    with open(file, encoding="utf-8", errors="replace") as stream:
        values = dict(re.findall(r"^[-\s]*(\w+): *(.*?)\s*$", stream.read(), re.MULTILINE))
    if not re.fullmatch(r"[0-9a-f]{64}", values.get("digest", "")):
        return None
    return Kept(
        digest=values["digest"],
        files=int(values.get("files", 0)),
        size=int(values.get("bytes", 0)),
        sample=values.get("sample") == "true",
        remote=values.get("remote", "DVC's default remote"),
        file=file,
    )


_DVC_FILE = """\
outs:
- path: restored/{version}
  hash: md5
  remote: {remote}
meta:
  digest: {digest}
  files: {files}
  bytes: {size}
  sources: [{sources}]
  sample: {sample}
"""


def put(output: str, data: str, remote: str | None, sample: bool) -> tuple[Kept, Remote | None]:
    """Puts the content of a data folder under DVC.

    Returns:
      What is kept, and the remote it was pushed to: None when it was kept there before, whole as
      far as one can see: what lies in a folder is looked at, and pushed again where it is damaged.

    Raises:
      SettingsError: DVC is not installed, or knows no remote of that name.
      DataError: the content can't be read whole, or changed meanwhile.
      DvcError: DVC failed; nothing is kept then.
    """
    dvc_tool.require()
    versions = dvc_tool.project(output)
    with dvc_tool.scratch(versions, versions, SCRATCH, _PUT_LINKS) as work:
        place = dvc_tool.remote(work, remote)
        found = dataset.read_dataset(data)
        _check_whole(data, found)
        before = find(output, found.digest)
        kept_there = before is not None and before.remote == place.name
        folder = dvc_tool.folder_of(place, versions)
        if before is not None and kept_there and folder is None:
            return before, None
        item = _to_keep(versions, found, place.name, sample)
        pushed = _push(work, item, data, found, folder)
        if before is not None and kept_there and not pushed:
            return before, None
        if place.new:
            dvc_tool.Project(versions, versions).run("remote", "add", place.name, place.url)
        os.replace(os.path.join(work.folder, os.path.basename(item.file)), item.file)
    return item, place


def _to_keep(versions: str, found: Dataset, remote: str, sample: bool) -> Kept:
    return Kept(
        digest=found.digest,
        files=len(found.containers),
        size=sum(item.size for item in found.containers),
        sample=sample,
        remote=remote,
        file=os.path.join(versions, f"{version_of(found.digest)}.dvc"),
    )


def _dvc_file(item: Kept, sources: list[str]) -> str:
    return _DVC_FILE.format(
        version=item.version,
        remote=item.remote,
        digest=item.digest,
        files=item.files,
        size=item.size,
        sources=", ".join(sources),
        sample=str(item.sample).lower(),
    )


def _check_whole(data: str, found: Dataset) -> None:
    for item in found.containers:
        if item.sha256 == dataset.UNREADABLE:
            raise DataError(
                f"{posixpath.join(data, item.path)} can't be read, so it can't be kept: mend or "
                "remove it"
            )


def _push(work: dvc_tool.Project, item: Kept, data: str, found: Dataset, folder: str | None) -> int:
    """Has DVC copy exactly the content, checks what it copied, and pushes that.

    Args:
      work: the scratch project.
      item: what is to be kept.
      data: the data folder.
      found: what it holds.
      folder: of the remote, None where it is no folder.

    Returns:
      How many objects a folder lacked, or had damaged.
    """
    name = os.path.basename(item.file)
    dvc_tool.write(os.path.join(work.folder, name), _dvc_file(item, found.sources))
    staged = os.path.join(work.folder, "restored", item.version)
    for container in found.containers:
        path = os.path.join(staged, container.path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(os.path.realpath(os.path.join(data, container.path)), path)
    log.info("DVC copies %d files", item.files)
    work.run("commit", "-f", name)
    if dataset.read_dataset(staged).digest != found.digest:
        raise DataError(f"{data} changed while it was put under DVC: start it again")
    log.info("DVC pushes %d files", item.files)
    lacking = _forget_damaged(work, folder) if folder else []
    work.run("push", name)
    if folder and (still := _damaged(work, folder)):
        raise DvcError(f"{folder} does not hold what was pushed there ({still[0]} first)")
    return len(lacking)


def _forget_damaged(work: dvc_tool.Project, folder: str) -> list[str]:
    """Removes what is not what its name says from a remote, so that DVC pushes it again.

    DVC takes an object for whole when its name is there, and a folder's for all that it lists.
    """
    damaged = _damaged(work, folder)
    lists = [name for name in work.objects() if name.endswith(".dir")] if damaged else []
    for name in {*damaged, *lists}:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.remove(os.path.join(folder, name))
    return damaged


def _damaged(work: dvc_tool.Project, folder: str) -> list[str]:
    """The objects of the scratch project that a remote lacks, or has with another content."""
    names = work.objects()
    whole = parallel.each(lambda name: _is_whole(os.path.join(folder, name)), names)
    return [name for name, good in zip(names, whole, strict=True) if not good]


def _is_whole(path: str) -> bool:
    """Whether an object, whose path ends in its MD5, is what its name says."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "md5").hexdigest()
    except OSError:
        return False
    parent, name = os.path.split(path)
    return digest == os.path.basename(parent) + name.removesuffix(".dir")


def restore(output: str, item: Kept, target: str) -> Dataset:
    """Brings a content back.

    Args:
      output: the output folder that it is kept in.
      item: what is kept.
      target: the folder to make, which is not there or empty.

    Returns:
      What the folder holds: the content, by its digest.

    Raises:
      SettingsError: DVC is not installed, or the folder is taken.
      DvcError: DVC failed, or brought another content; the folder is not made then.
    """
    dvc_tool.require()
    target = os.path.realpath(target)
    _check_free(target)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    versions = dvc_tool.project(output)
    ours = target == os.path.realpath(restored(output, item.digest))
    # Beside the folder, so that it can be renamed: its parent may be another file system.
    parent = versions if ours else os.path.dirname(target)
    prefix = SCRATCH if ours else f".{os.path.basename(target)}{SCRATCH}"
    with dvc_tool.scratch(versions, parent, prefix, _RESTORE_LINKS) as work:
        found = _pull(work, item)
        os.rename(os.path.join(work.folder, "restored", item.version), target)
    return found


def _check_free(target: str) -> None:
    """Checks that a folder can be made, or is empty.

    Raises:
      SettingsError: something is there.
    """
    if os.path.isdir(target) and not os.listdir(target):
        return
    if os.path.lexists(target):
        what = "is not empty" if os.path.isdir(target) else "is no folder"
        raise SettingsError(f"{target} {what}: move it away, or restore with --to another folder")


def _pull(work: dvc_tool.Project, item: Kept) -> Dataset:
    """Pulls a content into a scratch project, and checks its digest."""
    name = f"{item.version}.dvc"
    with open(item.file, encoding="utf-8") as file:
        dvc_tool.write(os.path.join(work.folder, name), file.read())
    log.info("DVC brings %d files from %s", item.files, item.remote)
    try:
        work.run("pull", name)
    except DvcError as error:
        raise DvcError(f"{error}. {_AGAIN}") from error
    folder = os.path.join(work.folder, "restored", item.version)
    try:
        found = dataset.read_dataset(folder)
    except (OSError, DataError) as error:
        raise DvcError(
            f"DVC did not bring {item.version} from {item.remote} ({error}). {_AGAIN}"
        ) from error
    if found.digest != item.digest:
        raise DvcError(
            f"what lies in {item.remote} for {item.version} is damaged: DVC brought a content of "
            f"digest {version_of(found.digest)}, which is not used; nothing was restored. {_AGAIN}"
        )
    return found
