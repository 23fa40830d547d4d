"""Nothing read from disk is run; an encrypted cluster lets in only those with its certificates."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from schedulers import scheduler

from detox_sim import aggregators
from detox_sim.catalogue import resolve
from detox_sim.cluster import connect
from detox_sim.cluster.connecting import Tls
from detox_sim.sweeps import assemble
from detox_sim.sweeps.store import Store, content, write_netcdf
from reports import render
from studies.reproduce import main
from studies.style import draw, save
from studies.training import accuracy_alie
from studies.workflow.options import PACKAGES
from studies.workflow.plans import make_plans

ROOT = Path(__file__).resolve().parents[2]

# --- no code in what is read ----------------------------------------------------------------------

MODULES = {"pickle", "_pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal", "code"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
CALLS = {"torch.load", "torch.jit.load", "torch.hub.load", "yaml.load", "yaml.unsafe_load"}


def runs_code(source):
    """Return where a source could run code that it reads, as text."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            wrong = node.module.split(".")[0] in MODULES
            found += [ast.unparse(node)] * (wrong or bool(full & CALLS))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            wrong = name in BUILTINS | CALLS or name.endswith(("read_pickle", "import_module.load"))
            wrong |= any(
                keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False"
                for keyword in node.keywords
            )
            found += [ast.unparse(node)] * wrong
    return found


SOURCES = sorted(
    p for part in ("detox_sim", "studies", "reports") for p in (ROOT / part).rglob("*.py")
)


# CIFAR's files are pickles; its unpickler finds no function, which tests/test_data.py holds.
PICKLES = {ROOT / "detox_sim" / "data" / "cifar.py": ["pickle"]}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_reads_what_could_run(path):
    assert runs_code(path.read_text()) == PICKLES.get(path, [])


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import os, cloudpickle as c",
        "def f():\n    from joblib import load",
        "import torch\ntorch.load('weights')",
        "from torch import load",
        "np.load('a.npy', allow_pickle=True)",
        "np.load('a.npy', allow_pickle=trusted)",
        "pd.read_pickle('frame')",
        "import yaml; yaml.load(text)",
        "eval(text)",
        "class A:\n    def f(self):\n        exec(self.text)",
    ],
)
def test_the_walk_sees_what_could_run(line):
    assert len(runs_code(line)) == 1


@pytest.mark.parametrize(
    "line", ["model.eval()", "np.load('a.npy')", "np.load(a, allow_pickle=False)", "json.load(f)"]
)
def test_the_walk_lets_pass_what_could_not(line):
    assert runs_code(line) == []


