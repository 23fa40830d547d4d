"""The primitives for NumPy float32 and float64: numba kernels over blocks of columns.

A block stays in cache, threads take turns at chunks of blocks, and no sum depends on the number
of threads or on the kind of processor.
"""

import contextlib
import threading

import numba
import numpy as np

from detox_sim.primitives import trees
from detox_sim.primitives.network import order_network
from detox_sim.primitives.threads import spread, use_threads
from detox_sim.primitives.tile import TILE, add_column, add_tile

CHUNK = 1 << 21  # values that a thread takes at a time
ORDERED, MEASURED, SUMMED = 256, 256, trees.UNIT  # columns in a block, by what is done to it
NETWORK_ROWS = 128  # above, NumPy's sort of transposed blocks is faster
SORT_BLOCK = 400_000  # values in such a block
MANY_ROWS = 1000  # rows that are measured against points at a time

kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


def _chunks(rows, multiple: int = SUMMED) -> list[tuple[int, int]]:
    """Cut the columns into chunks (start, stop), whatever the number of threads."""
    n, d = rows.shape
    width = max(1, CHUNK // n // multiple) * multiple
    return [(start, min(start + width, d)) for start in range(0, d, width)]


def _read_only(rows: np.ndarray) -> np.ndarray:
    """Return the rows C-ordered and read-only: one type, so that each kernel compiles once."""
    rows = np.ascontiguousarray(rows).view()
    rows.flags.writeable = False
    return rows


# --- order_mean ---------------------------------------------------------------------------------


@kernel
def _load(rows, chosen, column, block, infinity):
    width = min(block.shape[1], rows.shape[1] - column)
    for i in range(chosen.size):
        source, target = rows[chosen[i], column : column + width], block[i]
        for k in range(width):
            value = source[k]
            target[k] = value if value == value else infinity


@kernel
def _exchange(block, network):
    for m in range(network.shape[0]):
        low, high = block[network[m, 0]], block[network[m, 1]]
        for k in range(block.shape[1]):
            a, b = low[k], high[k]
            less = a < b
            low[k] = a if less else b
            high[k] = b if less else a


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
    for k in range(out.size):
        out[k] = first[k]


@kernel
def _order_chunk(rows, chosen, start, stop, network, lo, hi, nearest, block, means, infinity, out):
    for column in range(start, stop, block.shape[1]):
        _load(rows, chosen, column, block, infinity)
        _exchange(block, network)
        target = out[column : min(column + block.shape[1], stop)]
        _finish(block, lo, hi, nearest, means[0], means[1], target)


def order_mean(rows, lo, hi, nearest, chosen):
    rows, n = _read_only(rows), chosen.size
    out = np.empty(rows.shape[1], rows.dtype)
    infinity = rows.dtype.type(np.inf)
    wanted = (0, n - 1) if nearest else (lo, hi)

    def by_network(chunk):
        block = np.zeros((n, ORDERED), rows.dtype)
        means = np.empty((2, ORDERED))
        network = order_network(n, *wanted)
        _order_chunk(
            rows, chosen, *chunk, network, lo, hi, nearest or 0, block, means, infinity, out
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
        spread(by_network, _chunks(rows))
    else:
        width = max(8, SORT_BLOCK // n)
        starts = range(0, rows.shape[1], width)
        spread(by_sorting, [(start, min(start + width, rows.shape[1])) for start in starts])
    return out


# --- distances ----------------------------------------------------------------------------------


@kernel
def _load_float64(rows, column, stop, block):
    width = min(block.shape[1], stop - column)
    for i in range(rows.shape[0]):
        source, target = rows[i, column : column + width], block[i]
        for k in range(width):
            target[k] = source[k]
        for k in range(width, block.shape[1]):
            target[k] = 0.0


@kernel
def _carry(pending, value, unit):
    """Add the sum of one more unit to those before it, in pairs, pairs of pairs, and so on."""
    level = 0
    while (unit >> level) & 1:
        value += pending[level]
        level += 1
    pending[level] = value


@kernel
def _distances_node(rows, start, units, block, value, pending):
    for unit in range(units):
        value[:] = 0.0
        column = start + unit * SUMMED
        stop = min(column + SUMMED, rows.shape[1])
        for first in range(column, stop, block.shape[1]):
            _load_float64(rows, first, stop, block)
            for i in range(0, block.shape[0], TILE):
                for j in range(0, i + 1, TILE):
                    add_tile(block, block, i, j, value)
        _carry(pending, value, unit)


@kernel
def _cross_node(rows, points, start, units, block, others, value, pending):
    for unit in range(units):
        value[:] = 0.0
        column = start + unit * SUMMED
        stop = min(column + SUMMED, rows.shape[1])
        for first in range(column, stop, block.shape[1]):
            _load_float64(rows, first, stop, block)
            _load_float64(points, first, stop, others)
            for i in range(0, block.shape[0], TILE):
                if others.shape[0] == 1:
                    add_column(block, others, i, 0, value)
                else:
                    for j in range(0, others.shape[0], TILE):
                        add_tile(block, others, i, j, value)
        _carry(pending, value, unit)


def _blocks_of(count: int) -> np.ndarray:
    return np.zeros((-(-count // TILE) * TILE, MEASURED))


def _in_nodes(rows, first: int, work) -> trees.Nodes:
    """Add up ``work(column, level)`` over the columns of rows, which start at unit `first`."""
    nodes: trees.Nodes = {}
    lock = threading.Lock()

    def add(node):
        level, index = node
        part = {node: work(((index << level) - first) * SUMMED, level)}
        with lock:
            trees.merge(nodes, part)

    stop = first + -(-rows.shape[1] // SUMMED)
    spread(add, trees.cut(first, stop, max(1, CHUNK // len(rows) // SUMMED)))
    return nodes


def distance_nodes(rows, first: int = 0) -> trees.Nodes:
    """Return sums of squared differences, only i >= j, of columns that start at unit `first`."""
    rows, n = _read_only(rows), len(rows)

    def work(column, level):
        block = _blocks_of(n)
        value = np.empty((len(block), len(block)))
        pending = np.empty((level + 1, *value.shape))
        _distances_node(rows, column, 1 << level, block, value, pending)
        return pending[level, :n, :n]

    return _in_nodes(rows, first, work)


def distances(rows):
    return symmetric(trees.total(distance_nodes(rows)))


def symmetric(lower: np.ndarray) -> np.ndarray:
    """Return the matrix whose lower half is given."""
    return np.tril(lower) + np.tril(lower, -1).T


def cross_nodes(rows, points, first: int = 0) -> trees.Nodes:
    """Return sums of squared differences to points, of columns that start at unit `first`."""
    rows, points = _read_only(rows), _read_only(points)

    def work(column, level):
        block = _blocks_of(len(rows))
        others = np.zeros((1, MEASURED)) if len(points) == 1 else _blocks_of(len(points))
        value = np.empty((len(block), len(others)))
        pending = np.empty((level + 1, *value.shape))
        _cross_node(rows, points, column, 1 << level, block, others, value, pending)
        return pending[level, : len(rows), : len(points)]

    return _in_nodes(rows, first, work)


def cross_distances(rows, points):
    parts = [rows[start : start + MANY_ROWS] for start in range(0, len(rows), MANY_ROWS)]

    def measure(part):
        with contextlib.nullcontext() if len(parts) == 1 else use_threads(1):
            return trees.total(cross_nodes(part, points))

    return np.concatenate(spread(measure, parts))


# --- combine ------------------------------------------------------------------------------------


@kernel
def _without_zeros(weights):
    """Return where each line starts among the weights that are not zero, their rows, and they."""
    first = np.zeros(weights.shape[0] + 1, np.int64)
    members = np.empty(weights.size, np.int64)
    factors = np.empty(weights.size)
    count = 0
    for m in range(weights.shape[0]):
        for i in range(weights.shape[1]):
            if weights[m, i] != 0.0:
                members[count], factors[count] = i, weights[m, i]
                count += 1
        first[m + 1] = count
    return first, members, factors


@kernel
def _combine_chunk(rows, first, members, factors, start, stop, total, out):
    for column in range(start, stop, total.size):
        width = min(total.size, stop - column)
        for m in range(first.size - 1):
            total[:] = 0.0
            e = first[m]
            while e + 4 <= first[m + 1]:  # four at a time, added one after the other
                a = rows[members[e], column : column + width]
                b = rows[members[e + 1], column : column + width]
                c = rows[members[e + 2], column : column + width]
                d = rows[members[e + 3], column : column + width]
                p, q, r, s = factors[e], factors[e + 1], factors[e + 2], factors[e + 3]
                for k in range(width):
                    total[k] = (((total[k] + p * a[k]) + q * b[k]) + r * c[k]) + s * d[k]
                e += 4
            while e < first[m + 1]:
                a, p = rows[members[e], column : column + width], factors[e]
                for k in range(width):
                    total[k] += p * a[k]
                e += 1
            target = out[m, column : column + width]
            for k in range(width):
                target[k] = total[k]


def combine(weights, rows, dtype):
    rows = _read_only(rows)
    first, members, factors = _without_zeros(_read_only(weights))
    out = np.empty((len(weights), rows.shape[1]), dtype or rows.dtype)

    def work(chunk):
        _combine_chunk(rows, first, members, factors, *chunk, np.empty(SUMMED), out)

    spread(work, _chunks(rows))
    return out


# --- sign_sum -----------------------------------------------------------------------------------


@kernel
def _sign_chunk(rows, start, stop, total, out):
    for column in range(start, stop, total.size):
        width = min(total.size, stop - column)
        total[:] = 0
        for i in range(rows.shape[0]):
            row = rows[i, column : column + width]
            for k in range(width):
                total[k] += np.int32(row[k] > 0) - np.int32(row[k] < 0)
        target = out[column : column + width]
        for k in range(width):
            target[k] = total[k]


def sign_sum(rows):
    rows = _read_only(rows)
    out = np.empty(rows.shape[1], rows.dtype)

    def work(chunk):
        _sign_chunk(rows, *chunk, np.empty(SUMMED, np.int32), out)

    spread(work, _chunks(rows))
    return out


# --- differ, take -------------------------------------------------------------------------------


@kernel
def _differ_chunk(rows, groups, start, stop, width, different):
    for g in range(groups.shape[0]):
        for column in range(start, stop, width):
            end = min(column + width, stop)
            leader = rows[groups[g, 0], column:end]
            for j in range(1, groups.shape[1]):
                if groups[g, j] != groups[g, 0] and not different[g, j]:
                    member, bits = rows[groups[g, j], column:end], rows.dtype.type(0)
                    for k in range(leader.size):
                        bits |= leader[k] ^ member[k]
                    different[g, j] = bits != 0


def differ(rows, groups):
    patterns = _read_only(rows)
    patterns = patterns.view(f"u{patterns.dtype.itemsize}")

    def work(chunk):
        different = np.zeros(groups.shape, dtype=np.bool_)
        _differ_chunk(patterns, groups, *chunk, SUMMED, different)
        return different

    return np.any(spread(work, _chunks(rows)), axis=0)


def take(rows, indices):
    out = np.empty((len(indices), rows.shape[1]), rows.dtype)
    if out.size <= CHUNK:
        return np.take(rows, indices, axis=0, out=out)
    spread(lambda place: np.copyto(out[place], rows[indices[place]]), range(len(indices)))
    return out
