"""The command: bad usage, plans, kills, resuming, and what a finished run leaves."""

import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from html import unescape
from pathlib import Path

import psutil
import pytest
import xarray as xr

import studies
from detox_sim.sweeps import Store, assemble, execute
from detox_sim.sweeps.store import content
from reports.render import GENERAL
from studies.reproduce import main, parser
from studies.workflow.background import Background, OutputError
from studies.workflow.outputs import _about
from studies.workflow.running import checked

COMMAND = [sys.executable, "-m", "studies.reproduce", "--profile", "smoke"]


BAD_USAGE = [  # of accuracy_alie
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
    (["--plan", "--scheduler", "tcp://127.0.0.1:9"], "no dask-scheduler answers at"),
]
BAD_VALUES = [
    ("filtering", "draws=x", "draws must be an integer of 2 or more, got 'x'"),
    ("filtering", "byzantine_of_45=5", "must be a list of distinct integers, got 5"),
    ("filtering", "byzantine_of_45=[]", "must be a list of distinct integers, got []"),
    ("filtering", "byzantine_of_45=2,x", "byzantine_of_45 must be an integer of 0 or more"),
    ("filtering", "copies=null", "copies must be an integer of 1 or more, got None"),
    ("mean_estimation", "dimension=0", "dimension must be an integer of 1 or more, got 0"),
    ("mean_estimation", "seed=1.5", "seed must be an integer of 0 or more, got 1.5"),
    ("mean_estimation", "byzantine=110000", "byzantine must be below workers / 2"),
]


def test_bad_usage_is_one_clear_error_before_anything_runs(tmp_path, capsys):
    calls = [(["accuracy_alie", *arguments], message) for arguments, message in BAD_USAGE]
    calls += [([study, "--set", setting], message) for study, setting, message in BAD_VALUES]
    calls.append((["filterin"], "did you mean 'filtering'?"))
    if importlib.util.find_spec("cupy") is None:
        message = "pip install cupy-cuda12x"
        calls.append((["accuracy_alie", "--backend", "cupy"], message))
    for arguments, message in calls:
        output = [] if "--output" in arguments else ["--output", str(tmp_path / "out")]
        profile = [] if "--profile" in arguments else ["--profile", "smoke"]
        assert main([*arguments, *output, *profile]) == 2, arguments
        error = capsys.readouterr().err
        assert message in error, arguments
        assert error.startswith("error: ")
        assert error.count("\n") == 1, arguments
        assert not (tmp_path / "out").exists(), arguments


