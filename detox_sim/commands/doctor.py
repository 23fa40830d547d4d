"""Print what this machine, and a scheduler, have and lack, and how to mend it.

Exit codes: 0 nothing is wrong, 1 something is, 2 bad usage.
"""

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from detox_sim.commands import terminal

if TYPE_CHECKING:
    from detox_sim.cluster import Tls

# Other modules are imported where they are used, so that a missing package can be reported.

CLONE = Path(__file__).parents[2]  # the folder of the repository, if this is one
STUDIES = CLONE / "studies" / "reproduce.py"
PINS = CLONE / "constraints.txt"
PROCESS_GIGABYTES = 1.0  # a Dask process with torch, and a cell of the profile laptop
DISK_GIGABYTES = 1.0  # all results of the profile laptop, several times over
INSTALL = "pip install --constraint constraints.txt --editable '.[studies]'"


class Finding(NamedTuple):
    """One line: what was examined, what was found, and the fix if that is wrong."""

    subject: str
    found: str
    fix: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    basics = [_python(), _packages()]
    if " is missing" in basics[1].found:
        return _print(basics)
    from detox_sim.commands.options import tls_files

    made = parser()
    options = made.parse_args(arguments)
    try:
        tls = tls_files(options)
    except ValueError as error:
        made.error(str(error))
    return _print(examine(options.scheduler, tls))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's options."""
    from detox_sim.commands.options import add_tls

    made = terminal.Parser(
        prog="detox-sim doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--scheduler", metavar="ADDR", help="examine this dask-scheduler too")
    add_tls(made)
    return made


def _print(findings: list[Finding]) -> int:
    """Print the findings; return the exit code."""
    for finding in findings:
        print(f"{'PROBLEM' if finding.fix else 'ok':8}{finding.subject:11}{finding.found}")
        if finding.fix:
            print(f"{'':8}{'':11}fix: {finding.fix}")
    return int(any(finding.fix for finding in findings))


def examine(scheduler: str | None = None, tls: "Tls | None" = None) -> list[Finding]:
    """Return a finding for each thing that the studies need or can use.

    Examples
    --------
    >>> [finding.subject for finding in examine()]
    ['Python', 'packages', 'threads', 'memory', 'disk', 'GPU', 'CuPy', ..., 'scheduler']
    """
    gpus = _gpus()
    return [
        _python(),
        _packages(),
        _threads(),
        _memory(),
        _disk(Path.cwd()),
        Finding("GPU", ", ".join(gpus) or "none; all studies run on the CPU"),
        _cupy(bool(gpus)),
        _data(),
        _studies(),
        _scheduler(scheduler, tls),
    ]


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    fix = "" if sys.version_info >= (3, 11) else "install Python 3.11 or newer"
    return Finding("Python", found, fix)


def _packages(pins: Path = PINS) -> Finding:
    """Compare with the pins beside the source, or with what an installed wheel asks for."""
    try:
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name as plain
    except ModuleNotFoundError:
        return Finding("packages", "packaging is missing", INSTALL)

    listed = importlib.metadata.requires("detox-sim") or []
    pinned = pins.exists()
    extra = {"extra": "studies" if pinned else ""}  # a clone has the studies
    needed = {
        plain(r.name): r
        for r in map(Requirement, listed)
        if not r.marker or r.marker.evaluate(extra)
    }
    if pinned:
        lines = re.findall(r"^[\w.-]+==[\w.+!-]+$", pins.read_text(), re.M)
        wanted = {plain(r.name): r for r in map(Requirement, lines)}
    else:
        wanted = needed
    versions = {name: _version(name) for name in wanted | needed}
    wrong = [
        f"{name} {found}, wanted {str(wanted[name].specifier).lstrip('=')}"
        for name, found in versions.items()
        if found and name in wanted and not wanted[name].specifier.contains(found, True)
    ]
    wrong += [f"{name} is missing" for name in needed if not versions[name]]
    source = "constraints.txt" if pinned else "the package asks (no constraints.txt beside it)"
    if wrong:
        fix = INSTALL if pinned else "pip install --upgrade detox-sim, or install from a clone"
        return Finding("packages", "; ".join(wrong), fix)
    return Finding("packages", f"{sum(map(bool, versions.values()))} as {source}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _threads() -> Finding:
    """Compare the cores with the threads that the environment asks for."""
    from detox_sim.cluster import cores

    usable = cores()
    found = f"{usable} cores to use of {os.cpu_count()}; a process takes one"
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    many = [n for n in names if os.environ.get(n, "").isdigit() and int(os.environ[n]) > usable]
    if many:
        asked = ", ".join(f"{name}={os.environ[name]}" for name in many)
        return Finding("threads", f"{found}, but {asked}", f"unset {' '.join(many)}")
    return Finding("threads", found)


def _memory(available: float | None = None) -> Finding:
    """Compare the free memory (bytes) with what one Dask process a core takes."""
    import psutil
    from distributed.system import MEMORY_LIMIT  # of the container, if that is less

    from detox_sim.cluster import cores

    free = min(psutil.virtual_memory().available, MEMORY_LIMIT) if available is None else available
    most = int(free / 1e9 / PROCESS_GIGABYTES)
    found = f"{free / 1e9:.1f} GB free for {cores()} processes of {PROCESS_GIGABYTES:g} GB"
    if most >= cores():
        return Finding("memory", found)
    fix = f"give --processes {most}" if most else f"free {PROCESS_GIGABYTES:g} GB"
    return Finding("memory", found, fix)


def _disk(folder: Path) -> Finding:
    """Look for room for results, and for the right to write them, in a folder."""
    free = shutil.disk_usage(folder).free / 1e9
    found = f"{free:.1f} GB free in {folder}"
    if not os.access(folder, os.W_OK):
        return Finding("disk", f"cannot write to {folder}", "name another folder with --output")
    return Finding("disk", found, "" if free >= DISK_GIGABYTES else "name a disk with --output")


def _gpus() -> list[str]:
    """Return the names of the GPUs that the driver knows."""
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip().replace(", ", ", driver ") for line in listed.stdout.splitlines() if line]


