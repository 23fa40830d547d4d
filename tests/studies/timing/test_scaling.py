"""Growth: exponents, measured sizes, the split for the fit, and a sweep in real processes."""

import contextlib
import json
import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import aggregators, costs, theory
from studies.timing import scaling
from studies.timing import scaling_results as results
from studies.timing.fits import exponent
from studies.timing.rounds import METHODS, PAIRS, shape

SIZES = [(15, 300), (150, 300), (300, 300), (600, 300), (1200, 300), (15, 3000), (15, 30_000)]
TRUE = costs.Cluster(pair_seconds=1e-10, sort_seconds=1e-9, call_seconds=1e-6)


def fields(**others):
    base = {"workers": 15, "parameters": 300, "runs": 0, "steps": 0, "turns": 2, "seed": 0}
    return scaling.prepare(base | others)


def cell(p=np.nan, d=np.nan, runs=0.0):
    """Return a cell as a study stores it, with the times that a model gives, or without."""
    seconds = np.full((len(METHODS), 2, 2), np.nan)
    for place, method in enumerate(METHODS if p == p else ()):
        size = {"parameters": d, "sample_flops": 0.0, "distorted": results.DISTORTED}
        work = shape(method, p, **size)
        found = costs.round_seconds(cluster=TRUE, **work)
        seconds[place] = np.array([[found[stage]] for stage in scaling.STAGES])
    sweep = np.array([[[4.0, 8.0], [2.5, 4.0]], [[4.0, 8.0], [4.5, 7.0]]])
    sweep = sweep if runs else sweep * np.nan
    return xr.Dataset(
        {
            "seconds": (("pipeline", "stage", "turn"), seconds),
            "sweep_seconds": (("processes", "turn"), sweep[0]),
            "run_seconds": (("processes", "turn"), sweep[1]),
            "workers": ((), float(p)),
            "parameters": ((), float(d)),
            "runs": ((), runs),
        },
        coords={"pipeline": list(METHODS), "stage": list(scaling.STAGES), "processes": [1, 2]},
    )


@pytest.fixture(scope="module")
def dataset():
    names = [*(f"{p} x {d}" for p, d in SIZES), "sweep"]
    about = {"profile": "smoke", "scale": scaling.STUDY.scale, "hardware": ["none"], "failures": {},
             "settings": {}, "axes": {"part": names}}  # fmt: skip
    cells = [*(cell(p, d) for p, d in SIZES), cell(runs=4.0)]
    found = xr.concat(cells, "part", coords="minimal", compat="equals", join="exact")
    return found.assign_coords(part=names).assign_attrs(provenance=json.dumps(about))


# --- Exponents -----------------------------------------------------------------------------------


def test_exponent_of_a_power_lies_in_its_interval():
    x = np.array([15, 45, 150, 450, 1500])
    slope, low, high = exponent(x, 3 * x**1.7)
    assert slope == pytest.approx(1.7)
    assert high - low < 1e-6
    noisy = 3 * x**1.7 * np.exp(0.1 * np.random.default_rng(0).standard_normal(5))
    slope, low, high = exponent(x, noisy)
    assert low < 1.7 < high
    assert not low < 1 < high
    assert str(exponent(x[:2], x[:2])) == "-"


def test_only_the_named_size_differs_along_it(dataset):
    by_workers, by_size = (results.along(dataset, name) for name in ("workers", "parameters"))
    assert by_workers.workers.values.tolist() == [15, 150, 300, 600, 1200]
    assert set(by_workers.parameters.values) == {300}
    assert by_size.parameters.values.tolist() == [300, 3000, 30_000]
    assert set(by_size.workers.values) == {15}


def test_orders_have_theory_for_every_method_and_separate_linear_from_quadratic(dataset):
    table = results.orders(dataset)
    assert list(table.index) == list(METHODS)
    assert set(table["server, theory"]) <= {row.server for row in theory.complexity()}
    slopes = table["round in p"].map(lambda exponent: exponent[0])
    assert (slopes[["D-Mean", "D-Median", "D-Geometric median"]] <= 1.15).all()
    assert slopes["Multi-Krum"] > 1.7
    assert slopes["D-Multi-Krum"] < slopes["Multi-Krum"]
    assert (table["server in d"].map(lambda exponent: abs(exponent[0] - 1)) < 0.5).all()


