"""The command line: bad usage, plans, kills, caching, and what a finished run leaves."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import xarray as xr

import studies
from detox_sim.sweeps.store import content
from reports.render import GENERAL
from studies.reproduce import main

COMMAND = [sys.executable, "-m", "studies.reproduce", "--profile", "smoke"]


def finish(output: Path, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, "--output", output, *more], capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "byzantine=23"], "byzantine must be below workers / 2 = 22.5, got 23"),
        (["--set", "workers=44", "--set", "batch=88"], "copies must divide workers"),
        (["--set", "batch=100"], "batch must split into 45 equal files, got 100; use 90 or 135"),
        (["--set", "byzantine=22"], "needs n >= 2 * byzantine + 3"),
        (["--set", "step=5"], "unknown name in --set 'step'; did you mean 'steps'?"),
        (["--set", "model=mpl"], "unknown model 'mpl'; did you mean 'mlp'?"),
        (["--set", "attack=alei"], "unknown attack in --set 'alei'; did you mean 'alie'?"),
        (["--set", "pipeline=D-Medain"], "did you mean 'D-Median'?"),
        (["--set", "data=fashion_mnist", "--set", 'data_options={"folder": "/no"}'], "/no: put"),
        (["--set", "copies=4"], "assignment 'none' makes 1 copy, got copies=4; use 'detox'"),
        (["--set", "copies=4", "--set", "pipeline=D-Median"], "copies must be odd"),
        (["--set", "groups=0"], "groups must be None or an integer >= 1, got 0"),
        (["--set", "outer=nosuch:rule"], "cannot load aggregator 'nosuch:rule'"),
        (["--set", "steps"], "--set needs name=value, got 'steps'"),
        (["--set", "seed=0,0"], "needs distinct values"),
        (["--set", "steps=1.5"], "steps must be an integer of 1 or more, got 1.5"),
        (["--profile", "laptpo"], "unknown profile 'laptpo'; did you mean 'laptop'?"),
        (["--processes", "0"], "--processes must be 1 or more"),
        (["--output", __file__], "cannot write to"),
    ],
)
def test_bad_usage_is_one_clear_error_before_anything_runs(tmp_path, capsys, arguments, message):
    where = [] if "--output" in arguments else ["--output", str(tmp_path / "out")]
    assert main(["accuracy_alie", *where, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("study", "setting", "message"),
    [
        ("filtering", "draws=x", "draws must be an integer of 2 or more, got 'x'"),
        ("filtering", "byzantine_of_45=5", "must be a list of distinct integers, got 5"),
        ("filtering", "byzantine_of_45=[]", "must be a list of distinct integers, got []"),
        ("filtering", "byzantine_of_45=2,x", "byzantine_of_45 must be an integer of 0 or more"),
        ("filtering", "copies=null", "copies must be an integer of 1 or more, got None"),
        ("mean_estimation", "dimension=0", "dimension must be an integer of 1 or more, got 0"),
        ("mean_estimation", "seed=1.5", "seed must be an integer of 0 or more, got 1.5"),
        ("mean_estimation", "byzantine=110000", "byzantine must be below workers / 2"),
    ],
)
def test_bad_values_of_the_other_studies(tmp_path, capsys, study, setting, message):
    output = tmp_path / "out"
    assert main([study, "--profile", "smoke", "--output", str(output), "--set", setting]) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_an_unknown_study_names_the_nearest(capsys):
    assert main(["filterin"]) == 2
    assert "did you mean 'filtering'?" in capsys.readouterr().err


def test_cupy_that_is_missing_is_named(capsys):
    try:
        import cupy  # noqa: F401
    except ImportError:
        assert main(["accuracy_alie", "--backend", "cupy"]) == 2
        assert "pip install 'detox-sim[cuda12]'" in capsys.readouterr().err


def test_the_plan_runs_nothing(tmp_path, capsys):
    assert main(["--profile", "smoke", "--plan", "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "expected: about" in out
    assert "GB" in out
    assert not (tmp_path / "out").exists()


def test_a_finished_run_leaves_everything(smoke):
    output, result = smoke
    expected = [f"{name}.nc" for name in studies.names()]
    expected += [f"figures/{n}.{k}" for n in studies.names() for k in ("svg", "pdf", "png")]
    expected += [f"report/{name}.html" for name in (*GENERAL, *studies.names())]
    assert [name for name in expected if not (output / name).is_file()] == []
    assert str(output / "report" / "index.html") in result.stdout
    assert re.search(r"\d+ of \d+ cells, 0 failed", result.stdout)
    assert result.stderr == ""


def test_a_second_call_says_cached_and_touches_nothing(smoke):
    output, _ = smoke
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    result = finish(output)
    assert result.returncode == 0
    assert result.stdout.startswith("cached: all ")
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    plan = finish(output, "--plan")
    assert "cached: nothing to run" in plan.stdout


def test_datasets_are_labelled_and_say_where_they_come_from(smoke):
    output, _ = smoke
    for name in studies.names():
        with xr.open_dataset(output / f"{name}.nc", engine="netcdf4") as dataset:
            about = json.loads(dataset.attrs["provenance"])
            assert list(about["axes"]) == list(dataset.dims)[: len(about["axes"])]
            for axis, labels in about["axes"].items():
                assert dataset[axis].values.tolist() == labels
        assert about["profile"] == "smoke"
        assert about["environments"][0]["packages"]["numpy"]


def facts(path: Path) -> tuple:
    """Return a dataset's bits, and its provenance but for what tells of time."""
    with xr.open_dataset(path, engine="netcdf4") as dataset:
        about = json.loads(dataset.attrs["provenance"])
        return content(dataset.load()), {k: about[k] for k in about if k not in TIMES}


