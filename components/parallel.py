"""All cores of one process for work on photos.

Decoding, resizing and encoding release the interpreter's lock, so threads do: they start at once,
and share the memory of the process. All Beam workers of a process share one pool, so that a runner
that has several does not start more threads than there are cores.
"""

import concurrent.futures
import functools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from models import places

BATCH = 10  # items that a thread takes at once: handing one over costs a tenth of a millisecond
_making = threading.Lock()
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def each(
    function: Callable[[_Item], _Result],
    items: Sequence[_Item],
    batch: int = BATCH,
    waiting: bool = False,
) -> Iterator[_Result]:
    """The function's results, in the order of the items; what it raises is raised here.

    Args:
      function: is called from many threads.
      items: its arguments.
      batch: of items that a thread takes at once.
      waiting: the function waits for a network most of the time: for it there are more threads.
    """

    def some(start: int) -> list[_Result]:
        return [function(item) for item in items[start : start + batch]]

    starts = range(0, len(items), batch)
    if waiting:
        with concurrent.futures.ThreadPoolExecutor(places.AT_ONCE) as pool:
            for results in pool.map(some, starts):
                yield from results
        return
    for results in _pool().map(some, starts) if cores() > 1 else map(some, starts):
        yield from results


def _pool() -> concurrent.futures.ThreadPoolExecutor:
    with _making:
        return _make_pool()


@functools.cache
def _make_pool() -> concurrent.futures.ThreadPoolExecutor:
    import cv2

    cv2.setNumThreads(1)  # each photo on one core: dividing one up costs more than it gains
    # One more than there are cores: a thread that waits for the interpreter's lock leaves one idle.
    return concurrent.futures.ThreadPoolExecutor(cores() + 1)


def cores() -> int:
    """How many cores this process may use."""
    able = getattr(os, "sched_getaffinity", None)
    return len(able(0)) if able else os.cpu_count() or 1
