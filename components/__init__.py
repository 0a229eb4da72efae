"""Custom TFX components, each thin: read artifacts, call a pure function, write artifacts."""

from typing import Any


def __getattr__(name: str) -> Any:
    """Where Vertex looks for an artifact type: its name there is `components.` and the class's."""
    if name[:1].isupper():
        from components import artifacts

        return getattr(artifacts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
