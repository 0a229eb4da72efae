"""How long a server is waited for, and when a host is asked no more."""

import collections
import dataclasses

from components.download.problems import RefusedError

_LOST = 8  # files in a row for which a host ran out our patience, until it is asked no more


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long a server is waited for.

    Attributes:
      tries: in a row without a new byte, until a file is given up.
      first_wait: after the first of them, seconds; each further wait is twice as long.
      most_wait: seconds, also where the server asks for more.
      timeout: to connect, and from one piece of an answer to the next, seconds.
    """

    tries: int = 6
    first_wait: float = 1.0
    most_wait: float = 60.0
    timeout: float = 30.0

    def wait(self, tries: int, asked: float | None) -> float:
        """Seconds to wait after so many tries; `asked` is what the server says, if it does."""
        usual = self.first_wait * 2 ** max(tries - 1, 0)
        return min(usual if asked is None else asked, self.most_wait)


class Hosts:
    """Which hosts no longer answer, so that not each of many files waits for a dead one."""

    def __init__(self) -> None:
        self._problems: dict[str, list[str]] = collections.defaultdict(list)

    def heard(self, host: str) -> None:
        """A host gave a useful answer."""
        self._problems.pop(host, None)

    def gave_up(self, host: str, problem: str) -> None:
        """Patience ran out with a host."""
        self._problems[host].append(problem)

    def refuse_lost(self, host: str) -> None:
        """Raises RefusedError for a host that gave nothing for many files in a row."""
        problems = self._problems.get(host, [])
        if len(problems) >= _LOST:
            raise RefusedError(
                f"not tried: {host} failed for {_LOST} files in a row, with: {problems[-1]}"
            )
