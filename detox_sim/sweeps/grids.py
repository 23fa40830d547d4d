"""The combinations of a grid: their labels and fields."""

import itertools
from collections.abc import Mapping, Sequence

from detox_sim.sweeps.store import Fields

Axes = Mapping[str, Sequence | Mapping[str, Fields]]
Grid = tuple[Fields, Axes]


def expand(base: Fields, axes: Axes) -> list[tuple[tuple, Fields]]:
    """Return (labels, fields) of every cell, the last axis fastest.

    Parameters
    ----------
    base : dict
        Fields common to all cells.
    axes : mapping
        Name -> list of values of that field, or name -> {label: several fields at once}.

    Examples
    --------
    >>> expand({"p": 9}, {"rule": {"A": {"r": 1}, "B": {"r": 3, "k": 2}}, "seed": [7]})
    [(('A', 7), {'p': 9, 'r': 1, 'seed': 7}), (('B', 7), {'p': 9, 'r': 3, 'k': 2, 'seed': 7})]
    """
    points = []
    for labels in itertools.product(*axes.values()):
        fields = dict(base)
        for (name, values), label in zip(axes.items(), labels, strict=True):
            fields |= values[label] if isinstance(values, Mapping) else {name: label}
        points.append((labels, fields))
    return points


def union(grids: Sequence[Grid]) -> dict[str, list]:
    """Return the labels on each axis that occur in some of the grids, which have the same axes.

    Examples
    --------
    >>> union([({}, {"p": [1, 3]}), ({}, {"p": [2, 3]})])
    {'p': [1, 3, 2]}
    """
    first, *others = (list(axes) for _, axes in grids)
    if any(names != first for names in others):
        raise ValueError(f"all grids of a profile need the same axes, got {[first, *others]}")
    return {name: list(dict.fromkeys(v for _, axes in grids for v in axes[name])) for name in first}


def expand_all(grids: Sequence[Grid]) -> list[tuple[tuple, Fields, tuple[int, int]]]:
    """Return (labels, fields, rank) of every cell of some grids, each once, in their order.

    Several grids run in their order, and each label by label of its last axis (seed by seed): the
    rank is the number of the grid and that of the label. The rank in a single grid is (0, 0).

    Raises
    ------
    ValueError
        When two grids give other fields to the same labels.

    Examples
    --------
    >>> expand_all([({"p": 9}, {"seed": [7]}), ({"p": 9}, {"seed": [7, 8]})])
    [((7,), {'p': 9, 'seed': 7}, (0, 0)), ((8,), {'p': 9, 'seed': 8}, (1, 1))]
    """
    found: dict[tuple, tuple] = {}
    for number, (base, axes) in enumerate(grids):
        last = list(list(axes.values())[-1])
        for labels, fields in expand(base, axes):
            rank = (number, last.index(labels[-1])) if len(grids) > 1 else (0, 0)
            if found.setdefault(labels, (labels, fields, rank))[1] != fields:
                raise ValueError(f"two grids differ in the fields of {labels}")
    return list(found.values())
