"""Laws of single rules and their options, ties, refused options, and published numbers."""

import functools
import itertools
import re

import dask.array
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import NO_TIES, apply, call, close, draw_rows, rows_of, variants

from detox_sim import aggregators
from detox_sim.aggregators.geometric import weiszfeld

IMPOSSIBLE = [
    ("krum", {"neighbours": 0}, "1 <= neighbours <= n - 1 = 8, got 0"),
    ("krum", {"neighbours": 9}, "1 <= neighbours <= n - 1 = 8, got 9"),
    ("multi_krum", {"keep": 0}, "1 <= keep <= n - byzantine = 8: 0"),
    ("multi_krum", {"keep": 9}, "1 <= keep <= n - byzantine = 8: 9"),
    ("bulyan", {"selection": "oneshot"}, "one-shot.*got 'oneshot'"),
    ("median", {"middle": "upper"}, "middle"),
    ("trimmed_mean", {"trim": 5}, "trim"),
    ("trimmed_mean", {"trim": -1}, "trim"),
    ("trimmed_mean", {"trim": 0.1}, "trim"),
    ("geometric_median", {"start": "mean"}, "start"),
    ("geometric_median", {"smoothing": 0.0}, "smoothing"),
    ("geometric_median", {"smoothing": -1.0}, "smoothing"),
    ("geometric_median", {"tolerance": 0.0}, "tolerance"),
    ("geometric_median", {"max_iterations": 0}, "max_iterations"),
    ("krum", {"power": 0}, "power"),
    ("krum", {"power": "two"}, "power"),
    ("krum", {"power": np.nan}, "power"),
    ("multi_krum", {"power": -1}, "power"),
    ("mda", {"budget": 0}, "budget"),
    ("monna", {"trusted": 9}, "trusted"),
    ("monna", {"trusted": -1}, "trusted"),
    ("monna", {"trusted": 0.5}, "trusted"),
    ("fltrust", {"trusted": 9}, "trusted"),
    ("fltrust", {"trusted": -1}, "trusted"),
    ("centered_clipping", {"radius": 0.0}, "radius"),
    ("centered_clipping", {"radius": -1.0}, "radius"),
    ("centered_clipping", {"radius": np.nan}, "radius"),
    ("centered_clipping", {"steps": 0}, "steps"),
    ("centered_clipping", {"start": "mean"}, "start"),
    ("centered_clipping", {"start": np.zeros(2)}, "start"),
    ("smea", {"budget": 8}, "9"),
    ("dnc", {"filter": -1.0}, "filter"),
    ("dnc", {"filter": 9.0}, "filter"),
    ("dnc", {"iterations": 0}, "iterations"),
    ("dnc", {"coordinates": 0}, "coordinates"),
    ("dnc", {"coordinates": 0.5}, "coordinates"),
    ("dnc", {"iterations": 2}, "iterations"),
    ("median_of_means", {"buckets": 0}, "buckets"),
    ("median_of_means", {"buckets": 10}, "buckets"),
]


def refusal(name, options):
    try:
        return f"accepted: {call(name, np.ones((9, 1)), 1, **options)}"
    except ValueError as error:
        return str(error)


def test_rules_refuse_impossible_options():
    for name, options, message in IMPOSSIBLE:
        got = refusal(name, options)
        assert re.search(message, got), (name, options, got)
        assert not got.startswith("accepted"), (name, options)
    with pytest.raises(TypeError, match="radius"):
        aggregators.centered_clipping(np.ones((3, 1)), byzantine=1)


TIES = [
    ("medoid", [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0]),
    ("medoid", [[1, 0], [0, 0], [1, 1], [0, 1]], [1, 0]),
    ("medoid", [[3], [8]], [3]),
    ("mda", [[0], [1], [2]], [0.5]),
    ("mda", [[2], [0], [1]], [1.5]),
    ("monna", [[0], [3], [-3]], [1.5]),
    ("monna", [[0], [-3], [3]], [-1.5]),
    ("meamed", [[2], [1], [0]], [0.5]),
    ("meamed", [[4], [1], [-2]], [-0.5]),
    ("phocas", [[2], [1], [0]], [0.5]),
    ("cge", [[3, 4], [5, 0], [0, -5]], [4, 2]),
    ("cge", [[0, -5], [5, 0], [3, 4]], [2.5, -2.5]),
]


