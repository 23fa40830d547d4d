"""How a cell of the training studies is run, what is kept of its history, and what follows."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from detox_sim import costs, encodings, training
from detox_sim.sweeping import DEFAULTS
from detox_sim.training import train
from detox_sim.trials.trial import Trial
from studies import Study
from studies.training import pipelines
from studies.training.pipelines import PAPER_SIZE, files
from studies.training.scale import scale

THRESHOLDS = {"digits": [0.8, 0.9, 0.95]}
CIFAR_THRESHOLDS = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
BY_STEP = [
    "loss",
    "gradient_error",
    "gradient_norm",
    "gradient_spread",
    "cosine",
    "distorted_files",
    "distorted_weight",
    "effective_votes",
    "unexplained",
]


def study(**own) -> Study:
    """Return a study whose cells are trials; the training studies share their stored cells.

    Parameters
    ----------
    **own
        Title, claim, definitions, profiles and figure, and what else differs.
    """
    shared: dict[str, Any] = {
        "run": run,
        "fields": pipelines.FIELDS,
        "scale": scale,
        "versions": versions,
        "prepare": pipelines.prepare,
        "cost": pipelines.cost,
        "derive": derive,
        "kind": "training",
        "defaults": DEFAULTS,
    }
    return Study(**shared | own)


def versions(fields: dict) -> dict[str, int]:
    """Return the versions of the parts that a trial's numbers depend on."""
    return training.versions(Trial(**fields))


def run(fields: dict, *, checkpoint: Path | None = None) -> xr.Dataset:
    """Train one trial; keep of its history what `kept` keeps."""
    return kept(history_of(fields, checkpoint))


def history_of(fields: dict, checkpoint: Path | None) -> xr.Dataset:
    """Train the trial of a cell, from its checkpoint if there is one."""
    options = {} if checkpoint is None else {"checkpoint": checkpoint}
    return train(Trial(**fields), **options)  # type: ignore[arg-type]


def kept(history: xr.Dataset, also: Sequence[str] = ()) -> xr.Dataset:
    """Keep of a history what the vote and the rule did, small.

    Times measured here are left out, so that a cell is the same bits always.

    Parameters
    ----------
    history : xarray.Dataset
        As `train` returns it.
    also : sequence of str
        More variables by step, beside those of `BY_STEP`.

    Returns
    -------
    xarray.Dataset
        Over `eval_step` the accuracies and losses of `train`, and as float32 the variables of
        `BY_STEP`: means over the steps since the evaluation before, of the finite values (NaN
        before the first step); `weight` (eval_step, vote) of each vote at the evaluated steps, NaN
        before the first step, beyond the `votes` there are, and where these are more than the
        workers; and `final_loss`, the training loss of the last step.
    """
    workers = json.loads(history.attrs["trial"])["workers"]
    thinned = history.weight.sel(step=history.eval_step[1:].values).values
    weight = np.full((history.eval_step.size, workers), np.nan, dtype=np.float32)
    if thinned.shape[1] <= workers:
        weight[1:, : thinned.shape[1]] = thinned
    evaluated = [name for name in history.data_vars if history[name].dims == ("eval_step",)]
    means = {
        name: ("eval_step", window_means(history[name], history.eval_step.values))
        for name in (*BY_STEP, *also)
    }
    once = {
        "weight": (("eval_step", "vote"), weight, {"long_name": "weight of a vote"}),
        "votes": ((), np.int16(thinned.shape[1])),
        "final_loss": ((), np.float32(history.loss.values[-1])),
    }
    return history[evaluated].assign(means | once)


def window_means(values: xr.DataArray, eval_step: np.ndarray) -> np.ndarray:
    """Return the means over the steps after each evaluation and up to the next, as float32.

    Examples
    --------
    >>> window_means(xr.DataArray([1.0, 3.0, np.inf, 4.0], dims="step"), np.array([0, 2, 4]))
    array([nan,  2.,  4.], dtype=float32)
    """
    with np.errstate(over="ignore"):  # a run that diverges is a result
        small = values.values.astype(np.float32)
    means = [np.nan]
    for start, end in itertools.pairwise(eval_step):
        finite = small[start:end][np.isfinite(small[start:end])]
        means.append(finite.mean(dtype=np.float64) if finite.size else np.nan)
    return np.array(means, dtype=np.float32)


