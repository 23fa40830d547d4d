"""Fit the constants of a cluster to measured rounds."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from detox_sim.costs.model import PHASES, Cluster, counts, slowest
from detox_sim.streams import stream

_RATES = {"byte": "bandwidth", "flop": "worker_flops"}  # operations a second
_Equation = tuple[dict[str, float], float]  # counts and seconds of a measured phase


class Measured(NamedTuple):
    """The measured seconds of a round.

    Attributes
    ----------
    shape : dict
        Keyword arguments of `counts`.
    seconds : dict
        Of any of `PHASES`; "compute" is the mean over workers.
    slowest : float, optional
        Seconds of the slowest worker.
    """

    shape: dict[str, Any]
    seconds: dict[str, float]
    slowest: float | None = None


class Fitted(NamedTuple):
    """A fitted cluster and its bootstrap samples.

    Attributes
    ----------
    cluster : Cluster
    draws : list of Cluster
        Fitted to rounds drawn with replacement.
    """

    cluster: Cluster
    draws: list[Cluster]

    def interval(self, attribute: str, level: float = 0.95) -> tuple[float, float]:
        """Return the percentile interval of one of the cluster's attributes."""
        values = [getattr(draw, attribute) for draw in self.draws]
        shares = [(1 - level) / 2, (1 + level) / 2]
        low, high = np.quantile(values, shares, method="nearest")  # a rate may be infinite
        return float(low), float(high)


def fit(
    rounds: Sequence[Measured], *, start: Cluster | None = None, draws: int = 200, seed: int = 0
) -> Fitted:
    """Fit a cluster to measured rounds: least squares of relative errors, constants >= 0.

    Parameters
    ----------
    rounds : sequence of Measured
        One for each setting, such as medians over the steps of a run.
    start : Cluster, optional
        Gives the constants of operations that no round counts.
    draws : int
        Bootstrap samples of the rounds.
    seed : int

    Returns
    -------
    Fitted

    Raises
    ------
    ValueError
        When no round has a phase above 0 seconds.

    Examples
    --------
    >>> shape = dict(workers=9, files=9, copies=1, groups=None, inner=None, outer="mean",
    ...              batch=90, sample_flops=1e6)
    >>> rounds = [Measured(shape | {"parameters": d}, {"send": 9 * (0.01 + 4e-9 * d)})
    ...           for d in (10**5, 10**6, 10**7)]
    >>> found = fit(rounds).cluster
    >>> round(found.latency, 6), round(found.bandwidth)
    (0.01, 1000000000)
    """
    start = start or Cluster()
    equations = [_equations(one) for one in rounds]
    if not any(equations):
        raise ValueError("fit needs at least one measured round with a phase above 0 seconds")
    cluster = _solve(rounds, equations, start)
    rng = stream(seed, "costs bootstrap")
    samples = rng.integers(len(rounds), size=(draws, len(rounds)))
    again = [
        _solve([rounds[i] for i in sample], [equations[i] for i in sample], cluster)
        for sample in samples
    ]
    return Fitted(cluster, again)


def _equations(one: Measured) -> list[_Equation]:
    """Return (counts, seconds) of each measured phase."""
    work = counts(**one.shape)
    found = [(work[phase], one.seconds[phase]) for phase in PHASES if phase in one.seconds]
    return [(each, seconds) for each, seconds in found if seconds > 0 and any(each.values())]


def _solve(
    rounds: Sequence[Measured], equations: Sequence[list[_Equation]], start: Cluster
) -> Cluster:
    """Return the cluster of least squared relative errors; constants not counted as in `start`.

    `equations` are those of each round.
    """
    from scipy.optimize import nnls

    every = [equation for some in equations for equation in some]
    names = sorted({name for work, _ in every for name, count in work.items() if count})
    if not names:
        return start
    rows = [[work.get(name, 0) / seconds for name in names] for work, seconds in every]
    table = np.array(rows)
    scale = np.linalg.norm(table, axis=0)
    prices = nnls(table / scale, np.ones(len(table)))[0] / scale
    priced = zip(names, prices, strict=True)
    found = {_attribute(name): _value(name, price) for name, price in priced}
    return replace(start, **found, tail=_tail(rounds, start.tail))


def _attribute(operation: str) -> str:
    """Return the attribute of `Cluster` that holds the constant of an operation."""
    names = {**_RATES, "message": "latency"}
    return names.get(operation, f"{operation}_seconds")


def _value(operation: str, price: float) -> float:
    """Return the value of that attribute for the seconds of one operation."""
    if operation not in _RATES:
        return float(price)
    return float(1 / price) if price else float("inf")


def _tail(rounds: Sequence[Measured], default: float) -> float:
    """Return the tail that fits best how much longer than the mean the slowest worker takes."""
    excess = [
        (slowest(one.shape["workers"], 1.0) - 1, one.slowest / one.seconds["compute"] - 1)
        for one in rounds
        if one.slowest and one.seconds.get("compute")
    ]
    if not excess:
        return default
    expected, found = np.array(excess).T
    return max(0.0, float(expected @ found / max(expected @ expected, 1e-300)))


def relative_errors(cluster: Cluster, rounds: Sequence[Measured]) -> dict[str, np.ndarray]:
    """Return modelled / measured - 1 by phase, one value for each round that measured it.

    For "compute" the mean over workers is compared. A phase that is 0 in the model is left out.

    Examples
    --------
    >>> shape = dict(workers=9, files=9, copies=1, groups=None, inner=None, outer="mean",
    ...              parameters=10, batch=90, sample_flops=1.0)
    >>> one = Measured(shape, {"compute": 20.0})
    >>> relative_errors(Cluster(worker_flops=1.0), [one])
    {'compute': array([-0.5])}
    """
    errors: dict[str, list[float]] = {}
    for one in rounds:
        work = counts(**one.shape)
        for phase, seconds in one.seconds.items():
            modelled = cluster.seconds(work[phase])
            if seconds > 0 and modelled > 0:
                errors.setdefault(phase, []).append(modelled / seconds - 1)
    return {phase: np.array(values) for phase, values in errors.items()}
