"""Comparisons of selected values, with the intervals that decide them."""

import math
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from detox_sim.sweeps.intervals import student_t
from studies.evidence.results import MissingError

LEVEL = 0.95


class Finding(NamedTuple):
    """What one dataset says of one statement.

    Attributes
    ----------
    outcome : str
        "met", "contradicted", "undecided", "missing", "no bite" (the attack did no damage that a
        defence could show), or "depends" (on how accuracy is evaluated).
    detail : str
        Why.
    ours : str
        The numbers, with their interval and how many samples it is over.
    asks : str
        What was asked: "direction" (one measured side above another), "margin" or "number".
    """

    outcome: str
    detail: str
    ours: str = ""
    asks: str = "margin"


class Side(NamedTuple):
    """One side of a comparison of times, which are known down to a step of measurement.

    Attributes
    ----------
    value : xarray.DataArray
    less : xarray.DataArray
        By how much each may be smaller.
    least : xarray.DataArray
        1 where the true value is at least this and may be anything above, else 0.
    """

    value: xr.DataArray
    less: xr.DataArray
    least: xr.DataArray

    def isel(self, **places: Any) -> "Side":
        """Return the side at some places, their axes dropped."""
        return Side(*(array.isel(places, drop=True) for array in self))


Values = Side | xr.DataArray | float


def greater(left: Values, right: Values, margin: float = 0.0, **how: Any) -> Finding:
    """Return whether left - right lies above a margin.

    Parameters
    ----------
    left, right : Side, xarray.DataArray or float
        Their common axes pair off, by place where a list of labels was selected on each side.
    margin : float
    sample : str, optional
        Axis of the Student t interval, paired; None for exact values, which need no interval.
        Every other axis has one case a label.
    some : bool
        Whether it is enough that some case is above the margin; else all must be.

    Returns
    -------
    Finding
        "met" when the 95 % interval lies wholly above the margin, "contradicted" when wholly
        below, else "undecided". The interval of times is wider by the steps of measurement, and
        a time that was never reached contradicts nothing. What one of n cases decides, that a
        statement on some of them is met or that one on all is contradicted, takes an interval of
        level 1 - 0.05 / n (Bonferroni).
    """
    asks = _asks(left, right, margin == 0)
    return _compare(_Question(False, margin, math.inf, f"above {margin:.4g}", asks), left, right,
                    **how)  # fmt: skip


def ratio(left: Values, right: Values, margin: float = 1.0, **how: Any) -> Finding:
    """Return whether left / right lies above a margin: the interval is of the mean log ratio.

    Parameters and return value are those of `greater`.
    """
    asks, words = _asks(left, right, margin == 1), f"above {margin:.4g} times"
    return _compare(_Question(True, math.log(margin), math.inf, words, asks), left, right, **how)


def within(values: Values, number: float, tolerance: float, **how: Any) -> Finding:
    """Return whether values lie within a tolerance of a number; see `greater`."""
    low, high = number - tolerance, number + tolerance
    question = _Question(False, low, high, f"between {low:.4g} and {high:.4g}", "number")
    return _compare(question, values, 0.0, **how)


def _asks(left: Values, right: Values, neutral: bool) -> str:
    measured = not isinstance(left, float) and not isinstance(right, float)
    return "direction" if neutral and measured else "margin"


class _Question(NamedTuple):
    """What is asked: of logarithms or not, between which limits, in words, and which kind."""

    logs: bool
    lower: float
    upper: float
    words: str
    asks: str


class _Case(NamedTuple):
    """One comparison: where, its outcome, why, its numbers, and the low end of its interval."""

    name: str
    outcome: str
    detail: str
    ours: str
    low: float


_RANKS = ("contradicted", "undecided", "met")


def _compare(
    question: _Question,
    left: Values,
    right: Values,
    *,
    sample: str | None = "seed",
    some: bool = False,
) -> Finding:
    """Return what the case that decides says: the best of some, the worst of all."""
    sides = _by_place(_side(left), _side(right))
    if sample is not None and not any(sample in side.value.dims for side in sides):
        raise MissingError(f"the values have no axis {sample}")
    cases = _cases(question, sides, sample, some)
    ranks = [_RANKS.index(case.outcome) for case in cases]
    order = sorted(range(len(cases)), key=lambda i: (ranks[i], np.nan_to_num(cases[i].low)))
    shown = cases[order[-1 if some else 0]]
    where = f"{'best' if some else 'worst'} of {len(cases)}, {shown.name}: " if shown.name else ""
    ours = (where + shown.ours).removesuffix(": ")
    return Finding(shown.outcome, shown.detail, ours, question.asks)


