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
    dims = tuple(dim for dim in values.dims if dim != "seed")
    seeds = values.transpose(*dims, "seed").values
    count = np.count_nonzero(~np.isnan(seeds), axis=-1)
    some, several = np.where(count > 0, count, np.nan), np.where(count > 1, count, np.nan)
    mean = np.nansum(seeds, axis=-1) / some
    squares = np.nansum((seeds - mean[..., None]) ** 2, axis=-1)
    error = np.sqrt(squares / (several - 1) / several)
    half = error * stats.t.ppf((1 + LEVEL) / 2, several - 1)
    distance = abs(mean - threshold)
    exact = np.where(distance > 0, np.inf, 0.0)  # all seeds agree
    statistic = np.where(error > 0, distance / np.where(error > 0, error, np.nan), exact)
    p = 2 * stats.t.sf(statistic, several - 1)
    adjusted = p
    if family is not None:
        axis = dims.index(family)
        adjusted = np.moveaxis(holm(np.moveaxis(p, axis, -1)), -1, axis)
    arrays = {
        "mean": mean,
        "low": mean - half,
        "high": mean + half,
        "p": p,
        "adjusted": adjusted,
        "seeds": count,
    }
    labels = {name: one for name, one in values.coords.items() if "seed" not in one.dims}
    return xr.Dataset({name: (dims, array) for name, array in arrays.items()}, labels)


def holm(p) -> np.ndarray:
    """Return p values adjusted by Holm's method over the last axis; NaN is no test and stays.

    Examples
    --------
    >>> holm([0.01, 0.04, float("nan"), 0.03]).round(3).tolist()
    [0.03, 0.06, nan, 0.06]
    """
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, axis=-1)  # NaN is last
    tests = np.count_nonzero(~np.isnan(p), axis=-1, keepdims=True)
    steps = np.take_along_axis(p, order, -1) * (tests - np.arange(p.shape[-1]))
    adjusted = np.empty_like(p)
    np.put_along_axis(
        adjusted, order, np.minimum(np.maximum.accumulate(steps, axis=-1), 1.0), axis=-1
    )
    return adjusted


def decisions(found: xr.Dataset, threshold: float = THRESHOLD) -> xr.DataArray:
    """Return on which side of the threshold an effect lies, of an `estimate` at that threshold.

    Returns
    -------
    xarray.DataArray of str
        "above" or "below" where the adjusted p is below 0.05 and there are at least five seeds,
        else "undecided"; "not run" without any seed.
    """
    sure = (found.adjusted.values < 1 - LEVEL) & (found.seeds.values >= SEEDS)
    side = np.where(found["mean"].values > threshold, "above", "below")
    words = np.where(found.seeds.values > 0, np.where(sure, side, UNDECIDED), NOT_RUN)
    return found.seeds.copy(data=words).rename(None)


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
