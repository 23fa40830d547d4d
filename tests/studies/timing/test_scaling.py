"""Growth: exponents, measured sizes, the split for the fit, and a sweep in real processes."""

import json
import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import aggregators, costs, theory
from studies.timing import scaling
from studies.timing import scaling_results as results
from studies.timing.beside import plain_processes
from studies.timing.fits import exponent
from studies.timing.rounds import METHODS, PAIRS, shape

SIZES = [(15, 300), (150, 300), (300, 300), (600, 300), (1200, 300), (15, 3000), (15, 30_000)]
TRUE = costs.Cluster(pair_seconds=1e-10, sort_seconds=1e-9, call_seconds=1e-6)


def fields(**others):
    base = {"workers": 15, "parameters": 300, "runs": 0, "steps": 0, "empty_cells": 0}
    base |= {"turns": 2, "seed": 0}
    return scaling.prepare(base | others)


def cell(p=np.nan, d=np.nan, runs=0.0):
    """Return a cell as a study stores it, with the times that a model gives, or without."""
    seconds = np.full((len(METHODS), 2, 2), np.nan)
    for place, method in enumerate(METHODS if p == p else ()):
        size = {"parameters": d, "sample_flops": 0.0, "distorted": results.DISTORTED}
        work = shape(method, p, **size)
        found = costs.round_seconds(cluster=TRUE, **work)
        seconds[place] = np.array([[found[stage]] for stage in scaling.STAGES])
    # (side, processes, turn, clock): seconds by the clock, inside the cells, of all processors
    dask = [[[4.0, 3.8, 4.2], [8.0, 7.0, 8.2]], [[2.5, 4.5, 5.0], [4.0, 7.0, 8.0]]]
    plain = [[[3.8, 3.8, 3.8], [7.6, 7.6, 7.4]], [[2.0, 4.0, 4.0], [3.8, 7.6, 7.2]]]
    sweep = np.array([dask, plain])
    empty = np.array([[[0.4, 0.1, 0.8], [0.6, 0.1, 1.0]], *2 * [[[0.1, 0.2, 0.2]] * 2]])
    if not runs:
        sweep, empty = sweep * np.nan, empty * np.nan
    return xr.Dataset(
        {
            "seconds": (("pipeline", "stage", "turn"), seconds),
            "sweep_seconds": (("side", "processes", "turn", "clock"), sweep),
            "empty_seconds": (("way", "turn", "clock"), empty),
            "workers": ((), float(p)),
            "parameters": ((), float(d)),
            "runs": ((), runs),
            "empty_cells": ((), 100.0 if runs else 0.0),
        },
        coords={
            "pipeline": list(METHODS),
            "stage": list(scaling.STAGES),
            "processes": [1, 2],
            "side": ["Dask", "plain"],
            "way": list(scaling.WAYS),
            "clock": list(scaling.CLOCKS),
        },
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


def test_efficiency_is_time_in_plain_processes_over_time_on_dask(dataset):
    table = results.efficiency(dataset)
    assert table.loc[1, "efficiency"] == pytest.approx((0.95, 0.95, 0.95))
    assert table.loc[2, "efficiency"] == pytest.approx((0.875, 0.8, 0.95))
    assert table.loc[2, "efficiency, processor time"] == pytest.approx((0.85, 0.8, 0.9))
    assert table.loc[2, "share of the time inside cells"] == pytest.approx((0.8875, 0.875, 0.9))


def test_overhead_is_seconds_of_a_sweep_of_empty_cells_over_their_number(dataset):
    table = results.overhead(dataset)
    assert table.loc["Dask", "ms a cell"] == pytest.approx((5.0, 4.0, 6.0))
    assert table.loc["Dask", "processor ms a cell, over 2 cores"] == pytest.approx((4.5, 4.0, 5.0))
    assert table.loc["plain", "ms a cell"] == pytest.approx((1.0, 1.0, 1.0))


def test_finding_says_which_target_of_the_sweep_is_met(dataset):
    found = results.finding(dataset)
    assert "has 87.5% of the speed of 2 plain processes" in found
    assert "range over turns 80.0% to 95.0%; by processor time 85.0%" in found
    assert "misses the target of 90%" in found
    assert "takes 5.0 ms of a sweep on two processes" in found
    assert "median of 100 cells; range over turns 4.0 to 6.0 ms" in found
    assert "within the target of 5 ms. In two plain" in found
    assert "a bare netCDF-4 file it takes 1.0 ms." in found
    dask = dataset.side == "Dask"
    faster = dataset.assign(
        sweep_seconds=dataset.sweep_seconds.where(~dask, 0.9 * dataset.sweep_seconds)
    )
    assert "reaches the target of 90%" in results.finding(faster)
    slower = dataset.assign(empty_seconds=1.1 * dataset.empty_seconds)
    assert "above the target of 5 ms" in results.finding(slower)


def test_finding_has_every_exponent_or_says_what_is_missing(dataset):
    orders, found = results.orders(dataset), results.finding(dataset)
    for name in (*results.FIXED, *results.GROWING):
        assert f"{name} {orders['round in p'][name]}" in found, name
    empty = dataset.where(False)
    assert results.finding(empty).count("was not measured") == 3


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


def test_sweep_and_plain_processes_are_measured(smoke):
    """The cell itself is a task of a cluster, and starts processes of its own."""
    found = xr.load_dataset(smoke[0] / "scaling.nc", engine="netcdf4").sel(part="sweep")
    swept = found.sweep_seconds.isel(turn=0)
    assert (swept > 0).all()
    assert (found.empty_seconds.isel(turn=0) > 0).all()
    inside = swept.sel(clock="inside") / (swept.processes * swept.sel(clock="clock"))
    assert (inside <= 1.001).all()
    assert found.seconds.isnull().all()
    assert np.isnan(found.workers)


def test_driver_of_the_sweeps_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(plain_processes, "__name__", "studies.timing.no_such_module")
    with pytest.raises(RuntimeError, match=r"(?s)driver of the sweeps failed.*no_such_module"):
        plain_processes.measured(1, 1, 1, 1)


def test_nearly_empty_cell_is_like_a_history():
    cell = plain_processes.nearly_empty({"seed": 3})
    history = plain_processes.trained({"seed": 3, "steps": 1})
    assert len(cell.variables) == 14
    assert set(cell.sizes) <= set(history.sizes)


def refusal(change: dict) -> str:
    try:
        fields(**change)
    except ValueError as error:
        return str(error)
    return "accepted"


def test_impossible_fields_are_refused():
    cases = [
        ({"workers": 50}, "multiple of 15.*use 45"),
        ({"runs": 2}, "empty_cells >= 1.*empty_cells=0"),
        ({"turns": 0}, "turns"),
        ({"wrokers": 15}, "did you mean 'workers'"),
    ]
    for change, message in cases:
        assert re.search(message, refusal(change)), change
