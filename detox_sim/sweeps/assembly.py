"""One labelled dataset from finished cells."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import xarray as xr

from detox_sim.sweeps.execution import ENVIRONMENT
from detox_sim.sweeps.store import Cell, Fields, Store


def assemble(
    cells: Sequence[Cell],
    axes: Mapping[str, Sequence],
    store: Store,
    about: dict,
    derive: Callable[[Fields, xr.Dataset], xr.Dataset] | None = None,
) -> xr.Dataset | None:
    """Join the cells of one study into a dataset with the axes as leading dims, in their order.

    Parameters
    ----------
    cells : sequence of Cell
        Combinations of labels that no cell has are NaN.
    axes : mapping
        Name -> its labels.
    store : Store
    about : dict
        Kept in the attribute ``provenance`` (JSON), beside what the cells recorded.
    derive : callable, optional
        (fields, what the cell's run returned) -> the same and what follows from it without a run.

    Returns
    -------
    xarray.Dataset or None
        Failed cells are NaN and listed in the provenance. None when every cell failed.
    """
    found = [store.read(cell) for cell in cells]
    example = next((dataset for dataset in found if dataset is not None), None)
    if example is None:
        return None
    types = {str(name): variable.dtype.str for name, variable in example.variables.items()}
    finished = [(cell, dataset) for cell, dataset in zip(cells, found, strict=True) if dataset]
    records = [json.loads(dataset.attrs["cell"]) for _, dataset in finished]
    by_labels = {
        cell.labels: dataset if derive is None else derive(cell.fields, dataset)
        for cell, dataset in finished
    }
    example = next(iter(by_labels.values()))
    blank = xr.full_like(example.astype(float), np.nan)
    nested: list = [by_labels.get(labels, blank) for labels in itertools.product(*axes.values())]
    for values in list(axes.values())[:0:-1]:
        size = len(values)
        nested = [nested[start : start + size] for start in range(0, len(nested), size)]
    dataset = xr.combine_nested(
        nested,
        concat_dim=list(axes),
        join="exact",
        combine_attrs="drop",
        data_vars="all",
        coords="minimal",
        compat="equals",
    )
    dataset = dataset.transpose(*axes, ...)
    for name, variable in example.variables.items():
        dataset[name].attrs = variable.attrs
    coordinates = {name: (name, _labels(list(values))) for name, values in axes.items()}
    made_in = [{k: r[k] for k in ENVIRONMENT} for r in records]
    environments = [each for i, each in enumerate(made_in) if each not in made_in[:i]]
    about = about | {
        "axes": {name: list(values) for name, values in axes.items()},
        "failures": {
            str(cell): (store.failure(cell) or "not run").strip().splitlines()[-1]
            for cell, stored in zip(cells, found, strict=True)
            if stored is None
        },
        "cells": {
            cell.digest: {
                "labels": list(cell.labels),
                "environment": environments.index(place),
                **{name: record[name] for name in ("content", "seconds", "hardware", "time")},
            }
            for (cell, _), record, place in zip(finished, records, made_in, strict=True)
        },
        "cell_variables": types,
        "environments": environments,
        "hardware": sorted({record["hardware"] for record in records}),
        "computed": [min(r["time"] for r in records), max(r["time"] for r in records)],
        "cell_seconds": round(sum(record["seconds"] for record in records), 1),
    }
    return dataset.assign_coords(coordinates).assign_attrs(provenance=json.dumps(about))


def _labels(values: list) -> np.ndarray:
    """Return numbers as numbers and all else as object strings, which netCDF can hold."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return np.array(values) if numbers else np.array([str(v) for v in values], dtype=object)
