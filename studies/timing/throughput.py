"""Speed of training beside plain torch and ByzFL's simulator, and of several files at once."""

import importlib.metadata
from collections.abc import Sequence

import numpy as np
import xarray as xr

from detox_sim import models
from detox_sim.catalogue import check_integer, check_known
from detox_sim.data import load
from detox_sim.models import one_thread
from detox_sim.primitives import use_threads
from studies import Study
from studies.timing.beside import simulators, torch_rounds
from studies.timing.beside.simulators import MIXERS, PARTS, RULES
from studies.timing.beside.torch_rounds import BATCHING, CLOCKS, FILES, FORMATS, TIMED
from studies.timing.throughput_results import SIMULATORS, figure, finding

FIELDS = (
    "model",
    "shape",
    "rule",
    "mixers",
    "images",
    "rounds",
    "sizes",
    "turns",
    "steps",
    "seed",
    "data",
    "byzfl",
)
GREY, COLOUR, SMALL = [1, 28, 28], [3, 32, 32], [1, 8, 8]  # shapes of an image


def _beside_torch(model: str, shape: list[int], images: int, rounds: int) -> dict:
    return {"model": model, "shape": shape, "images": images, "rounds": rounds}


def _beside_byzfl(model: str, rule: str, steps: int, mixers: Sequence[str] = ()) -> dict:
    sizes = {"shape": GREY, "images": simulators.IMAGES, "rounds": 0, "steps": steps}
    return {"model": model, "rule": rule, "mixers": list(mixers)} | sizes


_RULES = {
    "trimmed_mean": "trimmed mean",
    "multi_krum": "Multi-Krum",
    "geometric_median": "geometric median",
}
_BASE = {"rule": "", "mixers": [], "steps": 0, "seed": 0}
PROFILES: dict[str, tuple[dict, dict]] = {
    "smoke": (
        _BASE | {"turns": 1, "sizes": [2, 4], "data": "noise"},
        {
            "setting": {
                "softmax": _beside_torch("softmax", GREY, 4, 2),
                "lenet5": _beside_torch("lenet5", GREY, 4, 1),
                "ByzFL's logistic, trimmed mean": _beside_byzfl("logistic", "trimmed_mean", 1),
            }
        },
    ),
    "laptop": (
        _BASE | {"turns": 3, "sizes": [4, 32, 96], "data": "fashion_mnist"},
        {
            "setting": {
                "softmax": _beside_torch("softmax", GREY, 96, 15),
                "mlp": _beside_torch("mlp", GREY, 96, 15),
                "lenet5": _beside_torch("lenet5", GREY, 96, 3),
                "resnet8, 32 x 32": _beside_torch("resnet8", COLOUR, 32, 1),
                "resnet8, 32 x 32, 8 images a file": _beside_torch("resnet8", COLOUR, 8, 4),
                "resnet8, 8 x 8": _beside_torch("resnet8", SMALL, 12, 5),
            }
            | {
                ", ".join([f"ByzFL's {model}", " + ".join([*mixers, title])]): _beside_byzfl(
                    model, rule, steps, mixers
                )
                for model, steps in (("CNN", 30), ("MLP", 200), ("logistic", 200))
                for rule, title in _RULES.items()
                for mixers in ([], ["nnm"])
                if model == "MLP" or not mixers
            }
        },
    ),
}


def prepare(fields: dict) -> dict:
    """Return the fields, checked, or raise ValueError.

    `byzfl` is its installed version, so that cells are measured anew when it changes.
    """
    check_known("field of throughput", fields, FIELDS)
    rule, mixers = fields["rule"], fields["mixers"]
    check_known("rule", [rule] if rule else [], RULES)
    if not isinstance(mixers, list):
        raise ValueError(f"mixers must be a list of names, such as ['nnm'], got {mixers!r}")
    check_known("mixer", mixers, MIXERS)
    for name in ("images", "rounds", "turns", "steps", "seed"):
        check_integer(name, fields[name], 0 if name in ("rounds", "steps", "seed") else 1)
    if not isinstance(fields["shape"], list) or len(fields["shape"]) != 3:
        raise ValueError(f"shape must be [channels, height, width], got {fields['shape']!r}")
    for side in fields["shape"]:
        check_integer("shape", side, 1)
    if not isinstance(fields["sizes"], list) or not fields["sizes"]:
        raise ValueError(f"sizes must be a list of images a file, got {fields['sizes']!r}")
    for size in fields["sizes"]:
        check_integer("sizes", size, 1)
    check_known("data", [fields["data"]], ("noise", "fashion_mnist"))
    check_known("model", [fields["model"]], simulators.MODELS if rule else models.__all__)
    check_integer("steps" if rule else "rounds", fields["steps" if rule else "rounds"], 1)
    return fields | {"byzfl": _version("byzfl") if rule else ""}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


# Seconds of the gradient of an image on one thread, roughly.
_SECONDS = {
    "softmax": 5e-6,
    "mlp": 1e-5,
    "lenet5": 1.5e-4,
    "logistic": 2e-5,
    "MLP": 4e-5,
    "CNN": 5e-4,
}


