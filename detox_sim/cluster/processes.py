"""The processes of a Dask cluster, seen from the driver: tasks, waiting, errors and retries."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from detox_sim.cluster.faults import ClusterError, LostError
from detox_sim.primitives.threads import in_dask_worker

if TYPE_CHECKING:
    from distributed import Client, Future

RESOURCES = {"cupy": {"GPU": 1.0}}  # that a task asks of its process, by backend
LOOK_SECONDS = 1.0  # between two checks whether any process is left
PATIENCE_SECONDS = 30.0  # without any process
RETRIES = 2  # of a step, when a process took data with it or was killed

Futures = Mapping[Any, "Future"]
Result = TypeVar("Result")


class Processes:
    """The processes of a cluster that can run a trial's tasks; worker i is pinned to i mod n.

    Parameters
    ----------
    client : distributed.Client
    backend : {"numpy", "cupy"}
        Tasks of "cupy" run only in processes that offer a GPU.

    Attributes
    ----------
    addresses : list of str
        Sorted; looked up again by `refresh`.
    resources : dict or None
        What a task asks of its process.

    Raises
    ------
    ClusterError
        When there is no process, or none with a GPU for the backend "cupy".
    """

    def __init__(self, client: "Client", backend: str):
        self.client, self.resources = client, RESOURCES.get(backend)
        self.addresses: list[str] = []
        self._joined = 0
        self.refresh()

    def refresh(self) -> None:
        """Look up again which processes there are."""
        known = self.client.scheduler_info(-1)["workers"]
        offers = {address: process.get("resources", {}) for address, process in known.items()}
        before = set(self.addresses)
        self.addresses = sorted(
            address
            for address in self.client.nthreads()
            if self.resources is None or offers.get(address, {}).get("GPU", 0) >= 1
        )
        self._joined += len(set(self.addresses) - before)
        if not self.addresses:
            wanted = "workers" if self.resources is None else "worker with a GPU"
            more = "" if self.resources is None else " --resources 'GPU=1'"
            where = self.client.scheduler.address
            raise ClusterError(
                f"the scheduler at {where} has no {wanted}; start one with: "
                f"dask worker {where} --nthreads 1{more}"
            )

    def joined(self) -> int:
        """Return how many processes joined since the last call: their first tasks are slow."""
        self._joined, joined = 0, self._joined
        return joined

    def home(self, number: int) -> str:
        """Return the address of the process that a worker or a shard is pinned to."""
        return self.addresses[number % len(self.addresses)]

    # --- Tasks --------------------------------------------------------------------------------

    def submit(self, task: Callable, *arguments: Any, at: str) -> "Future":
        """Run a task in one process; in another if that one is gone."""
        where = {"workers": [at], "allow_other_workers": True, "resources": self.resources}
        if self.resources and in_dask_worker():  # which has the resource, and would wait for itself
            where = {"workers": self.addresses}
        return self.client.submit(task, *arguments, pure=False, **where)

    def scatter(self, vector: np.ndarray, addresses: list[str], step: int) -> "Future":
        """Send a vector to processes, or raise LostError where one of them is gone."""
        try:
            with self.guarded(step, "receive the state"):
                return self.client.scatter(vector, workers=addresses, broadcast=True, hash=False)
        except KeyError as error:  # the scheduler's, for an address it no longer knows
            raise LostError(f"step {step}: the process at {error} is gone") from error

    def get(self, futures: Futures, step: int, doing: str, who: str = "worker") -> dict[int, Any]:
        """Return the results of tasks, by the same keys."""
        self.finish(futures, step, doing, who=who)
        with self.guarded(step, doing):
            return dict(zip(futures, self.client.gather(list(futures.values())), strict=True))

    def finish(
        self,
        futures: Futures,
        step: int,
        doing: str,
        until: float = np.inf,
        who: str = "worker",
    ) -> None:
        """Wait until tasks are done, or raise with the step and the worker or shard that failed.

        Parameters
        ----------
        futures : mapping
            The key is the number of the worker or shard.
        doing : str
            What the tasks are to do, for the error.
        until : float
            Of `time.monotonic`, when to stop waiting.
        who : str
            "worker", "shard", or who else runs the tasks, for the error.
        """
        from distributed import KilledWorker, wait

        empty_since = None
        while waiting := [future for future in futures.values() if not future.done()]:
            left = until - time.monotonic()
            if left <= 0:
                break
            with (
                contextlib.suppress(LostError),
                self.guarded(step, doing),
                contextlib.suppress(TimeoutError),
            ):
                wait(waiting, timeout=min(LOOK_SECONDS, left))
                continue
            empty_since = self._look(step, doing, empty_since)
        for key, future in futures.items():
            name = f"{who} {key}" if who in ("worker", "shard") else who
            if future.status == "error":
                error = future.exception()
                kind = LostError if isinstance(error, KilledWorker) else ClusterError
                raise kind(f"step {step}: {name} could not {doing}: {error!r}") from error
            if future.status in ("lost", "cancelled"):
                self._check_connected(step, doing)
                raise LostError(f"step {step}: what {name} did to {doing} was lost")

    # --- Errors -------------------------------------------------------------------------------

    def _look(self, step: int, doing: str, empty_since: float | None) -> float | None:
        """Return since when there is no process (None: there is one), or raise after a while."""
        self._check_connected(step, doing)
        with self.guarded(step, doing):
            if self.client.nthreads():
                return None
        since = time.monotonic() if empty_since is None else empty_since
        if time.monotonic() - since > PATIENCE_SECONDS:
            raise ClusterError(f"step {step}: all processes are gone, none is left to {doing}")
        return since

    def _check_connected(self, step: int, doing: str) -> None:
        if self.client.status != "running":
            raise ClusterError(
                f"step {step}: the scheduler was lost while workers were to {doing}; "
                "start it again, and the run"
            )

    @contextlib.contextmanager
    def guarded(self, step: int, doing: str) -> Iterator[None]:
        """Turn the errors of Dask into one that names the step."""
        import asyncio
        import concurrent.futures

        from distributed import KilledWorker
        from distributed.comm import CommClosedError

        gone = asyncio.CancelledError, concurrent.futures.CancelledError, CommClosedError, OSError
        try:
            yield
        except ClusterError:
            raise
        except ValueError as error:
            raise ClusterError(f"step {step}: {error}") from error
        except (KilledWorker, *gone) as error:
            self._check_connected(step, doing)
            raise LostError(f"step {step}: no process could {doing}: {error!r}") from error
        except Exception:
            self._check_connected(step, doing)  # a client without its scheduler fails in any way
            raise

    def retry(
        self, perform: Callable[[int], Result], step: int, restore: Callable[[], int]
    ) -> Result:
        """Perform a step; when data were lost with a process, again from the state last saved.

        Parameters
        ----------
        perform : callable
            step -> result.
        restore : callable
            Brings back the state last saved, and returns the step after which it was saved.
        """
        attempt = 0
        while True:
            try:
                if attempt:
                    self._wait_for_processes(step)
                    for earlier in range(restore() + 1, step):
                        perform(earlier)
                return perform(step)
            except LostError:
                if attempt == RETRIES:
                    raise
                attempt += 1

    def _wait_for_processes(self, step: int) -> None:
        with contextlib.suppress(LostError), self.guarded(step, "continue"):
            self.client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
        try:
            self.refresh()
        except ClusterError as error:
            raise ClusterError(f"step {step}: {error}") from error
