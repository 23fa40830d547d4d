"""Squared distances of a tile of rows in registers, written in LLVM's language.

Numba's loops sum in an order that depends on the width of the processor's vectors. Here the order
is part of the code: eight sums a pair, each of every eighth column, which are added at the end.
Every machine adds in this order; a tile has as many pairs as the registers hold sums. Numba's cache
does not notice a change of this file: touch `pairwise.py` too.
"""

import functools

from llvmlite import ir
from numba.core import cgutils, codegen, config, types
from numba.extending import intrinsic

LANES = 8  # sums of a pair


def _registers_are_wide() -> bool:
    """Return whether numba compiles for 32 registers of 8 float64 values (AVX-512)."""
    features = config.CPU_FEATURES  # type: ignore[attr-defined]
    return "+avx512f" in (codegen.get_host_cpu_features() if features is None else features)


_WIDE = _registers_are_wide()
TILE = 5 if _WIDE else 3  # rows by rows
_IN_A_PASS = LANES if _WIDE else LANES // 2  # sums of a pair that one pass over the columns makes

_FLOAT32_BYTES = 4
_ALL = [(a, b) for a in range(TILE) for b in range(TILE)]
_LOWER = [(a, b) for a, b in _ALL if b <= a]
_FIRST = [(a, b) for a, b in _ALL if not b]


@intrinsic
def add_tile(typingctx, left, right, i, j, total):
    """Add to total[i : i + TILE, j : j + TILE] the squared distances of rows of two blocks.

    Parameters
    ----------
    left, right : array (n, width), (m, width), float32 or float64
        The width is the same and a multiple of `LANES`. The values of a row are in C order; rows
        may lie apart.
    i, j : int
        The first row of each.
    total : array (n, m), float64, C order
    """
    generate = functools.partial(_generate, pairs=_ALL, lanes=_IN_A_PASS)
    return _signature(left, right, total), generate


@intrinsic
def add_own_tile(typingctx, left, right, i, j, total):
    """As `add_tile`, but of each row to itself and to the rows before it: what i = j needs."""
    generate = functools.partial(_generate, pairs=_LOWER, lanes=_IN_A_PASS)
    return _signature(left, right, total), generate


@intrinsic
def add_column(typingctx, left, right, i, j, total):
    """Add to total[i : i + TILE, j] the squared distances of rows to one row of another block."""
    generate = functools.partial(_generate, pairs=_FIRST, lanes=LANES)
    return _signature(left, right, total), generate


def _signature(left, right, total):
    return types.void(left, right, types.intp, types.intp, total)


def _generate(context, builder, signature, arguments, pairs, lanes):
    left, right, total = (
        context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 1, 4)
    )
    i, j = arguments[2], arguments[3]
    width = cgutils.unpack_tuple(builder, left.shape, 2)[1]
    columns = cgutils.unpack_tuple(builder, total.shape, 2)[1]

    def row(block, first, k):
        apart = builder.mul(
            builder.add(first, ir.Constant(i.type, k)),
            cgutils.unpack_tuple(builder, block.strides, 2)[0],
        )
        start = builder.bitcast(block.data, ir.IntType(8).as_pointer())
        return builder.bitcast(builder.gep(start, [apart]), block.data.type)

    rows = (
        [row(left, i, a) for a in range(TILE)],
        [row(right, j, b) for b in range(1 + max(b for _, b in pairs))],
    )
    passes = [
        _sums(builder, rows, pairs, lanes, width, ir.Constant(i.type, first))
        for first in range(0, LANES, lanes)
    ]
    for (a, b), parts in zip(pairs, zip(*passes, strict=True), strict=True):
        line = builder.mul(builder.add(i, ir.Constant(i.type, a)), columns)
        index = builder.add(line, builder.add(j, ir.Constant(i.type, b)))
        place = builder.gep(total.data, [index])
        value = _sum_of_lanes(builder, list(parts))
        builder.store(builder.fadd(builder.load(place), value), place)
    return context.get_dummy_value()


def _sums(builder, rows, pairs, lanes, width, first):
    """Return for each pair `lanes` of its sums, from lane `first` on, as a vector."""
    vector = ir.VectorType(ir.DoubleType(), lanes)
    sums = {pair: cgutils.alloca_once(builder, vector) for pair in pairs}
    for place in sums.values():
        builder.store(ir.Constant(vector, None), place)

    def load(pointer, k):
        item = pointer.type.pointee
        place = builder.bitcast(builder.gep(pointer, [k]), ir.VectorType(item, lanes).as_pointer())
        values = builder.load(place, align=_FLOAT32_BYTES)
        return values if item == ir.DoubleType() else builder.fpext(values, vector)

    step = ir.Constant(width.type, LANES)
    with cgutils.for_range_slice(builder, first, width, step) as (k, _):
        own, others = ([load(pointer, k) for pointer in side] for side in rows)
        for a, b in pairs:
            gap = builder.fsub(own[a], others[b])
            grown = builder.fadd(builder.load(sums[a, b]), builder.fmul(gap, gap))
            builder.store(grown, sums[a, b])
    return [builder.load(place) for place in sums.values()]


def _sum_of_lanes(builder, parts):
    """Add the halves of all lanes until one value is left."""
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [builder.fadd(*pair) for pair in zip(parts[:half], parts[half:], strict=True)]
    (vector,) = parts
    size = vector.type.count
    while size > 1:
        half = size // 2
        order = ir.VectorType(ir.IntType(32), half)
        low = builder.shuffle_vector(vector, vector, ir.Constant(order, list(range(half))))
        high = builder.shuffle_vector(vector, vector, ir.Constant(order, list(range(half, size))))
        vector, size = builder.fadd(low, high), half
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))
