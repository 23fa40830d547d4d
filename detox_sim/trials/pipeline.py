"""One round of a trial: who lies and what they send, the vote, and the hierarchy."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from detox_sim import aggregators, assignments, attacks, mixers, placements, theory, voting
from detox_sim.arrays import to_host
from detox_sim.attacks import through_vote as lies
from detox_sim.catalogue import accepts, bind, supplied
from detox_sim.messages import Messages, Search
from detox_sim.streams import stream

KNOWLEDGE = ("own", "all", "groups")


class Pipeline:
    """The functions of a `Trial`, bound once; `step` says which round.

    Attributes
    ----------
    holders : numpy.ndarray of int (files, copies)
        Those that an attacker can know; a reshuffled assignment draws others at each step.
    wants_relabelled : bool
        The attack asks for the gradients of relabelled files.

    Examples
    --------
    >>> from detox_sim import Trial
    >>> one = Pipeline(Trial(attack="constant", placement="worst_case"), sizes=(2,))
    >>> messages = one.send(np.ones((15, 2), np.float32), step=1)
    >>> one.vote(messages, step=1).distorted.sum()
    np.int64(2)
    """

    def __init__(self, trial: Any, sizes: Sequence[int]):
        self._trial, self._sizes = trial, sizes
        with named("assignment"):
            self._assignment = bind(assignments, trial.assignment, trial.assignment_options)
            self.holders = self.assign(None)
        with named("placement"):
            self._placement = bind(placements, trial.placement, trial.placement_options)
        with named("attack"):
            self._attack = bind(attacks, trial.attack, trial.attack_options)
            self.wants_relabelled = accepts(self._attack, "relabelled")
        with named("vote"):
            self._vote = bind(voting, trial.vote, trial.vote_options)
        self._tried = 0  # calls of the server by attackers in the round at hand
        if trial.knowledge == "own" and accepts(self._placement, "damage"):
            raise ValueError(
                f"placement: {trial.placement} measures the damage to all gradients; "
                "use knowledge='all' or 'groups'"
            )

    @functools.cached_property
    def _stages(self) -> Callable:
        return _hierarchy(self._trial, distorted_files_assumed(self._trial, self.holders))

    def assign(self, step: int | None) -> np.ndarray:
        """Return the holders (files, copies) of one step; None: those an attacker can know."""
        rng = None if step is None else stream(self._trial.seed, "assignment", step)
        return self._assignment(self._trial.workers, self._trial.copies, rng=rng)

    def send(self, rows, step: int, relabelled=None) -> Messages:
        """Return what the server receives when the true gradients are `rows` (files, d).

        Its `search` counts all calls of the server that attackers made, the placement's too.
        """
        self._tried = 0
        bad = self.place(rows, step, relabelled)
        messages = self._forge(rows, self.assign(step), bad, step, relabelled)
        if not self._tried:
            return messages
        value = messages.search.value if messages.search else 0.0
        return dataclasses.replace(messages, search=Search(self._tried, value))

    def place(self, rows, step: int, relabelled=None) -> np.ndarray:
        """Return which workers (workers,) are Byzantine at one step."""
        trial = self._trial

        def damage(bad: np.ndarray) -> float:
            messages = self._forge(rows, self.holders, bad, step, relabelled)
            server = self._attackers_server(self.holders, step)
            error = to_host(server(messages)) - to_host(rows).mean(axis=0)
            worst = float((error.astype(np.float64) ** 2).sum())
            return worst if np.isfinite(worst) else np.inf

        with named("placement"):
            place = supplied(self._placement, damage=damage)
            rng = stream(trial.seed, "placement")
            return place(self.holders, trial.byzantine, rng, step=step)

    def _forge(self, rows, holders, bad, step, relabelled) -> Messages:
        trial = self._trial
        forged = bad[holders]
        known = forged.any(axis=1) if trial.knowledge == "own" else None
        if trial.knowledge == "groups":
            forged = lies.through(holders, bad, trial.vote)
        with named("attack"):
            attack = supplied(
                self._attack,
                known=known,
                relabelled=relabelled,
                server=self._attackers_server(holders, step),
            )
            return attack(rows, forged, rng=stream(trial.seed, "attack", step))

    def _attackers_server(self, holders: np.ndarray, step: int) -> Callable:
        """Return ``server(messages) -> (d,)`` as attackers can run it, with draws of their own."""

        def server(messages: Messages):
            self._tried += 1
            votes = self._count(messages, holders, stream(self._trial.seed, "vote", step, 1))
            return self._stages(votes.rows, stream(self._trial.seed, "groups", step, 1))

        return server

    def vote(self, messages: Messages, step: int) -> voting.Votes:
        """Return the votes over the copies."""
        return self._count(messages, self.assign(step), stream(self._trial.seed, "vote", step))

    def _count(self, messages: Messages, holders: np.ndarray, rng) -> voting.Votes:
        with named("vote"):
            return supplied(self._vote, holders=holders, sizes=self._sizes, rng=rng)(messages)

    def aggregate(self, votes, step: int):
        """Return the aggregate (d,) of the votes (votes, d)."""
        return self._stages(votes, stream(self._trial.seed, "groups", step))


def distorted_files_assumed(trial: Any, holders: np.ndarray) -> int:
    """Return the bad votes that the rules after the vote are told: the worst case.

    Exact where a closed form or a short search proves the worst case, else its proven bound.

    Examples
    --------
    >>> from detox_sim import Trial
    >>> distorted_files_assumed(Trial(), assignments.detox(45, 3))
    2
    """
    if trial.vote == "cyclic":
        return int(trial.byzantine > (trial.copies - 1) // 2)
    return theory.worst_case_distorted_files(holders, trial.byzantine, seconds=0).bound


@contextlib.contextmanager
def named(stage: str) -> Iterator[None]:
    """Put the name of the stage before an error, and make it a ValueError.

    Examples
    --------
    >>> with named("vote"):
    ...     raise TypeError("not a ballot")
    Traceback (most recent call last):
    ValueError: vote: not a ballot
    """
    try:
        yield
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{stage}: {error}") from error


def _hierarchy(trial: Any, lost: int) -> Callable:
    """Return ``aggregate(votes (files, d), rng) -> (d,)``: mixers, `inner` and `outer`.

    Each stage is told the number of bad rows it must withstand.
    """
    mix = _mixers(trial, "votes", lost)
    inner = None
    if trial.inner is not None:
        withstood = 0 if trial.inner == "mean" else lost
        inner, withstood = _stage(trial, "inner", trial.inner, trial.inner_options, withstood)
    if trial.groups is not None:
        lost = voting.distorted_groups_assumed(lost, withstood)
    outer, _ = _stage(trial, "outer", trial.outer, trial.outer_options, lost)

    def aggregate(votes, rng: np.random.Generator):
        return voting.hierarchy(
            mix(votes, rng),
            groups=trial.groups,
            inner=None if inner is None else functools.partial(inner, rng=rng),
            outer=functools.partial(outer, rng=rng),
            rng=rng,
        )

    return aggregate


def mixers_by_stage(trial: Any) -> Mapping[str, list[str]]:
    """Return the mixers' names for the stages that have some.

    Examples
    --------
    >>> from detox_sim import Trial
    >>> mixers_by_stage(Trial(mixers=["nnm"]))
    {'votes': ['nnm']}
    """
    return trial.mixers if isinstance(trial.mixers, dict) else {"votes": trial.mixers}


def _mixers(trial: Any, stage: str, byzantine: int) -> Callable:
    """Return ``mix(rows, rng) -> rows``: the mixers of one stage, one after the other."""
    with named("mixers"):
        chain = [
            bind(mixers, name, {"byzantine": byzantine, **trial.mixers_options.get(name, {})})
            for name in mixers_by_stage(trial).get(stage, [])
        ]

    def mix(rows, rng):
        with named("mixers"):
            for mixer in chain:
                rows = mixer(rows, rng=rng)
        return rows

    return mix


def _stage(
    trial: Any, stage: str, name: str, options: dict[str, Any], byzantine: int
) -> tuple[Callable, int]:
    """Return mixers and rule of one stage, which it says when it refuses, and its `byzantine`."""
    options = {"byzantine": byzantine, **options}
    with named(stage):
        rule = bind(aggregators, name, options)
        told = options["byzantine"]
        if isinstance(told, bool) or not isinstance(told, int) or told < 0:
            raise ValueError(f"{name} needs an integer byzantine >= 0, got {told!r}")
    mix = _mixers(trial, stage, told)

    def staged(rows, rng):
        rows = mix(rows, rng)
        with named(stage):
            return rule(rows)

    return staged, told
