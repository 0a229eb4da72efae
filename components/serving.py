"""The folder of a model's versions: TensorFlow Serving takes the largest number in it."""

WITHDRAWN = ".withdrawn"  # behind a number: the name is none then, and is passed over


def number(name: str) -> int | None:
    """The number of a version, withdrawn or not, None for another name."""
    digits = name.removesuffix(WITHDRAWN)
    return int(digits) if digits.isdecimal() else None