def test_ties_go_to_lowest_index_or_value():
    for name, rows, expected in TIES:
        got = call(name, np.array(rows, dtype=float), int(len(rows) > 2))
        assert got.tolist() == expected, (name, rows)
    corners = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [50.0, 50.0]])
    for order in ([0, 1, 2, 3, 4], [3, 1, 0, 2, 4], [4, 0, 3, 1, 2]):
        square = corners[order]
        winner = min(i for i, corner in enumerate(order) if corner != 4)  # four corners tie
        for got in (call("krum", square, 1), call("multi_krum", square, 1, keep=1)):
            assert got.tolist() == square[winner].tolist(), order


# --- Krum and Bulyan ---------------------------------------------------------------------------


def test_power_two_is_default_and_large_power_takes_the_furthest_neighbour():
    for seed in range(20):
        rows = draw_rows("distinct", 9, 3, np.float64, seed)
        assert (call("krum", rows, 2, power=2) == call("krum", rows, 2)).all()
        furthest = [np.sort([reference.distance(a, b) for b in rows])[5] for a in rows]
        assert (call("krum", rows, 2, power=200) == rows[np.argmin(furthest)]).all()


def test_powers_and_selections_differ():
    picks, differ = [], dict.fromkeys(("one-shot", "one-shot-median"), 0)
    for seed in range(40):
        rows = draw_rows("distinct", 9, 3, np.float64, seed)
        picks.append({call("krum", rows, 2, power=power).tobytes() for power in (1, 2, 4)})
        rows = draw_rows("distinct", 13, 4, np.float64, seed)
        for selection in differ:
            got = call("bulyan", rows, 2, selection=selection)
            differ[selection] += not np.allclose(got, call("bulyan", rows, 2))
    assert sum(len(pick) > 1 for pick in picks) > 4
    assert min(differ.values()) > 0


def test_multi_krum_and_one_shot_bulyan_keep_published_numbers_of_rows():
    for n, byzantine, kept in (
        *((45, 5, 38), (45, 10, 33), (15, 2, 11), (8, 2, 4)),
        *((7, 2, 3), (8, 1, 5), (7, 1, 4)),
    ):
        rows = draw_rows("distinct", n, 3, np.float64, seed=n)
        default, named, fewer = (
            aggregators.multi_krum(rows, byzantine=byzantine, keep=keep)
            for keep in (None, kept, kept - 1)
        )
        assert default.tolist() == named.tolist() != fewer.tolist(), (n, byzantine)
    for n, byzantine, kept, first, last in (
        *((45, 5, 38, 5, 32), (45, 10, 33, 10, 22)),
        *((15, 2, 11, 2, 8), (15, 3, 10, 3, 6)),
    ):
        rows = draw_rows("distinct", n, 3, np.float64, seed=n)
        best = np.sort(rows[reference.best(rows, byzantine, kept)], axis=0)
        got = aggregators.bulyan(rows, byzantine=byzantine, selection="one-shot")
        wanted = best[first : last + 1].mean(axis=0)
        np.testing.assert_allclose(got, wanted, rtol=1e-12, err_msg=f"{n}, {byzantine}")


# --- Subsets -----------------------------------------------------------------------------------


@settings(max_examples=25)
@given(case=NO_TIES)
def test_mda_in_any_order_finds_subset_of_least_diameter(case):
    rows, byzantine = rows_of("mda", case)
    order = np.random.default_rng(case[-1]).permutation(len(rows))
    got = call("mda", rows[order], byzantine)
    subsets = list(itertools.combinations(rows, len(rows) - byzantine))
    widths = np.sqrt([reference._diameter(some) for some in subsets])
    means = [
        reference.mean(some, 0)
        for some, w in zip(subsets, widths, strict=True)
        if w <= widths.min() * (1 + 1e-9)
    ]
    assert any(np.allclose(got, each, rtol=0, atol=1e-5) for each in means)


def test_mda_finds_twenty_among_thirty_within_its_budget():
    rows = draw_rows("distinct", 30, 5, np.float64, seed=1)
    rows[::3] += 50 * draw_rows("distinct", 10, 5, np.float64, seed=2)
    honest = np.delete(rows, np.s_[::3], axis=0)
    close(call("mda", rows, 10), honest.mean(axis=0), np.float64)
    with pytest.raises(ValueError, match="budget"):
        call("mda", rows, 10, budget=1)


