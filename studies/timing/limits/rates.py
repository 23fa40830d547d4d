"""The rate at which this machine does the operations of the primitives, memory left aside.

Each loop is written in LLVM's language and passes no optimiser, so the processor executes the
operations that are counted and no others.
"""

import ctypes
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from detox_sim.primitives import threads
from detox_sim.primitives.threads import spread

WIDTHS = (16, 32, 64)  # bytes of a vector; LLVM splits what the processor has not
CHAINS = 12  # independent vectors: with their constant and results they fit in 16 registers
TRIAL = 10_000  # passes of a loop to choose the width


class Loop(NamedTuple):
    """A compiled loop: ``call(passes, address)`` does `operations` in each pass."""

    call: Callable[[int, int], None]
    operations: int
    engine: Any  # owns the code


def rate(operation: str, seconds: float) -> float:
    """Return the operations a second that `threads` threads do together, measured once.

    Parameters
    ----------
    operation : str
        One of `OPERATIONS`: float64 subtractions, multiplications and additions in equal shares
        (never fused); float32 minima and maxima; exclusive and inclusive or of 32 bits.
    seconds : float
        Roughly, of the measurement.
    """
    loop, each = _widest(operation)
    passes = max(1, round(seconds / each))
    blocks = [_block(operation) for _ in range(threads())]
    start = time.perf_counter()
    spread(lambda block: loop.call(passes, block.ctypes.data), blocks)
    return len(blocks) * passes * loop.operations / (time.perf_counter() - start)


@functools.cache
def _widest(operation: str) -> tuple[Loop, float]:
    """Return the loop with the fastest of the widths, and the seconds of one of its passes."""
    found = []
    for width in WIDTHS:
        loop, block = compiled(operation, width), _block(operation)
        seconds = min(_seconds(loop, TRIAL, block) for _ in range(3)) / TRIAL
        found.append((loop, seconds))
    return min(found, key=lambda pair: pair[1] / pair[0].operations)


def _seconds(loop: Loop, passes: int, block: np.ndarray) -> float:
    start = time.perf_counter()
    loop.call(passes, block.ctypes.data)
    return time.perf_counter() - start


def _block(operation: str) -> np.ndarray:
    """Return ascending values for all of the widest vectors, aligned to a vector."""
    size, most = 8 if operation == "float64" else 4, max(WIDTHS)
    count = (CHAINS + 1) * most // size
    values = np.linspace(0.25, 0.75, count + most // size, dtype=f"f{size}")
    start = -values.ctypes.data % most // size
    return values[start : start + count]


# --- The loops ------------------------------------------------------------------------------------


def compiled(operation: str, width: int) -> Loop:
    """Return the loop of an operation on vectors of `width` bytes."""
    from llvmlite import ir

    item = {"float64": ir.DoubleType(), "bits": ir.IntType(32)}.get(operation, ir.FloatType())
    lanes = width // (8 if operation == "float64" else 4)
    arguments = [ir.IntType(64), ir.VectorType(item, lanes).as_pointer()]
    function = ir.Function(module := ir.Module(), ir.FunctionType(ir.VoidType(), arguments), "loop")
    builder = ir.IRBuilder(function.append_basic_block())
    body, chains, operations = _BODIES[operation]
    places = _places(builder, chains + 1)
    *start, other = map(builder.load, places)
    last = _repeat(builder, start, functools.partial(body, builder, other))
    for value, place in zip(last, places, strict=False):
        builder.store(value, place)
    builder.ret_void()
    call, engine = _linked(str(module))
    return Loop(call, operations * lanes, engine)


def _places(builder, count: int) -> list:
    """Return the addresses of the first vectors of the block."""
    from llvmlite import ir

    block = builder.function.args[1]
    return [builder.gep(block, [ir.IntType(64)(i)]) for i in range(count)]


def _repeat(builder, start: list, body: Callable[[list], list]) -> list:
    """Repeat ``values = body(values)`` as often as the first argument says; return the values."""
    passes, before = builder.function.args[0], builder.block
    inside, after = (builder.append_basic_block() for _ in range(2))
    start = [passes.type(0), *start]
    builder.branch(inside)
    builder.position_at_end(inside)
    values = [builder.phi(value.type) for value in start]
    results = [builder.add(values[0], passes.type(1)), *body(values[1:])]
    for value, first, later in zip(values, start, results, strict=True):
        value.add_incoming(first, before)
        value.add_incoming(later, inside)
    builder.cbranch(builder.icmp_signed("<", results[0], passes), inside, after)
    builder.position_at_end(after)
    return results[1:]


def _linked(source: str) -> tuple[Callable[[int, int], None], Any]:
    """Return the function ``loop`` of a module and the engine that owns its machine code."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(source), machine)
    engine.finalize_object()
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)  # releases the GIL
    return kind(engine.get_function_address("loop")), engine


def _float64(builder, other, values: list) -> list:
    """Add (value - other) ** 2 to each value, which so nears the larger other from below."""
    gaps = [builder.fsub(value, other) for value in values]
    squares = [builder.fmul(gap, gap) for gap in gaps]
    return [builder.fadd(*pair) for pair in zip(values, squares, strict=True)]


def _exchange(builder, low, high) -> tuple:
    from detox_sim.primitives.cpu.exchange import maximum, minimum

    return minimum(builder, low, high), maximum(builder, low, high)


def _min_max(builder, other, values: list) -> list:
    """Exchange the neighbours on a ring: the even ones with the next, then the odd ones."""
    values = list(values)
    for first in (0, 1):
        for i in range(first, CHAINS, 2):
            j = (i + 1) % CHAINS
            values[i], values[j] = _exchange(builder, values[i], values[j])
    return values


def _bits(builder, other, values: list) -> list:
    pairs = zip(values, values[1:] + values[:1], strict=True)
    return [builder.or_(value, builder.xor(after, other)) for value, after in pairs]


_BODIES = {  # operation -> what a pass does, vectors in registers, operations by lane
    "float64": (_float64, CHAINS, 3 * CHAINS),
    "min, max": (_min_max, CHAINS, 2 * CHAINS),
    "bits": (_bits, CHAINS, 2 * CHAINS),
}
OPERATIONS = tuple(_BODIES)
