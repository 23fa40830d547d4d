"""Law 4: what every rule of `aggregators.__all__` owes, and the published numbers."""

import inspect
import re

import array_api_strict
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from detox_sim import aggregators

# Rows needed, as (factor, plus) of n >= factor * byzantine + plus; (2, 1) unless listed.
NEEDS = {"mean": (0, 1), "krum": (2, 3), "multi_krum": (2, 3), "bulyan": (4, 3)}

# Options under test beside the defaults: label -> options at (n, byzantine).
VARIANTS = {
    "geometric_median": {"loose": lambda n, f: {"tolerance": 1e-6}},
    "krum": {
        "n-f-1": lambda n, f: {"neighbours": n - f - 1},
        "n-f": lambda n, f: {"neighbours": min(n - f, n - 1)},
    },
    "multi_krum": {
        "keep n-f": lambda n, f: {"keep": n - f},
        "keep 1, n-f-1": lambda n, f: {"keep": 1, "neighbours": n - f - 1},
    },
    "bulyan": {"one-shot": lambda n, f: {"selection": "one-shot"}},
}

# The only exceptions to the laws.
EXCEPTIONS = {
    "translation": {"sign_majority": "signs change when rows move"},
    "scaling": {"sign_majority": "signs stay when rows grow"},
    "unanimous": {"sign_majority": "only the sign is returned"},
    "robust": {
        "mean": "believes finite bad rows: shown below to break the law",
        "sign_majority": "returns signs: has a law of its own below",
    },
}

RULES = [
    pytest.param(name, options, id=name + (f"[{label}]" if label else ""))
    for name in aggregators.__all__
    for label, options in {"": lambda n, f: {}, **VARIANTS.get(name, {})}.items()
]


def lawful(law):
    return [rule for rule in RULES if rule.values[0] not in EXCEPTIONS[law]]


def least(name, byzantine):
    factor, plus = NEEDS.get(name, (2, 1))
    return factor * byzantine + plus


def apply(name, options, rows, byzantine):
    options = options(rows.shape[0], byzantine)
    return getattr(aggregators, name)(rows, byzantine=byzantine, **options)


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
NO_TIES = cases(byzantine=(0, 3), extra=1)


@pytest.mark.parametrize(("name", "options"), RULES)
@settings(max_examples=60)
@given(case=cases(("distinct", "ties", "repeated")))
def test_equals_the_slow_reference(name, options, case):
    rows, byzantine = rows_of(name, case)
    got = apply(name, options, rows, byzantine)
    wanted = getattr(reference, name)(rows, byzantine, **options(rows.shape[0], byzantine))
    assert got.shape == rows.shape[1:]
    if name != "geometric_median":
        close(got, wanted, rows.dtype, scale=1e-3 if rows.dtype == np.float64 else 4.0)
        return
    cost = reference.sum_of_distances(rows, wanted)  # on a line the point is not always unique
    assert reference.sum_of_distances(rows, got) <= cost + 1e-5 * (1 + cost)
    if case[0] == "distinct" and rows.shape[1] > 1 and len(rows) > 2:
        close(got, wanted, rows.dtype, slack=1000)


@pytest.mark.parametrize(("name", "options"), RULES)
@settings(max_examples=25)
@given(case=NO_TIES)
def test_order_of_rows_does_not_matter(name, options, case):
    rows, byzantine = rows_of(name, case)
    order = np.random.default_rng(case[-1]).permutation(len(rows))
    got = apply(name, options, rows[order], byzantine)
    close(got, apply(name, options, rows, byzantine), rows.dtype, slack=10)


@pytest.mark.parametrize(("name", "options"), lawful("translation"))
@settings(max_examples=25)
@given(case=NO_TIES, shift=st.floats(-8, 8, width=16))
def test_follows_a_translation(name, options, case, shift):
    rows, byzantine = rows_of(name, case)
    moved = apply(name, options, rows + rows.dtype.type(shift), byzantine)
    close(moved, apply(name, options, rows, byzantine) + shift, rows.dtype, slack=20)


@pytest.mark.parametrize(("name", "options"), lawful("scaling"))
@settings(max_examples=25)
@given(case=NO_TIES, scale=st.floats(1e-3, 1e3))
def test_follows_a_positive_scaling(name, options, case, scale):
    rows, byzantine = rows_of(name, case)
    scaled = apply(name, options, rows * rows.dtype.type(scale), byzantine)
    close(scaled, scale * apply(name, options, rows, byzantine), rows.dtype, scale, slack=20)


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
    "largest": lambda rng, dtype: np.finfo(dtype).max,
    "nan": lambda rng, dtype: np.nan,
    "+inf": lambda rng, dtype: np.inf,
    "-inf": lambda rng, dtype: -np.inf,
    "mixed": lambda rng, dtype: rng.choice([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0]),
    "far": lambda rng, dtype: 1e6 * rng.normal(),
}