def test_fit_recovers_the_model_and_held_out_sizes_agree(dataset):
    found = results.fitted(dataset)
    for name in ("pair_seconds", "sort_seconds", "vote_seconds", "call_seconds"):
        assert getattr(found.cluster, name) == pytest.approx(getattr(TRUE, name), rel=1e-4), name
    rounds = results.measured_rounds(dataset)
    sizes = [{(r.shape["workers"], r.shape["parameters"]) for r in part} for part in rounds]
    assert not sizes[0] & sizes[1]
    assert sizes[0] | sizes[1] == set(SIZES)
    for phase, errors in rounds.errors(found.cluster).items():
        assert np.abs(errors).max() < 1e-3, phase
    times = results.modelled(found)
    ends = results.ends(times)
    assert (ends.isel(quantile=0) <= times.ours * (1 + 1e-9)).all()
    assert (ends.isel(quantile=1) >= times.ours * (1 - 1e-9)).all()


def test_efficiency_is_time_of_one_process_over_time_of_all(dataset):
    table = results.efficiency(dataset)
    assert table.loc[1, "efficiency"] == (1, 1, 1)
    assert table.loc[2, "efficiency"] == pytest.approx((0.9, 0.8, 1.0))
    assert table.loc[2, "share of the time inside runs"] == pytest.approx((0.8875, 0.875, 0.9))
    assert table.loc[2, "a run takes, beside others"] == pytest.approx((1.0, 0.875, 1.125))


def test_finding_has_every_exponent_or_says_what_is_missing(dataset):
    orders, found = results.orders(dataset), results.finding(dataset)
    for name in (*results.FIXED, *results.GROWING):
        assert f"{name} {orders['round in p'][name]}" in found, name
    empty = dataset.where(False)
    assert results.finding(empty).count("was not measured") == 2


def test_figure_is_drawn_of_any_cells(dataset):
    for kept in ([0, 1, 2, 3, 4, 5, 6, 7], [7], [0, 5, 6], []):
        part = dataset.part[kept] if kept else []
        holes = dataset.where(dataset.part.isin(part)).assign_attrs(dataset.attrs)
        assert isinstance(scaling.figure(holes), Figure), kept


# --- Measuring -----------------------------------------------------------------------------------


def test_every_method_with_enough_rows_is_measured():
    found = scaling.run(fields()).seconds
    assert found.sel(pipeline="D-Multi-Krum").isnull().all()  # 5 votes in 2 groups: 3 rows each
    able = found.sel(pipeline=[name for name in METHODS if name != "D-Multi-Krum"])
    assert (able > 0).all()
    voting = able.sel(stage="vote").median("turn")
    alone = voting.sel(pipeline=list(PAIRS))
    voted = voting.sel(pipeline=[name for name in able.pipeline.values if "D-" in name])
    assert float(voted.min()) > float(alone.max())


def test_timed_functions_are_the_rules():
    votes = np.random.default_rng(0).standard_normal((15, 9)).astype(np.float32)
    assert np.array_equal(
        scaling.aggregate("Median", votes), aggregators.median(votes, byzantine=5)
    )
    means = scaling.aggregate("D-Median", votes)
    assert means.shape == (9,)
    assert not np.allclose(means, scaling.aggregate("D-Mean", votes))


def test_sweep_runs_on_one_process_and_on_two(smoke):
    """The cell itself is a task, and uses the cluster that runs it."""
    found = xr.load_dataset(smoke[0] / "scaling.nc", engine="netcdf4").sel(part="sweep")
    assert (found.sweep_seconds > 0).all()
    assert (found.run_seconds <= 1.001 * found.processes * found.sweep_seconds).all()
    assert found.seconds.isnull().all()
    assert np.isnan(found.workers)


class OneProcess:
    """A client of a cluster of one process, which is this one."""

    def scheduler_info(self, _):
        return {"workers": {"here": {}}}

    def submit(self, function, *arguments, workers, **_):
        assert workers == ["here"]
        return function(*arguments)

    def gather(self, results):
        return results


def test_one_process_has_no_efficiency_of_two(monkeypatch):
    monkeypatch.setattr(scaling, "here", lambda: contextlib.nullcontext(OneProcess()))
    found = scaling.run(fields(parameters=1, runs=1, steps=2, turns=1))
    assert found.sweep_seconds.isnull().values.ravel().tolist() == [False, True]


def refusal(change: dict) -> str:
    try:
        fields(**change)
    except ValueError as error:
        return str(error)
    return "accepted"


def test_impossible_fields_are_refused():
    cases = [
        ({"workers": 50}, "multiple of 15.*use 45"),
        ({"runs": 2, "steps": 0}, "steps >= 1"),
        ({"turns": 0}, "turns"),
        ({"wrokers": 15}, "did you mean 'workers'"),
    ]
    for change, message in cases:
        assert re.search(message, refusal(change)), change
