"""The passes against loops on every backend, and inputs on which faster formulas go wrong."""

import itertools
import math

import array_api_strict
import dask.array
import numba
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from detox_sim import primitives
from detox_sim.primitives import (
    combine,
    cpu,
    distances,
    equal_rows,
    finite,
    majority,
    mean,
    moments,
    network,
    order_mean,
    remember_distances,
    sign_sum,
    sums,
    take,
)

DTYPES = (np.float32, np.float64)


def normal(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def in_chunks(rows):
    """Return a Dask array whose chunks cut both axes unevenly."""
    n, d = np.shape(rows)
    return dask.array.from_array(rows, chunks=(max(1, n // 2), max(1, d // 3)))


def read_only(rows):
    rows = np.array(rows)
    rows.flags.writeable = False
    return rows


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def libraries(request):
    """Return the functions that make an array of each backend."""
    if request.param == "gpu":
        return [request.getfixturevalue("cupy").asarray]
    return [array_api_strict.asarray, read_only, in_chunks]


@pytest.fixture
def cuts(monkeypatch):
    """Return the ways to cut columns, which must not change an answer: one block, and many."""

    def one_block():
        monkeypatch.undo()

    def many_blocks():
        monkeypatch.setattr(primitives.reference, "BLOCK", 16)
        for module in (cpu.compiled, cpu.pairwise, cpu.votes):
            monkeypatch.setattr(module, "CHUNK", 16)
        monkeypatch.setattr(cpu.orders, "SORT_BLOCK", 16)

    return [one_block, many_blocks]


def combinations(cuts, libraries, dtypes=DTYPES):
    """Yield (function that makes an array, dtype) for every way to cut columns."""
    for cut in cuts:
        cut()
        for library, dtype in itertools.product(libraries, dtypes):
            yield (cut.__name__, library.__name__, dtype.__name__), library, dtype


def as_numpy(array):
    return array.get() if hasattr(array, "get") else np.asarray(array)


# --- order_mean --------------------------------------------------------------------------------


def test_order_mean_is_mean_of_sorted_values(libraries, cuts):
    ranks = [(1, 0, 0), (6, 0, 5), (6, 2, 3), (7, 3, 3), (7, 4, 6), (131, 65, 65), (150, 10, 139)]
    for case, library, dtype in combinations(cuts, libraries):
        for n, lo, hi in ranks:
            rows = normal((n, 11), dtype)
            wanted = [math.fsum(sorted(map(float, c))[lo : hi + 1]) / (hi + 1 - lo) for c in rows.T]
            got = as_numpy(order_mean(library(rows), lo, hi))
            assert got.dtype == dtype, case
            eps = 4 * np.finfo(dtype).eps
            np.testing.assert_allclose(got, wanted, eps, 1e-15, err_msg=f"{case}, {n}, {lo}, {hi}")


@pytest.mark.parametrize("d", [1, 16, 17, 191, 193, 385])
def test_order_mean_of_every_column_of_uneven_blocks(d):
    for dtype in DTYPES:
        rows = normal((9, d), dtype)
        wanted = np.sort(rows, axis=0)[3:6].astype(np.float64).sum(axis=0) / 3
        np.testing.assert_array_equal(order_mean(rows, 3, 5), wanted.astype(dtype))


def mean_of_nearest(column, lo, hi, nearest):
    ordered = sorted(map(float, column))
    centre = math.fsum(ordered[lo : hi + 1]) / (hi - lo + 1)
    close = sorted(ordered, key=lambda value: (abs(value - centre), value))[:nearest]
    return math.fsum(close) / nearest


def test_order_mean_takes_nearest_values(libraries, cuts):
    sizes = [(1, 1), (6, 1), (6, 4), (9, 9), (45, 30), (150, 99)]
    for case, library, dtype in combinations(cuts, libraries):
        for (n, nearest), ties in itertools.product(sizes, (False, True)):
            rows = normal((n, 11), dtype, seed=n)
            rows = np.round(rows) if ties else rows
            lo, hi = n // 4, n - n // 4 - 1
            wanted = [mean_of_nearest(column, lo, hi, nearest) for column in rows.T]
            got = as_numpy(order_mean(library(rows), lo, hi, nearest=nearest))
            atol, where = 8 * np.finfo(dtype).eps, f"{case}, {n}, {nearest}, ties={ties}"
            np.testing.assert_allclose(got, wanted, rtol=0, atol=atol, err_msg=where)


def test_order_mean_of_chosen_rows_is_that_of_a_copy(libraries):
    rows = normal((7, 40), np.float32)
    for library, chosen in itertools.product(libraries, ([0], [4, 1, 3], [6, 5, 4, 3, 2, 1, 0])):
        middle = len(chosen) // 2
        got = as_numpy(order_mean(library(rows), middle, middle, chosen=chosen))
        wanted = as_numpy(order_mean(rows[chosen], middle, middle))
        np.testing.assert_array_equal(got, wanted, err_msg=f"{library.__name__}, {chosen}")


def test_order_mean_sorts_nan_last(libraries):
    for library, n in itertools.product(libraries, (5, 200)):
        rows = np.array([[np.nan], [1.0], [-np.inf], [2.0], [np.inf]])
        rows = np.concatenate([rows, np.full((n - 5, 1), np.nan)])
        got = [as_numpy(order_mean(library(rows), k, k))[0] for k in range(5)]
        assert got == [-np.inf, 1, 2, np.inf, np.inf], (library.__name__, n)


def test_network_sorts_all_zeros_and_ones():
    for size in range(1, 10):
        for bits in itertools.product([0, 1], repeat=size):  # enough, by the zero-one principle
            values = list(bits)
            for low, high in network.sorting_network(size):
                assert low < high < size
                values[low], values[high] = sorted((values[low], values[high]))
            assert values == sorted(bits), size


def test_pruned_network_finds_its_ranks_with_fewer_comparators():
    for size, lo, hi in ((9, 4, 4), (45, 22, 22), (64, 31, 32), (96, 9, 86)):
        comparators = network.order_network(size, lo, hi)
        assert 0 < len(comparators) < len(network.sorting_network(size))
        for seed in range(20):
            values = normal(size, seed=seed)
            wanted = np.sort(values)[lo : hi + 1]
            for low, high in comparators:
                values[low], values[high] = sorted((values[low], values[high]))
            assert values[lo : hi + 1].tolist() == wanted.tolist(), (size, lo, hi)


def test_chains_carry_the_greater_value_and_do_what_the_network_does():
    for size, longest in itertools.product((1, 2, 5, 9, 45), (1, 3, 4)):
        comparators = [tuple(pair) for pair in network.order_network(size, size // 3, size - 1)]
        chains = network.chains(comparators, longest)
        flat = [pair for chain in chains for pair in chain]
        assert sorted(flat) == sorted(comparators)
        for place in range(size):  # in the same order at each place
            assert [p for p in flat if place in p] == [p for p in comparators if place in p]
        for chain in chains:
            assert 1 <= len(chain) <= longest
            assert all(before[1] in pair for before, pair in itertools.pairwise(chain))
    assert len(chains) < len(comparators) / 2


def test_a_chain_may_come_back_to_a_row_that_it_has_stored():
    from detox_sim.primitives.cpu.exchange import BYTES, exchange, table

    @numba.njit
    def carried_out(block, chains):
        exchange(block, chains, 0)

    for kind in (np.float32, np.float64):
        block = np.repeat([[1.0], [3.0], [2.0]], BYTES // 4, axis=1).astype(kind)
        carried_out(block, table([[(0, 1), (1, 0)]]))  # sorts two rows, then the other way round
        assert block.T.tolist() == [[3, 1, 2]] * (BYTES // 4)


# --- distances ---------------------------------------------------------------------------------


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
    "some equal rows": lambda rows: rows[[0, 1, 0, 3, 1, 5, 0]],
}


def test_distances_are_exact_to_rounding(libraries, cuts):
    exact = {}
    for case, library, dtype in combinations(cuts, libraries):
        for trap, make in TRAPS.items():
            rows, where = make(normal((7, 100))).astype(dtype), f"{case}, {trap}"
            if (trap, dtype) not in exact:
                exact[trap, dtype] = exact_distances(rows)
            wanted, got = exact[trap, dtype], distances(library(rows))
            assert got.dtype == np.float64, where
            np.testing.assert_allclose(got, wanted, rtol=1e-13, err_msg=where)
            np.testing.assert_array_equal(got, got.T, err_msg=where)
            assert (np.diag(got) == 0).all(), where
            across = distances(library(rows), library(rows[2:4]))
            np.testing.assert_allclose(across, wanted[:, 2:4], rtol=1e-13, err_msg=where)


def test_rows_that_almost_agree_are_measured_apart(libraries, cuts):
    """Only rows with the same bits throughout count as one."""
    for case, library, dtype in combinations(cuts, libraries):
        rows = np.repeat(normal((1, 3000), dtype), 6, axis=0)
        rows[1, 0] += 1
        rows[2, -1] += 1
        rows[3, 1500] = np.nan
        rows[4:, 1500] = 0.0, -0.0
        got = distances(library(rows))
        assert (got[[0, 0, 1], [1, 2, 2]] > 0.5).all(), case
        assert (got[4, 5], got[4, 4]) == (0, 0), case
        assert np.isinf(got[3]).all(), case
        twice = distances(library(rows[[3, 0, 3, 0]]))
        assert np.isinf(twice[[0, 0, 0], [0, 1, 2]]).all(), case
        assert twice[1, 3] == 0, case


def test_gram_identity_fails_on_the_traps_in_float32():
    for trap in TRAPS:
        if trap != "plain" and "equal rows" not in trap:
            rows = TRAPS[trap](normal((7, 200))).astype(np.float32)
            wanted = exact_distances(rows)
            rows = rows - rows.mean(axis=0) if "one row" in trap else rows
            gram = rows @ rows.T
            square = np.diag(gram)[:, None] + np.diag(gram)[None, :] - 2 * gram
            others = ~np.eye(7, dtype=bool)
            assert not np.allclose(square[others], wanted[others], rtol=0.1), trap


def test_remembered_distances_are_those_of_the_rows(monkeypatch):
    """Measured once for a read-only array; one that may be written to is measured every time."""
    from detox_sim.primitives import cpu

    measured, distances_of = [], cpu.distances
    monkeypatch.setattr(cpu, "distances", lambda rows: measured.append(rows) or distances_of(rows))
    rows = np.random.default_rng(0).normal(size=(6, 40))
    fixed = rows.copy()
    fixed.flags.writeable = False
    wanted = distances(rows)
    with remember_distances():
        for _ in range(3):
            found = distances(fixed)
            np.testing.assert_array_equal(found, wanted)
            found[:] = -1.0  # the caller's own
        assert len(measured) == 2
        assert distances(rows)[0, 1] == wanted[0, 1]
        rows[1] = rows[0]
        assert distances(rows)[0, 1] == 0
        assert len(measured) == 4
    distances(fixed)
    assert len(measured) == 5


def test_distances_of_any_number_of_rows():
    for n in (1, 4, 5, 6, 11, 1003):
        rows, points = normal((n, 300), np.float32), normal((7, 300), seed=1)
        wanted = ((rows[:, None, :].astype(float) - points[None]) ** 2).sum(axis=2)
        np.testing.assert_allclose(distances(rows, points), wanted, rtol=1e-12, err_msg=str(n))
        rows = rows[:50]
        wanted = ((rows[:, None, :].astype(float) - rows[None]) ** 2).sum(axis=2)
        np.testing.assert_allclose(distances(rows), wanted, rtol=1e-12, err_msg=str(n))


def test_rows_with_nan_or_inf_are_infinitely_far(libraries):
    for library, value in itertools.product(libraries, (np.nan, np.inf, -np.inf)):
        rows, case = normal((5, 4)), f"{library.__name__}, {value}"
        rows[1, 2] = rows[4, 0] = value
        wanted = exact_distances(np.nan_to_num(rows, nan=0, posinf=0, neginf=0))
        wanted[[1, 4], :] = wanted[:, [1, 4]] = np.inf
        np.testing.assert_allclose(distances(library(rows)), wanted, rtol=1e-13, err_msg=case)
        across = distances(library(rows), library(rows[:2]))
        np.testing.assert_allclose(across, wanted[:, :2], rtol=1e-13, err_msg=case)
        assert finite(library(rows)).tolist() == [True, False, True, True, False], case


def test_distances_give_published_score_of_waves():
    rows = np.array([[np.sin(i), np.cos(2 * i)] for i in range(15)])
    scores = np.sort(distances(rows), axis=1)[:, 1:12].sum(axis=1)
    assert scores.argmin() == 7
    assert scores[7] == pytest.approx(10.82770812, abs=6e-9)


# --- combine, equal_rows, sign_sum, take -------------------------------------------------------


def test_combine_is_weighted_sum(libraries, cuts):
    weights = normal((3, 7), seed=1)
    for case, library, dtype in combinations(cuts, libraries):
        for trap, make in TRAPS.items():
            rows = make(normal((7, 30))).astype(dtype)
            wanted = [
                [math.fsum(w * float(v) for w, v in zip(line, c, strict=True)) for c in rows.T]
                for line in weights
            ]
            got = as_numpy(combine(weights, library(rows)))
            assert got.dtype == dtype, case
            atol = np.finfo(dtype).eps * np.abs(rows).max() * np.abs(weights).sum()
            np.testing.assert_allclose(got, wanted, rtol=0, atol=atol, err_msg=f"{case}, {trap}")


def test_zero_weight_removes_row_with_any_value(libraries, cuts):
    weights = np.array([[0.5, 0.0, 0.5], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    for case, library, _ in combinations(cuts, libraries, [np.float64]):
        for value in (np.nan, np.inf, -np.inf, np.finfo(np.float64).max):
            rows = library(np.array([[1.0, 2.0], [value, value], [3.0, 5.0]]))
            got = as_numpy(combine(weights, rows)).tolist()
            assert got == [[2.0, 3.5], [6.0, 10.0], [0.0, 0.0]], (case, value)


def test_moments_are_weighted_mean_and_variance(libraries, cuts):
    weights = np.array([0.5, 0.0, 0.25, 0.25, 0.0, 0.0, 0.0])
    for case, library, dtype in combinations(cuts, libraries):
        rows = normal((7, 30), dtype)
        rows[1, ::2], rows[4] = np.nan, np.inf
        mean, variance = (as_numpy(each) for each in moments(weights, library(rows)))
        kept = rows[[0, 0, 2, 3]].astype(np.float64)
        assert mean.dtype == variance.dtype == dtype, case
        np.testing.assert_allclose(mean, kept.mean(axis=0), rtol=1e-5, atol=1e-6, err_msg=case)
        np.testing.assert_allclose(variance, kept.var(axis=0), rtol=1e-5, atol=1e-6, err_msg=case)


def test_moments_in_one_pass_have_bits_of_two_sums():
    for dtype in DTYPES:
        rows, weights = normal((11, 9000), dtype), np.arange(11) / 55
        wanted = primitives.reference.moments(weights, rows, cpu.combine)
        for got, each in zip(moments(weights, rows), wanted, strict=True):
            assert got.tobytes() == each.tobytes(), dtype


def first_equal(rows, group):
    """Return the position of the first member with the same bytes, member by member."""
    copies = [rows[i].tobytes() for i in group]
    return [copies.index(copy) for copy in copies]


def test_equal_rows_compares_bytes(libraries, cuts):
    for case, library, dtype in combinations(cuts, libraries):
        for copies in (1, 2, 3, 5):
            rng = np.random.default_rng(copies)
            rows = normal((4, 6), dtype)[rng.integers(4, size=12)]
            rows[7, 5] = np.nextafter(rows[7, 5], dtype(9))
            groups = rng.integers(12, size=(40, copies))
            got = equal_rows(library(rows), groups).tolist()
            assert got == [first_equal(rows, group) for group in groups], (case, copies)


def test_majority_elects_the_commonest_row_of_those_that_arrived(libraries, cuts):
    for case, library, dtype in combinations(cuts, libraries):
        for copies in (1, 2, 3, 5):
            rng = np.random.default_rng(copies)
            rows = normal((4, 600), dtype)[rng.integers(4, size=12)]
            rows[:6, :500] = rows[0, :500]  # these differ late
            groups = rng.integers(-1, 12, size=(40, copies))
            winner, undecided, elected = majority(library(rows), groups)
            for g, members in enumerate(groups):
                there = [rows[i].tobytes() if i >= 0 else None for i in members]
                support = [there.count(each) if each else 0 for each in there]
                assert winner[g] == support.index(max(support)), (case, members)
                assert undecided[g] == (2 * max(support) <= sum(each is not None for each in there))
                if there[winner[g]]:
                    assert as_numpy(elected)[g].tobytes() == there[winner[g]], (case, members)


def test_mean_says_whether_it_is_finite(libraries, cuts):
    for case, library, dtype in combinations(cuts, libraries):
        rows = normal((7, 30), dtype)
        wanted = as_numpy(combine(np.full((1, 7), 1 / 7), library(rows)))[0]
        found, finite_mean = mean(library(rows))
        assert finite_mean
        assert as_numpy(found).tobytes() == wanted.tobytes(), case
        for value in (np.nan, np.inf, -np.inf):
            rows[3, 29] = value
            assert not mean(library(rows))[1], (case, value)


def other_nan(dtype):
    """Return a NaN of other bits than np.nan."""
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    return (np.array([np.nan], dtype).view(unsigned) + unsigned.type(1)).view(dtype)[0]


def test_equal_rows_tells_nans_and_zeros_of_other_bits_apart(libraries):
    groups = np.array([[0, 1], [0, 2], [3, 4], [5, 5]])
    for library, dtype in itertools.product(libraries, DTYPES):
        rows = np.array([[np.nan], [np.nan], [other_nan(dtype)], [0.0], [-0.0], [np.inf]], dtype)
        got = equal_rows(library(rows), groups).tolist()
        assert got == [[0, 0], [0, 1], [0, 1], [0, 0]], (library.__name__, dtype)


def test_sign_sum_counts_positive_minus_negative_values(libraries, cuts):
    for case, library, dtype in combinations(cuts, libraries):
        rows = normal((9, 50), dtype)
        rows[::2, ::3], rows[1, ::4], rows[2, ::5], rows[3, ::5] = 0.0, np.nan, np.inf, -np.inf
        wanted = [sum(v > 0 for v in column) - sum(v < 0 for v in column) for column in rows.T]
        got = as_numpy(sign_sum(library(rows)))
        assert got.dtype == dtype, case
        assert got.tolist() == wanted, case


def test_take_gathers_rows(libraries):
    rows = normal((3, 2))
    for library, indices in itertools.product(libraries, ([], [2], [0, 0, 2])):
        got = as_numpy(take(library(rows), indices)).tolist()
        assert got == [rows[i].tolist() for i in indices], (library.__name__, indices)


X = np.ones((13, 70), np.float32)
IMPOSSIBLE = [
    (lambda: combine(np.ones((1, 14)), X), "weights of shape .m, 13."),
    (lambda: combine(np.ones(13), X), "weights of shape .m, 13."),
    (lambda: moments(np.ones(14), X), "weights of shape .13,."),
    (lambda: equal_rows(X, [[0, 99, 1]]), "indices below n = 13"),
    (lambda: take(X, [-1]), "indices below n = 13"),
    (lambda: majority(X, [[0, 13, -1]]), "indices below n = 13, or -1"),
    (lambda: majority(X, [[0, 13]], X[:, :9]), "rows of 70 values of float32"),
    (lambda: equal_rows(X, [[0, 13]], X.astype(float)), "rows of 70 values of float32"),
    (lambda: order_mean(X, 0, 0, chosen=[99]), "indices below n = 13"),
    (lambda: order_mean(X.astype(int), 0, 0), "floating-point rows"),
    (lambda: distances(X, X[:2, :5]), "points of shape .m, 70."),
    (lambda: distances(X[:, :0]), "rows of shape"),
    (lambda: order_mean(X, -1, 0), "0 <= lo <= hi < n = 13, got -1, 0"),
    (lambda: order_mean(X, 2, 1), "0 <= lo <= hi < n = 13, got 2, 1"),
    (lambda: order_mean(X, 0, 13), "0 <= lo <= hi < n = 13, got 0, 13"),
    (lambda: order_mean(X, 1, 1, nearest=0), "1 <= nearest <= n = 13, got 0"),
    (lambda: order_mean(X, 1, 1, nearest=14), "1 <= nearest <= n = 13, got 14"),
    (lambda: order_mean(X, 1, 1, nearest=2.5), "an integer 1 <= nearest <= n = 13, got 2.5"),
    (lambda: order_mean(X, 0, 0, chosen=np.ones(13, bool)), "chosen must be integers, got bool"),
    (lambda: order_mean(X, 0, 0, chosen=[[0, 1]]), "chosen must be .n,. indices of rows"),
    (lambda: take(X, [0.7]), "indices must be integers, got float64"),
    (lambda: distances(X, X[:2].astype(complex)), "points. needs floating-point rows"),
    (lambda: majority(X, [0, 1]), "groups must have shape .m, r >= 1., got .2,."),
    (lambda: equal_rows(X, np.zeros((2, 0), int)), "groups must have shape"),
    (lambda: majority(X[:, :0], [[0, 1]]), "majority needs rows of shape"),
    (lambda: equal_rows(X[0], [[0, 1]]), "equal_rows needs rows of shape"),
]


def test_input_that_would_be_read_out_of_bounds_is_refused():
    for call, message in IMPOSSIBLE:
        with pytest.raises(ValueError, match=message):
            call()


# --- reproducible sums -------------------------------------------------------------------------


def test_distances_have_same_bits_however_whole_units_are_cut():
    columns = 5 * sums.UNIT + 77
    for n in (2, 7, 45):
        rows = np.random.default_rng(n).standard_normal((n, columns)).astype(np.float32)
        rows[-1] = rows[0]  # measured once, but of a Dask array every time
        for widths in ([1, 1, 1, 1, 1, 1], [3, 3], [1, 4, 1], [5, 1]):
            sizes = np.array(widths) * sums.UNIT
            sizes[-1] -= sums.UNIT - 77
            pieces = dask.array.from_array(rows, chunks=(-1, tuple(sizes.tolist())))
            case = f"{n}, {widths}"
            np.testing.assert_array_equal(distances(pieces), distances(rows), err_msg=case)
            for points in (rows[:1], rows[:2]):
                got, wanted = distances(pieces, points), distances(rows, points)
                np.testing.assert_array_equal(got, wanted, err_msg=case)


@settings(max_examples=50)
@given(st.integers(0, 70), st.integers(1, 70), st.integers(1, 20))
def test_blocks_cover_their_units_in_order(start, count, longest):
    blocks = sums.blocks(start, start + count, longest)
    units = [unit for level, i in blocks for unit in range(i << level, (i + 1) << level)]
    assert units == list(range(start, start + count))
    assert all(1 << level <= longest for level, _ in blocks)


@settings(max_examples=50)
@given(st.integers(1, 40), st.randoms())
def test_sum_does_not_depend_on_order_or_grouping(count, random):
    values = np.random.default_rng(count).standard_normal(count) * 10.0 ** np.arange(count)
    whole: sums.Partials = {}
    for unit in range(count):
        sums.merge(whole, {(0, unit): values[unit]})
    shuffled: sums.Partials = {}
    for unit in random.sample(range(count), count):
        sums.merge(shuffled, {(0, unit): values[unit]})
    assert sums.total(shuffled) == sums.total(whole)
    middle = random.randrange(count)
    left: sums.Partials = {}
    right: sums.Partials = {}
    for unit in range(count):
        sums.merge(left if unit < middle else right, {(0, unit): values[unit]})
    sums.merge(left, right)
    assert sums.total(left) == sums.total(whole)
