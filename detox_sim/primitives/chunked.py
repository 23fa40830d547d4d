"""The primitives for Dask arrays cut along d: data larger than memory, or spread over a cluster.

A chunk of columns is served by the primitive of its own array type. No array (n, d) is held in
memory: results of length d stay Dask arrays, and only sums over chunks, (n, n) or (n, m), return.
"""

import functools
from collections.abc import Iterator

import numpy as np

from detox_sim import primitives
from detox_sim.arrays import kind
from detox_sim.primitives import reference, sums
from detox_sim.primitives.threads import use_threads

AT_A_TIME = 64  # chunks whose sums are in memory at a time


def _whole_rows(rows):
    """Return the rows with all n in each chunk; the columns stay cut as they were."""
    return rows if rows.numblocks[0] == 1 else rows.rechunk({0: -1})


def _on_one_thread(function, *chunks, **options):
    """Call a function on one thread: Dask has a thread for each chunk."""
    with use_threads(1):
        return function(*chunks, **options)


def order_mean(rows, lo, hi, nearest, chosen):
    options = {"lo": lo, "hi": hi, "nearest": nearest, "chosen": chosen}
    return map_columns(functools.partial(primitives.order_mean, **options), rows)


def map_columns(function, rows):
    rows = _whole_rows(rows)
    work = functools.partial(_on_one_thread, function)
    return rows.map_blocks(work, drop_axis=0, dtype=rows.dtype, meta=rows._meta.reshape(-1))


def _over_chunks(function, *arrays, places=()) -> Iterator:
    """Yield the function's value for each chunk of columns (and its place), in their order."""
    import dask

    pieces = [array.to_delayed().ravel() for array in arrays] + ([places] if places else [])
    work = dask.delayed(functools.partial(_on_one_thread, function), pure=False)
    parts = [work(*blocks) for blocks in zip(*pieces, strict=True)]
    for start in range(0, len(parts), AT_A_TIME):
        yield from dask.compute(*parts[start : start + AT_A_TIME])


def _sum_over_chunks(function, *arrays):
    return sum(_over_chunks(function, *arrays))


def distances(rows):
    return _measure("distance_sums", _whole_rows(rows))


def cross_distances(rows, points):
    rows = _whole_rows(rows)
    if not hasattr(points, "rechunk"):
        import dask.array

        points = dask.array.from_array(points, chunks=(-1, rows.chunks[1]))
    return _measure("cross_sums", rows, _whole_rows(points).rechunk({1: rows.chunks[1]}))


def _measure(name: str, *arrays) -> np.ndarray:
    """Return squared distances, summed over chunks by a function of `cpu.pairwise`.

    The bits are those of the whole array where NumPy chunks start at whole units.
    """
    starts = np.cumsum([0, *arrays[0].chunks[1][:-1]])
    if kind(arrays[0]._meta) != "numpy" or (starts % sums.UNIT).any():
        return _sum_over_chunks(primitives.distances, *arrays)
    blocks: sums.Partials = {}
    firsts = (starts // sums.UNIT).tolist()
    for part in _over_chunks(functools.partial(_sums_of_chunk, name), *arrays, places=firsts):
        sums.merge(blocks, part)
    return sums.total(blocks)


def _sums_of_chunk(name: str, *chunks_and_place) -> sums.Partials:
    from detox_sim.primitives.cpu import pairwise

    return getattr(pairwise, name)(*chunks_and_place)


def combine(weights, rows, dtype):
    rows = _whole_rows(rows)
    dtype = np.dtype(dtype or rows.dtype)
    work = functools.partial(
        _on_one_thread, functools.partial(primitives.combine, weights, dtype=dtype)
    )
    chunks = ((len(weights),), rows.chunks[1])
    return rows.map_blocks(work, chunks=chunks, dtype=dtype, meta=rows._meta.astype(dtype))


def sign_sum(rows):
    return map_columns(primitives.sign_sum, rows)


def equal_rows(rows, groups, more):
    rows = reference.joined(rows, more)

    def look(block):
        labels = primitives.equal_rows(block, groups)
        return labels[:, :, None] != labels[:, None, :]

    differ = _sum_over_chunks(look, _whole_rows(rows)) > 0
    return (~differ).argmax(axis=2)


def take(rows, indices):
    return rows[indices]


majority = functools.partial(reference.majority, equal_rows=equal_rows)
mean = functools.partial(reference.mean, combine=combine)
moments = functools.partial(reference.moments, combine=combine)
