"""A trial: everything that defines one training run, as plain values that check themselves."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detox_sim import (
    aggregators,
    assignments,
    attacks,
    data,
    encodings,
    mixers,
    models,
    partitions,
    placements,
    voting,
)
from detox_sim.arrays import require
from detox_sim.catalogue import bind, check_integer, check_known, check_number, name_of, plain
from detox_sim.data import Data
from detox_sim.models import PRECISIONS
from detox_sim.streams import stream
from detox_sim.trials.pipeline import KNOWLEDGE, Known, Pipeline
from detox_sim.trials.rules import mixers_by_stage, named

Options = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One run, as plain values. Checks itself: an impossible Trial cannot be made.

    Attributes
    ----------
    workers, byzantine, copies : int
        p workers, q < p / 2 of them Byzantine, and r copies of every file, as the assignment
        allows: odd, and for groups a divisor of p. The default r = 3 is that of the paper's
        experiments; `planning.rank` and `theory.recommended_copies` advise.
    assignment, placement, attack, vote : str
        Names from the catalogues of those names, ``"module:function"``, or a function at the top
        level of a module, whose name is kept.
    knowledge : {"own", "all", "groups"}
        What attackers know: the honest gradients of the files they compute; those of all files;
        or these and the assignment, so that they attack through the vote: they forge only the
        copies that change it (``attacks.through_vote``).
    attack_rate : float
        Chance, of each Byzantine worker at each step, that it attacks; at other steps it is honest.
    encoding : str or None
        A name from `encodings`, or a function: each worker sends one message, a function of the
        gradients of its files, and the rules are given the messages of all workers, `byzantine` of
        them forged. There is no vote then. None: workers send the gradient of each file.
    groups : int or None
        Vote groups; None applies `outer` to all votes.
    inner, outer : str
        Names of aggregators, or functions as above. Each is given the number of distorted rows
        to withstand: with s distorted files at worst (`theory.worst_case_distorted_files`),
        `inner` withstands t = s (0 for the plain mean) and `outer` floor(s / (t + 1)) distorted
        groups, or s without groups.
        ``inner_options={"byzantine": ...}`` overrides.
    mixers : list of str, or dict
        Names of mixers, or functions, applied to the votes one after the other;
        or ``{"votes": [...], "inner": [...], "outer": [...]}`` to mix what a stage is given.
        Each is given the same number of distorted rows as its stage.
    mixers_options : dict
        Mixer's name -> its options.
    model, data : str
        Names from `models` and `data`, or functions; data also ``"images:PATH"``.
    partition : str
        How the training images are split over the workers: "iid", where every file is drawn from
        all of them, or a name from `partitions`, or a function. Then each worker has a shard, and a
        file is drawn from its slot. Slots are cut from the shards in the order of the workers: with
        p files slot j is shard j; with p / r files, as in DETOX, it is the union of r shards, those
        of the workers of file j, so it holds the images that they have without redundancy. A worker
        that computes other files sees their slots.
    batch : int
        Images a step, split evenly over the files; distinct, unless a slot has fewer than a file.
    steps : int
    rate, momentum : float
        v <- momentum v + aggregate; parameters <- parameters - rate v. At the server.
    worker_momentum : float
        beta: in place of a file's gradient workers send m <- beta m + (1 - beta) gradient, with
        m = 0 at first. All workers of a file have the same m, so honest copies stay equal; the
        assignment must be the same at every step. Where the rule is linear, a rate with `momentum`
        does what rate / (1 - beta) does with `worker_momentum`.
    decay, decay_every : float, int
        The rate of step t is rate * decay ** (t // decay_every).
    seed : int
        Same seed, same data order, initial parameters and placement, whatever the method.
    backend : {"numpy", "cupy"}
        Array library of votes and aggregation; with "cupy" the model runs on the GPU too.
    precision : {"float32", "tf32", "bfloat16"}
        Of the model's products and convolutions: full, TF32 (GPU only), or autocast to bfloat16.
    channels_last : bool
        Memory order of the model's features; faster for convolutions, with other bits.
    evaluate_every : int
        Steps between evaluations on the test set.
    validation : float
        Share of the training images, the same for every seed, that is held out of training and
        evaluated beside the test set; 0 for none.
    assignment_options, ..., data_options : dict
        Keyword arguments of the function of that name.

    Raises
    ------
    ValueError
        With the rule that is broken, the numbers, and the nearest thing that works.

    Examples
    --------
    >>> Trial(copies=1, assignment="none", groups=None, outer="krum", byzantine=22)
    Traceback (most recent call last):
    ValueError: outer: krum needs n >= 2 * byzantine + 3 = 47 rows, got 45 with byzantine=22; ...
    """

    workers: int = 45
    byzantine: int = 5
    copies: int = 3
    assignment: str = "detox"
    placement: str = "random"
    attack: str = "none"
    knowledge: str = "all"
    attack_rate: float = 1.0
    encoding: str | None = None
    vote: str = "majority"
    groups: int | None = 5
    inner: str | None = "mean"
    outer: str = "median"
    mixers: list[str] | dict[str, list[str]] = field(default_factory=list)
    model: str = "mlp"
    data: str = "digits"
    partition: str = "iid"
    batch: int = 180
    steps: int = 200
    rate: float = 0.1
    momentum: float = 0.9
    worker_momentum: float = 0.0
    decay: float = 1.0
    decay_every: int = 10
    seed: int = 0
    backend: str = "numpy"
    precision: str = "float32"
    channels_last: bool = False
    evaluate_every: int = 10
    validation: float = 0.0
    assignment_options: Options = field(default_factory=dict)
    placement_options: Options = field(default_factory=dict)
    attack_options: Options = field(default_factory=dict)
    encoding_options: Options = field(default_factory=dict)
    vote_options: Options = field(default_factory=dict)
    inner_options: Options = field(default_factory=dict)
    outer_options: Options = field(default_factory=dict)
    mixers_options: dict[str, Options] = field(default_factory=dict)
    model_options: Options = field(default_factory=dict)
    data_options: Options = field(default_factory=dict)
    partition_options: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in by_name(vars(self)).items():
            object.__setattr__(self, name, plain(value) if name.endswith("options") else value)
        _check_values(self)
        require(self.backend)
        models.device_of(self.backend)
        with named("data"):
            learnt = self.dataset
        pipeline = Pipeline(self, sizes=(1,))
        _check_encoding(self, pipeline)
        if self.worker_momentum and pipeline.assigned is None:
            raise ValueError(
                "worker_momentum needs the same workers for a file at every step: a new one would "
                f"lack its momentum; use 0, or assignment {self.assignment!r} without reshuffle"
            )
        if pipeline.excludes and _moves(self, pipeline):
            raise ValueError(
                f"vote {self.vote!r} excludes workers for good, so the same must be Byzantine at "
                f"all steps; placement {self.placement!r} draws others, use 'fixed'"
            )
        files = len(pipeline.holders)
        held_out = int(self.validation * len(learnt.train_labels))
        _check_batch(self.batch, files, len(learnt.train_labels) - held_out)
        kept = learnt
        if self.validation and self.partition != "iid":
            kept, _ = data.hold_out(learnt, self.validation)
        slots(self, kept.train_labels)
        with named("model"):
            factory = bind(models, self.model, self.model_options)
            shape = learnt.train_images.shape[1:]
            models.check(factory, shape, learnt.classes, self.batch // files)
        _rehearse(self, pipeline)

    @functools.cached_property
    def files(self) -> int:
        """Into how many files the assignment splits a batch."""
        assign = bind(assignments, self.assignment, self.assignment_options)
        return len(assign(self.workers, self.copies, rng=None))

    @property
    def largest_load(self) -> int:
        """Files that the worker with most of them computes in a step."""
        assign = bind(assignments, self.assignment, self.assignment_options)
        holders = assign(self.workers, self.copies, rng=None)
        return int(np.bincount(holders[holders >= 0]).max())

    @property
    def dataset(self) -> Data:
        """The data, with the validation images still among the training images."""
        return data.load(self.data, self.data_options)


def slots(trial: Trial, labels: np.ndarray) -> list[np.ndarray] | None:
    """Return the training images of each file slot; None where all are drawn from.

    Parameters
    ----------
    trial : Trial
    labels : int (images,)
        Of the training images.
    """
    with named("partition"):
        if trial.partition == "iid":
            if trial.partition_options:
                raise ValueError(f"'iid' takes no options, got {trial.partition_options}")
            return None
        partition = bind(partitions, trial.partition, trial.partition_options)
        shards = partition(labels, trial.workers, rng=stream(trial.seed, "partition"))
        whole = isinstance(shards, list) and len(shards) == trial.workers
        whole = whole and all(np.asarray(shard).dtype.kind in "iu" for shard in shards)
        whole = whole and all(np.size(shard) for shard in shards)
        if not whole or sorted(np.concatenate(shards).tolist()) != list(range(len(labels))):
            raise ValueError(
                f"{trial.partition} must return a list of {trial.workers} integer arrays, none "
                f"empty, that hold each of the {len(labels)} images once"
            )
        return partitions.joined(shards, trial.files)


CATALOGUES = {
    "assignment": assignments,
    "placement": placements,
    "attack": attacks,
    "encoding": encodings,
    "vote": voting,
    "inner": aggregators,
    "outer": aggregators,
    "mixers": mixers,
    "model": models,
    "data": data,
    "partition": partitions,
}


def by_name(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a Trial with the names of functions in place of these.

    Examples
    --------
    >>> by_name({"outer": aggregators.krum, "mixers": [mixers.nnm], "steps": 3})
    {'outer': 'krum', 'mixers': ['nnm'], 'steps': 3}
    """

    def named(field: str, value: Any) -> Any:
        if field == "mixers" and isinstance(value, dict):
            return {stage: named(field, some) for stage, some in value.items()}
        if field == "mixers" and isinstance(value, list):
            return [name_of(mixers, each) for each in value]
        return name_of(CATALOGUES[field], value) if field in CATALOGUES else value

    return {field: named(field, value) for field, value in fields.items()}


INTEGERS = (
    "workers", "byzantine", "copies", "batch", "steps", "decay_every", "seed", "evaluate_every",
)  # fmt: skip


def _check_values(trial: Trial) -> None:
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
            raise ValueError(f"{name} must be a number of 0 or more, got {value!r}")
        object.__setattr__(trial, name, float(value))
    if trial.validation >= 1:
        raise ValueError(f"validation must be a share below 1, got {trial.validation!r}")
    if trial.attack_rate > 1:
        raise ValueError(f"attack_rate must be a chance of 0..1, got {trial.attack_rate!r}")
    if trial.worker_momentum >= 1:
        raise ValueError(f"worker_momentum must be below 1, got {trial.worker_momentum!r}")
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


def _check_encoding(trial: Trial, pipeline: Pipeline) -> None:
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


def _check_batch(batch: int, files: int, images: int) -> None:
    if files > images:
        raise ValueError(f"{files} files need as many images, and the data has {images}")
    if batch > images:
        most = images // files * files
        raise ValueError(f"batch must be at most {most} of the {images} images, got {batch}")
    if batch % files:
        near = max(files, batch // files * files)
        raise ValueError(
            f"batch must split into {files} equal files, got {batch}; use {near} or {near + files}"
        )


def _moves(trial: Trial, pipeline: Pipeline) -> bool:
    """Return whether other workers become Byzantine in the course of a run."""
    if pipeline.places_by_damage:
        return True
    steps = range(1, trial.steps + 1)
    placed = [pipeline.place(Known(None), step).byzantine for step in steps]
    return any((one != placed[0]).any() for one in placed)


def _rehearse(trial: Trial, pipeline: Pipeline) -> None:
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


def _check_groups(trial: Trial, votes: int) -> None:
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


def _check_mixers(trial: Trial) -> None:
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


def make_trial(fields: dict[str, object]) -> Trial:
    """Return ``Trial(**fields)``; an unknown field is an error with the nearest spelling.

    Examples
    --------
    >>> make_trial({"worker": 15})
    Traceback (most recent call last):
    ValueError: unknown field of Trial 'worker'; did you mean 'workers'? known: ...
    """
    check_known("field of Trial", fields, [f.name for f in dataclasses.fields(Trial)])
    return Trial(**fields)  # type: ignore[arg-type]
