"""Folders of results as things: what is in one, how two differ, and joining disjoint ones."""

import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import studies
from detox_sim.sweeps import write_netcdf
from detox_sim.sweeps.assembly import join
from detox_sim.sweeps.intervals import student_t
from studies.evidence.verdicts import open_stored


def datasets(folder: Path) -> dict[str, Path]:
    """Return the datasets of a folder by name: those of studies first, in their order.

    Raises
    ------
    ValueError
        When it is no folder, or has no dataset.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    found = {path.stem: path for path in sorted(folder.glob("*.nc"))}
    if not found:
        raise ValueError(f"{folder} has no dataset (*.nc); studies.reproduce --output makes some")
    ordered = [name for name in studies.names() if name in found]
    return {name: found[name] for name in dict.fromkeys([*ordered, *found])}


# --- What is there --------------------------------------------------------------------------------


def described(name: str, path: Path, width: int, brief: bool = False) -> str:
    """Return what a dataset is, when and by which version it was made, and what was found in it.

    Parameters
    ----------
    name : str
        Of the study, or of the file.
    path : pathlib.Path
    width : int
        Characters of a line.
    brief : bool
        Only the first paragraph of what was found.
    """
    dataset, about = open_stored(path)
    study = studies.load(name) if name in studies.names() else None
    count = about["count"]
    state = f"{count['finished']} of {count['planned']} cells"
    state += f", {count['failed']} failed" * bool(count["failed"])
    commit = about["environments"][-1]["commit"]
    facts = [
        f"profile {about['profile']}" if "profile" in about else "a sweep",
        state,
        f"made {about['computed'][1][:10]}",
        f"commit {commit[:10]}" if commit else "no commit",
        *([f"changed: {about['settings']}"] if about.get("settings") else []),
        *([old] if (old := studies.outdated(about) if study else "") else []),
    ]
    title = about.get("title")
    lines = [f"{name}: {title}" if title else name, f"  {'; '.join(facts)}"]
    text = dataset.attrs.get("finding", "")
    if study is not None and study.finding is not None:
        text = study.finding(dataset)
    if text:
        found = plain(text)
        for line in found[:1] if brief else found:
            first, rest = ("  * ", "    ") if line.startswith("* ") else ("  ", "  ")
            lines.append(textwrap.fill(line.removeprefix("* "), width, initial_indent=first,
                                       subsequent_indent=rest))  # fmt: skip
    return "\n".join(lines)


def plain(markdown: str) -> list[str]:
    """Return Markdown as lines of plain text.

    Examples
    --------
    >>> plain("**A rule** is `mean`.\\n\\n* see [here](page.html)")
    ['A rule is mean.', '* see here']
    """
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown)
    text = re.sub(r"\*\*([^*]+)\*\*", r"\1", text)
    text = re.sub(r"\*([^*\s][^*]*)\*", r"\1", text).replace("`", "").replace("### ", "")
    return [line.strip() for line in text.splitlines() if line.strip()]


# --- How two differ -------------------------------------------------------------------------------


def differences(one: Path, other: Path) -> list[str]:
    """Return how the fields, labels and values of two datasets of a study differ, a line each.

    Values are compared at the labels that both have. Of a variable over seeds the line says at how
    many places the 95 % Student t intervals of the two do not overlap.
    """
    (a, of_a), (b, of_b) = open_stored(one), open_stored(other)
    found = [
        f"{name}: {of_a.get(name)!r} and {of_b.get(name)!r}"
        for name in ("profile", "settings", "versions", "base")
        if of_a.get(name) != of_b.get(name)
    ]
    for axis, labels in of_a["axes"].items():
        theirs = of_b["axes"].get(axis, [])
        only = (
            [str(x) for x in labels if x not in theirs],
            [str(x) for x in theirs if x not in labels],
        )
        found += [
            f"{axis}: only in the {which}: {', '.join(some)}"
            for which, some in zip(("first", "second"), only, strict=True)
            if some
        ]
    names = {str(name) for name in a.data_vars}, {str(name) for name in b.data_vars}
    found += [f"{name}: only in one of the two" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        if a[name].dtype.kind in "biuf" and b[name].dtype.kind in "biuf":
            found += _different_values(a[name], b[name])
    return found


def _different_values(a: xr.DataArray, b: xr.DataArray) -> list[str]:
    try:
        a, b = xr.align(a, b, join="inner")
    except ValueError:  # dims without coordinates, of other sizes
        return [f"{a.name}: over {dict(a.sizes)} and over {dict(b.sizes)}"]
    if a.dims != b.dims:
        return [f"{a.name}: over {a.dims} and over {b.dims}"]
    first, second = a.values.astype(float), b.values.astype(float)
    unlike = ~((first == second) | (np.isnan(first) & np.isnan(second)))
    if not unlike.any():
        return []
    absent = np.isnan(first) != np.isnan(second)
    with np.errstate(invalid="ignore"):
        gap = np.nanmax(np.abs(first - second), initial=0.0)
    said = (
        f"{a.name}: {(unlike & ~absent).sum()} of {unlike.size} values differ, by up to {gap:.3g}"
    )
    if absent.any():
        said += f"; {absent.sum()} are NaN in only one"
    if "seed" in a.dims and a.sizes["seed"] > 1:
        ends = [
            np.apply_along_axis(student_t, a.get_axis_num("seed"), values)
            for values in (first, second)
        ]
        low, high = (
            [np.take(each, end, axis=a.get_axis_num("seed")) for each in ends] for end in (0, 1)
        )
        apart = (low[0] > high[1]) | (low[1] > high[0])
        said += f"; intervals over seeds do not overlap at {apart.sum()} of {apart.size} places"
    return [said]


# --- Joining --------------------------------------------------------------------------------------


def merge(paths: Sequence[Path], target: Path) -> None:
    """Join datasets of one study whose cells have other labels, or the same bits; write the result.

    Raises
    ------
    ValueError
        When the datasets are of other studies or base fields, or when two cells of the same labels
        differ; names the labels.
    """
    dataset, about = open_stored(paths[0])
    cells = _cells(dataset, about)
    for path in paths[1:]:
        dataset, more = open_stored(path)
        _check_joinable(paths[0], about, path, more)
        about, others = _joined(about, more), _cells(dataset, more)
        for labels in cells.keys() & others.keys():
            if not cells[labels].equals(others[labels]):
                raise ValueError(f"{paths[0]} and {path} have other numbers in the cell {labels}")
        cells = others | cells
    joined, positions = join(cells, about["axes"])
    for cell in about["cells"].values():
        cell["positions"] = positions[tuple(cell["labels"])]
    write_netcdf(joined.assign_attrs(provenance=json.dumps(about)), target, compressed=True)


def _cells(dataset: xr.Dataset, about: dict) -> dict[tuple, xr.Dataset]:
    """Return the finished cells of a dataset by their labels."""
    found = {}
    for cell in about["cells"].values():
        at = {
            axis: labels.index(label)
            for (axis, labels), label in zip(about["axes"].items(), cell["labels"], strict=True)
        }
        one = dataset.drop_vars(cell.get("lacks", ())).isel(at, drop=True)
        places = {d: p for d, p in cell.get("positions", {}).items() if d in one.dims}
        found[tuple(cell["labels"])] = one.isel(places).drop_attrs(deep=False)
    return found


def _check_joinable(first: Path, about: dict, path: Path, more: dict) -> None:
    def fixed(of: dict) -> dict:
        settings = {k: v for k, v in of.get("settings", {}).items() if k not in of["axes"]}
        return of | {"settings": settings}

    for name in ("study", "versions", "base", "profile", "settings", "scale"):
        ours, theirs = fixed(about).get(name), fixed(more).get(name)
        if ours != theirs:
            raise ValueError(f"{first} and {path} differ in {name}: {ours!r} and {theirs!r}")
    if list(about["axes"]) != list(more["axes"]):
        raise ValueError(f"{first} and {path} have other axes")
    by_labels = {tuple(cell["labels"]): cell for cell in about["cells"].values()}
    for cell in more["cells"].values():
        same = by_labels.get(tuple(cell["labels"]))
        if same is not None and same["content"] != cell["content"]:
            labels = ", ".join(map(str, cell["labels"]))
            raise ValueError(f"{first} and {path} both have the cell {labels}, with other values")


def _joined(about: dict, more: dict) -> dict[str, Any]:
    """Return the provenance of two joined datasets.

    Cells that one of them planned and has not count as planned.
    """
    environments = list(about["environments"])
    cells = dict(about["cells"])
    for digest, cell in more["cells"].items():
        made_in = more["environments"][cell["environment"]]
        if made_in not in environments:
            environments.append(made_in)
        cells.setdefault(digest, cell | {"environment": environments.index(made_in)})
    types = about["cell_variables"] | more["cell_variables"]
    for of in (about, more):
        for digest in of["cells"]:
            has = {*of["cell_variables"]} - {*of["cells"][digest].get("lacks", ())}
            cells[digest] = cells[digest] | {"lacks": sorted({*types} - has)}
    done = [", ".join(map(str, cell["labels"])) for cell in cells.values()]
    failures = {
        cell: error
        for cell, error in (about["failures"] | more["failures"]).items()
        if not any(labels in cell for labels in done)
    }
    both = len(about["cells"]) + len(more["cells"]) - len(cells)
    planned = about["count"]["planned"] + more["count"]["planned"] - both
    fields, theirs = about.get("fields", {}), more.get("fields", {})
    settings = {k: v for k, v in about.get("settings", {}).items() if k not in about["axes"]}
    return about | {
        "axes": {
            axis: list(dict.fromkeys([*labels, *more["axes"][axis]]))
            for axis, labels in about["axes"].items()
        },
        "cells": cells,
        "environments": environments,
        "cell_variables": types,
        "failures": failures,
        "fields": {k: v for k, v in fields.items() if k in theirs and theirs[k] == v},
        "settings": settings,
        "count": {"planned": planned, "finished": len(cells), "failed": len(failures)},
        "hardware": sorted({*about["hardware"], *more["hardware"]}),
        "computed": [
            min(about["computed"][0], more["computed"][0]),
            max(about["computed"][1], more["computed"][1]),
        ],
        "cell_seconds": round(sum(cell["seconds"] for cell in cells.values()), 1),
    }
