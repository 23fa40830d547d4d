"""Speed of training: what is measured, what outputs must agree on, and what is said of it."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import data, models
from detox_sim.models import Model
from detox_sim.streams import stream
from studies.style import draw
from studies.timing import beside_byzfl as simulators
from studies.timing import beside_torch, throughput


def fields(setting, **others):
    base, axes = throughput.PROFILES["smoke"]
    return throughput.prepare(base | axes["setting"][setting] | {"turns": 1} | others)


@pytest.fixture(scope="module")
def lenet5():
    return throughput.run(fields("lenet5", rounds=3))


@pytest.fixture(scope="module")
def resnet8():
    return throughput.run(fields("resnet8", turns=1))


def test_plain_torch_learns_the_same_parameters(lenet5, resnet8):
    for found in (lenet5, resnet8):
        assert 0 <= float(found.deviation) < 1e-3 * float(found.movement)
        assert (found.seconds > 0).all()
    other = throughput.run(fields("lenet5", rounds=3, images=8))
    assert float(other.movement) != float(lenet5.movement)


def test_plain_torch_that_lags_would_be_seen():
    trial = beside_torch._trial(fields("softmax"))
    host = beside_torch.OneProcessServer(trial)
    first = host.task.initial().params
    beside_torch._round(host, 1)
    ours = host.settle(1, True).params
    right = beside_torch.plain_torch(trial, first)(1)
    wrong = beside_torch.plain_torch(trial, first)(2)
    movement = np.abs(ours - first).max()
    assert np.abs(ours - right).max() < 1e-4 * movement
    assert np.abs(ours - wrong).max() > 0.1 * movement


def test_both_ways_to_compute_gradients_agree(lenet5, resnet8):
    assert (lenet5.choice_gap < 1e-4).all()
    assert (lenet5.same_bits.sel(choice="loop") == 1).all()
    assert resnet8.choice_seconds.isnull().all()  # batch norm
    dense = throughput.run(fields("softmax"))
    assert (dense.same_bits == 1).all()


def test_formats_deviate_as_their_precision(lenet5, resnet8):
    assert lenet5.format_seconds.isnull().all()
    gap = resnet8.format_gap
    assert float(gap.sel(format="float32")) == 0
    assert float(gap.sel(format="channels_last")) < 1e-2
    assert 1e-3 < float(gap.sel(format="bfloat16")) < 0.5


@pytest.mark.parametrize(("model", "byzfl"), simulators.MODELS.items())
def test_architectures_are_byzfls(model, byzfl):
    theirs = pytest.importorskip("byzfl.fed_framework.models", reason="ByzFL is not installed")
    import torch

    module = getattr(theirs, byzfl)()
    ours = getattr(simulators, model.lower())((1, 28, 28), 10)
    for mine, other in zip(ours.parameters(), module.parameters(), strict=True):
        mine.data.copy_(other.data)
    images = torch.rand(3, 1, 28, 28)
    labels = torch.tensor([1, 2, 3])
    with torch.no_grad():
        mine, other = (
            float(torch.nn.functional.cross_entropy(each(images), labels))
            for each in (ours, module)
        )
    assert mine == pytest.approx(other, rel=1e-5)


def test_the_simulators_learn_alike():
    pytest.importorskip("byzfl", reason="ByzFL is not installed")
    options = {"data": "studies.timing.beside_byzfl:noise", "data_options": {"shape": [1, 28, 28]}}
    trial = simulators.experiment("logistic", "multi_krum", 2, 0, **options)
    for finished in (simulators.ours(trial), simulators.byzfl(trial)):
        assert 0 <= finished.accuracy < 0.4
        assert min(finished.seconds) > 0


def test_without_byzfl_its_cells_are_empty(monkeypatch):
    monkeypatch.setitem(throughput.sys.modules, "byzfl", None)
    found = throughput.run(fields("logistic, trimmed mean"))
    assert all(found[name].isnull().all() for name in found.data_vars)
    figure = draw(throughput.figure, stored(found.expand_dims(setting=["logistic"])))
    said = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert "left out: ByzFL was not\ninstalled where this ran" in said


def test_data_that_is_missing_is_replaced_by_noise(monkeypatch):
    def missing(name):
        raise ValueError("fashion_mnist: put these files")

    monkeypatch.setattr(throughput, "load", missing)
    replaced, real = throughput._data("fashion_mnist")
    assert not real
    assert data.load(replaced["data"], replaced["data_options"]).title == "noise"


def stored(dataset):
    about = (
        '{"axes": {}, "scale": "s", "settings": {}, "profile": "smoke", "hardware": ["h"],'
        ' "failures": {}}'
    )
    return dataset.assign_attrs(provenance=about)


def test_the_figure_shows_all_that_was_measured(lenet5, resnet8):
    beside = xr.full_like(lenet5, np.nan)
    beside["simulator_seconds"][:] = [[[1.0], [1.0], [2.0]], [[1.0], [4.0], [3.0]]]
    beside["simulator_processor"][:] = [[4.0], [8.0]]
    both = xr.concat([lenet5, resnet8, beside], xr.Variable("setting", ["a", "b", "c, d"]))
    figure = draw(throughput.figure, stored(both))
    assert isinstance(figure, Figure)
    left, middle, right = figure.axes
    assert [t.get_text() for t in left.get_xticklabels()] == ["a", "b"]
    assert [t.get_text() for t in middle.get_legend().get_texts()] == ["a"]
    assert [t.get_text() for t in right.texts] == ["2.0x"]


def test_speeds_are_those_of_turns():
    seconds = np.ones((2, 5, 3))
    seconds[0, 0] = 2, 4, 8
    dims = {"clock": ["processor", "wall"], "contestant": list(beside_torch.CONTESTANTS)}
    dataset = xr.Dataset({"seconds": ((*dims, "turn"), seconds)}, coords=dims)
    found = throughput.speeds(dataset)
    assert found.sel(clock="processor", bar="round").values.tolist() == [1, 2, 4]
    assert found.sel(clock="wall", bar="whole train").values.tolist() == [1, 1, 1]


def test_faster_is_by_turns_and_for_rounds_alone_too():
    dims = {"simulator": list(throughput.SIMULATORS), "part": list(simulators.PARTS)}
    seconds = np.array([[[1, 2], [1, 2], [2, 4]], [[1, 5], [4, 15], [3, 4]]], float)
    variables = {
        "simulator_seconds": ((*dims, "turn"), seconds),
        "simulator_processor": (("simulator", "turn"), [[4.0, 8.0], [8.0, 40.0]]),
    }
    found = throughput.faster(xr.Dataset(variables, coords=dims))
    assert found.sel(clock="processor").values.tolist() == [2, 3.5, 5]
    assert found.sel(clock="wall").values.tolist() == [2, 2.5, 3]
    assert found.sel(clock="rounds alone").values.tolist() == [2.5, 3.75, 5]


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.85, 0.9, 0.9), "met"),
        ((0.8, 0.9, 0.9), "met by the median, not by every turn"),
        ((0.7, 0.8, 0.9), "missed by the median, not by every turn"),
        ((0.7, 0.8, 0.84), "missed"),
        ((np.nan, 0.8, 0.84), "not measured"),
    ],
)
def test_a_verdict_is_over_all_turns(ends, said):
    assert throughput.verdict(ends, 0.85) == said


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"model": "resnet9"}, "did you mean 'resnet8'"),
        ({"rule": "multikrum", "steps": 1}, "unknown rule 'multikrum'"),
        ({"sizes": []}, "sizes must be a list"),
        ({"turns": 0}, "turns must be an integer of 1 or more"),
        ({"rule": "multi_krum"}, "steps must be an integer of 1 or more, got 0"),
        (
            {"rule": "multi_krum", "model": "logistic", "data": "digits", "steps": 1},
            "unknown data 'digits'",
        ),
    ],
)
def test_bad_fields_are_refused(others, message):
    with pytest.raises(ValueError, match=message):
        fields("lenet5", **others)


def test_a_newly_installed_byzfl_is_measured(monkeypatch):
    before = fields("logistic, trimmed mean")
    monkeypatch.setattr(throughput, "_version", lambda package: "9.9")
    assert fields("logistic, trimmed mean")["byzfl"] == "9.9" != before["byzfl"]
    assert fields("lenet5")["byzfl"] == ""


def test_a_model_chooses_vmap_only_where_it_is_dense():
    shapes = {"softmax": True, "mlp": True, "lenet5": False, "resnet8": False}
    for name, dense in shapes.items():
        model = Model(getattr(models, name), beside_torch.SHAPES.get(name, (1, 28, 28)), 10)
        assert model._dense == dense
        assert model.initial(stream(0, "parameters")).size == model.parameters
