"""Distances and order statistics have the same bits on a processor with other registers."""

import os
import subprocess
import sys

import numpy as np

from detox_sim.primitives import distances, order_mean, use_threads

COLUMNS = 4400  # more than one unit of a reproducible sum
HEIGHTS = (1, 2, 3, 4, 5, 6, 7, 9, 11, 16, 23)  # the last row equals the first

# Numba compiles for a processor without AVX; tiles are cut as for the one named.
PROGRAM = """
import sys
import numba
numba.njit(lambda: 0)()  # from here on the target of the compiler is fixed
numba.config.CPU_FEATURES, height = sys.argv[1], int(sys.argv[2])
from detox_sim.primitives.cpu import tile
assert tile.TILE == height
sys.path.insert(0, sys.argv[3])
from test_processors import found
sys.stdout.buffer.write(found())
"""


def found() -> bytes:
    rows = np.random.default_rng(0).normal(size=(max(HEIGHTS), COLUMNS)).astype(np.float32)
    rows[-1], rows[2, -1] = rows[0], np.inf
    results = []
    with use_threads(1):
        for n in HEIGHTS:
            some = np.concatenate([rows[: n - 1], rows[-1:]])
            results += [distances(some), distances(some, rows[:1]), order_mean(some, n // 3, n - 1)]
    return b"".join(result.tobytes() for result in results)


def test_same_bits_on_another_processor(tmp_path):
    from detox_sim.primitives.cpu.tile import TILE

    other = ["+avx512f", "5"] if TILE == 3 else ["", "3"]
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM, *other, os.path.dirname(__file__)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    assert done.stdout == found()
