"""Order statistics of columns: a sorting network over blocks that stay in cache."""

import functools

import numpy as np

from detox_sim.primitives.cpu.compiled import copy, kernel, over_columns, read_only
from detox_sim.primitives.cpu.exchange import BYTES, LONGEST, exchange, table
from detox_sim.primitives.network import chains, order_network
from detox_sim.primitives.threads import spread

ORDERED = 192  # columns in a block, at most: for 45 rows float32 96 to 256 took as long or longer
LEAST_ORDERED = 16  # columns, a multiple of those in `BYTES`
NETWORK_ROWS = 128  # above, NumPy's sort of transposed blocks is faster
SORT_BLOCK = 400_000  # values in such a block


@kernel
def _load(rows, chosen, column, block, infinity):
    width = min(block.shape[1], rows.shape[1] - column)
    for i in range(chosen.size):
        source, target = rows[chosen[i], column : column + width], block[i]
        for k in range(width):
            value = source[k]
            target[k] = value if value == value else infinity


@functools.lru_cache(maxsize=256)
def _chains(n: int, lo: int, hi: int) -> np.ndarray:
    """Return the chains that bring the order statistics lo..hi of n rows to their places."""
    return table(chains(order_network(n, lo, hi).tolist(), LONGEST))


@kernel
def _exchange(block, chains):
    for m in range(chains.shape[0]):
        exchange(block, chains, m)


@kernel
def _mean_of_ranks(block, lo, hi, mean):
    mean[:] = 0.0
    for i in range(lo, hi + 1):
        row = block[i]
        for k in range(mean.size):
            mean[k] += row[k]
    for k in range(mean.size):
        mean[k] /= hi - lo + 1


@kernel
def _mean_of_nearest(block, count, centre, mean):
    """Average in each sorted column the `count` values nearest its centre."""
    n = block.shape[0]
    mean[:] = 0.0
    for i in range(n):
        row = block[i]
        after, before = block[min(i + count, n - 1)], block[max(i - count, 0)]
        for k in range(mean.size):
            value = np.float64(row[k])
            passed = i + count < n and centre[k] - value > np.float64(after[k]) - centre[k]
            reached = i < count or centre[k] - np.float64(before[k]) > value - centre[k]
            mean[k] += value if reached and not passed else 0.0
    for k in range(mean.size):
        mean[k] /= count


@kernel
def _finish(block, lo, hi, nearest, first, second, out):
    _mean_of_ranks(block, lo, hi, first)
    if nearest > 0:
        _mean_of_nearest(block, nearest, first, second)
        first = second
    copy(first, out)


@kernel
def _order_chunk(rows, chosen, start, stop, chains, lo, hi, nearest, block, means, infinity, out):
    for column in range(start, stop, block.shape[1]):
        _load(rows, chosen, column, block, infinity)
        _exchange(block, chains)
        target = out[column : min(column + block.shape[1], stop)]
        _finish(block, lo, hi, nearest, means[0], means[1], target)


def _aligned(n: int, width: int, dtype) -> np.ndarray:
    """Return zeros (n, width) that begin with a line of the cache, which no vector then crosses."""
    size = n * width * dtype.itemsize
    memory = np.zeros(size + BYTES, np.uint8)
    start = -memory.__array_interface__["data"][0] % BYTES
    return memory[start : start + size].view(dtype).reshape(n, width)


def order_mean(rows, lo, hi, nearest, chosen):
    rows, n = read_only(rows), chosen.size
    out = np.empty(rows.shape[1], rows.dtype)
    infinity = rows.dtype.type(np.inf)
    wanted = (0, n - 1) if nearest else (lo, hi)

    def by_network(start, stop):
        width = min(ORDERED, -(-(stop - start) // LEAST_ORDERED) * LEAST_ORDERED)
        block, means = _aligned(n, width, rows.dtype), np.empty((2, width))
        ordering = _chains(n, *wanted)
        _order_chunk(
            rows, chosen, start, stop, ordering, lo, hi, nearest or 0, block, means, infinity, out
        )

    def by_sorting(chunk):
        columns = slice(*chunk)
        part = rows[:, columns] if n == len(rows) else rows[chosen, columns]
        turned = np.array(part.T, order="C")
        np.copyto(turned, infinity, where=np.isnan(turned))
        turned.sort(axis=1)
        means = np.empty((2, len(turned)))
        _finish(np.ascontiguousarray(turned.T), lo, hi, nearest or 0, *means, out[columns])

    if n <= NETWORK_ROWS:
        over_columns(by_network, rows)
    else:
        width = max(8, SORT_BLOCK // n)
        starts = range(0, rows.shape[1], width)
        spread(by_sorting, [(start, min(start + width, rows.shape[1])) for start in starts])
    return out
