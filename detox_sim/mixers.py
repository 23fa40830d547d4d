"""Mixers, applied to rows before a rule: ``mixer(rows (n, d), *, byzantine, rng) -> (n', d)``.

A mixer multiplies the rows by a matrix of weights in one pass. It returns the array library,
device and dtype it was given, and never writes to its input.

=============  ==============  =================================================================
mixer          rows out        what it does
=============  ==============  =================================================================
nnm            n               each row becomes the mean of its n - byzantine nearest
bucketing      ceil(n / size)  means of random buckets
clipping       n               rows longer than a radius are scaled to it
past_clipping  n               rows longer than a multiple of the last aggregate are scaled to it
arc            n               clipping at a radius chosen from the lengths of the rows
=============  ==============  =================================================================
"""

import math

import numpy as np

from detox_sim.aggregators.conditions import check_rows
from detox_sim.aggregators.weights import last_aggregate, norms
from detox_sim.catalogue import check_integer, check_number
from detox_sim.primitives import combine, distances

__all__ = ["nnm", "bucketing", "clipping", "past_clipping", "arc"]


def _check(mixer: str, rows, byzantine: int) -> int:
    """Return n, or raise for input that the mixer cannot serve."""
    check_rows(mixer, rows)
    check_integer("byzantine", byzantine, 0)
    n = rows.shape[0]
    if 2 * byzantine >= n:
        raise ValueError(
            f"{mixer} needs n >= 2 * byzantine + 1 = {2 * byzantine + 1} rows, got {n} with "
            f"byzantine={byzantine}; use byzantine <= {(n - 1) // 2}"
        )
    return n


def nnm(rows, /, *, byzantine: int, rng=None):
    """Replace each row by the mean of the n - byzantine rows nearest to it, itself included.

    Parameters
    ----------
    rows : array (n, d)
        A row with NaN or Inf stays so, and enters the mean of no finite row.
    byzantine : int
        n >= 2 byzantine + 1.
    rng : optional
        Not used.

    Returns
    -------
    array (n, d)

    Examples
    --------
    >>> nnm(np.array([[0.0], [1.0], [10.0]]), byzantine=1).ravel()
    array([0.5, 0.5, 5.5])

    References
    ----------
    Allouah et al., Fixing by mixing: a recipe for optimal Byzantine ML under heterogeneity,
    AISTATS 2023: nearest-neighbour mixing.
    """
    n = _check("nnm", rows, byzantine)
    square = distances(rows)
    np.fill_diagonal(square, -1.0)  # itself first, also where another row is equal
    nearest = np.argsort(square, axis=1, kind="stable")[:, : n - byzantine]
    weights = np.zeros((n, n))
    np.put_along_axis(weights, nearest, 1 / (n - byzantine), axis=1)
    return combine(weights, rows)


def bucketing(rows, /, *, byzantine: int, rng: np.random.Generator, size: int = 2):
    """Average random buckets of rows.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1. As many buckets may hold a Byzantine row.
        A row with NaN or Inf makes its own bucket so.
    rng : numpy.random.Generator
        Draws the order of the rows.
    size : int
        Rows in a bucket; the last one has what is left.

    Returns
    -------
    array (ceil(n / size), d)

    Examples
    --------
    >>> rows = np.array([[1.0], [1.0], [1.0]])
    >>> bucketing(rows, byzantine=0, rng=np.random.default_rng(0)).ravel()
    array([1., 1.])

    References
    ----------
    Karimireddy, He, Jaggi, Byzantine-robust learning on heterogeneous datasets via bucketing,
    ICLR 2022.
    """
    n = _check("bucketing", rows, byzantine)
    check_integer("size", size, 1)
    if not isinstance(rng, np.random.Generator):
        raise ValueError(f"bucketing needs a numpy.random.Generator as rng, got {rng!r}")
    order = rng.permutation(n)
    weights = np.zeros((math.ceil(n / size), n))
    for bucket, line in enumerate(weights):
        members = order[bucket * size : (bucket + 1) * size]
        line[members] = 1 / members.size
    return combine(weights, rows)


