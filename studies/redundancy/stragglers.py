"""What redundancy buys when nodes are slow, and what is left of it when some of them lie."""

import itertools
from functools import partial

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from detox_sim import data, models
from detox_sim.catalogue import check_integer, check_known, check_number
from detox_sim.costs import Cluster
from detox_sim.streams import stream
from studies import Study
from studies.redundancy.protocols import SCHEMES, Scheme, alone, errors, file_gradients, nodes

EXACT = 1e-3
SLOWDOWN = 10.0  # of the figure, or the nearest there is
ERRORS = (1e-8, 1e2)  # of the colours

FIELDS = (
    "scheme", "spare", "children", "layers", "parameters", "batch", "sample_seconds", "bandwidth",
    "tail", "slowdowns", "byzantine", "stragglers", "draws", "rounds", "images", "seed",
)  # fmt: skip


def _protocol(scheme: str, spare: int = 0) -> dict:
    return {"scheme": scheme, "spare": spare}


PROTOCOLS = {
    "wait for all": _protocol("alone"),
    "ignore 2": _protocol("alone", 2),
    "ignore 6": _protocol("alone", 6),
    "tree": _protocol("tree"),
    "repetition, s = 2": _protocol("repetition", 2),
    "repetition, s = 6": _protocol("repetition", 6),
    "gradient code, s = 2": _protocol("cyclic", 2),
    "gradient code, s = 6": _protocol("cyclic", 6),
    "CodedReduce, s = 1": _protocol("tree", 1),
    "CodedReduce, s = 2": _protocol("tree", 2),
    "DETOX, r = 3": _protocol("vote", 2),
    "DETOX, r = 7": _protocol("vote", 6),
    "DRACO, r = 3": _protocol("draco", 2),
    "DRACO, r = 7": _protocol("draco", 6),
}
HEAVY = ["CodedReduce, s = 2", *(name for name in PROTOCOLS if name.endswith(("6", "7")))]

_BASE = {
    "children": 6,
    "layers": 2,
    "parameters": 11_173_962,
    "batch": 1440,
    "sample_seconds": 1 / 130,
    "bandwidth": Cluster().bandwidth,
    "tail": 0.2,
    "images": 1008,
    "seed": 0,
}
PROFILES: dict = {
    "smoke": (
        _BASE
        | {"slowdowns": [3.0, 10.0], "byzantine": [0, 1], "stragglers": [0, 1, 2, 6]}
        | {"draws": 40, "rounds": 2},
        {"protocol": PROTOCOLS},
    ),
    "laptop": (
        _BASE
        | {"slowdowns": [2.0, 3.0, 5.0, 10.0, 20.0], "byzantine": [0, 1, 2, 3]}
        | {"stragglers": [0, 1, 2, 3, 4, 6, 8, 12], "draws": 1000, "rounds": 40},
        {"protocol": PROTOCOLS},
    ),
}


