"""Intervals of a mean over seeds."""

import numpy as np
from numpy.typing import ArrayLike


def student_t(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return the Student t interval of a mean over seeds; seaborn takes it as `errorbar`.

    Parameters
    ----------
    values : array-like
        One a seed. NaN is left out; fewer than two leave no interval.
    level : float

    Examples
    --------
    >>> low, high = student_t([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    from scipy.special import stdtrit

    known = np.asarray(values, dtype=float)
    known = known[~np.isnan(known)]
    if known.size < 2:
        centre = float(known.mean()) if known.size else float("nan")
        return centre, centre
    half = stdtrit(known.size - 1, (1 + level) / 2) * known.std(ddof=1) / known.size**0.5
    return float(known.mean() - half), float(known.mean() + half)


def interval(values: ArrayLike) -> str:
    """Return "mean ± half" with the Student t interval over seeds, or the mean of one seed.

    Examples
    --------
    >>> interval([0.91, 0.92, 0.93])
    '0.920 ± 0.025'
    """
    low, high = student_t(values)
    centre = f"{(low + high) / 2:.3f}"
    seeds = np.count_nonzero(~np.isnan(np.asarray(values, dtype=float)))
    return f"{centre} ± {(high - low) / 2:.3f}" if seeds > 1 else centre
