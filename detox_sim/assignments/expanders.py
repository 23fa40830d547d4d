"""Assignments by expander graphs, in which a small set of workers has few majorities."""

import math

import numpy as np

from detox_sim.assignments.finite_fields import add, is_prime, is_prime_power, multiply
from detox_sim.assignments.repetition import check_copies, nearest, permute_workers
from detox_sim.catalogue import check_integer
from detox_sim.streams import stream


def mols(
    workers: int | None = None,
    copies: int | None = None,
    *,
    rng: np.random.Generator | None = None,
    load: int | None = None,
    reshuffle: bool = False,
) -> np.ndarray:
    """Assign load^2 files by mutually orthogonal Latin squares, one square for each copy.

    Worker (k, s) computes the files (i, j) with a_k i + j = s over the field GF(load), where a_k
    is the k-th element other than zero. Two workers share one file, or none within one square.

    Parameters
    ----------
    workers, copies, load : int
        Two of the three; workers = load * copies. `load` (files of a worker) is a prime power
        above `copies`, which are odd.
    rng : numpy.random.Generator, optional
        The stream of one round. Without it the holders are those an attacker can know.
    reshuffle : bool
        Permute the workers at each round in secret, from `rng`.

    Returns
    -------
    numpy.ndarray of int (load^2, copies)
        Column k - 1 of file i * load + j is worker (k - 1) * load + s.

    Raises
    ------
    ValueError
        For other sizes, or three that contradict each other.

    Examples
    --------
    >>> mols(workers=15, copies=3)[[0, 1, 5]].tolist()
    [[0, 5, 10], [1, 6, 11], [1, 7, 13]]

    References
    ----------
    Konstantinidis and Ramamoorthy, ByzShield, MLSys 2021; its code takes prime loads, and numbers
    workers and files alike. The squares over other fields are those of Bose 1938.
    """
    _check_given(workers=workers, copies=copies, load=load)
    workers, copies, ratio = _sizes("mols", workers, copies, load)
    side = int(ratio)
    if not (copies < ratio == side and is_prime_power(side) and workers == side * copies):
        works = nearest(ratio, is_prime_power, copies + 1)
        raise ValueError(
            "mols needs workers = load * copies with load a prime power above copies; "
            f"got workers={workers}, copies={copies}, load={ratio:g}; use workers = "
            + " or ".join(f"{side * copies} (load {side})" for side in works)
        )
    elements = np.arange(side)
    sums = add(elements[:, None], elements, side)
    holders = np.empty((side * side, copies), dtype=np.int64)
    for k in range(copies):
        holders[:, k] = k * side + sums[multiply(k + 1, elements, side)].ravel()
    return permute_workers(holders, rng, reshuffle)


def ramanujan(
    workers: int | None = None,
    copies: int | None = None,
    *,
    rng: np.random.Generator | None = None,
    load: int | None = None,
    reshuffle: bool = False,
) -> np.ndarray:
    """Assign files by a Ramanujan bigraph: an expander with nearly the largest spectral gap.

    The second singular value of its workers-by-files matrix of zeros and ones is the square root
    of `load`; Ramanujan bigraphs are those where it is at most sqrt(load - 1) + sqrt(copies - 1).

    Parameters
    ----------
    workers, copies, load : int
        Two of the three. Case 1: `load` (files of a worker) is a prime above `copies`, and
        workers = load * copies. Case 2: `copies` is a prime that divides `load`, and
        workers = copies^2; without `load`, load = copies.
    rng : numpy.random.Generator, optional
        The stream of one round. Without it the holders are those an attacker can know.
    reshuffle : bool
        Permute the workers at each round in secret, from `rng`.

    Returns
    -------
    numpy.ndarray of int (files, copies)
        load^2 files in case 1, load * copies in case 2. With P the cyclic shift by one, block
        (I, J) of the matrix that links rows and columns is P^(I J): rows are the files and columns
        the workers in case 1, the other way round in case 2.

    Raises
    ------
    ValueError
        For other sizes, or three that contradict each other.

    Examples
    --------
    >>> ramanujan(load=3, copies=3).shape, ramanujan(load=6, copies=3).shape
    ((9, 3), (18, 3))
    >>> ramanujan(9, 3)[4].tolist()
    [1, 5, 6]

    References
    ----------
    Konstantinidis and Ramamoorthy, ByzShield, MLSys 2021; the graphs are those of Burnwal, Sinha
    and Vidyasagar, New and explicit constructions of unbalanced Ramanujan bipartite graphs, 2021.
    """
    _check_given(workers=workers, copies=copies, load=load)
    if workers is not None and copies is None and load is not None:
        root = math.isqrt(workers)
        copies = root if root**2 == workers else None
    if workers is None and copies is not None and load is not None:
        workers = copies**2 if is_prime(copies) and load % copies == 0 else load * copies
    if load is None and copies is not None and workers == copies**2:
        load = copies
    workers, copies, ratio = _sizes("ramanujan", workers, copies, load)
    side = int(ratio)
    if copies < ratio == side and is_prime(side) and workers == side * copies:
        row, shift = np.divmod(np.arange(side**2)[:, None], side)
        column = np.arange(copies)
        return permute_workers(column * side + (shift - row * column) % side, rng, reshuffle)
    if is_prime(copies) and ratio % copies == 0 and workers == copies**2:
        column, shift = np.divmod(np.arange(side * copies)[:, None], copies)
        row = np.arange(copies)
        return permute_workers(row * copies + (shift + row * column) % copies, rng, reshuffle)
    works = [f"{p * copies} (load {p})" for p in nearest(ratio, is_prime, copies + 1)]
    if is_prime(copies):
        works.append(f"{copies**2} (load {copies}, {2 * copies}, ...)")
    raise ValueError(
        "ramanujan needs workers = load * copies with load a prime above copies, or workers = "
        "copies^2 with copies a prime that divides load; "
        f"got workers={workers}, copies={copies}, load={ratio:g}; "
        f"use workers = {' or '.join(works)}"
    )