def prepare(fields: dict) -> dict:
    check_known("field of stragglers", fields, FIELDS)
    check_known("scheme of stragglers", [fields["scheme"]], SCHEMES)
    least = {"children": 1, "layers": 1, "parameters": 1, "batch": 1, "draws": 2, "rounds": 1}
    for name, smallest in (least | {"spare": 0, "images": 1, "seed": 0}).items():
        check_integer(name, fields[name], smallest)
    for name in ("sample_seconds", "bandwidth", "tail"):
        _check_at_least(name, fields[name], 0)
    if not fields["bandwidth"]:
        raise ValueError("bandwidth must be above 0 bytes a second, got 0")
    for name in ("slowdowns", "byzantine", "stragglers"):
        values = fields[name]
        if not isinstance(values, list) or not values or len(set(map(str, values))) < len(values):
            raise ValueError(f"{name} must be a list of distinct numbers, got {values!r}")
    for value in fields["slowdowns"]:
        _check_at_least("slowdowns", value, 1)
    workers = nodes(fields["children"], fields["layers"])
    for name in ("byzantine", "stragglers"):
        for value in fields[name]:
            check_integer(name, value, 0)
            if value >= workers:
                raise ValueError(
                    f"{name} must be below the {workers} nodes of the tree, got {value}; use at "
                    f"most {workers - 1}"
                )
    files, most = _scheme(fields).files, len(data.digits().train_images)
    images = fields["images"]
    if images % files or images > most:
        use = min(max(images // files, 1), most // files) * files
        raise ValueError(
            f"images must split into {files} equal files and be at most {most}, got {images}; "
            f"use {use}"
        )
    return fields


def _check_at_least(name: str, value: object, least: float) -> None:
    check_number(name, value)
    if not least <= value < np.inf:  # type: ignore[operator]
        raise ValueError(f"{name} must be a number of {least} or more, got {value!r}")


def _scheme(fields: dict) -> Scheme:
    return SCHEMES[fields["scheme"]](fields["children"], fields["layers"], fields["spare"])


def cost(fields: dict) -> tuple[float, float]:
    cases = len(fields["byzantine"]) * len(fields["stragglers"])
    draws = fields["draws"] * nodes(fields["children"], fields["layers"])
    rounds = fields["rounds"] * (6e-3 if fields["scheme"] == "draco" else 5e-4)
    return 1 + cases * (1e-7 * draws * len(fields["slowdowns"]) + rounds), 3e8


# --- one cell -------------------------------------------------------------------------------------

_TIMED = ("slowdown", "byzantine", "stragglers")
VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "seconds": (_TIMED, "modelled seconds of a round, mean over draws"),
    "seconds_error": (_TIMED, "standard error of that mean"),
    "saved": (_TIMED, "modelled seconds less than waiting for all, mean over paired draws"),
    "saved_error": (_TIMED, "standard error of that mean"),
    "error": (
        ("byzantine", "stragglers", "round"),
        "relative error of the decoded sum, messages in float32; NaN: it must wait",
    ),
    "error_float64": (
        ("stragglers", "round"),
        "the same with messages in float64, when nobody lies",
    ),
    "share": ((), "share of the batch that a node computes"),
    "left_out": ((), "share of the files that the result does without"),
    "compute_seconds": ((), "modelled seconds that a node computes at least"),
    "message_seconds": ((), "modelled seconds that a message takes"),
    "draws": ((), "draws of the modelled times"),
}


def run(fields: dict) -> xr.Dataset:
    """Return modelled times, and errors of real decoding, by stragglers and liars."""
    seed, late = fields["seed"], fields["stragglers"]
    with models.one_thread():
        scheme = _scheme(fields)
        rows = file_gradients(scheme.files, fields["images"], seed)
        single = errors(scheme, rows, fields["byzantine"], late, fields["rounds"], seed)
        double = errors(scheme, rows.astype(np.float64), [0], late, fields["rounds"], seed)
    values = _times(scheme, fields) | {
        "error": single,
        "error_float64": double[0],
        "share": scheme.load,
        "left_out": scheme.left_out,
        "compute_seconds": scheme.load * fields["batch"] * fields["sample_seconds"],
        "message_seconds": _message(fields),
        "draws": float(fields["draws"]),
    }
    table = {
        name: (dims, values[name], {"long_name": text}) for name, (dims, text) in VARIABLES.items()
    }
    labels = {"slowdown": fields["slowdowns"], "round": np.arange(fields["rounds"])}
    return xr.Dataset(table, labels | {name: fields[name] for name in ("byzantine", "stragglers")})


def _message(fields: dict) -> float:
    return 4 * fields["parameters"] / fields["bandwidth"] + Cluster().latency


def _times(scheme: Scheme, fields: dict) -> dict[str, np.ndarray]:
    """Return the four times (slowdowns, byzantine, stragglers); all schemes see the same draws."""
    baseline = alone(fields["children"], fields["layers"], 0)
    shape = fields["draws"], nodes(fields["children"], fields["layers"])
    draw = partial(stream, fields["seed"])
    stretched = 1 + draw("stragglers tail").exponential(fields["tail"], shape)
    places = np.broadcast_to(np.arange(shape[1]), shape)
    slow, bad = (draw(f"stragglers {who}").permuted(places, axis=1) for who in ("late", "bad"))
    axes = [fields[name] for name in ("slowdowns", "byzantine", "stragglers")]
    found = []
    for slowdown, q, s in itertools.product(*axes):
        images = fields["batch"] * stretched * np.where(slow < s, slowdown, 1.0)
        time, plain = (
            each.finish(images * each.load * fields["sample_seconds"], bad < q, _message(fields))
            for each in (scheme, baseline)
        )
        found.append((*_mean(time), *_mean(plain - time)))
    table = np.array(found).T.reshape(-1, *map(len, axes))
    return dict(zip(("seconds", "seconds_error", "saved", "saved_error"), table, strict=True))


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


# --- what it says ---------------------------------------------------------------------------------


def shown_slowdown(dataset: xr.Dataset) -> float:
    """Return the slowdown of which the figure tells."""
    return float(dataset.slowdown.sel(slowdown=SLOWDOWN, method="nearest"))


def outcomes(dataset: xr.Dataset) -> xr.Dataset:
    """Return the shares of rounds that end with the exact sum, must wait, or end with a wrong one.

    Returns
    -------
    xarray.Dataset
        `exact`, `waits`, `wrong`, and `typical`, the median error of those that do not wait.
    """
    error = dataset.error
    shares = {
        "exact": (error <= EXACT).mean("round"),
        "waits": error.isnull().mean("round"),
        "wrong": (error > EXACT).mean("round"),
    }
    present = dataset.share.notnull()  # failed cells say nothing
    return xr.Dataset(shares).where(present).assign(typical=error.median("round"))


# --- the figure -----------------------------------------------------------------------------------

_PALETTE = sns.color_palette("colorblind")
STYLES = {
    "wait for all": ("0.25", "x"),
    "ignore": ("0.6", "+"),
    "tree": (_PALETTE[5], "p"),
    "repetition": (_PALETTE[9], "^"),
    "gradient code": (_PALETTE[0], "o"),
    "CodedReduce": (_PALETTE[2], "D"),
    "DETOX": (_PALETTE[1], "s"),
    "DRACO": (_PALETTE[4], "v"),
}


FILLS: dict[int, dict] = {
    0: {"mfc": "white"},
    2: {"fillstyle": "left", "markerfacecoloralt": "white"},
    6: {"fillstyle": "full"},
}


def style(protocol: str) -> dict:
    """Return the colour and marker of a protocol.

    Examples
    --------
    >>> style("DETOX, r = 7") == style("DETOX, r = 3"), style("ignore 6")["marker"]
    (True, '+')
    """
    family = next(name for name in STYLES if protocol.startswith(name))
    return dict(zip(("color", "marker"), STYLES[family], strict=True))


def figure(dataset: xr.Dataset) -> Figure:
    """Draw times against stragglers, times and loads of all protocols, and the errors."""
    result = Figure(figsize=(10.8, 8.2))
    axes = result.subplot_mosaic(
        [["lines", "all"], ["errors", "errors"]], height_ratios=[1, 1.1], width_ratios=[1, 1.1]
    )
    times = dataset.sel(slowdown=shown_slowdown(dataset), byzantine=dataset.byzantine.min())
    _lines(axes["lines"], times)
    _all(axes["all"], times)
    image = _grid(axes["errors"], dataset)
    result.colorbar(image, ax=axes["errors"], pad=0.01, label="relative error, median")
    grey: dict = {"ls": "", "color": "0.3"}
    handles = [Line2D([], [], label=family, **style(family)) for family in STYLES]
    handles.append(Line2D([], [], marker="|", ms=9, mew=2, label="(b) compute, at least", **grey))
    handles += [
        Line2D([], [], marker="o", ms=5.5, label=f"(b) {s} stragglers", **grey, **fill)
        for s, fill in FILLS.items()
    ]
    result.legend(handles=handles, loc="outside upper center", ncols=6)
    return result


def _lines(ax, times: xr.Dataset) -> None:
    """Draw the modelled time against the stragglers, of the protocols with the smaller load."""
    light = [name for name in times.protocol.values if name not in HEAVY]
    for name in light:
        data = times.sel(protocol=name)
        ax.errorbar(times.stragglers, data.seconds, 2 * data.seconds_error, **style(name))
    ax.set(xlabel="stragglers", ylabel="modelled seconds a round", ylim=(0, None))
    most = float(times.share.sel(protocol=light).max())
    ax.set_title(
        f"(a) nodes that compute {most:.1%} of the batch or less; stragglers are "
        f"{float(times.slowdown):g} x slower"
    )


def _all(ax, times: xr.Dataset) -> None:
    """Draw the time of every protocol without stragglers and with some, beside its compute."""
    some = [s for s in FILLS if s in times.stragglers.values]
    names = times.protocol.values
    for place, name in enumerate(names):
        data, look = times.sel(protocol=name), {"color": style(name)["color"]}
        ax.plot(data.compute_seconds, place, ls="", marker="|", ms=9, mew=2, **look)
        ax.plot(data.seconds.sel(stragglers=some), [place] * len(some), lw=1, **look)
        for s in some:
            time = data.seconds.sel(stragglers=s)
            ax.plot(time, place, ls="", marker="o", ms=5.5, **look, **FILLS[s])
    shares = [f"{float(share):.1%}" for share in times.share]
    rows = [f"{name}   {share}" for name, share in zip(names, shares, strict=True)]
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel="modelled seconds a round", ylim=(len(rows) - 0.4, -0.6), xscale="log")
    ax.set_xticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
    ax.minorticks_off()
    ax.tick_params(axis="y", length=0)
    ax.set_title("(b) all, with the share of the batch that a node computes")


