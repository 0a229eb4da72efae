"""Boxes, as everything here writes them."""

Box = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax in pixels
