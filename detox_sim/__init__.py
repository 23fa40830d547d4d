"""Distributed training with workers that fail or are Byzantine.

One training run of DETOX, against an attack, on real images:

>>> from detox_sim import Trial, train
>>> trial = Trial(workers=15, byzantine=2, copies=3, batch=60, steps=20,
...               groups=5, inner="mean", outer="median", attack="reverse")
>>> history = train(trial)
>>> dict(history.sizes)["step"]
20
>>> bool(history.accuracy[-1] > history.accuracy[0])
True

`aggregators`, `mixers`, `attacks`, `assignments`, `encodings`, `placements`, `partitions` and
`voting` are catalogues of plain functions; `models` and `data` are what is trained; `theory` holds
exact laws, `costs` a model of time, `planning` the planner, `coding` codes against stragglers;
`trials`, `training` and `cluster` perform the steps, `sweeps` runs many trials. They load on first
use:

>>> import detox_sim
>>> detox_sim.theory.distorted_files(workers=45, byzantine=5, copies=3).round(2)
array([0.6 , 0.37, 0.03])

In a shell: ``detox-sim plan``, ``detox-sim rules``, ``detox-sim doctor``; in a clone of the
repository also the studies, ``python -m studies.reproduce``.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detox_sim.planning import plan
    from detox_sim.sweeping import sweep
    from detox_sim.training import train
    from detox_sim.trials.trial import Trial

__all__ = ["Trial", "plan", "sweep", "train"]
__version__ = "0.1.0"
_WHERE = {"Trial": "trials.trial", "plan": "planning", "sweep": "sweeping", "train": "training"}
_MODULES = (
    *("aggregators", "assignments", "attacks", "cluster", "coding", "costs", "data", "encodings"),
    *(
        "messages",
        "mixers",
        "models",
        "partitions",
        "placements",
        "planning",
        "streams",
        "sweeps",
        "theory",
    ),
    *("training", "trials", "voting"),
)


def __getattr__(name: str):
    """Load a name on first use: importing one catalogue stays light."""
    if name in _WHERE:
        return getattr(importlib.import_module(f"detox_sim.{_WHERE[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"detox_sim.{name}")
    raise AttributeError(f"module 'detox_sim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])
