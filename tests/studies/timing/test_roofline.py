"""Floors of the kernels: counts of operations, rates of the machine, and what follows."""

import itertools
import re
import time

import numpy as np
import pytest
import xarray as xr

from detox_sim.primitives import use_threads
from detox_sim.primitives.cpu.tile import TILE
from detox_sim.primitives.network import order_network
from studies.timing.limits import operations, rates, roofline


def test_needed_operations_of_distances_are_those_of_each_pair_once():
    for n in (1, 2, 6, 15):
        pairs = len(list(itertools.combinations(range(n), 2)))
        assert operations.count("distances", n, 7).needed == 3 * pairs * 7, n


def test_executed_operations_of_distances_are_those_of_the_tiles():
    """Tiles of pairs below the diagonal, halves on it, and single rows against the tiles."""
    pairs = {
        3: {1: 6, 2: 6, 3: 6, 4: 12 + 3, 5: 12 + 9, 41: 14 * 6 + 91 * 9},
        5: {1: 15, 2: 15, 5: 15, 6: 30 + 5, 7: 30 + 10, 8: 30 + 25, 41: 9 * 15 + 28 * 25 + 40},
    }
    for n, wanted in pairs[TILE].items():  # a row and itself, and padded rows, too
        assert operations.count("distances", n, 4).executed == 3 * wanted * 4, n


def changes_median(n: int, place: int, high: bool) -> bool:
    """Whether a median of n depends on the minimum or maximum of one comparator of the network."""
    lo, hi = operations.ranks("median", n)
    for values in itertools.permutations(range(n)):
        line, other = list(values), list(values)
        for k, (a, b) in enumerate(order_network(n, lo, hi)):
            for one in (line, other):
                one[a], one[b] = sorted((one[a], one[b]))
            if k == place:
                other[b if high else a] = n + 9 if other[b if high else a] < n / 2 else -9
        if line[lo : hi + 1] != other[lo : hi + 1]:
            return True
    return False


def test_needed_minima_and_maxima_are_those_that_change_the_median():
    for n in (2, 3, 4, 5):
        counted = operations.count("median", n, 1)
        sides = itertools.product(
            range(len(order_network(n, *operations.ranks("median", n)))), (0, 1)
        )
        assert counted.needed == sum(changes_median(n, *side) for side in sides), n
        assert counted.needed <= counted.executed


def test_operations_grow_with_the_columns_and_are_never_fewer_than_needed():
    for kernel in ("distances", "median", "order_mean", "combine", "equal_rows", "vote"):
        once, twice = (operations.count(kernel, 15, d) for d in (100, 200))
        assert (twice.needed, twice.executed) == (2 * once.needed, 2 * once.executed), kernel
        assert once.needed <= once.executed, kernel
        assert once.operation in rates.OPERATIONS, kernel


def test_sorted_rows_and_other_kernels_are_not_counted():
    assert operations.count("median", 1000, 10) is None
    assert operations.count("krum", 15, 10) is None


@pytest.mark.parametrize("operation", rates.OPERATIONS)
def test_loops_do_what_is_counted(operation):
    """In each width: the values are those of the same passes in NumPy."""
    for width in rates.WIDTHS:
        block = rates._block(operation)
        loop, size = rates.compiled(operation, width), width // block.itemsize
        chains = loop.operations // size
        expected = passes_in_numpy(operation, block.copy().reshape(-1, size), 3)
        loop.call(3, block.ctypes.data)
        np.testing.assert_array_equal(block, expected.ravel())
        assert chains == {"float64": 36}.get(operation, 24)


def passes_in_numpy(operation, vectors, passes):
    chains = rates.CHAINS
    for _ in range(passes):
        if operation == "float64":
            gap = vectors[:chains] - vectors[chains]
            vectors[:chains] += gap * gap
        elif operation == "bits":
            bits = vectors.view(np.int32)
            bits[:chains] |= np.roll(bits[:chains], -1, axis=0) ^ bits[chains]
        ring = [(i, (i + 1) % chains) for first in (0, 1) for i in range(first, chains, 2)]
        for low, high in ring if operation == "min, max" else ():
            vectors[[low, high]] = np.sort(vectors[[low, high]], axis=0)
    return vectors


def test_rate_is_of_all_threads_together(monkeypatch):
    calls = []
    loop = rates.Loop(lambda passes, address: calls.append((passes, address)), 5, None)
    monkeypatch.setattr(rates, "_widest", lambda operation: (loop, 1e-6))
    with use_threads(2):
        start = time.perf_counter()
        found = rates.rate("bits", 1e-4)
        assert found >= 2 * 100 * 5 / (time.perf_counter() - start)  # of both threads
    assert [passes for passes, _ in calls] == [100, 100]
    assert len({address for _, address in calls}) == 2


def one_size(milliseconds, billions, rate=1.0, turns=(1.0, 1.0, 1.0, 1.0)) -> xr.Dataset:
    """One kernel whose rows are read in 1 ms."""
    counts = (("kernel", "operation"), [[1e9 * billions, np.nan], [np.nan, np.nan]])
    return xr.Dataset(
        {
            "rows": 10.0,
            "columns": 100_000.0,
            "milliseconds": (("kernel", "repeat"), [[milliseconds] * 3, [1.0] * 3]),
            "floor": ("kernel", [1.5, 1.0]),
            "bandwidth": ("turn", 4 * np.array(turns)),
            "operations": counts,
            "executed": counts,
            "operation_rate": (("operation", "turn"), [[1e3 * rate] * 4, [1e3] * 4]),
        },
        coords={"kernel": ["distances", "mean"], "operation": ["float64", "bits"]},
    )


def test_verdict_says_within_cannot_or_not_excluded():
    cases = [
        (one_size(3.5, 2.0), r"of 10 rows takes 3.50 \(3.50 to 3.50\) reads.*: within 4"),
        (one_size(7.0, 5.0), "cannot do it in 4; they alone take 5 reads"),
        (
            one_size(7.0, 5.0, rate=2.0),
            "slower than 4, which neither memory nor operations exclude",
        ),
        (one_size(7.0, 4.2, turns=(1.0, 0.9, 0.9, 1.1)), "neither memory nor operations exclude"),
        (one_size(7.0, 5.0, turns=(1.0, 1.0, 1.0, 0.7)), "cannot do it in 4"),
    ]
    for dataset, expected in cases:
        (sentence,) = roofline.verdicts(dataset)
        assert re.search(expected, sentence), sentence


def test_share_is_of_the_longer_floor():
    for billions, share in ((0.5, 1.5 / 6), (3.0, 3 / 6)):
        reads = roofline.in_reads(one_size(6.0, billions))
        assert reads.share.sel(kernel="distances").item() == pytest.approx(share)


def test_kernel_that_was_not_run_has_no_verdict():
    dataset = one_size(6.0, 1.0)
    assert roofline.verdicts(dataset.assign(floor=dataset.floor * np.nan)) == []
