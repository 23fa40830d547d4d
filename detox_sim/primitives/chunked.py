"""The primitives for Dask arrays cut along d: data larger than memory, or spread over a cluster.

A chunk of columns is served by the primitive of its own array type. (n, d) is never held: what
has the length d stays a Dask array, and only sums over chunks, (n, n) or (n, m), come back.
"""

import functools

import numpy as np

from detox_sim import primitives
from detox_sim.primitives.threads import use_threads

AT_A_TIME = 64  # chunks whose sums are held at a time


def _whole_rows(rows):
    """Return the rows with all n in each chunk; columns are cut as they are."""
    return rows if rows.numblocks[0] == 1 else rows.rechunk({0: -1})


def _alone(function, *blocks, **options):
    """Run on one thread: Dask has a thread for each chunk."""
    with use_threads(1):
        return function(*blocks, **options)


def order_mean(rows, lo, hi, nearest, chosen):
    options = {"lo": lo, "hi": hi, "nearest": nearest, "chosen": chosen}
    return map_columns(functools.partial(primitives.order_mean, **options), rows)


def map_columns(function, rows):
    rows = _whole_rows(rows)
    work = functools.partial(_alone, function)
    return rows.map_blocks(work, drop_axis=0, dtype=rows.dtype, meta=rows._meta.reshape(-1))


def _sum_over_chunks(function, *arrays):
    """Add up on the host what a function makes of each chunk of columns, in their order."""
    import dask

    pieces = [array.to_delayed().ravel() for array in arrays]
    work = dask.delayed(functools.partial(_alone, function), pure=False)
    parts = [work(*blocks) for blocks in zip(*pieces, strict=True)]
    return sum(
        np.sum(dask.compute(*parts[start : start + AT_A_TIME]), axis=0)
        for start in range(0, len(parts), AT_A_TIME)
    )


def distances(rows):
    return _sum_over_chunks(primitives.distances, _whole_rows(rows))


def cross_distances(rows, points):
    rows = _whole_rows(rows)
    if not hasattr(points, "rechunk"):
        import dask.array

        points = dask.array.from_array(points, chunks=(-1, rows.chunks[1]))
    points = _whole_rows(points).rechunk({1: rows.chunks[1]})
    return _sum_over_chunks(primitives.distances, rows, points)


def combine(weights, rows, dtype):
    rows = _whole_rows(rows)
    dtype = np.dtype(dtype or rows.dtype)
    work = functools.partial(_alone, functools.partial(primitives.combine, weights, dtype=dtype))
    chunks = ((len(weights),), rows.chunks[1])
    return rows.map_blocks(work, chunks=chunks, dtype=dtype, meta=rows._meta.astype(dtype))


def sign_sum(rows):
    return map_columns(primitives.sign_sum, rows)


def differ(rows, groups):
    def look(block):
        from detox_sim.primitives import _backend

        return _backend(block).differ(block, groups)

    return _sum_over_chunks(look, _whole_rows(rows)) > 0


def take(rows, indices):
    return rows[indices]
