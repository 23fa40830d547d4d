"""The primitives for NumPy float32 and float64: numba kernels over blocks of columns.

A block stays in cache, threads take chunks of blocks one after the other, and no sum depends on
the number of threads or on the type of processor.
"""

from detox_sim.primitives.cpu.orders import order_mean
from detox_sim.primitives.cpu.pairwise import cross_distances, distances
from detox_sim.primitives.cpu.votes import equal_rows, majority, take
from detox_sim.primitives.cpu.weighted import combine, mean, moments, sign_sum

__all__ = [
    "combine",
    "cross_distances",
    "distances",
    "equal_rows",
    "majority",
    "mean",
    "moments",
    "order_mean",
    "sign_sum",
    "take",
]
