"""The cells of studies in a profile, with the fields that `--set` changes, all checked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import studies
from detox_sim.catalogue import check_known
from detox_sim.sweeps import Cell, Store, expand_all, union
from studies import Study
from studies.training.scale import task_label

GRID = "to sweep other values write a grid of your own: python -m studies.reproduce my_grid.toml"
SECONDS = 1.0  # expected of a cell of a study that states no cost and was never run


@dataclass(frozen=True)
class Plan:
    """One study in one profile, the settings that concern it, and its cells."""

    name: str
    study: Study
    profile: str
    base: dict
    axes: dict[str, list]
    settings: dict
    cells: list[Cell]


def parse_settings(pairs: Sequence[str]) -> dict[str, object]:
    """Parse name=value pairs; a value is JSON, a comma-separated list, or else a string."""

    def value(text: str) -> object:
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return [value(part) for part in text.split(",")] if "," in text else text

    settings = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ValueError(f"--set needs name=value, got {pair!r}")
        settings[name] = value(text)
    return settings


def with_profile(profile: str) -> list[str]:
    """Return the studies that have a profile.

    Examples
    --------
    >>> with_profile("paper")[0], with_profile("smoke") == studies.names()
    ('accuracy_alie', True)
    """
    return [name for name in studies.names() if profile in studies.load(name).profiles]


def make_plans(
    names: Sequence[str], profile: str, settings: dict, store: Store | None = None
) -> list[Plan]:
    """Return the studies' cells, all fields checked.

    Parameters
    ----------
    names : sequence of str
        Of studies.
    profile : str
    settings : dict
        A setting narrows an axis of that name, or replaces that field in every cell, also where a
        label of an axis sets it.
    store : Store, optional
        Where a study states no cost, its cells are expected to take the mean seconds of those that
        this store holds.

    Raises
    ------
    ValueError
        Where the profile, a setting or a cell's fields are impossible; names the study.
    """
    chosen = {name: studies.load(name) for name in names}
    for name, study in chosen.items():
        if profile not in study.profiles:
            raise ValueError(
                f"{name} has no profile {profile!r}; it has {', '.join(study.profiles)}, and "
                f"{profile!r} is one of {', '.join(with_profile(profile))}"
            )
    known = {f for s in chosen.values() for f in (*s.known(), *s.grids(profile)[0][1])}
    try:
        check_known("name in --set", settings, sorted(known))
    except ValueError as error:
        raise ValueError(f"{error}; {GRID}") from error
    plans = [_plan(name, study, profile, settings, store) for name, study in chosen.items()]
    return _one_after_the_other(plans)


def _one_after_the_other(plans: list[Plan]) -> list[Plan]:
    """Return the plans with ranks that run whole studies, the one of least expected work first."""
    seconds = {plan.name: sum(cell.seconds for cell in plan.cells) for plan in plans}
    order = sorted(seconds, key=lambda name: seconds[name])
    return [
        replace(
            plan,
            cells=[replace(cell, rank=(order.index(plan.name), *cell.rank)) for cell in plan.cells],
        )
        for plan in plans
    ]


def _plan(
    name: str, study: Study, profile: str, settings: dict, store: Store | None = None
) -> Plan:
    """Return one study's cells with the settings that concern it."""
    table = study.grids(profile)
    labels_of = union(table)
    own = {f: v for f, v in settings.items() if f in labels_of or f in study.known()}
    changed = {f: v for f, v in own.items() if f not in labels_of}
    narrowed = {f: _narrow(f, labels_of[f], table, v) for f, v in own.items() if f in labels_of}
    asked = []
    for base, axes in table:
        axes = {f: _kept(axes[f], narrowed.get(f)) for f in axes}
        try:
            axes |= _relabelled(axes, changed)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from error
        if all(axes.values()):
            asked.append((base, axes))
    kind = study.kind or name
    usual = SECONDS
    if study.cost is None and store is not None:
        usual = store.mean_seconds(kind) or SECONDS
    cells = []
    for labels, fields, rank in expand_all(asked):
        try:
            fields = study.prepared(fields | changed)
        except (ValueError, TypeError) as error:
            label = ", ".join(str(label) for label in labels)
            several = any(isinstance(value, list) for value in changed.values())
            hint = f"; only an axis takes several values; {GRID}" if several else ""
            raise ValueError(f"{name} ({label}): {error}{hint}") from error
        versions = {name: study.version} if study.versions is None else study.versions(fields)
        seconds, memory = (usual, 0.0) if study.cost is None else study.cost(fields)
        cells.append(
            Cell(
                name,
                labels,
                fields,
                versions,
                study.run,
                seconds,
                memory,
                rank,
                kind,
                study.defaults,
            )
        )
    base = {k: v for k, v in asked[0][0].items() if all(b.get(k) == v for b, _ in asked)}
    return Plan(name, study, profile, base, union(asked), own, cells)


def _relabelled(axes: dict, changed: dict) -> dict:
    """Return the axis of tasks with new labels where a setting replaces what one sets."""
    tasks = axes.get("task", {})
    if not any(set(fields) & set(changed) for fields in tasks.values()):
        return {}
    return {"task": {task_label(fields | changed): fields for fields in tasks.values()}}


def _narrow(name: str, labels: list, table: list, value: object) -> list:
    """Return the values that a setting gives an axis."""
    values: list = value if isinstance(value, list) else [value]
    if not values or len(set(map(str, values))) < len(values):
        raise ValueError(f"--set {name} needs distinct values, got {value!r}")
    labelled = any(isinstance(axes[name], dict) for _, axes in table)
    if labelled or (len(table) > 1 and name != "seed"):
        try:
            check_known(f"{name} in --set", values, labels)
        except ValueError as error:
            raise ValueError(f"{error}; {GRID}") from error
    return values


def _kept(axis, values: list | None):
    """Return an axis with the given labels or, of a list, with the given values."""
    if values is None:
        return axis
    if isinstance(axis, dict):
        return {label: axis[label] for label in values if label in axis}
    return values