# --- a hostile dataset ----------------------------------------------------------------------------


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """Return a file that exists once somebody has imported the module evil, or called boom."""
    mark = tmp_path / "imported"
    (tmp_path / "evil.py").write_text(
        f"open({str(mark)!r}, 'w').close()\n\ndef boom(*_, **__):\n    return None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield mark
    sys.modules.pop("evil", None)


@pytest.fixture(scope="module")
def honest():
    """Return a plan of two cells, and what they give."""
    settings = {"pipeline": ["Median", "D-Median"], "seed": 0, "steps": 2}
    plan = make_plans(["accuracy_alie"], "smoke", settings)[0]
    return plan, [cell.run(cell.fields) for cell in plan.cells]


NAMES = dict.fromkeys(("outer", "inner", "attack", "vote", "model", "data"), "evil:boom")
ABOUT = {
    "study": "evil:boom",
    "title": "evil:boom",
    "claim": "evil:boom",
    "definitions": ["evil:boom", "__import__('evil')", "!!python/object/apply:evil.boom []"],
    "scale": "{evil.boom}",
    "profile": "%(evil)s",
    "settings": NAMES,
    "version": "evil:boom",
    "base": NAMES,
}


def hostile(dataset):
    """Return a dataset that names code wherever a file can name something."""
    words = np.array(["evil:boom", "cos\nsystem\n(S'touch'\ntR.", "evil.boom()"], dtype=object)
    dataset = dataset.assign_coords(words=("words", words, {"units": "evil:boom"}))
    dataset = dataset.assign(note=("words", np.zeros(3), {"coordinates": "evil:boom"}))
    dataset.accuracy.attrs |= {"long_name": "evil:boom", "ancillary_variables": "evil:boom"}
    trial = json.dumps(NAMES)
    return dataset.assign_attrs(trial=trial, engine="evil:boom", Conventions="evil:boom")


def test_a_hostile_cell_imports_nothing(tmp_path, evil, honest):
    plan, datasets = honest
    store = Store(tmp_path / "cells")
    for cell, dataset in zip(plan.cells, datasets, strict=True):
        store.write(cell, hostile(dataset), {"packages": NAMES, "time": "evil:boom"} | FACTS)
    assembled = assemble(plan.cells, plan.axes, store, ABOUT)
    assert "evil:boom" in assembled.words.values
    assert not evil.exists()


FACTS = {"seconds": 1.0, "hardware": "evil:boom", "commit": None, "dirty": None, "host": "evil"}


def test_a_hostile_dataset_imports_nothing_when_it_is_drawn_and_told(
    tmp_path, evil, honest, monkeypatch
):
    plan, datasets = honest
    store, folder = Store(tmp_path / "cells"), tmp_path / "results"
    for cell, dataset in zip(plan.cells, datasets, strict=True):
        store.write(cell, hostile(dataset), {"packages": NAMES, "time": "evil:boom"} | FACTS)
    dataset = assemble(plan.cells, plan.axes, store, ABOUT)
    text = dataset.words.values
    write_netcdf(dataset.assign(text=("words", text)), folder / "accuracy_alie.nc")
    with xr.open_dataset(folder / "accuracy_alie.nc", engine="netcdf4") as stored:
        save(draw(accuracy_alie.figure, stored.load()), folder / "figures" / "accuracy_alie")
    monkeypatch.setattr("reports.render.GENERAL", {})
    render.render(folder, ["accuracy_alie"])
    page = (folder / "report" / "accuracy_alie.html").read_text()
    assert "evil:boom" in page, "the page tells what the file says"
    assert not evil.exists()


def test_the_trap_closes_when_a_name_is_resolved(evil):
    """What the tests above would see if reading resolved a name."""
    assert not evil.exists()
    assert resolve(aggregators, "evil:boom")() is None
    assert evil.exists()


# --- TLS ------------------------------------------------------------------------------------------


def make_certificates(folder):
    """Make an authority and one certificate as the recipe says; return the client's files."""
    recipe = (ROOT / "deploy" / "by_hand.md").read_text()
    commands = re.findall(r"^\$ (openssl .*|chmod 600 .*)$", recipe, re.M)
    assert len(commands) == 4
    folder.mkdir()
    for command in commands:
        subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True)
    assert (folder / "node.key").stat().st_mode & 0o077 == 0
    return Tls(*(str(folder / name) for name in ("ca.pem", "node.pem", "node.key")))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    """Yield a scheduler that speaks TLS only, the cluster's files, and those of a stranger."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl to make certificates")
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = make_certificates(folder / "ours"), make_certificates(folder / "theirs")
    files = ["--tls-ca-file", ours.ca, "--tls-cert", ours.cert, "--tls-key", ours.key]
    with scheduler(folder, options=["--protocol", "tls", *files]) as address:
        assert address.startswith("tls://")
        yield address, ours, theirs


def test_a_study_runs_over_tls(encrypted, tmp_path, honest):
    address, ours, _ = encrypted
    settings = ["pipeline=Median,D-Median", "seed=0", "steps=2"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    arguments += ["--scheduler", address, "--tls-ca", ours.ca]
    arguments += ["--tls-cert", ours.cert, "--tls-key", ours.key, "--output", str(tmp_path)]
    assert main(["accuracy_alie", "--profile", "smoke", *arguments]) == 0
    plan, datasets = honest
    found = [Store(tmp_path / "cells").read(cell) for cell in plan.cells]
    assert [content(dataset) for dataset in found] == [content(dataset) for dataset in datasets]


def test_without_certificates_nobody_gets_in(encrypted, capsys, tmp_path):
    address, _, _ = encrypted
    arguments = ["filtering", "--profile", "smoke", "--output", str(tmp_path / "out")]
    assert main([*arguments, "--scheduler", address]) == 2
    assert "needs certificates: give a CA, a certificate and a key" in capsys.readouterr().err
    assert main([*arguments, "--scheduler", address.replace("tls", "tcp")]) == 2
    assert "one with certificates answers at tls:// only" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("same_ca", [False, True])
def test_with_others_certificates_nobody_gets_in(encrypted, same_ca):
    address, ours, theirs = encrypted
    tls = theirs._replace(ca=ours.ca) if same_ca else theirs
    message = r"these certificates do not go together .*that the cluster's CA signed"
    with pytest.raises(ConnectionError, match=message), connect(address, tls=tls):
        pass


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ca": "no.pem"}, "no file 'no.pem' for the ca of TLS"),
        ({"key": "no.pem"}, "no file 'no.pem' for the key of TLS"),
        ({"cert": __file__}, "the TLS files cannot be used"),
        ({"ca": __file__}, "the TLS files cannot be used"),
    ],
)
def test_files_that_do_not_fit_are_told(encrypted, change, message):
    address, ours, _ = encrypted
    tls = ours._replace(**change)
    with pytest.raises(ConnectionError, match=message), connect(address, tls=tls):
        pass


def test_a_silent_port_is_no_matter_of_certificates(encrypted):
    _, ours, _ = encrypted
    silent = "tls://127.0.0.1:9"
    with pytest.raises(ConnectionError, match="no dask-scheduler"), connect(silent, tls=ours):
        pass


def test_tls_files_are_for_a_tls_address(encrypted):
    address, ours, _ = encrypted
    other = address.replace("tls", "tcp")
    message = f"TLS files are for a tls:// scheduler, got {other}; write {address}"
    with pytest.raises(ConnectionError, match=message), connect(other, tls=ours):
        pass
    with pytest.raises(ConnectionError, match="needs the address"), connect(tls=ours):
        pass


def test_the_files_of_dasks_configuration_do_too(encrypted):
    import dask

    address, ours, _ = encrypted
    names = {"ca-file": ours.ca, "client.cert": ours.cert, "client.key": ours.key}
    files = {f"distributed.comm.tls.{name}": path for name, path in names.items()}
    with dask.config.set(files), connect(address, packages=PACKAGES) as client:
        assert client.submit(abs, -1).result() == 1
