"""Which copies Byzantine workers forge to distort most files, given the assignment and the vote."""

from math import comb

import numpy as np

from detox_sim import voting
from detox_sim.messages import Messages


def forged_copies(
    holders: np.ndarray, byzantine: np.ndarray, vote: str, excluded: np.ndarray | None = None
) -> np.ndarray:
    """Return the copies that Byzantine workers forge to get through a vote.

    Parameters
    ----------
    holders : int (files, copies)
    byzantine : bool (workers,)
    vote : str
        "clique": `contradicting_copies` with the number of decoys that distorts most files.
        "cyclic": all copies, or none where the decoder locates all Byzantine workers. "reactive":
        the copies that are asked for first. Otherwise: the copies of files in which Byzantine
        workers have a majority.
    excluded : bool (workers,), optional
        Workers that are not asked.

    Returns
    -------
    numpy.ndarray of bool (files, copies)

    Examples
    --------
    >>> byzantine = np.array([True, True, False, True, False, False])
    >>> forged_copies(np.arange(6).reshape(2, 3), byzantine, "majority").tolist()
    [[True, True, False], [False, False, False]]
    """
    forged = byzantine[holders]
    if vote == "reactive":
        left = np.ones(holders.shape, bool) if excluded is None else ~excluded[holders]
        return forged & left & (left.cumsum(axis=1) == 1)
    if vote == "cyclic":
        most = (holders.shape[1] - 1) // 2
        return forged if byzantine.sum() > most else np.zeros_like(forged)
    if vote == "clique":
        numbers = range(int(byzantine.sum()) + 1)
        tried = [contradicting_copies(holders, byzantine, decoys) for decoys in numbers]
        return max(tried, key=lambda copies: _distorted(holders, copies))
    return forged & _majority(holders, byzantine)[:, None]


def _distorted(holders: np.ndarray, forged: np.ndarray) -> int:
    """Return how many files a clique vote distorts if all forged copies are the same vector."""
    files = len(holders)
    row_of = np.where(forged, files, np.arange(files)[:, None])
    rows = np.append(np.zeros(files), 1.0)[:, None]
    return int(voting.clique(Messages(rows, row_of), holders=holders).distorted.sum())


def distorted_despite_detection(workers: int, byzantine: int, copies: int, decoys: int) -> int:
    """Return how many files `contradicting_copies` distorts if every subset of workers is a file.

    Parameters
    ----------
    workers, byzantine, copies : int
        2 * byzantine < workers.
    decoys : int
        0: all Byzantine workers contradict the same `byzantine` - 1 honest workers and nobody
        else. Both sets agree with everyone else, and that of the Byzantine workers is the larger.
        Otherwise this many Byzantine workers, the decoys, contradict as many honest workers and
        nobody else: two sets are the largest, so a plain majority decides, and the other Byzantine
        workers forge wherever they have one.

    Returns
    -------
    int

    Notes
    -----
    The best of these is the worst case. If the largest set T is unique and holds every honest
    worker, only files without an honest worker are distorted. If it is unique and does not, it has
    at least p - q + 1 workers, so it lacks s <= q - 1 of the honest ones; a distorted file has no
    other honest worker, and a Byzantine one: at most C(q + s, r) - C(s, r). If two are largest,
    take one that lacks s >= 1 honest workers; it has at least p - q, so at least s Byzantine
    workers, who may forge only in files without other honest workers: no more than with s decoys.
    (If each holds all honest workers, two Byzantine workers or more forge nothing, which distorts
    no more than one decoy does.)

    Examples
    --------
    >>> [distorted_despite_detection(15, 4, 3, decoys) for decoys in (0, 1, 4)]
    [34, 40, 28]

    References
    ----------
    Konstantinidis and Ramamoorthy, Aspis, ISIT 2022, whose optimum, C(2 q, r) / 2 (quoted from
    memory), is the attack in which all are decoys. The other attacks, and the proof, are ours.
    """
    p, q, r = workers, byzantine, copies
    if not decoys:
        return comb(2 * q - 1, r) - comb(q - 1, r)
    free, inside = q - decoys, 2 * decoys
    majorities = range(r // 2 + 1, r + 1)
    closed = sum(comb(q, forged) * comb(decoys, r - forged) for forged in majorities)
    return closed + sum(
        comb(free, forged) * (comb(p - free, r - forged) - comb(inside, r - forged))
        for forged in majorities
    )


def best_decoys(workers: int, byzantine: int, copies: int) -> int:
    """Return the number of decoys with which `contradicting_copies` distorts most files.

    Examples
    --------
    >>> [best_decoys(15, byzantine, 3) for byzantine in (2, 3, 4, 5)]
    [2, 1, 1, 0]
    """
    return max(
        range(byzantine + 1),
        key=lambda decoys: distorted_despite_detection(workers, byzantine, copies, decoys),
    )


def contradicting_copies(holders: np.ndarray, byzantine: np.ndarray, decoys: int) -> np.ndarray:
    """Return the copies that are forged to contradict few honest workers in a clique vote.

    Parameters
    ----------
    holders : int (files, copies)
    byzantine : bool (workers,)
    decoys : int
        As in `distorted_despite_detection`.

    Returns
    -------
    numpy.ndarray of bool (files, copies)

    Examples
    --------
    >>> from detox_sim.assignments import subsets
    >>> holders, byzantine = subsets(5, 3), np.arange(5) < 2
    >>> contradicting_copies(holders, byzantine, decoys=2).any(axis=1).sum()
    np.int64(2)
    """
    attackers, honest = np.flatnonzero(byzantine), np.flatnonzero(~byzantine)
    inside, free = byzantine.copy(), byzantine.copy()
    inside[honest[: decoys or attackers.size - 1]] = True
    closed = inside[holders].all(axis=1)
    if not decoys:
        return byzantine[holders] & closed[:, None]
    free[attackers[:decoys]] = False
    closed &= _majority(holders, byzantine)
    return byzantine[holders] & closed[:, None] | free[holders] & _majority(holders, free)[:, None]


def _majority(holders: np.ndarray, workers: np.ndarray) -> np.ndarray:
    """Return in which files (files,) the given workers have a majority of the copies."""
    return 2 * workers[holders].sum(axis=1) > holders.shape[1]