TIMES = ("computed", "cell_seconds")
TIMED = {
    "kernels",
    "step_time",
    "scaling",
    "throughput",
}  # its results are times, which are never the same bits


def wait_for_cells(process, output: Path, count: int) -> None:
    until = time.monotonic() + 120
    while len(list(output.rglob("cells/*/*.nc"))) < count:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.05)


def test_kills_in_mid_sweep_change_no_bit(smoke, tmp_path):
    """Law 3: other numbers of workers, other orders, a killed driver and a killed worker."""
    undisturbed, _ = smoke
    output = tmp_path / "out"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    names = [name for name in studies.names() if name not in TIMED]
    driver = subprocess.Popen([*COMMAND, *names, "--output", output, "--processes", "1"], **quiet)
    wait_for_cells(driver, output, 4)
    driver.kill()
    driver.wait()
    driver = subprocess.Popen([*COMMAND, *names, "--output", output, "--processes", "3"], **quiet)
    done = len(list(output.rglob("cells/*/*.nc")))
    wait_for_cells(driver, output, done + 4)
    workers = [
        child
        for child in psutil.Process(driver.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
    os.kill(workers[0].pid, signal.SIGKILL)
    assert driver.wait(300) == 0
    for name in names:
        assert facts(output / f"{name}.nc") == facts(undisturbed / f"{name}.nc")
        figure = f"figures/{name}.svg"
        assert (output / figure).read_bytes() == (undisturbed / figure).read_bytes()


def test_ctrl_c_prints_the_command_that_resumes(tmp_path):
    """As on a terminal: the signal goes to the driver and to all its workers."""
    output = tmp_path / "out"
    arguments = ["accuracy_reverse", "--output", str(output)]
    process = subprocess.Popen(
        [*COMMAND, *arguments, "--fresh"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for_cells(process, output, 1)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    resume = f"python -m studies.reproduce --profile smoke accuracy_reverse --output {output}"
    # Python reports and drops an interrupt that falls into a destructor.
    error = re.sub(r"Exception ignored in: .*?\nKeyboardInterrupt: *\n", "", error, flags=re.DOTALL)
    assert error == f"\ninterrupted; finished cells are kept. Resume with:\n  {resume}\n"
    assert len(list(output.rglob("cells/*/*.nc"))) >= 1


def test_a_setting_reaches_every_cell_and_is_told(tmp_path):
    output = tmp_path / "out"
    settings = ["steps=2", "seed=0", "pipeline=D-Median", "copies=5", "groups=3", "batch=90"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert main(["accuracy_alie", "--profile", "smoke", "--output", str(output), *arguments]) == 0
    with xr.open_dataset(output / "accuracy_alie.nc", engine="netcdf4") as dataset:
        assert json.loads(dataset.attrs["provenance"])["settings"]["copies"] == 5
    cell = next(output.rglob("cells/*/*.nc"))
    with xr.open_dataset(cell, engine="netcdf4") as dataset:
        assert json.loads(dataset.attrs["cell"])["fields"]["copies"] == 5


def test_failed_cells_are_told_and_tried_again(tmp_path, capsys):
    """Cells fail on the workers only, in a model from outside."""
    module = tmp_path / "failing.py"
    sys.path.insert(0, str(tmp_path))
    settings = ["--set", "steps=2", "--set", "seed=0", "--set", "pipeline=Mean,D-Mean"]
    settings += ["--set", "model=failing:model"]
    module.write_text(
        "import os\n"
        "from detox_sim.models import softmax\n"
        "def model(shape, classes):\n"
        "    module = softmax(shape, classes)\n"
        "    module.register_forward_pre_hook(check)\n"
        "    return module\n"
        "def check(_, inputs):\n"
        f"    broken = os.path.exists({str(tmp_path / 'broken')!r})\n"
        "    if broken and inputs[0].device.type != 'meta':\n"
        "        raise RuntimeError('the disk is full')\n"
    )
    (tmp_path / "broken").touch()
    arguments = ["accuracy_alie", "--profile", "smoke", "--output", str(tmp_path / "out")]
    try:
        assert main([*arguments, *settings]) == 1
        assert "RuntimeError: the disk is full" in capsys.readouterr().err
        (tmp_path / "broken").unlink()
        assert main([*arguments, *settings]) == 0
    finally:
        sys.path.remove(str(tmp_path))
    with xr.open_dataset(tmp_path / "out" / "accuracy_alie.nc", engine="netcdf4") as dataset:
        assert dataset.accuracy.notnull().all()


def test_a_damaged_cell_is_computed_again(smoke, tmp_path):
    import shutil

    output = tmp_path / "out"
    shutil.copytree(smoke[0], output)
    victim = next(output.rglob("cells/filtering/*.nc"))
    whole = victim.read_bytes()
    victim.write_bytes(whole[: len(whole) // 2])
    assert "running 1 cells" in finish(output, "filtering").stdout
    assert facts(output / "filtering.nc") == facts(smoke[0] / "filtering.nc")


def test_the_report_loads_nothing_from_anywhere(smoke):
    pages = sorted((smoke[0] / "report").glob("*.html"))
    assert len(pages) == len(studies.names()) + len(GENERAL)
    for page in pages:
        text = page.read_text()
        assert "<script" not in text
        assert "<link" not in text
        assert "@import" not in text
        assert "Content-Security-Policy" in text.partition("<body>")[0]
        assert "default-src 'none'" in text.partition("<body>")[0]
        loaded = re.findall(r"""(?:src|xlink:href|href)\s*=\s*["']([^"']+)["']""", text)
        loaded += re.findall(r"url\(([^)]+)\)", text)
        outside = [ref for ref in loaded if not re.match(r"#|data:|\w+\.html$", ref)]
        assert outside == [], page.name
        targets = [ref for ref in loaded if ref.endswith(".html")]
        assert all((page.parent / ref).exists() for ref in targets)
    index = (smoke[0] / "report" / "index.html").read_text()
    for name in studies.names():
        assert f'href="{name}.html"' in index
        body = (smoke[0] / "report" / f"{name}.html").read_text()
        assert 'src="data:image/svg+xml;base64,' in body
        assert body.count("<img alt=") == body.count("<img")
        axes = studies.module(name).PROFILES["smoke"][1]
        if len(axes.get("seed", ())) > 1:
            assert "Student t" in body