def clipping(rows, /, *, byzantine: int, radius: float, rng=None):
    """Scale every row that is longer than `radius` to that length.

    Parameters
    ----------
    rows : array (n, d)
        A row with NaN or Inf becomes zero.
    byzantine : int
        n >= 2 byzantine + 1.
    radius : float
        In the units of the rows; 0 < radius.
    rng : optional
        Not used.

    Returns
    -------
    array (n, d)

    Examples
    --------
    >>> clipping(np.array([[3.0, 4.0], [0.3, 0.4]]), byzantine=0, radius=1.0)
    array([[0.6, 0.8],
           [0.3, 0.4]])

    References
    ----------
    Static clipping, as in Allouah et al., Adaptive gradient clipping for robust federated
    learning, ICLR 2025.
    """
    _check("clipping", rows, byzantine)
    check_number("radius", radius)
    if not radius > 0:
        raise ValueError(f"clipping needs radius > 0, got {radius!r}")
    return _clipped(rows, norms(rows), radius)


def past_clipping(rows, /, *, byzantine: int, factor: float = 2.0, previous=None, rng=None):
    """Scale every row that is longer than `factor` times the last aggregate to that length.

    Parameters
    ----------
    rows : array (n, d)
        A row with NaN or Inf becomes zero.
    byzantine : int
        n >= 2 byzantine + 1.
    factor : float
        0 < factor.
    previous : array (d,), optional
        The last aggregate, which a trial supplies. Without it, and where it is zero (as at the
        first step) or has NaN or Inf, the median length of the rows takes the place of its length.
    rng : optional
        Not used.

    Returns
    -------
    array (n, d)

    Examples
    --------
    >>> rows = np.array([[1.0], [-2.0], [9.0]])
    >>> past_clipping(rows, byzantine=1, previous=np.array([1.5])).ravel()
    array([ 1., -2.,  3.])
    """
    n = _check("past_clipping", rows, byzantine)
    check_number("factor", factor)
    if not 0 < factor < np.inf:
        raise ValueError(f"past_clipping needs a finite factor > 0, got {factor!r}")
    lengths = norms(rows)
    last = 0.0
    if previous is not None:
        last = float(norms(last_aggregate("past_clipping", rows, previous)[None, :])[0])
    return _clipped(rows, lengths, factor * (last or float(np.sort(lengths)[(n - 1) // 2])))


def arc(rows, /, *, byzantine: int, rng=None):
    """Scale the longest rows to the length of the longest one left.

    Parameters
    ----------
    rows : array (n, d)
        A row with NaN or Inf counts among the longest and becomes zero.
    byzantine : int
        n >= 2 byzantine + 1; the floor(2 (byzantine / n) (n - byzantine)) longest are clipped.
    rng : optional
        Not used.

    Returns
    -------
    array (n, d)

    Examples
    --------
    >>> arc(np.array([[1.0], [-2.0], [3.0], [50.0]]), byzantine=1).ravel()
    array([ 1., -2.,  3.,  3.])

    References
    ----------
    Allouah et al., Adaptive gradient clipping for robust federated learning, ICLR 2025:
    adaptive robust clipping.
    """
    n = _check("arc", rows, byzantine)
    lengths = norms(rows)
    clipped = 2 * byzantine * (n - byzantine) // n
    return _clipped(rows, lengths, np.sort(lengths)[n - clipped - 1])


def _clipped(rows, lengths: np.ndarray, radius: float):
    scale = np.ones(len(lengths))
    scale[~np.isfinite(lengths)] = 0.0
    longer = (lengths > radius) & np.isfinite(lengths)
    scale[longer] = radius / lengths[longer]
    return combine(np.diag(scale), rows)
