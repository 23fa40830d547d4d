"""The number of threads that a primitive uses."""

import contextlib
import functools
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
    """Use `count` threads in the primitives called inside; results keep their bits.

    Sets it for the calling thread only: threads that the caller starts use the default. NumPy's
    own threads, in the few rules with n x n eigenvectors, are not changed.

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
    """Return the number of threads: the one set, else one in a Dask task, else one a core."""
    count = _count.get()
    if count is not None:
        return count
    return 1 if in_dask_worker() else _cores()


def _cores() -> int:
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def in_dask_worker() -> bool:
    """Return whether the caller is a task of Dask's distributed scheduler.

    Examples
    --------
    >>> in_dask_worker()
    False
    """
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return False
    try:
        distributed.get_worker()
    except ValueError:
        return False
    return True


def spread(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Return the results of independent pieces of work, in order, on this and other threads."""
    items = list(items)
    count = min(threads(), len(items)) if len(items) > 1 else 1
    if count == 1:
        return [work(item) for item in items]
    results: list = [None] * len(items)
    places = iter(range(len(items)))  # shared: `next` is atomic

    def work_off() -> None:
        for place in places:
            results[place] = work(items[place])

    helpers = [_pool(count).submit(work_off) for _ in range(count - 1)]
    work_off()
    for helper in helpers:
        helper.result()
    return results


@functools.lru_cache(maxsize=4)
def _pool(count: int) -> ThreadPoolExecutor:
    """Return a pool of threads, in which a primitive uses one thread."""
    return ThreadPoolExecutor(count, initializer=_count.set, initargs=(1,))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
