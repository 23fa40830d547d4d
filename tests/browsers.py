"""A real browser without a window, for tests of the report's pages."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def documents(folder: Path, addresses: Sequence[str]) -> list[str]:
    """Open addresses at once, each in its own browser; return the documents after scripts ran.

    A document is that after two seconds of the browser's clock, which skips waiting times.
    Skips the test where there is no browser. `folder` takes the browsers' files.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)}")
    command = [found, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]
    command.append("--virtual-time-budget=2000")
    started = [
        subprocess.Popen(
            [*command, f"--user-data-dir={folder / f'browser {place}'}", address],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for place, address in enumerate(addresses)
    ]
    return [process.communicate(timeout=60)[0] for process in started]
