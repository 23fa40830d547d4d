"""Law 4: what every rule of `aggregators.__all__` obeys, for each of its options under test."""

import inspect
import re

import array_api_strict
import dask.array
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from rule_cases import (
    NO_TIES,
    apply,
    by_rule,
    call,
    cases,
    close,
    draw_rows,
    least,
    of,
    rows_of,
    slow,
    ties_on_a_line,
    variants,
)

from detox_sim import aggregators
from detox_sim.aggregators.facts import facts_of
from detox_sim.catalogue import resolve
from detox_sim.primitives.sums import UNIT


@by_rule("reference")
@settings(max_examples=50)
@given(case=cases(("distinct", "ties", "repeated")))
def test_rule_equals_slow_reference(name, case):
    rows, byzantine = rows_of(name, case)
    for label, options in variants(name, "reference"):
        got = apply(name, options, rows, byzantine)
        wanted = slow(name, options, rows, byzantine)
        assert got.shape == rows.shape[1:], label
        if case[0] != "distinct" and name in ("caf", "smea", "dnc"):
            continue  # of two equal eigenvalues, or two equal sums of weights, rounding chooses
        if name != "geometric_median" or "smoothing" in options(*rows.shape):
            if case[0] == "ties" or not ties_on_a_line(name, options, rows):
                scale = 1e-3 if rows.dtype == np.float64 else 4.0
                close(got, wanted, rows.dtype, scale=scale, case=label)
            continue
        cost = reference.sum_of_distances(rows, wanted)  # on a line several points may have it
        assert reference.sum_of_distances(rows, got) <= cost + 1e-5 * (1 + cost), label
        if case[0] == "distinct" and rows.shape[1] > 1 and len(rows) > 2:
            close(got, wanted, rows.dtype, slack=1000, case=label)


@by_rule("far row")
def test_rule_equals_slow_reference_beside_a_far_row(name):
    for label, options in variants(name, "far row"):
        for scale in (1e4, -1e8, 1e12, 1e30):
            for seed in range(4):
                rows = draw_rows("distinct", least(name, 2) + seed % 2, 3, np.float64, seed)
                rows[1] *= scale
                got, wanted = apply(name, options, rows, 2), slow(name, options, rows, 2)
                close(got, wanted, np.float64, slack=10, case=(label, scale, seed))


@by_rule("order")
@settings(max_examples=25)
@given(case=NO_TIES)
def test_rule_does_not_depend_on_order_of_rows(name, case):
    rows, byzantine = rows_of(name, case)
    order = np.random.default_rng(case[-1]).permutation(len(rows))
    for label, options in variants(name, "order"):
        if not ties_on_a_line(name, options, rows):
            got, wanted = (apply(name, options, some, byzantine) for some in (rows[order], rows))
            close(got, wanted, rows.dtype, slack=10, case=label)


@by_rule("translation", "scaling")
@settings(max_examples=25)
@given(case=NO_TIES, shift=st.floats(-8, 8, width=16), scale=st.floats(1e-3, 1e3))
def test_rule_follows_translation_and_positive_scaling(name, case, shift, scale):
    rows, byzantine = rows_of(name, case)
    for label, options in variants(name, "translation"):
        if not ties_on_a_line(name, options, rows):
            moved = apply(name, options, rows + rows.dtype.type(shift), byzantine)
            wanted = apply(name, options, rows, byzantine) + shift
            close(moved, wanted, rows.dtype, slack=20, case=f"{label}, moved")
    for label, options in variants(name, "scaling"):
        if not ties_on_a_line(name, options, rows):
            scaled = apply(name, options, rows * rows.dtype.type(scale), byzantine)
            wanted = scale * apply(name, options, rows, byzantine)
            close(scaled, wanted, rows.dtype, scale, slack=20, case=f"{label}, scaled")


@of(
    *("mean", "geometric_median", "krum", "multi_krum", "medoid", "mda", "monna", "cge", "caf"),
    *("smea", "dnc", "fltrust", "centered_clipping"),
)
@settings(max_examples=25)
@given(case=NO_TIES)
def test_rule_follows_rotation(name, case):
    rows, byzantine = rows_of(name, case)
    d = rows.shape[1]
    turn = np.linalg.qr(np.random.default_rng(d).normal(size=(d, d)))[0]
    for label, options in variants(name, "rotation"):
        if not ties_on_a_line(name, options, rows):
            turned = apply(name, options, (rows @ turn).astype(rows.dtype), byzantine)
            wanted = apply(name, options, rows, byzantine) @ turn
            close(turned, wanted, rows.dtype, slack=20, case=label)


@by_rule("unanimous")
def test_rule_returns_row_that_all_workers_send(name):
    for label, options in variants(name, "unanimous"):
        for dtype in (np.float32, np.float64):
            row = draw_rows("distinct", 1, 5, dtype, seed=0)
            for byzantine in (0, 1, 3):
                rows = np.repeat(row, least(name, byzantine) + 4, axis=0)
                got = apply(name, options, rows, byzantine)
                case = f"{label}, {dtype.__name__}, byzantine={byzantine}"
                np.testing.assert_allclose(got, row[0], 4 * np.finfo(dtype).eps, err_msg=case)


