"""Robustness coefficients: no input breaks a proven bound, and exact ones are attained."""

import functools
import itertools
import math

import numpy as np
import pytest
from refusals import check_refusals

from detox_sim import aggregators, mixers, theory
from detox_sim.aggregators.facts import FACTS

SIZES = [(3, 1), (4, 1), (5, 1), (5, 2), (6, 2), (7, 1), (7, 2), (7, 3), (8, 3), (9, 2)]
PROVEN = {
    row.rule
    for row in theory.COEFFICIENTS
    if row.rule in FACTS and row.kind != "at least" and row.tag == "proven"
}


def honest_sets(rule, n, f):
    """Every set of n - f rows that may be the honest ones; MoNNA's trusted row 0 is honest."""
    sets = itertools.combinations(range(n), n - f)
    return np.array([s for s in sets if rule != "monna" or s[0] == 0])


def errors_and_spreads(result, rows, sets):
    """Return for every honest set the squared error of the result, and the honest spread."""
    honest = rows[sets]
    means = honest.mean(axis=1)
    error = ((result - means) ** 2).sum(axis=1)
    return error, ((honest - means[:, None]) ** 2).sum(axis=2).mean(axis=1)


def worst_ratio(rule, rows, f, **options):
    result = getattr(aggregators, rule)(rows, byzantine=f, **options)
    error, spread = errors_and_spreads(result, rows, honest_sets(rule, len(rows), f))
    given = spread > 0
    assert (error[~given] < 1e-18).all(), "equal honest rows are not returned"
    return (error[given] / spread[given]).max(initial=0.0)


def far_side(n, f):
    """f rows on each side of the others."""
    return [-1.0] * f + [0.0] * (n - 2 * f) + [1.0] * f


def low(n, count):
    return [0.0] * count + [1.0] * (n - count)


