"""The sweep: what a cell file is, what survives damage, failure and death."""

import dataclasses
import json
import os
import platform
import signal
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

from detox_sim.cluster import connect
from detox_sim.sweeps import assemble, execute, expand, expand_all, provenance, union
from detox_sim.sweeps import execution as sweep
from detox_sim.sweeps.execution import _attempt
from detox_sim.sweeps.store import Cell, Store, content, write_netcdf

AXES = {"kind": {"double": {"factor": 2}, "treble": {"factor": 3}}, "x": [5, 1, 4]}
RECORD = provenance({"numpy": np.__version__})


def multiply(fields):
    if fields.get("raises") == fields["x"]:
        raise ArithmeticError(f"no {fields['x']} today")
    if fields.get("dies") == fields["x"]:
        os.kill(os.getpid(), signal.SIGKILL)
    values = fields["factor"] * fields["x"] * np.arange(3)
    label = np.array(["a", "b", "c"], dtype=object)
    return xr.Dataset({"y": ("place", values, {"units": "s"})}, {"place": label})


def cells(**more):
    return [
        Cell("test", labels, fields | more, {"test": 1}, multiply, float(fields["x"]), 0.0)
        for labels, fields in expand({}, AXES)
    ]


def run(todo, store, workers=2):
    done = []
    with connect(processes=workers) as client:
        execute(client, todo, store, RECORD, lambda cell, error: done.append((cell, error)))
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("cells"))
    run(cells(), store)
    return store


def test_dims_and_labels_keep_the_order_of_the_axes(finished):
    dataset = assemble(cells(), AXES, finished, {})
    assert dataset.y.dims == ("kind", "x", "place")
    assert dataset.kind.values.tolist() == ["double", "treble"]
    assert dataset.x.values.tolist() == [5, 1, 4]
    assert dataset.y.sel(kind="treble", x=4).values.tolist() == [0, 12, 24]
    assert dataset.y.attrs == {"units": "s"}
    about = json.loads(dataset.attrs["provenance"])
    assert about["failures"] == {}
    assert about["environments"] == [RECORD]


@pytest.mark.parametrize(
    "change", [{"fields": {"factor": 2, "x": 6}}, {"versions": {"test": 2}}, {"study": "other"}]
)
def test_any_change_gives_another_file(change):
    one = cells()[0]
    other = Cell(**({name: getattr(one, name) for name in one.__dataclass_fields__} | change))
    assert one.digest != other.digest
    assert one.digest == cells()[0].digest


def test_a_new_field_at_its_default_keeps_old_cells():
    one = cells()[0]
    for value, same in (("off", True), ("on", False)):
        new = dataclasses.replace(
            one, fields=one.fields | {"switch": value}, defaults={"switch": "off"}
        )
        assert (new.digest == one.digest) == same


def test_versions_are_per_part():
    one, other = ({"round": 1, "gradients": n} for n in (1, 2))
    cell = cells()[0]
    found = [dataclasses.replace(cell, versions=v).digest for v in (one, other, {"round": 1})]
    assert len(set(found)) == 3


def test_a_committed_dataset_fills_the_store(finished, tmp_path):
    """What was computed is not computed again, and damage is not believed."""
    grid = [cell for cell in cells() if cell.labels != ("treble", 4)]
    dataset = assemble(grid, AXES, finished, {}, lambda fields, cell: cell.assign(z=2 * cell.y))
    assert dataset.y.sel(kind="treble", x=4).isnull().all()
    assert json.loads(dataset.attrs["provenance"])["failures"] == {}
    write_netcdf(dataset, tmp_path / "whole.nc", compressed=True)
    store = Store(tmp_path / "empty", [tmp_path / "whole.nc"])
    for cell in cells():
        filled, original = store.read(cell), finished.read(cell)
        if cell.labels == ("treble", 4):
            assert filled is None
        else:
            assert content(filled) == content(original)
    again = assemble(grid, AXES, store, {})
    assert content(again) == content(dataset.drop_vars("z"))
    damaged = dataset.copy(deep=True)
    damaged.y.loc[{"kind": "double", "x": 5}] += 1
    write_netcdf(damaged, tmp_path / "whole.nc")
    store = Store(tmp_path / "empty", [tmp_path / "whole.nc"])
    assert [store.read(cell) is None for cell in cells()[:2]] == [True, False]


def test_grids_of_one_profile_join():
    grids = [({"a": 1}, {"x": [5, 1], "seed": [0]}), ({"a": 1}, {"x": [4], "seed": [0, 1]})]
    assert union(grids) == {"x": [5, 1, 4], "seed": [0, 1]}
    assert [labels for labels, _, _ in expand_all(grids)] == [(5, 0), (1, 0), (4, 0), (4, 1)]
    assert [rank for _, _, rank in expand_all(grids)] == [(0, 0), (0, 0), (1, 0), (1, 1)]
    with pytest.raises(ValueError, match="two grids differ in the fields"):
        expand_all([grids[0], ({"a": 2}, grids[0][1])])
    with pytest.raises(ValueError, match="same axes"):
        union([grids[0], ({}, {"x": [1]})])


def test_an_option_that_was_not_there_before_gives_another_file():
    assert {c.digest for c in cells()}.isdisjoint(c.digest for c in cells(strength=1))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "other"])
