"""Panels of the training studies' figures; each draws one task from a stored dataset."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detox_sim.sweeps.intervals import student_t
from studies.style import DETOX, VANILLA
from studies.training.comparisons import (
    equal_batch,
    in_pairs,
    mean_ratio,
    pairs_in,
    price,
    reference_in,
    speed_up,
    speed_up_ends,
    tasks_in,
)

MARKERS = ("o", "s")
STAR: dict = {"ms": 8, "mfc": "none"}
WIDTH = 9.6  # inches


def colour(name: str) -> tuple[float, float, float]:
    """Return the colour of a pipeline: with DETOX or without."""
    return DETOX if name.startswith("D-") else VANILLA


def by_task(dataset: xr.Dataset, height: float, draw: Callable) -> Figure:
    """Draw a block of panels for each task, one below the other.

    Parameters
    ----------
    dataset : xarray.Dataset
    height : float
        Of a block, in inches.
    draw : callable
        (figure, its place in the grid, dataset of one task, start of labels).
    """
    dataset = equal_batch(dataset)
    tasks = tasks_in(dataset)
    figure = Figure(figsize=(WIDTH, height * len(tasks) + 0.4))
    grid = figure.add_gridspec(len(tasks), 1)
    for i, task in enumerate(tasks):
        start = f"{task}\n" if len(tasks) > 1 else ""
        draw(figure, grid[i], dataset.sel(task=task), start)
    return figure


def accuracy_panel(
    ax,
    dataset: xr.Dataset,
    names: Sequence[str],
    reported: Mapping[str, float],
    x: str = "step",
) -> None:
    """Draw the accuracy of some pipelines, the paper's values as stars at the right.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    dataset : xarray.Dataset
        `accuracy` over (pipeline, seed, eval_step): one task, one attack.
    names : sequence of str
        Pipelines; those that are not in the dataset are left out. Two are a pair, alone and with
        DETOX; more get a colour each.
    reported : mapping
        The paper's values, in percent.
    x : {"step", "minutes"}
        Minutes are modelled.
    """
    styles = _styles(names)
    present = [name for name in names if name in dataset.pipeline.values]
    frame = dataset.accuracy.sel(pipeline=present).to_dataframe("accuracy").reset_index()
    seconds = dataset.modelled_round_seconds.max("seed").to_series()
    frame["step"] = frame.eval_step
    frame["minutes"] = frame.eval_step * frame.pipeline.map(seconds) / 60
    frame = frame.dropna(subset=[x, "accuracy"])
    present = [name for name in present if name in set(frame.pipeline)]
    sns.lineplot(
        frame,
        x=x,
        y="accuracy",
        hue="pipeline" if present else None,
        style="pipeline" if present else None,
        hue_order=present,
        style_order=present,
        palette={name: styles[name][0] for name in present} or None,
        markers={name: styles[name][1] for name in present},
        dashes=False,
        markevery=max(1, dataset.eval_step.size // 10),
        errorbar=student_t,
        legend=False,
        ax=ax,
    )
    end = 1.06 * float(dataset.eval_step[-1])
    for name in (name for name in names if name in reported):
        ax.plot(end, reported[name] / 100, "*", mec=styles[name][0], clip_on=False, **STAR)
    label = "step" if x == "step" else "modelled minutes"
    ax.set(xlabel=label, ylabel="", ylim=(0, 1.02))


def _styles(names: Sequence[str]) -> dict[str, tuple]:
    if len(names) == 2:
        return dict(zip(names, zip((VANILLA, DETOX), MARKERS, strict=True), strict=True))
    colours = sns.color_palette("colorblind", len(names))
    return {name: (colours[i], "oDs^v<>p"[i % 8]) for i, name in enumerate(names)}


def names_legend(figure, names: Sequence[str], present: Sequence[str]) -> None:
    """Explain the colours of `accuracy_panel` with more than two pipelines, of those present."""
    handles = [
        Line2D([], [], color=tint, marker=marker, label=name)
        for name, (tint, marker) in _styles(names).items()
        if name in present
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def point_panel(ax, values: xr.DataArray, label: str, names: Sequence[str]) -> None:
    """Draw a point with its interval over seeds for each pipeline; nothing where it is not finite.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    values : xarray.DataArray
        (pipeline, seed).
    label : str
    names : sequence of str
        Pipelines from the top down.
    """
    for place, name in enumerate(names):
        seeds = values.sel(pipeline=name).values.astype(float)
        seeds = seeds[np.isfinite(seeds)]
        if seeds.size:
            low, high = student_t(seeds)
            marker = MARKERS[name.startswith("D-")]
            ax.plot([low, high], [place, place], color=colour(name), lw=1.2)
            ax.plot(seeds.mean(), place, marker, color=colour(name))
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel(label)
    for tick, name in zip(ax.get_yticklabels(), names, strict=True):
        tick.set_color(colour(name))


def price_panel(ax, dataset: xr.Dataset) -> None:
    """Draw what each defence costs when nobody attacks: final accuracy less the undefended one's.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    dataset : xarray.Dataset
        `accuracy` over (attack, pipeline, seed, eval_step): one task. Without "nobody" there is
        nothing to draw; without an undefended pipeline the accuracies themselves are drawn.
    """
    names = in_pairs(dataset)
    ax.set_title("price of robustness")
    if "nobody" not in dataset.attack.values:
        ax.text(0.5, 0.5, "attack 'nobody' was not run", transform=ax.transAxes, ha="center")
        ax.set_axis_off()
        return
    values, reference = price(dataset), reference_in(dataset)
    label = f"accuracy less {reference}'s,\nnobody attacks"
    if values is None:
        values = dataset.accuracy.isel(eval_step=-1).sel(attack="nobody")
        label = "final accuracy, nobody attacks"
    else:
        ax.axvline(0, color="0.4", lw=0.8)
    point_panel(ax, values, label, names)


def speed_up_panel(ax, dataset: xr.Dataset, reported: Mapping[tuple[str, float], float]) -> None:
    """Draw how many times sooner D- gets to accuracies, in modelled time.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    dataset : xarray.Dataset
        `modelled_seconds_to` over (pipeline, seed, threshold): one task, one attack.
    reported : mapping
        (rule, accuracy) -> the paper's value.
    """
    present = {str(name) for name in dataset.pipeline.values}
    pairs = [pair for pair in pairs_in(dataset) if set(pair) <= present]
    thresholds = [float(threshold) for threshold in dataset.threshold.values]
    colours = sns.color_palette("viridis", len(thresholds))
    width = 0.8 / len(thresholds)
    known = [
        (speed_up(dataset, *pair).values, speed_up_ends(dataset, *pair).values) for pair in pairs
    ]
    for k, threshold in enumerate(thresholds):
        ax.bar([0], [np.nan], color=colours[k], label=f"{threshold:.0%}")
        for i, (slow, fast) in enumerate(pairs):
            place = i + width * (k - (len(thresholds) - 1) / 2)
            ratios, ends = known[i]
            who = _who(dataset, slow, fast, threshold)
            _bar(ax, place, 0.9 * width, ratios[k], ends[:, k], colours[k], who)
            if (slow, threshold) in reported:
                ax.plot(place, reported[slow, threshold], "*", mec="0.2", **STAR)
    ax.axhline(1, color="0.4", lw=0.8)
    ax.set_xticks(range(len(pairs)), [slow for slow, _ in pairs])
    ax.set(ylabel="modelled time alone / with DETOX", title="speed-up to an accuracy")
    ax.set_xlim(-0.5, max(len(pairs), 1) - 0.5)
    ax.set_ylim(bottom=0)
    ax.legend(title="accuracy", loc="upper left", bbox_to_anchor=(1, 1))
    if not pairs:
        ax.text(0.5, 0.5, "no pair in the data", transform=ax.transAxes, ha="center")


def _bar(ax, place: float, width: float, seeds, ends, colour, who: str) -> None:
    """Draw the geometric mean ratio when every seed has one, or say who did not get there."""
    if np.isfinite(seeds).all():
        centre, *limits = mean_ratio(seeds, ends)
        ax.bar(place, centre, width, color=colour)
        if np.isfinite(limits).all():
            ax.plot([place, place], limits, color="0.2", lw=1)
    else:
        ax.text(place, 0.06, who, rotation=90, ha="center", va="bottom", fontsize=6, color="0.3")


def _who(dataset: xr.Dataset, slow: str, fast: str, threshold: float) -> str:
    reached = dataset.modelled_seconds_to.sel(threshold=threshold).notnull().sum("seed")
    counts = [f"{int(reached.sel(pipeline=name))}/{dataset.seed.size}" for name in (slow, fast)]
    return f"alone {counts[0]}, D- {counts[1]}"


def minutes_panel(ax, dataset: xr.Dataset, names: Sequence[str]) -> None:
    """Draw the modelled minutes to each accuracy, or say how many seeds get there if not all do."""
    colours = sns.color_palette("viridis", dataset.threshold.size)
    count = dataset.threshold.size
    for k, threshold in enumerate(dataset.threshold.values):
        marker = "oD^sv<>p"[k % 8]
        minutes = dataset.modelled_seconds_to.sel(threshold=threshold) / 60
        for place, name in enumerate(names):
            seeds = minutes.sel(pipeline=name).values
            where = place + 0.6 / count * (k - (count - 1) / 2)
            if np.isfinite(seeds).all():
                low, high = student_t(seeds)
                ax.plot([low, high], [where, where], color=colours[k], lw=1)
                ax.plot(seeds.mean(), where, marker, color=colours[k])
            else:
                who = f"{threshold:.0%}: {np.isfinite(seeds).sum()}/{seeds.size} seeds"
                beside = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 6}
                ax.text(0.01, where, who, color="0.3", **beside)
        ax.plot([], [], marker, color=colours[k], label=f"{threshold:.0%}")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.legend(title="accuracy", loc="upper left", bbox_to_anchor=(1, 1))
    ax.set_xlim(left=0)
    ax.set_xlabel("modelled minutes to the accuracy")
    if not dataset.modelled_seconds_to.notnull().all("seed").any():
        ax.set_xticks([])
