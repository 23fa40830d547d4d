"""How far f Byzantine rows can move each rule from the honest mean: found, and proven."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr

from detox_sim import aggregators, mixers, theory
from detox_sim.aggregators.facts import FACTS
from detox_sim.catalogue import bind, check_integer, check_known, check_number
from detox_sim.streams import stream
from studies import Study
from studies.robustness.robustness_audit_results import NOT_RUN, figure, finding
from studies.robustness.worst_rows import (
    ALL_MOVES,
    DIRECTIONS,
    FAMILIES,
    FORMATIONS,
    RESTARTS,
    SMALLEST_SCALE,
    Finding,
    centre_of,
    farthest,
    places,
    refine,
    scorer,
    search,
    unit,
)

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
# Every other rule of gradients under its own name, also one that is added later.
_NAMED = {rule["aggregator"] for rule in RULES.values()} | {"sign_majority"}
RULES |= {name: _rule(name) for name in aggregators.__all__ if name not in _NAMED}
_SETTINGS = {f"n=11, f={f}": {"workers": 11, "byzantine": f} for f in (1, 2, 4)}
_COMMON = {"largest_scale": 1e4, "offset": 3.0}
PROFILES = {
    "smoke": (
        _COMMON | {"dimensions": [2], "evaluations": 8},
        {"rule": RULES, "setting": {"n=11, f=4": _SETTINGS["n=11, f=4"]}} | {"seed": [0]},
    ),
    "laptop": (
        _COMMON | {"dimensions": [2, 10], "evaluations": 50},
        {"rule": RULES, "setting": _SETTINGS, "seed": [0]},
    ),
}

MIXERS = ("nnm", "arc")  # those without options
MOST_SUBSETS = 1000  # that SMEA may look at in one of thousands of evaluations


def prepare(fields: dict) -> dict:
    """Return the fields, checked, or raise ValueError."""
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


def _not_run(fields: dict) -> int:
    """Return why the rule is not run in the setting, as an index of `NOT_RUN`; 0 if it is."""
    name, n, f = fields["aggregator"], fields["workers"], fields["byzantine"]
    facts = FACTS.get(name)
    if facts and n < facts.factor * f + facts.plus:
        return NOT_RUN.index("too_few_rows")
    if name == "smea" and math.comb(n, f) > MOST_SUBSETS:
        return NOT_RUN.index("too_many_subsets")
    return 0


# --- honest rows --------------------------------------------------------------------------------

MOVED = "moved"  # the worst of all families, after a search over its honest rows too


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
    "direction": "of the Byzantine rows where the search for it began",
    "formation": "of the Byzantine rows where the search for it began",
    "dimension": "dimension in which it was found",
    "evaluations": "calls of the rule, all dimensions together",
}


def run(fields: dict) -> xr.Dataset:
    """Return the worst ratio found in each family of honest rows."""
    not_run = _not_run(fields)
    families = [*FAMILIES, MOVED]
    nothing = dict.fromkeys(VARIABLES, math.nan)
    rows = [nothing] * len(families) if not_run else _found(fields)
    names: dict = {
        name: ("family", [row[name] for row in rows], {"long_name": text})
        for name, text in VARIABLES.items()
    }
    for name, labels in (("direction", DIRECTIONS), ("formation", FORMATIONS)):
        names[name][2].update(_flags(labels))
    names["not_run"] = ((), not_run, _flags(NOT_RUN))
    names["largest_scale"] = ((), float(fields["largest_scale"]))
    return xr.Dataset(names, coords={"family": np.array(families, dtype=object)})


def derive(fields: dict, cell: xr.Dataset) -> xr.Dataset:
    """Add what is proven of the rule's coefficient, so that a new proof needs no new search."""
    name, mixer, options = (fields[key] for key in ("aggregator", "mixer", "options"))
    n, f = fields["workers"], fields["byzantine"]
    proven = theory.robustness_coefficient(name, n, f, mixer=mixer, options=options)
    exact = mixer is None and math.isfinite(proven) and name in _EXACT
    about = {
        "upper_bound": (proven, "proven upper bound on kappa"),
        "exact": (float(exact), "1 where the upper bound is kappa, 0 elsewhere"),
        "lower_bound": (float(theory.least_coefficient(n, f)), "f / (n - 2f)"),
    }
    return cell.assign({key: ((), v, {"long_name": text}) for key, (v, text) in about.items()})


