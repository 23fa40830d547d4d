"""The most files that attackers who know the assignment can own, and bounds on it."""

import functools
import math
import time
from dataclasses import dataclass, field

import numpy as np

from detox_sim.catalogue import check_number
from detox_sim.theory.captures import by_worker, check_holders, majority
from detox_sim.theory.groups import check_at_most

STEPS = 20_000_000  # of the branch and bound that does not depend on the clock; about a second
LARGE = 2000  # workers; above, pairs of them are too many for more than a local search
ONE = math.lcm(*range(1, 17))  # of integers that stand for parts of a file, rounded up
PATIENCE, BUDGET = 60, 200_000_000  # of the local search; about a second


@dataclass(frozen=True, eq=False)
class WorstCase:
    """The worst placement that was found.

    Attributes
    ----------
    lost : int
        Files that it loses.
    workers : numpy.ndarray of bool (workers,)
        The placement; read-only.
    bound : int
        No placement loses more.
    proven : bool
        `lost` is the most there is; then `bound` is equal to it.
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
    """Return the most votes that attackers who know the assignment can own.

    Parameters
    ----------
    holders : int (files, copies)
        Every worker holds equally many files, each file is on distinct workers.
    byzantine : int
        0 to all workers.
    seconds : float
        Of a search that goes on where closed form, bound, local search and a short branch and
        bound of a fixed number of nodes leave the answer open. With 0 the result does not depend
        on the clock.

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
    Disjoint groups fall one after the other to a bare majority each. Otherwise a local search
    (greedy starts, then swaps with a short memory) is compared with `second_moment_bound`; if
    they differ, a branch and bound adds workers one after the other and drops what cannot win,
    by what each worker completes alone and with others. Above 2,000 workers there is only the
    local search, and the bound is floor(q l / majority).

    References
    ----------
    Konstantinidis and Ramamoorthy, ByzShield, MLSys 2021, who list all sets of workers.
    """
    holders = check_holders(holders)
    check_at_most(int(holders.max()) + 1, byzantine)
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
        lost = min(len(holders), byzantine // need)
        return _found(order[:byzantine], workers, lost, lost, "groups")
    few = workers <= LARGE
    most = min(len(holders), byzantine * (holders.size // workers) // need)
    bound = second_moment_bound(holders, byzantine) if few else most
    lost, chosen = _climb(holders, byzantine)
    if lost == bound or not few:
        return _found(chosen, workers, lost, bound, "local search")
    chosen, lost, complete = _branch_and_bound(holders, byzantine, lost, chosen, bound, seconds)
    return _found(chosen, workers, lost, lost if complete else bound, "branch and bound")


def _found(chosen: np.ndarray, workers: int, lost: int, bound: int, method: str) -> WorstCase:
    bad = np.zeros(workers, dtype=bool)
    bad[chosen] = True
    bad.flags.writeable = False
    return WorstCase(lost, bad, bound, lost == bound, method)


def _climb(holders: np.ndarray, byzantine: int) -> tuple[int, np.ndarray]:
    """Return what a local search finds: lost files, and the workers (byzantine,)."""
    from detox_sim.theory import kernels

    files, copies = holders.shape
    held, need = by_worker(holders), majority(holders)
    values = 0.1 ** np.maximum(need - np.arange(copies + 1.0), 0)
    lost, bad = kernels.climb(held, files, values, byzantine, need, PATIENCE, BUDGET)
    return int(lost), np.flatnonzero(bad)


def _branch_and_bound(
    holders: np.ndarray,
    byzantine: int,
    lost: int,
    chosen: np.ndarray,
    goal: int,
    seconds: float,
) -> tuple[np.ndarray, int, bool]:
    """Return the best set of workers, what it loses, and whether the search is complete."""
    from detox_sim.theory import kernels

    held, need = by_worker(holders), majority(holders)
    workers = len(held)
    shared = -np.sort(-_shared(holders), axis=1)[:, : byzantine - 1]
    tops = np.zeros((byzantine, workers), dtype=np.int64)
    tops[1:] = np.cumsum(shared, axis=1).T
    unit = np.array([0, 0] + [-(-ONE // i) for i in range(2, need + 1)])[: need + 1]
    state = kernels.Search(
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
        counters=np.array([0, 0, lost]),
    )
    kernels.rank(state, ONE, 0)
    nodes = STEPS // (workers + held.shape[1] * holders.shape[1]) + 10
    complete = kernels.advance(state, ONE, goal, nodes)
    stop = time.perf_counter() + seconds
    while not complete and time.perf_counter() < stop:
        complete = kernels.advance(state, ONE, goal, nodes // 10)
    return state.best, int(state.counters[2]), bool(complete)


def _shared(holders: np.ndarray) -> np.ndarray:
    """Return how many files two workers share (workers, workers); none with itself."""
    workers = int(holders.max()) + 1
    shared = np.zeros((workers, workers), dtype=np.int64)
    for first in holders.T:
        for second in holders.T:
            np.add.at(shared, (first, second), 1)
    np.fill_diagonal(shared, 0)
    return shared


def spectral_bound(holders: np.ndarray, byzantine: int) -> float:
    """Return ByzShield's bound on the votes that any `byzantine` workers can own.

    Parameters
    ----------
    holders : int (files, copies)
        Every worker holds equally many files, each file is on distinct workers.
    byzantine : int
        0 to all workers.

    Returns
    -------
    float
        gamma = (q l - beta) / ((r - 1) / 2) with beta = (q l / r) / (mu + (1 - mu) q / K) and mu
        the second eigenvalue of A A^T / (l r), A the workers-by-files matrix, l the load; with
        one copy, q l.

    Raises
    ------
    ValueError
        For holders of unequal load or with a worker twice in a file, and impossible counts.

    Examples
    --------
    >>> from detox_sim import assignments
    >>> round(spectral_bound(assignments.mols(15, 3), 4), 6)
    6.956522

    References
    ----------
    Konstantinidis and Ramamoorthy, ByzShield, MLSys 2021; beta bounds from below the files that q
    workers hold: Tanner, Explicit concentrators from generalized N-gons, 1984.
    """
    holders = check_holders(holders)
    check_at_most(int(holders.max()) + 1, byzantine)
    copies, workers = holders.shape[1], int(holders.max()) + 1
    load = holders.size // workers
    if copies == 1 or byzantine == 0:
        return float(byzantine * load)
    second = (_second_eigenvalue(holders.tobytes(), holders.shape) + load) / (load * copies)
    reached = byzantine * load / copies / (second + (1 - second) * byzantine / workers)
    return float((byzantine * load - reached) / (copies // 2))


def second_moment_bound(holders: np.ndarray, byzantine: int) -> int:
    """Return a bound on the votes that any `byzantine` workers can own, never above ByzShield's.

    Parameters
    ----------
    holders : int (files, copies)
        Every worker holds equally many files, each file is on distinct workers.
    byzantine : int
        0 to all workers.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        For holders of unequal load or with a worker twice in a file, and impossible counts.

    Examples
    --------
    >>> from detox_sim import assignments
    >>> [second_moment_bound(assignments.mols(15, 3), q) for q in range(2, 8)]
    [1, 3, 5, 8, 12, 16]

    Notes
    -----
    Let c be the Byzantine holders of a file. Their sum over files is q l. The sum of C(c, 2)
    counts the files that two of them share; it is at most e = (l (r - 1) q^2 / K +
    nu (q - q^2 / K)) / 2 with nu the second eigenvalue of A A^T - l I. The bound is the largest t
    for which t files with c of at least the majority, the others as even as can be, keep the sum
    of C(c, 2) within e. ByzShield's bound follows from the same two sums by Cauchy and Schwarz,
    so it is never smaller.

    References
    ----------
    Derived here. In ByzShield's tables it is attained by MOLS (K = 15) up to q = 6.
    """
    holders = check_holders(holders)
    check_at_most(int(holders.max()) + 1, byzantine)
    files, copies = holders.shape
    workers = int(holders.max()) + 1
    load = holders.size // workers
    even = byzantine * byzantine / workers
    second = _second_eigenvalue(holders.tobytes(), holders.shape)
    pairs = (load * (copies - 1) * even + second * (byzantine - even)) / 2
    pairs = math.floor(pairs + 1e-9 * (1 + abs(pairs)))
    held, need = byzantine * load, majority(holders)
    lost = min(files, held // need)
    while _least_pairs(files, lost, need, held) > pairs:
        lost -= 1
    return lost


def _least_pairs(files: int, lost: int, need: int, held: int) -> int:
    """Return the least sum of C(c, 2) over files with sum of c `held`, `lost` of them >= `need`."""
    rest = files - lost
    if rest == 0 or held - lost * need >= rest * need:
        return _even_pairs(files, held)
    return lost * math.comb(need, 2) + _even_pairs(rest, held - lost * need)


def _even_pairs(files: int, held: int) -> int:
    level, above = divmod(held, files)
    return files * math.comb(level, 2) + above * level


@functools.lru_cache(maxsize=64)
def _second_eigenvalue(data: bytes, shape: tuple[int, int]) -> float:
    """Return the second largest eigenvalue of A A^T - l I; 0 with one worker."""
    shared = _shared(np.frombuffer(data, dtype=np.int64).reshape(shape))
    return float(np.linalg.eigvalsh(shared.astype(float))[-2]) if len(shared) > 1 else 0.0
