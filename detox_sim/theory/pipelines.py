"""Whether, and with which chance, a pipeline of robust rules withstands the distorted votes."""

import bisect

import numpy as np

from detox_sim.aggregators.facts import FACTS
from detox_sim.catalogue import check_integer, unknown
from detox_sim.theory.coefficients import least_coefficient

SPREAD = 2.5  # standard deviations around which one tilt serves
REACH = 12  # standard deviations that its lattice covers


def withstands(rule: str, rows: int) -> int:
    """Return the most Byzantine rows among `rows` that a rule accepts and withstands.

    Parameters
    ----------
    rule : str
        The name of an aggregator.
    rows : int
        Rows it is given, 1 or more.

    Returns
    -------
    int
        From the rule's condition, n >= factor * f + plus; 0 for the mean, at most 1 for dnc, which
        a second row breaks. Negative where the rule cannot run on so few rows.

    Raises
    ------
    ValueError
        For a name that is not in the catalogue: a rule from outside has no known condition.

    Examples
    --------
    >>> withstands("median", 5), withstands("bulyan", 15), withstands("mean", 5)
    (2, 3, 0)
    >>> withstands("dnc", 15), withstands("krum", 2)
    (1, -1)
    """
    if rule not in FACTS:
        raise unknown("aggregator", rule, FACTS)
    check_integer("rows", rows, 1)
    facts = FACTS[rule]
    if facts.factor == 0:
        return 0 if rows >= facts.plus else -1
    most = (int(rows) - facts.plus) // facts.factor
    return min(most, 1) if facts.breakdown == "1 row" else most


def _classes(votes: int, groups: int) -> list[tuple[int, int]]:
    """Return (number, size) of the larger and the smaller vote groups, as numpy.array_split."""
    check_integer("votes", votes, 1)
    check_integer("groups", groups, 1)
    if groups > votes:
        raise ValueError(f"groups must be at most the {votes} votes, got {groups}")
    size, larger = divmod(int(votes), int(groups))
    return [(n, s) for n, s in ((larger, size + 1), (groups - larger, size)) if n]


def _inner(inner: str | None) -> str:
    """Return the inner rule; raise without one."""
    if inner is None:
        raise ValueError("vote groups need an inner rule; use inner='mean', or groups=None")
    return inner


