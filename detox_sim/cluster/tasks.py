"""What runs on a Dask worker: compute nodes, the attackers' meeting, and shards of the server.

Each function is one task, a pure function of its arguments: what a lost worker took with it is
computed again, with the same bits.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detox_sim.arrays import to_backend, to_host
from detox_sim.cluster.faults import Fault, spoil
from detox_sim.messages import Messages, Search
from detox_sim.models import one_thread
from detox_sim.primitives import take, use_threads
from detox_sim.trials.learning_task import LearningTask
from detox_sim.trials.pipeline import Pipeline
from detox_sim.trials.trial import Trial


class Computed(NamedTuple):
    """The true gradients (n, d) of the files of one node, and those of relabelled files."""

    files: np.ndarray
    losses: np.ndarray
    rows: np.ndarray
    statistics: np.ndarray
    relabelled: np.ndarray | None
    seconds: float


class Spoken(NamedTuple):
    """The messages of one node, a vector (d,) a file, or None; and the seconds until they left."""

    vectors: list[np.ndarray] | None
    seconds: float


class Plot(NamedTuple):
    """What the attackers agreed on: the messages of all nodes, and who holds which file."""

    messages: Messages
    holders: np.ndarray


_setups: dict[str, tuple[Pipeline, LearningTask]] = {}


def setup(trial: Trial) -> tuple[Pipeline, LearningTask]:
    """Return the functions and the task of a trial, made once a process."""
    key = json.dumps(dataclasses.asdict(trial), sort_keys=True)
    if key not in _setups:
        _setups.clear()
        files = len(Pipeline(trial, sizes=(1,)).holders)
        task = LearningTask(trial, files)
        _setups[key] = Pipeline(trial, task.model.sizes), task
    return _setups[key]


def alone(task):
    """Run a task on one thread, and let values overflow in silence, as training does."""

    @functools.wraps(task)
    def quiet(*arguments):
        with one_thread(), use_threads(1), np.errstate(over="ignore", invalid="ignore"):
            return task(*arguments)

    return quiet


@alone
def compute(trial: Trial, step: int, files: np.ndarray, relabel: bool, params) -> Computed:
    """Compute the gradients of one node's files (n,), and with `relabel` those of other labels."""
    _, task = setup(trial)
    start = time.perf_counter()
    losses, rows, statistics = task.gradients(params, step, files)
    rows = to_host(rows)
    seconds = time.perf_counter() - start
    relabelled = to_host(task.gradients(params, step, files, True).rows) if relabel else None
    return Computed(files, losses, rows, statistics, relabelled, seconds)


@alone
def conspire(trial: Trial, step: int, sources: np.ndarray, nodes: list, computed: list) -> Plot:
    """Forge the messages of a step, knowing what `nodes` computed.

    Parameters
    ----------
    sources : int (files,)
        The node whose copy of each file the attackers see.
    nodes, computed : list
        The nodes among `sources`, and what they computed.
    """
    one, _ = setup(trial)
    by_node = dict(zip(nodes, computed, strict=True))

    def gather(name: str):
        rows = [
            getattr(by_node[node], name)[np.flatnonzero(by_node[node].files == file)[0]]
            for file, node in enumerate(sources)
        ]
        return to_backend(np.stack(rows), trial.backend)

    relabelled = gather("relabelled") if one.wants_relabelled else None
    messages = one.send(gather("rows"), step, relabelled)
    return Plot(messages, one.assign(step))


def agreed(plot: Plot) -> tuple[np.ndarray, Search | None]:
    """Return which row each copy (files, copies) is, and what the attackers' search spent."""
    return plot.messages.row_of, plot.messages.search


def lines(plot: Plot, node: int) -> np.ndarray:
    """Return the vectors (n, d) that one node shall send, its files in ascending order."""
    return to_host(take(plot.messages.rows, plot.messages.row_of[plot.holders == node]))


def keep(forged: np.ndarray) -> np.ndarray:
    """Bring what a node was told to the worker of that node."""
    return forged


@alone
def speak(computed: Computed, forged: np.ndarray | None, faults: Sequence[Fault]) -> Spoken:
    """Make the messages of one node: what it computed, or what it was told, with its faults."""
    late = sum(fault.seconds for fault in faults if fault.kind == "delay")
    if late:
        from distributed import secede

        secede()  # the node is slow, not the worker, which serves other nodes
        time.sleep(late)
    rows = computed.rows if forged is None else forged
    vectors = spoil(list(rows), [fault.kind for fault in faults])
    return Spoken(vectors, computed.seconds + late)


def told(computed: Computed) -> tuple[np.ndarray, float]:
    """Return the losses (n,) of one node and the seconds it computed."""
    return computed.losses, computed.seconds


