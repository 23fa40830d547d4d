"""Train: one run of distributed training, in the order of the paper.

`VERSIONS` has the version of each part that numbers may depend on.
"""

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from detox_sim import models
from detox_sim.arrays import synchronize
from detox_sim.catalogue import bind, check_integer, check_known
from detox_sim.cluster import CentralServer, Fault, ShardedServer, check_client
from detox_sim.cluster.faults import check_faults
from detox_sim.primitives import remember_distances
from detox_sim.trials import checkpoints
from detox_sim.trials.history import Record, label
from detox_sim.trials.one_process import OneProcessServer
from detox_sim.trials.server import PHASES, ParameterServer, Traffic
from detox_sim.trials.trial import Trial

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["VERSIONS", "step", "train", "versions"]

# Raise a part whenever the same Trial may give other numbers through it: stored results depend on
# the parts they use (`versions`).
VERSIONS = {
    "round": 7,
    "gradients of dense models": 1,
    "gradients of convolutions": 1,
    "geometric median": 1,
}
# Parts that only trials with these rules use.
OF_RULES = {"geometric_median": "geometric median", "medoid": "geometric median"}

SERVERS: dict[str, Callable[..., ParameterServer]] = {
    "central": CentralServer,
    "sharded": ShardedServer,
}


@remember_distances()  # between the votes: a mixer, the rule and the judgement ask for the same
def step(server: ParameterServer, k: int, judged: bool = True) -> dict[str, Any]:
    """Perform step `k` of training in the order of the paper; return its row of the history.

    The row is empty if the step is not `judged`.
    """
    clock = _Clock(server.task.model.backend)
    server.broadcast(k)
    clock.lap("broadcast")
    holders = server.pipeline.assign(k)  # the workers of each file (files, copies)
    batch = server.task.draw(k)  # the training images of each file (files, images a file)
    gradients = server.compute(holders, batch, k)  # with worker momentum where there is some
    clock.lap("compute")
    placement = server.place(gradients, k)  # which workers are Byzantine
    forged = server.forge(gradients, placement, k)  # the messages of all workers
    clock.lap("attack")
    messages = server.send(forged, k)
    clock.lap("send")
    votes = server.vote(messages, k)  # over the copies of each file
    clock.lap("vote")
    votes = server.collect(votes, k)
    clock.lap("send")
    aggregate = server.aggregate(votes, k)  # mixers, inner rule in vote groups, outer rule: (d,)
    clock.lap("aggregate")
    server.update(aggregate, gradients, votes, k)
    clock.lap("update")
    if not judged:
        return {}
    outcome = server.judge(gradients, messages, votes, aggregate, k)
    return outcome._asdict() | {"seconds": clock.laps()} | _measured(server.traffic)


class _Clock:
    """Measures the seconds of the phases of one step."""

    def __init__(self, backend: str) -> None:
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._backend = backend
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        """Add the seconds since the last call to a phase."""
        synchronize(self._backend)
        now = time.perf_counter()
        self._seconds[phase] += now - self._last
        self._last = now

    def laps(self) -> list[float]:
        """Return the seconds of all phases, in the order of `PHASES`."""
        return list(self._seconds.values())


def _measured(traffic: Traffic | None) -> dict[str, Any]:
    """Return what one step moved on a cluster, by the names of a history."""
    if traffic is None:
        return {}
    return {
        "worker_seconds": [traffic.worker_seconds.max(), traffic.worker_seconds.mean()],
        "bytes": [traffic.bytes.get(phase, 0) for phase in PHASES],
        "late_messages": traffic.late,
        "malformed_messages": traffic.malformed,
        "mismatched_messages": traffic.mismatched,
        "new_processes": traffic.new_processes,
    }


