"""Time of a round: real runs on Dask, bars, speed-ups, and the model of the paper's cluster."""

import json
import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import costs
from detox_sim.training import PHASES, train
from studies.timing import step_time
from studies.timing import step_time_results as results
from studies.timing.rounds import BARS, METHODS, PAIRS, shape

TRUE = costs.Cluster(
    worker_flops=1e10, file_seconds=1e-3, bandwidth=1e8, pair_seconds=1e-10, sort_seconds=1e-9,
    tail=0.1, call_seconds=1e-4,
)  # fmt: skip
SETTINGS = {"p = 15": (15, 10**5, 0), "p = 45": (45, 10**6, 0), "held out": (30, 3 * 10**5, 1)}


BOTH = ["D-Mean", "Median"]


def fields(**others):
    base, axes = step_time.PROFILES["smoke"]
    return step_time.prepare(base | axes["setting"]["p = 15"] | others)


def cell(p, d, held_out):
    """Return a cell as the study stores it, with the times that a model gives."""
    sizes = {"batch": 20 * p, "parameters": d, "sample_flops": 6.0 * d}
    servers, shapes = ["central", "sharded"], (len(METHODS), 2, 2, 1)
    seconds, compute = np.zeros((*shapes, len(PHASES))), np.zeros((*shapes, 2))
    for i, method in enumerate(METHODS):
        for j, server in enumerate(servers):
            work = shape(method, p, server=server, machines=2, **sizes)
            found = costs.round_seconds(cluster=TRUE, **work)
            mean = TRUE.seconds(costs.counts(**work)["compute"])
            seconds[i, j] = [found.get(phase, 0.0) for phase in PHASES]
            compute[i, j] = found["compute"], mean
    each = ("pipeline", "server")
    scalars = sizes | {"workers": p, "processes": 2, "held_out": held_out}
    return xr.Dataset(
        {
            "seconds": ((*each, "turn", "step", "phase"), seconds),
            "worker_seconds": ((*each, "turn", "step", "statistic"), compute),
            "bytes": ((*each, "phase"), np.zeros((*shapes[:2], len(PHASES)))),
            "deviation": (each, np.zeros(shapes[:2])),
        }
        | {name: ((), float(value)) for name, value in scalars.items()},
        coords={
            "pipeline": list(METHODS),
            "server": servers,
            "phase": list(PHASES),
            "statistic": list(results.STATISTICS),
        },
    )


@pytest.fixture(scope="module")
def dataset():
    about = {"profile": "smoke", "scale": step_time.STUDY.scale, "hardware": ["none"],
             "failures": {},
             "settings": {}, "axes": {"setting": list(SETTINGS)}}  # fmt: skip
    cells = [cell(*sizes) for sizes in SETTINGS.values()]
    found = xr.concat(cells, "setting", coords="minimal", compat="equals", join="exact")
    found = found.assign_coords(setting=list(SETTINGS))
    return found.assign_attrs(provenance=json.dumps(about))


# --- Measuring -----------------------------------------------------------------------------------


@pytest.fixture
def measured(smoke):
    """Return real rounds of the smoke profile."""
    return xr.load_dataset(smoke[0] / "step_time.nc", engine="netcdf4").sel(setting="p = 15")


def test_real_rounds_are_timed_and_equal_those_of_one_process(measured):
    ran = measured.sel(pipeline=BOTH)
    assert (ran.deviation == 0).all()
    assert (ran.seconds.sel(phase=["broadcast", "compute", "send", "aggregate"]) > 0).all()
    largest, mean = (ran.worker_seconds.sel(statistic=name) for name in ("max", "mean"))
    assert (largest >= mean).all()
    assert (mean > 0).all()
    assert float(measured.processes) == 2
    assert measured.seconds.sel(pipeline="Bulyan").isnull().all()