def test_plan_runs_nothing(tmp_path, capsys):
    assert main(["--profile", "smoke", "--plan", "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "expected: about" in out
    assert "GB" in out
    assert not (tmp_path / "out").exists()


def test_finished_run_leaves_datasets_figures_and_pages(smoke):
    output, result = smoke
    expected = [f"{name}.nc" for name in studies.names()]
    expected += [f"figures/{n}.{k}" for n in studies.names() for k in ("svg", "pdf", "png")]
    expected += [f"report/{name}.html" for name in (*GENERAL, *studies.names())]
    assert [name for name in expected if not (output / name).is_file()] == []
    assert str(output / "report" / "index.html") in result.stdout
    assert re.search(r"\d+ of \d+ cells, 0 failed", result.stdout)
    assert result.stderr == ""


def test_second_call_changes_no_file(smoke, capsys):
    output, _ = smoke
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*")}
    assert main(["--profile", "smoke", "--output", str(output)]) == 0
    assert capsys.readouterr().out.startswith("cached: all ")
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*")} == before
    assert main(["--profile", "smoke", "--output", str(output), "--plan"]) == 0
    assert "cached: nothing to run" in capsys.readouterr().out


def test_datasets_have_labels_and_provenance(smoke):
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
    """Return a dataset's bits, and its provenance without times."""
    with xr.open_dataset(path, engine="netcdf4") as dataset:
        about = json.loads(dataset.attrs["provenance"])
        about["cells"] = {
            digest: {key: cell[key] for key in ("content", "labels", "hardware")}
            for digest, cell in about["cells"].items()
        }
        return content(dataset.load()), {k: about[k] for k in about if k not in TIMES}


TIMES = ("computed", "cell_seconds")


def wait_for_cells(process, output: Path, count: int) -> None:
    until = time.monotonic() + 120
    while len(list(output.rglob("cells/*/*.nc"))) < count:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.05)


def test_kills_in_mid_sweep_change_no_bit(smoke, tmp_path):
    """Law 3: other numbers of processes, other orders, a killed driver and a killed process.

    The hash seed is another one too: a figure must not depend on the order of a set.
    """
    undisturbed, _ = smoke
    output, names = tmp_path / "out", ["filtering", "draco", "--no-report"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    quiet["env"] = os.environ | {"PYTHONHASHSEED": "2"}
    driver = subprocess.Popen([*COMMAND, *names, "--output", output, "--processes", "1"], **quiet)
    wait_for_cells(driver, output, 2)
    driver.kill()
    driver.wait()
    done = len(list(output.rglob("cells/*/*.nc")))
    driver = subprocess.Popen([*COMMAND, *names, "--output", output, "--processes", "3"], **quiet)
    wait_for_cells(driver, output, done + 2)
    processes = [
        child
        for child in psutil.Process(driver.pid).children(recursive=True)
        if "forkserver" in " ".join(child.cmdline()) and child.ppid() != driver.pid
    ]
    of_dask = max(processes, key=psutil.Process.create_time)  # that of outputs starts first
    of_dask.kill()
    assert driver.wait(300) == 0
    assert not list(output.rglob("*.html"))
    for name in names[:2]:
        assert facts(output / f"{name}.nc") == facts(undisturbed / f"{name}.nc"), name
        figure = f"figures/{name}.svg"
        assert (output / figure).read_bytes() == (undisturbed / figure).read_bytes(), name


def test_interrupt_prints_the_command_that_resumes(tmp_path):
    """As on a terminal: the signal goes to the driver and to all its processes."""
    output = tmp_path / "out"
    arguments = ["filtering", "--processes", "1", "--output", str(output), "--no-report"]
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
    resume = f"python -m studies.reproduce --profile smoke {shlex.join(arguments)}"
    # Python reports and drops an interrupt that falls into a destructor.
    error = re.sub(r"Exception ignored in: .*?\nKeyboardInterrupt: *\n", "", error, flags=re.DOTALL)
    assert error == f"\ninterrupted; finished cells are kept. Resume with:\n  {resume}\n"
    assert len(list(output.rglob("cells/*/*.nc"))) >= 1


def test_figure_is_made_again_of_cells_that_ran_again(tmp_path, capsys):
    arguments = ["filtering", "--profile", "smoke", "--processes", "1", "--no-report"]
    arguments += ["--output", str(tmp_path)]
    said = []
    for more in ([], [], ["--fresh"]):
        assert main([*arguments, *more]) == 0
        said.append("cached: all" in capsys.readouterr().out)
    assert said == [False, True, False]


def test_setting_reaches_every_cell_and_the_provenance(tmp_path):
    settings = ["steps=2", "seed=0", "attack=alie", "pipeline=D-Median"]
    settings += ["copies=5", "groups=3", "batch=90"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    arguments += ["accuracy_alie", "--profile", "smoke"]
    (plan,), store = checked(parser().parse_args(arguments)), Store(tmp_path)
    execute(None, plan.cells, store, {"packages": {}, "commit": None, "dirty": None}, print)
    (cell,) = plan.cells
    assert (cell.fields["copies"], cell.fields["groups"], cell.fields["steps"]) == (5, 3, 2)
    with xr.open_dataset(store.path(cell), engine="netcdf4") as dataset:
        assert json.loads(dataset.attrs["cell"])["fields"]["copies"] == 5
    dataset = assemble(plan.cells, plan.axes, store, _about(plan), plan.study.derive)
    about = json.loads(dataset.attrs["provenance"])
    assert about["settings"]["copies"] == about["fields"]["copies"] == 5


def test_unfinished_run_is_reported_and_continued(smoke, tmp_path, capsys):
    """What is missing, damaged or failed is left out, and run by the next call.

    The index is there after the first finished study, and says what is still running.
    """
    output, studied = tmp_path / "out", ["filtering", "stragglers"]
    for kind in studied:
        shutil.copytree(smoke[0] / "cells" / kind, output / "cells" / kind)
    absent, damaged, failed = sorted(output.rglob("cells/filtering/*.nc"))[:3]
    absent.unlink()
    damaged.write_bytes(damaged.read_bytes()[:1000])
    arguments = ["--profile", "smoke", "--output", str(output)]
    (plan,) = checked(parser().parse_args(["filtering", *arguments]))
    (broken,) = [cell for cell in plan.cells if cell.digest == failed.stem]
    failed.unlink()
    Store(output / "cells").write_failure(broken, "RuntimeError: the disk is full")

    assert main(["filtering", *arguments, "--finished"]) == 1
    printed = capsys.readouterr()
    assert "finished: 5 of 8 cells" in printed.out
    assert f"failed: {broken}: RuntimeError: the disk is full" in printed.err
    with xr.open_dataset(output / "filtering.nc", engine="netcdf4") as dataset:
        about = json.loads(dataset.attrs["provenance"])
    assert about["count"] == {"planned": 8, "finished": 5, "failed": 1}
    assert list(about["failures"].values()) == ["RuntimeError: the disk is full"]
    index = output / "report" / "index.html"
    assert "filtering 6 of 8 cells" in index.read_text()
    page = (output / "report" / "filtering.html").read_text()
    assert "<strong>Not finished:</strong> 5 of 8 cells" in page

    next(output.rglob("cells/stragglers/*.nc")).unlink()
    index.unlink()
    seen = []
    command = [*COMMAND, *studied, "--output", output, "--processes", "1"]
    with (tmp_path / "printed").open("w") as printed:
        process = subprocess.Popen(command, stdout=printed)
        while process.poll() is None:
            text = index.read_text() if index.exists() else ""
            if text.endswith("</html>\n") and text not in seen[-1:]:
                seen.append(text)
            time.sleep(0.05)
    assert process.returncode == 0
    assert "running 4 cells" in (tmp_path / "printed").read_text()
    unfinished = {"filtering": (5, 6, 7), "stragglers": (13,)}
    planned = {"filtering": 8, "stragglers": 14}
    still = [f"{n} {k} of {planned[n]} cells" for n in studied for k in unfinished[n]]
    assert sum(each in seen[0] for each in still) == 1
    assert not any(each in index.read_text() for each in still)
    for name in studied:
        assert facts(output / f"{name}.nc") == facts(smoke[0] / f"{name}.nc"), name
        assert f'href="{name}.html"' in index.read_text()
    assert "Still running" not in index.read_text()
    assert main(["filtering", *arguments[:-1], str(tmp_path / "none"), "--finished"]) == 2
    assert "no cell is finished" in capsys.readouterr().err


def test_failed_cells_are_printed_and_run_again(tmp_path, capsys):
    """Cells fail in the Dask processes only, in a model from outside."""
    module = tmp_path / "failing.py"
    sys.path.insert(0, str(tmp_path))
    settings = ["--set", "steps=2", "--set", "seed=0", "--set", "pipeline=D-Median,D-Bulyan"]
    settings += ["--set", "model=failing:model"]
    module.write_text(
        "import os\n"
        "from detox_sim.models import softmax\n"
        "def model(shape, classes):\n"
        "    module = softmax(shape, classes)\n"
        "    module.register_forward_pre_hook(check)\n"
        "    return module\n"
        "def check(module, inputs):\n"
        f"    broken = os.path.exists({str(tmp_path / 'broken')!r})\n"
        "    if broken and not module.training and len(inputs[0]) > 1:\n"  # evaluated
        "        raise RuntimeError('the disk is full')\n"
    )
    (tmp_path / "broken").touch()
    arguments = ["draco", "--profile", "smoke", "--output", str(tmp_path / "out")]
    arguments += ["--processes", "1"]
    try:
        assert main([*arguments, *settings, "--no-report"]) == 1
        told = r"RuntimeError: the disk is full \(.*failing\.py, line \d+\)"
        assert re.search(told, capsys.readouterr().err)
        (tmp_path / "broken").unlink()
        assert main([*arguments, *settings, "--no-report"]) == 0
        printed = capsys.readouterr().out
        assert "draco: DETOX against DRACO" in printed
        assert "DRACO is not among these runs." in printed
    finally:
        sys.path.remove(str(tmp_path))
    with xr.open_dataset(tmp_path / "out" / "draco.nc", engine="netcdf4") as dataset:
        assert dataset.accuracy.notnull().all()


def test_lost_process_of_outputs_is_one_clear_error(tmp_path):
    """The processes that execute notebooks end with it."""
    with Background([], Store(tmp_path / "cells"), tmp_path) as outputs:
        assert outputs.wait() == []
        until, kernels = time.monotonic() + 60, []
        while not kernels and time.monotonic() < until:
            kernels = psutil.Process(outputs._process.pid).children()
            time.sleep(0.05)
        assert kernels
        assert outputs.start([], ())
        outputs._process.kill()
        outputs._process.join()
        with pytest.raises(OutputError, match="makes figures and pages ended"):
            outputs.wait()
    _, left = psutil.wait_procs(kernels, timeout=30)
    assert left == []


def test_module_that_cannot_be_imported_is_one_clear_error(tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_package").mkdir()
    (tmp_path / "broken_package" / "mine.py").write_text("import studies\nstudies.Study(1)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(studies.OUTSIDE, "")  # restored behind the test
    assert main(["broken_package.mine", "--output", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: mine: TypeError: Study.__init__() takes 1 positional argument")
    assert "mine.py, line 2" in error
    assert error.count("\n") == 1


SCRIPTS = {  # of a page: its data, its own script, a library and the script that uses it
    "explore": [' id="tables" type="application/json"', ""],
    "atlas": ["", ""],
}


def test_report_loads_nothing_from_anywhere(smoke):
    pages = sorted((smoke[0] / "report").glob("*.html"))
    assert len(pages) == len(studies.names()) + len(GENERAL)
    for page in pages:
        text = page.read_text()
        scripts = re.findall("<script([^>]*)>(.*?)</script>", text, flags=re.DOTALL)
        assert [kind for kind, _ in scripts] == SCRIPTS.get(page.stem, [])
        for _, script in scripts:  # code of a page, or of a library
            text = text.replace(script, "")
        assert "<link" not in text
        assert "@import" not in text
        assert "Content-Security-Policy" in text.partition("<body>")[0]
        assert "default-src 'none'" in text.partition("<body>")[0]
        loaded = re.findall(r"""(?:src|xlink:href|href)\s*=\s*(?:"([^"]+)"|'([^']+)')""", text)
        loaded = [double or single for double, single in loaded]
        loaded += re.findall(r"url\(([^)]+)\)", text)
        paths = [ref for ref in loaded if not ref.startswith(("#", "data:"))]
        absent = [ref for ref in paths if not (page.parent / ref).is_file()]
        assert absent == [], page.name
        anchors = {unescape(ref[1:]) for ref in loaded if ref.startswith("#")}
        sections = {unescape(name) for name in re.findall(r'\bid="?([^">]+)', text)}
        assert anchors <= sections, page.name
    index = (smoke[0] / "report" / "index.html").read_text()
    for name in studies.names():
        assert f'href="{name}.html"' in index
        body = (smoke[0] / "report" / f"{name}.html").read_text()
        assert 'src="data:image/svg+xml;base64,' in body
        assert body.count("<img alt=") == body.count("<img")
        axes = studies.load(name).grids("smoke")[0][1]
        if len(axes.get("seed", ())) > 1:
            assert "Student t" in body
