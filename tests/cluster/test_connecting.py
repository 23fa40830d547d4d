"""Connecting to Dask: what is wrong is said within seconds, and nothing listens to strangers."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from distributed import Client
from schedulers import launch, scheduler

from detox_sim.cluster import PACKAGES, connect, cores, here, joining, versions
from studies.reproduce import main

SILENT = "tcp://127.0.0.1:9"


@pytest.fixture
def impatient(monkeypatch):
    """Wait one second for an answer, not five."""
    monkeypatch.setattr(joining, "ANSWER_SECONDS", 1.0)


# --- Schedulers that cannot be joined -------------------------------------------------------------


def test_silent_port_is_an_error_within_seconds(impatient):
    """Where nobody listens, and where somebody listens but does not answer."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        for address in (SILENT, f"tcp://127.0.0.1:{listening.getsockname()[1]}"):
            start = time.monotonic()
            message = f"no dask-scheduler answers at '{address}'"
            with pytest.raises(ConnectionError, match=message), connect(address):
                pass
            assert time.monotonic() - start < 30


def test_impossible_address_is_an_error():
    for address in ("nonsense", "", "http://127.0.0.1:80", "tcp://127.0.0.1"):
        message = "no address of a dask-scheduler"
        with pytest.raises(ConnectionError, match=message), connect(address):
            pass
    message = "needs certificates: give a CA, .* or set distributed.comm.tls"
    with pytest.raises(ConnectionError, match=message), connect("tls://127.0.0.1:8786"):
        pass


def test_scheduler_without_what_is_needed_is_an_error(tmp_path, monkeypatch):
    """First it has no worker, then one of ours, then a second one that has another xarray."""
    fake = tmp_path / "site" / "xarray-0.0.1.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: xarray\nVersion: 0.0.1\n")
    environments = [{}, {"PYTHONPATH": str(fake.parent)}]
    cases = [
        (0, {}, "has no workers after 1 s; start one with: dask worker"),
        (1, {"modules": ["numpy", "no_such"]}, "cannot import .*: no_such; .* in a clone"),
        (1, {"gpu": True}, "no worker of .* offers a GPU; start one with: dask worker"),
        (2, {"packages": PACKAGES}, r"xarray 0\.0\.1 \(here .*constraints\.txt"),
    ]
    workers = []
    with scheduler(tmp_path, workers=0) as address, contextlib.ExitStack() as stack:
        for count, options, message in cases:
            if len(workers) < count:
                some = [
                    "--nthreads",
                    1,
                    "--no-nanny",
                    "--scheduler-file",
                    tmp_path / "scheduler.json",
                ]
                worker = launch("worker", *some, environment=environments[len(workers)])
                stack.callback(worker.wait, 20)
                stack.callback(worker.terminate)
                workers.append(worker)
                with Client(address, set_as_default=False) as client:
                    client.wait_for_workers(count, timeout=60)
            monkeypatch.setattr(joining, "PROCESS_SECONDS", 60.0 if count else 1.0)
            with pytest.raises(ConnectionError, match=message), connect(address, **options):
                pass


def test_versions_name_what_is_missing():
    assert versions(["numpy", "no-such-package"])["no-such-package"] is None


def test_dead_scheduler_leaves_stored_cells_and_no_folder(tmp_path, impatient, capsys):
    (tmp_path / "cells" / "filtering").mkdir(parents=True)
    cell = tmp_path / "cells" / "filtering" / "kept.nc"
    cell.touch()
    address = ["--scheduler", SILENT, "--profile", "smoke", "--fresh"]
    assert main(["filtering", "--output", str(tmp_path), *address]) == 2
    assert f"no dask-scheduler answers at '{SILENT}'" in capsys.readouterr().err
    assert cell.exists()
    assert main(["filtering", "--output", str(tmp_path / "new"), *address]) == 2
    assert not (tmp_path / "new").exists()


