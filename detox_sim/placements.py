"""Which workers are Byzantine: ``placement(holders, byzantine, rng, *, step, **options)``.

A placement returns bool (workers,) with exactly `byzantine` true. `holders` are those that an
attacker can know. `rng` starts anew from the run's stream at each call, so a placement that ignores
`step` is the same at every step, and one that seeds its draw with it is redrawn. A placement may
ask, by a keyword of that name, for `damage`: the error of this round's aggregate for given
Byzantine workers.
"""

from collections.abc import Callable

import numpy as np

from detox_sim import theory
from detox_sim.catalogue import check_integer

__all__ = ["random", "fixed", "windowed", "whole_group", "benign", "worst_case", "adaptive"]


def _mark(holders: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return bool (workers,) that is true for the chosen workers."""
    marked = np.zeros(int(holders.max()) + 1, dtype=bool)
    marked[chosen] = True
    return marked


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
    workers = int(holders.max()) + 1
    check_integer("byzantine", byzantine, 0)
    if byzantine > workers:
        raise ValueError(f"byzantine must be at most the {workers} workers, got {byzantine}")
    return _mark(holders, rng.choice(workers, byzantine, replace=False))


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
    >>> first, last = (windowed(holders, 5, rng(0), step=step) for step in (1, 20))
    >>> bool((first == last).all())
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
    """Take all workers of the first file, then those of the next: ByzShield's "whole group".

    Examples
    --------
    >>> whole_group(np.arange(6).reshape(3, 2).T, 3, None).tolist()
    [True, False, True, False, True, False]
    """
    return _mark(holders, _in_order(holders.ravel())[:byzantine])


def benign(
    holders: np.ndarray, byzantine: int, rng: np.random.Generator, *, step: int = 0
) -> np.ndarray:
    """Spread the Byzantine workers over the files: one in each group before a second in any.

    Workers are taken one after the other, each time the one whose files have fewest Byzantine
    workers already; files with more of them weigh more.

    Examples
    --------
    >>> benign(np.arange(6).reshape(2, 3), 2, None).tolist()
    [True, False, False, True, False, False]
    """
    workers, copies = int(holders.max()) + 1, holders.shape[1]
    files_of = np.argsort(holders.ravel(), kind="stable").reshape(workers, -1) // copies
    cost = (1 + copies) ** np.arange(copies + 1)  # of one more in a file that has 0, 1, 2, ...
    count = np.zeros(len(holders), dtype=np.int64)
    marked = np.zeros(workers, dtype=bool)
    for _ in range(byzantine):
        costs = np.where(marked, np.iinfo(np.int64).max, cost[count][files_of].sum(axis=1))
        worker = int(costs.argmin())
        marked[worker] = True
        count[files_of[worker]] += 1
    return marked


def _in_order(workers: np.ndarray) -> np.ndarray:
    """Return the distinct workers in the order of their first occurrence."""
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
    """Give Byzantine workers a majority in as many files as `theory` finds possible.

    Parameters
    ----------
    holders : int (files, copies)
    byzantine : int
    rng : numpy.random.Generator
        Not used.
    step : int
        Not used.
    seconds : float
        Time for a search where neither a closed form nor enumeration is possible. With the default
        it is a local search, so that results do not depend on how fast a machine is.

    Returns
    -------
    numpy.ndarray of bool (workers,)

    Examples
    --------
    >>> worst_case(np.arange(6).reshape(2, 3), 2, None).tolist()
    [True, True, False, False, False, False]

    References
    ----------
    Konstantinidis and Ramamoorthy, ByzShield, MLSys 2021; the search is that of
    `theory.worst_case_distorted_files`.
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
    """Choose at every step the placement from which the attack does most damage.

    Placement and forged messages are chosen together: the attack, with its own search if it has
    one, is tried from the worst case, from whole groups, and from drawn placements. These are
    majorities of other groups where each worker computes one file, else any workers.

    Parameters
    ----------
    holders : int (files, copies)
    byzantine : int
    rng : numpy.random.Generator
    step : int
    damage : callable
        placement, bool (workers,) -> squared error of the aggregate; supplied by the trial.
    candidates : int
        Placements to try.

    Returns
    -------
    numpy.ndarray of bool (workers,)

    Examples
    --------
    >>> adaptive(np.arange(6).reshape(2, 3), 2, np.random.default_rng(0),
    ...          damage=lambda marked: float(marked[4:].sum()), candidates=8).tolist()
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
