"""The primitives for CuPy float32 and float64: generated kernels, compiled on first use."""

import functools

import numpy as np

from detox_sim.arrays import require, to_host
from detox_sim.primitives import cuda, reference

BLOCKS = 4096  # enough to fill a GPU; a thread serves several columns where there are more
CHUNKS = 1024  # partial sums of distances, while they stay small
PARTIAL_BYTES = 1 << 25
WIDTH = 1 << 14  # columns in which a block looks for a difference
SORT_VALUES = 1 << 22  # values sorted at a time where registers do not suffice

take = reference.take


@functools.lru_cache(maxsize=256)
def _kernel(name: str, *arguments):
    source = getattr(cuda, name)(*arguments)
    return require("cupy").RawModule(code=source, options=cuda.OPTIONS).get_function(name)


def _grid(d: int) -> int:
    return min(BLOCKS, -(-d // cuda.BLOCK))


def _c_ordered(rows):
    return require("cupy").ascontiguousarray(rows)


def order_mean(rows, lo, hi, nearest, chosen):
    cupy, rows = require("cupy"), _c_ordered(rows)
    n, d = chosen.size, rows.shape[1]
    if n > cuda.REGISTER_ROWS:
        return _order_mean_by_sorting(rows, lo, hi, nearest, chosen)
    out = cupy.empty(d, rows.dtype)
    kernel = _kernel("order_mean", rows.dtype.name, n, lo, hi, nearest or 0)
    kernel((_grid(d),), (cuda.BLOCK,), (rows, cupy.asarray(chosen), np.int64(d), out))
    return out


def _order_mean_by_sorting(rows, lo, hi, nearest, chosen):
    """Order columns by sorting transposed blocks, which CuPy does without arrays of indices."""
    cupy, width = require("cupy"), max(1, SORT_VALUES // chosen.size)
    parts, where = [], cupy.asarray(chosen)
    for start in range(0, rows.shape[1], width):
        turned = cupy.ascontiguousarray(rows[:, start : start + width][where].T)
        turned = cupy.where(cupy.isnan(turned), cupy.inf, turned).astype(rows.dtype)
        turned.sort(axis=1)
        parts.append(reference.mean_of_sorted(turned.T, lo, hi, nearest))
    return cupy.concatenate(parts).astype(rows.dtype)


def distances(rows):
    return _distances(rows, rows, lower=True)


def cross_distances(rows, points):
    return _distances(rows, points, lower=False)


def _distances(rows, points, lower: bool) -> np.ndarray:
    cupy, rows, points = require("cupy"), _c_ordered(rows), _c_ordered(points)
    (n, d), m = rows.shape, points.shape[0]
    chunks = max(1, min(CHUNKS, PARTIAL_BYTES // (8 * n * m), -(-d // cuda.SIDE)))
    width = -(-d // chunks)
    chunks = -(-d // width)
    partial = cupy.zeros((chunks, n, m))
    kernel = _kernel("distances", rows.dtype.name, points.dtype.name)
    grid = (chunks, -(-n // cuda.SIDE), -(-m // cuda.SIDE))
    sizes = (np.int64(n), np.int64(m), np.int64(d), np.int64(width), np.int32(lower))
    kernel(grid, (cuda.BLOCK,), (rows, points, *sizes, partial))
    return to_host(partial.sum(axis=0))


def combine(weights, rows, dtype):
    cupy, rows = require("cupy"), _c_ordered(rows)
    m, (n, d) = len(weights), rows.shape
    dtype = np.dtype(dtype or rows.dtype)
    outputs = 1 if m == 1 else cuda.OUTPUTS
    out = cupy.empty((m, d), dtype)
    kernel = _kernel("combine", rows.dtype.name, dtype.name, outputs)
    sizes = (np.int64(n), np.int64(m), np.int64(d))
    grid = (_grid(d), -(-m // outputs))
    kernel(grid, (cuda.BLOCK,), (rows, cupy.asarray(weights), *sizes, out))
    return out


def equal_rows(rows, groups, more):
    rows = reference.joined(rows, more)
    return reference.first_equal(rows, groups, differ)


def differ(rows, groups):
    cupy, rows = require("cupy"), _c_ordered(rows)
    (m, r), d = groups.shape, rows.shape[1]
    different = cupy.zeros((m, r), cupy.int32)
    kernel = _kernel("differ", rows.dtype.name)
    sizes = (np.int32(r), np.int64(d), np.int64(WIDTH))
    grid = (-(-d // WIDTH), m)
    kernel(grid, (cuda.BLOCK,), (rows, cupy.asarray(groups), *sizes, different))
    return to_host(different) != 0


def sign_sum(rows):
    cupy, rows = require("cupy"), _c_ordered(rows)
    n, d = rows.shape
    out = cupy.empty(d, rows.dtype)
    kernel = _kernel("sign_sum", rows.dtype.name)
    kernel((_grid(d),), (cuda.BLOCK,), (rows, np.int64(n), np.int64(d), out))
    return out


majority = functools.partial(reference.majority, equal_rows=equal_rows)
mean = functools.partial(reference.mean, combine=combine)
moments = functools.partial(reference.moments, combine=combine)
