"""What every mixer of `mixers.__all__` obeys, and what it owes the rule that comes after it."""

import inspect
import re
from collections import Counter

import array_api_strict
import dask.array
import numpy as np
import pytest
import reference
import rule_cases
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import ARBITRARY, NOT_FINITE, attacked, cases, close, draw_rows, least, rows_of

from detox_sim import aggregators, mixers
from detox_sim.primitives.sums import UNIT

# Options that have no default.
REQUIRED = {"clipping": {"radius": 1.5}}

# Options under test beside the defaults: label -> options.
VARIANTS = {
    "bucketing": {"size 1": {"size": 1}, "size 3": {"size": 3}},
    "clipping": {"loose": {"radius": 100.0}, "tight": {"radius": 1e-3}},
    "past_clipping": {"tight": {"factor": 0.5}},
}

# The only exceptions to the laws.
EXCEPTIONS = {
    "order": {"bucketing": "the permutation is random: has laws of its own below"},
    "translation": {
        "clipping": "lengths are measured from zero",
        "past_clipping": "lengths are measured from zero",
        "arc": "lengths are measured from zero",
    },
    "scaling": {"clipping": "the radius must grow as well: has a law of its own below"},
    "unanimous": {
        "clipping": "no row is longer than the radius: has a law of its own below",
        "past_clipping": "no row is longer than the bound: has a law of its own below",
    },
}
SOME_ROWS = cases(byzantine=(0, 1, 2, 3), extra=1)


def by_mixer(law=None):
    names = [name for name in mixers.__all__ if law is None or name not in EXCEPTIONS[law]]
    return pytest.mark.parametrize("name", names)


def variants(name):
    return {"": {}, **VARIANTS.get(name, {})}.items()


def mix(name, options, rows, byzantine, seed=0):
    options = {**REQUIRED.get(name, {}), **options}
    rng = np.random.default_rng(seed)
    return getattr(mixers, name)(rows, byzantine=byzantine, rng=rng, **options)


def buckets_of(n, size, seed=0):
    """Return the buckets that a seed makes, read from the weights that rows of eye(n) become."""
    weights = mix("bucketing", {"size": size}, np.eye(n), 0, seed)
    return [np.flatnonzero(line).tolist() for line in weights]


@by_mixer()
@settings(max_examples=60)
@given(case=cases(("distinct", "ties", "repeated")))
def test_mixer_equals_slow_reference(name, case):
    rows, byzantine = rows_of("median", case)
    for label, options in variants(name):
        got = mix(name, options, rows, byzantine)
        more = {**REQUIRED.get(name, {}), **options}
        if name == "bucketing":
            buckets = buckets_of(len(rows), more.get("size", 2))
            more["order"] = [i for bucket in buckets for i in bucket]
        wanted = getattr(reference, f"mix_{name}")(rows, byzantine, **more)
        assert got.shape == np.shape(wanted), label
        scale = 1e-3 if rows.dtype == np.float64 else 4.0
        close(got, wanted, rows.dtype, scale=scale, case=label)


@by_mixer("order")
@settings(max_examples=25)
@given(case=SOME_ROWS)
def test_mixed_rows_move_with_their_rows(name, case):
    rows, byzantine = rows_of("median", case)
    order = np.random.default_rng(case[-1]).permutation(len(rows))
    for label, options in variants(name):
        got, wanted = (mix(name, options, some, byzantine) for some in (rows[order], rows))
        close(got, wanted[order], rows.dtype, slack=10, case=label)


@by_mixer("translation")
@settings(max_examples=25)
@given(case=SOME_ROWS, shift=st.floats(-8, 8, width=16))
def test_mixer_follows_translation(name, case, shift):
    rows, byzantine = rows_of("median", case)
    for label, options in variants(name):
        moved = mix(name, options, rows + rows.dtype.type(shift), byzantine)
        wanted = mix(name, options, rows, byzantine) + shift
        close(moved, wanted, rows.dtype, slack=20, case=label)


