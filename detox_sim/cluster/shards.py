"""Vectors and rows that are split by coordinate over processes, as Dask arrays."""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from detox_sim.arrays import to_backend
from detox_sim.cluster.processes import Processes
from detox_sim.primitives.sums import UNIT

if TYPE_CHECKING:
    import dask.array as da
    from distributed import Future


class Shards:
    """How `columns` coordinates are split: shard i, of whole units, in process i.

    Attributes
    ----------
    bounds : list of int
        Where each shard starts, and `columns`.
    ranges : list of (int, int)
    """

    def __init__(self, processes: Processes, columns: int):
        self._processes = processes
        units = np.array_split(np.arange(0, columns, UNIT), len(processes.addresses))
        self.bounds = [int(part[0]) for part in units if part.size] + [columns]
        self.ranges = list(itertools.pairwise(self.bounds))

    def spread(self, vector: np.ndarray, step: int) -> "da.Array":
        """Send a vector (d,) to the shards."""
        blocks = [
            self._processes.scatter(vector[a:b], [self._processes.home(shard)], step)
            for shard, (a, b) in enumerate(self.ranges)
        ]
        return self.now(step, "receive the state", self.array(blocks, "numpy"))[0]

    def array(self, blocks: "Sequence[Future]", backend: str, rows: int | None = None):
        """Return the Dask array (d,) or (rows, d) whose chunks of columns are these futures."""
        import dask.array as da

        lead = () if rows is None else (rows,)
        meta = to_backend(np.empty((0,) * (1 + len(lead)), np.float32), backend)
        chunks = [
            da.from_delayed(block, (*lead, b - a), np.float32, meta)
            for block, (a, b) in zip(blocks, self.ranges, strict=True)
        ]
        return da.concatenate(chunks, axis=-1)

    def blocks(self, vector: "da.Array", step: int) -> "list[Future]":
        """Return the futures of the chunks of a vector that `now` returned."""
        with self._processes.guarded(step, "find the state"):
            futures = {future.key: future for future in self._processes.client.futures_of(vector)}
        return [futures[key] for key in vector.__dask_keys__()]

    def gather(self, vectors: "Sequence[da.Array]", step: int, doing: str) -> list[np.ndarray]:
        """Return vectors (d,) that `now` returned, here."""
        blocks = [block for vector in vectors for block in self.blocks(vector, step)]
        parts = list(self._processes.get(dict(enumerate(blocks)), step, doing, "shard").values())
        size = len(self.ranges)
        return [np.concatenate(parts[start : start + size]) for start in range(0, len(parts), size)]

    @contextlib.contextmanager
    def computing(self, step: int, doing: str) -> Iterator[None]:
        """Let Dask arrays be computed on the workers, and errors name the step."""
        import dask

        with (
            self._processes.guarded(step, doing),
            dask.config.set(scheduler=self._processes.client),
        ):
            yield

    def now(self, step: int, doing: str, *arrays: "da.Array") -> "list[da.Array]":
        """Compute arrays where their shards are."""
        with self._processes.guarded(step, doing):
            done = self._processes.client.persist(
                list(arrays),
                workers=self._processes.addresses,
                allow_other_workers=self._processes.resources is None,
            )
            futures = self._processes.client.futures_of(done)
        self._processes.finish(dict(enumerate(futures)), step, doing, who="shard")
        return done
