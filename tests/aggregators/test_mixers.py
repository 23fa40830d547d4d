"""What every mixer of `mixers.__all__` owes, and what it owes the rule that comes after it."""

import inspect
from collections import Counter

import array_api_strict
import dask.array
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from test_aggregators import BAD_ROWS, attacked, close, draw_rows, least, rows_of
from test_aggregators import RULES as ALL_RULES
from test_aggregators import apply as aggregate
from test_aggregators import cases as cases_of_rows

from detox_sim import mixers
from detox_sim.primitives import sums as trees

# Options that have no default.
REQUIRED = {"clipping": {"radius": 1.5}}

# Options under test beside the defaults: label -> options.
VARIANTS = {
    "bucketing": {"size 1": {"size": 1}, "size 3": {"size": 3}},
    "clipping": {"loose": {"radius": 100.0}, "tight": {"radius": 1e-3}},
}

# The only exceptions to the laws.
EXCEPTIONS = {
    "order": {"bucketing": "the permutation is random: has laws of its own below"},
    "translation": {
        "clipping": "lengths are measured from zero",
        "arc": "lengths are measured from zero",
    },
    "scaling": {"clipping": "the radius must grow as well: has a law of its own below"},
    "unanimous": {"clipping": "no row is longer than the radius: has a law of its own below"},
}

MIXERS = [
    pytest.param(name, options, id=name + (f"[{label}]" if label else ""))
    for name in mixers.__all__
    for label, options in {"": {}, **VARIANTS.get(name, {})}.items()
]
CASES = cases_of_rows(byzantine=(0, 1, 2, 3), extra=1)
TIES = cases_of_rows(("distinct", "ties", "repeated"))


def lawful(law):
    return [mixer for mixer in MIXERS if mixer.values[0] not in EXCEPTIONS[law]]


def mix(name, options, rows, byzantine, seed=0):
    options = {**REQUIRED.get(name, {}), **options}
    rng = np.random.default_rng(seed)
    return getattr(mixers, name)(rows, byzantine=byzantine, rng=rng, **options)


def buckets_of(n, size, seed=0):
    """The buckets that a seed makes, read from the weights that the rows of eye(n) become."""
    weights = mix("bucketing", {"size": size}, np.eye(n), 0, seed)
    return [np.flatnonzero(line).tolist() for line in weights]


@pytest.mark.parametrize(("name", "options"), MIXERS)
@settings(max_examples=60)
@given(case=TIES)
def test_equals_the_slow_reference(name, options, case):
    rows, byzantine = rows_of("median", case)
    got = mix(name, options, rows, byzantine)
    more = {**REQUIRED.get(name, {}), **options}
    if name == "bucketing":
        buckets = buckets_of(len(rows), more.get("size", 2))
        more["order"] = [i for bucket in buckets for i in bucket]
    wanted = getattr(reference, f"mix_{name}")(rows, byzantine, **more)
    assert got.shape == np.shape(wanted)
    close(got, wanted, rows.dtype, scale=1e-3 if rows.dtype == np.float64 else 4.0)


@pytest.mark.parametrize(("name", "options"), lawful("order"))
@settings(max_examples=25)
@given(case=CASES)
def test_rows_move_and_their_mixes_move_along(name, options, case):
    rows, byzantine = rows_of("median", case)
    order = np.random.default_rng(case[-1]).permutation(len(rows))
    got = mix(name, options, rows[order], byzantine)
    close(got, mix(name, options, rows, byzantine)[order], rows.dtype, slack=10)


@pytest.mark.parametrize(("name", "options"), lawful("translation"))
@settings(max_examples=25)
@given(case=CASES, shift=st.floats(-8, 8, width=16))
def test_follows_a_translation(name, options, case, shift):
    rows, byzantine = rows_of("median", case)
    moved = mix(name, options, rows + rows.dtype.type(shift), byzantine)
    close(moved, mix(name, options, rows, byzantine) + shift, rows.dtype, slack=20)


@pytest.mark.parametrize(("name", "options"), lawful("scaling"))
@settings(max_examples=25)
@given(case=CASES, scale=st.floats(1e-3, 1e3))
def test_follows_a_positive_scaling(name, options, case, scale):
    rows, byzantine = rows_of("median", case)
    scaled = mix(name, options, rows * rows.dtype.type(scale), byzantine)
    close(scaled, scale * mix(name, options, rows, byzantine), rows.dtype, scale, slack=20)


