"""Published bounds, prescriptions and costs of DETOX."""

from math import log, log2
from typing import NamedTuple

from detox_sim.catalogue import check_integer, check_known, check_number
from detox_sim.theory.groups import check_workers

_PROVEN = "proven (as published, quoted from memory)"
BOUNDS = {"paper": _PROVEN, "paper-r3": _PROVEN, "sharp": "numerical"}


def expected_distorted_files_bound(
    workers: int, byzantine: int, copies: int, *, form: str = "paper"
) -> float:
    """Return an upper bound on the expected number of distorted files, with e = q / p.

    Parameters
    ----------
    workers, byzantine, copies : int
        p, q < p / 2, and r odd that divides p; "paper" and "sharp" are for r >= 3.
    form : {"paper", "paper-r3", "sharp"}
        "paper": (q / r) (40 e (1 - e))^((r - 1) / 2), theorem 1 as remembered.
        "paper-r3": q (4 e - 2 e^2) / 3, for r = 3 only.
        "sharp": the first with 4 for 40; numerical: it holds at every r in 3..11, p < 400 and
        q < p / 2, and is not proven here. `BOUNDS` says which forms are proven.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        For an unknown form, impossible (p, q, r), or "paper-r3" at another r.

    Examples
    --------
    >>> [round(expected_distorted_files_bound(45, 5, 3, form=form), 4) for form in BOUNDS]
    [6.5844, 0.6996, 0.6584]

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, theorem 1 and its appendix; quoted from memory.
    """
    workers, byzantine, copies = check_workers(workers, byzantine, copies)
    check_known("form of the bound", [form], BOUNDS)
    share = byzantine / workers
    if form == "paper-r3":
        if copies != 3:
            raise ValueError(f"the bound 'paper-r3' is for copies=3, got {copies}; use 'sharp'")
        return byzantine * (4 * share - 2 * share**2) / 3
    constant = 40 if form == "paper" else 4
    return byzantine / copies * (constant * share * (1 - share)) ** ((copies - 1) / 2)


def recommended_copies(byzantine: int) -> int:
    """Return the least odd number of copies >= 3 + 2 log2(byzantine), or 1 for byzantine = 0.

    Examples
    --------
    >>> [recommended_copies(q) for q in (0, 1, 2, 5, 10, 22)]
    [1, 3, 5, 9, 11, 13]

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, corollary 2.
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

    Parameters
    ----------
    delta : float
        Above 0 and below 1/2.

    Returns
    -------
    float
        1 + 2 ln(1 / delta), whatever p and q, on the condition that the copies are at least
        3 + 2 log2(q) (`recommended_copies`) and q / p is at most a constant that is not given.

    Raises
    ------
    ValueError
        For another `delta`.

    Examples
    --------
    >>> round(high_probability_distorted_files(0.05), 6)
    6.991465

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, corollary 2; quoted from memory.
    """
    _check_delta(delta)
    return 1 + 2 * log(1 / delta)


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


class Complexity(NamedTuple):
    """Orders of the work of a round, with T the time to compute all gradients once.

    p workers, d parameters, r copies, k vote groups, I steps of the geometric median. "compute" is
    the work of all workers together, "server" that of the server.
    """

    method: str
    compute: str
    server: str
    total: str


def complexity() -> list[Complexity]:
    """Return the orders of work of each method: of the workers, of the server and in total.

    Examples
    --------
    >>> complexity()[0]
    Complexity(method='mean', compute='T', server='p d', total='T + p d')

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, section 4.1, quoted from memory, for the mean, the rules of
    Krum's family, and DETOX with the mean in k << sqrt(p) vote groups; the others are derived here.
    """
    return [
        Complexity("mean", "T", "p d", "T + p d"),
        Complexity("median", "T", "p log(p) d", "T + p log(p) d"),
        Complexity("geometric_median", "T", "I p d", "T + I p d"),
        Complexity("krum, multi_krum, bulyan", "T", "p² d", "T + p² d"),
        Complexity("DETOX: vote, mean", "r T", "p d + p d / r", "r T + p d"),
        Complexity(
            "DETOX: vote, mean in k groups, any of them", "r T, r ~ ln q",
            "p d + p d / r + k² d", "T ln q + p d",
        ),
        Complexity(
            "DETOX: vote, multi_krum in k groups, mean", "r T",
            "p d + p² d / (k r²) + k d", "r T + p d + p² d / (k r²)",
        ),
        Complexity(
            "DETOX: vote, krum or bulyan on all votes", "r T",
            "p d + p² d / r²", "r T + p d + p² d / r²",
        ),
    ]  # fmt: skip


def complexity_markdown() -> str:
    """Return `complexity` as a table in Markdown.

    Examples
    --------
    >>> print(complexity_markdown().splitlines()[2])
    | mean | T | p d | T + p d |
    """
    lines = ["| method | compute | server | total |", "|---|---|---|---|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in complexity()])
