"""Sweep: a function, or training, over every combination of some fields."""

import dataclasses
import functools
import inspect
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from detox_sim.catalogue import check_known, plain
from detox_sim.cluster import PACKAGES, check_client
from detox_sim.cluster import versions as package_versions
from detox_sim.sweeps import Axes, Cell, Fields, Store, assemble, execute, expand, provenance
from detox_sim.sweeps.store import summary
from detox_sim.training import train, versions
from detox_sim.trials.trial import Trial, by_name

if TYPE_CHECKING:
    from distributed import Client

HISTORY = ("step", "eval_step", "vote", "phase")  # dims of a history

DEFAULTS: Fields = {  # of a Trial's fields: a cell's identity leaves fields at their defaults out
    field.name: field.default
    if field.default_factory is dataclasses.MISSING
    else field.default_factory()
    for field in dataclasses.fields(Trial)
}


def sweep(
    base: Fields,
    axes: Axes,
    run: Callable[..., xr.Dataset] | None = None,
    *,
    client: "Client | None" = None,
    store: str | os.PathLike[str] | None = None,
) -> xr.Dataset:
    """Run a function on every combination of the axes' values; return one labelled dataset.

    Parameters
    ----------
    base : dict
        Fields common to all cells; plain values that JSON can hold, as those of the axes. A
        function at the top level of a module may stand for a field of a Trial that names one.
    axes : mapping
        Name -> list of values of that field, or name -> {label: several fields at once}.
    run : callable, optional
        Takes the fields of a cell as keywords and returns an xarray.Dataset. One with a keyword
        `checkpoint` is given a path where it may store what it needs to continue. None trains a
        `Trial` of the fields.
    client : distributed.Client, optional
        Its processes run the cells, one task a cell. By default this process does.
    store : path, optional
        A folder of finished cells: a sweep that was interrupted continues from it, and one with
        more values runs only what is new. A cell is found again by its fields and the name of
        `run`, not by the code of `run`: when that changes, take another folder.

    Returns
    -------
    xarray.Dataset
        The variables of a cell, with the axes as leading dims. Where cells have unlike shapes, such
        as another number of steps or of votes, the shorter ones end in NaN.
        ``attrs["provenance"]`` is JSON: packages, commit, hardware, seconds of each cell.

    Raises
    ------
    ValueError
        When the fields of a cell do not suit `run`, before any cell runs; when `run` has no name by
        which `store` could find its cells.
    RuntimeError
        When every cell failed.

    Warns
    -----
    UserWarning
        When some cells failed: they are NaN, and the next call runs them again.

    Examples
    --------
    >>> trial = {"workers": 9, "byzantine": 1, "batch": 45, "groups": 3, "steps": 2}
    >>> histories = sweep(trial, {"attack": ["none", "reverse"], "seed": [0, 1]})
    >>> histories.accuracy.dims
    ('attack', 'seed', 'eval_step')
    >>> def power(base, exponent=2):
    ...     return xr.Dataset({"value": ((), base**exponent)})
    >>> rules = {"square": {"exponent": 2}, "cube": {"exponent": 3}}
    >>> sweep({}, {"rule": rules, "base": [2, 3]}, power).value.sel(rule="cube").values.tolist()
    [8, 27]
    """
    if not isinstance(base, Mapping):
        raise ValueError(f"base must be a dict of fields, got {base!r}")
    check_axes(axes, HISTORY if run is None else ())
    check_client(client)
    folder = None if store is None else _folder(store)
    base, axes = plain(base), {name: plain(values) for name, values in axes.items()}
    if run is None:
        base, axes = by_name(base), {name: _by_name(name, v) for name, v in axes.items()}
        make: Callable[[tuple, Fields], Cell] = _trial_cell
    else:
        make = functools.partial(_own_cell, run, tuple(axes))
    cells = [make(labels, fields) for labels, fields in expand(base, axes)]
    if folder is not None:
        _check_names(run, cells)
    with tempfile.TemporaryDirectory() as temporary:
        kept = Store(folder or Path(temporary))
        read = {cell: dataset for cell in cells if (dataset := kept.read(cell)) is not None}
        todo = [cell for cell in cells if cell not in read]
        record = provenance(package_versions(PACKAGES))
        execute(client, todo, kept, record, lambda *_: None)
        labels = {name: list(values) for name, values in axes.items()}
        dataset = assemble(cells, labels, kept, {"base": base}, read=read)
        failures = [(cell, error) for cell in cells if (error := kept.failure(cell))]
    if failures:
        cell, error = failures[0]
        message = f"{len(failures)} of {len(cells)} cells failed; the first, {cell}: "
        if dataset is None:
            raise RuntimeError(message + summary(error))
        warnings.warn(message + summary(error), stacklevel=2)
    assert dataset is not None
    return dataset


