"""Calls on few values: beside the best peer, and the time that does not grow with the columns."""

import numpy as np
import xarray as xr

SMALL = 5e6  # values
MOST_OVERHEAD = 20.0  # microseconds that a call is meant to add to its kernel


def beside_peers(dataset: xr.Dataset) -> xr.Dataset:
    """Return our time over the best peer's, at the sizes of at most `SMALL` values.

    Returns
    -------
    xarray.Dataset
        ``ratio`` (size, kernel), of the medians, above 1 where a peer is faster; ``always``: a
        peer is faster in every turn.

    Examples
    --------
    >>> times = xr.Dataset({"milliseconds": (("size", "kernel", "repeat"), [[[3.0, 1.0, 3.0]]]),
    ...                     "peer_milliseconds": (("size", "kernel", "peer", "repeat"),
    ...                                           [[[[2.0, 2.0, 2.0]]]]),
    ...                     "rows": ("size", [15.0]), "columns": ("size", [1000.0])})
    >>> found = beside_peers(times)
    >>> found.ratio.item(), found.always.item()
    (1.5, False)
    """
    small = dataset.isel(size=np.flatnonzero((dataset.rows * dataset.columns).values <= SMALL))
    best = small.peer_milliseconds.median("repeat").min("peer")
    always = (small.milliseconds > small.peer_milliseconds.min("peer")).all("repeat")
    return xr.Dataset({"ratio": small.milliseconds.median("repeat") / best, "always": always})


def overhead(dataset: xr.Dataset) -> xr.DataArray:
    """Return microseconds of a call on one column, by (size, kernel); the median over the turns."""
    least = dataset.least_milliseconds.median("repeat")
    return 1e3 * least.dropna("size", how="all").rename("overhead")


def finding(dataset: xr.Dataset) -> list[str]:
    """Return the sentences on small calls; none where nothing was measured."""
    rest = overhead(dataset)
    return _beside(dataset) + [_overhead(rest.sel(size=size)) for size in rest["size"].values]


def _beside(dataset: xr.Dataset) -> list[str]:
    found = beside_peers(dataset)
    if not found.ratio.notnull().any():
        return []
    slower = found.ratio.where(found.ratio > 1).stack(case=("kernel", "size")).dropna("case")
    cases = [f"{kernel} at {size}" for kernel, size in slower.case.values]
    return [
        f"**Small calls** (at most {SMALL / 1e6:.0f} million values): slower than the best peer in "
        f"{slower.size} of {int(found.ratio.count())} comparisons, in every turn in "
        f"{int(found.always.sum())}{_listed(cases, slower, '.2f')}."
    ]


def _overhead(one: xr.DataArray) -> str:
    one = one.dropna("kernel").sortby(one)
    above = one[one.values >= MOST_OVERHEAD]
    return (
        f"**Overhead** at {one['size'].item()}, the time of a call on one column: below "
        f"{MOST_OVERHEAD:.0f} microseconds in {one.size - above.size} of {one.size} "
        f"kernels{_listed(above.kernel.values, above, '.0f')}."
    )


def _listed(names, values: xr.DataArray, digits: str) -> str:
    pairs = zip(names, values.values, strict=True)
    return "".join(f"; {name} {value:{digits}}" for name, value in pairs)
