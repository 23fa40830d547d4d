"""Real Dask schedulers for tests."""

import contextlib
import json
import os
import subprocess
import sys
import time

import psutil


def launch(command, *options, environment=()):
    """Start ``dask scheduler`` or ``dask worker`` on loopback, as a process of its own."""
    line = [sys.executable, "-m", f"distributed.cli.dask_{command}", *map(str, options)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    everywhere = ["--host", "127.0.0.1", "--no-dashboard"]
    return subprocess.Popen([*line, *everywhere], env=os.environ | dict(environment), **quiet)


@contextlib.contextmanager
def scheduler(
    folder, workers=1, path=None, port=0, options=(), more=("--no-nanny",), environment=()
):
    """Start a real dask-scheduler and workers on loopback; yield the address.

    `options` go to all of them, `more` to the workers. A nanny is one more process for each.
    """
    file = folder / "scheduler.json"
    environment = dict(environment)
    where = ["--scheduler-file", file, *options]
    environment |= {"PYTHONPATH": str(path)} if path else {}
    file.unlink(missing_ok=True)
    processes = [launch("scheduler", "--port", port, *where, environment=environment)]
    try:
        until = time.monotonic() + 30
        while not file.exists() or not file.read_text().strip().endswith("}"):
            assert time.monotonic() < until, "the scheduler did not start"
            time.sleep(0.1)
        for _ in range(workers):
            processes.append(
                launch("worker", "--nthreads", 1, *more, *where, environment=environment)
            )
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(20)


def started(command):
    """Return the processes that `launch` started, oldest first."""
    found = []
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if f"distributed.cli.dask_{command}" in process.cmdline():
                found.append(process)
    return sorted(found, key=psutil.Process.create_time)
