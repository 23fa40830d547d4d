"""What the training studies share: the methods compared, their rates, and how a cell is run."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from detox_sim import assignments, costs, data
from detox_sim.catalogue import bind
from detox_sim.training import SEMANTICS, train
from detox_sim.trial import Trial, make_trial

_ALONE = {"assignment": "none", "copies": 1, "groups": None, "inner": None}
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

DIGITS = {"MLP on digits": {"model": "mlp", "data": "digits"}}
FASHION = {"LeNet-5 on Fashion-MNIST": {"model": "lenet5", "data": "fashion_mnist"}}
PAPER = {
    "ResNet-18 on CIFAR-10": {"model": "resnet18", "data": "cifar10"},
    "VGG13-BN on CIFAR-100": {"model": "vgg13_bn", "data": "cifar100"},
}
PAPER_MODELS = [str(task["model"]) for task in PAPER.values()]
NOBODY = {"nobody": {"attack": "none"}}
SMALL = {"batch": 1440, "steps": 200, "evaluate_every": 10, "momentum": 0.9}
LARGE = SMALL | {"steps": 3000, "evaluate_every": 50}
THRESHOLDS = {"digits": [0.8, 0.9, 0.95], "fashion_mnist": [0.7, 0.75, 0.8, 0.85]}
CIFAR_THRESHOLDS = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]

# Learning rates of the profile fashion: what the study `tune` chose, where it searched.
RATES = {
    "alie": {
        "Mean": 0.125,
        "Median": 0.03125,
        "Multi-Krum": 0.125,
        "Bulyan": 0.0625,
        "D-Mean": 0.125,
        "D-Median": 0.125,
        "D-Multi-Krum": 0.125,
        "D-Bulyan": 0.03125,
    },
    "reverse": {
        "Mean": 0.125,  # diverges at every rate; ALIE's
        "Median": 0.125,
        "Multi-Krum": 0.0625,
        "Bulyan": 0.0625,
        "D-Mean": 0.0009765625,
        "D-Median": 0.03125,
        "D-Multi-Krum": 0.125,
        "D-Bulyan": 0.125,
        "DRACO": 0.125,  # D-Mean's under ALIE: a mean that loses no vote
    },
    "constant": {"signSGD": 0.001, "D-signSGD": 0.001},
}
# The paper's rate, and what it is multiplied with every 10 steps (reported; quoted from memory).
_COLUMNS = [(attack, model) for attack in ("reverse", "alie") for model in ("resnet18", "vgg13_bn")]
_REPORTED = {
    "D-Multi-Krum": [(0.1, 1.0), (0.1, 1.0), (0.1, 0.98), (0.1, 0.965)],
    "D-Bulyan": [(0.1, 1.0), (0.1, 1.0), (0.1, 0.99), (0.1, 0.965)],
    "D-Median": [(0.1, 0.99), (0.1, 0.99), (0.1, 0.98), (0.1, 0.98)],
    "Multi-Krum": [(0.03125, 1.0), (0.03125, 1.0), (0.0078125, 0.96), (0.00390625, 0.965)],
    "Bulyan": [(0.1, 1.0), (0.1, 1.0), (0.001953125, 0.95), (0.00390625, 0.965)],
    "Median": [(0.1, 1.0), (0.1, 0.995), (0.001953125, 0.95), (0.001953125, 0.965)],
}
REPORTED_SCHEDULES = {
    name: dict(zip(_COLUMNS, schedules, strict=True)) for name, schedules in _REPORTED.items()
} | {name: {("constant", model): (0.0001, 0.99) for model in PAPER_MODELS} for name in SIGN}

DEFINITIONS = [
    "Multi-Krum: squared distances, n - f - 2 neighbours, mean of n - f - 2 rows (DETOX code)",
    "Bulyan: one-shot selection, then a trimmed mean (DETOX code)",
    "vote: whole vector, bit-exact, zero without a strict majority (paper)",
    "bad votes assumed: floor(q / majority of r); Byzantine nodes redrawn at every step "
    "(DETOX code)",
    "momentum at the server",
]
TRAINING_DEFINITIONS = [
    *DEFINITIONS,
    "nobody attacks: a rule still withstands its q bad rows, at its rate under the attack",
    "modelled time: a round at the paper's size (ResNet-18 or VGG13-BN, batch 1440, 46 nodes at "
    "10 Gbit/s) times steps; not measured",
    "weight of a vote in the aggregate: least squares, exact where the rule is a weighted mean",
    "profile fashion: the rates that our study `tune` chooses under the attack (the mean alone "
    "diverges at all of them under reverse: ALIE's; DRACO: D-Mean's under ALIE); signs: 0.001",
    "profile paper: the paper's schedules (quoted from memory), D-Median's for the means and "
    "DRACO; its number of steps is not known, 3000 is ours",
]
SIZES = {
    "resnet18": {"parameters": 11_173_962, "sample_flops": 3.329e9},
    "vgg13_bn": {"parameters": 9_462_180, "sample_flops": 1.366e9},
}
PAPER_SIZE = {"batch": 1440} | SIZES["resnet18"]
FIELDS = tuple(field.name for field in dataclasses.fields(Trial))
VERSION = SEMANTICS
BY_STEP = [
    "loss",
    "gradient_error",
    "gradient_norm",
    "cosine",
    "lost_votes",
    "lost_weight",
    "used_votes",
]


def axes(tasks: Mapping, attack: Mapping, methods: Mapping, seeds: int) -> dict:
    """Return the axes of a training study: task, the attack and nobody, pipeline, seed.

    Examples
    --------
    >>> {name: len(axis) for name, axis in axes(PAPER, {"reverse": {}}, SIGN, 3).items()}
    {'task': 2, 'attack': 2, 'pipeline': 2, 'seed': 3}
    """
    attacks = {**attack, **NOBODY}
    return {"task": tasks, "attack": attacks, "pipeline": methods, "seed": list(range(seeds))}


def rated(methods: Mapping[str, dict], attack: str) -> dict[str, dict]:
    """Return the methods with their rates on Fashion-MNIST under an attack.

    Examples
    --------
    >>> rated(SIGN, "constant")["signSGD"]["rate"]
    0.001
    """
    return {name: fields | {"rate": RATES[attack][name]} for name, fields in methods.items()}


def scheduled(methods: Mapping[str, dict], attack: str) -> dict[str, dict]:
    """Return the methods with the paper's schedules under an attack, by model.

    Examples
    --------
    >>> scheduled(VANILLA, "reverse")["Median"]["decay"]
    {'resnet18': 1.0, 'vgg13_bn': 0.995}
    """
    result = {}
    for name, fields in methods.items():
        reported = REPORTED_SCHEDULES.get(name, REPORTED_SCHEDULES["D-Median"])
        rate, decay = ({m: reported[attack, m][i] for m in PAPER_MODELS} for i in (0, 1))
        result[name] = fields | {"rate": rate, "decay": decay}
    return result


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
    assign = bind(assignments, fields["assignment"], fields["assignment_options"])
    files = len(assign(fields["workers"], fields["copies"]))
    rule = {"median": 4e-5, "multi_krum": 1.7e-4, "bulyan": 2e-4}.get(fields["outer"], 0.0)
    model = {"softmax": 7e-5, "mlp": 1.2e-4, "cnn": 5e-4}.get(fields["model"], 5e-4)
    image = {"lenet5": 8e-5, "resnet8": 2e-3, "resnet20": 6e-3, "resnet18": 3e-2, "vgg13_bn": 1e-2}
    tries = fields["attack_options"].get("evaluations", 0)
    if fields["placement"] == "adaptive":
        tries *= 1 + fields["placement_options"].get("candidates", 4)
    images = fields["batch"] * image.get(fields["model"], 0.0)
    parameters = SIZES.get(fields["model"], {"parameters": 0})["parameters"]
    seconds = fields["steps"] * (files * (model + rule * (1 + tries)) + images) + 0.2
    return seconds, 3e8 + 16 * files * parameters


def scale(fields: dict) -> str:
    """Return what a figure must say of the size of a trial and its data.

    Examples
    --------
    >>> scale(prepare({}))
    'toy scale: digits, 8 x 8 pixels, mlp'
    """
    loaded = data.load(fields["data"], fields["data_options"])
    title, model = loaded.title, fields["model"]
    if title == "digits":
        return f"toy scale: digits, 8 x 8 pixels, {model}"
    size = f"{title}, {model}, {fields['workers']} nodes, batch {fields['batch']}"
    if "JPEG" in title:
        return f"small scale: {size}, not the paper's files"
    papers = {"CIFAR-10": "resnet18", "CIFAR-100": "vgg13_bn"}.get(title) == model
    same = (fields["workers"], fields["batch"]) == (45, LARGE["batch"])
    full = fields["steps"] >= LARGE["steps"]
    return ("the paper's" if papers and same and full else "small") + f" scale: {size}"


SCALE = scale


def run(fields: dict, *, checkpoint: Path | None = None) -> xr.Dataset:
    """Train one trial; times measured here are left out, so that a cell is the same bits always."""
    options = {} if checkpoint is None else {"checkpoint": checkpoint}
    history = train(Trial(**fields), **options)  # type: ignore[arg-type]
    return history.drop_vars(["seconds", "phase", "weight"])


def run_attributed(fields: dict, *, checkpoint: Path | None = None) -> xr.Dataset:
    """Train one trial; keep what the vote and the rule did to it, small.

    Returns
    -------
    xarray.Dataset
        `accuracy`, `test_loss` and, as float32, those of `BY_STEP`, as `train` gives them;
        `weight` (eval_step, vote) of each vote at the evaluated steps, NaN before the first step
        and beyond the `votes` there are; and `modelled_round_seconds` at the paper's size.
    """
    options = {} if checkpoint is None else {"checkpoint": checkpoint}
    history = train(Trial(**fields), **options)  # type: ignore[arg-type]
    weight = np.full((history.eval_step.size, fields["workers"]), np.nan, dtype=np.float32)
    thinned = history.weight.sel(step=history.eval_step[1:].values).values
    weight[1:, : thinned.shape[1]] = thinned
    with np.errstate(over="ignore"):  # a run that diverges is a result
        kept = history[BY_STEP].astype(np.float32)
    return kept.assign(
        accuracy=history.accuracy,
        test_loss=history.test_loss,
        weight=(("eval_step", "vote"), weight, {"long_name": "weight of a vote"}),
        votes=((), np.int16(thinned.shape[1])),
        modelled_round_seconds=((), paper_round_seconds(fields), {"units": "s"}),
    )


def run_timed(fields: dict, *, checkpoint: Path | None = None) -> xr.Dataset:
    """Train one trial as `run_attributed`; add steps and modelled time to given accuracies."""
    history = run_attributed(fields, checkpoint=checkpoint)
    thresholds = THRESHOLDS.get(fields["data"], CIFAR_THRESHOLDS)
    steps = steps_to(history, thresholds)
    seconds = steps * float(history.modelled_round_seconds)
    return history.assign_coords(threshold=thresholds).assign(
        steps_to=("threshold", steps, {"long_name": "steps to accuracy"}),
        modelled_seconds_to=("threshold", seconds, {"units": "s"}),
    )


def paper_round_seconds(fields: dict) -> float:
    """Return the modelled seconds of a round at the paper's size: batch 1440, 46 nodes.

    The model is ResNet-18, but for a trial of VGG13-BN that.

    Examples
    --------
    >>> fields = prepare(DETOX["D-Median"])
    >>> slow = prepare(VANILLA["Median"])
    >>> paper_round_seconds(fields) < paper_round_seconds(slow)
    True
    """
    phases = costs.round_seconds(
        workers=fields["workers"],
        files=fields["workers"] // fields["copies"],
        copies=fields["copies"],
        groups=fields["groups"],
        inner=fields["inner"],
        outer=fields["outer"],
        **PAPER_SIZE | SIZES.get(fields["model"], {}),  # type: ignore[arg-type]
    )
    return sum(phases.values())


def steps_to(history: xr.Dataset, thresholds: list[float]) -> np.ndarray:
    """Return the first evaluated step with at least each test accuracy; NaN if there is none.

    Examples
    --------
    >>> history = xr.Dataset({"accuracy": ("eval_step", [0.1, 0.8, 0.9])}, {"eval_step": [0, 5, 9]})
    >>> steps_to(history, [0.8, 0.95])
    array([ 5., nan])
    """
    reached = history.accuracy.values[None, :] >= np.array(thresholds)[:, None]
    first = history.eval_step.values[reached.argmax(axis=1)]
    return np.where(reached.any(axis=1), first, np.nan)
