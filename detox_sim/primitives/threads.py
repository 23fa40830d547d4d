"""How many threads a primitive uses: set it, or leave the default."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import TypeVar

from detox_sim.catalogue import check_integer

_count: ContextVar[int | None] = ContextVar("threads", default=None)
Item = TypeVar("Item")
Result = TypeVar("Result")


@contextlib.contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Let the primitives called in the block use `count` threads; results keep their bits.

    Examples
    --------
    >>> with use_threads(1):
    ...     threads()
    1
    """
    check_integer("threads", count, 1)
    token = _count.set(int(count))
    try:
        yield
    finally:
        _count.reset(token)


def threads() -> int:
    """Return the threads in force: those set, else one in a Dask worker, else one a core."""
    count = _count.get()
    if count is not None:
        return count
    return 1 if _in_dask_worker() else len(os.sched_getaffinity(0))


def _in_dask_worker() -> bool:
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True


def spread(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the results of independent pieces of work, in order."""
    items = list(items)
    count = min(threads(), len(items)) if len(items) > 1 else 1
    if count == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, items))
