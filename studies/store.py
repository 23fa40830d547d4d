"""The store of a sweep: one small netCDF file for each finished cell.

Its name is a digest of every field and of a version, so a resume is "the file exists": a killed
driver or worker loses only running cells, and changing any field never reuses an old result.
"""

import contextlib
import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    version : int
        The study's.
    run : callable
        fields -> xarray.Dataset, importable on a worker; one with a keyword `checkpoint` is given
        a path where it may keep what it needs to go on after a kill.
    seconds, memory : float
        Expected cost on one core, and bytes.
    """

    study: str
    labels: tuple
    fields: Fields
    version: int
    run: Callable[..., xr.Dataset]
    seconds: float
    memory: float

    @property
    def digest(self) -> str:
        return _sha(_canonical([self.study, self.version, self.fields]))[:32]

    def __str__(self) -> str:
        return f"{self.study} {', '.join(str(label) for label in self.labels)}"


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Store:
    """The folder of finished cells."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, cell: Cell) -> Path:
        return self.folder / cell.study / f"{cell.digest}.nc"

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
            return None
        return dataset if record["content"] == content(dataset) else None

    def write(self, cell: Cell, dataset: xr.Dataset, record: dict) -> None:
        """Keep a finished cell; the file appears whole or not at all."""
        record |= {"study": cell.study, "version": cell.version, "fields": cell.fields}
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


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write a dataset so that the file appears whole or not at all."""
    _replace(path, lambda temporary: dataset.to_netcdf(temporary, engine="netcdf4"))


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
