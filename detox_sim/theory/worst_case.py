"""The most files that Byzantine workers chosen with knowledge of the assignment can distort."""

import functools
import math
import time
from dataclasses import dataclass, field

import numpy as np

from detox_sim.catalogue import check_number
from detox_sim.theory.holders import check_holders, files_by_worker, majority, shared_files
from detox_sim.theory.worst_case_bounds import second_moment_bound

WORK = 20_000_000  # of the branch and bound that does not depend on the clock; about a second
LARGE = 2000  # workers; above, their pairs are too many and only a local search is done
ONE = math.lcm(*range(1, 17))  # of integers that stand for parts of a file, rounded up
PATIENCE, BUDGET = 60, 200_000_000  # of the local search; about a second


@dataclass(frozen=True, eq=False)
class WorstCase:
    """The worst placement that was found.

    Attributes
    ----------
    distorted : int
        Files that it distorts.
    workers : numpy.ndarray of bool (workers,)
        The placement; read-only.
    bound : int
        No placement distorts more.
    proven : bool
        No placement distorts more than `distorted`; then `bound` is equal to it.
    method : {"groups", "local search", "branch and bound"}
    """

    distorted: int
    workers: np.ndarray = field(repr=False)
    bound: int
    proven: bool
    method: str


def worst_case_distorted_files(
    holders: np.ndarray, byzantine: int, *, seconds: float = 10.0
) -> WorstCase:
    """Return the most files that Byzantine workers can distort, and such a placement.

    Parameters
    ----------
    holders : int (files, copies)
        Every worker holds equally many files, each file is on distinct workers.
    byzantine : int
        0 to all workers.
    seconds : float
        How long the branch and bound goes on after a fixed number of steps, where closed form,
        bound and local search leave the answer open. With 0 the result does not depend on the
        clock.

    Returns
    -------
    WorstCase
        The same object for the same call.

    Raises
    ------
    ValueError
        For holders of unequal load or with a worker twice in a file, and impossible counts.

    Examples
    --------
    >>> from detox_sim import assignments
    >>> worst_case_distorted_files(assignments.detox(45, 3), 5)
    WorstCase(distorted=2, bound=2, proven=True, method='groups')
    >>> worst = worst_case_distorted_files(assignments.mols(15, 3), 5)
    >>> worst.distorted, worst.proven, int(worst.workers.sum())
    (8, True, 5)

    Notes
    -----
    Disjoint groups take a bare majority of Byzantine workers each. Otherwise a local search
    (greedy starts, then swaps with a short memory) is compared with `second_moment_bound`; if
    they differ, a branch and bound adds workers one after the other and drops what cannot win,
    by what each worker completes alone and with others. Above 2,000 workers there is only the
    local search, and the bound is floor(q l / majority).

    References
    ----------
    Konstantinidis and Ramamoorthy, ByzShield, MLSys 2021, who list all sets of workers.
    """
    holders = check_holders(holders, byzantine)
    check_number("seconds", seconds)
    if not seconds >= 0:
        raise ValueError(f"seconds must be 0 or more, got {seconds!r}")
    return _worst_case(holders.tobytes(), holders.shape, int(byzantine), float(seconds))


@functools.lru_cache(maxsize=128)
def _worst_case(data: bytes, shape: tuple[int, int], byzantine: int, seconds: float) -> WorstCase:
    holders = np.frombuffer(data, dtype=np.int64).reshape(shape)
    need, workers = majority(holders), int(holders.max()) + 1
    if holders.size == workers:
        order = np.concatenate([holders[:, :need].ravel(), holders[:, need:].ravel()])
        distorted = min(len(holders), byzantine // need)
        return _found(order[:byzantine], workers, distorted, distorted, "groups")
    few = workers <= LARGE
    most = min(len(holders), byzantine * (holders.size // workers) // need)
    bound = second_moment_bound(holders, byzantine) if few else most
    distorted, chosen = _climb(holders, byzantine)
    if distorted == bound or not few:
        return _found(chosen, workers, distorted, bound, "local search")
    chosen, distorted, complete = _branch_and_bound(
        holders, byzantine, distorted, chosen, bound, seconds
    )
    bound = distorted if complete else bound
    return _found(chosen, workers, distorted, bound, "branch and bound")


def _found(chosen: np.ndarray, workers: int, distorted: int, bound: int, method: str) -> WorstCase:
    placement = np.zeros(workers, dtype=bool)
    placement[chosen] = True
    placement.flags.writeable = False
    return WorstCase(distorted, placement, bound, distorted == bound, method)


def _climb(holders: np.ndarray, byzantine: int) -> tuple[int, np.ndarray]:
    """Return what a local search finds: distorted files, and the workers (byzantine,)."""
    from detox_sim.theory import worker_sets

    files, copies = holders.shape
    held, need = files_by_worker(holders), majority(holders)
    values = 0.1 ** np.maximum(need - np.arange(copies + 1.0), 0)
    distorted, placement = worker_sets.climb(held, files, values, byzantine, need, PATIENCE, BUDGET)
    return int(distorted), np.flatnonzero(placement)


def _branch_and_bound(
    holders: np.ndarray,
    byzantine: int,
    distorted: int,
    chosen: np.ndarray,
    goal: int,
    seconds: float,
) -> tuple[np.ndarray, int, bool]:
    """Return the best set of workers, the files it distorts, and if the search is complete.

    The search starts from `chosen`, which distorts `distorted` files, and ends at `goal`.
    """
    from detox_sim.theory import worker_sets

    held, need = files_by_worker(holders), majority(holders)
    workers = len(held)
    shared = -np.sort(-shared_files(holders), axis=1)[:, : byzantine - 1]
    tops = np.zeros((byzantine, workers), dtype=np.int64)
    tops[1:] = np.cumsum(shared, axis=1).T
    unit = np.array([0, 0] + [-(-ONE // i) for i in range(2, need + 1)])[: need + 1]
    state = worker_sets.Search(
        held=held,
        holders=holders,
        unit=unit,
        tops=tops,
        need=np.full(len(holders), need),
        gain=np.full(workers, held.shape[1] if need == 1 else 0),
        share=np.full(workers, held.shape[1] * unit[need]),
        order=np.tile(np.arange(workers), (byzantine, 1)),
        score=np.zeros((byzantine, workers), dtype=np.int64),
        cursor=np.array([[0, workers]] * byzantine),
        chosen=np.zeros(byzantine, dtype=np.int64),
        best=chosen.copy(),
        counters=np.array([0, 0, distorted]),
    )
    worker_sets.rank(state, ONE, 0)
    steps = WORK // (workers + held.shape[1] * holders.shape[1]) + 10
    complete = worker_sets.advance(state, ONE, goal, steps)
    stop = time.perf_counter() + seconds
    while not complete and time.perf_counter() < stop:
        complete = worker_sets.advance(state, ONE, goal, steps // 10)
    return state.best, int(state.counters[2]), bool(complete)
