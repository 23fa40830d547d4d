"""Cells, their store, and datasets assembled from them."""

import dataclasses
import json
import os
import platform
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

from detox_sim.cluster import connect
from detox_sim.sweeps import (
    Cell,
    Store,
    assemble,
    execute,
    execution,
    expand,
    expand_all,
    provenance,
    union,
    write_netcdf,
)
from detox_sim.sweeps.store import content

AXES = {"kind": {"double": {"factor": 2}, "treble": {"factor": 3}}, "x": [5, 1, 4]}
RECORD = provenance({"numpy": np.__version__})


def multiply(fields):
    if fields.get("raises") == fields["x"]:
        raise ArithmeticError(f"no {fields['x']} today")
    if fields.get("dies") == fields["x"]:
        os.kill(os.getpid(), signal.SIGKILL)
    values = fields["factor"] * fields["x"] * np.arange(3)
    label = np.array(["a", "b", "c"], dtype=object)
    return xr.Dataset({"y": ("item", values, {"units": "s"})}, {"item": label})


def cells(**more):
    return [
        Cell("test", labels, fields | more, {"test": 1}, multiply, float(fields["x"]), 0.0)
        for labels, fields in expand({}, AXES)
    ]


def run(todo, store, processes=2):
    """Run cells on an embedded cluster, or in this process if `processes` is 0."""
    done = []
    if not processes:
        execute(None, todo, store, RECORD, lambda cell, error, _: done.append((cell, error)))
        return done
    with connect(processes=processes) as client:
        execute(client, todo, store, RECORD, lambda cell, error, _: done.append((cell, error)))
    return done


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("cells"))
    run(cells(), store)
    return store


# --- Grids ----------------------------------------------------------------------------------------


def test_union_of_grids_has_each_cell_once():
    grids = [({"a": 1}, {"x": [5, 1], "seed": [0]}), ({"a": 1}, {"x": [4], "seed": [0, 1]})]
    assert union(grids) == {"x": [5, 1, 4], "seed": [0, 1]}
    assert [labels for labels, _, _ in expand_all(grids)] == [(5, 0), (1, 0), (4, 0), (4, 1)]
    assert [rank for _, _, rank in expand_all(grids)] == [(0, 0), (0, 0), (1, 0), (1, 1)]
    with pytest.raises(ValueError, match="two grids differ in the fields"):
        expand_all([grids[0], ({"a": 2}, grids[0][1])])
    with pytest.raises(ValueError, match="same axes"):
        union([grids[0], ({}, {"x": [1]})])


# --- Identity -------------------------------------------------------------------------------------


def test_digest_sees_fields_versions_and_study():
    one = cells()[0]
    changed = [
        {"fields": {"factor": 2, "x": 6}},
        {"fields": one.fields | {"strength": 1}},
        {"versions": {"test": 2}},
        {"versions": {"test": 1, "gradients": 1}},
        {"study": "other"},
    ]
    digests = [dataclasses.replace(one, **change).digest for change in changed]
    assert len({one.digest, *digests}) == 1 + len(changed)
    assert one.digest == cells()[0].digest


def test_digest_leaves_out_fields_at_their_defaults():
    one = cells()[0]
    for value, same in (("off", True), ("on", False)):
        new = dataclasses.replace(
            one, fields=one.fields | {"switch": value}, defaults={"switch": "off"}
        )
        assert (new.digest == one.digest) == same, value


def test_content_sees_names_dims_types_and_bits():
    dataset = xr.Dataset({"y": ("item", [0.0, 1.0, 2.0])}, {"item": ["a", "b", "c"]})
    square = xr.Dataset({"y": (("i", "j"), np.zeros((2, 2)))})
    changed = {
        "a bit": (dataset, dataset.assign(y=np.nextafter(dataset.y, 1))),
        "the sign of zero": (dataset, dataset.assign(y=("item", -dataset.y.values))),
        "a name": (dataset, dataset.rename(y="z")),
        "a type": (dataset, dataset.assign(y=dataset.y.astype("float32"))),
        "a label": (dataset, dataset.assign_coords(item=["a", "b", "d"])),
        "the name of a dim": (square, square.rename_dims(j="k")),
        "the order of dims": (square, xr.Dataset({"y": (("j", "i"), np.zeros((2, 2)))})),
        "the shape": (square, xr.Dataset({"y": (("i", "j"), np.zeros((4, 1)))})),
    }
    for what, (before, after) in changed.items():
        assert content(before) == content(before.copy(deep=True))
        assert content(after) != content(before), what


# --- The store ------------------------------------------------------------------------------------


