"""The primitives for NumPy float32 and float64: numba kernels over blocks of columns.

A block stays in cache, threads take chunks of blocks one after the other, and no sum depends on
the number of threads or on the type of processor.
"""

import numpy as np

from detox_sim.primitives.cpu_distances import (
    CHUNK,
    cross_distances,
    distances,
    kernel,
    read_only,
)
from detox_sim.primitives.exchange import BYTES, exchange
from detox_sim.primitives.network import order_network
from detox_sim.primitives.threads import spread

__all__ = [
    "combine",
    "cross_distances",
    "distances",
    "equal_rows",
    "majority",
    "mean",
    "moments",
    "order_mean",
    "sign_sum",
    "take",
]

ORDERED, SUMMED = 256, 4096  # columns in a block that is ordered, or summed
NETWORK_ROWS = 128  # above, NumPy's sort of transposed blocks is faster
SORT_BLOCK = 400_000  # values in such a block


def _over_columns(work, rows) -> list:
    """Return ``work(start, stop)`` for chunks of columns, whatever the number of threads."""
    n, d = rows.shape
    if n * d <= CHUNK:
        return [work(0, d)]
    width = max(1, CHUNK // n // SUMMED) * SUMMED
    chunks = [(start, min(start + width, d)) for start in range(0, d, width)]
    return spread(lambda chunk: work(*chunk), chunks)


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
        exchange(block, network[m, 0], network[m, 1])


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
        block = _aligned(n, ORDERED, rows.dtype)
        means = np.empty((2, ORDERED))
        network = order_network(n, *wanted)
        _order_chunk(
            rows, chosen, start, stop, network, lo, hi, nearest or 0, block, means, infinity, out
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
        _over_columns(by_network, rows)
    else:
        width = max(8, SORT_BLOCK // n)
        starts = range(0, rows.shape[1], width)
        spread(by_sorting, [(start, min(start + width, rows.shape[1])) for start in starts])
    return out


# --- combine ------------------------------------------------------------------------------------


@kernel
def _sum_rows(rows, members, factors, column, total):
    """Set total (w,) to the weighted sum of some rows from a column on, row after row."""
    width = total.size
    total[:] = 0.0
    e = 0
    while e + 4 <= members.size:  # four at a time, added one after the other
        a = rows[members[e], column : column + width]
        b = rows[members[e + 1], column : column + width]
        c = rows[members[e + 2], column : column + width]
        d = rows[members[e + 3], column : column + width]
        p, q, r, s = factors[e], factors[e + 1], factors[e + 2], factors[e + 3]
        for k in range(width):
            total[k] = (((total[k] + p * a[k]) + q * b[k]) + r * c[k]) + s * d[k]
        e += 4
    while e < members.size:
        a, p = rows[members[e], column : column + width], factors[e]
        for k in range(width):
            total[k] += p * a[k]
        e += 1


@kernel
def _without_zeros(weights):
    """Return for the weights that are not zero where each line starts, their rows and values."""
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
    return first, members[:count], factors[:count]


@kernel
def _combine_chunk(rows, weights, start, stop, out):
    first, members, factors = _without_zeros(weights)
    total = np.empty(min(SUMMED, stop - start))
    for column in range(start, stop, SUMMED):
        part = total[: min(SUMMED, stop - column)]
        for m in range(first.size - 1):
            line = slice(first[m], first[m + 1])
            _sum_rows(rows, members[line], factors[line], column, part)
            target = out[m, column : column + part.size]
            for k in range(part.size):
                target[k] = part[k]


def combine(weights, rows, dtype):
    rows, weights = read_only(rows), read_only(weights)
    out = np.empty((len(weights), rows.shape[1]), dtype or rows.dtype)
    _over_columns(lambda start, stop: _combine_chunk(rows, weights, start, stop, out), rows)
    return out


@kernel
def _mean_chunk(rows, start, stop, out):
    """Write the mean of all rows; return whether it is finite."""
    members = np.arange(rows.shape[0])
    factors, total = np.full(members.size, 1 / members.size), np.empty(min(SUMMED, stop - start))
    infinite = 0
    for column in range(start, stop, SUMMED):
        part = total[: min(SUMMED, stop - column)]
        _sum_rows(rows, members, factors, column, part)
        target = out[column : column + part.size]
        for k in range(part.size):
            target[k] = part[k]
        for k in range(part.size):
            infinite |= np.int64(not abs(target[k]) < np.inf)
    return infinite == 0


def mean(rows):
    rows = read_only(rows)
    out = np.empty(rows.shape[1], rows.dtype)
    found = _over_columns(lambda start, stop: _mean_chunk(rows, start, stop, out), rows)
    return out, all(found)


# --- moments ------------------------------------------------------------------------------------


@kernel
def _moments_chunk(rows, weights, start, stop, mean, variance):
    _, members, factors = _without_zeros(weights)
    total = np.empty(min(SUMMED, stop - start))
    for column in range(start, stop, SUMMED):
        end = min(column + SUMMED, stop)
        centre, spread, part = mean[column:end], variance[column:end], total[: end - column]
        _sum_rows(rows, members, factors, column, part)
        for k in range(centre.size):
            centre[k] = part[k]
        part[:] = 0.0
        for e in range(members.size):
            row, factor = rows[members[e], column:end], factors[e]
            for k in range(centre.size):
                moved = row[k] - centre[k]
                part[k] += factor * (moved * moved)
        for k in range(centre.size):
            spread[k] = part[k]


def moments(weights, rows):
    rows, weights = read_only(rows), read_only(weights[None, :])
    mean, variance = np.empty((2, rows.shape[1]), rows.dtype)
    _over_columns(
        lambda start, stop: _moments_chunk(rows, weights, start, stop, mean, variance), rows
    )
    return mean, variance


# --- sign_sum -----------------------------------------------------------------------------------


@kernel
def _sign_chunk(rows, start, stop, out):
    total = np.empty(min(SUMMED, stop - start), np.int32)
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
    rows = read_only(rows)
    out = np.empty(rows.shape[1], rows.dtype)

    _over_columns(lambda start, stop: _sign_chunk(rows, start, stop, out), rows)
    return out


# --- equal_rows, majority, take -----------------------------------------------------------------


@kernel
def _row(rows, more, index):
    return rows[index] if index < rows.shape[0] else more[index - rows.shape[0]]


@kernel
def _label_groups(rows, more, groups, first, last, labels):
    copies, d = groups.shape[1], rows.shape[1]
    compared = np.empty(copies, np.bool_)
    for g in range(first, last):
        labels[g] = -1
        for leader in range(copies):
            if labels[g, leader] >= 0:
                continue
            left = 0
            for j in range(leader, copies):
                compared[j] = labels[g, j] < 0 and groups[g, j] != groups[g, leader]
                if labels[g, j] < 0 and not compared[j]:
                    labels[g, j] = leader
                left += compared[j]
            own = _row(rows, more, groups[g, leader])
            for column in range(0, d, SUMMED):
                if not left:
                    break
                end = min(column + SUMMED, d)
                values = own[column:end]
                for j in range(leader + 1, copies):
                    if compared[j]:
                        member = _row(rows, more, groups[g, j])[column:end]
                        bits = rows.dtype.type(0)
                        for k in range(values.size):
                            bits |= values[k] ^ member[k]
                        compared[j] = bits == 0
                        left -= bits != 0
            for j in range(leader + 1, copies):
                if compared[j]:
                    labels[g, j] = leader


@kernel
def _copy_rows(rows, more, indices, first, last, out):
    for i in range(first, last):
        source, target = _row(rows, more, indices[i]), out[i]
        for k in range(target.size):
            target[k] = source[k]


@kernel
def _elect_groups(rows, more, groups, first, last, labels, winner, undecided, elected, out):
    """Count the copies of each group; copy the elected rows, too, if `out` has room for them."""
    copies = groups.shape[1]
    for g in range(first, last):
        _label_groups(rows, more, groups, g, g + 1, labels)
        present, most, winner[g] = 0, 0, 0
        for j in range(copies):
            present += groups[g, j] >= 0
            support = 0
            for i in range(copies if groups[g, j] >= 0 else 0):
                support += groups[g, i] >= 0 and labels[g, i] == labels[g, j]
            if support > most:
                winner[g], most = j, support
        undecided[g] = 2 * most <= present
        elected[g] = max(groups[g, winner[g]], 0)
        if out.shape[0]:
            _copy_rows(rows, more, elected, g, g + 1, out)


def _patterns(rows, more) -> tuple[np.ndarray, np.ndarray]:
    """Return the bit patterns of the rows and of more, which may be None."""
    both = rows, rows[:0] if more is None else more
    rows, more = (read_only(each).view(f"u{rows.dtype.itemsize}") for each in both)
    return rows, more


def _over_groups(work, groups, columns: int) -> None:
    """Call ``work(first, last)`` for ranges of groups."""
    at_a_time = max(1, CHUNK // (groups.shape[1] * columns))
    if len(groups) <= at_a_time:
        work(0, len(groups))
        return
    starts = range(0, len(groups), at_a_time)
    spread(lambda first: work(first, min(first + at_a_time, len(groups))), starts)


def equal_rows(rows, groups, more):
    patterns, groups = _patterns(rows, more), read_only(groups)
    labels = np.empty(groups.shape, np.int64)
    _over_groups(
        lambda first, last: _label_groups(*patterns, groups, first, last, labels),
        groups,
        rows.shape[1],
    )
    return labels


def majority(rows, groups, more):
    patterns, groups = _patterns(rows, more), read_only(groups)
    m, d = len(groups), rows.shape[1]
    own = m == len(rows)  # then each group may elect its own row, and nothing need be copied
    labels, undecided = np.empty(groups.shape, np.int64), np.empty(m, np.bool_)
    winner, elected = np.empty((2, m), np.int64)
    out = np.empty((0 if own else m, d), rows.dtype)
    found = labels, winner, undecided, elected, out.view(patterns[0].dtype)
    _over_groups(
        lambda first, last: _elect_groups(*patterns, groups, first, last, *found), groups, d
    )
    if own and (elected == np.arange(m)).all():
        return winner, undecided, rows[:]
    if own:
        out = np.empty((m, d), rows.dtype)
        target = out.view(patterns[0].dtype)
        _over_groups(
            lambda first, last: _copy_rows(*patterns, elected, first, last, target), groups, d
        )
    return winner, undecided, out


def take(rows, indices):
    out = np.empty((len(indices), rows.shape[1]), rows.dtype)
    if out.size <= CHUNK:
        return np.take(rows, indices, axis=0, out=out, mode="clip")  # "raise" would copy twice
    spread(lambda place: np.copyto(out[place], rows[indices[place]]), range(len(indices)))
    return out
