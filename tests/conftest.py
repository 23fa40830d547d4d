"""What tests share."""

import subprocess
import sys

import pytest
from hypothesis import settings

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
    """Run the smoke profile once, undisturbed; return its folder and the finished process."""
    output = tmp_path_factory.mktemp("smoke")
    command = [sys.executable, "-m", "studies.reproduce", "--profile", "smoke", "--output", output]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return output, result
