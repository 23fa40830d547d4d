"""Mean effects over seeds: intervals, adjusted p values and decisions; shares of few runs."""

import numpy as np
import xarray as xr
from scipy import stats

THRESHOLD = 0.02  # of accuracy: a smaller effect is none
SEEDS = 5  # at least, for anything called decided
LEVEL = 0.95
UNDECIDED, NOT_RUN = "undecided", "not run"


def estimate(
    values: xr.DataArray, threshold: float = THRESHOLD, family: str | None = "rule"
) -> xr.Dataset:
    """Return the mean effect over seeds, its interval, and how surely it is not the threshold.

    Parameters
    ----------
    values : xarray.DataArray
        (..., seed), already paired; NaN is left out.
    threshold : float
    family : str, optional
        The axis whose labels are tested together.

    Returns
    -------
    xarray.Dataset
        Over the other axes: `mean`; `low` and `high`, the 95 % Student t interval; `p`, two-sided,
        of the mean being the threshold; `adjusted`, the same by Holm's method over the family; and
        `seeds`. Fewer than two seeds leave no interval and no p.
    """
    count = values.notnull().sum("seed")
    mean, deviation = values.mean("seed"), values.std("seed", ddof=1).where(count > 1)
    error = deviation / np.sqrt(count.where(count > 1))
    freedom = (count - 1).where(count > 1)
    half = error * stats.t.ppf((1 + LEVEL) / 2, freedom)
    distance = abs(mean - threshold)
    exact = xr.where(distance > 0, np.inf, 0.0)  # all seeds agree
    statistic = xr.where(error > 0, distance / error.where(error > 0), exact)
    p = mean.copy(data=2 * stats.t.sf(statistic, freedom)).where(count > 1)
    adjusted = p if family is None else xr.apply_ufunc(
        holm, p, input_core_dims=[[family]], output_core_dims=[[family]], vectorize=True
    )  # fmt: skip
    return xr.Dataset(
        {
            "mean": mean,
            "low": mean - half,
            "high": mean + half,
            "p": p,
            "adjusted": adjusted,
            "seeds": count,
        }
    )


def holm(p) -> np.ndarray:
    """Return p values adjusted by Holm's method; NaN is no test and stays.

    Examples
    --------
    >>> holm([0.01, 0.04, float("nan"), 0.03]).round(3).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]
    adjusted = np.full(p.shape, np.nan)
    steps = p[order] * np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def decisions(found: xr.Dataset, threshold: float = THRESHOLD) -> xr.DataArray:
    """Return on which side of the threshold an effect lies, of an `estimate` at that threshold.

    Returns
    -------
    xarray.DataArray of str
        "above" or "below" where the adjusted p is below 0.05 and there are at least five seeds,
        else "undecided"; "not run" without any seed.
    """
    sure = (found.adjusted < 1 - LEVEL) & (found.seeds >= SEEDS)
    side = xr.where(found["mean"] > threshold, "above", "below")
    return xr.where(found.seeds > 0, xr.where(sure, side, UNDECIDED), NOT_RUN)


def binomial_interval(count, runs, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Return the interval of Clopper and Pearson of a share; NaN without runs.

    Examples
    --------
    >>> [round(float(end), 3) for end in binomial_interval(0, 5)]
    [0.0, 0.522]
    """
    count, runs = np.asarray(count, dtype=float), np.asarray(runs, dtype=float)
    tail = (1 - level) / 2
    low = np.where(count > 0, stats.beta.ppf(tail, count, runs - count + 1), 0.0)
    high = np.where(count < runs, stats.beta.ppf(1 - tail, count + 1, runs - count), 1.0)
    return np.where(runs > 0, low, np.nan), np.where(runs > 0, high, np.nan)
