"""Compare redundancy schemes and pipelines for p workers of which q are Byzantine.

`plan` answers which takes the least modelled time to a given error, within a risk and a budget of
computation; `options` lists all, `rank` orders those that are safe, `pareto` keeps those worth
choosing.
`seen` is what the atlas, a grid of real training runs, has of an option; `contradiction` and
`atlas_text` compare it with the ranking.
`theory.recommended_copies` answers another question: which copies are enough for the guarantee of
corollary 2. The studies' r = 3 is that of the paper's experiments.
"""

from detox_sim.planning.atlas import Seen, atlas_text, contradiction, read_atlas, seen
from detox_sim.planning.ranking import pareto, rank
from detox_sim.planning.ranking import plan as plan  # listed as detox_sim.plan
from detox_sim.planning.schemes import Option, options

__all__ = [
    "Option",
    "options",
    "pareto",
    "rank",
    "Seen",
    "atlas_text",
    "contradiction",
    "read_atlas",
    "seen",
]
