"""What a dataset of `reactive` says, and its figure."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from detox_sim.sweeps.intervals import student_t
from studies.style import DETOX, THEORY, VANILLA
from studies.training.effects import differences, estimates

EVERY_STEP = "every step"
NOBODY = "nobody"
TICKS = (1, 2, 3, 4, 6, 8, 11, 15)  # loads
REFERENCE, EXACT = "DETOX", "DRACO"  # what loads are compared with; whose vote loses nothing
_PALETTE = sns.color_palette("colorblind")
STYLES = {  # by the first word of a scheme
    "alone": (VANILLA, "o"),
    "DETOX": (DETOX, "s"),
    "DRACO": (_PALETTE[3], "D"),
    "LAD": (_PALETTE[4], "^"),
    "reactive": (THEORY, "v"),
}
LAWS = {  # measured variable -> what the exact law expects of it
    "mean_load": "expected_load",
    "accepted": "expected_accepted",
    "steps_at_risk": "expected_steps_at_risk",
}

# --- Quantities -----------------------------------------------------------------------------------


def accuracy(dataset: xr.Dataset) -> xr.DataArray:
    """Return the accuracy of each run, the mean over its last five evaluations."""
    trained = dataset.accuracy.isel(eval_step=(dataset.eval_step > 0).values)
    return trained.isel(eval_step=slice(-differences.LAST, None)).mean("eval_step", skipna=False)


def damage(dataset: xr.Dataset) -> xr.DataArray:
    """Return the accuracy when nobody attacks less that under each attack, paired by seed.

    Parameters
    ----------
    dataset : xarray.Dataset
        (scheme, attack, seed, eval_step); NaN where a trial failed.

    Returns
    -------
    xarray.DataArray
        (scheme, attack, seed) without the attack "nobody"; NaN where that did not run.
    """
    found, attacks = accuracy(dataset), attacks_in(dataset)
    attacked = found.sel(attack=attacks)
    if NOBODY not in dataset.attack.values:
        return attacked * np.nan
    return found.sel(attack=NOBODY, drop=True) - attacked


def attacks_in(dataset: xr.Dataset) -> list[str]:
    """Return the labels of the rates at which workers attack.

    Examples
    --------
    >>> attacks_in(xr.Dataset(coords={"attack": ["every step", "nobody"]}))
    ['every step']
    """
    return [str(name) for name in dataset.attack.values if name != NOBODY]


def worst(dataset: xr.Dataset) -> dict[str, str]:
    """Return the rate that each scheme is charged with: that of the largest mean damage.

    Where the damages are equal it is the one of the largest mean load. A scheme without a finished
    pair of runs is left out.
    """
    damages = damage(dataset).mean("seed").transpose("scheme", "attack")
    loads = dataset.mean_load.mean("seed").sel(attack=damages.attack).transpose("scheme", "attack")
    found = {}
    for scheme in (str(name) for name in dataset.scheme.values):
        lost = damages.sel(scheme=scheme).values
        paid = loads.sel(scheme=scheme).values
        ranks = [
            (lost[i], paid[i], str(name))
            for i, name in enumerate(damages.attack.values)
            if np.isfinite([lost[i], paid[i]]).all()
        ]
        if ranks:
            found[scheme] = max(ranks, key=lambda rank: rank[:2])[2]
    return found


def charged(dataset: xr.Dataset) -> xr.Dataset:
    """Return the runs of each scheme at its worst rate (scheme, seed), with `damage`.

    Also `unharmed`, the accuracy when nobody attacks, and `idle_load`, the load then. Schemes
    without a worst rate are left out.
    """
    chosen = worst(dataset)
    names = list(chosen)
    full = dataset.assign(damage=damage(dataset), final=accuracy(dataset))
    at = xr.DataArray(list(chosen.values()), dims="scheme", coords={"scheme": names})
    idle = full.sel(scheme=names, attack=NOBODY, drop=True) if names else None
    if idle is None:
        return full.isel(scheme=slice(0), attack=0).assign(
            unharmed=full.final, idle_load=full.mean_load
        )
    found = full.sel(scheme=at.scheme, attack=at)
    return found.assign(unharmed=idle.final, idle_load=idle.mean_load)


def unhurt(dataset: xr.Dataset) -> list[str]:
    """Return the schemes whose accuracy is the same under all attacks, in every seed."""
    lost = damage(dataset).transpose("scheme", "attack", "seed")
    return [
        str(name)
        for name in lost.scheme.values
        if np.isfinite(values := lost.sel(scheme=name).values).all() and not values.any()
    ]


def in_laws(dataset: xr.Dataset, variable: str) -> tuple[int, int]:
    """Return how many intervals over seeds have the law's value, and how many there are."""
    inside = total = 0
    for _, _, _, values, law in by_check(dataset, variable):
        if not np.isfinite([*values, law]).all() or len(values) < 2:
            continue
        low, high = student_t(values)
        total += 1
        inside += low - 1e-9 <= law <= high + 1e-9
    return inside, total


