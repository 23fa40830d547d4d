"""Honest copies of a gradient that differ in their bits, liars among them, and votes over both."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from detox_sim import aggregators, models, voting
from detox_sim.messages import Messages
from detox_sim.voting.votes import NO_MAJORITY

HOLDERS = 3


class Way(NamedTuple):
    """How a holder computes: threads of torch, arithmetic, and which order of the images."""

    threads: int = 1
    arithmetic: str = "float32"
    order: int = 0  # 0: as given


SOURCES = {
    "none": (Way(), Way(), Way()),
    "threads": (Way(), Way(threads=2), Way(threads=3)),
    "row order": (Way(), Way(order=1), Way(order=2)),
    "float64": (Way(), Way(arithmetic="float64"), Way(arithmetic="float64", order=1)),
    "bf16": (Way(), Way(arithmetic="bf16"), Way(arithmetic="bf16", order=1)),
}


@contextlib.contextmanager
def computing(way: Way) -> Iterator[None]:
    """Let torch compute with the threads and the arithmetic of a holder, and then as before.

    Examples
    --------
    >>> import torch
    >>> before = torch.get_num_threads()
    >>> with computing(Way(threads=2)):
    ...     torch.get_num_threads()
    2
    >>> torch.get_num_threads() == before
    True
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(way.threads)
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=way.arithmetic == "bf16"):
            yield
    finally:
        torch.set_num_threads(before)


