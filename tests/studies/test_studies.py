"""The studies: one contract, and figures that need nothing but a stored dataset (law 8)."""

import json
import runpy

import pytest
import xarray as xr
from matplotlib.figure import Figure

import reports
import studies
from detox_sim import training
from detox_sim.sweeps import Store, expand
from reports.render import source
from studies.robustness import mean_estimation
from studies.style import as_svg, draw, save, statement
from studies.training import cells as training_cells
from studies.training import comparisons, pipelines
from studies.workflow import plans
from studies.workflow.plans import make_plans

STUDIES = {name: studies.load(name) for name in studies.names()}


@pytest.fixture(params=STUDIES)
def name(request):
    return request.param


def stored(smoke, name):
    with xr.open_dataset(smoke[0] / f"{name}.nc", engine="netcdf4") as dataset:
        return dataset.load()


def first_fields(study):
    base, axes = study.grids("smoke")[0]
    return expand(base, axes)[0][1]


def test_study_keeps_the_contract(name):
    study = STUDIES[name]
    assert study.title
    assert "reported" in study.claim, "a claim says what the paper reported, or that it did not"
    assert study.definitions
    assert study.finding is not None, "its page states a finding first"
    for profile in ("smoke", "laptop"):  # which every study has
        (plan,) = make_plans([name], profile, {})
        for cell in plan.cells:
            fields = cell.fields
            assert fields == study.prepared(fields) == json.loads(json.dumps(fields)), str(cell)
            assert set(fields) <= set(study.known()), str(cell)
            assert 0 < cell.seconds < 600, str(cell)
            assert 0 <= cell.memory < (8e9 if study.exclusive else 2e9), str(cell)


def test_studies_refuse_unknown_fields():
    for name, study in STUDIES.items():
        with pytest.raises(ValueError, match="did you mean 'seed'"):  # noqa: PT012
            study.prepared(first_fields(study) | {"sed": 1})
            pytest.fail(name)


def test_study_of_six_values_has_the_defaults(tmp_path):
    """Names of fields are those of the profiles, and a cell takes the mean seconds so far."""
    study = studies.Study(
        title="t",
        claim="c",
        definitions=["d"],
        profiles={"smoke": ({"a": 1}, {"b": {"one": {"c": 1}, "two": {"d": 2}}, "e": [3]})},
        run=lambda fields: xr.Dataset({"y": ((), 1.0)}),
        figure=lambda dataset: Figure(),
    )
    assert study.known() == ("a", "c", "d", "e")
    assert study.prepared({"a": 2}) == {"a": 2}
    with pytest.raises(ValueError, match="did you mean 'a'"):
        study.prepared({"aa": 2})
    store = Store(tmp_path)
    plan = plans._plan("new", study, "smoke", {"a": 5}, store)
    assert [cell.fields for cell in plan.cells] == [
        {"a": 5, "c": 1, "e": 3},
        {"a": 5, "d": 2, "e": 3},
    ]
    assert {cell.seconds for cell in plan.cells} == {plans.SECONDS}
    store.write(plan.cells[0], study.run({}), {"seconds": 7.0})
    plan = plans._plan("new", study, "smoke", {}, store)
    assert {cell.seconds for cell in plan.cells} == {7.0}


def test_plans_run_the_study_of_least_work_first():
    found = make_plans(["schemes", "filtering"], "smoke", {})
    work = {plan.name: sum(cell.seconds for cell in plan.cells) for plan in found}
    ranks = {plan.name: {cell.rank[0] for cell in plan.cells} for plan in found}
    assert ranks[min(work, key=work.get)] == {0}
    assert ranks[max(work, key=work.get)] == {1}


def test_figure_is_a_function_of_its_dataset(name, smoke, monkeypatch, tmp_path):
    """This process draws the bytes of another one with another hash seed, and runs nothing."""

    def never(*_, **__):
        raise AssertionError("a figure ran something")

    monkeypatch.setattr(studies.module(name), "run", never, raising=False)
    monkeypatch.setattr(training, "train", never)
    monkeypatch.setattr(training_cells, "train", never)
    figure = draw(STUDIES[name].figure, stored(smoke, name))
    assert isinstance(figure, Figure)
    assert as_svg(figure) == (smoke[0] / "figures" / f"{name}.svg").read_bytes()
    for path in save(figure, tmp_path / name) if name == "filtering" else ():
        content = path.read_bytes()
        assert content == (smoke[0] / "figures" / path.name).read_bytes(), path.name
        assert len(content) > 5000, path.name


def test_figures_survive_failed_cells(smoke):
    for name, study in STUDIES.items():
        dataset = stored(smoke, name)
        axes = json.loads(dataset.attrs["provenance"])["axes"]
        axis = next(axis for axis, values in axes.items() if len(values) > 1)
        holes = dataset.astype(float).where(dataset[axis] != dataset[axis][0])
        assert isinstance(study.figure(holes.assign_attrs(dataset.attrs)), Figure), name


