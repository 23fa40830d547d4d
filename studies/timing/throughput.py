"""Training beside plain torch, the ways to compute gradients, and ByzFL's simulator."""

import importlib.metadata
from collections.abc import Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import models
from detox_sim.catalogue import check_integer, check_known
from detox_sim.data import load
from detox_sim.models import one_thread
from detox_sim.primitives import use_threads
from studies import Study
from studies.style import DETOX, THEORY, VANILLA
from studies.timing import beside_byzfl as simulators
from studies.timing import beside_torch
from studies.timing.beside_byzfl import MODELS as SIMULATED
from studies.timing.beside_byzfl import PARTS, RULES
from studies.timing.beside_torch import CHOICES, CLOCKS, CONTESTANTS, FILES, FORMATS

SIMULATORS = ("ours", "ByzFL")
LEAST = 0.85  # of plain torch's speed: the target
FASTER = 5.0  # than ByzFL: the target
FIELDS = ("model", "rule", "images", "rounds", "sizes", "turns", "steps", "seed", "data", "byzfl")


def _beside_torch(model: str, images: int, rounds: int) -> dict:
    return {"model": model, "rule": "", "images": images, "rounds": rounds}


def _beside_byzfl(model: str, rule: str, steps: int) -> dict:
    sizes = {"images": simulators.IMAGES, "rounds": 0, "steps": steps}
    return {"model": model, "rule": rule} | sizes


PROFILES: dict[str, tuple[dict, dict]] = {
    "smoke": (
        {"turns": 2, "steps": 0, "seed": 0, "sizes": [2, 4], "data": "noise"},
        {
            "setting": {
                "softmax": _beside_torch("softmax", 4, 2),
                "lenet5": _beside_torch("lenet5", 4, 1),
                "resnet8": _beside_torch("resnet8", 2, 1),
                "logistic, trimmed mean": _beside_byzfl("logistic", "trimmed_mean", 1),
            }
        },
    ),
    "laptop": (
        {"turns": 5, "steps": 0, "seed": 0, "sizes": [4, 32, 96], "data": "fashion_mnist"},
        {
            "setting": {
                "softmax": _beside_torch("softmax", 96, 30),
                "mlp": _beside_torch("mlp", 96, 30),
                "lenet5": _beside_torch("lenet5", 96, 6),
                "resnet8": _beside_torch("resnet8", 96, 1),
                "CNN, trimmed mean": _beside_byzfl("CNN", "trimmed_mean", 10),
                "MLP, trimmed mean": _beside_byzfl("MLP", "trimmed_mean", 200),
                "MLP, Multi-Krum": _beside_byzfl("MLP", "multi_krum", 200),
                "logistic, trimmed mean": _beside_byzfl("logistic", "trimmed_mean", 200),
                "logistic, Multi-Krum": _beside_byzfl("logistic", "multi_krum", 200),
            }
        },
    ),
}


def prepare(fields: dict) -> dict:
    """Check the fields; `byzfl` becomes the installed version, so that a newcomer is measured."""
    check_known("field of throughput", fields, FIELDS)
    for name in ("images", "rounds", "turns", "steps", "seed"):
        check_integer(name, fields[name], 0 if name in ("rounds", "steps", "seed") else 1)
    if not isinstance(fields["sizes"], list) or not fields["sizes"]:
        raise ValueError(f"sizes must be a list of images a file, got {fields['sizes']!r}")
    for size in fields["sizes"]:
        check_integer("sizes", size, 1)
    rule = fields["rule"]
    if not rule:
        check_known("model", [fields["model"]], models.__all__)
        check_integer("rounds", fields["rounds"], 1)
        return fields | {"byzfl": ""}
    check_integer("steps", fields["steps"], 1)
    check_known("rule", [rule], RULES)
    check_known("model", [fields["model"]], SIMULATED)
    check_known("data", [fields["data"]], ("noise", "fashion_mnist"))
    return fields | {"byzfl": _version("byzfl")}


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
    image = _SECONDS.get(fields["model"], 1.5e-3)
    if fields["rule"]:
        nodes = simulators.NODES * fields["images"]
        seconds = 4 * image * fields["turns"] * (fields["steps"] * nodes + 20_000)
        return 1 + (seconds if fields["byzfl"] else 0), 2e9
    images = FILES * (4 * fields["rounds"] * fields["images"] + 3 * sum(fields["sizes"]))
    return 2 + image * (fields["turns"] + 1) * images, 2e9


