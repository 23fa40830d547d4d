"""Faults while a sweep runs: killed processes, a stopped scheduler, full memory; no bit changes."""

import os
import signal
import socket
from pathlib import Path

import numpy as np
import psutil
import pytest
import xarray as xr
from schedulers import scheduler, started

from detox_sim.cluster import connect
from detox_sim.sweeps import SchedulerLostError, execute, execution, provenance
from detox_sim.sweeps.store import Cell, Store, content
from studies.workflow.plans import make_plans

RECORD = provenance({"numpy": np.__version__})
LIMIT = 400_000_000  # bytes of a process without torch
SETTINGS = {"pipeline": ["Median", "D-Median"], "seed": [0, 1], "steps": 3}


@pytest.fixture(scope="module")
def trials():
    """Return cells that train, and the digest of what each gives in this process."""
    cells = make_plans(["accuracy_alie"], "smoke", SETTINGS)[0].cells
    return cells, {cell.digest: content(cell.run(cell.fields)) for cell in cells}


def stored(cells, store):
    """Return the digest of each stored cell's content."""
    found = {cell.digest: store.read(cell) for cell in cells}
    return {key: content(dataset) for key, dataset in found.items() if dataset is not None}


def after(count, act):
    """Return a `done` that acts once, when so many cells are stored."""
    seen = []

    def done(cell, error, seconds):
        seen.append(error)
        if len(seen) == count:
            act()

    return done


def kill(process):
    """Send SIGKILL to a process and its children, as when a machine is switched off."""
    family = [*process.children(recursive=True), process]
    for member in family:
        member.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, 10)


def test_machine_that_never_comes_back_changes_no_bit(tmp_path, trials):
    cells, expected = trials
    store = Store(tmp_path / "cells")
    with scheduler(tmp_path, workers=2) as address, connect(address) as client:
        client.wait_for_workers(2, timeout=30)
        execute(client, cells, store, RECORD, after(1, lambda: kill(started("worker")[0])))
        assert len(client.scheduler_info(-1)["workers"]) == 1
    assert stored(cells, store) == expected


def noted(fields):
    """Draw, and note in a file that this ran."""
    with Path(fields["notes"]).open("a") as notes:
        notes.write(f"{fields['seed']}\n")
    return draw(fields)


def test_stored_cell_does_not_run_again_where_its_process_is_lost(tmp_path):
    """A result that Dask keeps in a process is computed again once that process is gone."""
    store, notes = Store(tmp_path / "cells"), tmp_path / "notes"
    cells = [
        Cell("noted", (s,), {"seed": s, "notes": str(notes)}, {"draws": 1}, noted, 1.0, 0.0)
        for s in range(8)
    ]
    stored_before = []

    def lose_a_process():
        stored_before.extend(cell.fields["seed"] for cell in cells if store.read(cell) is not None)
        kill(started("worker")[0])

    path = os.pathsep.join(map(str, Path(__file__).parents[:3]))
    with scheduler(tmp_path, workers=2, path=path) as address, connect(address) as client:
        client.wait_for_workers(2, timeout=30)
        execute(client, cells, store, RECORD, after(5, lose_a_process))
    ran = notes.read_text().split()
    assert len(stored_before) >= 5
    assert [ran.count(str(seed)) for seed in stored_before] == [1] * len(stored_before)
    assert len(stored(cells, store)) == 8


def test_scheduler_whose_processes_are_gone_for_good_ends_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "ALONE_SECONDS", 2.0)
    monkeypatch.setattr(execution, "RESULT_SECONDS", 1.0)
    store = Store(tmp_path / "cells")
    path = os.pathsep.join(map(str, Path(__file__).parents[:3]))
    with scheduler(tmp_path, path=path) as address, connect(address) as client:
        gone = after(1, lambda: kill(started("worker")[0]))
        with pytest.raises(SchedulerLostError, match="has had no process for 2 s"):
            execute(client, draws(), store, RECORD, gone)
    assert len(stored(draws(), store)) >= 1
    assert list(tmp_path.rglob("*.failed.json")) == []


