"""Time of every primitive, rule and mixer, beside floors by memory and operations and peers."""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from detox_sim.catalogue import check_integer, check_known
from detox_sim.models import keep_freed_memory
from detox_sim.primitives import use_threads
from studies import Study
from studies.style import DETOX, THEORY, VANILLA
from studies.timing.beside.peers import KINDS
from studies.timing.fits import exponent
from studies.timing.kernel_times import GROWTH, KERNELS, in_chunks, in_memory
from studies.timing.limits import roofline, small_calls
from studies.timing.limits.rates import OPERATIONS
from studies.timing.rounds import MODELS

SHAPES: dict[str, tuple[str, ...]] = {
    "milliseconds": ("kernel", "repeat"),
    "least_milliseconds": ("kernel", "repeat"),  # on one column
    "peer_milliseconds": ("kernel", "peer", "repeat"),
    "deviation": ("kernel", "peer"),
    "floor": ("kernel",),  # milliseconds
    "operations": ("kernel", "operation"),  # that a call needs
    "executed": ("kernel", "operation"),  # of these kinds
    "operation_rate": ("operation", "turn"),  # 1e9 a second, all threads together
    "bandwidth": ("turn",),  # GB/s
    "extra_megabytes": ("kernel",),
    "peak_gigabytes": (),
}
SCALARS = {"rows": "rows", "columns": "columns", "chunk_columns": "chunk", "threads": "threads"}


def _size(
    rows: int, columns: int, chunk: int = 0, peers: int = 0, burst: int = 1
) -> dict[str, int]:
    sizes = {"rows": rows, "columns": columns, "chunk": chunk}
    return sizes | {"peers": peers, "burst": burst}


_RESNET18 = int(MODELS["ResNet-18"]["parameters"])
_LAPTOP = {
    "15 x 1k": _size(15, 1000, peers=1, burst=10),
    "15 x 10k": _size(15, 10_000, peers=1, burst=10),
    "45 x 10k": _size(45, 10_000, peers=1, burst=10),
    "15 x 100k": _size(15, 100_000),
    "45 x 100k": _size(45, 100_000, peers=1, burst=10),
    "100 x 100k": _size(100, 100_000),
    "200 x 100k": _size(200, 100_000),
    "400 x 100k": _size(400, 100_000),
    "1000 x 100k": _size(1000, 100_000),
    "45 x 1M": _size(45, 1_000_000, peers=1),
    "200 x 1M": _size(200, 1_000_000, peers=1),
    "15 x 11.2M": _size(15, _RESNET18, peers=1),
    "45 x 11.2M": _size(45, _RESNET18, peers=1),
    "45 x 100M": _size(45, 100_000_000, 1_000_000),
}
_SMOKE = {
    "15 x 1k": _size(15, 1000),
    "45 x 1k": _size(45, 1000, peers=1),
    "45 x 10k": _size(45, 10_000, peers=1),
    "200 x 1k": _size(200, 1000),
    "45 x 30k": _size(45, 30_000, 10_000),
}
FIELDS = ("threads", "repeats", "seed", "rows", "columns", "chunk", "peers", "burst")
DEFAULTS = {"burst": 1}  # milliseconds that the calls of one timing take
PROFILES: dict[str, tuple[dict, dict]] = {
    "smoke": ({"threads": 2, "repeats": 2, "seed": 0}, {"size": _SMOKE}),
    "laptop": ({"threads": 2, "repeats": 5, "seed": 0}, {"size": _LAPTOP}),
}


def prepare(fields: dict) -> dict:
    """Return the fields, checked, or raise ValueError."""
    check_known("field of kernels", fields, FIELDS)
    fields = DEFAULTS | fields
    for name in FIELDS:
        check_integer(name, fields[name], 0 if name in ("seed", "chunk", "peers") else 1)
    if fields["chunk"] > fields["columns"]:
        raise ValueError(
            f"chunk must be at most columns = {fields['columns']}, got {fields['chunk']}"
        )
    if fields["rows"] < 6:
        raise ValueError(f"kernels needs rows >= 6, got {fields['rows']}")
    return fields


def cost(fields: dict) -> tuple[float, float]:
    """Return (seconds, bytes) of a cell, roughly."""
    values = fields["rows"] * fields["columns"]
    memory = 3 * 4.0 * fields["rows"] * (fields["chunk"] or fields["columns"])
    if fields["chunk"]:
        return 1 + 2e-8 * values, memory
    return 1 + (fields["repeats"] + 2) * (4e-8 + 1e-10 * fields["rows"]) * values, memory