def check_axes(axes: Axes, taken: Sequence[str] = ()) -> None:
    """Raise unless every axis is a list of plain values, or labels with several fields each.

    Parameters
    ----------
    axes : mapping
    taken : sequence of str
        Names that no axis may have, because the cells have dims of these names.

    Examples
    --------
    >>> check_axes({"seed": 3})
    Traceback (most recent call last):
    ValueError: axis 'seed' needs a list of values, or a dict of several fields by label, got 3
    """
    if not isinstance(axes, Mapping) or not axes:
        raise ValueError(f"axes must be a dict, name -> values, with one or more, got {axes!r}")
    setters: dict[str, str] = {}
    for name, values in axes.items():
        tables = values.values() if isinstance(values, Mapping) else [{}]
        sized = hasattr(values, "__len__") and not isinstance(values, str)
        if not sized or not len(values) or not all(isinstance(t, Mapping) for t in tables):
            raise ValueError(
                f"axis {name!r} needs a list of values, or a dict of several fields by label, "
                f"got {values!r}"
            )
        if not isinstance(values, Mapping) and any(isinstance(v, list | dict) for v in values):
            raise ValueError(
                f"axis {name!r} has values that are lists or dicts; give each a label: "
                f"{{{name!r}: {{'a': {{{name!r}: ...}}}}}}"
            )
        if len(set(map(str, values))) < len(values):
            raise ValueError(f"axis {name!r} has a value twice: {list(values)!r}")
        for field in dict.fromkeys(field for table in tables for field in table) or [name]:
            if setters.setdefault(field, name) != name:
                raise ValueError(
                    f"axes {setters[field]!r} and {name!r} both set the field {field!r}; set it in "
                    "one of them"
                )
        if name in taken:
            raise ValueError(
                f"an axis cannot be called {name!r}, which is a dim of every history; give it "
                f"labels under another name: {{'kind': {{'a': {{{name!r}: ...}}}}}}"
            )


def _by_name(name: str, values: Any) -> Any:
    """Return the values of an axis with the names of functions in place of these."""
    if isinstance(values, Mapping):
        return {label: by_name(fields) for label, fields in values.items()}
    return [by_name({name: value})[name] for value in values]


def _folder(store: Any) -> Path:
    """Return the folder of a store; ValueError where it cannot be one."""
    try:
        folder = Path(store)
    except TypeError as error:
        raise ValueError(f"store must be the path of a folder, got {store!r}") from error
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"store must be a folder, and {store} is a file")
    return folder


def _check_names(run: Any, cells: Sequence[Cell]) -> None:
    """Raise where a function has no name that finds it, and it alone, in another program."""
    named = [f"{getattr(run, '__module__', '')}:{getattr(run, '__qualname__', '<lambda>')}"]
    named = [value for cell in cells for value in cell.fields.values()] if run is None else named
    for name in dict.fromkeys(name for name in named if isinstance(name, str)):
        if name.startswith("__main__:") or "<lambda>" in name:
            raise ValueError(
                f"a store finds cells by the names of functions, and {name.rpartition(':')[2]} is "
                "not in a module that other programs import; define it with def in a module"
            )


def _trial_cell(labels: tuple, fields: Fields) -> Cell:
    """Return the cell that trains a Trial of the fields; ValueError where they make no Trial."""
    label = ", ".join(map(str, labels))
    try:
        check_known("field of Trial", fields, DEFAULTS)
        parts = versions(Trial(**fields))
    except ValueError as error:
        raise ValueError(f"{label}: {error}") from error
    return Cell("trial", labels, fields, parts, _train, 1.0, 0.0, defaults=DEFAULTS)


def _train(fields: Fields, *, checkpoint: Path | None = None) -> xr.Dataset:
    return train(Trial(**fields), checkpoint=checkpoint)


def _own_cell(
    run: Callable[..., xr.Dataset], axes: tuple[str, ...], labels: tuple, fields: Fields
) -> Cell:
    """Return the cell that calls a function with the fields; ValueError where it cannot."""
    name = f"{getattr(run, '__module__', '')}.{getattr(run, '__qualname__', '<lambda>')}"
    label = ", ".join(map(str, labels))
    try:
        signature = inspect.signature(run)
    except (TypeError, ValueError) as error:
        raise ValueError(f"run must be a function of the fields, got {run!r}") from error
    given = {"checkpoint": None} if "checkpoint" in signature.parameters else {}
    try:
        signature.bind(**given, **fields)
    except TypeError as error:
        raise ValueError(
            f"{label}: {error} of {name}{signature}; the fields are {', '.join(fields)}"
        ) from error
    for field, value in fields.items():
        try:
            json.dumps(value)
        except TypeError as error:
            raise ValueError(
                f"{label}: {field} must be a number, a text, or a list or dict of these, "
                f"got {value!r}"
            ) from error
    has = {k: p.default for k, p in signature.parameters.items() if p.default is not p.empty}
    call = functools.partial(_call, run, axes)
    return Cell(name, labels, fields, {}, call, 1.0, 0.0, defaults=has)


def _call(
    run: Callable[..., xr.Dataset],
    axes: tuple[str, ...],
    fields: Fields,
    *,
    checkpoint: Any = None,
) -> xr.Dataset:
    """Call a function with fields as keywords, and with the checkpoint if it asks for one."""
    asks = "checkpoint" in inspect.signature(run).parameters
    dataset = run(**fields, **({"checkpoint": checkpoint} if asks else {}))
    if isinstance(dataset, xr.Dataset):
        for name in axes:
            if name in dataset.variables or name in dataset.dims:
                raise ValueError(f"a cell has a variable or dim {name!r}, which is an axis, too")
    return dataset
