"""The passes over an (n, d) array that every robust rule and attack is built from.

================  =======================================================================
order_mean        mean of order statistics of each coordinate, or of the values nearest it
distances         squared distances between rows, or of rows to points
combine           weighted sums of rows
mean              mean of the rows, and whether it is finite
moments           weighted mean and variance of each coordinate
equal_rows        which rows are the same bits
majority          the row that most copies are, in each of several groups
================  =======================================================================

The type of the array chooses the implementation: numba kernels for NumPy (`cpu`), generated CUDA
kernels for CuPy (`gpu`), chunk after chunk for Dask arrays (`chunked`), and the array API for
anything else (`reference`). Results are equal except the last bits of distances. None needs more
memory than its output and 64 MB (but rows that are not in C order are copied first).

Byzantine workers may send NaN or Inf. `order_mean` counts NaN as +Inf; in `distances` a row with
NaN or Inf is infinitely far from all others; in `combine` a weight of zero removes a row.
"""

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from detox_sim.arrays import is_matrix, kind, namespace, to_host
from detox_sim.primitives.reference import column_blocks
from detox_sim.primitives.threads import spread, threads, use_threads

__all__ = [
    "combine",
    "distances",
    "equal_rows",
    "finite",
    "majority",
    "map_columns",
    "mean",
    "moments",
    "order_mean",
    "remember_distances",
    "sign_sum",
    "take",
    "threads",
    "use_threads",
]

_MODULES = {"numpy": "cpu", "cupy": "gpu", "dask": "chunked", "other": "reference"}  # by `kind`
_remembered: ContextVar[list[tuple[Any, np.ndarray]] | None] = ContextVar("distances", default=None)


def _backend(rows):
    """Return the module that implements the primitives for this array."""
    return _module(_MODULES[kind(rows)])


@functools.cache
def _module(name: str):
    """Import a module of this package on first use; the import statement takes ten times longer."""
    return importlib.import_module(f"detox_sim.primitives.{name}")


def _check(name: str, rows) -> None:
    """Raise unless rows are (n, d) real floating-point numbers, which the kernels do not check."""
    if is_matrix(rows):
        return
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{name} needs rows of shape (n >= 1, d >= 1), got {tuple(rows.shape)}")
    if not namespace(rows).isdtype(rows.dtype, "real floating"):
        raise ValueError(f"{name} needs floating-point rows, got {rows.dtype}")


def _indices(name: str, rows, values, more=None, least: int = 0) -> np.ndarray:
    """Return indices of rows as int64, or raise for one that is no row's."""
    values = np.asarray(values)
    if values.dtype.kind not in "iu" and values.size:
        raise ValueError(f"{name} must be integers, got {values.dtype}")
    values = values.astype(np.int64, copy=False)
    n = rows.shape[0] + (0 if more is None else more.shape[0])
    if more is not None and (more.shape[1:], more.dtype) != (rows.shape[1:], rows.dtype):
        raise ValueError(
            f"more must have rows of {rows.shape[1]} values of {rows.dtype}, got {more.dtype} of "
            f"shape {tuple(more.shape)}"
        )
    if values.size and not (values.min() >= least and values.max() < n):
        allowed = f"indices below n = {n}" + ", or -1" * (least < 0)
        raise ValueError(f"{name} must be {allowed}, got {values.tolist()}")
    return values


def _groups(name: str, rows, values, more, least: int) -> np.ndarray:
    """Return the members (m, r) of groups as int64, or raise."""
    _check(name, rows)
    groups = _indices("groups", rows, values, more, least)
    if groups.ndim != 2 or not groups.shape[1]:
        raise ValueError(f"groups must have shape (m, r >= 1), got {groups.shape}")
    return groups


