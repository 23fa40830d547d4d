"""Sorting networks: lists of comparators whose order does not depend on the values.

The CPU kernel reads a table of their chains, and the GPU kernel is generated from the list.
"""

import collections
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


def chains(comparators: Collection[Comparator], longest: int) -> list[list[Comparator]]:
    """Split a network into chains, in an order that gives the same values.

    Each comparator of a chain has the place `high` of the one before it: one that carries a chain
    out keeps the greater value at hand and stores the lesser ones.

    Parameters
    ----------
    comparators : sequence of (low, high)
    longest : int
        No chain has more comparators.

    Examples
    --------
    >>> chains([(0, 2), (0, 1), (1, 2)], 2)
    [[(0, 2)], [(0, 1), (1, 2)]]
    """
    pairs, found = list(comparators), []
    # The comparators that are left, by the places that they have.
    waiting: dict[int, collections.deque[int]] = collections.defaultdict(collections.deque)
    for k, pair in enumerate(pairs):
        for place in pair:
            waiting[place].append(k)

    def ready(k: int, done: collections.Counter) -> bool:
        return all(waiting[place][done[place]] == k for place in pairs[k])

    def chain_from(k: int) -> list[int]:
        chain, done = [k], collections.Counter(pairs[k])
        while len(chain) < longest:
            high = pairs[chain[-1]][1]
            if done[high] == len(waiting[high]) or not ready(waiting[high][done[high]], done):
                break
            chain.append(waiting[high][done[high]])
            done.update(pairs[chain[-1]])
        return chain

    nothing: collections.Counter = collections.Counter()
    while first := {queue[0] for queue in waiting.values() if queue}:
        able = (chain_from(k) for k in sorted(first) if ready(k, nothing))
        chain = max(able, key=len)
        found.append([pairs[k] for k in chain])
        for place in (place for k in chain for place in pairs[k]):
            waiting[place].popleft()
    return found
