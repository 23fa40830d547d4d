"""Rules that average the best subset of n - f rows, found exactly from pairwise distances."""

import itertools
import math

import numpy as np

from detox_sim.aggregators.conditions import Facts, require
from detox_sim.aggregators.weights import average, near_most
from detox_sim.catalogue import check_integer
from detox_sim.primitives import distances

BATCH = 1000  # subsets whose eigenvalues are taken at a time
TIE = 1e-9  # relative; eigenvalues nearer than this are rounding


MDA = Facts(
    "mda",
    "mean of the n - f rows of least diameter",
    "Rousseeuw 1985; El Mhamdi et al. 2020",
    passes=1,
    pairs=1,
    extra="exponential in f",
)


def mda(rows, /, *, byzantine: int, budget: int = 100_000):
    """Average the n - byzantine rows whose largest mutual distance is least.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.
    budget : int
        Steps of the exact search, which drops rows from too distant pairs; a few thousand
        usually suffice where there are too many subsets to list.

    Returns
    -------
    array (d,)
        Of several such subsets the first in lexicographic order counts.

    Raises
    ------
    ValueError
        When the search does not end within the budget; names the number of subsets.

    Examples
    --------
    >>> mda(np.array([[0.0], [1.0], [2.0], [5.0]]), byzantine=1)
    array([1.])

    References
    ----------
    Rousseeuw, Multivariate estimation with high breakdown point, 1985; El Mhamdi et al.,
    Genuinely distributed Byzantine machine learning, PODC 2020: minimum diameter averaging.
    """
    n = require(MDA, rows, byzantine)
    check_integer("budget", budget, 1)
    square = distances(rows)
    kept, byzantine = near_most(square, byzantine)
    return average(rows, kept[least_diameter(square[np.ix_(kept, kept)], byzantine, budget, n)])


SMEA = Facts(
    "smea",
    "mean of the n - f rows of least top variance",
    "Allouah et al. 2023",
    passes=1,
    pairs=1,
    extra="C(n, f) n³",
)


def smea(rows, /, *, byzantine: int, budget: int = 100_000):
    """Average the n - byzantine rows whose covariance has the least top eigenvalue.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.
    budget : int
        The most subsets that may be looked at; the search looks at all of them.

    Returns
    -------
    array (d,)

    Raises
    ------
    ValueError
        When there are more subsets than the budget; names their number.

    Examples
    --------
    >>> smea(np.array([[0.0], [1.0], [2.0], [9.0]]), byzantine=1)
    array([1.])

    References
    ----------
    Allouah et al., On the privacy-robustness-utility trilemma in distributed learning, ICML
    2023: smallest maximum eigenvalue averaging. Exact eigenvalues of the n x n Gram matrix,
    where ByzFL takes one random power step.
    """
    require(SMEA, rows, byzantine)
    check_integer("budget", budget, 1)
    square = distances(rows)
    kept, byzantine = near_most(square, byzantine)
    return average(rows, kept[least_variance(square[np.ix_(kept, kept)], byzantine, budget)])


def least_diameter(square: np.ndarray, byzantine: int, budget: int, n: int) -> np.ndarray:
    """Return the first subset of all but `byzantine` rows with the least largest distance.

    Parameters
    ----------
    square : numpy.ndarray (m, m)
    byzantine : int
    budget : int
        Steps of the search.
    n : int
        Rows before those with NaN or Inf were dropped, for the error.

    Notes
    -----
    Rows farther apart than a threshold are joined by an edge; a subset within the threshold is
    left when a vertex cover of at most `byzantine` rows is removed, which a bounded search tree
    decides. The threshold is found by bisection over the distances.
    """
    steps = itertools.count(1)

    def covered(edges: list[int], present: int, left: int) -> bool:
        """Say whether removing `left` vertices of `present` (bits) removes every edge."""
        if next(steps) > budget:
            subsets = math.comb(n, byzantine)
            raise ValueError(
                f"mda needs more than budget={budget} steps to search C({n}, {byzantine}) = "
                f"{subsets} subsets of rows; raise the budget, or use multi_krum"
            )
        degrees = [(edges[v] & present).bit_count() if present >> v & 1 else 0 for v in places]
        most = max(degrees, default=0)
        if most == 0 or sum(degrees) > 2 * left * most:
            return most == 0
        worst = degrees.index(most)
        # The worst vertex goes, or else all its neighbours do.
        if covered(edges, present & ~(1 << worst), left - 1):
            return True
        return most <= left and covered(edges, present & ~(edges[worst] | 1 << worst), left - most)

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
    edges, present, left = edges_above(limits[low]), everything, byzantine
    for v in places:
        if len(chosen) == m - byzantine or not present >> v & 1:
            continue
        gone = (edges[v] & present).bit_count()
        if gone <= left and covered(edges, present & ~edges[v], left - gone):
            chosen.append(v)
            present, left = present & ~edges[v], left - gone
        else:
            present, left = present & ~(1 << v), left - 1
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
    if not np.isfinite(square).all():  # more rows with NaN or Inf than `byzantine`
        return best
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
