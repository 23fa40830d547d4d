"""The rows of a run, the checkpoint they are kept in, and the labelled dataset made of them."""

import dataclasses
import json
import os
from typing import Any

import numpy as np
import xarray as xr

from detox_sim import assignments, costs, encodings
from detox_sim.arrays import to_backend, to_host
from detox_sim.trials import checkpoints
from detox_sim.trials.learning_task import LearningTask
from detox_sim.trials.server import PHASES
from detox_sim.trials.state import VECTORS, State
from detox_sim.trials.trial import Trial

ATTRIBUTES: dict[str, dict[str, str]] = {
    "loss": {"long_name": "training loss"},
    "gradient_error": {"long_name": "error of the aggregate"},
    "gradient_norm": {"long_name": "norm of the true mean gradient"},
    "gradient_spread": {"long_name": "root mean square distance of true gradients from their mean"},
    "cosine": {"long_name": "cosine of the aggregate and the true mean gradient"},
    "weight": {"long_name": "weight of a vote in the aggregate"},
    "distorted_weight": {"long_name": "weight of distorted files in the aggregate"},
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
    "slot_spread": {"long_name": "spread of the slots' gradients"},
    "seconds": {"units": "s"},
    "worker_seconds": {"units": "s"},
    "bytes": {"units": "bytes"},
    "images_per_worker": {"units": "images"},
    "bytes_per_worker": {"units": "bytes"},
    "modelled_seconds": {"units": "s"},
}
DIMS = {"weight": "vote", "seconds": "phase", "bytes": "phase", "worker_seconds": "statistic"}

Rows = list[dict[str, Any]]


class Record:
    """The rows of a run so far: one a step, and one an evaluation.

    Parameters
    ----------
    path : path or None
        Of the checkpoint.
    about : dict
        What the checkpoint must agree on with the run that continues from it.
    backend : str
        Of the vectors of a state.
    """

    def __init__(self, path: "str | os.PathLike[str] | None", about: dict[str, Any], backend: str):
        self.rows: Rows = []
        self.evaluations: Rows = []
        self._path, self._about, self._backend = path, about, backend

    def evaluate(self, step: int, task: LearningTask, state: State) -> None:
        """Add the losses and accuracies of the state after a step."""
        self.evaluations.append({"eval_step": step, **task.evaluate(state)})

    def load(self) -> tuple[int, State] | None:
        """Read the checkpoint; return the step it was written after and the state, or None."""
        found = None if self._path is None else checkpoints.load(self._path, self._about)
        if found is None:
            return None
        self.rows, self.evaluations = (
            _rows({k.removeprefix(p): v for k, v in found.items() if k.startswith(p)})
            for p in ("row_", "evaluation_")
        )
        state = {name: found[f"state_{name}"] for name in State._fields}
        at_server = {name: to_backend(state[name], self._backend) for name in VECTORS}
        return int(found["step"]), State(**(state | at_server))

    def save(self, step: int, state: State) -> None:
        """Write the checkpoint of the state after a step."""
        if self._path is None:
            return
        arrays = {
            **{f"row_{name}": values for name, values in columns(self.rows).items()},
            **{f"evaluation_{name}": values for name, values in columns(self.evaluations).items()},
            **{f"state_{name}": to_host(part) for name, part in state._asdict().items()},
        }
        checkpoints.save(self._path, self._about, arrays | {"step": np.array(step)})


def columns(rows: Rows) -> dict[str, np.ndarray]:
    """Return one array a name, over the rows.

    Examples
    --------
    >>> columns([{"loss": 2.0}, {"loss": 1.0}])
    {'loss': array([2., 1.])}
    """
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _rows(arrays: dict[str, np.ndarray]) -> Rows:
    size = len(next(iter(arrays.values())))
    return [{name: values[i] for name, values in arrays.items()} for i in range(size)]


def label(
    trial: Trial, task: LearningTask, server: str, record: Record, versions: dict[str, int]
) -> xr.Dataset:
    """Return what was recorded as the labelled dataset of `training.train`."""
    evaluations = columns(record.evaluations)
    by_step = _by_step(trial, task, server, columns(record.rows)) if record.rows else xr.Dataset()
    eval_step = evaluations.pop("eval_step")
    evaluated = xr.Dataset(
        {name: ("eval_step", values) for name, values in evaluations.items()},
        {"eval_step": eval_step},
    )
    history = by_step.merge(evaluated).assign_attrs(
        trial=json.dumps(dataclasses.asdict(trial)),
        data=task.title,
        versions=json.dumps(versions),
    )
    for name in set(ATTRIBUTES) & set(history):
        history[name].attrs = ATTRIBUTES[name]
    return history


def _by_step(
    trial: Trial, task: LearningTask, server: str, steps: dict[str, np.ndarray]
) -> xr.Dataset:
    """Return what was recorded over the steps, and what follows from it for the whole run."""
    computed = steps["gradients_computed"] / trial.files  # copies of a file, at each step
    load = computed.mean() * trial.files / trial.workers  # files of a worker
    asked, place = np.unique(computed, return_inverse=True)
    modelled = np.array([_modelled_seconds(trial, task, server, float(n)) for n in asked])[place]
    at_server = costs.Cluster().seconds({"flop": trial.batch / trial.files * task.sample_flops()})
    modelled += steps["gradients_at_server"] * at_server
    history = xr.Dataset(
        {
            **{
                name: (("step", DIMS[name]) if name in DIMS else "step", values)
                for name, values in steps.items()
            },
            "images_per_worker": ((), load * trial.batch / trial.files),
            "bytes_per_worker": ((), _bytes_per_worker(trial, task.model.parameters, load)),
            "votes": ((), steps["weight"].shape[1]),
            "modelled_seconds": ("step", modelled),
        },
        coords={
            "step": np.arange(1, trial.steps + 1),
            "phase": np.array(PHASES, dtype=object),
        },
    )
    if "worker_seconds" in history:
        history = history.assign_coords(statistic=np.array(["max", "mean"], dtype=object))
    return history


def _bytes_per_worker(trial: Trial, parameters: int, load: float) -> float:
    """Return the bytes that a worker with so many files sends in a step."""
    message = encodings.bytes_of(trial.encoding, parameters, trial.encoding_options)
    if trial.vote == "cyclic":
        return 2 * message  # one vector of complex numbers
    return message * (1 if trial.encoding else load)


def _modelled_seconds(trial: Trial, task: LearningTask, server: str, copies: float) -> float:
    """Return the seconds of a step with so many copies of a file on the paper's cluster."""
    parameters, message = task.model.parameters, None
    if trial.encoding is not None:
        message = encodings.bytes_of(trial.encoding, parameters, trial.encoding_options)
    phases = costs.round_seconds(
        workers=trial.workers,
        files=trial.files,
        copies=copies,
        largest_load=trial.largest_load if trial.assignment in assignments.UNEQUAL else None,
        vote=trial.vote,
        groups=trial.groups,
        inner=trial.inner,
        outer=trial.outer,
        mixers=trial.mixers,
        parameters=parameters,
        message_bytes=message,
        batch=trial.batch,
        sample_flops=task.sample_flops(),
        server=server,
    )
    return sum(phases.values())
