"""The law of lost votes when the Byzantine workers are drawn uniformly, for any assignment."""

from dataclasses import dataclass
from math import comb

import numpy as np

from detox_sim.catalogue import check_integer, check_number
from detox_sim.streams import stream
from detox_sim.theory.groups import check_at_most
from detox_sim.theory.tilting import group_law

ENUMERATED = 5e8  # steps of listing all sets of workers; about 2 s
AT_ONCE = 1_000_000  # random numbers


@dataclass(frozen=True, eq=False)
class Law:
    """The law of the number of lost votes.

    Attributes
    ----------
    chances : numpy.ndarray of float
        Of 0, 1, 2, ... lost votes.
    errors : numpy.ndarray of float
        The standard error of each chance; zeros where they are exact. From (count + 1) / (draws +
        2), so that a count which was never seen is not taken for certain.
    method : {"groups", "enumeration", "simulation"}

    Examples
    --------
    >>> law = Law(np.array([0.9, 0.1]), np.zeros(2), "enumeration")
    >>> law.mean, law.quantile(0.95), law.tail(1)
    (0.1, 1, 0.1)
    """

    chances: np.ndarray
    errors: np.ndarray
    method: str

    @property
    def mean(self) -> float:
        return float(self.chances @ np.arange(self.chances.size))

    def quantile(self, level: float) -> int:
        """Return the least k with a chance of at most k lost votes of `level` or more."""
        check_number("level", level)
        if not 0 <= level <= 1:
            raise ValueError(f"level must be between 0 and 1, got {level!r}")
        reached = np.cumsum(self.chances) >= level * (1 - 1e-12)
        return int(reached.argmax())

    def tail(self, lost: int) -> float:
        """Return the chance of at least `lost` lost votes."""
        check_integer("lost", lost, 0)
        return float(self.chances[lost:].sum())


def check_holders(holders: np.ndarray) -> np.ndarray:
    """Return the holders as int64 in C order if they are an assignment of equal load.

    Examples
    --------
    >>> check_holders(np.array([[0, 1, 2], [0, 1, 3]]))
    Traceback (most recent call last):
    ValueError: every worker must hold equally many files; worker 0 holds 2, worker 2 holds 1
    """
    holders = np.asarray(holders)
    if holders.ndim != 2 or not holders.size or not np.issubdtype(holders.dtype, np.integer):
        raise ValueError(
            "holders must be integers (files, copies), the worker of each copy; "
            f"got {holders.dtype} of shape {holders.shape}"
        )
    if holders.min() < 0:
        raise ValueError(f"workers are numbered from 0, got {holders.min()}")
    ordered = np.sort(holders, axis=1)
    twice = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    if twice.size:
        file = int(twice[0])
        raise ValueError(
            f"the copies of a file must be on distinct workers; file {file} is on "
            f"{holders[file].tolist()}"
        )
    loads = np.bincount(holders.ravel())
    if (loads != loads[0]).any():
        other = int((loads != loads[0]).argmax())
        raise ValueError(
            f"every worker must hold equally many files; worker 0 holds {loads[0]}, "
            f"worker {other} holds {loads[other]}"
        )
    return np.ascontiguousarray(holders, dtype=np.int64)


def majority(holders: np.ndarray) -> int:
    """Return the copies that own a vote: more than half.

    Examples
    --------
    >>> majority(np.array([[0, 1, 2]]))
    2
    """
    return holders.shape[1] // 2 + 1


def by_worker(holders: np.ndarray) -> np.ndarray:
    """Return the files of each worker (workers, load).

    Examples
    --------
    >>> by_worker(np.array([[0, 1], [1, 2], [2, 0]])).tolist()
    [[0, 2], [0, 1], [1, 2]]
    """
    workers = int(holders.max()) + 1
    return np.argsort(holders.ravel(), kind="stable").reshape(workers, -1) // holders.shape[1]


def distorted_files_law(
    holders: np.ndarray, byzantine: int, *, draws: int = 100_000, seed: int = 0
) -> Law:
    """Return the law of lost votes when the Byzantine workers are drawn uniformly.

    Parameters
    ----------
    holders : int (files, copies)
        Every worker holds equally many files, each file is on distinct workers.
    byzantine : int
        0 to all workers.
    draws, seed : int
        Of the simulation, where exact laws are out of reach.

    Returns
    -------
    Law
        For disjoint groups as `distorted_files`. Otherwise all sets of workers are counted where
        that takes seconds at most (K = 45: up to 7 of them), or `draws` random sets are.

    Raises
    ------
    ValueError
        For holders of unequal load or with a worker twice in a file, and impossible counts.

    Examples
    --------
    >>> from detox_sim import assignments
    >>> law = distorted_files_law(assignments.mols(15, 3), 5)
    >>> law.method, law.chances.argmax(), round(law.mean, 6)
    ('enumeration', np.int64(6), 6.043956)
    """
    holders = check_holders(holders)
    check_at_most(int(holders.max()) + 1, byzantine)
    check_integer("draws", draws, 1)
    check_integer("seed", seed, 0)
    files, copies = holders.shape
    workers = int(holders.max()) + 1
    if holders.size == workers:
        chances = group_law(files, copies, majority(holders), byzantine)
        return Law(chances, np.zeros(chances.size), "groups")
    sets = comb(workers, byzantine)
    inner = comb(workers, max(byzantine - 1, 0)) * holders.size // workers * copies
    if sets + inner <= ENUMERATED:
        chances = _trim(_enumerate(holders, byzantine)) / sets
        return Law(chances, np.zeros(chances.size), "enumeration")
    counts = _trim(_simulate(holders, byzantine, draws, stream(seed, "lost votes")))
    smooth = (counts + 1) / (draws + 2)
    return Law(counts / draws, np.sqrt(smooth * (1 - smooth) / draws), "simulation")


def _trim(counts: np.ndarray) -> np.ndarray:
    return counts[: int(np.flatnonzero(counts).max()) + 1]


def _enumerate(holders: np.ndarray, byzantine: int) -> np.ndarray:
    """Return how many sets of workers lose 0, 1, 2, ... files."""
    from detox_sim.theory import kernels

    if byzantine == 0:
        return np.ones(1, dtype=np.int64)
    return kernels.enumerate_sets(by_worker(holders), holders, byzantine, majority(holders))


def _simulate(
    holders: np.ndarray, byzantine: int, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Return how many random sets of workers lose 0, 1, 2, ... files."""
    from detox_sim.theory import kernels

    held, files, need = by_worker(holders), len(holders), majority(holders)
    left = len(held) - np.arange(byzantine)
    step = max(1, AT_ONCE // byzantine)
    counts = np.zeros(files + 1, dtype=np.int64)
    for start in range(0, draws, step):
        picks = rng.integers(0, left, size=(min(step, draws - start), byzantine))
        counts += kernels.draw_sets(held, files, need, picks)
    return counts