def _grid(ax, dataset: xr.Dataset) -> QuadMesh:
    """Draw the typical error by protocol, liars and stragglers, with the share of exact rounds."""
    found = outcomes(dataset).stack(case=("byzantine", "stragglers"))
    colours = sns.color_palette("rocket_r", as_cmap=True)
    waits = (found.waits > 0.5).values
    typical = np.where(waits, np.nan, found.typical.transpose("protocol", "case"))
    image = ax.pcolormesh(np.clip(typical, *ERRORS), cmap=colours, norm=LogNorm(*ERRORS))
    for row, column in np.argwhere(waits):
        ax.add_patch(Rectangle((column, row), 1, 1, fc="0.92", ec="0.7", lw=0, hatch="///"))
    for (row, column), exact in np.ndenumerate(found.exact.transpose("protocol", "case").values):
        if 0 < exact < 1:
            dark = not waits[row, column] and typical[row, column] > 1e-2
            ax.text(column + 0.5, row + 0.5, f"{100 * exact:.0f}", fontsize=6.5, ha="center",
                    va="center", color="white" if dark else "black")  # fmt: skip
    each = dataset.sizes["stragglers"]
    ax.set_xticks(np.arange(found.sizes["case"]) + 0.5, found.stragglers.values)
    ax.set_yticks(np.arange(dataset.sizes["protocol"]) + 0.5, dataset.protocol.values)
    for group, q in enumerate(dataset.byzantine.values):
        ax.text((group + 0.5) * each, -0.15, f"{q} liars" if q != 1 else "1 liar", ha="center")
        ax.axvline(group * each, color="white", lw=4)
    ax.set(xlabel="stragglers whose messages do not come", ylim=(dataset.sizes["protocol"], 0))
    ax.grid(visible=False)
    ax.tick_params(length=0)
    title = "(c) error of the decoded gradient; numbers: % of rounds that are exact, if some are"
    ax.set_title(title, pad=16)
    ax.legend(handles=[Patch(fc="0.92", ec="0.7", hatch="///", label="must wait")],
              loc="lower right", bbox_to_anchor=(1, 1.01))  # fmt: skip
    return image


