"""Reproducible sums over columns: their bits do not depend on how the columns are cut.

Columns are summed in units of `UNIT`, and units in blocks of two, four, eight and so on, which
begin at fixed columns. So threads, chunks and machines that each hold whole units agree to the
last bit.
"""

from collections.abc import Mapping

import numpy as np

UNIT = 4096  # columns
Block = tuple[int, int]  # (level, index): 2**level units, from unit index * 2**level on
Partials = dict[Block, np.ndarray]  # the sum over each block


def blocks(start: int, stop: int, longest: int) -> list[Block]:
    """Return the blocks that cover the units start..stop-1, in order.

    Parameters
    ----------
    start, stop, longest : int
        Units; no block has more than `longest` of them.

    Examples
    --------
    >>> blocks(0, 7, 4), blocks(3, 6, 4)
    ([(2, 0), (1, 2), (0, 6)], [(0, 3), (1, 2)])
    """
    found = []
    while start < stop:
        level = min(stop - start, longest).bit_length() - 1
        while start % (1 << level):
            level -= 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def merge(sums: Partials, others: Mapping[Block, np.ndarray]) -> None:
    """Add sums of other blocks to `sums`, and replace two halves by the block they make.

    Examples
    --------
    >>> sums = {(0, 0): np.array([1.0])}
    >>> merge(sums, {(0, 1): np.array([2.0]), (0, 2): np.array([4.0])})
    >>> sums
    {(1, 0): array([3.]), (0, 2): array([4.])}
    """
    for (level, index), value in others.items():
        while (level, index ^ 1) in sums:
            value = sums.pop((level, index ^ 1)) + value
            level, index = level + 1, index >> 1
        sums[level, index] = value


def total(sums: Partials) -> np.ndarray:
    """Return the sum over all columns, which the blocks must cover from the first one on.

    Examples
    --------
    >>> total({(0, 2): np.array([4.0]), (1, 0): np.array([3.0])})
    array([7.])
    """
    first, *others = sorted(sums, key=lambda block: block[1] << block[0])
    return sum((sums[block] for block in others), start=sums[first])
