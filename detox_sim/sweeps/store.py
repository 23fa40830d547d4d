"""The store of a sweep: one small netCDF file for each finished cell.

Its name is a digest of the fields that differ from their defaults and of the versions of what it
uses, so a resume is "the file exists": a killed driver or worker loses only running cells, and
changing any field never reuses an old result. Committed datasets fill the store: what they hold
is not computed again.
"""

import contextlib
import functools
import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

Fields = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Cell:
    """One point of a sweep.

    Attributes
    ----------
    study : str
    labels : tuple
        Its place on each axis.
    fields : dict
        Plain values; all that `run` is given.
    versions : dict of str to int
        Of each part that the result depends on.
    run : callable
        fields -> xarray.Dataset, importable on a worker; one with a keyword `checkpoint` is given
        a path where it may keep what it needs to go on after a kill.
    seconds, memory : float
        Expected cost on one core, and bytes.
    rank : tuple of int
        Cells of a lower rank run first.
    kind : str
        What the cell is a run of, by default of the study: studies of one kind share their cells.
    defaults : dict
        Values of fields that leave the result as it was before there was such a field.
    """

    study: str
    labels: tuple
    fields: Fields
    versions: dict[str, int]
    run: Callable[..., xr.Dataset]
    seconds: float
    memory: float
    rank: tuple[int, int] = (0, 0)
    kind: str = ""
    defaults: Fields = field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> str:
        changed = {
            name: value
            for name, value in self.fields.items()
            if name not in self.defaults or self.defaults[name] != value
        }
        return _sha(_canonical([self.kind or self.study, self.versions, changed]))[:32]

    def __str__(self) -> str:
        return f"{self.study} {', '.join(str(label) for label in self.labels)}"


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Store:
    """The folder of finished cells, and the datasets that have some of them already.

    Parameters
    ----------
    folder : pathlib.Path
    committed : sequence of pathlib.Path
        Datasets that `sweep.assemble` made.
    """

    def __init__(self, folder: Path, committed: Sequence[Path] = ()):
        self.folder, self._committed = folder, committed

    def path(self, cell: Cell) -> Path:
        return self.folder / (cell.kind or cell.study) / f"{cell.digest}.nc"

    def checkpoint(self, cell: Cell) -> Path:
        """Return where a running cell may keep what it has; its folder exists."""
        path = self.path(cell).with_suffix(".checkpoint").absolute()
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def forget(self, cell: Cell) -> None:
        """Delete what is kept of a cell."""
        for path in (self.path(cell), self.checkpoint(cell)):
            path.unlink(missing_ok=True)

    def failure(self, cell: Cell) -> str | None:
        """Return the recorded traceback of a failed cell."""
        path = self.path(cell).with_suffix(".failed.json")
        return json.loads(path.read_text())["error"] if path.exists() else None

    def read(self, cell: Cell) -> xr.Dataset | None:
        """Return a finished cell, or None when it is missing or damaged."""
        try:
            with (
                uninterrupted(),
                xr.open_dataset(self.path(cell), engine="netcdf4") as stored,
            ):
                dataset = stored.load()
            record = json.loads(dataset.attrs["cell"])
        except (OSError, KeyError, ValueError, RuntimeError, TypeError):
            return self._from_committed(cell)
        return dataset if record["content"] == content(dataset) else self._from_committed(cell)

    def _from_committed(self, cell: Cell) -> xr.Dataset | None:
        """Return the cell as a committed dataset holds it, or None."""
        source = self._index.get(cell.digest)
        return None if source is None else cell_of(source, cell.digest)

    @functools.cached_property
    def _index(self) -> dict[str, xr.Dataset]:
        """Return which committed dataset has a cell, by its digest."""
        index: dict[str, xr.Dataset] = {}
        for path in self._committed:
            with uninterrupted(), xr.open_dataset(path, engine="netcdf4") as stored:
                dataset = stored.load()
            cells = json.loads(dataset.attrs["provenance"]).get("cells", {})
            index |= dict.fromkeys(cells, dataset)
        return index

    def write(self, cell: Cell, dataset: xr.Dataset, record: dict) -> None:
        """Keep a finished cell; the file appears whole or not at all."""
        record |= {"study": cell.study, "versions": cell.versions, "fields": cell.fields}
        record["content"] = content(dataset)
        write_netcdf(dataset.assign_attrs(cell=json.dumps(record)), self.path(cell))
        for path in (self.path(cell).with_suffix(".failed.json"), self.checkpoint(cell)):
            path.unlink(missing_ok=True)

    def write_failure(self, cell: Cell, error: str) -> None:
        path = self.path(cell).with_suffix(".failed.json")
        text = json.dumps({"study": cell.study, "fields": cell.fields, "error": error})
        _replace(path, lambda temporary: temporary.write_text(text))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write under a temporary name of this process, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with uninterrupted():
            write(temporary)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the end: inside xarray's locks it would leave one of them held.

    Examples
    --------
    >>> try:
    ...     with uninterrupted():
    ...         signal.raise_signal(signal.SIGINT)
    ...         print("first this")
    ... except KeyboardInterrupt:
    ...     print("then that")
    first this
    then that
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    waiting: list[tuple] = []
    signal.signal(signal.SIGINT, lambda *call: waiting.append(call))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting:
            before(*waiting[0])


def write_netcdf(dataset: xr.Dataset, path: Path, compressed: bool = False) -> None:
    """Write a dataset so that the file appears whole or not at all."""
    numbers = [n for n, v in dataset.variables.items() if v.dtype.kind in "iuf" and v.ndim]
    encoding = {name: {"zlib": True, "complevel": 9} for name in numbers if compressed}
    plain = dataset.drop_encoding()  # that of a cell's file does not fit NaN of absent cells
    _replace(
        path, lambda temporary: plain.to_netcdf(temporary, engine="netcdf4", encoding=encoding)
    )


def cell_of(dataset: xr.Dataset, digest: str) -> xr.Dataset | None:
    """Return one cell of an assembled dataset with the bits that its run returned, or None.

    Parameters
    ----------
    dataset : xarray.Dataset
        As `sweep.assemble` returns it.
    digest : str
        Of the cell; one of the provenance's ``cells``.
    """
    about = json.loads(dataset.attrs["provenance"])
    record = about["cells"][digest]
    places = {
        axis: values.index(label)
        for (axis, values), label in zip(about["axes"].items(), record["labels"], strict=True)
    }
    types = about["cell_variables"]
    cell = dataset[list(types)].isel(places, drop=True)
    with np.errstate(invalid="ignore"):  # NaN of absent cells is no integer; `content` tells
        cell = cell.assign({name: cell[name].astype(kind) for name, kind in types.items()})
    if content(cell) != record["content"]:
        return None
    return cell.assign_attrs(cell=json.dumps(record | about["environments"][record["environment"]]))


def content(dataset: xr.Dataset) -> str:
    """Return a digest of names, dims, types and every bit of the values.

    Examples
    --------
    >>> content(xr.Dataset({"a": ("x", [1.0])})) == content(xr.Dataset({"a": ("x", [1.0])}))
    True
    """
    parts = []
    for name in sorted(str(name) for name in dataset.variables):
        variable = dataset[name]
        values = np.ascontiguousarray(variable.values)
        text = values.dtype.kind in "OUT"
        raw = _canonical([str(v) for v in values.ravel()]) if text else values.tobytes()
        kind = "text" if text else values.dtype.str
        parts.append([name, list(map(str, variable.dims)), list(values.shape), kind, _sha(raw)])
    return _sha(_canonical(parts))