def run(fields: dict) -> xr.Dataset:
    """Return the times of all kernels at one size; NaN where a kernel was not run."""
    from threadpoolctl import threadpool_limits

    if fields["burst"] > DEFAULTS["burst"]:
        keep_freed_memory()
    with use_threads(fields["threads"]), threadpool_limits(fields["threads"]):
        table = in_chunks(fields) if fields["chunk"] else in_memory(fields)
    names = {"kernel": KERNELS, "peer": KINDS, "operation": OPERATIONS}
    sizes = {dim: len(labels) for dim, labels in names.items()}
    sizes |= {"repeat": fields["repeats"], "turn": 2 * fields["repeats"]}
    variables: dict = {}
    for name, dims in SHAPES.items():
        values = np.full([sizes[dim] for dim in dims], np.nan)
        for place, value in table[name].items():
            values[place] = value
        variables[name] = (dims, values)
    for name, field in SCALARS.items():
        variables[name] = ((), float(fields[field]))
    coordinates = {dim: np.array(labels, dtype=object) for dim, labels in names.items()}
    return xr.Dataset(variables, coords=coordinates)


# --- What a dataset says --------------------------------------------------------------------------


def medians(dataset: xr.Dataset) -> xr.Dataset:
    """Return the median times, the share of the floor, and the ratio to the best peer.

    Examples
    --------
    >>> times = xr.Dataset({"milliseconds": (("kernel", "repeat"), [[1.0, 3.0, 2.0]]),
    ...                     "floor": ("kernel", [1.0]),
    ...                     "peer_milliseconds": (("kernel", "peer", "repeat"), [[[8.0] * 3]])})
    >>> summary = medians(times)
    >>> [summary[name].item() for name in ("ours", "share", "ratio")]
    [2.0, 0.5, 4.0]
    """
    ours = dataset.milliseconds.median("repeat")
    best = dataset.peer_milliseconds.median("repeat").min("peer")
    return xr.Dataset(
        {"ours": ours, "best": best, "share": dataset.floor / ours, "ratio": best / ours}
    )


def in_ram(dataset: xr.Dataset) -> xr.Dataset:
    """Return the sizes that are held in memory; all sizes where none is."""
    held = np.flatnonzero(dataset.chunk_columns.values == 0)
    return dataset.isel(size=held) if held.size else dataset


def largest(dataset: xr.Dataset) -> xr.Dataset:
    """Return the largest of some sizes."""
    return dataset.isel(size=int(np.argmax((dataset.rows * dataset.columns).values)))


