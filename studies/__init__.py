"""Sweeps that regenerate figures: one module is one dataset is one figure.

A study is a module with

* ``TITLE``, ``CLAIM`` (the paper's, with its provenance), ``DEFINITIONS`` (those taken);
* ``SCALE``: what its figure must say of the scale of the result, or a function of a cell's fields;
* ``FIELDS``: the names a cell may have;
* ``VERSION``, raised by hand whenever the same fields may give other numbers;
* ``PROFILES``: for each profile the base fields and the axes (see `studies.sweep.expand`); all
  studies have ``smoke`` and ``laptop``, those that train also ``fashion`` and ``paper``;
* ``prepare(fields) -> fields``: complete and check the fields of one cell, or raise ValueError;
* ``cost(fields) -> (seconds, bytes)``: what one cell takes on one core, roughly;
* ``run(fields) -> xarray.Dataset``: one cell, a pure function of its fields; one that takes
  ``checkpoint`` is given a path from which it can go on;
* ``figure(dataset) -> matplotlib.figure.Figure``, from the stored dataset alone.

A study that times its cells says ``EXCLUSIVE = True``: they run one at a time, after all others,
and may use all workers through `detox_sim.cluster.here`. ``WORKERS = 1`` asks for one worker with
all the memory, ``BY_NAME`` the profiles of which a full run leaves the study out.
``python -m studies.<study>`` is ``python -m studies.reproduce <study>``.
"""

import importlib
import sys
from collections.abc import Mapping

from detox_sim import training

__all__ = [
    "filtering",
    "schemes",
    "mean_estimation",
    "accuracy_alie",
    "accuracy_reverse",
    "sign_sgd",
    "draco",
    "tune",
    "placement",
    "robustness_audit",
    "vote_semantics",
    "stragglers",
    "step_time",
    "scaling",
    "throughput",
    "kernels",
]


def run_alone(study: str) -> int:
    """Run one study with the options of the command line; return the exit code."""
    command = importlib.import_module("studies.reproduce")  # above the studies, so not imported
    return command.main([study, *sys.argv[1:]])


def outdated(study: str, versions: Mapping[str, int] | None) -> str:
    """Say which parts that made a dataset have another version today; nothing if none has.

    Examples
    --------
    >>> outdated("filtering", {"filtering": 0})
    'made by version 0 of filtering, which is now ...'
    """
    if study not in __all__:
        return ""
    if not versions:
        return "made by a version that it does not state part by part"
    module = importlib.import_module(f"studies.{study}")
    now = {study: getattr(module, "VERSION", None), **training.VERSIONS}
    return ", ".join(
        f"made by version {version} of {part}, which is now {now.get(part)}"
        for part, version in versions.items()
        if version != now.get(part)
    )
