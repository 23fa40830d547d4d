"""Robustness coefficients of the rules: how far f Byzantine of n rows can move them, with proofs.

A rule F has the coefficient kappa if abs(F(x) - mean_S)^2 <= kappa V_S for all rows x and every set
S of n - f of them, whatever the other f are; mean_S is the mean of S, and V_S the mean squared
distance within S from it. The least such kappa is meant.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from detox_sim.aggregators.facts import FACTS
from detox_sim.catalogue import check_integer, check_known

PROVEN, MEMORY, SEARCH = "proven", "published, quoted from memory", "found by search"


class Coefficient(NamedTuple):
    """What is known of the coefficient of one rule.

    Attributes
    ----------
    rule : str
        The name of an aggregator; "any rule"; or "nnm", the mixer before a rule of `kappa`.
    kind : {"exactly", "at most", "at least"}
    formula : str
        In n rows of which f are Byzantine.
    value : callable
        ``(n, f, **options) -> float``; NaN where the formula does not hold.
    tag : {"proven", "published, quoted from memory", "found by search"}
        "proven": in the notes of `robustness_coefficient`. "found by search": a constructed input
        attains it, and the search of the study ``robustness_audit`` meets no more.
    source : str
    options : tuple of str
        Options of the rule that the formula takes, or that do not matter to it.
    """

    rule: str
    kind: str
    formula: str
    value: Callable[..., float]
    tag: str
    source: str
    options: tuple[str, ...] = ()


def least_coefficient(rows, byzantine):
    """Return f / (n - 2f), the least coefficient that a rule can have; the trimmed mean has it.

    Parameters
    ----------
    rows : int
        n.
    byzantine : int or numpy.ndarray of int
        f, 0 or more.

    Returns
    -------
    float, or numpy.ndarray of the shape of `byzantine`
        Infinite from half of the rows on.

    Examples
    --------
    >>> print(least_coefficient(11, 4))
    1.3333333333333333
    >>> least_coefficient(10, np.array([0, 2, 5]))
    array([0.        , 0.33333333,        inf])

    Notes
    -----
    Let n - f rows be 0 and f be 1. For S, the zeros, V_S = 0, so the rule must return 0. For S, the
    ones and n - 2f zeros, mean_S = f / (n - f) and V_S = f (n - 2f) / (n - f)^2: the ratio of
    mean_S^2 to V_S is f / (n - 2f).

    References
    ----------
    Allouah et al., Fixing by mixing, AISTATS 2023, prove the same; quoted from memory.
    """
    honest_lead = rows - 2 * np.asarray(byzantine)
    ratio = byzantine / np.maximum(honest_lead, 1)
    return np.where(honest_lead > 0, ratio, np.inf)[()]


def robustness_coefficient(
    rule: str,
    rows: int,
    byzantine: int,
    *,
    mixer: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> float:
    """Return the least proven upper bound on a rule's coefficient; NaN where none is known.

    Parameters
    ----------
    rule : str
        The name of an aggregator.
    rows, byzantine : int
        n and f; n > 2f.
    mixer : str, optional
        Applied to the rows before the rule.
    options : mapping, optional
        Of the rule. An option that a proof does not cover gives NaN.

    Returns
    -------
    float
        Squared error of the rule's result per mean squared distance of the honest rows from their
        mean. The row of `COEFFICIENTS` says whether it is exact. For MoNNA, S holds the trusted
        row.

    Raises
    ------
    ValueError
        For n <= 2f, or an unknown rule.

    Examples
    --------
    >>> [round(robustness_coefficient(rule, 11, 2), 3) for rule in ("trimmed_mean", "median")]
    [0.286, 1.25]
    >>> [round(robustness_coefficient(rule, 11, 2), 3) for rule in ("multi_krum", "krum", "cge")]
    [2.914, 5.416, nan]
    >>> round(robustness_coefficient("krum", 11, 2, options={"neighbours": 8}), 3)
    4.571
    >>> round(robustness_coefficient("trimmed_mean", 11, 2, mixer="nnm"), 3)
    2.286

    Notes
    -----
    S are the honest rows, N = n - f their number, m their mean and V = V_S; abs is the length of a
    vector.

    **Lemma 1.** The mean of a of the N honest rows is at most sqrt((N - a) V / a) from m.

    Proof. If it is at distance x, the mean of the other N - a is at distance a x / (N - a). So N V
    is at least a x^2 + a^2 x^2 / (N - a) = a N x^2 / (N - a).

    **Trimmed mean** that cuts g >= f values on each side, 2g < n: exactly g / (n - f - g).

    Proof. V is a sum over coordinates, so one coordinate is enough. The i-th smallest value of all
    rows is at most the i-th smallest honest value. So the trimmed mean is at most the mean of the
    honest values of ranks g + 1 to n - g <= N, hence at most that of ranks g + 1 to N, which lemma
    1 bounds with a = N - g. From below it is bounded by the same for the negated values. It is
    attained if g honest rows are 0 and all other rows are 1.

    **Median**: exactly (ceil(n/2) - 1) / (floor(n/2) + 1 - f), as it is the trimmed mean with g =
    ceil(n/2) - 1.

    **Lemma 2.** Let K be the N rows nearest to a point z, and T the t <= f honest rows outside K.
    Then abs(mean_K - m) <= (2 / N) sqrt(t sum over T of abs(x - z)^2).

    Proof. N (mean_K - m) is the sum of x - z over the t Byzantine rows in K minus that over T. The
    former are no farther from z than the latter, so each sum is at most as long as the sum of the
    lengths over T, which is at most sqrt(t sum over T of abs(x - z)^2).

    **Phocas**, the values nearest to the trimmed mean: exactly 4f / (n - 2f). **MeaMed**, those
    nearest to the median: at most 4f / (floor(n/2) + 1 - f).

    Proof. In one coordinate, let k be the coefficient of z. The sum over T is at most that over S,
    which is N (V + (z - m)^2) <= N (1 + k) V. So by lemma 2 the coefficient is at most 4f (1 + k) /
    N. Phocas attains it if f rows are -1, f are 1 and the others 0: it keeps the zeros and one
    side, and S is the zeros and the other side.

    **MoNNA**, the rows nearest to the trusted row z: exactly 4f (f + 1) / (n - f).

    Proof. abs(x - z)^2 <= (1 + t) abs(x - m)^2 + (1 + 1/t) abs(z - m)^2. As z is in S and not in T,
    the sum over T is at most (t + 1) N V, and lemma 2 gives the bound. It is attained if z is -f, f
    honest rows are 1, the other honest ones 0, and the Byzantine ones -2f - 1: they are as far from
    z as the ones, and are kept if they come first.

    **NNM**, then a rule of coefficient k: at most 8f (1 + k) / (n - f).

    Proof. NNM makes y_i of x_i, the mean of the N rows nearest to it. By lemma 2, abs(y_i - m)^2 is
    at most 4f / N^2 times the sum over S of abs(x - x_i)^2. The mean of that sum over i in S is 2 N
    V, so the mean of abs(y_i - m)^2 is at most 8f V / N. It is W + abs(w - m)^2, where w is the
    mean of the y_i and W their mean squared distance from w. The result is within sqrt(k W) of w,
    so its squared distance from m is at most (sqrt(k W) + abs(w - m))^2 <= (1 + k) (W + abs(w -
    m)^2).

    **SMEA**: exactly 4f / (n - 2f).

    Proof. Let K be the rows kept. In the direction of mean_K - m, the variance of K is at most its
    top eigenvalue, which is at most that of S, hence at most V. So lemma 1, in that direction for K
    and for S, gives the distance of the mean of K and S in common, n - 2f rows or more, from either
    mean: at most sqrt(f V / (n - 2f)). The input of Phocas attains the bound.

    **MDA**: at most (f sqrt(2 / (n - f)) + sqrt(f / (n - 2f)))^2, and at least 4f / (n - 2f).

    Proof. Let D be the diameter of S, c the mean of K and S in common, and T the t <= f honest rows
    outside K. D^2 <= 2 N V, as abs(x - y)^2 <= 2 abs(x - m)^2 + 2 abs(y - m)^2. Byzantine rows in K
    are at most D from c, since no two rows of K are farther apart. N (mean_K - m) is the sum of x -
    c over them, at most t D, minus that over T, which is N (c - m) in length, as the sum over S is
    N (m - c): at most N sqrt(t V / (N - t)) by lemma 1. Both grow with t. The input of Phocas has
    the ratio 4f / (n - 2f) for MDA too.

    **Geometric median** z: at most 4 ((n - f) / (n - 2f))^2.

    Proof. The sum of abs(z - x) over all rows is at most that of abs(m - x). With abs(z - x) >=
    abs(z - m) - abs(m - x) for honest rows and abs(m - x) - abs(z - x) <= abs(z - m) for the
    others, (n - 2f) abs(z - m) is at most twice the sum over S of abs(m - x), which is at most N
    sqrt(V).

    **Krum** that counts k neighbours, f <= k <= N - 1: with a = k - f + 1, at most (sqrt(2 N k /
    ((N - 1) a)) + sqrt((N - a) / a))^2.

    Proof. The squared distances of an honest row to its k nearest rows sum to at most k / (N - 1)
    times those to all other honest ones. The mean over S of the latter is 2 N V, so the mean score
    of honest rows is at most q = 2 N k V / (N - 1), and so is the least score of all. Let x be the
    row chosen and A the honest rows among x and its neighbours: A has a rows or more. Then the
    distance of x from mean_A is at most that from the rows of A in root mean square, sqrt(q / a),
    and abs(mean_A - m) <= sqrt((N - a) V / a) by lemma 1.

    **Multi-Krum** that keeps j <= N rows: at most Krum's, and at most the largest over 0 <= c <=
    min(f, j) of (sqrt(h (N - h)) / j + sqrt(2 N k c / ((N - 1) a j)) + (c / j) sqrt((N - a) / a))^2
    with h = j - c.

    Proof. The j least scores have a mean of at most q. Krum's proof bounds the distance of each
    kept row from m by its score, and sqrt is concave: hence Krum's bound. Let c of the kept rows be
    Byzantine. By lemma 1 the sum of x - m over the h others is at most h sqrt((N - h) V / h). For
    the c rows it is at most the sum of sqrt(score / a) + sqrt((N - a) V / a), and the sum of
    sqrt(score) is at most sqrt(c j q).

    References
    ----------
    The proofs are ours. Allouah et al., Fixing by mixing, AISTATS 2023, publish the definition, the
    bounds of NNM and of the geometric median, and bounds of other rules; arXiv 2602.03899 publishes
    bounds for Krum and Multi-Krum, of which only the abstract could be read.
    """
    if ":" not in rule:  # of a function from outside nothing is proven
        check_known("aggregator", [rule], FACTS)
    check_integer("rows", rows, 1)
    check_integer("byzantine", byzantine, 0)
    if rows <= 2 * byzantine:
        raise ValueError(
            f"a coefficient needs rows > 2 * byzantine = {2 * byzantine}, got {rows}; "
            f"use byzantine <= {(rows - 1) // 2}"
        )
    given = dict(options or {})
    found = [
        row.value(rows, byzantine, **given)
        for row in COEFFICIENTS
        if row.rule == rule and row.tag == PROVEN and row.kind != "at least"
        if set(given) <= set(row.options)
    ]
    alone = min(found, default=math.nan)
    if mixer is None:
        return alone
    return _after_nnm(rows, byzantine, alone) if mixer == "nnm" else math.nan


def _trimmed_mean(n: int, f: int, trim: int | None = None) -> float:
    cut = f if trim is None else trim
    return cut / (n - f - cut) if f <= cut < n / 2 else math.nan


def _median(n: int, f: int) -> float:
    return _trimmed_mean(n, f, (n - 1) // 2)


def _kept(n: int, f: int, **_) -> float:
    """Return the coefficient of the input that is worst for rules that average n - f rows."""
    return 4 * f / (n - 2 * f)


def _meamed(n: int, f: int) -> float:
    return 4 * f / (n // 2 + 1 - f)


def _monna(n: int, f: int, **_) -> float:
    return 4 * f * (f + 1) / (n - f)


def _mda(n: int, f: int, **_) -> float:
    return (f * math.sqrt(2 / (n - f)) + math.sqrt(f / (n - 2 * f))) ** 2


def _geometric_median(n: int, f: int, **_) -> float:
    return 4 * ((n - f) / (n - 2 * f)) ** 2


def _geometric_median_found(n: int, f: int, **_) -> float:
    return _median(n, f) if n % 2 else math.nan


def _krum(n: int, f: int, neighbours: int | None = None) -> float:
    honest, near = n - f, n - f - 2 if neighbours is None else neighbours
    if not max(1, f) <= near <= honest - 1:
        return math.nan
    a = near - f + 1
    from_part = math.sqrt(2 * honest * near / ((honest - 1) * a))
    return (from_part + math.sqrt((honest - a) / a)) ** 2


def _multi_krum(n: int, f: int, keep: int | None = None, neighbours: int | None = None) -> float:
    honest, near = n - f, n - f - 2 if neighbours is None else neighbours
    kept, one = n - f - 2 if keep is None else keep, _krum(n, f, near)
    if math.isnan(one) or not 1 <= kept <= honest:
        return math.nan
    a = near - f + 1

    def shift(c: int) -> float:
        """Return the distance from the honest mean when c of the kept rows are Byzantine."""
        h = kept - c
        of_honest = math.sqrt(h * (honest - h)) / kept
        of_scores = math.sqrt(2 * honest * near * c / ((honest - 1) * a * kept))
        return of_honest + of_scores + c / kept * math.sqrt((honest - a) / a)

    return min(one, max(shift(c) for c in range(min(f, kept) + 1)) ** 2)


def _after_nnm(n: int, f: int, kappa: float) -> float:
    return 8 * f / (n - f) * (1 + kappa)


OURS = "ours"
_MIXING = "Allouah et al., Fixing by mixing, 2023"
_TRILEMMA = "Allouah et al., privacy-robustness-utility trilemma, 2023"
_WEISZFELD = ("tolerance", "max_iterations")  # the bound is that of the point they approach
COEFFICIENTS = (
    Coefficient("any rule", "at least", "f / (n - 2f)", least_coefficient, PROVEN, _MIXING),
    Coefficient(
        "trimmed_mean", "exactly", "g / (n - f - g), g = trim >= f (default f)", _trimmed_mean,
        PROVEN, OURS, ("trim",),
    ),
    Coefficient(
        "trimmed_mean", "at most", "6 f / (n - 2f) (1 + f / (n - 2f))",
        lambda n, f: 6 * f * (n - f) / (n - 2 * f) ** 2, MEMORY, _MIXING,
    ),
    Coefficient(
        "median", "exactly", "(ceil(n/2) - 1) / (floor(n/2) + 1 - f)", _median, PROVEN, OURS
    ),
    Coefficient(
        "median", "at most", "4 ((n - f) / (n - 2f))^2", _geometric_median, MEMORY, _MIXING
    ),
    Coefficient(
        "geometric_median", "at most", "4 ((n - f) / (n - 2f))^2", _geometric_median, PROVEN,
        f"ours; the same in {_MIXING}, from memory", _WEISZFELD,
    ),
    Coefficient(
        "geometric_median", "at least", "(n - 1) / (n + 1 - 2f), odd n", _geometric_median_found,
        SEARCH, "ours; on a line it is the median", _WEISZFELD,
    ),
    Coefficient(
        "krum", "at most",
        "(sqrt(2Nk / ((N-1)a)) + sqrt((N-a) / a))^2; N = n-f, k = neighbours, a = k-f+1", _krum,
        PROVEN, "ours; others in arXiv 2602.03899, not read", ("neighbours",),
    ),
    Coefficient(
        "krum", "at most", "6 (n - f) / (n - 2f), k = n - f - 1",
        lambda n, f: 6 * (n - f) / (n - 2 * f), MEMORY, _MIXING,
    ),
    Coefficient(
        "multi_krum", "at most",
        "Krum's, and max over c <= min(f, j) of (sqrt(h(N-h)) / j + sqrt(2Nkc / ((N-1)aj)) + "
        "(c/j) sqrt((N-a) / a))^2; j = keep, h = j-c", _multi_krum,
        PROVEN, "ours; others in arXiv 2602.03899, not read", ("keep", "neighbours"),
    ),
    Coefficient("phocas", "exactly", "4f / (n - 2f)", _kept, PROVEN, OURS),
    Coefficient("meamed", "at most", "4f / (floor(n/2) + 1 - f)", _meamed, PROVEN, OURS),
    Coefficient(
        "monna", "exactly", "4f (f + 1) / (n - f)", _monna, PROVEN, OURS, ("trusted",)
    ),
    Coefficient(
        "mda", "at most", "(f sqrt(2 / (n - f)) + sqrt(f / (n - 2f)))^2", _mda, PROVEN, OURS,
        ("budget",),
    ),
    Coefficient("mda", "at least", "4f / (n - 2f)", _kept, PROVEN, OURS, ("budget",)),
    Coefficient("smea", "exactly", "4f / (n - 2f)", _kept, PROVEN, OURS, ("budget",)),
    Coefficient(
        "smea", "at most", "4f / (n - f) (1 + f / (n - 2f))^2",
        lambda n, f: 4 * f * (n - f) / (n - 2 * f) ** 2, MEMORY, _TRILEMMA,
    ),
    Coefficient(
        "nnm", "at most", "8f / (n - f) (1 + kappa), kappa of the rule that follows", _after_nnm,
        PROVEN, f"ours; the same in {_MIXING}, from memory", ("kappa",),
    ),
)  # fmt: skip
