"""What the training studies share: the tasks and methods compared, and their learning rates."""

import dataclasses
from collections.abc import Mapping

from detox_sim import assignments
from detox_sim.catalogue import bind
from detox_sim.data import downloads, folders
from detox_sim.data.cifar import CIFAR10
from detox_sim.trials.trial import Trial, make_trial

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
RESNET = {"ResNet-8 on digits": {"model": "resnet8", "data": "digits"}}
PAPER = {
    "ResNet-18 on CIFAR-10": {"model": "resnet18", "data": "cifar10"},
    "VGG13-BN on CIFAR-100": {"model": "vgg13_bn", "data": "cifar100"},
}
PAPER_MODELS = [str(task["model"]) for task in PAPER.values()]
NOBODY = {"nobody": {"attack": "none"}}
LARGE = {"batch": 1440, "steps": 3000, "evaluate_every": 50, "momentum": 0.9}

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
    "nobody attacks: a rule still withstands its q bad rows",
    "modelled time: a round at the paper's size (ResNet-18 or VGG13-BN, batch 1440, 46 nodes at "
    "10 Gbit/s) times steps; not measured",
    "weight of a vote in the aggregate: least squares, exact where the rule is a weighted mean; "
    "none where it leaves more than three quarters of the aggregate unexplained",
    "profile paper: the paper's schedules (quoted from memory), D-Median's for the means and "
    "DRACO; its number of steps is not known, 3000 is ours",
]
SIZES = {
    "resnet18": {"parameters": 11_173_962, "sample_flops": 3.329e9},
    "vgg13_bn": {"parameters": 9_462_180, "sample_flops": 1.366e9},
}
PAPER_SIZE = {"batch": 1440} | SIZES["resnet18"]
FIELDS = tuple(field.name for field in dataclasses.fields(Trial))


# Settings in which an attack takes rules alone from high accuracy to chance on two CPU cores: what
# decides is the spread of a file's gradient over the norm of the mean, which few images a worker
# make large. With three times the batch a rule alone computes as many images as with DETOX.
SCHEDULE = {"workers": 45, "byzantine": 5, "rate": 0.1, "decay": 0.98, "momentum": 0.9}
ON_DIGITS = SCHEDULE | {"batch": 180, "steps": 80, "evaluate_every": 4}
ON_CIFAR = SCHEDULE | {"batch": 360, "steps": 400, "evaluate_every": 25}


def of_batch(images: int) -> dict[str, dict]:
    """Return the variants at equal batch and, three times the images, at equal compute.

    Examples
    --------
    >>> of_batch(360)
    {'equal batch': {'batch': 360}, 'equal compute': {'batch': 1080}}
    """
    return {"equal batch": {"batch": images}, "equal compute": {"batch": 3 * images}}


def cifar() -> dict[str, dict]:
    """Return the task on CIFAR-10: on its copy as JPEG files if only that is in the data folder."""
    jpeg = (downloads.root() / folders.JPEG_ARCHIVE).is_file()
    standard = any((downloads.root() / n).exists() for n in (CIFAR10.name, CIFAR10.base))
    if jpeg and not standard:
        return {"ResNet-8 on CIFAR-10 (JPEG)": {"model": "resnet8", "data": "cifar10_jpeg"}}
    return {"ResNet-8 on CIFAR-10": {"model": "resnet8", "data": "cifar10"}}


def varied(
    tasks: Mapping, attacks: Mapping, methods: Mapping, variants: Mapping, seeds: list[int]
) -> dict:
    """Return the axes of a grid of the profiles digits and cifar, with the attacks and nobody.

    Examples
    --------
    >>> list(varied(RESNET, {}, VANILLA, of_batch(180), [0]))
    ['task', 'attack', 'pipeline', 'variant', 'seed']
    """
    return {
        "task": tasks,
        "attack": {**attacks, **NOBODY},
        "pipeline": methods,
        "variant": variants,
        "seed": seeds,
    }


def axes(tasks: Mapping, attack: Mapping, methods: Mapping, seeds: int, first: int = 0) -> dict:
    """Return the axes of a training study: task, the attack and nobody, pipeline, seed.

    Examples
    --------
    >>> {name: len(axis) for name, axis in axes(PAPER, {"reverse": {}}, SIGN, 3).items()}
    {'task': 2, 'attack': 2, 'pipeline': 2, 'seed': 3}
    """
    attacks = {**attack, **NOBODY}
    seed = list(range(first, first + seeds))
    return {"task": tasks, "attack": attacks, "pipeline": methods, "seed": seed}


def paper_axes(attack: Mapping, methods: Mapping) -> dict:
    """Return the axes of the profile paper, each method with the paper's schedules."""
    (name,) = attack
    return axes(PAPER, attack, scheduled(methods, name), seeds=3)


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
    count = files(fields)
    rule = {"median": 4e-5, "multi_krum": 1.7e-4, "bulyan": 2e-4}.get(fields["outer"], 0.0)
    model = {"softmax": 7e-5, "mlp": 1.2e-4, "cnn": 5e-4}.get(fields["model"], 5e-4)
    image = {"lenet5": 8e-5, "resnet8": 2e-3, "resnet20": 6e-3, "resnet18": 3e-2, "vgg13_bn": 1e-2}
    tries = fields["attack_options"].get("evaluations", 0)
    if fields["placement"] == "adaptive":
        tries *= 1 + fields["placement_options"].get("candidates", 4)
    images = fields["batch"] * image.get(fields["model"], 0.0)
    parameters = SIZES.get(fields["model"], {"parameters": 0})["parameters"]
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
