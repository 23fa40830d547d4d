"""How a cell of the training studies is run, and what is kept of its history."""

from pathlib import Path

import numpy as np
import xarray as xr

from detox_sim import costs
from detox_sim.training import train
from detox_sim.trial import Trial
from studies.pipelines import PAPER_SIZE, SIZES, files

THRESHOLDS = {"digits": [0.8, 0.9, 0.95], "fashion_mnist": [0.7, 0.75, 0.8, 0.85]}
CIFAR_THRESHOLDS = [0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
BY_STEP = [
    "loss",
    "gradient_error",
    "gradient_norm",
    "cosine",
    "lost_votes",
    "lost_weight",
    "used_votes",
    "unexplained",
]


def run(fields: dict, *, checkpoint: Path | None = None) -> xr.Dataset:
    """Train one trial; times measured here are left out, so that a cell is the same bits always."""
    options = {} if checkpoint is None else {"checkpoint": checkpoint}
    history = train(Trial(**fields), **options)  # type: ignore[arg-type]
    return history.drop_vars(["seconds", "phase", "weight"])


def run_attributed(fields: dict, *, checkpoint: Path | None = None) -> xr.Dataset:
    """Train one trial; keep what the vote and the rule did to it, small.

    Returns
    -------
    xarray.Dataset
        `accuracy`, `test_loss` and, as float32, those of `BY_STEP`, as `train` gives them;
        `weight` (eval_step, vote) of each vote at the evaluated steps, NaN before the first step,
        beyond the `votes` there are, and where these are more than the nodes; and
        `modelled_round_seconds` at the paper's size.
    """
    options = {} if checkpoint is None else {"checkpoint": checkpoint}
    history = train(Trial(**fields), **options)  # type: ignore[arg-type]
    thinned = history.weight.sel(step=history.eval_step[1:].values).values
    weight = np.full((history.eval_step.size, fields["workers"]), np.nan, dtype=np.float32)
    if thinned.shape[1] <= fields["workers"]:
        weight[1:, : thinned.shape[1]] = thinned
    with np.errstate(over="ignore"):  # a run that diverges is a result
        kept = history[BY_STEP].astype(np.float32)
    return kept.assign(
        accuracy=history.accuracy,
        test_loss=history.test_loss,
        weight=(("eval_step", "vote"), weight, {"long_name": "weight of a vote"}),
        votes=((), np.int16(thinned.shape[1])),
        modelled_round_seconds=((), paper_round_seconds(fields), {"units": "s"}),
    )


def run_timed(fields: dict, *, checkpoint: Path | None = None) -> xr.Dataset:
    """Train one trial as `run_attributed`; add steps and modelled time to given accuracies."""
    history = run_attributed(fields, checkpoint=checkpoint)
    thresholds = THRESHOLDS.get(fields["data"], CIFAR_THRESHOLDS)
    steps = steps_to(history, thresholds)
    seconds = steps * float(history.modelled_round_seconds)
    return history.assign_coords(threshold=thresholds).assign(
        steps_to=("threshold", steps, {"long_name": "steps to accuracy"}),
        modelled_seconds_to=("threshold", seconds, {"units": "s"}),
    )


def paper_round_seconds(fields: dict) -> float:
    """Return the modelled seconds of a round at the paper's size: batch 1440, 46 nodes.

    The model is ResNet-18, but for a trial of VGG13-BN that.

    Examples
    --------
    >>> from studies.pipelines import DETOX, VANILLA, prepare
    >>> fields = prepare(DETOX["D-Median"])
    >>> slow = prepare(VANILLA["Median"])
    >>> paper_round_seconds(fields) < paper_round_seconds(slow)
    True
    """
    pipeline = ("workers", "copies", "vote", "groups", "inner", "outer", "mixers")
    phases = costs.round_seconds(
        files=files(fields),
        **{name: fields[name] for name in pipeline},
        **PAPER_SIZE | SIZES.get(fields["model"], {}),  # type: ignore[arg-type]
    )
    return sum(phases.values())


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