def test_smea_refuses_more_subsets_than_its_budget():
    rows = draw_rows("distinct", 9, 3, np.float64, seed=1)
    assert call("smea", rows, 4, budget=126).tolist() == call("smea", rows, 4).tolist()
    with pytest.raises(ValueError, match="126"):
        call("smea", rows, 4, budget=125)
    with pytest.raises(ValueError, match="budget"):
        call("smea", np.ones((45, 2)), 20)


# --- Trusted rows ------------------------------------------------------------------------------


@settings(max_examples=25)
@given(case=NO_TIES)
def test_trust_moves_with_the_row(case):
    for name in ("monna", "fltrust"):
        rows, byzantine = rows_of(name, case)
        order = np.random.default_rng(case[-1]).permutation(len(rows))
        for label, options in variants(name):
            trusted = options(len(rows), byzantine).get("trusted", 0)
            place = int(np.flatnonzero(order == trusted)[0])
            got = call(name, rows[order], byzantine, trusted=place)
            wanted = apply(name, options, rows, byzantine)
            close(got, wanted, rows.dtype, slack=10, case=(name, label))


@settings(max_examples=25)
@given(case=NO_TIES)
def test_fltrust_uses_directions_only_and_follows_the_trusted_row(case):
    rows, byzantine = rows_of("fltrust", case)
    rows = rows.astype(np.float64)
    got, server = call("fltrust", rows, byzantine), rows[0]
    assert got @ server > 0
    assert np.linalg.norm(got) <= np.linalg.norm(server) * (1 + 1e-9)
    lengths = np.random.default_rng(case[-1]).uniform(0.1, 10, size=(len(rows), 1))
    lengths[0] = 1.0
    close(call("fltrust", rows * lengths, byzantine), got, np.float64)
    against = np.concatenate([rows, -server[None, :], np.zeros((1, rows.shape[1]))])
    close(call("fltrust", against, byzantine), got, np.float64)
    rows[0] = 0.0
    assert not call("fltrust", rows, byzantine).any()


def test_fltrust_stays_as_short_as_trusted_row_beside_tiny_rows():
    rows = np.ones((7, 1000))
    rows[5:] = 1.5e-162 * np.sign(np.random.default_rng(0).normal(size=1000) + 1)
    got = aggregators.fltrust(rows, byzantine=2)
    assert np.linalg.norm(got) <= 1.001 * np.linalg.norm(rows[0])


# --- Centered clipping -------------------------------------------------------------------------


@settings(max_examples=25)
@given(case=NO_TIES, shift=st.floats(-8, 8, width=16), scale=st.floats(1e-3, 1e3))
def test_clipping_moves_with_its_start_and_scales_with_its_radius(case, shift, scale):
    rows, byzantine = rows_of("centered_clipping", case)
    kind = rows.dtype.type
    clip = functools.partial(aggregators.centered_clipping, byzantine=byzantine, steps=2)
    large = 1.5 * float(kind(scale))
    for start, moved, grown in (
        ("zero", np.full_like(rows[0], shift), "zero"),
        ("median", "median", "median"),
        (rows[0].copy(), rows[0] + kind(shift), rows[0] * kind(scale)),
    ):
        got = clip(rows, radius=1.5, start=start)
        there = clip(rows + kind(shift), radius=1.5, start=moved)
        close(there, got + shift, rows.dtype, slack=20, case=start)
        grown = clip(rows * kind(scale), radius=large, start=grown)
        close(grown, scale * got, rows.dtype, scale, slack=20, case=start)


def test_clipping_steps_add_up_and_end_at_known_points():
    for dtype in (np.float32, np.float64):
        rows = draw_rows("distinct", 7, 5, dtype, seed=1)
        clip = functools.partial(aggregators.centered_clipping, rows, byzantine=2)
        once = clip(radius=0.7, start="median")
        close(clip(radius=0.7, start="median", steps=2), clip(radius=0.7, start=once), dtype)
        middle = aggregators.median(rows, byzantine=2)
        close(clip(radius=0.7, start=middle), once, dtype)
        close(clip(radius=0.7), clip(radius=0.7, start=np.zeros(5, dtype)), dtype)
        close(clip(radius=1e6), aggregators.mean(rows, byzantine=2), dtype)
        alike = np.repeat(rows[:1], 5, axis=0)
        step = call("centered_clipping", alike, 2, radius=0.7)
        close(step, 0.7 * rows[0] / np.linalg.norm(rows[0]), dtype)


