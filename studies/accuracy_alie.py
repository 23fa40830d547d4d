"""Test accuracy by step under "a little is enough"."""

import sys

import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from studies import pipelines, run_alone
from studies.pipelines import cost, prepare, run
from studies.style import DETOX, VANILLA, student_t

__all__ = ["cost", "figure", "prepare", "run"]

TITLE = "Accuracy under ALIE"
CLAIM = (
    "Table 1 of the paper: under ALIE, ResNet-18 on CIFAR-10 reaches 43.7 % with the median "
    "and 86.21 % with D-Median, 45.24 against 80.3 with Multi-Krum, 42.56 against 76.8 with "
    "Bulyan (reported; quoted from memory)."
)
DEFINITIONS = [
    *pipelines.DEFINITIONS,
    "ALIE: z = 1, sign plus, population deviation over the distinct honest gradients",
]
FIELDS = pipelines.FIELDS
REPORTED = {
    "Median": 43.7,
    "D-Median": 86.21,
    "Multi-Krum": 45.24,
    "D-Multi-Krum": 80.3,
    "Bulyan": 42.56,
    "D-Bulyan": 76.8,
}
VERSION = pipelines.VERSION
SCALE = pipelines.SCALE

MARKERS = ("o", "s")
STAR: dict = {"ms": 8, "mfc": "none"}

_BASE = {"attack": "alie", "attack_options": {"z": 1.0}, "batch": 90, "rate": 0.2}
_PIPELINES = pipelines.VANILLA | pipelines.DETOX
PROFILES = {
    "smoke": (_BASE | {"steps": 20, "evaluate_every": 5}, {"pipeline": _PIPELINES, "seed": [0, 1]}),
    "laptop": (_BASE | {"steps": 200}, {"pipeline": _PIPELINES, "seed": list(range(8))}),
}


def figure(dataset: xr.Dataset) -> Figure:
    """Draw accuracy by step, a panel for each rule with and without DETOX."""
    pairs = pipelines.pairs_in(dataset)
    result = Figure(figsize=(2.3 * len(pairs) + 0.4, 3.0))
    axes = result.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
    for ax, pair in zip(axes, pairs, strict=True):
        accuracy_panel(ax, dataset, pair, REPORTED)
    axes[0].set_ylabel("test accuracy")
    accuracy_legend(result)
    return result


def accuracy_panel(
    ax, dataset: xr.Dataset, pair: tuple[str, str], reported: dict[str, float]
) -> None:
    """Draw one vanilla rule and its D- version, the paper's values as stars at the right."""
    names = [name for name in pair if name in dataset.pipeline.values]
    frame = dataset.accuracy.sel(pipeline=names).to_dataframe().reset_index()
    colours = dict(zip(pair, (VANILLA, DETOX), strict=True))
    sns.lineplot(
        frame,
        x="eval_step",
        y="accuracy",
        hue="pipeline",
        style="pipeline",
        palette=colours,
        markers=dict(zip(pair, MARKERS, strict=True)),
        dashes=False,
        markevery=max(1, dataset.eval_step.size // 10),
        errorbar=student_t,
        legend=False,
        ax=ax,
    )
    end = 1.06 * float(dataset.eval_step[-1])
    for name in pair:
        if name not in reported:
            continue
        ax.plot(end, reported[name] / 100, "*", mec=colours[name], clip_on=False, **STAR)
    ax.set(xlabel="step", ylabel="", ylim=(0, 1.02), title=pair[0])


def accuracy_legend(figure) -> None:
    """Explain the panels once, above them."""
    handles = [
        Line2D([], [], color=VANILLA, marker=MARKERS[0], label="rule alone"),
        Line2D([], [], color=DETOX, marker=MARKERS[1], label="with DETOX"),
        Line2D([], [], color="0.3", marker="*", ls="", label="reported, paper's scale", **STAR),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)


if __name__ == "__main__":
    sys.exit(run_alone("accuracy_alie"))
