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

`aggregators`, `mixers`, `attacks`, `assignments`, `placements` and `voting` are catalogues of
plain functions; `theory` holds exact laws, `coding` codes against stragglers, `trials` and
`cluster` what performs a step. See
``python -m studies.reproduce`` and ``python -m studies.plan``.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detox_sim.sweeping import sweep
    from detox_sim.training import train
    from detox_sim.trials.trial import Trial

__all__ = ["Trial", "sweep", "train"]
__version__ = "0.1.0"


def __getattr__(name: str):
    """Load `Trial`, `train` and `sweep` on first use: importing one catalogue stays light."""
    if name in __all__:
        from detox_sim import sweeping

        return getattr(sweeping, name)
    raise AttributeError(f"module 'detox_sim' has no attribute {name!r}")
