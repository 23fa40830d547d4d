"""What Byzantine nodes send: ``attack(rows, forged, *, rng, **options) -> Messages``.

`rows` (files, d) are the true gradients and `forged` (files, copies) marks the copies that
Byzantine nodes hold. An unforged copy is never changed, and randomness comes only from `rng`.
Colluding nodes send the same bits, which is the strongest choice against a vote.
"""

import numpy as np
from scipy.stats import norm

from detox_sim.arrays import namespace
from detox_sim.catalogue import check_number
from detox_sim.messages import Messages
from detox_sim.primitives import combine, take

__all__ = ["none", "alie", "reverse", "constant", "gaussian", "sign_flip", "inner_product"]


def _one_row(rows, forged: np.ndarray, row) -> Messages:
    """Let every forged copy be the same row (d,)."""
    xp = namespace(rows)
    files = rows.shape[0]
    row_of = np.where(forged, files, np.arange(files)[:, None])
    return Messages(xp.concat([rows, xp.astype(row, rows.dtype)[None, :]]), row_of)


def _row_a_file(rows, forged: np.ndarray, replace) -> Messages:
    """Let the forged copies of a file be one row, ``replace(its true rows)``, for each file."""
    xp = namespace(rows)
    hit = np.flatnonzero(forged.any(axis=1))
    row_of = np.repeat(np.arange(rows.shape[0])[:, None], forged.shape[1], axis=1)
    row_of[hit] = np.where(forged[hit], rows.shape[0] + np.arange(hit.size)[:, None], row_of[hit])
    return Messages(xp.concat([rows, replace(take(rows, hit))]), row_of)


def _honest(forged: np.ndarray) -> np.ndarray:
    """Return weights (files,) of the gradients some honest node holds; of all if there is none."""
    held = ~forged.all(axis=1)
    held = held if held.any() else np.ones_like(held)
    return held / held.sum()


def none(rows, forged: np.ndarray, /, *, rng: np.random.Generator) -> Messages:
    """Send the true gradients: Byzantine nodes behave.

    Examples
    --------
    >>> none(np.ones((2, 1)), np.array([[True], [False]]), rng=None).row_of.tolist()
    [[0], [1]]
    """
    return Messages(rows, np.repeat(np.arange(rows.shape[0])[:, None], forged.shape[1], axis=1))