def compute(
    model: models.Model,
    params: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    way: Way,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the gradients (files, d) as a holder computes and sends them.

    Parameters
    ----------
    model : Model
    params : float32 (d,)
    images : float32 (files, images a file, channels, height, width)
    labels : int64 (files, images a file)
    way : Way
    rng : numpy.random.Generator
        Draws the order of each file's images.

    Returns
    -------
    float32 (files, d)
    """
    dtype = np.float64 if way.arithmetic == "float64" else np.float32
    if way.order:
        order = rng.permuted(np.indices(labels.shape)[1], axis=1)
        files = np.arange(len(labels))[:, None]
        images, labels = images[files, order], labels[files, order]
    with computing(way):
        rows = model.gradients(params.astype(dtype), images.astype(dtype), labels).rows
    return rows.astype(np.float32, copy=False)


def ballots(copies: np.ndarray) -> Messages:
    """Return the copies (files, holders, d) as messages; holder 0's are the true gradients.

    Examples
    --------
    >>> ballots(np.ones((1, 3, 2))).row_of
    array([[1, 2, 3]])
    """
    files, count, d = copies.shape
    rows = np.concatenate([copies[:, 0], copies.reshape(-1, d)])
    return Messages(rows, files + np.arange(files * count).reshape(files, count))


def norm(rows: np.ndarray) -> np.ndarray:
    """Return the lengths (...,) of rows (..., d), in float64."""
    return np.sqrt((rows.astype(np.float64) ** 2).sum(axis=-1))


def differences(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the distances (...,) of rows (..., d) in lengths of the longer one.

    Examples
    --------
    >>> differences(np.array([[3.0, 0.0]]), np.array([[3.0, 4.0]]))
    array([0.8])
    """
    gap = norm(one.astype(np.float64) - other)
    return np.divide(gap, np.maximum(norm(one), norm(other)), out=gap.copy(), where=gap > 0)


# --- nobody lies --------------------------------------------------------------------------------


def false_alarms(copies: np.ndarray, tolerance: float) -> tuple[float, float]:
    """Return the shares of files without a majority, and of those whose majority outvotes a copy.

    Parameters
    ----------
    copies : (files, holders, d)
    tolerance : float
        Of `voting.majority`.

    Examples
    --------
    >>> false_alarms(np.array([[[1.0], [1.0], [1.1]], [[1.0], [2.0], [3.0]]]), 0.0)
    (0.5, 0.5)
    """
    votes = voting.majority(ballots(copies), tolerance=tolerance)
    winners = votes.rows[:, None, :]
    agree = (copies == winners).all(axis=-1)
    if tolerance:
        agree |= differences(copies, winners) <= tolerance
    outvoted = ~votes.undecided & ~agree.all(axis=1)
    return float(votes.undecided.mean()), float(outvoted.mean())


# --- one colluding liar just within the tolerance -----------------------------------------------

HALVINGS = 7
CLOSEST = 1e-9  # the longest lie tried against an exact vote, in lengths of an honest copy


def elected_lies(
    copies: np.ndarray, tolerance: float, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far a liar in place of each holder moves the vote of a file.

    The liar starts at an honest copy or midway between both, and goes as far in the direction as
    the vote still elects it: found by bisection on the vote.

    Parameters
    ----------
    copies : float32 (files, holders, d)
        Honest ones.
    tolerance : float
    direction : (d,)
        Unit vector.

    Returns
    -------
    differences, shifts : float64 (holders, files) and (holders, files, d)
        Of the vote from the nearest honest copy; zero where no lie was elected.

    Examples
    --------
    The first of several winners counts, so only the first holder can lie:

    >>> honest = np.ones((1, 3, 1), np.float32)
    >>> elected_lies(honest, 0.01, np.array([-1.0]))[0][:, 0].round(3)
    array([0.01, 0.  , 0.  ])
    """
    honest = np.stack([np.delete(copies, liar, axis=1).swapaxes(0, 1) for liar in range(HOLDERS)])
    honest = honest.astype(np.float64)  # (liar, honest, file, d)
    votes = _bisect(copies, honest, tolerance, direction)  # (liar, start, file, d)
    apart = differences(votes[:, :, None], honest[:, None])
    nearest = apart.argmin(axis=2)[..., None]
    shifts = votes - np.take_along_axis(honest, nearest, axis=1)
    apart = apart.min(axis=2)
    best = apart.argmax(axis=1)[:, None]
    return (
        np.take_along_axis(apart, best, axis=1)[:, 0],
        np.take_along_axis(shifts, best[..., None], axis=1)[:, 0],
    )


def _bisect(
    copies: np.ndarray, honest: np.ndarray, tolerance: float, direction: np.ndarray
) -> np.ndarray:
    """Return the farthest lie that was elected from each start; an honest copy where none was."""
    liars = np.arange(HOLDERS)
    starts = np.concatenate([honest, honest.mean(axis=1, keepdims=True)], axis=1)
    size = starts.shape[:-1]
    sent = np.broadcast_to(copies, (*size[:2], *copies.shape)).copy()
    low, high = np.zeros(size), np.full(size, max(2 * tolerance, CLOSEST))
    elected = honest[:, [0, 1, 0]]
    for _ in range(HALVINGS):
        length = (low + high) / 2
        sent[liars, :, :, liars] = starts + (length * norm(starts))[..., None] * direction
        lies = sent[liars, :, :, liars]
        votes = voting.majority(ballots(sent.reshape(-1, *copies.shape[1:])), tolerance=tolerance)
        won = (votes.rows.reshape(lies.shape) == lies).all(axis=-1)
        won &= ~votes.undecided.reshape(size)
        low, high = np.where(won, length, low), np.where(won, high, length)
        elected[won] = lies[won]
    return elected


def slack(copies: np.ndarray, liars: int, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return how far liars, each in place of the same holder, move the votes against the mean.

    Parameters
    ----------
    copies : float32 (files, holders, d)
        Honest ones.
    liars : int
        One in each of the first so many files.
    tolerance : float

    Returns
    -------
    of_vote, of_mean : float64 (holders,)
        The largest difference of a vote from the nearest honest copy; and the shift of the mean of
        all votes in lengths of the true mean.

    Examples
    --------
    >>> of_vote, of_mean = slack(np.ones((4, 3, 1), np.float32), 2, 0.01)
    >>> of_vote.round(3).tolist(), of_mean.round(3).tolist()
    ([0.01, 0.0, 0.0], [0.005, 0.0, 0.0])
    """
    true = copies[:, 0].mean(axis=0, dtype=np.float64)
    length = float(norm(true))
    apart, shifts = elected_lies(copies[:liars], tolerance, -true / length)
    return apart.max(axis=1), norm(shifts.sum(axis=1) / len(copies)) / length


# --- liars that do not collude, and what a vote does without a majority ---------------------------


def with_liars(
    copies: np.ndarray, liars: int, files: int, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the copies with lies in place of `liars` random holders of random `files`.

    Each sends -scale times its own draw from 0.5 to 1.5 times its gradient.

    Examples
    --------
    >>> sent = with_liars(np.ones((4, 3, 1)), 2, 1, 100.0, np.random.default_rng(0))
    >>> (sent < 0).sum(axis=1).ravel().tolist()
    [0, 0, 0, 2]
    """
    hit = rng.choice(len(copies), files, replace=False)
    draws = rng.uniform(0.5, 1.5, size=copies.shape[:2])
    places = rng.permuted(np.indices((files, HOLDERS))[1], axis=1)[:, :liars]
    sent = copies.copy()
    for file, holders in zip(hit, places, strict=True):
        sent[file, holders] = -scale * draws[file, holders, None] * copies[file, holders]
    return sent


POLICIES = (*NO_MAJORITY, "tolerance", "streaming", "streaming by layer")
RULES = ("mean", "median")


def policies(sizes: list[int], tolerance: float) -> dict[str, Callable[[Messages], voting.Votes]]:
    """Return the votes of `POLICIES`, for layers of these numbers of parameters.

    Examples
    --------
    >>> tuple(policies([2], 0.1)) == POLICIES
    True
    """
    votes: dict[str, Callable[[Messages], voting.Votes]] = {
        name: partial(voting.majority, no_majority=name) for name in NO_MAJORITY
    }
    return votes | {
        "tolerance": partial(voting.majority, tolerance=tolerance),
        "streaming": voting.streaming,
        "streaming by layer": partial(voting.streaming, per_layer=True, sizes=sizes),
    }


def errors(rows: np.ndarray, true: np.ndarray, byzantine: int) -> list[float]:
    """Return the distances of `RULES` over the rows (n, d) from the true mean (d,), in its lengths.

    Examples
    --------
    >>> errors(np.array([[1.0], [2.0], [6.0]]), np.array([2.0]), byzantine=1)
    [0.5, 0.0]
    """
    results = (getattr(aggregators, rule)(rows, byzantine=byzantine) for rule in RULES)
    return [float(norm(result - true) / norm(true)) for result in results]