@by_mixer("scaling")
@settings(max_examples=25)
@given(case=SOME_ROWS, scale=st.floats(1e-3, 1e3))
def test_mixer_follows_positive_scaling(name, case, scale):
    rows, byzantine = rows_of("median", case)
    for label, options in variants(name):
        scaled = mix(name, options, rows * rows.dtype.type(scale), byzantine)
        wanted = scale * mix(name, options, rows, byzantine)
        close(scaled, wanted, rows.dtype, scale, slack=20, case=label)


@by_mixer("unanimous")
def test_mixer_returns_row_that_all_workers_send(name):
    for label, options in variants(name):
        for dtype in (np.float32, np.float64):
            rows = np.repeat(draw_rows("distinct", 1, 5, dtype, seed=0), 11, axis=0)
            for byzantine in (0, 1, 3):
                got = mix(name, options, rows, byzantine)
                case = f"{label}, {dtype.__name__}, byzantine={byzantine}"
                wanted = np.broadcast_to(rows[0], got.shape)
                np.testing.assert_allclose(got, wanted, 4 * np.finfo(dtype).eps, err_msg=case)


@by_mixer()
def test_mixer_only_reads_repeats_its_bits_and_keeps_dtype(name):
    for label, options in variants(name):
        for dtype in (np.float32, np.float64):
            rows = draw_rows("distinct", 7, 9, dtype, seed=4)
            before = rows.copy()
            rows.flags.writeable = False
            once, again = (mix(name, options, rows, 2) for _ in range(2))
            assert once.dtype == dtype, label
            assert once.tobytes() == again.tobytes(), label
            assert rows.tobytes() == before.tobytes(), label
            assert not np.shares_memory(once, rows), label


@by_mixer()
def test_mixer_gives_same_answer_for_other_array_libraries(name):
    """Dask arrays cut along both axes: close; cut into whole units: the same bits."""
    for label, options in variants(name):
        for kind in ("distinct", "ties", "nan"):
            case = f"{label}, {kind}"
            rows = draw_rows(kind, 8, 5, np.float32, seed=5)
            got = mix(name, options, array_api_strict.asarray(rows), 2)
            assert isinstance(got, array_api_strict._array_object.Array), case
            assert got.dtype == array_api_strict.float32, case
            wanted = mix(name, options, rows, 2)
            np.testing.assert_array_equal(np.asarray(got), wanted, err_msg=case)
            rows = draw_rows(kind, 9, 11, np.float32, seed=5)
            got = mix(name, options, dask.array.from_array(rows, chunks=(4, 5)), 2)
            assert isinstance(got, dask.array.Array), case
            assert got.dtype == np.float32, case
            wanted = mix(name, options, rows, 2)
            np.testing.assert_allclose(got.compute(), wanted, 1e-6, 1e-6, err_msg=case)
            rows = draw_rows(kind, 9, 3 * UNIT + 5, np.float32, seed=5)
            shards = dask.array.from_array(rows, chunks=(-1, (UNIT, 2 * UNIT, 5)))
            got, wanted = mix(name, options, shards, 2).compute(), mix(name, options, rows, 2)
            np.testing.assert_array_equal(got, wanted, err_msg=case)


@pytest.mark.gpu
def test_mixers_give_same_answer_on_gpu(cupy):
    for name in mixers.__all__:
        for label, options in variants(name):
            for kind in ("distinct", "ties", "nan"):
                rows = draw_rows(kind, 8, 5, np.float32, seed=5)
                got = mix(name, options, cupy.asarray(rows), 2)
                assert isinstance(got, cupy.ndarray), (name, label)
                assert got.dtype == np.float32, (name, label)
                wanted, case = mix(name, options, rows, 2), (name, label, kind)
                close(got.get(), wanted, np.float32, slack=4, case=case)


