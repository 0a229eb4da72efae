"""A graph as an SVG: nodes in rows, each below all that it reads from.

The rows are those of longest paths; within one, nodes stand near those that they are joined with
(the barycentre heuristic of Sugiyama, Tagawa and Toda, 1981).
"""

import dataclasses
import itertools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

_WIDTH, _HEIGHT = 208, 30  # of a node, pixels
_APART, _BELOW = 14, 40
_EDGE = 16
_PASSING = 14  # width that an edge takes in a row that it passes
_SWEEPS = 8
_LETTERS = 27  # that a node has room for


@dataclasses.dataclass(frozen=True)
class Box:
    """A node of the picture.

    Attributes:
      name: unique.
      label: what it says.
      kind: a class of its, for its colours: run, cached, failed, skipped, artifact, chosen.
      link: where a click leads, "" for nowhere.
      title: what is said of it to whoever points at it.
    """

    name: str
    label: str
    kind: str = "run"
    link: str = ""
    title: str = ""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where everything stands.

    Attributes:
      rows: the names, and between them where edges pass, those of one start together, from left
        to right.
      routes: of every edge, what it passes: its start, bends, its end.
    """

    rows: list[list[Any]]
    routes: list[list[Any]]


def lay(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> Layout:
    """Puts names in rows, so that every edge leads to the right.

    Args:
      names: in any order.
      edges: (from, to), without a circle.
    """
    level = _levels(names, edges)
    rows: list[list[Any]] = [[] for _ in range(max(level.values(), default=-1) + 1)]
    for name in names:
        rows[level[name]].append(name)
    routes = []
    for start, end in edges:
        bends = [(start, at) for at in range(level[start] + 1, level[end])]
        for bend in bends:
            if bend not in rows[bend[1]]:
                rows[bend[1]].append(bend)
        routes.append([start, *bends, end])
    near: dict[bool, dict[Any, list[Any]]] = {True: {}, False: {}}
    for route in routes:
        for left, right in itertools.pairwise(route):
            near[True].setdefault(right, []).append(left)
            near[False].setdefault(left, []).append(right)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        place = {item: at - len(row) / 2 for row in rows for at, item in enumerate(row)}
        for row in rows if forward else reversed(rows):
            row.sort(key=_middle(near[forward], place))
            place |= {item: at - len(row) / 2 for at, item in enumerate(row)}
    return Layout(rows, routes)


def _levels(names: Sequence[str], edges: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The row of every name: below all that lead to it."""
    after: dict[str, list[str]] = {name: [] for name in names}
    waiting = dict.fromkeys(names, 0)
    for start, end in edges:
        after[start].append(end)
        waiting[end] += 1
    level = {name: 0 for name in names if not waiting[name]}
    ready = list(level)
    for name in ready:
        for other in after[name]:
            level[other] = max(level.get(other, 0), level[name] + 1)
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    return level


def _middle(near: Mapping[Any, list[Any]], place: Mapping[Any, float]) -> Callable[[Any], float]:
    def key(item: Any) -> float:
        others = [place[other] for other in near.get(item, ())]
        return sum(others) / len(others) if others else place[item]

    return key


def draw(boxes: Sequence[Box], edges: Iterable[tuple[str, str]], about: str) -> str:
    """The picture.

    Args:
      boxes: its nodes.
      edges: (name, name).
      about: what it shows, for whoever does not see it.

    Returns:
      An SVG element; its classes are those of `page.css`.
    """
    known = {box.name: box for box in boxes}
    edges = [edge for edge in dict.fromkeys(edges) if edge[0] in known and edge[1] in known]
    laid = lay([box.name for box in boxes], edges)
    widths = [sum(map(_room, row)) for row in laid.rows]
    widest = max(widths, default=0)
    place: dict[Any, tuple[float, float]] = {}
    for level, (row, width) in enumerate(zip(laid.rows, widths, strict=True)):
        left = _EDGE + (widest - width) / 2
        for item in row:
            place[item] = (left + _room(item) / 2, _EDGE + level * (_HEIGHT + _BELOW))
            left += _room(item)
    width, height = 2 * _EDGE + widest, 2 * _EDGE + len(laid.rows) * (_HEIGHT + _BELOW) - _BELOW
    parts = [
        f'<svg class="graph" xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="group" aria-label={quoteattr(about)}>'
    ]
    parts += [_route([place[item] for item in route]) for route in laid.routes]
    parts += [_box(known[item], *place[item]) for item in place if item in known]
    return "\n".join([*parts, "</svg>"])


def _room(item: Any) -> int:
    return _WIDTH + _APART if isinstance(item, str) else _PASSING


def _route(points: Sequence[tuple[float, float]]) -> str:
    """An edge from below its first box to the top of its last one, through its bends."""
    (x, y), *others = points
    y += _HEIGHT
    path = [f"M{x:.0f} {y:.0f}"]
    for place, (left, top) in enumerate(others):
        bend = (top - y) / 2
        path.append(f"C{x:.0f} {y + bend:.0f} {left:.0f} {top - bend:.0f} {left:.0f} {top:.0f}")
        x, y = left, top
        if place < len(others) - 1:  # straight through the row
            y = top + _HEIGHT
            path.append(f"V{y:.0f}")
    return f'<path d="{"".join(path)}"/>'


def _box(box: Box, x: float, y: float) -> str:
    label = box.label if len(box.label) <= _LETTERS else f"{box.label[: _LETTERS - 1]}…"
    title = f"<title>{escape(box.title or box.label)}</title>"
    drawn = (
        f'<g class={quoteattr(box.kind)}>{title}<rect x="{x - _WIDTH / 2:.0f}" y="{y:.0f}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
        f'<text x="{x:.0f}" y="{y + 19:.0f}" text-anchor="middle">{escape(label)}'
        "</text></g>"
    )
    return f"<a href={quoteattr(box.link)}>{drawn}</a>" if box.link else drawn


_STYLE = """\
<style>
svg { background: #ffffff }
path { fill: none; stroke: #6b7682; stroke-width: 1.2 }
rect { fill: #e8eef5; stroke: #0072b2 }
.artifact rect { rx: 15px; fill: #ffffff }
.chosen rect { stroke: #e69f00; stroke-width: 3 }
.cached rect { stroke-dasharray: 5 3 }
.failed rect { stroke: #d55e00; stroke-width: 3 }
text { font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #14202b }
</style>"""
_LINK = re.compile(r"</?a\b[^>]*>")


def alone(svg: str) -> str:
    """The picture as a file of its own: with colours, and without the links of a page."""
    head, _, rest = _LINK.sub("", svg).partition(">")
    return f"{head}>\n{_STYLE}\n{rest.lstrip()}\n"


def write(svg: str, path: str) -> None:
    """Writes a picture as a file of its own, whole or not at all; raises OSError."""
    with open(f"{path}.partial", "w", encoding="utf-8") as file:
        file.write(alone(svg))
    os.replace(f"{path}.partial", path)
