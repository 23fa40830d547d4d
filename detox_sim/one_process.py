"""A run in one process, where honest copies of a file are one row."""

from collections.abc import Callable

import numpy as np

from detox_sim.arrays import to_backend, to_host
from detox_sim.messages import Messages
from detox_sim.problem import Problem
from detox_sim.rounds import Outcome, Round, judge
from detox_sim.trial import Trial
from detox_sim.voting import Votes


class OneProcess:
    """Attackers, nodes and server are this process; each file is computed once."""

    traffic = None

    def __init__(self, trial: Trial):
        self._trial = trial
        files = len(Round(trial, sizes=(1,)).holders)
        self.problem = Problem(trial, files)
        self._one = Round(trial, self.problem.model.sizes)
        self.reset()

    def reset(self) -> None:
        self._params = self.problem.initial()
        self._velocity = np.zeros_like(self._params)

    def persevere(self, perform: Callable, step: int):
        return perform(step)

    def broadcast(self, step: int) -> None:
        pass

    def compute(self, step: int):
        losses, gradients = self.problem.gradients(self._params, step, range(self.problem.files))
        return losses, to_backend(gradients, self._trial.backend)

    def attack(self, computed, step: int):
        losses, rows = computed
        relabelled = None
        if self._one.wants_relabelled:
            files = range(self.problem.files)
            relabelled = self.problem.gradients(self._params, step, files, relabelled=True)[1]
            relabelled = to_backend(relabelled, self._trial.backend)
        return losses, rows, self._one.send(rows, step, relabelled)

    def send(self, said, step: int) -> Messages:
        return said[2]

    def vote(self, messages: Messages, step: int) -> Votes:
        return self._one.vote(messages, step)

    def collect(self, votes: Votes, step: int) -> Votes:
        return votes

    def aggregate(self, votes: Votes, step: int):
        return to_host(self._one.aggregate(votes.rows, step))

    def update(self, aggregate, step: int) -> None:
        self._params, self._velocity = self.problem.update(self._params, self._velocity, aggregate)

    def judge(self, said, votes: Votes, aggregate, step: int) -> Outcome:
        losses, rows, messages = said
        aggregate = to_backend(aggregate, self._trial.backend)
        return judge(losses, rows, aggregate, votes, messages.search)

    def settle(self, step: int, wanted: bool) -> np.ndarray | None:
        return self._params
