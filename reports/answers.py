"""The answers on the first page of the report, each a sentence with one number and its range."""

import functools
from dataclasses import replace

import numpy as np

from detox_sim import costs, planning
from reports import link
from studies.timing import rounds, speed_ups

WORKERS, BYZANTINE, MOST_COPIES, RISK = 45, 5, 3, 1e-3  # of the paper's experiments


def cost() -> str:
    """Return what DETOX costs: images, and the modelled time of a round, as Markdown.

    Examples
    --------
    >>> cost().startswith("With *r* = 3")
    True
    """
    rule = speed_ups.RULES[0]
    times = 1 / speed_ups.doubtful().sel(code="ours", rule=rule)
    low, high = np.quantile(times, [0, 1])
    return (
        "With *r* = 3 every worker computes three times the images, and a modelled round with "
        f"{rule} takes {float(times.sel(doubt='as quoted')):.2f} [{low:.2f}, {high:.2f}] times as "
        "long as without DETOX (the range is what is not known of workers and network).\n\n"
        "Only a slow server, such as that of the research code, makes a round with DETOX the "
        f"shorter one: {link('step_time', 'time of a round')}, "
        f"{link('scaling', 'growth with workers')}."
    )


@functools.cache
def advice() -> str:
    """Return what to use for the paper's numbers of workers, as Markdown.

    Examples
    --------
    >>> "45 workers" in advice()
    True
    """
    best = planning.plan(WORKERS, BYZANTINE, risk=RISK, most_copies=MOST_COPIES)[0]
    shape = {name: best.fields[name] for name in ("workers", "copies", "groups", "inner", "outer")}
    shape |= {"files": best.files, "batch": rounds.IMAGES * WORKERS}
    clusters = [replace(costs.Cluster(), **changed) for changed in costs.DOUBTS.values()]
    model = rounds.MODELS["ResNet-18"]
    seconds = [sum(costs.round_seconds(cluster=c, **shape, **model).values()) for c in clusters]
    fails = f"fail with chance {best.fails:.2g} per step" if best.fails else "cannot fail"
    return (
        f"For {WORKERS} workers of which {BYZANTINE} are Byzantine, and at most {MOST_COPIES} copies: "
        f"scheme `{best.scheme}`, then {best.pipeline.replace(', ', ' and ')}, of the least modelled time to a given error; its rules "
        f"{fails} where attackers are placed at random; a modelled round of ResNet-18 takes "
        f"{seconds[0]:.1f} s, and {min(seconds):.1f} to {max(seconds):.1f} s within what is not known of "
        "workers and network.\n\n"
        "For your numbers: `detox-sim plan`; how to weigh it: [How to choose](how_to_choose.html)."
    )
