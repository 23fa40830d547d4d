"""Law 4: what every rule of `aggregators.__all__` owes, and the published numbers."""

import functools
import inspect
import itertools
import re

import array_api_strict
import dask.array
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from detox_sim import aggregators
from detox_sim.aggregators.geometric import weiszfeld
from detox_sim.primitives import sums as trees

# Rows needed, as (factor, plus) of n >= factor * byzantine + plus; (2, 1) unless listed.
NEEDS = {
    "mean": (0, 1),
    "krum": (2, 3),
    "multi_krum": (2, 3),
    "bulyan": (4, 3),
    "fltrust": (1, 1),
}

# Options that have no default.
REQUIRED = {"centered_clipping": {"radius": 2.0}}

# Options under test beside the defaults: label -> options at (n, byzantine).
VARIANTS = {
    "median": {"lower": lambda n, f: {"middle": "lower"}},
    "trimmed_mean": {"most": lambda n, f: {"trim": (n - 1) // 2}},
    "geometric_median": {
        "loose": lambda n, f: {"tolerance": 1e-6},
        "from zero": lambda n, f: {"start": "zero"},
        "ByzFL": lambda n, f: {"start": "zero", "max_iterations": 3, "smoothing": 0.1},
    },
    "krum": {
        "n-f-1": lambda n, f: {"neighbours": n - f - 1},
        "n-f": lambda n, f: {"neighbours": min(n - f, n - 1)},
        "power 1": lambda n, f: {"power": 1},
        "power 4": lambda n, f: {"power": 4},
    },
    "multi_krum": {
        "keep n-f": lambda n, f: {"keep": n - f},
        "keep 1, n-f-1": lambda n, f: {"keep": 1, "neighbours": n - f - 1},
        "power 1": lambda n, f: {"power": 1},
    },
    "bulyan": {
        "one-shot": lambda n, f: {"selection": "one-shot"},
        "one-shot-median": lambda n, f: {"selection": "one-shot-median"},
    },
    "monna": {"trusts the last": lambda n, f: {"trusted": n - 1}},
    "fltrust": {"trusts the last": lambda n, f: {"trusted": n - 1}},
    "centered_clipping": {
        "from median": lambda n, f: {"radius": 1.0, "start": "median", "steps": 3}
    },
    "dnc": {
        "filter 1.5": lambda n, f: {"filter": 1.5},
        "one coordinate": lambda n, f: {"coordinates": 1, "seed": 3},
    },
    "median_of_means": {"2f+2": lambda n, f: {"buckets": min(2 * f + 2, n)}},
}

TRUST = "one row is trusted: has a law of its own below"
NORMS = "lengths are measured from zero"
REGION = "stays in a region of its own, below"

# The only exceptions to the laws: of a rule, of one variant, or as name[] of the defaults only.
EXCEPTIONS = {
    "reference": {"dnc[one coordinate]": "draws its coordinates: has a law of its own below"},
    "order": {
        "mda": "subsets of one diameter tie: has a law of its own below",
        "monna": TRUST,
        "fltrust": TRUST,
        "median_of_means": "buckets are neighbours: has a law of its own below",
    },
    "translation": {
        "sign_majority": "signs change when rows move",
        "cge": NORMS,
        "fltrust": NORMS,
        "centered_clipping[]": "starts at zero: has a law of its own below",
        "geometric_median[ByzFL]": "three steps do not forget that they start at zero",
    },
    "scaling": {
        "sign_majority": "signs stay when rows grow",
        "centered_clipping": "the radius must grow as well: has a law of its own below",
        "geometric_median[ByzFL]": "the smoothing must grow as well: has a law of its own below",
    },
    "unanimous": {
        "sign_majority": "only the sign is returned",
        "centered_clipping[]": "a step is no longer than the radius: has a law of its own below",
    },
    "robust": {
        "mean": "believes finite bad rows: shown below to break the law",
        "sign_majority": "returns signs: has a law of its own below",
        "dnc": "sees one direction only: has a law of its own below",
        "geometric_median": REGION,
        "multi_krum[power 1]": REGION,
        "medoid": REGION,
        "mda": REGION,
        "monna": REGION,
        "meamed": REGION,
        "phocas": REGION,
        "cge": REGION,
        "centered_clipping": REGION,
        "caf": REGION,
        "smea": REGION,
        "fltrust": REGION,
    },
}

RULES = [
    pytest.param(name, options, id=name + (f"[{label}]" if label else ""))
    for name in aggregators.__all__
    for label, options in {"": lambda n, f: {}, **VARIANTS.get(name, {})}.items()
]


def excepted(rule, law):
    """The reason why the law leaves the rule out, if it does."""
    name, label = rule.values[0], rule.id if "[" in rule.id else rule.id + "[]"
    return EXCEPTIONS[law].get(name) or EXCEPTIONS[law].get(label)


def lawful(law):
    return [rule for rule in RULES if not excepted(rule, law)]


def of(*names):
    return [rule for rule in RULES if rule.values[0] in names]


def least(name, byzantine):
    factor, plus = NEEDS.get(name, (2, 1))
    return factor * byzantine + plus


def call(name, rows, byzantine, **options):
    options = {**REQUIRED.get(name, {}), **options}
    return getattr(aggregators, name)(rows, byzantine=byzantine, **options)


def apply(name, options, rows, byzantine):
    return call(name, rows, byzantine, **options(rows.shape[0], byzantine))


def slow(name, options, rows, byzantine):
    options = {**REQUIRED.get(name, {}), **options(len(rows), byzantine)}
    return getattr(reference, name)(rows, byzantine, **options)


def close(got, want, dtype, scale=1.0, slack=1.0):
    tolerance = slack * (1e-6 if dtype == np.float32 else 1e-7) * scale
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


def draw_rows(kind, n, d, dtype, seed):
    """Distinct normal rows, rows of small integers (ties, exact sums), or repeated rows."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d))
    if kind == "ties":
        rows = rng.integers(-2, 3, size=(n, d))
    if kind == "repeated":
        rows = rows[rng.integers(n, size=n)]
    return rows.astype(dtype)


def cases(kinds=("distinct",), byzantine=(0, 1, 2, 3), extra=0):
    return st.tuples(
        st.sampled_from(kinds),
        st.sampled_from(byzantine),
        st.integers(extra, extra + 4),
        st.integers(1, 6),
        st.sampled_from([np.float32, np.float64]),
        st.integers(0, 2**32 - 1),
    )


def rows_of(name, case):
    kind, byzantine, more, d, dtype, seed = case
    return draw_rows(kind, least(name, byzantine) + more, d, dtype, seed), byzantine


# Two rows that are each other's only neighbour always tie, and ties go to the lowest index. So
# the order of rows cannot matter only where Krum counts two neighbours at its every pick.
NO_TIES = cases(byzantine=(0, 3), extra=2)


def ties_on_a_line(name, options, rows):
    """Between the two middle ones of an even number of points, sums of distances do not change."""
    more = options(*rows.shape)
    sums = name in ("medoid", "geometric_median") or more.get("power") == 1
    return sums and rows.shape[1] == 1 and "smoothing" not in more


@pytest.mark.parametrize(("name", "options"), lawful("reference"))
@settings(max_examples=60)
@given(case=cases(("distinct", "ties", "repeated")))
def test_equals_the_slow_reference(name, options, case):
    rows, byzantine = rows_of(name, case)
    got = apply(name, options, rows, byzantine)
    wanted = slow(name, options, rows, byzantine)
    assert got.shape == rows.shape[1:]
    if case[0] != "distinct" and name in ("caf", "smea", "dnc"):
        return  # of two equal eigenvalues, or two equal sums of weights, rounding chooses
    if name != "geometric_median" or "smoothing" in options(*rows.shape):
        if case[0] != "ties" and ties_on_a_line(name, options, rows):
            return
        close(got, wanted, rows.dtype, scale=1e-3 if rows.dtype == np.float64 else 4.0)
        return
    cost = reference.sum_of_distances(rows, wanted)  # on a line the point is not always unique
    assert reference.sum_of_distances(rows, got) <= cost + 1e-5 * (1 + cost)
    if case[0] == "distinct" and rows.shape[1] > 1 and len(rows) > 2:
        close(got, wanted, rows.dtype, slack=1000)


# A far row blurs what these make of the others, in the oracle as well.
BLURRED = [rule for rule in of("mean", "dnc", "geometric_median") if "ByzFL" not in rule.id]
CLEAR = [rule for rule in lawful("reference") if rule not in BLURRED]


@pytest.mark.parametrize(("name", "options"), CLEAR)
@pytest.mark.parametrize("scale", [1e4, -1e8, 1e12, 1e30])
def test_equals_the_slow_reference_beside_a_far_row(name, options, scale):
    for seed in range(4):
        rows = draw_rows("distinct", least(name, 2) + seed % 2, 3, np.float64, seed)
        rows[1] *= scale
        got = apply(name, options, rows, 2)
        close(got, slow(name, options, rows, 2), np.float64, slack=10)


@pytest.mark.parametrize("far", [1e6, 1e12, 1e30, 1e100])
@pytest.mark.parametrize("start", ["inside", "zero"])
def test_far_rows_pull_the_geometric_median_by_their_direction_only(far, start):
    rows = np.array([[0, 0], [1, 0], [0, 1], [far, 0], [0, far]])
    slope = 1 - 0.5**0.5  # of the distance to (0, 0) and of both far ones, along the diagonal
    expected = (1 + slope / (2 - slope**2) ** 0.5) / 2
    got = call("geometric_median", rows, 2, start=start)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize(("name", "options"), lawful("order"))
@settings(max_examples=25)
@given(case=NO_TIES)
def test_order_of_rows_does_not_matter(name, options, case):
    rows, byzantine = rows_of(name, case)
    if ties_on_a_line(name, options, rows):
        return
    order = np.random.default_rng(case[-1]).permutation(len(rows))
    got = apply(name, options, rows[order], byzantine)
    close(got, apply(name, options, rows, byzantine), rows.dtype, slack=10)


@pytest.mark.parametrize(("name", "options"), lawful("translation"))
@settings(max_examples=25)
@given(case=NO_TIES, shift=st.floats(-8, 8, width=16))
def test_follows_a_translation(name, options, case, shift):
    rows, byzantine = rows_of(name, case)
    if ties_on_a_line(name, options, rows):
        return
    moved = apply(name, options, rows + rows.dtype.type(shift), byzantine)
    close(moved, apply(name, options, rows, byzantine) + shift, rows.dtype, slack=20)


@pytest.mark.parametrize(("name", "options"), lawful("scaling"))
@settings(max_examples=25)
@given(case=NO_TIES, scale=st.floats(1e-3, 1e3))
def test_follows_a_positive_scaling(name, options, case, scale):
    rows, byzantine = rows_of(name, case)
    if ties_on_a_line(name, options, rows):
        return
    scaled = apply(name, options, rows * rows.dtype.type(scale), byzantine)
    close(scaled, scale * apply(name, options, rows, byzantine), rows.dtype, scale, slack=20)


ROUND = [
    rule
    for rule in of("geometric_median", "krum", "multi_krum", "medoid", "mda", "monna", "cge")
    + of("centered_clipping", "caf", "smea", "dnc", "fltrust")
    if rule.id not in ("centered_clipping[from median]", "dnc[one coordinate]")
]


@pytest.mark.parametrize(("name", "options"), ROUND)
@settings(max_examples=25)
@given(case=NO_TIES)
def test_follows_a_rotation(name, options, case):
    rows, byzantine = rows_of(name, case)
    if ties_on_a_line(name, options, rows):
        return
    d = rows.shape[1]
    turn = np.linalg.qr(np.random.default_rng(d).normal(size=(d, d)))[0]
    turned = apply(name, options, (rows @ turn).astype(rows.dtype), byzantine)
    close(turned, apply(name, options, rows, byzantine) @ turn, rows.dtype, slack=20)


@pytest.mark.parametrize(("name", "options"), lawful("unanimous"))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("byzantine", [0, 1, 3])
def test_returns_what_all_rows_say(name, options, dtype, byzantine):
    row = draw_rows("distinct", 1, 5, dtype, seed=0)
    rows = np.repeat(row, least(name, byzantine) + 4, axis=0)
    got = apply(name, options, rows, byzantine)
    np.testing.assert_allclose(got, row[0], rtol=4 * np.finfo(dtype).eps)


BAD_ROWS = {
    "1e30": lambda rng, dtype: 1e30,
    "-1e30": lambda rng, dtype: -1e30,
    "1e38": lambda rng, dtype: 1e38,  # its square is too large for float32
    "largest": lambda rng, dtype: np.finfo(dtype).max,  # its square is too large for any
    "nan": lambda rng, dtype: np.nan,
    "+inf": lambda rng, dtype: np.inf,
    "-inf": lambda rng, dtype: -np.inf,
    "mixed": lambda rng, dtype: rng.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0]),
    "far": lambda rng, dtype: 1e6 * rng.normal(),
}


def attacked(name, kind, dtype, byzantine, seed, d=4, trusted=None):
    """Rows of which `byzantine`, at random places, are bad in half of their coordinates or all.

    The bad rows are alike if the seed is even.
    """
    rng = np.random.default_rng([seed, byzantine])
    n = least(name, byzantine) + seed % 3 + (2 * byzantine if name == "mean" else 0)
    rows = rng.normal(3.0, 1.0, size=(n, d)).astype(dtype)
    trusted = trusted(n, byzantine).get("trusted", 0) if trusted else None
    bad = [i for i in rng.permutation(n) if i != trusted][:byzantine]
    same = BAD_ROWS[kind](rng, dtype)
    for i in bad:
        if seed % 2:  # every bad row by itself
            rows[i, rng.permutation(d)[: d // 2]] = BAD_ROWS[kind](rng, dtype)
            rows[i, 0] = BAD_ROWS[kind](rng, dtype)
        else:  # all alike, so that they are each other's nearest
            rows[i] = same
    return rows, np.delete(rows, bad, axis=0)


def attacks_on(name, options, kind, dtype, seeds=range(6)):
    trusted = options if name in ("monna", "fltrust") else None
    for byzantine in (1, 2, 3):
        for seed in seeds:
            rows, honest = attacked(name, kind, dtype, byzantine, seed, trusted=trusted)
            yield byzantine, rows, honest, apply(name, options, rows, byzantine)


def check_in_box(got, honest):
    assert np.isfinite(got).all()
    assert (got >= honest.min(axis=0) - 1e-5).all()
    assert (got <= honest.max(axis=0) + 1e-5).all()


def check_robust(name, options, kind, dtype):
    for _, _, honest, got in attacks_on(name, options, kind, dtype):
        check_in_box(got, honest)


@pytest.mark.parametrize(("name", "options"), lawful("robust"))
@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bad_rows_do_not_leave_the_honest_spread(name, options, kind, dtype):
    check_robust(name, options, kind, dtype)


def longest(rows):
    return np.linalg.norm(rows, axis=1).max()


def region(name, options, rows, honest, byzantine):
    """A point and how far from it the rule may end: each distance follows from its definition."""
    n, centre = len(rows), honest.mean(axis=0)
    radius, box = longest(honest - centre), np.linalg.norm(np.ptp(honest, axis=0))
    share = (n - byzantine) / max(1, n - 2 * byzantine)
    if name == "geometric_median" and "smoothing" in options:
        return 0.0, ((1 + n / (n - byzantine)) ** 3 - 1) * longest(honest)
    if name == "fltrust":
        return 0.0, np.linalg.norm(rows[options.get("trusted", 0)])
    if name == "centered_clipping" and "start" in options:
        return centre, box + options["steps"] * options["radius"]
    return {
        "geometric_median": (centre, 2 * share * radius),
        "multi_krum": (centre, radius + (n - byzantine - 2) * box),
        "medoid": (centre, radius + 2 * share * box),
        "mda": (centre, radius + box),
        "monna": (centre, radius + box),
        "meamed": (centre, 2 * box),
        "phocas": (centre, 2 * box),
        "cge": (0.0, longest(honest)),
        "centered_clipping": (0.0, 2.0),
        "caf": (centre, 2 * share * radius),
        "smea": (centre, 2 * share**0.5 * radius),
    }[name]


REGIONAL = [rule for rule in RULES if excepted(rule, "robust") == REGION]


@pytest.mark.parametrize(("name", "options"), REGIONAL)
@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bad_rows_do_not_leave_the_region(name, options, kind, dtype):
    for byzantine, rows, honest, got in attacks_on(name, options, kind, dtype):
        chosen = options(len(rows), byzantine)
        point, distance = region(name, chosen, rows, honest.astype(np.float64), byzantine)
        assert np.isfinite(got).all()
        assert np.linalg.norm(got.astype(np.float64) - point) <= distance * (1 + 1e-5)


@pytest.mark.parametrize(("name", "options"), of("dnc"))
@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bad_rows_of_one_direction_do_not_leave_the_honest_spread(name, options, kind, dtype):
    for _, _, _, got in attacks_on(name, options, kind, dtype):
        assert np.isfinite(got).all()
    if kind != "mixed":  # which are not always far
        for _, _, honest, got in attacks_on(name, options, kind, dtype, seeds=[0, 2, 4]):
            check_in_box(got, honest)


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_pull_a_clipped_step_by_their_share_of_the_radius(kind):
    options = {"radius": 0.5}
    for byzantine, rows, honest, got in attacks_on(
        "centered_clipping", lambda n, f: options, kind, np.float64
    ):
        without = np.zeros_like(rows)
        without[: len(honest)] = honest
        moved = got - call("centered_clipping", without, byzantine, **options)
        assert np.linalg.norm(moved) <= 0.5 * byzantine / len(rows) + 1e-9


@pytest.mark.parametrize("kind", ["1e30", "-1e30", "far"])
def test_mean_breaks_the_law_so_the_law_can_fail(kind):
    with pytest.raises(AssertionError):
        check_robust("mean", lambda n, f: {}, kind, np.float64)


def break_rows(rows, broken, value, seed):
    """Put the value into one or all coordinates of some rows, never of the first one."""
    rng = np.random.default_rng(seed)
    rows, bad = rows.copy(), 1 + rng.permutation(len(rows) - 1)[:broken]
    for i in bad:
        rows[i, slice(None) if seed % 2 else rng.integers(rows.shape[1])] = value
    return rows, bad


@pytest.mark.parametrize(
    ("name", "options"),
    of("geometric_median", "krum", "multi_krum", "medoid", "mda", "monna", "cge")
    + of("caf", "smea", "dnc"),
)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("broken", [1, 2, 3])
def test_a_broken_row_is_dropped_with_one_byzantine(name, options, value, broken):
    for seed in range(4):
        whole = draw_rows("distinct", least(name, 3) + seed, 4, np.float64, seed)
        rows, bad = break_rows(whole, broken, value, seed)
        chosen, left = options(len(rows), 3), options(len(rows) - broken, 3 - broken)
        if chosen != left:
            continue
        got = call(name, rows, 3, **chosen)
        wanted = call(name, np.delete(rows, bad, axis=0), 3 - broken, **chosen)
        close(got, wanted, np.float64, slack=1e3 if "tolerance" in chosen else 1)


# The finite part of a score that counts a far row is lost to rounding.
NEAR = [
    rule for rule in of("krum", "multi_krum", "bulyan") if "neighbours" not in rule.values[1](9, 1)
]


@pytest.mark.parametrize(("name", "options"), NEAR)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_broken_row_is_infinitely_far_for_krum(name, options, value):
    for seed in range(6):
        rows = draw_rows("distinct", least(name, 2) + seed % 3, 4, np.float64, seed)
        rows, bad = break_rows(rows, 2, value, seed)
        got = apply(name, options, rows, 2)
        rows[bad] = np.array([[1e30], [-1e40]])
        close(got, slow(name, options, rows, 2), np.float64)


@pytest.mark.parametrize(
    ("name", "options"), of("median", "trimmed_mean", "meamed", "phocas", "median_of_means")
)
@pytest.mark.parametrize(("value", "huge"), [(np.nan, 1e60), (np.inf, 1e60), (-np.inf, -1e60)])
def test_a_broken_value_is_infinite_for_a_rule_of_coordinates(name, options, value, huge):
    for seed in range(6):
        rows = draw_rows("distinct", least(name, 2) + seed % 3, 4, np.float64, seed)
        rows, _ = break_rows(rows, 2, value, seed)
        got = apply(name, options, rows, 2)
        rows = np.where(np.isfinite(rows), rows, huge)
        close(got, slow(name, options, rows, 2), np.float64)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_broken_row_neither_pulls_a_clipped_step_nor_is_trusted(value):
    for seed in range(6):
        whole = draw_rows("distinct", 6, 4, np.float64, seed)
        rows, bad = break_rows(whole, 2, value, seed)
        whole[bad] = 0.0
        for name in ("centered_clipping", "fltrust"):
            close(call(name, rows, 2), slow(name, lambda n, f: {}, whole, 2), np.float64)
        start = np.ones(4)
        got = call("centered_clipping", rows, 2, start=start)
        whole[bad] = start
        close(got, reference.centered_clipping(whole, 2, 2.0, start), np.float64)


@pytest.mark.parametrize("name", ["monna", "fltrust"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_trusted_row_must_be_finite(name, value):
    rows = draw_rows("distinct", 5, 2, np.float64, seed=0)
    rows[1, 1] = value
    assert np.isfinite(call(name, rows, 1)).all()
    with pytest.raises(ValueError, match="trusted"):
        call(name, rows, 1, trusted=1)


@pytest.mark.parametrize("name", ["mean", "sign_majority"])
@pytest.mark.parametrize("kind", ["nan", "+inf", "-inf"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_broken_rows_leave_even_the_others_finite(name, kind, dtype):
    for seed in range(6):
        rows, _ = attacked(name, kind, dtype, 2, seed)
        rows = np.concatenate([rows, np.ones((1, 4), dtype)])
        assert np.isfinite(getattr(aggregators, name)(rows, byzantine=2)).all()


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_do_not_turn_a_unanimous_sign(kind):
    for seed in range(6):
        rows, honest = attacked("sign_majority", kind, np.float64, 2, seed)
        agreed = np.abs(np.sign(honest).sum(axis=0)) == len(honest)
        got = aggregators.sign_majority(rows, byzantine=2)
        np.testing.assert_array_equal(got[agreed], np.sign(honest[0])[agreed])
        assert agreed.any()


@pytest.mark.parametrize(("name", "options"), RULES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reads_only_repeats_its_bits_and_keeps_the_dtype(name, options, dtype):
    rows = draw_rows("distinct", least(name, 2) + 1, 9, dtype, seed=4)
    before = rows.copy()
    rows.flags.writeable = False
    once, again = apply(name, options, rows, 2), apply(name, options, rows, 2)
    assert once.dtype == dtype
    assert once.tobytes() == again.tobytes()
    assert rows.tobytes() == before.tobytes()
    assert not np.shares_memory(once, rows)


@pytest.mark.parametrize(("name", "options"), RULES)
@pytest.mark.parametrize("kind", ["distinct", "ties", "nan"])
def test_another_array_library_gives_the_same_answer(name, options, kind):
    rows = draw_rows(kind, least(name, 2) + 2, 5, np.float32, seed=5)
    if kind == "nan":
        rows[1] = np.nan
    got = apply(name, options, array_api_strict.asarray(rows), 2)
    assert isinstance(got, array_api_strict._array_object.Array)
    assert got.dtype == array_api_strict.float32
    np.testing.assert_array_equal(np.asarray(got), apply(name, options, rows, 2))


@pytest.mark.parametrize(("name", "options"), RULES)
@pytest.mark.parametrize("kind", ["distinct", "nan"])
def test_a_dask_array_gives_the_same_answer(name, options, kind):
    """Cut along both axes."""
    rows = draw_rows(kind, least(name, 2) + 2, 11, np.float32, seed=5)
    if kind == "nan":
        rows[1] = np.nan
    lazy = dask.array.from_array(rows, chunks=(4, 5))
    got = apply(name, options, lazy, 2)
    assert isinstance(got, dask.array.Array)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.compute(), apply(name, options, rows, 2), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), RULES)
@pytest.mark.parametrize("kind", ["distinct", "nan"])
def test_shards_of_whole_units_give_the_same_bits(name, options, kind):
    """What the sharded parameter server stands on."""
    rows = draw_rows(kind, least(name, 2) + 2, 3 * trees.UNIT + 5, np.float32, seed=5)
    if kind == "nan":
        rows[1] = np.nan
    lazy = dask.array.from_array(rows, chunks=(-1, (trees.UNIT, 2 * trees.UNIT, 5)))
    np.testing.assert_array_equal(
        apply(name, options, lazy, 2).compute(), apply(name, options, rows, 2)
    )


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "options"), RULES)
@pytest.mark.parametrize("kind", ["distinct", "ties", "nan"])
def test_a_gpu_gives_the_same_answer(cupy, name, options, kind):
    rows = draw_rows(kind, least(name, 2) + 2, 5, np.float32, seed=5)
    if kind == "nan":
        rows[1] = np.nan
    got = apply(name, options, cupy.asarray(rows), 2)
    assert isinstance(got, cupy.ndarray)
    assert got.dtype == np.float32
    close(got.get(), apply(name, options, rows, 2), np.float32, slack=4)


@pytest.mark.parametrize("name", aggregators.__all__)
@pytest.mark.parametrize("byzantine", [0, 1, 2, 5])
def test_refuses_too_few_rows_and_says_what_works(name, byzantine):
    factor, plus = NEEDS.get(name, (2, 1))
    n = least(name, byzantine)
    assert call(name, np.ones((n, 1)), byzantine).shape == (1,)
    short = np.ones((n - 1, 1))
    if n == 1:
        with pytest.raises(ValueError, match=f"{name} needs rows of shape"):
            call(name, short, byzantine)
        return
    numbers = (
        f"{name} needs n >= {factor} * byzantine + {plus} = {n} rows, "
        f"got {n - 1} with byzantine={byzantine}; use "
    )
    with pytest.raises(ValueError, match=re.escape(numbers)) as refused:
        call(name, short, byzantine)
    advice = re.search(r"use byzantine <= (\d+)", str(refused.value))
    if advice:
        works = int(advice[1])
        call(name, short, works)
        with pytest.raises(ValueError, match="needs n >="):
            call(name, short, works + 1)
    else:
        enough = re.search(r"use at least (\d+) rows", str(refused.value))
        call(name, np.ones((int(enough[1]), 1)), 0)


def test_refusal_reads_as_promised():
    with pytest.raises(ValueError, match="bulyan needs") as refused:
        aggregators.bulyan(np.ones((15, 1)), byzantine=5)
    assert str(refused.value) == (
        "bulyan needs n >= 4 * byzantine + 3 = 23 rows, got 15 with byzantine=5; "
        "use byzantine <= 3, or multi_krum (n >= 2 * byzantine + 3)"
    )


@pytest.mark.parametrize("name", aggregators.__all__)
@pytest.mark.parametrize("byzantine", [-1, 0.5, True])
def test_refuses_a_byzantine_that_is_no_count(name, byzantine):
    with pytest.raises(ValueError, match="integer byzantine >= 0"):
        call(name, np.ones((9, 1)), byzantine)


@pytest.mark.parametrize("name", aggregators.__all__)
@pytest.mark.parametrize("shape", [(9,), (3, 3, 3), (0, 3)])
def test_refuses_what_is_not_rows(name, shape):
    with pytest.raises(ValueError, match="rows of shape"):
        call(name, np.ones(shape), 0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
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
    ],
)
def test_refuses_impossible_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        call(name, np.ones((9, 1)), 1, **options)


def test_centered_clipping_asks_for_its_radius():
    with pytest.raises(TypeError, match="radius"):
        aggregators.centered_clipping(np.ones((3, 1)), byzantine=1)


@pytest.mark.parametrize("name", aggregators.__all__)
def test_signature_is_the_contract(name):
    rows, byzantine, *options = inspect.signature(getattr(aggregators, name)).parameters.values()
    assert rows.kind is rows.POSITIONAL_ONLY
    assert (byzantine.name, byzantine.default) == ("byzantine", byzantine.empty)
    assert all(p.kind is p.KEYWORD_ONLY or p.default is not p.empty for p in [byzantine, *options])


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 1, 0, 2, 4], [4, 0, 3, 1, 2]])
def test_krum_breaks_a_tie_to_the_lowest_index(order):
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [50.0, 50.0]])[order]
    winner = min(i for i, corner in enumerate(order) if corner != 4)  # four corners tie
    assert aggregators.krum(square, byzantine=1).tolist() == square[winner].tolist()
    kept = aggregators.multi_krum(square, byzantine=1, keep=1)
    assert kept.tolist() == square[winner].tolist()


@pytest.mark.parametrize(
    ("name", "rows", "expected"),
    [
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
    ],
)
def test_ties_go_to_the_lowest_index_or_value(name, rows, expected):
    got = call(name, np.array(rows, dtype=float), int(len(rows) > 2))
    assert got.tolist() == expected


# --- Laws of single rules and options ----------------------------------------------------------


@pytest.mark.parametrize(("name", "options"), of("monna", "fltrust"))
@settings(max_examples=25)
@given(case=NO_TIES)
def test_trust_moves_with_the_row(name, options, case):
    rows, byzantine = rows_of(name, case)
    trusted = options(len(rows), byzantine).get("trusted", 0)
    order = np.random.default_rng(case[-1]).permutation(len(rows))
    got = call(name, rows[order], byzantine, trusted=int(np.flatnonzero(order == trusted)[0]))
    close(got, apply(name, options, rows, byzantine), rows.dtype, slack=10)


@settings(max_examples=25)
@given(case=NO_TIES)
def test_mda_in_any_order_finds_a_subset_of_the_least_diameter(case):
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


def test_smea_counts_its_subsets_beforehand():
    rows = draw_rows("distinct", 9, 3, np.float64, seed=1)
    assert call("smea", rows, 4, budget=126).tolist() == call("smea", rows, 4).tolist()
    with pytest.raises(ValueError, match="126"):
        call("smea", rows, 4, budget=125)
    with pytest.raises(ValueError, match="budget"):
        call("smea", np.ones((45, 2)), 20)


@settings(max_examples=25)
@given(case=NO_TIES)
def test_median_of_means_ignores_the_order_inside_a_bucket(case):
    rows, byzantine = rows_of("median_of_means", case)
    rng = np.random.default_rng(case[-1])
    parts = np.array_split(np.arange(len(rows)), 2 * byzantine + 1)
    order = np.concatenate([rng.permutation(part) for part in parts])
    got, other = (call("median_of_means", some, byzantine) for some in (rows, rows[order]))
    close(got, other, rows.dtype)


@pytest.mark.parametrize("start", ["zero", "median", "array"])
@settings(max_examples=25)
@given(case=NO_TIES, shift=st.floats(-8, 8, width=16), scale=st.floats(1e-3, 1e3))
def test_clipping_moves_with_its_start_and_scales_with_its_radius(start, case, shift, scale):
    rows, byzantine = rows_of("centered_clipping", case)
    kind = rows.dtype.type
    begin = rows[0].copy() if start == "array" else start
    clip = functools.partial(aggregators.centered_clipping, byzantine=byzantine, steps=2)
    got = clip(rows, radius=1.5, start=begin)
    moved, grown = begin, begin
    if start == "zero":
        moved = np.full_like(rows[0], shift)
    if start == "array":
        moved, grown = begin + kind(shift), begin * kind(scale)
    there = clip(rows + kind(shift), radius=1.5, start=moved)
    close(there, got + shift, rows.dtype, slack=20)
    large = clip(rows * kind(scale), radius=1.5 * float(kind(scale)), start=grown)
    close(large, scale * got, rows.dtype, scale, slack=20)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipping_steps_add_up_and_end_at_known_points(dtype):
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


@settings(max_examples=25)
@given(case=NO_TIES, scale=st.floats(1e-3, 1e3))
def test_smoothed_weiszfeld_scales_with_its_smoothing(case, scale):
    rows, byzantine = rows_of("geometric_median", case)
    run = functools.partial(call, "geometric_median", start="zero", max_iterations=3)
    scale = float(rows.dtype.type(scale))
    large = run(rows=rows * rows.dtype.type(scale), byzantine=byzantine, smoothing=scale * 0.1)
    small = run(rows=rows, byzantine=byzantine, smoothing=0.1)
    close(large, scale * small, rows.dtype, scale, slack=20)


def test_start_and_smoothing_do_not_matter_in_the_end():
    rows = draw_rows("distinct", 9, 4, np.float64, seed=1)
    exact = call("geometric_median", rows, 2)
    for options in ({"start": "zero"}, {"smoothing": 1e-9}, {"start": "zero", "smoothing": 1e-9}):
        close(call("geometric_median", rows, 2, **options), exact, np.float64, slack=10)
    steps = {"start": "zero", "max_iterations": 3, "smoothing": 0.1}
    assert np.linalg.norm(call("geometric_median", rows, 2, **steps) - exact) > 1e-3


@settings(max_examples=25)
@given(case=NO_TIES)
def test_fltrust_hears_directions_only_and_follows_the_server(case):
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


def test_lower_median_is_a_value_and_differs_for_even_n_only():
    for n in (3, 4, 5, 6):
        rows = draw_rows("distinct", n, 8, np.float32, seed=n)
        low, middle = (call("median", rows, 1, middle=m) for m in ("lower", "midpoint"))
        assert (low == rows).any(axis=0).all()
        assert (low < middle).all() == (n % 2 == 0)
        assert (low == middle).all() == (n % 2 == 1)


def test_trim_goes_from_the_mean_to_the_median():
    rows = draw_rows("distinct", 7, 5, np.float64, seed=1)
    trim = functools.partial(call, "trimmed_mean", rows, 2)
    close(trim(trim=0), call("mean", rows, 0), np.float64)
    assert trim().tolist() == trim(trim=2).tolist() == trim(trim=None).tolist()
    assert trim(trim=3).tolist() == call("median", rows, 2).tolist()


def test_power_two_is_the_default_and_a_large_power_looks_at_the_furthest_neighbour():
    assert_same = np.testing.assert_array_equal
    for seed in range(20):
        rows = draw_rows("distinct", 9, 3, np.float64, seed)
        assert_same(call("krum", rows, 2, power=2), call("krum", rows, 2))
        furthest = [np.sort([reference.distance(a, b) for b in rows])[5] for a in rows]
        assert_same(call("krum", rows, 2, power=200), rows[np.argmin(furthest)])


def test_powers_pick_other_rows():
    picks = [
        {call("krum", rows, 2, power=power).tobytes() for power in (1, 2, 4)}
        for seed in range(40)
        for rows in [draw_rows("distinct", 9, 3, np.float64, seed)]
    ]
    assert sum(len(pick) > 1 for pick in picks) > 4


@pytest.mark.parametrize("selection", ["one-shot", "one-shot-median"])
def test_one_shot_bulyan_differs_from_the_iterative(selection):
    differ = [
        not np.allclose(*(call("bulyan", rows, 2, selection=s) for s in (selection, "iterative")))
        for seed in range(20)
        for rows in [draw_rows("distinct", 13, 4, np.float64, seed)]
    ]
    assert any(differ)


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


def test_buckets_go_from_the_mean_to_the_median():
    rows = draw_rows("distinct", 7, 5, np.float64, seed=1)
    close(call("median_of_means", rows, 0), call("mean", rows, 0), np.float64)
    close(call("median_of_means", rows, 2, buckets=7), call("median", rows, 2), np.float64)


def test_many_rules_are_the_mean_without_byzantine_rows():
    rows = draw_rows("distinct", 7, 5, np.float64, seed=1)
    for name in ("caf", "smea", "dnc", "mda", "monna", "cge", "meamed", "phocas"):
        close(call(name, rows, 0), rows.mean(axis=0), np.float64)


@pytest.mark.parametrize(("d", "scale"), [(2, 1.0), (50, 1e-6), (3, 1e6)])
def test_weiszfeld_reports_how_it_ended(d, scale):
    rows = scale * draw_rows("distinct", 12, d, np.float64, seed=8)
    _, iterations, residual = weiszfeld(rows)
    assert 1 < iterations < 1000
    assert residual <= 1e-9
    _, few, left = weiszfeld(rows, max_iterations=2)
    assert few == 2
    assert left > 1e-9


# --- Inputs that tell variants apart, and published check values ------------------------------

LINE = np.array([[0, 0], [1, 0], [3, 0], [7, 0], [15, 0], [31, 0], [1000, 1000]], dtype=float)
EVEN = np.array([[1, 2, 3], [-1, 4, -1], [2, 2, 3], [3, 1, 3]], dtype=float)
MATRIX = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=float)
WAVES = np.array([[np.sin(i), np.cos(2 * i)] for i in range(15)])


@pytest.mark.parametrize(
    ("rows", "name", "options", "expected"),
    [
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
    ],
)
def test_known_answers(rows, name, options, expected):
    got = getattr(aggregators, name)(rows, **options)
    np.testing.assert_allclose(got, expected, atol=6e-9)


@pytest.mark.parametrize(
    ("n", "byzantine", "kept"),
    [(45, 5, 38), (45, 10, 33), (15, 2, 11), (8, 2, 4), (7, 2, 3), (8, 1, 5), (7, 1, 4)],
)
def test_published_sizes_of_multi_krum(n, byzantine, kept):
    rows = draw_rows("distinct", n, 3, np.float64, seed=n)
    default, named, fewer = (
        aggregators.multi_krum(rows, byzantine=byzantine, keep=keep)
        for keep in (None, kept, kept - 1)
    )
    assert default.tolist() == named.tolist() != fewer.tolist()


@pytest.mark.parametrize(
    ("n", "byzantine", "kept", "first", "last"),
    [(45, 5, 38, 5, 32), (45, 10, 33, 10, 22), (15, 2, 11, 2, 8), (15, 3, 10, 3, 6)],
)
def test_published_ranks_of_one_shot_bulyan(n, byzantine, kept, first, last):
    rows = draw_rows("distinct", n, 3, np.float64, seed=n)
    best = np.sort(rows[reference.best(rows, byzantine, kept)], axis=0)
    got = aggregators.bulyan(rows, byzantine=byzantine, selection="one-shot")
    np.testing.assert_allclose(got, best[first : last + 1].mean(axis=0), rtol=1e-12)


def test_tiny_rows_do_not_blow_up_a_scaled_mean():
    rows = np.ones((7, 1000))
    rows[5:] = 1.5e-162 * np.sign(np.random.default_rng(0).normal(size=1000) + 1)
    got = aggregators.fltrust(rows, byzantine=2)
    assert np.linalg.norm(got) <= 1.001 * np.linalg.norm(rows[0])


def test_rows_of_unknown_number_are_refused():
    lazy = dask.array.from_array(np.ones((9, 3)), chunks=3)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        aggregators.median(lazy[lazy[:, 0] > 0], byzantine=1)


def test_clipping_starts_from_an_array_of_another_library():
    rows = np.arange(27.0).reshape(9, 3)
    lazy = dask.array.from_array(rows, chunks=3)
    options = {"byzantine": 2, "radius": 5.0}
    start = aggregators.centered_clipping(rows, **options)
    wanted = aggregators.centered_clipping(rows, start=start, **options)
    got = aggregators.centered_clipping(lazy, start=start, **options)
    np.testing.assert_allclose(got.compute(), wanted)
    assert start.tolist() == aggregators.centered_clipping(rows, **options).tolist()
