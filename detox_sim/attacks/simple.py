"""Attacks that use no other file's gradient: the own gradient of a copy, a value, or noise."""

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.attacks.forgery import one_row, row_per_file
from detox_sim.catalogue import check_known, check_number
from detox_sim.messages import Messages
from detox_sim.primitives import take

NOT_FINITE = {"nan": np.nan, "inf": np.inf, "-inf": -np.inf}


def none(rows, forged: np.ndarray, /, *, rng: np.random.Generator) -> Messages:
    """Send the honest gradients: Byzantine workers do not deviate.

    Examples
    --------
    >>> none(np.ones((2, 1)), np.array([[True], [False]]), rng=None).row_of.tolist()
    [[0], [1]]
    """
    return Messages(rows, np.repeat(np.arange(rows.shape[0])[:, None], forged.shape[1], axis=1))


def reverse(
    rows, forged: np.ndarray, /, *, rng: np.random.Generator, scale: float = 100.0
) -> Messages:
    """Send -scale times the gradient that the worker should send.

    Examples
    --------
    >>> reverse(np.array([[1.0], [2.0]]), np.array([[False], [True]]), rng=None).rows[-1]
    array([-200.])

    References
    ----------
    The DETOX code, with scale 100.
    """
    check_number("scale", scale)
    with np.errstate(over="ignore", invalid="ignore"):
        return row_per_file(rows, forged, lambda files: -scale * take(rows, files))


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
    return one_row(rows, forged, xp.full(rows.shape[1], float(value), dtype=rows.dtype))


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
    return Messages(rows, row_of, more=noise)


def not_finite(
    rows, forged: np.ndarray, /, *, rng: np.random.Generator, kind: str = "nan"
) -> Messages:
    """Send NaN, Inf or both in every coordinate, as broken workers do.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
    rng : numpy.random.Generator
        Used by "mixed".
    kind : {"nan", "inf", "-inf", "mixed"}
        "mixed" draws each coordinate from the other three, once for all forged copies.

    Returns
    -------
    Messages

    Examples
    --------
    >>> rows, forged = np.ones((2, 3)), np.array([[False], [True]])
    >>> not_finite(rows, forged, rng=None, kind="-inf").rows[-1]
    array([-inf, -inf, -inf])
    """
    check_known("kind of not_finite", [kind], [*NOT_FINITE, "mixed"])
    xp, d = namespace(rows), rows.shape[1]
    if kind == "mixed":
        values = np.array([*NOT_FINITE.values()])[rng.integers(len(NOT_FINITE), size=d)]
    else:
        values = np.full(d, NOT_FINITE[kind])
    return one_row(rows, forged, xp.asarray(values))


def label_flip(
    rows, forged: np.ndarray, /, *, rng: np.random.Generator, relabelled=None
) -> Messages:
    """Send the gradient of the worker's own file with its labels flipped: poisoned data.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
    rng : numpy.random.Generator
        Not used.
    relabelled : array (files, d)
        The gradient of each file where label l counts as classes - 1 - l. It is supplied: an
        attack sees gradients, not labels.

    Returns
    -------
    Messages

    Raises
    ------
    ValueError
        Without `relabelled`, or if its shape is not that of `rows`.

    Examples
    --------
    >>> rows, forged = np.array([[1.0], [2.0]]), np.array([[False], [True]])
    >>> label_flip(rows, forged, rng=None, relabelled=np.array([[7.0], [8.0]])).rows[-1]
    array([8.])

    References
    ----------
    Tolpegin et al., Data poisoning attacks against federated learning systems, ESORICS 2020,
    where the labels of one class are changed; here all are, as in Allouah et al., Fixing by
    mixing, AISTATS 2023.
    """
    if relabelled is None or relabelled.shape != rows.shape:
        raise ValueError(
            f"label_flip needs relabelled of shape (files, d) = {tuple(rows.shape)}: the gradients "
            f"with flipped labels, got {None if relabelled is None else tuple(relabelled.shape)}; "
            "training supplies them, and 'reverse' needs none"
        )
    return row_per_file(rows, forged, lambda files: take(relabelled, files))
