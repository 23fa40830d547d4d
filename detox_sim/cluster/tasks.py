"""Tasks of Dask that are workers and attackers.

Each function is one task, a pure function of its arguments: what was lost with a process is
computed again, with the same bits.
"""

import dataclasses
import functools
import json
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from detox_sim.arrays import to_backend, to_host
from detox_sim.cluster.faults import Fault, corrupt
from detox_sim.messages import Messages, Search
from detox_sim.models import one_thread
from detox_sim.primitives import take, use_threads
from detox_sim.trials.learning_task import LearningTask
from detox_sim.trials.pipeline import Pipeline, Placement
from detox_sim.trials.trial import Trial


class Computed(NamedTuple):
    """The honest gradients (n, d) of the files of one worker, and those of relabelled files."""

    files: np.ndarray
    losses: np.ndarray
    rows: np.ndarray
    statistics: np.ndarray
    relabelled: np.ndarray | None
    seconds: float


class Gathered(NamedTuple):
    """The honest gradients (files, d) of all files, where the attackers are."""

    rows: Any
    relabelled: Any


class Forged(NamedTuple):
    """The messages of all workers, as the attackers want them, and the workers of each file."""

    messages: Messages
    holders: np.ndarray


class Sent(NamedTuple):
    """The messages of one worker, a vector (d,) a file, or None, and when they left in seconds."""

    vectors: list[np.ndarray] | None
    seconds: float


_setups: dict[str, tuple[Pipeline, LearningTask]] = {}


def setup(trial: Trial) -> tuple[Pipeline, LearningTask]:
    """Return the pipeline and the learning task of a trial, made once a process."""
    key = json.dumps(dataclasses.asdict(trial), sort_keys=True)
    if key not in _setups:
        _setups.clear()
        task = LearningTask(trial)
        _setups[key] = Pipeline(trial, task.model.sizes), task
    return _setups[key]


def on_one_thread(task):
    """Run a task on one thread and ignore overflow, as training does."""

    @functools.wraps(task)
    def quiet(*arguments):
        with one_thread(), use_threads(1), np.errstate(over="ignore", invalid="ignore"):
            return task(*arguments)

    return quiet


@on_one_thread
def compute(
    trial: Trial, step: int, files: np.ndarray, images: np.ndarray, relabel: bool, params
) -> Computed:
    """Compute the gradients of one worker's files (n,), and with `relabel` of relabelled ones."""
    _, task = setup(trial)
    start = time.perf_counter()
    losses, rows, statistics = task.gradients(params, step, files, images)
    rows = to_host(rows)
    seconds = time.perf_counter() - start
    relabelled = None
    if relabel:
        relabelled = to_host(task.gradients(params, step, files, images, relabelled=True).rows)
    return Computed(files, losses, rows, statistics, relabelled, seconds)


def losses_and_seconds(computed: Computed) -> tuple[np.ndarray, float]:
    """Return the losses (n,) of one worker and the seconds it computed."""
    return computed.losses, computed.seconds


def statistics(computed: Computed) -> np.ndarray:
    """Return the batch statistics (n, s) of one worker."""
    return computed.statistics


def honest_gradient(computed: Computed, file: int) -> np.ndarray:
    """Return the honest gradient (d,) of one file of a worker."""
    return computed.rows[np.flatnonzero(computed.files == file)[0]]


# --- Attackers ------------------------------------------------------------------------------------


@on_one_thread
def gather(trial: Trial, sources: np.ndarray, workers: list[int], computed: list) -> Gathered:
    """Gather one copy of the gradient of each file.

    Parameters
    ----------
    trial : Trial
    sources : int (files,)
        The worker whose copy of each file is taken.
    workers, computed : list
        The workers among `sources`, and what they computed.
    """
    pipeline, _ = setup(trial)
    by_worker = dict(zip(workers, computed, strict=True))

    def gathered(name: str):
        rows = [
            getattr(by_worker[worker], name)[np.flatnonzero(by_worker[worker].files == file)[0]]
            for file, worker in enumerate(sources)
        ]
        return to_backend(np.stack(rows), trial.backend)

    relabelled = gathered("relabelled") if pipeline.wants_relabelled else None
    return Gathered(gathered("rows"), relabelled)


@on_one_thread
def place(trial: Trial, step: int, gathered: Gathered) -> Placement:
    """Choose the Byzantine workers of a step by the damage they do."""
    pipeline, _ = setup(trial)
    return pipeline.place(gathered.rows, step, gathered.relabelled)


@on_one_thread
def forge(trial: Trial, step: int, gathered: Gathered, placement: Placement) -> Forged:
    """Forge the messages of a step."""
    pipeline, _ = setup(trial)
    messages = pipeline.forge(gathered.rows, placement, step, gathered.relabelled)
    return Forged(messages, pipeline.assign(step))


def rows_and_search(forged: Forged) -> tuple[np.ndarray, Search | None]:
    """Return which row each copy (files, copies) is, and what the attackers' search spent."""
    return forged.messages.row_of, forged.messages.search


def vectors_of(forged: Forged, worker: int) -> np.ndarray:
    """Return the vectors (n, d) that one worker shall send, its files in ascending order."""
    messages = forged.messages
    return to_host(take(messages.rows, messages.row_of[forged.holders == worker]))


def receive(vectors: np.ndarray) -> np.ndarray:
    """Bring the vectors that a worker shall send to its process."""
    return vectors


@on_one_thread
def send(computed: Computed, forged: np.ndarray | None, faults: Sequence[Fault]) -> Sent:
    """Make the messages of one worker: its gradients, or the forged vectors, with its faults."""
    late = sum(fault.seconds for fault in faults if fault.kind == "delay")
    if late:
        from distributed import secede

        secede()  # the worker is slow, not the process, which runs other workers
        time.sleep(late)
    rows = computed.rows if forged is None else forged
    vectors = corrupt(list(rows), [fault.kind for fault in faults])
    return Sent(vectors, computed.seconds + late)
