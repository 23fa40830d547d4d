"""The best subset of n - f rows, exactly: what MDA and SMEA search. On distances, not on rows."""

import itertools
import math

import numpy as np

BATCH = 1000  # subsets whose eigenvalues are taken at a time
TIE = 1e-9  # relative; eigenvalues nearer than this are rounding


def least_diameter(square: np.ndarray, byzantine: int, budget: int, n: int) -> np.ndarray:
    """Return the first subset of all but `byzantine` rows with the least largest distance.

    Parameters
    ----------
    square : numpy.ndarray (m, m)
    byzantine : int
    budget : int
        Steps of the search.
    n : int
        Rows before broken ones were dropped, for the error.

    Notes
    -----
    Rows farther apart than a threshold are joined by an edge; a subset within the threshold is
    left when a vertex cover of at most `byzantine` rows is removed, which a bounded search tree
    decides. The threshold is found by bisection over the distances.
    """
    steps = itertools.count(1)

    def covered(edges: list[int], alive: int, left: int) -> bool:
        """Say whether removing `left` vertices of `alive` (bits) removes every edge."""
        if next(steps) > budget:
            subsets = math.comb(n, byzantine)
            raise ValueError(
                f"mda needs more than budget={budget} steps to search C({n}, {byzantine}) = "
                f"{subsets} subsets of rows; raise the budget, or use multi_krum"
            )
        degrees = [(edges[v] & alive).bit_count() if alive >> v & 1 else 0 for v in places]
        most = max(degrees, default=0)
        if most == 0 or sum(degrees) > 2 * left * most:
            return most == 0
        worst = degrees.index(most)
        # The worst vertex goes, or else all its neighbours do.
        if covered(edges, alive & ~(1 << worst), left - 1):
            return True
        return most <= left and covered(edges, alive & ~(edges[worst] | 1 << worst), left - most)

    m = len(square)
    places, everything = range(m), (1 << m) - 1

    def edges_above(limit: float) -> list[int]:
        return [sum(1 << int(j) for j in np.flatnonzero(line > limit)) for line in square]

    limits = np.unique(square[~np.eye(m, dtype=bool)]) if m > 1 else np.zeros(1)
    low, high = 0, len(limits) - 1
    while low < high:
        middle = (low + high) // 2
        if covered(edges_above(limits[middle]), everything, byzantine):
            high = middle
        else:
            low = middle + 1
    chosen: list[int] = []
    edges, alive, left = edges_above(limits[low]), everything, byzantine
    for v in places:
        if len(chosen) == m - byzantine or not alive >> v & 1:
            continue
        gone = (edges[v] & alive).bit_count()
        if gone <= left and covered(edges, alive & ~edges[v], left - gone):
            chosen.append(v)
            alive, left = alive & ~edges[v], left - gone
        else:
            alive, left = alive & ~(1 << v), left - 1
    return np.array(chosen)


def least_variance(square: np.ndarray, byzantine: int, budget: int) -> np.ndarray:
    """Return the first subset of all but `byzantine` rows with the least top variance."""
    n = len(square)
    subsets, size = math.comb(n, byzantine), n - byzantine
    if subsets > budget:
        raise ValueError(
            f"smea needs to look at C({n}, {byzantine}) = {subsets} subsets of rows, more than "
            f"budget={budget}; raise the budget, or use caf"
        )
    best, least = np.arange(size), np.inf
    candidates = itertools.combinations(range(n), size)
    while batch := list(itertools.islice(candidates, BATCH)):
        some = np.array(batch)
        parts = -square[some[:, :, None], some[:, None, :]] / 2
        parts = parts - parts.mean(axis=1, keepdims=True)  # the inner products of a subset's
        parts = parts - parts.mean(axis=2, keepdims=True)  # rows, centred on its own mean
        tops = np.linalg.eigvalsh(parts)[:, -1]
        for subset, top in zip(some, tops, strict=True):
            if top < least * (1 - TIE):
                best, least = subset, top
    return best
