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
from detox_sim.trials.pipeline import Known, Pipeline, Placement
from detox_sim.trials.state import Computed
from detox_sim.trials.trial import Trial


class Forged(NamedTuple):
    """The messages of all workers, as the attackers want them, and the workers of each."""

    messages: Messages
    holders: np.ndarray


class Sent(NamedTuple):
    """The messages of one worker, vectors (d,), or None, and when they left in seconds."""

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
    trial: Trial,
    step: int,
    worker: int,
    holders: np.ndarray,
    files: np.ndarray,
    images: np.ndarray,
    relabelled: bool,
    params,
    before: Computed | np.ndarray | None,
) -> Computed:
    """Compute what one worker sends of its files (n,), and with `relabelled` of relabelled ones.

    `before` is what it computed at the step before, or its momenta; None without worker momentum.
    """
    pipeline, task = setup(trial)
    momenta = before.momenta if isinstance(before, Computed) else before
    if momenta is not None:
        momenta = to_backend(momenta, trial.backend)
    computed = task.compute(params, momenta, step, files, images, relabelled)
    arrays: dict[str, Any] = {}
    for name in ("rows", "relabelled") if relabelled else ("rows",):
        rows = getattr(computed, name)
        arrays[name] = to_host(rows)
        coded = pipeline.encode(worker, files, rows, holders, step)
        arrays[f"{name}_coded"] = None if coded is None else to_host(coded)
    return computed._replace(**arrays)


def losses_and_seconds(computed: Computed) -> tuple[np.ndarray, float]:
    """Return the losses (n,) of one worker and the seconds it computed."""
    return computed.losses, computed.seconds


def statistics(computed: Computed) -> np.ndarray:
    """Return the batch statistics (n, s) of one worker."""
    return computed.statistics


def honest_gradient(computed: Computed, file: int) -> np.ndarray:
    """Return the honest gradient (d,) of one file of a worker."""
    return computed.rows[_place(computed, file)]


# --- Attackers ------------------------------------------------------------------------------------


@on_one_thread
def gather(
    trial: Trial,
    sources: np.ndarray,
    workers: list[int],
    computed: list,
    coded: bool,
    previous: np.ndarray | None,
    excluded: np.ndarray,
) -> Known:
    """Gather one copy of the gradient of each file, where the attackers are.

    Parameters
    ----------
    trial : Trial
    sources : int (files,)
        The worker whose copy of each file is taken.
    workers, computed : list
        The workers among `sources`, and what they computed.
    coded : bool
        Gather coded messages, one a worker, where there are some.
    previous, excluded
        As in `Known`.
    """
    _, task = setup(trial)
    by_worker = dict(zip(workers, computed, strict=True))

    def gathered(name: str):
        if coded and trial.encoding is not None:
            rows = [getattr(each, f"{name}_coded")[0] for each in computed]
        else:
            owners = [by_worker[worker] for worker in sources]
            rows = [getattr(each, name)[_place(each, file)] for file, each in enumerate(owners)]
        return to_backend(np.stack(rows), trial.backend)

    relabelled = gathered("relabelled") if task.wants_relabelled else None
    if previous is not None:
        previous = to_backend(previous, trial.backend)
    return Known(gathered("rows"), relabelled, previous, excluded)


def _place(computed: Computed, file: int) -> int:
    return int(np.flatnonzero(computed.files == file)[0])


def momenta(known: Known) -> np.ndarray:
    """Return the momenta of a state (slots, d): of all files, then of relabelled ones if any."""
    parts = [known.rows] if known.relabelled is None else [known.rows, known.relabelled]
    return np.concatenate([to_host(part) for part in parts])


@on_one_thread
def place(trial: Trial, step: int, known: Known) -> Placement:
    """Choose the Byzantine workers of a step by the damage they do."""
    pipeline, _ = setup(trial)
    return pipeline.place(known, step)


@on_one_thread
def forge(trial: Trial, step: int, known: Known, placement: Placement) -> Forged:
    """Forge the messages of a step."""
    pipeline, _ = setup(trial)
    messages = pipeline.forge(known, placement, step)
    return Forged(messages, pipeline.senders(step))


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
    """Make the messages of one worker: the honest or the forged vectors, with its faults."""
    late = sum(fault.seconds for fault in faults if fault.kind == "delay")
    if late:
        from distributed import secede

        secede()  # the worker is slow, not the process, which runs other workers
        time.sleep(late)
    rows = computed.sent if forged is None else forged
    vectors = corrupt(list(rows), [fault.kind for fault in faults])
    return Sent(vectors, computed.seconds + late)
