"""The vote over the copies of each file, and the hierarchy over the votes.

A vote is ``vote(messages) -> Votes``; the hierarchy is A0 and A1 of the DETOX paper.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.messages import Messages
from detox_sim.primitives import equal_rows, take

__all__ = ["majority", "streaming"]


@dataclass(frozen=True, eq=False)
class Votes:
    """The outcome of a vote.

    Attributes
    ----------
    rows : array (files, d)
        One vote a file; zero where there was no winner.
    undecided : numpy.ndarray of bool (files,)
        No winner.
    lost : numpy.ndarray of bool (files,)
        The winner is not the true gradient. Only a simulation can know, so it is looked up
        when it is asked for.
    """

    rows: Any
    undecided: np.ndarray
    messages: Messages = field(repr=False)
    elected: np.ndarray = field(repr=False)

    @functools.cached_property
    def lost(self) -> np.ndarray:
        pairs = np.stack([np.arange(len(self.elected)), self.elected], axis=1)
        return (equal_rows(self.messages.rows, pairs)[:, 1] != 0) & ~self.undecided


def majority(messages: Messages, /) -> Votes:
    """Let each file's copies vote on the whole vector; a strict majority of equal bits wins.

    Parameters
    ----------
    messages : Messages
        With rows (n, d) and row_of (files, copies).

    Returns
    -------
    Votes
        The zero vector where no value has more than half of the copies.

    Examples
    --------
    >>> rows = np.array([[1.0], [2.0], [9.0]])
    >>> majority(Messages(rows, np.array([[0, 2, 0], [1, 2, 2]]))).rows.tolist()
    [[1.0], [9.0]]

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, step 2c. Bits are compared: a NaN equals the same NaN.
    """
    labels = equal_rows(messages.rows, messages.row_of)
    supporters = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
    winner = supporters.argmax(axis=1)
    files = np.arange(len(winner))
    return _outcome(messages, winner, 2 * supporters[files, winner] <= labels.shape[1])


def streaming(messages: Messages, /) -> Votes:
    """Vote in one pass without verification, as the DETOX code does.

    The candidate of Boyer and Moore's pass wins even without a majority; three different
    copies elect the third. On whole vectors, where the DETOX code votes layer by layer.

    Parameters
    ----------
    messages : Messages

    Returns
    -------
    Votes
        Never undecided.

    Examples
    --------
    >>> rows = np.array([[1.0], [2.0], [9.0]])
    >>> streaming(Messages(rows, np.array([[0, 1, 2]]))).rows.tolist()
    [[9.0]]

    References
    ----------
    Boyer, Moore, MJRTY: a fast majority vote algorithm, 1981; the DETOX code.
    """
    labels = equal_rows(messages.rows, messages.row_of)
    candidate, count = labels[:, 0], np.zeros(len(labels), dtype=int)
    for ballot in labels.T:
        candidate = np.where(count == 0, ballot, candidate)
        count = count + np.where(ballot == candidate, 1, -1)
    return _outcome(messages, candidate, np.zeros(len(labels), dtype=bool))


def _outcome(messages: Messages, winner: np.ndarray, undecided: np.ndarray) -> Votes:
    """Gather the winning copy (files,) of each file."""
    elected = messages.row_of[np.arange(len(winner)), winner]
    rows = take(messages.rows, elected)
    if undecided.any():
        xp = namespace(rows)
        rows = xp.where(xp.asarray(undecided)[:, None], xp.zeros_like(rows), rows)
    return Votes(rows, undecided, messages, elected)


def hierarchy(
    votes,
    /,
    *,
    outer: Callable,
    inner: Callable | None = None,
    groups: int | None = None,
    rng: np.random.Generator | None = None,
):
    """Aggregate the votes: `inner` in each of `groups` random vote groups, `outer` over them.

    Parameters
    ----------
    votes : array (files, d)
    outer, inner : callable
        rows (n, d) -> (d,).
    groups : int, optional
        None applies `outer` to all votes. Sizes differ by at most one.
    rng : numpy.random.Generator, optional
        Draws the groups; needed with `groups`.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> from detox_sim.aggregators import mean, median
    >>> hierarchy(np.array([[1.0], [2.0], [99.0]]), outer=lambda r: median(r, byzantine=1))
    array([2.])

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, algorithm 2 (HIER-AGGR).
    """
    if groups is None:
        return outer(votes)
    if inner is None or rng is None:
        raise ValueError("vote groups need an inner rule and a random stream")
    xp = namespace(votes)
    parts = np.array_split(rng.permutation(votes.shape[0]), groups)
    return outer(xp.stack([inner(take(votes, part)) for part in parts]))


def lost_votes_assumed(byzantine: int, copies: int) -> int:
    """Return the bad votes that `byzantine` nodes can own at worst: floor(byzantine / majority).

    Examples
    --------
    >>> lost_votes_assumed(5, 3), lost_votes_assumed(5, 1)
    (2, 5)
    """
    return byzantine // (copies // 2 + 1)


def lost_groups_assumed(lost: int, withstood: int) -> int:
    """Return the bad group results that `lost` bad votes can cause at worst.

    A group falls only to more bad votes than its inner rule withstands.

    Examples
    --------
    >>> lost_groups_assumed(2, withstood=0), lost_groups_assumed(2, withstood=2)
    (2, 0)
    """
    return lost // (withstood + 1)