_EXACT = {row.rule for row in theory.COEFFICIENTS if row.kind == "exactly"}


def _flags(labels: tuple[str, ...]) -> dict:
    return {"flag_values": list(range(len(labels))), "flag_meanings": " ".join(labels)}


def _found(fields: dict) -> list[dict[str, float]]:
    """Return `VARIABLES` for each family, the worst of all dimensions, and for `MOVED`."""
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
    mask, ends = places(n, f), []
    for one in sorted(worst, key=lambda one: -one.ratio)[:RESTARTS]:
        centre = _honest_mean(fields, one.rows.shape[1])
        score = scorer(_bound_rule(fields, 1.0), centre, 1.0)
        first = score(one.rows)
        ratio, rows = refine(
            score, first, one.rows, mask, steps - 1, fields["largest_scale"], rng, ALL_MOVES
        )
        end = ratio, first, farthest(rows[mask]), one.direction, one.formation, 0, rows
        ends.append(Finding(*end))
    return max(ends, key=lambda one: one.ratio)._replace(evaluations=len(ends) * steps)


def _place(fields: dict, dimension: int) -> tuple[int, int]:
    """Return the step and index of a random stream: the same for every rule."""
    return fields["workers"] * 1000 + fields["byzantine"], dimension


def _bound_rule(fields: dict, spread: float) -> Callable[..., np.ndarray]:
    """Return the rule (rows -> (d,)) with its mixer and options; a radius is in honest spreads."""
    f, options = fields["byzantine"], dict(fields["options"])
    if "radius" in options:
        options["radius"] *= spread
    rule = partial(bind(aggregators, fields["aggregator"], options), byzantine=f)
    if fields["mixer"] is None:
        return rule
    mix = partial(getattr(mixers, fields["mixer"]), byzantine=f)
    return lambda rows: rule(mix(rows))


STUDY = Study(
    title="Robustness audit of the rules",
    claim=(
        "Not of the DETOX paper. Allouah et al. (Fixing by mixing, AISTATS 2023) define the "
        "(f, kappa) coefficient of a rule, prove bounds on it, and that no rule is below "
        "f / (n - 2f) (reported; quoted from memory). The bounds shown are proven in "
        "theory.robustness_coefficient."
    ),
    definitions=[
        "a rule F is (f, kappa)-robust if |F(x) - mean_S|^2 <= kappa * mean over S of |x_i - "
        "mean_S|^2 for every S of n - f rows, whatever the other f rows are",
        "what is drawn is the largest such ratio that a search found: a lower bound on kappa, "
        "no proof of robustness; another honest set or a longer search may find more",
        "the search knows the honest rows and the rule, starts with the f Byzantine rows together, "
        "in two opposite groups or staggered (every other one at a tenth of the distance), and "
        "refines the best starts by random moves; then the honest rows of the three worst families "
        "are moved too, and the largest ratio of all counts",
        "no row lies farther than the largest scale from the honest mean, in honest spreads "
        "(root of the mean squared distance)",
        "f rows lie evenly among the n; row 0 is honest, and is the one that MoNNA and FLTrust "
        "trust",
        "the honest mean lies `offset` spreads from the origin, which matters only to CGE and "
        "FLTrust",
        "a coefficient is exact if an input attains the proven bound; MoNNA's is over the sets S "
        "that hold the trusted row",
        "geometric median: Weiszfeld to a tolerance of 1e-6, 50 steps at most",
        "centered clipping: start at the median, one step, radius of one honest spread",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    finding=finding,
    scale="synthetic rows; a search, so lower bounds only",
    fields=FIELDS,
    prepare=prepare,
    derive=derive,
)
