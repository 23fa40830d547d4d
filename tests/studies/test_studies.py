"""The studies: one contract, and figures that need nothing but a stored dataset (law 8)."""

import json

import numpy as np
import pytest
import scipy.stats
import xarray as xr
from matplotlib.figure import Figure

import studies
from detox_sim import training
from detox_sim.sweeps import expand
from studies.robustness import mean_estimation
from studies.style import draw, interval, save, statement, student_t
from studies.training import cells as training_cells
from studies.training import comparisons, pipelines

MODULES = {name: studies.module(name) for name in studies.names()}


@pytest.fixture(params=MODULES)
def study(request):
    return MODULES[request.param]


@pytest.fixture
def stored(study, smoke):
    path = smoke[0] / f"{study.__name__.rpartition('.')[2]}.nc"
    with xr.open_dataset(path, engine="netcdf4") as dataset:
        return dataset.load()


@pytest.mark.parametrize("profile", ["smoke", "laptop"])  # which every study has
def test_contract(study, profile):
    assert study.STUDY.title
    assert "reported" in study.STUDY.claim
    assert study.STUDY.definitions
    base, axes = study.PROFILES[profile]
    for _, fields in expand(base, axes):
        prepared = study.prepare(fields)
        assert prepared == study.prepare(prepared) == json.loads(json.dumps(prepared))
        assert set(prepared) <= set(study.STUDY.fields)
        seconds, memory = study.cost(prepared)
        assert 0 < seconds < 600
        assert 0 < memory < (8e9 if study.STUDY.exclusive else 2e9)


def test_unknown_fields_are_refused(study):
    base, axes = study.PROFILES["smoke"]
    fields = expand(base, axes)[0][1]
    with pytest.raises(ValueError, match="did you mean 'seed'"):
        study.prepare(fields | {"sed": 1})


def test_a_figure_needs_only_the_dataset(study, stored, monkeypatch, tmp_path):
    def never(*_, **__):
        raise AssertionError("a figure ran something")

    monkeypatch.setattr(study, "run", never)
    monkeypatch.setattr(training, "train", never)
    monkeypatch.setattr(training_cells, "train", never)
    figure = draw(study.figure, stored)
    assert isinstance(figure, Figure)
    first = [path.read_bytes() for path in save(figure, tmp_path / "a")]
    again = [path.read_bytes() for path in save(draw(study.figure, stored), tmp_path / "b")]
    assert first == again
    assert all(len(content) > 5000 for content in first)


def test_a_figure_survives_failed_cells(study, stored):
    axes = json.loads(stored.attrs["provenance"])["axes"]
    axis = next(name for name, values in axes.items() if len(values) > 1)
    holes = stored.astype(float).where(stored[axis] != stored[axis][0])
    assert isinstance(draw(study.figure, holes.assign_attrs(stored.attrs)), Figure)


def test_a_figure_states_scale_profile_and_hardware(study, stored):
    said = statement(stored)
    about = json.loads(stored.attrs["provenance"])
    assert about["hardware"][0] in said
    assert "profile smoke" in said
    base, axes = study.PROFILES["smoke"]
    fields = study.prepare(expand(base, axes)[0][1])
    assert (study.STUDY.scale(fields) if callable(study.STUDY.scale) else study.STUDY.scale) in said
    assert "seed" not in about["axes"] or f"{len(about['axes']['seed'])} seed" in said


def test_the_laptop_profile_is_what_it_says():
    base, axes = mean_estimation.PROFILES["laptop"]
    assert (base["workers"], base["copies"], base["byzantine"]) == (220_000, 11, 19_958)
    assert axes["dimension"] == [20, 30, 40, 50, 60, 70, 80, 90, 100]
    for name in ("mean_estimation", "accuracy_alie", "accuracy_reverse"):
        assert len(MODULES[name].PROFILES["laptop"][1]["seed"]) >= 5
    assert max(MODULES["filtering"].PROFILES["laptop"][1]["workers"]) >= 1000


@pytest.mark.parametrize(
    ("dimension", "estimator", "value"),
    [
        (20, "mean", 9.071818),
        (20, "median", 0.560670),
        (100, "median", 1.253696),
        (100, "geometric median", 0.99769),
        (100, "D-median", 0.026721),
        (100, "D-geometric median", 0.021320),
    ],
)
def test_theory_of_the_mean_estimation(dimension, estimator, value):
    base, _ = mean_estimation.PROFILES["laptop"]
    expected = mean_estimation.expected(base | {"dimension": dimension, "seed": 0})
    found = dict(zip(mean_estimation.ESTIMATORS, expected, strict=True))[estimator]
    assert found == pytest.approx(value, abs=1e-5)


def test_measured_errors_lie_at_theory(smoke):
    with xr.open_dataset(smoke[0] / "mean_estimation.nc", engine="netcdf4") as dataset:
        ratio = (dataset.error / dataset.theory).mean("seed")
        assert (abs(ratio.sel(estimator=["mean", "median"]) - 1) < 0.1).all()
        assert (abs(ratio.sel(estimator="geometric median") - 1) < 0.15).all()
        vote = dataset.error.sel(estimator="D-median") / dataset.error.sel(estimator="median")
        assert (vote < 0.4).all()


def test_published_pipelines():
    trial = {name: pipelines.prepare(fields) for name, fields in pipelines.DETOX.items()}
    assert (trial["D-Median"]["groups"], trial["D-Median"]["inner"]) == (5, "mean")
    assert (trial["D-Multi-Krum"]["groups"], trial["D-Multi-Krum"]["outer"]) == (2, "mean")
    assert trial["D-Bulyan"]["groups"] is None
    assert trial["D-Bulyan"]["outer_options"] == {"selection": "one-shot"}


def test_student_t_is_scipys():
    values = np.array([0.91, 0.93, 0.95, 0.94, 0.90])
    found = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert student_t(values) == pytest.approx((found.low, found.high))
    assert student_t([*values, np.nan]) == student_t(values)
    assert interval([0.5]) == "0.500"


def test_final_accuracies_pair_by_seed():
    accuracy = [[[0.1, 0.5], [0.1, 0.7]], [[0.1, 0.6], [0.1, 0.8]]]
    dataset = xr.Dataset(
        {"accuracy": (("pipeline", "seed", "eval_step"), accuracy)},
        {"pipeline": ["Median", "D-Median"], "seed": [0, 1], "eval_step": [0, 10]},
    )
    table = comparisons.final_accuracies(dataset, {"Median": 43.7})
    row = table.loc["Median"]
    assert row["alone"].startswith("0.600 ± 1.27")
    assert row["paired difference"].startswith("0.100")
    assert row["paper, alone (reported)"] == "43.7 %"
    assert row["paper, with DETOX (reported)"] == "-"
