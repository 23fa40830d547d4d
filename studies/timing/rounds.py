"""Pipelines, the paper's models, the shape of a round, and constants fitted to measured rounds."""

from typing import Any, NamedTuple

import numpy as np

from detox_sim import costs
from studies.training.pipelines import DETOX as _DETOX
from studies.training.pipelines import VANILLA as _VANILLA

_GEOMETRIC = {
    "Geometric median": _VANILLA["Median"] | {"outer": "geometric_median"},
    "D-Geometric median": _DETOX["D-Median"] | {"outer": "geometric_median"},
}
PAIRS = {
    "Mean": "D-Mean",
    "Median": "D-Median",
    "Geometric median": "D-Geometric median",
    "Multi-Krum": "D-Multi-Krum",
    "Bulyan": "D-Bulyan",
}
METHODS: dict[str, dict[str, Any]] = {
    name: (_VANILLA | _DETOX | _GEOMETRIC)[name] for pair in PAIRS.items() for name in pair
}

# The paper's models; a test builds both.
MODELS = {"ResNet-18": costs.MODEL_SIZES["resnet18"], "VGG13-BN": costs.MODEL_SIZES["vgg13_bn"]}
IMAGES = 32  # a worker and round without redundancy, as in the paper: 1440 at p = 45
# Attributes of `costs.Cluster`.
SERVER = ("pass_seconds", "vote_seconds", "sort_seconds", "pair_seconds", "call_seconds")
WORKER = ("worker_flops", "file_seconds", "gradient_seconds", "tail")
NETWORK = ("bandwidth", "latency")

BARS = {
    "compute": ("compute",),
    "communication": ("broadcast", "send"),
    "aggregation": ("vote", "aggregate", "update"),
}


def shape(method: str, workers: int, **sizes: Any) -> dict[str, Any]:
    """Return the keyword arguments of `costs.counts` for a method.

    Parameters
    ----------
    method : str
        Of `METHODS`.
    workers : int
        p, a multiple of the copies.
    sizes
        parameters, sample_flops and, unless it is `IMAGES` a worker, batch; server and machines;
        distorted, unless it is what a ninth of the workers distort at worst, as in the paper.

    Examples
    --------
    >>> found = shape("D-Median", 45, **MODELS["ResNet-18"])
    >>> found["files"], found["copies"], found["groups"], found["batch"], found["distorted"]
    (15, 3, 5, 1440, 2)
    """
    fields = METHODS[method]
    copies = fields["copies"]
    hierarchy = {name: fields[name] for name in ("groups", "inner", "outer")}
    numbers = {"workers": workers, "files": workers // copies, "copies": copies}
    numbers["distorted"] = workers // 9 // (copies // 2 + 1)
    return {"batch": IMAGES * workers} | numbers | hierarchy | sizes


def bars(seconds: dict[str, float]) -> dict[str, float]:
    """Return the seconds of phases as the paper's figure stacks them.

    Examples
    --------
    >>> bars({"compute": 3.0, "broadcast": 1.0, "send": 2.0, "vote": 0.5, "aggregate": 0.25})
    {'compute': 3.0, 'communication': 3.0, 'aggregation': 0.75}
    """
    return {bar: sum(seconds.get(phase, 0.0) for phase in phases) for bar, phases in BARS.items()}


class Rounds(NamedTuple):
    """Measured rounds: those that constants are fitted to, and those held out."""

    fitted: list[costs.Measured]
    held_out: list[costs.Measured]

    def fit(self) -> costs.Fitted | None:
        """Return the constants of the cluster; None without a measured round."""
        return costs.fit(self.fitted) if self.fitted else None

    def errors(self, cluster: costs.Cluster) -> dict[str, np.ndarray]:
        """Return modelled / measured - 1 by phase, of the rounds held out."""
        return costs.relative_errors(cluster, self.held_out)
