"""Train: one run of distributed training, in the order of the paper."""

import contextlib
import dataclasses
import functools
import json
import os
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from detox_sim import costs, models
from detox_sim.arrays import synchronize, to_backend, to_host
from detox_sim.catalogue import bind, check_integer, check_known
from detox_sim.cluster import CentralServer, Fault, ShardedServer, Traffic
from detox_sim.trials import checkpoints
from detox_sim.trials.learning_task import LearningTask, State
from detox_sim.trials.one_process import OneProcessServer
from detox_sim.trials.outcome import Outcome
from detox_sim.trials.trial import Trial

if TYPE_CHECKING:
    from distributed import Client

# Raise a part whenever the same Trial may give other numbers through it: stored results depend on
# the parts they use (`versions`).
VERSIONS = {"round": 7, "gradients of dense models": 1, "gradients of convolutions": 1}

PHASES = ("broadcast", "compute", "attack", "send", "vote", "aggregate", "update")
SERVERS = {"central": CentralServer, "sharded": ShardedServer}
ATTRIBUTES: dict[str, dict[str, str]] = {
    "loss": {"long_name": "training loss"},
    "gradient_error": {"long_name": "error of the aggregate"},
    "gradient_norm": {"long_name": "norm of the true mean gradient"},
    "gradient_spread": {"long_name": "root mean square distance of true gradients from their mean"},
    "cosine": {"long_name": "cosine of the aggregate and the true mean gradient"},
    "weight": {"long_name": "weight of a vote in the aggregate"},
    "distorted_weight": {"long_name": "weight of lost votes in the aggregate"},
    "effective_votes": {"long_name": "effective number of votes in the aggregate"},
    "unexplained": {"long_name": "share of the aggregate that weights of votes leave unexplained"},
    "accuracy": {"long_name": "test accuracy"},
    "test_loss": {"long_name": "test loss"},
    "recalibrated_accuracy": {"long_name": "test accuracy, recalibrated"},
    "recalibrated_test_loss": {"long_name": "test loss, recalibrated"},
    "validation_accuracy": {"long_name": "validation accuracy"},
    "validation_loss": {"long_name": "validation loss"},
    "recalibrated_validation_accuracy": {"long_name": "validation accuracy, recalibrated"},
    "recalibrated_validation_loss": {"long_name": "validation loss, recalibrated"},
    "seconds": {"units": "s"},
    "worker_seconds": {"units": "s"},
    "bytes": {"units": "bytes"},
}
DIMS = {"weight": "vote", "seconds": "phase", "bytes": "phase", "worker_seconds": "statistic"}


class _Clock:
    """Seconds of the phases of one step."""

    def __init__(self, backend: str) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._backend = backend
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        synchronize(self._backend)
        now = time.perf_counter()
        self.seconds[phase] += now - self._last
        self._last = now


