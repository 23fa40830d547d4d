"""Train: one run of distributed training, in the order of the paper."""

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr

from detox_sim import costs, models
from detox_sim.catalogue import check_known
from detox_sim.cluster import Central, Fault, Sharded, Traffic
from detox_sim.one_process import OneProcess
from detox_sim.problem import Problem
from detox_sim.rounds import Outcome
from detox_sim.trial import Trial

if TYPE_CHECKING:
    from distributed import Client

# Raise it whenever the same Trial may give other numbers: stored results depend on it.
SEMANTICS = 4

PHASES = ("broadcast", "compute", "attack", "send", "vote", "aggregate", "update")
SERVERS = {"central": Central, "sharded": Sharded}
LONG_NAMES = {
    "loss": {"long_name": "training loss"},
    "gradient_error": {"long_name": "error of the aggregate"},
    "gradient_norm": {"long_name": "norm of the true mean gradient"},
}


class _Clock:
    """Seconds of the phases of one step."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PHASES, 0.0)
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase] += now - self._last
        self._last = now


def train(
    trial: Trial,
    *,
    cluster: "Client | None" = None,
    server: str = "central",
    deadline: float | None = None,
    faults: Sequence[Fault] = (),
) -> xr.Dataset:
    """Train one model by distributed SGD under the trial's adversary.

    Parameters
    ----------
    trial : Trial
    cluster : distributed.Client, optional
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

    Returns
    -------
    xarray.Dataset
        Over `step` (1..steps): `loss` (mean over files, before the update), `gradient_error`
        (distance of the aggregate from the mean of all true gradients), `gradient_norm` (of that
        mean), `lost_votes`, `undecided_votes`, `search_evaluations` and `search_value` (what an
        attack that searches spent and found; 0 otherwise), `modelled_seconds` (of the paper's
        cluster, by `costs.round_seconds`), and `seconds` (step, phase), measured here. Over
        `eval_step` (0, then every `evaluate_every` steps, then the last): `accuracy` and
        `test_loss`. Once:
        `images_per_node`, the load of a step, and `votes`, one a file.
        `attrs["trial"]` is the trial, as JSON.

        On a cluster also `node_seconds` (step, statistic), the maximum and the mean over nodes of
        the seconds they computed; `bytes` (step, phase) of parameters, messages and digests
        moved; the copies that did not count: `late_messages`, `malformed_messages` (with the
        sharded server these lose a vote on digests), and `caught_messages`, which were not what
        their digest said; and `new_workers` that joined, whose first tasks make a step slow.

        All but what is measured is the same bits on every run on a CPU. A round before the first
        step warms up; it is not timed. A run that diverges is a result: its values are Inf or NaN.

    Raises
    ------
    ValueError
        For an unknown server, a deadline or faults without a cluster, or a vote that cannot be
        held on digests.
    cluster.ClusterError
        When a round cannot be finished; says at which step, and by which node.

    Examples
    --------
    >>> history = train(Trial(workers=9, byzantine=1, batch=45, groups=3, steps=2))
    >>> history.lost_votes.values.tolist()
    [0, 0]
    """
    _check(cluster, server, deadline, faults)
    here = contextlib.nullcontext() if cluster is None else cluster.as_current()
    with here, models.one_thread(), np.errstate(over="ignore", invalid="ignore"):
        if cluster is None:
            host: Any = OneProcess(trial)
        else:
            host = SERVERS[server](trial, cluster, deadline, faults)
        problem = host.problem
        evaluations = [(0, *problem.evaluate(problem.initial()))]
        host.persevere(functools.partial(_round, host), 1)
        host.reset()
        rounds = []
        for step in range(1, trial.steps + 1):
            wanted = step % trial.evaluate_every == 0 or step == trial.steps
            rounds.append(host.persevere(functools.partial(_round, host, wanted=wanted), step))
            if wanted:
                evaluations.append((step, *problem.evaluate(rounds[-1].params)))
    return _history(trial, problem, server, rounds, evaluations)


class _Done(NamedTuple):
    outcome: Outcome
    seconds: dict[str, float]
    traffic: Traffic | None
    params: np.ndarray | None


def _round(host, step: int, wanted: bool = False) -> _Done:
    """Perform one round in the order of the paper; with `wanted` return the parameters too."""
    clock = _Clock()
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
    outcome = host.judge(said, votes, aggregate, step)
    return _Done(outcome, clock.seconds, host.traffic, host.settle(step, wanted))


def _check(cluster, server: str, deadline, faults) -> None:
    """Raise unless it is clear who performs the phases of a round."""
    check_known("server", [server], SERVERS)
    if cluster is None and (deadline is not None or faults or server != "central"):
        raise ValueError("server, deadline and faults need a cluster=Client")
    if cluster is not None and getattr(cluster, "status", None) != "running":
        raise ValueError(
            "cluster must be a connected distributed.Client, such as detox_sim.cluster.connect() "
            f"gives; got {cluster!r}"
        )


def _history(
    trial: Trial, problem: Problem, server: str, rounds: list[_Done], evaluations
) -> xr.Dataset:
    """Label what `train` recorded."""
    outcomes = [np.array(column) for column in zip(*(done.outcome for done in rounds), strict=True)]
    told = dict(zip(Outcome._fields, outcomes, strict=True))
    eval_step, test_loss, accuracy = (np.array(column) for column in zip(*evaluations, strict=True))
    modelled = costs.round_seconds(
        workers=trial.workers,
        files=problem.files,
        copies=trial.copies,
        vote=trial.vote,
        groups=trial.groups,
        inner=trial.inner,
        outer=trial.outer,
        mixers=trial.mixers,
        parameters=problem.model.parameters,
        batch=trial.batch,
        sample_flops=problem.sample_flops(),
        server=server,
    )
    seconds = [[done.seconds[phase] for phase in PHASES] for done in rounds]
    history = xr.Dataset(
        {
            **{name: ("step", values, LONG_NAMES.get(name, {})) for name, values in told.items()},
            "images_per_node": (
                (),
                trial.copies * trial.batch / trial.workers,
                {"units": "images"},
            ),
            "votes": ((), 1 if trial.vote == "cyclic" else problem.files),
            "modelled_seconds": (
                "step",
                np.full(trial.steps, sum(modelled.values())),
                {"units": "s"},
            ),
            "seconds": (("step", "phase"), np.array(seconds), {"units": "s"}),
            "accuracy": ("eval_step", accuracy, {"long_name": "test accuracy"}),
            "test_loss": ("eval_step", test_loss, {"long_name": "test loss"}),
        },
        coords={
            "step": np.arange(1, trial.steps + 1),
            "eval_step": eval_step,
            "phase": np.array(PHASES, dtype=object),
        },
        attrs={"trial": json.dumps(dataclasses.asdict(trial)), "semantics": SEMANTICS},
    )
    traffic = [done.traffic for done in rounds if done.traffic is not None]
    return history.assign(_measured(traffic)) if traffic else history


def _measured(traffic: list[Traffic]) -> xr.Dataset:
    """Label what was seen of the nodes of a cluster."""
    nodes = [(each.node_seconds.max(), each.node_seconds.mean()) for each in traffic]
    moved = [[each.bytes.get(phase, 0) for phase in PHASES] for each in traffic]
    return xr.Dataset(
        {
            "node_seconds": (("step", "statistic"), np.array(nodes), {"units": "s"}),
            "bytes": (("step", "phase"), np.array(moved), {"units": "bytes"}),
            "late_messages": ("step", [each.late for each in traffic]),
            "malformed_messages": ("step", [each.malformed for each in traffic]),
            "caught_messages": ("step", [each.caught for each in traffic]),
            "new_workers": ("step", [each.new_workers for each in traffic]),
        },
        coords={
            "statistic": np.array(["max", "mean"], dtype=object),
            "phase": np.array(PHASES, dtype=object),
        },
    )
