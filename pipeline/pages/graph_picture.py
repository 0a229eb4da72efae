"""The picture of the graph, from the code that builds it: `make picture` writes docs/graph.svg."""

import sys

from pipeline.pages.picture import Box, alone, draw
from pipeline.settings import Inputs, Settings, SettingsError


def picture() -> str:
    """An SVG of the nodes of a run with both models, and of what waits for what."""
    from pipeline.graph import create_pipeline

    views = ("cropped", "individual")
    inputs = Inputs(
        data="data", listings="listings", digest="0", vocabulary="schema/breeds.csv",
        schemas={view: f"schema/{view}.pbtxt" for view in views},
    )  # fmt: skip
    settings = Settings(
        data=None, output="output", backbone="small_cnn", weights="none", image_size=64, epochs=1,
        batch_size=16, views=views, inputs=inputs,
    )  # fmt: skip
    nodes = create_pipeline(settings).components
    boxes = [Box(node.id, node.id) for node in nodes]
    edges = sorted((before.id, node.id) for node in nodes for before in node.upstream_nodes)
    return alone(draw(boxes, edges, "The nodes of the pipeline, and what waits for what"))


def main(argv: list[str]) -> int:
    """Writes the picture to a path."""
    if len(argv) != 1:
        raise SettingsError("give the path of the picture")
    with open(argv[0], "w", encoding="utf-8") as file:
        file.write(picture())
    print(argv[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
