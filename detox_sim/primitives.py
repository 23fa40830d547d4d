"""The four passes over an (n, d) array that every robust rule is built from.

Written on the array API: one reference implementation for NumPy and CuPy. Rows that hold
NaN or Inf come from the adversary, and each pass states what becomes of them.
"""

import numpy as np

from detox_sim.arrays import bits, namespace, to_host

BLOCK = 1 << 22  # elements worked on at a time, so that temporaries stay small


def _column_blocks(rows):
    n, d = rows.shape
    width = max(1, BLOCK // n)
    return [slice(start, min(start + width, d)) for start in range(0, d, width)]


def _floats(xp, rows):
    return xp.astype(rows, xp.float64)


def order_mean(rows, lo: int, hi: int):
    """Average the order statistics lo..hi (zero-based, inclusive) of each coordinate.

    Parameters
    ----------
    rows : array (n, d)
        NaN counts as +Inf, so it is sorted last.
    lo, hi : int
        0 <= lo <= hi < n.

    Returns
    -------
    array (d,)
        Of the dtype of `rows`; accumulated in float64.

    Examples
    --------
    >>> order_mean(np.array([[3.0], [1.0], [9.0], [2.0]]), 1, 2)
    array([2.5])
    """
    xp = namespace(rows)
    if not 0 <= lo <= hi < rows.shape[0]:
        raise ValueError(f"order_mean needs 0 <= lo <= hi < n = {rows.shape[0]}, got {lo}, {hi}")
    infinity = xp.asarray(xp.inf, dtype=rows.dtype)
    parts = []
    for columns in _column_blocks(rows):
        block = rows[:, columns]
        block = xp.sort(xp.where(xp.isnan(block), infinity, block), axis=0)
        parts.append(xp.mean(_floats(xp, block[lo : hi + 1, :]), axis=0))
    return xp.astype(xp.concat(parts), rows.dtype)


def distances(rows):
    """Return the squared Euclidean distances between rows.

    Plain differences in float64, never a Gram identity: one huge row or a large common part
    leaves the other distances exact to rounding.

    Parameters
    ----------
    rows : array (n, d)

    Returns
    -------
    array (n, n), float64
        Zero diagonal. A row that holds NaN or Inf is infinitely far from every other row.

    Examples
    --------
    >>> distances(np.array([[0.0, 0.0], [3.0, 4.0], [np.nan, 0.0]]))
    array([[ 0., 25., inf],
           [25.,  0., inf],
           [inf, inf,  0.]])
    """
    xp = namespace(rows)
    n = rows.shape[0]
    clean = finite(rows)
    lines = []
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(n):
            line = xp.zeros(n, dtype=xp.float64)
            for columns in _column_blocks(rows):
                block = _floats(xp, rows[:, columns])
                line = line + xp.sum((block - block[i, :]) ** 2, axis=1)
            lines.append(xp.where(clean & clean[i], line, xp.asarray(xp.inf, dtype=xp.float64)))
    square = xp.stack(lines)
    return xp.where(xp.eye(n, dtype=xp.bool), xp.zeros_like(square), square)


def combine(weights, rows):
    """Return weights @ rows, in which a weight of zero removes a row whatever it holds.

    Parameters
    ----------
    weights : array (m, n), on the host
    rows : array (n, d)

    Returns
    -------
    array (m, d)
        Of the dtype of `rows`; accumulated in float64, row after row: no BLAS, whose last bits
        depend on the kind of processor.

    Examples
    --------
    >>> combine(np.array([[0.5, 0.5, 0.0]]), np.array([[1.0], [3.0], [np.nan]]))
    array([[2.]])
    """
    xp = namespace(rows)
    weights = np.asarray(weights, dtype=np.float64)
    results = []
    for line in weights:
        kept = np.flatnonzero(line)
        used = rows if kept.size == rows.shape[0] else take(rows, kept)
        factors = xp.asarray(line[kept])[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            parts = [
                xp.sum(factors * _floats(xp, used[:, columns]), axis=0)
                for columns in _column_blocks(rows)
            ]
            results.append(xp.astype(xp.concat(parts), rows.dtype))
    return xp.stack(results)


def equal_rows(rows, groups) -> np.ndarray:
    """Say which members of each group are the same bits.

    Parameters
    ----------
    rows : array (n, d)
    groups : integer array (m, r), on the host
        Indices into `rows`. Members with the same index are equal without a look.

    Returns
    -------
    numpy.ndarray (m, r) of int
        For each member the position in its group of the first member equal to it.

    Examples
    --------
    >>> equal_rows(np.array([[1.0], [1.0], [7.0]]), np.array([[0, 2, 1], [2, 2, 0]]))
    array([[0, 1, 0],
           [0, 0, 2]])
    """
    groups = np.asarray(groups)
    left, right = groups[:, :, None], groups[:, None, :]
    left, right = np.broadcast_arrays(np.minimum(left, right), np.maximum(left, right))
    same = left == right
    pairs, where = np.unique(
        np.stack([left[~same], right[~same]], axis=1), axis=0, return_inverse=True
    )
    equal = np.empty(len(pairs), dtype=bool)
    count = max(1, BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(pairs), count):
        some = pairs[start : start + count]
        match = bits(take(rows, some[:, 0])) == bits(take(rows, some[:, 1]))
        equal[start : start + count] = to_host(match.all(axis=1))
    same[~same] = equal[where.reshape(-1)]
    return same.argmax(axis=2)


def take(rows, indices):
    """Return the rows with the given indices, which lie on the host."""
    xp = namespace(rows)
    return xp.take(rows, xp.asarray(np.asarray(indices, dtype=np.int64)), axis=0)


def finite(rows):
    """Return a boolean array (n,): the rows without NaN or Inf."""
    xp = namespace(rows)
    return xp.all(xp.isfinite(rows), axis=1)
