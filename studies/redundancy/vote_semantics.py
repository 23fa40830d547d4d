"""What a vote costs or lets through when honest copies of a gradient are not the same bits."""

import math
from itertools import combinations

import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detox_sim import data, models
from detox_sim.catalogue import bind, check_integer, check_known, check_number
from detox_sim.streams import stream
from studies import Study
from studies.redundancy.noisy_copies import (
    HALVINGS,
    HOLDERS,
    POLICIES,
    RULES,
    SOURCES,
    ballots,
    compute,
    differences,
    errors,
    false_alarms,
    norm,
    policies,
    slack,
    with_liars,
)
from studies.style import student_t

LIARS = {"nobody": 0, "one": 1, "two": 2}  # in each file that has any
PAIRS = list(combinations(range(HOLDERS), 2))

FIELDS = (
    "source", "model", "workers", "byzantine", "batch", "steps", "probes", "rate", "momentum",
    "per_decade", "tolerance", "scale", "seed",
)  # fmt: skip

_BASE = {"workers": 45, "byzantine": 5, "batch": 180, "rate": 0.1, "momentum": 0.9}
_BASE |= {"tolerance": 1e-4, "scale": 100.0}
PROFILES = {
    "smoke": (
        _BASE | {"steps": 2, "probes": 1, "per_decade": 1},
        {"source": list(SOURCES), "model": ["mlp"], "seed": [0]},
    ),
    "laptop": (
        _BASE | {"steps": 60, "probes": 3, "per_decade": 2},
        {"source": list(SOURCES), "model": ["mlp", "cnn"], "seed": [0, 1, 2]},
    ),
}


def prepare(fields: dict) -> dict:
    check_known("field of vote_semantics", fields, FIELDS)
    check_known("noise source", [fields["source"]], SOURCES)
    least = {"workers": HOLDERS, "byzantine": 2, "batch": 1, "steps": 1, "probes": 1}
    for name, smallest in (least | {"per_decade": 1, "seed": 0}).items():
        check_integer(name, fields[name], smallest)
    for name in ("rate", "momentum", "tolerance", "scale"):
        check_number(name, fields[name])
        if not 0 <= fields[name] < 1e6:
            raise ValueError(f"{name} must be a number of 0 or more, got {fields[name]!r}")
    files, rest = divmod(fields["workers"], HOLDERS)
    if rest:
        near = files * HOLDERS
        raise ValueError(
            f"workers must be a multiple of the {HOLDERS} holders of a file, got "
            f"{fields['workers']}; use {near} or {near + HOLDERS}"
        )
    if 2 * fields["byzantine"] >= files:
        raise ValueError(
            f"byzantine must be below half of the {files} votes, which the median withstands, got "
            f"{fields['byzantine']}; use at most {(files - 1) // 2}"
        )
    _check_batch(fields["batch"], files)
    if fields["probes"] > fields["steps"]:
        raise ValueError(
            f"probes must be at most steps = {fields['steps']}, got {fields['probes']}"
        )
    digits = data.digits()
    images, classes = digits.train_images, digits.classes
    models.check(bind(models, fields["model"], {}), images.shape[1:], classes)
    return fields


def _check_batch(batch: int, files: int) -> None:
    least, images = 2 * files, len(data.digits().train_images)
    most = images // files * files
    if batch % files or not least <= batch <= most:
        near = min(max(round(batch / files) * files, least), most)
        raise ValueError(
            f"batch must split into {files} equal files of 2 images or more and be at most {most} "
            f"of the {images} images, got {batch}; use {near}"
        )


def cost(fields: dict) -> tuple[float, float]:
    files = fields["workers"] // HOLDERS
    gradient = {"mlp": 2e-4}.get(fields["model"], 8e-4)
    copy = 0.02 if fields["source"] == "threads" else gradient  # threads wait for busy cores
    vote = 1.5e-4
    probe = files * HOLDERS * copy + 2e-3 * files + 8 * fields["per_decade"] * files * vote
    search = 8 * fields["per_decade"] * HALVINGS * 9 * fields["byzantine"] * vote
    return files * fields["steps"] * gradient + fields["probes"] * probe + search + 0.1, 3e8


def tolerances(per_decade: int) -> np.ndarray:
    """Return 0, which is the exact vote, and tolerances from 1e-9 to 1e-1.

    Examples
    --------
    >>> tolerances(1)[:3]
    array([0.e+00, 1.e-09, 1.e-08])
    """
    exponents = np.linspace(-9, -1, 8 * per_decade + 1)
    return np.array([0.0, *(float(f"{10.0**exponent:.3g}") for exponent in exponents)])


