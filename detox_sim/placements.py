"""Who is Byzantine: ``placement(holders, byzantine, rng, step=0) -> bool (workers,)``.

`rng` starts anew from the run's stream at each call, so a placement that ignores `step` is the
same at every round, and one that mixes it in is redrawn.
"""

import numpy as np

__all__ = ["random", "fixed", "worst_case"]


def random(
    holders: np.ndarray, byzantine: int, rng: np.random.Generator, step: int = 0
) -> np.ndarray:
    """Draw the Byzantine workers uniformly, anew at every step, as the DETOX code does.

    Parameters
    ----------
    holders : int (files, copies)
    byzantine : int
        Exactly this many workers are marked.
    rng : numpy.random.Generator
    step : int

    Returns
    -------
    numpy.ndarray of bool (workers,)

    Examples
    --------
    >>> int(random(np.arange(6).reshape(2, 3), 2, np.random.default_rng(0), step=4).sum())
    2
    """
    return fixed(holders, byzantine, np.random.default_rng([int(rng.integers(2**62)), step]))


def fixed(
    holders: np.ndarray, byzantine: int, rng: np.random.Generator, step: int = 0
) -> np.ndarray:
    """Draw the Byzantine workers uniformly, once for the run.

    Examples
    --------
    >>> int(fixed(np.arange(6).reshape(2, 3), 2, np.random.default_rng(0)).sum())
    2
    """
    workers = int(holders.max()) + 1
    bad = np.zeros(workers, dtype=bool)
    bad[rng.choice(workers, byzantine, replace=False)] = True
    return bad


def worst_case(
    holders: np.ndarray, byzantine: int, rng: np.random.Generator, step: int = 0
) -> np.ndarray:
    """Capture as many repetition groups as possible: just a majority in one after the other.

    Parameters
    ----------
    holders : int (files, copies)
        Disjoint groups: each worker holds one file.
    byzantine : int
    rng : numpy.random.Generator
        Not used.
    step : int
        Not used.

    Returns
    -------
    numpy.ndarray of bool (workers,)

    Raises
    ------
    ValueError
        When a worker holds several files.

    Examples
    --------
    >>> worst_case(np.arange(6).reshape(2, 3), 2, None).tolist()
    [True, True, False, False, False, False]

    References
    ----------
    Konstantinidis and Ramamoorthy, ByzShield, MLSys 2021, for DETOX's groups.
    """
    workers = int(holders.max()) + 1
    if holders.size != workers:
        raise ValueError("worst_case needs groups in which every worker holds one file")
    needed = holders.shape[1] // 2 + 1
    order = np.concatenate([holders[:, :needed].ravel(), holders[:, needed:].ravel()])
    bad = np.zeros(workers, dtype=bool)
    bad[order[:byzantine]] = True
    return bad
