"""The law of the number of distorted files under a random placement, for any assignment."""

from dataclasses import dataclass
from math import comb

import numpy as np

from detox_sim.catalogue import check_integer, check_number
from detox_sim.streams import stream
from detox_sim.theory.group_law import group_law
from detox_sim.theory.holders import check_holders, files_by_worker, majority

ENUMERATED = 5e8  # steps of listing all sets of workers; about 2 s
AT_ONCE = 1_000_000  # random numbers


@dataclass(frozen=True, eq=False)
class Law:
    """The law of the number of distorted files.

    Attributes
    ----------
    chances : numpy.ndarray of float
        Of 0, 1, 2, ... distorted files.
    errors : numpy.ndarray of float
        The standard error of each chance; zeros where they are exact. From (count + 1) / (draws +
        2), so that the error of a number that no draw gave is not 0.
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
        """Return the expected number of distorted files."""
        return float(self.chances @ np.arange(self.chances.size))

    def quantile(self, level: float) -> int:
        """Return the least k for which k or fewer files are distorted with chance `level`."""
        check_number("level", level)
        if not 0 <= level <= 1:
            raise ValueError(f"level must be between 0 and 1, got {level!r}")
        reached = np.cumsum(self.chances) >= level * (1 - 1e-12)
        return int(reached.argmax())

    def tail(self, distorted: int) -> float:
        """Return the chance of at least `distorted` distorted files."""
        check_integer("distorted", distorted, 0)
        return float(self.chances[distorted:].sum())


def distorted_files_law(
    holders: np.ndarray, byzantine: int, *, draws: int = 100_000, seed: int = 0
) -> Law:
    """Return the law of the number of distorted files under a random placement.

    Parameters
    ----------
    holders : int (files, copies)
        Every worker holds equally many files, each file is on distinct workers.
    byzantine : int
        0 to all workers.
    draws, seed : int
        Of the simulation, which is used where exact laws are out of reach.

    Returns
    -------
    Law
        For disjoint groups that of `distorted_files`. Otherwise all sets of workers are counted
        where that takes seconds at most (K = 45: up to 7 of them), else `draws` random sets.

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
    holders = check_holders(holders, byzantine)
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
    rng = stream(seed, "lost votes")  # the name decides what is drawn
    counts = _trim(_simulate(holders, byzantine, draws, rng))
    smooth = (counts + 1) / (draws + 2)
    return Law(counts / draws, np.sqrt(smooth * (1 - smooth) / draws), "simulation")


def _trim(counts: np.ndarray) -> np.ndarray:
    return counts[: int(np.flatnonzero(counts).max()) + 1]


def _enumerate(holders: np.ndarray, byzantine: int) -> np.ndarray:
    """Return how many sets of Byzantine workers distort 0, 1, 2, ... files."""
    from detox_sim.theory import worker_sets

    if byzantine == 0:
        return np.ones(1, dtype=np.int64)
    held, need = files_by_worker(holders), majority(holders)
    return worker_sets.enumerate_sets(held, holders, byzantine, need)


def _simulate(
    holders: np.ndarray, byzantine: int, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Return how many random sets of Byzantine workers distort 0, 1, 2, ... files."""
    from detox_sim.theory import worker_sets

    held, files, need = files_by_worker(holders), len(holders), majority(holders)
    left = len(held) - np.arange(byzantine)
    step = max(1, AT_ONCE // byzantine)
    counts = np.zeros(files + 1, dtype=np.int64)
    for start in range(0, draws, step):
        picks = rng.integers(0, left, size=(min(step, draws - start), byzantine))
        counts += worker_sets.draw_sets(held, files, need, picks)
    return counts