def seen(computed: Computed) -> np.ndarray:
    """Return the batch statistics (n, s) of one node."""
    return computed.statistics


def truth(computed: Computed, file: int) -> np.ndarray:
    """Return the true gradient (d,) of one file."""
    return computed.rows[np.flatnonzero(computed.files == file)[0]]


# --- Digests and shards ---------------------------------------------------------------------------


class Sealed(NamedTuple):
    """The messages of one node with the digests it announced: one of each shard of each vector."""

    vectors: list[np.ndarray]
    leaves: list[bytes]


def digest(part: np.ndarray) -> bytes:
    """Return the 256-bit digest of the bits, type and length of a part of a vector."""
    return hashlib.sha256(part.dtype.str.encode() + str(part.size).encode() + part.data).digest()


def leaves(vector: np.ndarray, bounds: Sequence[int]) -> bytes:
    """Return the digests of the shards of a vector, one after the other."""
    parts = [vector[a:b] for a, b in itertools.pairwise([*bounds[:-1], vector.size])]
    return b"".join(digest(part) for part in parts)


def root(leaves_of_vector: bytes) -> bytes:
    """Return the one digest of a vector, against which a shard and all leaves are checked.

    References
    ----------
    Merkle, A digital signature based on a conventional encryption function, CRYPTO 1987.

    Examples
    --------
    >>> len(root(leaves(np.zeros(3, np.float32), [0, 2, 3]))) * 8
    256
    """
    return hashlib.sha256(leaves_of_vector).digest()


def seal(
    spoken: Spoken, computed: Computed, faults: Sequence[Fault], bounds: Sequence[int]
) -> Sealed | None:
    """Digest the messages of a node, shard by shard."""
    if spoken.vectors is None:
        return None
    lies = any(fault.kind == "digest" for fault in faults)
    announced = list(computed.rows) if lies else spoken.vectors
    return Sealed(spoken.vectors, [leaves(vector, bounds) for vector in announced])


def announce(sealed: Sealed | None, spoken: Spoken) -> tuple[list[bytes] | None, float]:
    """Return the digests that a node sends ahead of its messages, and when it sends."""
    return None if sealed is None else [root(each) for each in sealed.leaves], spoken.seconds


def true_roots(computed: Computed, files: Sequence[int], bounds: Sequence[int]) -> list[bytes]:
    """Return the digests of the true gradients of some files of one node."""
    return [root(leaves(truth(computed, file), bounds)) for file in files]


class Piece(NamedTuple):
    """A shard of a message, with the digests of all its shards."""

    part: np.ndarray
    leaves: bytes


def pieces(sealed: Sealed, places: Sequence[int], a: int, b: int) -> list[Piece]:
    """Cut columns a to b out of the messages at some places of a node."""
    return [Piece(sealed.vectors[place][a:b].copy(), sealed.leaves[place]) for place in places]


def true_piece(computed: Computed, file: int, a: int, b: int) -> np.ndarray:
    """Cut columns a to b out of the true gradient of one file of a node."""
    return truth(computed, file)[a:b].copy()


class Shard(NamedTuple):
    """One shard of the winners (files, width), and the places whose digest did not match."""

    block: np.ndarray
    wrong: list[int]


def assemble(files: int, a: int, b: int, shard: int, wanted: list, parts: list) -> Shard:
    """Put one shard of the winners together, and check each against its digest.

    Parameters
    ----------
    wanted : list of list of (file, root)
        What each of the parts should be.
    parts : list of list of Piece

    Returns
    -------
    Shard
        A file without a winner is zero.
    """
    block, wrong = np.zeros((files, b - a), np.float32), []
    for requests, answers in zip(wanted, parts, strict=True):
        for (file, expected), piece in zip(requests, answers, strict=True):
            mine = piece.leaves[32 * shard : 32 * (shard + 1)]
            honest = (
                hashlib.sha256(piece.leaves).digest() == expected and digest(piece.part) == mine
            )
            right = piece.part.dtype == np.float32 and piece.part.shape == (b - a,)
            if honest and right:
                block[file] = piece.part
            else:
                wrong.append(file)
    return Shard(block, wrong)


def mismatches(shard: Shard) -> list[int]:
    """Return the files whose digest did not match."""
    return shard.wrong


def block_of(shard: Shard, backend: str):
    """Return the rows (files, width) of a shard, on the array library that aggregates."""
    return to_backend(shard.block, backend)


def replace(block, files: Sequence[int], parts: Sequence[np.ndarray], backend: str):
    """Return the block (n, width) with other rows for some files."""
    rows = np.array(to_host(block))
    rows[files] = np.stack(parts)
    return to_backend(rows, backend)


def join(*blocks: np.ndarray) -> np.ndarray:
    """Return a vector whose shards lay elsewhere."""
    return np.concatenate(blocks)