def run(fields: dict) -> xr.Dataset:
    """Measure one model, or one experiment beside ByzFL; what was not measured is NaN."""
    empty = {"turn": fields["turns"], "images": len(fields["sizes"])}
    labels = {
        "clock": CLOCKS,
        "contestant": CONTESTANTS,
        "choice": CHOICES,
        "format": tuple(FORMATS),
        "simulator": SIMULATORS,
        "part": PARTS,
    }
    sizes = empty | {name: len(values) for name, values in labels.items()}
    variables = {
        name: (dims, np.full([sizes[dim] for dim in dims], np.nan))
        for name, dims in _VARIABLES.items()
    }
    measure = _measure_simulators if fields["rule"] else beside_torch.measure
    with one_thread(), use_threads(1), np.errstate(over="ignore", invalid="ignore"):
        for name, values in measure(fields).items():
            variables[name][1][...] = values
    coordinates = {name: np.array(values, dtype=object) for name, values in labels.items()}
    return xr.Dataset(variables, coords=coordinates | {"images": fields["sizes"]})


_VARIABLES: dict[str, tuple[str, ...]] = {
    "images_a_turn": (),
    "seconds": ("clock", "contestant", "turn"),
    "deviation": (),
    "movement": (),
    "choice_seconds": ("choice", "images", "turn"),
    "same_bits": ("choice", "images"),
    "choice_gap": ("images",),
    "format_seconds": ("format", "turn"),
    "format_gap": ("format",),
    "simulator_seconds": ("simulator", "part", "turn"),  # by the clock
    "simulator_processor": ("simulator", "turn"),
    "accuracy": ("simulator", "turn"),
    "steps": (),
    "real_images": (),
}


def _measure_simulators(fields: dict) -> dict:
    """Let both simulators run the experiment in turns, each turn with another seed."""
    try:
        import byzfl  # noqa: F401
    except ImportError:
        return {}
    data, real = _data(fields["data"])
    seconds = np.zeros((len(SIMULATORS), len(PARTS), fields["turns"]))
    accuracy, processor = np.zeros((2, len(SIMULATORS), fields["turns"]))
    for turn in range(fields["turns"]):
        trial = simulators.experiment(
            fields["model"], fields["rule"], fields["steps"], fields["seed"] + turn, **data
        )
        for i, simulate in enumerate((simulators.ours, simulators.byzfl)):
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
        "data": "studies.timing.beside_byzfl:noise",
        "data_options": {"shape": [1, 28, 28]},
    }, False


# --- What it says ---------------------------------------------------------------------------------

BARS = {
    "round": ("gradients", "filtering"),
    "with judging": ("gradients", "filtering", "judging"),
    "whole train": ("train",),
}


def speeds(dataset: xr.Dataset) -> xr.DataArray:
    """Return speeds relative to plain torch (..., clock, bar, end): least, median, most of turns.

    Examples
    --------
    >>> seconds = np.array([[[4.0], [3.0], [1.0], [1.0], [8.0]]])
    >>> dims = {"clock": ["processor"], "contestant": list(CONTESTANTS), "turn": [0]}
    >>> found = speeds(xr.Dataset({"seconds": (tuple(dims), seconds)}, coords=dims))
    >>> found.sel(end="median").values.tolist()
    [[1.0, 0.8, 0.5]]
    """
    plain = dataset.seconds.sel(contestant="plain torch", drop=True)
    ratios = [
        plain / dataset.seconds.sel(contestant=list(parts)).sum("contestant", skipna=False)
        for parts in BARS.values()
    ]
    return _ends(xr.concat(ratios, xr.Variable("bar", list(BARS))).transpose(..., "bar", "turn"))


