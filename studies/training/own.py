"""A study from a file of yours: a grid of trials, with its figure and page like any other.

```toml
title = "Median and Krum under two attacks"
variable = "accuracy"          # what the figure shows (the default)
over = "eval_step"             # along this axis (the default); or an axis of the grid

[base]                         # fields of all trials; what is left out has the default of Trial
workers = 15
byzantine = 2
batch = 60
steps = 20

[axes]
attack = ["none", "alie"]
seed = [0, 1, 2]

[axes.rule.Median]             # several fields at once, by label
outer = "median"

[axes.rule.Krum]
groups = 5
inner = "mean"
outer = "krum"
```
"""

import functools
import itertools
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from detox_sim.catalogue import check_known
from detox_sim.sweeping import HISTORY, check_axes
from detox_sim.sweeps.intervals import interval
from studies import Study
from studies.style import MOST_AXES, curves
from studies.training import cells

KEYS = ("title", "variable", "over", "base", "axes")
EVALUATED = tuple(
    f"{way}{part}"
    for way in ("", "recalibrated_")
    for part in ("accuracy", "test_loss", "validation_accuracy", "validation_loss")
)
VARIABLES = (*EVALUATED, *cells.BY_STEP)


def read(path: Path) -> Study:
    """Return the study that a file describes.

    Raises
    ------
    ValueError
        When the file cannot be read, or a key, an axis or the variable is wrong; names the file.
    """
    try:
        found = tomllib.loads(path.read_text())
        check_known("key", found, KEYS)
        base, axes = found.get("base", {}), found.get("axes", {})
        if not isinstance(base, dict):
            raise ValueError(f"base must be a table of fields, got {base!r}")
        check_axes(axes, HISTORY)
        variable, over = found.get("variable", "accuracy"), found.get("over", "eval_step")
        check_known("variable", [variable], VARIABLES)
        check_known("axis in over", [over], ["eval_step", *axes])
        left = [axis for axis in axes if axis not in ("seed", over) and len(axes[axis]) > 1]
        if len(left) > MOST_AXES:
            raise ValueError(
                f"a figure shows {MOST_AXES} axes besides {over}, got {', '.join(left)}"
            )
    except (OSError, ValueError) as error:  # a TOML error is a ValueError
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{path}: {reason}") from error
    return cells.study(
        title=str(found.get("title", path.stem)),
        claim="Nothing is reported.",
        definitions=["Fields that the file leaves out have the defaults of Trial."],
        profiles={"laptop": (base, axes)},
        figure=functools.partial(figure, variable=variable, over=over),
        finding=functools.partial(finding, variable=variable),
    )


def figure(dataset: xr.Dataset, *, variable: str, over: str) -> Figure:
    """Draw a variable over its evaluations, or its last value over an axis of the grid."""
    if variable not in dataset:
        result = Figure()
        result.text(0.5, 0.5, f"these trials have no {variable}", ha="center")
        return result
    return curves(dataset[variable] if over == "eval_step" else ended(dataset[variable]), over)


def finding(dataset: xr.Dataset, *, variable: str) -> str:
    """Return where a variable ends highest and lowest, means with 95 % intervals over seeds."""
    if variable not in dataset:
        return f"These trials have no {variable}."
    rows = _rows(dataset, variable)
    if not rows:
        return "No cell of this dataset is finished."
    order = sorted(rows, key=lambda labels: np.nanmean(rows[labels]))
    ends = {"highest": order[-1], "lowest": order[0]}
    said = [f"{end} with {labels}: {interval(rows[labels])}" for end, labels in ends.items()]
    if len(rows) == 1:
        said = [interval(rows[order[0]])]
    return f"**{variable} after the last step** is {'; '.join(said)}."


def table(dataset: xr.Dataset, variable: str) -> pd.DataFrame:
    """Return a variable after the last step, of each combination of labels but the seeds."""
    rows = {labels: interval(values) for labels, values in _rows(dataset, variable).items()}
    return pd.DataFrame({variable: rows}).rename_axis("trial")


def ended(values: xr.DataArray) -> xr.DataArray:
    """Return the last value over `eval_step` that is there: trials may have unlike lengths."""
    values = values.transpose(..., "eval_step")
    known = values.notnull()
    last = (known.sizes["eval_step"] - 1) - known[..., ::-1].argmax("eval_step")
    return values.isel(eval_step=last, drop=True)


def _rows(dataset: xr.Dataset, variable: str) -> dict[str, np.ndarray]:
    """Return the last values by the labels of all axes but the seeds; without those not run."""
    last = ended(dataset[variable])
    axes = [str(axis) for axis in last.dims if axis != "seed"]
    found = {}
    for labels in itertools.product(*(last[axis].values for axis in axes)):
        values = np.atleast_1d(last.sel(dict(zip(axes, labels, strict=True))).values)
        if np.isfinite(values).any():
            found[", ".join(map(str, labels)) or "all"] = values
    return found
