"""Fitted exponents with their intervals."""

import numpy as np
from scipy import stats

LEVEL = 0.95


class Exponent(tuple):
    """A fitted exponent with its 95 % Student t interval: (slope, low, high)."""

    def __str__(self) -> str:
        slope, low, high = self
        return f"{slope:.2f} ({low:.2f} to {high:.2f})" if np.isfinite(slope) else "-"


def exponent(x, y, level: float = LEVEL) -> Exponent:
    """Return the slope of log y against log x with its Student t interval.

    Examples
    --------
    >>> str(exponent([1, 2, 4], [3, 12, 48]))
    '2.00 (2.00 to 2.00)'
    """
    x, y = (np.asarray(values, dtype=float) for values in (x, y))
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3:
        return Exponent((np.nan,) * 3)
    line = stats.linregress(np.log(x[known]), np.log(y[known]))
    half = stats.t.ppf((1 + level) / 2, known.sum() - 2) * line.stderr
    return Exponent(float(value) for value in (line.slope, line.slope - half, line.slope + half))
