"""Kills at random moments of a sweep: of its driver, its processes and its scheduler."""

import asyncio
import multiprocessing
import socket
import time

import numpy as np

from detox_sim import sweep
from detox_sim.cluster import connect
from detox_sim.sweeps.store import content

KILLS = 20
TRIAL = {"workers": 9, "byzantine": 1, "batch": 45, "groups": 3, "steps": 25}
AXES = {"attack": ["none", "reverse", "alie"], "seed": list(range(16))}
PRELOADED = ["detox_sim.sweeping", "distributed", "netCDF4", "sklearn.datasets", "torch"]
CELLS = 48
SECONDS = 60.0


def serve(port):
    """Be a scheduler."""
    from distributed import Scheduler

    async def main():
        async with Scheduler(host="127.0.0.1", port=port, dashboard=False) as server:
            await server.finished()

    asyncio.run(main())


def work(address):
    """Be a process of a scheduler, until that ends."""
    import torch
    from distributed import Worker

    async def main():
        async with Worker(address, nthreads=1, host="127.0.0.1", dashboard=False) as server:
            await server.finished()

    torch.set_num_threads(1)
    asyncio.run(main())


def drive(address, folder):
    """Run what is missing of the sweep."""
    with connect(address) as client:
        sweep(TRIAL, AXES, client=client, store=folder)


class Programs:
    """The four programs of a sweep; those that have ended start again."""

    def __init__(self, folder):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        address = f"tcp://127.0.0.1:{port}"
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(PRELOADED)
        self.all = {
            "scheduler": (serve, port),
            "process 0": (work, address),
            "process 1": (work, address),
            "driver": (drive, address, folder),
        }
        self.running = {}

    def start(self):
        for name, (function, *arguments) in self.all.items():
            if name not in self.running or not self.running[name].is_alive():
                self.running[name] = self.context.Process(target=function, args=arguments)
                self.running[name].start()

    def kill(self, name):
        self.running[name].kill()
        self.running[name].join()


def test_random_kills_change_no_bit(tmp_path):
    folder, rng = tmp_path / "store", np.random.default_rng(0)
    programs, killed, kept = Programs(folder), set(), {}

    def stored():
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nc")}

    def run_until(count):
        until = time.monotonic() + SECONDS
        while len(stored()) < count:
            assert time.monotonic() < until, "the sweep stands still"
            programs.start()
            time.sleep(0.02)

    try:
        for _ in range(KILLS):
            programs.start()
            run_until(len(stored()) + rng.integers(2))
            time.sleep(rng.uniform(0.0, 0.3) if len(stored()) < CELLS - 10 else 0.0)
            killed.add(name := rng.choice(list(programs.all)))
            programs.kill(name)
            assert len(kept := kept | stored()) < CELLS, "every kill falls into the sweep"
        run_until(CELLS)
    finally:
        for name in programs.running:
            programs.kill(name)
    assert killed == set(programs.all)
    assert kept.items() <= stored().items(), "no finished cell runs again"
    assert not list(folder.rglob("*.failed.json"))
    found, expected = sweep(TRIAL, AXES, store=folder), sweep(TRIAL, AXES)
    assert content(found.drop_vars("seconds")) == content(expected.drop_vars("seconds"))
