"""Laws of lost votes under random repetition groups.

p workers, q of them Byzantine and drawn uniformly, groups of r copies. A vote is lost when
more than half of its group is Byzantine.
"""

from fractions import Fraction
from math import comb

import numpy as np

from detox_sim.assignments.repetition import check_copies, check_groups
from detox_sim.catalogue import check_integer
from detox_sim.theory.tilting import group_law


def check_at_most(workers: int, byzantine: int) -> None:
    """Raise unless so many of the workers can be Byzantine.

    Examples
    --------
    >>> check_at_most(3, 4)
    Traceback (most recent call last):
    ValueError: byzantine must be at most the 3 workers, got 4
    """
    check_integer("byzantine", byzantine, 0)
    if byzantine > workers:
        raise ValueError(f"byzantine must be at most the {workers} workers, got {byzantine}")


def check_nodes(workers: int, byzantine: int, copies: int) -> tuple[int, int, int]:
    """Return (p, q, r) as plain integers if groups exist and honest workers are a majority.

    Examples
    --------
    >>> check_nodes(45, 23, 3)
    Traceback (most recent call last):
    ValueError: byzantine must be below workers / 2 = 22.5, got 23; use at most 22
    """
    for name, value in (("workers", workers), ("byzantine", byzantine), ("copies", copies)):
        check_integer(name, value, 0)
    workers, byzantine, copies = int(workers), int(byzantine), int(copies)
    check_groups(workers, copies)
    if not 0 <= byzantine < workers / 2:
        raise ValueError(
            f"byzantine must be below workers / 2 = {workers / 2:g}, got {byzantine}; "
            f"use at most {(workers - 1) // 2}"
        )
    return workers, byzantine, copies


def _group_polynomials(byzantine: int, copies: int) -> tuple[list[int], list[int]]:
    """Return the coefficients by Byzantine members of a kept and of a lost group."""
    majority = copies // 2 + 1
    kept = [comb(copies, i) for i in range(majority)]
    lost = [0] * majority + [comb(copies, i) for i in range(majority, copies + 1)]
    return kept[: byzantine + 1], lost[: byzantine + 1]


def _power(base: list[int], exponent: int, length: int) -> list[int]:
    """Return the first `length` coefficients of base(x) ** exponent, for base[0] == 1.

    By the recurrence that follows from base * power' = exponent * base' * power.
    """
    power = [1] + [0] * (length - 1)
    for i in range(1, length):
        terms = range(1, min(i, len(base) - 1) + 1)
        total = sum((exponent * j - i + j) * base[j] * power[i - j] for j in terms)
        power[i] = total // i
    return power


def distorted_files(
    workers: int, byzantine: int, copies: int, *, exact: bool = False
) -> np.ndarray | list[Fraction]:
    """Return the probabilities of 0, 1, 2, ... lost votes under a random placement.

    Parameters
    ----------
    workers, byzantine, copies : int
        p, q < p / 2, and r odd that divides p.
    exact : bool
        Return a list of `fractions.Fraction` in place of floats. The time grows steeply: seconds
        at p = 20,000.

    Returns
    -------
    numpy.ndarray (worst case + 1,) of float, or list of Fraction
        Sums to 1. The floats take one or two seconds at p = 220,000 and have a relative error
        below 1e-12, in the tails too (measured against the fractions up to p = 3,000: 1e-13);
        chances below 1e-308 lose digits or become 0.

    Raises
    ------
    ValueError
        For impossible (p, q, r).

    Examples
    --------
    >>> distorted_files(45, 5, 3).round(6)
    array([0.597277, 0.372041, 0.030681])
    >>> distorted_files(45, 5, 3, exact=True)[0]
    Fraction(1053, 1763)

    Notes
    -----
    With G(x) = sum over i <= r/2 of C(r, i) x^i and B(x) the rest of (1 + x)^r, the chance of k
    lost votes is C(p/r, k) [x^q] B(x)^k G(x)^(p/r - k) / C(p, q). The floats are `group_law`'s.
    For the fractions, B = x^m b with m the majority, and b^k G^(p/r - k) follows from k - 1 by a
    product with b and a division by G, in integers.
    """
    workers, byzantine, copies = check_nodes(workers, byzantine, copies)
    groups, majority = workers // copies, copies // 2 + 1
    if not exact:
        return group_law(groups, copies, majority, byzantine)
    kept, lost = _group_polynomials(byzantine, copies)
    factor = lost[majority:]
    series = _power(kept, groups, byzantine + 1)
    ways = []
    for k in range(min(groups, byzantine // majority) + 1):
        if k:
            series = _divide(_multiply(series, factor), kept)
        ways.append(comb(groups, k) * series[byzantine - k * majority])
        series = series[: byzantine - k * majority + 1]
    total = comb(workers, byzantine)
    return [Fraction(way, total) for way in ways]


def _multiply(series: list[int], factor: list[int]) -> list[int]:
    """Return the product, cut to the length of `series`."""
    return [
        sum(factor[j] * series[i - j] for j in range(min(i, len(factor) - 1) + 1))
        for i in range(len(series))
    ]


def _divide(series: list[int], divisor: list[int]) -> list[int]:
    """Return series / divisor as a power series of the same length, for divisor[0] == 1."""
    quotient: list[int] = []
    for i, value in enumerate(series):
        terms = range(1, min(i, len(divisor) - 1) + 1)
        quotient.append(value - sum(divisor[j] * quotient[i - j] for j in terms))
    return quotient


def expected_distorted_files(
    workers: int, byzantine: int, copies: int, *, files: int | None = None
) -> float:
    """Return the exact expectation of the number of lost votes under a random placement.

    Parameters
    ----------
    workers, byzantine, copies : int
        p, q < p / 2, and r odd that divides p.
    files : int, optional
        Of any assignment of r odd copies, at most p, to distinct workers: the expectation depends
        on nothing else. Then 0 <= q <= p, and r need not divide p. Without it, p / r groups.

    Returns
    -------
    float
        Files times the hypergeometric chance that a group of r has a Byzantine majority.

    Raises
    ------
    ValueError
        For impossible (p, q, r).

    Examples
    --------
    >>> round(expected_distorted_files(45, 5, 3), 10)
    0.4334038055
    >>> round(expected_distorted_files(15, 5, 3, files=25), 6)
    6.043956
    """
    if files is None:
        workers, byzantine, copies = check_nodes(workers, byzantine, copies)
        files = workers // copies
    else:
        check_integer("files", files, 1)
        check_copies(workers, copies)
        check_at_most(workers, byzantine)
    honest = workers - byzantine
    ways = sum(
        comb(byzantine, i) * comb(honest, copies - i) for i in range(copies // 2 + 1, copies + 1)
    )
    return float(Fraction(int(files) * ways, comb(workers, copies)))
