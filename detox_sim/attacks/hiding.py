"""Attacks that send a row within the distances that honest rows have from each other.

Distances are taken over the files that `statistical` counts, without rows that hold NaN or Inf.
"""

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.attacks.forgery import (
    known_files,
    known_honest_files,
    mean_and_variance,
    mean_of,
    one_row,
)
from detox_sim.catalogue import check_integer, check_known
from detox_sim.messages import Messages
from detox_sim.primitives import distances, take

TIE = 1e-9  # relative; projections nearer than this are equal but for rounding


def mimic(
    rows,
    forged: np.ndarray,
    /,
    *,
    rng: np.random.Generator,
    known: np.ndarray | None = None,
    target: int | None = None,
) -> Messages:
    """Send the honest gradient of one file, which then counts more than the others.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
    rng : numpy.random.Generator
        Not used.
    known : bool (files,), optional
        Supplied; default all files.
    target : int, optional
        The file to mimic, which the attackers must know. By default the known file with an honest
        copy whose gradient is farthest from their mean, to either side, along the direction in
        which these gradients vary most; of equally far ones the first. Files whose gradient holds
        NaN or Inf are left out.

    Returns
    -------
    Messages

    Raises
    ------
    ValueError
        When `target` is no file, or a file that the attackers do not know.

    Examples
    --------
    >>> rows = np.array([[0.0, 0.1], [1.0, 0.0], [2.0, 0.1], [9.0, 0.0], [5.0, 5.0]])
    >>> forged = np.array([[False], [False], [False], [False], [True]])
    >>> mimic(rows, forged, rng=None).rows[-1], mimic(rows, forged, rng=None, target=1).rows[-1]
    (array([9., 0.]), array([1., 0.]))

    References
    ----------
    Karimireddy, He, Jaggi, Byzantine-robust learning on heterogeneous datasets via bucketing,
    ICLR 2022. There the direction is estimated over the first steps, and the worker chosen then is
    mimicked in all later ones; here the file is chosen anew in each round, from the exact
    direction, unless `target` fixes it.
    """
    if target is None:
        files, square = _distances(rows, known_honest_files(forged, known))
        target = int(files[_farthest(square)])
    else:
        check_integer("target", target, 0)
        choices = np.flatnonzero(known_files(forged, known))
        if target not in choices:
            raise ValueError(
                f"mimic needs a target that the attackers know: one of {choices.tolist()}, got "
                f"{target}; or target=None"
            )
    return one_row(rows, forged, take(rows, [target])[0, :])


def _distances(rows, files: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return which of the files (m,) have a finite gradient, or all, and their distances (m, m)."""
    some = np.flatnonzero(files)
    square = distances(take(rows, some))
    kept = np.flatnonzero(np.isfinite(np.diag(square)))
    kept = kept if kept.size else np.arange(some.size)
    return some[kept], square[np.ix_(kept, kept)]


def _farthest(square: np.ndarray) -> int:
    """Return the point farthest from the mean along the first principal axis, from distances."""
    scale = float(square.max())
    if not 0 < scale < np.inf:
        return 0
    gram = -square / (2 * scale)
    gram = gram - gram.mean(axis=0)
    gram = gram - gram.mean(axis=1)[:, None]
    along = np.abs(np.linalg.eigh(gram)[1][:, -1])
    return int(np.flatnonzero(along >= along.max() * (1 - TIE))[0])


def min_max(
    rows,
    forged: np.ndarray,
    /,
    *,
    rng: np.random.Generator,
    known: np.ndarray | None = None,
    direction: str = "deviation",
) -> Messages:
    """Send mean + gamma * direction, as near to each honest row as the farthest two of these are.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
    rng : numpy.random.Generator
        Not used.
    known : bool (files,), optional
        Supplied; default all files.
    direction : {"deviation", "unit", "sign"}
        Minus the deviation of each coordinate, minus the mean, or minus its sign.

    Returns
    -------
    Messages
        With the largest gamma, exact up to rounding in the type of the rows; 0 where all honest
        rows are equal. Rows with NaN or Inf are left out.

    Examples
    --------
    >>> rows, forged = np.array([[2.0], [3.0], [7.0], [9.0]]), np.array([[0], [0], [0], [1]]) == 1
    >>> min_max(rows, forged, rng=None).rows[-1].round(6)
    array([2.])

    References
    ----------
    Shejwalkar, Houmansadr, Manipulating the Byzantine, NDSS 2021. Gamma solves quadratics, where
    the authors halve steps that start at 10, and so stay below 20.
    """
    return _agnostic(rows, forged, known, direction, sums=False)


def min_sum(
    rows,
    forged: np.ndarray,
    /,
    *,
    rng: np.random.Generator,
    known: np.ndarray | None = None,
    direction: str = "deviation",
) -> Messages:
    """Send mean + gamma * direction, with no larger sum of distances than some honest row has.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
    rng : numpy.random.Generator
        Not used.
    known : bool (files,), optional
        Supplied; default all files.
    direction : {"deviation", "unit", "sign"}
        As in `min_max`.

    Returns
    -------
    Messages
        As in `min_max`, for the sum of squared distances: at most the largest of an honest row.

    Examples
    --------
    >>> rows, forged = np.array([[2.0], [3.0], [7.0], [9.0]]), np.array([[0], [0], [0], [1]]) == 1
    >>> min_sum(rows, forged, rng=None).rows[-1].round(6)
    array([1.])

    References
    ----------
    Shejwalkar, Houmansadr, Manipulating the Byzantine, NDSS 2021, solved as in `min_max`. The
    authors' code allows only the smallest sum of an honest row.
    """
    return _agnostic(rows, forged, known, direction, sums=True)


def _agnostic(
    rows, forged: np.ndarray, known: np.ndarray | None, direction: str, *, sums: bool
) -> Messages:
    """Send the row farthest along a direction whose distances, or their sum, are within a limit."""
    check_known("direction", [direction], ["deviation", "unit", "sign"])
    xp = namespace(rows)
    some, square = _distances(rows, known_honest_files(forged, known))
    mean, step = _line(rows, np.isin(np.arange(len(forged)), some), direction)
    diameter = float(square.max())
    with np.errstate(over="ignore", invalid="ignore"):
        length = float(xp.sum(step * step)) ** 0.5
    if not (0 < diameter < np.inf and 0 < length < np.inf):
        return one_row(rows, forged, mean)
    step = step * (diameter**0.5 / length)
    here, ahead = distances(take(rows, some), xp.stack([mean, mean + step])).T
    slope = (ahead - here - diameter) / 2
    if sums:
        total = float(square.sum(axis=1).max())
        gamma = _largest(len(some) * diameter, slope.sum(), here.sum(), total)
    else:
        gamma = _largest(diameter, slope, here, diameter)
    return one_row(rows, forged, mean + float(np.min(gamma)) * step)


def _line(rows, files: np.ndarray, direction: str):
    """Return the mean (d,) of the files and a direction (d,), in float64."""
    xp = namespace(rows)
    mean = mean_of(rows, files, dtype=xp.float64)
    if direction == "deviation":
        return mean, -xp.sqrt(xp.astype(mean_and_variance(rows, files)[1], xp.float64))
    with np.errstate(invalid="ignore"):
        return mean, -mean if direction == "unit" else -xp.sign(mean)


def _largest(a, b, c, limit):
    """Return the largest x with a x^2 + 2 b x + c <= limit, for c <= limit but for rounding."""
    return (np.sqrt(b * b + a * np.maximum(limit - c, 0.0)) - b) / a