@by_mixer()
def test_mixer_draws_from_its_rng_only(name):
    for label, options in variants(name):
        rows = draw_rows("distinct", 12, 3, np.float64, seed=1)
        np.random.seed(7)
        before = np.random.get_state()[1].tolist()
        drawn = {mix(name, options, rows, 2, seed).tobytes() for seed in range(5)}
        assert np.random.get_state()[1].tolist() == before, label
        assert len(drawn) == (5 if name == "bucketing" else 1), label
        rng = np.random.default_rng(3)
        more = {**REQUIRED.get(name, {}), **options}
        twice = [getattr(mixers, name)(rows, byzantine=2, rng=rng, **more) for _ in range(2)]
        assert np.array_equal(*twice) == (name != "bucketing"), label


@by_mixer()
def test_mixer_keeps_contract_and_refuses_other_input(name):
    parameters = inspect.signature(getattr(mixers, name)).parameters
    rows, *others = parameters.values()
    assert rows.kind is rows.POSITIONAL_ONLY
    assert {"byzantine", "rng"} <= set(parameters)
    assert all(p.kind is p.KEYWORD_ONLY for p in others)
    for shape in ((9,), (3, 3, 3), (0, 3)):
        with pytest.raises(ValueError, match="rows of shape"):
            mix(name, {}, np.ones(shape), 0)
    for byzantine in (-1, 0.5, True):
        with pytest.raises(ValueError, match=r"integer byzantine|byzantine .* integer"):
            mix(name, {}, np.ones((9, 1)), byzantine)
    numbers = (
        f"{name} needs n >= 2 * byzantine + 1 = 5 rows, got 4 with byzantine=2; use byzantine <= 1"
    )
    with pytest.raises(ValueError, match=re.escape(numbers)):
        mix(name, {}, np.ones((4, 1)), 2)
    assert mix(name, {}, np.ones((5, 1)), 2).shape[1] == 1


def test_mixers_refuse_impossible_options():
    for name, option, value in (
        ("bucketing", "size", 0),
        ("bucketing", "size", 1.5),
        ("clipping", "radius", 0.0),
        ("clipping", "radius", -1.0),
        ("clipping", "radius", np.nan),
    ):
        with pytest.raises(ValueError, match=option):
            mix(name, {option: value}, np.ones((9, 1)), 1)
    with pytest.raises(TypeError, match="radius"):
        mixers.clipping(np.ones((3, 1)), byzantine=1, rng=None)


# --- Rows with NaN or Inf ----------------------------------------------------------------------


def rows_with(value, seed):
    """Return nine rows, and two of them that hold the value in one or in all coordinates."""
    rows = draw_rows("distinct", 9, 4, np.float64, seed)
    changed = np.random.default_rng(seed).permutation(9)[:2]
    for i in changed:
        rows[i, slice(None) if seed % 2 else seed % 4] = value
    return rows, changed


def some_rows_not_finite():
    for value in NOT_FINITE:
        for seed in range(6):
            yield (value, seed), *rows_with(value, seed)


def test_nnm_mixes_no_row_with_nan_or_inf_into_a_finite_one():
    for case, rows, changed in some_rows_not_finite():
        got, left = mix("nnm", {}, rows, 3), np.delete(rows, changed, axis=0)
        assert not np.isfinite(got[changed]).all(axis=1).any(), case
        wanted = reference.mix_nnm(left, 1)
        close(np.delete(got, changed, axis=0), wanted, np.float64, case=case)


def test_clipping_and_arc_set_row_with_nan_or_inf_to_zero():
    for name in ("clipping", "arc"):
        for case, rows, changed in some_rows_not_finite():
            got = mix(name, {}, rows, 3)
            assert not got[changed].any(), (name, case)
            rows[changed] = np.array([[1e60], [-1e70]])
            wanted = getattr(reference, f"mix_{name}")(rows, 3, **REQUIRED.get(name, {}))
            got, wanted = (np.delete(some, changed, axis=0) for some in (got, wanted))
            close(got, wanted, np.float64, case=(name, case))


