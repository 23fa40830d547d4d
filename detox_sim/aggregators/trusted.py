"""Rules that compare the rows with one that the server knows to be honest."""

import numpy as np

from detox_sim.aggregators.conditions import Facts, require
from detox_sim.aggregators.weights import average, norms, weighted
from detox_sim.arrays import namespace, to_host
from detox_sim.catalogue import check_integer
from detox_sim.primitives import distances
from detox_sim.primitives.reference import column_blocks

SHORTEST = 1e-150  # squares of shorter rows vanish in float64; they count as zero

MONNA = Facts(
    "monna", "mean of the n - f rows nearest to a trusted one", "Farhadkhani et al. 2023", passes=2
)


def monna(rows, /, *, byzantine: int, trusted: int = 0):
    """Average the n - byzantine rows nearest to a trusted one, itself included.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.
    trusted : int
        Index of a row known to be honest; it must be finite.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> monna(np.array([[1.0], [3.0], [2.0], [99.0]]), byzantine=1)
    array([2.])

    References
    ----------
    Farhadkhani et al., Robust collaborative learning with linear gradient overhead, ICML 2023.
    """
    n = require(MONNA, rows, byzantine)
    _check_trusted("monna", trusted, n)
    distance = distances(rows, rows[trusted : trusted + 1, :])[:, 0]
    if np.isinf(distance[trusted]):
        raise ValueError(f"monna needs a finite trusted row, row {trusted} is not")
    return average(rows, np.argsort(distance, kind="stable")[: n - byzantine])


FLTRUST = Facts(
    "fltrust",
    "rows weighted by their cosine to a trusted one",
    "Cao et al. 2021",
    breakdown="all but one",
    factor=1,
    passes=3,
)


def fltrust(rows, /, *, byzantine: int, trusted: int = 0):
    """Weigh the rows by their cosine to a trusted one, each scaled to its length.

    Parameters
    ----------
    rows : array (n, d)
        A row with NaN or Inf has no weight.
    byzantine : int
        n >= byzantine + 1.
    trusted : int
        Index of the server's own row, known to be honest; it must be finite.

    Returns
    -------
    array (d,)
        The mean of the scaled rows weighted by max(0, cosine); the trusted row has weight 1.

    Examples
    --------
    >>> fltrust(np.array([[2.0, 0.0], [9.0, 0.0], [0.0, 5.0], [-99.0, 0.0]]), byzantine=2)
    array([2., 0.])

    References
    ----------
    Cao et al., FLTrust: Byzantine-robust federated learning via trust bootstrapping, NDSS 2021.
    There the server's row only gives the weights; here it is one of the rows and counts too.
    """
    n = require(FLTRUST, rows, byzantine)
    _check_trusted("fltrust", trusted, n)
    lengths = norms(rows)
    own = lengths[trusted]
    if np.isinf(own):
        raise ValueError(f"fltrust needs a finite trusted row, row {trusted} is not")
    counted = np.isfinite(lengths) & (lengths > SHORTEST)
    products = _inner_products(rows, rows[trusted, :])
    with np.errstate(invalid="ignore"):
        cosines = products / np.where(counted, lengths, 1.0) / (own or 1.0)
    scores = np.where(counted, np.clip(cosines, 0.0, 1.0), 0.0)
    if own <= SHORTEST or not scores.any():
        return weighted(rows, np.zeros(n))
    return weighted(rows, scores / scores.sum() * own / np.where(counted, lengths, 1.0))


def _inner_products(rows, point) -> np.ndarray:
    """Return the inner products (n,) of the rows with one vector (d,), in float64."""
    xp, total = namespace(rows), np.zeros(rows.shape[0])
    for columns in column_blocks(rows):
        block = xp.astype(rows[:, columns], xp.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            total = total + to_host(xp.sum(block * xp.astype(point[columns], xp.float64), axis=1))
    return total


def _check_trusted(rule: str, trusted: int, n: int) -> None:
    check_integer("trusted", trusted, 0)
    if trusted >= n:
        raise ValueError(f"{rule} needs 0 <= trusted < n = {n}, got {trusted}")
