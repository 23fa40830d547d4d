"""The four passes against loops, and the inputs on which faster formulas go wrong."""

import math

import numpy as np
import pytest
import reference

from detox_sim import primitives
from detox_sim.primitives import combine, distances, equal_rows, finite, order_mean, take


def normal(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request, monkeypatch):
    """Answers must not depend on how the columns are cut."""
    if request.param == "many blocks":
        monkeypatch.setattr(primitives, "BLOCK", 16)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "lo", "hi"), [(1, 0, 0), (6, 0, 5), (6, 2, 3), (7, 3, 3), (7, 4, 6)])
def test_order_mean_is_the_mean_of_sorted_values(dtype, n, lo, hi):
    rows = normal((n, 11), dtype)
    wanted = [math.fsum(sorted(map(float, c))[lo : hi + 1]) / (hi + 1 - lo) for c in rows.T]
    got = order_mean(rows, lo, hi)
    assert got.dtype == dtype
    np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("lo", "hi"), [(-1, 0), (2, 1), (0, 3)])
def test_order_mean_refuses_impossible_ranks(lo, hi):
    with pytest.raises(ValueError, match=f"0 <= lo <= hi < n = 3, got {lo}, {hi}"):
        order_mean(np.ones((3, 1)), lo, hi)


def test_order_mean_sorts_nan_last():
    rows = np.array([[np.nan], [1.0], [-np.inf], [2.0], [np.inf]])
    assert [order_mean(rows, k, k)[0] for k in range(5)] == [-np.inf, 1, 2, np.inf, np.inf]


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
def test_distances_are_exact_to_rounding(trap, dtype):
    rows = TRAPS[trap](normal((7, 200))).astype(dtype)
    got = distances(rows)
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, exact_distances(rows), rtol=1e-13)
    np.testing.assert_array_equal(got, got.T)
    assert (np.diag(got) == 0).all()


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
def test_broken_rows_are_infinitely_far(bad):
    rows = normal((5, 4))
    rows[1, 2] = rows[4, 0] = bad
    wanted = exact_distances(np.nan_to_num(rows, nan=0, posinf=0, neginf=0))
    wanted[[1, 4], :] = wanted[:, [1, 4]] = np.inf
    np.fill_diagonal(wanted, 0)
    np.testing.assert_allclose(distances(rows), wanted, rtol=1e-13)
    assert finite(rows).tolist() == [True, False, True, True, False]


def test_score_of_the_published_waves():
    rows = np.array([[np.sin(i), np.cos(2 * i)] for i in range(15)])
    scores = np.sort(distances(rows), axis=1)[:, 1:12].sum(axis=1)
    assert scores.argmin() == 7
    assert scores[7] == pytest.approx(10.82770812, abs=6e-9)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("trap", TRAPS)
def test_combine_is_a_weighted_sum(dtype, trap):
    rows = TRAPS[trap](normal((7, 30))).astype(dtype)
    weights = normal((3, 7), seed=1)
    wanted = [
        [math.fsum(w * float(v) for w, v in zip(line, column, strict=True)) for column in rows.T]
        for line in weights
    ]
    got = combine(weights, rows)
    assert got.dtype == dtype
    size = np.abs(rows).max() * np.abs(weights).sum()
    np.testing.assert_allclose(got, wanted, rtol=0, atol=np.finfo(dtype).eps * size)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, np.finfo(np.float64).max])
def test_a_zero_weight_removes_a_row_whatever_it_holds(bad):
    rows = np.array([[1.0, 2.0], [bad, bad], [3.0, 5.0]])
    weights = np.array([[0.5, 0.0, 0.5], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    assert combine(weights, rows).tolist() == [[2.0, 3.5], [6.0, 10.0], [0.0, 0.0]]


def first_equal(rows, group):
    """Position of the first member with the same bytes, member by member."""
    copies = [rows[i].tobytes() for i in group]
    return [copies.index(copy) for copy in copies]


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("copies", [1, 2, 3, 5])
def test_equal_rows_compares_bytes(dtype, copies):
    rng = np.random.default_rng(copies)
    rows = normal((4, 6), dtype)[rng.integers(4, size=12)]
    rows[7, 5] = np.nextafter(rows[7, 5], dtype(9))
    groups = rng.integers(12, size=(40, copies))
    got = equal_rows(rows, groups)
    assert got.tolist() == [first_equal(rows, group) for group in groups]


def other_nan(dtype):
    """Return a NaN of other bits than np.nan."""
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    return (np.array([np.nan], dtype).view(unsigned) + unsigned.type(1)).view(dtype)[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_rows_is_about_bits_not_values(dtype):
    rows = np.array([[np.nan], [np.nan], [other_nan(dtype)], [0.0], [-0.0], [np.inf]], dtype)
    assert equal_rows(rows, np.array([[0, 1], [0, 2], [3, 4], [5, 5]])).tolist() == [
        [0, 0],
        [0, 1],
        [0, 1],
        [0, 0],
    ]


@pytest.mark.parametrize("indices", [[], [2], [0, 0, 2]])
def test_take_gathers_rows(indices):
    rows = normal((3, 2))
    assert take(rows, indices).tolist() == [rows[i].tolist() for i in indices]
