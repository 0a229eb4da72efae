"""Tsinghua Dogs: photos of 130 breeds with a box round every dog's body and head.

Format: https://cg.cs.tsinghua.edu.cn/ThuDogs/ (Zou et al., 2020), the low-resolution edition.
`low-resolution.zip` holds `low-resolution/<count>-n<number>-<breed>/n<number>.jpg`,
`low-annotations.zip` the XML of each photo as `Low-Annotations/<same folder>/<file name>.xml`, with
`bodybndbox` and `headbndbox` where PASCAL-VOC has `bndbox`. The source's own split are the lists
`train.lst` and `validation.lst`; they may be missing. Each may lie unpacked instead.
"""

import os
import posixpath
from collections.abc import Iterable, Iterator, Sequence

from components import archives
from components.sources import voc
from components.sources.base import (
    DataError,
    Entry,
    Offer,
    Read,
    Reason,
    Remote,
    check_lists,
    is_photo,
)
from models.geometry import Box, area

_PHOTOS = "low-resolution"
_ANNOTATIONS = "Low-Annotations"
_ARCHIVES = {
    "low-annotations.zip": (
        "https://cg.cs.tsinghua.edu.cn/ThuDogs/low-annotations.zip",
        _ANNOTATIONS,
    ),
    "low-resolution.zip": ("https://cloud.tsinghua.edu.cn/f/80013ef29c5f42728fc8/?dl=1", _PHOTOS),
}
# What is published about the set is measured on its validation photos: they are its test split.
_LISTS = {"train.lst": "train", "validation.lst": "test"}


class Tsinghua:
    """The `tsinghua/` folder."""

    name = "tsinghua"
    licence = "research use only"
    layout = "tsinghua/low-resolution.zip with tsinghua/low-annotations.zip"
    views: tuple[str, ...] = ("cropped", "uncropped")
    public = True

    def claims(self, name: str) -> bool:
        """Photos, annotations and split lists."""
        folder, _, inside = name.partition("/")
        own = inside.count("/") == 1
        return (
            (folder == _PHOTOS and own and is_photo(inside))
            or (folder == _ANNOTATIONS and own and _is_annotation(inside))
            or posixpath.basename(name) in _LISTS
        )

    def offers(self, entries: Iterable[Entry], read: Read) -> Iterator[Offer]:
        """Every photo with the boxes of its annotation.

        The breed is what follows the second hyphen of the folder's name: breeds have hyphens too.
        """
        held = list(entries)
        annotations = {e.name: e for e in held if e.name.startswith(f"{_ANNOTATIONS}/")}
        photos = [e for e in held if e.name.startswith(f"{_PHOTOS}/")]
        if photos and not annotations:
            raise DataError("tsinghua/ holds photos but no annotation: add low-annotations.zip")
        if annotations and not photos:
            raise DataError("tsinghua/ holds annotations but no photo: add low-resolution.zip")
        listed = _listed(held, read)
        check_lists(listed, [_key(entry) for entry in photos], self.name)
        for entry in photos:
            inside = entry.name.partition("/")[2]
            annotation = annotations.get(f"{_ANNOTATIONS}/{inside}.xml")
            xml = read(annotation) if annotation else b""
            bodies = voc.boxes(xml, "bodybndbox")
            yield Offer(
                entry,
                breed=inside.partition("/")[0].split("-", 2)[-1],
                bodies=bodies,
                head_box=_head(bodies, voc.boxes(xml, "headbndbox")),
                listed=listed.get(_key(entry)),
                problem=None if bodies else Reason.BAD_ANNOTATION,
                detail="" if bodies else _problem(annotation),
            )

    def remotes(self, folder: str, mirror: str) -> Sequence[Remote]:
        """Those of the two archives that do not lie there unpacked."""
        home = mirror.rstrip("/")
        return [
            Remote(
                f"{home}/{name}" if home else url,
                posixpath.join(folder, name),
                check=archives.check,
            )
            for name, (url, unpacked) in _ARCHIVES.items()
            if not os.path.exists(posixpath.join(folder, unpacked))
        ]


def _is_annotation(path: str) -> bool:
    return path.endswith(".xml") and is_photo(path.removesuffix(".xml"))


def _problem(annotation: Entry | None) -> str:
    return f"{annotation.name} has no body box that can be read" if annotation else "no annotation"


def _head(bodies: Sequence[Box], heads: Sequence[Box]) -> Box | None:
    """The head of the dog with the largest body."""
    if not bodies or len(heads) != len(bodies):
        return None
    return max(zip(bodies, heads, strict=True), key=lambda pair: area(pair[0]))[1]


def _key(photo: Entry) -> str:
    """A photo as the split lists name it."""
    return photo.name.partition("/")[2]


def _listed(entries: Iterable[Entry], read: Read) -> dict[str, str]:
    """The split of each photo that the lists name, as `<folder>/<file name>`.

    A line is `.//200-n000008-Airedale/n107026.jpg`.
    """
    found: dict[str, str] = {}
    for entry in entries:
        split = _LISTS.get(posixpath.basename(entry.name))
        if split:
            lines = read(entry).decode(errors="replace").splitlines()
            found |= {posixpath.normpath(line.strip()): split for line in lines if line.strip()}
    return found
