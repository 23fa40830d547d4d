"""How many files attackers own after the vote, by the scheme that places files on nodes."""

from collections.abc import Callable
from math import comb, inf, nan

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detox_sim import assignments, attacks, placements, theory, voting
from detox_sim.attacks import through_vote as lies
from detox_sim.catalogue import bind, check_integer, check_known, supplied
from detox_sim.streams import stream
from studies import Study

FIELDS = (
    "assignment", "assignment_options", "workers", "copies", "vote", "lies", "byzantine",
    "complete", "draws", "seed",
)  # fmt: skip
LIES = ("everywhere", "through the vote")
MOST_BYZANTINE = 10  # of the stored axis
COORDINATES = 8  # of a simulated gradient


def _scheme(assignment: str, vote: str = "majority", lies: str = LIES[0]) -> dict:
    return {"assignment": assignment, "assignment_options": {}, "vote": vote, "lies": lies}


_ALIKE = {"draws": 10}  # where all placements of attackers distort as many files
SCHEMES = {
    "no redundancy": _scheme("none") | _ALIKE,
    "DETOX": _scheme("detox"),
    "Latin squares": _scheme("mols"),
    "Ramanujan graph": _scheme("ramanujan"),
    "block design": _scheme("bibd"),
    "random graph": _scheme("random_regular"),
    "all subsets": _scheme("subsets") | _ALIKE,
    "detection (weak attack)": _scheme("subsets", "clique") | _ALIKE,
    "detection (strong attack)": _scheme("subsets", "clique", LIES[1]) | _ALIKE,
    "cyclic code": _scheme("cyclic", "cyclic") | {"draws": 3},
}
MAJORITIES = ["DETOX", "Latin squares", "Ramanujan graph", "block design", "random graph"]
_OF_15 = [name for name in SCHEMES if name != "Ramanujan graph"]
_OF_25 = ["no redundancy", *(name for name in MAJORITIES if name != "Latin squares"), "cyclic code"]
SMALL = {  # (nodes, copies) -> numbers of Byzantine nodes, and the schemes of that size
    (15, 3): (range(1, 8), _OF_15),
    (25, 5): (range(1, 11), _OF_25),
}
LOADS = {  # scheme -> (nodes, copies)
    "no redundancy": [(45, 1)],
    "DETOX": [(45, 3), (45, 5), (45, 9), (45, 15)],
    "Latin squares": [(39, 3), (45, 5)],
    "block design": [(45, 3)],
    "random graph": [(45, 3), (45, 5), (45, 7), (45, 9)],
    "cyclic code": [(45, 3), (45, 5), (45, 7), (45, 9), (45, 11), (45, 15), (45, 19)],
}
ATTACKED = (5, 9)  # Byzantine nodes where the load varies


def label(scheme: str, workers: int, copies: int) -> str:
    """Return the place of a scheme of some size on the axis.

    Examples
    --------
    >>> label("DETOX", 15, 3), label("no redundancy", 15, 3)
    ('DETOX p=15 r=3', 'no redundancy p=15 r=1')
    """
    copies = 1 if scheme == "no redundancy" else copies
    return f"{scheme} p={workers} r={copies}"


def _arrangements() -> dict[str, dict]:
    small = [(s, *size, q) for size, (q, schemes) in SMALL.items() for s in schemes]
    loads = [(s, *size, ATTACKED) for s, sizes in LOADS.items() for size in sizes]
    table = {
        label(scheme, workers, copies): SCHEMES[scheme]
        | {"workers": workers, "byzantine": list(q)}
        | {"copies": 1 if scheme == "no redundancy" else copies}
        for scheme, workers, copies, q in [*small, *loads]
    }
    table[label("random graph", 15, 3)]["assignment_options"] = {"load": 5}
    return table


