"""Worker momentum and rules with memory beside redundancy, under attacks that hide in the noise."""

import math
from pathlib import Path

import xarray as xr

from studies.training import cells, tasks
from studies.training.memory.figure import figure
from studies.training.memory.tables import finding

BETA = 0.9
RATE = 0.1  # with server momentum
# Momenta deviate less than gradients by this factor, where those of a slot are independent.
DEVIATION = math.sqrt((1 - BETA) / (1 + BETA))
RADIUS = 2.2  # of gradients: about their spread around the mean


def fair_rate(rate: float, beta: float) -> float:
    """Return the rate with worker momentum that does what `rate` does with server momentum.

    Where the rule is linear and nobody attacks, parameters <- parameters - rate v with
    v <- beta v + g equals parameters <- parameters - rate / (1 - beta) m with
    m <- beta m + (1 - beta) g.

    Examples
    --------
    >>> fair_rate(0.1, 0.9)
    1.0
    """
    return round(rate / (1 - beta), 12)


MEMORY = {
    "server momentum": {"momentum": BETA, "worker_momentum": 0.0, "rate": RATE},
    "worker momentum": {"momentum": 0.0, "worker_momentum": BETA, "rate": fair_rate(RATE, BETA)},
}
REDUNDANCY = {
    "alone": {"assignment": "none", "copies": 1},
    "DETOX": {"assignment": "detox", "copies": 3},
}
_COMPUTE = {"alone at equal compute": REDUNDANCY["alone"] | {"batch": 270}}
_RULES = {
    "Mean": {"outer": "mean"},
    "Median": {"outer": "median"},
    "Multi-Krum": {"outer": "multi_krum"},
}
_CLIPPING = "centered clipping"
_STRENGTHS = {
    "ALIE z=1": {"attack": "alie", "attack_options": {"z": 1.0}},
    "ALIE z=2": {"attack": "alie", "attack_options": {"z": 2.0}},
    "inner product x1": {"attack": "inner_product", "attack_options": {"factor": 1.0}},
    "inner product x3": {"attack": "inner_product", "attack_options": {"factor": 3.0}},
    "inner product x10": {"attack": "inner_product", "attack_options": {"factor": 10.0}},
}
_ALIE, _PRODUCT = ({name: _STRENGTHS[name]} for name in ("ALIE z=1", "inner product x3"))
_ATTACKS = _ALIE | _PRODUCT | tasks.NOBODY
_BASE = {
    "model": "mlp",
    "data": "digits",
    "workers": 45,
    "batch": 90,
    "groups": None,
    "inner": None,
    "steps": 48,
    "evaluate_every": 3,
}
KEPT = [
    "accuracy",
    "loss",
    "gradient_norm",
    "gradient_spread",
    "gradient_error",
    "cosine",
    "distorted_files",
]


def clipping(radius: float) -> dict:
    """Return centered clipping around the last aggregate."""
    options = {"start": "previous", "radius": radius}
    return {"outer": "centered_clipping", "outer_options": options}


def _grids(
    rules: list[str], redundancy: dict, seeds: int, byzantine: int = 11, attacks: dict = _ATTACKS
) -> list:
    """Return the grids of some rules and of centered clipping, whose radius goes with the rows.

    Seeds 0 and 1 chose rate, radius and strengths, and are not among those that the study counts.
    """

    def grid(methods: dict, memory: dict) -> tuple:
        axes = {
            "byzantine": [byzantine],
            "attack": attacks,
            "rule": methods,
            "memory": memory,
            "redundancy": redundancy,
            "seed": list(range(2, 2 + seeds)),
        }
        return (_BASE, axes)

    radii = dict(zip(MEMORY, (RADIUS, round(RADIUS * DEVIATION, 2)), strict=True))
    clipped = {name: MEMORY[name] | clipping(radius) for name, radius in radii.items()}
    return [grid({name: _RULES[name] for name in rules}, MEMORY), grid({_CLIPPING: {}}, clipped)]


def _reference() -> tuple:
    """Return the grid of the undefended rule, alone with server momentum: price and bite."""
    base, axes = _grids(["Mean"], {"alone": REDUNDANCY["alone"]}, 5)[0]
    memory = {"server momentum": MEMORY["server momentum"]}
    return base, axes | {"memory": memory}


_EVERY = REDUNDANCY | _COMPUTE
PROFILES = {
    "smoke": [
        (base | {"steps": 4}, axes | {"attack": _ALIE | tasks.NOBODY})
        for base, axes in _grids(["Mean", "Multi-Krum"], REDUNDANCY, 2)
    ],
    "laptop": [_reference(), *_grids(["Multi-Krum"], REDUNDANCY, 5)],
    "digits": [
        *_grids([*_RULES], _EVERY, 5, attacks=_STRENGTHS | tasks.NOBODY),
        *_grids([*_RULES], _EVERY, 5, byzantine=5),
    ],
}


def run(fields: dict, *, checkpoint: Path | None = None) -> xr.Dataset:
    """Train one trial; keep by evaluation the variables of `KEPT`, and the last loss."""
    return cells.run(fields, checkpoint=checkpoint)[[*KEPT, "final_loss"]]


STUDY = cells.study(
    kind="momentum",
    run=run,
    derive=None,
    title="Worker momentum and redundancy",
    claim=(
        "Nothing is reported. The question: does memory of earlier steps (worker momentum, and a "
        "rule that starts from its last aggregate) replace redundancy, add to it, or neither?"
    ),
    definitions=[
        "server momentum: v <- 0.9 v + aggregate at the server, rate 0.1",
        "worker momentum: workers send m <- 0.9 m + 0.1 gradient, one m a file, in place of the "
        "gradient; rate 0.1 / (1 - 0.9) = 1, which is the same training where the rule is the mean "
        "and nobody attacks",
        "DETOX: r = 3; one rule for all votes, without vote groups, told of floor(q / 2) distorted "
        "files; alone the rule is told of q",
        "Multi-Krum: squared distances, n - f - 2 neighbours, mean of n - f - 2 rows (DETOX code)",
        "centered clipping: one step from the last aggregate. Radius 2.2 for gradients, about "
        "their spread; 0.5 for momenta, smaller by sqrt((1 - 0.9) / (1 + 0.9)) = 0.23, as is the "
        "deviation of a moving mean of independent values",
        "vote: whole vector, bit-exact, zero without a strict majority (paper)",
        "Byzantine workers know what all honest workers send, momenta included, and are redrawn at "
        "every step; nobody attacks: a rule still withstands its q bad rows",
        "ALIE z=1: mean plus 1 population deviation over the distinct honest rows (DETOX code); "
        "inner product x3: minus 3 times their mean",
        "accuracy of a run: mean over its last five evaluations, one every three steps",
        "seeds 0 and 1 chose rate, radius and strengths of attacks; the study has others",
    ],
    profiles=PROFILES,
    figure=figure,
    finding=finding,
)
