"""Build messages from forged rows, and choose the files that attackers take statistics over."""

from collections.abc import Callable

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.messages import Messages
from detox_sim.primitives import combine, moments


def one_row(rows, forged: np.ndarray, row) -> Messages:
    """Return messages in which every forged copy is the same row (d,).

    Examples
    --------
    >>> one_row(np.ones((2, 1)), np.array([[True], [False]]), np.array([9.0])).row_of.tolist()
    [[2], [1]]
    """
    xp = namespace(rows)
    files = rows.shape[0]
    row_of = np.where(forged, files, np.arange(files)[:, None])
    return Messages(rows, row_of, more=xp.astype(row, rows.dtype)[None, :])


def row_per_file(rows, forged: np.ndarray, replace: Callable) -> Messages:
    """Return messages in which all forged copies of a file are one row, another for each file.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
    replace : callable
        files (m,) -> rows (m, d); called once with the files that have a forged copy.

    Examples
    --------
    >>> rows, forged = np.ones((2, 1)), np.array([[False], [True]])
    >>> row_per_file(rows, forged, lambda files: -rows[files]).rows.tolist()
    [[1.0], [1.0], [-1.0]]
    """
    changed = np.flatnonzero(forged.any(axis=1))
    row_of = np.repeat(np.arange(rows.shape[0])[:, None], forged.shape[1], axis=1)
    own_row = rows.shape[0] + np.arange(changed.size)[:, None]
    row_of[changed] = np.where(forged[changed], own_row, row_of[changed])
    return Messages(rows, row_of, more=namespace(rows).astype(replace(changed), rows.dtype))


def known_files(forged: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """Return as bool (files,) the files that attackers know; all files if no copy is forged.

    Raises
    ------
    ValueError
        When `known` is not bool (files,), or a copy is forged and no file is known.

    Examples
    --------
    >>> known_files(np.array([[True], [False]]), None)
    array([ True,  True])
    """
    files = len(forged)
    if known is None or not forged.any():
        return np.ones(files, dtype=bool)
    if not isinstance(known, np.ndarray) or known.dtype.kind != "b" or known.shape != (files,):
        raise ValueError(f"known must be bool of shape (files,) = ({files},), got {known!r}")
    if not known.any():
        raise ValueError(
            "this attack needs attackers who know the gradient of one file or more, and these know "
            "none; use known=None, or the attack 'constant'"
        )
    return known


def known_honest_files(forged: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """Return as bool (files,) the known files with an honest copy, or all known if there is none.

    Examples
    --------
    >>> forged = np.array([[True], [False], [False]])
    >>> known_honest_files(forged, np.array([True, True, False]))
    array([False,  True, False])
    """
    known = known_files(forged, known)
    honest = known & ~forged.all(axis=1)
    return honest if honest.any() else known


def mean_of(rows, files: np.ndarray, *, dtype=None):
    """Return the mean (d,) of the rows of the given files, bool (files,)."""
    return combine((files / files.sum())[None, :], rows, dtype=dtype)[0, :]


def mean_and_variance(rows, files: np.ndarray):
    """Return the mean and the population variance (d,) of each coordinate over bool (files,).

    Examples
    --------
    >>> mean_and_variance(np.array([[1.0], [3.0], [9.0]]), np.array([True, True, False]))
    (array([2.]), array([1.]))
    """
    return moments(files / files.sum(), rows)
