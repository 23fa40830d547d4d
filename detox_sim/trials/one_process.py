"""A run in one process, where honest copies of a file are one row."""

from collections.abc import Callable

from detox_sim.messages import Messages
from detox_sim.models import Gradients
from detox_sim.trials.learning_task import EVALUATED_NODE, LearningTask, State
from detox_sim.trials.outcome import Outcome, judge
from detox_sim.trials.pipeline import Pipeline
from detox_sim.trials.trial import Trial
from detox_sim.voting import Votes


class OneProcessServer:
    """Attackers, nodes and server are this process; each file is computed once.

    With backend "cupy" everything (n, d) and (d,) stays on the GPU.
    """

    traffic = None

    def __init__(self, trial: Trial):
        self._trial = trial
        files = len(Pipeline(trial, sizes=(1,)).holders)
        self.task = LearningTask(trial, files)
        self._one = Pipeline(trial, self.task.model.sizes)
        self._state = self.task.initial()

    def place(self, step: int, state: State) -> None:
        self._state = state

    def persevere(self, perform: Callable, step: int):
        return perform(step)

    def broadcast(self, step: int) -> None:
        pass

    def compute(self, step: int) -> Gradients:
        computed = self.task.gradients(self._state.params, step, range(self.task.files))
        mine = (self._one.assign(step) == EVALUATED_NODE).any(axis=1)
        self._seen = computed.statistics[mine]
        return computed

    def attack(self, computed: Gradients, step: int):
        relabelled = None
        if self._one.wants_relabelled:
            files = range(self.task.files)
            relabelled = self.task.gradients(self._state.params, step, files, True).rows
        return computed, self._one.send(computed.rows, step, relabelled)

    def send(self, said, step: int) -> Messages:
        return said[1]

    def vote(self, messages: Messages, step: int) -> Votes:
        return self._one.vote(messages, step)

    def collect(self, votes: Votes, step: int) -> Votes:
        return votes

    def aggregate(self, votes: Votes, step: int):
        return self._one.aggregate(votes.rows, step)

    def update(self, aggregate, step: int) -> None:
        self._state = self.task.update(self._state, aggregate, self._seen, step)

    def judge(self, said, votes: Votes, aggregate, step: int) -> Outcome:
        computed, messages = said
        return judge(computed.losses, computed.rows, aggregate, votes, messages.search)

    def settle(self, step: int, wanted: bool) -> State:
        return self._state
