"""What forged copies do to a vote over honest copies that differ in their bits."""

from collections.abc import Callable
from functools import partial

import numpy as np

from detox_sim import aggregators, voting
from detox_sim.messages import Messages
from detox_sim.voting.votes import NO_MAJORITY
from studies.redundancy.noisy_copies import COPIES, as_messages, differences, norm

# --- one colluding forged copy of a file, just within the tolerance -------------------------------

HALVINGS = 7
CLOSEST = 1e-9  # largest distance tried against an exact vote, in lengths of an honest copy


def elected_forgeries(
    copies: np.ndarray, tolerance: float, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return how far one forged copy, in place of each honest one, moves the vote of a file.

    The forged copy lies on a line that starts at an honest copy or midway between both, as far in
    the direction as the vote still elects it: found by bisection on the vote.

    Parameters
    ----------
    copies : float32 (files, copies, d)
        All honest.
    tolerance : float
    direction : (d,)
        Unit vector.

    Returns
    -------
    differences, shifts : float64 (copies, files) and (copies, files, d)
        Of the vote from the nearest honest copy; zero where no forged copy was elected.

    Examples
    --------
    The first of several equal majorities counts, so only a forged first copy is elected:

    >>> honest = np.ones((1, 3, 1), np.float32)
    >>> elected_forgeries(honest, 0.01, np.array([-1.0]))[0][:, 0].round(3)
    array([0.01, 0.  , 0.  ])
    """
    honest = np.stack([np.delete(copies, j, axis=1).swapaxes(0, 1) for j in range(COPIES)])
    honest = honest.astype(np.float64)  # (forged place, honest, file, d)
    votes = _bisect(copies, honest, tolerance, direction)  # (forged place, start, file, d)
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
    """Return the farthest elected forgery from each start; an honest copy where none was."""
    places = np.arange(COPIES)
    starts = np.concatenate([honest, honest.mean(axis=1, keepdims=True)], axis=1)
    size = starts.shape[:-1]
    sent = np.broadcast_to(copies, (*size[:2], *copies.shape)).copy()
    low, high = np.zeros(size), np.full(size, max(2 * tolerance, CLOSEST))
    elected = honest[:, [0, 1, 0]]
    for _ in range(HALVINGS):
        length = (low + high) / 2
        sent[places, :, :, places] = starts + (length * norm(starts))[..., None] * direction
        forged = sent[places, :, :, places]
        votes = voting.majority(
            as_messages(sent.reshape(-1, *copies.shape[1:])), tolerance=tolerance
        )
        won = (votes.rows.reshape(forged.shape) == forged).all(axis=-1)
        won &= ~votes.undecided.reshape(size)
        low, high = np.where(won, length, low), np.where(won, high, length)
        elected[won] = forged[won]
    return elected


def slack(copies: np.ndarray, files: int, tolerance: float) -> tuple[np.ndarray, np.ndarray]:
    """Return how far forged copies, at the same place of some files, move votes and their mean.

    Parameters
    ----------
    copies : float32 (files, copies, d)
        All honest.
    files : int
        One copy of each of the first so many files is forged, against the mean gradient.
    tolerance : float

    Returns
    -------
    of_vote, of_mean : float64 (copies,)
        The largest difference of a vote from the nearest honest copy; and the shift of the mean of
        all votes in lengths of the honest mean. By the place of the forged copy.

    Examples
    --------
    >>> of_vote, of_mean = slack(np.ones((4, 3, 1), np.float32), 2, 0.01)
    >>> of_vote.round(3).tolist(), of_mean.round(3).tolist()
    ([0.01, 0.0, 0.0], [0.005, 0.0, 0.0])
    """
    honest = copies[:, 0].mean(axis=0, dtype=np.float64)
    length = float(norm(honest))
    apart, shifts = elected_forgeries(copies[:files], tolerance, -honest / length)
    return apart.max(axis=1), norm(shifts.sum(axis=1) / len(copies)) / length


# --- forged copies that do not collude, and votes without a majority ------------------------------


def with_forgeries(
    copies: np.ndarray, forged: int, files: int, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Return the copies with `forged` random ones of each of `files` random files forged.

    A forged copy is -scale times its own draw from 0.5 to 1.5 times the gradient: without
    collusion, no two are equal.

    Examples
    --------
    >>> sent = with_forgeries(np.ones((4, 3, 1)), 2, 1, 100.0, np.random.default_rng(0))
    >>> (sent < 0).sum(axis=1).ravel().tolist()
    [0, 0, 0, 2]
    """
    chosen = rng.choice(len(copies), files, replace=False)
    draws = rng.uniform(0.5, 1.5, size=copies.shape[:2])
    places = rng.permuted(np.indices((files, COPIES))[1], axis=1)[:, :forged]
    sent = copies.copy()
    for file, place in zip(chosen, places, strict=True):
        sent[file, place] = -scale * draws[file, place, None] * copies[file, place]
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


def errors(rows: np.ndarray, honest: np.ndarray, byzantine: int) -> list[float]:
    """Return the distances of `RULES` over rows (n, d) from the honest mean (d,), in its lengths.

    Examples
    --------
    >>> errors(np.array([[1.0], [2.0], [6.0]]), np.array([2.0]), byzantine=1)
    [0.5, 0.0]
    """
    results = (getattr(aggregators, rule)(rows, byzantine=byzantine) for rule in RULES)
    return [float(norm(result - honest) / norm(honest)) for result in results]