def alie(
    rows,
    forged: np.ndarray,
    /,
    *,
    rng: np.random.Generator,
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
    z : float or {"baruch", "baruch-n"}
        1.0 is the DETOX code's. The names are the two formulas in `alie_z`.
    spread : {"population", "sample"}
        Divide by the count, or by the count less one.
    over : {"honest", "all"}
        Statistics over the distinct gradients that some honest node holds, or over those of
        all nodes, Byzantine ones included and each counted once a copy (the DETOX code).
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
    else:
        z = alie_z(forged.size, int(forged.sum()), z)
    xp = namespace(rows)
    weights = _honest(forged) if over == "honest" else np.full(len(forged), 1 / len(forged))
    used = np.flatnonzero(weights)
    count = used.size * (forged.shape[1] if over == "all" else 1)
    centre = combine(weights[None, :], rows)
    moved = take(rows, used) - centre
    variance = combine(np.full((1, used.size), 1 / used.size), moved * moved)[0, :]
    if spread == "sample":
        variance = variance * (count / max(1, count - 1))
    return _one_row(rows, forged, centre[0, :] + sign * z * xp.sqrt(variance))


def alie_z(nodes: int, byzantine: int, formula: str = "baruch") -> float:
    """Return the z that hides behind a majority of honest nodes.

    Parameters
    ----------
    nodes, byzantine : int
        `alie` passes copies and forged copies: the same where a node holds one file.
    formula : {"baruch", "baruch-n"}
        With s = floor(nodes / 2) + 1 - byzantine supporters needed, the normal quantile of
        (nodes - byzantine - s) / (nodes - byzantine), or of (nodes - s) / nodes.

    Examples
    --------
    >>> round(alie_z(45, 5), 8), round(alie_z(50, 24, "baruch-n"), 8)
    (0.12566135, 1.75068607)
    """
    if not 0 <= byzantine < nodes:
        raise ValueError(f"alie_z needs 0 <= byzantine < nodes, got {byzantine} and {nodes}")
    supporters = nodes // 2 + 1 - byzantine
    if formula == "baruch":
        share = (nodes - byzantine - supporters) / (nodes - byzantine)
    elif formula == "baruch-n":
        share = (nodes - supporters) / nodes
    else:
        raise ValueError(f"alie's z is a number, 'baruch' or 'baruch-n', got {formula!r}")
    if not 0 < share < 1:
        raise ValueError(
            f"alie's formula {formula!r} has no z for {byzantine} Byzantine of {nodes} nodes; "
            "give z as a number"
        )
    return float(norm.ppf(share))


def reverse(
    rows, forged: np.ndarray, /, *, rng: np.random.Generator, scale: float = 100.0
) -> Messages:
    """Send -scale times the gradient the node should send.

    Examples
    --------
    >>> reverse(np.array([[1.0], [2.0]]), np.array([[False], [True]]), rng=None).rows[-1]
    array([-200.])

    References
    ----------
    The DETOX code, with scale 100.
    """
    check_number("scale", scale)
    return _row_a_file(rows, forged, lambda true: -scale * true)


def constant(
    rows, forged: np.ndarray, /, *, rng: np.random.Generator, value: float = -100.0
) -> Messages:
    """Send the same value in every coordinate; NaN and Inf are allowed.

    Examples
    --------
    >>> constant(np.array([[1.0], [2.0]]), np.array([[False], [True]]), rng=None).rows[-1]
    array([-100.])

    References
    ----------
    The DETOX code, with value -100.
    """
    check_number("value", value)
    xp = namespace(rows)
    return _one_row(rows, forged, xp.full(rows.shape[1], float(value), dtype=rows.dtype))


def gaussian(
    rows,
    forged: np.ndarray,
    /,
    *,
    rng: np.random.Generator,
    scale: float = 1.0,
    colluding: bool = True,
) -> Messages:
    """Send normal noise of mean 0 and deviation `scale` in place of the gradient.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
    rng : numpy.random.Generator
    scale : float
    colluding : bool
        One draw for all forged copies of the round, or one for each of them.

    Returns
    -------
    Messages

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> gaussian(np.ones((2, 3)), np.array([[False], [True]]), rng=rng).rows.shape
    (3, 3)

    References
    ----------
    Blanchard et al., Machine learning with adversaries, NeurIPS 2017.
    """
    check_number("scale", scale)
    if not isinstance(colluding, bool):
        raise ValueError(f"colluding is True or False, got {colluding!r}")
    xp = namespace(rows)
    count = 1 if colluding else int(forged.sum())
    noise = xp.astype(xp.asarray(scale * rng.standard_normal((count, rows.shape[1]))), rows.dtype)
    row_of = np.repeat(np.arange(rows.shape[0])[:, None], forged.shape[1], axis=1)
    row_of[forged] = rows.shape[0] + (0 if colluding else np.arange(count))
    return Messages(xp.concat([rows, noise]), row_of)


def sign_flip(rows, forged: np.ndarray, /, *, rng: np.random.Generator) -> Messages:
    """Send minus the mean of the honest gradients.

    Examples
    --------
    >>> sign_flip(np.array([[1.0], [3.0]]), np.array([[False], [True]]), rng=None).rows[-1]
    array([-1.])

    References
    ----------
    Li et al., RSA: Byzantine-robust stochastic aggregation methods, AAAI 2019.
    """
    return inner_product(rows, forged, rng=rng, factor=1.0)


def inner_product(
    rows, forged: np.ndarray, /, *, rng: np.random.Generator, factor: float
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
    return _one_row(rows, forged, -factor * combine(_honest(forged)[None, :], rows)[0, :])