def order_mean(rows, lo: int, hi: int, *, nearest: int | None = None, chosen=None):
    """Average the order statistics lo..hi (zero-based, inclusive) of each coordinate.

    Parameters
    ----------
    rows : array (n, d)
        NaN counts as +Inf, so it is sorted last.
    lo, hi : int
        0 <= lo <= hi < n.
    nearest : int, optional
        Return the mean of the `nearest` values that are nearest to that average instead; of two
        equally near values the lower counts. Where the average is not finite, any may count.
    chosen : sequence of int, optional
        Use only these rows, without copying them; n is then their number.

    Returns
    -------
    array (d,)
        Of the dtype of `rows`; accumulated in float64, in sorted order. Never -0.0.

    Examples
    --------
    >>> rows = np.array([[3.0], [1.0], [9.0], [2.0]])
    >>> order_mean(rows, 1, 2), order_mean(rows, 1, 2, nearest=3)
    (array([2.5]), array([2.]))
    """
    _check("order_mean", rows)
    chosen = np.arange(rows.shape[0]) if chosen is None else _indices("chosen", rows, chosen)
    if chosen.ndim != 1:
        raise ValueError(f"chosen must be (n,) indices of rows, got shape {chosen.shape}")
    n = chosen.size
    if not 0 <= lo <= hi < n:
        raise ValueError(f"order_mean needs 0 <= lo <= hi < n = {n}, got {lo}, {hi}")
    whole = nearest is None or isinstance(nearest, int | np.integer)
    if not whole or (nearest is not None and not 1 <= nearest <= n):
        raise ValueError(f"order_mean needs an integer 1 <= nearest <= n = {n}, got {nearest}")
    return _backend(rows).order_mean(rows, lo, hi, nearest, chosen)


def distances(rows, points=None) -> np.ndarray:
    """Return squared Euclidean distances.

    Plain differences in float64, never a Gram identity: one huge row or a large common part
    leaves the other distances exact to rounding.

    Parameters
    ----------
    rows : array (n, d)
    points : array (m, d), optional
        Of the same library; default the rows themselves.

    Returns
    -------
    numpy.ndarray (n, m), float64
        A row that holds NaN or Inf is infinitely far from every other row and point. Between
        the rows themselves the diagonal is zero, but Inf for such a row.

    Examples
    --------
    >>> distances(np.array([[0.0, 0.0], [3.0, 4.0], [np.nan, 0.0]]))
    array([[ 0., 25., inf],
           [25.,  0., inf],
           [inf, inf, inf]])
    """
    _check("distances", rows)
    if points is not None:
        _check("distances (for points)", points)
        if points.shape[1] != rows.shape[1]:
            raise ValueError(
                f"distances needs points of shape (m, {rows.shape[1]}), got {tuple(points.shape)}"
            )
        return _completed(_backend(rows).cross_distances(rows, points), own=False)
    fixed = isinstance(rows, np.ndarray) and not rows.flags.writeable
    remembered = _remembered.get() if fixed else None
    for array, known in remembered or ():
        if array is rows:
            return known.copy()
    square = _completed(_backend(rows).distances(rows), own=True)
    if remembered is not None:
        remembered.append((rows, square.copy()))
    return square


def _completed(square: np.ndarray, own: bool) -> np.ndarray:
    """Return the distances with Inf where a row has NaN or Inf; between rows, both halves."""
    _module("cpu.pairwise").complete(square, own)
    return square


@contextlib.contextmanager
def remember_distances() -> Iterator[None]:
    """Measure the distances between the rows of one read-only NumPy array once in this context.

    The context keeps the arrays, and holds in this thread alone.

    Examples
    --------
    >>> rows = np.arange(6.0).reshape(3, 2)
    >>> rows.flags.writeable = False
    >>> with remember_distances():
    ...     (distances(rows) == distances(rows)).all()
    np.True_
    """
    token = _remembered.set([])
    try:
        yield
    finally:
        _remembered.reset(token)


def combine(weights, rows, *, dtype=None):
    """Return weights @ rows, where a weight of zero removes a row, also one with NaN or Inf.

    Parameters
    ----------
    weights : array (m, n), in CPU memory
    rows : array (n, d)
    dtype : optional
        Of the result; default that of `rows`.

    Returns
    -------
    array (m, d)
        Accumulated in float64, row after row: no BLAS, whose last bits depend on the kind of
        processor.

    Examples
    --------
    >>> combine(np.array([[0.5, 0.5, 0.0]]), np.array([[1.0], [3.0], [np.nan]]))
    array([[2.]])
    """
    _check("combine", rows)
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[1] != rows.shape[0]:
        raise ValueError(
            f"combine needs weights of shape (m, {rows.shape[0]}), got {weights.shape}"
        )
    return _backend(rows).combine(weights, rows, dtype)


