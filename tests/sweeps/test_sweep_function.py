"""The public function `detox_sim.sweep`."""

import json

import numpy as np
import pytest
import xarray as xr

from detox_sim import aggregators, attacks, sweep
from detox_sim.cluster import connect
from detox_sim.sweeps.store import cell_of, content

TRIAL = {"workers": 9, "byzantine": 1, "batch": 45, "groups": 3, "steps": 2}
ATTACKS = {"none": {"attack": "none"}, "strong": {"attack": "constant", "rate": 0.2}}


def test_sweep_of_trials_is_the_same_with_processes_and_from_its_store(tmp_path):
    def bits(dataset):
        return content(dataset.drop_vars("seconds"))  # measured

    here = sweep(TRIAL, {"attack": ATTACKS, "seed": [0]}, store=tmp_path)
    assert here.accuracy.dims == ("attack", "seed", "eval_step")
    with connect(processes=1) as client:
        there = sweep(TRIAL, {"attack": ATTACKS, "seed": [0]}, client=client)
    assert bits(here) == bits(there)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nc")}
    assert len(times) == 2
    explicit = TRIAL | {"momentum": 0.9, "mixers": []}  # the defaults of Trial
    again = sweep(explicit, {"attack": ATTACKS, "seed": [0]}, store=tmp_path)
    assert content(again) == content(here)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nc")} == times


def test_sweep_runs_only_what_its_store_lacks(tmp_path):
    calls = []

    def run(x, y=1):
        calls.append((x, y))
        return xr.Dataset({"value": ((), 10 * x + y)})

    first = sweep({}, {"x": [1, 2]}, run, store=tmp_path)
    more = sweep({}, {"x": [1, 2, 3], "y": [1, 2]}, run, store=tmp_path)
    assert first.value.values.tolist() == [11, 21]
    assert more.value.values.tolist() == [[11, 12], [21, 22], [31, 32]]
    assert sorted(calls) == [(x, y) for x in (1, 2, 3) for y in (1, 2)]


def test_sweep_passes_a_checkpoint_to_a_run_that_asks_for_one(tmp_path):
    def run(x, *, checkpoint):
        return xr.Dataset({"suffix": ((), checkpoint.endswith(".checkpoint"))})

    assert sweep({}, {"x": [1]}, run, store=tmp_path).suffix.values.all()


def test_cells_of_unlike_shapes_are_filled_with_nan(tmp_path):
    """Other numbers of steps, evaluations and votes; each cell is read back with its own bits."""
    schemes = {"alone": {"copies": 1, "assignment": "none"}, "DETOX": {"copies": 3}}
    base = {"workers": 9, "byzantine": 1, "batch": 45, "evaluate_every": 2, "groups": None}
    base |= {"inner": None, "outer": "median"}
    axes = {"scheme": schemes, "steps": [2, 3]}
    joined = sweep(base, axes, store=tmp_path)
    assert joined.sizes == {
        "scheme": 2,
        "steps": 2,
        "step": 3,
        "vote": 9,
        "phase": 7,
        "eval_step": 3,
    }
    assert joined.eval_step.values.tolist() == [0, 2, 3]
    for scheme, votes in (("alone", 9), ("DETOX", 3)):
        for steps in (2, 3):
            one = sweep(
                base, {"scheme": {scheme: schemes[scheme]}, "steps": [steps]}, store=tmp_path
            )
            part = joined.sel(scheme=[scheme], steps=[steps])
            xr.testing.assert_equal(one.loss, part.loss.sel(step=one.step))
            xr.testing.assert_equal(
                one.weight, part.weight.sel(step=one.step).isel(vote=slice(votes))
            )
            assert part.accuracy.notnull().sum() == steps
            assert part.weight.notnull().sum() <= steps * votes
    digests = json.loads(joined.attrs["provenance"])["cells"]
    assert len(digests) == 4
    assert all(cell_of(joined, digest) is not None for digest in digests)


