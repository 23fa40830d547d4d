"""The laws of every attack, the formulas, and what Byzantine workers may know."""

import inspect
import itertools
import math

import array_api_strict
import attack_cases
import numpy as np
import pytest
import reference
from attack_cases import (
    ASKS_KNOWN,
    CASES,
    DRAWS,
    FIRST,
    FIVE,
    FORGED,
    INDEPENDENT,
    OUTSIDE,
    SOME_FORGED,
    options_of,
    rows_of,
    send,
)
from refusals import assert_refused

from detox_sim import Trial, attacks, train
from detox_sim.catalogue import accepts, resolve

ATTACKS = pytest.mark.parametrize("name", [*attacks.__all__, OUTSIDE])


# --- The contract ----------------------------------------------------------------------------


@ATTACKS
def test_attack_changes_forged_copies_only(name):
    dtypes = np.float32, np.float64
    for options, which, dtype in itertools.product(options_of(name), FORGED, dtypes):
        case = options, which, dtype
        rows, forged = rows_of(dtype), FORGED[which].copy()
        if which == "everything" and options.get("z") == "baruch":
            continue  # the formula has no z without honest workers
        before = rows.copy(), forged.copy()
        rows.flags.writeable = forged.flags.writeable = False
        messages = send(name, options, rows, forged)
        assert messages.rows.dtype == dtype, case
        assert messages.rows[:6].tobytes() == rows.tobytes(), case
        assert messages.row_of.shape == forged.shape, case
        received = messages.rows[messages.row_of]
        for file, copy in zip(*np.nonzero(~forged), strict=True):
            assert received[file, copy].tobytes() == rows[file].tobytes(), (*case, file, copy)
        assert (rows == before[0]).all(), case
        assert (forged == before[1]).all(), case
        if name != "none":
            assert (messages.row_of[forged] >= 6).all(), case
        assert (messages.search is not None) == (name == "searched"), case


@ATTACKS
def test_attack_sends_finite_rows_without_an_honest_copy(name):
    messages = send(name, options_of(name)[0], rows_of(), FORGED["everything"])
    assert np.isfinite(messages.rows[6:]).all() == (name != "not_finite")


@ATTACKS
def test_attack_accepts_diverged_gradients(name):
    values, files = (np.nan, np.inf, -np.inf, 3e38), (1, slice(None))
    for options, value, where in itertools.product(options_of(name), values, files):
        case = options, value, where
        rows, forged = rows_of(), FORGED["two whole files"]
        rows[where, 2] = value
        messages = send(name, options, rows, forged)
        assert messages.rows[:6].tobytes() == rows.tobytes(), case
        assert (messages.row_of[~forged] < 6).all(), case
        if name in ("mimic", "min_max", "min_sum") and where == 1 and "target" not in options:
            assert np.isfinite(messages.rows[-1]).all(), case


@ATTACKS
def test_attack_draws_only_from_its_stream(name):
    rows, forged = rows_of(), FORGED["some copies"]
    for options in options_of(name):
        once, again = (send(name, options, rows, forged) for _ in range(2))
        other = send(name, options, rows, forged, rng=99)
        assert once.rows.tobytes() == again.rows.tobytes(), options
        assert once.row_of.tolist() == again.row_of.tolist(), options
        drawn = name in DRAWS or options.get("kind") == "mixed"
        said = f"{options}: with another rng the rows differ, or not, against attack_cases.DRAWS"
        assert (other.rows.tobytes() != once.rows.tobytes()) == drawn, said


@ATTACKS
def test_attack_gives_same_rows_in_another_array_library(name):
    rows, forged = rows_of(), FORGED["some copies"]
    for options in options_of(name):
        got = send(name, options, array_api_strict.asarray(rows), forged)
        wanted = send(name, options, rows, forged)
        assert got.rows.dtype == array_api_strict.float32, options
        rounding = 1e-6 if name in ("min_max", "min_sum") else 0.0  # of distances
        found = np.asarray(got.rows)
        np.testing.assert_allclose(found, wanted.rows, rtol=0, atol=rounding, err_msg=str(options))
        np.testing.assert_array_equal(got.row_of, wanted.row_of, err_msg=str(options))


@ATTACKS
def test_attack_signature_is_the_contract(name):
    function = resolve(attacks, name)
    rows, forged, rng, *_ = inspect.signature(function).parameters.values()
    assert rows.kind is forged.kind is rows.POSITIONAL_ONLY
    assert (rng.name, rng.kind, rng.default) == ("rng", rng.KEYWORD_ONLY, rng.empty)
    said = "a parameter `known`, or none, against attack_cases.ASKS_KNOWN"
    assert accepts(function, "known") == (name in ASKS_KNOWN), said


@ATTACKS
def test_colluding_workers_send_the_same_bits(name):
    rows, forged = rows_of(), FORGED["two whole files"]
    for options in options_of(name):
        messages = send(name, options, rows, forged)
        of_file = {messages.rows[i].tobytes() for i in messages.row_of[0]}
        if name in INDEPENDENT:
            assert len(of_file) > 1, options
            continue
        alone = options.get("colluding") is False
        assert len(of_file) == (3 if alone else 1), options
        if name not in ("none", "reverse", "label_flip", OUTSIDE) and not alone:
            of_all = {messages.rows[i].tobytes() for i in messages.row_of[forged]}
            assert of_all == of_file, options


def test_training_runs_an_attack_from_outside_the_package():
    fields = {"workers": 15, "model": "softmax", "batch": 30, "steps": 3, "evaluate_every": 2}
    outside, inside, honest = (
        train(Trial(**fields, byzantine=4, attack=attack, attack_options=options)).loss.values
        for attack, options in (
            (OUTSIDE, {"factor": -9.0}),
            ("reverse", {"scale": 9.0}),
            ("none", {}),
        )
    )
    assert outside.tolist() == inside.tolist() != honest.tolist()