def mean(rows) -> tuple[Any, bool]:
    """Return the mean (d,) of the rows, and whether all its values are finite.

    Examples
    --------
    >>> mean(np.array([[1.0], [3.0]]))
    (array([2.]), True)
    """
    _check("mean", rows)
    return _backend(rows).mean(rows)


def moments(weights: np.ndarray, rows):
    """Return the weighted mean (d,) and variance (d,) of each coordinate; a row may have weight 0.

    Parameters
    ----------
    weights : float64 array (n,), in CPU memory
        With sum 1; they divide by the count, not by the count less one.
    rows : array (n, d)

    Returns
    -------
    tuple of array (d,)
        Of the dtype of `rows`, accumulated in float64; squares are of the rows' dtype.

    Examples
    --------
    >>> moments(np.array([0.5, 0.5, 0.0]), np.array([[1.0], [3.0], [np.nan]]))
    (array([2.]), array([1.]))
    """
    _check("moments", rows)
    if weights.shape != rows.shape[:1]:
        raise ValueError(f"moments needs weights of shape ({rows.shape[0]},), got {weights.shape}")
    return _backend(rows).moments(weights, rows)


def equal_rows(rows, groups, more=None) -> np.ndarray:
    """Return for each member of a group the first member with the same bits.

    Parameters
    ----------
    rows : array (n, d)
    groups : integer array (m, r), in CPU memory
        Indices of rows. Members with the same index are not compared.
    more : array (k, d), optional
        Rows n, n + 1, ...

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
    groups = _groups("equal_rows", rows, groups, more, least=0)
    return _backend(rows).equal_rows(rows, groups, more)


def majority(rows, groups, more=None) -> tuple[np.ndarray, np.ndarray, Any]:
    """Elect in each group the row whose bits a strict majority of the members share.

    Parameters
    ----------
    rows : array (n, d)
    groups : integer array (m, r), in CPU memory
        Indices of rows; -1 for a member that did not arrive and does not count.
    more : array (k, d), optional
        Rows n, n + 1, ...

    Returns
    -------
    winner : numpy.ndarray of int (m,)
        The first position in the group with the most equal members.
    undecided : numpy.ndarray of bool (m,)
        Groups in which these are half of those that arrived or fewer; also those without any.
    elected : array (m, d)
        The winners' rows: a copy, or `rows` themselves where each elects its own.

    Examples
    --------
    >>> majority(np.array([[1.0], [1.0], [7.0]]), np.array([[2, 0, 1], [2, 0, -1]]))
    (array([1, 0]), array([False,  True]), array([[1.],
           [7.]]))
    """
    groups = _groups("majority", rows, groups, more, least=-1)
    return _backend(rows).majority(rows, groups, more)


def sign_sum(rows):
    """Return the number (d,) of positive minus that of negative values; NaN counts as neither.

    Examples
    --------
    >>> sign_sum(np.array([[1.0, -3.0], [2.0, np.nan], [-9.0, 0.0]]))
    array([ 1., -1.])
    """
    return _backend(rows).sign_sum(rows)


def take(rows, indices):
    """Return the rows with the given indices, which are in CPU memory."""
    return _backend(rows).take(rows, _indices("indices", rows, indices))


def finite(rows) -> np.ndarray:
    """Return a boolean NumPy array (n,): whether a row is without NaN or Inf."""
    xp = namespace(rows)
    blocks = [slice(None)] if kind(rows) == "dask" else column_blocks(rows)
    lines = [to_host(xp.all(xp.isfinite(rows[:, columns]), axis=1)) for columns in blocks]
    return np.all(lines, axis=0)


def map_columns(function: Callable[..., Any], rows):
    """Return the values (d,) of ``function(block (n, w)) -> (w,)`` on blocks of columns."""
    if kind(rows) == "dask":
        return _backend(rows).map_columns(function, rows)
    blocks = column_blocks(rows)
    run = spread if kind(rows) == "numpy" else map
    return namespace(rows).concat(list(run(lambda columns: function(rows[:, columns]), blocks)))
