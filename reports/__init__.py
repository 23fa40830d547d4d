"""Notebooks that open stored datasets and explain them; they never compute a result."""

import base64
import json
import os
from html import escape
from pathlib import Path
from typing import Any

import xarray as xr

FOLDER = "DETOX_SIM_RESULTS"  # environment variable: where the notebooks find the datasets


def _folder() -> Path:
    return Path(os.environ.get(FOLDER, "results/laptop"))


def open_study(name: str) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return a study's stored dataset and its provenance, from the folder of results.

    Raises
    ------
    FileNotFoundError
        When the study has not been run; says how to run it.
    """
    path = _folder() / f"{name}.nc"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; run: python -m studies.reproduce {name}")
    with xr.open_dataset(path, engine="netcdf4") as stored:
        dataset = stored.load()
    return dataset, json.loads(dataset.attrs["provenance"])


def show(name: str) -> None:
    """Display a study's stored figure in a notebook, as vector graphics with nothing to load."""
    from IPython.display import HTML, display

    image = base64.b64encode((_folder() / "figures" / f"{name}.svg").read_bytes()).decode()
    _, about = open_study(name)
    alt = escape(f"Figure of the study {name}: {about['title']}", quote=True)
    display(HTML(f'<img alt="{alt}" src="data:image/svg+xml;base64,{image}">'))


def describe(about: dict[str, Any]) -> None:
    """Display what a reader who distrusts numbers asks first: claim, definitions, provenance."""
    from IPython.display import Markdown, display

    environment = about["environments"][-1]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    state = " with uncommitted changes" if environment["dirty"] else ""
    lines = [
        f"**What the paper says.** {about['claim']}",
        f"**Scale.** {about['scale']}; profile `{about['profile']}`"
        + (f", changed by {about['settings']}." if about["settings"] else "."),
        "**Definitions taken.**\n\n" + "\n".join(f"* {item}" for item in about["definitions"]),
        f"**Made** from {about['computed'][0]} to {about['computed'][1]} on "
        f"{' and '.join(about['hardware'])}, {about['cell_seconds']:g} s of one core; commit "
        f"`{environment['commit']}`{state}; {packages}.",
    ]
    if len(about["environments"]) > 1:
        lines.append(
            f"Cells come from {len(about['environments'])} environments; the last is named."
        )
    if about["failures"]:
        lines.append(
            "**Failed cells, left out.** "
            + "; ".join(f"{cell}: {error}" for cell, error in about["failures"].items())
        )
    display(Markdown("\n\n".join(lines)))


def table(frame) -> None:
    """Display a DataFrame with the name of its index in the corner."""
    import pandas as pd
    from IPython.display import display

    with pd.option_context("display.max_colwidth", None):
        display(frame.rename_axis(index=None, columns=frame.index.name))