# --- Formulas --------------------------------------------------------------------------------


@ATTACKS
def test_attack_sends_the_row_of_its_formula(name):
    for options, value in CASES[name]:
        messages = send(name, options, FIVE, FIRST)
        if value is not None:
            forged = messages.rows[messages.row_of[0, 0]]
            assert forged == pytest.approx(value, abs=1e-9, nan_ok=True), options


def test_reverse_and_label_flip_use_the_gradient_of_the_own_file():
    rows, other, forged = rows_of(np.float64), rows_of(np.float64, seed=7), FORGED["some copies"]
    flipped = send("label_flip", {}, rows, forged, relabelled=other)
    reverse = send("reverse", {"scale": 3.0}, rows, forged)
    for file, copy in zip(*np.nonzero(forged), strict=True):
        assert reverse.rows[reverse.row_of[file, copy]].tolist() == (-3.0 * rows[file]).tolist()
        assert flipped.rows[flipped.row_of[file, copy]].tobytes() == other[file].tobytes()


def test_gaussian_has_the_asked_deviation():
    rows = np.zeros((1, 20_000))
    noise = send("gaussian", {"scale": 3.0}, rows, np.array([[True]])).rows[1]
    assert noise.std() == pytest.approx(3.0, abs=4.5 * 3 / (2 * 20_000) ** 0.5)
    assert noise.mean() == pytest.approx(0.0, abs=4.5 * 3 / 20_000**0.5)


def test_alie_equals_the_slow_reference():
    axes = {
        "z": [1.0, 0.3, "baruch", "baruch-n"],
        "spread": ["population", "sample"],
        "over": ["honest", "all"],
        "sign": [1, -1],
    }
    rows = rows_of(np.float64)
    for which, *values in itertools.product(SOME_FORGED, *axes.values()):
        options, forged = dict(zip(axes, values, strict=True)), FORGED[which]
        got = send("alie", options, rows, forged).rows[-1]
        wanted = reference.alie(rows, forged, **options)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-12, err_msg=f"{which} {options}")


def test_alie_z_equals_published_values():
    for formula, workers, byzantine, z in [
        ("baruch", 45, 5, 0.12566135),
        ("baruch", 45, 9, 0.28221615),
        ("baruch", 45, 10, 0.32807211),
        ("baruch", 45, 15, 0.62292572),
        ("baruch", 45, 20, 1.17498679),
        ("baruch", 45, 22, 1.71167531),
        ("baruch", 50, 24, 1.42607687),
        ("baruch", 15, 7, 1.15034938),
        ("baruch", 25, 5, 0.25334710),
        ("baruch-n", 45, 5, 0.25334710),
        ("baruch-n", 45, 22, 2.00987477),
        ("baruch-n", 50, 24, 1.75068607),
    ]:
        got = attacks.alie_z(workers, byzantine, formula)
        assert got == pytest.approx(z, abs=6e-9), (formula, workers, byzantine)


def test_not_finite_draws_each_kind_alike():
    rows, forged = rows_of(d=500), FORGED["some copies"]
    values = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
    for kind in (*values, "mixed"):
        row = send("not_finite", {"kind": kind}, rows, forged).rows[-1]
        wanted = list(values.values()) if kind == "mixed" else [values[kind]]
        for value in wanted:
            count = int((np.isnan(row) if math.isnan(value) else row == value).sum())
            error = abs(count / 500 - 1 / len(wanted))
            assert error <= 4.5 * (2 / 9 / 500) ** 0.5, (kind, value)
        assert not np.isfinite(row).any(), kind


def test_impossible_options_are_refused():
    for name, options, message in [
        ("alie", {"over": "some"}, "over='honest' or 'all'.*'some'"),
        ("alie", {"spread": "std"}, "spread='population' or 'sample'.*'std'"),
        ("alie", {"sign": 2}, "sign=1 or -1; got .* 2"),
        ("alie", {"z": "max"}, "a number, 'baruch' or 'baruch-n', got 'max'"),
        ("not_finite", {"kind": "null"}, "unknown kind of not_finite 'null'.*known: nan, inf"),
        ("label_flip", {"relabelled": None}, r"shape .* = \(5, 1\).* got None"),
        ("label_flip", {"relabelled": FIVE[:3]}, r"shape .* = \(5, 1\).* got \(3, 1\)"),
        ("min_max", {"direction": "std"}, "direction 'std'.*known: deviation, unit, sign"),
        ("min_sum", {"direction": "std"}, "direction 'std'.*known: deviation, unit, sign"),
        ("searched", {"server": None}, "needs a server.*'min_max' needs none"),
        ("searched", {"evaluations": 3}, "evaluations must be an integer of 4 or more, got 3"),
        ("searched", {"evaluations": 8.0}, "evaluations must be an integer .* got 8.0"),
        ("searched", {"objective": "loss"}, "unknown objective 'loss'.*known: error, descent"),
        ("searched", {"directions": []}, "must be a list of one or more of deviation, mean, sign"),
        ("searched", {"directions": "mean"}, "directions must be a list .*; got 'mean'"),
        ("searched", {"directions": ["mena"]}, "direction 'mena'; did you mean 'mean'"),
    ]:
        server = {"server": attack_cases.median_of_votes} if name == "searched" else {}
        assert_refused(message, getattr(attacks, name), FIVE, FIRST, rng=None, **server | options)
    with pytest.raises(TypeError, match="factor"):
        attacks.inner_product(FIVE, FIRST, rng=None)
