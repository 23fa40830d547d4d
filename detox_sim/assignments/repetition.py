"""Assignments that repeat files over groups or neighbours, and the checks of all assignments."""

import itertools
import math
from collections.abc import Callable

import numpy as np

from detox_sim.catalogue import check_integer


def check_copies(workers: int, copies: int) -> tuple[int, int]:
    """Return both as plain integers; raise unless copies are odd and at most the workers.

    Examples
    --------
    >>> check_copies(5, 7)
    Traceback (most recent call last):
    ValueError: copies of a file must be on distinct workers; got 7 for 5 workers, use at most 5
    """
    check_integer("workers", workers, 1)
    check_integer("copies", copies, 1)
    if copies % 2 == 0:
        raise ValueError(
            f"copies must be odd, so that a vote has a majority; got {copies}, "
            f"use {copies - 1} or {copies + 1}"
        )
    if copies > workers:
        raise ValueError(
            f"copies of a file must be on distinct workers; got {copies} for {workers} workers, "
            f"use at most {workers - 1 + workers % 2}"
        )
    return int(workers), int(copies)


def check_groups(workers: int, copies: int) -> None:
    """Raise unless `workers` split into groups of an odd number of `copies`.

    Examples
    --------
    >>> check_groups(45, 4)
    Traceback (most recent call last):
    ValueError: copies must be odd, so that a vote has a majority; got 4, use 3 or 5
    """
    check_copies(workers, copies)
    if workers % copies:
        works = [str(c) for c in range(1, workers + 1, 2) if workers % c == 0]
        raise ValueError(
            f"copies must divide workers: {workers} / {copies} leaves {workers % copies}; "
            f"with {workers} workers use copies = {', '.join(works[:6])}, "
            f"or workers = {workers // copies * copies}"
        )


def nearest(value: float, works: Callable[[int], bool], least: int) -> list[int]:
    """Return the nearest integers of `least` or more, below and above `value`, that work.

    Examples
    --------
    >>> nearest(7.5, lambda number: number % 5 == 0, 1)
    [5, 10]
    """
    below = range(math.floor(value), least - 1, -1)
    above = itertools.count(max(math.floor(value) + 1, least))
    return [*itertools.islice(filter(works, below), 1), next(filter(works, above))]


def none(workers: int, copies: int = 1, *, rng: np.random.Generator | None = None) -> np.ndarray:
    """Assign one file to each worker: no redundancy.

    Parameters
    ----------
    workers, copies : int
        1 copy.
    rng : numpy.random.Generator, optional
        Not used.

    Returns
    -------
    numpy.ndarray of int (workers, 1)

    Raises
    ------
    ValueError
        When `copies` is not 1.

    Examples
    --------
    >>> none(3).tolist()
    [[0], [1], [2]]
    """
    if copies != 1:
        raise ValueError(f"assignment 'none' makes 1 copy, got copies={copies}; use 'detox'")
    check_copies(workers, copies)
    return np.arange(workers)[:, None]


def detox(
    workers: int,
    copies: int,
    *,
    rng: np.random.Generator | None = None,
    reshuffle: bool = False,
) -> np.ndarray:
    """Split the workers into groups of `copies`; each group computes one file.

    Parameters
    ----------
    workers, copies : int
        `copies` is odd and divides `workers`.
    rng : numpy.random.Generator, optional
        The stream of one round. Without it the groups are those an attacker can know.
    reshuffle : bool
        Draw new groups at each round in secret, from `rng`. False makes groups of consecutive
        workers, the same at every round, as the DETOX code does.

    Returns
    -------
    numpy.ndarray of int (workers / copies, copies)

    Raises
    ------
    ValueError
        When `copies` is even or does not divide `workers`.

    Examples
    --------
    >>> detox(6, 3).tolist()
    [[0, 1, 2], [3, 4, 5]]

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, step 1; DRACO's repetition code uses the same groups.
    """
    check_groups(workers, copies)
    return permute_workers(np.arange(workers).reshape(-1, copies), rng, reshuffle)


def permute_workers(
    holders: np.ndarray, rng: np.random.Generator | None, reshuffle: bool
) -> np.ndarray:
    """Return the holders (files, copies) with the workers permuted at random if `reshuffle`.

    Examples
    --------
    >>> permute_workers(np.array([[0, 1, 2]]), None, True).tolist()
    [[0, 1, 2]]
    """
    if not isinstance(reshuffle, bool):
        raise ValueError(f"reshuffle is True or False, got {reshuffle!r}")
    if not reshuffle or rng is None:
        return holders
    return rng.permutation(int(holders.max()) + 1)[holders]


def cyclic(
    workers: int,
    copies: int,
    *,
    rng: np.random.Generator | None = None,
    reshuffle: bool = False,
) -> np.ndarray:
    """Assign to worker i the files i, i + 1, ..., i + copies - 1 (mod workers).

    Parameters
    ----------
    workers, copies : int
        `copies` is odd and at most `workers`.
    rng : numpy.random.Generator, optional
        The stream of one round. Without it the holders are those an attacker can know.
    reshuffle : bool
        Draw a new order of the files at each round in secret, from `rng`, as LAD does; the cyclic
        code cannot be decoded then.

    Returns
    -------
    numpy.ndarray of int (workers, copies)
        Column c of file j is worker (j - c) mod workers.

    Raises
    ------
    ValueError
        When `copies` is even or above `workers`.

    Examples
    --------
    >>> cyclic(5, 3).tolist()
    [[0, 4, 3], [1, 0, 4], [2, 1, 0], [3, 2, 1], [4, 3, 2]]

    References
    ----------
    Chen, Wang, Charles and Papailiopoulos, DRACO, ICML 2018, the cyclic code: its support, not
    its coefficients.
    """
    workers, copies = check_copies(workers, copies)
    holders = (np.arange(workers)[:, None] - np.arange(copies)) % workers
    if not isinstance(reshuffle, bool):
        raise ValueError(f"reshuffle is True or False, got {reshuffle!r}")
    return rng.permutation(holders) if reshuffle and rng is not None else holders
