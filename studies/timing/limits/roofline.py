"""The least time of a kernel that memory and the rate of its operations allow, in reads."""

import numpy as np
import xarray as xr

from studies.style import DETOX, THEORY, VANILLA
from studies.timing.limits.operations import COPIES

MOST_READS = 4  # that a kernel is meant to take
FLOORS = {"memory": THEORY, "operations": VANILLA}
LABELS = {"memory": "floor: one read, one write", "operations": "floor: operations alone"}


def in_reads(dataset: xr.Dataset) -> xr.Dataset:
    """Return times of the kernels with counted operations, in reads of their rows.

    Parameters
    ----------
    dataset : xarray.Dataset
        One size.

    Returns
    -------
    xarray.Dataset
        ``measured`` (kernel, repeat); ``memory`` (kernel): one read and the writing of the result;
        ``operations`` (kernel, turn): the operations that the kernel needs, at the rate and in
        reads of the same turn; ``executed`` likewise; ``share`` (kernel): the larger of the two
        floors in the median, as a share of the measured time.

    Examples
    --------
    >>> one = xr.Dataset({"rows": 2.0, "columns": 250_000.0, "bandwidth": ("turn", [2.0]),
    ...                   "milliseconds": (("kernel", "repeat"), [[4.0]]),
    ...                   "floor": ("kernel", [1.5]),
    ...                   "operations": (("kernel", "operation"), [[2e6]]),
    ...                   "executed": (("kernel", "operation"), [[3e6]]),
    ...                   "operation_rate": (("operation", "turn"), [[1.0]])})
    >>> {name: values.item() for name, values in in_reads(one).items()}
    {'measured': 4.0, 'memory': 1.5, 'operations': 2.0, 'executed': 3.0, 'share': 0.5}
    """
    counted = dataset.operations.notnull().any("operation") & dataset.floor.notnull()
    dataset = dataset.isel(kernel=np.flatnonzero(counted))
    read = 4e-6 * dataset.rows * dataset.columns / dataset.bandwidth  # milliseconds, each turn
    own = _in_own_turns(dataset.kernel, read)
    reads = xr.Dataset({"measured": dataset.milliseconds / own, "memory": dataset.floor / own})
    for name in ("operations", "executed"):
        milliseconds = 1e-6 * dataset[name] / dataset.operation_rate
        reads[name] = milliseconds.max("operation") / read
    least = np.maximum(reads.memory, reads.operations.median("turn"))
    return reads.assign(share=least / reads.measured.median("repeat"))


def _in_own_turns(kernel: xr.DataArray, read: xr.DataArray) -> xr.DataArray:
    """Return the median read of the turns of a kernel: those on copies of rows are the later."""
    turns = read.sizes["turn"]
    later = read.isel(turn=slice(turns // 2, None)).median("turn")
    earlier = read.isel(turn=slice(max(1, turns // 2))).median("turn")
    return xr.where(kernel.isin(COPIES), later, earlier)


def verdicts(dataset: xr.Dataset) -> list[str]:
    """Return one sentence on each kernel of one size: its reads, its floors, and `MOST_READS`.

    With medians and quartiles over the turns. A kernel "cannot" where three turns in four say so.
    """
    reads = in_reads(dataset)
    rows = f"{float(dataset.rows):.0f} rows"
    return [_verdict(reads.sel(kernel=kernel), rows) for kernel in reads.kernel.values]


def _verdict(one: xr.Dataset, rows: str) -> str:
    measured, floor = one.measured.median("repeat"), float(one.operations.median("turn"))
    sentence = (
        f"`{one.kernel.item()}` of {rows} takes {_spread(one.measured, 'repeat')} reads; memory "
        f"allows {float(one.memory):.2f}, its operations {_spread(one.operations, 'turn')}, "
        f"{float(one.executed.median('turn')):.2f} as executed"
    )
    if measured <= MOST_READS:
        return f"{sentence}: within {MOST_READS}."
    if one.operations.quantile(0.25, "turn") > MOST_READS:
        return (
            f"{sentence}: with these operations this machine cannot do it in {MOST_READS}; they "
            f"alone take {floor:.3g} reads at the measured rate."
        )
    return f"{sentence}: slower than {MOST_READS}, which neither memory nor operations exclude."


def _spread(values: xr.DataArray, dim: str) -> str:
    low, middle, high = (float(values.quantile(q, dim)) for q in (0.25, 0.5, 0.75))
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def panel(ax, dataset: xr.Dataset) -> None:
    """Draw the measured reads of each kernel of one size over bars of the two floors."""
    reads = in_reads(dataset)
    middle = reads.median(["repeat", "turn"])
    place = np.arange(reads.sizes["kernel"])
    for offset, (floor, colour) in zip((-0.18, 0.18), FLOORS.items(), strict=True):
        ax.barh(place + offset, middle[floor], 0.32, color=colour, alpha=0.55, label=LABELS[floor])
    low, high = reads.measured.min("repeat").values, reads.measured.max("repeat").values
    ax.hlines(place, low, high, color=DETOX)
    ax.plot(middle.measured, place, "o", color=DETOX, ms=5, label="measured")
    both = zip(middle.measured.values, middle.share.values, strict=True)
    for y, (x, (reads_taken, share)) in enumerate(zip(high, both, strict=True)):
        text = f"{reads_taken:.2g} reads, {share:.0%} of the floor's speed"
        ax.annotate(text, (x, y), (7, 0), textcoords="offset points", fontsize=7.5, va="center")
    ax.axvline(MOST_READS, color="0.5", ls=":", lw=1, label=f"{MOST_READS} reads")
    ax.set_yticks(place, reads.kernel.values, fontsize=8)
    size = f"{float(dataset.rows):.0f} rows of {float(dataset.columns):,.0f}"
    ax.set(ylim=(max(len(place), 1) - 0.5, -0.5), xlabel=f"time in reads of the rows: {size}")
    ax.set_xlim(0, 1.4 * max([MOST_READS, *high]))
    ax.grid(axis="y", visible=False)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7.5)