def test_row_with_nan_or_inf_enters_its_own_bucket_only():
    for size in (1, 2, 4):
        for case, rows, changed in some_rows_not_finite():
            got = mix("bucketing", {"size": size}, rows, 3, case[1])
            buckets = buckets_of(9, size, case[1])
            finite = np.isfinite(got).all(axis=1)
            expected = [not set(bucket) & set(changed) for bucket in buckets]
            assert finite.tolist() == expected, (size, case)
            for whole, mixed, bucket in zip(finite, got, buckets, strict=True):
                if whole:
                    close(mixed, rows[bucket].mean(axis=0), np.float64, case=(size, case))


# --- Laws of single mixers ---------------------------------------------------------------------


def test_buckets_hold_every_row_once_and_only_the_last_is_smaller():
    for n, size in ((6, 2), (7, 2), (7, 3), (5, 5), (5, 9), (4, 1)):
        for seed in range(5):
            buckets = buckets_of(n, size, seed)
            assert sorted(i for bucket in buckets for i in bucket) == list(range(n)), (n, size)
            full, rest = divmod(n, size)
            sizes = [size] * full + [rest] * (rest > 0)
            assert [len(bucket) for bucket in buckets] == sizes, (n, size)


def test_pairs_share_a_bucket_equally_often():
    draws = 3000
    pairs = Counter(tuple(b) for seed in range(draws) for b in buckets_of(6, 2, seed))
    assert len(pairs) == 15  # each pair of six rows has the chance 1/5 to share a bucket
    deviation = (draws * 0.2 * 0.8) ** 0.5
    assert all(abs(count - draws / 5) < 5 * deviation for count in pairs.values())


def test_full_buckets_keep_the_mean():
    rows = draw_rows("distinct", 12, 5, np.float64, seed=1)
    for size in (1, 2, 3, 4):
        got = mix("bucketing", {"size": size}, rows, 2)
        close(got.mean(axis=0), rows.mean(axis=0), np.float64, case=size)


def check_clipped(name, rows, honest, case):
    got = mix(name, {"radius": 6.0} if name == "clipping" else {}, rows, 2)
    wide = rows.astype(np.longdouble)
    lengths = np.linalg.norm(wide, axis=1)
    lengths[~(lengths**2 < np.finfo(np.float64).max)] = np.inf
    cut = 2 * 2 * (len(rows) - 2) // len(rows)
    limit = 6.0 if name == "clipping" else np.sort(lengths)[-cut - 1]
    assert limit <= max(6.0, np.linalg.norm(honest, axis=1).max() * (1 + 1e-6)), case
    now = np.linalg.norm(got.astype(np.longdouble), axis=1)
    assert (now <= limit * (1 + 1e-6)).all(), case
    short = lengths < limit * (1 - 1e-6)
    assert got[short].tobytes() == rows[short].tobytes(), case
    long = np.isfinite(lengths) & (lengths > limit)
    along = (got[long] * (wide[long] / lengths[long, None])).sum(axis=1)
    for values in (now[long], along):
        np.testing.assert_allclose(values.astype(float), float(limit), 1e-6, err_msg=str(case))


def test_clipped_rows_keep_their_direction_and_short_rows_their_bits():
    for name in ("clipping", "arc"):
        for kind in ARBITRARY:
            for dtype in (np.float32, np.float64):
                for seed in range(6):
                    rows, honest = attacked("median", kind, dtype, 2, seed)
                    check_clipped(name, rows, honest, (name, kind, dtype, seed))


@settings(max_examples=25)
@given(case=SOME_ROWS, scale=st.floats(1e-3, 1e3))
def test_clipping_scales_with_its_radius(case, scale):
    rows, byzantine = rows_of("median", case)
    scale = float(rows.dtype.type(scale))
    large = mix("clipping", {"radius": 1.5 * scale}, rows * rows.dtype.type(scale), byzantine)
    close(large, scale * mix("clipping", {}, rows, byzantine), rows.dtype, scale, slack=20)


