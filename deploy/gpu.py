"""Measure a GPU: ``python deploy/gpu.py FOLDER``, meant to take less than eight minutes.

Three parts leave a file each, and a part whose file is there is left out: the tests that need a
GPU (``tests.txt``; the exit code is 1 where they fail), the time of rules and votes beside one read
of the rows (``kernels.nc``), and rounds of ResNet-18 by phase (``rounds.nc``). ``--backend numpy``
runs the last two small on a CPU, to try the script. On a GPU it was not run where this was written.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from detox_sim import Trial, train
from detox_sim.arrays import BACKENDS, require, synchronize
from detox_sim.cluster import PACKAGES, versions
from detox_sim.sweeps import provenance, write_netcdf
from studies.timing.kernel_times import GROWTH, our_kernel
from studies.timing.limits.operations import COPIES

SIZES = {"cupy": [(15, 11_173_962), (45, 1_000_000), (45, 11_173_962)], "numpy": [(15, 1000)]}
REPEATS = 7
PIPELINES = {
    "D-Median": {"copies": 3, "groups": 5, "inner": "mean", "outer": "median"},
    "D-Multi-Krum": {"copies": 3, "groups": None, "outer": "multi_krum"},
    "Multi-Krum": {"copies": 1, "assignment": "none", "groups": None, "outer": "multi_krum"},
}
ROUNDS: dict[str, dict[str, Any]] = {  # of the paper's size, and one to try
    "cupy": {"model": "resnet18", "batch": 1440, "steps": 8, "precision": "tf32"},
    "numpy": {"model": "cnn", "batch": 45, "steps": 2},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that are missing; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backend", choices=BACKENDS, default="cupy")
    options = parser.parse_args(arguments)
    try:
        require(options.backend)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    device = _device(options.backend)
    about = json.dumps(provenance(versions(PACKAGES)) | {"device": device})
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        _check_kept(options.folder, device)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    parts = {"tests.txt": _tests} if options.backend == "cupy" else {}
    for name, part in (parts | {"kernels.nc": _kernels, "rounds.nc": _rounds}).items():
        path = options.folder / name
        if path.exists():
            print(f"kept: {path}")
            continue
        result = part(options.backend)
        if isinstance(result, str):
            path.write_text(result)
            print(result.strip().splitlines()[-1])
        else:
            write_netcdf(result.assign_attrs(provenance=about), path)
            print(result.summary)
    return int("tests.txt" in parts and not _passed(options.folder / "tests.txt"))


def _check_kept(folder: Path, device: str) -> None:
    """Raise ValueError where a file of the folder is no result of this device."""
    for path in folder.glob("*.nc"):
        with xr.open_dataset(path, engine="netcdf4") as kept:
            found = json.loads(kept.attrs.get("provenance", "{}")).get("device")
        if found != device:
            raise ValueError(f"{path} was measured on {found}, not on {device}; use another folder")


def _passed(path: Path) -> bool:
    """Return whether the tests of which this is the output passed."""
    return path.read_text().endswith("exit code 0\n")


def _tests(backend: str) -> str:
    """Return what the tests that need a GPU print."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu"]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    return f"{done.stderr}{done.stdout}\nexit code {done.returncode}\n"


def _kernels(backend: str) -> xr.Dataset:
    """Return milliseconds of one read, and of rules and votes (size, kernel, repeat), in turns."""
    xp = require(backend)
    names = ["one read", *GROWTH]
    times = np.zeros((len(SIZES[backend]), len(names), REPEATS))
    for place, (n, d) in enumerate(SIZES[backend]):
        drawn = np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)
        copies = drawn[np.arange(n) // 3 * 3]  # three of each row
        rows = {True: xp.asarray(copies), False: xp.asarray(drawn)}
        calls = {name: our_kernel(name, n, n // 10) for name in GROWTH} | {"one read": xp.max}
        for repeat in range(-1, REPEATS):  # the first compiles
            for row, name in enumerate(names):
                given = rows[name in COPIES]
                synchronize(backend)
                start = time.perf_counter()
                calls[name](given)
                synchronize(backend)
                if repeat >= 0:
                    times[place, row, repeat] = 1e3 * (time.perf_counter() - start)
    result = xr.Dataset(
        {"milliseconds": (("size", "kernel", "repeat"), times)},
        {"size": [f"{n} x {d:,}" for n, d in SIZES[backend]], "kernel": names},
    )
    reads = (result.milliseconds / result.milliseconds.sel(kernel="one read")).median("repeat")
    return result.assign_attrs(
        summary=f"times of one read:\n{reads.round(1).to_pandas().T.to_string()}"
    )


def _rounds(backend: str) -> xr.Dataset:
    """Return seconds of rounds (pipeline, step, phase) on images of noise, and what they mean."""
    options = {"shape": [3, 32, 32]}
    base = {"workers": 45, "byzantine": 5, "attack": "alie", "backend": backend} | ROUNDS[backend]
    base |= {"data": "studies.timing.beside.simulators:noise", "data_options": options}
    base |= {"evaluate_every": base["steps"]}
    found = [train(Trial(**base, **each)).seconds for each in PIPELINES.values()]
    seconds = xr.concat(found, xr.Variable("pipeline", list(PIPELINES)))
    whole = seconds.isel(step=slice(1, None)).median("step")  # the first compiles
    total = whole.sum("phase")
    share = whole.sel(phase=["vote", "aggregate"]).sum("phase") / total
    lines = [
        f"{name}: {base['batch'] / float(total.sel(pipeline=name)):,.0f} images/s, "
        f"vote and aggregation {100 * float(share.sel(pipeline=name)):.1f} %"
        for name in PIPELINES
    ]
    return seconds.to_dataset().assign_attrs(summary="\n".join(lines))


def _device(backend: str) -> str:
    """Return the name of the GPU, or "CPU"."""
    if backend == "numpy":
        return "CPU"
    return require(backend).cuda.runtime.getDeviceProperties(0)["name"].decode()


if __name__ == "__main__":
    sys.exit(main())
