"""Pictures of lineage: of a run, of what made an artifact, of the models that a photo reached."""

from collections.abc import Mapping, Sequence

from components import catalog
from pipeline.lineage import Lineage, Made, Reach, Step
from pipeline.pages.picture import Box, draw

_STEPS = 200  # of a picture: the last ones


def of_run(known: Lineage, steps: Sequence[Step], links: Mapping[int, str] | None = None) -> str:
    """The nodes of a run, and what they read from each other.

    Args:
      known: ML Metadata.
      steps: the executions.
      links: where each leads, by execution; None for the browser's pages.
    """
    wrote = {made.artifact: step for step in steps for made in known.wrote_or_took(step)}
    edges = {
        (str(wrote[read.artifact].execution), str(step.execution))
        for step in steps
        for read in known.read_by(step)
        if read.artifact in wrote and wrote[read.artifact] != step
    }
    boxes = [
        Box(
            str(step.execution),
            step.node,
            step.state,
            links[step.execution] if links else f"/execution/{step.execution}",
            f"{step.node}, execution {step.execution}: {step.state}",
        )
        for step in steps
    ]
    return draw(boxes, sorted(edges), f"{len(boxes)} nodes and what they read from each other")


def of_artifact(known: Lineage, made: Made) -> str:
    """The executions that an artifact comes from, the artifacts between them, and its readers."""
    behind = known.behind([made.artifact])[-_STEPS:]
    inside = {step.execution for step in behind}
    boxes: dict[str, Box] = {}
    edges: list[tuple[str, str]] = []
    for step in behind:
        name = _step(boxes, step)
        edges += [(_artifact(boxes, read, made), name) for read in known.read_by(step)]
        edges += [
            (name, _artifact(boxes, out, made))
            for out in known.written_by(step)
            if out == made or any(to.execution in inside for to in known.readers(out.artifact))
        ]
    last = _artifact(boxes, made, made)
    edges += [
        (last, _step(boxes, reader))
        for reader in known.readers(made.artifact)
        if reader.execution not in inside
    ]
    return draw(list(boxes.values()), edges, f"Where artifact {made.artifact} comes from")


def of_reach(
    known: Lineage,
    what: str,
    rows: Mapping[int, Sequence[catalog.Photo]],
    reached: Sequence[Reach],
) -> str:
    """A photo or a dog, the ledgers that it stands in, the trainers that saw it, what was pushed.

    Args:
      known: ML Metadata.
      what: its name.
      rows: by the artifact of the ledger, as `lineage.rows_of` finds them.
      reached: as `lineage.beyond` finds them.
    """
    boxes = {"what": Box("what", what, "chosen")}
    edges: list[tuple[str, str]] = []
    for ledger in rows:
        edges.append(("what", _artifact(boxes, known.made[ledger])))
    for reach in reached:
        trainer = _step(boxes, reach.step)
        made = [out.artifact for out in known.written_by(reach.step)]
        read = {one.artifact for step in known.behind(made) for one in known.read_by(step)}
        edges += [(f"artifact:{ledger}", trainer) for ledger in rows if ledger in read]
        for path, state in reach.releases:
            version = "/".join(path.rsplit("/", 2)[1:])
            boxes[path] = Box(path, f"{version} {state}", "artifact", "", f"{state}: {path}")
            edges.append((trainer, path))
    return draw(list(boxes.values()), edges, f"The models that {what} reached")


def _step(boxes: dict[str, Box], step: Step) -> str:
    name = str(step.execution)
    title = f"execution {name}, run {step.run}: {step.state}"
    boxes[name] = Box(name, step.node, step.state, f"/execution/{name}", title)
    return name


def _artifact(boxes: dict[str, Box], made: Made, chosen: Made | None = None) -> str:
    name = f"artifact:{made.artifact}"
    kind = "artifact chosen" if made == chosen else "artifact"
    label = f"{made.kind.rpartition('.')[2]} {made.artifact}"
    boxes[name] = Box(name, label, kind, f"/artifact/{made.artifact}", f"{name} {made.uri}")
    return name