_ARRANGEMENTS = _arrangements()
PROFILES: dict = {
    "smoke": ({"complete": False, "draws": 20, "seed": 0}, {"arrangement": _ARRANGEMENTS}),
    "laptop": ({"complete": True, "draws": 400, "seed": 0}, {"arrangement": _ARRANGEMENTS}),
}
PUBLISHED = {
    label("Latin squares", 15, 3): {2: 1, 3: 3, 4: 5, 5: 8, 6: 12, 7: 14},
    label("Ramanujan graph", 25, 5): {3: 1, 4: 1, 5: 2, 6: 4, 7: 5, 8: 7},
    label("detection (strong attack)", 15, 3): {q: comb(2 * q, 3) // 2 for q in range(2, 8)},
}


EXACT = {"majority": assignments.__all__, "clique": ["subsets"], "cyclic": ["cyclic"]}


def prepare(fields: dict) -> dict:
    check_known("field of schemes", fields, FIELDS)
    for name, least in (("workers", 3), ("copies", 1), ("draws", 2), ("seed", 0)):
        check_integer(name, fields[name], least)
    if not isinstance(fields["complete"], bool):
        raise ValueError(f"complete is True or False, got {fields['complete']!r}")
    check_known("lies", [fields["lies"]], LIES)
    check_known("vote of schemes", [fields["vote"]], EXACT)
    check_known(f"assignment with vote {fields['vote']}", [fields["assignment"]],
                EXACT[fields["vote"]])  # fmt: skip
    byzantine, workers = fields["byzantine"], fields["workers"]
    if not isinstance(byzantine, list) or not byzantine:
        raise ValueError(f"byzantine must be a list of integers, got {byzantine!r}")
    most = min(MOST_BYZANTINE, (workers - 1) // 2)
    for q in byzantine:
        check_integer("byzantine", q, 1)
        if q > most:
            raise ValueError(
                f"byzantine must be at most {MOST_BYZANTINE} and below workers / 2 = "
                f"{workers / 2:g}, got {q}; use at most {most}"
            )
    _holders(fields)
    return fields


def _holders(fields: dict) -> np.ndarray:
    assign = bind(assignments, fields["assignment"], fields["assignment_options"])
    return assign(fields["workers"], fields["copies"])


def cost(fields: dict) -> tuple[float, float]:
    draw = {"majority": 2e-4, "clique": 2e-3, "cyclic": 1e-2}[fields["vote"]]
    search = 0.6 if fields["complete"] and fields["workers"] > 25 else 0.02
    return len(fields["byzantine"]) * (fields["draws"] * draw + search), 5e7


# --- one cell ------------------------------------------------------------------------------------

VARIABLES = {
    "worst_case": "lost votes when attackers choose their nodes, the most that is known",
    "bound": "proven upper bound on lost votes",
    "proven": "1 where the worst case is exact",
    "spectral": "spectral bound on lost votes",
    "expected": "expected lost votes when attackers sit on random nodes",
    "placed": "lost votes of the vote itself when attackers sit in the worst case",
    "simulated": "mean lost votes of the vote itself when attackers sit on random nodes",
    "simulated_error": "standard error of that mean",
}


def run(fields: dict) -> xr.Dataset:
    """Return lost votes against the number of Byzantine nodes: exact, bounds and simulated."""
    holders = _holders(fields)
    table = {name: np.full(MOST_BYZANTINE, nan) for name in VARIABLES}
    for q in fields["byzantine"]:
        for name, value in _row(holders, q, fields).items():
            table[name][q - 1] = value
    names: dict = {
        name: ("byzantine", values, {"long_name": VARIABLES[name]})
        for name, values in table.items()
    }
    names["votes"] = ((), 1.0 if fields["vote"] == "cyclic" else float(len(holders)))
    names["files"] = ((), float(len(holders)))
    for name in ("workers", "copies", "draws"):
        names[name] = ((), float(fields[name]))
    return xr.Dataset(names, coords={"byzantine": np.arange(1, MOST_BYZANTINE + 1)})


def _row(holders: np.ndarray, byzantine: int, fields: dict) -> dict[str, float]:
    """Return `VARIABLES` for one number of Byzantine nodes."""
    known, worst_nodes = _known(holders, byzantine, fields)
    lost = _simulation(holders, byzantine, fields)
    rng = stream(fields["seed"], "schemes nodes", byzantine)
    counts = [
        lost(placements.fixed(holders, byzantine, rng), draw + 1) for draw in range(fields["draws"])
    ]
    return known | {
        "placed": lost(worst_nodes, 0),
        "simulated": float(np.mean(counts)),
        "simulated_error": float(np.std(counts, ddof=1) / len(counts) ** 0.5),
    }


def _known(
    holders: np.ndarray, byzantine: int, fields: dict
) -> tuple[dict[str, float], np.ndarray]:
    """Return what is known without a simulation, and the worst nodes (workers,)."""
    workers, copies = fields["workers"], fields["copies"]
    if fields["vote"] == "majority":
        seconds = inf if fields["complete"] else 0  # no result depends on the clock
        worst = theory.worst_case_distorted_files(holders, byzantine, seconds=seconds)
        expected = theory.expected_distorted_files(workers, byzantine, copies, files=len(holders))
        known = {"worst_case": worst.distorted, "bound": worst.bound, "proven": worst.proven}
        spectral = theory.spectral_bound(holders, byzantine)
        return known | {"spectral": spectral, "expected": expected}, worst.workers
    if fields["vote"] == "cyclic":
        lost = int(byzantine > (copies - 1) // 2)
    elif fields["lies"] == "everywhere":
        lost = comb(byzantine, copies)
    else:
        decoys = lies.best_decoys(workers, byzantine, copies)
        lost = lies.undetected(workers, byzantine, copies, decoys)
    alike = dict.fromkeys(("worst_case", "bound", "expected"), float(lost))
    return alike | {"proven": 1.0}, np.arange(workers) < byzantine


def _simulation(
    holders: np.ndarray, byzantine: int, fields: dict
) -> Callable[[np.ndarray, int], int]:
    """Return ``lost(bad (workers,), draw)``: the votes lost to those nodes, by the vote itself."""
    vote = bind(voting, fields["vote"], {})
    shape = (len(holders), COORDINATES)
    rows = stream(fields["seed"], "schemes rows").standard_normal(shape, dtype=np.float32)
    decoys = lies.best_decoys(fields["workers"], byzantine, fields["copies"])

    def lost(bad: np.ndarray, draw: int) -> int:
        if fields["lies"] == "everywhere":
            forged = bad[holders]
        elif fields["vote"] == "clique":
            forged = lies.slander(holders, bad, decoys)
        else:
            forged = lies.through(holders, bad, fields["vote"])
        rng = stream(fields["seed"], "schemes vote", byzantine, draw)
        messages = attacks.constant(rows, forged, rng=rng)
        return int(supplied(vote, holders=holders, rng=rng)(messages).distorted.sum())

    return lost


# --- the figure ----------------------------------------------------------------------------------

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
    """Return the variables that count votes as fractions of the votes."""
    return dataset[[name for name in VARIABLES if name != "proven"]] / dataset.votes


def figure(dataset: xr.Dataset) -> Figure:
    """Draw fractions against Byzantine nodes, by who chooses them, and against the load."""
    result = Figure(figsize=(10.8, 6.4))
    axes = result.subplots(2, 3)
    for column, (workers, copies) in enumerate(SMALL):
        _worst(axes[0, column], dataset, workers, copies)
        _random(axes[1, column], dataset, workers, copies)
    for ax, byzantine in zip(axes[:, 2], ATTACKED, strict=True):
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
    _settled(ax, workers, copies, "worst nodes")


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
    _settled(ax, workers, copies, "random nodes")
    ax.annotate("every majority vote: one expectation", (copies // 2 + 0.75, 0.63), (4, 0),
                textcoords="offset points", **NOTE)  # fmt: skip


def _settled(ax, workers: int, copies: int, attackers: str) -> None:
    """Title a panel, and cut it where only the cyclic code goes on, up to 1."""
    ax.set_title(f"{workers} nodes, {copies} copies: attackers on {attackers}")
    ax.set(xlabel="Byzantine nodes q", ylim=(-0.015, 0.72))
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
    ax.set(title=f"45 nodes, {byzantine} Byzantine: worst nodes (faint: random)", xscale="log")
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
            ax.annotate(f"{workers:.0f} nodes", (x, y), (3, 6), textcoords="offset points", **NOTE)


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
        Line2D([], [], color="0.3", **RANDOM, label="random nodes, exact expectation"),
        Line2D([], [], color="0.3", marker="o", ms=3, ls="", label="simulated, 2 standard errors"),
        Line2D([], [], color="0.3", marker="o", mfc="white", label="not proven; bar to the bound"),
        Line2D([], [], color="black", marker="+", ms=7, ls="", label="published (reported)"),
    ]


STUDY = Study(
    title="Distorted files by scheme",
    claim="Not of the DETOX paper. ByzShield (MLSys 2021): with files placed by Latin squares or "
    "Ramanujan graphs, attackers who choose their nodes distort 36 % less than of DETOX, on "
    "average. Aspis (ISIT 2022): detecting liars leaves 16 to 99 % fewer corrupted gradients "
    "(reported; quoted from memory).",
    definitions=[
        "distorted fraction: lost votes / votes. A vote is lost when its outcome is not the true "
        "gradient; the cyclic code has one vote, the decoded mean, so its fraction is 0 or 1",
        "worst case: attackers know who holds what and choose their nodes; exact by a closed "
        "form or a complete search, else the best that a short search found, with a proven "
        "bound beside it",
        "random nodes: every set of q nodes is as likely; the expectation is exact",
        "simulated: the constant attack on random gradients, through the vote itself",
        "all subsets: each set of r nodes computes a file, and the majority wins. With detection "
        "(Aspis), nodes outside the unique largest set of nodes that agree do not count",
        "weak attack on detection: attackers lie about every file. Strong attack: they know the"
        " vote, and lie where it distorts most files",
        "random graph: one random regular graph, public, the same in every round",
        "load: images that a node computes, relative to no redundancy. It is r in every scheme",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    scale="exact counts, and votes on simulated messages",
    version=2,
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
