"""Sweeps that regenerate figures: one module is one dataset is one figure.

A study is a module in the folder of one of the `GROUPS` that has a `Study` called ``STUDY``; it is
found by that name.
"""

from __future__ import annotations

import functools
import importlib
import os
import pkgutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detox_sim.catalogue import check_known

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from detox_sim.sweeps import Fields, Grid

GROUPS = ("redundancy", "training", "robustness", "timing", "own")  # own: from outside
PROFILES = ("smoke", "laptop", "digits", "atlas", "cifar", "paper")  # from "digits" on: training
GENERAL = {  # pages
    "index": "Overview",
    "claims": "Claims",
    "how_to_choose": "How to choose",
    "explore": "Explore",
}
STATIC = ("how_to_choose", "explore")  # pages that no result changes
OUTSIDE = "DETOX_SIM_STUDIES"  # environment variable: studies from outside, as `outside` takes them


@dataclass(frozen=True, kw_only=True)
class Study:
    """What a study computes and states. The first six have no default.

    Attributes
    ----------
    title : str
    claim : str
        Of the paper, with its provenance: "(reported; quoted from memory)". Of a study that tests
        no claim: "Nothing is reported.", and what it asks.
    definitions : list of str
        Those taken where the field has several.
    profiles : dict
        Name -> a grid (base fields, axes; see `detox_sim.sweeps.expand`) or a list of grids with
        the same axes. All studies have ``smoke`` and ``laptop``.
    run : callable
        fields -> xarray.Dataset: one cell, a pure function of its fields. One with a keyword
        ``checkpoint`` is given a path where it may store what it needs to continue after a kill.
    figure : callable
        dataset -> matplotlib.figure.Figure, from the stored dataset alone.
    finding : callable, optional
        dataset -> what was found in it, as Markdown, from the stored dataset alone: what its page
        states first.
    scale : str or callable
        What the figure must state of the scale of the result, or a function of a cell's fields.
    fields : sequence of str
        The names that a cell's fields may have; by default those of the profiles.
    version : int
        Raised by hand whenever the same fields may give other numbers.
    versions : callable, optional
        fields -> versions of the parts that a cell uses, in place of `version`.
    prepare : callable, optional
        fields -> fields, completed and checked, or ValueError. By default only their names are
        checked.
    cost : callable, optional
        fields -> (seconds, bytes) that one cell takes on one core, roughly. By default the mean
        seconds of the study's cells so far, and no bytes beyond those of a process with torch.
    derive : callable, optional
        (fields, cell) -> cell, with variables that follow from it without a run.
    kind : str
        Studies of one kind share their stored cells; by default each has its own.
    defaults : dict
        Values at which a field changes nothing: a cell's identity leaves such a field out.
    exclusive : bool
        Its cells are timed: they run one at a time, after all others, and may use all processes
        through `detox_sim.cluster.here`.
    processes : int, optional
        How many Dask processes to start; 1 where one cell wants all the memory.
    by_name : sequence of str
        The profiles of which a full run leaves the study out.
    """

    title: str
    claim: str
    definitions: list[str]
    profiles: Mapping[str, Any]
    run: Callable[..., xr.Dataset]
    figure: Callable[[xr.Dataset], Figure]
    finding: Callable[[xr.Dataset], str] | None = None
    scale: str | Callable[[Fields], str] = ""
    fields: tuple[str, ...] = ()
    version: int = 1
    versions: Callable[[Fields], dict[str, int]] | None = None
    prepare: Callable[[Fields], Fields] | None = None
    cost: Callable[[Fields], tuple[float, float]] | None = None
    derive: Callable[[Fields, xr.Dataset], xr.Dataset] | None = None
    kind: str = ""
    defaults: Fields = field(default_factory=dict)
    exclusive: bool = False
    processes: int | None = None
    by_name: tuple[str, ...] = ()

    def grids(self, profile: str) -> list[Grid]:
        """Return the grids of a profile."""
        found = self.profiles[profile]
        return found if isinstance(found, list) else [found]

    def known(self) -> tuple[str, ...]:
        """Return the names that a cell's fields may have."""
        if self.fields:
            return self.fields
        names: dict[str, None] = {}
        for base, axes in (grid for profile in self.profiles for grid in self.grids(profile)):
            names |= dict.fromkeys(base)
            for axis, values in axes.items():
                several = values.values() if isinstance(values, Mapping) else [{axis: None}]
                names |= dict.fromkeys(name for fields in several for name in fields)
        return tuple(names)

    def prepared(self, fields: Fields) -> Fields:
        """Return a cell's fields, completed and checked; ValueError names what is wrong."""
        if self.prepare is not None:
            return self.prepare(fields)
        check_known("field", fields, self.known())
        return fields