def test_scheduler_lost_in_mid_sweep_is_one_clear_error(tmp_path):
    with scheduler(tmp_path, workers=1) as address:
        command = [sys.executable, "-m", "studies.reproduce", "filtering", "--profile"]
        command += [
            "smoke",
            "--output",
            str(tmp_path / "out"),
            "--no-report",
            "--scheduler",
            address,
        ]
        driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 120
        while not list(tmp_path.rglob("cells/*/*.nc")):
            assert driver.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        for process in psutil.Process().children():
            if "distributed.cli.dask_scheduler" in process.cmdline():
                process.kill()
        _, error = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert "error: the scheduler was lost in mid-sweep" in error
    assert "python -m studies.reproduce filtering" in error
    assert error.startswith("error: "), "Dask's own log is not shown"
    assert not list(tmp_path.rglob("*.failed.json"))


def test_half_of_tls_is_bad_usage(tmp_path, capsys):
    for arguments, message in (
        (["--tls-ca", "a.pem"], "TLS needs all three files; add --tls-cert and --tls-key"),
        (["--tls-ca", "a", "--tls-cert", "b", "--tls-key", "c"], "add --scheduler tls://"),
    ):
        assert main(["filtering", "--output", str(tmp_path / "out"), *arguments]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


# --- What listens ---------------------------------------------------------------------------------


def listening(processes):
    """Return the addresses on which processes wait for connections."""
    return {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_embedded_cluster_listens_on_loopback_only(client):
    info, driver = client.scheduler_info(-1), psutil.Process()
    addresses = [info["address"], *info["workers"], client.dashboard_link]
    assert all("127.0.0.1" in address for address in addresses)
    assert client.submit(abs, -1).result() == 1
    assert listening(driver.children(recursive=True)) == {"127.0.0.1"}, "workers, dashboards"
    assert listening([driver]) == {"127.0.0.1"}, "scheduler and nannies"
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        assert "0.0.0.0" in listening([driver]), "the test would see it"


def test_open_scheduler_is_warned_of_once(tmp_path):
    with scheduler(tmp_path) as address:
        unlike = address.replace("127.0.0.1", "127.1")  # on loopback, but does not look like it
        with pytest.warns(UserWarning, match="anyone") as seen, connect(unlike) as client:
            assert client.submit(abs, -1).result() == 1
        warned = [str(warning.message) for warning in seen]
        assert warned == [f"anyone who reaches {unlike} can run code on its workers; use tls://"]
        with connect(unlike), connect(address):
            pass


# --- Inside a task --------------------------------------------------------------------------------


def pages_of_large_tensors():
    """Return how many pages each of nine tensors of 100 MB needs anew, one freed after another."""
    import resource

    import torch

    from detox_sim.models import keep_freed_memory

    keep_freed_memory()
    known = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
    for _ in range(9):
        torch.ones(25_000_000)
        known.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    return np.diff(known)


@pytest.mark.skipif(sys.platform != "linux", reason="keeping memory is glibc's")
def test_tasks_keep_the_memory_of_large_arrays():
    """In a driver of its own: another test may have started the process that others fork from."""
    code = (
        "from test_connecting import connect, pages_of_large_tensors as pages\n"
        "with connect(processes=1) as client: print(*client.submit(pages).result())"
    )
    folders = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": folders}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = [int(each) for each in done.stdout.split()]
    assert np.median(pages) < 1000 < pages[0]


def where_it_runs(_):
    return os.getpid()


def ask_all():
    """Ask every process twice, from a task in one of them."""
    with here() as client:
        addresses = sorted(client.scheduler_info(-1)["workers"])
        asked = [
            client.submit(where_it_runs, i, workers=[address], pure=False)
            for i, address in enumerate(addresses * 2)
        ]
        return os.getpid(), client.gather(asked)


def test_task_may_use_all_processes_its_own_included(client):
    client.wait_for_workers(3, timeout=30)
    for _ in range(2):  # and the process's thread is there again afterwards
        mine, others = client.submit(ask_all, pure=False).result(timeout=60)
        assert len(others) == 6
        assert mine in others
        assert len(set(others)) == 3


def test_task_that_holds_the_gpu_may_pin_tasks_beside_itself():
    with connect(gpu=True) as client:
        mine, others = client.submit(ask_all, resources={"GPU": 1}).result(timeout=60)
    assert others == [mine, mine]


def test_here_is_an_embedded_cluster_outside_a_task(monkeypatch):
    monkeypatch.setattr("detox_sim.cluster.connecting.cores", lambda: 1)
    assert cores() >= 1
    with here() as client:
        assert client.submit(abs, -2).result() == 2
        assert client.cluster is not None
        assert len(client.nthreads()) == 1