def probed_steps(steps: int, probes: int) -> np.ndarray:
    """Return the steps, evenly spread and with the last, at which copies are compared.

    Examples
    --------
    >>> probed_steps(60, 3), probed_steps(60, 1)
    (array([ 1, 30, 60]), array([60]))
    """
    return np.linspace(1, steps, probes).round().astype(int) if probes > 1 else np.array([steps])


# --- one cell -----------------------------------------------------------------------------------


def run(fields: dict) -> xr.Dataset:
    """Return noise, false alarms, slack and errors along a training that nobody attacks."""
    digits = data.digits()
    images, labels = digits.train_images, digits.train_labels
    model = models.Model(bind(models, fields["model"], {}), images.shape[1:], digits.classes)
    seed, files = fields["seed"], fields["workers"] // HOLDERS
    params = model.initial(stream(seed, "parameters"))
    velocity = np.zeros_like(params)
    probed = probed_steps(fields["steps"], fields["probes"])
    found = []
    with models.one_thread():
        for step in range(1, fields["steps"] + 1):
            batch = stream(seed, "batch", step).choice(len(images), fields["batch"], False)
            batch = batch.reshape(files, -1)
            losses, rows, _ = model.gradients(params, images[batch], labels[batch])
            if step in probed:
                drawn = (images[batch], labels[batch])
                copies = np.stack([
                    compute(model, params, *drawn, way, stream(seed, "order", step, way.order))
                    for way in SOURCES[fields["source"]]
                ], axis=1)  # fmt: skip
                found.append(_probe(copies, model.sizes, fields, step) | {"loss": losses.mean()})
            velocity = np.float32(fields["momentum"]) * velocity + rows.mean(axis=0)
            params = params - np.float32(fields["rate"]) * velocity
    allowed = tolerances(fields["per_decade"])
    return _labelled(found, [slack(copies, fields["byzantine"], t) for t in allowed], fields)


def _probe(copies: np.ndarray, sizes: list[int], fields: dict, step: int) -> dict:
    """Return what one step says of its copies (files, holders, d)."""
    true = copies[:, 0].mean(axis=0, dtype=np.float64)
    pairs = [(copies[:, one], copies[:, other]) for one, other in PAIRS]
    alarms = [false_alarms(copies, t) for t in tolerances(fields["per_decade"])]
    votes, q = policies(sizes, fields["tolerance"]), fields["byzantine"]

    def error(liars: int) -> list[list[float]]:
        rng = stream(fields["seed"], "liars", step, liars)
        sent = with_liars(copies, liars, q // max(liars, 1), fields["scale"], rng)
        return [errors(votes[name](ballots(sent)).rows, true, q) for name in POLICIES]

    return {
        "difference": [differences(one, other) for one, other in pairs],
        "equal_pairs": [(one == other).all(axis=1).mean() for one, other in pairs],
        "undecided": [undecided for undecided, _ in alarms],
        "outvoted": [outvoted for _, outvoted in alarms],
        "error": [error(liars) for liars in LIARS.values()],
        "own_error": errors(copies[:, 0], true, q),
        "spread": norm(copies[:, 0]).mean() / norm(true),
    }


VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "difference": (("step", "pair", "file"), "distance of two copies / length of the longer one"),
    "equal_pairs": (("step", "pair"), "share of files in which two copies are the same bits"),
    "undecided": (("step", "vote_tolerance"), "share of files without a majority"),
    "outvoted": (("step", "vote_tolerance"), "share of files whose majority outvotes a copy"),
    "error": (("step", "liars", "policy", "rule"), "error of the aggregate / true mean's length"),
    "own_error": (("step", "rule"), "the same for the true gradients"),
    "spread": (("step",), "mean length of a file's gradient / length of the mean gradient"),
    "loss": (("step",), "training loss"),
    "slack_vote": (("vote_tolerance", "liar"), "largest difference of a vote from honest copies"),
    "slack_mean": (("vote_tolerance", "liar"), "shift of the mean of all votes / its true length"),
}


