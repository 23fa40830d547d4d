"""A dataset as the functions of claims see it: variables at some labels, or what is missing."""

import functools
import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import xarray as xr


class MissingError(Exception):
    """The dataset lacks a variable, an axis, a label or a cell that a statement needs."""


@dataclass(frozen=True)
class Results:
    """A dataset as the function of a claim sees it.

    Attributes
    ----------
    dataset : xarray.Dataset
        Of `studies.reproduce`.
    at : mapping
        Labels that every selection takes, such as the task.
    number : float, optional
        What the paper reports.
    paper_scale : bool
        Whether the dataset is of the paper's scale.
    known : dict
        What statements on this dataset have computed; see `once`.
    """

    dataset: xr.Dataset
    at: Mapping[str, Any] = field(default_factory=dict)
    number: float | None = None
    paper_scale: bool = False
    known: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """Return what was computed for a key before, by any statement on this dataset."""
        if key not in self.known:
            self.known[key] = compute()
        return self.known[key]

    def values(self, name: str, *axes: str, **labels: Any) -> xr.DataArray:
        """Return a variable at some labels.

        Parameters
        ----------
        name : str
        *axes : str
            Further axes that it must have.
        **labels
            Axis -> a label, which drops the axis, or a list of labels, which keeps it.

        Raises
        ------
        MissingError
            Without the variable, an axis or a label, and when a selected cell failed.
        """
        if name not in self.dataset:
            raise MissingError(f"the dataset has no {name}")
        array, labels = self.dataset[name].astype(float), {**self.at, **labels}
        for axis in (*labels, *axes):
            if axis not in array.dims:
                raise MissingError(f"{name} has no axis {axis}")
        self._check_cells(array, labels)
        return array.isel(_places(array, labels), drop=True)

    def _check_cells(self, array: xr.DataArray, labels: Mapping[str, Any]) -> None:
        """Raise when a selected cell failed: then none of its variables has a value."""
        axes = set(json.loads(self.dataset.attrs["provenance"])["axes"]) & set(array.dims)
        finished = self.once(frozenset(axes), lambda: self._finished(axes))
        places = _places(array, labels)
        finished = finished.isel({axis: places[axis] for axis in axes & places.keys()})
        if not bool(finished.all()):
            absent = int((~finished).sum())
            raise MissingError(f"{absent} of its {finished.size} cells have no result")

    def _finished(self, axes: set[str]) -> xr.Variable:
        """Return where some variable has a value, over axes of cells."""
        variables = (one.variable for one in self.dataset.data_vars.values())
        known = [
            variable.notnull().any([dim for dim in variable.dims if dim not in axes])
            for variable in variables  # which, unlike arrays, are not aligned by their labels
            if axes <= set(variable.dims)
        ]
        return functools.reduce(operator.or_, known)


def _places(array: xr.DataArray, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return the places of labels on the axes that the array has; lists keep their axis."""
    found: dict[str, Any] = {}
    for axis, wanted in labels.items():
        if axis not in array.dims:
            continue
        known = array[axis].values.tolist()
        for label in wanted if isinstance(wanted, list) else [wanted]:
            if label not in known:
                raise MissingError(f"{axis} {label!r} is not in the dataset")
        several = isinstance(wanted, list)
        found[axis] = [known.index(label) for label in wanted] if several else known.index(wanted)
    return found
