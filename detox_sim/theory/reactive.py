"""Exact laws of checks that ask for copies only where values differ (`voting.reactive`)."""

from fractions import Fraction
from math import comb

import numpy as np

from detox_sim.catalogue import check_integer, check_number


def unchecked_files(holders: np.ndarray, byzantine: int) -> int:
    """Return the most files whose first worker is Byzantine, at any step where all copies arrive.

    Parameters
    ----------
    holders : int (files, copies)
        Columns are the order in which workers are asked.
    byzantine : int

    Returns
    -------
    int

    Notes
    -----
    A file is taken from the first of its workers that is not excluded. If that one is Byzantine,
    the worker in column 0 is it, or was excluded and so is Byzantine too. Hence such files number
    at most those of the Byzantine workers in column 0, and the largest sum of `byzantine` counts
    bounds them.

    Examples
    --------
    >>> unchecked_files(np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]]), 1)
    1
    """
    first = np.bincount(holders[:, 0], minlength=int(holders.max()) + 1)
    return int(np.sort(first)[::-1][:byzantine].sum())


def expected_gradients(
    byzantine: int, chance: float, disagreement: float = 0.0, local: bool = False
) -> float:
    """Return the expected gradients computed for a file at a step, the server's included.

    1 + chance f (1 + disagreement); with `local` 1 + chance (f + disagreement).

    Parameters
    ----------
    byzantine : int
        f: the Byzantine workers that are not excluded yet.
    chance : float
        That a step is checked.
    disagreement : float
        Chance that the copies of a file differ in a check.
    local : bool
        The server computes the file itself where copies differ.

    Examples
    --------
    >>> expected_gradients(5, 0.1), expected_gradients(5, 0.1, 1.0), expected_gradients(5, 1.0)
    (1.5, 2.0, 6.0)
    """
    _check(byzantine, chance=chance, disagreement=disagreement)
    more = disagreement if local else byzantine * disagreement
    return 1 + chance * (byzantine + more)


def expected_efficiency(byzantine: int, chance: float, disagreement: float = 0.0) -> float:
    """Return the expected share of the computed gradients that is used, one a file.

    The mean of the ratio, which differs from one over `expected_gradients`.

    Examples
    --------
    >>> round(expected_efficiency(5, 0.1), 4), round(expected_efficiency(5, 0.1, 1.0), 4)
    (0.9167, 0.9091)
    """
    _check(byzantine, chance=chance, disagreement=disagreement)
    checked = (1 - disagreement) / (byzantine + 1) + disagreement / (2 * byzantine + 1)
    return 1 - chance + chance * checked


def expected_accepted(byzantine: int, chance: float) -> float:
    """Return the expected forged values of first copies that are taken in a run without end.

    f (1 / chance - 1), whatever the rate at which Byzantine workers forge: a worker that forges is
    exposed at the first checked step at which it does, and each of its forged values meets a check
    with the same chance.

    Parameters
    ----------
    byzantine : int
        f workers, each the first for one file.
    chance : float
        0 < chance.

    Examples
    --------
    >>> expected_accepted(5, 0.1), expected_accepted(5, 1.0)
    (45.0, 0.0)
    """
    _check(byzantine, chance=chance)
    if not byzantine:
        return 0.0
    return byzantine * (1 / chance - 1) if chance else np.inf


def expected_steps_to_last_exclusion(byzantine: int, chance: float, rate: float = 1.0) -> float:
    """Return the expected steps until all Byzantine workers are exposed.

    (1 / chance) E[max of f geometric numbers of chance `rate`]: in a checked step every worker
    that forges is exposed.

    Parameters
    ----------
    byzantine : int
        f workers, each the first for one file.
    chance : float
        That a step is checked.
    rate : float
        Chance that a Byzantine worker forges at a step, independently.

    Examples
    --------
    >>> round(expected_steps_to_last_exclusion(5, 0.1, 0.1), 1)
    221.7
    """
    _check(byzantine, chance=chance, rate=rate)
    if not byzantine:
        return 0.0
    if not chance * rate:
        return np.inf
    scale, none = 1 << (byzantine + 64), 1 - Fraction(rate)  # exact: the terms alternate
    total = 0
    for j in range(1, byzantine + 1):
        mean = 1 / (1 - none**j)  # steps until the first of j workers forges
        total += (-1) ** (j + 1) * comb(byzantine, j) * (mean.numerator * scale // mean.denominator)
    return float(Fraction(total, scale) / Fraction(chance))


def unexposed_law(byzantine: int, chance: float, rate: float, steps: int) -> np.ndarray:
    """Return how likely it is that k Byzantine workers are not excluded yet, step by step.

    Parameters
    ----------
    byzantine : int
        f workers, each the first for one file.
    chance : float
        That a step is checked.
    rate : float
        Chance that a Byzantine worker forges at a step, independently.
    steps : int

    Returns
    -------
    float (steps + 1, byzantine + 1)
        Row t is the law of k after t steps; row 0 has k = f.

    Notes
    -----
    In a checked step each of the k workers is exposed with chance `rate`, independently, since
    each that forges is exposed; in another step none is. So k is a Markov chain.

    Examples
    --------
    >>> unexposed_law(1, chance=0.5, rate=1.0, steps=2).tolist()
    [[0.0, 1.0], [0.5, 0.5], [0.75, 0.25]]
    """
    _check(byzantine, chance=chance, rate=rate)
    check_integer("steps", steps, 0)
    exposed = [np.array([1.0])]  # of k workers, the law of their number in a checked step
    for _ in range(byzantine):
        exposed.append(np.convolve(exposed[-1], [1 - rate, rate]))
    move = (1 - chance) * np.eye(byzantine + 1)
    for k, law in enumerate(exposed):
        move[k, : k + 1] += chance * law[::-1]
    laws = [np.eye(byzantine + 1)[byzantine]]
    for _ in range(steps):
        laws.append((laws[-1][:, None] * move).sum(axis=0))
    return np.array(laws)


def _check(byzantine: int, **chances: float) -> None:
    check_integer("byzantine", byzantine, 0)
    for name, value in chances.items():
        check_number(name, value)
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be between 0 and 1, got {value!r}")