def test_slow_result_is_waited_for_longer_each_time(tmp_path, monkeypatch):
    """A network that takes 5 s for a result, where a small one takes 1 s."""
    from distributed import Future

    asked, result = [], Future.result

    def slow(future, timeout=None):
        asked.append(timeout)
        if timeout < 5.0:
            raise TimeoutError
        return result(future, timeout=timeout)

    monkeypatch.setattr(execution, "RESULT_SECONDS", 1.0)
    monkeypatch.setattr(Future, "result", slow)
    store = Store(tmp_path / "cells")
    with connect(processes=1) as client:
        execute(client, draws()[:1], store, RECORD, lambda *_: None)
    assert asked == [1.0, 2.0, 4.0, 8.0]
    assert len(stored(draws(), store)) == 1


def test_sweep_resumes_after_its_scheduler_was_restarted(tmp_path, trials):
    cells, expected = trials
    store = Store(tmp_path / "cells")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with scheduler(tmp_path, workers=1, port=port) as address:
        stop = after(2, lambda: started("scheduler")[0].terminate())
        with (
            pytest.raises(SchedulerLostError, match="the scheduler was lost in mid-sweep"),
            connect(address) as client,
        ):
            execute(client, cells, store, RECORD, stop)
        kept = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*.nc")}
        assert 2 <= len(kept) < len(cells)
        assert list(store.folder.rglob("*.failed.json")) == []
    with scheduler(tmp_path, workers=1, port=port) as again, connect(again) as client:
        assert again == address
        missing = [cell for cell in cells if store.read(cell) is None]
        execute(client, missing, store, RECORD, lambda *_: None)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert stored(cells, store) == expected


def test_restart_that_the_client_survives_is_no_failure_of_cells(tmp_path):
    store = Store(tmp_path / "cells")
    with (
        connect(processes=1) as client,
        pytest.raises(SchedulerLostError, match="the scheduler was lost in mid-sweep"),
    ):
        execute(client, draws(), store, RECORD, after(1, client.restart))
    assert list(tmp_path.rglob("*.failed.json")) == []
    assert len(stored(draws(), store)) >= 1


def fill_memory():
    """Take memory until the nanny ends this process; give up at four times its limit."""
    import time

    taken = []
    while sum(map(len, taken)) < 4 * LIMIT:
        taken.append(b"1" * (LIMIT // 20))
        time.sleep(0.03)
    raise AssertionError("no nanny ended this process")


def draw(fields):
    """Draw numbers, slowly; or fill the memory."""
    import time

    if fields.get("greedy"):
        fill_memory()
    time.sleep(0.2)
    values = np.random.default_rng(fields["seed"]).standard_normal(1000)
    return xr.Dataset({"y": ("item", values)})


def draws(greedy=None):
    def fields(seed):
        return {"seed": seed, "greedy": True} if seed == greedy else {"seed": seed}

    return [Cell("draws", (s,), fields(s), {"draws": 1}, draw, 1.0, 0.0) for s in range(8)]


@pytest.fixture
def small_processes(tmp_path):
    """Yield a client of two processes with little memory, whose scheduler runs no task twice."""
    allowed = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    more = ["--memory-limit", LIMIT]
    path = os.pathsep.join(map(str, Path(__file__).parents[:3]))
    started = scheduler(tmp_path, workers=2, path=path, more=more, environment=allowed)
    with started as address, connect(address) as client:
        client.wait_for_workers(2, timeout=30)
        yield client


def test_cell_that_fills_the_memory_fails_alone(tmp_path, small_processes):
    store, cells = Store(tmp_path / "cells"), draws(greedy=3)
    seen = {}
    execute(
        small_processes, cells, store, RECORD, lambda cell, error, _: seen.update({cell: error})
    )
    assert [str(cell) for cell, error in seen.items() if error] == ["draws 3"]
    assert "its process was killed" in store.failure(cells[3])
    assert "all those workers died while running it" in store.failure(cells[3])
    others = [cell for cell in cells if cell is not cells[3]]
    assert stored(cells, store) == {c.digest: content(draw(c.fields)) for c in others}


def test_memory_that_another_task_fills_changes_no_bit(tmp_path, small_processes):
    store, cells = Store(tmp_path / "cells"), draws()
    foreign = small_processes.submit(fill_memory, priority=1)
    execute(small_processes, cells, store, RECORD, lambda *_: None)
    assert foreign.exception(timeout=30).__class__.__name__ == "KilledWorker"
    assert stored(cells, store) == {c.digest: content(draw(c.fields)) for c in cells}
