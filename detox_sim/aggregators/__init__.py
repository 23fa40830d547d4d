"""Robust aggregation rules: ``rule(rows (n, d), *, byzantine) -> (d,)``.

Every rule returns the array library, device and dtype it was given, never writes to its input,
breaks ties to the lowest index, and refuses an (n, byzantine) it cannot serve. What a rule needs,
costs and withstands stands beside it as one `Facts`; ``detox-sim rules`` prints the
table of all.

Only Byzantine workers send NaN or Inf, and the result is finite while at most `byzantine` rows hold
such values: rules that look at each coordinate count NaN as +Inf (`sign_majority` counts it as
neither sign); all others count a row with NaN or Inf as infinitely far and long, and leave it out.
"""

from detox_sim.aggregators.centres import caf, centered_clipping, dnc
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
from detox_sim.aggregators.selection import bulyan, cge, krum, medoid, multi_krum
from detox_sim.aggregators.subsets import mda, smea
from detox_sim.aggregators.trusted import fltrust, monna

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