STUDY = Study(
    title="Slow nodes, with liars too",
    claim=(
        "Not of the DETOX paper. CodedReduce (Reisizadeh et al., arXiv 1902.01981) combines "
        "parallel communication over a tree with robustness to stragglers, and reports speedups"
        " of up to 27.2 over gradient coding and 7.0 over ring all-reduce on Amazon EC2 "
        "(reported; of the abstract)."
    ),
    definitions=[
        "a node computes its images in images x seconds an image x (1 + E), E exponential: the "
        "shifted exponential time of Lee et al. 2018. A straggler takes `slowdown` times as "
        "long; its network is as fast as any",
        "a receiver (server, master or parent) takes in one message after the other, the first "
        "that is ready first; a message takes 4 d bytes / bandwidth + latency. Parents work in "
        "parallel",
        "round time: until the decoder has what it needs. Left out: the broadcast, decoding and"
        " the update of the model",
        "load: share of the batch that each node computes. All protocols have the same nodes, "
        "batch and random draws; `saved` is the paired difference from waiting for all",
        "ignore s: the sum of the first p - s, scaled up. Repetition: one node of each group of"
        " s + 1. Gradient code: any p - s. CodedReduce: all but s children of every parent, the"
        " master too; tree: the same with s = 0. DETOX: more than half of each group agree. "
        "DRACO: all but (r - 1) / 2 - q, so it must know the number of liars q; a late message "
        "counts as a lie, as in the decoder here (one that told them apart could spare twice as"
        " many late ones)",
        "error: distance of the decoded sum from the sum of all files' gradients, relative to "
        "its norm. Here late messages do not come at all: a decoder that cannot do without them"
        " waits. DETOX then takes the majority of those copies that came, be it a single one; "
        "DRACO's decoder is not told how many lie, and waits only when more than (r - 1) / 2 "
        "messages are missing",
        "a liar sends -100 times its message; in a tree that contains what its children sent",
        "exact: relative error of at most 0.001, above what rounding to float32 does to any "
        "code here",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    scale="modelled times; real gradients of digits for the decoding",
    version=2,
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
