"""Comparisons: what is met, contradicted and undecided, and by which interval."""

import json

import numpy as np
import pytest
import xarray as xr

from detox_sim.sweeps.intervals import student_t
from studies.evidence.compare import Side, greater, ratio, within
from studies.evidence.results import MissingError, Results

HIGH, LOW, WIDE = [9.0, 9.1, 9.2], [1.0, 1.1, 1.2], [-90.0, 5.0, 99.0]


def over_seeds(*rows, names=None):
    """Return values (seed,), or (rule, seed) where there are several rows."""
    if len(rows) == 1:
        return xr.DataArray(np.array(rows[0], dtype=float), dims="seed")
    names = np.array(names or [f"rule {i}" for i in range(len(rows))], dtype=object)
    return xr.DataArray(np.array(rows), {"rule": names}, ("rule", "seed"))


def results(**variables):
    """Return a sweep over rule and seed."""
    about = json.dumps({"axes": {"rule": ["A", "B"], "seed": [0, 1, 2]}})
    coordinates = {"rule": np.array(["A", "B"], dtype=object), "seed": [0, 1, 2]}
    dims = ("rule", "seed")
    arrays = {name: (dims, np.array(values)) for name, values in variables.items()}
    return Results(xr.Dataset(arrays, coordinates, {"provenance": about}))


def test_interval_decides_every_kind_of_comparison():
    high, low, wide = over_seeds(HIGH), over_seeds(LOW), over_seeds(WIDE)
    two = over_seeds(HIGH, LOW)
    gap = over_seeds([9.0, np.nan, 9.0])
    exact = {"sample": None}
    for number, (found, outcome) in enumerate([
        (greater(high, low), "met"),
        (greater(low, high), "contradicted"),
        (greater(wide, low), "undecided"),
        (greater(high, high), "undecided"),
        (greater(high, low, 7.0), "met"),
        (greater(high, low, 9.0), "contradicted"),
        (ratio(high, low, 2.0), "met"),
        (ratio(high, low, 20.0), "contradicted"),
        (ratio(high, low, 8.0), "undecided"),
        (ratio(over_seeds([9.0, 0.0, 9.0]), low, 2.0), "undecided"),
        (within(high, 9.0, 1.0), "met"),
        (within(low, 9.0, 1.0), "contradicted"),
        (within(over_seeds([19.0, 19.1, 19.2]), 9.0, 1.0), "contradicted"),
        (within(over_seeds([8.5, 9.5, 11.0]), 9.0, 1.0), "undecided"),
        (greater(over_seeds([9.0]), over_seeds([1.0])), "undecided"),
        (greater(gap, low), "undecided"),
        (greater(high, low, **exact), "met"),
        (greater(over_seeds([9.0, 0.0, 9.0]), low, **exact), "contradicted"),
        (greater(over_seeds([9.0]), over_seeds([1.0]), **exact), "met"),
        (greater(gap, low, **exact), "undecided"),
        (greater(high, 5.0), "met"),
        (greater(5.0, high), "contradicted"),
        (greater(two, 5.0), "contradicted"),
        (greater(two, 5.0, some=True), "met"),
        (greater(two, 99.0, some=True), "contradicted"),
    ]):  # fmt: skip
        assert found.outcome == outcome, f"case {number}: {found}"
        assert found.detail, f"case {number}: {found}"
        assert "nan" not in found.ours, f"case {number}: {found}"
    assert "no value in 1 of 3 seeds" in greater(gap, low).detail


def test_interval_is_of_differences_paired_by_seed():
    noise = np.array([0.0, 50.0, 100.0])
    found = greater(over_seeds(noise + np.array([1, 1.1, 1.2])), over_seeds(noise))
    assert found.outcome == "met"
    assert found.ours == "51.1 - 50: 1.1 (0.852 to 1.35), 3 seeds"
    noise = np.array([1.0, 50.0, 900.0])
    found = ratio(over_seeds(noise * np.array([2, 2.1, 2.2])), over_seeds(noise), 1.5)
    assert found.outcome == "met"
    assert found.ours.endswith(": 2.1 (1.86 to 2.36), 3 seeds")
    one = greater(over_seeds([9.0]), over_seeds([1.0]))
    assert (one.detail, one.ours) == ("one seed, no interval", "9 - 1: 8, 1 seed")