ATTAINED = {  # (n, f) -> one coordinate of the rows
    "trimmed_mean": low,
    "median": lambda n, f: low(n, (n - 1) // 2),
    "phocas": far_side,
    "smea": far_side,
    "monna": lambda n, f: [-f] + [-2.0 * f - 1] * f + [0.0] * (n - 2 * f - 1) + [1.0] * f,
}


def inputs(n, f, rng):
    """Yield rows with ties, heavy tails, f rows far away, and the worst ones known, moved."""
    for d in (1, 2):
        for _ in range(6):
            yield rng.integers(-1, 2, (n, d)).astype(float)
            yield rng.standard_t(1.5, (n, d))
            far = rng.standard_normal((n, d))
            far[rng.permutation(n)[:f]] *= 10.0 ** rng.integers(1, 5)
            yield far
        for worst in ATTAINED.values():
            rows = rng.permutation(np.array(worst(n, f)))[:, None] * np.ones(d)
            yield rows
            yield rows + 0.05 * rng.standard_normal((n, d))


def variants(rule, n, f):
    """Options that the proof covers."""
    if rule == "trimmed_mean":
        return [{}, {"trim": (n - 1) // 2}]
    if rule == "krum":
        return [{}, {"neighbours": n - f - 1}]
    if rule == "multi_krum":
        return [{}, {"neighbours": n - f - 1, "keep": n - f}, {"keep": 1}]
    return [{"max_iterations": 200}] if rule == "geometric_median" else [{}]


@pytest.mark.parametrize("rule", sorted(PROVEN))
def test_no_input_exceeds_the_proven_bound(rule):
    rng = np.random.default_rng(0)
    sizes = [(n, f) for n, f in SIZES if theory.withstands(rule, n) >= f]
    assert len(sizes) >= 4
    for n, f in sizes:
        for options, rows in itertools.product(variants(rule, n, f), inputs(n, f, rng)):
            bound = theory.robustness_coefficient(rule, n, f, options=options)
            found = worst_ratio(rule, rows, f, **options)
            assert found <= bound * (1 + 1e-6), (n, f, options, rows.tolist())


def test_no_input_exceeds_the_bound_of_mixed_rules():
    rng = np.random.default_rng(1)
    for rule, (n, f) in itertools.product(("trimmed_mean", "median", "smea"), SIZES):
        bound = theory.robustness_coefficient(rule, n, f, mixer="nnm")
        alone = theory.robustness_coefficient(rule, n, f)
        assert bound == pytest.approx(8 * f / (n - f) * (1 + alone))
        function = getattr(aggregators, rule)
        for rows in inputs(n, f, rng):
            result = function(mixers.nnm(rows, byzantine=f), byzantine=f)
            error, spread = errors_and_spreads(result, rows, honest_sets(rule, n, f))
            assert (error <= bound * spread + 1e-9).all(), (rule, n, f, rows.tolist())


def test_exact_coefficients_are_attained():
    assert {row.rule for row in theory.COEFFICIENTS if row.kind == "exactly"} == set(ATTAINED)
    for rule, (n, f) in itertools.product(ATTAINED, [*SIZES, (10, 2), (11, 1), (11, 2), (11, 4)]):
        rows = np.array(ATTAINED[rule](n, f))[:, None]
        bound = theory.robustness_coefficient(rule, n, f)
        assert worst_ratio(rule, rows, f) == pytest.approx(bound, rel=1e-9), (rule, n, f)
    for n, f, trim in [(7, 1, 2), (9, 2, 4), (10, 0, 3)]:
        rows = np.array(low(n, trim))[:, None]
        bound = theory.robustness_coefficient("trimmed_mean", n, f, options={"trim": trim})
        found = worst_ratio("trimmed_mean", rows, f, trim=trim)
        assert found == pytest.approx(bound, rel=1e-9), (n, f, trim)


def test_lower_bounds_are_attained():
    """MDA's, which other inputs exceed, and what the search found for the geometric median."""
    worst = {"mda": far_side, "geometric_median": ATTAINED["median"]}
    rows_at_least = {
        row.rule: row.value
        for row in theory.COEFFICIENTS
        if row.kind == "at least" and row.rule in FACTS
    }
    assert set(rows_at_least) == set(worst)
    for rule, (n, f) in itertools.product(worst, SIZES):
        known = rows_at_least[rule](n, f)
        if not math.isnan(known):
            rows = np.array(worst[rule](n, f))[:, None]
            assert worst_ratio(rule, rows, f) == pytest.approx(known, rel=1e-9), (rule, n, f)
            assert known <= theory.robustness_coefficient(rule, n, f), (rule, n, f)
    assert math.isnan(rows_at_least["geometric_median"](4, 1))  # any point between is a median


@pytest.mark.parametrize("rule", sorted(PROVEN))
def test_no_rule_is_below_the_least_coefficient(rule):
    """n - f zeros or f ones with the other zeros: a rule cannot know which rows are honest."""
    for n, f in SIZES:
        if theory.withstands(rule, n) < f:
            continue
        rows = np.array(low(n, n - f))[:, None]
        result = getattr(aggregators, rule)(rows, byzantine=f)
        error, spread = errors_and_spreads(result, rows, honest_sets(rule, n, f))
        least = theory.least_coefficient(n, f)
        assert (error > least * spread * (1 - 1e-9) + 1e-300).any(), (n, f)
        assert theory.robustness_coefficient(rule, n, f) >= least, (n, f)


def test_coefficients_equal_published_values():
    """At (11, 1), (11, 2), (11, 4) and (10, 2)."""
    sizes = [(11, 1), (11, 2), (11, 4), (10, 2)]
    values = {
        ("trimmed_mean",): [0.1111, 0.2857, 1.3333, 0.3333],
        ("median",): [1.0, 1.25, 2.5, 1.0],
        ("krum",): [3.963, 5.416, 15.971, 5.909],
        ("krum", "neighbours"): [3.327, 4.571, 10.989, 4.886],
        ("multi_krum",): [1.351, 2.914, 15.328, 3.538],
        ("multi_krum", "neighbours", "keep"): [0.6476, 1.6653, 7.771, 1.943],
    }
    for (rule, *names), expected in values.items():
        for (n, f), value in zip(sizes, expected, strict=True):
            all_of = {"neighbours": n - f - 1, "keep": n - f}
            options = {name: all_of[name] for name in names}
            found = theory.robustness_coefficient(rule, n, f, options=options)
            assert found == pytest.approx(value, abs=6e-4), (rule, n, f, options)


def test_multi_krum_is_of_the_best_order_and_no_worse_than_krum():
    few = {"neighbours": 10**6 - 11, "keep": 10**6 - 10}
    found = theory.robustness_coefficient("multi_krum", 10**6, 10, options=few)
    assert found == pytest.approx((1 + 2**0.5) ** 2 * 1e-5, rel=0.01)
    for n, f in itertools.product(range(5, 40), range(15)):
        if n >= 2 * f + 3:
            krum, multi_krum = (
                theory.robustness_coefficient(rule, n, f) for rule in ("krum", "multi_krum")
            )
            assert multi_krum <= krum, (n, f)


def test_proven_bounds_are_no_looser_than_those_remembered():
    remembered = [row for row in theory.COEFFICIENTS if "memory" in row.tag]
    assert {row.rule for row in remembered} == {"trimmed_mean", "median", "krum", "smea"}
    for row, (n, f) in itertools.product(remembered, [*SIZES, (11, 4), (45, 5)]):
        options = {"neighbours": n - f - 1} if row.rule == "krum" else {}
        bound = theory.robustness_coefficient(row.rule, n, f, options=options)
        assert bound <= row.value(n, f) * (1 + 1e-12), (row.rule, n, f)


def test_what_no_proof_covers_is_nan():
    coefficient = functools.partial(theory.robustness_coefficient, rows=11, byzantine=2)
    for rule, given in [
        ("cge", {}),
        ("median", {"mixer": "arc"}),
        ("cge", {"mixer": "nnm"}),
        ("median", {"options": {"middle": "lower"}}),
        ("trimmed_mean", {"options": {"trim": 1}}),
        ("krum", {"options": {"power": 1}}),
        ("krum", {"options": {"neighbours": 1}}),
        ("multi_krum", {"options": {"keep": 10}}),
        ("my_package.rules:mine", {}),
    ]:
        assert math.isnan(coefficient(rule, **given)), (rule, given)
    assert math.isfinite(coefficient("mda", options={"budget": 5}))


def test_rows_of_which_half_are_byzantine_are_refused():
    check_refusals(
        theory.robustness_coefficient,
        [
            (("median", 4, 2), r"rows > 2 \* byzantine = 4, got 4; use byzantine <= 1"),
            (("median", 4, -1), "byzantine must be an integer of 0 or more"),
        ],
    )
    assert theory.least_coefficient(4, 2) == math.inf
