"""Fetch elected vectors into the shards of the server, and look up the honest ones.

Each function submits tasks on the workers' processes; `shards` says where a vector is cut.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from detox_sim import voting
from detox_sim.cluster import digests
from detox_sim.cluster.shards import Shards
from detox_sim.cluster.workers import Forged, Gradients, Workers

if TYPE_CHECKING:
    import dask.array as da
    from distributed import Future

Copy = tuple[int, int]  # (file, copy)


class Announced(NamedTuple):
    """The digest of each copy that arrived, and a future a worker: its sealed messages."""

    digests: dict[Copy, bytes]
    sealed: "dict[int, Future]"
    forged: Forged


class Elected(NamedTuple):
    """The digest that won each file, None where none won, and the digests voted on."""

    digests: list[bytes | None]
    undecided: np.ndarray
    announced: Announced


@dataclass(frozen=True, eq=False, kw_only=True)
class ShardedVotes(voting.Votes):
    """Votes whose rows are a Dask array, and the futures of its blocks."""

    blocks: "list[Future]"


def fetch(
    workers: Workers, shards: Shards, elected: Elected, asked: dict[int, Copy]
) -> "list[Future]":
    """Return a future a shard of the elected vectors, each fetched from the copy that is asked."""
    gradients = elected.announced.forged.gradients
    by_worker: dict[int, list[int]] = {}
    for file, copy in asked.values():
        by_worker.setdefault(int(gradients.holders[file, copy]), []).append(file)
    wanted = [[(file, elected.digests[file]) for file in files] for files in by_worker.values()]
    fetched = []
    for shard, (a, b) in enumerate(shards.ranges):
        parts = []
        for worker, files in by_worker.items():
            positions = np.searchsorted(gradients.files[worker], files).tolist()
            sealed, at = elected.announced.sealed[worker], workers.home(worker)
            parts.append(workers.submit(digests.pieces, sealed, positions, a, b, at=at))
        count, at = len(gradients.holders), workers.home(shard)
        fetched.append(workers.submit(digests.assemble, count, a, b, shard, wanted, parts, at=at))
    return fetched


def mismatches(workers: Workers, fetched: "list[Future]", step: int) -> set[int]:
    """Return the files of which a shard does not match its digest."""
    found = {
        shard: workers.submit(digests.mismatches, future, at=workers.home(shard))
        for shard, future in enumerate(fetched)
    }
    return set().union(*workers.get(found, step, "receive", "shard").values())


def honest_digests(
    workers: Workers, shards: Shards, gradients: Gradients, step: int
) -> list[bytes]:
    """Return the digest of the honest gradient of each file, from its first worker."""
    first = gradients.holders[:, 0]
    files = {worker: np.flatnonzero(first == worker) for worker in dict.fromkeys(first.tolist())}
    futures = {
        worker: workers.submit(
            digests.honest_digests,
            gradients.computed[worker],
            mine.tolist(),
            shards.bounds,
            at=workers.home(worker),
        )
        for worker, mine in files.items()
    }
    honest = [b""] * len(first)
    for worker, found in workers.get(futures, step, "return its digests").items():
        for file, digest in zip(files[worker], found, strict=True):
            honest[file] = digest
    return honest


def honest_rows(
    workers: Workers,
    shards: Shards,
    gradients: Gradients,
    votes: ShardedVotes,
    files: list[int],
    backend: str,
) -> "da.Array":
    """Return the votes with the honest gradients of some files in place of what won."""
    first = gradients.holders[files, 0].tolist()
    blocks = []
    for shard, (a, b) in enumerate(shards.ranges):
        parts = [
            workers.submit(
                digests.honest_piece,
                gradients.computed[worker],
                file,
                a,
                b,
                at=workers.home(worker),
            )
            for file, worker in zip(files, first, strict=True)
        ]
        block, at = votes.blocks[shard], workers.home(shard)
        blocks.append(workers.submit(digests.replace, block, files, parts, backend, at=at))
    return shards.array(blocks, backend, rows=votes.rows.shape[0])
