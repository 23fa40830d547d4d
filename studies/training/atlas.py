"""Every redundancy scheme with every rule under every attack: the worst case of each pair.

The protocol, fixed before any run:

1. Threat: 5 of 45 workers are Byzantine (5 of 35 with the Ramanujan graph), drawn anew at every
   step; they know all honest messages and the rules. The images are alike at all workers. A second
   case has 9 Byzantine workers, a third has images that differ between workers (Dirichlet 0.3).
2. Attacks: the ten of `protocol.ATTACKS`, and nobody. Two search on the server's own pipeline, one
   of them through the vote with the placement that distorts most files.
3. Each pair of a scheme and a rule has one setting for all attacks. Rate and place of the momentum
   are those with the highest worst-case validation accuracy over three attacks, on tuning seeds.
4. The worst attack of a pair is chosen on the tuning seeds too, and its accuracy is estimated on
   fresh ones, as the minimum over noisy estimates is too low. The plain minimum is shown beside it.
5. Test images are used once, after the last step. A run that diverges counts with what it ends
   with. A pair that the condition of its rule forbids is shown as such.
6. Beside equal batch, the rules without redundancy get three and five times the images, as many as
   are computed with three and five copies.
"""

from detox_sim.catalogue import check_known
from studies import Study
from studies.training import pipelines, scale
from studies.training.worst_case import protocol
from studies.training.worst_case.comparisons import (
    ALONE,
    AT_SERVER,
    AT_WORKERS,
    DETOX_3,
    DETOX_5,
    MAIN,
    TIMES_3,
    TIMES_5,
)
from studies.training.worst_case.figure import figure
from studies.training.worst_case.findings import finding

WORKERS, COMMON = 45, 405
CODE = "cyclic code, r=11"
CODED = "coded mean, 3 files"
_NONE = {"assignment": "none", "copies": 1}
SCHEMES = {
    ALONE: _NONE,
    TIMES_3: _NONE | {"batch": 3 * COMMON},
    TIMES_5: _NONE | {"batch": 5 * COMMON},
    DETOX_3: {"assignment": "detox", "copies": 3},
    DETOX_5: {"assignment": "detox", "copies": 5},
    CODED: {"assignment": "cyclic", "copies": 3, "encoding": "mean"},
    "random regular, r=3": {
        "assignment": "random_regular",
        "copies": 3,
        "assignment_options": {"load": 3},
    },
    "Ramanujan, r=5": {"assignment": "ramanujan", "copies": 5, "workers": 35, "batch": 392},
    "Latin squares, r=5": {"assignment": "mols", "copies": 5},
    "reactive, r=11": {
        "assignment": "cyclic",
        "copies": 11,
        "vote": "reactive",
        "vote_options": {"chance": 0.5},
        "placement": "fixed",
        "knowledge": "groups",
    },
    CODE: {"assignment": "cyclic", "copies": 11, "vote": "cyclic"},
}
RULES: dict[str, dict] = {
    "mean": {"outer": "mean"},
    "median": {"outer": "median"},
    "trimmed mean": {"outer": "trimmed_mean"},
    "MeaMed": {"outer": "meamed"},
    "Phocas": {"outer": "phocas"},
    "geometric median": {"outer": "geometric_median"},
    "Krum": {"outer": "krum"},
    "Multi-Krum": {"outer": "multi_krum"},
    "Bulyan": {"outer": "bulyan", "outer_options": {"selection": "one-shot"}},
    "MDA": {"outer": "mda"},
    "CGE": {"outer": "cge"},
    "centered clipping": {"outer": "centered_clipping"},
    "CAF": {"outer": "caf"},
    "DnC": {"outer": "dnc"},
}
MIXED = ["median", "trimmed mean", "geometric median", "Multi-Krum"]
RULES |= {
    f"{mixer} + {rule}": RULES[rule] | {"mixers": [mixer]}
    for mixer in ("nnm", "bucketing")
    for rule in MIXED
}
VOTE_GROUPS = {ALONE: 15, DETOX_3: 5, DETOX_5: 3}  # of the paper's D-Median; 3 votes each
FEW = ["mean", "median", "trimmed mean", "geometric median", "Multi-Krum", "nnm + trimmed mean"]
CASES = {
    MAIN: {"byzantine": 5},
    "q=9": {"byzantine": 9},
    "q=5, Dirichlet 0.3": {
        "byzantine": 5,
        "partition": "dirichlet",
        "partition_options": {"alpha": 0.3},
    },
    AT_SERVER: {"byzantine": 5, "memories": ["server"]},
    AT_WORKERS: {"byzantine": 5, "memories": ["worker"]},
}