def test_clipping_starts_from_array_of_another_library_and_keeps_it():
    rows = np.arange(27.0).reshape(9, 3)
    lazy = dask.array.from_array(rows, chunks=3)
    options = {"byzantine": 2, "radius": 5.0}
    start = aggregators.centered_clipping(rows, **options)
    wanted = aggregators.centered_clipping(rows, start=start, **options)
    got = aggregators.centered_clipping(lazy, start=start, **options)
    np.testing.assert_allclose(got.compute(), wanted)
    assert start.tolist() == aggregators.centered_clipping(rows, **options).tolist()


# --- Geometric median --------------------------------------------------------------------------


def test_far_rows_pull_geometric_median_by_their_direction_only():
    slope = 1 - 0.5**0.5  # of the distance to (0, 0) and of both far ones, along the diagonal
    expected = (1 + slope / (2 - slope**2) ** 0.5) / 2
    for far, start in itertools.product((1e6, 1e12, 1e30, 1e100), ("inside", "zero")):
        rows = np.array([[0, 0], [1, 0], [0, 1], [far, 0], [0, far]])
        got = call("geometric_median", rows, 2, start=start)
        np.testing.assert_allclose(got, expected, rtol=1e-5, err_msg=f"{far}, {start}")


@settings(max_examples=25)
@given(case=NO_TIES, scale=st.floats(1e-3, 1e3))
def test_smoothed_weiszfeld_scales_with_its_smoothing(case, scale):
    rows, byzantine = rows_of("geometric_median", case)
    run = functools.partial(call, "geometric_median", start="zero", max_iterations=3)
    scale = float(rows.dtype.type(scale))
    large = run(rows=rows * rows.dtype.type(scale), byzantine=byzantine, smoothing=scale * 0.1)
    small = run(rows=rows, byzantine=byzantine, smoothing=0.1)
    close(large, scale * small, rows.dtype, scale, slack=20)


def test_geometric_median_does_not_depend_on_start_and_small_smoothing():
    rows = draw_rows("distinct", 9, 4, np.float64, seed=1)
    exact = call("geometric_median", rows, 2)
    for options in ({"start": "zero"}, {"smoothing": 1e-9}, {"start": "zero", "smoothing": 1e-9}):
        got = call("geometric_median", rows, 2, **options)
        close(got, exact, np.float64, slack=10, case=options)
    steps = {"start": "zero", "max_iterations": 3, "smoothing": 0.1}
    assert np.linalg.norm(call("geometric_median", rows, 2, **steps) - exact) > 1e-3


def test_weiszfeld_reports_iterations_and_residual():
    for d, scale in ((2, 1.0), (50, 1e-6), (3, 1e6)):
        rows = scale * draw_rows("distinct", 12, d, np.float64, seed=8)
        _, iterations, residual = weiszfeld(rows)
        assert 1 < iterations < 1000, (d, scale)
        assert residual <= 1e-9, (d, scale)
        _, few, left = weiszfeld(rows, max_iterations=2)
        assert few == 2, (d, scale)
        assert left > 1e-9, (d, scale)


# --- Coordinates, buckets and directions -------------------------------------------------------


def test_lower_median_is_a_value_and_differs_for_even_n_only():
    for n in (3, 4, 5, 6):
        rows = draw_rows("distinct", n, 8, np.float32, seed=n)
        low, middle = (call("median", rows, 1, middle=m) for m in ("lower", "midpoint"))
        assert (low == rows).any(axis=0).all()
        assert (low < middle).all() == (n % 2 == 0)
        assert (low == middle).all() == (n % 2 == 1)


def test_trim_and_buckets_go_from_mean_to_median():
    rows = draw_rows("distinct", 7, 5, np.float64, seed=1)
    trim = functools.partial(call, "trimmed_mean", rows, 2)
    close(trim(trim=0), call("mean", rows, 0), np.float64)
    assert trim().tolist() == trim(trim=2).tolist() == trim(trim=None).tolist()
    assert trim(trim=3).tolist() == call("median", rows, 2).tolist()
    close(call("median_of_means", rows, 0), call("mean", rows, 0), np.float64)
    close(call("median_of_means", rows, 2, buckets=7), call("median", rows, 2), np.float64)


@settings(max_examples=25)
@given(case=NO_TIES)
def test_median_of_means_ignores_order_inside_a_bucket(case):
    rows, byzantine = rows_of("median_of_means", case)
    rng = np.random.default_rng(case[-1])
    parts = np.array_split(np.arange(len(rows)), 2 * byzantine + 1)
    order = np.concatenate([rng.permutation(part) for part in parts])
    got, other = (call("median_of_means", some, byzantine) for some in (rows, rows[order]))
    close(got, other, rows.dtype)


