"""Exact laws and bounds of lost votes under random repetition groups; no arrays of gradients.

p workers, q of them Byzantine and drawn uniformly, groups of r copies. A vote is lost when
more than half of its group is Byzantine.
"""

from fractions import Fraction
from math import comb, log2

import numpy as np

from detox_sim.assignments import check_groups
from detox_sim.catalogue import check_integer

__all__ = [
    "lost_votes",
    "expected_lost_votes",
    "worst_case_lost_votes",
    "expected_lost_votes_bound",
    "recommended_copies",
]


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


def lost_votes(
    workers: int, byzantine: int, copies: int, *, exact: bool = False
) -> np.ndarray | list[Fraction]:
    """Return the probabilities of 0, 1, 2, ... lost votes under a random placement.

    Parameters
    ----------
    workers, byzantine, copies : int
        p, q < p / 2, and r odd that divides p.
    exact : bool
        Return a list of `fractions.Fraction` in place of floats.

    Returns
    -------
    numpy.ndarray (worst case + 1,) of float, or list of Fraction
        Sums to 1. Computed in integers, so exact to the last rounding. The time grows steeply:
        seconds at p = 20,000; for more, `expected_lost_votes` is immediate.

    Raises
    ------
    ValueError
        For impossible (p, q, r).

    Examples
    --------
    >>> lost_votes(45, 5, 3).round(6)
    array([0.597277, 0.372041, 0.030681])
    >>> lost_votes(45, 5, 3, exact=True)[0]
    Fraction(1053, 1763)

    Notes
    -----
    With G(x) = sum over i <= r/2 of C(r, i) x^i and B(x) the rest of (1 + x)^r, the chance of k
    lost votes is C(p/r, k) [x^q] B(x)^k G(x)^(p/r - k) / C(p, q). B = x^m b with m the
    majority, and b^k G^(p/r - k) follows from k - 1 by a product with b and a division by G.
    """
    workers, byzantine, copies = check_nodes(workers, byzantine, copies)
    groups, majority = workers // copies, copies // 2 + 1
    kept, lost = _group_polynomials(byzantine, copies)
    factor = lost[majority:]
    series = _power(kept, groups, byzantine + 1)
    ways = []
    for k in range(worst_case_lost_votes(workers, byzantine, copies) + 1):
        if k:
            series = _divide(_multiply(series, factor), kept)
        ways.append(comb(groups, k) * series[byzantine - k * majority])
        series = series[: byzantine - k * majority + 1]
    total = comb(workers, byzantine)
    if exact:
        return [Fraction(way, total) for way in ways]
    return np.array([way / total for way in ways])


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


def expected_lost_votes(workers: int, byzantine: int, copies: int) -> float:
    """Return the exact expectation of the number of lost votes under a random placement.

    Parameters
    ----------
    workers, byzantine, copies : int
        p, q < p / 2, and r odd that divides p.

    Returns
    -------
    float
        (p / r) times the hypergeometric chance that a group of r has a Byzantine majority.

    Examples
    --------
    >>> round(expected_lost_votes(45, 5, 3), 10)
    0.4334038055
    """
    workers, byzantine, copies = check_nodes(workers, byzantine, copies)
    honest = workers - byzantine
    ways = sum(
        comb(byzantine, i) * comb(honest, copies - i) for i in range(copies // 2 + 1, copies + 1)
    )
    return float(Fraction(workers // copies * ways, comb(workers, copies)))


def worst_case_lost_votes(workers: int, byzantine: int, copies: int) -> int:
    """Return the most votes that attackers who know the groups can own.

    Examples
    --------
    >>> worst_case_lost_votes(45, 5, 3)
    2
    """
    workers, byzantine, copies = check_nodes(workers, byzantine, copies)
    return min(workers // copies, byzantine // (copies // 2 + 1))


BOUNDS = ("paper", "paper-r3", "sharp")


def expected_lost_votes_bound(
    workers: int, byzantine: int, copies: int, *, form: str = "paper"
) -> float:
    """Return an upper bound on the expected number of lost votes, with e = q / p.

    Parameters
    ----------
    workers, byzantine, copies : int
        p, q < p / 2, and r odd that divides p; "paper" and "sharp" are for r >= 3.
    form : {"paper", "paper-r3", "sharp"}
        "paper": (q / r) (40 e (1 - e))^((r - 1) / 2), theorem 1 as remembered.
        "paper-r3": q (4 e - 2 e^2) / 3, for r = 3 only.
        "sharp": the first with 4 for 40; numerical: it holds at every r in 3..11, p < 400 and
        q < p / 2, and is not proven here.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For an unknown form, impossible (p, q, r), or "paper-r3" at another r.

    Examples
    --------
    >>> [round(expected_lost_votes_bound(45, 5, 3, form=form), 4) for form in BOUNDS]
    [6.5844, 0.6996, 0.6584]

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, theorem 1 and its appendix; quoted from memory.
    """
    workers, byzantine, copies = check_nodes(workers, byzantine, copies)
    if form not in BOUNDS:
        raise ValueError(f"unknown form {form!r} of the bound; known: {', '.join(BOUNDS)}")
    share = byzantine / workers
    if form == "paper-r3":
        if copies != 3:
            raise ValueError(f"the bound 'paper-r3' is for copies=3, got {copies}; use 'sharp'")
        return byzantine * (4 * share - 2 * share**2) / 3
    constant = 40 if form == "paper" else 4
    return byzantine / copies * (constant * share * (1 - share)) ** ((copies - 1) / 2)


def recommended_copies(byzantine: int) -> int:
    """Return the least odd number of copies >= 3 + 2 log2(byzantine); 1 when nobody lies.

    Examples
    --------
    >>> [recommended_copies(q) for q in (0, 1, 2, 5, 10, 22)]
    [1, 3, 5, 9, 11, 13]

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, corollary 2.
    """
    check_integer("byzantine", byzantine, 0)
    if byzantine == 0:
        return 1
    copies = 3
    while copies < 3 + 2 * log2(byzantine):
        copies += 2
    return copies
