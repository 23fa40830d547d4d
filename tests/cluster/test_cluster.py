"""Joining a scheduler: what is wrong is said within seconds."""

import argparse
import os
import socket
import subprocess
import sys
import time
import types

import psutil
import pytest
from schedulers import scheduler

from detox_sim.cluster import connect, cores, versions
from detox_sim.cluster.connecting import here
from studies import reproduce
from studies.reproduce import main
from studies.workflow.options import PACKAGES


def test_a_silent_scheduler_is_an_error_within_seconds(tmp_path, capsys):
    start = time.monotonic()
    arguments = ["filtering", "--scheduler", "tcp://127.0.0.1:9", "--output", str(tmp_path)]
    assert main([*arguments, "--profile", "smoke"]) == 2
    assert time.monotonic() - start < 30
    assert "no dask-scheduler answers at 'tcp://127.0.0.1:9'" in capsys.readouterr().err


def test_a_port_where_nobody_talks_is_an_error_within_seconds():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        address = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="no dask-scheduler answers"), connect(address):
            pass
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("address", ["nonsense", "", "http://127.0.0.1:80", "tcp://127.0.0.1"])
def test_what_is_no_address_is_an_error(address):
    with pytest.raises(ConnectionError, match="no address of a dask-scheduler"), connect(address):
        pass


def test_tls_without_certificates_is_an_error():
    message = "needs certificates: give a CA, .* or set distributed.comm.tls"
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
    assert error.startswith("error: "), "Dask's own log is not shown"
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
    settings = ["steps=2", "seed=0", "attack=alie", "pipeline=Median,D-Median"]
    settings = [part for setting in settings for part in ("--set", setting)]
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
    with connect(processes=1) as client:
        info = client.scheduler_info(-1)
        addresses = [info["address"], *info["workers"], client.dashboard_link]
    assert all("127.0.0.1" in address for address in addresses)


def test_versions_name_what_is_missing():
    assert versions(["numpy", "no-such-package"])["no-such-package"] is None


def listening(processes):
    """Return the addresses on which processes wait for connections."""
    return {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


def test_no_process_of_the_embedded_cluster_listens_beyond_loopback():
    driver = psutil.Process()
    with connect(processes=1) as client:
        assert client.submit(abs, -1).result() == 1
        family = driver.children(recursive=True)
        assert listening(family) == {"127.0.0.1"}, "workers listen, dashboards too"
        assert listening([driver]) == {"127.0.0.1"}, "scheduler and nannies"


def test_what_listens_everywhere_is_seen():
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        everywhere.listen()
        assert "0.0.0.0" in listening([psutil.Process()])


def test_an_open_scheduler_is_warned_of_once(tmp_path):
    with scheduler(tmp_path) as address:
        unlike = address.replace("127.0.0.1", "127.1")  # on loopback, but does not look like it
        with pytest.warns(UserWarning, match="anyone") as seen, connect(unlike) as client:
            assert client.submit(abs, -1).result() == 1
        said = [str(warning.message) for warning in seen]
        assert said == [f"anyone who reaches {unlike} can run code on its workers; use tls://"]
        with connect(unlike), connect(address):
            pass


def where_it_runs(_):
    return os.getpid()


def ask_all():
    """Ask every worker twice, from a task on one of them."""
    with here() as client:
        workers = sorted(client.scheduler_info(-1)["workers"])
        asked = [
            client.submit(where_it_runs, i, workers=[worker], pure=False)
            for i, worker in enumerate(workers * 2)
        ]
        return os.getpid(), client.gather(asked)


def test_a_task_may_use_all_workers_its_own_included():
    with connect(processes=2) as client:
        client.wait_for_workers(2, timeout=30)
        for _ in range(2):  # and the worker's thread is there again afterwards
            mine, others = client.submit(ask_all, pure=False).result(timeout=60)
            assert len(others) == 4
            assert mine in others
            assert len(set(others)) == 2


def test_a_task_that_holds_the_gpu_may_pin_tasks_beside_itself():
    with connect(gpu=True) as client:
        mine, others = client.submit(ask_all, resources={"GPU": 1}).result(timeout=60)
    assert others == [mine, mine]


def test_here_is_an_embedded_cluster_outside_a_task():
    with here() as client:
        assert client.submit(abs, -2).result() == 2
        assert client.cluster is not None


def plan(cells, **module):
    return types.SimpleNamespace(cells=cells, module=types.SimpleNamespace(**module))


@pytest.mark.parametrize(
    ("asked", "todo", "workers"),
    [
        (None, ["plain"], cores()),
        (None, ["timed"], cores()),
        (None, ["large"], 1),
        (None, ["large", "timed"], cores()),
        (None, [], cores()),
        (3, ["large"], 3),
    ],
)
def test_a_core_each_unless_a_study_says_otherwise(asked, todo, workers):
    plans = [
        plan(["plain"]),
        plan(["timed"], EXCLUSIVE=True),
        plan(["large"], EXCLUSIVE=True, WORKERS=1),
    ]
    options = argparse.Namespace(workers=asked)
    assert reproduce._workers(plans, todo, options) == workers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tls-ca", "a.pem"], "TLS needs all three files; add --tls-cert and --tls-key"),
        (["--tls-ca", "a", "--tls-cert", "b", "--tls-key", "c"], "add --scheduler tls://"),
    ],
)
def test_half_of_tls_is_bad_usage(tmp_path, capsys, arguments, message):
    assert main(["filtering", "--output", str(tmp_path / "out"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
