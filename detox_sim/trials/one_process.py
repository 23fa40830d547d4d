"""A run in one process, where honest copies of a file are one row."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np

from detox_sim.messages import Messages
from detox_sim.trials.learning_task import EVALUATED_WORKER, LearningTask, State
from detox_sim.trials.outcome import Outcome, judge
from detox_sim.trials.pipeline import Pipeline, Placement
from detox_sim.trials.trial import Trial
from detox_sim.voting import Votes

Result = TypeVar("Result")


class Computed(NamedTuple):
    """The gradients (files, d) of a step, with losses (files,) and batch statistics (files, s).

    `relabelled` are the gradients of relabelled files where the attack asks for them.
    """

    holders: np.ndarray
    losses: np.ndarray
    rows: Any
    statistics: np.ndarray
    relabelled: Any


class OneProcessServer:
    """Workers, attackers and server are this process; each file is computed once.

    With backend "cupy" everything (files, d) and (d,) stays on the GPU.

    Examples
    --------
    >>> from detox_sim import Trial
    >>> server = OneProcessServer(Trial(batch=45))
    >>> gradients = server.compute(server.pipeline.assign(1), server.task.draw(1), step=1)
    >>> gradients.rows.shape == (15, server.task.model.parameters)
    True
    """

    traffic = None

    def __init__(self, trial: Trial):
        self.task = LearningTask(trial)
        self.pipeline = Pipeline(trial, self.task.model.sizes)
        self._state = self.task.initial()

    def broadcast(self, step: int) -> None:
        pass

    def compute(self, holders: np.ndarray, batch: np.ndarray, step: int) -> Computed:
        files = range(len(batch))
        params, relabelled = self._state.params, None
        computed = self.task.gradients(params, step, files, batch)
        if self.pipeline.wants_relabelled:
            relabelled = self.task.gradients(params, step, files, batch, relabelled=True).rows
        return Computed(holders, *computed, relabelled)

    def place(self, gradients: Computed, step: int) -> Placement:
        return self.pipeline.place(gradients.rows, step, gradients.relabelled)

    def forge(self, gradients: Computed, placement: Placement, step: int) -> Messages:
        return self.pipeline.forge(gradients.rows, placement, step, gradients.relabelled)

    def send(self, forged: Messages, step: int) -> Messages:
        return forged

    def vote(self, messages: Messages, step: int) -> Votes:
        return self.pipeline.vote(messages, step)

    def collect(self, votes: Votes, step: int) -> Votes:
        return votes

    def aggregate(self, votes: Votes, step: int):
        return self.pipeline.aggregate(votes.rows, step)

    def update(self, aggregate, gradients: Computed, step: int) -> None:
        mine = (gradients.holders == EVALUATED_WORKER).any(axis=1)
        self._state = self.task.update(self._state, aggregate, gradients.statistics[mine], step)

    def judge(
        self, gradients: Computed, messages: Messages, votes: Votes, aggregate, step: int
    ) -> Outcome:
        return judge(gradients.losses, gradients.rows, aggregate, votes, messages.search)

    def state(self, step: int) -> State:
        return self._state

    def restore(self, step: int, state: State) -> None:
        self._state = state

    def retry(self, perform: Callable[[int], Result], step: int) -> Result:
        return perform(step)
