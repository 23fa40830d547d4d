"""Gradient coding: the sum of all gradients, whichever s workers are late."""

import numpy as np

from detox_sim.catalogue import check_integer, check_known
from detox_sim.streams import stream

EXACT = 1e-6  # greatest error of a sum of weights that counts as rounding
KINDS = ("cyclic", "repetition")
DRAWS = 100


def gradient_code(
    workers: int,
    stragglers: int,
    *,
    kind: str = "cyclic",
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Return the coefficients by which each worker combines the gradients it computed.

    Parameters
    ----------
    workers, stragglers : int
        n and s < n; there are n files, and each worker computes s + 1 of them.
    kind : {"cyclic", "repetition"}
        Worker i computes the files i, ..., i + s (mod n); or s + 1 consecutive workers compute
        the same s + 1 files, for which s + 1 must divide n.
    rng : numpy.random.Generator, optional
        Draws the cyclic code; default ``stream(0, "gradient code")``.

    Returns
    -------
    numpy.ndarray of float64 (workers, files)
        Any n - s rows have a combination of all ones, see `decode_weights`.

    Raises
    ------
    ValueError
        For an unknown kind, impossible (n, s), or s + 1 that does not divide n.

    Examples
    --------
    >>> gradient_code(4, 1, kind="repetition").astype(int).tolist()
    [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    >>> (gradient_code(3, 1) != 0).astype(int).tolist()
    [[1, 1, 0], [0, 1, 1], [1, 0, 1]]

    Notes
    -----
    The cyclic code is the one with the least coefficients of 100 draws. A single draw can be so
    ill-conditioned that rounded messages lose most of their digits.

    References
    ----------
    Tandon, Lei, Dimakis, Karampatziakis, Gradient coding, ICML 2017: fractional repetition
    (workers in another order), and algorithm 2, whose random matrix is drawn once.
    """
    check_known("kind of gradient code", [kind], KINDS)
    check_integer("workers", workers, 1)
    check_integer("stragglers", stragglers, 0)
    if stragglers >= workers:
        raise ValueError(
            f"stragglers must be below the {workers} workers, got {stragglers}; "
            f"use at most {workers - 1}"
        )
    if kind == "repetition":
        return _repetition(workers, stragglers)
    rng = rng or stream(0, "gradient code")
    codes = [_cyclic(workers, stragglers, rng) for _ in range(DRAWS)]
    return min(codes, key=lambda code: np.abs(code).max())


def _repetition(workers: int, stragglers: int) -> np.ndarray:
    size = stragglers + 1
    if workers % size:
        works = [str(s) for s in range(workers) if workers % (s + 1) == 0]
        raise ValueError(
            f"kind 'repetition' needs stragglers + 1 = {size} to divide the {workers} workers; "
            f"use stragglers = {', '.join(works)}, or kind='cyclic'"
        )
    return np.kron(np.eye(workers // size), np.ones((size, size)))


def _cyclic(workers: int, stragglers: int, rng: np.random.Generator) -> np.ndarray:
    """Return a code whose rows are orthogonal to s random vectors with entries that sum to zero."""
    random = rng.standard_normal((stragglers, workers))
    random[:, -1] = -random[:, :-1].sum(axis=1)
    code = np.zeros((workers, workers))
    for i in range(workers):
        first, *others = np.arange(i, i + stragglers + 1) % workers
        code[i, first] = 1.0
        code[i, others] = -np.linalg.solve(random[:, others], random[:, first])
    return code


def decode_weights(code: np.ndarray, late: np.ndarray) -> np.ndarray:
    """Return the weights by which the messages that arrived add up to the sum of all gradients.

    Parameters
    ----------
    code : numpy.ndarray (workers, files)
        As `gradient_code` makes it.
    late : numpy.ndarray of bool (workers,)

    Returns
    -------
    numpy.ndarray (workers,)
        Zero for late workers; ``weights @ code`` is all ones, up to rounding. The shortest such
        weights. They do not depend on the messages: a forged one enters the sum unnoticed.

    Raises
    ------
    ValueError
        When the messages that arrived do not determine the sum.

    Examples
    --------
    >>> code = gradient_code(4, 1, kind="repetition")
    >>> decode_weights(code, np.array([True, False, False, False])).round(12)
    array([0. , 1. , 0.5, 0.5])

    References
    ----------
    Tandon, Lei, Dimakis, Karampatziakis, Gradient coding, ICML 2017, section 2.
    """
    code, late = np.asarray(code), np.asarray(late, dtype=bool)
    workers, files = code.shape
    if late.shape != (workers,):
        raise ValueError(f"late needs one entry for each of {workers} workers, got {late.shape}")
    weights = np.zeros(workers)
    weights[~late] = np.linalg.lstsq(code[~late].T, np.ones(files), rcond=None)[0]
    error = np.abs(weights @ code - 1).max()
    if error > EXACT:
        raise ValueError(
            f"{late.sum()} of {workers} workers are late, and no weights of the others give the "
            f"sum (error {error:.1g}): the code withstands any {np.count_nonzero(code[0]) - 1}"
        )
    return weights
