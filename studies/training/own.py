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
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from detox_sim.catalogue import check_known
from detox_sim.sweeps.intervals import interval
from studies import Study
from studies.style import curves
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
        axes = found.get("axes", {})
        if not isinstance(axes, dict) or not axes or not all(axes.values()):
            raise ValueError("it needs [axes], each a list of values or tables of fields by label")
        for axis, values in axes.items():
            if not isinstance(values, list | dict):
                raise ValueError(f"axis {axis} must be a list or tables by label, got {values!r}")
        variable, over = found.get("variable", "accuracy"), found.get("over", "eval_step")
        check_known("variable", [variable], VARIABLES)
        check_known("axis in over", [over], ["eval_step", *axes])
    except (OSError, ValueError) as error:  # a TOML error is a ValueError
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(f"{path}: {reason}") from error
    return cells.study(
        title=str(found.get("title", path.stem)),
        claim="Nothing is reported.",
        definitions=["Fields that the file leaves out have the defaults of Trial."],
        profiles={"laptop": (found.get("base", {}), axes)},
        figure=functools.partial(figure, variable=variable, over=over),
        finding=functools.partial(finding, variable=variable),
    )


def figure(dataset: xr.Dataset, *, variable: str, over: str) -> Figure:
    """Draw a variable over its evaluations, or its last value over an axis of the grid."""
    values = dataset[variable]
    return curves(values if over == "eval_step" else values.isel(eval_step=-1, drop=True), over)


def finding(dataset: xr.Dataset, *, variable: str) -> str:
    """Return where a variable ends highest and lowest, means with 95 % intervals over seeds."""
    last = dataset[variable].isel(eval_step=-1, drop=True)
    means = last.mean("seed") if "seed" in last.dims else last
    if not np.isfinite(means).any():
        return "No cell of this dataset is finished."
    said = []
    for word, place in (("highest", means.argmax), ("lowest", means.argmin)):
        at = {axis: int(index) for axis, index in place([*means.dims]).items()}
        labels = [str(means[axis].values[index]) for axis, index in at.items()]
        said.append(f"{word} with {', '.join(labels)}: {interval(last.isel(at).values)}")
    return f"**{variable} after the last step** is {'; '.join(said)}."


def table(dataset: xr.Dataset, variable: str) -> pd.DataFrame:
    """Return a variable after the last step, of each combination of labels but the seeds."""
    last = dataset[variable].isel(eval_step=-1, drop=True)
    axes = [axis for axis in last.dims if axis != "seed"]
    stacked = last.stack(combination=axes)
    rows = {
        ", ".join(map(str, labels)): interval(stacked.isel(combination=place).values)
        for place, labels in enumerate(stacked.combination.values.tolist())
    }
    return pd.DataFrame({variable: rows}).rename_axis(", ".join(map(str, axes)))