def test_page_shows_a_narrowed_dataset(name, smoke, monkeypatch, tmp_path):
    """As after ``--set pipeline=...``: only the last label of an axis was run."""
    dataset = stored(smoke, name)
    about = json.loads(dataset.attrs["provenance"])
    several = [axis for axis, labels in about["axes"].items() if len(labels) > 1]
    axis = "pipeline" if "pipeline" in several else several[0]
    about["axes"][axis] = about["axes"][axis][-1:]
    dataset = dataset.isel({axis: [-1]}).assign_attrs(provenance=json.dumps(about))
    dataset.to_netcdf(tmp_path / f"{name}.nc", engine="netcdf4")
    (tmp_path / "figures").symlink_to(smoke[0] / "figures")
    shown: list = []
    monkeypatch.setenv(reports.FOLDER, str(tmp_path))
    monkeypatch.setattr("IPython.display.display", lambda one, **_: shown.append(one))
    runpy.run_path(str(source(name)))
    assert len(shown) > 3


def test_figures_state_scale_seeds_profile_and_hardware(smoke):
    for name, study in STUDIES.items():
        dataset = stored(smoke, name)
        line = statement(dataset)
        about = json.loads(dataset.attrs["provenance"])
        scale = study.scale
        if callable(scale):
            scale = scale(study.prepared(first_fields(study)))
        seeds = f"{len(about['axes']['seed'])} seed" if "seed" in about["axes"] else ""
        for part in (scale, seeds, "profile smoke", about["hardware"][0]):
            assert part in line, name
        assert "not run" not in line
        about["count"]["planned"] += 3
        line = statement(dataset.assign_attrs(provenance=json.dumps(about)))
        assert f"of {about['count']['planned']} cells, the others not run" in line, name


def test_laptop_profiles_have_the_stated_sizes():
    base, axes = mean_estimation.PROFILES["laptop"]
    assert (base["workers"], base["copies"], base["byzantine"]) == (220_000, 11, 19_958)
    assert axes["dimension"] == [20, 40, 60, 80, 100]
    for name in ("mean_estimation", "accuracy_reverse"):
        assert len(STUDIES[name].grids("laptop")[0][1]["seed"]) >= 5
    for _, axes in STUDIES["accuracy_alie"].grids("laptop"):
        assert len(axes["seed"]) >= 3  # of ResNet-8; five are the profile digits
    assert max(STUDIES["filtering"].profiles["laptop"][1]["workers"]) >= 1000


def test_mean_estimation_has_the_errors_of_theory():
    base, _ = mean_estimation.PROFILES["laptop"]
    for dimension, estimator, value in [
        (20, "mean", 9.071818),
        (20, "median", 0.560670),
        (100, "median", 1.253696),
        (100, "geometric median", 0.99769),
        (100, "D-median", 0.026721),
        (100, "D-geometric median", 0.021320),
    ]:
        expected = mean_estimation.expected(base | {"dimension": dimension, "seed": 0})
        found = dict(zip(mean_estimation.ESTIMATORS, expected, strict=True))[estimator]
        assert found == pytest.approx(value, abs=1e-5), (dimension, estimator)


def test_measured_errors_are_those_of_theory(smoke):
    with xr.open_dataset(smoke[0] / "mean_estimation.nc", engine="netcdf4") as dataset:
        ratio = (dataset.error / dataset.theory).mean("seed")
        assert (abs(ratio.sel(estimator=["mean", "median"]) - 1) < 0.1).all()
        assert (abs(ratio.sel(estimator="geometric median") - 1) < 0.15).all()
        vote = dataset.error.sel(estimator="D-median") / dataset.error.sel(estimator="median")
        assert (vote < 0.4).all()


def test_pipelines_are_the_published_ones():
    trial = {name: pipelines.prepare(fields) for name, fields in pipelines.DETOX.items()}
    assert (trial["D-Median"]["groups"], trial["D-Median"]["inner"]) == (5, "mean")
    assert (trial["D-Multi-Krum"]["groups"], trial["D-Multi-Krum"]["outer"]) == (2, "mean")
    assert trial["D-Bulyan"]["groups"] is None
    assert trial["D-Bulyan"]["outer_options"] == {"selection": "one-shot"}


def test_final_accuracies_pair_by_seed():
    accuracy = [[[0.1, 0.5], [0.1, 0.7]], [[0.1, 0.6], [0.1, 0.8]]]
    dataset = xr.Dataset(
        {"accuracy": (("pipeline", "seed", "eval_step"), accuracy)},
        {"pipeline": ["Median", "D-Median"], "seed": [0, 1], "eval_step": [0, 10]},
    )
    table = comparisons.final_accuracies(dataset, {"Median": 43.7})
    row = table.loc["Median"]
    assert row["alone"].startswith("0.600 ± 1.27")
    assert row["paired difference"] == "0.100 ± 0.000"
    assert row["paper, alone (reported)"] == "43.7 %"
    assert row["paper, with DETOX (reported)"] == "-"