def by_check(
    dataset: xr.Dataset, variable: str
) -> Iterator[tuple[str, str, float, np.ndarray, float]]:
    """Yield scheme, attack, chance of a check, values over seeds and the law of cells that check.

    Where nobody attacks only the load has a law.
    """
    for scheme, attack in itertools.product(dataset.scheme.values, dataset.attack.values):
        one = dataset.sel(scheme=scheme, attack=attack)
        if one.chance.notnull().any() and (attack != NOBODY or variable == "mean_load"):
            law, chance = float(one[LAWS[variable]].max()), float(one.chance.max())
            yield str(scheme), str(attack), chance, one[variable].values, law


# --- The finding ----------------------------------------------------------------------------------


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown: damage, load, price, and the laws beside the runs.

    Parameters
    ----------
    dataset : xarray.Dataset
        (scheme, attack, seed); NaN where a trial failed.
    """
    found = charged(dataset)
    if not found.scheme.size:
        return "No scheme has runs both under an attack and without."
    same = [name for name in unhurt(dataset) if name in found.scheme.values]
    lines = [_exact(found, same), *_idle(found), *_damaged(found)]
    lines += [*_beside(found), *_price(found), *_rounds(found), *_laws(dataset)]
    seeds = int(found.damage.notnull().any("scheme").sum())
    least = estimates.SEEDS
    few = f" With fewer than {least} seeds nothing is decided." if seeds < least else ""
    lines.append(
        "Every scheme is charged with the worst of the tested rates of attack, chosen on the same "
        "seeds. Differences are decided by Holm's method over the schemes. "
        f"{seeds} seed{'s' * (seeds > 1)}; intervals are 95 %, Student's t, paired by "
        f"seed.{few}"
    )
    return "\n".join(f"* {line}" for line in lines)


def _exact(found: xr.Dataset, same: list[str]) -> str:
    """Say which schemes lose nothing, from the least load."""
    ordered = sorted(same, key=lambda name: float(found.mean_load.sel(scheme=name).mean()))
    if not ordered:
        return "**No scheme** has the same accuracy under all attacks as when nobody attacks."
    each = _listed(ordered, lambda name: f"load {number(found.mean_load.sel(scheme=name))}")
    return f"**No damage at any tested rate**, the accuracy of runs that nobody attacks: {each}."


def _idle(found: xr.Dataset) -> list[str]:
    """Say what checks cost when nobody attacks, beside DETOX."""
    checks = [str(name) for name in found.scheme.values if str(name).startswith("reactive")]
    if not checks or REFERENCE not in found.scheme.values:
        return []
    reference = found.idle_load.sel(scheme=REFERENCE, drop=True)
    sides = _sides(found.idle_load.sel(scheme=checks) - reference, 0.0)
    said = _by_side(
        sides,
        {"above": "More", "below": "Less", estimates.UNDECIDED: "Not decided"},
        lambda name: number(found.idle_load.sel(scheme=name)),
    )
    return [
        "**When nobody attacks**, checks exclude no one and go on. Their load beside that of "
        f"{REFERENCE}, {number(reference)}. {said}"
    ]


def _damaged(found: xr.Dataset) -> list[str]:
    """Say on which side of the threshold the damage to each scheme is decided to be."""
    said = _by_side(
        _sides(found.damage, estimates.THRESHOLD),
        {"above": "More", "below": "Less", estimates.UNDECIDED: "Not decided"},
        lambda name: (
            f"{number(found.damage.sel(scheme=name), 3)}, load "
            f"{number(found.mean_load.sel(scheme=name))}"
        ),
    )
    return [f"**Damage of more or less than {estimates.THRESHOLD:g} of accuracy.** {said}"]


def _beside(found: xr.Dataset) -> list[str]:
    """Say which schemes have less load than DETOX, and which damage, paired by seed."""
    if REFERENCE not in found.scheme.values:
        return []
    others = [str(name) for name in found.scheme.values if name != REFERENCE]
    more = found.sel(scheme=others) - found.sel(scheme=REFERENCE, drop=True)
    loads, damages = _sides(more.mean_load, 0.0), _sides(more.damage, 0.0)
    words = {"below": "less", "above": "more", estimates.UNDECIDED: "no decided difference in"}
    both = {name: f"{words[loads[name]]} load, {words[damages[name]]} damage" for name in others}
    orders = [f"{load} load, {lost} damage" for load in words.values() for lost in words.values()]
    said = _by_side(
        both,
        {order: order.capitalize() for order in orders if order in both.values()},
        lambda name: number(more.damage.sel(scheme=name), 3),
    )
    own = found.sel(scheme=REFERENCE)
    return [
        f"**Beside {REFERENCE}** (damage {number(own.damage, 3)}, load {number(own.mean_load)}), "
        f"with the difference in damage. {said}"
    ] * bool(said)


def _price(found: xr.Dataset) -> list[str]:
    """Say what accuracy a rule costs when nobody attacks, against the exact mean."""
    if EXACT not in found.scheme.values:
        return []
    price = found.unharmed.sel(scheme=EXACT, drop=True) - found.unharmed
    priced = [str(name) for name in price.scheme.values if price.sel(scheme=name).values.any()]
    if not priced:
        return []
    ordered = sorted(priced, key=lambda name: -float(price.sel(scheme=name).mean()))
    each = _listed(ordered, lambda name: number(price.sel(scheme=name), 3))
    return [
        f"**The price of a rule when nobody attacks**, accuracy below that of the mean ({EXACT}: "
        f"{number(found.unharmed.sel(scheme=EXACT), 3)}): {each}."
    ]


def _rounds(found: xr.Dataset) -> list[str]:
    """Say how long a round is, from the shortest, and what a worker sends."""
    means = found[["modelled_round_seconds", "bytes_per_worker"]].mean("seed").dropna("scheme")
    if not means.scheme.size:
        return []
    ordered = [str(name) for name in means.sortby("modelled_round_seconds").scheme.values]
    each = _listed(ordered, lambda name: number(found.modelled_round_seconds.sel(scheme=name)))
    sent = means.bytes_per_worker
    return [
        f"**Modelled seconds of a round** of ResNet-18: {each}. A worker sends most with "
        f"{sent.idxmax().item()}, {float(sent.max() / sent.min()):.1f} times the least."
    ]


def _listed(names: Iterable[str], value: Callable[[str], str]) -> str:
    return "; ".join(f"{name} ({value(name)})" for name in names)


def _by_side(sides: dict[str, str], words: dict[str, str], value: Callable[[str], str]) -> str:
    """Return a sentence for each side that has schemes."""
    each = ((word, [n for n in sides if sides[n] == side]) for side, word in words.items())
    return " ".join(f"{word}: {_listed(names, value)}." for word, names in each if names)


def _laws(dataset: xr.Dataset) -> list[str]:
    """Say how many measured intervals have the value of the exact law."""
    names = {
        "mean_load": "the load",
        "accepted": "accepted forged values",
        "steps_at_risk": "steps until the last exclusion",
    }
    counted = {words: in_laws(dataset, name) for name, words in names.items()}
    each = [f"{k} of {n} of {words}" for words, (k, n) in counted.items() if n]
    if not each:
        return []
    return [f"**The exact laws of checks** lie in the measured intervals: {', '.join(each)}."]


def _sides(values: xr.DataArray, threshold: float) -> dict[str, str]:
    """Return of each scheme the side of a threshold on which its mean over seeds is decided."""
    judged = estimates.estimate(values, threshold, "scheme")
    sides = estimates.decisions(judged, threshold)
    return {str(name): str(sides.sel(scheme=name).item()) for name in sides.scheme.values}


def number(values: xr.DataArray, digits: int = 2) -> str:
    """Return "mean ± half" of the 95 % interval over seeds; only the mean where all are equal.

    Examples
    --------
    >>> [number(xr.DataArray(some)) for some in ([1.0, 1.0], [1.0, 2.0, np.nan], [-1e-9])]
    ['1.00', '1.50 ± 6.35', '0.00']
    """
    known = values.values[np.isfinite(values.values)]
    if not known.size:
        return "-"
    low, high = student_t(known)
    half = f" ± {(high - low) / 2:.{digits}f}" if np.ptp(known) > 1e-12 else ""
    return f"{round(known.mean(), digits) + 0.0:.{digits}f}{half}"  # + 0.0: no minus before zero


# --- Tables ---------------------------------------------------------------------------------------


def costs_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return what each scheme loses and computes, at its worst rate."""
    found, chosen = charged(dataset), worst(dataset)
    rows = {}
    for name in (str(name) for name in found.scheme.values):
        one = found.sel(scheme=name)
        rows[name] = {
            "worst rate": chosen[name],
            "damage": number(one.damage, 3),
            "accuracy, attacked": number(one.final, 3),
            "accuracy, nobody attacks": number(one.unharmed, 3),
            "load": number(one.mean_load),
            "load, nobody attacks": number(one.idle_load),
            "forged values accepted": number(one.accepted, 1),
        }
    return pd.DataFrame(rows).T.rename_axis("scheme")


