"""Sums over columns whose bits do not depend on how the columns are cut.

Columns are summed in units of `UNIT`, and units two by two, four by four, and so on, at places that
are fixed from the first column on. So threads, chunks and machines that each hold some whole units
agree to the last bit.
"""

from collections.abc import Mapping

import numpy as np

UNIT = 4096  # columns
Nodes = dict[tuple[int, int], np.ndarray]  # (level, index): units index 2**level and on, 2**level


def cut(start: int, stop: int, longest: int) -> list[tuple[int, int]]:
    """Return the nodes (level, index) that cover the units start..stop-1, in order.

    Parameters
    ----------
    start, stop, longest : int
        Units; no node has more than `longest` of them.

    Examples
    --------
    >>> cut(0, 7, 4), cut(3, 6, 4)
    ([(2, 0), (1, 2), (0, 6)], [(0, 3), (1, 2)])
    """
    nodes = []
    while start < stop:
        level = min(stop - start, longest).bit_length() - 1
        while start % (1 << level):
            level -= 1
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def merge(nodes: Nodes, parts: Mapping[tuple[int, int], np.ndarray]) -> None:
    """Put sums of nodes among the others, and add up the pairs that belong together.

    Examples
    --------
    >>> nodes = {(0, 0): np.array([1.0])}
    >>> merge(nodes, {(0, 1): np.array([2.0]), (0, 2): np.array([4.0])})
    >>> nodes
    {(1, 0): array([3.]), (0, 2): array([4.])}
    """
    for (level, index), value in parts.items():
        while (level, index ^ 1) in nodes:
            value = nodes.pop((level, index ^ 1)) + value
            level, index = level + 1, index >> 1
        nodes[level, index] = value


def total(nodes: Nodes) -> np.ndarray:
    """Return the sum over all columns, when nodes cover them from the first one on.

    Examples
    --------
    >>> total({(0, 2): np.array([4.0]), (1, 0): np.array([3.0])})
    array([7.])
    """
    first, *others = sorted(nodes, key=lambda node: node[1] << node[0])
    return sum((nodes[node] for node in others), start=nodes[first])
