"""The hierarchy over the votes: A0 and A1 of the DETOX paper."""

from collections.abc import Callable

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.primitives import take


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


def distorted_groups_assumed(distorted: int, withstood: int) -> int:
    """Return the most vote groups whose result that many distorted files can change.

    A group's result is distorted only if its inner rule withstands fewer votes than are distorted
    in the group.

    Examples
    --------
    >>> distorted_groups_assumed(2, withstood=0), distorted_groups_assumed(2, withstood=2)
    (2, 0)
    """
    return distorted // (withstood + 1)