def bytes_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return what each scheme sends and how long a round is, at its worst rate."""
    found = charged(dataset)
    rows = {}
    for name in (str(name) for name in found.scheme.values):
        one = found.sel(scheme=name)
        rows[name] = {
            "images a worker": number(one.images_per_worker, 1),
            "gradients at the server": number(one.server_gradients, 3),
            "kB a worker": number(one.bytes_per_worker / 1000, 1),
            "modelled seconds": number(one.modelled_round_seconds),
        }
    return pd.DataFrame(rows).T.rename_axis("scheme")


def rates_table(values: xr.DataArray, digits: int) -> pd.DataFrame:
    """Return a quantity (scheme, attack, seed) of each scheme by the rate of attack."""
    rows = {
        str(name): {
            str(attack): number(values.sel(scheme=name, attack=attack), digits)
            for attack in values.attack.values
        }
        for name in values.scheme.values
    }
    return pd.DataFrame(rows).T.rename_axis("scheme")


def laws_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return load, accepted values and steps of checks, measured beside the exact law."""
    rows: dict[str, dict[str, str]] = {}
    words = {"mean_load": "load", "accepted": "accepted", "steps_at_risk": "steps at risk"}
    for variable, word in words.items():
        for scheme, attack, _, values, law in by_check(dataset, variable):
            row = rows.setdefault(f"{scheme}; {attack}", {})
            digits = 2 if variable == "mean_load" else 1
            row[word], row[f"{word}, law"] = (
                number(xr.DataArray(values), digits),
                f"{law:.{digits}f}",
            )
    for scheme, attack, *_ in by_check(dataset, "steps_at_risk"):
        one = dataset.sel(scheme=scheme, attack=attack)
        ended = int(one.steps_to_last_exclusion.notnull().sum())
        rows[f"{scheme}; {attack}"] |= {
            "runs with all excluded": f"{ended} of {int(one.accepted.notnull().sum())}",
            "chance of that, law": f"{float(one.expected_clean.max()):.2f}",
            "steps to the last exclusion, law of a run without end": (
                f"{float(one.expected_steps_to_last_exclusion.max()):.1f}"
            ),
        }
    return pd.DataFrame(rows).T.fillna("-").rename_axis("checks")


