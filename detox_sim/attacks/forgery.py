"""How what attackers send becomes messages, and which files their statistics are taken over."""

from collections.abc import Callable

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.messages import Messages
from detox_sim.primitives import combine


def one_row(rows, forged: np.ndarray, row) -> Messages:
    """Let every forged copy be the same row (d,).

    Examples
    --------
    >>> one_row(np.ones((2, 1)), np.array([[True], [False]]), np.array([9.0])).row_of.tolist()
    [[2], [1]]
    """
    xp = namespace(rows)
    files = rows.shape[0]
    row_of = np.where(forged, files, np.arange(files)[:, None])
    return Messages(xp.concat([rows, xp.astype(row, rows.dtype)[None, :]]), row_of)


def row_a_file(rows, forged: np.ndarray, replace: Callable) -> Messages:
    """Let the forged copies of a file be one row, for each of the files (m,) that have any.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
    replace : callable
        files (m,) -> rows (m, d).

    Examples
    --------
    >>> rows, forged = np.ones((2, 1)), np.array([[False], [True]])
    >>> row_a_file(rows, forged, lambda hit: -rows[hit]).rows.tolist()
    [[1.0], [1.0], [-1.0]]
    """
    xp = namespace(rows)
    hit = np.flatnonzero(forged.any(axis=1))
    row_of = np.repeat(np.arange(rows.shape[0])[:, None], forged.shape[1], axis=1)
    row_of[hit] = np.where(forged[hit], rows.shape[0] + np.arange(hit.size)[:, None], row_of[hit])
    return Messages(xp.concat([rows, replace(hit)]), row_of)


def known_files(forged: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """Return as bool (files,) the files that the attackers know; all where there is no attacker.

    Raises
    ------
    ValueError
        When `known` is not bool (files,), or there are attackers and they know no file.

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


def known_honest(forged: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """Return as bool (files,) the known files that some honest node holds; all known if none is.

    Examples
    --------
    >>> forged = np.array([[True], [False], [False]])
    >>> known_honest(forged, np.array([True, True, False]))
    array([False,  True, False])
    """
    known = known_files(forged, known)
    held = known & ~forged.all(axis=1)
    return held if held.any() else known


def mean_of(rows, files: np.ndarray, *, dtype=None):
    """Return the mean (d,) of the rows of the given files, bool (files,)."""
    return combine((files / files.sum())[None, :], rows, dtype=dtype)[0, :]


def mean_and_variance(rows, files: np.ndarray):
    """Return mean and population variance (d,) of each coordinate over files, bool (files,).

    Examples
    --------
    >>> mean_and_variance(np.array([[1.0], [3.0], [9.0]]), np.array([True, True, False]))
    (array([2.]), array([1.]))
    """
    centre = mean_of(rows, files)
    with np.errstate(over="ignore", invalid="ignore"):
        moved = rows - centre[None, :]
        moved *= moved
        return centre, mean_of(moved, files)
