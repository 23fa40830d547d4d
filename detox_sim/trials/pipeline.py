"""The pipeline of a trial: assignment, placement, attack, vote and rules, bound once."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detox_sim import assignments, attacks, encodings, placements, voting
from detox_sim.arrays import to_host
from detox_sim.attacks import through_vote
from detox_sim.catalogue import accepts, bind, supplied
from detox_sim.messages import Messages, Search
from detox_sim.streams import stream
from detox_sim.trials.rules import distorted_files_assumed, hierarchy, named, uses_previous

if TYPE_CHECKING:
    from detox_sim.trials.trial import Trial

KNOWLEDGE = ("own", "all", "groups")


class Placement(NamedTuple):
    """Which workers (workers,) are Byzantine, and how often they ran the server to choose them."""

    byzantine: np.ndarray
    evaluations: int


class Known(NamedTuple):
    """What is known at one step before messages are sent; attackers know it too.

    Attributes
    ----------
    rows : array (files or workers, d)
        The honest messages: the gradients (with worker momentum the momenta) of the files, or with
        an encoding the coded messages of the workers.
    relabelled : array or None
        Those of relabelled files where the attack asks for them.
    previous : array (d,) or None
        The last aggregate; zeros before the first.
    excluded : numpy.ndarray of bool (workers,) or None
        Workers that an earlier vote exposed: what they send does not count.
    """

    rows: Any
    relabelled: Any = None
    previous: Any = None
    excluded: np.ndarray | None = None


class Pipeline:
    """Bind the functions of a trial once: assignment, placement, attack, vote, mixers and rules.

    Parameters
    ----------
    trial : Trial
    sizes : sequence of int
        Parameters of each layer of the model.

    Attributes
    ----------
    holders : numpy.ndarray of int (files, copies)
        The assignment that attackers can know; a reshuffled one draws another at each step. -1
        where a file has fewer workers.
    places_by_damage : bool
        The placement asks for the damage it does.
    excludes : bool
        The vote exposes workers, which are excluded.
    wants_previous : bool
        A rule or mixer asks for the last aggregate.

    Examples
    --------
    >>> from detox_sim import Trial
    >>> pipeline = Pipeline(Trial(attack="constant", placement="worst_case"), sizes=(2,))
    >>> known = Known(np.ones((15, 2), np.float32))
    >>> messages = pipeline.forge(known, pipeline.place(known, step=1), step=1)
    >>> pipeline.vote(messages, step=1).distorted.sum()
    np.int64(2)
    """

    def __init__(self, trial: "Trial", sizes: Sequence[int]):
        self._trial, self._sizes = trial, sizes
        with named("assignment"):
            self._assignment = bind(assignments, trial.assignment, trial.assignment_options)
            self.holders = self._assignment(trial.workers, trial.copies, rng=None)
            if not isinstance(self.holders, np.ndarray) or self.holders.ndim != 2:
                raise ValueError(
                    f"{trial.assignment} must return an array (files, copies) of workers, got "
                    f"{type(self.holders).__name__}"
                )
        with named("placement"):
            self._placement = bind(placements, trial.placement, trial.placement_options)
            self.places_by_damage = accepts(self._placement, "damage")
        with named("attack"):
            self._attack = bind(attacks, trial.attack, trial.attack_options)
        with named("vote"):
            if "byzantine" in trial.vote_options:
                raise ValueError("a vote is given the byzantine of the trial; leave the option out")
            self._vote = bind(voting, trial.vote, trial.vote_options)
            self.excludes = accepts(self._vote, "excluded")
        with named("encoding"):
            self._encoding = None
            if trial.encoding is not None:
                self._encoding = bind(encodings, trial.encoding, trial.encoding_options)
        if trial.knowledge == "own" and self.places_by_damage:
            raise ValueError(
                f"placement: {trial.placement} measures the damage to all gradients; "
                "use knowledge='all' or 'groups'"
            )

    @functools.cached_property
    def wants_previous(self) -> bool:
        return uses_previous(self._trial)

    @functools.cached_property
    def _rules(self) -> Callable:
        return hierarchy(self._trial, distorted_files_assumed(self._trial, self.holders))

    def assign(self, step: int) -> np.ndarray:
        """Return the workers (files, copies) that compute each file at one step."""
        if self.assigned is not None:
            return self.assigned
        rng = stream(self._trial.seed, "assignment", step)
        return self._assignment(self._trial.workers, self._trial.copies, rng=rng)

    @functools.cached_property
    def assigned(self) -> np.ndarray | None:
        """The workers (files, copies) of every step, or None if the assignment draws at each."""
        rng = stream(self._trial.seed, "assignment", 1)
        before = rng.bit_generator.state
        holders = self._assignment(self._trial.workers, self._trial.copies, rng=rng)
        return holders if rng.bit_generator.state == before else None

    def senders(self, step: int) -> np.ndarray:
        """Return the workers (messages, copies) that send each message at one step.

        Those of each file; with an encoding each worker sends one message of its own.
        """
        if self._encoding is None:
            return self.assign(step)
        return np.arange(self._trial.workers)[:, None]

    def encode(self, worker: int, files: np.ndarray, rows, holders: np.ndarray, step: int):
        """Return the coded message (1, d) of one worker; None without an encoding.

        Parameters
        ----------
        worker : int
        files : int (l,)
            Its files, in ascending order.
        rows : array (l, d)
        holders : int (files, copies)
        step : int
        """
        if self._encoding is None:
            return None
        weights = self._trial.workers / (len(holders) * (holders[files] >= 0).sum(axis=1))
        rng = stream(self._trial.seed, "encoding", step, worker)
        with named("encoding"):
            message = self._encoding(rows, weights=weights, rng=rng)
            got = getattr(message, "shape", None), getattr(message, "dtype", None)
            if got != (rows.shape[1:], rows.dtype):
                raise ValueError(
                    f"{self._trial.encoding} must return (d,) = {rows.shape[1:]} values of the "
                    f"rows' type {rows.dtype}, got {got[1] or type(message).__name__} of shape "
                    f"{got[0]}"
                )
        return message[None, :]

    def place(self, known: Known, step: int) -> Placement:
        """Return which workers are Byzantine at one step.

        What is known is not looked at unless `places_by_damage`.
        """
        evaluations = 0
        holders = self.holders if self._encoding is None else self.senders(step)

        def damage(byzantine: np.ndarray) -> float:
            nonlocal evaluations
            server = _AttackersServer(self, holders, step, known)
            messages = self._forge(known, holders, byzantine, step, server)
            error = to_host(server(messages)) - to_host(known.rows).mean(axis=0)
            evaluations += server.evaluations
            worst = float((error.astype(np.float64) ** 2).sum())
            return worst if np.isfinite(worst) else np.inf

        with named("placement"):
            place = supplied(self._placement, damage=damage)
            rng = stream(self._trial.seed, "placement")
            byzantine = place(holders, self._trial.byzantine, rng, step=step)
            workers = (self._trial.workers,)
            if getattr(byzantine, "shape", None) != workers or byzantine.dtype != bool:
                raise ValueError(
                    f"{self._trial.placement} must return a bool for each worker, of shape "
                    f"{workers}, got {type(byzantine).__name__}"
                )
        return Placement(byzantine, evaluations)

    def forge(self, known: Known, placement: Placement, step: int) -> Messages:
        """Return the messages of all workers.

        Their `search` counts all calls of the server that attackers made, the placement's too.
        """
        holders = self.senders(step)
        server = _AttackersServer(self, holders, step, known)
        messages = self._forge(known, holders, placement.byzantine, step, server)
        evaluations = placement.evaluations + server.evaluations
        if not evaluations:
            return messages
        value = messages.search.value if messages.search else 0.0
        return dataclasses.replace(messages, search=Search(evaluations, value))

    def _forge(self, known: Known, holders, byzantine, step, server) -> Messages:
        trial = self._trial
        if trial.attack_rate < 1:
            draw = stream(trial.seed, "deviates", step).random(trial.workers)
            byzantine = byzantine & (draw < trial.attack_rate)
        forged = byzantine[holders]
        files = forged.any(axis=1) if trial.knowledge == "own" else None
        if trial.knowledge == "groups":
            forged = through_vote.forged_copies(holders, byzantine, trial.vote, known.excluded)
        with named("attack"):
            facts = {"known": files, "relabelled": known.relabelled, "server": server}
            attack = supplied(self._attack, **facts, holders=holders, sizes=self._sizes)
            messages = attack(known.rows, forged, rng=stream(trial.seed, "attack", step))
            if not isinstance(messages, Messages) or messages.row_of.shape != forged.shape:
                raise ValueError(
                    f"{trial.attack} must return the Messages of all workers, such as "
                    f"attacks.forgery makes them, got {type(messages).__name__}"
                )
            return messages

    def vote(self, messages: Messages, step: int, excluded=None) -> voting.Votes:
        """Return the votes over the copies of each file.

        Messages of `excluded` workers, bool (workers,), by default none, do not count.
        """
        return self._count(messages, self.senders(step), step, 0, excluded)

    def _count(
        self, messages: Messages, holders: np.ndarray, step: int, index: int, excluded
    ) -> voting.Votes:
        """Vote with the draws that have this index: 0 the server's, 1 the attackers'."""
        if excluded is None:
            excluded = np.zeros(self._trial.workers, dtype=bool)
        if excluded.any():
            arrived = np.where(excluded[holders], -1, messages.row_of)
            messages = dataclasses.replace(messages, row_of=arrived)
        facts: dict[str, Any] = {
            "holders": holders,
            "sizes": self._sizes,
            "byzantine": self._trial.byzantine,
            "excluded": excluded,
        }
        if accepts(self._vote, "rng"):
            facts["rng"] = stream(self._trial.seed, "vote", step, index)
        with named("vote"):
            votes = supplied(self._vote, **facts)(messages)
            if not isinstance(votes, voting.Votes):
                raise ValueError(
                    f"{self._trial.vote} must return voting.Votes, got {type(votes).__name__}"
                )
            if votes.reaction is not None:
                self._check_reaction(votes.reaction, holders)
            return votes

    def _check_reaction(self, reaction: voting.Reaction, holders: np.ndarray) -> None:
        """Raise for a reaction of a vote that does not fit the trial."""
        exposed, asked, *_ = reaction
        shapes = [getattr(array, "shape", None) for array in (exposed, asked)]
        if not self.excludes or shapes != [(self._trial.workers,), holders.shape]:
            raise ValueError(
                f"{self._trial.vote} must ask for excluded=... and return a voting.Reaction with "
                f"exposed (workers,) = {(self._trial.workers,)} and asked (files, copies) = "
                f"{holders.shape}, got {shapes}"
            )

    def aggregate(self, votes, step: int, previous=None):
        """Return the aggregate (d,) of the votes (votes, d): mixers, inner and outer rule.

        `previous` (d,) is the last aggregate, by default zeros.
        """
        return self._rules(votes, stream(self._trial.seed, "groups", step), previous)


class _AttackersServer:
    """``server(messages) -> aggregate (d,)`` as attackers can run it, with draws of their own."""

    def __init__(self, pipeline: Pipeline, holders: np.ndarray, step: int, known: Known):
        self._pipeline, self._holders, self._step = pipeline, holders, step
        self._previous, self._excluded = known.previous, known.excluded
        self.evaluations = 0

    def __call__(self, messages: Messages):
        self.evaluations += 1
        pipeline, step = self._pipeline, self._step
        votes = pipeline._count(messages, self._holders, step, 1, self._excluded)
        rng = stream(pipeline._trial.seed, "groups", step, 1)
        return pipeline._rules(votes.rows, rng, self._previous)
