"""The files that a majority vote leaves distorted, against the number of Byzantine workers."""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detox_sim import assignments, placements, theory
from detox_sim.catalogue import check_integer, check_known
from detox_sim.streams import stream
from studies import Study
from studies.style import DETOX, THEORY, VANILLA

# Vote groups, inner and outer rule; None where there is none.
HIERARCHIES: dict[str, tuple[int | None, str | None, str]] = {
    "D-Mean": (None, None, "mean"),
    "D-Median, 3 groups": (3, "mean", "median"),
    "D-Median, 5 groups": (5, "mean", "median"),
    "D-Multi-Krum, 2 groups": (2, "multi_krum", "mean"),
    "D-Bulyan": (None, None, "bulyan"),
    "vote, then median": (None, None, "median"),
}

FIELDS = ("workers", "copies", "byzantine_of_45", "draws", "seed")
_COMMON = {"byzantine_of_45": list(range(1, 23)), "seed": 0}
PROFILES = {
    "smoke": (_COMMON | {"draws": 50}, {"workers": [45, 450], "copies": [3, 5, 9, 15]}),
    "laptop": (_COMMON | {"draws": 500}, {"workers": [45, 450, 1800], "copies": [3, 5, 9, 15]}),
}


def prepare(fields: dict) -> dict:
    """Return the fields, checked, or raise ValueError."""
    check_known("field of filtering", fields, FIELDS)
    for name, least in (("workers", 45), ("copies", 1), ("draws", 2), ("seed", 0)):
        check_integer(name, fields[name], least)
    shares = fields["byzantine_of_45"]
    if not isinstance(shares, list) or not shares or len(set(map(str, shares))) < len(shares):
        raise ValueError(f"byzantine_of_45 must be a list of distinct integers, got {shares!r}")
    if fields["workers"] % 45:
        raise ValueError(f"filtering needs a multiple of 45 workers, got {fields['workers']}")
    for share in shares:
        check_integer("byzantine_of_45", share, 0)
        theory.check_workers(fields["workers"], fields["workers"] * share // 45, fields["copies"])
    return fields


def run(fields: dict) -> xr.Dataset:
    """Return the exact law, its bounds and a simulation at each number of Byzantine workers."""
    workers, copies, draws = fields["workers"], fields["copies"], fields["draws"]
    holders = assignments.detox(workers, copies)
    table: dict[str, list[float]] = {}
    byzantine = [workers * share // 45 for share in fields["byzantine_of_45"]]
    for q in byzantine:
        law = np.asarray(theory.distorted_files(workers, q, copies))
        counts = _simulate(holders, q, draws, fields["seed"])
        row = {
            "exact": theory.expected_distorted_files(workers, q, copies),
            "none_distorted": law[0],
            "upper_95": float(np.searchsorted(np.cumsum(law), 0.95)),
            "simulated": counts.mean(),
            "simulated_error": _deviation(law) / draws**0.5,
            "bound_paper": theory.expected_distorted_files_bound(workers, q, copies, form="paper"),
            "bound_sharp": theory.expected_distorted_files_bound(workers, q, copies, form="sharp"),
            "worst_case": theory.worst_case_distorted_files(holders, q).distorted,
        }
        for name, value in row.items():
            table.setdefault(name, []).append(value)
    names: dict = {name: ("byzantine_of_45", np.array(values)) for name, values in table.items()}
    names["draws"] = ((), np.array(draws))
    names["condition_fails"] = (
        ("hierarchy", "byzantine_of_45"),
        np.array(
            [[_fails(h, workers, q, copies) for q in byzantine] for h in HIERARCHIES.values()]
        ),
    )
    labels = np.array(list(HIERARCHIES), dtype=object)
    coords = {"byzantine_of_45": fields["byzantine_of_45"], "hierarchy": labels}
    return xr.Dataset(names, coords=coords)


def _fails(
    hierarchy: tuple[int | None, str | None, str], workers: int, byzantine: int, copies: int
) -> float:
    """Return the exact chance that more is distorted than a hierarchy withstands.

    NaN where a rule needs more rows than it would be given.
    """
    groups, inner, outer = hierarchy
    votes = workers // copies
    rows = votes if groups is None else groups
    smallest = votes if groups is None else votes // groups
    if rows > votes or theory.withstands(outer, rows) < 0:
        return np.nan
    if inner is not None and theory.withstands(inner, smallest) < 0:
        return np.nan
    law = np.asarray(theory.distorted_files(workers, byzantine, copies))
    return theory.condition_violated(votes, law, groups=groups, inner=inner, outer=outer)


def _simulate(holders: np.ndarray, byzantine: int, draws: int, seed: int) -> np.ndarray:
    """Return the number of distorted files (draws,) under random placements."""
    rng = stream(seed, "filtering", byzantine)
    counts = np.empty(draws)
    for draw in range(draws):
        chosen = placements.fixed(holders, byzantine, rng)
        counts[draw] = (2 * chosen[holders].sum(axis=1) > holders.shape[1]).sum()
    return counts


def _deviation(law: np.ndarray) -> float:
    """Return the standard deviation of a law over 0, 1, 2, ..."""
    values = np.arange(law.size)
    mean = (law * values).sum()
    return float(np.sqrt((law * (values - mean) ** 2).sum()))


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown: the law at the smallest p, the worst case, the bound.

    Parameters
    ----------
    dataset : xarray.Dataset
        (workers, copies, byzantine_of_45); NaN where a cell failed.

    Examples
    --------
    >>> sizes = {"workers": [45], "copies": [3], "byzantine_of_45": [5]}
    >>> numbers = {"exact": 0.43, "worst_case": 2.0, "bound_sharp": 1.2}
    >>> found = xr.Dataset({k: (tuple(sizes), [[[v]]]) for k, v in numbers.items()}, sizes)
    >>> print(finding(found))
    * **Placed at random** (means): 5 of 45 Byzantine workers distort 2.9 % (r = 3) of the files.
    * **In the worst placement** 5 of 45 distort 13 % (r = 3).
    * Of 1 means, 0 lie above the bound of theorem 1 with 4 in place of 40.
    """
    known = dataset.dropna("workers", how="all", subset=["exact"])
    if not known.sizes["workers"]:
        return "No cell of this dataset is finished."
    workers = int(known.workers[0])
    known = known.sel(workers=workers).dropna("copies", how="all", subset=["exact"])
    some = known.sel(byzantine_of_45=[5, 15, 22], method="nearest").drop_duplicates(...)
    share = some[["exact", "worst_case"]] / (workers // some.copies)
    means, worst = (
        "; ".join(
            f"{q * workers // 45} of {workers}{who} distort {_by_copies(values)}{what}"
            for q, values in share[name].groupby("byzantine_of_45")
        )
        for name, who, what in (
            ("exact", " Byzantine workers", " of the files"),
            ("worst_case", "", ""),
        )
    )
    compared = dataset.exact.where(dataset.bound_sharp.notnull())
    above = int((compared > dataset.bound_sharp * (1 + 1e-9)).sum())
    return (
        f"* **Placed at random** (means): {means}.\n* **In the worst placement** {worst}.\n"
        f"* Of {int(compared.count())} means, {above} lie above the bound of theorem 1 with "
        "4 in place of 40."
    )


def _by_copies(share: xr.DataArray) -> str:
    """Return a share (copies, 1) in words, without the copies of failed cells."""
    known = share.squeeze("byzantine_of_45").dropna("copies")
    return ", ".join(
        f"{100 * float(value):.2g} % (r = {r})"
        for r, value in zip(known.copies.values, known, strict=True)
    )


def figure(dataset: xr.Dataset) -> Figure:
    """Draw distorted files against Byzantine workers, a panel for each p and r."""
    rows, columns = dataset.workers.values, dataset.copies.values
    result = Figure(figsize=(2.5 * len(columns), 2.2 * len(rows) + 0.4))
    axes = result.subplots(len(rows), len(columns), squeeze=False)
    for i, workers in enumerate(rows):
        for j, copies in enumerate(columns):
            _panel(axes[i, j], dataset.sel(workers=workers, copies=copies), workers, copies)
        axes[i, 0].set_ylabel("distorted files")
    for ax in axes[-1]:
        ax.set_xlabel("Byzantine workers q")
    simulated = f"mean of {int(dataset.draws.max())} random placements, 2 exact standard errors"
    handles = [
        Line2D([], [], color=DETOX, label="exact expectation"),
        Line2D([], [], color=VANILLA, marker="o", ls="", label=simulated),
        Line2D([], [], color=THEORY, ls="--", label="theorem 1 with 4 for 40 (proven)"),
        Line2D([], [], color="0.5", ls="-.", label="theorem 1 (bound with 40)"),
        Line2D([], [], color="0.2", ls=":", label="worst placement"),
    ]
    result.legend(handles=handles, loc="outside upper center", ncols=5)
    return result


def _panel(ax, data: xr.Dataset, workers: int, copies: int) -> None:
    q = data.byzantine_of_45.values * (workers // 45)
    exact = data.exact.where(data.exact > 0)  # zero cannot be drawn on a logarithmic axis
    sns.lineplot(x=q, y=exact, ax=ax, color=DETOX, errorbar=None)
    shown = slice(None, None, 2)
    ax.errorbar(
        q[shown],
        data.simulated[shown],
        2 * data.simulated_error[shown],
        color=VANILLA,
        fmt="o",
        ms=3,
        lw=0.8,
    )
    ax.plot(q, data.bound_sharp, color=THEORY, ls="--", lw=1.1)
    ax.plot(q, data.bound_paper, color="0.5", ls="-.", lw=1)
    worst = data.worst_case.values.astype(float)
    ax.plot(q, np.where(worst > 0, worst, np.nan), color="0.2", ls=":", lw=1.2)
    votes = workers // copies
    title = f"p = {workers}, r = {copies}"
    ax.set(yscale="log", ylim=(1e-4, 3 * votes), ylabel="", title=title)


STUDY = Study(
    title="Distorted files after the vote",
    claim="Theorem 1 of the paper: with groups of r workers drawn at random, the expected number "
    "of Byzantine votes is at most (q / r) (40 e (1 - e))^((r - 1) / 2), e = q / p "
    "(reported; quoted from memory).",
    definitions=[
        "a file is distorted when more than half of the workers of its group are Byzantine"
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    finding=finding,
    scale="exact law, and simulated placements",
    version=3,
    fields=FIELDS,
    prepare=prepare,
)
