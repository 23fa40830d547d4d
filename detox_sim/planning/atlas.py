"""What the atlas saw of an option: test accuracy of real training runs under many attacks.

The atlas is a grid of redundancy schemes, rules and attacks, each cell trained with several seeds.
The planner ranks by theory; the atlas says what happened in these runs, at their small scale. Its
summary comes with the package as the file `ATLAS`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detox_sim.planning.schemes import Option

ATLAS = Path(__file__).parents[1] / "atlas.json"
MEASURED = ("worst", "low", "high", "attack", "cross_fitted", "fails", "nobody")
RISK = 0.01  # chance per step that the condition of a rule fails, below which a run of it is cited
ABSENT: dict[str, Any] = {  # what an entry or an option that does not name the field has
    "vote_options": {},
    "encoding": None,
    "mixers": [],
    "groups": None,
    "inner": None,
}
COMPARED = ("assignment", "copies", "vote", "outer", *ABSENT)


class Seen(NamedTuple):
    """What the atlas saw of one redundancy scheme with one rule.

    Attributes
    ----------
    fields : dict
        Of its Trials: assignment, copies, vote and its options, encoding, mixers and outer rule,
        and groups and inner rule where it has vote groups.
    worst, low, high : float
        Test accuracy (0 to 1) under the attack that was worst on two tuning seeds: the mean over
        fresh seeds, and its 95 % Student t interval.
    attack : str
        That attack.
    cross_fitted : sequence of float
        The same three numbers, each seed under the attack that was worst on the other seeds.
    fails : float
        Chance per step that more rows are distorted than the rule withstands.
    nobody : float
        Test accuracy when nobody attacks, the mean over seeds.
    scale : str
        Data, model, workers, batch, steps and seeds of the runs.
    workers, byzantine : int
        p and q of the runs.
    """

    fields: dict
    worst: float
    low: float
    high: float
    attack: str
    cross_fitted: Sequence[float]
    fails: float
    nobody: float
    scale: str
    workers: int
    byzantine: int


def read_atlas(path: Path | None = None) -> list[Seen]:
    """Return the entries of the atlas's summary, or none where the file does not exist.

    Parameters
    ----------
    path : Path, optional
        A JSON file with ``scale``, ``workers``, ``byzantine`` and ``entries``; an entry has the
        fields of a Trial and the numbers of `Seen`. By default the file of the package.

    Raises
    ------
    KeyError
        If the file lacks one of these names, or an entry one of the numbers.

    Examples
    --------
    >>> from pathlib import Path
    >>> read_atlas(Path("no such file"))
    []
    """
    path = path or ATLAS
    if not path.exists():
        return []
    found = json.loads(path.read_text(encoding="utf-8"))
    runs = {name: found[name] for name in ("scale", "workers", "byzantine")}
    return [
        Seen(
            fields={name: value for name, value in entry.items() if name not in MEASURED},
            **{name: entry[name] for name in MEASURED},
            **runs,
        )
        for entry in found["entries"]
    ]


def seen(option: Option, atlas: Sequence[Seen] | None = None) -> Seen | None:
    """Return what the atlas saw of an option, or None where it has no run of it.

    An entry is of this option if assignment, copies, vote, its options, rules and number of vote
    groups are the same. Its p and q may be others than those of the option.

    Parameters
    ----------
    option : Option
    atlas : sequence of Seen, optional
        By default `read_atlas()`.

    Examples
    --------
    >>> from detox_sim.planning import options
    >>> fields = {"assignment": "detox", "copies": 3, "vote": "majority", "outer": "median"}
    >>> worst = (0.71, 0.69, 0.73)
    >>> made_up = Seen(fields, *worst, "alie", worst, 0.0, 0.76, "made up", 45, 5)
    >>> [(option.words, run.worst) for option in options(9, 1) if (run := seen(option, [made_up]))]
    [('detox, r = 3 and median', 0.71)]
    """
    asked = ABSENT | option.fields
    for entry in read_atlas() if atlas is None else atlas:
        known = ABSENT | entry.fields
        if all(known[name] == asked[name] for name in COMPARED):
            return entry
    return None


def contradiction(
    ranked: Sequence[Option], atlas: Sequence[Seen] | None = None
) -> tuple[Option, Seen] | None:
    """Return the option that the atlas puts above the first one, with what it saw, or None.

    It is the option of the best accuracy under its worst attack, among those both of whose
    intervals lie wholly above those of the first. None also where the atlas has no run of the
    first. Runs in which the condition of the rule fails do not count.

    Parameters
    ----------
    ranked : sequence of Option
        What `rank` returns: the recommendation first.
    atlas : sequence of Seen, optional
        By default `read_atlas()`.

    Examples
    --------
    >>> from detox_sim.planning import options
    >>> contradiction(options(9, 1), atlas=[]) is None
    True
    """
    atlas = read_atlas() if atlas is None else atlas
    first = seen(ranked[0], atlas) if ranked else None
    if first is None or first.fails > RISK:
        return None
    return _best([(o, run) for o, run in _runs(ranked, atlas) if _above(run, first)])


def _above(one: Seen, other: Seen) -> bool:
    """Return whether both intervals of a run lie wholly above those of another."""
    return one.low > other.high and one.cross_fitted[1] > other.cross_fitted[2]


def _runs(found: Sequence[Option], atlas: Sequence[Seen]) -> list[tuple[Option, Seen]]:
    """Return the options that are in the atlas with a condition that holds, and what it saw."""
    runs = [(option, seen(option, atlas)) for option in found]
    return [(option, run) for option, run in runs if run is not None and run.fails <= RISK]


def _best(runs: list[tuple[Option, Seen]]) -> tuple[Option, Seen] | None:
    """Return the option of the best accuracy under its worst attack, with what the atlas saw."""
    return max(runs, key=lambda pair: pair[1].worst, default=None)


def atlas_text(
    ranked: Sequence[Option],
    *,
    workers: int,
    byzantine: int,
    atlas: Sequence[Seen] | None = None,
) -> str:
    """Return in sentences what the atlas saw of the first option, and whether it contradicts.

    Parameters
    ----------
    ranked : sequence of Option
        What `rank` returns: the recommendation first.
    workers, byzantine : int
        p and q of the question; the text says so where those of the atlas are others.
    atlas : sequence of Seen, optional
        By default `read_atlas()`.

    Returns
    -------
    str
        In one line; empty where there is no option or no atlas.

    Examples
    --------
    >>> from detox_sim.planning import options
    >>> fields = {"assignment": "none", "copies": 1, "vote": "majority", "outer": "median"}
    >>> worst = (0.71, 0.69, 0.73)
    >>> made_up = Seen(fields, *worst, "alie", worst, 0.0, 0.76, "made up", 45, 5)
    >>> ranked = [option for option in options(9, 1) if seen(option, [made_up])]
    >>> print(atlas_text(ranked, workers=9, byzantine=1, atlas=[made_up]))
    In the atlas (made up; p = 45 and q = 5, not 9 and 1) no redundancy (r = 1) and median has test
    accuracy 0.71 [0.69, 0.73] under the worst attack found (alie), 0.76 without attack. It has no
    other safe option.
    """
    atlas = read_atlas() if atlas is None else atlas
    if not ranked or not atlas:
        return ""
    runs, first, name = atlas[0], seen(ranked[0], atlas), ranked[0].words
    scale = runs.scale
    if (runs.workers, runs.byzantine) != (workers, byzantine):
        scale += f"; p = {runs.workers} and q = {runs.byzantine}, not {workers} and {byzantine}"
    said = f"Not in the atlas ({scale}): {name}."
    if first and not byzantine:
        return f"In the atlas ({scale}) {name} has test accuracy {first.nobody:.2f} without attack."
    if first and first.fails > RISK:
        said = (
            f"The atlas ({scale}) says nothing of {name}: there its rules fail with chance "
            f"{first.fails:.2g} per step."
        )
        first = None
    if first:
        numbers = f"{_accuracy(first)}, {first.nobody:.2f} without attack"
        said = f"In the atlas ({scale}) {name} has test accuracy {numbers}."
    others, above = _best(_runs(ranked[1:], atlas)), contradiction(ranked, atlas)
    if above:
        return f"{said} It disagrees: {above[0].words} has {_accuracy(above[1])}."
    if others is None:
        return f"{said} It has no other safe option."
    if first:
        return f"{said} No other safe option is shown to be more accurate there."
    name, run = others[0].words, others[1]
    return f"{said} Of the safe options that it has, the best is {name}: {_accuracy(run)}."


def _accuracy(run: Seen) -> str:
    numbers = f"{run.worst:.2f} [{run.low:.2f}, {run.high:.2f}]"
    return f"{numbers} under the worst attack found ({run.attack})"
