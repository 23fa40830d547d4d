"""Votes over the copies of one file after the other."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from detox_sim import primitives
from detox_sim.arrays import namespace
from detox_sim.catalogue import check_number
from detox_sim.messages import Messages, check_messages
from detox_sim.primitives import combine, distances, equal_rows, order_mean, take
from detox_sim.primitives.reference import most_supported

NO_MAJORITY = ("zero", "mean", "median")


class Reaction(NamedTuple):
    """What a vote asked for, and whom it exposed.

    Attributes
    ----------
    exposed : bool (workers,)
        Workers that are Byzantine for certain; a trial excludes them from all later steps.
    asked : bool (files, copies)
        The copies that were asked for; the others need not be computed.
    checked : int
        Files that were checked.
    at_server : int
        Files that the server computed itself.
    """

    exposed: np.ndarray
    asked: np.ndarray
    checked: int
    at_server: int


@dataclass(frozen=True, eq=False)
class Votes:
    """The outcome of a vote.

    Attributes
    ----------
    rows : array (votes, d)
        The elected row of each file, and the row of `no_majority` where there is no winner; a
        decoded code gives one row, the mean of all files. They may be those of the messages, so do
        not write to them.
    undecided : numpy.ndarray of bool (votes,)
        Files without a winner.
    not_honest : callable
        () -> bool (votes,): rows that are not the honest gradient of their file. Only a simulation
        can know; it is called when `distorted` is first read.
    reaction : Reaction or None
        Of a vote that asks for some copies only and exposes workers.
    distorted : numpy.ndarray of bool (votes,)
        Files whose elected value is not the honest one; a file without a winner is not distorted.
    """

    rows: Any
    undecided: np.ndarray
    not_honest: Callable[[], np.ndarray] = field(repr=False)
    reaction: Reaction | None = None

    @functools.cached_property
    def distorted(self) -> np.ndarray:
        return self.not_honest() & ~self.undecided


def majority(
    messages: Messages,
    /,
    *,
    sizes: Sequence[int] | None = None,
    tolerance: float = 0.0,
    per_layer: bool = False,
    no_majority: str = "zero",
) -> Votes:
    """Elect the value on which a strict majority of the copies of a file that arrived agrees.

    Parameters
    ----------
    messages : Messages
        With rows (n, d) and row_of (files, copies).
    sizes : sequence of int, optional
        Parameters of each layer, which sum to d; needed with `per_layer`.
    tolerance : float
        0: copies agree when their bits are equal (a NaN equals the same NaN). Otherwise also
        when their distance is at most `tolerance` times the longer one's norm; the copy that
        most agree with wins, the first of several. A forged copy within the tolerance of the honest
        ones can win, and so shift the vote by that much.
    per_layer : bool
        Vote on every layer separately, as the DETOX code does. A file counts as distorted or
        undecided when one of its layers is.
    no_majority : {"zero", "mean", "median"}
        The vote of a file without a majority: zero (the paper's), or the mean or the
        coordinate-wise median of its copies.

    Returns
    -------
    Votes

    Raises
    ------
    ValueError
        For a negative tolerance, an unknown policy, or `per_layer` without `sizes`.

    Examples
    --------
    >>> rows = np.array([[1.0], [2.0], [9.0]])
    >>> majority(Messages(rows, np.array([[0, 2, 0], [1, 2, 2]]))).rows.tolist()
    [[1.0], [9.0]]
    >>> noisy = Messages(np.array([[1.0], [1.001], [9.0]]), np.array([[0, 1, 2]]))
    >>> majority(noisy).undecided.tolist(), majority(noisy, tolerance=0.01).rows.tolist()
    ([True], [[1.0]])

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, step 2c. Tolerance: the code of Aspis compares element
    by element; here lengths are compared, so that the unit of the tolerance is the gradient's.
    """
    check_messages(messages)
    check_number("tolerance", tolerance)
    if not 0 <= tolerance < np.inf:
        raise ValueError(f"tolerance must be a number of 0 or more, got {tolerance!r}")
    if no_majority not in NO_MAJORITY:
        raise ValueError(f"no_majority is one of {', '.join(NO_MAJORITY)}; got {no_majority!r}")
    vote = functools.partial(_majority, tolerance=tolerance, no_majority=no_majority)
    return _by_layer(vote, messages, sizes) if _checked(per_layer, sizes) else vote(messages)


def _majority(messages: Messages, *, tolerance: float, no_majority: str) -> Votes:
    if not tolerance:
        winner, undecided, rows = primitives.majority(
            messages.first, messages.row_of, messages.more
        )
        return outcome(messages, winner, undecided, no_majority, rows)
    arrived = messages.row_of >= 0
    row_of = np.where(arrived, messages.row_of, 0)
    labels = equal_rows(messages.rows, row_of)
    agree = labels[:, :, None] == labels[:, None, :]
    for file in np.flatnonzero((labels != labels[:, :1]).any(axis=1)):
        agree[file] |= _near(take(messages.rows, row_of[file]), tolerance)
    return outcome(messages, *most_supported(agree, arrived), no_majority)


def _near(copies, tolerance: float) -> np.ndarray:
    """Return which copies (copies, copies) are within the tolerance of each other."""
    xp = namespace(copies)
    norms = distances(copies, xp.zeros_like(copies[:1, :]))[:, 0]
    apart = distances(copies)
    near = apart <= tolerance**2 * np.maximum(norms[:, None], norms[None, :])
    return near & np.isfinite(apart)  # a copy with NaN or Inf has an infinite distance and norm


def streaming(
    messages: Messages,
    /,
    *,
    sizes: Sequence[int] | None = None,
    per_layer: bool = False,
) -> Votes:
    """Elect the candidate of one pass over the copies without verification, as the DETOX code.

    The candidate of Boyer and Moore's pass wins even without a majority; three different
    copies elect the third.

    Parameters
    ----------
    messages : Messages
    sizes : sequence of int, optional
        Parameters of each layer; needed with `per_layer`.
    per_layer : bool
        Vote on every layer separately: with it this is the DETOX code's vote.

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
    check_messages(messages)
    if _checked(per_layer, sizes):
        return _by_layer(streaming, messages, sizes)
    labels = equal_rows(messages.rows, messages.all_arrived("streaming"))
    candidate, count = labels[:, 0], np.zeros(len(labels), dtype=int)
    for copy in labels.T:
        candidate = np.where(count == 0, copy, candidate)
        count = count + np.where(copy == candidate, 1, -1)
    return outcome(messages, candidate, np.zeros(len(labels), dtype=bool))


def _checked(per_layer: bool, sizes: Sequence[int] | None) -> bool:
    if not isinstance(per_layer, bool):
        raise ValueError(f"per_layer is True or False, got {per_layer!r}")
    if per_layer and sizes is None:
        raise ValueError("per_layer needs sizes, the number of parameters of each layer")
    return per_layer


def _by_layer(vote: Callable[[Messages], Votes], messages: Messages, sizes) -> Votes:
    """Return the votes on each layer, with their rows joined."""
    if sum(sizes) != messages.rows.shape[1]:
        raise ValueError(
            f"sizes must sum to the {messages.rows.shape[1]} coordinates, got {sum(sizes)}"
        )
    ends = np.cumsum(sizes)
    layers = [
        vote(Messages(messages.rows[:, end - size : end], messages.row_of))
        for end, size in zip(ends, sizes, strict=True)
    ]
    xp = namespace(messages.rows)
    return Votes(
        xp.concat([layer.rows for layer in layers], axis=1),
        np.any([layer.undecided for layer in layers], axis=0),
        lambda: np.any([layer.not_honest() for layer in layers], axis=0),
    )


def outcome(
    messages: Messages,
    winner: np.ndarray,
    undecided: np.ndarray,
    no_majority: str = "zero",
    rows=None,
) -> Votes:
    """Return the votes that elect a given copy (files,) of each file; `rows` where they are known.

    Examples
    --------
    >>> messages = Messages(np.array([[1.0], [9.0]]), np.array([[0, 1, 1]]))
    >>> votes = outcome(messages, np.array([1]), np.array([False]))
    >>> votes.rows.tolist(), votes.distorted.tolist()
    ([[9.0]], [True])
    """

    def elected() -> np.ndarray:
        return np.maximum(messages.row_of[np.arange(len(winner)), winner], 0)

    rows = take(messages.rows, elected()) if rows is None else rows
    if undecided.any():
        xp = namespace(rows)
        arrived = [copies[copies >= 0] for copies in messages.row_of[undecided]]
        other = xp.stack([_settle(messages.rows, copies, no_majority) for copies in arrived])
        at = np.cumsum(undecided) - 1
        fill = take(other, np.where(undecided, at, 0))
        rows = xp.where(xp.asarray(undecided)[:, None], fill, rows)

    def not_honest() -> np.ndarray:
        pairs = np.stack([np.arange(len(winner)), elected()], axis=1)
        return equal_rows(messages.first, pairs, messages.more)[:, 1] != 0

    return Votes(rows, undecided, not_honest)


def _settle(rows, copies: np.ndarray, no_majority: str):
    """Return the row (d,) of a file whose copies (arrived,) have no majority."""
    if no_majority == "zero" or not copies.size:
        return namespace(rows).zeros_like(rows[0, :])
    if no_majority == "mean":
        return combine(np.full((1, copies.size), 1 / copies.size), take(rows, copies))[0, :]
    return order_mean(take(rows, copies), (copies.size - 1) // 2, copies.size // 2)
