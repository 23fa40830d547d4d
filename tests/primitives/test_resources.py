"""Results keep their bits for any threads, memory order and chunks; memory stays below 64 MB."""

import subprocess
import sys
import tracemalloc

import dask.array
import numpy as np
import pytest

from detox_sim import aggregators, mixers
from detox_sim.primitives import (
    combine,
    distances,
    equal_rows,
    map_columns,
    order_mean,
    take,
    threads,
    use_threads,
)


def normal(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def every_primitive(rows, copies):
    """Return the bytes of the results of the primitives on some rows."""
    n = rows.shape[0]
    results = [
        order_mean(rows, n // 3, n - n // 3 - 1),
        order_mean(rows, n // 2, n // 2, nearest=n // 2),
        combine(normal((3, n), seed=1), rows),
        distances(rows),
        distances(rows, rows[:2]),
        equal_rows(rows, copies),
        take(rows, [1, 0]),
        map_columns(lambda block: block.max(axis=0), rows),
    ]
    return b"".join(np.ascontiguousarray(result).tobytes() for result in results)


@pytest.mark.parametrize(("n", "d"), [(15, 200_001), (45, 50_000), (150, 9_000)])
def test_bits_do_not_depend_on_number_of_threads(n, d):
    rows = normal((n, d), np.float32)
    rows[1] = rows[0]
    copies = np.array([[0, 1, 2], [3, 4, 5]])
    results = set()
    for count in (1, 2, 3, 8):
        with use_threads(count):
            assert threads() == count
            results.add(every_primitive(rows, copies))
    assert len(results) == 1


def test_rows_in_any_memory_order_give_same_bits():
    rows = normal((9, 3000), np.float32)
    wide = np.zeros((18, 6000), np.float32)
    wide[::2, ::2] = rows
    views = {"F": np.asfortranarray(rows), "strided": wide[::2, ::2], "reversed": rows[::-1][::-1]}
    copies = np.array([[0, 1, 2]])
    for order, view in views.items():
        assert every_primitive(view, copies) == every_primitive(rows, copies), order


def test_chunks_give_same_answer_as_memory():
    rows = normal((9, 3000), np.float32)
    weights = normal((2, 9), seed=1)
    for chunks in ((9, 3000), (9, 100), (4, 777)):
        lazy = dask.array.from_array(rows, chunks=chunks)
        for pass_over in (
            lambda x: order_mean(x, 3, 5),
            lambda x: order_mean(x, 3, 5, nearest=4, chosen=[1, 2, 3, 4, 5, 6]),
            lambda x: combine(weights, x),
            lambda x: map_columns(lambda block: block.max(axis=0), x),
        ):
            result = pass_over(lazy)
            assert isinstance(result, dask.array.Array), chunks
            np.testing.assert_array_equal(result.compute(), pass_over(rows), err_msg=str(chunks))
        square = distances(rows)
        np.testing.assert_allclose(distances(lazy), square, rtol=1e-14, err_msg=str(chunks))


def test_dask_task_gets_one_thread():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            1, processes=False, dashboard_address="127.0.0.1:0", threads_per_worker=1
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert client.submit(threads, pure=False).result() == 1
    assert threads() >= 1


def test_sums_of_distances_of_many_rows_stay_small():
    for n, d in ((200, 60_000), (1000, 12_000)):
        rows = normal((n, d), np.float32)
        distances(rows[:, :50])
        tracemalloc.start()
        try:
            square = distances(rows)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak - square.nbytes < 64e6, (n, d)


MEMORY = """
import resource
import numpy as np
from detox_sim import aggregators, mixers
n, d = 30, 2_000_000
rows = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
small = rows[:, :1000].copy()

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def run(catalogue, name, rows):
    options = {"radius": 40.0} if name in ("centered_clipping", "clipping") else {}
    options |= {"rng": np.random.default_rng(0)} if catalogue is mixers else {}
    return getattr(catalogue, name)(rows, byzantine=3, **options).nbytes

functions = [(catalogue, name) for catalogue in (aggregators, mixers) for name in catalogue.__all__]
for function in functions:
    run(*function, small)
before = peak()
for catalogue, name in functions:  # those with the larger outputs last
    size = run(catalogue, name, rows)
    print(name, peak() - before - size)
"""


def test_rules_and_mixers_use_at_most_64_megabytes_more():
    """Beside the input (240 MB) and the output: the peak of a process that runs one by one."""
    if sys.platform != "linux":
        pytest.skip("ru_maxrss is in other units")
    command = [sys.executable, "-c", MEMORY]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    used = {name: int(size) for name, size in map(str.split, done.stdout.splitlines())}
    assert len(used) == len(aggregators.__all__) + len(mixers.__all__)
    assert all(size < 64e6 for size in used.values()), used
