"""A run in one process, where honest copies of a file are one row."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.messages import Messages
from detox_sim.primitives import take
from detox_sim.trials.learning_task import EVALUATED_WORKER, LearningTask
from detox_sim.trials.outcome import Outcome, judge
from detox_sim.trials.pipeline import Known, Pipeline, Placement
from detox_sim.trials.state import Computed, State
from detox_sim.trials.trial import Trial
from detox_sim.voting import Votes

Result = TypeVar("Result")


class Gradients(NamedTuple):
    """What the workers (files, copies) computed in one step, each file once."""

    holders: np.ndarray
    computed: Computed


class OneProcessServer:
    """Workers, attackers and server are this process; each file is computed once.

    With backend "cupy" everything (files, d) and (d,) stays on the GPU.

    Examples
    --------
    >>> from detox_sim import Trial
    >>> server = OneProcessServer(Trial(batch=45))
    >>> gradients = server.compute(server.pipeline.assign(1), server.task.draw(1), step=1)
    >>> gradients.computed.rows.shape == (15, server.task.model.parameters)
    True
    """

    traffic = None

    def __init__(self, trial: Trial):
        self.task = LearningTask(trial)
        self.pipeline = Pipeline(trial, self.task.model.sizes)
        self._state = self.task.initial()

    def broadcast(self, step: int) -> None:
        pass

    def compute(self, holders: np.ndarray, batch: np.ndarray, step: int) -> Gradients:
        state, files = self._state, range(len(batch))
        relabelled = self.task.wants_relabelled
        computed = self.task.compute(
            state.params, state.momenta, step, files, batch, relabelled=relabelled
        )
        return Gradients(holders, self._encoded(holders, computed, step))

    def _encoded(self, holders: np.ndarray, computed: Computed, step: int) -> Computed:
        """Return what was computed with the coded messages of all workers, if there are any."""
        coded: list[list] = [[], []]
        for worker in range(int(holders.max()) + 1):
            files = np.flatnonzero((holders == worker).any(axis=1))
            for messages, rows in zip(coded, (computed.rows, computed.relabelled), strict=True):
                if rows is not None:
                    mine = take(rows, files)
                    message = self.pipeline.encode(worker, files, mine, holders, step)
                    if message is None:
                        return computed
                    messages.append(message)
        concat = namespace(computed.rows).concat
        own, relabelled = (concat(messages) if messages else None for messages in coded)
        return computed._replace(rows_coded=own, relabelled_coded=relabelled)

    def _known(self, gradients: Gradients) -> Known:
        rows, relabelled = gradients.computed.sent, gradients.computed.relabelled_sent
        return Known(rows, relabelled, self._state.previous, self._state.excluded)

    def place(self, gradients: Gradients, step: int) -> Placement:
        return self.pipeline.place(self._known(gradients), step)

    def forge(self, gradients: Gradients, placement: Placement, step: int) -> Messages:
        return self.pipeline.forge(self._known(gradients), placement, step)

    def send(self, forged: Messages, step: int) -> Messages:
        return forged

    def vote(self, messages: Messages, step: int) -> Votes:
        votes = self.pipeline.vote(messages, step, self._state.excluded)
        if isinstance(votes.rows, np.ndarray):
            votes.rows.flags.writeable = False  # so that distances between them are measured once
        return votes

    def collect(self, votes: Votes, step: int) -> Votes:
        return votes

    def aggregate(self, votes: Votes, step: int):
        return self.pipeline.aggregate(votes.rows, step, self._state.previous)

    def update(self, aggregate, gradients: Gradients, votes: Votes, step: int) -> None:
        holders, computed = gradients
        seen = computed.statistics[(holders == EVALUATED_WORKER).any(axis=1)]
        self._state = self.task.update(self._state, aggregate, seen, votes.reaction, step)
        if self._state.momenta.size:
            self._state = self._state._replace(momenta=computed.momenta)

    def judge(
        self, gradients: Gradients, messages: Messages, votes: Votes, aggregate, step: int
    ) -> Outcome:
        holders, computed = gradients
        known = votes, messages.search, holders, self._state.excluded
        return judge(computed.losses, computed.rows, aggregate, *known)

    def state(self, step: int) -> State:
        return self._state

    def restore(self, step: int, state: State) -> None:
        self._state = state

    def retry(self, perform: Callable[[int], Result], step: int) -> Result:
        return perform(step)
