"""PASCAL-VOC annotations: one XML a photo, with an `object` for every dog."""

import math
from collections.abc import Iterator
from xml.etree import ElementTree

from models.geometry import Box

_MOST_BYTES = 1 << 20  # an annotation has some hundred


def boxes(xml: bytes, tag: str = "bndbox") -> tuple[Box, ...]:
    """One box of every object, in pixels, in the order given.

    Args:
      xml: the annotation.
      tag: of the box inside each object.

    Returns:
      (xmin, ymin, xmax, ymax) of each object; () when one of them can't be read.
    """
    try:
        return tuple(_box(item, tag) for item in _objects(xml))
    except (ElementTree.ParseError, LookupError, TypeError, ValueError):
        return ()


def _objects(xml: bytes) -> Iterator[ElementTree.Element]:
    if len(xml) > _MOST_BYTES or b"<!DOCTYPE" in xml.replace(b"\0", b""):  # UTF-16 has zeros
        raise ValueError("no annotation needs that")
    yield from ElementTree.fromstring(xml).iterfind("object")


def _box(item: ElementTree.Element, tag: str) -> Box:
    xmin, ymin, xmax, ymax = (
        float(item.findtext(f"{tag}/{edge}") or "missing")
        for edge in ("xmin", "ymin", "xmax", "ymax")
    )
    if not (-math.inf < xmin < xmax < math.inf and -math.inf < ymin < ymax < math.inf):
        raise ValueError("the box is empty or turned inside out")
    return xmin, ymin, xmax, ymax
