"""The recipes: those by hand are run as a user would; of the others what can be checked is."""

import importlib.util
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import xarray as xr
import yaml

from detox_sim.cluster import Tls, connect
from detox_sim.cluster.connecting import ENVIRONMENT
from detox_sim.commands import doctor
from studies import reproduce

ROOT = Path(__file__).resolve().parent.parent
DEPLOY = ROOT / "deploy"
DOCUMENTS = sorted(DEPLOY.glob("*.md"))


def blocks(name):
    """Return the console blocks of a recipe, each a list of commands."""
    found = re.findall(r"```console\n(.*?)```", (DEPLOY / name).read_text(), re.DOTALL)
    lines = [block.strip().splitlines() for block in found]
    assert all(line.startswith("$ ") for block in lines for line in block)
    return [[line.removeprefix("$ ") for line in block] for block in lines]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Terminals:
    """Shells in a folder, as a user opens them one beside the other; all end with the test."""

    def __init__(self, folder, replaced):
        self.folder, self.replaced, self.open = folder, replaced, []

    def start(self, block):
        """Type the commands of a block; do not wait for the last."""
        script = "set -e\n" + "\n".join(block)
        for old, new in self.replaced.items():
            script = script.replace(old, new)
        log = (self.folder / f"terminal{len(self.open)}.log").open("w+")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=self.folder,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.open.append((shell, log))
        return shell

    def run(self, block):
        """Type the commands of a block and wait; return what they printed."""
        shell = self.start(block)
        code = shell.wait(300)
        log = self.open[-1][1]
        log.seek(0)
        printed = log.read()
        assert code == 0, printed
        return printed

    def close(self):
        for shell, _ in self.open:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait(10)
        for _, log in self.open:
            log.close()


@pytest.fixture
def terminals(tmp_path):
    opened = []

    def make(replaced):
        opened.append(Terminals(tmp_path, replaced))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def wait_for_workers(process, count, port):
    """Wait until so many processes below a shell hold a connection to the scheduler."""
    until = time.monotonic() + 60
    while True:
        family = family_of(process)
        if sum(_is_connected(member, port) for member in family) >= count:
            return family
        assert process.poll() is None, "dask worker ended"
        assert time.monotonic() < until
        time.sleep(0.2)


def family_of(process):
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def _is_connected(process, port):
    return any(c.raddr and c.raddr.port == port for c in connections(process))


def connections(process):
    """Return the connections of a process, none if it has ended."""
    try:
        return process.net_connections("inet")
    except psutil.Error:
        return []