def faster(dataset: xr.Dataset) -> xr.DataArray:
    """Return how many times faster than ByzFL (..., clock, end): least, median, most of turns.

    Whole runs by both clocks, and by that on the wall "rounds alone": the parts both must do.
    """
    wall = dataset.simulator_seconds
    rounds = wall.sel(part=list(PARTS[:2])).sum("part", skipna=False)
    taken = [dataset.simulator_processor, wall.sum("part", skipna=False), rounds]
    taken = xr.concat(taken, xr.Variable("clock", [*CLOCKS, "rounds alone"]))
    ratio = taken.sel(simulator="ByzFL", drop=True) / taken.sel(simulator="ours", drop=True)
    return _ends(ratio.transpose(..., "clock", "turn"))


def _ends(values: xr.DataArray) -> xr.DataArray:
    ends = [values.min("turn"), values.median("turn", skipna=False), values.max("turn")]
    found = xr.concat(ends, xr.Variable("end", ["least", "median", "most"]), coords="minimal")
    return found.transpose(..., "end")


def verdict(ends: Sequence[float], target: float) -> str:
    """Say whether a speed that must be `target` or more is, over all turns.

    Examples
    --------
    >>> [verdict(ends, 0.85) for ends in ((0.9, 1.0, 1.1), (0.8, 0.9, 1.0), (0.5, 0.6, 0.7))]
    ['met', 'met by the median, not by every turn', 'missed']
    """
    least, median, most = ends
    if not np.isfinite(ends).all():
        return "not measured"
    if least >= target:
        return "met"
    if median >= target:
        return "met by the median, not by every turn"
    return "missed" if most < target else "missed by the median, not by every turn"


def ranged(ends: xr.DataArray) -> str:
    """Return the median and, in brackets, the range.

    Examples
    --------
    >>> ranged(xr.DataArray([0.5, 1.0, 2.0]))
    '1.00 (0.50 to 2.00)'
    """
    least, median, most = ends.values
    return f"{median:.2f} ({least:.2f} to {most:.2f})"


def figure(dataset: xr.Dataset) -> Figure:
    """Draw speed beside plain torch, the ways to compute gradients, and time beside ByzFL."""
    result = Figure(figsize=(11.0, 3.9))
    left, middle, right = result.subplots(1, 3, width_ratios=(1.2, 1, 1.1))
    _panel_of_speeds(left, dataset)
    _panel_of_choices(middle, dataset)
    _panel_of_simulators(right, dataset)
    return result


def measured(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """Return the settings in which a variable was measured."""
    values = dataset[name]
    kept = values.notnull().any([dim for dim in values.dims if dim != "setting"])
    return dataset.isel(setting=np.flatnonzero(kept.values))


def _panel_of_speeds(ax, dataset: xr.Dataset) -> None:
    known = measured(dataset, "seconds")
    found = speeds(known).sel(clock="processor").astype(float)
    places = np.arange(known.sizes["setting"])
    colours = (DETOX, sns.light_palette(DETOX, 5)[3], sns.light_palette(DETOX, 5)[2])
    for k, (bar, colour) in enumerate(zip(BARS, colours, strict=True)):
        least, median, most = found.sel(bar=bar).values.reshape(-1, 3).T
        at = places + 0.27 * (k - 1)
        ax.bar(at, median, 0.25, color=colour, label=bar)
        ax.vlines(at, least, most, color="0.2", lw=1.2)
    ax.axhline(1, color="0.4", lw=1)
    ax.axhline(LEAST, color=VANILLA, lw=1.2, ls="--", label="target of a round: 0.85")
    ax.set_xticks(places, known.setting.values)
    ax.set(ylabel="speed / that of plain torch", title="Training, one thread")
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, -0.36))
    ax.grid(axis="x", visible=False)