def _labelled(found: list[dict], slacks: list[tuple], fields: dict) -> xr.Dataset:
    values = {name: np.array([probe[name] for probe in found], float) for name in found[0]}
    values["slack_vote"], values["slack_mean"] = np.array(slacks).swapaxes(0, 1)
    table: dict = {
        name: (dims, values[name], {"long_name": text}) for name, (dims, text) in VARIABLES.items()
    }
    chosen = {"long_name": "tolerance of the policy of that name"}
    table["policy_tolerance"] = ((), float(fields["tolerance"]), chosen)
    words = {
        "pair": [f"{one} and {other}" for one, other in PAIRS],
        "liars": list(LIARS),
        "policy": list(POLICIES),
        "rule": list(RULES),
    }
    coordinates = {name: np.array(labels, dtype=object) for name, labels in words.items()}
    coordinates["step"] = probed_steps(fields["steps"], fields["probes"])
    coordinates["vote_tolerance"] = tolerances(fields["per_decade"])
    coordinates["liar"] = np.arange(HOLDERS)
    return xr.Dataset(table, coordinates)


# --- what it says -------------------------------------------------------------------------------

BEARABLE = 0.01  # shift of the mean of all votes that a recommended tolerance may allow


def windows(dataset: xr.Dataset) -> pd.DataFrame:
    """Return for each noise source the tolerances that serve, over all models, seeds and steps.

    Returns
    -------
    pandas.DataFrame
        `least`: the smallest tolerance from which on there is no false alarm, NaN if none; `most`:
        the largest up to which liars shift the mean of all votes by `BEARABLE` or less;
        `recommended`: between the two, as far in factors from the one as from the other (0, the
        exact vote, where that has no false alarm; NaN where nothing serves both ends); and
        `slack_vote` and `slack_mean` there.
    """
    allowed = dataset.vote_tolerance.values
    alarms = (dataset.undecided + dataset.outvoted).max(["model", "seed", "step"])
    most_shifts = dataset[["slack_vote", "slack_mean"]].max(["model", "seed", "liar"])
    rows = {}
    for source in alarms.dropna("source").source.values:
        shifts = most_shifts.sel(source=source)
        silent = np.flatnonzero(alarms.sel(source=source) > 0).max(initial=-1) + 1
        beyond = np.flatnonzero(shifts.slack_mean > BEARABLE).min(initial=allowed.size)
        row = {
            "least": allowed[silent] if silent < allowed.size else math.nan,
            "most": allowed[beyond - 1],
        }
        at = _between(silent, beyond - 1, allowed)
        rows[str(source)] = row | {
            "recommended": math.nan if at is None else allowed[at],
            "slack_vote": math.nan if at is None else float(shifts.slack_vote[at]),
            "slack_mean": math.nan if at is None else float(shifts.slack_mean[at]),
        }
    return pd.DataFrame(rows).T


def _between(least: int, most: int, allowed: np.ndarray) -> int | None:
    """Return the index of the tolerance midway in factors; None if least is above most."""
    if least > most:
        return None
    if allowed[least] == 0:
        return least
    middle = math.sqrt(allowed[least] * allowed[most])
    return least + int(abs(np.log(allowed[least : most + 1] / middle)).argmin())


# --- the figure ---------------------------------------------------------------------------------

_COLOURS = sns.color_palette("colorblind")
STYLES: dict[str, dict] = {
    source: {"color": colour, "marker": marker}
    for source, colour, marker in zip(SOURCES, ["0.35", *_COLOURS[:4]], "osD^v", strict=True)
}
LIAR_STYLES: dict[str, dict] = {
    "nobody": {"color": "0.35", "marker": "o"},
    "one": {"color": _COLOURS[4], "marker": "s"},
    "two": {"color": _COLOURS[5], "marker": "D"},
}
FIRST: dict = {"color": "0.8", "lw": 6, "solid_capstyle": "butt"}
MEAN: dict = {"color": "black", "ls": "--"}
LEGEND: dict = {"fontsize": 7, "frameon": True, "framealpha": 1, "edgecolor": "none"}
DOTS: dict[str, dict] = {  # the small one within the large one where both agree
    "median": {"mfc": "white", "ms": 6},
    "mean": {"ms": 3.5},
}


def figure(dataset: xr.Dataset) -> Figure:
    """Draw the noise; the false alarms above the slack; and the errors of the votes compared."""
    result = Figure(figsize=(10.4, 4.2))
    axes = result.subplot_mosaic(
        [["noise", "alarms", "votes"], ["noise", "slack", "votes"]],
        width_ratios=[1, 1.2, 1.2],
    )
    _noise_panel(axes["noise"], dataset)
    _alarms_panel(axes["alarms"], dataset)
    _slack_panel(axes["slack"], dataset)
    _votes_panel(axes["votes"], dataset, compared(dataset))
    return result


