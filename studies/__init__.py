"""Sweeps that regenerate figures: one module is one dataset is one figure.

A study is a module with

* ``TITLE``, ``CLAIM`` (the paper's, with its provenance), ``DEFINITIONS`` (those taken);
* ``SCALE``: what its figure must say of the scale of the result;
* ``FIELDS``: the names a cell may have;
* ``VERSION``, raised by hand whenever the same fields may give other numbers;
* ``PROFILES``: for each profile the base fields and the axes (see `studies.sweep.expand`);
* ``prepare(fields) -> fields``: complete and check the fields of one cell, or raise ValueError;
* ``cost(fields) -> (seconds, bytes)``: what one cell takes on one core, roughly;
* ``run(fields) -> xarray.Dataset``: one cell, a pure function of its fields;
* ``figure(dataset) -> matplotlib.figure.Figure``, from the stored dataset alone.
"""

__all__ = ["filtering", "mean_estimation", "accuracy_alie", "accuracy_reverse"]
