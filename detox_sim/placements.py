"""Who is Byzantine: ``placement(holders, byzantine, rng, *, step, **options)``.

It returns bool (workers,). `rng` starts anew from the run's stream at each call, so a placement
that ignores `step` is the same at every round, and one that mixes it in is redrawn. A placement
may ask, by a keyword of that name, for `damage`: what a set of Byzantine workers would do to the
aggregate of this round.
"""

from collections.abc import Callable

import numpy as np

from detox_sim import theory
from detox_sim.catalogue import check_integer

__all__ = ["random", "fixed", "windowed", "whole_group", "benign", "worst_case", "adaptive"]


def _mark(holders: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    bad = np.zeros(int(holders.max()) + 1, dtype=bool)
    bad[chosen] = True
    return bad


def fixed(
    holders: np.ndarray, byzantine: int, rng: np.random.Generator, *, step: int = 0
) -> np.ndarray:
    """Draw the Byzantine workers uniformly, once for the run.

    Parameters
    ----------
    holders : int (files, copies)
    byzantine : int
        Exactly this many workers are marked.
    rng : numpy.random.Generator
    step : int
        Not used.

    Returns
    -------
    numpy.ndarray of bool (workers,)

    Examples
    --------
    >>> int(fixed(np.arange(6).reshape(2, 3), 2, np.random.default_rng(0)).sum())
    2
    """
    return _mark(holders, rng.choice(int(holders.max()) + 1, byzantine, replace=False))


def random(
    holders: np.ndarray, byzantine: int, rng: np.random.Generator, *, step: int = 0
) -> np.ndarray:
    """Draw the Byzantine workers uniformly, anew at every step, as the DETOX code does.

    Examples
    --------
    >>> int(random(np.arange(6).reshape(2, 3), 2, np.random.default_rng(0), step=4).sum())
    2
    """
    return fixed(holders, byzantine, np.random.default_rng([int(rng.integers(2**62)), step]))


def windowed(
    holders: np.ndarray,
    byzantine: int,
    rng: np.random.Generator,
    *,
    step: int = 0,
    window: int = 20,
) -> np.ndarray:
    """Draw the Byzantine workers uniformly, anew after every `window` steps.

    Examples
    --------
    >>> holders, rng = np.arange(45).reshape(15, 3), np.random.default_rng
    >>> one, other = (windowed(holders, 5, rng(0), step=step) for step in (1, 20))
    >>> bool((one == other).all())
    True

    References
    ----------
    Konstantinidis, Ramamoorthy, Aspis, 2022, whose attackers rotate between windows of steps.
    """
    check_integer("window", window, 1)
    return random(holders, byzantine, rng, step=max(step - 1, 0) // window)


def whole_group(
    holders: np.ndarray, byzantine: int, rng: np.random.Generator, *, step: int = 0
) -> np.ndarray:
    """Fill all holders of one file after the other: ByzShield's "whole group".

    Examples
    --------
    >>> whole_group(np.arange(6).reshape(3, 2).T, 3, None).tolist()
    [True, False, True, False, True, False]
    """
    return _mark(holders, _in_order(holders.ravel())[:byzantine])


def benign(
    holders: np.ndarray, byzantine: int, rng: np.random.Generator, *, step: int = 0
) -> np.ndarray:
    """Spread the Byzantine workers: one in each group before a second in any.

    Workers are taken one after the other, each where it adds least to the files that have more
    Byzantine holders already.

    Examples
    --------
    >>> benign(np.arange(6).reshape(2, 3), 2, None).tolist()
    [True, False, False, True, False, False]
    """
    workers = int(holders.max()) + 1
    held = np.argsort(holders.ravel(), kind="stable").reshape(workers, -1) // holders.shape[1]
    liars = np.zeros(len(holders), dtype=np.int64)
    bad = np.zeros(workers, dtype=bool)
    for _ in range(byzantine):
        crowd = np.where(bad, np.iinfo(np.int64).max, _weights(holders)[liars][held].sum(axis=1))
        worker = int(crowd.argmin())
        bad[worker] = True
        liars[held[worker]] += 1
    return bad


def _weights(holders: np.ndarray) -> np.ndarray:
    """Return the price of one more liar in a file that has 0, 1, 2, ... of them."""
    return (1 + holders.shape[1]) ** np.arange(holders.shape[1] + 1)


def _in_order(workers: np.ndarray) -> np.ndarray:
    """Return the distinct workers in the order in which they first come."""
    found, first = np.unique(workers, return_index=True)
    return found[np.argsort(first)]


def worst_case(
    holders: np.ndarray,
    byzantine: int,
    rng: np.random.Generator,
    *,
    step: int = 0,
    seconds: float = 0.0,
) -> np.ndarray:
    """Capture as many files as `theory.worst_case_distorted_files` finds possible.

    Parameters
    ----------
    holders : int (files, copies)
    byzantine : int
    rng : numpy.random.Generator
        Not used.
    step : int
        Not used.
    seconds : float
        Time for a search where neither a closed form nor enumeration serves. The default takes
        the best of a local search, so that results do not depend on how fast a machine is.

    Returns
    -------
    numpy.ndarray of bool (workers,)

    Examples
    --------
    >>> worst_case(np.arange(6).reshape(2, 3), 2, None).tolist()
    [True, True, False, False, False, False]

    References
    ----------
    Konstantinidis and Ramamoorthy, ByzShield, MLSys 2021.
    """
    return theory.worst_case_distorted_files(holders, byzantine, seconds=seconds).workers.copy()


def adaptive(
    holders: np.ndarray,
    byzantine: int,
    rng: np.random.Generator,
    *,
    step: int = 0,
    damage: Callable[[np.ndarray], float],
    candidates: int = 4,
) -> np.ndarray:
    """Choose, at every step, the placement from which the attack does most damage.

    Placement and value are chosen together: the attack, its own search included, is tried from
    the worst case, from a whole group, and from drawn placements: a majority of other groups
    where each worker holds one file, else any workers.

    Parameters
    ----------
    holders : int (files, copies)
    byzantine : int
    rng : numpy.random.Generator
    step : int
    damage : callable
        bad (workers,) -> squared error of the aggregate; supplied by the trial.
    candidates : int
        Placements tried.

    Returns
    -------
    numpy.ndarray of bool (workers,)

    Examples
    --------
    >>> adaptive(np.arange(6).reshape(2, 3), 2, np.random.default_rng(0),
    ...          damage=lambda bad: float(bad[4:].sum()), candidates=8).tolist()
    [False, False, False, True, True, False]
    """
    check_integer("candidates", candidates, 1)
    known = [worst_case(holders, byzantine, rng), whole_group(holders, byzantine, rng)]
    draw = np.random.default_rng([int(rng.integers(2**62)), step])
    groups = holders.size == int(holders.max()) + 1
    drawn = [
        worst_case(draw.permutation(holders), byzantine, rng)
        if groups
        else fixed(holders, byzantine, draw)
        for _ in range(candidates - len(known))
    ]
    return max([*known, *drawn][:candidates], key=damage)
