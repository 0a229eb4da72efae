"""The two ways in which a file does not come: not now, and not at all."""


class TroubleError(Exception):
    """A try failed as another may not; `wait` is in seconds, None for the usual."""

    def __init__(self, problem: str, wait: float | None = None):
        super().__init__(problem)
        self.wait = wait


class RefusedError(Exception):
    """A file is not to be had in this call, or ever (`final`)."""

    def __init__(self, problem: str, final: bool = False):
        super().__init__(problem)
        self.final = final
