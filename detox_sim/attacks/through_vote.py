"""Where it pays to lie, for attackers who know who holds what and how the server votes."""

from math import comb

import numpy as np

from detox_sim import voting
from detox_sim.messages import Messages


def through(holders: np.ndarray, bad: np.ndarray, vote: str) -> np.ndarray:
    """Return the copies that attackers forge to get through a vote.

    Parameters
    ----------
    holders : int (files, copies)
    bad : bool (workers,)
    vote : str
        "clique": the lies of `slander` with the decoys that distort most. "cyclic": everything,
        or nothing where the code locates them all. Otherwise: the files in which they have a
        majority.

    Returns
    -------
    numpy.ndarray of bool (files, copies)

    Examples
    --------
    >>> bad = np.array([True, True, False, True, False, False])
    >>> through(np.arange(6).reshape(2, 3), bad, "majority").tolist()
    [[True, True, False], [False, False, False]]
    """
    forged = bad[holders]
    if vote == "cyclic":
        return forged if bad.sum() > (holders.shape[1] - 1) // 2 else np.zeros_like(forged)
    if vote == "clique":
        tried = [slander(holders, bad, decoys) for decoys in range(int(bad.sum()) + 1)]
        return max(tried, key=lambda lies: _undetected(holders, lies))
    return forged & _owned(holders, bad)[:, None]


def _undetected(holders: np.ndarray, forged: np.ndarray) -> int:
    """Return how many files a clique vote loses to one lie in the forged copies."""
    files = len(holders)
    row_of = np.where(forged, files, np.arange(files)[:, None])
    rows = np.append(np.zeros(files), 1.0)[:, None]
    return int(voting.clique(Messages(rows, row_of), holders=holders).distorted.sum())


def undetected(workers: int, byzantine: int, copies: int, decoys: int) -> int:
    """Return the files that attackers distort in spite of detection, all subsets being files.

    Parameters
    ----------
    workers, byzantine, copies : int
        2 * byzantine < workers.
    decoys : int
        0: all attackers contradict the same `byzantine` - 1 honest nodes and nobody else. Both
        sets agree with everyone else, and that of the attackers is the larger. Otherwise this
        many attackers contradict as many honest nodes and nobody else: two sets are the largest,
        so a plain majority decides, and the other attackers lie wherever they have one.

    Returns
    -------
    int

    Notes
    -----
    The best of these is the worst case. If the largest set T is unique and holds every honest
    node, only files with no honest holder are lost. If it is unique and does not, it has at least
    p - q + 1 nodes, so it lacks s <= q - 1 of the honest ones; a lost file has no other honest
    holder, and an attacker: at most C(q + s, r) - C(s, r). If two are largest, take one that lacks
    s >= 1 honest nodes; it has at least p - q, so at least s attackers, who may lie only in files
    without other honest holders: no more than with s decoys. (If each holds all honest nodes, two
    attackers or more are as truthful, which distorts no more than one decoy does.)

    Examples
    --------
    >>> [undetected(15, 4, 3, decoys) for decoys in (0, 1, 4)]
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
    owned = range(r // 2 + 1, r + 1)
    closed = sum(comb(q, bad) * comb(decoys, r - bad) for bad in owned)
    others = [comb(p - free, r - bad) - comb(inside, r - bad) for bad in owned]
    return closed + sum(comb(free, bad) * count for bad, count in zip(owned, others, strict=True))


def best_decoys(workers: int, byzantine: int, copies: int) -> int:
    """Return the decoys with which attackers distort most files.

    Examples
    --------
    >>> [best_decoys(15, byzantine, 3) for byzantine in (2, 3, 4, 5)]
    [2, 1, 1, 0]
    """
    return max(
        range(byzantine + 1), key=lambda decoys: undetected(workers, byzantine, copies, decoys)
    )


def slander(holders: np.ndarray, bad: np.ndarray, decoys: int) -> np.ndarray:
    """Return the copies (files, copies) that are forged in the attack of `undetected`.

    Parameters
    ----------
    holders : int (files, copies)
    bad : bool (workers,)
    decoys : int

    Examples
    --------
    >>> from detox_sim.assignments import subsets
    >>> holders, bad = subsets(5, 3), np.arange(5) < 2
    >>> slander(holders, bad, decoys=2).any(axis=1).sum()
    np.int64(2)
    """
    attackers, honest = np.flatnonzero(bad), np.flatnonzero(~bad)
    inside, free = bad.copy(), bad.copy()
    inside[honest[: decoys or attackers.size - 1]] = True
    closed = inside[holders].all(axis=1)
    if not decoys:
        return bad[holders] & closed[:, None]
    free[attackers[:decoys]] = False
    closed &= _owned(holders, bad)
    return bad[holders] & closed[:, None] | free[holders] & _owned(holders, free)[:, None]


def _owned(holders: np.ndarray, bad: np.ndarray) -> np.ndarray:
    return 2 * bad[holders].sum(axis=1) > holders.shape[1]
