"""A parameter server that receives every message: the paper's, in the driver's process."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detox_sim import voting
from detox_sim.arrays import to_backend, to_host
from detox_sim.cluster import tasks
from detox_sim.cluster.faults import Fault
from detox_sim.cluster.saving import SavingServer
from detox_sim.cluster.workers import Forged, Gradients, Workers
from detox_sim.messages import Messages
from detox_sim.trials.outcome import Outcome, judge
from detox_sim.trials.pipeline import Placement
from detox_sim.trials.server import Traffic
from detox_sim.trials.state import State
from detox_sim.trials.trial import Trial

if TYPE_CHECKING:
    from distributed import Client


class Received(NamedTuple):
    """The messages that count, and the files of which no honest message arrived.

    Row i < files of the messages is the honest gradient of file i; zero where it is missing.
    """

    messages: Messages
    missing: list[int]


class CentralServer(SavingServer):
    """The driver votes, aggregates and updates; its parameters go to every process.

    Parameters
    ----------
    trial : Trial
    client : distributed.Client
    deadline : float, optional
    faults : tuple of Fault
    """

    def __init__(
        self, trial: Trial, client: "Client", deadline: float | None, faults: tuple[Fault, ...]
    ):
        self._backend, self._workers = trial.backend, Workers(trial, client, deadline, faults)
        self.pipeline, self.task = self._workers.pipeline, self._workers.task
        self.traffic = Traffic()
        if not trial.worker_momentum:
            self.save_steps = 1  # all of the state is here
        self.restore(0, self.task.initial())

    def _spread(self, state: State, step: int) -> State:
        self._workers.restore(state.momenta, step)
        return state

    def _gather(self, step: int) -> State:
        return self._state._replace(momenta=self._workers.momenta(step))

    def broadcast(self, step: int) -> None:
        workers, params = self._workers, self._state.params
        workers.refresh()
        self.traffic = Traffic(new_processes=workers.joined())
        copy = workers.scatter(params, workers.addresses, step)
        self._copies = dict.fromkeys(workers.addresses, copy)
        self.traffic.bytes["broadcast"] = params.nbytes * len(workers.addresses)

    def compute(self, holders: np.ndarray, batch: np.ndarray, step: int) -> Gradients:
        state = self._state
        previous = state.previous if self.pipeline.wants_previous else None
        return self._workers.compute(self._copies, previous, state.excluded, holders, batch, step)

    def place(self, gradients: Gradients, step: int) -> Placement:
        return self._workers.place(gradients, step)

    def forge(self, gradients: Gradients, placement: Placement, step: int) -> Forged:
        return self._workers.forge(gradients, placement, step)

    def send(self, forged: Forged, step: int) -> Received:
        """Receive the messages that arrive in time and are vectors (d,) of float32."""
        workers, holders = self._workers, forged.gradients.senders
        files, d = len(holders), self.task.model.parameters
        sent = workers.get(workers.arrived(forged.sent, step), step, "send")
        rows = np.zeros((files + holders.size, d), np.float32)
        row_of = np.full(holders.shape, -1)
        used, missing = files, set(range(files))
        for worker, mine in forged.gradients.messages.items():
            vectors, seconds = sent.pop(worker, (None, None))
            if not workers.in_time(worker, None if vectors is None else seconds, step):
                self.traffic.late += mine.size
                continue
            faultless = all(fault.kind == "delay" for fault in workers.faults_of(worker, step))
            for file, vector in zip(mine.tolist(), vectors, strict=True):
                self.traffic.bytes["send"] += vector.nbytes
                if vector.dtype != np.float32 or vector.shape != (d,):
                    self.traffic.malformed += 1
                    continue
                copy = np.flatnonzero(holders[file] == worker)[0]
                if faultless and forged.row_of[file, copy] == file and file in missing:
                    missing.remove(file)
                    row = file
                else:
                    row, used = used, used + 1
                rows[row], row_of[file, copy] = vector, row
        received = Messages(to_backend(rows[:used], self._backend), row_of, forged.search)
        return Received(received, sorted(missing))

    def vote(self, messages: Received, step: int) -> voting.Votes:
        with self._workers.guarded(step, "vote"):
            return self.pipeline.vote(messages.messages, step, self._state.excluded)

    def collect(self, votes: voting.Votes, step: int) -> voting.Votes:
        return votes

    def aggregate(self, votes: voting.Votes, step: int) -> np.ndarray:
        with self._workers.guarded(step, "aggregate"):
            previous = to_backend(self._state.previous, self._backend)
            return to_host(self.pipeline.aggregate(votes.rows, step, previous))

    def update(
        self, aggregate: np.ndarray, gradients: Gradients, votes: voting.Votes, step: int
    ) -> None:
        seen = self._workers.statistics(gradients, step)
        self._state = self.task.update(self._state, aggregate, seen, votes.reaction, step)
        self._workers.remember(gradients)

    def judge(
        self,
        gradients: Gradients,
        messages: Received,
        votes: voting.Votes,
        aggregate: np.ndarray,
        step: int,
    ) -> Outcome:
        rows, search = messages.messages.rows, messages.messages.search
        missing = messages.missing
        if gradients.senders is not gradients.holders:  # the messages are not the gradients
            missing = list(range(len(gradients.holders)))
            rows = np.zeros((len(missing), self.task.model.parameters), np.float32)
            rows = to_backend(rows, self._backend)
        for file, row in self._honest_gradients(gradients, missing, step).items():
            rows[file] = to_backend(row, self._backend)
        losses, self.traffic.worker_seconds = self._workers.losses_and_seconds(gradients, step)
        rows = rows[: len(gradients.holders)]
        known = votes, search, gradients.holders, self._state.excluded
        return judge(losses, rows, to_backend(aggregate, self._backend), *known)

    def _honest_gradients(
        self, gradients: Gradients, files: list[int], step: int
    ) -> dict[int, np.ndarray]:
        """Return the honest gradients (d,) of some files, from their first workers."""
        workers, first = self._workers, gradients.holders[:, 0].tolist()
        futures = {
            file: workers.submit(
                tasks.honest_gradient,
                gradients.computed[first[file]],
                file,
                at=workers.home(first[file]),
            )
            for file in files
        }
        return workers.get(futures, step, "return its gradients")