def compared(dataset: xr.Dataset) -> str:
    """Return the noise source for which votes are compared: with the fewest equal copies."""
    equal = dataset.equal_pairs.mean(["model", "seed", "step", "pair"])
    return str(equal.source.values[int(np.nanargmin(equal.values))])


def _noise_panel(ax, dataset: xr.Dataset) -> None:
    """Draw median, 95 % and maximum of the differences, a row for each source and model."""
    labels = []
    for place, source in enumerate(map(str, dataset.source.values)):
        point = dataset.sel(source=source)
        labels.append(f"{source}\n{float(point.equal_pairs.mean()):.0%} same bits")
        names = dataset.model.values
        for shift, model in zip(np.linspace(-0.2, 0.2, len(names) + 2)[1:-1], names, strict=True):
            values = point.difference.sel(model=model).values.ravel()
            if (values > 0).any():
                _marks(ax, values[values > 0], place + shift, STYLES[source]["color"], str(model))
    ax.set(xscale="log", ylim=(len(labels) - 0.5, -0.5), xlabel="difference of two honest copies")
    ax.set_xlim(ax.get_xlim()[0], 5 * ax.get_xlim()[1])  # room for a name
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(axis="y", length=0)
    ax.set_title("median, 95 % and maximum")


def _marks(ax, values: np.ndarray, place: float, colour, name: str) -> None:
    middle, high, most = np.quantile(values, [0.5, 0.95, 1.0])
    ax.plot([middle, most], [place, place], color=colour, lw=1)
    ax.plot([high, most], [place, place], ls="", marker="|", ms=6, color=colour)
    ax.plot(middle, place, ls="", marker="o", color=colour)
    ax.annotate(name, (most, place), (4, 0), textcoords="offset points", va="center", fontsize=7)


def _places(dataset: xr.Dataset) -> np.ndarray:
    """Return where the tolerances lie on a logarithmic axis, the exact vote left of all others."""
    allowed = dataset.vote_tolerance.values
    return np.where(allowed > 0, allowed, allowed[1] / 10)


def _alarms_panel(ax, dataset: xr.Dataset) -> None:
    """Draw the share of files with a false alarm against the tolerance, a line for each source."""
    alarms = (dataset.undecided + dataset.outvoted).mean(["model", "step"])
    frame = alarms.assign_coords(vote_tolerance=_places(dataset)).to_dataframe("share")
    sns.lineplot(
        frame.reset_index(),
        x="vote_tolerance",
        y="share",
        hue="source",
        style="source",
        palette={source: style["color"] for source, style in STYLES.items()},
        markers={source: style["marker"] for source, style in STYLES.items()},
        dashes=False,
        errorbar=student_t,
        legend=False,
        ax=ax,
    )
    _tolerance_axis(ax, dataset)
    ax.tick_params(labelbottom=False)
    ax.set(xlabel="", ylabel="files with false alarm", ylim=(-0.05, 1.05))
    ax.set_title("what a tolerance ends, and what it lets through")
    handles = [Line2D([], [], label=source, **style) for source, style in STYLES.items()]
    ax.legend(handles=handles, loc="center", bbox_to_anchor=(0.63, 0.5), **LEGEND)


def _slack_panel(ax, dataset: xr.Dataset) -> None:
    """Draw the slack in units of the tolerance: of the first holder, and of any other."""
    parts = dataset.isel(vote_tolerance=slice(1, None))
    allowed = parts.vote_tolerance.values
    first = parts.sel(liar=0).max(["source", "model", "seed"])
    ax.plot(allowed, first.slack_vote / allowed, **FIRST)
    ax.plot(allowed, first.slack_mean / allowed, **MEAN)
    other = parts.slack_vote.isel(liar=slice(1, None)).max(["model", "seed", "liar"]) / allowed
    for source in dataset.source.values:
        ax.plot(allowed, other.sel(source=source), **STYLES[str(source)])
    _tolerance_axis(ax, dataset)
    ax.set(xlabel="tolerance of the vote", ylabel="slack / tolerance", ylim=(-0.05, None))
    handles = [
        Line2D([], [], label="the mean, liar first", **MEAN),
        Line2D([], [], label="a vote, liar first", **FIRST),
        Line2D([], [], label="a vote, liar not first", color="0.35", marker="o"),
    ]
    ax.legend(handles=handles, loc="center", bbox_to_anchor=(0.74, 0.35), **LEGEND)