def train(
    trial: Trial,
    *,
    client: "Client | None" = None,
    server: str = "central",
    deadline: float | None = None,
    faults: Sequence[Fault] = (),
    checkpoint: "str | os.PathLike[str] | None" = None,
    checkpoint_every: int = 50,
) -> xr.Dataset:
    """Train one model by distributed SGD under the trial's adversary.

    Parameters
    ----------
    trial : Trial
    client : distributed.Client, optional
        Whose workers are the compute nodes (several nodes a worker when there are fewer): each
        computes every copy it holds, and its messages stay there. By default this process
        computes each file once. The parameters are the same bits, on processors of one type.
    server : {"central", "sharded"}
        On a cluster: this process receives all messages, votes, aggregates and updates; or it
        receives their 256-bit digests and votes on these, and the workers share the winners'
        coordinates, so that nobody holds (files, d).
    deadline : float, optional
        On a cluster: seconds of a node's own clock after which its messages do not count.
    faults : sequence of cluster.Fault
        On a cluster: what goes wrong with messages.
    checkpoint : path, optional
        A file that is written every `checkpoint_every` steps, whole or not at all. A run that
        finds one of its own goes on after it, and on a CPU ends with the bits of an undisturbed
        one. It stays when the run is done.

    Returns
    -------
    xarray.Dataset
        Over `step` (1..steps): `loss` (mean over files, before the update), `gradient_error`
        (distance of the aggregate from the mean of all true gradients), `gradient_norm` (of that
        mean), `gradient_spread` (root mean square distance of the true gradients of the files from
        it), `cosine` (between the two), `distorted_files`, `undecided_files`; `weight` (step, vote)
        of each vote in the aggregate (`outcomes.weights`), with `distorted_weight`, the sum over
        distorted files, and `effective_votes`, one over the sum of squares, all NaN where they
        leave more than three quarters of it `unexplained` (share); `search_evaluations` and
        `search_value` (what an attack that searches spent and found; 0 otherwise);
        `modelled_seconds` (of the paper's cluster, by `costs.round_seconds`), and `seconds`
        (step, phase), measured here. Over
        `eval_step` (0, then every `evaluate_every` steps, then the last): `accuracy` and
        `test_loss`, with the running batch-norm statistics of node 0, as the DETOX code evaluates;
        of a model with batch norms also `recalibrated_accuracy` and `recalibrated_test_loss`, with
        the statistics of a fixed set of training images; with a validation split the same of it
        (`validation_accuracy`, `validation_loss`, ...). Once:
        `images_per_worker`, the load of a step, and `votes`, one a file.
        `attrs["trial"]` is the trial, as JSON; `attrs["data"]` what the data are called.

        On a cluster also `worker_seconds` (step, statistic), the maximum and the mean over nodes of
        the seconds they computed; `bytes` (step, phase) of parameters, messages and digests
        moved; the copies that did not count: `late_messages`, `malformed_messages` (with the
        sharded server these lose a vote on digests), and `mismatched_messages`, which were not what
        their digest said; and `new_processes` that joined, whose first tasks make a step slow.

        All but what is measured is the same bits on every run on a CPU. A round before the first
        step warms up; it is not timed. A run that diverges is a result: its values are Inf or NaN.

    Raises
    ------
    ValueError
        For an unknown server, a deadline or faults without a cluster, a vote that cannot be
        held on digests, a checkpoint of another run, or one that cannot lie where it should.
    cluster.ClusterError
        When a round cannot be finished; says at which step, and by which node.

    Examples
    --------
    >>> history = train(Trial(workers=9, byzantine=1, batch=45, groups=3, steps=2))
    >>> history.distorted_files.values.tolist()
    [0, 0]
    """
    _check(client, server, deadline, faults)
    check_integer("checkpoint_every", checkpoint_every, 1)
    if checkpoint is not None:
        checkpoints.check(checkpoint)
    here = contextlib.nullcontext() if client is None else client.as_current()
    with here, models.one_thread(), np.errstate(over="ignore", invalid="ignore"):
        if client is None:
            host: Any = OneProcessServer(trial)
        else:
            host = SERVERS[server](trial, client, deadline, faults)
        task = host.task
        setting = None
        if client is not None:
            setting = [server, deadline, [repr(fault) for fault in host.workers.faults]]
        record = _Record(trial, checkpoint, setting)
        done, state = record.begun() or (0, task.initial())
        if not done:
            record.evaluate(0, task, state)
        host.persevere(functools.partial(_round, host), 1)
        host.place(done, state)
        for step in range(done + 1, trial.steps + 1):
            evaluated = step % trial.evaluate_every == 0 or step == trial.steps
            saved = checkpoint is not None and step % checkpoint_every == 0
            perform = functools.partial(_round, host, wanted=evaluated or saved)
            row, state = host.persevere(perform, step)
            record.add(row)
            if evaluated:
                record.evaluate(step, task, state)
            if saved:
                record.save(step, state)
    return _history(trial, task, server, record)


def _round(host, step: int, wanted: bool = False) -> tuple[dict[str, Any], State | None]:
    """Perform one round in the order of the paper; with `wanted` return the state too."""
    clock = _Clock(host.task.model.backend)
    host.broadcast(step)
    clock.lap("broadcast")
    computed = host.compute(step)
    clock.lap("compute")
    said = host.attack(computed, step)
    clock.lap("attack")
    messages = host.send(said, step)
    clock.lap("send")
    votes = host.vote(messages, step)
    clock.lap("vote")
    votes = host.collect(votes, step)
    clock.lap("send")
    aggregate = host.aggregate(votes, step)
    clock.lap("aggregate")
    host.update(aggregate, step)
    clock.lap("update")
    outcome: Outcome = host.judge(said, votes, aggregate, step)
    row = outcome._asdict() | {"seconds": list(clock.seconds.values())}
    return row | _measured(host.traffic), host.settle(step, wanted)


