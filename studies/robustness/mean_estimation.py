"""The error of robust means of normal samples against the dimension: the paper's experiment."""

import math

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from scipy.special import ndtri

from detox_sim import aggregators, assignments, attacks, placements, voting
from detox_sim.arrays import require, to_backend, to_host
from detox_sim.catalogue import check_integer, check_known
from detox_sim.streams import stream
from detox_sim.sweeps.intervals import interval, student_t
from detox_sim.theory import check_workers
from studies import Study

MAGNITUDE = 100.0
ESTIMATORS = (
    "mean",
    "median",
    "geometric median",
    "D-median",
    "D-geometric median",
    "D-median, one sample a vote",
    "D-geometric median, one sample a vote",
)

_PAPER = {"workers": 220_000, "copies": 11, "byzantine": 19_958, "backend": "numpy"}
_SMALL = {"workers": 11_000, "copies": 11, "byzantine": 998, "backend": "numpy"}
FIELDS = (*_PAPER, "dimension", "seed")
PROFILES = {
    "smoke": (_SMALL, {"dimension": [10, 20, 40], "seed": [0, 1]}),
    "laptop": (_PAPER, {"dimension": list(range(20, 101, 20)), "seed": list(range(5))}),
}


def prepare(fields: dict) -> dict:
    """Return the fields, checked, or raise ValueError."""
    check_known("field of mean_estimation", fields, FIELDS)
    for name, least in (("dimension", 1), ("seed", 0)):
        check_integer(name, fields[name], least)
    check_workers(fields["workers"], fields["byzantine"], fields["copies"])
    require(fields["backend"])
    return fields


def cost(fields: dict) -> tuple[float, float]:
    """Return (seconds, bytes) of a cell, roughly."""
    values = fields["workers"] * fields["dimension"]
    return 1e-7 * values + 4e-6 * fields["workers"], 30.0 * values


def run(fields: dict) -> xr.Dataset:
    """Return the error of each estimator on one draw of samples, and what theory expects."""
    workers, copies, dimension = fields["workers"], fields["copies"], fields["dimension"]
    rng = stream(fields["seed"], "samples", dimension)
    samples = rng.standard_normal((workers, dimension), dtype=np.float32)
    groups = assignments.detox(workers, copies)
    alone = assignments.none(workers)
    placed = stream(fields["seed"], "placement", dimension)
    byzantine = placements.random(groups, fields["byzantine"], placed)

    def received(rows: np.ndarray, holders: np.ndarray) -> voting.Votes:
        rows = to_backend(rows, fields["backend"])
        value = MAGNITUDE / math.sqrt(dimension)
        return voting.majority(attacks.constant(rows, byzantine[holders], rng=rng, value=value))

    files = samples.reshape(-1, copies, dimension)
    direct = received(samples, alone).rows
    voted = received(files.mean(axis=1), groups)
    single = received(files[:, 0], groups).rows
    distorted = int(voted.distorted.sum())
    estimates = [
        aggregators.mean(direct, byzantine=fields["byzantine"]),
        aggregators.median(direct, byzantine=fields["byzantine"]),
        aggregators.geometric_median(direct, byzantine=fields["byzantine"]),
        aggregators.median(voted.rows, byzantine=distorted),
        aggregators.geometric_median(voted.rows, byzantine=distorted),
        aggregators.median(single, byzantine=distorted),
        aggregators.geometric_median(single, byzantine=distorted),
    ]
    errors = [float(np.sqrt((to_host(row).astype(np.float64) ** 2).sum())) for row in estimates]
    estimator = np.array(ESTIMATORS, dtype=object)
    return xr.Dataset(
        {
            "error": ("estimator", errors, {"long_name": "l2 error"}),
            "theory": ("estimator", expected(fields), {"long_name": "l2 error expected"}),
            "distorted_files": ((), distorted),
            **{name: ((), fields[name]) for name in ("workers", "byzantine", "copies")},
        },
        coords={"estimator": estimator},
    )


