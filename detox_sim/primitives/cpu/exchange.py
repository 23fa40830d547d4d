"""Comparators of a sorting network on rows, written in LLVM's language.

Of a loop in Python, and of a comparison with two selections, LLVM makes stores under a mask, which
take three times as long on an AMD processor with AVX2. A comparator that stores both values takes
the time of its two stores, so the greater value stays in a register for the next comparator.
Numba's cache does not notice a change of this file: touch `orders.py` too.
"""

from collections.abc import Sequence

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from detox_sim.primitives.network import Comparator

LONGEST = 4  # comparators of a chain
BYTES = 64  # of a vector; LLVM splits it where the processor has shorter ones


@intrinsic
def exchange(typingctx, block, chains, m):
    """Carry out a chain of comparators on rows of a block.

    Parameters
    ----------
    block : array (n, width), float32 or float64, C order
        Without NaN; a row has a multiple of `BYTES` bytes. Of -0.0 and 0.0 both rows may get the
        same one.
    chains : int64 array (chains, 2 * LONGEST + 3), C order
        Of `table`.
    m : int
        The chain.
    """
    return types.void(block, chains, types.intp), _generate


def table(chains: Sequence[Sequence[Comparator]]) -> np.ndarray:
    """Return chains of a network as the lines that `exchange` reads.

    A line has the number of comparators; the row that is loaded first; for each comparator the row
    that is loaded and the one that gets the lesser value; and the row that gets the value left.

    Examples
    --------
    >>> table([[(0, 1), (1, 2)]])
    array([[2, 0, 1, 0, 2, 1, 2, 0, 0, 0, 0]])
    """
    lines = np.zeros((len(chains), 2 * LONGEST + 3), np.int64)
    for line, chain in zip(lines, chains, strict=True):
        carried = chain[0][0]
        places = [len(chain), carried]
        for low, high in chain:
            places += [high if low == carried else low, low]
            carried = high
        line[: len(places) + 1] = [*places, carried]
    lines.flags.writeable = False
    return lines


def _generate(context, builder, signature, arguments):
    block, lines = (
        context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 1)
    )
    size = cgutils.unpack_tuple(builder, lines.shape, 2)[1]
    line = builder.gep(lines.data, [builder.mul(arguments[2], size)])
    count = builder.load(line)
    for length in range(1, LONGEST + 1):
        with builder.if_then(builder.icmp_signed("==", count, ir.Constant(count.type, length))):
            _exchange(builder, block, line, length)
    return context.get_dummy_value()


def _exchange(builder, block, line, length):
    """Carry out a chain of this length, a vector of columns at a time."""
    item = block.data.type.pointee
    size = 4 if item == ir.FloatType() else 8
    lanes = BYTES // size
    vector = ir.VectorType(item, lanes)
    width = cgutils.unpack_tuple(builder, block.shape, 2)[1]

    def row(k):
        index = builder.load(builder.gep(line, [ir.Constant(width.type, k)]))
        return builder.gep(block.data, [builder.mul(index, width)])

    first, *pairs, last = [row(k) for k in range(1, 2 * length + 3)]
    zero, step = ir.Constant(width.type, 0), ir.Constant(width.type, lanes)
    with cgutils.for_range_slice(builder, zero, width, step) as (k, _):

        def place(row):
            return builder.bitcast(builder.gep(row, [k]), vector.as_pointer())

        def load(row):
            return builder.load(place(row), align=size)

        def store(value, row):
            builder.store(value, place(row), align=size)

        carried = load(first)
        for other, low in zip(pairs[::2], pairs[1::2], strict=True):
            pair = carried, load(other)
            store(minimum(builder, *pair), low)
            carried = maximum(builder, *pair)
        store(carried, last)


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
