"""Compare-exchange of two rows, written in LLVM's language.

Of a loop in Python, and of a comparison with two selections, LLVM makes stores under a mask, which
take three times as long on an AMD processor with AVX2. Numba's cache does not notice a change of
this file: save `orders.py` too.
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
        Without NaN; a row has a multiple of `BYTES` bytes. Of -0.0 and 0.0 both rows may get the
        same one.
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
        pair = [builder.load(place, align=BYTES // lanes) for place in places]
        for place, choose in zip(places, (minimum, maximum), strict=True):
            builder.store(choose(builder, *pair), place, align=BYTES // lanes)
    return context.get_dummy_value()


def minimum(builder, left, right):
    """Return the lesser value of each lane of two vectors without NaN."""
    return _choose("minnum", builder, left, right)


def maximum(builder, left, right):
    """Return the greater value of each lane of two vectors without NaN."""
    return _choose("maxnum", builder, left, right)


def _choose(name, builder, left, right):
    vector = left.type
    kind = "f32" if vector.element == ir.FloatType() else "f64"
    function = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector, vector]),
        f"llvm.{name}.v{vector.count}{kind}",
    )
    return builder.call(function, [left, right], fastmath=("nnan", "nsz"))
