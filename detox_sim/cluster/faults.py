"""Scripted faults of workers on a Dask cluster, and the errors of a step."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from detox_sim.catalogue import check_integer, check_known, check_number
from detox_sim.trials.trial import Trial

KINDS = ("drop", "delay", "length", "dtype", "nan", "digest")


class ClusterError(RuntimeError):
    """A step on the cluster cannot be finished; names the step and the worker."""


class LostError(ClusterError):
    """Data of a step were lost with a process: the step can be performed again."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the messages of one worker at one step.

    Attributes
    ----------
    step, worker : int
    kind : str
        "drop": nothing arrives. "delay": it arrives `seconds` late. "length", "dtype": the vector
        is one value too long, or of float64. "nan": it holds NaN. "digest": its digest is that of
        the right vector, but the vector is another one.
    seconds : float

    Examples
    --------
    >>> Fault(step=1, worker=3, kind="delay", seconds=0.5).seconds
    0.5
    >>> Fault(step=1, worker=3, kind="dealy")
    Traceback (most recent call last):
    ValueError: unknown kind of fault 'dealy'; did you mean 'delay'? known: drop, delay, ...
    """

    step: int
    worker: int
    kind: str
    seconds: float = 0.0

    def __post_init__(self) -> None:
        check_integer("step", self.step, 1)
        check_integer("worker", self.worker, 0)
        check_known("kind of fault", [self.kind], KINDS)
        check_number("seconds", self.seconds)
        if not 0 <= self.seconds < np.inf:
            raise ValueError(f"a fault's seconds must be 0 or more, got {self.seconds!r}")


def check_faults(trial: Trial, faults: "Fault | Iterable[Fault]") -> tuple[Fault, ...]:
    """Return the faults as a tuple, or raise for one of no worker or step of the trial.

    Examples
    --------
    >>> check_faults(Trial(), Fault(step=1, worker=99, kind="drop"))
    Traceback (most recent call last):
    ValueError: no worker 99 in a trial of 45 workers
    """
    faults = (faults,) if isinstance(faults, Fault) else tuple(faults)
    for fault in faults:
        if not isinstance(fault, Fault):
            raise ValueError(f"faults must be of detox_sim.cluster.Fault, got {fault!r}")
        if fault.worker >= trial.workers:
            raise ValueError(f"no worker {fault.worker} in a trial of {trial.workers} workers")
        if fault.step > trial.steps:
            raise ValueError(f"no step {fault.step} in a trial of {trial.steps} steps")
    return faults


def corrupt(vectors: Sequence[np.ndarray], kinds: Sequence[str]) -> list[np.ndarray] | None:
    """Return the vectors (d,) that a worker with these faults sends; None for nothing.

    Examples
    --------
    >>> corrupt([np.zeros(2, np.float32)], ["length"])
    [array([0., 0., 0.], dtype=float32)]
    """
    if "drop" in kinds:
        return None
    corrupted = list(vectors)
    if "nan" in kinds:
        corrupted = [np.full_like(vector, np.nan) for vector in corrupted]
    if "digest" in kinds:
        corrupted = [vector + vector.dtype.type(1) for vector in corrupted]
    if "length" in kinds:
        corrupted = [np.append(vector, vector[:1]) for vector in corrupted]
    if "dtype" in kinds:
        corrupted = [vector.astype(np.float64) for vector in corrupted]
    return corrupted
