"""Robust aggregation rules: ``rule(rows (n, d), *, byzantine) -> (d,)``.

Every rule returns the array library, device and dtype it was given, never writes to its input,
breaks ties to the lowest index, and refuses an (n, byzantine) it cannot serve. What each needs,
costs and withstands is one line of `facts.FACTS`; ``python -m detox_sim.aggregators`` prints them.

Rows with NaN or Inf come from the adversary, and while at most `byzantine` are broken the result
is finite: rules that look at each coordinate count NaN as +Inf (`sign_majority` lets it abstain),
all others take a broken row to be infinitely far and long, and leave it out.
"""

from detox_sim.aggregators.centres import caf, centered_clipping, dnc, fltrust
from detox_sim.aggregators.coordinates import (
    meamed,
    mean,
    median,
    median_of_means,
    phocas,
    sign_majority,
    trimmed_mean,
)
from detox_sim.aggregators.geometric import geometric_median
from detox_sim.aggregators.selection import bulyan, cge, krum, medoid, monna, multi_krum
from detox_sim.aggregators.subsets import mda, smea

__all__ = [
    "mean",
    "median",
    "trimmed_mean",
    "meamed",
    "phocas",
    "median_of_means",
    "geometric_median",
    "medoid",
    "krum",
    "multi_krum",
    "bulyan",
    "mda",
    "smea",
    "monna",
    "fltrust",
    "cge",
    "centered_clipping",
    "caf",
    "dnc",
    "sign_majority",
]
