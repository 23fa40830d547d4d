"""Attacks built from the mean and the deviation of the honest gradients that attackers know.

Statistics are taken over the known files with an honest copy, and over all known files where
there is no such file.
"""

import numpy as np
from scipy.special import ndtri

from detox_sim.arrays import namespace
from detox_sim.attacks.forgery import (
    known_files,
    known_honest_files,
    mean_and_variance,
    mean_of,
    one_row,
)
from detox_sim.catalogue import check_number
from detox_sim.messages import Messages


def alie(
    rows,
    forged: np.ndarray,
    /,
    *,
    rng: np.random.Generator,
    known: np.ndarray | None = None,
    z: float | str = 1.0,
    spread: str = "population",
    over: str = "honest",
    sign: int = 1,
) -> Messages:
    """Send mean + sign * z * deviation of each coordinate: a little is enough.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
    rng : numpy.random.Generator
        Not used.
    known : bool (files,), optional
        Supplied; default all files.
    z : float or {"baruch", "baruch-n"}
        1.0 is the DETOX code's. The names are the two formulas in `alie_z`.
    spread : {"population", "sample"}
        Divide by the count, or by the count less one.
    over : {"honest", "all"}
        Statistics over the gradients of files with an honest copy, each counted once, or over
        those of all known files, each counted once a copy (the DETOX code).
    sign : {1, -1}

    Returns
    -------
    Messages

    Raises
    ------
    ValueError
        For unknown values of the options.

    Examples
    --------
    >>> rows = np.array([[1.0], [2.0], [3.0], [4.0], [10.0]])
    >>> forged = np.array([[True], [False], [False], [False], [False]])
    >>> alie(rows, forged, rng=None, over="all").rows[-1].round(6)
    array([7.162278])

    References
    ----------
    Baruch, Baruch, Goldberg, A little is enough, NeurIPS 2019.
    """
    if (
        over not in ("honest", "all")
        or spread not in ("population", "sample")
        or sign not in (1, -1)
    ):
        raise ValueError(
            "alie needs over='honest' or 'all', spread='population' or 'sample', sign=1 or -1; "
            f"got {over!r}, {spread!r}, {sign!r}"
        )
    if not isinstance(z, str):
        check_number("z", z)
        if not np.isfinite(z):
            raise ValueError(f"z must be finite, got {z!r}; attack 'not_finite' sends NaN and Inf")
    else:
        z = alie_z(forged.size, int(forged.sum()), z)
    files = known_honest_files(forged, known) if over == "honest" else known_files(forged, known)
    count = int(files.sum()) * (forged.shape[1] if over == "all" else 1)
    centre, variance = mean_and_variance(rows, files)
    if spread == "sample":
        variance = variance * (count / max(1, count - 1))
    with np.errstate(over="ignore", invalid="ignore"):
        return one_row(rows, forged, centre + sign * z * namespace(rows).sqrt(variance))


def alie_z(workers: int, byzantine: int, formula: str = "baruch") -> float:
    """Return the largest z at which enough honest workers are farther out to make a majority.

    Parameters
    ----------
    workers, byzantine : int
        `alie` passes copies and forged copies: the same where a worker computes one file.
    formula : {"baruch", "baruch-n"}
        With s = floor(workers / 2) + 1 - byzantine, the honest workers needed for a majority, the
        normal quantile of (workers - byzantine - s) / (workers - byzantine), or of
        (workers - s) / workers.

    Examples
    --------
    >>> round(alie_z(45, 5), 8), round(alie_z(50, 24, "baruch-n"), 8)
    (0.12566135, 1.75068607)
    """
    if not 0 <= byzantine < workers:
        raise ValueError(f"alie_z needs 0 <= byzantine < workers, got {byzantine} and {workers}")
    supporters = workers // 2 + 1 - byzantine
    if formula == "baruch":
        share = (workers - byzantine - supporters) / (workers - byzantine)
    elif formula == "baruch-n":
        share = (workers - supporters) / workers
    else:
        raise ValueError(f"alie's z is a number, 'baruch' or 'baruch-n', got {formula!r}")
    if not 0 < share < 1:
        raise ValueError(
            f"alie's formula {formula!r} has no z for {byzantine} Byzantine of {workers} workers; "
            "give z as a number"
        )
    return float(ndtri(share))


def sign_flip(
    rows, forged: np.ndarray, /, *, rng: np.random.Generator, known: np.ndarray | None = None
) -> Messages:
    """Send minus the mean of the honest gradients.

    Examples
    --------
    >>> sign_flip(np.array([[1.0], [3.0]]), np.array([[False], [True]]), rng=None).rows[-1]
    array([-1.])

    References
    ----------
    Li et al., RSA: Byzantine-robust stochastic aggregation methods, AAAI 2019.
    """
    return inner_product(rows, forged, rng=rng, known=known, factor=1.0)


def inner_product(
    rows,
    forged: np.ndarray,
    /,
    *,
    rng: np.random.Generator,
    known: np.ndarray | None = None,
    factor: float,
) -> Messages:
    """Send -factor times the mean of the honest gradients.

    Examples
    --------
    >>> forged = np.array([[False], [True]])
    >>> inner_product(np.array([[1.0], [3.0]]), forged, rng=None, factor=10).rows[-1]
    array([-10.])

    References
    ----------
    Xie, Koyejo, Gupta, Fall of empires, UAI 2019. The factor differs between authors (1, 2,
    10, 100), so it has no default.
    """
    check_number("factor", factor)
    with np.errstate(over="ignore", invalid="ignore"):
        return one_row(rows, forged, -factor * mean_of(rows, known_honest_files(forged, known)))
