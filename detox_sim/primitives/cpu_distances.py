"""Distances between NumPy rows: numba kernels over tiles of rows and blocks of columns."""

import contextlib
import threading

import numba
import numpy as np

from detox_sim.primitives import sums
from detox_sim.primitives.threads import spread, use_threads
from detox_sim.primitives.tile import TILE, add_column, add_own_tile, add_tile

CHUNK = 1 << 21  # values that a thread takes at a time
MEASURED = 256  # columns in a block
MANY_ROWS = 1000  # rows that are measured against points at a time

kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


def read_only(rows: np.ndarray) -> np.ndarray:
    """Return the rows C-ordered and read-only, so that a kernel is compiled for one type only."""
    rows = np.ascontiguousarray(rows).view()
    rows.flags.writeable = False
    return rows


@kernel
def _load_float64(rows, top, column, stop, block):
    width = min(block.shape[1], stop - column)
    for i in range(min(rows.shape[0] - top, block.shape[0])):
        source, target = rows[top + i, column : column + width], block[i]
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
def _distances_block(rows, start, units, block, value, pending):
    for unit in range(units):
        value[:] = 0.0
        column = start + unit * sums.UNIT
        stop = min(column + sums.UNIT, rows.shape[1])
        for first in range(column, stop, block.shape[1]):
            _load_float64(rows, 0, first, stop, block)
            for i in range(0, block.shape[0], TILE):
                for j in range(0, i, TILE):
                    add_tile(block, block, i, j, value)
                add_own_tile(block, block, i, i, value)
        _carry(pending, value, unit)


@kernel
def _cross_block(rows, points, start, units, block, others, value, pending):
    for unit in range(units):
        value[:] = 0.0
        column = start + unit * sums.UNIT
        stop = min(column + sums.UNIT, rows.shape[1])
        for first in range(column, stop, block.shape[1]):
            _load_float64(points, 0, first, stop, others)
            for i in range(0, rows.shape[0], TILE):
                _load_float64(rows, i, first, stop, block)
                if others.shape[0] == 1:
                    add_column(block, others, 0, 0, value[i : i + TILE])
                else:
                    for j in range(0, others.shape[0], TILE):
                        add_tile(block, others, 0, j, value[i : i + TILE])
        _carry(pending, value, unit)


def _in_tiles(count: int) -> int:
    return -(-count // TILE) * TILE


def _blocks_of(count: int) -> np.ndarray:
    return np.zeros((_in_tiles(count), MEASURED))


def _in_blocks(rows, first: int, work) -> sums.Partials:
    """Return ``work(column, level)`` by block; the columns of rows start at unit `first`."""
    partials: sums.Partials = {}
    lock = threading.Lock()

    def add(block):
        level, index = block
        part = {block: work(((index << level) - first) * sums.UNIT, level)}
        with lock:
            sums.merge(partials, part)

    stop = first + -(-rows.shape[1] // sums.UNIT)
    spread(add, sums.blocks(first, stop, max(1, CHUNK // len(rows) // sums.UNIT)))
    return partials


def distance_sums(rows, first: int = 0) -> sums.Partials:
    """Return squared distances (n, n), i >= j only, by block of columns from unit `first` on."""
    rows, n = read_only(rows), len(rows)

    def work(column, level):
        block = _blocks_of(n)
        value = np.empty((len(block), len(block)))
        pending = np.empty((level + 1, *value.shape))
        _distances_block(rows, column, 1 << level, block, value, pending)
        return pending[level, :n, :n]

    return _in_blocks(rows, first, work)


def distances(rows):
    return symmetric(sums.total(distance_sums(rows)))


def symmetric(lower: np.ndarray) -> np.ndarray:
    """Return the symmetric matrix with this lower half."""
    return np.tril(lower) + np.tril(lower, -1).T


def cross_sums(rows, points, first: int = 0) -> sums.Partials:
    """Return squared distances (n, m) to points, by block of columns from unit `first` on."""
    rows, points = read_only(rows), read_only(points)

    def work(column, level):
        block = _blocks_of(TILE)
        others = np.zeros((1, MEASURED)) if len(points) == 1 else _blocks_of(len(points))
        value = np.empty((_in_tiles(len(rows)), len(others)))
        pending = np.empty((level + 1, *value.shape))
        _cross_block(rows, points, column, 1 << level, block, others, value, pending)
        return pending[level, : len(rows), : len(points)]

    return _in_blocks(rows, first, work)


def cross_distances(rows, points):
    parts = [rows[start : start + MANY_ROWS] for start in range(0, len(rows), MANY_ROWS)]

    def measure(part):
        with contextlib.nullcontext() if len(parts) == 1 else use_threads(1):
            return sums.total(cross_sums(part, points))

    return np.concatenate(spread(measure, parts))
