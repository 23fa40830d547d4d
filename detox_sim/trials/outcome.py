"""What a simulation knows of a step and no server could: the errors of votes and aggregate."""

from typing import NamedTuple

import numpy as np

from detox_sim import voting
from detox_sim.arrays import namespace
from detox_sim.messages import Search
from detox_sim.primitives import combine, distances

MOST_WEIGHED = 500  # votes; for more no weights are found, which would take all distances
UNEXPLAINED = 0.75  # share of the aggregate; weights that leave more of it do not count


class Outcome(NamedTuple):
    """Loss, errors of the aggregate, votes and their weights of one step.

    The names are those of the variables of a history; `detox_sim.training.train` explains them.
    """

    loss: float
    gradient_error: float
    gradient_norm: float
    gradient_spread: float
    cosine: float
    distorted_files: int
    undecided_files: int
    weight: np.ndarray
    distorted_weight: float
    effective_votes: float
    unexplained: float
    search_evaluations: int
    search_value: float
    gradients_computed: int
    gradients_at_server: int
    checked_files: int
    excluded_workers: int


def judge(
    losses: np.ndarray,
    rows,
    aggregate,
    votes: voting.Votes,
    search: Search | None,
    holders: np.ndarray,
    excluded: np.ndarray,
) -> Outcome:
    """Compare an aggregate (d,) with the honest gradients (files, d) of a step.

    Parameters
    ----------
    losses : float64 (files,)
    rows : array (files, d)
    aggregate : array (d,)
    votes : Votes
    search : Search or None
    holders : int (files, copies)
    excluded : bool (workers,)
        After the step.

    Examples
    --------
    >>> votes = voting.Votes(np.array([[1.0], [2.0]]), np.zeros(2, bool), lambda: np.zeros(2, bool))
    >>> rows, aggregate = np.array([[0.0], [8.0]]), np.array([1.0])
    >>> holders, excluded = np.array([[0], [1]]), np.zeros(2, bool)
    >>> outcome = judge(np.array([1.0, 3.0]), rows, aggregate, votes, None, holders, excluded)
    >>> outcome.loss, outcome.gradient_error, outcome.weight.round(6).tolist()
    (2.0, 3.0, [1.0, 0.0])
    """
    true = combine(np.full((1, len(losses)), 1 / len(losses)), rows)
    xp = namespace(true)
    spread = np.sqrt(distances(rows, true)[:, 0].mean())
    ends = xp.stack([aggregate, true[0, :], xp.zeros_like(aggregate)])
    error, size, norm = np.sqrt(distances(ends)[[0, 0, 1], [1, 2, 2]])
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = (size**2 + norm**2 - error**2) / (2 * size * norm)
    weight, left = np.full(votes.rows.shape[0], np.nan), np.nan
    if votes.rows.shape[0] <= MOST_WEIGHED:
        squares = distances(votes.rows)
        from_aggregate = distances(votes.rows, ends[:1, :])[:, 0]
        found = weights(squares, from_aggregate)
        left = unexplained(found, squares, from_aggregate, size**2)
        weight = found if left <= UNEXPLAINED else weight
    computed, checked, at_server = int((holders >= 0).sum()), 0, 0
    if votes.reaction is not None:
        _, asked, checked, at_server = votes.reaction
        computed = int(asked.sum())
    return Outcome(
        float(losses.mean()),
        float(error),
        float(norm),
        float(spread),
        float(np.clip(cosine, -1, 1)),
        int(votes.distorted.sum()),
        int(votes.undecided.sum()),
        weight,
        float(weight[votes.distorted].sum()),
        float(1 / (weight**2).sum()),
        left,
        *(search or Search(0, 0.0)),
        computed,
        at_server,
        checked,
        int(excluded.sum()),
    )


def weights(squares: np.ndarray, from_aggregate: np.ndarray) -> np.ndarray:
    """Return the weights (votes,), of sum 1, whose mean of the votes is nearest to the aggregate.

    If the rule is a weighted mean (mean, Krum, geometric median) they are its own; if it works
    coordinate by coordinate (medians), they are the best approximation by one weight a vote.
    Equal votes share a weight; one that is not finite has none.

    Parameters
    ----------
    squares : float64 (votes, votes)
        Squared distances between votes.
    from_aggregate : float64 (votes,)
        Of each vote from the aggregate.

    Examples
    --------
    >>> points = np.array([0.0, 4.0, 10.0])
    >>> weights((points[:, None] - points) ** 2, (points - 1.0) ** 2).round(3)
    array([0.75, 0.25, 0.  ])
    """
    from detox_sim.trials.elimination import solve

    found = np.zeros(len(squares))
    finite = np.flatnonzero(np.isfinite(from_aggregate))
    if not finite.size:
        return np.full(len(squares), np.nan)
    # Of equal votes only the first is solved for; differences are from the nearest vote.
    first = finite[(squares[np.ix_(finite, finite)] == 0).argmax(axis=1)]
    distinct = np.unique(first)
    near = distinct[from_aggregate[distinct].argmin()]
    others = distinct[distinct != near]
    own = squares[near, others]
    products = (own[:, None] + own - squares[np.ix_(others, others)]) / 2
    found[others] = solve(products, (own + from_aggregate[near] - from_aggregate[others]) / 2)
    found[near] = 1 - found.sum()
    found[finite] = found[first] / (first[:, None] == first).sum(axis=1)
    return found


def unexplained(
    weight: np.ndarray, squares: np.ndarray, from_aggregate: np.ndarray, square: float
) -> float:
    """Return the share of an aggregate that the weighted mean of the votes leaves unexplained.

    The squared distance between the two over the aggregate's squared length `square`: 0 if the
    rule is a weighted mean, near 1 if it is far from any.

    Examples
    --------
    >>> points = np.array([[0.0, 0.0], [2.0, 0.0]])
    >>> squares = ((points[:, None] - points) ** 2).sum(-1)
    >>> unexplained(np.array([0.5, 0.5]), squares, np.array([2.0, 2.0]), 2.0)
    0.5
    """
    given = np.flatnonzero(weight)
    if not np.isfinite(from_aggregate[given]).all() or not square > 0:
        return float("nan")
    some = weight[given]  # sums without BLAS, whose bits differ between processors
    spread = (some[:, None] * some * squares[np.ix_(given, given)]).sum() / 2
    return max(0.0, float(((some * from_aggregate[given]).sum() - spread) / square))