# --- The figure -----------------------------------------------------------------------------------


def figure(dataset: xr.Dataset) -> Figure:
    """Draw load against damage, and what checks cost and take against their chance."""
    result = Figure(figsize=(9.6, 5.4))
    places = result.add_gridspec(2, 2, width_ratios=(1.6, 1))
    _frontier(result.add_subplot(places[:, 0]), charged(dataset))
    above, below = (result.add_subplot(places[i, 1]) for i in (0, 1))
    _law_panel(above, dataset, "mean_load")
    above.set(ylabel="load", ylim=(0, None), title="Reactive checks: runs, and exact laws (dashes)")
    _law_panel(below, dataset, "steps_at_risk")
    below.set(ylabel="steps until the last exclusion\n(or the end)", xlabel="chance of a check")
    below.set_ylim(bottom=0)
    handles, labels = above.get_legend_handles_labels()
    if handles:
        above.legend(handles, labels, fontsize=7, title="attack", title_fontsize=7)
    return result


def _frontier(ax, found: xr.Dataset) -> None:
    """Draw each scheme at its load and damage, its label beside it."""
    points = []
    for name in (str(name) for name in found.scheme.values):
        one = found.sel(scheme=name)
        load, lost = float(one.mean_load.mean()), float(one.damage.mean())
        tint, marker = STYLES.get(name.replace(",", " ").split()[0], ("0.3", "x"))
        ax.plot(load, lost, marker, color=tint, ms=6, zorder=3)
        ax.plot([load, load], student_t(one.damage.values), color=tint, lw=1.2)
        ax.plot(student_t(one.mean_load.values), [lost, lost], color=tint, lw=1.2)
        idle = float(one.idle_load.mean())
        if abs(idle - load) > 0.02 * load:
            ax.plot([load, idle], [lost, lost], color=tint, lw=0.8, ls=":")
            ax.plot(idle, lost, marker, mec=tint, mfc="white", ms=5, zorder=2)
        points.append((load, lost, name, tint))
    ax.axhline(0, color="0.4", lw=0.8, zorder=1)
    ax.set_xscale("log")
    ax.set_xticks(TICKS, [str(tick) for tick in TICKS])
    ax.minorticks_off()
    ax.set(
        xlabel="load: gradients computed for an image of the batch (log scale)",
        ylabel="damage: accuracy lost to the attack",
        title="Each scheme at its worst rate of attack (hollow: its load when nobody attacks)",
    )
    _labels(ax, points)


