"""Train: one run of distributed training, in the order of the paper."""

import dataclasses
import json
import time

import numpy as np
import xarray as xr

from detox_sim import costs, models
from detox_sim.arrays import to_backend, to_host
from detox_sim.catalogue import bind
from detox_sim.messages import Search
from detox_sim.primitives import combine
from detox_sim.rounds import Round
from detox_sim.streams import stream
from detox_sim.trial import Trial

# Raise it whenever the same Trial may give other numbers: stored results depend on it.
SEMANTICS = 3

PHASES = ("compute", "attack", "vote", "aggregate", "update")


class _Clock:
    """Seconds of the phases of one step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last = time.perf_counter()

    def lap(self) -> None:
        now = time.perf_counter()
        self.seconds.append(now - self._last)
        self._last = now


def train(trial: Trial) -> xr.Dataset:
    """Train one model by distributed SGD under the trial's adversary.

    Parameters
    ----------
    trial : Trial

    Returns
    -------
    xarray.Dataset
        Over `step` (1..steps): `loss` (mean over files, before the update), `gradient_error`
        (distance of the aggregate from the mean of all true gradients), `gradient_norm` (of that
        mean), `lost_votes`, `undecided_votes`, `search_evaluations` and `search_value` (what an
        attack that searches spent and found; 0 otherwise), `modelled_seconds`
        (`costs.round_seconds`), and `seconds` (step, phase), measured here. Over `eval_step` (0,
        then every `evaluate_every` steps, then the last): `accuracy` and `test_loss`. Once:
        `images_per_node`, the load of a step, and `votes`, one a file.
        `attrs["trial"]` is the trial, as JSON.

        All but `seconds` is the same bits on every run on a CPU. A run that diverges is a result:
        its values are Inf or NaN.

    Examples
    --------
    >>> history = train(Trial(workers=9, byzantine=1, batch=45, groups=3, steps=2))
    >>> history.lost_votes.values.tolist()
    [0, 0]
    """
    images, labels, test_images, test_labels, classes = trial.dataset
    model = models.Model(bind(models, trial.model, trial.model_options)(images.shape[1:], classes))
    one = Round(trial, model.sizes)
    files = len(one.holders)
    params = model.initial(stream(trial.seed, "parameters"))
    velocity = np.zeros_like(params)
    steps: list[tuple] = []
    seconds: list[list[float]] = []

    def evaluate() -> tuple[float, float]:
        return model.evaluate(params, test_images, test_labels)

    with models.one_thread(), np.errstate(over="ignore", invalid="ignore"):
        evaluations = [(0, *evaluate())]
        for step in range(1, trial.steps + 1):
            clock = _Clock()
            batch = stream(trial.seed, "batch", step).choice(len(images), trial.batch, False)
            batch = batch.reshape(files, -1)
            losses, gradients = model.gradients(params, images[batch], labels[batch])
            rows = to_backend(gradients, trial.backend)
            clock.lap()

            relabelled = None
            if one.wants_relabelled:
                flipped = classes - 1 - labels[batch]
                lies = model.gradients(params, images[batch], flipped)[1]
                relabelled = to_backend(lies, trial.backend)
            messages = one.send(rows, step, relabelled)
            clock.lap()

            votes = one.vote(messages, step)
            clock.lap()

            aggregate = to_host(one.aggregate(votes.rows, step))
            clock.lap()

            velocity = np.float32(trial.momentum) * velocity + aggregate
            params = params - np.float32(trial.rate) * velocity
            clock.lap()

            true = combine(np.full((1, files), 1 / files), gradients)[0].astype(np.float64)
            error, norm = np.sqrt(((aggregate - true) ** 2).sum()), np.sqrt((true**2).sum())
            lost, undecided = votes.lost.sum(), votes.undecided.sum()
            search = messages.search or Search(0, 0.0)
            steps.append((losses.mean(), error, norm, lost, undecided, *search))
            seconds.append(clock.seconds)
            if step % trial.evaluate_every == 0 or step == trial.steps:
                evaluations.append((step, *evaluate()))
    return _history(trial, files, model.parameters, steps, seconds, evaluations)


def _history(trial, files, parameters, steps, seconds, evaluations) -> xr.Dataset:
    """Label what `train` recorded."""
    columns = (np.array(column) for column in zip(*steps, strict=True))
    loss, error, norm, lost, undecided, evaluations_used, value_found = columns
    eval_step, test_loss, accuracy = (np.array(column) for column in zip(*evaluations, strict=True))
    modelled = costs.round_seconds(
        workers=trial.workers,
        files=files,
        copies=trial.copies,
        vote=trial.vote,
        groups=trial.groups,
        inner=trial.inner,
        outer=trial.outer,
        mixers=trial.mixers,
        parameters=parameters,
        batch=trial.batch,
        sample_flops=6.0 * parameters,
    )
    step = np.arange(1, trial.steps + 1)
    return xr.Dataset(
        {
            "loss": ("step", loss, {"long_name": "training loss"}),
            "gradient_error": ("step", error, {"long_name": "error of the aggregate"}),
            "gradient_norm": ("step", norm, {"long_name": "norm of the true mean gradient"}),
            "lost_votes": ("step", lost),
            "undecided_votes": ("step", undecided),
            "search_evaluations": ("step", evaluations_used),
            "search_value": ("step", value_found),
            "images_per_node": (
                (),
                trial.copies * trial.batch / trial.workers,
                {"units": "images"},
            ),
            "votes": ((), 1 if trial.vote == "cyclic" else files),
            "modelled_seconds": (
                "step",
                np.full(trial.steps, sum(modelled.values())),
                {"units": "s"},
            ),
            "seconds": (("step", "phase"), np.array(seconds), {"units": "s"}),
            "accuracy": ("eval_step", accuracy, {"long_name": "test accuracy"}),
            "test_loss": ("eval_step", test_loss, {"long_name": "test loss"}),
        },
        coords={"step": step, "eval_step": eval_step, "phase": np.array(PHASES, dtype=object)},
        attrs={"trial": json.dumps(dataclasses.asdict(trial)), "semantics": SEMANTICS},
    )
