"""Stanford Dogs: photos of 120 breeds with a box round every dog.

Format: http://vision.stanford.edu/aditya86/ImageNetDogs/ (Khosla et al., 2011). `images.tar` holds
`Images/<wnid>-<breed>/<wnid>_<n>.jpg`, `annotation.tar` the PASCAL-VOC XML of each photo as
`Annotation/<wnid>-<breed>/<wnid>_<n>`, without a file ending; `lists.tar`, which may be missing,
the source's own split as MATLAB 5 files. Each may lie unpacked instead.
"""

import io
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

_HOME = "http://vision.stanford.edu/aditya86/ImageNetDogs"
_ARCHIVES = {
    "annotation.tar": "Annotation",
    "lists.tar": "train_list.mat",
    "images.tar": "Images",
}
_LISTS = {"train_list.mat": "train", "test_list.mat": "test"}


class Stanford:
    """The `stanford/` folder."""

    name = "stanford"
    licence = "research use only (ImageNet)"
    layout = "stanford/images.tar with stanford/annotation.tar"
    views: tuple[str, ...] = ("cropped", "uncropped")
    public = True

    def claims(self, name: str) -> bool:
        """Photos, annotations and split lists."""
        folder, _, inside = name.partition("/")
        own = inside.count("/") == 1
        annotation = "." not in posixpath.basename(inside)
        return (
            (folder == "Images" and own and is_photo(inside))
            or (folder == "Annotation" and own and annotation)
            or posixpath.basename(name) in _LISTS
        )

    def offers(self, entries: Iterable[Entry], read: Read) -> Iterator[Offer]:
        """Every photo with the boxes of its annotation.

        The breed is what follows the first hyphen of the folder's name: breeds have hyphens too.
        """
        held = list(entries)
        annotations = {e.name: e for e in held if e.name.startswith("Annotation/")}
        photos = [e for e in held if e.name.startswith("Images/")]
        if photos and not annotations:
            raise DataError("stanford/ holds photos but no annotation: add annotation.tar")
        if annotations and not photos:
            raise DataError("stanford/ holds annotations but no photo: add images.tar")
        listed = _listed(held, read)
        check_lists(listed, [_key(entry) for entry in photos], self.name)
        for entry in photos:
            folder = posixpath.basename(posixpath.dirname(entry.name))
            stem = posixpath.splitext(posixpath.basename(entry.name))[0]
            annotation = annotations.get(f"Annotation/{folder}/{stem}")
            bodies = voc.boxes(read(annotation)) if annotation else ()
            yield Offer(
                entry,
                breed=folder.partition("-")[2],
                bodies=bodies,
                listed=listed.get(_key(entry)),
                problem=None if bodies else Reason.BAD_ANNOTATION,
                detail="" if bodies else _problem(annotation),
            )

    def remotes(self, folder: str, mirror: str) -> Sequence[Remote]:
        """The archives that do not lie there unpacked; the split lists are not needed."""
        home = mirror.rstrip("/") or _HOME
        return [
            Remote(
                f"{home}/{name}",
                posixpath.join(folder, name),
                needed=name != "lists.tar",
                check=archives.check,
            )
            for name, unpacked in _ARCHIVES.items()
            if not os.path.exists(posixpath.join(folder, unpacked))
        ]


def _problem(annotation: Entry | None) -> str:
    return f"{annotation.name} has no box that can be read" if annotation else "no annotation"


def _key(photo: Entry) -> str:
    """A photo as the split lists name it, without the ending."""
    return posixpath.splitext(photo.name.partition("/")[2])[0]


def _listed(entries: Iterable[Entry], read: Read) -> dict[str, str]:
    """The split of each photo that the source's lists name, by `<folder>/<file name's stem>`."""
    found: dict[str, str] = {}
    for entry in entries:
        split = _LISTS.get(posixpath.basename(entry.name))
        if split:
            found |= {posixpath.splitext(name)[0]: split for name in _names(entry, read(entry))}
    return found


def _names(entry: Entry, data: bytes) -> list[str]:
    """The photos that a split list names: the cells of its `file_list`."""
    import scipy.io

    try:
        cells = scipy.io.loadmat(io.BytesIO(data))["file_list"].ravel()
        return [str(cell.item()) for cell in cells]
    except Exception as error:  # the reader raises whatever a damaged file leads it to
        raise DataError(
            f"{entry.container} ({entry.name}): no split list that can be read "
            f"({type(error).__name__}: {error}): fetch it again or remove it"
        ) from error
