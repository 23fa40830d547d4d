"""Weighted sums of rows: block after block of columns, row after row."""

import numpy as np

from detox_sim.primitives.cpu.compiled import SUMMED, copy, kernel, over_columns, read_only


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
            copy(part, out[m, column : column + part.size])


def combine(weights, rows, dtype):
    rows, weights = read_only(rows), read_only(weights)
    out = np.empty((len(weights), rows.shape[1]), dtype or rows.dtype)
    over_columns(lambda start, stop: _combine_chunk(rows, weights, start, stop, out), rows)
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
        copy(part, target)
        for k in range(part.size):
            infinite |= np.int64(not abs(target[k]) < np.inf)
    return infinite == 0


def mean(rows):
    rows = read_only(rows)
    out = np.empty(rows.shape[1], rows.dtype)
    found = over_columns(lambda start, stop: _mean_chunk(rows, start, stop, out), rows)
    return out, all(found)


@kernel
def _moments_chunk(rows, weights, start, stop, mean, variance):
    _, members, factors = _without_zeros(weights)
    total = np.empty(min(SUMMED, stop - start))
    for column in range(start, stop, SUMMED):
        end = min(column + SUMMED, stop)
        centre, spread, part = mean[column:end], variance[column:end], total[: end - column]
        _sum_rows(rows, members, factors, column, part)
        copy(part, centre)
        part[:] = 0.0
        for e in range(members.size):
            row, factor = rows[members[e], column:end], factors[e]
            for k in range(centre.size):
                moved = row[k] - centre[k]
                part[k] += factor * (moved * moved)
        copy(part, spread)


def moments(weights, rows):
    rows, weights = read_only(rows), read_only(weights[None, :])
    mean, variance = np.empty((2, rows.shape[1]), rows.dtype)
    over_columns(
        lambda start, stop: _moments_chunk(rows, weights, start, stop, mean, variance), rows
    )
    return mean, variance


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
        copy(total, out[column : column + width])


def sign_sum(rows):
    rows = read_only(rows)
    out = np.empty(rows.shape[1], rows.dtype)

    over_columns(lambda start, stop: _sign_chunk(rows, start, stop, out), rows)
    return out
