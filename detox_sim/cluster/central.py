"""A parameter server that receives every message: the paper's, and this process."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detox_sim import voting
from detox_sim.arrays import to_backend, to_host
from detox_sim.cluster import tasks as nodes
from detox_sim.cluster.faults import Fault
from detox_sim.cluster.workers import Workers
from detox_sim.messages import Messages, Search
from detox_sim.trials.learning_task import State
from detox_sim.trials.outcome import Outcome, judge
from detox_sim.trials.trial import Trial

if TYPE_CHECKING:
    from distributed import Client, Future


class Said(NamedTuple):
    """What the nodes computed and say in a step, which row each copy is, and the search."""

    computed: "dict[int, Future]"
    spoken: "dict[int, Future]"
    row_of: np.ndarray
    search: Search | None


class Traffic:
    """What a round on the cluster moved, and which messages did not count."""

    def __init__(self) -> None:
        self.bytes = {"broadcast": 0, "send": 0}
        self.late = self.malformed = self.caught = self.new_processes = 0
        self.worker_seconds = np.zeros(1)


class CentralServer:
    """The server votes, aggregates and updates; its parameters go to every worker."""

    def __init__(
        self, trial: Trial, client: "Client", deadline: float | None, faults: Sequence[Fault]
    ):
        self._trial, self.workers = trial, Workers(trial, client, deadline, faults)
        self._one, self.task = self.workers.one, self.workers.task
        self.place(0, self.task.initial())

    def place(self, step: int, state: State) -> None:
        """Go on after a step that left that state."""
        params, velocity, statistics = state
        self._step, self._state = step, State(to_host(params), to_host(velocity), statistics)

    def persevere(self, perform, step: int):
        """Perform a step, again if a worker took data with it: the state is safe here."""
        return self.workers.persevere(perform, step, restore=lambda: self._step)

    def broadcast(self, step: int) -> None:
        self.traffic = Traffic()
        self.workers.refresh()
        self.traffic.new_processes = self.workers.newcomers()
        addresses = self.workers.addresses
        params = self._state.params
        copy = self.workers.scatter(params, addresses, step)
        self._copies = dict.fromkeys(addresses, copy)
        self.traffic.bytes["broadcast"] = params.nbytes * len(addresses)

    def compute(self, step: int) -> "dict[int, Future]":
        return self.workers.compute(self._copies, step)

    def attack(self, computed: "dict[int, Future]", step: int) -> Said:
        return Said(computed, *self.workers.attack(computed, step))

    def send(self, said: Said, step: int) -> Messages:
        """Receive the messages that arrive in time and are vectors (d,) of float32.

        Row i < files is a true copy of file i; zero, until `judge` asks, where none arrived.
        """
        holders, d = self._one.assign(step), self._state.params.size
        spoken = self.workers.get(self.workers.arrived(said.spoken, step), step, "send")
        rows = np.zeros((len(holders) + holders.size, d), np.float32)
        row_of = np.full(holders.shape, -1)
        used, self._untold = len(holders), set(range(len(holders)))
        for node, files in self.workers.files.items():
            vectors, seconds = spoken.pop(node, (None, None))
            if not self.workers.in_time(node, None if vectors is None else seconds, step):
                self.traffic.late += files.size
                continue
            truthful = self.workers.truthful(node, step)
            for file, vector in zip(files.tolist(), vectors, strict=True):
                self.traffic.bytes["send"] += vector.nbytes
                if vector.dtype != np.float32 or vector.shape != (d,):
                    self.traffic.malformed += 1
                    continue
                copy = np.flatnonzero(holders[file] == node)[0]
                if truthful and said.row_of[file, copy] == file and file in self._untold:
                    self._untold.remove(file)
                    place = file
                else:
                    place, used = used, used + 1
                rows[place], row_of[file, copy] = vector, place
        self._rows = to_backend(rows[:used], self._trial.backend)
        return Messages(self._rows, row_of, said.search)

    def vote(self, messages: Messages, step: int) -> voting.Votes:
        with self.workers.guarded(step, "vote"):
            return self._one.vote(messages, step)

    def collect(self, votes: voting.Votes, step: int) -> voting.Votes:
        return votes

    def aggregate(self, votes: voting.Votes, step: int) -> np.ndarray:
        with self.workers.guarded(step, "aggregate"):
            return to_host(self._one.aggregate(votes.rows, step))

    def update(self, aggregate: np.ndarray, step: int) -> None:
        seen = self.workers.seen(step)
        self._next = self.task.update(self._state, aggregate, seen, step)

    def judge(self, said: Said, votes: voting.Votes, aggregate: np.ndarray, step: int) -> Outcome:
        holders = self._one.assign(step)
        untold = {
            file: self.workers.submit(
                nodes.truth, said.computed[node], file, at=self.workers.home(node)
            )
            for file, node in enumerate(holders[:, 0].tolist())
            if file in self._untold
        }
        for file, row in self.workers.get(untold, step, "tell the truth").items():
            self._rows[file] = to_backend(row, self._trial.backend)
        losses, self.traffic.worker_seconds = self.workers.told(said.computed, step)
        rows = self._rows[: len(holders)]
        return judge(losses, rows, to_backend(aggregate, self._trial.backend), votes, said.search)

    def settle(self, step: int, wanted: bool) -> State | None:
        """End a step; return the state if it is wanted."""
        self._step, self._state = step, self._next
        return self._state if wanted else None