def test_past_clipping_bounds_rows_by_the_last_aggregate():
    for dtype in (np.float32, np.float64):
        rows = draw_rows("distinct", 9, 4, dtype, seed=1)
        last = rows[:1].mean(axis=0) / 3
        for factor in (0.5, 2.0):
            limit = factor * float(np.linalg.norm(last.astype(np.float64)))
            got = mix("past_clipping", {"factor": factor, "previous": last}, rows, 2)
            wanted = mix("clipping", {"radius": limit}, rows, 2)
            close(got, wanted, dtype, case=(dtype, factor))
            plain = mix("past_clipping", {"factor": factor}, rows, 2)
            for unknown in (np.zeros_like(last), np.full_like(last, np.nan)):
                got = mix("past_clipping", {"factor": factor, "previous": unknown}, rows, 2)
                assert got.tobytes() == plain.tobytes(), (dtype, factor)
    with pytest.raises(ValueError, match=r"past_clipping needs previous, .*got ndarray of shape"):
        mix("past_clipping", {"previous": np.ones(3)}, rows, 2)


def test_arc_and_nnm_without_byzantine_rows():
    rows = draw_rows("distinct", 9, 4, np.float64, seed=1)
    assert mix("arc", {}, rows, 0).tolist() == rows.tolist()
    assert mix("nnm", {}, rows, 0) == pytest.approx(np.tile(rows.mean(axis=0), (9, 1)))


# --- A mixer and then a rule -------------------------------------------------------------------

# Rules for which a region after a mixer is not proven here.
NOT_AFTER = {
    "nnm": ("sign_majority", "mean", "dnc"),
    "bucketing": ("sign_majority", "mean", "dnc", "monna", "fltrust"),  # no bucket is trusted
    "clipping": ("sign_majority",),
    "past_clipping": ("sign_majority",),
    "arc": ("sign_majority",),
}


def aggregated(name):
    """Yield the case, honest rows, mixed rows and the aggregate of every rule after a mixer."""
    for rule in (rule for rule in aggregators.__all__ if rule not in NOT_AFTER[name]):
        rng = np.random.default_rng(11)
        for kind, value in ARBITRARY.items():
            # Rows enough for the rule after buckets of three, with an arbitrary one not trusted.
            rows = rng.normal(3.0, 1.0, size=(3 * least(rule, 1) + 1, 4)).astype(np.float32)
            rows[2] = value(rng, np.float32)
            honest = np.delete(rows, 2, axis=0).astype(np.float64)
            for label, options in variants(name):
                mixed = mix(name, options, rows, 1, seed=5)
                for chosen, options_of_rule in rule_cases.variants(rule):
                    got = rule_cases.apply(rule, options_of_rule, mixed, 1).astype(np.float64)
                    case = f"{name}[{label}], {rule}[{chosen}], {kind}"
                    assert np.isfinite(got).all(), case
                    yield case, honest, mixed, got


@pytest.mark.parametrize("name", ["nnm", "bucketing"])
def test_rule_after_averaged_rows_stays_near_honest_rows(name):
    for case, honest, _, got in aggregated(name):
        centre, box = honest.mean(axis=0), np.linalg.norm(np.ptp(honest, axis=0))
        assert np.linalg.norm(got - centre) <= 2 * (box + np.linalg.norm(centre)), case


@pytest.mark.parametrize("name", ["clipping", "past_clipping", "arc"])
def test_rule_after_clipped_rows_is_no_longer_than_they_are(name):
    for case, honest, mixed, got in aggregated(name):
        longest = np.linalg.norm(mixed.astype(np.float64), axis=1).max()
        assert longest <= max(100.0, np.linalg.norm(honest, axis=1).max()), case
        assert np.linalg.norm(got) <= 2 * longest * (1 + 1e-5), case  # 2 is sqrt(coordinates)