def test_dnc_scores_all_coordinates_or_a_draw_of_them():
    rows = draw_rows("distinct", 9, 4, np.float64, seed=2)
    whole = call("dnc", rows, 2)
    for count in (4, 9):
        close(call("dnc", rows, 2, coordinates=count, seed=5), whole, np.float64)
    pairs = list(itertools.combinations(range(4), 2))
    possible = [reference.dnc(rows, 2, columns=[pair]) for pair in pairs]
    drawn = [call("dnc", rows, 2, coordinates=2, seed=seed) for seed in range(30)]
    found = {tuple(i for i, each in enumerate(possible) if np.allclose(each, one)) for one in drawn}
    assert () not in found
    assert len(found) > 1
    again = [call("dnc", rows, 2, coordinates=2, seed=seed) for seed in range(30)]
    assert [a.tobytes() for a in again] == [a.tobytes() for a in drawn]


def test_dnc_keeps_what_every_iteration_keeps():
    rows = draw_rows("distinct", 13, 4, np.float64, seed=2)
    columns = itertools.product(range(4), repeat=2)
    possible = [reference.dnc(rows, 2, columns=[[a], [b]]) for a, b in columns]
    fresh = 0
    for seed in range(20):
        got = call("dnc", rows, 2, iterations=2, coordinates=1, seed=seed)
        assert any(np.allclose(got, each) for each in possible)
        once = call("dnc", rows, 2, coordinates=1, seed=seed)
        fresh += not np.allclose(got, once)
    assert fresh > 0


def test_dnc_drops_as_many_as_the_filter_says():
    rows = np.array([[-1, -0.5, 0, 0.5, 1, 10, -20, 30, -40]]).T
    for share, kept in ((0.1, 8), (1.0, 7), (1.1, 6), (2.0, 5)):
        close(call("dnc", rows, 2, filter=share), rows[:kept].mean(axis=0), np.float64)


def test_many_rules_are_the_mean_without_byzantine_rows():
    rows = draw_rows("distinct", 7, 5, np.float64, seed=1)
    for name in ("caf", "smea", "dnc", "mda", "monna", "cge", "meamed", "phocas"):
        close(call(name, rows, 0), rows.mean(axis=0), np.float64, case=name)


# --- Published check values --------------------------------------------------------------------

LINE = np.array([[0, 0], [1, 0], [3, 0], [7, 0], [15, 0], [31, 0], [1000, 1000]], dtype=float)
EVEN = np.array([[1, 2, 3], [-1, 4, -1], [2, 2, 3], [3, 1, 3]], dtype=float)
MATRIX = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=float)
WAVES = np.array([[np.sin(i), np.cos(2 * i)] for i in range(15)])
KNOWN = [
    (LINE, "multi_krum", {"byzantine": 1, "keep": 2}, (5, 0)),
    (LINE, "multi_krum", {"byzantine": 1, "keep": 2, "neighbours": 5}, (11, 0)),
    (LINE, "multi_krum", {"byzantine": 1, "keep": 2, "neighbours": 6}, (23, 0)),
    (LINE, "krum", {"byzantine": 1, "neighbours": None}, (7, 0)),
    (EVEN, "median", {"byzantine": 1}, (1.5, 2, 3)),
    (MATRIX, "trimmed_mean", {"byzantine": 1}, (4, 5, 6)),
    (MATRIX, "mean", {"byzantine": 1}, (4, 5, 6)),
    (MATRIX, "median", {"byzantine": 1}, (4, 5, 6)),
    (WAVES, "mean", {"byzantine": 2}, (0.08569331, 0.00704469)),
    (WAVES, "median", {"byzantine": 2}, (0.14112001, 0.13673722)),
    (WAVES, "multi_krum", {"byzantine": 2}, (0.11494077, 0.35136073)),
    (WAVES, "krum", {"byzantine": 2}, WAVES[7]),
    (WAVES, "bulyan", {"byzantine": 2, "selection": "one-shot"}, (0.11634339, 0.42494118)),
    (WAVES, "geometric_median", {"byzantine": 2}, (0.10062868, 0.22812095)),
]


def test_rules_give_published_answers():
    for rows, name, options, expected in KNOWN:
        got = getattr(aggregators, name)(rows, **options)
        np.testing.assert_allclose(got, expected, atol=6e-9, err_msg=f"{name}, {options}")
