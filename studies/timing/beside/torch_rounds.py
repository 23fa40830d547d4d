"""Times of our rounds beside plain torch, and of ways to compute the gradients of files."""

import functools
import time
from collections.abc import Callable

import numpy as np

from detox_sim import models
from detox_sim.catalogue import bind
from detox_sim.models import Model
from detox_sim.streams import stream
from detox_sim.training import train
from detox_sim.trials.learning_task import LearningTask
from detox_sim.trials.one_process import OneProcessServer
from detox_sim.trials.trial import Trial

FILES = 15
LEAST_IMAGES = 128  # of the noise; batch norms are recalibrated on up to 2048 of them
CLOCKS = ("processor", "wall")
TIMED = ("plain torch", "gradients", "filtering", "judging", "train")
BATCHING = ("one after the other", "at once")
FORMATS: dict[str, dict] = {
    "float32": {},
    "channels_last": {"channels_last": True},
    "bfloat16": {"precision": "bfloat16"},
}


def measure(fields: dict) -> dict:
    """Return the variables of a cell that compares one model with plain torch.

    Parameters
    ----------
    fields : dict
        model, shape of an image, images a file, rounds a turn, turns, seed, and sizes: images a
        file for the ways to compute gradients.
    """
    trial = _trial(fields)
    measured = _rounds(trial, fields)
    task = LearningTask(trial)
    measured |= _batching(trial, task, fields)
    if "resnet" in fields["model"]:
        measured |= _formats(trial, task, fields)
    return measured


def _trial(fields: dict) -> Trial:
    batch = FILES * fields["images"]
    return Trial(
        workers=3 * FILES,
        outer="mean",
        model=fields["model"],
        data="studies.timing.beside.simulators:noise",
        data_options={"shape": fields["shape"], "images": max(batch, LEAST_IMAGES)},
        batch=batch,
        steps=fields["rounds"],
        evaluate_every=fields["rounds"],
        rate=0.01,
        seed=fields["seed"],
    )


def _rounds(trial: Trial, fields: dict) -> dict:
    """Time plain torch, our rounds and whole `train` in turns; the first turn warms up."""
    server = OneProcessServer(trial)
    first = server.task.initial()
    plain = plain_torch(trial, first.params)
    seconds = np.zeros((len(CLOCKS), len(TIMED), fields["turns"] + 1))
    found: dict = {"images_a_turn": trial.batch * trial.steps}
    for turn in range(fields["turns"] + 1):
        for step in range(turn * trial.steps + 1, (turn + 1) * trial.steps + 1):
            theirs, seconds_of_step = timed(functools.partial(plain, step))
            seconds[:, 0, turn] += seconds_of_step
            seconds[:, 1:4, turn] += _round(server, step)
        if not turn:
            ours = server.state(step).params
            found["deviation"] = np.abs(ours - theirs).max()
            found["movement"] = np.abs(ours - first.params).max()
        whole = timed(functools.partial(train, trial))[1]
        seconds[:, 4, turn] = whole * trial.steps / (trial.steps + 1)  # a round warms up
    return found | {"seconds": seconds[:, :, 1:]}


def _round(server: OneProcessServer, step: int) -> np.ndarray:
    """Perform one step; return the seconds (clock, 3) of gradients, filtering and judging."""
    marks = [_now()]
    gradients = server.compute(server.pipeline.assign(step), server.task.draw(step), step)
    marks.append(_now())
    forged = server.forge(gradients, server.place(gradients, step), step)
    messages = server.send(forged, step)
    votes = server.collect(server.vote(messages, step), step)
    aggregate = server.aggregate(votes, step)
    server.update(aggregate, gradients, votes, step)
    marks.append(_now())
    server.judge(gradients, messages, votes, aggregate, step)
    marks.append(_now())
    return np.diff(marks, axis=0).T


def _now() -> np.ndarray:
    return np.array([time.process_time(), time.perf_counter()])


def timed(call: Callable) -> tuple:
    """Return what a call returns, and its seconds on both of `CLOCKS`.

    Examples
    --------
    >>> result, (processor, wall) = timed(lambda: 7)
    >>> result, bool(wall >= 0)
    (7, True)
    """
    start = _now()
    result = call()
    return result, _now() - start


