"""Stanford Dogs: photos of 120 breeds with a box round every dog.

Format: http://vision.stanford.edu/aditya86/ImageNetDogs/ (Khosla et al., 2011). `images.tar` holds
`Images/<wnid>-<breed>/<wnid>_<n>.jpg`, `annotation.tar` the PASCAL-VOC XML of each photo as
`Annotation/<wnid>-<breed>/<wnid>_<n>`, without a file ending. Either may lie unpacked instead.
"""

import posixpath
from collections.abc import Iterable, Iterator
from xml.etree import ElementTree

from components.sources.base import DataError, Entry, Offer, Read, Reason, is_photo
from models.geometry import Box

_PARTS = {"images.tar": "Images", "annotation.tar": "Annotation"}


class Stanford:
    """The `stanford/` folder."""

    name = "stanford"
    licence = "research use only (ImageNet)"
    layout = "stanford/images.tar with stanford/annotation.tar"
    views: tuple[str, ...] = ("cropped", "uncropped")

    def containers(self, paths: Iterable[str]) -> list[str]:
        """The two archives, or the files of the two folders."""
        found = sorted(path for path in paths if _is_own(path))
        for archive, folder in _PARTS.items():
            packed = archive in found
            unpacked = any(path.startswith(f"{folder}/") for path in found)
            if packed and unpacked:
                raise DataError(f"stanford/ holds both {archive} and {folder}/: remove one of them")
            if found and not packed and not unpacked:
                raise DataError(f"stanford/ holds neither {archive} nor {folder}/: add one of them")
        return found

    def offers(self, entries: Iterable[Entry], read: Read) -> Iterator[Offer]:
        """Every photo with the boxes of its annotation.

        The breed is what follows the first hyphen of the folder's name: breeds have hyphens too.
        """
        held = list(entries)
        annotations = {e.name: e for e in held if e.name.startswith("Annotation/")}
        for entry in held:
            if not (entry.name.startswith("Images/") and is_photo(entry.name)):
                continue
            folder = posixpath.basename(posixpath.dirname(entry.name))
            breed = folder.partition("-")[2]
            stem = posixpath.splitext(posixpath.basename(entry.name))[0]
            annotation = annotations.get(f"Annotation/{folder}/{stem}")
            bodies = parse_boxes(read(annotation)) if annotation else ()
            problem = None if bodies else Reason.BAD_ANNOTATION
            yield Offer(entry, breed=breed, bodies=bodies, problem=problem)


def _is_own(path: str) -> bool:
    if path in _PARTS:
        return True
    folder, _, inside = path.partition("/")
    annotation = "." not in posixpath.basename(inside)
    return (folder == "Images" and is_photo(inside)) or (folder == "Annotation" and annotation)


def parse_boxes(xml: bytes) -> tuple[Box, ...]:
    """The `bndbox` of every object of a PASCAL-VOC annotation, in pixels.

    Returns:
      (xmin, ymin, xmax, ymax) of each object; () when the annotation can't be read.
    """
    try:
        boxes = ElementTree.fromstring(xml).iterfind("object/bndbox")
        return tuple(_box(box) for box in boxes)
    except (ElementTree.ParseError, LookupError, TypeError, ValueError):
        return ()


def _box(box: ElementTree.Element) -> Box:
    xmin, ymin, xmax, ymax = (
        float(box.findtext(edge) or "missing") for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    if not (xmin < xmax and ymin < ymax):
        raise ValueError("the box is empty or turned inside out")
    return xmin, ymin, xmax, ymax
