"""The pipelines that the training studies compare, and what a cell of theirs costs."""

import dataclasses
from collections.abc import Mapping

from detox_sim import assignments
from detox_sim.catalogue import bind
from detox_sim.costs import MODEL_SIZES
from detox_sim.trials.trial import Trial, make_trial

_ALONE = {"assignment": "none", "copies": 1, "groups": None, "inner": None}
# 3 copies as in the paper's runs; for advice see `planning.options` and `recommended_copies`.
_GROUPS = {"assignment": "detox", "copies": 3}
_ONE_SHOT = {"outer_options": {"selection": "one-shot"}}
_SIGN_RATE = {"rate": 0.001}

VANILLA = {
    "Mean": _ALONE | {"outer": "mean"},
    "Median": _ALONE | {"outer": "median"},
    "Multi-Krum": _ALONE | {"outer": "multi_krum"},
    "Bulyan": _ALONE | {"outer": "bulyan"} | _ONE_SHOT,
}
DETOX = {
    "D-Mean": _GROUPS | {"groups": None, "inner": None, "outer": "mean"},
    "D-Median": _GROUPS | {"groups": 5, "inner": "mean", "outer": "median"},
    "D-Multi-Krum": _GROUPS | {"groups": 2, "inner": "multi_krum", "outer": "mean"},
    "D-Bulyan": _GROUPS | {"groups": None, "inner": None, "outer": "bulyan"} | _ONE_SHOT,
}
SIGN = {
    "signSGD": _ALONE | {"outer": "sign_majority"} | _SIGN_RATE,
    "D-signSGD": _GROUPS
    | {"groups": 3, "inner": "sign_majority", "outer": "sign_majority"}
    | _SIGN_RATE,
}
PAIRS = {
    "Mean": "D-Mean",
    "Median": "D-Median",
    "Multi-Krum": "D-Multi-Krum",
    "Bulyan": "D-Bulyan",
    "signSGD": "D-signSGD",
}

DEFINITIONS = [
    "Multi-Krum: squared distances, n - f - 2 neighbours, mean of n - f - 2 rows (DETOX code)",
    "Bulyan: one-shot selection, then a trimmed mean (DETOX code)",
    "vote: whole vector, bit-exact, zero without a strict majority (paper)",
    "distorted files assumed by the rules: floor(q / majority of r); Byzantine workers redrawn at "
    "every step (DETOX code)",
    "momentum at the server",
]
TRAINING_DEFINITIONS = [
    *DEFINITIONS,
    "nobody attacks: a rule still withstands its q bad rows",
    "modelled time: a round at the paper's size (ResNet-18 or VGG13-BN, batch 1440, 46 machines at "
    "10 Gbit/s) times steps; not measured",
    "weight of a vote in the aggregate: least squares, exact where the rule is a weighted mean; "
    "none where it leaves more than three quarters of the aggregate unexplained",
    "profile paper: the paper's schedules (quoted from memory), D-Median's for the means and "
    "DRACO; its number of steps is not known, 3000 is ours",
]
PAPER_SIZE = {"batch": 1440} | MODEL_SIZES["resnet18"]
FIELDS = tuple(field.name for field in dataclasses.fields(Trial))


def prepare(fields: dict) -> dict:
    """Return every field of the Trial that the given ones make.

    A rate or decay may be given by model.

    Examples
    --------
    >>> prepare({"model": "mlp", "rate": {"mlp": 0.5, "cnn": 0.25}})["rate"]
    0.5
    """
    chosen = {
        name: _of_model(name, fields[name], fields.get("model"))
        for name in ("rate", "decay")
        if isinstance(fields.get(name), dict)
    }
    return dataclasses.asdict(make_trial(fields | chosen))


def _of_model(name: str, table: Mapping[str, float], model: object) -> float:
    if model not in table:
        raise ValueError(
            f"the profile knows the {name} of {' and '.join(table)}, not of {model!r}; "
            f"give one with --set {name}=..."
        )
    return table[str(model)]


def cost(fields: dict) -> tuple[float, float]:
    """Return seconds and bytes of a run: torch's overhead a file, its images, and the rule."""
    count = files(fields)
    rule = {"median": 4e-5, "multi_krum": 1.7e-4, "bulyan": 2e-4}.get(fields["outer"], 0.0)
    digits = fields["data"] == "digits"
    resnet8 = 2.5e-3 if digits else 5e-3  # several files of small images at once
    model = {"softmax": 7e-5, "mlp": 1.2e-4, "resnet8": resnet8}.get(fields["model"], 5e-4)
    image = {"lenet5": 8e-5, "resnet8": 3e-3, "resnet20": 6e-3, "resnet18": 3e-2, "vgg13_bn": 1e-2}
    tries = fields["attack_options"].get("evaluations", 0)
    if fields["placement"] == "adaptive":
        tries *= 1 + fields["placement_options"].get("candidates", 4)
    small = 8 * 8 / 32**2 if digits else 1.0  # the others have about 32 x 32
    images = fields["batch"] * image.get(fields["model"], 0.0) * small
    parameters = MODEL_SIZES.get(fields["model"], {"parameters": 0})["parameters"]
    seconds = fields["steps"] * (count * (model + rule * (1 + tries)) + images) + 0.2
    return seconds, 3e8 + 16 * count * parameters


def files(fields: dict) -> int:
    """Return how many files the assignment of a trial makes of a batch.

    Examples
    --------
    >>> files(prepare(DETOX["D-Mean"])), files(prepare(VANILLA["Mean"]))
    (15, 45)
    """
    assign = bind(assignments, fields["assignment"], fields["assignment_options"])
    return len(assign(fields["workers"], fields["copies"]))
