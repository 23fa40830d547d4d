"""What a dataset of `schemes` says, and its figure."""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from studies.redundancy.arrangements import (
    BYZANTINE,
    LOADS,
    MAJORITIES,
    PUBLISHED,
    SCHEMES,
    SMALL,
    label,
)

COUNTS = (
    "worst_case", "bound", "spectral", "expected", "simulated_worst", "simulated",
    "simulated_error",
)  # fmt: skip

_PALETTE = sns.color_palette("colorblind")
STYLES = {
    "no redundancy": ("0.55", "x"),
    "DETOX": (_PALETTE[1], "s"),
    "Latin squares": (_PALETTE[2], "D"),
    "Ramanujan graph": (_PALETTE[9], "^"),
    "block design": (_PALETTE[0], "o"),
    "random graph": (_PALETTE[5], "p"),
    "all subsets": (_PALETTE[4], "v"),
    "detection (weak attack)": (_PALETTE[6], "<"),
    "detection (strong attack)": (_PALETTE[3], ">"),
    "cyclic code": ("black", "*"),
}


def shares(dataset: xr.Dataset) -> xr.Dataset:
    """Return the variables that count files as fractions of the outcomes of votes."""
    return dataset[list(COUNTS)] / dataset.votes


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown: fewest Byzantine workers that distort, and detection.

    Parameters
    ----------
    dataset : xarray.Dataset
        (arrangement, byzantine); NaN where a scheme was not computed.
    """
    lines = []
    for size in SMALL:
        present = _present(dataset, *size)
        known = {k: one for k, one in present.items() if one.worst_case.notnull().any()}
        if known:
            lines += _of_size(size, known)
    lines += _of_detection(_present(dataset, 15, 3))
    return "\n".join(f"* {line}" for line in lines) or "No cell of this dataset is finished."


def _of_size(size: tuple[int, int], found: dict[str, xr.Dataset]) -> list[str]:
    """Return sentences about one size, at the fewest Byzantine workers that can distort a file."""
    workers, copies = size
    few = copies // 2 + 1
    at = {name: shares(one.sel(byzantine=few)) for name, one in found.items()}
    open_ = {name for name, one in found.items() if not one.proven.sel(byzantine=few)}
    words = ", ".join(
        f"{name} {float(at[name].worst_case):.3f}{' or more' * (name in open_)}"
        for name in sorted(at, key=lambda name: float(at[name].worst_case))
    )
    alike = [float(at[name].expected) for name in (*MAJORITIES, "all subsets") if name in at]
    lines = [
        f"**{workers} workers, {copies} copies, {few} Byzantine**. Distorted fraction in the worst "
        f"placement: {words}."
        + (
            f" Placed at random: {min(alike):.3f} under every majority vote, on average."
            if alike and max(alike) - min(alike) < 1e-9
            else ""
        )
    ]
    alone, groups = found.get("no redundancy"), found.get("DETOX")
    if alone is not None and groups is not None:
        gap = (shares(groups).worst_case - shares(alone).worst_case).dropna("byzantine")
        above = gap.byzantine.values[gap.values > -1e-9]
        whom = ", ".join(map(str, above)) or "none"
        lines.append(
            f"In the worst placement DETOX with {workers} workers and {copies} copies distorts at "
            f"least as much as no redundancy for q = {whom} of q = {gap.byzantine.values[0]} to "
            f"{gap.byzantine.values[-1]} that were computed."
        )
    return lines


def _of_detection(present: dict[str, xr.Dataset]) -> list[str]:
    """Return for which numbers of Byzantine workers detection saves files, and for which not."""
    strong, plain = present.get("detection (strong attack)"), present.get("all subsets")
    if strong is None or plain is None:
        return []
    more = (strong.worst_case - plain.worst_case).dropna("byzantine")
    more = more[(plain.worst_case.sel(byzantine=more.byzantine) > 0).values]
    words = [
        f"{word} distorted files for q = {', '.join(map(str, more.byzantine.values[kind.values]))}"
        for word, kind in (("fewer", more < 0), ("as many", more == 0), ("more", more > 0))
        if kind.any()
    ]
    if not words:
        return []
    return [
        "**Detection** of contradicting workers (all subsets of 15 workers, 3 copies), beside the "
        f"plain majority of the same copies, leaves {'; '.join(words)}."
    ]


def figure(dataset: xr.Dataset) -> Figure:
    """Draw distorted fractions against Byzantine workers, worst and random, and the load."""
    result = Figure(figsize=(10.8, 6.4))
    axes = result.subplots(2, 3)
    for column, (workers, copies) in enumerate(SMALL):
        _worst(axes[0, column], dataset, workers, copies)
        _random(axes[1, column], dataset, workers, copies)
    for ax, byzantine in zip(axes[:, 2], BYZANTINE, strict=True):
        _loads(ax, dataset, byzantine)
    for letter, ax in zip("acebdf", axes.ravel(), strict=True):
        ax.set_title(f"({letter}) {ax.get_title()}")
    for ax in axes[:, 0]:
        ax.set_ylabel("distorted fraction")
    result.legend(handles=_handles(), loc="outside upper center", ncols=5)
    return result


def _present(dataset: xr.Dataset, workers: int, copies: int) -> dict[str, xr.Dataset]:
    """Return the schemes of one size that the dataset has."""
    labels = {scheme: label(scheme, workers, copies) for scheme in SCHEMES}
    stored = set(dataset.arrangement.values)
    return {s: dataset.sel(arrangement=name) for s, name in labels.items() if name in stored}


def _worst(ax, dataset: xr.Dataset, workers: int, copies: int) -> None:
    """Draw the worst case, what is not proven with open marks, and published values."""
    for scheme, data in _present(dataset, workers, copies).items():
        colour, marker = STYLES[scheme]
        share, q = shares(data), data.byzantine.values
        ax.plot(q, share.worst_case, color=colour, marker=marker, label=scheme)
        _unproven(ax, q, data, colour, marker)
        published = PUBLISHED.get(label(scheme, workers, copies), {})
        votes = np.array(list(published.values())) / float(data.votes)
        ax.plot(list(published), votes, ls="", marker="+", color="black", ms=7, mew=0.9, zorder=5)
    _finish(ax, workers, copies, "worst")


def _unproven(ax, x, data: xr.Dataset, colour, marker: str) -> None:
    """Open the marks of worst cases that are not proven, with a bar up to the bound."""
    share, open_ = shares(data), (data.proven == 0).values
    found, bound = share.worst_case.values[open_], share.bound.values[open_]
    x = np.broadcast_to(x, open_.shape)[open_]
    ax.errorbar(x, found, [0 * found, bound - found], fmt=marker, color=colour, mfc="white",
                lw=0.8, zorder=4)  # fmt: skip


def _random(ax, dataset: xr.Dataset, workers: int, copies: int) -> None:
    """Draw the exact expectation, and simulated means side by side."""
    present = _present(dataset, workers, copies)
    alike = [scheme for scheme in present if scheme in (*MAJORITIES, "all subsets")]
    for scheme, data in present.items():
        colour, marker = STYLES[scheme]
        share, q = shares(data), data.byzantine.values
        beside = 0.11 * (alike.index(scheme) - (len(alike) - 1) / 2) if scheme in alike else 0.0
        ax.plot(q, share.expected, color="0.3" if scheme in alike else colour, **RANDOM)
        ax.errorbar(q + beside, share.simulated, 2 * share.simulated_error, fmt=marker,
                    color=colour, ms=3, lw=0.8)  # fmt: skip
    _finish(ax, workers, copies, "random")
    ax.annotate("every majority vote: one expectation", (copies // 2 + 0.75, 0.63), (4, 0),
                textcoords="offset points", **NOTE)  # fmt: skip


def _finish(ax, workers: int, copies: int, placed: str) -> None:
    """Set the title and the axes of a panel, which ends where only the cyclic code is above."""
    ax.set_title(f"{workers} workers, {copies} copies, {placed} placement")
    ax.set(xlabel="Byzantine workers q", ylim=(-0.015, 0.72))
    ax.xaxis.get_major_locator().set_params(integer=True)
    note = f"cyclic code: 1 from q = {copies // 2 + 1}"
    ax.annotate(note, (copies // 2 + 0.75, 0.69), (4, 0), textcoords="offset points", **NOTE)


NOTE: dict = {"fontsize": 7.5, "va": "center", "color": "0.25"}


def _loads(ax, dataset: xr.Dataset, byzantine: int) -> None:
    """Draw the worst case against the load, and the expectation fainter."""
    ax.axhline(byzantine / 45, color=STYLES["no redundancy"][0], ls=":", lw=0.8)
    for scheme, sizes in LOADS.items():
        labels = [label(scheme, *size) for size in sizes]
        stored = [name for name in labels if name in dataset.arrangement.values]
        _load_line(ax, dataset.sel(arrangement=stored, byzantine=byzantine), *STYLES[scheme])
    ax.set(
        title=f"45 workers, {byzantine} Byzantine, worst placement (faint: random)", xscale="log"
    )
    ax.set(xlabel="compute load r", ylim=(-0.01, 0.45))
    ticks = [1, 3, 5, 7, 9, 11, 15, 19]
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.set_xticks([], minor=True)
    exact = 2 * byzantine + 1
    ax.text(0.8 * exact, 0.43, f"cyclic code: 1 below r = {exact}", ha="right", **NOTE)


def _load_line(ax, data: xr.Dataset, colour, marker: str) -> None:
    share, load = shares(data), data.copies.values
    ax.plot(load, share.expected, color=colour, marker=marker, alpha=0.35, ms=3, **RANDOM)
    ax.plot(load, share.worst_case, color=colour, marker=marker)
    _unproven(ax, load, data, colour, marker)
    for workers, x, y in zip(data.workers.values, load, share.worst_case.values, strict=True):
        if workers != 45 and np.isfinite(y):
            ax.annotate(
                f"{workers:.0f} workers", (x, y), (3, 6), textcoords="offset points", **NOTE
            )


RANDOM: dict = {"ls": "--", "lw": 0.8}


def _handles() -> list[Line2D]:
    """Explain colours and marks."""
    schemes = [
        Line2D([], [], color=colour, marker=marker, label=scheme)
        for scheme, (colour, marker) in STYLES.items()
    ]
    return [
        *schemes,
        Line2D([], [], color="0.3", label="worst case"),
        Line2D([], [], color="0.3", **RANDOM, label="random workers, exact expectation"),
        Line2D([], [], color="0.3", marker="o", ms=3, ls="", label="simulated, 2 standard errors"),
        Line2D([], [], color="0.3", marker="o", mfc="white", label="not proven; bar to the bound"),
        Line2D([], [], color="black", marker="+", ms=7, ls="", label="published (reported)"),
    ]
