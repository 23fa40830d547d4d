"""Fixtures that tests share."""

import fcntl
import json
import os
import subprocess
import sys

import pytest
from hypothesis import settings

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # as modules of doctests

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def cupy():
    """CuPy on a machine with a GPU; a test that asks for it skips elsewhere, with the reason."""
    library = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    try:
        library.cuda.runtime.getDeviceCount()
    except library.cuda.runtime.CUDARuntimeError as error:
        pytest.skip(f"no GPU: {error}")
    return library


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """Run the smoke profile once for all pytest processes; return its folder and the process.

    The hash seed is fixed, so that tests that draw a figure under another one see whether it
    depends on the order of a set.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    output, record = folder / "smoke", folder / "smoke.json"
    command = [sys.executable, "-m", "studies.reproduce", "--profile", "smoke", "--output", output]
    command += ["--processes", "2"]
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    with (folder / "smoke.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=400, env=environment
            )
            record.write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    result = subprocess.CompletedProcess(command, *json.loads(record.read_text()))
    assert result.returncode == 0, result.stderr
    return output, result
