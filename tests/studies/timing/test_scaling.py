"""Growth: exponents, what is measured, the split for the fit, and a sweep on real workers."""

import json

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import aggregators, costs, theory
from detox_sim.cluster import connect
from studies.style import draw
from studies.timing import fits as growth
from studies.timing import scaling
from studies.timing.rounds import METHODS, PAIRS, shape

SIZES = [(15, 300), (150, 300), (300, 300), (600, 300), (1200, 300), (15, 3000), (15, 30_000)]
TRUE = costs.Cluster(pair_seconds=1e-10, sort_seconds=1e-9, call_seconds=1e-6)


def fields(**others):
    base = {"workers": 15, "parameters": 300, "runs": 0, "steps": 0, "turns": 2, "seed": 0}
    return scaling.prepare(base | others)


def cell(p=np.nan, d=np.nan, runs=0.0):
    """A cell as a study stores it, with the times that a model gives, or without."""
    seconds = np.full((len(METHODS), 2, 2), np.nan)
    for place, method in enumerate(METHODS if p == p else ()):
        work = shape(method, p, parameters=d, sample_flops=0.0)
        found = costs.round_seconds(cluster=TRUE, **work)
        seconds[place] = np.array([[found[stage]] for stage in scaling.STAGES])
    sweep = np.array([[[4.0, 8.0], [2.5, 4.0]], [[4.0, 8.0], [4.5, 7.0]]])
    sweep = sweep if runs else sweep * np.nan
    return xr.Dataset(
        {
            "seconds": (("pipeline", "stage", "turn"), seconds),
            "sweep_seconds": (("processes", "turn"), sweep[0]),
            "run_seconds": (("processes", "turn"), sweep[1]),
            "nodes": ((), float(p)),
            "columns": ((), float(d)),
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


def test_an_exponent_is_that_of_a_power_and_its_interval_has_it():
    x = np.array([15, 45, 150, 450, 1500])
    slope, low, high = growth.exponent(x, 3 * x**1.7)
    assert slope == pytest.approx(1.7)
    assert high - low < 1e-6
    noisy = 3 * x**1.7 * np.exp(0.1 * np.random.default_rng(0).standard_normal(5))
    slope, low, high = growth.exponent(x, noisy)
    assert low < 1.7 < high
    assert not low < 1 < high
    assert str(growth.exponent(x[:2], x[:2])) == "-"


def test_a_series_changes_only_what_it_is_of(dataset):
    rows, columns = growth.along(dataset, "nodes"), growth.along(dataset, "columns")
    assert rows.nodes.values.tolist() == [15, 150, 300, 600, 1200]
    assert set(rows.columns.values) == {300}
    assert columns.columns.values.tolist() == [300, 3000, 30_000]
    assert set(columns.nodes.values) == {15}


def test_the_table_has_theory_for_every_method_and_tells_linear_from_quadratic(dataset):
    table = growth.orders(dataset)
    assert list(table.index) == list(METHODS)
    assert set(table["server, theory"]) <= {row.server for row in theory.complexity()}
    slopes = table["round in p"].map(lambda exponent: exponent[0])
    assert (slopes[["D-Mean", "D-Median", "D-Geometric median"]] <= 1.15).all()
    assert slopes["Multi-Krum"] > 1.7
    assert slopes["D-Multi-Krum"] < slopes["Multi-Krum"]
    assert (table["server in d"].map(lambda exponent: abs(exponent[0] - 1)) < 0.5).all()


def test_a_failed_fit_would_show(dataset):
    """The model behind the data is found again, and held-out sizes agree with it."""
    found = growth.fitted(dataset)
    for name in ("pair_seconds", "sort_seconds", "vote_seconds", "call_seconds"):
        assert getattr(found.cluster, name) == pytest.approx(getattr(TRUE, name), rel=1e-4)
    kept, out = growth.measured_rounds(dataset)
    sizes = [{(r.shape["workers"], r.shape["parameters"]) for r in part} for part in (kept, out)]
    assert not sizes[0] & sizes[1]
    assert sizes[0] | sizes[1] == set(SIZES)
    for errors in growth.held_out_errors(dataset, found).values():
        assert np.abs(errors).max() < 1e-3
    times = growth.modelled(found)
    ends = growth.ends(times)
    assert (ends.isel(quantile=0) <= times.ours * (1 + 1e-9)).all()
    assert (ends.isel(quantile=1) >= times.ours * (1 - 1e-9)).all()


def test_efficiency_is_time_on_one_over_time_held(dataset):
    table = growth.efficiency(dataset)
    assert table.loc[1, "efficiency"] == (1, 1, 1)
    assert table.loc[2, "efficiency"] == pytest.approx((0.9, 0.8, 1.0))
    assert table.loc[2, "share of the time inside runs"] == pytest.approx((0.8875, 0.875, 0.9))
    assert table.loc[2, "a run takes, beside others"] == pytest.approx((1.0, 0.875, 1.125))


@pytest.mark.parametrize("kept", [[0, 1, 2, 3, 4, 5, 6, 7], [7], [0, 5, 6], []])
def test_a_figure_of_whatever_there_is(dataset, kept):
    part = dataset.part[kept] if kept else []
    holes = dataset.where(dataset.part.isin(part)).assign_attrs(dataset.attrs)
    assert isinstance(draw(scaling.figure, holes), Figure)


# --- Measuring -----------------------------------------------------------------------------------


def test_a_size_is_measured_for_every_method_that_can_run():
    found = scaling.run(fields()).seconds
    assert found.sel(pipeline="D-Multi-Krum").isnull().all()  # 5 votes in 2 groups: 3 rows each
    able = found.sel(pipeline=[name for name in METHODS if name != "D-Multi-Krum"])
    assert (able > 0).all()
    voting = able.sel(stage="vote").median("turn")
    alone = voting.sel(pipeline=list(PAIRS))
    voted = voting.sel(pipeline=[name for name in able.pipeline.values if "D-" in name])
    assert float(voted.min()) > float(alone.max())


def test_what_is_timed_is_the_rule():
    votes = np.random.default_rng(0).standard_normal((15, 9)).astype(np.float32)
    assert np.array_equal(
        scaling.aggregate("Median", votes), aggregators.median(votes, byzantine=5)
    )
    means = scaling.aggregate("D-Median", votes)
    assert means.shape == (9,)
    assert not np.allclose(means, scaling.aggregate("D-Mean", votes))


def test_a_sweep_runs_on_one_worker_and_on_two():
    """The cell itself runs on a worker, and uses the cluster it runs on."""
    with connect(processes=2) as client:
        found = client.submit(scaling.run, fields(parameters=1, runs=2, steps=20, turns=1)).result()
    assert (found.sweep_seconds > 0).all()
    assert (found.run_seconds <= 1.001 * found.processes * found.sweep_seconds).all()
    assert found.seconds.isnull().all()
    assert np.isnan(found.nodes)


def test_with_one_worker_there_is_no_efficiency_of_two():
    with connect(processes=1) as client:
        found = client.submit(scaling.run, fields(parameters=1, runs=1, steps=2, turns=1)).result()
    assert found.sweep_seconds.isnull().values.ravel().tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"workers": 50}, "multiple of 15.*use 45"),
        ({"runs": 2, "steps": 0}, "steps >= 1"),
        ({"turns": 0}, "turns"),
    ],
)
def test_impossible_fields_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        fields(**change)