def test_damaged_cell_is_not_read(tmp_path, finished):
    store, cell = Store(tmp_path), cells()[0]
    path = store.path(cell)

    def rewrite():
        store.write(cell, finished.read(cell), dict(RECORD))
        assert store.read(cell) is not None
        return path.read_bytes()

    whole = rewrite()
    values = np.array([0, 10, 20]).tobytes()
    assert values in whole
    damaged = {
        "cut": whole[: len(whole) // 2],
        "flipped": whole.replace(values, np.array([0, 10, 21]).tobytes()),
        "empty": b"",
        "text": b"hello",
    }
    for name, raw in damaged.items():
        rewrite()
        path.write_bytes(raw)
        assert store.read(cell) is None, name
    rewrite()
    with xr.open_dataset(path, engine="netcdf4") as stored:
        changed = stored.load()
    changed["y"] = changed.y + 1
    changed.to_netcdf(path, engine="netcdf4")
    assert store.read(cell) is None, "a sound file with values of another digest"


EVERY_KIND = xr.Dataset(
    {
        **{
            name: ("item", np.array([0, 1, 200]).astype(name), {"units": "s"})
            for name in ("float64", "float32", "int64", "int32", "int16", "uint8", "uint64", "bool")
        },
        "nan": ("item", np.array([np.nan, -0.0, np.inf])),
        "large": ("item", np.array([-(2**63), 2**63 - 1, 2**53 + 1])),
        "matrix": (("item", "column"), np.arange(6.0).reshape(3, 2)),
        "text": ("item", np.array(["", "a b", "é∑"], dtype=object)),
        "fixed": ("item", np.array(["a", "bcd", "e"])),
        "bytes": ("item", np.array([b"a", b"bcd", b"e"])),
        "time": ("item", np.array([0, 1, 2], dtype="datetime64[ns]")),
        "scalar": ((), 3),
        "scalar_text": ((), np.array("one", dtype=object)),
        "scalar_bool": ((), np.array(True)),
        "none": ("nothing", np.zeros(0)),
        "no_text": ("nothing", np.array([], dtype="U1")),
        "none_either": (("empty", "item"), np.zeros((0, 3), dtype=np.int32)),
    },
    coords={
        "item": np.array(["x", "y", "z"], dtype=object),
        "column": [10, 20],
        "other": ("item", [1.5, 2.5, 3.5], {"long_name": "no index"}),
        "level": 7,
    },
    attrs={"title": "é", "number": 3, "list": [1.0, 2.0]},
)


def test_stored_cell_is_what_xarray_itself_writes_and_reads(tmp_path):
    """Bits, dtypes, dims, coordinates, attributes and encodings, of every kind of variable."""
    store, cell = Store(tmp_path), cells()[0]
    store.write(cell, EVERY_KIND, dict(RECORD))
    EVERY_KIND.to_netcdf(tmp_path / "plain.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "plain.nc", engine="netcdf4") as plain:
        expected = plain.load()
    found = store.read(cell)
    assert content(found) == content(EVERY_KIND)
    assert json.loads(found.attrs.pop("cell"))["content"] == content(EVERY_KIND)
    assert found.identical(expected)
    for name, variable in EVERY_KIND.variables.items():
        assert found[name].dtype == expected[name].dtype, name
        assert variable.dtype.kind in "OUS" or found[name].dtype == variable.dtype, name
        storage = [each[name].encoding | {"source": ""} for each in (found, expected)]
        assert str(storage[0]) == str(storage[1]), name  # a NaN differs from itself
    with xr.open_dataset(store.path(cell)) as guessed:  # the engine is found by the file
        assert guessed.drop_attrs(deep=False).identical(expected.drop_attrs(deep=False))


def test_threads_write_at_once(tmp_path):
    """HDF5 is not thread-safe; a Dask process may have several threads."""
    store, one = Store(tmp_path), cells()[0]
    todo = [dataclasses.replace(one, fields={"factor": 2, "x": x}) for x in range(60)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda c: store.write(c, multiply(c.fields), dict(RECORD)), todo))
    assert all(store.read(cell) is not None for cell in todo)


def test_cell_that_netcdf_cannot_hold_fails_alone(tmp_path):
    """Its error is recorded, as that of a run that raises; others are stored."""
    for processes in (0, 1):
        store = Store(tmp_path / str(processes))
        todo = [dataclasses.replace(cell, run=odd) for cell in cells()]
        done = run(todo, store, processes)
        failed = [cell for cell, error in done if error]
        assert [cell.fields["x"] for cell in failed] == [4, 4], processes
        assert all("bad" in store.failure(cell) for cell in failed), processes
        assert sum(store.read(cell) is not None for cell in todo) == 4, processes


def odd(fields):
    bad = {"bad": np.array([{"a": 1}, 2, None], dtype=object)} if fields["x"] == 4 else {}
    return multiply(fields).assign({name: ("item", values) for name, values in bad.items()})


def test_committed_dataset_fills_the_store(finished, tmp_path):
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


def test_variable_that_some_cells_lack_is_nan_there_and_absent_when_read_back(tmp_path):
    store, grid = Store(tmp_path / "cells"), cells()
    for cell in grid:
        result = multiply(cell.fields)
        if cell.labels[0] == "treble":
            result["more"] = ("item", np.arange(3, dtype=np.int16), {"units": "m"})
        store.write(cell, result, RECORD | {"seconds": 0.0, "hardware": "", "time": ""})
    dataset = assemble(grid, AXES, store, {})
    assert dataset.more.isnull().all(["x", "item"]).values.tolist() == [True, False]
    assert dataset.more.attrs == {"units": "m"}
    assert not dataset.y.isnull().any()
    write_netcdf(dataset, tmp_path / "whole.nc")
    filled = Store(tmp_path / "empty", [tmp_path / "whole.nc"])
    for cell in grid:
        assert content(filled.read(cell)) == content(store.read(cell)), cell


def test_success_deletes_the_failure(tmp_path):
    store, cell = Store(tmp_path), cells()[0]
    store.write_failure(cell, "bad\n")
    assert store.failure(cell) == "bad\n"
    store.write(cell, multiply(cell.fields), dict(RECORD))
    assert store.failure(cell) is None


def test_forget_deletes_all_that_is_stored(tmp_path, finished):
    store, cell = Store(tmp_path), cells()[0]
    store.write(cell, finished.read(cell), dict(RECORD))
    store.write_failure(cell, "bad\n")
    store.checkpoint(cell).write_text("2")
    store.forget(cell)
    assert store.read(cell) is store.failure(cell) is None
    assert list(store.path(cell).parent.iterdir()) == []


def test_mean_seconds_are_of_the_newest_cells(tmp_path, finished):
    store = Store(tmp_path)
    assert store.mean_seconds("test") is None
    for age, (cell, seconds) in enumerate(zip(cells(), (1.0, 2.0, 6.0), strict=False)):
        store.write(cell, finished.read(cell), RECORD | {"seconds": seconds})
        os.utime(store.path(cell), (age, age))
    assert store.mean_seconds("test") == 3.0
    assert store.mean_seconds("test", most=2) == 4.0


# --- Execution ------------------------------------------------------------------------------------


def test_processes_and_order_change_no_bit(finished, tmp_path):
    store = Store(tmp_path)
    assert [cell.fields["x"] for cell, _ in run(cells(), store, processes=0)] == [5, 5, 4, 4, 1, 1]
    for cell in cells():
        assert content(store.read(cell)) == content(finished.read(cell)), str(cell)


def test_dask_runs_cells_by_rank_then_longest_first_and_equal_ones_each(tmp_path):
    todo = [
        dataclasses.replace(cell, rank=(0, i % 2)) for i, cell in enumerate([*cells(), *cells()])
    ]
    ordered = sorted(todo, key=lambda cell: (cell.rank, -cell.seconds))
    done = run(todo, Store(tmp_path), processes=1)
    assert [(cell.labels, cell.rank, error) for cell, error in done] == [
        (cell.labels, cell.rank, None) for cell in ordered
    ]


def test_failure_is_recorded_and_stops_nothing(tmp_path):
    for processes in (0, 2):
        store, todo = Store(tmp_path / str(processes)), cells(raises=1)
        done = run(todo, store, processes)
        assert sorted(cell.fields["x"] for cell, error in done if error) == [1, 1], processes
        dataset = assemble(todo, AXES, store, {})
        assert dataset.y.isnull().all("item").values.tolist() == [[False, True, False]] * 2
        assert dataset.y.sel(kind="double", x=4).values.tolist() == [0, 8, 16]
        about = json.loads(dataset.attrs["provenance"])
        assert about["failures"]["test double, 1"] == "ArithmeticError: no 1 today"
        assert about["count"] == {"planned": 6, "finished": 4, "failed": 2}
        assert list(tmp_path.rglob(".*")) == []


def test_cell_that_kills_its_process_fails_alone(tmp_path):
    store, todo = Store(tmp_path), cells(dies=4)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        done = run(todo, store)
    assert len(done) == len(todo)
    assert [cell.fields["x"] for cell, error in done if error] == [4, 4]
    assert all("its process was killed" in store.failure(c) for c in todo if c.fields["x"] == 4)
    assert all(store.read(cell) is not None for cell in todo if cell.fields["x"] != 4)


def count_up(fields, *, checkpoint=None):
    """Count to 3; kill the process once at 2; continue from what the checkpoint holds."""
    path = Path(checkpoint)
    counted = int(path.read_text()) if path.exists() else 0
    for count in range(counted + 1, 4):
        path.write_text(str(count))
        if count == 2 and not counted:
            os.kill(os.getpid(), signal.SIGKILL)
    return xr.Dataset({"began_at": ((), counted), "count": ((), 3)})


def test_killed_cell_continues_from_its_checkpoint(tmp_path):
    store = Store(tmp_path / "cells")
    cell = Cell("test", ("a",), {"x": 1}, {"test": 1}, count_up, 1.0, 0.0)
    assert run([cell], store, processes=1) == [(cell, None)]
    assert int(store.read(cell).began_at) == 2
    assert not store.checkpoint(cell).exists()
    assert sorted(path.suffix for path in store.path(cell).parent.iterdir()) == [".nc"]


def test_process_without_the_folder_runs_without_checkpoint(tmp_path):
    def run(fields, *, checkpoint=None):
        return xr.Dataset({"given": ((), np.array(str(checkpoint), dtype=object))})

    path = str(tmp_path / "not here" / "a.checkpoint")
    stored = Store(tmp_path)
    stored.write_file(cells()[0], execution._attempt(run, {}, path, {})["file"])
    assert stored.read(cells()[0]).given.item() == "None"


def test_processor_is_named_by_its_kind(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor : 0\ncpu family : 6\nmodel : 167\nmodel name : A (R) CPU\n\n" * 2)
    machine = platform.machine()
    assert execution._processor(path) == f"{machine} A (R) CPU family 6 model 167"
    path.write_text("processor : 0\nBogoMIPS : 50.00\n")  # as on ARM
    assert execution._processor(path) == machine
    assert execution._processor(tmp_path / "none") == platform.processor() or machine


def test_hardware_names_gpus(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    for script, gpus in (("echo H100; echo H100", ", H100, H100"), ("exit 9", ""), ("", "")):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        execution._hardware.cache_clear()
        assert execution._hardware() == f"{execution._processor()}, {os.cpu_count()} cores{gpus}"
    monkeypatch.setenv("PATH", "")
    execution._hardware.cache_clear()
    assert execution._hardware().endswith(" cores")
    execution._hardware.cache_clear()


# --- Assembly -------------------------------------------------------------------------------------


def test_dataset_has_dims_and_labels_in_the_order_of_the_axes(finished):
    dataset = assemble(cells(), AXES, finished, {})
    assert dataset.y.dims == ("kind", "x", "item")
    assert dataset.kind.values.tolist() == ["double", "treble"]
    assert dataset.x.values.tolist() == [5, 1, 4]
    assert dataset.y.sel(kind="treble", x=4).values.tolist() == [0, 12, 24]
    assert dataset.y.attrs == {"units": "s"}
    about = json.loads(dataset.attrs["provenance"])
    assert about["failures"] == {}
    assert about["environments"] == [RECORD]


def test_cells_of_four_axes_are_at_their_labels(tmp_path):
    axes = {"a": [1, 2], "b": [10, 20, 30], "c": [100, 200], "d": [1000, 2000, 3000, 4000]}
    store = Store(tmp_path)
    grid = [Cell("t", at, f, {}, add, 1.0, 0.0) for at, f in expand({}, axes)]
    for cell in grid:
        store.write(cell, add(cell.fields), RECORD | {"seconds": 0.0, "hardware": "", "time": ""})
    dataset = assemble(grid, axes, store, {})
    assert dataset.total.dims == ("a", "b", "c", "d")
    assert dataset.total.identical((dataset.a + dataset.b + dataset.c + dataset.d).rename("total"))


def add(fields):
    return xr.Dataset({"total": ((), sum(fields.values()))})


def test_cells_that_were_not_run_are_left_out(tmp_path, finished):
    store = Store(tmp_path)
    for cell in cells():
        if cell.labels in [("double", 1), ("treble", 4)]:
            store.write(cell, finished.read(cell), json.loads(finished.read(cell).attrs["cell"]))
    dataset = assemble(cells(), AXES, store, {})
    assert dataset.x.values.tolist() == [1, 4]
    assert dataset.y.isnull().all("item").values.tolist() == [[False, True], [True, False]]
    about = json.loads(dataset.attrs["provenance"])
    assert about["axes"] == {"kind": ["double", "treble"], "x": [1, 4]}
    assert about["count"] == {"planned": 6, "finished": 2, "failed": 0}
    assert about["failures"] == {}
    assert assemble(cells(), AXES, Store(tmp_path / "none"), {}) is None
