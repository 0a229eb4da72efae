"""Boxes, as everything here writes them."""

Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax in pixels


def area(box: Box) -> float:
    """Square pixels."""
    xmin, ymin, xmax, ymax = box
    return (xmax - xmin) * (ymax - ymin)


def widened(box: Box, margin: float, width: int, height: int) -> Box:
    """A box with a margin round it, cut to its frame.

    Args:
      box: in pixels.
      margin: as a share of the box's longer side, added on each of its four sides.
      width: of the frame, pixels.
      height: likewise.
    """
    xmin, ymin, xmax, ymax = box
    more = margin * max(xmax - xmin, ymax - ymin)
    return (
        max(0, xmin - more),
        max(0, ymin - more),
        min(width, xmax + more),
        min(height, ymax + more),
    )