@pytest.mark.parametrize(("name", "options"), lawful("unanimous"))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("byzantine", [0, 1, 3])
def test_returns_what_all_rows_say(name, options, dtype, byzantine):
    rows = np.repeat(draw_rows("distinct", 1, 5, dtype, seed=0), 11, axis=0)
    got = mix(name, options, rows, byzantine)
    wanted = np.broadcast_to(rows[0], got.shape)
    np.testing.assert_allclose(got, wanted, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("name", "options"), MIXERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reads_only_repeats_its_bits_and_keeps_the_dtype(name, options, dtype):
    rows = draw_rows("distinct", 7, 9, dtype, seed=4)
    before = rows.copy()
    rows.flags.writeable = False
    once, again = mix(name, options, rows, 2), mix(name, options, rows, 2)
    assert once.dtype == dtype
    assert once.tobytes() == again.tobytes()
    assert rows.tobytes() == before.tobytes()
    assert not np.shares_memory(once, rows)


@pytest.mark.parametrize(("name", "options"), MIXERS)
@pytest.mark.parametrize("kind", ["distinct", "ties", "nan"])
def test_another_array_library_gives_the_same_answer(name, options, kind):
    rows = draw_rows(kind, 8, 5, np.float32, seed=5)
    if kind == "nan":
        rows[1] = np.nan
    got = mix(name, options, array_api_strict.asarray(rows), 2)
    assert isinstance(got, array_api_strict._array_object.Array)
    assert got.dtype == array_api_strict.float32
    np.testing.assert_array_equal(np.asarray(got), mix(name, options, rows, 2))


@pytest.mark.parametrize(("name", "options"), MIXERS)
@pytest.mark.parametrize("kind", ["distinct", "nan"])
def test_a_dask_array_gives_the_same_answer(name, options, kind):
    """Cut along both axes."""
    rows = draw_rows(kind, 9, 11, np.float32, seed=5)
    if kind == "nan":
        rows[1] = np.nan
    lazy = dask.array.from_array(rows, chunks=(4, 5))
    got = mix(name, options, lazy, 2)
    assert isinstance(got, dask.array.Array)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.compute(), mix(name, options, rows, 2), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), MIXERS)
@pytest.mark.parametrize("kind", ["distinct", "nan"])
def test_shards_of_whole_units_give_the_same_bits(name, options, kind):
    """What the sharded parameter server stands on."""
    rows = draw_rows(kind, 9, 3 * trees.UNIT + 5, np.float32, seed=5)
    if kind == "nan":
        rows[1] = np.nan
    lazy = dask.array.from_array(rows, chunks=(-1, (trees.UNIT, 2 * trees.UNIT, 5)))
    np.testing.assert_array_equal(
        mix(name, options, lazy, 2).compute(), mix(name, options, rows, 2)
    )


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "options"), MIXERS)
@pytest.mark.parametrize("kind", ["distinct", "ties", "nan"])
def test_a_gpu_gives_the_same_answer(cupy, name, options, kind):
    rows = draw_rows(kind, 8, 5, np.float32, seed=5)
    if kind == "nan":
        rows[1] = np.nan
    got = mix(name, options, cupy.asarray(rows), 2)
    assert isinstance(got, cupy.ndarray)
    assert got.dtype == np.float32
    close(got.get(), mix(name, options, rows, 2), np.float32, slack=4)


@pytest.mark.parametrize(("name", "options"), MIXERS)
def test_randomness_comes_from_the_rng_only(name, options):
    rows = draw_rows("distinct", 12, 3, np.float64, seed=1)
    np.random.seed(7)
    before = np.random.get_state()[1].tolist()
    drawn = {mix(name, options, rows, 2, seed).tobytes() for seed in range(5)}
    assert np.random.get_state()[1].tolist() == before
    assert len(drawn) == (5 if name == "bucketing" else 1)
    rng = np.random.default_rng(3)
    more = {**REQUIRED.get(name, {}), **options}
    twice = [getattr(mixers, name)(rows, byzantine=2, rng=rng, **more) for _ in range(2)]
    assert np.array_equal(*twice) == (name != "bucketing")


@pytest.mark.parametrize("name", mixers.__all__)
def test_signature_is_the_contract(name):
    parameters = inspect.signature(getattr(mixers, name)).parameters
    rows = next(iter(parameters.values()))
    assert rows.kind is rows.POSITIONAL_ONLY
    assert {"byzantine", "rng"} <= set(parameters)
    assert all(p.kind is p.KEYWORD_ONLY for p in list(parameters.values())[1:])


@pytest.mark.parametrize("name", mixers.__all__)
@pytest.mark.parametrize("shape", [(9,), (3, 3, 3), (0, 3)])
def test_refuses_what_is_not_rows(name, shape):
    with pytest.raises(ValueError, match="rows of shape"):
        mix(name, {}, np.ones(shape), 0)


