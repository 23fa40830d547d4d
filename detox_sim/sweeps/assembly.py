"""One labelled dataset from finished cells."""

import functools
import itertools
import json
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from detox_sim.sweeps.execution import ENVIRONMENT
from detox_sim.sweeps.store import Cell, Fields, Store


def assemble(
    cells: Sequence[Cell],
    axes: Mapping[str, Sequence],
    store: Store,
    about: dict,
    derive: Callable[[Fields, xr.Dataset], xr.Dataset] | None = None,
    read: Mapping[Cell, xr.Dataset] | None = None,
) -> xr.Dataset | None:
    """Join the cells of one study into a dataset with the axes as leading dims, in their order.

    Parameters
    ----------
    cells : sequence of Cell
        Combinations of labels that no cell has are NaN, and so are the variables that a cell lacks.
        Cells of unlike shapes are filled with NaN: at coordinates that others have, and behind the
        last value of a dim without coordinates.
    axes : mapping
        Name -> its labels. Labels of which no cell was run are left out.
    store : Store
    about : dict
        Becomes the attribute ``provenance`` (JSON), with what the cells recorded and ``count``: how
        many cells were planned, are finished, and failed.
    derive : callable, optional
        (fields, what the cell's run returned) -> that, with what follows from it without a run.
    read : mapping, optional
        Cells that were read from the store already.

    Returns
    -------
    xarray.Dataset or None
        Cells that failed are NaN and listed in the provenance; cells that were not run are NaN.
        None when no cell is finished.
    """
    read = read or {}
    found = {cell: read[cell] if cell in read else store.read(cell) for cell in cells}
    finished = [(cell, dataset) for cell, dataset in found.items() if dataset is not None]
    if not finished:
        return None
    absent = (cell for cell, dataset in found.items() if dataset is None)
    failures = {cell: error for cell in absent if (error := store.failure(cell)) is not None}
    axes = _run_labels(axes, [*dict(finished), *failures])
    types = {
        str(name): variable.dtype.str
        for _, dataset in finished
        for name, variable in dataset.variables.items()
    }
    records = [json.loads(dataset.attrs["cell"]) for _, dataset in finished]
    by_labels = {
        cell.labels: dataset if derive is None else derive(cell.fields, dataset)
        for cell, dataset in finished
    }
    dataset, positions = join(by_labels, axes)
    made_in = [{k: r[k] for k in ENVIRONMENT} for r in records]
    environments = [each for i, each in enumerate(made_in) if each not in made_in[:i]]
    about = about | {
        "axes": {name: list(values) for name, values in axes.items()},
        "count": {"planned": len(found), "finished": len(finished), "failed": len(failures)},
        "failures": {str(c): error.strip().splitlines()[-1] for c, error in failures.items()},
        "cells": {
            cell.digest: {
                "labels": list(cell.labels),
                "environment": environments.index(environment),
                **{name: record[name] for name in ("content", "seconds", "hardware", "time")},
                "lacks": sorted(set(types) - {*map(str, dataset.variables)}),
                "positions": positions[cell.labels],
            }
            for (cell, dataset), record, environment in zip(finished, records, made_in, strict=True)
        },
        "cell_variables": types,
        "environments": environments,
        "hardware": sorted({record["hardware"] for record in records}),
        "computed": [min(r["time"] for r in records), max(r["time"] for r in records)],
        "cell_seconds": round(sum(record["seconds"] for record in records), 1),
    }
    return dataset.assign_attrs(provenance=json.dumps(about))


def join(
    cells: Mapping[tuple, xr.Dataset], axes: Mapping[str, Sequence]
) -> tuple[xr.Dataset, dict[tuple, dict[str, list[int]]]]:
    """Return cells along the axes, and where along a dim the values of each lie.

    Parameters
    ----------
    cells : mapping
        Labels -> dataset. What a combination of labels or a cell lacks is NaN.
    axes : mapping
        Name -> its labels.
    """
    filled, positions = _alike(cells)
    every = {name: v for cell in filled.values() for name, v in cell.variables.items()}
    filled = {
        labels: cell.assign({name: _blank(v) for name, v in every.items() if name not in cell})
        for labels, cell in filled.items()
    }
    dataset = _nested(filled, axes)
    for name, variable in every.items():
        dataset[name].attrs = variable.attrs
    coordinates = {name: (name, _labels(list(values))) for name, values in axes.items()}
    return dataset.assign_coords(coordinates), positions


def _alike(
    cells: Mapping[tuple, xr.Dataset],
) -> tuple[dict[tuple, xr.Dataset], dict[tuple, dict[str, list[int]]]]:
    """Return cells of one shape, filled with NaN, and where along a dim the values of each lie.

    Dims along which a cell has all values have no positions.
    """
    filled = dict(cells)
    positions: dict[tuple, dict[str, list[int]]] = {labels: {} for labels in cells}
    for dim in dict.fromkeys(str(dim) for cell in cells.values() for dim in cell.dims):
        # Without coordinates an index is 0, 1, ...
        along = {k: cell[dim].to_index() for k, cell in cells.items() if dim in cell.dims}
        union = functools.reduce(_union, along.values())
        for labels, index in along.items():
            if not index.equals(union):
                found = filled[labels].assign_coords({dim: index}).reindex({dim: union})
                filled[labels] = found if dim in cells[labels].coords else found.drop_vars(dim)
                positions[labels][dim] = union.get_indexer(index).tolist()
    return filled, positions


def _union(one: pd.Index, other: pd.Index) -> pd.Index:
    return one if one.equals(other) else one.union(other)


def _run_labels(axes: Mapping[str, Sequence], run: Sequence[Cell]) -> dict[str, list]:
    """Return the labels on each axis that some of the cells have."""
    used = [set(labels) for labels in zip(*(cell.labels for cell in run), strict=True)]
    return {
        name: [label for label in labels if label in some]
        for (name, labels), some in zip(axes.items(), used, strict=True)
    }


def _blank(values):
    """Return NaN in the shape of a variable or dataset."""
    return xr.full_like(values.astype(float), np.nan)


def _nested(by_labels: Mapping[tuple, xr.Dataset], axes: Mapping[str, Sequence]) -> xr.Dataset:
    """Return the cells along the axes; NaN where there is none."""
    combinations = list(itertools.product(*axes.values()))
    if len(by_labels) < len(combinations):
        blank = _blank(next(iter(by_labels.values())))
        by_labels = dict.fromkeys(combinations, blank) | dict(by_labels)
    nested: list = [by_labels[labels] for labels in combinations]
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
    return dataset.transpose(*axes, ...)


def _labels(values: list) -> np.ndarray:
    """Return numbers as numbers and all else as object strings, which netCDF can hold."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return np.array(values) if numbers else np.array([str(v) for v in values], dtype=object)
