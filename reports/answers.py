"""The answers on the first page of the report, each a sentence with its numbers."""

import functools

import numpy as np

from detox_sim import planning
from reports import link
from studies.timing import speed_ups

WORKERS, BYZANTINE, MOST_COPIES, RISK = 45, 5, 3, 1e-3  # of the paper's experiments


def cost() -> str:
    """Return what DETOX costs: computation, and the modelled time of a round, as Markdown.

    Examples
    --------
    >>> cost().startswith("With *r* = 3")
    True
    """
    doubtful = speed_ups.doubtful()
    rule = speed_ups.RULES[0]
    ends = {
        code: np.quantile(doubtful.sel(code=code, rule=rule), [0, 1]) for code in speed_ups.CODES
    }
    code, ours = (f"{low:.1f} to {high:.1f} times" for low, high in (ends["code"], ends["ours"]))
    return (
        "With *r* = 3 every worker computes three times the images. A round is shorter only with a "
        f"slow server: with {rule.lower()}, {code} as fast with the server of the research "
        f"code, {ours} with the kernels of this package (modelled; the range is what is not known of "
        f"the workers and the network). See {link('step_time', 'time of a round')} and "
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
    fails = f"fail with chance {best.fails:.2g} a round" if best.fails else "cannot fail"
    return (
        f"For {WORKERS} workers of which {BYZANTINE} are Byzantine, and at most {MOST_COPIES} copies: "
        f"{best.scheme}, then {best.pipeline.replace(', ', ' and ')}. It is the cheapest whose rules "
        f"{fails} where attackers are placed at random: {best.seconds:.1f} s a round (modelled) and "
        f"{best.load:.0f} images a worker. For your numbers: `detox-sim plan`; how to weigh "
        "it: [How to choose](how_to_choose.html)."
    )
