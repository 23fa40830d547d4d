"""A parameter server of which no process holds (files, d): votes on digests, work in shards.

Workers send 256-bit digests of their messages to the driver, which votes on these. One copy of
each elected vector is then cut by coordinate and fetched by the processes that are the server's
shards, where it is checked against its digest. Rules and the update run on Dask arrays of these
shards.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from detox_sim.arrays import to_backend, to_host
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
from detox_sim.cluster.saving import SavingServer
from detox_sim.cluster.shards import Shards
from detox_sim.cluster.workers import Forged, Gradients, Workers
from detox_sim.messages import Messages
from detox_sim.trials.outcome import Outcome, judge
from detox_sim.trials.pipeline import Placement
from detox_sim.trials.server import Traffic
from detox_sim.trials.state import State
from detox_sim.trials.trial import Trial

if TYPE_CHECKING:
    import dask.array as da
    from distributed import Client, Future

SPLIT = ("params", "velocity", "previous")  # of a state, by coordinate
VOTES = ("majority", "streaming", "clique")  # that need to know only which copies are equal


class ShardedServer(SavingServer):
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

    def _spread(self, state: State, step: int) -> State:
        self._shards = Shards(self._workers, state.params.size)
        self._workers.restore(state.momenta, step)
        spread: dict[str, Any] = {
            name: self._shards.spread(getattr(state, name), step) for name in SPLIT
        }
        return state._replace(**spread)

    def _gather(self, step: int) -> State:
        vectors = [getattr(self._state, name) for name in SPLIT]
        here = dict(zip(SPLIT, self._shards.gather(vectors, step, "save the state"), strict=True))
        return self._state._replace(momenta=self._workers.momenta(step), **here)

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
        state, previous = self._state, None
        if self.pipeline.wants_previous:
            previous = self._shards.gather([state.previous], step, "return the last aggregate")[0]
        return self._workers.compute(self._copies, previous, state.excluded, holders, batch, step)

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
            votes = self.pipeline.vote(Messages(rows, row_of), step, self._state.excluded)
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

        return ShardedVotes(rows, elected.undecided, wrong, blocks=blocks)

    def aggregate(self, votes: ShardedVotes, step: int) -> "da.Array":
        with self._shards.computing(step, "aggregate"):
            previous = self._state.previous.map_blocks(to_backend, self._backend)
            aggregate = self.pipeline.aggregate(votes.rows, step, previous)
            return self._shards.now(step, "aggregate", aggregate)[0]

    def update(
        self, aggregate: "da.Array", gradients: Gradients, votes: ShardedVotes, step: int
    ) -> None:
        here = aggregate.map_blocks(to_host, dtype=np.float32, meta=np.empty(0, np.float32))  # type: ignore
        seen = self._workers.statistics(gradients, step)
        state = self.task.update(self._state, here, seen, votes.reaction, step)
        with self._shards.computing(step, "update"):
            vectors = self._shards.now(step, "update", *(getattr(state, name) for name in SPLIT))
        moved: dict[str, Any] = dict(zip(SPLIT, vectors, strict=True))
        self._state = state._replace(**moved)
        self._workers.remember(gradients)

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
            known = votes, messages.forged.search, gradients.holders, self._state.excluded
            return judge(losses, rows, aggregate, *known)


def _check_vote(trial: Trial) -> None:
    """Raise for an encoding, or a vote that needs more than which copies are equal."""
    if trial.encoding is not None:
        raise ValueError(
            f"server='sharded' votes on digests of copies, and with encoding {trial.encoding!r} no "
            "vote is held; use server='central'"
        )
    options = {name: value for name, value in trial.vote_options.items() if value}
    options.pop("no_majority", None) if options.get("no_majority") == "zero" else None
    if trial.vote not in VOTES or options:
        named = "".join(f" with {name}={value!r}" for name, value in options.items())
        raise ValueError(
            f"server='sharded' votes on digests, and vote {trial.vote!r}{named} needs the values; "
            f"use server='central', or one of {', '.join(VOTES)} without options"
        )
