"""Tasks of Dask for votes on digests: seal messages, cut them into shards, check the shards."""

import hashlib
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from detox_sim.arrays import to_backend, to_host
from detox_sim.cluster.faults import Fault
from detox_sim.cluster.tasks import Sent, honest_gradient
from detox_sim.trials.state import Computed


class Sealed(NamedTuple):
    """The messages of one worker with the digests it announced: one of each shard of a vector."""

    vectors: list[np.ndarray]
    leaves: list[bytes]


class Piece(NamedTuple):
    """A shard of a message, with the digests of all its shards."""

    part: np.ndarray
    leaves: bytes


class Shard(NamedTuple):
    """One shard of the elected vectors (files, width), and the files whose digest did not match."""

    block: np.ndarray
    mismatched: list[int]


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
    sent: Sent, computed: Computed, faults: Sequence[Fault], bounds: Sequence[int]
) -> Sealed | None:
    """Digest the messages of a worker, shard by shard."""
    if sent.vectors is None:
        return None
    other = any(fault.kind == "digest" for fault in faults)
    announced = list(computed.rows) if other else sent.vectors
    return Sealed(sent.vectors, [leaves(vector, bounds) for vector in announced])


def announce(sealed: Sealed | None, sent: Sent) -> tuple[list[bytes] | None, float]:
    """Return the digests that a worker sends ahead of its messages, and when it sends."""
    return None if sealed is None else [root(each) for each in sealed.leaves], sent.seconds


def honest_digests(computed: Computed, files: Sequence[int], bounds: Sequence[int]) -> list[bytes]:
    """Return the digests of the honest gradients of some files of one worker."""
    return [root(leaves(honest_gradient(computed, file), bounds)) for file in files]


def pieces(sealed: Sealed, positions: Sequence[int], a: int, b: int) -> list[Piece]:
    """Cut columns a to b out of the messages at some positions of a worker."""
    return [Piece(sealed.vectors[i][a:b].copy(), sealed.leaves[i]) for i in positions]


def honest_piece(computed: Computed, file: int, a: int, b: int) -> np.ndarray:
    """Cut columns a to b out of the honest gradient of one file of a worker."""
    return honest_gradient(computed, file)[a:b].copy()


def assemble(files: int, a: int, b: int, shard: int, wanted: list, parts: list) -> Shard:
    """Assemble one shard of the elected vectors, and check each against its digest.

    Parameters
    ----------
    wanted : list of list of (file, digest)
        What each of the parts should be.
    parts : list of list of Piece

    Returns
    -------
    Shard
        A file without a winner is zero.
    """
    block, mismatched = np.zeros((files, b - a), np.float32), []
    for requests, answers in zip(wanted, parts, strict=True):
        for (file, expected), piece in zip(requests, answers, strict=True):
            announced = piece.leaves[32 * shard : 32 * (shard + 1)]
            same = root(piece.leaves) == expected and digest(piece.part) == announced
            if same and piece.part.dtype == np.float32 and piece.part.shape == (b - a,):
                block[file] = piece.part
            else:
                mismatched.append(file)
    return Shard(block, mismatched)


def mismatches(shard: Shard) -> list[int]:
    """Return the files whose digest did not match."""
    return shard.mismatched


def block_of(shard: Shard, backend: str):
    """Return the rows (files, width) of a shard, in the array library that aggregates."""
    return to_backend(shard.block, backend)


def replace(block, files: Sequence[int], parts: Sequence[np.ndarray], backend: str):
    """Return the block (n, width) with other rows for some files."""
    rows = np.array(to_host(block))
    rows[files] = np.stack(parts)
    return to_backend(rows, backend)


def join(*blocks: np.ndarray) -> np.ndarray:
    """Return the vector made of its shards."""
    return np.concatenate(blocks)
