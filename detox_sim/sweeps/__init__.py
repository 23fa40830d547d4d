"""Sweeps: a function over a grid of fields, on Dask, resumable; knows nothing of DETOX.

`Fields` are the fields of a cell by name. `Axes` are the values of fields by name, or several
fields by label. A `Grid` is the fields that all cells have, and the axes.
"""

from detox_sim.sweeps.assembly import assemble
from detox_sim.sweeps.execution import SchedulerLostError, execute, provenance
from detox_sim.sweeps.grids import Axes, Grid, expand, expand_all, union
from detox_sim.sweeps.store import Cell, Fields, Store, write_netcdf

__all__ = [
    "Axes",
    "Cell",
    "Fields",
    "Grid",
    "SchedulerLostError",
    "Store",
    "assemble",
    "execute",
    "expand",
    "expand_all",
    "provenance",
    "union",
    "write_netcdf",
]
