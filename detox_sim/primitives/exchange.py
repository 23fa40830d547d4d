"""Compare-exchange of two rows, written in LLVM's language.

Of the same loop in Python, numba makes stores under a mask, which take longer. Numba's cache does
not notice a change of this file: save `cpu.py` too.
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

BYTES = 64  # of a vector; LLVM splits it where the processor has shorter ones


@intrinsic
def exchange(typingctx, block, low, high):
    """Put the lesser of each two values of two rows into the row `low`, the other into `high`.

    Parameters
    ----------
    block : array (n, width), float32 or float64, C order
        Without NaN; a row has a multiple of `BYTES` bytes.
    low, high : int
        Different rows.
    """
    return types.void(block, types.intp, types.intp), _generate


def _generate(context, builder, signature, arguments):
    block = context.make_array(signature.args[0])(context, builder, arguments[0])
    item = block.data.type.pointee
    lanes = BYTES // (4 if item == ir.FloatType() else 8)
    vector = ir.VectorType(item, lanes)
    width = cgutils.unpack_tuple(builder, block.shape, 2)[1]
    rows = [builder.gep(block.data, [builder.mul(row, width)]) for row in arguments[1:]]
    zero, step = ir.Constant(width.type, 0), ir.Constant(width.type, lanes)
    with cgutils.for_range_slice(builder, zero, width, step) as (k, _):
        places = [builder.bitcast(builder.gep(row, [k]), vector.as_pointer()) for row in rows]
        low, high = (builder.load(place, align=BYTES // lanes) for place in places)
        less = builder.fcmp_ordered("<", low, high)
        for place, pair in zip(places, ((low, high), (high, low)), strict=True):
            builder.store(builder.select(less, *pair), place, align=BYTES // lanes)
    return context.get_dummy_value()