@pytest.mark.parametrize("name", mixers.__all__)
@pytest.mark.parametrize("byzantine", [-1, 0.5, True])
def test_refuses_a_byzantine_that_is_no_count(name, byzantine):
    with pytest.raises(ValueError, match=r"integer byzantine|byzantine .* integer"):
        mix(name, {}, np.ones((9, 1)), byzantine)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("bucketing", {"size": 0}, "size"),
        ("bucketing", {"size": 1.5}, "size"),
        ("clipping", {"radius": 0.0}, "radius"),
        ("clipping", {"radius": -1.0}, "radius"),
        ("clipping", {"radius": np.nan}, "radius"),
    ],
)
def test_refuses_impossible_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        mix(name, options, np.ones((9, 1)), 1)


def test_clipping_asks_for_its_radius():
    with pytest.raises(TypeError, match="radius"):
        mixers.clipping(np.ones((3, 1)), byzantine=1, rng=None)


# --- Rows with NaN or Inf ----------------------------------------------------------------------


def broken_rows(value, seed):
    """Nine rows of which two are broken, in one or in all coordinates."""
    rows = draw_rows("distinct", 9, 4, np.float64, seed)
    bad = np.random.default_rng(seed).permutation(9)[:2]
    for i in bad:
        rows[i, slice(None) if seed % 2 else seed % 4] = value
    return rows, bad


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nnm_lets_no_broken_row_into_a_finite_one(value):
    for seed in range(6):
        rows, bad = broken_rows(value, seed)
        got, left = mix("nnm", {}, rows, 3), np.delete(rows, bad, axis=0)
        assert not np.isfinite(got[bad]).all(axis=1).any()
        close(np.delete(got, bad, axis=0), reference.mix_nnm(left, 1), np.float64)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["clipping", "arc"])
def test_a_broken_row_becomes_zero(name, value):
    for seed in range(6):
        rows, bad = broken_rows(value, seed)
        got = mix(name, {}, rows, 3)
        assert not got[bad].any()
        rows[bad] = np.array([[1e60], [-1e70]])
        wanted = getattr(reference, f"mix_{name}")(rows, 3, **REQUIRED.get(name, {}))
        close(np.delete(got, bad, axis=0), np.delete(wanted, bad, axis=0), np.float64)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_broken_row_breaks_its_bucket_only(value, size):
    for seed in range(6):
        rows, bad = broken_rows(value, seed)
        got = mix("bucketing", {"size": size}, rows, 3, seed)
        buckets = buckets_of(9, size, seed)
        finite = np.isfinite(got).all(axis=1)
        assert finite.tolist() == [not set(bucket) & set(bad) for bucket in buckets]
        for whole, mixed, bucket in zip(finite, got, buckets, strict=True):
            if whole:
                close(mixed, rows[bucket].mean(axis=0), np.float64)


# --- Laws of single mixers ---------------------------------------------------------------------


@pytest.mark.parametrize(("n", "size"), [(6, 2), (7, 2), (7, 3), (5, 5), (5, 9), (4, 1)])
def test_buckets_hold_every_row_once_and_only_the_last_is_smaller(n, size):
    for seed in range(5):
        buckets = buckets_of(n, size, seed)
        assert sorted(i for bucket in buckets for i in bucket) == list(range(n))
        full, rest = divmod(n, size)
        assert [len(bucket) for bucket in buckets] == [size] * full + [rest] * (rest > 0)


def test_buckets_are_drawn_evenly():
    draws = 3000
    pairs = Counter(tuple(b) for seed in range(draws) for b in buckets_of(6, 2, seed))
    assert len(pairs) == 15  # each pair of six rows has the chance 1/5 to share a bucket
    deviation = (draws * 0.2 * 0.8) ** 0.5
    assert all(abs(count - draws / 5) < 5 * deviation for count in pairs.values())


def test_full_buckets_keep_the_mean():
    rows = draw_rows("distinct", 12, 5, np.float64, seed=1)
    for size in (1, 2, 3, 4):
        got = mix("bucketing", {"size": size}, rows, 2)
        close(got.mean(axis=0), rows.mean(axis=0), np.float64)


