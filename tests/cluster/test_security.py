"""Nothing read from disk is run; an encrypted cluster lets in only those with its certificates."""

import ast
import contextlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from browsers import documents
from schedulers import scheduler

from detox_sim import aggregators
from detox_sim.catalogue import resolve
from detox_sim.cluster import PACKAGES, Tls, connect
from detox_sim.sweeps import assemble
from detox_sim.sweeps.store import Store, content, write_netcdf
from reports import render
from studies.reproduce import main
from studies.style import draw, save
from studies.training import accuracy_alie
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


def test_no_source_reads_what_could_run():
    for path in SOURCES:
        assert runs_code(path.read_text()) == PICKLES.get(path, []), path


def test_walk_sees_what_could_run_and_only_that():
    for line in (
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
    ):
        assert len(runs_code(line)) == 1, line
    for line in (
        "model.eval()",
        "np.load('a.npy')",
        "np.load(a, allow_pickle=False)",
        "json.load(f)",
    ):
        assert runs_code(line) == [], line


# --- a hostile dataset ----------------------------------------------------------------------------


@contextlib.contextmanager
def module_evil(folder):
    """Yield a file that exists once somebody has imported the module evil, or called boom."""
    mark = folder / "imported"
    (folder / "evil.py").write_text(
        f"open({str(mark)!r}, 'w').close()\n\ndef boom(*_, **__):\n    return None\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield mark
    sys.modules.pop("evil", None)


@pytest.fixture
def evil(tmp_path):
    with module_evil(tmp_path) as mark:
        yield mark


@pytest.fixture(scope="module")
def honest():
    """Return a plan of two cells, and what they give."""
    settings = {"pipeline": ["Median", "D-Median"], "seed": 0, "steps": 2}
    plan = make_plans(["accuracy_alie"], "smoke", settings)[0]
    return plan, [cell.run(cell.fields) for cell in plan.cells]


RUN = "document.title = 'ran'"  # a page has another title unless it ran a script
SCRIPT = f'</title></script><script>{RUN}</script><img src="x" onerror="{RUN}">'
NAMES = dict.fromkeys(("outer", "inner", "attack", "vote", "model", "data"), "evil:boom")
ABOUT = {
    "study": "evil:boom",
    "title": f"evil:boom {SCRIPT}",
    "claim": f"evil:boom {SCRIPT}",
    "definitions": [
        SCRIPT,
        "evil:boom",
        "__import__('evil')",
        "!!python/object/apply:evil.boom []",
    ],
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


def test_hostile_cell_imports_nothing(tmp_path, evil, honest):
    plan, datasets = honest
    store = Store(tmp_path / "cells")
    for cell, dataset in zip(plan.cells, datasets, strict=True):
        store.write(cell, hostile(dataset), {"packages": NAMES, "time": "evil:boom"} | FACTS)
    assembled = assemble(plan.cells, plan.axes, store, ABOUT)
    assert "evil:boom" in assembled.words.values
    assert not evil.exists()


FACTS = {"seconds": 1.0, "hardware": "evil:boom", "commit": None, "dirty": None, "host": "evil"}


@pytest.fixture(scope="module")
def report(tmp_path_factory, honest):
    """Return the folder of a report on a hostile dataset, and the file that an import makes."""
    tmp_path = tmp_path_factory.mktemp("hostile")
    with module_evil(tmp_path) as mark, pytest.MonkeyPatch.context() as patch:
        patch.setattr("reports.render.GENERAL", {"explore": "Explore"})
        yield write_report(tmp_path, *honest), mark


def write_report(tmp_path, plan, datasets):
    """Write the page of a hostile dataset and the page `explore`; return their folder."""
    store, folder = Store(tmp_path / "cells"), tmp_path / "results"
    for cell, dataset in zip(plan.cells, datasets, strict=True):
        store.write(cell, hostile(dataset), {"packages": NAMES, "time": "evil:boom"} | FACTS)
    dataset = assemble(plan.cells, plan.axes, store, ABOUT, accuracy_alie.STUDY.derive)
    text = dataset.words.values
    write_netcdf(dataset.assign(text=("words", text)), folder / "accuracy_alie.nc")
    with xr.open_dataset(folder / "accuracy_alie.nc", engine="netcdf4") as stored:
        save(draw(accuracy_alie.figure, stored.load()), folder / "figures" / "accuracy_alie")
    with render.Report(folder, ["accuracy_alie"]) as report:
        report.execute(["accuracy_alie", "explore"])
        report.write(["accuracy_alie", "explore"])
    return folder / "report"


def test_hostile_dataset_imports_nothing_when_drawn_and_rendered(report):
    folder, mark = report
    page = (folder / "accuracy_alie.html").read_text()
    assert "evil:boom" in page, "the page shows what the file holds"
    assert not mark.exists()


def test_hostile_dataset_runs_nothing_in_a_browser(report, tmp_path):
    """Neither on its own page nor on the one that has a script; without the policy both run."""
    study, explore = ((report[0] / f"{name}.html").read_text() for name in PAGES)
    assert f"<script>{RUN}</script>" in study
    assert f"<script>{RUN}" not in explore, "the title is escaped in the navigation"
    pages = {"study": study, "explore": explore.replace("<main>", f"<main>{SCRIPT}")}
    pages |= {f"open {name}": POLICY.sub("", page) for name, page in pages.items()}
    for name, page in pages.items():
        (tmp_path / f"{name}.html").write_text(page)
    found = documents(tmp_path, [(tmp_path / f"{name}.html").as_uri() for name in pages])
    ran = [name for name, text in zip(pages, found, strict=True) if "<title>ran</title>" in text]
    assert ran == ["open study", "open explore"]
    explored = [name for name, text in zip(pages, found, strict=True) if "15 files, of" in text]
    assert explored == ["explore", "open explore"]


PAGES = ("accuracy_alie", "explore")
POLICY = re.compile('<meta http-equiv="Content-Security-Policy"[^>]*>')


def test_resolving_a_name_imports_it(evil):
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
    assert (folder / "cluster.key").stat().st_mode & 0o077 == 0
    return Tls(*(str(folder / name) for name in ("ca.pem", "cluster.pem", "cluster.key")))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    """Yield a scheduler that talks TLS only, the cluster's files, and those of a stranger."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl to make certificates")
    folder = tmp_path_factory.mktemp("tls")
    ours, theirs = make_certificates(folder / "ours"), make_certificates(folder / "theirs")
    files = ["--tls-ca-file", ours.ca, "--tls-cert", ours.cert, "--tls-key", ours.key]
    with scheduler(folder, options=["--protocol", "tls", *files]) as address:
        assert address.startswith("tls://")
        yield address, ours, theirs


def test_cells_over_tls_have_the_same_bits(encrypted, honest):
    address, ours, _ = encrypted
    plan, datasets = honest
    with connect(address, packages=PACKAGES, tls=ours) as client:
        found = client.gather([client.submit(cell.run, cell.fields) for cell in plan.cells])
    assert [content(dataset) for dataset in found] == [content(dataset) for dataset in datasets]


def test_scheduler_refuses_clients_without_certificates(encrypted, capsys, tmp_path):
    address, _, _ = encrypted
    arguments = ["filtering", "--profile", "smoke", "--output", str(tmp_path / "out")]
    assert main([*arguments, "--scheduler", address]) == 2
    assert "needs certificates: give a CA, a certificate and a key" in capsys.readouterr().err
    assert main([*arguments, "--scheduler", address.replace("tls", "tcp")]) == 2
    assert "one with certificates answers at tls:// only" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_scheduler_refuses_certificates_of_another_authority(encrypted):
    address, ours, theirs = encrypted
    message = r"these certificates do not go together .*that the cluster's CA signed"
    for tls in (theirs, theirs._replace(ca=ours.ca)):
        with pytest.raises(ConnectionError, match=message), connect(address, tls=tls):
            pass


def test_impossible_tls_is_refused(encrypted):
    address, ours, _ = encrypted
    other, silent = address.replace("tls", "tcp"), "tls://127.0.0.1:9"
    unusable, forgotten = "the TLS files cannot be used", "no file 'no.pem' for the {} of TLS"
    cases = [
        (address, ours._replace(ca="no.pem"), forgotten.format("ca")),
        (address, ours._replace(key="no.pem"), forgotten.format("key")),
        (address, ours._replace(cert=__file__), unusable),
        (address, ours._replace(ca=__file__), unusable),
        (silent, ours, "no dask-scheduler"),
        (other, ours, f"TLS files are for a tls:// scheduler, got {other}; write {address}"),
        (None, ours, "needs the address"),
    ]
    for where, tls, message in cases:
        with pytest.raises(ConnectionError, match=message), connect(where, tls=tls):
            pass


def test_files_of_dask_configuration_serve_too(encrypted):
    import dask

    address, ours, _ = encrypted
    names = {"ca-file": ours.ca, "client.cert": ours.cert, "client.key": ours.key}
    files = {f"distributed.comm.tls.{name}": path for name, path in names.items()}
    with dask.config.set(files), connect(address, packages=PACKAGES) as client:
        assert client.submit(abs, -1).result() == 1