@by_rule()
def test_rule_only_reads_repeats_its_bits_and_keeps_dtype(name):
    for label, options in variants(name):
        for dtype in (np.float32, np.float64):
            rows = draw_rows("distinct", least(name, 2) + 1, 9, dtype, seed=4)
            before = rows.copy()
            rows.flags.writeable = False
            once, again = (apply(name, options, rows, 2) for _ in range(2))
            assert once.dtype == dtype, label
            assert once.tobytes() == again.tobytes(), label
            assert rows.tobytes() == before.tobytes(), label
            assert not np.shares_memory(once, rows), label


@by_rule()
def test_rule_gives_same_answer_for_other_array_libraries(name):
    check_strict(name)
    check_dask(name)


def check_strict(name):
    for label, options in variants(name):
        for kind in ("distinct", "ties", "nan"):
            rows = draw_rows(kind, least(name, 2) + 2, 5, np.float32, seed=5)
            got = apply(name, options, array_api_strict.asarray(rows), 2)
            assert isinstance(got, array_api_strict._array_object.Array), label
            assert got.dtype == array_api_strict.float32, label
            wanted = apply(name, options, rows, 2)
            np.testing.assert_array_equal(np.asarray(got), wanted, err_msg=f"{label}, {kind}")


def check_dask(name):
    """Cut along both axes: close; cut into whole units: the same bits, as sharded servers need."""
    for label, options in variants(name):
        for kind in ("distinct", "nan"):
            rows = draw_rows(kind, least(name, 2) + 2, 11, np.float32, seed=5)
            got = apply(name, options, dask.array.from_array(rows, chunks=(4, 5)), 2)
            assert isinstance(got, dask.array.Array), label
            assert got.dtype == np.float32, label
            got, wanted = got.compute(), apply(name, options, rows, 2)
            np.testing.assert_allclose(got, wanted, 1e-6, 1e-6, err_msg=f"{label}, {kind}")
            rows = draw_rows(kind, least(name, 2) + 2, 3 * UNIT + 5, np.float32, seed=5)
            shards = dask.array.from_array(rows, chunks=(-1, (UNIT, 2 * UNIT, 5)))
            got, wanted = apply(name, options, shards, 2).compute(), apply(name, options, rows, 2)
            np.testing.assert_array_equal(got, wanted, err_msg=f"{label}, {kind}")


@pytest.mark.gpu
def test_rules_give_same_answer_on_gpu(cupy):
    for name in aggregators.__all__:
        for label, options in variants(name):
            for kind in ("distinct", "ties", "nan"):
                rows = draw_rows(kind, least(name, 2) + 2, 5, np.float32, seed=5)
                got = apply(name, options, cupy.asarray(rows), 2)
                assert isinstance(got, cupy.ndarray), (name, label)
                assert got.dtype == np.float32, (name, label)
                wanted, case = apply(name, options, rows, 2), (name, label, kind)
                close(got.get(), wanted, np.float32, slack=4, case=case)


def check_condition(name):
    """Too few rows are refused with the inequality, and what the message advises works."""
    facts = facts_of(resolve(aggregators, name))
    for byzantine in (0, 1, 2, 5):
        n = least(name, byzantine)
        assert call(name, np.ones((n, 1)), byzantine).shape == (1,)
        short = np.ones((n - 1, 1))
        if n == 1:
            with pytest.raises(ValueError, match=f"{facts.rule} needs rows of shape"):
                call(name, short, byzantine)
            continue
        numbers = (
            f"{facts.rule} needs n >= {facts.factor} * byzantine + {facts.plus} = {n} rows, "
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


@by_rule()
def test_rule_keeps_contract_and_refuses_other_input(name):
    check_condition(name)
    parameters = inspect.signature(resolve(aggregators, name)).parameters.values()
    rows, byzantine, *options = parameters
    assert rows.kind is rows.POSITIONAL_ONLY
    assert (byzantine.name, byzantine.default) == ("byzantine", byzantine.empty)
    assert all(p.kind is p.KEYWORD_ONLY for p in (byzantine, *options))
    for count in (-1, 0.5, True):
        with pytest.raises(ValueError, match="integer byzantine >= 0"):
            call(name, np.ones((9, 1)), count)
    for shape in ((9,), (3, 3, 3), (0, 3)):
        with pytest.raises(ValueError, match="rows of shape"):
            call(name, np.ones(shape), 0)


def test_refusal_names_inequality_numbers_and_another_rule():
    with pytest.raises(ValueError, match="bulyan needs") as refused:
        aggregators.bulyan(np.ones((15, 1)), byzantine=5)
    assert str(refused.value) == (
        "bulyan needs n >= 4 * byzantine + 3 = 23 rows, got 15 with byzantine=5; "
        "use byzantine <= 3, or multi_krum (n >= 2 * byzantine + 3)"
    )


def test_rows_of_unknown_number_are_refused():
    lazy = dask.array.from_array(np.ones((9, 3)), chunks=3)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        aggregators.median(lazy[lazy[:, 0] > 0], byzantine=1)
