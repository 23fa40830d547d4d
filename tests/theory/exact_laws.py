"""Slow exact laws, and the assignments on which the theory is tested."""

import functools
import itertools
from fractions import Fraction
from math import comb

import numpy as np

from detox_sim import assignments

# Sizes small enough to list all sets of workers: workers, copies, options.
SIZES = {
    "none": [(9, 1, {})],
    "detox": [(9, 3, {}), (15, 5, {})],
    "mols": [(12, 3, {}), (15, 3, {})],
    "ramanujan": [(9, 3, {"load": 6}), (25, 5, {})],
    "subsets": [(8, 3, {}), (7, 5, {})],
    "bibd": [(9, 3, {}), (13, 3, {})],
    "random_regular": [(12, 3, {"load": 4}), (14, 5, {})],
    "cyclic": [(11, 3, {}), (13, 7, {})],
}


def small_assignments(name):
    """Yield the holders (files, copies) of each small size of an assignment."""
    for workers, copies, options in SIZES[name]:
        yield getattr(assignments, name)(workers, copies, **options)


def numbers_of_byzantine(workers):
    return 1, 2, 3, 4, workers - 2, workers, 0


def count_distorted(holders, byzantine):
    """Return the number of distorted files for a placement bool (workers,), by a loop."""
    return sum(2 * sum(byzantine[worker] for worker in file) > len(file) for file in holders)


def count_all_sets(holders, byzantine):
    """Return how many sets of workers distort 0, 1, 2, ... files, by listing all sets."""
    return _count_all_sets(holders.tobytes(), holders.shape, byzantine)


@functools.cache
def _count_all_sets(data, shape, byzantine):
    holders = np.frombuffer(data, np.int64).reshape(shape)
    workers = holders.max() + 1
    held = np.zeros((workers, len(holders)), np.int8)
    held[holders, np.arange(len(holders))[:, None]] = 1
    sets = np.array(list(itertools.combinations(range(workers), byzantine)), dtype=int)
    distorted = (2 * held[sets].sum(axis=1) > shape[1]).sum(axis=1)
    return np.bincount(distorted)


def exact_distorted_files(workers, byzantine, copies):
    """Return the law of distorted files of disjoint groups as fractions, in integers throughout.

    With G(x) = sum over i <= r/2 of C(r, i) x^i and x^m b(x) the rest of (1 + x)^r, m the majority,
    the ways to distort k files are C(p/r, k) [x^(q - k m)] b^k G^(p/r - k). The product for k
    follows from the one for k - 1 by a multiplication with b and a division by G.
    """
    groups, majority = workers // copies, copies // 2 + 1
    kept = [comb(copies, i) for i in range(majority)][: byzantine + 1]
    factor = [comb(copies, i) for i in range(majority, min(copies, byzantine) + 1)]
    series = [1] + [0] * byzantine
    for _ in range(groups):
        series = _multiply(series, kept)
    ways = []
    for k in range(min(groups, byzantine // majority) + 1):
        if k:
            series = _divide(_multiply(series, factor), kept)
        ways.append(comb(groups, k) * series[byzantine - k * majority])
        series = series[: byzantine - k * majority + 1]
    return [Fraction(way, comb(workers, byzantine)) for way in ways]


def _multiply(series, factor):
    """Return the product, cut to the length of `series`."""
    return [
        sum(factor[j] * series[i - j] for j in range(min(i, len(factor) - 1) + 1))
        for i in range(len(series))
    ]


def _divide(series, divisor):
    """Return series / divisor as a power series of the same length, for divisor[0] == 1."""
    quotient = []
    for i, value in enumerate(series):
        terms = range(1, min(i, len(divisor) - 1) + 1)
        quotient.append(value - sum(divisor[j] * quotient[i - j] for j in terms))
    return quotient
