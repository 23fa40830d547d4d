"""Distances between NumPy rows: numba kernels over tiles of rows and blocks of columns."""

import contextlib
import threading

import numba
import numpy as np

from detox_sim.primitives import sums as trees
from detox_sim.primitives.threads import spread, use_threads
from detox_sim.primitives.tile import TILE, add_column, add_tile

CHUNK = 1 << 21  # values that a thread takes at a time
MEASURED = 256  # columns in a block
MANY_ROWS = 1000  # rows that are measured against points at a time

kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


def read_only(rows: np.ndarray) -> np.ndarray:
    """Return the rows C-ordered and read-only: one type, so that each kernel compiles once."""
    rows = np.ascontiguousarray(rows).view()
    rows.flags.writeable = False
    return rows


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
        column = start + unit * trees.UNIT
        stop = min(column + trees.UNIT, rows.shape[1])
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
        column = start + unit * trees.UNIT
        stop = min(column + trees.UNIT, rows.shape[1])
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
        part = {node: work(((index << level) - first) * trees.UNIT, level)}
        with lock:
            trees.merge(nodes, part)

    stop = first + -(-rows.shape[1] // trees.UNIT)
    spread(add, trees.cut(first, stop, max(1, CHUNK // len(rows) // trees.UNIT)))
    return nodes


def distance_nodes(rows, first: int = 0) -> trees.Nodes:
    """Return sums of squared differences, only i >= j, of columns that start at unit `first`."""
    rows, n = read_only(rows), len(rows)

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
    rows, points = read_only(rows), read_only(points)

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
