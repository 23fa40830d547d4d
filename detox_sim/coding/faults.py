"""Draw which workers are Byzantine and which are late in one round."""

import numpy as np

from detox_sim.catalogue import check_integer


def draw(
    workers: int, byzantine: int, stragglers: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the Byzantine and the late workers, independently of each other.

    Parameters
    ----------
    workers : int
    byzantine, stragglers : int
        Exactly so many are marked; every subset of that size is equally likely. A worker may be
        both: then its message does not arrive.
    rng : numpy.random.Generator

    Returns
    -------
    byzantine, late : numpy.ndarray of bool (workers,)

    Raises
    ------
    ValueError
        When more workers are to be marked than there are.

    Examples
    --------
    >>> byzantine, late = draw(6, 2, 3, np.random.default_rng(0))
    >>> int(byzantine.sum()), int(late.sum())
    (2, 3)
    """
    marked = _mark("byzantine", workers, byzantine, rng)
    return marked, _mark("stragglers", workers, stragglers, rng)


def _mark(name: str, workers: int, count: int, rng: np.random.Generator) -> np.ndarray:
    check_integer("workers", workers, 1)
    check_integer(name, count, 0)
    if count > workers:
        raise ValueError(f"{name} must be at most the {workers} workers, got {count}")
    marked = np.zeros(workers, dtype=bool)
    marked[rng.choice(workers, count, replace=False)] = True
    return marked