def test_a_damaged_cell_is_noticed(tmp_path, finished, damage):
    store, cell = Store(tmp_path), cells()[0]
    store.write(cell, finished.read(cell), dict(RECORD))
    assert store.read(cell) is not None
    path = store.path(cell)
    raw = path.read_bytes()
    if damage == "other":  # values that do not fit the recorded digest, in a sound file
        with xr.open_dataset(path, engine="netcdf4") as stored:
            changed = stored.load()
        changed["y"] = changed.y + 1
        changed.to_netcdf(path, engine="netcdf4")
    else:
        value = np.array([0, 10, 20]).tobytes()
        wrong = np.array([0, 10, 21]).tobytes()
        assert value in raw
        damaged = {
            "cut": raw[: len(raw) // 2],
            "flipped": raw.replace(value, wrong),
            "empty": b"",
            "text": b"hello",
        }
        path.write_bytes(damaged[damage])
    assert store.read(cell) is None


def test_a_failure_is_recorded_and_stops_nothing(tmp_path):
    store, todo = Store(tmp_path), cells(raises=1)
    done = run(todo, store)
    assert sorted(cell.fields["x"] for cell, error in done if error) == [1, 1]
    dataset = assemble(todo, AXES, store, {})
    assert dataset.y.isnull().all("place").values.tolist() == [[False, True, False]] * 2
    assert dataset.y.sel(kind="double", x=4).values.tolist() == [0, 8, 16]
    failures = json.loads(dataset.attrs["provenance"])["failures"]
    assert failures["test double, 1"] == "ArithmeticError: no 1 today"
    assert list(tmp_path.rglob(".*")) == []


def test_a_cell_that_kills_its_worker_takes_no_other_with_it(tmp_path):
    store, todo = Store(tmp_path), cells(dies=4)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        done = run(todo, store)
    assert len(done) == len(todo)
    assert [cell.fields["x"] for cell, error in done if error] == [4, 4]
    assert all("the worker died" in store.failure(c) for c in todo if c.fields["x"] == 4)
    assert all(store.read(cell) is not None for cell in todo if cell.fields["x"] != 4)


def test_a_later_success_clears_the_failure(tmp_path):
    store, cell = Store(tmp_path), cells()[0]
    store.write_failure(cell, "bad\n")
    assert store.failure(cell) == "bad\n"
    store.write(cell, multiply(cell.fields), dict(RECORD))
    assert store.failure(cell) is None


def test_all_cells_failed_leaves_no_dataset(tmp_path):
    assert assemble(cells(), AXES, Store(tmp_path), {}) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.assign(y=np.nextafter(d.y, 1)),
        lambda d: d.rename(y="z"),
        lambda d: d.assign(y=d.y.astype("float32")),
        lambda d: d.assign_coords(place=["a", "b", "d"]),
        lambda d: d.assign(y=("place", -d.y.values)),
    ],
)
def test_content_sees_every_bit(change):
    dataset = xr.Dataset({"y": ("place", [0.0, 1.0, 2.0])}, {"place": ["a", "b", "c"]})
    assert content(dataset) == content(dataset.copy(deep=True))
    assert content(change(dataset)) != content(dataset)


def count_up(fields, *, checkpoint=None):
    """Count to 3, and die once at 2; go on from what the checkpoint holds."""
    path = Path(checkpoint)
    counted = int(path.read_text()) if path.exists() else 0
    for count in range(counted + 1, 4):
        path.write_text(str(count))
        if count == 2 and not counted:
            os.kill(os.getpid(), signal.SIGKILL)
    return xr.Dataset({"began_at": ((), counted), "count": ((), 3)})


def test_a_cell_that_was_killed_goes_on_from_its_checkpoint(tmp_path):
    store = Store(tmp_path / "cells")
    cell = Cell("test", ("a",), {"x": 1}, 1, count_up, 1.0, 0.0)
    assert run([cell], store, workers=1) == [(cell, None)]
    assert int(store.read(cell).began_at) == 2
    assert not store.checkpoint(cell).exists()  # it is done
    assert sorted(path.suffix for path in store.path(cell).parent.iterdir()) == [".nc"]


def test_a_cell_is_forgotten_with_its_checkpoint(tmp_path, finished):
    store, cell = Store(tmp_path), cells()[0]
    store.write(cell, finished.read(cell), dict(RECORD))
    store.checkpoint(cell).write_text("2")
    store.forget(cell)
    assert store.read(cell) is None
    assert not store.checkpoint(cell).exists()


def test_a_worker_that_does_not_see_the_folder_does_without(tmp_path):
    outcome = _attempt(no_checkpoint, {}, str(tmp_path / "not here" / "a.checkpoint"))
    assert outcome["dataset"].given.item() == "None"


def no_checkpoint(fields, *, checkpoint=None):
    return xr.Dataset({"given": ((), np.array(str(checkpoint), dtype=object))})


def test_the_hardware_names_gpus(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    for script, gpus in (("echo H100; echo H100", ", H100, H100"), ("exit 9", ""), ("", "")):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        sweep._hardware.cache_clear()
        assert sweep._hardware() == f"{platform.machine()}, {os.cpu_count()} cores{gpus}"
    monkeypatch.setenv("PATH", "")
    sweep._hardware.cache_clear()
    assert sweep._hardware().endswith(" cores")
    sweep._hardware.cache_clear()
