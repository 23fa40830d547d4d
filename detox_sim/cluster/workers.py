"""The workers of a trial on a cluster, seen from the driver: what they compute, forge and send."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detox_sim.catalogue import check_number
from detox_sim.cluster import tasks
from detox_sim.cluster.faults import ClusterError, Fault
from detox_sim.cluster.processes import Futures, Processes
from detox_sim.messages import Search
from detox_sim.trials.learning_task import EVALUATED_WORKER
from detox_sim.trials.pipeline import Known, Placement
from detox_sim.trials.trial import Trial

if TYPE_CHECKING:
    from distributed import Client, Future

GRACE_SECONDS = 2.0  # beyond a deadline, for the transport


class Gradients(NamedTuple):
    """What the workers computed in one step; it stays in their processes.

    Attributes
    ----------
    holders : int (files, copies)
        -1 where a file has fewer.
    senders : int (messages, copies)
        The workers that send each message: the holders, or with an encoding (workers, 1).
    files, messages : dict
        Worker -> its files (n,) and its messages (m,), in ascending order.
    computed : dict
        Worker -> future of `trials.state.Computed`.
    previous : future or None
        Of the last aggregate (d,), in the attackers' process; None where no rule asks for it.
    excluded : bool (workers,)
    """

    holders: np.ndarray
    senders: np.ndarray
    files: dict[int, np.ndarray]
    messages: dict[int, np.ndarray]
    computed: "dict[int, Future]"
    previous: "Future | None"
    excluded: np.ndarray


class Forged(NamedTuple):
    """What the workers send in one step.

    Attributes
    ----------
    gradients : Gradients
    sent : dict
        Worker -> future of `tasks.Sent`.
    row_of : int (files, copies)
        Which row each copy is, as in `Messages`.
    search : Search or None
    """

    gradients: Gradients
    sent: "dict[int, Future]"
    row_of: np.ndarray
    search: Search | None


class Workers(Processes):
    """The workers of a trial: worker i in process i modulo their number, while that lives.

    Parameters
    ----------
    trial : Trial
    client : distributed.Client
    deadline : float, optional
        Seconds, of a worker's own clock, until its messages must have left it.
    faults : tuple of Fault
    """

    def __init__(
        self, trial: Trial, client: "Client", deadline: float | None, faults: tuple[Fault, ...]
    ):
        if deadline is not None:
            check_number("deadline", deadline)
            if not 0 < deadline < np.inf:
                raise ValueError(f"deadline must be a number of seconds above 0, got {deadline!r}")
        super().__init__(client, trial.backend)
        self._trial, self._deadline, self._faults = trial, deadline, faults
        self.pipeline, self.task = tasks.setup(trial)
        self._before: dict[int, Future] = {}  # momenta, or what was computed at the step before
        self._last: Gradients | None = None

    def faults_of(self, worker: int, step: int) -> list[Fault]:
        """Return the faults of one worker at one step."""
        return [fault for fault in self._faults if (fault.step, fault.worker) == (step, worker)]

    # --- Compute ------------------------------------------------------------------------------

    def compute(
        self,
        params: Mapping[str, Any],
        previous: np.ndarray | None,
        excluded: np.ndarray,
        holders: np.ndarray,
        batch: np.ndarray,
        step: int,
    ) -> Gradients:
        """Let every worker compute the gradients of its files.

        Parameters
        ----------
        params : mapping
            Address of a process -> the parameters (d,) in it.
        previous, excluded
            Of the state before the step; `previous` is None where no rule asks for it.
        holders : int (files, copies)
        batch : int (files, images a file)
        """
        mine, relabelling = self._numbers(holders), self._relabelling(holders)
        coded = self._trial.encoding is not None
        senders = self.pipeline.senders(step) if coded else holders
        computed = {
            worker: self.submit(
                tasks.compute,
                self._trial,
                step,
                worker,
                holders,
                some,
                batch[some],
                worker in relabelling,
                params[self.home(worker)],
                self._before.get(worker),
                at=self.home(worker),
            )
            for worker, some in mine.items()
        }
        self.finish(computed, step, "compute")
        known = None if previous is None else self.scatter(previous, [self.home(0)], step)
        messages = self._numbers(senders) if coded else mine
        return Gradients(holders, senders, mine, messages, computed, known, excluded)

    @staticmethod
    def _numbers(holders: np.ndarray) -> dict[int, np.ndarray]:
        """Return the files (n,) or messages of each worker, in ascending order."""
        order = np.argsort(holders, axis=None, kind="stable")
        owners, files = holders.ravel()[order], order // holders.shape[1]
        workers = np.unique(holders[holders >= 0])
        return {int(worker): np.sort(files[owners == worker]) for worker in workers}

    def _relabelling(self, holders: np.ndarray) -> set[int]:
        """Return the workers that compute rows of relabelled files too.

        The first of each file; with an encoding all, for their messages.
        """
        if not self.task.wants_relabelled:
            return set()
        return set((holders[:, 0] if self._trial.encoding is None else np.unique(holders)).tolist())

    # --- Worker momentum ----------------------------------------------------------------------

    def remember(self, gradients: Gradients) -> None:
        """Let the workers keep what they computed: their momenta for the next step."""
        if self._trial.worker_momentum:
            self._before, self._last = dict(gradients.computed), gradients

    def momenta(self, step: int) -> np.ndarray:
        """Return the momenta of a state (slots, d) after the step that was last remembered."""
        if self._last is None:
            return np.zeros((0, self.task.model.parameters), np.float32)
        known = self._gather(self._last, coded=False)
        found = self.submit(tasks.momenta, known, at=self.home(0))
        return self.get({0: found}, step, "return its momentum", "the workers")[0]

    def restore(self, momenta: np.ndarray, step: int) -> None:
        """Send the momenta of a state (slots, d) to the workers."""
        self._last = None
        if not len(momenta):
            return
        holders = self.pipeline.assign(step)
        relabelling = self._relabelling(holders)
        for worker, files in self._numbers(holders).items():
            slots = np.append(files, len(holders) + files) if worker in relabelling else files
            self._before[worker] = self.scatter(momenta[slots], [self.home(worker)], step)

    def statistics(self, gradients: Gradients, step: int) -> np.ndarray:
        """Return the batch statistics (n, s) of the worker that evaluates."""
        size, worker = self.task.model.statistics_momentum.size, EVALUATED_WORKER
        if not size or worker not in gradients.computed:
            return np.zeros((0, size), np.float32)
        at = self.home(worker)
        task = self.submit(tasks.statistics, gradients.computed[worker], at=at)
        return self.get({worker: task}, step, "return its statistics")[worker]

    def losses_and_seconds(self, gradients: Gradients, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the losses (files,) and the seconds (workers,) that the workers computed."""
        futures = {
            worker: self.submit(tasks.losses_and_seconds, future, at=self.home(worker))
            for worker, future in gradients.computed.items()
        }
        losses, seconds = np.empty(len(gradients.holders)), []
        for worker, (some, spent) in self.get(futures, step, "return its losses").items():
            losses[gradients.files[worker]] = some
            seconds.append(spent)
        return losses, np.array(seconds)

    # --- Attack -------------------------------------------------------------------------------

    def place(self, gradients: Gradients, step: int) -> Placement:
        """Choose the Byzantine workers: here, or where the attackers are if they try the damage."""
        if not self.pipeline.places_by_damage:
            return self.pipeline.place(Known(None), step)
        place = self.submit(
            tasks.place, self._trial, step, self._gather(gradients), at=self.home(0)
        )
        return self.get({0: place}, step, "place", "the attackers")[0]

    def _gather(self, gradients: Gradients, coded: bool = True) -> "Future":
        """Gather one copy of each gradient, or all coded messages, in the attackers' process."""
        sources = (gradients.senders if coded else gradients.holders)[:, 0]
        workers = sorted(set(sources.tolist()))
        computed = [gradients.computed[worker] for worker in workers]
        return self.submit(
            tasks.gather,
            self._trial,
            sources,
            workers,
            computed,
            coded,
            gradients.previous,
            gradients.excluded,
            at=self.home(0),
        )

    def forge(self, gradients: Gradients, placement: Placement, step: int) -> Forged:
        """Let the attackers forge, and every worker make its messages."""
        holders = gradients.senders
        honest = np.repeat(np.arange(len(holders))[:, None], holders.shape[1], axis=1)
        attackers, row_of, search = None, honest, None
        if placement.evaluations:
            search = Search(placement.evaluations, 0.0)
        if self._trial.attack != "none":
            attackers = self.submit(
                tasks.forge,
                self._trial,
                step,
                self._gather(gradients),
                placement,
                at=self.home(0),
            )
            row_of, search = self.get(
                {0: self.submit(tasks.rows_and_search, attackers, at=self.home(0))},
                step,
                "forge",
                "the attackers",
            )[0]
        forging = sorted(set(holders[row_of != honest].tolist()))
        vectors = {
            worker: self.submit(
                tasks.receive,
                self.submit(tasks.vectors_of, attackers, worker, at=self.home(0)),
                at=self.home(worker),
            )
            for worker in forging
        }
        self.finish(vectors, step, "forge")
        sent = {
            worker: self.submit(
                tasks.send,
                future,
                vectors.get(worker),
                self.faults_of(worker, step),
                at=self.home(worker),
            )
            for worker, future in gradients.computed.items()
        }
        return Forged(gradients, sent, row_of, search)

    # --- Send ---------------------------------------------------------------------------------

    def arrived(self, sent: Futures, step: int) -> dict[int, "Future"]:
        """Wait for messages; return all but those that missed the deadline by far."""
        if self._deadline is None:
            self.finish(sent, step, "send")
            return dict(sent)
        until = time.monotonic() + self._deadline + GRACE_SECONDS
        self.finish(sent, step, "send", until)
        late = [future for future in sent.values() if not future.done()]
        self.client.cancel(late)
        return {worker: future for worker, future in sent.items() if future not in late}

    def in_time(self, worker: int, seconds: float | None, step: int) -> bool:
        """Return whether messages sent after `seconds` (None: never) count.

        Raises
        ------
        ClusterError
            Where the server would wait for ever.
        """
        if seconds is None and self._deadline is None:
            raise ClusterError(
                f"step {step}: worker {worker} sent nothing, and without a deadline the server "
                "waits for ever; use train(..., deadline=seconds)"
            )
        return seconds is not None and (self._deadline is None or seconds <= self._deadline)
