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
from detox_sim.catalogue import bind, check_known, name_of, plain
from detox_sim.data import Data
from detox_sim.streams import stream
from detox_sim.trials.checks import check_batch, check_encoding, check_values, moves, rehearse
from detox_sim.trials.pipeline import Pipeline
from detox_sim.trials.rules import named

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
        Same seed, same initial parameters and placement, whatever the method; at the same batch
        also the same images in the same order.
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
        check_values(self)
        require(self.backend)
        models.device_of(self.backend)
        with named("data"):
            learnt = self.dataset
        pipeline = Pipeline(self, sizes=(1,))
        check_encoding(self, pipeline)
        if self.worker_momentum and pipeline.assigned is None:
            raise ValueError(
                "worker_momentum needs the same workers for a file at every step: a new one would "
                f"lack its momentum; use 0, or assignment {self.assignment!r} without reshuffle"
            )
        if pipeline.excludes and moves(self, pipeline):
            raise ValueError(
                f"vote {self.vote!r} excludes workers for good, so the same must be Byzantine at "
                f"all steps; placement {self.placement!r} draws others, use 'fixed'"
            )
        files = len(pipeline.holders)
        held_out = int(self.validation * len(learnt.train_labels))
        check_batch(self.batch, files, len(learnt.train_labels) - held_out, self.validation)
        kept = learnt
        if self.validation and self.partition != "iid":
            kept, _ = data.hold_out(learnt, self.validation)
        slots(self, kept.train_labels)
        with named("model"):
            factory = bind(models, self.model, self.model_options)
            shape = learnt.train_images.shape[1:]
            models.check(factory, shape, learnt.classes, self.batch // files)
        rehearse(self, pipeline)

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
