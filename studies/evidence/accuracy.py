"""The paper's claims on test accuracy: Table 1, Figure 3 and Figure 5."""

import functools
from typing import Any

import xarray as xr

from detox_sim.sweeps.intervals import interval
from studies.evidence.compare import Finding, greater, ratio, within
from studies.evidence.decisions import RESNET18, VGG13, Decision, on_both
from studies.evidence.results import Results
from studies.training.effects import differences, estimates
from studies.training.pipelines import PAIRS

ALONE = ["Median", "Multi-Krum", "Bulyan"]
DETOX = [f"D-{rule}" for rule in ALONE]
TOLERANCE = 0.05  # of a reported final accuracy
MAGNITUDE = 2.0  # of a ratio that the paper calls orders of magnitude, below its scale
OUTCOMES = {
    differences.SAME_DIRECTION: "met",
    differences.CONTRADICTED: "contradicted",
    estimates.UNDECIDED: "undecided",
    differences.NO_BITE: "no bite",
    differences.DEPENDS: "depends",
    estimates.NOT_RUN: "missing",
}


def final(results: Results, name: str = "accuracy", **labels: Any) -> xr.DataArray:
    """Return the test accuracy, by one evaluation, after the last step at equal batch."""
    variant = {"variant": "equal batch"} if "variant" in results.dataset.dims else {}
    values = results.values(name, "eval_step", **variant, **labels)
    return values.isel(eval_step=-1, drop=True)


def defends(results: Results, attack: str, alone: str, detox: str) -> Finding:
    """An attack does damage to a rule alone that DETOX keeps away, by more than 0.02 of accuracy.

    At equal batch, as the paper compares. At the paper's scale, where its table compares under the
    attack only: DETOX ends more accurate by half of the reported difference.
    """
    names = [alone, detox]
    if results.paper_scale:
        margin = round((results.number or 0.0) / 2, 3)
        last = final(results, attack=attack, pipeline=names)
        return greater(last.isel(pipeline=1, drop=True), last.isel(pipeline=0, drop=True), margin)
    final(results, attack=[attack, "nobody"], pipeline=names)  # raises where a run is missing
    pairs = tuple(PAIRS.items()) if PAIRS.get(alone) == detox else ((alone, detox),)
    at = tuple(results.at.items())
    found, words = results.once((attack, pairs, at), lambda: _effects(results, attack, pairs))
    word = str(words.sel(rule=alone).item())
    one = found.sel(rule=alone).squeeze("task")
    ours = "; ".join(
        f"{name}: damage alone {interval(one.damage.sel(evaluation=name))}, defence "
        f"{interval(one.defence.sel(evaluation=name))}"
        for name in one.evaluation.values
    )
    detail = f"{one.seed.size} seeds, equal batch, threshold {estimates.THRESHOLD}"
    return Finding(OUTCOMES[word], detail, ours, "direction")


def _effects(
    results: Results, attack: str, pairs: tuple[tuple[str, str], ...]
) -> tuple[xr.Dataset, xr.DataArray]:
    """Return the effects of an attack on pairs of pipelines, and the verdicts on the defence."""
    dataset = results.dataset.sel({axis: [label] for axis, label in results.at.items()})
    found = differences.effects(dataset, attack, pairs)
    return found, differences.verdicts(found)


def ends_at(results: Results, attack: str, pipeline: str) -> Finding:
    """Under an attack, a pipeline ends with the reported accuracy, within 0.05."""
    assert results.number is not None, "the claim needs a number"
    return within(final(results, attack=attack, pipeline=pipeline), results.number, TOLERANCE)


def is_many_times_as_accurate(results: Results) -> Finding:
    """Under ALIE, DETOX ends with ten times the accuracy of some rule alone.

    Below the paper's scale twice is asked, a margin fixed beforehand. With both evaluations.
    """
    least, found = 10.0 if results.paper_scale else MAGNITUDE, {}
    for evaluation, name in differences.EVALUATIONS.items():
        if name in results.dataset:
            with_detox, alone = (
                final(results, name, attack="alie", pipeline=p) for p in (DETOX, ALONE)
            )
            found[evaluation] = ratio(with_detox, alone, least, some=True)
    if len(found) == 1:
        return found["one worker"]
    outcomes = {one.outcome for one in found.values()}
    joined = "undecided" if "undecided" in outcomes else "depends"
    ours = "; ".join(f"{evaluation}: {one.ours}" for evaluation, one in found.items())
    return Finding(
        outcomes.pop() if len(outcomes) == 1 else joined,
        f"{least:g} times is asked, of both evaluations",
        ours,
        "margin",
    )


def all_converge(results: Results) -> Finding:
    """Under the reverse gradient every method ends with 0.9 of its accuracy without attackers."""
    of = functools.partial(final, results, pipeline=ALONE + DETOX)
    return ratio(of(attack="reverse"), of(attack="nobody"), 0.9)


_final = functools.partial(
    Decision,
    axes=("attack", "pipeline", "seed"),
    scale=RESNET18,
    profiles=("laptop", "digits", "cifar", "paper"),
)
_alie = functools.partial(_final, study="accuracy_alie")


def _under_alie(alone: str, detox: str, finding: str = "") -> Decision:
    options = {"attack": "alie", "alone": alone, "detox": detox}
    return _alie(decide=defends, options=options, finding=finding)


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
            decide=defends,
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