def _panel_of_choices(ax, dataset: xr.Dataset) -> None:
    known = measured(dataset, "choice_seconds")
    loop, vmap = (known.choice_seconds.sel(choice=choice) for choice in CHOICES)
    found, x = _ends(loop / vmap).astype(float), np.arange(known.sizes["images"])
    colours = sns.color_palette("colorblind", max(1, known.sizes["setting"]))
    for setting, colour, marker in zip(known.setting.values, colours, "osD^vP", strict=False):
        least, median, most = found.sel(setting=setting).values.reshape(-1, 3).T
        ax.plot(x, median, marker=marker, color=colour, label=setting)
        ax.vlines(x, least, most, color=colour, lw=1)
    ax.axhline(1, color="0.4", lw=1)
    ax.set_xticks(x, [f"{size:g}" for size in known.images.values])
    title = "vmap against a loop"
    if np.isnan(dataset.choice_seconds.values).any():
        title += " (batch norm: loop only)"
    ax.set(xlabel="images a file", ylabel="time of a loop / of vmap", title=title)
    ax.set_ylim(bottom=0)
    if len(known.setting):
        ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, -0.36))


def _panel_of_simulators(ax, dataset: xr.Dataset) -> None:
    known = measured(dataset, "simulator_seconds")
    ax.set_title("The same experiment beside ByzFL")
    if not known.sizes["setting"]:
        ax.text(0.5, 0.5, "left out: ByzFL was not\ninstalled where this ran", ha="center",
                va="center", transform=ax.transAxes, color="0.35")  # fmt: skip
        ax.set_axis_off()
        return
    gains = faster(known).sel(clock="processor").astype(float)
    seconds = known.simulator_seconds.median("turn")
    seconds = seconds / seconds.sel(simulator="ByzFL").sum("part")
    colours = (DETOX, VANILLA, THEORY)
    for i, setting in enumerate(known.setting.values):
        for simulator, shift in zip(SIMULATORS, (-0.2, 0.2), strict=True):
            bottom = 0.0
            for part, colour in zip(PARTS, colours, strict=True):
                height = float(seconds.sel(setting=setting, simulator=simulator, part=part))
                ax.bar(i + shift, height, 0.36, bottom=bottom, color=colour, lw=0,
                       label=part if not i and shift < 0 else None,
                       alpha=1 if simulator == "ours" else 0.55)  # fmt: skip
                bottom += height
        text = f"{float(gains.sel(setting=setting, end='median')):.1f}x"
        top = float(seconds.sel(setting=setting, simulator="ours").sum("part"))
        ax.annotate(text, (i - 0.2, top + 0.02), ha="center", fontsize=8)
    names = ["\n".join(str(setting).replace(",", "").split()) for setting in known.setting.values]
    ax.set_xticks(range(len(names)), names, fontsize=7)
    ax.set(ylabel="time / ByzFL's (pale)")
    ax.margins(y=0.1)
    ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, -0.36))
    ax.grid(axis="x", visible=False)


STUDY = Study(
    title="Speed of training",
    claim=(
        "The paper says nothing on the speed of its simulation (nothing reported): its times "
        "are those of a real cluster. The targets here are this project's own."
    ),
    definitions=[
        "one thread on each side; seconds are the processor time of the process, which other "
        "programs disturb less than the clock (kept too); contestants take turns; median of "
        "turns, and range",
        "plain torch: forward and backward per file of the same images, gradients accumulated, one "
        "step of SGD with momentum; its images are float32 and scaled beforehand",
        "ours: a round of D-Mean without an attack: images drawn and scaled, every file's "
        "gradient, vote over 45 nodes, mean, update; judging: errors, cosine and weights of the"
        " history; train: the whole function per round, with set-up, warm-up round and two "
        "evaluations",
        "images are noise where nothing is learnt: speed does not depend on what is seen",
        "vmap over the 15 files of a step against a loop; bfloat16 by autocast",
        "ByzFL: 45 nodes, 5 attackers, ALIE with z = 1 (sample deviation), 32 images a node, "
        "its CNN, MLP and logistic model, SGD with momentum 0.9 at the server, the same "
        "evaluations; ByzFL computes the 40 honest gradients from 40 parts of the data, here "
        "all 45 are computed, and every round is judged; the split of its time, and rounds "
        "alone (gradients, attack, aggregation, update), are by the clock",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    scale="small models, one thread",
    version=2,
    exclusive=True,
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
