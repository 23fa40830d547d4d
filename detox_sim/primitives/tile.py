"""Squared distances of a tile of rows in registers, written in LLVM's language.

Numba's loops sum in an order that depends on the width of the processor's vectors. Here the
vectors are part of the code (LLVM splits them where the processor has shorter ones), so every
machine adds in the same order, and 25 sums at a time stay in registers. Numba's cache does not
notice a change of this file: save `cpu_distances.py` too.
"""

import functools

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

TILE = 5  # rows by rows
LANES = 8  # float64 values in a vector

_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
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
    return _signature(left, right, total), functools.partial(_generate, pairs=_ALL)


@intrinsic
def add_own_tile(typingctx, left, right, i, j, total):
    """As `add_tile`, but of each row to itself and to the rows before it: what i = j needs."""
    return _signature(left, right, total), functools.partial(_generate, pairs=_LOWER)


@intrinsic
def add_column(typingctx, left, right, i, j, total):
    """Add to total[i : i + TILE, j] the squared distances of rows to one row of another block."""
    return _signature(left, right, total), functools.partial(_generate, pairs=_FIRST)


def _signature(left, right, total):
    return types.void(left, right, types.intp, types.intp, total)


def _generate(context, builder, signature, arguments, pairs):
    left, right, total = (
        context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 1, 4)
    )
    i, j = arguments[2], arguments[3]
    zero = ir.Constant(i.type, 0)
    width = cgutils.unpack_tuple(builder, left.shape, 2)[1]
    columns = cgutils.unpack_tuple(builder, total.shape, 2)[1]

    def row(block, first, k):
        apart = builder.mul(
            builder.add(first, ir.Constant(i.type, k)),
            cgutils.unpack_tuple(builder, block.strides, 2)[0],
        )
        start = builder.bitcast(block.data, ir.IntType(8).as_pointer())
        return builder.bitcast(builder.gep(start, [apart]), block.data.type)

    left_rows = [row(left, i, a) for a in range(TILE)]
    right_rows = [row(right, j, b) for b in range(1 + max(b for _, b in pairs))]
    nothing = ir.Constant(_VECTOR, None)
    sums = {pair: cgutils.alloca_once(builder, _VECTOR) for pair in pairs}
    for place in sums.values():
        builder.store(nothing, place)

    def load(pointer, k):
        item = pointer.type.pointee
        place = builder.bitcast(builder.gep(pointer, [k]), ir.VectorType(item, LANES).as_pointer())
        values = builder.load(place, align=_FLOAT32_BYTES)
        return values if item == ir.DoubleType() else builder.fpext(values, _VECTOR)

    step = ir.Constant(i.type, LANES)
    with cgutils.for_range_slice(builder, zero, width, step) as (k, _):
        others = [load(pointer, k) for pointer in right_rows]
        own = [load(pointer, k) for pointer in left_rows]
        for a, b in pairs:
            gap = builder.fsub(own[a], others[b])
            grown = builder.fadd(builder.load(sums[a, b]), builder.fmul(gap, gap))
            builder.store(grown, sums[a, b])
    for a, b in pairs:
        line = builder.mul(builder.add(i, ir.Constant(i.type, a)), columns)
        index = builder.add(line, builder.add(j, ir.Constant(i.type, b)))
        place = builder.gep(total.data, [index])
        value = _sum_of_lanes(builder, builder.load(sums[a, b]))
        builder.store(builder.fadd(builder.load(place), value), place)
    return context.get_dummy_value()


def _sum_of_lanes(builder, vector):
    """Add the halves of a vector until one value is left."""
    size = LANES
    while size > 1:
        half = size // 2
        order = ir.VectorType(ir.IntType(32), half)
        low = builder.shuffle_vector(vector, vector, ir.Constant(order, list(range(half))))
        high = builder.shuffle_vector(vector, vector, ir.Constant(order, list(range(half, size))))
        vector, size = builder.fadd(low, high), half
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))