_BASE = {
    "workers": WORKERS,
    "groups": None,
    "inner": None,
    "batch": COMMON,
    "common_batch": COMMON,
    "attacks": list(protocol.ATTACKS),
    "tuned_on": protocol.TUNED_ON,
    "memories": list(protocol.MEMORIES),
}
_FASHION = _BASE | {
    "model": "mlp",
    "model_options": {"hidden": 16},
    "data": "fashion_mnist",
    "validation": 0.05,
    "steps": 40,
    "evaluate_every": 40,
    "rates": [0.03, 0.1, 0.25],
    "tuning_seeds": [100, 101],
    "seeds": list(range(5)),
}
_DIGITS = _BASE | {
    "model": "softmax",
    "data": "digits",
    "validation": 0.2,
    "steps": 30,
    "evaluate_every": 30,
    "rates": [0.1],
    "attacks": ["nobody", "ALIE z=1.5", "inner product x3", "min-max", "searched"],
    "tuning_seeds": [100],
    "seeds": list(range(5)),
    "batch": 90,
    "common_batch": 90,
}


def _grid(base: dict, cases: list[str], rules: list[str], schemes: list[str]) -> tuple:
    """Return a grid; of a code only the mean, as it leaves one row, which every rule returns."""
    axes = {
        "case": {name: CASES[name] for name in cases},
        "rule": {name: RULES[name] for name in rules},
        "scheme": {name: SCHEMES[name] for name in schemes},
    }
    return (base, axes)


def _grouped(scheme: str) -> tuple:
    """Return the paper's pipelines with vote groups behind a scheme."""
    base, axes = _grid(_FASHION, [MAIN], [], [scheme])
    groups = VOTE_GROUPS[scheme]
    rules = {
        "mean in groups, median": {"groups": groups, "inner": "mean", "outer": "median"},
        "Multi-Krum in 2 groups, mean": {"groups": 2, "inner": "multi_krum", "outer": "mean"},
    }
    return (base, axes | {"rule": rules})


def _slice(base: dict, rules: list[str]) -> tuple:
    """Return a small grid on digits with DETOX and without it, at equal batch and compute."""
    images = {TIMES_3: _NONE | {"batch": 3 * base["batch"]}}
    base, axes = _grid(base, [MAIN], rules, [ALONE, DETOX_3])
    return (base, axes | {"scheme": axes["scheme"] | images})


_UNDER_EVERY_RULE = [name for name in SCHEMES if name not in (CODE, TIMES_5)]
_COMPARED = [ALONE, DETOX_3, DETOX_5, CODED]
PROFILES = {
    "smoke": _slice(
        _DIGITS | {"steps": 2, "evaluate_every": 2, "seeds": [0, 1]}, ["mean", "median"]
    ),
    "laptop": _slice(_DIGITS, ["median", "Multi-Krum"]),
    "atlas": [
        _grid(_FASHION, [MAIN], list(RULES), _UNDER_EVERY_RULE),
        _grid(_FASHION, [MAIN], ["mean"], [CODE]),
        _grid(_FASHION, [MAIN], FEW, [TIMES_5]),
        *(_grouped(scheme) for scheme in VOTE_GROUPS),
        _grid(_FASHION, [AT_SERVER, AT_WORKERS], FEW, _COMPARED[:2]),
        _grid(_FASHION, ["q=9", "q=5, Dirichlet 0.3"], [*FEW, "Bulyan"], _COMPARED),
    ],
}


