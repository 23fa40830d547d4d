"""Laws of the number of distorted files when disjoint groups of workers repeat a file.

p workers, q of them Byzantine and drawn uniformly, groups of r workers that compute the same
file. It is distorted when more than half of its group is Byzantine.
"""

from fractions import Fraction
from math import comb

import numpy as np

from detox_sim.assignments.repetition import check_copies, check_groups
from detox_sim.catalogue import check_integer
from detox_sim.theory.group_law import group_law
from detox_sim.theory.holders import check_byzantine


def check_workers(workers: int, byzantine: int, copies: int) -> tuple[int, int, int]:
    """Return (p, q, r) as plain integers if groups exist and honest workers are a majority.

    Examples
    --------
    >>> check_workers(45, 23, 3)
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


def distorted_files(workers: int, byzantine: int, copies: int) -> np.ndarray:
    """Return the probabilities of 0, 1, 2, ... distorted files under a random placement.

    Parameters
    ----------
    workers, byzantine, copies : int
        p, q < p / 2, and r odd that divides p.

    Returns
    -------
    numpy.ndarray (worst case + 1,) of float
        Sums to 1. Takes one or two seconds at p = 220,000. The relative error is below 1e-12, in
        the tails too (measured against fractions up to p = 3,000: 1e-13); chances below 1e-308
        lose digits or become 0.

    Raises
    ------
    ValueError
        For impossible (p, q, r).

    Examples
    --------
    >>> distorted_files(45, 5, 3).round(6)
    array([0.597277, 0.372041, 0.030681])

    Notes
    -----
    With G(x) = sum over i <= r/2 of C(r, i) x^i and B(x) the rest of (1 + x)^r, the chance of k
    distorted files is C(p/r, k) [x^q] B(x)^k G(x)^(p/r - k) / C(p, q), computed by `group_law`.
    """
    workers, byzantine, copies = check_workers(workers, byzantine, copies)
    return group_law(workers // copies, copies, copies // 2 + 1, byzantine)


def expected_distorted_files(
    workers: int, byzantine: int, copies: int, *, files: int | None = None
) -> float:
    """Return the exact expectation of the number of distorted files under a random placement.

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
        workers, byzantine, copies = check_workers(workers, byzantine, copies)
        files = workers // copies
    else:
        check_integer("files", files, 1)
        check_copies(workers, copies)
        check_byzantine(workers, byzantine)
    honest = workers - byzantine
    ways = sum(
        comb(byzantine, i) * comb(honest, copies - i) for i in range(copies // 2 + 1, copies + 1)
    )
    return float(Fraction(int(files) * ways, comb(workers, copies)))
