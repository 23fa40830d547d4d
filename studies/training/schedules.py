"""The paper's learning rates by pipeline, attack and model."""

from collections.abc import Mapping

from studies.training.pipelines import SIGN
from studies.training.tasks import PAPER, axes

PAPER_MODELS = [str(task["model"]) for task in PAPER.values()]

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


def paper_axes(attack: Mapping, methods: Mapping) -> dict:
    """Return the axes of the profile paper, each method with the paper's schedules."""
    (name,) = attack
    return axes(PAPER, attack, scheduled(methods, name), seeds=3)


def scheduled(methods: Mapping[str, dict], attack: str) -> dict[str, dict]:
    """Return the methods with the paper's schedules under an attack, by model.

    Examples
    --------
    >>> from studies.training.pipelines import VANILLA
    >>> scheduled(VANILLA, "reverse")["Median"]["decay"]
    {'resnet18': 1.0, 'vgg13_bn': 0.995}
    """
    result = {}
    for name, fields in methods.items():
        reported = REPORTED_SCHEDULES.get(name, REPORTED_SCHEDULES["D-Median"])
        rate, decay = ({m: reported[attack, m][i] for m in PAPER_MODELS} for i in (0, 1))
        result[name] = fields | {"rate": rate, "decay": decay}
    return result
