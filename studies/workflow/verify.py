"""Recompute some cells of a stored dataset, and say whether today's code gives the same bits."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from detox_sim.cluster import PACKAGES, versions
from detox_sim.sweeps import Cell, execute, provenance, write_netcdf
from detox_sim.sweeps.store import Store, cell_of, content, summary
from studies.evidence.verdicts import open_stored
from studies.workflow.plans import make_plans


class Recomputed(NamedTuple):
    """A recomputed cell: its labels, whether all bits are equal, and how far it is from the stored.

    `difference` is the largest of any value. `share` is the largest difference of a variable's mean
    over steps, as a share of the range of these means over the stored seeds.
    """

    labels: tuple
    equal: bool
    difference: float
    share: float


def verify(path: Path, count: int, folder: Path) -> list[Recomputed]:
    """Recompute cells of a dataset, drawn by its own digests, and record in it how that went.

    Parameters
    ----------
    path : pathlib.Path
        A dataset of a study. Its provenance gets ``verified``: today's versions, if every
        recomputed cell has the stored bits; the dataset then counts as one of today's.
    count : int
        How many cells; all if there are fewer.
    folder : pathlib.Path
        Where the recomputed cells are stored, so that a call that was interrupted continues.

    Raises
    ------
    ValueError
        When the file is no dataset of a study of today, or a recomputed cell fails.
    """
    dataset, about = open_stored(path)
    (plan,) = make_plans([about["study"]], about["profile"], about["settings"])
    today = {cell.labels: cell for cell in plan.cells}
    digests = drawn(list(about["cells"]), count)
    labels = [tuple(about["cells"][digest]["labels"]) for digest in digests]
    if absent := [one for one in labels if one not in today]:
        raise ValueError(f"{path}: {about['study']} has no cell {absent[0]} today")
    store = Store(folder)
    cells = [today[one] for one in labels]
    missing = [cell for cell in cells if store.read(cell) is None]
    execute(None, missing, store, provenance(versions(PACKAGES)), lambda *_: None)
    found = [_compared(dataset, *each, store) for each in zip(digests, cells, strict=True)]
    if all(each.equal for each in found):
        now = {part: version for cell in plan.cells for part, version in cell.versions.items()}
        about["verified"] = {"versions": now, "cells": [list(each.labels) for each in found]}
        write_netcdf(dataset.assign_attrs(provenance=json.dumps(about)), path, compressed=True)
    return found


def drawn(digests: Sequence[str], count: int) -> list[str]:
    """Return some of the cells of a dataset: a draw that nobody chooses, the same every time.

    Examples
    --------
    >>> drawn(["a", "b", "c"], 2) == drawn(["c", "b", "a"], 2)
    True
    """
    seed = "".join(sorted(digests))
    return sorted(digests, key=lambda d: hashlib.sha256((seed + d).encode()).hexdigest())[:count]


def _compared(dataset: xr.Dataset, digest: str, cell: Cell, store: Store) -> Recomputed:
    if error := store.failure(cell):
        raise ValueError(f"{cell} failed: {summary(error)}")
    now, then = store.read(cell), cell_of(dataset, digest)
    if now is None or then is None:
        return Recomputed(cell.labels, False, np.inf, np.inf)
    shared = [name for name in then.data_vars if name in now and then[name].dtype.kind == "f"]
    gaps = [float(abs(now[name].astype(float) - then[name]).max()) for name in shared]
    shares = [_share(dataset[name], cell, now[name]) for name in shared]
    return Recomputed(
        cell.labels,
        content(now) == content(then),
        max(gaps, default=np.inf),
        max(shares, default=0),
    )


def _share(stored: xr.DataArray, cell: Cell, now: xr.DataArray) -> float:
    """Return by which share of the seeds' range the mean of a recomputed variable differs."""
    where = dict(zip(stored.dims, cell.labels, strict=False))
    seed = where.pop("seed", None)
    if seed is None:
        return 0.0
    means = stored.sel(where).astype(float)
    means = means.mean([name for name in means.dims if name != "seed"])
    difference = abs(float(now.astype(float).mean()) - float(means.sel(seed=seed)))
    spread = float(means.max() - means.min())
    return 0.0 if difference == 0 else difference / spread if spread else np.inf