def _labels(ax, points: list[tuple[float, float, str, tuple]]) -> None:
    """Write labels beside points, above them or, without damage, below, none over another."""
    if not points:
        return
    ax.set_xlim(0.9, 2.4 * max(load for load, *_ in points))
    low, high = ax.get_ylim()
    gap: float = 0.042 * (high - low)
    taken: list[tuple[float, float]] = []
    for load, lost, name, tint in sorted(points, key=lambda point: (point[1], -point[0])):
        way = gap if lost else -gap
        place = lost + 0.75 * way
        while any(abs(place - y) < gap and 0.38 < load / x < 2.6 for x, y in taken):
            place += way / 4
        taken.append((load, place))
        ax.annotate(
            name,
            (load, lost),
            (load * 1.1, place),
            fontsize=7.5,
            color=tint,
            va="center",
            bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8},
            arrowprops={"arrowstyle": "-", "color": tint, "lw": 0.5, "shrinkA": 0, "shrinkB": 3},
        )
    places = [y for _, y in taken]
    ax.set_ylim(min(low, min(places) - gap), max(high, max(places) + gap))


def _law_panel(ax, dataset: xr.Dataset, variable: str) -> None:
    """Draw a quantity of checks by their chance: runs as points with intervals, laws as dashes."""
    cells = [cell for cell in by_check(dataset, variable) if not cell[0].endswith("local")]
    attacks = [str(name) for name in dataset.attack.values]
    present = sorted({chance for _, _, chance, *_ in cells})
    shades = sns.color_palette("viridis", len(attacks))
    for _, attack, chance, values, law in cells:
        place = attacks.index(attack)
        x = present.index(chance) + 0.18 * (place - (len(attacks) - 1) / 2)
        first = chance == present[0]
        if np.isfinite(values).any():
            ax.plot([x, x], student_t(values), color=shades[place], lw=1.2)
            ax.plot(
                x, np.nanmean(values), "o", color=shades[place], label=attack if first else None
            )
        ax.plot([x - 0.08, x + 0.08], [law, law], color="black", lw=1)
    ax.set_xticks(range(len(present)), [f"{chance:g}" for chance in present])
    ax.grid(axis="x", visible=False)
