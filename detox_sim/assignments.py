"""Who computes which file: ``assignment(workers, copies, **options) -> holders``.

`holders` is an integer array (files, copies): the worker of each copy of each file. The copies
of a file are on distinct workers and every worker carries the same load.
"""

import numpy as np

__all__ = ["none", "detox"]


def check_groups(workers: int, copies: int) -> None:
    """Raise unless `workers` split into groups of an odd number of `copies`.

    Examples
    --------
    >>> check_groups(45, 4)
    Traceback (most recent call last):
    ValueError: copies must be odd, so that a vote has a majority; got 4, use 3 or 5
    """
    if workers < 1 or copies < 1:
        raise ValueError(f"workers and copies must be at least 1, got {workers} and {copies}")
    if copies % 2 == 0:
        raise ValueError(
            f"copies must be odd, so that a vote has a majority; got {copies}, "
            f"use {copies - 1} or {copies + 1}"
        )
    if workers % copies:
        works = [str(c) for c in range(1, workers + 1, 2) if workers % c == 0]
        raise ValueError(
            f"copies must divide workers: {workers} / {copies} leaves {workers % copies}; "
            f"with {workers} workers use copies = {', '.join(works[:6])}, "
            f"or workers = {max(1, workers // copies) * copies}"
        )


def none(workers: int, copies: int = 1, *, rng: np.random.Generator | None = None) -> np.ndarray:
    """Give every worker a file of its own: no redundancy.

    Examples
    --------
    >>> none(3).tolist()
    [[0], [1], [2]]
    """
    if copies != 1:
        raise ValueError(f"assignment 'none' makes 1 copy, got copies={copies}; use 'detox'")
    check_groups(workers, copies)
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
        Draw new groups at each round in secret, from `rng`. False keeps consecutive workers
        together for good, as the DETOX code does.

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
    if not isinstance(reshuffle, bool):
        raise ValueError(f"reshuffle is True or False, got {reshuffle!r}")
    order = rng.permutation(workers) if reshuffle and rng is not None else np.arange(workers)
    return order.reshape(-1, copies)
