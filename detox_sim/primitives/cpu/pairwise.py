"""Squared distances between rows: tiles of rows over blocks of columns.

Of equal rows in memory, such as colluding Byzantine workers send, only the first is measured.
"""

import contextlib
import threading

import numpy as np

from detox_sim.primitives import sums
from detox_sim.primitives.cpu.compiled import CHUNK, kernel, over_columns, read_only, same_bits
from detox_sim.primitives.cpu.tile import TILE, add_column, add_own_tile, add_tile
from detox_sim.primitives.threads import spread, use_threads

MEASURED = 256  # columns in a block
COMPARED = 1024  # columns of two rows at a time
MANY_ROWS = 1000  # rows that are measured against points at a time


@kernel
def _load_float64(rows, chosen, column, stop, block):
    width = min(block.shape[1], stop - column)
    for i in range(min(chosen.size, block.shape[0])):
        source, target = rows[chosen[i], column : column + width], block[i]
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
def _carried(pending, units):
    """Return the sum of all units: of the largest blocks first, as `sums.total` adds them."""
    level = pending.shape[0] - 1
    total = pending[level].copy()
    for lower in range(level - 1, -1, -1):
        if (units >> lower) & 1:
            total += pending[lower]
    return total


@kernel
def _levels(units):
    levels = 1
    while units >> levels:
        levels += 1
    return levels


@kernel
def _in_tiles(count):
    return (count + TILE - 1) // TILE * TILE


@kernel
def rows_in_tiles(m):
    """Return how many of m rows are measured in tiles; the others fill less than half a tile."""
    return m // TILE * TILE if 2 * (m % TILE) < TILE else m


@kernel
def _distances_over(rows, chosen, column, units):
    """Return squared distances (m, m) of chosen rows, i >= j only, over units from a column on."""
    m = chosen.size
    block = np.zeros((_in_tiles(m), MEASURED))
    value = np.empty((block.shape[0], block.shape[0]))
    pending = np.empty((_levels(units), *value.shape))
    single = rows_in_tiles(m)  # the first row that is measured by itself
    for unit in range(units):
        value[:] = 0.0
        start = column + unit * sums.UNIT
        stop = min(start + sums.UNIT, rows.shape[1])
        for first in range(start, stop, MEASURED):
            _load_float64(rows, chosen, first, stop, block)
            for i in range(0, block.shape[0], TILE):
                for j in range(0, i if i < single else 0, TILE):
                    add_tile(block, block, i, j, value)
                add_own_tile(block, block, i, i, value)
            for j in range(single, m):
                for i in range(0, single, TILE):
                    add_column(block, block, i, j, value)
        _carry(pending, value, unit)
    total = _carried(pending, units)[:m, :m]
    for i in range(single, m):
        total[i, :single] = total[:single, i]
    return total


@kernel
def _cross_over(rows, points, column, units):
    """Return squared distances (n, m) to points over some units from a column on."""
    n, m = rows.shape[0], points.shape[0]
    every, every_point = np.arange(n), np.arange(m)
    block = np.zeros((TILE, MEASURED))
    others = np.zeros((1 if m == 1 else _in_tiles(m), MEASURED))
    value = np.empty((_in_tiles(n), others.shape[0]))
    pending = np.empty((_levels(units), *value.shape))
    for unit in range(units):
        value[:] = 0.0
        start = column + unit * sums.UNIT
        stop = min(start + sums.UNIT, rows.shape[1])
        for first in range(start, stop, MEASURED):
            _load_float64(points, every_point, first, stop, others)
            whole = n // TILE * TILE if first + MEASURED <= stop and m == 1 else 0
            for i in range(0, whole, TILE):
                part = rows[i : i + TILE, first : first + MEASURED]
                add_column(part, others, 0, 0, value[i : i + TILE])
            for i in range(whole, n, TILE):
                _load_float64(rows, every[i:], first, stop, block)
                if m == 1:
                    add_column(block, others, 0, 0, value[i : i + TILE])
                else:
                    for j in range(0, others.shape[0], TILE):
                        add_tile(block, others, 0, j, value[i : i + TILE])
        _carry(pending, value, unit)
    return _carried(pending, units)[:n, :m]


