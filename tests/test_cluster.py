"""Joining a scheduler: what is wrong is said within seconds."""

import contextlib
import json
import os
import subprocess
import sys
import time

import psutil
import pytest

from detox_sim.cluster import connect, versions
from studies.reproduce import PACKAGES, main


@contextlib.contextmanager
def scheduler(folder, workers=1, path=None):
    """Start a real dask-scheduler and workers on loopback; yield the address."""
    file = folder / "scheduler.json"
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--scheduler-file", file]
    command += ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    processes = [subprocess.Popen(command, **quiet)]
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", file]
    command += ["--nthreads", "1", "--no-dashboard", "--host", "127.0.0.1"]
    try:
        until = time.monotonic() + 30
        while not file.exists() or not file.read_text().strip().endswith("}"):
            assert time.monotonic() < until, "the scheduler did not start"
            time.sleep(0.1)
        for _ in range(workers):
            processes.append(subprocess.Popen(command, env=environment, **quiet))
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(20)


def test_a_silent_scheduler_is_an_error_within_seconds(tmp_path, capsys):
    start = time.monotonic()
    arguments = ["filtering", "--scheduler", "tcp://127.0.0.1:9", "--output", str(tmp_path)]
    assert main([*arguments, "--profile", "smoke"]) == 2
    assert time.monotonic() - start < 30
    assert "no dask-scheduler answers at 'tcp://127.0.0.1:9'" in capsys.readouterr().err


@pytest.mark.parametrize("address", ["nonsense", "", "http://127.0.0.1:80", "tcp://127.0.0.1"])
def test_what_is_no_address_is_an_error(address):
    with pytest.raises(ConnectionError, match="no address of a dask-scheduler"), connect(address):
        pass


def test_tls_without_certificates_is_an_error():
    message = "needs certificates: set distributed.comm.tls"
    with pytest.raises(ConnectionError, match=message), connect("tls://127.0.0.1:8786"):
        pass


def test_a_dead_scheduler_leaves_stored_cells_and_no_folder(tmp_path):
    (tmp_path / "cells" / "filtering").mkdir(parents=True)
    cell = tmp_path / "cells" / "filtering" / "kept.nc"
    cell.touch()
    address = ["--scheduler", "tcp://127.0.0.1:9", "--profile", "smoke", "--fresh"]
    assert main(["filtering", "--output", str(tmp_path), *address]) == 2
    assert cell.exists()
    assert main(["filtering", "--output", str(tmp_path / "new"), *address]) == 2
    assert not (tmp_path / "new").exists()


def test_a_scheduler_that_dies_in_mid_sweep_is_told(tmp_path):
    with scheduler(tmp_path, workers=1) as address:
        command = [sys.executable, "-m", "studies.reproduce", "accuracy_reverse", "--profile"]
        command += ["smoke", "--output", str(tmp_path / "out"), "--scheduler", address]
        driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 60
        while not list(tmp_path.rglob("cells/*/*.nc")):
            assert driver.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        for process in psutil.process_iter(["cmdline"]):
            if str(tmp_path / "scheduler.json") in (process.info["cmdline"] or []):
                process.kill()
        _, error = driver.communicate(timeout=90)
    assert driver.returncode == 1
    assert "error: the scheduler was lost in mid-sweep" in error
    assert "python -m studies.reproduce accuracy_reverse" in error
    assert not list(tmp_path.rglob("*.failed.json"))


def test_a_scheduler_without_workers_is_an_error(tmp_path):
    message = "has no workers; start one with: dask worker"
    with (
        scheduler(tmp_path, workers=0) as address,
        pytest.raises(ConnectionError, match=message),
        connect(address),
    ):
        pass


def test_other_versions_on_a_worker_are_an_error(tmp_path):
    fake = tmp_path / "site" / "xarray-0.0.1.dist-info"
    fake.mkdir(parents=True)
    (fake / "METADATA").write_text("Metadata-Version: 2.1\nName: xarray\nVersion: 0.0.1\n")
    with (
        scheduler(tmp_path, path=fake.parent) as address,
        pytest.raises(ConnectionError, match=r"xarray 0\.0\.1 \(here .*constraints\.txt"),
        connect(address, packages=PACKAGES),
    ):
        pass


def test_an_existing_scheduler_runs_a_study(tmp_path, capsys):
    settings = ["--set", "steps=2", "--set", "seed=0", "--set", "pipeline=Median,D-Median"]
    output = str(tmp_path / "out")
    arguments = ["accuracy_alie", "--profile", "smoke", "--output", output, *settings]
    with scheduler(tmp_path, workers=2) as address:
        assert main([*arguments, "--scheduler", address]) == 0
        with pytest.raises(ConnectionError, match="offers a GPU"), connect(address, gpu=True):
            pass
    assert (tmp_path / "out" / "accuracy_alie.nc").exists()
    assert main([*arguments, "--scheduler", address]) == 0, "nothing to run, nobody to ask"
    assert "cached: all 2 cells" in capsys.readouterr().out


def test_the_embedded_cluster_listens_on_loopback_only():
    with connect(workers=1) as client:
        info = client.scheduler_info(-1)
        addresses = [info["address"], *info["workers"], client.dashboard_link]
    assert all("127.0.0.1" in address for address in addresses)


def test_versions_name_what_is_missing():
    assert versions(["numpy", "no-such-package"])["no-such-package"] is None
