"""A parameter server of which no process holds (files, d): votes on digests, work in shards.

Workers send 256-bit digests of their messages to the driver, which votes on these. One copy of
each elected vector is then cut by coordinate and fetched by the processes that are the server's
shards, where it is checked against its digest. Rules and the update run on Dask arrays of these
shards.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from detox_sim.arrays import to_host
from detox_sim.cluster import digests
from detox_sim.cluster.faults import Fault
from detox_sim.cluster.fetching import (
    Announced,
    Copy,
    Elected,
    ShardedVotes,
    fetch,
    honest_digests,
    honest_rows,
    mismatches,
)
from detox_sim.cluster.shards import Shards
from detox_sim.cluster.workers import Forged, Gradients, Workers
from detox_sim.messages import Messages
from detox_sim.trials.learning_task import State
from detox_sim.trials.outcome import Outcome, judge
from detox_sim.trials.pipeline import Placement
from detox_sim.trials.server import Traffic
from detox_sim.trials.trial import Trial

if TYPE_CHECKING:
    import dask.array as da
    from distributed import Client, Future

SAVE_STEPS = 10  # after which the state is copied to the driver, and Dask forgets its history
VOTES = ("majority", "streaming", "clique")  # that need to know only which copies are equal

Result = TypeVar("Result")


class ShardedServer:
    """The server's work is split by coordinate over the processes.

    Parameters
    ----------
    trial : Trial
    client : distributed.Client
    deadline : float, optional
    faults : tuple of Fault

    Raises
    ------
    ValueError
        For a vote that needs more than which copies are equal.
    """

    def __init__(
        self, trial: Trial, client: "Client", deadline: float | None, faults: tuple[Fault, ...]
    ):
        _check_vote(trial)
        self._backend, self._workers = trial.backend, Workers(trial, client, deadline, faults)
        self.pipeline, self.task = self._workers.pipeline, self._workers.task
        self.traffic = Traffic()
        self.restore(0, self.task.initial())

    # --- State --------------------------------------------------------------------------------

    def restore(self, step: int, state: State) -> None:
        params, velocity = (to_host(vector) for vector in state[:2])
        here = state._replace(params=params, velocity=velocity)
        self._workers.retry(lambda k: self._save(k, here), step, restore=lambda: step)

    def _save(self, step: int, state: State) -> int:
        """Keep the state after a step in the driver, and spread it over the processes."""
        self._workers.refresh()
        self._shards = Shards(self._workers, state.params.size)
        params, velocity = (self._shards.spread(each, step) for each in state[:2])
        self._state = state._replace(params=params, velocity=velocity)
        self._saved = step, state
        return step

    def state(self, step: int) -> State:
        if step != self._saved[0]:
            params, velocity = self._shards.gather(self._state[:2], step, "save the state")
            self._save(step, self._state._replace(params=params, velocity=velocity))
        return self._saved[1]

    def retry(self, perform: Callable[[int], Result], step: int) -> Result:
        """Perform a step; if a process took data with it, all steps from the state last saved."""

        def perform_and_save(k: int) -> Result:
            result = perform(k)
            if k - self._saved[0] >= SAVE_STEPS:
                self.state(k)
            return result

        return self._workers.retry(perform_and_save, step, lambda: self._save(*self._saved))

    # --- The phases of a step -----------------------------------------------------------------

    def broadcast(self, step: int) -> None:
        workers = self._workers
        workers.refresh()
        self.traffic = Traffic(new_processes=workers.joined())
        blocks = self._shards.blocks(self._state.params, step)
        self._copies = {
            address: workers.submit(digests.join, *blocks, at=address)
            for address in workers.addresses
        }
        workers.finish(self._copies, step, "receive parameters", who="a process")
        self.traffic.bytes["broadcast"] = 4 * self.task.model.parameters * len(self._copies)

    def compute(self, holders: np.ndarray, batch: np.ndarray, step: int) -> Gradients:
        return self._workers.compute(self._copies, holders, batch, step)

    def place(self, gradients: Gradients, step: int) -> Placement:
        return self._workers.place(gradients, step)

    def forge(self, gradients: Gradients, placement: Placement, step: int) -> Forged:
        return self._workers.forge(gradients, placement, step)

    def send(self, forged: Forged, step: int) -> Announced:
        """Receive the digests of all messages that are sent in time."""
        holders, workers, reports = forged.gradients.holders, self._workers, {}
        announced = Announced({}, {}, forged)
        for worker, sent in workers.arrived(forged.sent, step).items():
            home, faults = workers.home(worker), workers.faults_of(worker, step)
            computed = forged.gradients.computed[worker]
            sealed = workers.submit(
                digests.seal, sent, computed, faults, self._shards.bounds, at=home
            )
            reports[worker] = workers.submit(digests.announce, sealed, sent, at=home)
            announced.sealed[worker] = sealed
        received = workers.get(reports, step, "send")
        for worker, files in forged.gradients.files.items():
            mine, seconds = received.get(worker, (None, None))
            if not workers.in_time(worker, None if mine is None else seconds, step):
                self.traffic.late += files.size
                continue
            for file, digest in zip(files.tolist(), mine, strict=True):
                copy = int(np.flatnonzero(holders[file] == worker)[0])
                announced.digests[file, copy] = digest
                self.traffic.bytes["send"] += len(digest)
        return announced

    def vote(self, messages: Announced, step: int) -> Elected:
        """Vote on digests: each distinct one is replaced by a number, and these are voted on."""
        distinct = [b"", *dict.fromkeys(messages.digests.values())]
        number = {digest: i for i, digest in enumerate(distinct)}
        row_of = np.full(messages.forged.gradients.holders.shape, -1)
        for copy, digest in messages.digests.items():
            row_of[copy] = number[digest]
        rows = np.arange(float(len(distinct)))[:, None]
        with self._workers.guarded(step, "vote"):
            votes = self.pipeline.vote(Messages(rows, row_of), step)
        winners = votes.rows[:, 0].astype(int)
        elected = [
            None if undecided else distinct[winner]
            for winner, undecided in zip(winners, votes.undecided, strict=True)
        ]
        return Elected(elected, votes.undecided, messages)

    def collect(self, votes: Elected, step: int) -> ShardedVotes:
        """Fetch one copy of each elected vector into the shards.

        A worker whose vector does not match its digest is recorded, and the next worker that
        announced the same digest is asked. Where none is left, these copies leave the vote.
        """
        elected, announced, mismatched = votes, votes.announced, set[Copy]()
        while True:
            asked: dict[int, Copy] = {}
            unsupported: list[Copy] = []
            for file, winner in enumerate(elected.digests):
                copies = [
                    copy
                    for copy, digest in announced.digests.items()
                    if copy[0] == file and digest == winner
                ]
                left = [copy for copy in copies if copy not in mismatched]
                if left:
                    asked[file] = min(left)
                else:
                    unsupported += copies
            if unsupported:
                for copy in unsupported:
                    del announced.digests[copy]
                elected = self.vote(announced, step)
                continue
            shards = fetch(self._workers, self._shards, elected, asked)
            self.traffic.bytes["send"] += len(asked) * self._bytes_of_a_vector()
            wrong = mismatches(self._workers, shards, step)
            if not wrong:
                break
            mismatched |= {asked[file] for file in wrong}
        self.traffic.mismatched = len(mismatched)
        return self._votes(elected, shards, step)

    def _bytes_of_a_vector(self) -> int:
        """Return the bytes that move with one vector: each shard gets the digests of all."""
        return 4 * self.task.model.parameters + 32 * len(self._shards.ranges) ** 2

    def _votes(self, elected: Elected, shards: "list[Future]", step: int) -> ShardedVotes:
        backend, workers = self._backend, self._workers
        blocks = [
            workers.submit(digests.block_of, future, backend, at=workers.home(shard))
            for shard, future in enumerate(shards)
        ]
        rows = self._shards.array(blocks, backend, rows=len(elected.digests))

        def wrong() -> np.ndarray:
            gradients = elected.announced.forged.gradients
            honest = honest_digests(workers, self._shards, gradients, step)
            return np.array([a != b for a, b in zip(elected.digests, honest, strict=True)])

        return ShardedVotes(rows, elected.undecided, wrong, blocks)

    def aggregate(self, votes: ShardedVotes, step: int) -> "da.Array":
        with self._shards.computing(step, "aggregate"):
            aggregate = self.pipeline.aggregate(votes.rows, step)
            return self._shards.now(step, "aggregate", aggregate)[0]

    def update(self, aggregate: "da.Array", gradients: Gradients, step: int) -> None:
        here = aggregate.map_blocks(to_host, dtype=np.float32, meta=np.empty(0, np.float32))  # type: ignore
        statistics = self._workers.statistics(gradients, step)
        state = self.task.update(self._state, here, statistics, step)
        with self._shards.computing(step, "update"):
            params, velocity = self._shards.now(step, "update", *state[:2])
        self._state = state._replace(params=params, velocity=velocity)

    def judge(
        self,
        gradients: Gradients,
        messages: Announced,
        votes: ShardedVotes,
        aggregate: "da.Array",
        step: int,
    ) -> Outcome:
        losses, self.traffic.worker_seconds = self._workers.losses_and_seconds(gradients, step)
        wrong = np.flatnonzero(votes.distorted | votes.undecided).tolist()
        with self._shards.computing(step, "return its gradients"):
            rows = votes.rows
            if wrong:
                where = self._workers, self._shards
                rows = honest_rows(*where, gradients, votes, wrong, self._backend)
            return judge(losses, rows, aggregate, votes, messages.forged.search)


def _check_vote(trial: Trial) -> None:
    """Raise for a vote that needs more than which copies are equal."""
    options = {name: value for name, value in trial.vote_options.items() if value}
    options.pop("no_majority", None) if options.get("no_majority") == "zero" else None
    if trial.vote not in VOTES or options:
        named = "".join(f" with {name}={value!r}" for name, value in options.items())
        raise ValueError(
            f"server='sharded' votes on digests, and vote {trial.vote!r}{named} needs the values; "
            f"use server='central', or one of {', '.join(VOTES)} without options"
        )
