"""Block designs: each file is a block of workers, and all pairs of workers share as many files."""

import bisect
import functools
import itertools
import math
from collections.abc import Callable

import numpy as np

from detox_sim.assignments.finite_fields import is_prime_power
from detox_sim.assignments.geometries import affine_lines, projective_lines, steiner_triples
from detox_sim.assignments.repetition import check_copies, nearest, permute_workers

MOST_FILES = 10**6  # of all subsets


def subsets(workers: int, copies: int, *, rng: np.random.Generator | None = None) -> np.ndarray:
    """Assign a file to every set of `copies` workers, in lexicographic order.

    Parameters
    ----------
    workers, copies : int
        `copies` is odd and at most `workers`; at most a million sets.
    rng : numpy.random.Generator, optional
        Not used.

    Returns
    -------
    numpy.ndarray of int (C(workers, copies), copies)

    Raises
    ------
    ValueError
        When `copies` is even or above `workers`, or there are too many sets.

    Examples
    --------
    >>> subsets(4, 3).tolist()
    [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]]

    References
    ----------
    Konstantinidis and Ramamoorthy, Aspis, ISIT 2022.
    """
    workers, copies = check_copies(workers, copies)
    if _log10_comb(workers, copies) > 12 or math.comb(workers, copies) > MOST_FILES:
        raise ValueError(_too_many(workers, copies))
    chosen = itertools.chain.from_iterable(itertools.combinations(range(workers), copies))
    size = math.comb(workers, copies) * copies
    return np.fromiter(chosen, np.int64, size).reshape(-1, copies)


def _log10_comb(workers: int, copies: int) -> float:
    terms = math.lgamma(copies + 1) + math.lgamma(workers - copies + 1)
    return (math.lgamma(workers + 1) - terms) / math.log(10)


def _too_many(workers: int, copies: int) -> str:
    size = _log10_comb(workers, copies)
    files = f"about 10^{size:.0f}" if size > 12 else f"{math.comb(workers, copies)}"
    fits = (most for most in itertools.count(copies) if math.comb(most + 1, copies) > MOST_FILES)
    return (
        f"subsets makes C(workers, copies) = C({workers}, {copies}) = {files} files, and at most "
        f"{MOST_FILES}; with {copies} copies use workers <= {next(fits)}, or another assignment"
    )


def bibd(
    workers: int,
    copies: int,
    *,
    rng: np.random.Generator | None = None,
    reshuffle: bool = False,
) -> np.ndarray:
    """Assign files by a balanced incomplete block design: two workers share exactly one file.

    Parameters
    ----------
    workers, copies : int
        3 copies and 6t + 1 or 6t + 3 workers (a Steiner triple system); or copies that are an odd
        prime power k and k^n workers (the lines of an affine space); or k + 1 copies and
        1 + k + ... + k^n workers for a prime power k (the lines of a projective space).
    rng : numpy.random.Generator, optional
        The stream of one round. Without it the holders are those an attacker can know.
    reshuffle : bool
        Permute the workers at each round in secret, from `rng`.

    Returns
    -------
    numpy.ndarray of int (workers (workers - 1) / (copies (copies - 1)), copies)

    Raises
    ------
    ValueError
        When no design of these families has this size.

    Examples
    --------
    >>> bibd(7, 3).shape, bibd(25, 5).shape, bibd(21, 5).shape
    ((7, 3), (30, 5), (21, 5))

    References
    ----------
    Konstantinidis and Ramamoorthy, Detection and mitigation of Byzantine attacks in distributed
    training (Aspis+), 2022; the designs are those of Bose 1939, Skolem 1958 and Stinson,
    Combinatorial Designs, 2004.
    """
    workers, copies = check_copies(workers, copies)
    if copies == 3 and _is_triple_system(workers):
        return permute_workers(steiner_triples(workers), rng, reshuffle)
    spaces = _spaces(workers, copies)
    if workers in spaces:
        return permute_workers(spaces[workers]().reshape(-1, copies), rng, reshuffle)
    if sizes := _sizes(workers, copies):
        raise ValueError(
            f"bibd knows no design of {workers} workers with {copies} copies; use workers = {sizes}"
        )
    works = nearest(copies, lambda number: number % 2 == 1 and bool(_sizes(workers, number)), 3)
    raise ValueError(
        f"bibd knows no design with {copies} copies; use copies = "
        + " or ".join(f"{number} (workers = {_sizes(workers, number)})" for number in works)
    )


def _is_triple_system(workers: int) -> bool:
    return workers >= 3 and workers % 6 in (1, 3)


def _spaces(workers: int, copies: int) -> dict[int, Callable[[], np.ndarray]]:
    """Return functions that make lines of `copies` points, by the number of points of the space.

    Spaces of more points than `workers` are included, at least the smallest of each family.
    """
    spaces: dict[int, Callable[[], np.ndarray]] = {}
    order = copies - 1
    for dimension in range(1, workers.bit_length() + 2):
        if is_prime_power(copies):
            spaces[copies**dimension] = functools.partial(affine_lines, copies, dimension)
        if is_prime_power(order):
            points = (order ** (dimension + 1) - 1) // (order - 1)
            spaces[points] = functools.partial(projective_lines, order, dimension)
    return spaces


def _sizes(workers: int, copies: int) -> str:
    """Return, as text, the numbers of workers below and above `workers` that have a design."""
    if copies == 3:
        return " or ".join(map(str, nearest(workers, _is_triple_system, 3)))
    sizes = sorted(_spaces(workers, copies))
    above = bisect.bisect(sizes, workers)
    return " or ".join(map(str, sizes[max(above - 1, 0) : above + 1]))