def growing(dataset: xr.Dataset) -> xr.Dataset:
    """Return the sizes with the commonest number of columns, in which rows differ."""
    columns = list(dataset.columns.values)
    common = max(set(columns), key=columns.count)
    return dataset.isel(size=np.flatnonzero(dataset.columns.values == common))


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown: times at the largest size, growth, and peers.

    Parameters
    ----------
    dataset : xarray.Dataset
        (size, kernel, repeat, ...); NaN where a kernel or a size was not run.
    """
    known = dataset.dropna("size", how="all", subset=["milliseconds"])
    if not known.sizes["size"]:
        return "No cell of this dataset is finished."
    held = in_ram(known)
    one, sizes = largest(held), growing(held)
    ours = medians(one).ours.sel(kernel=list(GROWTH)).dropna("kernel")
    times = (
        f"{kernel} {float(median):.3g} ({float(turns.min()):.3g} to {float(turns.max()):.3g})"
        for kernel, median in zip(ours.kernel.values, ours, strict=True)
        for turns in [one.milliseconds.sel(kernel=kernel)]
    )
    slopes = {
        kernel: exponent(sizes.rows, medians(sizes).ours.sel(kernel=kernel)) for kernel in GROWTH
    }
    fitted = [f"{kernel} {slope}" for kernel, slope in slopes.items() if np.isfinite(slope[0])]
    ratio = medians(known).ratio
    lines = [
        f"**Milliseconds** for {float(one.rows):.0f} rows of {float(one.columns):,.0f} values, "
        f"medians and range over turns: {', '.join(times)}.",
        f"**Growth with the rows** (exponent of the time, 95 % interval): {', '.join(fitted)}."
        if fitted
        else "**Growth with the rows**: not fitted, fewer than three sizes have equal columns.",
        f"**Beside the best peer**: at least as fast in {int((ratio >= 1).sum())} of "
        f"{int(ratio.count())} comparisons, {float(ratio.min()):.2g} to {float(ratio.max()):.2g} "
        f"times as fast, {float(ratio.median()):.2g} in the median."
        if ratio.notnull().any()
        else "**Beside peers**: none was measured.",
        *small_calls.finding(known),
        *roofline.verdicts(one),
    ]
    return "\n".join(f"* {line}" for line in lines)


# --- The figure -----------------------------------------------------------------------------------


def figure(dataset: xr.Dataset) -> Figure:
    """Draw times and floors at the largest size in memory, and growth in n and in d."""
    dataset = dataset.dropna("size", how="all", subset=["milliseconds"])
    result = Figure(figsize=(10.5, 9.6))
    grid = result.add_gridspec(3, 2, width_ratios=(1.25, 1))
    ax = result.add_subplot(grid[:2, 0])
    in_memory = in_ram(dataset)
    _panel_of_times(ax, largest(in_memory))
    growth_n = growing(in_memory)
    common = float(growth_n.columns[0])
    _panel_of_growth(result.add_subplot(grid[0, 1]), growth_n, "rows", f"d = {common:,.0f}")
    rows = dataset.rows.values
    often = max(set(rows), key=list(rows).count)
    growth_d = in_memory.isel(size=np.flatnonzero(in_memory.rows.values == often))
    _panel_of_growth(result.add_subplot(grid[1, 1]), growth_d, "columns", f"n = {often:.0f}")
    roofline.panel(result.add_subplot(grid[2, :]), largest(in_memory))
    return result


def _panel_of_times(ax, data: xr.Dataset) -> None:
    summary = medians(data)
    measured = [name for name in KERNELS if float(summary.ours.sel(kernel=name)) > 0]
    summary, data = summary.sel(kernel=measured), data.sel(kernel=measured)
    place = np.arange(len(measured))
    low, high = data.milliseconds.min("repeat"), data.milliseconds.max("repeat")
    ax.hlines(place, low, high, color=DETOX, lw=1.5, alpha=0.6)
    ax.plot(summary.ours, place, "o", color=DETOX, label="ours", ms=5)
    ax.plot(data.floor, place, "|", color=THEORY, ms=11, mew=2, label="floor: one read, one write")
    if np.isfinite(summary.best).any():
        ax.plot(summary.best, place, "D", color=VANILLA, ms=4.5, label="best peer")
    ax.set_yticks(place, measured, fontsize=8)
    size = f"{float(data.rows):.0f} rows of {float(data.columns):,.0f}"
    label = f"milliseconds: {size}, {float(data.threads):.0f} threads"
    ax.set(xscale="log", xlabel=label, ylim=(max(len(measured), 1) - 0.5, -0.5))
    ax.grid(axis="y", color="0.93")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1.03), fontsize=8, ncols=3)


def _panel_of_growth(ax, data: xr.Dataset, name: str, title: str) -> None:
    data = data.sortby(name)
    colours = sns.color_palette("colorblind", len(GROWTH))
    for kernel, colour, marker in zip(GROWTH, colours, "osD^vP", strict=True):
        ours = medians(data).ours.sel(kernel=kernel)
        known = np.isfinite(ours.values)
        x, y = data[name].values[known], ours.values[known]
        label = kernel
        if len(x) > 2:
            label += f" ({np.polyfit(np.log(x), np.log(y), 1)[0]:.2f})"
        ax.plot(x, y, marker=marker, color=colour, ms=4.5, lw=1.2, label=label)
    axis = {"rows": "rows n", "columns": "columns d"}[name]
    ax.set(xscale="log", yscale="log", xlabel=axis, ylabel="milliseconds", title=title)
    ax.set_xticks(x, [f"{value:g}" for value in x], fontsize=8)
    ax.minorticks_off()
    ax.legend(
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        fontsize=7.5,
        title="(fitted exponent)",
        title_fontsize=7.5,
    )


STUDY = Study(
    title="Time of the primitives and rules",
    claim="The paper's claim of speed rests on cheap filtering: after the vote a robust rule sees "
    "p / r rows, and the vote itself is one pass (reported; quoted from memory).",
    definitions=[
        "each time is one call on float32 rows in C order; all kernels and peers take turns, and a "
        "time is the median over the turns (a peer's call of more than 5 s is timed once); short "
        "calls, ours and peers' alike, are repeated for about a millisecond and averaged, at the "
        "small sizes for 10 ms, before which 5 ms pass in which threads of BLAS and torch go to "
        "sleep; there glibc keeps freed memory, as in `train`: without that some kernels were seen "
        "to take 50 to 150 microseconds more in every call",
        "the floor is the time to read the rows once and to write the result, at the read "
        "bandwidth measured in the same turns with the same threads",
        "the floor by operations: float64 subtractions, multiplications and additions of each pair "
        "of rows (distances), the minima and maxima that the sorting network of this package needs "
        "(median, order_mean), float64 multiplications and additions (combine), bit operations on "
        "copies (vote, equal_rows), at the rate of loops of nothing else in registers, with the "
        "fastest vector width, measured in the same turns with the same threads; loads, stores and "
        "conversions are not counted; as executed: with padded and repeated pairs, and with minima "
        "and maxima that no result needs",
        "reads: a time over the time to read the rows once at the measured bandwidth; with the "
        "quartiles over the turns",
        "overhead of a call: its time on one column, so whatever does not grow with the columns: "
        "checks, memory, work on the n x n distances",
        "krum, multi_krum and geometric_median with the options that mean ByzFL's definition, "
        "so that results can be compared; byzantine = n // 10",
        "extra memory is the peak of what NumPy allocates in a call, without the result",
        "vote: whole-vector majority of 3 real copies of each of n / 3 files, winners copied",
        "D-Median: that vote, 5 vote groups, mean in each, median over them",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    finding=finding,
    scale="standard normal rows",
    exclusive=True,
    processes=1,
    version=4,
    by_name=("laptop",),
    fields=FIELDS,
    defaults=DEFAULTS,
    prepare=prepare,
    cost=cost,
)