def _measured(traffic: Traffic | None) -> dict[str, Any]:
    """Return what was seen of the nodes of a cluster in one round."""
    if traffic is None:
        return {}
    return {
        "worker_seconds": [traffic.worker_seconds.max(), traffic.worker_seconds.mean()],
        "bytes": [traffic.bytes.get(phase, 0) for phase in PHASES],
        "late_messages": traffic.late,
        "malformed_messages": traffic.malformed,
        "mismatched_messages": traffic.caught,
        "new_processes": traffic.new_processes,
    }


class _Record:
    """The rows of a history, and the checkpoint they are kept in."""

    def __init__(self, trial: Trial, path: "str | os.PathLike[str] | None", setting: object):
        self.rows: list[dict[str, Any]] = []
        self.evaluations: list[dict[str, float]] = []
        self._path, self._backend = path, trial.backend
        trial_fields = dataclasses.asdict(trial)
        self._about = {"trial": trial_fields, "versions": versions(trial), "cluster": setting}

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def evaluate(self, step: int, task: LearningTask, state: State) -> None:
        self.evaluations.append({"eval_step": step, **task.evaluate(state)})

    def columns(self) -> dict[str, np.ndarray]:
        return _columns(self.rows)

    def begun(self) -> tuple[int, State] | None:
        """Return the last step of the checkpoint, and the state after it."""
        found = None if self._path is None else checkpoints.load(self._path, self._about)
        if found is None:
            return None
        step = int(found["step"])
        self.rows, self.evaluations = (
            _rows({k.removeprefix(p): v for k, v in found.items() if k.startswith(p)})
            for p in ("row_", "evaluation_")
        )
        state = State(*(found[f"state_{name}"] for name in State._fields))
        params, velocity = (to_backend(each, self._backend) for each in state[:2])
        return step, State(params, velocity, state.statistics)

    def save(self, step: int, state: State) -> None:
        arrays = {f"row_{name}": values for name, values in self.columns().items()} | {
            f"evaluation_{name}": values for name, values in _columns(self.evaluations).items()
        }
        kept = {f"state_{name}": to_host(each) for name, each in state._asdict().items()}
        checkpoints.save(self._path or "", self._about, arrays | kept | {"step": np.array(step)})


def _columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _rows(columns: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    size = len(next(iter(columns.values())))
    return [{name: values[i] for name, values in columns.items()} for i in range(size)]


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
    return {name: VERSIONS[name] for name in ("round", gradients)}


def _check(client, server: str, deadline, faults) -> None:
    """Raise unless it is clear who performs the phases of a round."""
    check_known("server", [server], SERVERS)
    if client is None and (deadline is not None or faults or server != "central"):
        raise ValueError("server, deadline and faults need a client=Client")
    if client is not None and getattr(client, "status", None) != "running":
        raise ValueError(
            "client must be a connected distributed.Client, such as detox_sim.cluster.connect() "
            f"gives; got {client!r}"
        )


def _history(trial: Trial, task: LearningTask, server: str, record: _Record) -> xr.Dataset:
    """Label what `train` recorded."""
    columns = record.columns()
    modelled = costs.round_seconds(
        workers=trial.workers,
        files=task.files,
        copies=trial.copies,
        vote=trial.vote,
        groups=trial.groups,
        inner=trial.inner,
        outer=trial.outer,
        mixers=trial.mixers,
        parameters=task.model.parameters,
        batch=trial.batch,
        sample_flops=task.sample_flops(),
        server=server,
    )
    evaluations = _columns(record.evaluations)
    eval_step = evaluations.pop("eval_step")
    history = xr.Dataset(
        {
            **{
                name: (("step", DIMS[name]) if name in DIMS else "step", values)
                for name, values in columns.items()
            },
            "images_per_worker": (
                (),
                trial.copies * trial.batch / trial.workers,
                {"units": "images"},
            ),
            "votes": ((), columns["weight"].shape[1]),
            "modelled_seconds": (
                "step",
                np.full(trial.steps, sum(modelled.values())),
                {"units": "s"},
            ),
            **{name: ("eval_step", values) for name, values in evaluations.items()},
        },
        coords={
            "step": np.arange(1, trial.steps + 1),
            "eval_step": eval_step,
            "phase": np.array(PHASES, dtype=object),
        },
        attrs={
            "trial": json.dumps(dataclasses.asdict(trial)),
            "data": task.title,
            "versions": json.dumps(versions(trial)),
        },
    )
    if "worker_seconds" in history:
        history = history.assign_coords(statistic=np.array(["max", "mean"], dtype=object))
    for name in set(ATTRIBUTES) & set(history):
        history[name].attrs = ATTRIBUTES[name]
    return history
