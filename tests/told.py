"""What is to be known of an artifact without opening its files."""

from typing import Any


def numbers(artifact: Any, *names: str) -> tuple[int, ...]:
    """Custom properties that are numbers."""
    return tuple(artifact.get_int_custom_property(name) for name in names)