def random_regular(
    workers: int,
    copies: int,
    *,
    rng: np.random.Generator | None = None,
    load: int | None = None,
    graph_seed: int = 0,
    reshuffle: bool = False,
) -> np.ndarray:
    """Assign files by a random graph in which every worker computes `load` files.

    The graph depends on `graph_seed` alone, so attackers can know it.

    Parameters
    ----------
    workers, copies : int
        `copies` is odd and at most `workers`.
    rng : numpy.random.Generator, optional
        The stream of one round. Without it the holders are those an attacker can know.
    reshuffle : bool
        Permute the workers at each round in secret, from `rng`.
    load : int, optional
        Files of a worker; `copies` divides workers * load. Without it, load = copies.
    graph_seed : int

    Returns
    -------
    numpy.ndarray of int (workers * load / copies, copies)

    Raises
    ------
    ValueError
        For sizes without such a graph.

    Examples
    --------
    >>> holders = random_regular(workers=20, copies=3, load=6)
    >>> holders.shape, set(np.bincount(holders.ravel()).tolist())
    ((40, 3), {6})

    References
    ----------
    Bollobas 1980, the configuration model. A copy that falls on a worker of the same file is
    exchanged, so the distribution over graphs is only close to uniform.
    """
    workers, copies = check_copies(workers, copies)
    load = copies if load is None else load
    check_integer("load", load, 1)
    check_integer("graph_seed", graph_seed, 0)
    if workers * load % copies:
        works = nearest(load, lambda number: workers * number % copies == 0, 1)
        raise ValueError(
            f"copies must divide workers * load: {workers} * {load} / {copies} leaves "
            f"{workers * load % copies}; use load = {' or '.join(map(str, works))}"
        )
    files = workers * load // copies
    holders = _random_graph(workers, files, copies, stream(graph_seed, "random_regular"))
    return permute_workers(holders, rng, reshuffle)


def _random_graph(workers: int, files: int, copies: int, rng: np.random.Generator) -> np.ndarray:
    """Draw holders with equal loads; where most workers compute a file, draw the others instead."""
    if 2 * copies > workers:
        computes = np.ones((files, workers), dtype=bool)
        others = _random_graph(workers, files, workers - copies, rng)
        np.put_along_axis(computes, others, False, axis=1)
        return np.nonzero(computes)[1].reshape(files, copies)
    loads = np.repeat(np.arange(workers), files * copies // workers)
    holders = rng.permutation(loads).reshape(files, copies)
    _separate(holders, rng)
    return holders


def _separate(holders: np.ndarray, rng: np.random.Generator) -> None:
    """Exchange copies, in place, until those of each file are on distinct workers.

    First all copies that repeat a worker of their file are shuffled, as long as this leaves fewer.
    Then each one left is exchanged with a copy of a file without that worker: one that repeats a
    worker there if there is one, else one on a worker that its own file lacks. Such a copy always
    exists, and every exchange leaves fewer.
    """
    repeats, before = _repeats(holders), holders.size
    while repeats.sum() < before:
        before = repeats.sum()
        holders[repeats] = rng.permutation(holders[repeats])
        repeats = _repeats(holders)
    for file in np.flatnonzero(repeats.any(axis=1)):
        mine = holders[file]
        while (excess := np.flatnonzero(_repeats(mine))).size:
            other = holders[rng.integers(len(holders))]
            if mine[excess[0]] not in other:
                twice = _repeats(other)
                copy = rng.choice(np.flatnonzero(twice if twice.any() else ~np.isin(other, mine)))
                mine[excess[0]], other[copy] = other[copy], mine[excess[0]]


def _repeats(holders: np.ndarray) -> np.ndarray:
    """Return which copies (..., copies) are on the worker of an earlier copy of the file."""
    order = np.argsort(holders, axis=-1, kind="stable")
    ordered = np.take_along_axis(holders, order, axis=-1)
    repeats = np.zeros(holders.shape, dtype=bool)
    np.put_along_axis(repeats, order[..., 1:], ordered[..., 1:] == ordered[..., :-1], axis=-1)
    return repeats


def _check_given(**sizes: int | None) -> None:
    for name, size in sizes.items():
        if size is not None:
            check_integer(name, size, 1)


def _sizes(
    scheme: str, workers: int | None, copies: int | None, load: int | None
) -> tuple[int, int, float]:
    """Return workers, copies and load with the missing one from workers = load * copies."""
    if workers is None and copies is not None and load is not None:
        workers = load * copies
    if copies is None and workers is not None and load is not None:
        copies = max(
            1, workers // load
        )  # if load does not divide workers, the caller refuses the sizes
    if workers is None or copies is None:
        raise ValueError(
            f"{scheme} needs two of workers, copies and load; "
            f"got workers={workers}, copies={copies}, load={load}"
        )
    workers, copies = check_copies(workers, copies)
    return workers, copies, workers / copies if load is None else float(load)