def plain_torch(trial: Trial, params: np.ndarray) -> Callable[[int], np.ndarray]:
    """Return ``step(number) -> parameters (d,)``: the same training written in torch alone.

    Parameters
    ----------
    trial : Trial
        Whose model, images, batches, rate and momentum are taken.
    params : float32 (d,)
        Where it starts.

    Examples
    --------
    >>> trial = Trial(batch=45)
    >>> start = OneProcessServer(trial).task.initial().params
    >>> plain_torch(trial, start)(1).shape == start.shape
    True
    """
    import torch

    data = trial.dataset
    module = bind(models, trial.model, trial.model_options)(
        data.train_images.shape[1:], data.classes
    )
    torch.nn.utils.vector_to_parameters(torch.from_numpy(params.copy()), module.parameters())
    optimizer = torch.optim.SGD(module.parameters(), lr=trial.rate, momentum=trial.momentum)
    images = torch.from_numpy(data.train_images.astype(np.float32))
    if data.train_images.dtype == np.uint8:
        images /= 255
    labels = torch.from_numpy(data.train_labels.copy())
    files = trial.workers // trial.copies
    module.train()

    def step(number: int) -> np.ndarray:
        drawn = stream(trial.seed, "batch", number).choice(len(labels), trial.batch, False)
        optimizer.zero_grad()
        for part in torch.from_numpy(drawn).view(files, -1):
            loss = torch.nn.functional.cross_entropy(module(images[part]), labels[part])
            (loss / files).backward()
        optimizer.step()
        return torch.nn.utils.parameters_to_vector(module.parameters()).detach().numpy()

    return step


# --- Ways to compute gradients --------------------------------------------------------------------


def _batching(trial: Trial, task: LearningTask, fields: dict) -> dict:
    """Time files one after the other and at once, and compare the bits of a file alone.

    NaN where the model computes files of that size one after the other all the same.
    """
    shape = len(fields["sizes"]), fields["turns"]
    seconds, same, gap = np.zeros((2, *shape)), np.zeros((2, shape[0])), np.zeros(shape[0])
    model, params = task.model, task.initial().params
    chosen, training = model._at_once, np.zeros(shape[0])
    for i, size in enumerate(fields["sizes"]):
        images, labels = _files(trial, size)
        rows = []
        for j in range(2):
            model._at_once = bool(j)
            rows.append(model.gradients(params, images, labels).rows)
            alone = [
                model.gradients(params, images[k : k + 1], labels[k : k + 1]).rows
                for k in range(FILES)
            ]
            same[j, i] = np.array_equal(rows[-1], np.concatenate(alone))
        together = model._together(images) is not None
        training[i] = chosen and together
        gap[i] = np.abs(rows[1] - rows[0]).max() / np.abs(rows[0]).max() if together else np.nan
        for turn in range(fields["turns"]):
            for j in range(2):
                model._at_once = bool(j)
                call = functools.partial(model.gradients, params, images, labels)
                seconds[j, i, turn] = timed(call)[1][0] if together or not j else np.nan
    return {
        "batching_seconds": seconds,
        "same_bits": same,
        "batching_gap": gap,
        "at_once_in_training": training,
    }


def _formats(trial: Trial, task: LearningTask, fields: dict) -> dict:
    """Time memory orders and precisions of the model for files of the middle size."""
    size = fields["sizes"][len(fields["sizes"]) // 2]
    images, labels = _files(trial, size)
    shape, params = images.shape[2:], task.initial().params
    factory = bind(models, trial.model, trial.model_options)
    variants = [Model(factory, shape, 10, **options) for options in FORMATS.values()]
    rows = [each.gradients(params, images, labels).rows for each in variants]
    seconds = np.zeros((len(FORMATS), fields["turns"]))
    for turn in range(fields["turns"]):
        for i, each in enumerate(variants):
            seconds[i, turn] = timed(lambda each=each: each.gradients(params, images, labels))[1][0]
    gap = [np.abs(each - rows[0]).max() / np.abs(rows[0]).max() for each in rows]
    return {"format_seconds": seconds, "format_gap": gap}


def _files(trial: Trial, size: int) -> tuple:
    shape, seed = trial.dataset.train_images.shape[1:], trial.seed
    rng = stream(seed, "throughput", size)
    images = rng.random((FILES, size, *shape), dtype=np.float32)
    return images, rng.integers(0, 10, (FILES, size))