def train(
    trial: Trial,
    *,
    client: "Client | None" = None,
    server: str = "central",
    deadline: float | None = None,
    faults: Sequence[Fault] = (),
    checkpoint: "str | os.PathLike[str] | None" = None,
    checkpoint_every: int = 50,
    brief: bool = False,
) -> xr.Dataset:
    """Train one model by distributed SGD under the trial's adversary.

    Parameters
    ----------
    trial : Trial
    client : distributed.Client, optional
        Of the cluster whose processes compute (one or more workers each): every worker computes
        each of its copies, and its messages stay where they were made. By default this process
        computes each file once. The parameters are the same bits, on processors of one type.
    server : {"central", "sharded"}
        On a cluster: this process receives all messages, votes, aggregates and updates; or it
        receives their 256-bit digests and votes on these, and the processes share the elected
        vectors by coordinate, so that none holds (files, d).
    deadline : float, optional
        On a cluster: seconds of a worker's own clock after which its messages do not count.
    faults : sequence of cluster.Fault
        On a cluster: what goes wrong with messages.
    checkpoint : path, optional
        A file that is written every `checkpoint_every` steps, whole or not at all. A run that
        finds one of its own continues from it, and on a CPU ends with the bits of a run that was
        not interrupted. It stays when the run is done.
    brief : bool
        Keep the evaluation after the last step alone: nothing over `step`, and nothing once. The
        parameters are the same bits. A step of a small model takes about six tenths of the time, as
        nobody measures the error of the aggregate. Not with a checkpoint.

    Returns
    -------
    xarray.Dataset
        With worker momentum "gradients" are what honest workers send, the momenta.
        Over `step` (1..steps): `loss` (mean over files, before the update), `gradient_error`
        (distance of the aggregate from the mean of all honest gradients), `gradient_norm` (of that
        mean), `gradient_spread` (root mean square distance of the honest gradients from it),
        `cosine` (between the aggregate and that mean), `distorted_files`, `undecided_files`;
        `weight` (step, vote) of each vote in the aggregate (``trials.outcome.weights``), with
        `distorted_weight`, the sum over distorted files, and `effective_votes`, one over the sum of
        squares, all NaN where they leave more than three quarters of it `unexplained` (share);
        `search_evaluations` and
        `search_value` (what an attack that searches spent and found; 0 otherwise);
        `gradients_computed` by workers for files (copies that a reactive vote does not ask for do
        not count), `gradients_at_server`, `checked_files` and `excluded_workers` so far;
        `modelled_seconds` (of the paper's cluster, by `costs.round_seconds`), and `seconds`
        (step, phase), measured here. Over
        `eval_step` (0, then every `evaluate_every` steps, then the last): `accuracy` and
        `test_loss`, with the running batch-norm statistics of worker 0, as in the DETOX code;
        of a model with batch norms also `recalibrated_accuracy` and `recalibrated_test_loss`, with
        the statistics of a fixed set of training images; with a validation split the same of it
        (`validation_accuracy`, `validation_loss`, ...); with a partition `slot_spread`, the root
        mean square distance of the slots' gradients from their mean. Once:
        `images_per_worker` and `bytes_per_worker`, computed and sent in a step (means over workers
        and steps; bytes as a real worker would send them), and `votes`, one a file. With an
        encoding `votes`, `distorted_files` and `undecided_files` count messages, one a worker.
        `attrs["trial"]` is the trial, as JSON; `attrs["data"]` what the data are called.

        On a cluster also `worker_seconds` (step, statistic), the maximum and the mean over workers
        of the seconds they computed; `bytes` (step, phase) of parameters, messages and digests
        moved; the copies that did not count: `late_messages`, `malformed_messages` (with the
        sharded server these lose a vote on digests), and `mismatched_messages`, which differed from
        their digest; and `new_processes` that joined, whose first tasks make a step slow.

        All but what is measured is the same bits on every run on a CPU. A step before the first
        warms up; it is not timed. A run that diverges is a result: its values are Inf or NaN.

    Raises
    ------
    ValueError
        For an unknown server, a deadline or faults without a client, a vote that cannot be
        held on digests, a checkpoint of another run or of a brief one, or one that cannot be
        written.
    cluster.ClusterError
        When a step cannot be finished; names the step and the worker.

    Examples
    --------
    >>> history = train(Trial(workers=9, byzantine=1, batch=45, groups=3, steps=2))
    >>> history.distorted_files.values.tolist()
    [0, 0]
    """
    if not isinstance(trial, Trial):
        raise ValueError(f"train needs a Trial, got {trial!r}")
    _check(client, server, deadline, faults)
    check_integer("checkpoint_every", checkpoint_every, 1)
    if checkpoint is not None:
        if brief:
            raise ValueError("a brief run keeps no checkpoint; leave out checkpoint or brief=True")
        checkpoints.check(checkpoint)
    faults = check_faults(trial, faults)
    models.keep_freed_memory()
    current = contextlib.nullcontext() if client is None else client.as_current()
    with current, models.one_thread(), np.errstate(over="ignore", invalid="ignore"):
        setting, performer = None, _server(trial, client, server, deadline, faults)
        if client is not None:
            setting = [server, deadline, [repr(fault) for fault in faults]]
        about = {
            "trial": dataclasses.asdict(trial),
            "versions": versions(trial),
            "cluster": setting,
        }
        record = Record(checkpoint, about, trial.backend)
        save_every = None if checkpoint is None else checkpoint_every
        _run(trial, performer, record, save_every, brief)
        return label(trial, performer.task, server, record, versions(trial))


