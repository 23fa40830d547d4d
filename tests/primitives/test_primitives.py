"""The four passes against loops on every backend, and inputs on which faster formulas go wrong."""

import itertools
import math
import subprocess
import sys
import tracemalloc

import array_api_strict
import dask.array
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from detox_sim import aggregators, mixers, primitives
from detox_sim.primitives import (
    combine,
    cpu,
    distances,
    equal_rows,
    finite,
    map_columns,
    network,
    order_mean,
    take,
    threads,
    use_threads,
)
from detox_sim.primitives import sums as trees


def normal(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def in_chunks(rows):
    """A Dask array whose chunks cut both axes unevenly."""
    n, d = np.shape(rows)
    return dask.array.from_array(rows, chunks=(max(1, n // 2), max(1, d // 3)))


def read_only(rows):
    rows = np.array(rows)
    rows.flags.writeable = False
    return rows


@pytest.fixture(
    params=["reference", "numba", "dask", pytest.param("cupy", marks=pytest.mark.gpu)],
)
def library(request):
    """Make an array of one backend."""
    if request.param == "cupy":
        return request.getfixturevalue("cupy").asarray
    return {
        "reference": array_api_strict.asarray,
        "numba": read_only,
        "dask": in_chunks,
    }[request.param]


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request, monkeypatch):
    """Answers must not depend on how the columns are cut."""
    if request.param == "many blocks":
        monkeypatch.setattr(primitives.reference, "BLOCK", 16)
        monkeypatch.setattr(cpu, "CHUNK", 16)
        monkeypatch.setattr(cpu, "SORT_BLOCK", 16)


def host(array):
    return array.get() if hasattr(array, "get") else np.asarray(array)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "lo", "hi"),
    [(1, 0, 0), (6, 0, 5), (6, 2, 3), (7, 3, 3), (7, 4, 6), (131, 65, 65), (150, 10, 139)],
)
def test_order_mean_is_the_mean_of_sorted_values(library, dtype, n, lo, hi):
    rows = normal((n, 11), dtype)
    wanted = [math.fsum(sorted(map(float, c))[lo : hi + 1]) / (hi + 1 - lo) for c in rows.T]
    got = host(order_mean(library(rows), lo, hi))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(dtype).eps, atol=1e-15)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "nearest"), [(1, 1), (6, 1), (6, 4), (9, 9), (45, 30), (150, 99)])