def test_bytes_are_those_that_each_server_moves(measured):
    sent = measured.bytes.sel(phase="send")
    d, p = float(measured.parameters), 15
    assert float(sent.sel(pipeline="D-Mean", server="central")) == p * 4 * d
    assert float(sent.sel(pipeline="Median", server="sharded")) > p * 4 * d
    assert float(sent.sel(pipeline="D-Mean", server="sharded")) < (p // 3) * 4 * d * 1.2


def test_deviation_is_zero_of_equal_runs_only():
    given = fields()
    alone = train(step_time._trial(given, "D-Mean"))
    other = train(step_time._trial(given | {"seed": 1}, "D-Mean"))
    assert step_time._deviation(alone, alone) == 0
    assert step_time._deviation(alone, other) > 1e-6
    broken = alone.assign(loss=alone.loss * np.nan)
    assert step_time._deviation(broken, broken) == 0
    assert step_time._deviation(alone, broken) == np.inf


def refusal(change: dict) -> str:
    try:
        fields(**change)
    except ValueError as error:
        return str(error)
    return "accepted"


def test_impossible_fields_are_refused():
    cases = [
        ({"pipelines": []}, "list of distinct names"),
        ({"pipelines": ["D-Krum"]}, "unknown pipeline 'D-Krum'"),
        ({"pipelines": ["D-Multi-Krum"]}, "multi_krum needs"),
        ({"sharded": ["Bulyan"]}, "unknown pipeline of sharded, .* 'Bulyan'"),
        ({"batch": 61}, "batch must split"),
    ]
    for change, message in cases:
        assert re.search(message, refusal(change)), change


# --- What it says --------------------------------------------------------------------------------


def test_bars_are_sums_of_phases_with_the_slowest_worker(dataset):
    bars = results.measured_bars(dataset).sel(setting="p = 45", server="central")
    one = dataset.sel(setting="p = 45", server="central").isel(turn=0, step=0)
    phases = one.seconds.sel(phase=["broadcast", "send"]).sum("phase")
    assert np.allclose(bars.sel(bar="communication"), phases)
    assert np.allclose(bars.sel(bar="compute"), one.worker_seconds.sel(statistic="max"))
    assert list(bars.bar.values) == list(BARS)


def test_speedup_is_the_median_of_ratios_of_the_same_turn(dataset):
    slow = dataset.copy(deep=True)
    slow.seconds.loc[{"pipeline": "Median", "turn": 0}] *= 3
    slow.worker_seconds.loc[{"pipeline": "Median", "turn": 0}] *= 3
    where = {"setting": "p = 45", "server": "central", "rule": "Median"}
    before = results.measured_speedups(dataset).sel(where)
    after = results.measured_speedups(slow).sel(where)
    base = float(before.sel(end="median"))
    assert before.values == pytest.approx([base] * 3)
    assert after.values == pytest.approx([2 * base, base, 3 * base])


def test_one_size_and_one_rule_are_held_out(dataset):
    kept, out = results.measured_rounds(dataset, "central")
    assert len(kept) == 2 * (len(METHODS) - 2)
    assert len(out) == len(METHODS) + 4
    assert all(r.shape["workers"] != 30 and r.shape["outer"] != "bulyan" for r in kept)


def test_fit_recovers_the_model_and_held_out_rounds_agree(dataset):
    for server in ("central", "sharded"):
        found = results.fitted(dataset, server)
        assert found.cluster.tail == pytest.approx(TRUE.tail), server
        assert found.cluster.bandwidth == pytest.approx(TRUE.bandwidth, rel=1e-3), server
        rounds = results.measured_rounds(dataset, server)
        for phase, errors in rounds.errors(found.cluster).items():
            assert np.abs(errors).max() < 1e-3, (server, phase)


def test_papers_cluster_has_quoted_workers_and_network(dataset):
    found = results.fitted(dataset).cluster
    mixed, quoted = results.paper_cluster(found), costs.Cluster()
    for name in ("worker_flops", "bandwidth", "latency", "tail"):
        assert getattr(mixed, name) == getattr(quoted, name), name
    assert mixed.pair_seconds == found.pair_seconds != quoted.pair_seconds


def test_detox_speeds_up_rules_of_the_research_code_but_not_its_mean(dataset):
    bars = results.paper_bars(dataset, "ResNet-18")
    gains = results.speedups(bars).sel(kernels="code")
    assert (gains.sel(rule=["Median", "Multi-Krum", "Bulyan"]) > 3).all()
    assert float(gains.sel(rule="Mean")) < 1
    for vanilla, detox in PAIRS.items():
        one, other = (bars.sel(pipeline=name, kernels="ours") for name in (vanilla, detox))
        assert float(other.sel(bar="compute")) == pytest.approx(3 * float(one.sel(bar="compute")))
        assert float(other.sel(bar="communication")) == float(one.sel(bar="communication"))


def test_interval_of_an_aggregation_bar_contains_the_bar(dataset):
    low, high = results.paper_aggregation(dataset, "VGG13-BN")
    ours = results.paper_bars(dataset, "VGG13-BN").sel(kernels="ours", bar="aggregation").values
    assert (low <= ours * (1 + 1e-6)).all()
    assert (high >= ours * (1 - 1e-6)).all()


def test_figure_is_drawn_of_any_cells(dataset):
    for kept in ([0, 1, 2], [2], [0], []):
        part = dataset.setting[kept] if kept else []
        holes = dataset.where(dataset.setting.isin(part)).assign_attrs(dataset.attrs)
        assert isinstance(step_time.figure(holes), Figure), kept