def _side(values: Values) -> Side:
    if isinstance(values, Side):
        return values
    array = xr.DataArray(values) if isinstance(values, float) else values
    return Side(array, xr.zeros_like(array), xr.zeros_like(array))


def _by_place(left: Side, right: Side) -> tuple[Side, Side]:
    """Name lists of labels alike on both sides, so that they pair off by place."""
    for axis in set(left.value.dims) & set(right.value.dims):
        ours, theirs = (side.value[axis].values.tolist() for side in (left, right))
        if ours != theirs:
            names = [f"{a} and {b}" for a, b in zip(ours, theirs, strict=True)]
            left = Side(*(array.assign_coords({axis: names}) for array in left))
            right = Side(*(array.assign_coords({axis: names}) for array in right))
    return left, right


def _cases(
    question: _Question, sides: tuple[Side, Side], sample: str | None, some: bool
) -> list[_Case]:
    """Return each comparison, at the levels that several of them ask for."""
    every = xr.Dataset(
        {
            f"{name} {part}": array
            for name, side in zip(("left", "right"), sides, strict=True)
            for part, array in side._asdict().items()
        }
    )
    every = every.broadcast_like(every)
    rest = [dim for dim in every.dims if dim != sample]
    every = every.stack(case=rest) if rest else every.expand_dims("case")
    count = every.sizes["case"]
    strict = 1 - (1 - LEVEL) / count
    levels = (strict, LEVEL) if some else (LEVEL, strict)
    found = []
    for i in range(count):
        labels = every.case.values[i] if rest else ()
        name = ", ".join(f"{dim} {label}" for dim, label in zip(rest, labels, strict=True))
        samples = {str(part): np.ravel(array) for part, array in every.isel(case=i).items()}
        found.append(_case(question, name if count > 1 else "", samples, levels, sample))
    return found


def _case(
    question: _Question, name: str, samples: dict[str, np.ndarray], levels: tuple, sample
) -> _Case:
    """Decide one comparison from its samples, at the levels that meet and that contradict."""
    logs, lower, upper, wanted, _ = question
    left, right = samples["left value"], samples["right value"]
    values, known = _compared(logs, left, right)
    if not known.all():
        absent = f"no value in {int((~known).sum())} of {known.size} {sample}s"
        detail = f"undecided: {absent} (never reached, or diverged)" if sample else "no value"
        return _Case(name, "undecided", detail, "", -math.inf)
    (low, against_low), (high, against_high) = (
        [_end(logs, left - less, right - more, level, which) for level in levels]
        for which, less, more in ((0, samples["left less"], 0), (1, 0, samples["right less"]))
    )
    if sample and values.size < 2:
        ours = _numbers(question, left, right, values, None, sample)
        return _Case(name, "undecided", f"one {sample}, no interval", ours, low)
    ours = _numbers(question, left, right, values, (low, high), sample)
    longer = bool(samples["left least"].any())
    note = "; where the slower side never gets there, its time is the end of the run" * longer
    if lower < low and high < upper:
        return _Case(name, "met", wanted + note, ours, low)
    if (against_high < lower and not longer) or upper < against_low:
        return _Case(name, "contradicted", f"contradicted: not {wanted}", ours, low)
    return _Case(name, "undecided", f"undecided: not clearly {wanted}{note}", ours, low)


def _compared(logs: bool, left, right) -> tuple[np.ndarray, np.ndarray]:
    """Return differences or log ratios (samples,), and which are numbers."""
    known = np.isfinite(left) & np.isfinite(right)
    if not logs:
        return np.where(known, left - right, np.nan), known
    known &= (left > 0) & (right > 0)
    return np.log(np.where(known, left, 1.0) / np.where(known, right, 1.0)), known


def _end(logs: bool, left, right, level: float, which: int) -> float:
    """Return the low or the high end of the interval; infinite where a side may be nothing."""
    values, known = _compared(logs, left, right)
    return student_t(values, level)[which] if known.all() else (-math.inf, math.inf)[which]


def _numbers(question: _Question, left, right, values, ends, sample: str | None) -> str:
    """Return the numbers of a comparison in words."""
    back = np.exp if question.logs else np.asarray
    centre = f"{float(back(values.mean())):.3g}"
    text = f"{left.mean():.3g} {'/' if question.logs else '-'} {right.mean():.3g}: {centre}"
    if question.asks == "number":
        text = centre
    if sample is None:
        return f"{text} (exact)"
    if ends is None:
        return f"{text}, 1 {sample}"
    low, high = (f"{float(back(end)):.3g}" for end in ends)
    return f"{text} ({low} to {high}), {values.size} {sample}s"
