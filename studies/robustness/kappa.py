"""Proven bounds on the robustness coefficient kappa of a rule, for f Byzantine of n rows."""

import math


def lower_bound(n: int, f: int) -> float:
    """Return f / (n - 2f): the kappa of no rule is smaller.

    Examples
    --------
    >>> lower_bound(11, 4)
    1.3333333333333333
    """
    return f / (n - 2 * f)


def upper_bound(aggregator: str, mixer: str | None, n: int, f: int) -> float:
    """Return the proven bound on kappa of a rule with default options; NaN where none is known.

    Parameters
    ----------
    aggregator : str
    mixer : str or None
    n, f : int
        Rows, and those that are Byzantine; n > 2f.

    Examples
    --------
    >>> upper_bound("krum", None, 10, 2), upper_bound("medoid", None, 10, 2)
    (8.0, nan)
    >>> upper_bound("krum", "nnm", 10, 2)
    18.0

    References
    ----------
    Allouah et al., Fixing by mixing, AISTATS 2023; for SMEA: Allouah et al., On the
    privacy-robustness-utility trilemma, ICML 2023. Quoted from memory.
    """
    grown = 1 + lower_bound(n, f)
    alone = {
        "krum": 6 * grown,
        "geometric_median": 4 * grown**2,
        "median": 4 * grown**2,
        "trimmed_mean": 6 * lower_bound(n, f) * grown,
        "smea": 4 * f / (n - f) * grown**2,
    }.get(aggregator, math.nan)
    if mixer is None:
        return alone
    return 8 * f / (n - f) * (1 + alone) if mixer == "nnm" else math.nan