@pytest.mark.parametrize("ties", [False, True])
def test_order_mean_takes_the_nearest_values(library, dtype, n, nearest, ties):
    rows = normal((n, 11), dtype, seed=n)
    rows = np.round(rows) if ties else rows
    lo, hi = n // 4, n - n // 4 - 1
    wanted = []
    for column in rows.T:
        ordered = sorted(map(float, column))
        centre = math.fsum(ordered[lo : hi + 1]) / (hi - lo + 1)
        close = sorted(ordered, key=lambda value: (abs(value - centre), value))[:nearest]
        wanted.append(math.fsum(close) / nearest)
    got = host(order_mean(library(rows), lo, hi, nearest=nearest))
    np.testing.assert_allclose(got, wanted, rtol=0, atol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("chosen", [[0], [4, 1, 3], [6, 5, 4, 3, 2, 1, 0]])
def test_order_mean_of_chosen_rows_is_that_of_a_copy(library, chosen):
    rows = normal((7, 40), np.float32)
    middle = len(chosen) // 2
    got = host(order_mean(library(rows), middle, middle, chosen=chosen))
    np.testing.assert_array_equal(got, host(order_mean(rows[chosen], middle, middle)))


@pytest.mark.parametrize(("lo", "hi"), [(-1, 0), (2, 1), (0, 3)])
def test_order_mean_refuses_impossible_ranks(lo, hi):
    with pytest.raises(ValueError, match=f"0 <= lo <= hi < n = 3, got {lo}, {hi}"):
        order_mean(np.ones((3, 1)), lo, hi)


@pytest.mark.parametrize("nearest", [0, 4])
def test_order_mean_refuses_impossible_counts(nearest):
    with pytest.raises(ValueError, match=f"1 <= nearest <= n = 3, got {nearest}"):
        order_mean(np.ones((3, 1)), 1, 1, nearest=nearest)


@pytest.mark.parametrize("n", [5, 200])
def test_order_mean_sorts_nan_last(library, n):
    rows = np.array([[np.nan], [1.0], [-np.inf], [2.0], [np.inf]])
    rows = np.concatenate([rows, np.full((n - 5, 1), np.nan)])
    got = [host(order_mean(library(rows), k, k))[0] for k in range(5)]
    assert got == [-np.inf, 1, 2, np.inf, np.inf]


@pytest.mark.parametrize("size", range(1, 10))
def test_a_network_sorts_whatever_zeros_and_ones_it_gets(size):
    for bits in itertools.product([0, 1], repeat=size):  # enough, by the zero-one principle
        values = list(bits)
        for low, high in network.sorting_network(size):
            assert low < high < size
            values[low], values[high] = sorted((values[low], values[high]))
        assert values == sorted(bits)


@pytest.mark.parametrize(("size", "lo", "hi"), [(9, 4, 4), (45, 22, 22), (64, 31, 32), (96, 9, 86)])
def test_a_pruned_network_finds_its_ranks_with_less_work(size, lo, hi):
    comparators = network.order_network(size, lo, hi)
    assert 0 < len(comparators) < len(network.sorting_network(size))
    for seed in range(20):
        values = normal(size, seed=seed)
        wanted = np.sort(values)[lo : hi + 1]
        for low, high in comparators:
            values[low], values[high] = sorted((values[low], values[high]))
        assert values[lo : hi + 1].tolist() == wanted.tolist()


def exact_distances(rows):
    return np.array([[reference.distance(a, b) for b in rows] for a in rows])


def with_one_row_scaled(scale):
    """Rows that almost agree, but for one."""
    return lambda rows: (1 + 1e-3 * rows) * np.where(np.arange(7) == 3, scale, 1.0)[:, None]


TRAPS = {
    "plain": lambda rows: rows,
    "one row of -100 times the scale": with_one_row_scaled(-100.0),
    "one row of a million times the scale": with_one_row_scaled(1e6),
    "a common part of 1000 times the spread": lambda rows: rows + 1000,
    "weights of 0.5 that differ by 1e-4": lambda rows: 0.5 * rows[:1] + 1e-4 * rows,
    "equal rows": lambda rows: np.repeat(rows[:1], 7, axis=0),
}


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_distances_are_exact_to_rounding(library, trap, dtype):
    rows = TRAPS[trap](normal((7, 200))).astype(dtype)
    got = distances(library(rows))
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, exact_distances(rows), rtol=1e-13)
    np.testing.assert_array_equal(got, got.T)
    assert (np.diag(got) == 0).all()
    across = distances(library(rows), library(rows[2:4]))
    np.testing.assert_allclose(across, exact_distances(rows)[:, 2:4], rtol=1e-13)


