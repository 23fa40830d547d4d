"""Sorting networks: lists of comparators whose order does not depend on the values.

The CPU kernel reads the list as a table, and the GPU kernel is generated from it.
"""

import functools
from collections.abc import Collection

import numpy as np

Comparator = tuple[int, int]


@functools.lru_cache(maxsize=64)
def sorting_network(size: int) -> tuple[Comparator, ...]:
    """Return comparators (low, high) that sort `size` values: Batcher's merge exchange.

    Examples
    --------
    >>> sorting_network(3)
    ((0, 2), (0, 1), (1, 2))

    References
    ----------
    Knuth, The Art of Computer Programming, volume 3, 5.2.2, algorithm M.
    """
    top = 1 << max(0, (size - 1).bit_length() - 1)
    comparators = []
    p = top
    while p > 0:
        q, r, gap = top, 0, p
        while True:
            comparators += [(i, i + gap) for i in range(size - gap) if i & p == r]
            if q == p:
                break
            gap, q, r = q - p, q // 2, p
        p //= 2
    return tuple(comparators)


def prune(comparators: Collection[Comparator], wanted: Collection[int]) -> list[Comparator]:
    """Return the comparators without those that no wanted place depends on.

    Examples
    --------
    >>> prune(sorting_network(3), [0])
    [(0, 2), (0, 1)]
    """
    needed, kept = set(wanted), []
    for low, high in reversed(list(comparators)):
        if low in needed or high in needed:
            needed |= {low, high}
            kept.append((low, high))
    return kept[::-1]


@functools.lru_cache(maxsize=256)
def order_network(size: int, lo: int, hi: int) -> np.ndarray:
    """Return comparators (m, 2) that bring the order statistics lo..hi to their places.

    Examples
    --------
    >>> values = [5, 3, 9, 1, 7]
    >>> for low, high in order_network(5, 2, 2):
    ...     values[low], values[high] = sorted((values[low], values[high]))
    >>> values[2]
    5
    """
    kept = prune(sorting_network(size), range(lo, hi + 1))
    table = np.array(kept, dtype=np.int64).reshape(-1, 2)
    table.flags.writeable = False
    return table