def _units(columns: int) -> int:
    return -(-columns // sums.UNIT)


def _in_blocks(rows, first: int, over) -> sums.Partials:
    """Return ``over(column, units)`` by block; the columns of rows start at unit `first`."""
    partials: sums.Partials = {}
    lock = threading.Lock()

    def add(block):
        level, index = block
        part = {block: over(((index << level) - first) * sums.UNIT, 1 << level)}
        with lock:
            sums.merge(partials, part)

    stop = first + _units(rows.shape[1])
    spread(add, sums.blocks(first, stop, max(1, CHUNK // len(rows) // sums.UNIT)))
    return partials


def distance_sums(rows, first: int = 0) -> sums.Partials:
    """Return squared distances (n, n), i >= j only, by block of columns from unit `first` on."""
    return _sums_of(read_only(rows), np.arange(len(rows)), first)


def _sums_of(rows, chosen, first: int) -> sums.Partials:
    return _in_blocks(rows, first, lambda *some: _distances_over(rows, chosen, *some))


def cross_sums(rows, points, first: int = 0) -> sums.Partials:
    """Return squared distances (n, m) to points, by block of columns from unit `first` on."""
    rows, points = read_only(rows), read_only(points)
    return _in_blocks(rows, first, lambda *some: _cross_over(rows, points, *some))


@kernel
def _equal(row, other):
    """Return whether two rows have the same bits.

    Compared from the end, since gradients often begin with zeros.
    """
    stop = row.size
    while stop > 0:
        start = max(0, stop - COMPARED)
        if not same_bits(row[start:stop], other[start:stop]):
            return False
        stop = start
    return True


@kernel
def _distinct(patterns, start, stop):
    """Find the rows (m,) that equal none before them in columns start..stop-1.

    Returns them, and for each row (n,) the place of its equal among them.
    """
    n = patterns.shape[0]
    chosen, place = np.empty(n, np.int64), np.empty(n, np.int64)
    m = 0
    for i in range(n):
        place[i] = m
        row = patterns[i, start:stop]
        for k in range(m):
            other = patterns[chosen[k], start:stop]
            if row[-1] == other[-1] and _equal(row, other):
                place[i] = k
                break
        if place[i] == m:
            chosen[m] = i
            m += 1
    return chosen[:m], place


@kernel
def _of_all_rows(square, place):
    """Return distances (n, n), i >= j only, of rows with places in square (m, m), i >= j only."""
    n = place.size
    result = np.empty((n, n))
    for i in range(n):
        for j in range(i + 1):
            a, b = place[i], place[j]
            result[i, j] = square[max(a, b), min(a, b)]
    return result


@kernel
def _distances(rows, patterns, units):
    chosen, place = _distinct(patterns, 0, rows.shape[1])
    return _of_all_rows(_distances_over(rows, chosen, 0, units), place)


def distances(rows):
    rows = read_only(rows)
    patterns = rows.view(f"u{rows.dtype.itemsize}")
    if rows.size <= CHUNK:  # one call: at a few thousand values the rest would take longer
        return _distances(rows, patterns, _units(rows.shape[1]))
    in_chunks = over_columns(lambda start, stop: _distinct(patterns, start, stop)[1], rows)
    seen: dict[bytes, int] = {}
    lines = np.stack(in_chunks, axis=1)
    place = np.array([seen.setdefault(line.tobytes(), len(seen)) for line in lines])
    _, chosen = np.unique(place, return_index=True)
    return _of_all_rows(sums.total(_sums_of(rows, chosen, 0)), place)


@kernel
def complete(square, mirrored):
    """Mirror the lower half of squared distances, and put rows with NaN or Inf infinitely far."""
    n = square.shape[0]
    for i in range(n if mirrored else 0):
        for j in range(i):
            apart = square[i, i] < np.inf and square[j, j] < np.inf
            square[i, j] = square[j, i] = square[i, j] if apart else np.inf
    for i in range(n):
        for j in range(square.shape[1]):
            if not square[i, j] < np.inf:
                square[i, j] = np.inf


def cross_distances(rows, points):
    if rows.size <= CHUNK:
        return _cross_over(read_only(rows), read_only(points), 0, _units(rows.shape[1]))
    parts = [rows[start : start + MANY_ROWS] for start in range(0, len(rows), MANY_ROWS)]

    def measure(part):
        with contextlib.nullcontext() if len(parts) == 1 else use_threads(1):
            return sums.total(cross_sums(part, points))

    return np.concatenate(spread(measure, parts))
