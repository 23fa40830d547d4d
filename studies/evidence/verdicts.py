"""The decision rules of claims: what a stored dataset says for or against one."""

import functools
import json
import math
import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from studies.style import student_t
from studies.timing.fits import exponent

KINDS = ("greater", "ratio", "value")
LEVEL = 0.95


class Finding(NamedTuple):
    """What one dataset says of one claim.

    Attributes
    ----------
    outcome : str
        "met", "contradicted", "undecided" or "missing".
    detail : str
        Why.
    ours : str
        The numbers, with their interval and how many samples it is over.
    """

    outcome: str
    detail: str
    ours: str = ""


class _MissingError(Exception):
    """A selection that the dataset does not have."""


# --- Selections -----------------------------------------------------------------------------------


def _exponent(values: xr.DataArray, dim: str, x: xr.DataArray) -> xr.DataArray:
    """Return the slope of log values against log x along `dim`."""
    return xr.apply_ufunc(
        lambda y, x: exponent(x, y)[0],
        values,
        x,
        input_core_dims=[[dim], [dim]],
        vectorize=True,
    )


REDUCTIONS: Mapping[str, Any] = {
    "first": lambda values, dim, x: values.isel({dim: 0}, drop=True),
    "last": lambda values, dim, x: values.isel({dim: -1}, drop=True),
    "rise": lambda values, dim, x: (
        values.isel({dim: -1}, drop=True) - values.isel({dim: 0}, drop=True)
    ),
    "mean": lambda values, dim, x: values.mean(dim, skipna=False),
    "median": lambda values, dim, x: values.median(dim, skipna=False),
    "sum": lambda values, dim, x: values.sum(dim, skipna=False),
    "exponent": lambda values, dim, x: _exponent(values, dim, x),
}


