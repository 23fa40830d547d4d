"""Corollary 2 of DETOX with its proof, and theorem 3: statements with high probability."""

from math import exp, log, log2
from typing import NamedTuple

import numpy as np

from detox_sim.catalogue import check_integer, check_known, check_number
from detox_sim.theory.groups import distorted_files

PROVEN_SHARE = (1 - 0.5**0.5) / 2  # 0.1464...: at this share e, 4 e (1 - e) = 1/2


def recommended_copies(byzantine: int) -> int:
    """Return the copies that corollary 2 asks for: the least odd r >= 3 + 2 log2(q), 1 for q = 0.

    They are enough for the guarantee of `high_probability_distorted_files`, proven for
    e = q / p <= `PROVEN_SHARE` = 0.1464. Fewer copies often have an acceptable chance of failure:
    `planning.rank` finds the option of the least modelled time to a given error within a risk and
    a budget of copies. The paper's experiments, and the studies here, use r = 3.

    Parameters
    ----------
    byzantine : int
        q, 0 or more.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        For another `byzantine`.

    Examples
    --------
    >>> [recommended_copies(q) for q in (0, 1, 2, 5, 10, 22)]
    [1, 3, 5, 9, 11, 13]

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, corollary 2; quoted from memory.
    """
    check_integer("byzantine", byzantine, 0)
    if byzantine == 0:
        return 1
    copies = 3
    while copies < 3 + 2 * log2(byzantine):
        copies += 2
    return copies


def high_probability_distorted_files(delta: float) -> float:
    """Return the number of distorted files exceeded with a chance of at most `delta`.

    Proven for disjoint groups of r >= 3 + 2 log2(q) workers (`recommended_copies`), a random
    placement and a share e = q / p <= `PROVEN_SHARE` = 0.1464. `high_probability_share` returns
    the largest share at which the exact law still agrees.

    Parameters
    ----------
    delta : float
        Above 0 and below 1/2.

    Returns
    -------
    float
        1 + 2 ln(1 / delta) files, whatever p and q.

    Raises
    ------
    ValueError
        For another `delta`.

    Examples
    --------
    >>> round(high_probability_distorted_files(0.05), 6)
    6.991465

    Notes
    -----
    Let F = p / r be the number of groups, m = (r - 1) / 2, L the number of distorted files and
    mu = E[L].

    **Lemma 3.** P[L >= j] <= mu^j / j! for every j, at any e.

    Proof. P[L >= j] <= E[C(L, j)], which is C(F, j) <= F^j / j! times the chance that the first j
    groups are all distorted. Let A_i be the event that group i is, and S the number of Byzantine
    workers in the groups 1 to i - 1. Given S, the placements inside and outside these groups are
    random and independent. With S, the chance of A_1 ... A_(i-1) does not fall (put one more
    Byzantine worker at random inside) and that of A_i does not grow (take one away outside). The
    expectation of a product of a rising and a falling function of S is at most the product of
    their expectations, so P[A_1 ... A_i] <= P[A_1 ... A_(i-1)] P[A_i]. Hence the first j groups are
    all distorted with a chance of at most P[A_1]^j = (mu / F)^j.

    **Corollary 2.** If r >= 3 + 2 log2(q), q >= 1 and e <= (1 - sqrt(1/2)) / 2, then
    mu <= 1 / (2 r) <= 1/6, and P[L > 1 + 2 ln(1 / delta)] <= delta.

    Proof. 4 e (1 - e) = 1 - (1 - 2 e)^2 <= 1/2, and m >= 1 + log2(q), so by the theorem in
    `expected_distorted_files_bound` mu <= (q / r) (1/2)^(1 + log2(q)) = 1 / (2 r). Let j be the
    least integer above t = 1 + 2 ln(1 / delta). By lemma 3, P[L > t] = P[L >= j] <= mu^j / j!
    <= 6^-j <= 6^-t = delta^(2 ln 6) / 6 <= delta.

    Assignments whose groups overlap keep the bound on mu, which gives P[L >= j] <= mu / j only.

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, corollary 2; the statement is quoted from memory. There the
    share is at most a constant that is not given; the proof and the constant 0.1464 are ours.
    """
    _check_delta(delta)
    return 1 + 2 * log(1 / delta)