def derive(fields: dict, cell: xr.Dataset) -> xr.Dataset:
    """Add `modelled_round_seconds`, and steps and modelled seconds to given accuracies."""
    thresholds = THRESHOLDS.get(fields["data"], CIFAR_THRESHOLDS)
    steps, seconds = steps_to(cell, thresholds), paper_round_seconds(fields)
    return cell.assign_coords(threshold=thresholds).assign(
        modelled_round_seconds=((), seconds, {"units": "s"}),
        steps_to=("threshold", steps, {"long_name": "steps to accuracy"}),
        modelled_seconds_to=("threshold", steps * seconds, {"units": "s"}),
    )


def paper_round_seconds(fields: dict) -> float:
    """Return the modelled seconds of a round at the paper's size: batch 1440, 46 machines.

    The model is ResNet-18, but for a trial of VGG13-BN that.

    Examples
    --------
    >>> from studies.training.pipelines import DETOX, VANILLA, prepare
    >>> fields = prepare(DETOX["D-Median"])
    >>> slow = prepare(VANILLA["Median"])
    >>> paper_round_seconds(fields) < paper_round_seconds(slow)
    True
    """
    pipeline = ("workers", "copies", "vote", "groups", "inner", "outer", "mixers")
    phases = costs.round_seconds(
        files=files(fields),
        distorted=fields["byzantine"] // (fields["copies"] // 2 + 1),  # as the rules assume
        **{name: fields[name] for name in pipeline},
        **PAPER_SIZE | costs.MODEL_SIZES.get(fields["model"], {}),
    )
    return sum(phases.values())


def modelled_seconds(
    fields: dict, common_batch: int, computed: float, at_server: float = 0.0
) -> float:
    """Return the modelled seconds of a mean round of ResNet-18 on the paper's cluster.

    Parameters
    ----------
    fields : dict
        Of a Trial, all that describe scheme, pipeline and batch.
    common_batch : int
        The batch that stands for the paper's, 1440 images.
    computed, at_server : float
        Gradients of files computed in a step by all workers, and by the server, at the speed of a
        worker.

    Examples
    --------
    >>> from studies.training.pipelines import prepare
    >>> fields = prepare({"outer": "mean", "groups": None, "inner": None})
    >>> seldom, often = (modelled_seconds(fields, 180, 15 * load) for load in (1, 4))
    >>> seldom < often
    True
    """
    count, size = files(fields), dict(PAPER_SIZE)
    size["batch"] = round(size["batch"] * fields["batch"] / common_batch)
    message = None
    if fields["encoding"] is not None:
        options = fields["encoding_options"]
        message = encodings.bytes_of(fields["encoding"], size["parameters"], options)
    pipeline = ("workers", "vote", "groups", "inner", "outer", "mixers")
    phases = costs.round_seconds(
        files=count,
        copies=computed / count,
        message_bytes=message,
        **{name: fields[name] for name in pipeline},
        **size,
    )
    gradient = size["batch"] / count * size["sample_flops"] / costs.Cluster().worker_flops
    return sum(phases.values()) + at_server * gradient


def steps_to(history: xr.Dataset, thresholds: list[float]) -> np.ndarray:
    """Return the first evaluated step with at least each test accuracy; NaN if there is none.

    Examples
    --------
    >>> history = xr.Dataset({"accuracy": ("eval_step", [0.1, 0.8, 0.9])}, {"eval_step": [0, 5, 9]})
    >>> steps_to(history, [0.8, 0.95])
    array([ 5., nan])
    """
    reached = history.accuracy.values[None, :] >= np.array(thresholds)[:, None]
    first = history.eval_step.values[reached.argmax(axis=1)]
    return np.where(reached.any(axis=1), first, np.nan)