def expected(fields: dict) -> list[float]:
    """Return the errors that theory expects of `ESTIMATORS`, for many workers and d >> 1.

    Vanilla rules: their bias, e |attack| for the mean, sqrt(d) Phi^-1(1 / (2 (1 - e))) for the
    median, sqrt(d) e / (1 - e) for the geometric median. After the vote: the noise of honest
    samples, sqrt(pi d / (2 n)) for the median and sqrt(d / n) for the geometric median.
    """
    d, p = fields["dimension"], fields["workers"]
    share = fields["byzantine"] / p
    root, votes = math.sqrt(d), p // fields["copies"]
    bias = root * float(ndtri(0.5 / (1 - share)))
    noise = [
        root * factor / math.sqrt(n) for n in (p, votes) for factor in (math.sqrt(math.pi / 2), 1)
    ]
    return [share * MAGNITUDE, bias, root * share / (1 - share), *noise]


def finding(dataset: xr.Dataset) -> str:
    """Return what was found at the largest dimension, as Markdown; intervals are Student t's.

    Parameters
    ----------
    dataset : xarray.Dataset
        (dimension, seed, estimator); NaN where a cell failed.
    """
    known = dataset.dropna("dimension", how="all", subset=["error"])
    if not known.sizes["dimension"]:
        return "No cell of this dataset is finished."
    last = known.isel(dimension=-1).dropna("seed", how="all", subset=["error"])
    workers, byzantine, copies = (int(last[k][0]) for k in ("workers", "byzantine", "copies"))
    lines = [
        f"{byzantine:,} of {workers:,} workers are Byzantine. After the vote of r = {copies} "
        f"copies {float(last.distorted_files.mean()):.1f} of {workers // copies:,} files are "
        "distorted (mean over seeds). Intervals: 95 %, Student's t, over seeds."
    ]
    errors, means = last.error, last.error.mean("seed")
    for rule in ("median", "geometric median"):
        alone, voted, single = (
            interval(errors.sel(estimator=name))
            for name in (rule, f"D-{rule}", f"D-{rule}, one sample a vote")
        )
        less = float(means.sel(estimator=rule) / means.sel(estimator=f"D-{rule}"))
        lines.append(
            f"**{rule.capitalize()}**, error in {int(last.dimension)} dimensions: {alone} without "
            f"the vote, {voted} after it (1/{less:.0f}), and {single} where a vote is one sample."
        )
    farthest = float(abs(known.error / known.theory - 1).max())
    lines.append(f"No error differs from what theory expects by more than {farthest:.0%} of that.")
    return "\n".join(f"* {line}" for line in lines)


def figure(dataset: xr.Dataset) -> Figure:
    """Draw the error against the dimension, theory dashed beside each estimator."""
    result = Figure(figsize=(8.2, 4.2))
    ax = result.subplots()
    frame = dataset.error.to_dataframe().reset_index()
    order = [str(name) for name in dataset.estimator.values]
    colours = dict(zip(order, sns.color_palette("colorblind", len(order)), strict=True))
    sns.lineplot(
        frame,
        x="dimension",
        y="error",
        hue="estimator",
        style="estimator",
        hue_order=order,
        style_order=order,
        markers=list("osD^vPX")[: len(order)],
        markersize=5.5,
        mew=0.4,
        dashes=False,
        palette=colours,
        errorbar=student_t,
        ax=ax,
    )
    for name in order:
        theory = dataset.theory.sel(estimator=name).mean("seed")
        ax.plot(dataset.dimension, theory, ls="--", lw=0.9, color=colours[name])
    ax.plot([], [], ls="--", lw=0.9, color="0.3", label="theory")
    workers, byzantine, copies = (
        int(dataset[name].max()) for name in ("workers", "byzantine", "copies")
    )
    title = f"p = {workers:,} workers, q = {byzantine:,} Byzantine, groups of r = {copies}"
    ax.set(yscale="log", xlabel="dimension d", ylabel="l2 error of the estimate", title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return result


STUDY = Study(
    title="Robust mean of very many workers",
    claim=(
        "The paper's synthetic figure: with p = 220,000, r = 11 and q = 19,958, DETOX lowers "
        "the error of the median and of the geometric median, and its growth with the dimension"
        " (reported; sizes and finding quoted from memory)."
    ),
    definitions=[
        "every Byzantine worker sends one constant vector of norm 100 with equal coordinates",
        "DETOX uses the same samples: a file is r of them and a vote is their mean; the paper "
        "does not record whether a vote is that or one sample, so the second is drawn too",
        "the rule is applied to all votes, without vote groups",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    finding=finding,
    version=2,
    scale="synthetic normal samples",
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