def test_functions_stand_for_their_names():
    axes = {
        "outer": [aggregators.median, "mean"],
        "attack": {"strong": {"attack": attacks.constant}},
    }
    found = sweep(TRIAL, axes)
    assert found.outer.values.tolist() == ["median", "mean"]
    named = sweep(
        TRIAL, {"outer": ["median", "mean"], "attack": {"strong": {"attack": "constant"}}}
    )
    assert content(found.drop_vars("seconds")) == content(named.drop_vars("seconds"))


def test_sweep_warns_of_failed_cells_and_runs_them_again(tmp_path):
    broken = [2]

    def run(x):
        if x in broken:
            raise ArithmeticError(f"no {x} today")
        return xr.Dataset({"value": ((), float(x))})

    with pytest.warns(UserWarning, match=r"1 of 2 cells failed; the first, .*run 2: .*no 2 today"):
        found = sweep({}, {"x": [1, 2]}, run, store=tmp_path)
    assert np.isnan(found.value.values).tolist() == [False, True]
    assert json.loads(found.attrs["provenance"])["count"]["failed"] == 1
    broken.clear()
    assert sweep({}, {"x": [1, 2]}, run, store=tmp_path).value.values.tolist() == [1, 2]
    broken.append(3)
    with pytest.raises(RuntimeError, match="1 of 1 cells failed"):
        sweep({}, {"x": [3]}, run)


def test_sweep_refuses_what_cannot_run_before_it_runs(tmp_path):
    def run(x):
        raise AssertionError("it ran")

    refused = {
        "3, 1: byzantine must be below": lambda: sweep({}, {"byzantine": [3, 23], "seed": [1]}),
        "did you mean 'steps'": lambda: sweep({"step": 2}, {"seed": [0]}),
        "1: missing a required argument: 'x' of": lambda: sweep({}, {"y": [1]}, run),
        "axes must be a dict": lambda: sweep({"x": 1}, {}, run),
        "is not in a module": lambda: sweep({}, {"x": [1]}, lambda x: run(x), store=tmp_path),
    }
    for message, call in refused.items():
        message = message.replace("3, 1", "23, 1")
        with pytest.raises(ValueError, match=message):
            call()
    assert list(tmp_path.iterdir()) == []


def labelled(a, b=0):
    return xr.Dataset({"y": ((), float(a))})


def test_sweep_of_a_function_refuses_bad_arguments_in_one_line(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for run, options, message in (
        ("train", {}, "run must be a function of the fields, got 'train'"),
        (dict, {}, "run must be a function"),
        (labelled, {"client": "tcp://127.0.0.1:1"}, "client must be a connected"),
        (labelled, {"store": 3}, "store must be the path of a folder, got 3"),
        (labelled, {"store": file}, "store must be a folder, and .*file is a file"),
        (lambda a: labelled(a), {"store": tmp_path / "s"}, "<lambda> is not in a module"),
    ):
        with pytest.raises(ValueError, match=message):
            sweep({}, {"a": [1, 2]}, run, **options)
    with pytest.raises(ValueError, match=r"b must be a number, a text, .*, got <object"):
        sweep({"b": object()}, {"a": [1]}, labelled)
    with pytest.raises(ValueError, match="axis 'a' has a value twice"):
        sweep({}, {"a": [1, 1]}, labelled)
    for name, run in (
        ("got NoneType", lambda a: None),
        ("variable or dim 'a', which is an axis", lambda a: xr.Dataset({"a": ((), a)})),
        ("variable or dim 'a', which is an axis", lambda a: xr.Dataset({"y": ("a", [a])})),
    ):
        with pytest.raises(RuntimeError, match=f"1 of 1 cells failed.*{name}"):
            sweep({}, {"a": [1]}, run)


def test_sweep_refuses_to_store_a_function_of_the_main_program(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled, "__module__", "__main__")
    with pytest.raises(ValueError, match="labelled is not in a module"):
        sweep({}, {"a": [1]}, labelled, store=tmp_path)
    assert sweep({}, {"a": [1]}, labelled).y.values.tolist() == [1.0]


def test_sweep_takes_numpy_values():
    found = sweep({"b": np.float64(2.5)}, {"a": np.arange(3)}, labelled)
    assert found.a.values.tolist() == [0, 1, 2]
    assert json.loads(found.attrs["provenance"])["base"] == {"b": 2.5}
