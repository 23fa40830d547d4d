"""What a parameter server must be able to do, wherever its workers are."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from detox_sim.trials.learning_task import LearningTask
from detox_sim.trials.outcome import Outcome
from detox_sim.trials.pipeline import Pipeline
from detox_sim.trials.state import State

PHASES = ("broadcast", "compute", "attack", "send", "vote", "aggregate", "update")

Handle = Any  # what a server hands on from one phase to the next: arrays, or futures of Dask
Result = TypeVar("Result")


@dataclass
class Traffic:
    """What one step moved on a cluster, and which messages did not count.

    Attributes
    ----------
    bytes : dict of str to int
        Of parameters ("broadcast"), and of messages and digests ("send").
    late, malformed, mismatched : int
        Copies that did not count.
    new_processes : int
        Processes that joined before this step.
    worker_seconds : float (workers,)
        Seconds that each worker computed.
    """

    bytes: dict[str, int] = field(default_factory=lambda: {"broadcast": 0, "send": 0})
    late: int = 0
    malformed: int = 0
    mismatched: int = 0
    new_processes: int = 0
    worker_seconds: np.ndarray = field(default_factory=lambda: np.zeros(1))


class ParameterServer(Protocol):
    """One step of training, phase by phase, as `training.step` performs it.

    Three servers do so: `OneProcessServer`, and on Dask `CentralServer` and `ShardedServer`. They
    give the same parameters, bit for bit.

    Attributes
    ----------
    task : LearningTask
    pipeline : Pipeline
    traffic : Traffic or None
        Of the step at hand; None where nothing is moved.
    """

    task: LearningTask
    pipeline: Pipeline

    @property
    def traffic(self) -> Traffic | None: ...

    def broadcast(self, step: int) -> None:
        """Send the parameters to all workers."""

    def compute(self, holders: np.ndarray, batch: np.ndarray, step: int) -> Handle:
        """Compute the gradients of all files.

        Parameters
        ----------
        holders : int (files, copies)
            The workers of each file.
        batch : int (files, images a file)
            The training images of each file.
        """

    def place(self, gradients: Handle, step: int) -> Handle:
        """Choose which workers are Byzantine."""

    def forge(self, gradients: Handle, placement: Handle, step: int) -> Handle:
        """Let the Byzantine workers choose what they send."""

    def send(self, forged: Handle, step: int) -> Handle:
        """Receive the messages of all workers, or their digests."""

    def vote(self, messages: Handle, step: int) -> Handle:
        """Vote over the copies of each file."""

    def collect(self, votes: Handle, step: int) -> Handle:
        """Fetch the elected vectors where the vote was on digests; else return the votes."""

    def aggregate(self, votes: Handle, step: int) -> Handle:
        """Apply mixers, the inner rule in vote groups, and the outer rule; return (d,)."""

    def update(self, aggregate: Handle, gradients: Handle, votes: Handle, step: int) -> None:
        """Move the parameters and all else that outlives a step (`State`)."""

    def judge(
        self, gradients: Handle, messages: Handle, votes: Handle, aggregate: Handle, step: int
    ) -> Outcome:
        """Compare the aggregate with the honest gradients, which only a simulation knows."""

    def state(self, step: int) -> State:
        """Return the state after a step that was just performed."""

    def restore(self, step: int, state: State) -> None:
        """Continue from the state after a step."""

    def retry(self, perform: Callable[[int], Result], step: int) -> Result:
        """Return ``perform(step)``, performed again where data were lost with a process."""
