"""The driver's side of the compute nodes: which worker each is pinned to, and what went wrong."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from detox_sim.catalogue import check_number
from detox_sim.cluster import tasks as nodes
from detox_sim.cluster.faults import ClusterError, Fault, LostError
from detox_sim.messages import Search
from detox_sim.primitives.threads import in_dask_worker
from detox_sim.trials.learning_task import EVALUATED_NODE
from detox_sim.trials.trial import Trial

if TYPE_CHECKING:
    from distributed import Client, Future

RESOURCES = {"cupy": {"GPU": 1.0}}  # that a task asks of its worker, by backend
LOOK_SECONDS = 1.0  # between two looks at whether anyone is still there
PATIENCE_SECONDS = 30.0  # without any worker
GRACE_SECONDS = 2.0  # beyond a deadline, for the transport
TRIES = 2  # more of a round, when a worker took data with it or was killed

Futures = Mapping[Any, "Future"]


class Workers:
    """The compute nodes of a trial: node i on worker i modulo their number, while it lives.

    Parameters
    ----------
    trial : Trial
    client : distributed.Client
    deadline : float, optional
        Seconds, of a node's own clock, until its messages must have left it.
    faults : sequence of Fault

    Raises
    ------
    ClusterError
        When there is no worker, or none with a GPU for the backend "cupy".
    """

    def __init__(
        self, trial: Trial, client: "Client", deadline: float | None, faults: Sequence[Fault]
    ):
        if deadline is not None:
            check_number("deadline", deadline)
            if not 0 < deadline < np.inf:
                raise ValueError(f"deadline must be a number of seconds above 0, got {deadline!r}")
        faults = _checked(trial, faults)
        self.trial, self.client, self.deadline, self.faults = trial, client, deadline, faults
        self.resources = RESOURCES.get(trial.backend)
        self.files: dict[int, np.ndarray] = {}
        self._watched: Future | None = None
        self.addresses: list[str] = []
        self.joined = 0  # workers since it was last looked at
        self.refresh()
        self.one, self.task = nodes.setup(trial)

    def refresh(self) -> None:
        """Look again which workers there are."""
        known = self.client.scheduler_info(-1)["workers"]
        offers = {address: worker.get("resources", {}) for address, worker in known.items()}
        before = set(self.addresses)
        self.addresses = sorted(
            address
            for address in self.client.nthreads()
            if self.resources is None or offers.get(address, {}).get("GPU", 0) >= 1
        )
        self.joined += len(set(self.addresses) - before)
        if not self.addresses:
            wanted = "workers" if self.resources is None else "worker with a GPU"
            more = "" if self.resources is None else " --resources 'GPU=1'"
            where = self.client.scheduler.address
            raise ClusterError(
                f"the scheduler at {where} has no {wanted}; start one with: "
                f"dask worker {where} --nthreads 1{more}"
            )

    def newcomers(self) -> int:
        """Return how many workers joined since the last call: their first tasks are slow."""
        self.joined, joined = 0, self.joined
        return joined

    def home(self, node: int) -> str:
        """Return the address of the worker that a node is pinned to."""
        return self.addresses[node % len(self.addresses)]

    def submit(self, task: Callable, *arguments: Any, at: str) -> "Future":
        """Run a task on one worker; on another if that one is gone."""
        where = {"workers": [at], "allow_other_workers": True, "resources": self.resources}
        if self.resources and in_dask_worker():  # which has the resource, and would wait for itself
            where = {"workers": self.addresses}
        return self.client.submit(task, *arguments, pure=False, **where)

    def scatter(self, vector: np.ndarray, addresses: list[str], step: int) -> "Future":
        """Send a vector to workers, or raise LostError where one of them is gone."""
        try:
            with self.guarded(step, "receive the state"):
                return self.client.scatter(vector, workers=addresses, broadcast=True, hash=False)
        except KeyError as error:  # the scheduler's, for an address it no longer knows
            raise LostError(f"step {step}: the worker at {error} is gone") from error

    def faults_of(self, node: int, step: int) -> list[Fault]:
        return [fault for fault in self.faults if (fault.step, fault.node) == (step, node)]

    def truthful(self, node: int, step: int) -> bool:
        """Return whether a node that does not lie sends what it computed."""
        return all(fault.kind == "delay" for fault in self.faults_of(node, step))

    # --- A round at the nodes -----------------------------------------------------------------

    def compute(self, params: Mapping[str, Any], step: int) -> dict[int, "Future"]:
        """Let every node compute the gradients of its files.

        Parameters
        ----------
        params : mapping
            Worker's address -> the parameters (d,) on it.
        """
        holders = self.one.assign(step)
        order = np.argsort(holders, axis=None, kind="stable")
        owners, files = holders.ravel()[order], order // holders.shape[1]
        self.files = {int(node): np.sort(files[owners == node]) for node in np.unique(holders)}
        sources = set(holders[:, 0].tolist()) if self.one.wants_relabelled else set()
        futures = {
            node: self.submit(
                nodes.compute,
                self.trial,
                step,
                mine,
                node in sources,
                params[self.home(node)],
                at=self.home(node),
            )
            for node, mine in self.files.items()
        }
        self.finish(futures, step, "compute")
        self._watched = futures.get(EVALUATED_NODE)
        return futures

    def seen(self, step: int) -> np.ndarray:
        """Return the batch statistics (n, s) that the node that evaluates saw in this step."""
        size = self.task.model.statistics_momentum.size
        if not size or self._watched is None:
            return np.zeros((0, size), np.float32)
        task = self.submit(nodes.seen, self._watched, at=self.home(EVALUATED_NODE))
        return self.get({EVALUATED_NODE: task}, step, "tell its statistics")[EVALUATED_NODE]

    def attack(
        self, computed: Futures, step: int
    ) -> tuple[dict[int, "Future"], np.ndarray, Search | None]:
        """Return what each node says, which row each copy (files, copies) is, and the search.

        The attackers meet on one worker, which holds one copy of each file meanwhile.
        """
        holders = self.one.assign(step)
        honest = np.repeat(np.arange(len(holders))[:, None], holders.shape[1], axis=1)
        row_of, search, plot = honest, None, None
        if self.trial.byzantine and self.trial.attack != "none":
            sources = sorted(set(holders[:, 0].tolist()))
            seen = [computed[node] for node in sources]
            plot = self.submit(
                nodes.conspire, self.trial, step, holders[:, 0], sources, seen, at=self.home(0)
            )
            row_of, search = self.get(
                {0: self.submit(nodes.agreed, plot, at=self.home(0))},
                step,
                "forge",
                "the attackers",
            )[0]
        liars = set(holders[row_of != honest].tolist())
        forged = {
            node: self.submit(
                nodes.keep,
                self.submit(nodes.lines, plot, node, at=self.home(0)),
                at=self.home(node),
            )
            for node in sorted(liars)
        }
        self.finish(forged, step, "forge")
        said = {}
        for node, future in computed.items():
            faults = self.faults_of(node, step)
            told = forged.get(node)
            said[node] = self.submit(nodes.speak, future, told, faults, at=self.home(node))
        return said, row_of, search

    def told(self, computed: Futures, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the losses (files,) and the seconds (nodes,) that the nodes computed."""
        tasks = {
            node: self.submit(nodes.told, future, at=self.home(node))
            for node, future in computed.items()
        }
        losses = np.empty(self.task.files)
        told = self.get(tasks, step, "tell its time")
        for node, (mine, _) in told.items():
            losses[self.files[node]] = mine
        return losses, np.array([seconds for _, seconds in told.values()])

    def arrived(self, said: Futures, step: int) -> dict[int, "Future"]:
        """Wait for what nodes say; return that of all but those who missed the deadline by far."""
        if self.deadline is None:
            self.finish(said, step, "send")
            return dict(said)
        until = time.monotonic() + self.deadline + GRACE_SECONDS
        self.finish(said, step, "send", until)
        late = [future for future in said.values() if not future.done()]
        self.client.cancel(late)
        return {node: future for node, future in said.items() if future not in late}

    def in_time(self, node: int, seconds: float | None, step: int) -> bool:
        """Return whether messages sent after `seconds` (None: never) count.

        Raises
        ------
        ClusterError
            Where the server would wait for ever.
        """
        if seconds is None and self.deadline is None:
            raise ClusterError(
                f"step {step}: node {node} sent nothing, and without a deadline the server waits "
                "for ever; use train(..., deadline=seconds)"
            )
        return seconds is not None and (self.deadline is None or seconds <= self.deadline)

    # --- Waiting, and what goes wrong ---------------------------------------------------------

    def get(self, futures: Futures, step: int, doing: str, who: str = "node") -> dict[int, Any]:
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
        who: str = "node",
    ) -> None:
        """Wait until tasks are done, or raise with the step and the node that failed."""
        from distributed import KilledWorker, wait

        alone_since = None
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
            alone_since = self._look(step, doing, alone_since)
        for key, future in futures.items():
            name = f"{who} {key}" if who in ("node", "shard") else who
            if future.status == "error":
                error = future.exception()
                kind = LostError if isinstance(error, KilledWorker) else ClusterError
                raise kind(f"step {step}: {name} could not {doing}: {error!r}") from error
            if future.status in ("lost", "cancelled"):
                self._connected(step, doing)
                raise LostError(f"step {step}: what {name} did to {doing} was lost")

    def _look(self, step: int, doing: str, alone_since: float | None) -> float | None:
        """Return since when there is no worker (None: there is one), or raise after a while."""
        self._connected(step, doing)
        with self.guarded(step, doing):
            if self.client.nthreads():
                return None
        since = time.monotonic() if alone_since is None else alone_since
        if time.monotonic() - since > PATIENCE_SECONDS:
            raise ClusterError(f"step {step}: all workers are gone, nobody is left to {doing}")
        return since

    def _connected(self, step: int, doing: str) -> None:
        if self.client.status != "running":
            raise ClusterError(
                f"step {step}: the scheduler was lost while nodes were to {doing}; "
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
            self._connected(step, doing)
            raise LostError(f"step {step}: nobody could {doing}: {error!r}") from error
        except Exception:
            self._connected(step, doing)  # a client without its scheduler fails in any way
            raise

    def persevere(self, perform: Callable[[int], Any], step: int, restore: Callable[[], int]):
        """Perform a step; when data was lost with a worker, again from the state last saved.

        Parameters
        ----------
        perform : callable
            step -> outcome.
        restore : callable
            Brings back the state last saved, and returns the step after which it was saved.
        """
        for attempt in range(TRIES + 1):
            try:
                if attempt:
                    self._wait_for_workers(step)
                    for earlier in range(restore() + 1, step):
                        perform(earlier)
                return perform(step)
            except LostError:
                if attempt == TRIES:
                    raise
        return None

    def _wait_for_workers(self, step: int) -> None:
        with contextlib.suppress(LostError), self.guarded(step, "go on"):
            self.client.wait_for_workers(1, timeout=PATIENCE_SECONDS)
        try:
            self.refresh()
        except ClusterError as error:
            raise ClusterError(f"step {step}: {error}") from error


def _checked(trial: Trial, faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """Return the faults, or raise for what is none, or happens to nobody or never."""
    faults = (faults,) if isinstance(faults, Fault) else tuple(faults)
    for fault in faults:
        if not isinstance(fault, Fault):
            raise ValueError(f"faults must be of detox_sim.cluster.Fault, got {fault!r}")
        if fault.node >= trial.workers:
            raise ValueError(f"no node {fault.node} in a trial of {trial.workers} workers")
        if fault.step > trial.steps:
            raise ValueError(f"no step {fault.step} in a trial of {trial.steps} steps")
    return faults
