"""Scripted faults of compute nodes on a Dask cluster, and the errors of a round."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detox_sim.catalogue import check_integer, check_known, check_number

KINDS = ("drop", "delay", "length", "dtype", "nan", "digest")


class ClusterError(RuntimeError):
    """A round on the cluster cannot be finished; says at which step, and by which node."""


class LostError(ClusterError):
    """Data of a round went away with a worker: the round can be run again."""


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the messages of one compute node at one step.

    Attributes
    ----------
    step, node : int
    kind : str
        "drop": nothing arrives. "delay": it arrives `seconds` late. "length", "dtype": the vector
        is one value too long, or of float64. "nan": it holds NaN. "digest": its digest is that of
        the right vector, but the vector is another one.
    seconds : float

    Examples
    --------
    >>> Fault(step=1, node=3, kind="delay", seconds=0.5).seconds
    0.5
    >>> Fault(step=1, node=3, kind="dealy")
    Traceback (most recent call last):
    ValueError: unknown kind of fault 'dealy'; did you mean 'delay'? known: drop, delay, ...
    """

    step: int
    node: int
    kind: str
    seconds: float = 0.0

    def __post_init__(self) -> None:
        check_integer("step", self.step, 1)
        check_integer("node", self.node, 0)
        check_known("kind of fault", [self.kind], KINDS)
        check_number("seconds", self.seconds)
        if not 0 <= self.seconds < np.inf:
            raise ValueError(f"a fault's seconds must be 0 or more, got {self.seconds!r}")


def spoil(vectors: Sequence[np.ndarray], kinds: Sequence[str]) -> list[np.ndarray] | None:
    """Return the vectors (d,) that a node sends in place of the right ones; None for nothing.

    Examples
    --------
    >>> spoil([np.zeros(2, np.float32)], ["length"])
    [array([0., 0., 0.], dtype=float32)]
    """
    if "drop" in kinds:
        return None
    spoiled = list(vectors)
    if "nan" in kinds:
        spoiled = [np.full_like(vector, np.nan) for vector in spoiled]
    if "digest" in kinds:
        spoiled = [vector + vector.dtype.type(1) for vector in spoiled]
    if "length" in kinds:
        spoiled = [np.append(vector, vector[:1]) for vector in spoiled]
    if "dtype" in kinds:
        spoiled = [vector.astype(np.float64) for vector in spoiled]
    return spoiled
