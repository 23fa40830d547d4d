"""A parameter server without a machine that holds (n, d): votes on digests, coordinates in shards.

Nodes send 256-bit digests of their messages to this process, which votes on these. One copy of
each winner is then cut by coordinate and fetched by the workers that are the server's shards,
where it is checked against its digest. Rules and the update run on Dask arrays of these shards.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detox_sim import voting
from detox_sim.arrays import to_host
from detox_sim.cluster import tasks as nodes
from detox_sim.cluster.central import Said, Traffic
from detox_sim.cluster.faults import Fault
from detox_sim.cluster.shards import Shards
from detox_sim.cluster.workers import Workers
from detox_sim.messages import Messages
from detox_sim.trials.learning_task import State
from detox_sim.trials.outcome import Outcome, judge
from detox_sim.trials.trial import Trial

if TYPE_CHECKING:
    import dask.array as da
    from distributed import Client, Future

SAVE_STEPS = 10  # after which the state is copied here, and Dask forgets how it came about
VOTES = ("majority", "streaming", "clique")  # that need to know no more than who agrees


class Ballots(NamedTuple):
    """The digest of each copy that arrived: by (file, copy), and the sealed messages."""

    roots: dict[tuple[int, int], bytes]
    sealed: "dict[int, Future]"
    said: Said


class Elected(NamedTuple):
    """The digest that won each file, None where nobody won, and the votes about these."""

    roots: list[bytes | None]
    undecided: np.ndarray
    ballots: Ballots


class ShardedServer:
    """The server's work is split by coordinate over the workers."""

    def __init__(
        self, trial: Trial, client: "Client", deadline: float | None, faults: Sequence[Fault]
    ):
        _check_vote(trial)
        self._trial, self.workers = trial, Workers(trial, client, deadline, faults)
        self._one, self.task = self.workers.one, self.workers.task
        self.place(0, self.task.initial())

    # --- State --------------------------------------------------------------------------------

    def place(self, step: int, state: State) -> None:
        """Go on after a step that left that state."""
        params, velocity, statistics = state
        here = State(to_host(params), to_host(velocity), statistics)
        self.workers.persevere(lambda at: self._place(at, here), step, restore=lambda: step)

    def _place(self, step: int, state: State) -> int:
        """Spread the state after a step over the workers, keep it here too; return the step."""
        self.workers.refresh()
        self._shards = Shards(self.workers, state.params.size)
        params, velocity = (self._shards.spread(each, step) for each in state[:2])
        self._state = State(params, velocity, state.statistics)
        self._saved = step, state
        return step

    def persevere(self, perform, step: int):
        """Perform a step; if a worker took data with it, all steps from the state last saved on."""
        return self.workers.persevere(perform, step, lambda: self._place(*self._saved))

    def settle(self, step: int, wanted: bool) -> State | None:
        """End a step; return the state if it is wanted."""
        if wanted or step - self._saved[0] >= SAVE_STEPS:
            params, velocity = self._shards.gather(self._state[:2], step, "save the state")
            self._place(step, State(params, velocity, self._state.statistics))
        return self._saved[1] if wanted else None

    # --- The round ----------------------------------------------------------------------------

    def broadcast(self, step: int) -> None:
        self.traffic = Traffic()
        self.workers.refresh()
        self.traffic.new_processes = self.workers.newcomers()
        blocks = self._shards.blocks(self._state.params, step)
        self._copies = {
            address: self.workers.submit(nodes.join, *blocks, at=address)
            for address in self.workers.addresses
        }
        self.workers.finish(self._copies, step, "receive parameters", who="worker")
        self.traffic.bytes["broadcast"] = 4 * self.task.model.parameters * len(self._copies)

    def compute(self, step: int) -> "dict[int, Future]":
        return self.workers.compute(self._copies, step)

    def attack(self, computed: "dict[int, Future]", step: int) -> Said:
        return Said(computed, *self.workers.attack(computed, step))

    def send(self, said: Said, step: int) -> Ballots:
        """Receive the digests of all messages that are there in time."""
        holders, workers = self._one.assign(step), self.workers
        sealed, reports = {}, {}
        for node, spoken in workers.arrived(said.spoken, step).items():
            home, faults = workers.home(node), workers.faults_of(node, step)
            sealed[node] = workers.submit(
                nodes.seal, spoken, said.computed[node], faults, self._shards.bounds, at=home
            )
            reports[node] = workers.submit(nodes.announce, sealed[node], spoken, at=home)
        told = workers.get(reports, step, "send")
        roots = {}
        for node, files in workers.files.items():
            mine, seconds = told.get(node, (None, None))
            if not workers.in_time(node, None if mine is None else seconds, step):
                self.traffic.late += files.size
                continue
            for file, root in zip(files.tolist(), mine, strict=True):
                roots[file, int(np.flatnonzero(holders[file] == node)[0])] = root
                self.traffic.bytes["send"] += len(root)
        return Ballots(roots, sealed, said)

    def vote(self, ballots: Ballots, step: int) -> Elected:
        """Vote on digests: each distinct one stands for a number, whose vote tells who won."""
        distinct = [b"", *dict.fromkeys(ballots.roots.values())]
        number = {root: place for place, root in enumerate(distinct)}
        row_of = np.full(self._one.holders.shape, -1)
        for copy, root in ballots.roots.items():
            row_of[copy] = number[root]
        rows = np.arange(float(len(distinct)))[:, None]
        with self.workers.guarded(step, "vote"):
            votes = self._one.vote(Messages(rows, row_of), step)
        winners = votes.rows[:, 0].astype(int)
        roots = [
            None if undecided else distinct[winner]
            for winner, undecided in zip(winners, votes.undecided, strict=True)
        ]
        return Elected(roots, votes.undecided, ballots)

    def collect(self, elected: Elected, step: int) -> voting.Votes:
        """Fetch one copy of each winner into the shards.

        A node whose copy is not what it announced is found out, and another holder is asked; where
        none is left, the copies with that digest are out of the vote.
        """
        ballots, caught = elected.ballots, set[tuple[int, int]]()
        while True:
            asked, empty = {}, []
            for file, root in enumerate(elected.roots):
                copies = [
                    key for key, own in ballots.roots.items() if key[0] == file and own == root
                ]
                honest = [key for key in copies if key not in caught]
                if honest:
                    asked[file] = min(honest)
                empty += [] if honest else copies
            if empty:
                for key in empty:
                    del ballots.roots[key]
                elected = self.vote(ballots, step)
                continue
            shards = self._fetch(elected, asked, step)
            wrong = self._mismatches(shards, step)
            if not wrong:
                break
            caught |= {asked[file] for file in wrong}
        self.traffic.caught = len(caught)
        return self._votes(elected, shards, step)

    def _fetch(self, elected: Elected, asked: dict, step: int) -> "list[Future]":
        holders, workers = self._one.assign(step), self.workers
        by_node: dict[int, list[int]] = {}
        for file, copy in asked.values():
            by_node.setdefault(int(holders[file, copy]), []).append(file)
        wanted = [[(file, elected.roots[file]) for file in files] for files in by_node.values()]
        shards = []
        for shard, (a, b) in enumerate(self._shards.ranges):
            parts = []
            for node, files in by_node.items():
                places = np.searchsorted(workers.files[node], files).tolist()
                sealed = elected.ballots.sealed[node]
                parts.append(
                    workers.submit(nodes.pieces, sealed, places, a, b, at=workers.home(node))
                )
            shards.append(
                workers.submit(
                    nodes.assemble, len(holders), a, b, shard, wanted, parts, at=workers.home(shard)
                )
            )
        count = len(self._shards.ranges)
        self.traffic.bytes["send"] += len(asked) * (
            4 * self.task.model.parameters + 32 * count * count
        )
        return shards

    def _mismatches(self, shards: "list[Future]", step: int) -> set[int]:
        looks = {
            shard: self.workers.submit(nodes.mismatches, future, at=self.workers.home(shard))
            for shard, future in enumerate(shards)
        }
        return set().union(*self.workers.get(looks, step, "receive", "shard").values())

    def _votes(self, elected: Elected, shards: "list[Future]", step: int) -> voting.Votes:
        backend, workers = self._trial.backend, self.workers
        blocks = [
            workers.submit(nodes.block_of, future, backend, at=workers.home(shard))
            for shard, future in enumerate(shards)
        ]
        self._vote_blocks = blocks
        rows = self._shards.array(blocks, backend, rows=len(elected.roots))

        def wrong() -> np.ndarray:
            true = self._true_roots(elected.ballots.said.computed, step)
            return np.array([own != root for own, root in zip(elected.roots, true, strict=True)])

        return voting.Votes(rows, elected.undecided, wrong)

    def _true_roots(self, computed: "dict[int, Future]", step: int) -> list[bytes]:
        sources = self._one.assign(step)[:, 0]
        tasks = {
            node: self.workers.submit(
                nodes.true_roots,
                computed[node],
                np.flatnonzero(sources == node).tolist(),
                self._shards.bounds,
                at=self.workers.home(node),
            )
            for node in dict.fromkeys(sources.tolist())
        }
        told = self.workers.get(tasks, step, "tell the truth")
        true: list[bytes] = [b""] * len(sources)
        for node, roots in told.items():
            for file, root in zip(np.flatnonzero(sources == node), roots, strict=True):
                true[file] = root
        return true

    def aggregate(self, votes: voting.Votes, step: int) -> "da.Array":
        with self._shards.computing(step, "aggregate"):
            return self._shards.now(step, "aggregate", self._one.aggregate(votes.rows, step))[0]

    def update(self, aggregate: "da.Array", step: int) -> None:
        here = aggregate.map_blocks(to_host, dtype=np.float32, meta=np.empty(0, np.float32))  # type: ignore
        state = self.task.update(self._state, here, self.workers.seen(step), step)
        with self._shards.computing(step, "update"):
            params, velocity = self._shards.now(step, "update", *state[:2])
        self._state = State(params, velocity, state.statistics)

    def judge(self, said: Said, votes: voting.Votes, aggregate: "da.Array", step: int) -> Outcome:
        losses, self.traffic.worker_seconds = self.workers.told(said.computed, step)
        false = np.flatnonzero(votes.distorted | votes.undecided).tolist()
        with self._shards.computing(step, "tell the truth"):
            rows = self._with_truth(said, votes.rows, false, step) if false else votes.rows
            return judge(losses, rows, aggregate, votes, said.search)

    def _with_truth(self, said: Said, rows: "da.Array", files: list[int], step: int) -> "da.Array":
        """Return the votes with the true gradients of some files in place of what won."""
        workers, sources = self.workers, self._one.assign(step)[files, 0].tolist()
        blocks = []
        for shard, (a, b) in enumerate(self._shards.ranges):
            parts = [
                workers.submit(
                    nodes.true_piece, said.computed[node], file, a, b, at=workers.home(node)
                )
                for file, node in zip(files, sources, strict=True)
            ]
            blocks.append(
                workers.submit(
                    nodes.replace,
                    self._vote_blocks[shard],
                    files,
                    parts,
                    self._trial.backend,
                    at=workers.home(shard),
                )
            )
        return self._shards.array(blocks, self._trial.backend, rows=rows.shape[0])


def _check_vote(trial: Trial) -> None:
    """Raise for a vote that needs more than who agrees with whom."""
    options = {name: value for name, value in trial.vote_options.items() if value}
    options.pop("no_majority", None) if options.get("no_majority") == "zero" else None
    if trial.vote not in VOTES or options:
        named = "".join(f" with {name}={value!r}" for name, value in options.items())
        raise ValueError(
            f"server='sharded' votes on digests, and vote {trial.vote!r}{named} needs the values; "
            f"use server='central', or one of {', '.join(VOTES)} without options"
        )
