"""Weighted means of rows, and what their weights (n,) are computed from."""

import numpy as np

from detox_sim import primitives
from detox_sim.arrays import is_array, namespace
from detox_sim.primitives import combine, distances, finite


def shares(values: np.ndarray) -> np.ndarray:
    """Return weights in these proportions that sum to 1."""
    return values / values.sum()


def average(rows, indices):
    """Return the plain mean of the chosen rows, each named once."""
    weights = np.zeros(rows.shape[0])
    weights[indices] = 1 / len(indices)
    return weighted(rows, weights)


def weighted(rows, weights: np.ndarray):
    """Return the combination (d,) of the rows with these weights (n,)."""
    return combine(weights[None, :], rows)[0, :]


def average_of_finite(rows, byzantine: int):
    """Return the mean, without rows that hold NaN or Inf if at most `byzantine` do.

    One pass if all rows are finite: a value that is not shows in the result.
    """
    result, is_finite = primitives.mean(rows)
    if is_finite:
        return result
    whole = np.flatnonzero(finite(rows))
    return average(rows, whole) if rows.shape[0] - whole.size <= byzantine else result


def norms(rows) -> np.ndarray:
    """Return the Euclidean lengths (n,) of the rows, Inf for a row with NaN or Inf."""
    xp = namespace(rows)
    return np.sqrt(distances(rows, xp.zeros((1, rows.shape[1]), dtype=rows.dtype))[:, 0])


def last_aggregate(rule: str, rows, previous):
    """Return a copy (d,) of the last aggregate in the type of the rows; zeros if it has NaN or Inf.

    Raises
    ------
    ValueError
        When it is no array of the rows' length.
    """
    xp, d = namespace(rows), rows.shape[1]
    if not is_array(previous) or previous.shape != (d,):
        raise ValueError(
            f"{rule} needs previous, the last aggregate ({d},), here; "
            f"got {type(previous).__name__} of shape {getattr(previous, 'shape', None)}"
        )
    if bool(xp.all(xp.isfinite(previous))):
        return xp.astype(previous, rows.dtype, copy=True)
    return xp.zeros_like(rows[0, :])


def near_most(square: np.ndarray, byzantine: int) -> tuple[np.ndarray, int]:
    """Return the indices of rows not infinitely far from most, and how many may be Byzantine.

    Parameters
    ----------
    square : numpy.ndarray (n, n)
        A row with NaN or Inf, or one too far for float64, has Inf for most others.
    byzantine : int
        If more rows are that far, all rows are returned.
    """
    if square.max() < np.inf:
        return np.arange(len(square)), byzantine
    kept = np.flatnonzero(2 * np.isinf(square).sum(axis=1) <= len(square))
    far = len(square) - kept.size
    if far > byzantine:
        return np.arange(len(square)), byzantine
    return kept, byzantine - far


def has_far_row(distance: np.ndarray, times: float) -> bool:
    """Return whether some row is so many times as far away as most rows are from each other.

    The sum of the distances of each row then rounds away what tells most rows apart: beside 1e14
    times their distance about a hundredth of it.

    Examples
    --------
    >>> points = np.array([0.0, 1.0, 2.0, 1e20])
    >>> has_far_row(abs(points[:, None] - points), 1e14)
    True
    """
    typical = np.sort(distance, axis=1)[:, len(distance) // 2].min()
    most = distance.max()
    if most == np.inf:
        most = distance.max(where=np.isfinite(distance), initial=-np.inf)
    return bool(most > times * typical)


def centred_gram(square: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the inner products (n, n) of rows minus their weighted mean, from their distances.

    Parameters
    ----------
    square : numpy.ndarray (n, n)
        Squared distances, finite.
    weights : numpy.ndarray (n,)
        With sum 1.

    Examples
    --------
    >>> centred_gram(np.array([[0.0, 4.0], [4.0, 0.0]]), np.array([0.5, 0.5]))
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    far = (square * weights).sum(axis=1)
    return (far[:, None] + far[None, :] - square - (weights * far).sum()) / 2