def cost(fields: dict) -> tuple[float, float]:
    """Return (seconds, bytes) of a cell, roughly."""
    image = _SECONDS.get(fields["model"], 1.5e-3)
    if fields["rule"]:
        images = simulators.WORKERS * fields["images"]
        seconds = 4 * image * fields["turns"] * (fields["steps"] * images + 20_000)
        return 1 + (seconds if fields["byzfl"] else 0), 2e9
    images = FILES * (4 * fields["rounds"] * fields["images"] + 3 * sum(fields["sizes"]))
    return 2 + image * (fields["turns"] + 1) * images, 2e9


def run(fields: dict) -> xr.Dataset:
    """Return times of one model, or of one experiment beside ByzFL; NaN where not measured."""
    empty = {"turn": fields["turns"], "images": len(fields["sizes"])}
    labels = {
        "clock": CLOCKS,
        "timed": TIMED,
        "batching": BATCHING,
        "format": tuple(FORMATS),
        "simulator": SIMULATORS,
        "part": PARTS,
    }
    sizes = empty | {name: len(values) for name, values in labels.items()}
    variables = {
        name: (dims, np.full([sizes[dim] for dim in dims], np.nan))
        for name, dims in _VARIABLES.items()
    }
    measure = _measure_simulators if fields["rule"] else torch_rounds.measure
    with one_thread(), use_threads(1), np.errstate(over="ignore", invalid="ignore"):
        for name, values in measure(fields).items():
            variables[name][1][...] = values
    coordinates = {name: np.array(values, dtype=object) for name, values in labels.items()}
    return xr.Dataset(variables, coords=coordinates | {"images": fields["sizes"]})


_VARIABLES: dict[str, tuple[str, ...]] = {
    "images_a_turn": (),
    "seconds": ("clock", "timed", "turn"),
    "deviation": (),
    "movement": (),
    "batching_seconds": ("batching", "images", "turn"),
    "same_bits": ("batching", "images"),
    "batching_gap": ("images",),
    "at_once_in_training": ("images",),
    "format_seconds": ("format", "turn"),
    "format_gap": ("format",),
    "simulator_seconds": ("simulator", "part", "turn"),  # by the clock
    "simulator_processor": ("simulator", "turn"),
    "accuracy": ("simulator", "turn"),
    "steps": (),
    "real_images": (),
}


def _measure_simulators(fields: dict) -> dict:
    """Run the experiment in both simulators, in turns, each turn with another seed."""
    try:
        import byzfl  # noqa: F401
    except ImportError:
        return {}
    data, real = _data(fields["data"])
    seconds = np.zeros((len(SIMULATORS), len(PARTS), fields["turns"]))
    accuracy, processor = np.zeros((2, len(SIMULATORS), fields["turns"]))
    for turn in range(fields["turns"]):
        trial = simulators.experiment(
            fields["model"],
            fields["rule"],
            fields["steps"],
            fields["seed"] + turn,
            mixers=fields["mixers"],
            **data,
        )
        sides = list(enumerate((simulators.ours, simulators.byzfl)))
        for i, simulate in sides[:: -1 if turn % 2 else 1]:  # which is first changes
            seconds[i, :, turn], processor[i, turn], accuracy[i, turn] = simulate(trial)
    return {
        "simulator_seconds": seconds,
        "simulator_processor": processor,
        "accuracy": accuracy,
        "steps": float(fields["steps"]),
        "real_images": float(real),
    }


def _data(name: str) -> tuple[dict, bool]:
    """Return the fields of the Trial for Fashion-MNIST if it can be had, else for noise."""
    try:
        if name == "fashion_mnist":
            return {"data": name}, bool(load(name).classes)
    except ValueError:
        pass
    return {
        "data": "studies.timing.beside.simulators:noise",
        "data_options": {"shape": [1, 28, 28]},
    }, False


STUDY = Study(
    title="Speed of training",
    claim=(
        "The paper says nothing on the speed of its simulation (nothing reported): its times "
        "are those of a real cluster. The targets here are this project's own."
    ),
    definitions=[
        "one thread on each side; seconds are the processor time of the process, which other "
        "programs disturb less than the clock (kept too); both sides take turns; median of "
        "turns, and range",
        "plain torch: forward and backward per file of the same images, gradients accumulated, one "
        "step of SGD with momentum; its images are float32 and scaled beforehand",
        "ours: a round of D-Mean without an attack: images drawn and scaled, every file's "
        "gradient, vote over 45 workers, mean, update; judging: errors, cosine and weights of the "
        "history; train: the whole function per round, with set-up, warm-up round and two "
        "evaluations",
        "images are noise where accuracy is not compared; without Fashion-MNIST they are noise "
        "beside ByzFL, too, and the page shows no accuracy",
        "at once: the gradients of the 15 files of a step in one pass, which keeps them apart; "
        "convolutions in several passes, each of files that have 131,072 pixels or fewer together; "
        "one after the other: a forward and a backward pass for each; bfloat16 by autocast",
        "ByzFL: 45 workers, 5 Byzantine, ALIE with z = 1 (sample deviation), 32 images a worker, "
        "its CNN, MLP and logistic model, SGD with momentum 0.9 at the server, the same "
        "evaluations; geometric median: three steps of Weiszfeld's algorithm, as ByzFL's; nnm: "
        "nearest-neighbour mixing; ByzFL computes the 40 honest gradients from 40 parts of the "
        "data, here all 45 are computed, and every round is judged; the split of its time, and "
        "rounds alone (gradients, attack, aggregation, update), are by the clock",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    finding=finding,
    scale="small models, one thread",
    version=7,
    exclusive=True,
    by_name=("laptop",),
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