def test_recipe_for_one_machine_runs_a_study(terminals, tmp_path):
    """Word for word, but for the ports, which others may use."""
    port, dashboard = free_port(), free_port()
    shells = terminals({"8786": str(port), "8787": str(dashboard)})
    scheduler, workers, study = blocks("by_hand.md")[:3]
    first = shells.start(scheduler)
    second = shells.start(workers)
    family = [*wait_for_workers(second, 2, port), *family_of(first)]
    listening = {c.laddr.ip for p in family for c in connections(p) if c.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    printed = shells.run(study)
    assert f"ok      scheduler  tcp://127.0.0.1:{port}: 2 processes" in printed
    assert (tmp_path / "by-hand" / "filtering.nc").exists()


def test_recipe_for_several_machines_starts_an_encrypted_cluster(terminals, tmp_path):
    """Word for word, but that all machines are this one, and one task stands for the study."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl to make certificates")
    port = free_port()
    shells = terminals(
        {"--interface eth1": "--host 127.0.0.1", "10.0.0.1": "127.0.0.1", "8786": str(port)}
    )
    certificates, scheduler, workers, study = blocks("by_hand.md")[3:]
    shells.run(certificates)
    shells.start(scheduler)
    wait_for_workers(shells.start(workers), 2, port)
    files = dict(re.findall(r"--tls-(\w+) (\S+)", study[0]))
    tls = Tls(**{name: str(tmp_path / file) for name, file in files.items()})
    with connect(f"tls://127.0.0.1:{port}", tls=tls) as client:
        client.wait_for_workers(2, timeout=60)
        assert client.submit(abs, -1).result() == 1


# --- what is documented exists --------------------------------------------------------------------


def options_of(command):
    """Return the long options of a command of ours or of Dask's."""
    from distributed.cli.dask_scheduler import main as scheduler
    from distributed.cli.dask_worker import main as worker

    if command.startswith("dask "):
        parameters = {"scheduler": scheduler, "worker": worker}[command.split()[1]].params
        return {name for p in parameters for name in (*p.opts, *p.secondary_opts)}
    module = {"reproduce": reproduce, "doctor": doctor}[re.split(r"[ .]", command)[-1]]
    return set(module.parser()._option_string_actions)


COMMANDS = r"(dask scheduler|dask worker|python -m studies\.reproduce|detox-sim doctor)"


def unknown_options(line):
    """Return the options in a command that its program does not have."""
    command = re.match(COMMANDS, line)
    if command is None:
        return []
    known = options_of(command[0])
    return [o for o in re.findall(r"(?<=\s)(--[\w-]+)", line) if o not in known]


LINES = [(path.name, line) for path in DOCUMENTS for block in blocks(path.name) for line in block]


def test_documented_options_exist():
    for name, line in LINES:
        assert unknown_options(line) == [], (name, line)
    assert unknown_options("dask worker ADDR --nthread 1 --memory-limit 1") == ["--nthread"]
    assert unknown_options("detox-sim doctor --schedule x") == ["--schedule"]
    assert len([line for _, line in LINES if re.match(COMMANDS, line)]) >= 8


def test_links_in_recipes_exist():
    for path in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", path.read_text()):
            assert target.startswith("https://") or (path.parent / target).exists(), target
        for target, heading in re.findall(r"\]\(([\w.]+)#([\w-]+)\)", path.read_text()):
            titles = re.findall(r"^#+ (.*)$", (path.parent / target).read_text(), re.M)
            assert heading in {title.lower().replace(" ", "-") for title in titles}, target


def test_recipes_that_were_not_run_say_so():
    for name in ("slurm.py", "kubernetes.md", "dask_cuda.md", "gpu.py"):
        assert re.search(r"[Nn]ot\s+run where this was written", (DEPLOY / name).read_text()), name


def test_recipes_set_what_the_embedded_cluster_sets():
    variables = {f"{key.rpartition('.')[2]}={value}" for key, value in ENVIRONMENT.items()}
    assert variables == {
        "MALLOC_TRIM_THRESHOLD_=1073741824",
        "MALLOC_MMAP_THRESHOLD_=1073741824",
        "MALLOC_ARENA_MAX=1",
        "OMP_WAIT_POLICY=PASSIVE",
    }
    for name in ("by_hand.md", "slurm.py", "dask_cuda.md", "Dockerfile"):
        text = (DEPLOY / name).read_text()
        assert all(variable in text for variable in variables), name


def test_slurm_recipe_compiles_and_its_options_exist():
    source = (DEPLOY / "slurm.py").read_text()
    compile(source, "slurm.py", "exec")
    options = [option for option in re.findall(r'"(--[\w-]+)"', source) if option != "--show-job"]
    known = options_of("python -m studies.reproduce") | options_of("dask worker")
    assert options
    assert set(options) <= known


@pytest.fixture(scope="module")
def manifests():
    documents = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


@pytest.mark.parametrize("role", ["scheduler", "worker"])
def test_manifests_fit_together(manifests, role):
    spec = manifests["Deployment", f"detox-{role}"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    container = spec["template"]["spec"]["containers"][0]
    command = " ".join([*container["command"], *container["args"]])
    assert command.startswith(f"dask {role} ")
    assert unknown_options(command) == []
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    files = re.findall(r"=(/\w+)/([\w.]+)", command)
    assert {folder for folder, _ in files} == mounted
    recipe = (DEPLOY / "kubernetes.md").read_text()
    assert all(f"--from-file={name}" in recipe for _, name in files)
    secrets = {volume["secret"]["secretName"] for volume in spec["template"]["spec"]["volumes"]}
    assert all(f"secret generic {name} " in recipe for name in secrets)
    assert f"--tag {container['image']} " in recipe


def test_manifests_connect_by_tls_only(manifests):
    service = manifests["Service", "detox-scheduler"]["spec"]
    scheduler = manifests["Deployment", "detox-scheduler"]["spec"]
    assert service["selector"] == scheduler["template"]["metadata"]["labels"]
    container = scheduler["template"]["spec"]["containers"][0]
    port = service["ports"][0]["port"]
    assert f"--port={port}" in container["args"]
    worker = manifests["Deployment", "detox-worker"]["spec"]["template"]["spec"]["containers"][0]
    assert worker["args"][0] == f"tls://detox-scheduler:{port}"
    for one in (container, worker):
        assert {"--protocol=tls", "--dashboard-address=127.0.0.1:0"} <= set(one["args"])


def test_image_copies_what_is_there():
    text = (DEPLOY / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for name in line.split()]
    assert {"detox_sim", "studies", "reports", "constraints.txt"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)


# --- a GPU's script, on the CPU -------------------------------------------------------------------


def test_script_for_a_gpu_measures_and_keeps_what_is_there(tmp_path, capsys):
    """Its parts run small on a CPU; without a GPU the default is refused in one line."""
    script = runpy.run_path(str(DEPLOY / "gpu.py"))
    assert script["main"]([str(tmp_path), "--backend", "numpy"]) == 0
    assert "D-Median: " in capsys.readouterr().out
    for name, variable in (("kernels", "milliseconds"), ("rounds", "seconds")):
        with xr.open_dataset(tmp_path / f"{name}.nc", engine="netcdf4") as found:
            assert float(found[variable].min()) >= 0
            assert float(found[variable].max()) > 0
            assert json.loads(found.attrs["provenance"])["device"] == "CPU"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert script["main"]([str(tmp_path), "--backend", "numpy"]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
    path = tmp_path / "kernels.nc"
    for part, message in ((path, "exists"), (tmp_path, "measured on None, not on CPU")):
        xr.Dataset({"a": 1}).to_netcdf(path)
        assert script["main"]([str(part), "--backend", "numpy"]) == 2
        assert message in capsys.readouterr().err
    for code in (0, 1):
        (tmp_path / "tests.txt").write_text(f"3 tests\nexit code {code}\n")
        assert script["_passed"](tmp_path / "tests.txt") == (code == 0)
    if importlib.util.find_spec("cupy") is None:
        assert script["main"]([str(tmp_path / "none")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not (tmp_path / "none").exists()