def worst_condition(
    votes: int, distorted: int, groups: int | None, inner: str | None, outer: str
) -> bool:
    """Return whether `distorted` votes in the worst groups break a pipeline's condition.

    Parameters
    ----------
    votes, distorted : int
        0 <= distorted <= votes.
    groups : int or None
        Vote groups, whose sizes differ by at most one; None gives all votes to `outer`.
    inner, outer : str
        Names of aggregators.

    Returns
    -------
    bool
        True where `condition_violated` has a chance above 0 with so many distorted votes.

    Raises
    ------
    ValueError
        For unknown rules and impossible numbers.

    Examples
    --------
    >>> [worst_condition(15, distorted, 5, "mean", "median") for distorted in (2, 3)]
    [False, True]
    """
    check_integer("distorted", distorted, 0)
    check_integer("votes", votes, 1)
    if distorted > votes:
        raise ValueError(f"distorted must be at most the {votes} votes, got {distorted}")
    if groups is None:
        return distorted > withstands(outer, votes)
    inner, broken, left = _inner(inner), 0, int(distorted)
    costs = [(max(0, withstands(inner, s) + 1), n, s) for n, s in _classes(votes, groups)]
    for cost, number, size in sorted(costs):
        if cost <= size:
            more = min(number, left // cost) if cost else number
            broken, left = broken + more, left - cost * more
    return broken > withstands(outer, groups)


def condition_violated(
    votes: int, law: np.ndarray, *, groups: int | None, inner: str | None, outer: str
) -> float:
    """Return the chance that more votes are distorted than a pipeline of rules withstands.

    Parameters
    ----------
    votes : int
    law : array of float
        Chances of 0, 1, 2, ... distorted votes, at most `votes`.
    groups : int or None
        Vote groups, drawn at random, whose sizes differ by at most one. None gives all votes to
        `outer`.
    inner, outer : str
        Names of aggregators. A group is broken if it holds more distorted votes than `inner`
        withstands among so many rows; the condition fails if more groups are broken (without
        groups: more votes are distorted) than `outer` withstands.

    Returns
    -------
    float
        With an absolute error below 1e-12, and exactly 0 where it is impossible. A rule that cannot
        run on its rows fails without any distorted vote.

    Raises
    ------
    ValueError
        For unknown rules, impossible numbers, and a law that does not sum to 1.

    Examples
    --------
    >>> round(condition_violated(15, [0, 0, 0, 1], groups=5, inner="mean", outer="median"), 6)
    0.593407

    Notes
    -----
    If each vote is distorted with chance x independently, so are the groups; given that v votes
    are distorted, the law of broken groups is the wanted one for every x. The joint law of
    distorted votes and broken groups comes from its characteristic function at the roots of unity,
    for some x near each v / votes.
    """
    law = _check_law(votes, law)
    if groups is None:
        return _unit(law[max(0, withstands(outer, votes) + 1) :].sum())
    limits = [
        (number, size, max(-1, withstands(_inner(inner), size)))
        for number, size in _classes(votes, groups)
    ]
    withstood = withstands(outer, groups)
    first = bisect.bisect_left(
        range(law.size), True, key=lambda k: worst_condition(votes, k, groups, inner, outer)
    )
    chance, start = 0.0, first
    while start < law.size:
        centre = _centre(start, votes)
        spread = np.sqrt(centre * (1 - centre / votes))
        stop = min(law.size, max(start + 1, int(centre + SPREAD * spread) + 1))
        if law[start:stop].any():
            lattice = min(votes + 1, int(REACH * spread) + 40)
            distorted = np.arange(start, stop) % lattice
            joint, total = _joint_law(limits, withstood, centre / votes, lattice)
            chance += float(law[start:stop] @ (joint[distorted] / total[distorted]))
        start = stop
    return _unit(chance)


def _check_law(votes: int, law) -> np.ndarray:
    """Return the law as floats; raise unless it is one of at most `votes` distorted votes."""
    check_integer("votes", votes, 1)
    law = np.asarray(law, dtype=float)
    if law.ndim != 1 or not 1 <= law.size <= votes + 1:
        raise ValueError(
            f"law must be chances of 0, 1, 2, ... distorted votes of {votes}, got shape {law.shape}"
        )
    if not (law >= 0).all() or abs(law.sum() - 1) > 1e-6:
        raise ValueError(f"law must be chances that sum to 1, got a sum of {law.sum():.6g}")
    return law


def _unit(chance: float) -> float:
    """Return a chance clipped to [0, 1], which rounding errors may leave."""
    return float(min(max(chance, 0.0), 1.0))


def _centre(start: int, votes: int) -> float:
    """Return the mean of the binomial law that has `start` at `SPREAD` deviations below it."""
    square = SPREAD**2
    # (centre - start)^2 = square * centre * (1 - centre / votes)
    a, b = 1 + square / votes, 2 * start + square
    centre = (b + np.sqrt(b * b - 4 * a * start * start)) / (2 * a)
    return float(min(max(centre, 0.5), votes - 0.5))


def _joint_law(
    limits: list[tuple[int, int, int]], withstood: int, chance: float, lattice: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the chances of each number of distorted votes: jointly with a violation, and alone.

    Each vote is distorted with `chance`; `limits` are (number, size, distorted votes withstood) of
    the classes of groups; the condition is violated when more than `withstood` groups are broken.
    Numbers of distorted votes count modulo the length of the lattice.
    """
    groups = sum(number for number, _, _ in limits)
    broken = np.exp(-2j * np.pi * np.arange(groups + 1) / (groups + 1))
    joint = np.ones((lattice // 2 + 1, groups + 1), dtype=complex)
    total = np.ones(lattice // 2 + 1, dtype=complex)
    for number, size, limit in limits:
        law = _binomial(size, chance)
        stands = _waves(law[: limit + 1], 0, lattice)
        breaks = _waves(law[limit + 1 :], limit + 1, lattice)
        joint *= _power(stands[:, None] + breaks[:, None] * broken, number)
        total *= _power(stands + breaks, number)
    too_many = np.fft.ifft(np.arange(groups + 1) > withstood)
    return np.fft.irfft(joint @ too_many, lattice), np.fft.irfft(total, lattice)


def _power(base: np.ndarray, exponent: int) -> np.ndarray:
    """Return base ** exponent by repeated squares, faster than numpy for complex arrays."""
    result = np.ones_like(base)
    while exponent:
        if exponent % 2:
            result *= base
        base, exponent = base * base, exponent // 2
    return result


def _waves(law: np.ndarray, first: int, lattice: int) -> np.ndarray:
    """Return the characteristic function of chances of first, first + 1, ... on a lattice."""
    wrapped = np.zeros(lattice)
    np.add.at(wrapped, (first + np.arange(law.size)) % lattice, law)
    return np.fft.rfft(wrapped)


def _binomial(size: int, chance: float) -> np.ndarray:
    """Return the binomial chances of 0..size, by ratios from the largest on."""
    i = np.arange(1, size + 1)
    logs = np.cumsum(np.log((size + 1 - i) / i * (chance / (1 - chance))))
    logs = np.concatenate([[0.0], logs])
    law = np.exp(logs - logs.max())
    return law / law.sum()


def least_error(votes: int, distorted: np.ndarray | int) -> np.ndarray:
    """Return the least squared error that any rule can guarantee on the votes.

    Parameters
    ----------
    votes : int
    distorted : int or numpy.ndarray of int
        L, the distorted votes.

    Returns
    -------
    float, or numpy.ndarray of the shape of `distorted`
        1 + votes kappa, with kappa = L / (votes - 2 L) of `least_coefficient`, in sampling
        variances of the mean of the batch; infinite from half of the votes on. The trimmed mean
        that cuts L votes on each side attains kappa.

    Examples
    --------
    >>> least_error(15, np.array([0, 2, 8])).round(3)
    array([1.   , 3.727,   inf])

    Notes
    -----
    1 is the variance of the mean itself. The distorted votes add the squared error kappa V, where V
    is the variance of an honest vote: votes times that of the mean. With p workers, r copies and
    votes = p / r, that is p kappa / r: a vote averages r times the samples, but there are fewer
    votes. So more copies help only while kappa grows more slowly than r. Files are assumed to be
    samples of the same data.

    >>> distorted = {1: 5, 3: 2, 5: 1, 9: 1, 15: 0}  # the most that 5 of 45 workers can distort
    >>> [round(float(least_error(45 // r, s) - 1) / 45, 4) for r, s in distorted.items()]
    [0.1429, 0.0606, 0.0286, 0.037, 0.0]
    """
    return 1 + votes * least_coefficient(votes, distorted)
