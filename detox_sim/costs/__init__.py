"""A model of time on a cluster: operations of a round by phase, and seconds for each.

`counts` counts the operations of a round and `Cluster` holds the seconds of each; `round_seconds`
is their product. `constants` says where those of the paper's cluster are from and how far they may
be off; `fit` estimates a cluster from measured rounds, with intervals.

`PHASES` are the phases of a round, and `MODEL_SIZES` has the parameters and the operations of a
gradient of the paper's two models. `KERNELS` is the paper's cluster with this package's kernels at
the server; `DOUBTS` are other constants that the paper's workers and network may have had.
"""

from detox_sim.costs.constants import DOUBTS, KERNELS, Constant, constants
from detox_sim.costs.fitting import Fitted, Measured, fit, relative_errors
from detox_sim.costs.model import MODEL_SIZES, PHASES, Cluster, counts, round_seconds

__all__ = [
    "MODEL_SIZES",
    "PHASES",
    "Cluster",
    "counts",
    "round_seconds",
    "DOUBTS",
    "KERNELS",
    "Constant",
    "constants",
    "Fitted",
    "Measured",
    "fit",
    "relative_errors",
]