@pytest.mark.parametrize("n", [1, 4, 5, 6, 11, 1003])
def test_distances_of_any_number_of_rows(n):
    rows, points = normal((n, 300), np.float32), normal((7, 300), seed=1)
    wanted = ((rows[:, None, :].astype(float) - points[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(distances(rows, points), wanted, rtol=1e-12)
    rows = rows[:50]
    wanted = ((rows[:, None, :].astype(float) - rows[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(distances(rows), wanted, rtol=1e-12)


@pytest.mark.parametrize("trap", [trap for trap in TRAPS if trap not in ("plain", "equal rows")])
def test_the_traps_do_catch_a_gram_identity_in_float32(trap):
    rows = TRAPS[trap](normal((7, 200))).astype(np.float32)
    wanted = exact_distances(rows)
    rows = rows - rows.mean(axis=0) if "one row" in trap else rows
    gram = rows @ rows.T
    square = np.diag(gram)[:, None] + np.diag(gram)[None, :] - 2 * gram
    others = ~np.eye(7, dtype=bool)
    assert not np.allclose(square[others], wanted[others], rtol=0.1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_broken_rows_are_infinitely_far(library, bad):
    rows = normal((5, 4))
    rows[1, 2] = rows[4, 0] = bad
    wanted = exact_distances(np.nan_to_num(rows, nan=0, posinf=0, neginf=0))
    wanted[[1, 4], :] = wanted[:, [1, 4]] = np.inf
    np.testing.assert_allclose(distances(library(rows)), wanted, rtol=1e-13)
    across = distances(library(rows), library(rows[:2]))
    np.testing.assert_allclose(across, wanted[:, :2], rtol=1e-13)
    assert finite(library(rows)).tolist() == [True, False, True, True, False]


def test_score_of_the_published_waves():
    rows = np.array([[np.sin(i), np.cos(2 * i)] for i in range(15)])
    scores = np.sort(distances(rows), axis=1)[:, 1:12].sum(axis=1)
    assert scores.argmin() == 7
    assert scores[7] == pytest.approx(10.82770812, abs=6e-9)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("trap", TRAPS)
def test_combine_is_a_weighted_sum(library, dtype, trap):
    rows = TRAPS[trap](normal((7, 30))).astype(dtype)
    weights = normal((3, 7), seed=1)
    wanted = [
        [math.fsum(w * float(v) for w, v in zip(line, column, strict=True)) for column in rows.T]
        for line in weights
    ]
    got = host(combine(weights, library(rows)))
    assert got.dtype == dtype
    size = np.abs(rows).max() * np.abs(weights).sum()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=np.finfo(dtype).eps * size)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.finfo(np.float64).max])
def test_a_zero_weight_removes_a_row_whatever_it_holds(library, bad):
    rows = np.array([[1.0, 2.0], [bad, bad], [3.0, 5.0]])
    weights = np.array([[0.5, 0.0, 0.5], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    assert host(combine(weights, library(rows))).tolist() == [[2.0, 3.5], [6.0, 10.0], [0.0, 0.0]]


def first_equal(rows, group):
    """Position of the first member with the same bytes, member by member."""
    copies = [rows[i].tobytes() for i in group]
    return [copies.index(copy) for copy in copies]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("copies", [1, 2, 3, 5])
def test_equal_rows_compares_bytes(library, dtype, copies):
    rng = np.random.default_rng(copies)
    rows = normal((4, 6), dtype)[rng.integers(4, size=12)]
    rows[7, 5] = np.nextafter(rows[7, 5], dtype(9))
    groups = rng.integers(12, size=(40, copies))
    got = equal_rows(library(rows), groups)
    assert got.tolist() == [first_equal(rows, group) for group in groups]


def other_nan(dtype):
    """Return a NaN of other bits than np.nan."""
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    return (np.array([np.nan], dtype).view(unsigned) + unsigned.type(1)).view(dtype)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_rows_is_about_bits_not_values(library, dtype):
    rows = np.array([[np.nan], [np.nan], [other_nan(dtype)], [0.0], [-0.0], [np.inf]], dtype)
    assert equal_rows(library(rows), np.array([[0, 1], [0, 2], [3, 4], [5, 5]])).tolist() == [
        [0, 0],
        [0, 1],
        [0, 1],
        [0, 0],
    ]


@pytest.mark.parametrize("indices", [[], [2], [0, 0, 2]])
def test_take_gathers_rows(library, indices):
    rows = normal((3, 2))
    assert host(take(library(rows), indices)).tolist() == [rows[i].tolist() for i in indices]


def every_primitive(rows, copies):
    """The bytes of everything the primitives make of some rows."""
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
    return b"".join(np.ascontiguousarray(host(result)).tobytes() for result in results)


@pytest.mark.parametrize(("n", "d"), [(15, 200_001), (45, 50_000), (150, 9_000)])
def test_bits_do_not_depend_on_the_number_of_threads(n, d):
    rows = normal((n, d), np.float32)
    rows[1] = rows[0]
    copies = np.array([[0, 1, 2], [3, 4, 5]])
    results = set()
    for count in (1, 2, 3, 8):
        with use_threads(count):
            assert threads() == count
            results.add(every_primitive(rows, copies))
    assert len(results) == 1


@pytest.mark.parametrize("order", ["F", "strided", "reversed"])
def test_rows_in_any_memory_order_give_the_same_bits(order):
    rows = normal((9, 3000), np.float32)
    wide = np.zeros((18, 6000), np.float32)
    wide[::2, ::2] = rows
    views = {"F": np.asfortranarray(rows), "strided": wide[::2, ::2], "reversed": rows[::-1][::-1]}
    copies = np.array([[0, 1, 2]])
    assert every_primitive(views[order], copies) == every_primitive(rows, copies)


@pytest.mark.parametrize("chunks", [(9, 3000), (9, 100), (4, 777)])
def test_chunks_give_the_same_answer_as_memory(chunks):
    rows = normal((9, 3000), np.float32)
    lazy = dask.array.from_array(rows, chunks=chunks)
    weights = normal((2, 9), seed=1)
    for pass_over in (
        lambda x: order_mean(x, 3, 5),
        lambda x: order_mean(x, 3, 5, nearest=4, chosen=[1, 2, 3, 4, 5, 6]),
        lambda x: combine(weights, x),
        lambda x: map_columns(lambda block: block.max(axis=0), x),
    ):
        result = pass_over(lazy)
        assert isinstance(result, dask.array.Array)
        np.testing.assert_array_equal(result.compute(), pass_over(rows))
    np.testing.assert_allclose(distances(lazy), distances(rows), rtol=1e-14)


def test_a_dask_worker_gets_one_thread():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(1, processes=False, dashboard_address=None, threads_per_worker=1) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        assert client.submit(threads, pure=False).result() == 1
    assert threads() >= 1


MEMORY = """
import resource, sys
import numpy as np
from detox_sim import aggregators, mixers
n, d, name = 30, 2_000_000, sys.argv[1]
rows = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
small = rows[:, :1000].copy()
rule = getattr(aggregators, name, None) or getattr(mixers, name)
options = {"byzantine": 3} | ({"radius": 40.0} if name in ("centered_clipping", "clipping") else {})
options |= {"rng": np.random.default_rng(0)} if hasattr(mixers, name) else {}
rule(small, **options)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = rule(rows, **options)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024 - result.nbytes)
"""


X = np.ones((13, 70), np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: combine(np.ones((1, 14)), X), "weights of shape .m, 13."),
        (lambda: combine(np.ones(13), X), "weights of shape .m, 13."),
        (lambda: equal_rows(X, [[0, 99, 1]]), "indices below n = 13"),
        (lambda: take(X, [-1]), "indices below n = 13"),
        (lambda: order_mean(X, 0, 0, chosen=[99]), "indices below n = 13"),
        (lambda: order_mean(X.astype(int), 0, 0), "floating-point rows"),
        (lambda: distances(X, X[:2, :5]), "points of shape .m, 70."),
        (lambda: distances(X[:, :0]), "rows of shape"),
    ],
)
def test_what_would_read_beyond_the_rows_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("n", "d"), [(200, 60_000), (1000, 12_000)])
def test_sums_of_distances_of_many_rows_stay_small(n, d):
    rows = normal((n, d), np.float32)
    distances(rows[:, :50])
    tracemalloc.start()
    try:
        square = distances(rows)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - square.nbytes < 64e6


@pytest.mark.parametrize("name", [*aggregators.__all__, *mixers.__all__])
def test_extra_memory_is_at_most_64_megabytes(name):
    """Beside the input (240 MB) and the output; the peak of a fresh process."""
    if sys.platform != "linux":
        pytest.skip("ru_maxrss is in other units")
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, name], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 64e6


# --- However the columns are cut ------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 7, 45])
@pytest.mark.parametrize("widths", [[1, 1, 1, 1, 1, 1], [3, 3], [1, 4, 1], [5, 1]])
def test_distances_have_the_same_bits_however_whole_units_are_cut(n, widths):
    columns = 5 * trees.UNIT + 77
    rows = np.random.default_rng(n).standard_normal((n, columns)).astype(np.float32)
    sizes = np.array(widths) * trees.UNIT
    sizes[-1] -= trees.UNIT - 77
    pieces = dask.array.from_array(rows, chunks=(-1, tuple(sizes.tolist())))
    np.testing.assert_array_equal(distances(pieces), distances(rows))
    for points in (rows[:1], rows[:2]):
        np.testing.assert_array_equal(distances(pieces, points), distances(rows, points))


@settings(max_examples=50)
@given(st.integers(0, 70), st.integers(1, 70), st.integers(1, 20))
def test_nodes_cover_what_they_are_asked_for(start, count, longest):
    nodes = trees.cut(start, start + count, longest)
    units = [unit for level, i in nodes for unit in range(i << level, (i + 1) << level)]
    assert units == list(range(start, start + count))
    assert all(1 << level <= longest for level, _ in nodes)


@settings(max_examples=50)
@given(st.integers(1, 40), st.randoms())
def test_a_sum_does_not_depend_on_order_or_grouping(count, random):
    values = np.random.default_rng(count).standard_normal(count) * 10.0 ** np.arange(count)
    whole: trees.Nodes = {}
    for unit in range(count):
        trees.merge(whole, {(0, unit): values[unit]})
    shuffled: trees.Nodes = {}
    for unit in random.sample(range(count), count):
        trees.merge(shuffled, {(0, unit): values[unit]})
    assert trees.total(shuffled) == trees.total(whole)
    middle = random.randrange(count)
    left: trees.Nodes = {}
    right: trees.Nodes = {}
    for unit in range(count):
        trees.merge(left if unit < middle else right, {(0, unit): values[unit]})
    trees.merge(left, right)
    assert trees.total(left) == trees.total(whole)
