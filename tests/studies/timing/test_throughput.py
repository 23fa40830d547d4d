"""Speed of training: both sides learn the same parameters, and what is said of their times."""

import dataclasses
import re
import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import data
from detox_sim.data.base import fixed
from studies.style import draw
from studies.timing import throughput
from studies.timing import throughput_results as results
from studies.timing.beside import simulators, torch_rounds


def fields(setting, **others):
    base, axes = throughput.PROFILES["smoke"]
    return throughput.prepare(base | axes["setting"].get(setting, {}) | {"turns": 1} | others)


@pytest.fixture(scope="module")
def lenet5():
    return throughput.run(fields("lenet5", rounds=3))


@pytest.fixture(scope="module")
def resnet8():
    sizes = {"shape": throughput.SMALL, "images": 2, "rounds": 1}
    return throughput.run(fields("", model="resnet8", **sizes))


def test_plain_torch_learns_the_same_parameters(lenet5, resnet8):
    for found in (lenet5, resnet8):
        assert 0 <= float(found.deviation) < 1e-3 * float(found.movement)
        assert (found.seconds > 0).all()
    other = throughput.run(fields("lenet5", rounds=3, images=8))
    assert float(other.movement) != float(lenet5.movement)


def test_deviation_is_small_for_the_same_step_only():
    trial = torch_rounds._trial(fields("softmax"))
    server = torch_rounds.OneProcessServer(trial)
    first = server.task.initial().params
    torch_rounds._round(server, 1)
    ours = server.state(1).params
    right = torch_rounds.plain_torch(trial, first)(1)
    wrong = torch_rounds.plain_torch(trial, first)(2)
    movement = np.abs(ours - first).max()
    assert np.abs(ours - right).max() < 1e-4 * movement
    assert np.abs(ours - wrong).max() > 0.1 * movement


def test_files_at_once_have_the_bits_of_one_by_one(lenet5, resnet8):
    for found in (lenet5, resnet8):
        assert (found.same_bits == 1).all()
        assert (found.batching_gap == 0).all()
    dense = throughput.run(fields("softmax"))
    assert (dense.same_bits == 1).all()
    assert (dense.batching_gap < 1e-4).all()
    for found in (dense, lenet5, resnet8):
        assert (found.at_once_in_training == 1).all()


def test_files_too_large_for_one_pass_are_not_compared():
    found = throughput.run(fields("lenet5", rounds=1, sizes=[2, 90]))
    assert found.at_once_in_training.values.tolist() == [1, 0]
    assert found.batching_seconds.isnull().any("turn").values.tolist() == [
        [False, False],
        [False, True],
    ]
    assert np.isnan(found.batching_gap[1])


def test_formats_deviate_by_their_precision(lenet5, resnet8):
    assert lenet5.format_seconds.isnull().all()
    gap = resnet8.format_gap
    assert float(gap.sel(format="float32")) == 0
    assert float(gap.sel(format="channels_last")) < 1e-2
    assert 1e-3 < float(gap.sel(format="bfloat16")) < 0.5


@pytest.mark.parametrize(("model", "byzfl"), simulators.MODELS.items())
def test_architecture_is_that_of_byzfl(model, byzfl):
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


def test_both_simulators_learn_the_experiment():
    pytest.importorskip("byzfl", reason="ByzFL is not installed")
    options = {
        "data": "studies.timing.beside.simulators:noise",
        "data_options": {"shape": [1, 28, 28]},
    }
    trial = simulators.experiment("logistic", "multi_krum", 2, 0, **options)
    for finished in (simulators.ours(trial), simulators.byzfl(trial)):
        assert 0 <= finished.accuracy < 0.4
        assert min(finished.seconds) > 0


def enlarged_digits():
    """Handwritten digits of 8 x 8 pixels, three times as large, with a margin; each twice."""
    digits = data.digits()

    def enlarged(images):
        large = (np.kron(images, np.ones((3, 3))) * 255).astype(np.uint8)
        return np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2)))

    return fixed(
        np.tile(enlarged(digits.train_images), (2, 1, 1, 1)), np.tile(digits.train_labels, 2),
        enlarged(digits.test_images), digits.test_labels, classes=10, title="enlarged digits",
    )  # fmt: skip


def test_worker_momentum_learns_as_byzfl_does_within_seeds():
    """ByzFL's MLP under ALIE; both end above chance, and their means over seeds agree."""
    pytest.importorskip("byzfl", reason="ByzFL is not installed")
    found = []
    for seed in range(4):
        trial = simulators.experiment(
            "MLP", "trimmed_mean", 25, seed, data=f"{__name__}:enlarged_digits"
        )
        trial = dataclasses.replace(trial, momentum=0.0, worker_momentum=0.9, rate=0.5)
        found.append([run(trial).accuracy for run in (simulators.ours, simulators.byzfl)])
    ours, byzfl = np.array(found).T
    assert min(ours.min(), byzfl.min()) > 0.3
    apart = np.sqrt((ours.var(ddof=1) + byzfl.var(ddof=1)) / 4)
    assert abs(ours.mean() - byzfl.mean()) < max(4 * apart, 0.05), found


def test_cells_beside_byzfl_are_empty_where_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "byzfl", None)
    found = throughput.run(fields("ByzFL's logistic, trimmed mean"))
    assert all(found[name].isnull().all() for name in found.data_vars)
    figure = draw(throughput.figure, stored(found.expand_dims(setting=["logistic"])))
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert "left out: ByzFL was not\ninstalled where this ran" in texts


def test_missing_data_are_replaced_by_noise(monkeypatch):
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


