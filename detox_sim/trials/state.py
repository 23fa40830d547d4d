"""What outlives a step, and what workers computed in one."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from detox_sim.arrays import namespace

VECTORS = ("params", "velocity", "previous", "momenta")  # of a state, in the array library


class State(NamedTuple):
    """All that outlives a step; a checkpoint stores it.

    Attributes
    ----------
    params, velocity, previous : float32 (d,)
        At the server; `previous` is the last aggregate.
    momenta : float32 (slots, d)
        Worker momentum of each file, then of each relabelled file where the attack asks for those;
        without worker momentum (0, d).
    excluded : bool (workers,)
        Workers that a vote exposed.
    statistics : float32 (s,)
        The running batch-norm statistics of the worker that evaluates.
    """

    params: Any
    velocity: Any
    previous: Any
    momenta: Any
    excluded: np.ndarray
    statistics: np.ndarray


class Computed(NamedTuple):
    """What workers computed of some files (n,) of a step.

    Attributes
    ----------
    files : sequence of int (n,)
    losses : float64 (n,)
    rows : array (n, d)
        The gradients; with worker momentum the momenta.
    statistics : float32 (n, s)
        Of the batch norms.
    relabelled : array (n, d) or None
        `rows` of relabelled files.
    seconds : float
        That the gradients took.
    rows_coded, relabelled_coded : array (m, d) or None
        With an encoding the messages of one worker, or of all.
    """

    files: Sequence[int] | np.ndarray
    losses: np.ndarray
    rows: Any
    statistics: np.ndarray
    relabelled: Any
    seconds: float
    rows_coded: Any = None
    relabelled_coded: Any = None

    @property
    def sent(self):
        """What honest workers send: a row a file, or the coded messages."""
        return self.rows if self.rows_coded is None else self.rows_coded

    @property
    def relabelled_sent(self):
        """The same of relabelled files."""
        return self.relabelled if self.rows_coded is None else self.relabelled_coded

    @property
    def momenta(self):
        """All rows (n or 2 n, d), those of relabelled files last."""
        if self.relabelled is None:
            return self.rows
        return namespace(self.rows).concat([self.rows, self.relabelled])
