"""The paper's claims on test accuracy: Table 1, Figure 3 and Figure 5."""

import functools
from typing import Any

import xarray as xr

from studies.evidence.compare import Finding, greater, ratio, within
from studies.evidence.decisions import RESNET18, VGG13, Decision, on_both
from studies.evidence.results import Results

ALONE = ["Median", "Multi-Krum", "Bulyan"]
DETOX = [f"D-{rule}" for rule in ALONE]
TOLERANCE = 0.05  # of a reported final accuracy


def final(results: Results, **labels: Any) -> xr.DataArray:
    """Return the test accuracy of the last evaluation."""
    return results.values("accuracy", "eval_step", **labels).isel(eval_step=-1, drop=True)


def ends_more_accurate(results: Results, attack: str, alone: str, detox: str) -> Finding:
    """Under an attack, a pipeline of DETOX ends more accurate than a rule alone.

    At the paper's scale the difference must be above half of the reported one.
    """
    margin = round((results.number or 0.0) / 2, 3) if results.paper_scale else 0.0
    with_detox = final(results, attack=attack, pipeline=detox)
    return greater(with_detox, final(results, attack=attack, pipeline=alone), margin)


def ends_at(results: Results, attack: str, pipeline: str) -> Finding:
    """Under an attack, a pipeline ends with the reported accuracy, within 0.05."""
    assert results.number is not None, "the claim needs a number"
    return within(final(results, attack=attack, pipeline=pipeline), results.number, TOLERANCE)


def is_many_times_as_accurate(results: Results) -> Finding:
    """Under ALIE, DETOX ends with ten times the accuracy of some rule alone.

    Below the paper's scale only the direction is asked.
    """
    with_detox, alone = (final(results, attack="alie", pipeline=p) for p in (DETOX, ALONE))
    return ratio(with_detox, alone, 10.0 if results.paper_scale else 1.0, some=True)


def all_converge(results: Results) -> Finding:
    """Under the reverse gradient every method ends with 0.9 of its accuracy without attackers."""
    of = functools.partial(final, results, pipeline=ALONE + DETOX)
    return ratio(of(attack="reverse"), of(attack="nobody"), 0.9)


_final = functools.partial(Decision, axes=("attack", "pipeline", "seed"), scale=RESNET18)
_alie = functools.partial(_final, study="accuracy_alie")


def _under_alie(alone: str, detox: str, finding: str = "") -> Decision:
    options = {"attack": "alie", "alone": alone, "detox": detox}
    return _alie(decide=ends_more_accurate, options=options, finding=finding)


def _at_under_alie(pipeline: str) -> Decision:
    return _alie(decide=ends_at, options={"attack": "alie", "pipeline": pipeline})


DECISIONS = {
    "abstract-accuracy": _alie(
        decide=is_many_times_as_accurate,
        finding="The largest ratio in the paper's own Table 1, as remembered, is "
        "59.51 / 8.64 = 6.9: less than one order of magnitude.",
    ).on(VGG13),
    "introduction-accuracy": _under_alie(
        "Bulyan",
        "D-Median",
        "In Table 1, as remembered, 11.06 belongs to Bulyan and 59.51 to D-Median, so the "
        "sentence seems to compare two rules; the decision here does so too.",
    ).on(VGG13),
    **on_both("table-1-{}-median", _under_alie("Median", "D-Median")),
    **on_both("table-1-{}-d-median", _at_under_alie("D-Median")),
    **on_both("table-1-{}-multi-krum", _under_alie("Multi-Krum", "D-Multi-Krum")),
    **on_both("table-1-{}-d-multi-krum", _at_under_alie("D-Multi-Krum")),
    **on_both("table-1-{}-bulyan", _under_alie("Bulyan", "D-Bulyan")),
    **on_both("table-1-{}-d-bulyan", _at_under_alie("D-Bulyan")),
    **on_both(
        "figure-5-{}",
        _final(
            decide=ends_more_accurate,
            study="sign_sgd",
            options={"attack": "constant", "alone": "signSGD", "detox": "D-signSGD"},
        ),
    ),
    **on_both(
        "figure-5-{}-d",
        _final(
            decide=ends_at,
            study="sign_sgd",
            options={"attack": "constant", "pipeline": "D-signSGD"},
        ),
    ),
    **on_both("figure-3-{}-converge", _final(decide=all_converge, study="accuracy_reverse")),
}

UNTESTED = {
    "other-hierarchies": "no study compares these hierarchies in training",
}