def attacked(name, kind, dtype, byzantine, seed, d=4):
    """Rows of which `byzantine`, at random places, are bad in half of their coordinates or all."""
    rng = np.random.default_rng([seed, byzantine])
    n = max(least(name, byzantine), 2 * byzantine + 1) + seed % 3
    rows = rng.normal(3.0, 1.0, size=(n, d)).astype(dtype)
    bad = rng.permutation(n)[:byzantine]
    same = BAD_ROWS[kind](rng, dtype)
    for i in bad:
        if seed % 2:  # every bad row by itself
            rows[i, rng.permutation(d)[: d // 2]] = BAD_ROWS[kind](rng, dtype)
            rows[i, 0] = BAD_ROWS[kind](rng, dtype)
        else:  # all alike, so that they are each other's nearest
            rows[i] = same
    return rows, np.delete(rows, bad, axis=0)


def check_robust(name, options, kind, dtype):
    for byzantine in (1, 2, 3):
        for seed in range(6):
            rows, honest = attacked(name, kind, dtype, byzantine, seed)
            got = apply(name, options, rows, byzantine)
            assert np.isfinite(got).all()
            if name == "geometric_median":  # within a ball, not within a box
                n, centre = len(rows), honest.mean(axis=0)
                radius = np.linalg.norm(honest - centre, axis=1).max()
                allowed = 2 * (n - byzantine) / (n - 2 * byzantine) * radius
                assert np.linalg.norm(got - centre) <= allowed
            else:
                assert (got >= honest.min(axis=0) - 1e-5).all()
                assert (got <= honest.max(axis=0) + 1e-5).all()


@pytest.mark.parametrize(("name", "options"), lawful("robust"))
@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bad_rows_do_not_leave_the_honest_spread(name, options, kind, dtype):
    check_robust(name, options, kind, dtype)


@pytest.mark.parametrize("kind", ["1e30", "-1e30", "far"])
def test_mean_breaks_the_law_so_the_law_can_fail(kind):
    with pytest.raises(AssertionError):
        check_robust("mean", lambda n, f: {}, kind, np.float64)


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


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "options"), RULES)
@pytest.mark.parametrize("kind", ["distinct", "ties", "nan"])
def test_a_gpu_gives_the_same_answer(name, options, kind):
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no GPU: {error}")
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
    rule, (factor, plus) = getattr(aggregators, name), NEEDS.get(name, (2, 1))
    n = least(name, byzantine)
    assert rule(np.ones((n, 1)), byzantine=byzantine).shape == (1,)
    short = np.ones((n - 1, 1))
    if n == 1:
        with pytest.raises(ValueError, match=f"{name} needs rows of shape"):
            rule(short, byzantine=byzantine)
        return
    numbers = (
        f"{name} needs n >= {factor} * byzantine + {plus} = {n} rows, "
        f"got {n - 1} with byzantine={byzantine}; use "
    )
    with pytest.raises(ValueError, match=re.escape(numbers)) as refused:
        rule(short, byzantine=byzantine)
    advice = re.search(r"use byzantine <= (\d+)", str(refused.value))
    if advice:
        works = int(advice[1])
        rule(short, byzantine=works)
        with pytest.raises(ValueError, match="needs n >="):
            rule(short, byzantine=works + 1)
    else:
        enough = re.search(r"use at least (\d+) rows", str(refused.value))
        rule(np.ones((int(enough[1]), 1)), byzantine=0)


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
        getattr(aggregators, name)(np.ones((9, 1)), byzantine=byzantine)


@pytest.mark.parametrize("name", aggregators.__all__)
@pytest.mark.parametrize("shape", [(9,), (3, 3, 3), (0, 3)])
def test_refuses_what_is_not_rows(name, shape):
    with pytest.raises(ValueError, match="rows of shape"):
        getattr(aggregators, name)(np.ones(shape), byzantine=0)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("krum", {"neighbours": 0}, "1 <= neighbours <= n - 1 = 8, got 0"),
        ("krum", {"neighbours": 9}, "1 <= neighbours <= n - 1 = 8, got 9"),
        ("multi_krum", {"keep": 0}, "1 <= keep <= n - byzantine = 8: 0"),
        ("multi_krum", {"keep": 9}, "1 <= keep <= n - byzantine = 8: 9"),
        ("bulyan", {"selection": "oneshot"}, "'iterative' or 'one-shot', got 'oneshot'"),
    ],
)
def test_refuses_impossible_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(aggregators, name)(np.ones((9, 1)), byzantine=1, **options)


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


@pytest.mark.parametrize(("d", "scale"), [(2, 1.0), (50, 1e-6), (3, 1e6)])
def test_weiszfeld_reports_how_it_ended(d, scale):
    rows = scale * draw_rows("distinct", 12, d, np.float64, seed=8)
    _, iterations, residual = aggregators.weiszfeld(rows)
    assert 1 < iterations < 1000
    assert residual <= 1e-9
    _, few, left = aggregators.weiszfeld(rows, max_iterations=2)
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
