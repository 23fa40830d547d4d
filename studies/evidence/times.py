"""The paper's claims on time: Figures 2 to 4, DRACO, and growth with the number of workers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from studies.evidence.accuracy import ALONE, DETOX
from studies.evidence.compare import Finding, Side, greater, ratio
from studies.evidence.decisions import CLUSTER, RESNET18, VGG13, Decision, on_both
from studies.evidence.results import Results
from studies.timing.fits import exponent

# Phases of a measured round, by the bar of Figure 2.
BARS = {
    "compute": ["compute"],
    "communication": ["broadcast", "send"],
    "aggregation": ["vote", "aggregate", "update"],
}
ROUND = ["broadcast", "compute", "send", "vote", "aggregate", "update"]
SIZES = ["p = 150", "p = 300", "p = 600", "p = 1200", "p = 2400"]
NEARLY_LINEAR = 1.25  # the largest exponent that is called so
FIRST, LAST = 0, -1  # places of the lowest and the highest threshold of accuracy

# --- Modelled time to an accuracy -----------------------------------------------------------------


def seconds_to_accuracy(results: Results, pipeline: Any, slower: bool) -> Side:
    """Return the modelled seconds to each accuracy under the reverse gradient.

    A time is known down to the steps between two evaluations. On the slower side, one that a run
    never reached is at least the end of the run.
    """
    labels = {"attack": "reverse", "pipeline": pipeline}
    value = results.values("modelled_seconds_to", "threshold", **labels)
    seconds = results.values("modelled_round_seconds", **labels)
    steps = results.dataset.eval_step.values
    least = (value.isnull() & slower).astype(float)
    value = value.where(least == 0, seconds * steps[-1].item())
    less = (seconds * np.diff(steps).max().item() + xr.zeros_like(value)).where(least == 0, 0.0)
    return Side(value, less, least)


def sooner_to_some_accuracy(results: Results, slow: Any, fast: Any) -> Finding:
    """Under the reverse gradient DETOX reaches some accuracy sooner than some rule alone."""
    slower = seconds_to_accuracy(results, slow, slower=True)
    return ratio(slower, seconds_to_accuracy(results, fast, slower=False), some=True)


def sooner_to_accuracy(results: Results, slow: Any, fast: Any, threshold: int) -> Finding:
    """Under the reverse gradient DETOX is sooner, for every rule, to one threshold of accuracy."""
    slower = seconds_to_accuracy(results, slow, slower=True).isel(threshold=threshold)
    return ratio(slower, seconds_to_accuracy(results, fast, slower=False).isel(threshold=threshold))


# --- The time of a round --------------------------------------------------------------------------


def rounds_are_three_times_shorter(results: Results) -> Finding:
    """A modelled round takes up to about 3 times less with DETOX: above 2.5 for some rule."""
    alone, with_detox = (
        results.values("modelled_round_seconds", attack="alie", pipeline=pipelines)
        for pipelines in (ALONE, DETOX)
    )
    return ratio(alone, with_detox, 2.5, sample=None, some=True)


def measured(results: Results, pipelines: Sequence[str], phases: Sequence[str]) -> xr.DataArray:
    """Return the measured seconds of some phases of a round, medians over its steps."""
    labels = {"pipeline": list(pipelines), "phase": list(phases)}
    seconds = results.values("seconds", "step", setting="p = 45", server="central", **labels)
    return seconds.sum("phase", skipna=False).median("step", skipna=False)


def measured_rounds_are_shorter(results: Results) -> Finding:
    """A measured round takes less time with DETOX, for some rule."""
    alone, with_detox = (measured(results, pipelines, ROUND) for pipelines in (ALONE, DETOX))
    return ratio(alone, with_detox, sample="turn", some=True)


def bar_is_higher(results: Results, bar: str) -> Finding:
    """A bar of the measured round is higher with DETOX, for every rule."""
    alone, with_detox = (measured(results, pipelines, BARS[bar]) for pipelines in (ALONE, DETOX))
    return ratio(with_detox, alone, sample="turn")


def bar_is_lower(results: Results, bar: str) -> Finding:
    """A bar of the measured round is lower with DETOX, for every rule."""
    alone, with_detox = (measured(results, pipelines, BARS[bar]) for pipelines in (ALONE, DETOX))
    return ratio(alone, with_detox, sample="turn")


# --- Growth with the number of workers ------------------------------------------------------------


def exponents(results: Results, pipelines: Any) -> xr.DataArray:
    """Return the exponent of p in the measured seconds of the server, from 150 workers."""
    seconds = results.values("seconds", "stage", part=SIZES, pipeline=pipelines)
    return xr.apply_ufunc(
        lambda y, x: exponent(x, y)[0],
        seconds.sum("stage", skipna=False),
        results.values("workers", part=SIZES),
        input_core_dims=[["part"], ["part"]],
        vectorize=True,
    )


def server_is_nearly_linear(results: Results, pipelines: Any) -> Finding:
    """The cost of the server is nearly linear in the number of workers: an exponent below 1.25."""
    return greater(NEARLY_LINEAR, exponents(results, pipelines), sample="turn")


def krum_grows_faster(results: Results) -> Finding:
    """Krum-type rules alone grow faster with the workers than D-Median: exponents above by 0.5."""
    alone = exponents(results, ["Multi-Krum", "Bulyan"])
    return greater(alone, exponents(results, "D-Median"), 0.5, sample="turn")


_modelled = partial(
    Decision, axes=("attack", "pipeline", "seed"), deviations=("seconds are modelled",)
)
_to_accuracy = partial(_modelled, study="accuracy_reverse", scale=RESNET18)
_measured = partial(
    Decision,
    study="step_time",
    axes=("setting", "server", "phase", "pipeline", "turn"),
    scale=CLUSTER,
    profiles=("laptop",),
    deviations=(
        "digits, a dense model", "Dask on one machine", "our kernels, not the research code's",
    ),
)  # fmt: skip
_growth = partial(
    Decision,
    study="scaling",
    axes=("part", "pipeline", "turn"),
    scale=CLUSTER,
    profiles=("laptop",),
    deviations=("10,000 parameters, not 11 million", "one machine, the server alone"),
)
_ALL: dict[str, Any] = {"slow": ALONE, "fast": DETOX}
_MEDIAN: dict[str, Any] = {"slow": "Median", "fast": "D-Median"}

DECISIONS = {
    "abstract-speed": _to_accuracy(decide=sooner_to_some_accuracy, options=_ALL),
    "abstract-linear": _growth(decide=server_is_nearly_linear, options={"pipelines": "D-Median"}),
    "krum-quadratic": _growth(decide=krum_grows_faster),
    "linear-as-published": _growth(
        decide=server_is_nearly_linear,
        options={"pipelines": ["D-Multi-Krum", "D-Bulyan"]},
        finding="With a fixed number of vote groups these stay quadratic in p, with smaller "
        "constants; only the mean within groups is linear.",
    ),
    "figure-2-rounds": _modelled(
        decide=rounds_are_three_times_shorter, study="accuracy_alie", scale=CLUSTER
    ),
    "figure-2-rounds-measured": _measured(decide=measured_rounds_are_shorter),
    "figure-2-compute": _measured(decide=bar_is_higher, options={"bar": "compute"}),
    "figure-2-aggregation": _measured(decide=bar_is_lower, options={"bar": "aggregation"}),
    "figure-2-communication": _measured(decide=bar_is_lower, options={"bar": "communication"}),
    **on_both(
        "figure-3-{}-faster",
        _to_accuracy(decide=sooner_to_accuracy, options=_ALL | {"threshold": FIRST}),
    ),
    "figure-4-resnet18-median": _to_accuracy(
        decide=sooner_to_accuracy, options=_MEDIAN | {"threshold": LAST}
    ),
    "figure-4-vgg13": _to_accuracy(decide=sooner_to_some_accuracy, options=_MEDIAN).on(VGG13),
    "draco-slower": _to_accuracy(
        decide=sooner_to_accuracy,
        study="draco",
        options={"slow": "DRACO", "fast": DETOX, "threshold": FIRST},
    ),
}

UNTESTED = {
    "server-threads": "a property of the research code, which is not run here",
}
