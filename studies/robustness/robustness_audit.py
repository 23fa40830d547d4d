"""How far f rows can drag each rule from the honest mean: what a search finds, what is proven."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detox_sim import aggregators, mixers
from detox_sim.aggregators.facts import FACTS
from detox_sim.catalogue import bind, check_integer, check_known, check_number
from detox_sim.streams import stream
from studies import Study
from studies.robustness.worst_rows import (
    FAMILIES,
    PLAYS,
    RESTARTS,
    SMALLEST_SCALE,
    STARTS,
    WITH_HONEST,
    Finding,
    centre_of,
    farthest,
    places,
    refine,
    scorer,
    search,
    unit,
)
from studies.style import DETOX, THEORY, VANILLA

FIELDS = (
    "aggregator", "mixer", "options", "workers", "byzantine", "dimensions", "evaluations",
    "largest_scale", "offset", "seed",
)  # fmt: skip


def _rule(aggregator: str, mixer: str | None = None, **options) -> dict:
    return {"aggregator": aggregator, "mixer": mixer, "options": options}


_QUICK: dict = {"tolerance": 1e-6, "max_iterations": 50}
RULES = {
    "mean": _rule("mean"),
    "median": _rule("median"),
    "trimmed mean": _rule("trimmed_mean"),
    "MeaMed": _rule("meamed"),
    "Phocas": _rule("phocas"),
    "median of means": _rule("median_of_means"),
    "geometric median": _rule("geometric_median", **_QUICK),
    "medoid": _rule("medoid"),
    "Krum": _rule("krum"),
    "Multi-Krum": _rule("multi_krum"),
    "Bulyan": _rule("bulyan"),
    "MDA": _rule("mda"),
    "SMEA": _rule("smea"),
    "MoNNA": _rule("monna"),
    "FLTrust": _rule("fltrust"),
    "CGE": _rule("cge"),
    "centered clipping": _rule("centered_clipping", start="median", radius=1.0),
    "CAF": _rule("caf"),
    "DnC": _rule("dnc"),
    "NNM + median": _rule("median", "nnm"),
    "NNM + trimmed mean": _rule("trimmed_mean", "nnm"),
    "NNM + Krum": _rule("krum", "nnm"),
    "NNM + geometric median": _rule("geometric_median", "nnm", **_QUICK),
}
_SETTINGS = {
    f"n={n}, f={f}": {"workers": n, "byzantine": f} for n, f in [(11, 1), (11, 2), (20, 4), (11, 4)]
}
_COMMON = {"largest_scale": 1e4, "offset": 3.0}
PROFILES = {
    "smoke": (
        _COMMON | {"dimensions": [2], "evaluations": 16},
        {"rule": RULES, "setting": {k: _SETTINGS[k] for k in ("n=11, f=2", "n=11, f=4")}}
        | {"seed": [0]},
    ),
    "laptop": (
        _COMMON | {"dimensions": [1, 2, 10], "evaluations": 100},
        {"rule": RULES, "setting": _SETTINGS, "seed": [0]},
    ),
}

MIXERS = ("nnm", "arc")  # those without options
MOST_SUBSETS = 1000  # that SMEA may look at in one of thousands of evaluations
SERVED = ("served", "too_few_rows", "too_many_subsets")


def prepare(fields: dict) -> dict:
    check_known("field of robustness_audit", fields, FIELDS)
    for name, least in (("workers", 3), ("byzantine", 1), ("evaluations", 8), ("seed", 0)):
        check_integer(name, fields[name], least)
    n, f = fields["workers"], fields["byzantine"]
    if n <= 2 * f:
        raise ValueError(
            f"robustness_audit needs n > 2 * byzantine = {2 * f} rows, got workers={n}; "
            f"use byzantine <= {(n - 1) // 2}"
        )
    _check_rule(fields)
    dimensions = fields["dimensions"]
    if not isinstance(dimensions, list) or not dimensions:
        raise ValueError(f"dimensions must be a list of integers, got {dimensions!r}")
    for dimension in dimensions:
        check_integer("dimensions", dimension, 1)
    for name, lowest in (("largest_scale", 10 * SMALLEST_SCALE), ("offset", 0.0)):
        check_number(name, fields[name])
        if not lowest <= fields[name] < math.inf:
            raise ValueError(f"{name} must be finite and {lowest:g} or more, got {fields[name]!r}")
    return fields


def _check_rule(fields: dict) -> None:
    if fields["aggregator"] == "sign_majority":
        raise ValueError(
            "robustness_audit compares a rule with the honest mean, and sign_majority returns "
            "signs; use median"
        )
    if fields["mixer"] is not None:
        check_known("mixer of robustness_audit", [fields["mixer"]], MIXERS)
    if not isinstance(fields["options"], dict):
        raise ValueError(f"options must be a mapping, got {fields['options']!r}")
    bind(aggregators, fields["aggregator"], fields["options"])


def cost(fields: dict) -> tuple[float, float]:
    rule = _SECONDS.get(fields["aggregator"], 1e-4) + 1e-4 * (fields["mixer"] is not None)
    sets = (len(FAMILIES) + 1) * len(fields["dimensions"])
    return (0.0 if _unserved(fields) else sets * fields["evaluations"] * rule) + 0.02, 2e7


_SECONDS = {"geometric_median": 1.7e-3, "mda": 8e-4, "bulyan": 4e-4, "caf": 3e-4, "smea": 9e-4}


def _unserved(fields: dict) -> int:
    """Return why the rule cannot serve the setting, as an index of `SERVED`; 0 if it can."""
    name, n, f = fields["aggregator"], fields["workers"], fields["byzantine"]
    facts = FACTS.get(name)
    if facts and n < facts.factor * f + facts.plus:
        return SERVED.index("too_few_rows")
    if name == "smea" and math.comb(n, f) > MOST_SUBSETS:
        return SERVED.index("too_many_subsets")
    return 0


# --- bounds -------------------------------------------------------------------------------------


def least_kappa(n: int, f: int) -> float:
    """Return f / (n - 2f), below which no rule can be.

    Examples
    --------
    >>> least_kappa(11, 4)
    1.3333333333333333
    """
    return f / (n - 2 * f)


def bound(aggregator: str, mixer: str | None, n: int, f: int) -> float:
    """Return the proven bound on kappa of a rule with its default options; NaN if there is none.

    Parameters
    ----------
    aggregator : str
    mixer : str or None
    n, f : int
        Rows, and those that are Byzantine; n > 2f.

    Examples
    --------
    >>> bound("krum", None, 10, 2), bound("medoid", None, 10, 2)
    (8.0, nan)
    >>> bound("krum", "nnm", 10, 2)
    18.0

    References
    ----------
    Allouah et al., Fixing by mixing, AISTATS 2023; for SMEA: Allouah et al., On the
    privacy-robustness-utility trilemma, ICML 2023. Quoted from memory.
    """
    grown = 1 + least_kappa(n, f)
    alone = {
        "krum": 6 * grown,
        "geometric_median": 4 * grown**2,
        "median": 4 * grown**2,
        "trimmed_mean": 6 * least_kappa(n, f) * grown,
        "smea": 4 * f / (n - f) * grown**2,
    }.get(aggregator, math.nan)
    if mixer is None:
        return alone
    return 8 * f / (n - f) * (1 + alone) if mixer == "nnm" else math.nan


# --- honest rows --------------------------------------------------------------------------------

MOVED = "moved"  # the worst of all families, after moving its honest rows too


def honest_rows(family: str, fields: dict, dimension: int) -> np.ndarray:
    """Return the honest rows (n - f, dimension) of one family, the same for every rule."""
    n, f = fields["workers"], fields["byzantine"]
    rng = stream(fields["seed"], f"honest {family}", *_place(fields, dimension))
    rows = FAMILIES[family](n - f, dimension, f, rng)
    centre, spread = centre_of(rows)
    return rows - centre + spread * _honest_mean(fields, dimension)


def _honest_mean(fields: dict, dimension: int) -> np.ndarray:
    """Return where the honest mean lies from the origin, in honest spreads."""
    rng = stream(fields["seed"], "honest mean", *_place(fields, dimension))
    return fields["offset"] * unit(rng, dimension)


# --- one cell -----------------------------------------------------------------------------------

VARIABLES = {
    "ratio": "largest squared error found / squared honest spread",
    "unrefined": "the same before refinement",
    "scale": "distance of the farthest Byzantine row, in honest spreads",
    "start": "direction from which it was found",
    "play": "play from which it was found",
    "dimension": "dimension in which it was found",
    "evaluations": "calls of the rule, all dimensions together",
}


def run(fields: dict) -> xr.Dataset:
    """Return the worst ratio found in each family of honest rows, and what is proven."""
    n, f = fields["workers"], fields["byzantine"]
    unserved = _unserved(fields)
    families = [*FAMILIES, MOVED]
    nothing = dict.fromkeys(VARIABLES, math.nan)
    rows = [nothing] * len(families) if unserved else _found(fields)
    names: dict = {
        name: ("family", [row[name] for row in rows], {"long_name": text})
        for name, text in VARIABLES.items()
    }
    for name, words in (("start", STARTS), ("play", PLAYS)):
        names[name][2].update(_flags(words))
    usual = set(fields["options"]) <= set(_QUICK)
    proven = bound(fields["aggregator"], fields["mixer"], n, f) if usual else math.nan
    names["bound"] = ((), proven, {"long_name": "proven bound on kappa, quoted from memory"})
    names["least"] = ((), least_kappa(n, f), {"long_name": "f / (n - 2f)"})
    names["unserved"] = ((), unserved, _flags(SERVED))
    names["largest_scale"] = ((), float(fields["largest_scale"]))
    return xr.Dataset(names, coords={"family": np.array(families, dtype=object)})


def _flags(words: tuple[str, ...]) -> dict:
    return {"flag_values": list(range(len(words))), "flag_meanings": " ".join(words)}


def _found(fields: dict) -> list[dict[str, float]]:
    """Return `VARIABLES` for each family, of all dimensions the worst, and for `MOVED`."""
    worst = []
    for family in FAMILIES:
        found = [_attacked(family, fields, d) for d in fields["dimensions"]]
        calls = sum(one.evaluations for one in found)
        worst.append(max(found, key=lambda one: one.ratio)._replace(evaluations=calls))
    return [_values(one) for one in [*worst, _moved(worst, fields)]]


def _values(found: Finding) -> dict[str, float]:
    values = found._asdict() | {"dimension": found.rows.shape[1]}
    return {name: float(values[name]) for name in VARIABLES}


def _attacked(family: str, fields: dict, dimension: int) -> Finding:
    honest = honest_rows(family, fields, dimension)
    return search(
        _bound_rule(fields, centre_of(honest)[1]),
        honest,
        fields["byzantine"],
        evaluations=fields["evaluations"],
        largest_scale=fields["largest_scale"],
        rng=stream(fields["seed"], f"search {family}", *_place(fields, dimension)),
    )


def _moved(worst: list[Finding], fields: dict) -> Finding:
    """Return the worst after the honest rows of the worst families were moved too."""
    n, f = fields["workers"], fields["byzantine"]
    rng = stream(fields["seed"], "search moved", *_place(fields, 0))
    steps = fields["evaluations"] * len(fields["dimensions"]) // RESTARTS
    bad, ends = places(n, f), []
    for one in sorted(worst, key=lambda one: -one.ratio)[:RESTARTS]:
        centre = _honest_mean(fields, one.rows.shape[1])
        score = scorer(_bound_rule(fields, 1.0), centre, 1.0)
        first = score(one.rows)
        ratio, rows = refine(
            score, first, one.rows, bad, steps - 1, fields["largest_scale"], rng, WITH_HONEST
        )
        ends.append(Finding(ratio, first, farthest(rows[bad]), one.start, one.play, 0, rows))
    return max(ends, key=lambda one: one.ratio)._replace(evaluations=len(ends) * steps)


def _place(fields: dict, dimension: int) -> tuple[int, int]:
    """Return the step and index of a random stream: the same for every rule."""
    return fields["workers"] * 1000 + fields["byzantine"], dimension


def _bound_rule(fields: dict, spread: float) -> Callable[..., np.ndarray]:
    """Return rows -> (d,) with all options; a radius is in honest spreads."""
    f, options = fields["byzantine"], dict(fields["options"])
    if "radius" in options:
        options["radius"] *= spread
    rule = partial(bind(aggregators, fields["aggregator"], options), byzantine=f)
    if fields["mixer"] is None:
        return rule
    mix = partial(getattr(mixers, fields["mixer"]), byzantine=f)
    return lambda rows: rule(mix(rows))


# --- the figure ---------------------------------------------------------------------------------

LEFT, RIGHT = 0.05, 200.0  # of the axis; what lies beyond is drawn at its edge
REASONS = dict(zip(SERVED[1:], ("too few rows", "too many subsets"), strict=True))


def worst(dataset: xr.Dataset) -> xr.DataArray:
    """Return the largest ratio found of each rule and setting, over families and seeds."""
    return dataset.ratio.max(["family", "seed"])


def ordered(dataset: xr.Dataset) -> list[str]:
    """Return the rules by their ratio to the least possible one, averaged over settings."""
    least = dataset.least.max(["rule", "seed"])
    decades = np.log10(worst(dataset) / least).mean("setting").fillna(math.inf)
    return [str(name) for name in dataset.rule.values[np.argsort(decades.values, kind="stable")]]


def reason(point: xr.Dataset) -> str:
    """Return why a rule was not audited in a setting; empty if it was."""
    code = point.unserved.max().item()
    return REASONS.get(SERVED[int(code)], "") if math.isfinite(code) else ""


def figure(dataset: xr.Dataset) -> Figure:
    """Draw for each rule the largest ratio found and the proven bound, a panel for each setting."""
    rules, settings = ordered(dataset), dataset.setting.values
    result = Figure(figsize=(1.75 * len(settings) + 1.6, 0.2 * len(rules) + 1.3))
    axes = result.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for ax, setting in zip(axes, settings, strict=True):
        _panel(ax, dataset.sel(setting=setting), rules)
        ax.set_title(str(setting))
    axes[0].set_yticks(range(len(rules)), rules)
    result.supxlabel("squared error of the output / squared honest spread", fontsize=9)
    result.legend(handles=_handles(), loc="outside upper center", ncols=3)
    return result


def _panel(ax, data: xr.Dataset, rules: list[str]) -> None:
    ax.axvline(float(data.least.max()), color="0.35", ls="--", lw=1, zorder=1)
    ax.set(xscale="log", xlim=(LEFT, RIGHT), ylim=(len(rules) - 0.4, -0.6))
    ax.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    ax.tick_params(axis="y", length=0)
    for place, name in enumerate(rules):
        point = data.sel(rule=name)
        if point.ratio.isnull().all():
            ax.text(math.sqrt(LEFT * RIGHT), place, reason(point), **REASON)
        else:
            _line(ax, point, place, MIXED if name.startswith("NNM") else PLAIN)


def _line(ax, point: xr.Dataset, place: int, style: dict) -> None:
    """Draw one rule: each family, the worst, and the bound joined to it."""
    found, proven = float(point.ratio.max()), float(point.bound.max())
    families = point.ratio.values.ravel()
    ax.plot(families, np.full(families.size, place), ls="", **FAMILY)
    ax.plot([found, proven], [place, place], color="0.75", lw=0.8, zorder=1)
    ax.plot(proven, place, ls="", **PROVEN)
    style = BEYOND if found > RIGHT else style
    ax.plot(min(found, RIGHT), place, ls="", clip_on=False, **style)


REASON: dict = {
    "fontsize": 7, "color": "0.4", "ha": "center", "va": "center",
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1},
}  # fmt: skip
FAMILY: dict = {"marker": "o", "ms": 2, "color": "0.72", "zorder": 2}
PLAIN: dict = {"marker": "o", "ms": 5, "color": VANILLA, "zorder": 3}
MIXED: dict = {"marker": "s", "ms": 5, "color": DETOX, "zorder": 3}
PROVEN: dict = {"marker": "D", "ms": 4.5, "color": THEORY, "mfc": "none", "zorder": 3}
BEYOND: dict = {"marker": ">", "ms": 6, "color": "black", "zorder": 3}


def _handles() -> list[Line2D]:
    """Explain the marks."""
    marks = {
        "worst that the search found": PLAIN,
        "the same, NNM before the rule": MIXED,
        "beyond the axis": BEYOND,
        "proven bound (from memory)": PROVEN,
        "each family of honest rows": FAMILY,
    }
    handles = [Line2D([], [], ls="", label=text, **style) for text, style in marks.items()]
    line = Line2D([], [], color="0.35", ls="--", lw=1, label="f / (n - 2f): no rule can be below")
    return [*handles, line]


STUDY = Study(
    title="Robustness audit of the rules",
    claim=(
        "Not of the DETOX paper. Allouah et al. (Fixing by mixing, AISTATS 2023) prove bounds "
        "on the (f, kappa) coefficient of Krum, the geometric and the coordinate median, the "
        "trimmed mean and of nearest-neighbour mixing (NNM) before a rule, and that no rule is "
        "below f / (n - 2f); for SMEA see their trilemma paper, ICML 2023 (reported; quoted "
        "from memory)."
    ),
    definitions=[
        "a rule F is (f, kappa)-robust if |F(x) - mean_S|^2 <= kappa * mean over S of |x_i - "
        "mean_S|^2 for every S of n - f rows, whatever the other f rows are",
        "what is drawn is the largest such ratio that a search found: a lower bound on kappa, "
        "no proof of robustness; another honest set or a longer search may find more",
        "the adversary knows the honest rows and the rule, starts with its f rows together, in "
        "two opposite groups or staggered (every other one at a tenth of the distance), and "
        "refines the best starts row by row; then the honest rows of the three worst families "
        "are moved too, and the largest ratio of all counts",
        "no row lies farther than the largest scale from the honest mean, in honest spreads "
        "(root of the mean squared distance)",
        "f rows lie evenly among the n; row 0 is honest, and is the one that MoNNA and FLTrust "
        "trust",
        "the honest mean lies `offset` spreads from the origin, which matters only to CGE and "
        "FLTrust",
        "geometric median: Weiszfeld to a tolerance of 1e-6, 50 steps at most",
        "centered clipping: start at the median, one step, radius of one honest spread",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    version=1,
    scale="synthetic rows; a search, so lower bounds only",
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
