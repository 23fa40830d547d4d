"""The doctor: each thing that can be wrong is found, with its fix."""

import importlib.metadata
import os
import subprocess
import sys

import pytest
from schedulers import scheduler

from detox_sim.commands import doctor
from detox_sim.commands.doctor import main
from detox_sim.data import grey

VERSION = importlib.metadata.version


def pins(tmp_path, **changed):
    path = tmp_path / "constraints.txt"
    path.write_text("".join(f"{name}=={VERSION(name)}\n" for name in ("numpy", "scipy", "xarray")))
    text = path.read_text()
    for name, version in changed.items():
        text = text.replace(f"{name}=={VERSION(name)}", f"{name}=={version}")
    path.write_text(text)
    return path


def test_doctor_prints_a_line_a_subject(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_packages", lambda: doctor.Finding("packages", "pinned"))
    monkeypatch.setattr(doctor, "_memory", lambda: doctor.Finding("memory", "enough"))
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert 8 <= len(lines) <= 12
    assert all(line.startswith("ok ") for line in lines)
    assert any(line.split()[1:3] == ["data", "digits"] for line in lines)


def test_doctor_prints_a_problem_with_its_fix(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_disk", lambda _: doctor.Finding("disk", "full", "empty it"))
    monkeypatch.setattr(doctor, "_memory", lambda: doctor.Finding("memory", "fine"))
    assert main([]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM disk       full\n                   fix: empty it\n" in out


def test_doctor_compares_packages_with_the_pins(tmp_path, monkeypatch):
    finding = doctor._packages(pins(tmp_path))
    assert finding.fix == ""
    assert finding.found.endswith(" as constraints.txt")
    finding = doctor._packages(pins(tmp_path, numpy="1.0.7"))
    assert finding.found == f"numpy {VERSION('numpy')}, wanted 1.0.7"
    assert finding.fix == "pip install --constraint constraints.txt --editable '.[studies]'"
    path = pins(tmp_path)
    path.write_text(path.read_text() + "no-such-tool==1.0\n")
    assert doctor._packages(path).fix == "", "a pinned tool that is not needed"
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda n: None if n == "seaborn" else real(n))
    finding = doctor._packages(pins(tmp_path))
    assert finding.found == "seaborn is missing"
    assert finding.fix


def test_doctor_compares_a_wheel_with_what_it_asks_for(tmp_path, monkeypatch):
    finding = doctor._packages(tmp_path / "constraints.txt")
    assert finding.fix == ""
    assert "no constraints.txt beside it" in finding.found
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda n: "0.5" if n == "numpy" else real(n))
    finding = doctor._packages(tmp_path / "constraints.txt")
    assert finding.found == "numpy 0.5, wanted >=2.0"
    assert "from a clone" in finding.fix


def test_doctor_finds_an_old_python(monkeypatch):
    monkeypatch.setattr(doctor.sys, "version_info", (3, 10, 1))
    assert doctor._python().fix == "install Python 3.11 or newer"


def test_doctor_finds_more_threads_than_cores(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "100000")
    finding = doctor._threads()
    assert finding.found.endswith("but OMP_NUM_THREADS=100000")
    assert finding.fix == "unset OMP_NUM_THREADS"
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert doctor._threads().fix == ""


def test_doctor_finds_too_little_memory(monkeypatch):
    monkeypatch.setattr("detox_sim.cluster.cores", lambda: 4)
    for gigabytes, fix in ((9, ""), (2.5, "give --processes 2"), (0.2, "free 1 GB")):
        assert doctor._memory(gigabytes * 1e9).fix == fix, gigabytes


def test_doctor_finds_a_full_disk_and_a_folder_of_others(tmp_path, monkeypatch):
    assert doctor._disk(tmp_path).fix == ""
    monkeypatch.setattr(doctor, "DISK_GIGABYTES", 1e9)
    assert doctor._disk(tmp_path).fix == "name a disk with --output"
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert doctor._disk(tmp_path).found == f"cannot write to {tmp_path}"


def test_doctor_names_the_gpus_of_the_driver(tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'Some GPU, 570.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor._gpus() == ["Some GPU, driver 570.1"]
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert doctor._gpus() == []
    tool.unlink()
    assert doctor._gpus() == []


def test_doctor_finds_a_cupy_that_does_not_work(monkeypatch):
    def broken(_):
        raise ValueError("backend 'cupy' finds no usable GPU")

    monkeypatch.setattr(doctor, "_version", lambda _: None)
    assert doctor._cupy(False) == ("CuPy", "not needed", "")
    assert "cuda12" in doctor._cupy(True).found
    monkeypatch.setattr(doctor, "_version", lambda n: "13.6" if n == "cupy-cuda12x" else None)
    monkeypatch.setattr("detox_sim.arrays.require", broken)
    assert doctor._cupy(False).fix == "install the GPU's driver, or pip uninstall cupy-cuda12x"
    monkeypatch.setattr("detox_sim.arrays.require", lambda _: None)
    assert doctor._cupy(True) == ("CuPy", "cupy-cuda12x 13.6", "")


def test_doctor_finds_missing_and_damaged_data(tmp_path, monkeypatch):
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path))
    finding = doctor._data()
    assert f"fashion_mnist finds no train-images-idx3-ubyte.gz in {tmp_path}" in finding.found
    assert finding.fix.startswith("put train-images-idx3-ubyte.gz")
    for name in grey.FASHION_FILES:
        (tmp_path / name).write_bytes(b"damaged")
    finding = doctor._data()
    assert "not a gzipped IDX file" in finding.found
    assert finding.fix


def test_doctor_finds_a_silent_scheduler(capsys):
    assert main(["--scheduler", "tcp://127.0.0.1:9"]) == 1
    out = capsys.readouterr().out
    assert "PROBLEM scheduler  no dask-scheduler answers at 'tcp://127.0.0.1:9'" in out
    assert "fix: start one with: dask scheduler" in out


def test_doctor_examines_the_processes_of_a_scheduler(tmp_path):
    ours = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
    dasks = {name: "" for name in os.environ if name.startswith("MALLOC_")}
    for threads, environment, fix in (
        (1, ours, ""),
        (2, {}, "add --nthreads 1"),
        (1, dasks, "export MALLOC_TRIM_THRESHOLD_=1073741824 before dask worker"),
    ):
        with scheduler(tmp_path, more=["--nthreads", threads], environment=environment) as address:
            finding = doctor._scheduler(address, None)
        assert f"{address}: 1 processes, 0 with a GPU" in finding.found
        assert finding.fix.partition(",")[0] == fix, (threads, environment)


def test_doctor_refuses_half_of_tls(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--scheduler", "tls://127.0.0.1:9", "--tls-ca", "ca.pem"])
    assert stopped.value.code == 2
    assert "add --tls-cert and --tls-key" in capsys.readouterr().err


def test_doctor_runs_where_a_package_is_missing():
    code = """
import importlib.metadata, runpy, sys
missing, real = sys.argv.pop(), importlib.metadata.version
def version(name):
    if name == missing:
        raise importlib.metadata.PackageNotFoundError(name)
    return real(name)
importlib.metadata.version = version
sys.modules[missing] = None
runpy.run_module("detox_sim.commands.doctor", run_name="__main__")
"""
    for name in ("seaborn", "packaging", "distributed", "torch"):
        command = [sys.executable, "-c", code, name]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (1, ""), name
        assert f"{name} is missing" in done.stdout
        assert "fix: pip install" in done.stdout