def _tolerance_axis(ax, dataset: xr.Dataset) -> None:
    places, decades = _places(dataset), range(-8, 0, 2)
    ax.set(xscale="log", xlim=(places[0] / 1.5, places[-1] * 1.5))
    names = [f"$10^{{{decade}}}$" for decade in decades]
    ax.set_xticks([places[0], *(10.0**decade for decade in decades)], ["exact", *names])
    ax.minorticks_off()


def _votes_panel(ax, dataset: xr.Dataset, source: str) -> None:
    """Draw the error of mean and median of the votes, a row for each vote."""
    values = dataset.error.sel(source=source).mean(["model", "step"])
    for place, policy in enumerate(POLICIES):
        for shift, (liars, style) in zip((-0.22, 0, 0.22), LIAR_STYLES.items(), strict=True):
            for rule, look in DOTS.items():
                seeds = values.sel(policy=policy, liars=liars, rule=rule).values
                centre, (low, high) = np.nanmean(seeds), student_t(seeds)
                ends = [low if low > 0 else centre / 10, high]  # a logarithm has no place for zero
                ax.plot(ends, [place + shift] * 2, color=style["color"], lw=1)
                ax.plot(centre, place + shift, ls="", **style, **look)
    ax.axvline(1, color="0.35", ls=":", lw=1, zorder=1)
    ax.set(xscale="log", ylim=(len(POLICIES) - 0.5, -0.5), xlabel="error of the aggregate")
    allowed = float(dataset.policy_tolerance.max())
    names = {name: f"exact,\nelse {name}" for name in ("zero", "mean", "median")}
    names |= {"tolerance": f"tolerance {allowed:g},\nelse zero"}
    names |= {"streaming by layer": "streaming\nby layer"}
    ax.set_yticks(range(len(POLICIES)), [names.get(name, name) for name in POLICIES])
    ax.tick_params(axis="y", length=0)
    ax.set_title(f"votes compared, noise: {source}")
    corner = (0.15, 1.0)
    ax.legend(handles=_marks_of_votes(), loc="upper left", bbox_to_anchor=corner, **LEGEND)


def _marks_of_votes() -> list[Line2D]:
    """Explain the marks of the votes compared."""
    who = {"nobody": "nobody lies", "one": "one liar in a file", "two": "two liars in a file"}
    grey: dict = {"color": "0.35", "marker": "o"}
    return [
        *(Line2D([], [], ls="", label=who[name], **LIAR_STYLES[name]) for name in who),
        *(Line2D([], [], ls="", label=f"{r} of the votes", **grey, **DOTS[r]) for r in RULES),
    ]


STUDY = Study(
    title="Votes over copies that are not bit-equal",
    claim=(
        "The DETOX code compares copies for exact equality, layer by layer in one unverified "
        "pass, which works because the same CPU and libraries give the same bits; its fork for "
        "Aspis compares with a tolerance instead (reported; quoted from memory)."
    ),
    definitions=[
        "three holders of every file: holder 0 computes as all training here (torch, float32, one "
        "thread, images as given), holders 1 and 2 as the noise source says",
        "none: all three as holder 0. threads: 2 and 3 threads. row order: the file's images in"
        " two random orders. float64, bf16: all arithmetic in float64, or torch's bf16 "
        "autocast, for holder 2 with the images in another order too; every copy is sent as "
        "float32",
        "difference of two copies: their distance in lengths of the longer one, the tolerance's"
        " unit; the copy that most agree with wins, the first of several",
        "false alarm: nobody lies, and a file has no majority or one of its copies is outvoted (it "
        "does not agree with the winner)",
        "slack: at the last step one liar in each of the first q files, all in place of the "
        "same holder; it starts at an honest copy or midway between both and goes against the "
        "mean gradient as far as the vote still elects it (bisection on the vote); a vote's "
        "shift is its difference from the nearest honest copy, that of the mean of all votes is"
        " in lengths of the true mean",
        "liars of the votes compared do not collude: each sends -scale times its own draw from "
        "0.5 to 1.5 times its gradient; one: in each of q files; two: two in each of floor(q / "
        "2) files",
        "error: distance of the mean or the coordinate-wise median of all votes from the mean "
        "of all true gradients (holder 0's), in lengths of that mean",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    version=2,
    scale="toy scale: digits of 8 x 8 pixels, thousands of parameters, one machine",
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