def made_up() -> xr.Dataset:
    """Return three settings: a dense model, one with batch norm, and one beside ByzFL."""
    labels = {
        "clock": throughput.CLOCKS, "timed": torch_rounds.TIMED, "turn": [0, 1],
        "batching": torch_rounds.BATCHING, "images": [4, 32], "format": list(torch_rounds.FORMATS),
        "simulator": results.SIMULATORS, "part": simulators.PARTS,
    }  # fmt: skip
    rng, settings = np.random.default_rng(0), ["a", "b", "ByzFL's MLP, d"]
    found = xr.Dataset(
        {
            name: (
                ("setting", *dims),
                rng.uniform(1, 2, [3, *(len(labels[dim]) for dim in dims)]),
            )
            for name, dims in throughput._VARIABLES.items()
        },
        {name: list(values) for name, values in labels.items()} | {"setting": settings},
    )
    found["seconds"][2] = found["batching_seconds"][1:] = found["simulator_seconds"][:2] = np.nan
    found["simulator_seconds"][2] = np.array([[[1, 1, 2]], [[1, 4, 3]]]).swapaxes(1, 2)
    found["simulator_processor"][:] = [[4.0, 4.0], [8.0, 8.0]]
    return found


def test_figure_shows_all_that_was_measured():
    figure = draw(throughput.figure, stored(made_up()))
    assert isinstance(figure, Figure)
    left, middle, right = figure.axes
    assert [t.get_text() for t in left.get_xticklabels()] == ["a", "b"]
    assert [t.get_text() for t in middle.get_legend().get_texts()] == ["a"]
    assert [t.get_text() for t in right.texts] == ["2.0x"]


def test_finding_says_what_was_not_measured():
    found = results.finding(made_up())
    assert (
        "beside ByzFL** (1 is as fast; median and range over turns): ByzFL's MLP, d 2.00" in found
    )
    assert "The medians of 0 of 1 settings reach their target of 5" in found
    assert "Files one after the other take" in found
    assert results.finding(made_up().where(False)).count("not measured") == 2


def test_finding_says_which_targets_the_gradients_alone_exclude():
    dataset = made_up()
    assert "Beyond reach" not in results.finding(dataset)  # 8 s there, 1 s of gradients here
    dataset["simulator_seconds"].loc[{"simulator": "ours", "part": "gradients"}] = 2.0
    assert "slower than its target: ByzFL's MLP, d 4.00 times as fast" in results.finding(dataset)


def test_speeds_are_ratios_within_turns():
    seconds = np.ones((2, 5, 3))
    seconds[0, 0] = 2, 4, 8
    dims = {"clock": ["processor", "wall"], "timed": list(torch_rounds.TIMED)}
    dataset = xr.Dataset({"seconds": ((*dims, "turn"), seconds)}, coords=dims)
    found = results.speeds(dataset)
    assert found.sel(clock="processor", bar="round").values.tolist() == [1, 2, 4]
    assert found.sel(clock="wall", bar="whole train").values.tolist() == [1, 1, 1]


def test_faster_is_the_ratio_within_turns_of_runs_and_of_rounds():
    dims = {"simulator": list(results.SIMULATORS), "part": list(simulators.PARTS)}
    seconds = np.array([[[1, 2], [1, 2], [2, 4]], [[1, 5], [4, 15], [3, 4]]], float)
    variables = {
        "simulator_seconds": ((*dims, "turn"), seconds),
        "simulator_processor": (("simulator", "turn"), [[4.0, 8.0], [8.0, 40.0]]),
    }
    found = results.faster(xr.Dataset(variables, coords=dims))
    assert found.sel(clock="processor").values.tolist() == [2, 3.5, 5]
    assert found.sel(clock="wall").values.tolist() == [2, 2.5, 3]
    assert found.sel(clock="rounds alone").values.tolist() == [2.5, 3.75, 5]


def test_verdict_is_over_all_turns():
    cases = [
        ((0.85, 0.9, 0.9), "met"),
        ((0.8, 0.9, 0.9), "met by the median, not by every turn"),
        ((0.7, 0.8, 0.9), "missed by the median, not by every turn"),
        ((0.7, 0.8, 0.84), "missed"),
        ((np.nan, 0.8, 0.84), "not measured"),
    ]
    for ends, expected in cases:
        assert results.verdict(ends, 0.85) == expected, ends


def refusal(others: dict) -> str:
    try:
        fields("lenet5", **others)
    except ValueError as error:
        return str(error)
    return "accepted"


def test_impossible_fields_are_refused():
    cases = [
        ({"model": "resnet9"}, "did you mean 'resnet8'"),
        ({"rule": "multikrum", "steps": 1}, "unknown rule 'multikrum'"),
        ({"sizes": []}, "sizes must be a list"),
        ({"shape": [28, 28]}, "shape must be"),
        ({"shape": [1, 28, 0]}, "shape must be an integer of 1 or more"),
        ({"rule": "multi_krum", "steps": 1, "model": "MLP", "mixers": ["nmn"]}, "unknown mixer"),
        ({"rule": "multi_krum", "mixers": "nnm"}, "mixers must be a list of names"),
        ({"turns": 0}, "turns must be an integer of 1 or more"),
        ({"rule": "multi_krum", "model": "MLP"}, "steps must be an integer of 1 or more, got 0"),
        (
            {"rule": "multi_krum", "model": "logistic", "data": "digits", "steps": 1},
            "unknown data 'digits'",
        ),
    ]
    for others, message in cases:
        assert re.search(message, refusal(others)), others


def test_other_version_of_byzfl_changes_the_fields(monkeypatch):
    before = fields("ByzFL's logistic, trimmed mean")
    monkeypatch.setattr(throughput, "_version", lambda package: "9.9")
    assert fields("ByzFL's logistic, trimmed mean")["byzfl"] == "9.9" != before["byzfl"]
    assert fields("lenet5")["byzfl"] == ""