def _server(
    trial: Trial,
    client: "Client | None",
    server: str,
    deadline: float | None,
    faults: tuple[Fault, ...],
) -> ParameterServer:
    """Return what performs the phases of a step."""
    if client is None:
        return OneProcessServer(trial)
    return SERVERS[server](trial, client, deadline, faults)


def _run(
    trial: Trial, server: ParameterServer, record: Record, save_every: int | None, brief: bool
) -> None:
    """Perform the steps that are not recorded yet, evaluate, and write checkpoints."""
    done, state = record.load() or (0, server.task.initial())
    if not done and not brief:
        record.evaluate(0, server.task, state)
    perform = functools.partial(step, server)
    if brief:
        perform = functools.partial(step, server, judged=False)
    server.retry(perform, 1)  # warms up
    server.restore(done, state)
    for now in range(done + 1, trial.steps + 1):
        evaluated = now == trial.steps or (not brief and now % trial.evaluate_every == 0)
        saved = save_every is not None and now % save_every == 0
        if evaluated or saved:
            row, state = server.retry(lambda k: (perform(k), server.state(k)), now)
        else:
            row = server.retry(perform, now)
        if not brief:
            record.rows.append(row)
        if evaluated:
            record.evaluate(now, server.task, state)
        if saved:
            record.save(now, state)


def versions(trial: Trial) -> dict[str, int]:
    """Return the version of each part that a trial's numbers depend on.

    Examples
    --------
    >>> list(versions(Trial()))
    ['round', 'gradients of dense models']
    """
    images = trial.dataset.train_images
    factory = bind(models, trial.model, trial.model_options)
    dense = models.is_dense(factory, images.shape[1:], trial.dataset.classes)
    gradients = f"gradients of {'dense models' if dense else 'convolutions'}"
    rules = {OF_RULES[name] for name in (trial.inner, trial.outer) if name in OF_RULES}
    return {name: VERSIONS[name] for name in ("round", gradients, *sorted(rules))}


def _check(
    client: "Client | None", server: str, deadline: float | None, faults: Sequence[Fault]
) -> None:
    """Raise for a setting of a cluster without a client, or a client that is not connected."""
    check_known("server", [server], SERVERS)
    if client is None and (deadline is not None or faults or server != "central"):
        raise ValueError("server, deadline and faults need a client=Client")
    check_client(client)