@pytest.mark.parametrize("kind", BAD_ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["clipping", "arc"])
def test_clipped_rows_keep_their_direction_and_short_rows_their_bits(name, kind, dtype):
    for seed in range(6):
        rows, honest = attacked("median", kind, dtype, 2, seed)
        got = mix(name, {"radius": 6.0} if name == "clipping" else {}, rows, 2)
        wide = rows.astype(np.longdouble)
        lengths = np.linalg.norm(wide, axis=1)
        lengths[~(lengths**2 < np.finfo(np.float64).max)] = np.inf
        cut = 2 * 2 * (len(rows) - 2) // len(rows)
        limit = 6.0 if name == "clipping" else np.sort(lengths)[-cut - 1]
        assert limit <= max(6.0, np.linalg.norm(honest, axis=1).max() * (1 + 1e-6))
        now = np.linalg.norm(got.astype(np.longdouble), axis=1)
        assert (now <= limit * (1 + 1e-6)).all()
        short = lengths < limit * (1 - 1e-6)
        assert got[short].tobytes() == rows[short].tobytes()
        long = np.isfinite(lengths) & (lengths > limit)
        np.testing.assert_allclose(now[long].astype(float), float(limit), rtol=1e-6)
        along = (got[long] * (wide[long] / lengths[long, None])).sum(axis=1)
        np.testing.assert_allclose(along.astype(float), float(limit), rtol=1e-6)


@settings(max_examples=25)
@given(case=CASES, scale=st.floats(1e-3, 1e3))
def test_clipping_scales_with_its_radius(case, scale):
    rows, byzantine = rows_of("median", case)
    scale = float(rows.dtype.type(scale))
    large = mix("clipping", {"radius": 1.5 * scale}, rows * rows.dtype.type(scale), byzantine)
    close(large, scale * mix("clipping", {}, rows, byzantine), rows.dtype, scale, slack=20)


def test_arc_clips_nothing_when_no_row_is_byzantine():
    rows = draw_rows("distinct", 9, 4, np.float64, seed=1)
    assert mix("arc", {}, rows, 0).tolist() == rows.tolist()
    assert mix("nnm", {}, rows, 0) == pytest.approx(np.tile(rows.mean(axis=0), (9, 1)))


# --- A mixer and then a rule -------------------------------------------------------------------

UNIT = ("sign_majority",)  # returns signs
BELIEVING = ("mean", "dnc")
TRUSTING = ("monna", "fltrust")


def after(mixer, *but):
    """Rules that keep the law after this mixer; a bucket has no place to be trusted by."""
    but += TRUSTING if mixer == "bucketing" else ()
    return [rule for rule in ALL_RULES if rule.values[0] not in UNIT + but]


LINEAR = [
    pytest.param(*mixer.values, *rule.values, id=f"{mixer.id}-{rule.id}")
    for mixer in MIXERS
    if mixer.values[0] in ("nnm", "bucketing")
    for rule in after(mixer.values[0], *BELIEVING)
]
SHORT = [
    pytest.param(*mixer.values, *rule.values, id=f"{mixer.id}-{rule.id}")
    for mixer in MIXERS
    if mixer.values[0] in ("clipping", "arc")
    for rule in after(mixer.values[0])
]


def attacks_before(rule, dtype=np.float32):
    """Rows enough for the rule after buckets of three, with a bad one that nobody trusts."""
    rng = np.random.default_rng(11)
    for kind, value in BAD_ROWS.items():
        rows = rng.normal(3.0, 1.0, size=(3 * least(rule, 1) + 1, 4)).astype(dtype)
        rows[2] = value(rng, dtype)
        yield kind, rows, np.delete(rows, 2, axis=0).astype(np.float64)


@pytest.mark.parametrize(("name", "options", "rule", "chosen"), LINEAR)
def test_a_rule_after_a_mix_of_rows_stays_near_the_honest_rows(name, options, rule, chosen):
    for kind, rows, honest in attacks_before(rule):
        mixed = mix(name, options, rows, 1, seed=5)
        got = aggregate(rule, chosen, mixed, 1).astype(np.float64)
        centre, box = honest.mean(axis=0), np.linalg.norm(np.ptp(honest, axis=0))
        assert np.isfinite(got).all(), kind
        assert np.linalg.norm(got - centre) <= 2 * (box + np.linalg.norm(centre)), kind


@pytest.mark.parametrize(("name", "options", "rule", "chosen"), SHORT)
def test_a_rule_after_clipped_rows_is_no_longer_than_they_are(name, options, rule, chosen):
    for kind, rows, honest in attacks_before(rule):
        mixed = mix(name, options, rows, 1)
        got = aggregate(rule, chosen, mixed, 1).astype(np.float64)
        assert np.isfinite(got).all(), kind
        longest = np.linalg.norm(mixed.astype(np.float64), axis=1).max()
        assert longest <= max(100.0, np.linalg.norm(honest, axis=1).max()), kind
        assert np.linalg.norm(got) <= 2 * longest * (1 + 1e-5), kind  # 2 is sqrt(coordinates)