def _cupy(gpu: bool) -> Finding:
    """Look for a CuPy that works; none is no problem, one that does not work is."""
    extras = "pip install '.[cuda12]' (or cuda13)"
    names = [name for name in ("cupy-cuda12x", "cupy-cuda13x", "cupy") if _version(name)]
    if not names:
        return Finding("CuPy", f"not installed; to use the GPU: {extras}" if gpu else "not needed")
    from detox_sim.arrays import require

    try:
        require("cupy")
    except ValueError as error:
        fix = extras if gpu else f"install the GPU's driver, or pip uninstall {names[0]}"
        return Finding("CuPy", str(error), fix)
    return Finding("CuPy", f"{names[0]} {_version(names[0])}")


def _data() -> Finding:
    """Load the data sets; an optional one that nobody asked for may be missing."""
    from detox_sim import data
    from detox_sim.data import cifar, grey

    found = [f"digits ({len(data.digits().train_images)} images)"]
    if os.environ.get("FASHION_MNIST") or grey.local_fashion_mnist():
        try:
            found.append(f"fashion_mnist ({len(data.fashion_mnist().train_images)} images)")
        except ValueError as error:
            what, _, fix = str(error).partition(": ")
            return Finding("data", f"{found[0]}, but {what}", fix or "get that file anew")
    else:
        found.append("no fashion_mnist (optional; downloaded where a study asks for it)")
    for name, archive in (("cifar10", cifar.CIFAR10), ("cifar100", cifar.CIFAR100)):
        found.append(name if cifar.local(archive) else f"no {name} (optional)")
    return Finding("data", ", ".join(found))


def _studies() -> Finding:
    """Look for the studies, which a clone has and the installed package has not."""
    if STUDIES.exists():
        return Finding("studies", f"those of {CLONE}")
    return Finding("studies", "none: not part of the package; a clone of the repository has them")


def _scheduler(address: str | None, tls: "Tls | None") -> Finding:
    """Join a scheduler as a study does; examine versions, threads and environment of processes."""
    if address is None:
        return Finding("scheduler", "none given; studies start a cluster of their own on loopback")
    from detox_sim.cluster import PACKAGES, connect
    from detox_sim.cluster.connecting import ENVIRONMENT

    modules = ("studies",) if STUDIES.exists() else ()
    try:
        with connect(address, packages=PACKAGES, modules=modules, tls=tls) as client:
            processes = client.scheduler_info(-1)["workers"].values()
            variable = "MALLOC_TRIM_THRESHOLD_"
            trims = client.run(os.getenv, variable).values()
    except ConnectionError as error:
        found, _, fix = str(error).rpartition("; ")
        return Finding("scheduler", found or str(error), fix)
    least = min(process["memory_limit"] for process in processes) / 1e9
    gpus = sum("GPU" in process["resources"] for process in processes)
    found = (
        f"{address}: {len(processes)} processes, {gpus} with a GPU, {least:.1f} GB or more each, "
        f"all with this Python and these versions of {', '.join(PACKAGES)}"
    )
    found += ", and the studies" * bool(modules)
    wanted = ENVIRONMENT[f"distributed.nanny.pre-spawn-environ.{variable}"]
    if any(process["nthreads"] != 1 for process in processes):
        return Finding("scheduler", f"{found}; some have several threads", "add --nthreads 1")
    if any(trim != str(wanted) for trim in trims):
        fix = f"export {variable}={wanted} before dask worker, which is several times slower else"
        return Finding("scheduler", f"{found}; {variable} differs", fix)
    return Finding("scheduler", found)


if __name__ == "__main__":
    sys.exit(terminal.run(main))
