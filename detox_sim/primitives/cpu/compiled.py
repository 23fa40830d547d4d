"""How kernels are compiled, and how their work is cut into chunks of columns.

Numba's cache does not notice a change of this file: touch the files that use it too.
"""

from collections.abc import Callable
from typing import TypeVar

import numba
import numpy as np

from detox_sim.primitives.threads import spread

CHUNK = 1 << 21  # values that a thread takes at a time
SUMMED = 4096  # columns in a block that is summed

Result = TypeVar("Result")

kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


def read_only(rows: np.ndarray) -> np.ndarray:
    """Return the rows C-ordered and read-only, so that a kernel is compiled for one type only."""
    rows = np.ascontiguousarray(rows).view()
    rows.flags.writeable = False
    return rows


@kernel
def same_bits(some, others):
    """Return whether two arrays (w,) of bit patterns are equal."""
    bits = some.dtype.type(0)
    for k in range(some.size):
        bits |= some[k] ^ others[k]
    return bits == 0


@kernel
def copy(source, target):
    """Write values (w,) over others, as these types have them."""
    for k in range(target.size):
        target[k] = source[k]


def over_columns(work: Callable[[int, int], Result], rows: np.ndarray) -> list[Result]:
    """Return ``work(start, stop)`` for chunks of columns, whatever the number of threads."""
    n, d = rows.shape
    if n * d <= CHUNK:
        return [work(0, d)]
    width = max(1, CHUNK // n // SUMMED) * SUMMED
    chunks = [(start, min(start + width, d)) for start in range(0, d, width)]
    return spread(lambda chunk: work(*chunk), chunks)