def prepare(fields: dict) -> dict:
    """Return the fields; only the condition of a rule may forbid a pair."""
    check_known("field", fields, STUDY.known())
    protocol.check(fields)
    reason = protocol.refusal(fields)
    if reason and not reason.startswith(("inner", "outer", "mixers")):
        raise ValueError(reason)
    return fields


def versions(fields: dict) -> dict[str, int]:
    """Return the versions of the parts that a pair's numbers depend on."""
    from detox_sim.training import OF_RULES, VERSIONS

    parts = ["round", "gradients of dense models"]
    parts += [OF_RULES[name] for name in {fields["inner"], fields["outer"]} & {*OF_RULES}]
    return {"atlas": STUDY.version} | {name: VERSIONS[name] for name in parts}


def scale_of(fields: dict) -> str:
    """Return what a figure must say of the size of a pair: that of the common batch."""
    whole = {"data_options": {}} | fields | {"batch": fields["common_batch"], "workers": WORKERS}
    return scale.scale(whole | {"momentum": 0.9})


STUDY = Study(
    title="Atlas: schemes, rules and attacks",
    claim=(
        "Nothing is reported. Which redundancy, which rule: how accurate is training in the worst "
        "case over attacks, and does redundancy do more than computing more images?"
    ),
    definitions=[
        "pair: a redundancy scheme with one rule for all votes, or with the paper's two pipelines "
        "of vote groups. The rule is told of the most files that q workers can distort; without a "
        "vote of q",
        "setting: momentum 0.9 at the server with one of the rates, or at the workers with ten "
        "times the rate. One for all attacks, the one whose worst mean validation accuracy over "
        "ALIE z=1.5, inner product x3 and min-max is highest on the tuning seeds",
        "accuracy: on the test images after the last step",
        "worst case: test accuracy on fresh seeds under the attack that was worst on the "
        "validation images with the two tuning seeds, which is not always the worst one",
        "plain minimum: the lowest mean over the attacks, on the fresh seeds; too low where "
        "attacks are about equally strong, and its bootstrap interval lower still",
        "cross-fitted: for each fresh seed its accuracy under the attack that was worst on the "
        "other four; added after the first results",
        "price: accuracy when nobody attacks of the rule that is then the most accurate without "
        "redundancy, less that of the pair",
        "load: images whose gradients are computed in a step, over the common batch; of reactive "
        "checks what is expected when nobody forges",
        "megabytes: what a worker sends in a step, for the 11.2 million parameters of ResNet-18",
        "modelled seconds: a round of ResNet-18, 1440 images for the common batch, on the paper's "
        "cluster; not measured",
        "fails: chance a step, under a random placement, that more rows are distorted than the "
        "rule withstands",
        "ALIE: honest mean plus z population deviations; inner product: minus a factor times the "
        "honest mean; mimic, min-max, label flip, bit flip (16 values of a message, two bits of "
        "the exponent of each): `detox_sim.attacks`. searched: the best of 8 rows tried on the "
        "server's own pipeline; through the vote: with the placement that distorts most files, and "
        "only the copies that change a vote",
        "Byzantine workers are drawn anew at every step. With reactive checks they are the same in "
        "the whole run, and forge only where they are asked first",
        "Ramanujan: 35 of the 45 workers, 392 images a step, as 49 files need equal sizes",
        "cyclic code: its decoded mean is one row, which every rule returns, so it runs once",
        "centered clipping: one step from the last aggregate; radius 9 over the root of the images "
        "of a message, about the spread of gradients; 0.23 times that for momenta",
    ],
    profiles=PROFILES,
    run=protocol.run,
    figure=figure,
    finding=finding,
    scale=scale_of,
    fields=(*pipelines.FIELDS, *protocol.PROTOCOL),
    prepare=prepare,
    versions=versions,
    cost=protocol.cost,
    derive=protocol.derive,
)