def outside(places: Sequence[str]) -> list[str]:
    """Make studies from outside known to this process and those it starts; return their names.

    Parameters
    ----------
    places : sequence of str
        Modules with a ``STUDY``, such as "my_package.my_study", and files ``*.toml`` as
        ``studies.training.own`` describes them.

    Raises
    ------
    ValueError
        When one cannot be read, or has the name of another study.
    """
    os.environ[OUTSIDE] = os.pathsep.join(
        os.path.abspath(place) if place.endswith(".toml") else place for place in places
    )
    found = [_name(place) for place in places]
    for name in found:
        if name in (*_modules(), *GENERAL) or found.count(name) > 1:
            raise ValueError(f"there is another page {name!r}; give your study another name")
        try:
            load(name)
        except ValueError:
            raise
        except Exception as error:
            from detox_sim.sweeps.store import summary

            raise ValueError(f"{name}: {summary(traceback.format_exc())}") from error
    return found


def source_of(name: str) -> bytes:
    """Return the text of a study from outside, b"" of one of this package."""
    if name in _modules():
        return b""
    place = modules()[name]
    return Path(place if place.endswith(".toml") else str(module(name).__file__)).read_bytes()


def _name(place: str) -> str:
    return Path(place).stem if place.endswith(".toml") else place.rpartition(".")[2]


def modules() -> dict[str, str]:
    """Return the module of each study by its name, group by group; or its file.

    Examples
    --------
    >>> modules()["filtering"]
    'studies.redundancy.filtering'
    """
    own = [place for place in os.environ.get(OUTSIDE, "").split(os.pathsep) if place]
    return _modules() | {_name(place): place for place in own}


def group(name: str) -> str:
    """Return the group of a study, one of `GROUPS`.

    Examples
    --------
    >>> group("filtering")
    'redundancy'
    """
    return modules()[name].split(".")[1] if name in _modules() else "own"


@functools.cache
def _modules() -> dict[str, str]:
    """Return the studies of this package."""
    found = {}
    for group in GROUPS[:-1]:
        package = importlib.import_module(f"studies.{group}")
        for name in sorted(info.name for info in pkgutil.iter_modules(package.__path__)):
            path = f"{package.__name__}.{name}"
            if isinstance(getattr(importlib.import_module(path), "STUDY", None), Study):
                found[name] = path
    return found


def names() -> list[str]:
    """Return the names of the studies."""
    return list(modules())


def module(name: str) -> Any:
    """Return the module of a study; an unknown name is an error with the nearest spelling."""
    check_known("study", [name], modules())
    return importlib.import_module(modules()[name])


def load(name: str) -> Study:
    """Return a study by its name.

    Examples
    --------
    >>> load("filtering").title
    'Distorted files after the vote'
    """
    place = modules().get(name, "")
    if place.endswith(".toml"):
        return importlib.import_module("studies.training.own").read(Path(place))
    try:
        found = getattr(module(name), "STUDY", None)
    except ImportError as error:
        raise ValueError(f"cannot load the study {place!r}: {error}") from error
    if not isinstance(found, Study):
        raise ValueError(f"{place} has no STUDY = Study(...)")
    return found


def outdated(about: Mapping[str, Any]) -> str:
    """Return which parts that made a dataset have another version today, as text; "" if none has.

    Parameters
    ----------
    about : mapping
        Provenance of the dataset. Where ``verified`` says so, cells of it were computed again with
        the same bits by other versions, and these count.

    Examples
    --------
    >>> outdated({"study": "filtering", "versions": {"filtering": 0}})
    'made by version 0 of filtering, which is now ...'
    """
    study, versions = about["study"], about.get("verified", about).get("versions")
    if study not in modules():
        return ""
    if not versions:
        return "made by a version that it does not state part by part"
    from detox_sim.training import VERSIONS

    now = {study: load(study).version, **VERSIONS}
    return ", ".join(
        f"made by version {version} of {part}, which is now {now.get(part)}"
        for part, version in versions.items()
        if version != now.get(part)
    )