def high_probability_share(copies: int) -> float:
    """Return the largest share e = q / p at which the exact law meets corollary 2.

    Parameters
    ----------
    copies : int
        r, odd, 3 to 25. q = 2^((r - 3) / 2) is the largest number of Byzantine workers for which
        corollary 2 asks for at most r copies. Takes 0.1 s at r = 17 and 20 s at r = 25.

    Returns
    -------
    float
        q / p for the least multiple p of r, above 2 q, from which on
        P[L > 1 + 2 ln(1 / delta)] <= delta for every delta below 1/2, by `distorted_files`. Never
        below the largest q / p <= `PROVEN_SHARE`.

    Raises
    ------
    ValueError
        For other copies.

    Examples
    --------
    >>> [round(high_probability_share(r), 3) for r in (9, 13, 17)]
    [0.444, 0.41, 0.342]

    Notes
    -----
    L exceeds 1 + 2 ln(1 / delta) if L >= j, for the deltas from exp((1 - j) / 2), excluded, to
    exp((2 - j) / 2). Those below 1/2 belong to j >= 3. So the law meets corollary 2 if
    P[L >= j] <= exp((1 - j) / 2) for every j >= 3.
    """
    check_integer("copies", copies, 3)
    if copies % 2 == 0 or copies > 25:
        raise ValueError(f"copies must be odd and at most 25, got {copies}")
    byzantine = 2 ** ((int(copies) - 3) // 2)
    workers = copies * int(byzantine / PROVEN_SHARE / copies + 1)  # proven from here on
    while workers - copies > 2 * byzantine and _meets(workers - copies, byzantine, copies):
        workers -= copies
    return byzantine / workers


def _meets(workers: int, byzantine: int, copies: int) -> bool:
    """Return whether the exact law meets corollary 2 for every delta."""
    tail = np.cumsum(distorted_files(workers, byzantine, copies)[::-1])[::-1]
    return all(chance <= exp((1 - j) / 2) for j, chance in enumerate(tail) if j >= 3)


def _check_delta(delta: float) -> None:
    """Raise unless 0 < delta < 1/2."""
    check_number("delta", delta)
    if not 0 < delta < 0.5:
        raise ValueError(f"delta must be above 0 and below 1/2, got {delta!r}")


class HierarchicalError(NamedTuple):
    """The number of vote groups that theorem 3 asks for and the error it promises, not rounded."""

    groups: float
    error: float


_PER_COORDINATE = {"geometric_median": False, "median": True, "trimmed_mean": True}


def hierarchical_error(
    outer: str, *, sigma: float, batch: int, parameters: int, delta: float, constant: float = 1.0
) -> HierarchicalError:
    """Return the vote groups and the error of theorem 3, for the mean as inner rule.

    Parameters
    ----------
    outer : {"geometric_median", "median", "trimmed_mean"}
        The trimmed mean drops a quarter of the groups at each end.
    sigma : float
        Root of the expected squared distance of one sample's gradient from the mean gradient.
    batch : int
        Distinct samples of a round, b.
    parameters : int
        Coordinates of the gradient, d.
    delta : float
        Above 0 and below 1/2; the error is exceeded with a chance of at most 2 delta.
    constant : float
        The paper promises some constant for each rule and does not give it; with the default of 1
        the error shows how it scales and is no bound.

    Returns
    -------
    HierarchicalError
        128 L groups, and constant * sigma * sqrt(L / b) as the error, in units of sigma, with
        L = ln(1 / delta) for the geometric median and ln(d / delta) for the others.

    Raises
    ------
    ValueError
        For another rule and impossible numbers.

    Examples
    --------
    >>> groups, error = hierarchical_error(
    ...     "median", sigma=1.0, batch=1440, parameters=100, delta=0.05)
    >>> round(groups, 6), round(error, 6)
    (972.915515, 0.072653)

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, theorem 3, with the condition of corollary 2 on the
    copies; quoted from memory.
    """
    check_known("outer rule of theorem 3", [outer], _PER_COORDINATE)
    check_integer("batch", batch, 1)
    check_integer("parameters", parameters, 1)
    _check_delta(delta)
    for name, value in (("sigma", sigma), ("constant", constant)):
        check_number(name, value)
        if not value >= 0:
            raise ValueError(f"{name} must be 0 or more, got {value!r}")
    events = log((parameters if _PER_COORDINATE[outer] else 1) / delta)
    return HierarchicalError(128 * events, float(constant * sigma * (events / batch) ** 0.5))
