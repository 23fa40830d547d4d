"""The learning tasks of the training studies, their settings, and the axes of a grid."""

from collections.abc import Mapping

from detox_sim.data import downloads, folders
from detox_sim.data.cifar import CIFAR10

DIGITS = {"MLP on digits": {"model": "mlp", "data": "digits"}}
RESNET = {"ResNet-8 on digits": {"model": "resnet8", "data": "digits"}}
PAPER = {
    "ResNet-18 on CIFAR-10": {"model": "resnet18", "data": "cifar10"},
    "VGG13-BN on CIFAR-100": {"model": "vgg13_bn", "data": "cifar100"},
}
NOBODY = {"nobody": {"attack": "none"}}
LARGE = {"batch": 1440, "steps": 3000, "evaluate_every": 50, "momentum": 0.9}

# Settings in which an attack takes rules alone from high accuracy to chance on two CPU cores: what
# decides is the spread of a file's gradient over the norm of the mean, which few images a worker
# make large. With three times the batch a rule alone computes as many images as with DETOX.
# On CIFAR-10 a step with channels last takes a sixth less time.
SCHEDULE = {"workers": 45, "byzantine": 5, "rate": 0.1, "decay": 0.98, "momentum": 0.9}
ON_DIGITS = SCHEDULE | {"batch": 180, "steps": 80, "evaluate_every": 4}
ON_CIFAR = SCHEDULE | {"batch": 360, "steps": 400, "evaluate_every": 25, "channels_last": True}


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
    >>> list(varied(RESNET, {}, {}, of_batch(180), [0]))
    ['task', 'attack', 'pipeline', 'variant', 'seed']
    """
    return {
        "task": tasks,
        "attack": {**attacks, **NOBODY},
        "pipeline": methods,
        "variant": variants,
        "seed": seeds,
    }


def digits_grids(attack: Mapping, alone: Mapping, detox: Mapping, seeds: int) -> list:
    """Return grids with ResNet-8 on digits: rules alone, with DETOX, and alone at equal compute.

    Examples
    --------
    >>> batch, compute = digits_grids({"reverse": {}}, {"Mean": {}}, {"D-Mean": {}}, 5)
    >>> list(batch[1]["pipeline"]), list(compute[1]["variant"])
    (['Mean', 'D-Mean'], ['equal compute'])
    """
    variants, numbers = of_batch(180), list(range(seeds))
    return [
        (ON_DIGITS, varied(RESNET, attack, methods, {name: variants[name]}, numbers))
        for methods, name in (({**alone, **detox}, "equal batch"), (alone, "equal compute"))
    ]


def axes(tasks: Mapping, attack: Mapping, methods: Mapping, seeds: int, first: int = 0) -> dict:
    """Return the axes of a training study: task, the attack and nobody, pipeline, seed.

    Examples
    --------
    >>> {name: len(axis) for name, axis in axes(PAPER, {"reverse": {}}, {"Mean": {}}, 3).items()}
    {'task': 2, 'attack': 2, 'pipeline': 1, 'seed': 3}
    """
    attacks = {**attack, **NOBODY}
    seed = list(range(first, first + seeds))
    return {"task": tasks, "attack": attacks, "pipeline": methods, "seed": seed}
