"""The model of time on a cluster: counts of operations by phase, and seconds for each.

`counts` says what a round does and `Cluster` what each operation takes; `round_seconds` is their
product. `fit` finds a cluster from measured rounds, with its uncertainty.
"""

from detox_sim.costs.fitting import Fitted, Measured, fit, relative_errors
from detox_sim.costs.model import PHASES, Cluster, counts, round_seconds, rule_seconds

__all__ = [
    "PHASES",
    "Cluster",
    "counts",
    "round_seconds",
    "rule_seconds",
    "Fitted",
    "Measured",
    "fit",
    "relative_errors",
]
