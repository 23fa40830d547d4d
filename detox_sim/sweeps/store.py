"""The store of a sweep: one small netCDF file for each finished cell.

The file's name is a digest of the fields that differ from their defaults and of the versions of
what the cell uses. A cell is finished if its file exists: a killed process loses only the cells
that it ran, and a cell with another field has another file. Cells that a committed dataset holds
are not run again.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK, NetCDF4DataStore
from xarray.conventions import encode_dataset_coordinates

from detox_sim.files import uninterrupted, write_whole

Fields = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Cell:
    """One point of a sweep.

    Attributes
    ----------
    study : str
    labels : tuple
        Its label on each axis.
    fields : dict
        Plain values; all that `run` is given.
    versions : dict of str to int
        Of each part that the result depends on.
    run : callable
        fields -> xarray.Dataset, importable in a Dask process; one with a keyword `checkpoint` is
        given a path where it may store what it needs to continue after a kill.
    seconds, memory : float
        Expected seconds on one core, and bytes.
    rank : tuple of int
        Cells of a lower rank run first.
    kind : str
        What the cell is a run of, by default of the study: studies of one kind share their cells.
    defaults : dict
        Values at which a field changes nothing: the digest leaves such a field out.
    """

    study: str
    labels: tuple
    fields: Fields
    versions: dict[str, int]
    run: Callable[..., xr.Dataset]
    seconds: float
    memory: float
    rank: tuple[int, ...] = (0, 0)
    kind: str = ""
    defaults: Fields = field(default_factory=dict)

    @functools.cached_property
    def digest(self) -> str:
        """The cell's identity, of kind, versions, and fields that differ from the defaults."""
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
    """The folder of finished cells, and committed datasets that hold some of them.

    Parameters
    ----------
    folder : pathlib.Path
    committed : sequence of pathlib.Path
        Files of datasets that `assemble` returned.
    """

    def __init__(self, folder: Path, committed: Sequence[Path] = ()):
        self.folder, self._committed = folder, committed

    def path(self, cell: Cell) -> Path:
        """Return the path of a finished cell."""
        return self.folder / (cell.kind or cell.study) / f"{cell.digest}.nc"

    def checkpoint(self, cell: Cell) -> Path:
        """Return the path of a cell's checkpoint; its folder is made."""
        path = self._checkpoint(cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _checkpoint(self, cell: Cell) -> Path:
        return self.path(cell).with_suffix(".checkpoint").absolute()

    def forget(self, cell: Cell) -> None:
        """Delete what is stored of a cell."""
        for path in (self.path(cell), self._failure(cell), self.checkpoint(cell)):
            path.unlink(missing_ok=True)

    def failure(self, cell: Cell) -> str | None:
        """Return the recorded traceback of a failed cell."""
        path = self._failure(cell)
        return json.loads(path.read_text())["error"] if path.exists() else None

    def stored_at(self, cell: Cell) -> int | None:
        """Return when a finished cell was stored here, in nanoseconds; None where it was not."""
        path = self.path(cell)
        return path.stat().st_mtime_ns if path.exists() else None

    def _failure(self, cell: Cell) -> Path:
        return self.path(cell).with_suffix(".failed.json")

    def mean_seconds(self, kind: str, most: int = 20) -> float | None:
        """Return the mean seconds that cells of a kind took, of the newest few; None without any.

        Parameters
        ----------
        kind : str
            The `kind` of a `Cell`, by default the name of the study.
        most : int
            How many cells to look at.
        """
        newest = sorted((self.folder / kind).glob("*.nc"), key=os.path.getmtime)[-most:]
        seconds = []
        for path in newest:
            with (
                contextlib.suppress(OSError, KeyError, ValueError, RuntimeError, TypeError),
                uninterrupted(),
                xr.open_dataset(path, engine="netcdf4") as stored,
            ):
                seconds.append(json.loads(stored.attrs["cell"])["seconds"])
        return sum(seconds) / len(seconds) if seconds else None

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
        """Return the committed dataset that holds a cell, by the cell's digest."""
        index: dict[str, xr.Dataset] = {}
        for path in self._committed:
            with uninterrupted(), xr.open_dataset(path, engine="netcdf4") as stored:
                dataset = stored.load()
            cells = json.loads(dataset.attrs["provenance"]).get("cells", {})
            index |= dict.fromkeys(cells, dataset)
        return index

    def write(self, cell: Cell, dataset: xr.Dataset, record: dict) -> None:
        """Store a finished cell and delete its failure and checkpoint."""
        self.write_file(cell, cell_file(dataset, record | description(cell)))

    def write_file(self, cell: Cell, file: bytes) -> None:
        """Store a finished cell as `cell_file` returned it, and delete failure and checkpoint."""
        write_whole(self.path(cell), lambda temporary: temporary.write_bytes(file))
        for path in (self._failure(cell), self._checkpoint(cell)):
            path.unlink(missing_ok=True)

    def write_failure(self, cell: Cell, error: str) -> None:
        """Store the traceback of a failed cell."""
        text = json.dumps({"study": cell.study, "fields": cell.fields, "error": error})
        write_whole(self._failure(cell), lambda temporary: temporary.write_text(text))


def description(cell: Cell) -> dict:
    """Return what the record of a finished cell says of the cell itself."""
    return {"study": cell.study, "versions": cell.versions, "fields": cell.fields}


def cell_file(dataset: xr.Dataset, record: dict) -> bytes:
    """Return the netCDF file of a finished cell.

    Parameters
    ----------
    dataset : xarray.Dataset
    record : dict
        Its provenance, which becomes the attribute ``cell`` (JSON) together with ``content``, the
        digest of the dataset.
    """
    record = record | {"content": content(dataset)}
    whole = dataset.drop_encoding().assign_attrs(cell=json.dumps(record))
    with tempfile.TemporaryDirectory() as folder, uninterrupted():
        path = Path(folder, "cell.nc")
        with NETCDF4_PYTHON_LOCK, netCDF4.Dataset(path, "w") as file:
            _fill(file, whole)
        return path.read_bytes()


def _fill(file: netCDF4.Dataset, dataset: xr.Dataset) -> None:
    """Write a dataset into an empty file as xarray does, but all values after all definitions.

    As xarray writes it, variable by variable, netCDF writes the definitions to the file anew for
    each: of 14 variables this takes more than half of the time.
    """
    store = NetCDF4DataStore(file, lock=False)
    variables, attributes = store.encode(*encode_dataset_coordinates(dataset))
    store.set_attributes(attributes)
    for dim, size in {d: n for v in variables.values() for d, n in v.sizes.items()}.items():
        file.createDimension(dim, size)
    defined = []
    for name, variable in variables.items():
        attributes = dict(variable.attrs)
        target = file.createVariable(
            name,
            str if variable.dtype.kind in "OU" else variable.dtype,
            variable.dims,
            fill_value=attributes.pop("_FillValue", None),
        )
        target.setncatts(attributes)
        defined.append((target, variable.values))
    file.set_auto_maskandscale(False)
    file.set_auto_chartostring(False)
    for target, values in defined:
        target[...] = values


def summary(error: str) -> str:
    """Return the last line of a traceback, and the file and line that raised it.

    Examples
    --------
    >>> summary('Traceback ...\\n  File "rule.py", line 3, in mean\\n    ...\\nValueError: no rows')
    'ValueError: no rows (rule.py, line 3)'
    """
    places = re.findall(r'^ +File "(.+)", (line \d+)', error, flags=re.MULTILINE)
    where = f" ({', '.join(places[-1])})" if places else ""
    return error.strip().splitlines()[-1] + where


def write_netcdf(dataset: xr.Dataset, path: Path, compressed: bool = False) -> None:
    """Write a dataset so that the file appears whole or not at all."""
    numbers = [n for n, v in dataset.variables.items() if v.dtype.kind in "iuf" and v.ndim]
    encoding = {name: {"zlib": True, "complevel": 9} for name in numbers if compressed}
    plain = dataset.drop_encoding()  # that of a cell's file cannot hold the NaN of absent cells
    write_whole(
        path, lambda temporary: plain.to_netcdf(temporary, engine="netcdf4", encoding=encoding)
    )


def cell_of(dataset: xr.Dataset, digest: str) -> xr.Dataset | None:
    """Return one cell of an assembled dataset with the bits that its run returned, or None.

    Parameters
    ----------
    dataset : xarray.Dataset
        As `assemble` returns it.
    digest : str
        Of the cell; one of the provenance's ``cells``.
    """
    about = json.loads(dataset.attrs["provenance"])
    record = about["cells"][digest]
    at = {
        axis: values.index(label)
        for (axis, values), label in zip(about["axes"].items(), record["labels"], strict=True)
    }
    lacks = record.get("lacks", ())
    types = {name: kind for name, kind in about["cell_variables"].items() if name not in lacks}
    cell = dataset[list(types)].isel(at, drop=True)
    cell = cell.isel({d: p for d, p in record.get("positions", {}).items() if d in cell.dims})
    with np.errstate(invalid="ignore"):  # an absent cell's NaN is no integer
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
        variable = dataset.variables[name]
        values = np.ascontiguousarray(variable.values)
        text = values.dtype.kind in "OUT"
        raw = _canonical([str(v) for v in values.ravel()]) if text else values.tobytes()
        kind = "text" if text else values.dtype.str
        parts.append([name, list(map(str, variable.dims)), list(values.shape), kind, _sha(raw)])
    return _sha(_canonical(parts))