def _places(array: xr.DataArray, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return the places of labels on the axes that the array has; lists keep their axis."""
    found: dict[str, Any] = {}
    for dim, wanted in labels.items():
        if dim not in array.dims:
            continue
        known = array[dim].values.tolist()
        places = []
        for label in wanted if isinstance(wanted, list) else [wanted]:
            if label not in known:
                raise _MissingError(f"{dim} {label!r} is not in the dataset")
            places.append(known.index(label))
        found[dim] = places if isinstance(wanted, list) else places[0]
    return found


def _side(
    claim, dataset: xr.Dataset, side: Mapping[str, Any] | float, slower: bool
) -> dict[str, xr.DataArray]:
    """Return one side of a claim: values, how much less each may be, and which are only a least.

    With ``claim.never``, the seconds of a round, values are times to an accuracy, known down to
    the steps between two evaluations. On the slower side, one that a run never reached is at least
    the end of the run.
    """
    if not isinstance(side, Mapping):
        nothing = xr.DataArray(0.0)
        return {"value": xr.DataArray(float(side)), "less": nothing, "least": nothing}
    name = side.get("variable", claim.variable)
    for wanted in (name, *([claim.never] if claim.never else [])):
        if wanted not in dataset:
            raise _MissingError(f"the dataset has no {wanted}")
    labels = {dim: label for dim, label in (claim.at | side).items() if dim != "variable"}
    value = dataset[name].astype(float)
    for dim in (*labels, *claim.reduce):
        if dim not in value.dims:
            raise _MissingError(f"{name} has no axis {dim}")
    _check_cells(dataset, value, labels)
    if not claim.never:
        value = _reduced(claim, dataset, value, labels)
        return {"value": value, "less": xr.zeros_like(value), "least": xr.zeros_like(value)}
    seconds, steps = dataset[claim.never], dataset.eval_step.values
    least = (value.isnull() & slower).astype(float)
    value = value.where(least == 0, seconds * steps[-1].item())
    less = (seconds * np.diff(steps).max().item() + xr.zeros_like(value)).where(least == 0, 0.0)
    parts = {"value": value, "less": less, "least": least}
    return {part: _reduced(claim, dataset, array, labels) for part, array in parts.items()}


def _reduced(
    claim, dataset: xr.Dataset, array: xr.DataArray, labels: Mapping[str, Any]
) -> xr.DataArray:
    """Return an array with labels selected, then reduced."""
    array = array.isel(_places(array, labels), drop=True)
    x = dataset[claim.against] if claim.against else None
    for dim, how in claim.reduce.items():
        places = None if x is None else _places(x, labels)
        array = REDUCTIONS[how](array, dim, None if x is None else x.isel(places, drop=True))
    return array


def _check_cells(dataset: xr.Dataset, array: xr.DataArray, labels: Mapping[str, Any]) -> None:
    """Raise when a selected cell failed: then none of its variables has a value."""
    axes = set(_axes(dataset)) & set(array.dims)
    alive = [
        variable.notnull().any([dim for dim in variable.dims if dim not in axes])
        for variable in dataset.data_vars.values()
        if axes <= set(variable.dims)
    ]
    lives = functools.reduce(operator.or_, alive)
    lives = lives.isel(_places(lives, labels), drop=True)
    if not bool(lives.all()):
        raise _MissingError(f"{int((~lives).sum())} of its {lives.size} cells failed")


def _axes(dataset: xr.Dataset) -> list[str]:
    """Return the axes of a stored sweep: the leading dims of its cells."""
    return list(json.loads(dataset.attrs["provenance"])["axes"])


def _paired(claim, side: dict[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Name lists of labels alike on both sides, so that they pair off by place."""
    if not (isinstance(claim.left, Mapping) and isinstance(claim.right, Mapping)):
        return side
    for dim, label in claim.left.items():
        other = claim.right.get(dim)
        if isinstance(label, list) and isinstance(other, list):
            names = [f"{a} and {b}" for a, b in zip(label, other, strict=True)]
            side = {part: array.assign_coords({dim: names}) for part, array in side.items()}
    return side


# --- Decisions ------------------------------------------------------------------------------------


class _Case(NamedTuple):
    """One comparison: where, its outcome, why, and its numbers."""

    name: str
    outcome: str
    detail: str
    ours: str
    low: float


_RANKS = ("contradicted", "undecided", "met")


def judge(claim, dataset: xr.Dataset, paper_scale: bool = False) -> Finding:
    """Return what a dataset says of a claim.

    Parameters
    ----------
    claim : studies.claims.Claim
        With a rule. Kinds: "greater", left - right lies above the margin; "ratio", left / right
        does (interval of the mean log ratio); "value", left, or left - right, lies within
        `tolerance` of `number`. With ``over = "all"`` every selected case must, with "any" one.
    dataset : xarray.Dataset
        Of `studies.reproduce`.
    paper_scale : bool
        Take the margin of the paper's scale.

    Returns
    -------
    Finding
        "met" when the 95 % Student t interval over samples (paired: same seed on both sides) lies
        wholly on the right side, "contradicted" when wholly on the other, else "undecided". The
        interval of times is wider by the steps between evaluations, and a time that was never
        reached contradicts nothing. An
        exact claim has no samples. What any of n cases decides, that a claim on one of them is
        met or that a claim on all is contradicted, takes intervals of level 1 - 0.05 / n
        (Bonferroni).
    """
    try:
        left = _side(claim, dataset, claim.left, slower=True)
        right = _side(claim, dataset, 0.0 if claim.right is None else claim.right, slower=False)
        if not claim.exact and not any(claim.sample in s["value"].dims for s in (left, right)):
            raise _MissingError(f"{claim.variable} has no axis {claim.sample}")
    except _MissingError as error:
        return Finding("missing", str(error))
    cases = _cases(claim, left, right, paper_scale)
    ranks = [_RANKS.index(case.outcome) for case in cases]
    order = sorted(range(len(cases)), key=lambda i: (ranks[i], np.nan_to_num(cases[i].low)))
    shown = cases[order[-1 if claim.over == "any" else 0]]
    which = "best" if claim.over == "any" else "worst"
    where = f"{which} of {len(cases)}, {shown.name}: " if shown.name else ""
    return Finding(shown.outcome, shown.detail, (where + shown.ours).removesuffix(": "))


def _cases(claim, left: dict, right: dict, paper_scale: bool) -> list[_Case]:
    sides = {"left": _paired(claim, left), "right": _paired(claim, right)}
    every = xr.Dataset(
        {f"{name} {part}": side[part] for name, side in sides.items() for part in side}
    )
    every = every.broadcast_like(every)
    rest = [dim for dim in every.dims if claim.exact or dim != claim.sample]
    every = every.stack(case=rest) if rest else every.expand_dims("case")
    count = every.sizes["case"]
    strict = 1 - (1 - LEVEL) / count
    levels = (strict, LEVEL) if claim.over == "any" else (LEVEL, strict)
    found = []
    for i in range(count):
        labels = every.case.values[i] if rest else ()
        name = ", ".join(f"{dim} {label}" for dim, label in zip(rest, labels, strict=True))
        samples = {part: np.ravel(array) for part, array in every.isel(case=i).items()}
        found.append(_case(claim, name if count > 1 else "", samples, levels, paper_scale))
    return found


def _case(claim, name: str, samples: dict, levels: tuple, paper_scale: bool) -> _Case:
    """Decide one comparison from its samples, at the levels that meet and that contradict."""
    left, right = samples["left value"], samples["right value"]
    values, known = _compared(claim.kind, left, right)
    if not known.all():
        lost = f"no value in {int((~known).sum())} of {known.size} {claim.sample}s"
        detail = "no value" if claim.exact else f"undecided: {lost} (never reached, or diverged)"
        return _Case(name, "undecided", detail, "", -math.inf)
    (low, against_low), (high, against_high) = (
        [_end(claim.kind, left - less, right - more, level, which) for level in levels]
        for which, less, more in ((0, samples["left less"], 0), (1, 0, samples["right less"]))
    )
    if not claim.exact and values.size < 2:
        ours = _ours(claim, left, right, values, None)
        return _Case(name, "undecided", f"one {claim.sample}, no interval", ours, low)
    lower, upper, wanted = band(claim, paper_scale)
    ours = _ours(claim, left, right, values, (low, high))
    longer = bool(samples["left least"].any())
    note = "; where the slower side never gets there, its time is the end of the run" * longer
    if lower < low and high < upper:
        return _Case(name, "met", wanted + note, ours, low)
    if (against_high < lower and not longer) or upper < against_low:
        return _Case(name, "contradicted", f"contradicted: not {wanted}", ours, low)
    return _Case(name, "undecided", f"undecided: not clearly {wanted}{note}", ours, low)


def _compared(kind: str, left, right) -> tuple[np.ndarray, np.ndarray]:
    """Return differences or log ratios (samples,), and which are numbers."""
    known = np.isfinite(left) & np.isfinite(right)
    if kind != "ratio":
        return np.where(known, left - right, np.nan), known
    known &= (left > 0) & (right > 0)
    return np.log(np.where(known, left, 1.0) / np.where(known, right, 1.0)), known


def _end(kind: str, left, right, level: float, which: int) -> float:
    """Return the low or the high end of the interval; infinite where a side may be nothing."""
    values, known = _compared(kind, left, right)
    return student_t(values, level)[which] if known.all() else (-math.inf, math.inf)[which]


def band(claim, paper_scale: bool) -> tuple[float, float, str]:
    """Return the limits an interval must lie between, and what that means in words.

    For a ratio the limits are logarithms.
    """
    if claim.kind == "value":
        low, high = claim.number - claim.tolerance, claim.number + claim.tolerance
        return low, high, f"between {low:.4g} and {high:.4g}"
    margin = claim.margin
    if paper_scale and claim.paper_margin is not None:
        margin = claim.paper_margin
    if claim.kind == "ratio":
        return math.log(margin), math.inf, f"above {margin:.4g} times"
    return margin, math.inf, f"above {margin:.4g}"


def _ours(claim, left, right, values, ends: tuple[float, float] | None) -> str:
    """Return the numbers of a comparison in words."""
    back = np.exp if claim.kind == "ratio" else np.asarray
    sign = "/" if claim.kind == "ratio" else "-"
    centre = f"{float(back(values.mean())):.3g}"
    text = f"{_middle(left):.3g} {sign} {_middle(right):.3g}: {centre}"
    if claim.right is None:
        text = centre
    if claim.exact:
        return f"{text} (exact)"
    if ends is None:
        return f"{text}, 1 {claim.sample}"
    low, high = (f"{float(back(end)):.3g}" for end in ends)
    return f"{text} ({low} to {high}), {values.size} {claim.sample}s"


def _middle(values: np.ndarray) -> float:
    return float(np.mean(values))
