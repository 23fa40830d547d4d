"""The facts of every rule, gathered from beside the rules, and their table."""

import sys
from collections.abc import Callable

from detox_sim import aggregators
from detox_sim.aggregators.conditions import Facts, check_rows

__all__ = ["FACTS", "Facts", "as_markdown", "check_rows", "facts_of"]


def facts_of(rule: Callable) -> Facts:
    """Return the facts that stand in the module of a rule, also of one outside this package.

    Raises
    ------
    ValueError
        Where there are none.

    Examples
    --------
    >>> facts_of(aggregators.krum).needs
    'n >= 2 f + 3'
    """
    values = vars(sys.modules[rule.__module__]).values()
    found = [v for v in values if isinstance(v, Facts) and v.rule == rule.__name__]
    if not found:
        name = rule.__name__
        raise ValueError(
            f"{rule.__module__} has no Facts(rule={name!r}, ...) beside the function {name}"
        )
    return found[0]


FACTS = {name: facts_of(getattr(aggregators, name)) for name in aggregators.__all__}


def as_markdown() -> str:
    """Return the table of rules: what each does, needs, costs and withstands, and its source.

    Examples
    --------
    >>> print(as_markdown().splitlines()[2])
    | `mean` | average: no defence | n >= 1 | n d | 0 | - |
    """
    lines = ["| rule | does | needs | work | breakdown | source |", "|---|---|---|---|---|---|"]
    for name, facts in FACTS.items():
        cells = (f"`{name}`", facts.does, facts.needs, facts.cost, facts.breakdown, facts.source)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
