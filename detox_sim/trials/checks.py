"""What a trial checks of itself before anything runs."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from detox_sim.catalogue import check_integer, check_known, check_number
from detox_sim.models import PRECISIONS
from detox_sim.trials.pipeline import KNOWLEDGE, Known, Pipeline
from detox_sim.trials.rules import mixers_by_stage

if TYPE_CHECKING:
    from detox_sim.trials.trial import Trial

INTEGERS = (
    "workers", "byzantine", "copies", "batch", "steps", "decay_every", "seed", "evaluate_every",
)  # fmt: skip


def check_values(trial: "Trial") -> None:
    """Check types, ranges and the shape of the hierarchy."""
    for name in INTEGERS:
        check_integer(name, getattr(trial, name), 0 if name in ("byzantine", "seed") else 1)
        object.__setattr__(trial, name, int(getattr(trial, name)))  # plain values only
    for name in (
        "rate", "momentum", "worker_momentum", "decay", "validation", "attack_rate",
    ):  # fmt: skip
        value = getattr(trial, name)
        check_number(name, value)
        if not 0 <= value < 1e6:
            raise ValueError(f"{name} must be a number of 0 or more, below 1e6, got {value!r}")
        object.__setattr__(trial, name, float(value))
    if trial.validation >= 1:
        raise ValueError(f"validation must be a share below 1, got {trial.validation!r}")
    if trial.attack_rate > 1:
        raise ValueError(f"attack_rate must be a chance of 0..1, got {trial.attack_rate!r}")
    for name in ("momentum", "worker_momentum"):
        if getattr(trial, name) >= 1:
            raise ValueError(f"{name} must be below 1, got {getattr(trial, name)!r}")
    if not trial.byzantine < trial.workers / 2:
        raise ValueError(
            f"byzantine must be below workers / 2 = {trial.workers / 2:g}, got {trial.byzantine}; "
            f"use at most {(trial.workers - 1) // 2}"
        )
    check_known("knowledge", [trial.knowledge], KNOWLEDGE)
    check_known("precision", [trial.precision], PRECISIONS)
    if trial.precision == "tf32" and trial.backend == "numpy":
        raise ValueError("precision 'tf32' exists on GPUs only; use 'float32', or backend 'cupy'")
    if not isinstance(trial.channels_last, bool):
        raise ValueError(f"channels_last must be True or False, got {trial.channels_last!r}")
    if trial.groups is not None:
        if isinstance(trial.groups, bool) or not isinstance(trial.groups, int) or trial.groups < 1:
            raise ValueError(f"groups must be None or an integer >= 1, got {trial.groups!r}")
        if trial.inner is None:
            raise ValueError("groups needs an inner rule; use inner='mean', or groups=None")
    for option in (f.name for f in dataclasses.fields(trial) if f.name.endswith("_options")):
        if not isinstance(getattr(trial, option), dict):
            raise ValueError(f"{option} must be a dict, got {getattr(trial, option)!r}")
    _check_mixers(trial)


def check_encoding(trial: "Trial", pipeline: Pipeline) -> None:
    """Check that coded messages are not voted on, and that a vote has equal loads."""
    holders = pipeline.holders
    ordered = np.sort(holders, axis=1)
    if ((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] >= 0)).any():
        raise ValueError(f"assignment {trial.assignment!r} gives a worker the same file twice")
    if trial.encoding is None:
        if trial.encoding_options:
            raise ValueError(f"encoding_options need an encoding, got {trial.encoding_options}")
        if (holders < 0).any():
            raise ValueError(
                f"assignment {trial.assignment!r} gives files unequal copies, on which no vote is "
                "held; use an encoding, such as encoding='sign' with outer='sign_majority'"
            )
        return
    if trial.vote != "majority" or trial.vote_options:
        raise ValueError(
            f"encoding {trial.encoding!r} sends one message a worker, on which no vote is held; "
            f"leave vote and vote_options out, got vote={trial.vote!r}, {trial.vote_options}"
        )
    idle = np.setdiff1d(np.arange(trial.workers), holders)
    if idle.size or (holders < 0).all(axis=1).any():
        raise ValueError(
            f"with an encoding every worker needs a file and every file a worker, and assignment "
            f"{trial.assignment!r} leaves {idle.size} of {trial.workers} workers without"
        )
    if trial.knowledge == "groups":
        raise ValueError(
            "knowledge 'groups' attacks through a vote, and there is none with encoding "
            f"{trial.encoding!r}; use 'all' or 'own'"
        )


def check_batch(batch: int, files: int, images: int, validation: float = 0.0) -> None:
    """Check that a batch splits into files of equal size, and that there are images for it."""
    if files > images:
        left = f" left by validation={validation:g}" if validation else ""
        raise ValueError(f"{files} files need as many training images, there are {images}{left}")
    if batch > images:
        most = images // files * files
        raise ValueError(f"batch must be at most {most} of the {images} images, got {batch}")
    if batch % files:
        near = max(files, batch // files * files)
        raise ValueError(
            f"batch must split into {files} equal files, got {batch}; use {near} or {near + files}"
        )


def moves(trial: "Trial", pipeline: Pipeline) -> bool:
    """Return whether other workers become Byzantine in the course of a run."""
    if pipeline.places_by_damage:
        return True
    steps = range(1, trial.steps + 1)
    placed = [pipeline.place(Known(None), step).byzantine for step in steps]
    return any((one != placed[0]).any() for one in placed)


def rehearse(trial: "Trial", pipeline: Pipeline) -> None:
    """Run one round on one coordinate of zeros, so that every misfit shows before training."""
    messages = len(pipeline.holders) if trial.encoding is None else trial.workers
    if trial.encoding is not None:
        files = np.flatnonzero((pipeline.holders == 0).any(axis=1))
        some = np.zeros((len(files), 1), dtype=np.float32)
        pipeline.encode(0, files, some, pipeline.holders, step=1)
    zeros = np.zeros((messages, 1), dtype=np.float32)
    known = Known(zeros, relabelled=zeros)
    forged = pipeline.forge(known, pipeline.place(known, step=1), step=1)
    votes = pipeline.vote(forged, step=1)
    _check_groups(trial, votes.rows.shape[0])
    aggregate = pipeline.aggregate(votes.rows, step=1)
    if np.isfinite(votes.rows).all() and not np.isfinite(aggregate).all():
        rules = ", ".join(name for name in (trial.inner, trial.outer) if name is not None)
        raise ValueError(f"the rules ({rules}) return {aggregate[0]} where every vote is 0")


def _check_groups(trial: "Trial", votes: int) -> None:
    if trial.vote == "cyclic" and (trial.groups is not None or trial.outer != "mean"):
        raise ValueError(
            "vote 'cyclic' leaves one vote, the mean of all files; use groups=None, outer='mean'"
        )
    if trial.groups is None:
        return
    if trial.groups > votes:
        raise ValueError(f"groups must be at most the {votes} votes, got {trial.groups}")
    if trial.inner == "mean" and votes % trial.groups:
        works = [k for k in range(1, votes + 1) if votes % k == 0]
        raise ValueError(
            f"with inner='mean' groups must divide the {votes} votes, so that each counts the "
            f"same; got {trial.groups}, use one of {works}"
        )


STAGES = ("votes", "inner", "outer")


def _check_mixers(trial: "Trial") -> None:
    """Check that mixers are lists of names by stage, and that options belong to one of them."""
    by_stage = mixers_by_stage(trial)
    check_known("stage of mixers", by_stage, STAGES)
    for names in by_stage.values():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"mixers must be names in a list, got {trial.mixers!r}")
    if trial.inner is None and by_stage.get("inner"):
        raise ValueError("mixers for the inner stage need an inner rule")
    used = [name for names in by_stage.values() for name in names]
    check_known("mixer in mixers_options", trial.mixers_options, used)
