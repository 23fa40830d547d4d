"""Count the operations on values that the primitives need, and those that they execute.

Loads, stores, conversions, the handling of NaN and the sums of order statistics are not counted,
so a time that follows from these counts is a lower bound.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

COPIES = ("equal_rows", "vote", "D-Median")  # kernels measured on copies, three of each row


class Count(NamedTuple):
    """Operations of one call, of a kind of `studies.timing.limits.rates.OPERATIONS`."""

    operation: str
    needed: float
    executed: float


def ranks(kernel: str, n: int) -> tuple[int, int]:
    """Return the order statistics (first, last) of n values that a kernel averages.

    Examples
    --------
    >>> ranks("median", 4), ranks("order_mean", 8)
    ((1, 2), (2, 5))
    """
    return ((n - 1) // 2, n // 2) if kernel == "median" else (n // 4, n - n // 4 - 1)


def count(kernel: str, n: int, d: int) -> Count | None:
    """Return the operations of a call on n rows of d values; None where they are not counted.

    Examples
    --------
    >>> count("distances", 6, 10).needed  # of each of 15 pairs subtract, multiply, add
    450
    >>> count("median", 3, 10)
    Count(operation='min, max', needed=40, executed=60)
    """
    if kernel == "distances":
        return Count("float64", 3 * n * (n - 1) // 2 * d, 3 * _pairs_in_tiles(n) * d)
    if kernel == "combine":
        return Count("float64", 2 * n * d, 2 * n * d)  # multiply, add
    if kernel in ("equal_rows", "vote"):
        compared = n // 3 * 2 * d  # two of three copies, with the first
        return Count("bits", 2 * compared, 2 * compared)  # exclusive or, or
    if kernel in ("median", "order_mean"):
        return _ordered(n, d, *ranks(kernel, n))
    return None


def _pairs_in_tiles(n: int) -> int:
    """Return the pairs of rows in the tiles below the diagonal and in the halves of those on it.

    Padded rows count too, and so does a row with itself, which shows NaN and Inf. Rows that are
    not measured in tiles are measured with every row of these.
    """
    from detox_sim.primitives.cpu.pairwise import rows_in_tiles
    from detox_sim.primitives.cpu.tile import TILE

    tiled = rows_in_tiles(n)
    lines, full = -(-n // TILE), -(-tiled // TILE)
    below = TILE**2 * full * (full - 1) // 2
    return below + lines * TILE * (TILE + 1) // 2 + (n - tiled) * tiled


def _ordered(n: int, d: int, lo: int, hi: int) -> Count | None:
    from detox_sim.primitives.cpu.orders import NETWORK_ROWS
    from detox_sim.primitives.network import order_network

    if n > NETWORK_ROWS:  # sorted by NumPy
        return None
    network = order_network(n, lo, hi)
    return Count("min, max", used(network, range(lo, hi + 1)) * d, 2 * len(network) * d)


def used(network: np.ndarray, wanted: Iterable[int]) -> int:
    """Return how many minima and maxima of a sorting network the wanted places depend on.

    Examples
    --------
    >>> used(np.array([[0, 2], [0, 1], [1, 2]]), [0])  # the least of three: two minima
    2
    """
    needed, total = set(wanted), 0
    for pair in reversed(network.tolist()):
        total += len(needed & set(pair))
        if needed & set(pair):
            needed |= set(pair)
    return total