def test_lists_of_labels_pair_off_by_place():
    left, right = over_seeds(HIGH, LOW, names=["A", "B"]), over_seeds(LOW, HIGH, names=["C", "D"])
    found = greater(left, right)
    assert found.outcome == "contradicted"
    assert found.ours.startswith("worst of 2, rule B and D: 1.1 - 9.1: -8")
    found = greater(left, right, some=True)
    assert found.outcome == "met"
    assert found.ours.startswith("best of 2, rule A and C")
    with pytest.raises(ValueError, match="zip"):
        greater(left, over_seeds(LOW, LOW, LOW))


def test_one_of_several_cases_needs_the_interval_of_bonferroni():
    values, nothing = [11.0, 12.0, 13.5], [0.0, 0.0, 0.0]
    low, high = student_t(values)
    assert student_t(values, 0.975)[0] < low
    assert greater(over_seeds(values), low - 1e-6, some=True).outcome == "met"
    assert greater(over_seeds(values, nothing), low - 1e-6, some=True).outcome == "undecided"
    assert greater(over_seeds(values), high + 1e-6).outcome == "contradicted"
    assert greater(over_seeds(values, values), high + 1e-6).outcome == "undecided"
    assert greater(over_seeds(values, nothing), high + 1e-6).outcome == "contradicted"
    assert greater(over_seeds(values, values), low - 1e-6).outcome == "met"


def test_what_was_asked_is_a_direction_a_margin_or_a_number():
    high, low = over_seeds(HIGH), over_seeds(LOW)
    for found, asks in (
        (greater(high, low), "direction"),
        (ratio(high, low), "direction"),
        (greater(high, low, 0.5), "margin"),
        (ratio(high, low, 2.5), "margin"),
        (greater(1.25, low), "margin"),
        (within(high, 9.0, 0.5), "number"),
    ):
        assert found.asks == asks, found


def test_selection_drops_the_axis_of_a_label_and_keeps_that_of_a_list():
    scores = results(score=[HIGH, LOW])
    assert scores.values("score", rule="B").values.tolist() == LOW
    assert scores.values("score", "seed", rule=["B", "A"]).rule.values.tolist() == ["B", "A"]
    assert Results(scores.dataset, {"rule": "A"}).values("score").values.tolist() == HIGH
    for name, axes, labels, match in (
        ("none", (), {}, "no none"),
        ("score", (), {"rule": "C"}, "rule 'C' is not in the dataset"),
        ("score", (), {"attack": "alie"}, "score has no axis attack"),
        ("score", ("step",), {}, "score has no axis step"),
    ):
        with pytest.raises(MissingError, match=match):
            scores.values(name, *axes, **labels)
    with pytest.raises(MissingError, match="no axis turn"):
        greater(over_seeds(HIGH), 5.0, sample="turn")


def test_failed_cell_is_missing_and_a_missing_value_is_undecided():
    hole = [[9.0, np.nan, 9.2], LOW]
    partly = results(score=hole, loss=[HIGH, LOW])
    assert greater(partly.values("score", rule="A"), 5.0).outcome == "undecided"
    failed = results(score=hole, loss=hole)
    with pytest.raises(MissingError, match="1 of its 3 cells have no result"):
        failed.values("score", rule="A")
    assert failed.values("score", rule="B").values.tolist() == LOW


def times(values, step, least=()):
    """Return times known down to a step; those at some places are only lower limits."""
    array = over_seeds(values)
    limits = xr.zeros_like(array)
    limits[list(least)] = 1.0
    return Side(array, xr.full_like(array, step).where(limits == 0, 0.0), limits)


def test_time_never_reached_is_at_least_the_run_and_contradicts_nothing():
    for compare, margin in ((greater, 0.0), (ratio, 1.0)):
        found = compare(times([7.0, 7.0, 7.2], 0.1, least=[1]), times(LOW, 0.1), margin)
        assert found.outcome == "met", compare
        assert "never gets there" in found.detail, compare
        found = compare(times([7.0, 7.1, 7.2], 0.1), times(LOW, 0.1), 9.0)
        assert found.outcome == "contradicted", compare
        found = compare(times([7.0, 7.1, 7.2], 0.1, least=[1]), times(LOW, 0.1), 9.0)
        assert found.outcome == "undecided", compare


def test_interval_of_times_is_wider_by_the_steps_of_measurement():
    for compare, ours in ((greater, "0.5 to 7.5"), (ratio, "1.25 to inf")):
        same = [6.0] * 3, [2.0] * 3
        assert compare(*(times(values, 0.5) for values in same), 2.0).outcome == "met", compare
        coarse = compare(*(times(values, 3.5) for values in same), 2.0)
        assert coarse.outcome == "undecided", compare
        assert ours in coarse.ours, compare
