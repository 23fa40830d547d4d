"""The rules after the vote, bound to a trial: mixers, the inner and the outer rule."""

import contextlib
import functools
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from detox_sim import aggregators, mixers, theory, voting
from detox_sim.arrays import namespace
from detox_sim.catalogue import accepts, bind, resolve, supplied

if TYPE_CHECKING:
    from detox_sim.trials.trial import Trial


def distorted_files_assumed(trial: "Trial", holders: np.ndarray) -> int:
    """Return how many distorted votes the rules must withstand: the worst case.

    Exact where a closed form or a short search proves the worst case, else its proven bound.

    Examples
    --------
    >>> from detox_sim import Trial, assignments
    >>> distorted_files_assumed(Trial(), assignments.detox(45, 3))
    2
    """
    if trial.encoding is not None:
        return trial.byzantine
    if trial.vote == "cyclic":
        return int(trial.byzantine > (trial.copies - 1) // 2)
    if trial.vote == "reactive":
        return theory.unchecked_files(holders, trial.byzantine) if _unchecked(trial) else 0
    return theory.worst_case_distorted_files(holders, trial.byzantine, seconds=0).bound


def _unchecked(trial: "Trial") -> bool:
    """Return whether a reactive vote leaves steps unchecked."""
    return trial.vote_options.get("chance", 1.0) != 1.0


@contextlib.contextmanager
def named(stage: str) -> Iterator[None]:
    """Put the name of the stage before an error, and make it a ValueError.

    A function from outside may raise anything; where the type says more than the message, type and
    line are named too.

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
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        raise ValueError(
            f"{stage}: {type(error).__name__}: {error} (in {where.name}, "
            f"{Path(where.filename).name} line {where.lineno})"
        ) from error


def hierarchy(trial: "Trial", distorted: int) -> Callable:
    """Return ``aggregate(votes (files, d), rng, previous) -> (d,)``: mixers, `inner` and `outer`.

    Each stage is given the number of distorted rows it must withstand. `previous` is the last
    aggregate (d,), None before the first.
    """
    mix = _mixers(trial, "votes", distorted)
    inner = None
    if trial.inner is not None:
        withstood = 0 if trial.inner == "mean" else distorted
        inner, withstood = _stage(trial, "inner", trial.inner, trial.inner_options, withstood)
    if trial.groups is not None:
        distorted = voting.distorted_groups_assumed(distorted, withstood)
    outer, _ = _stage(trial, "outer", trial.outer, trial.outer_options, distorted)

    def aggregate(votes, rng: np.random.Generator, previous=None):
        if previous is None:
            previous = namespace(votes).zeros_like(votes[0, :])
        facts = {"rng": rng, "previous": previous}
        return voting.hierarchy(
            mix(votes, **facts),
            groups=trial.groups,
            inner=None if inner is None else functools.partial(inner, **facts),
            outer=functools.partial(outer, **facts),
            rng=rng,
        )

    return aggregate


def uses_previous(trial: "Trial") -> bool:
    """Return whether a rule or mixer of a trial asks for the last aggregate."""
    used = [resolve(aggregators, name) for name in (trial.inner, trial.outer) if name is not None]
    used += [resolve(mixers, name) for some in mixers_by_stage(trial).values() for name in some]
    return any(accepts(function, "previous") for function in used)


def mixers_by_stage(trial: "Trial") -> Mapping[str, list[str]]:
    """Return the mixers' names for the stages that have some.

    Examples
    --------
    >>> from detox_sim import Trial
    >>> mixers_by_stage(Trial(mixers=["nnm"]))
    {'votes': ['nnm']}
    """
    return trial.mixers if isinstance(trial.mixers, dict) else {"votes": trial.mixers}


def _mixers(trial: "Trial", stage: str, byzantine: int) -> Callable:
    """Return ``mix(rows, rng, previous) -> rows``: the mixers of a stage, one after the other."""
    with named("mixers"):
        names = mixers_by_stage(trial).get(stage, [])
        chain = [
            bind(mixers, name, {"byzantine": byzantine, **trial.mixers_options.get(name, {})})
            for name in names
        ]

    def mix(rows, rng, previous):
        with named("mixers"):
            for name, mixer in zip(names, chain, strict=True):
                given, rows = rows, supplied(mixer, previous=previous)(rows, rng=rng)
                if getattr(rows, "shape", ())[1:] != given.shape[1:]:
                    raise ValueError(
                        f"{name} must return rows of {given.shape[1]} values, got "
                        f"{type(rows).__name__} of shape {getattr(rows, 'shape', None)}"
                    )
        return rows

    return mix


def _stage(
    trial: "Trial", stage: str, name: str, options: dict[str, Any], byzantine: int
) -> tuple[Callable, int]:
    """Return the mixers and rule of one stage as one function, and the `byzantine` it is given.

    Its errors begin with the name of the stage.
    """
    options = {"byzantine": byzantine, **options}
    with named(stage):
        rule = bind(aggregators, name, options)
        given = options["byzantine"]
        if isinstance(given, bool) or not isinstance(given, int) or given < 0:
            raise ValueError(f"{name} needs an integer byzantine >= 0, got {given!r}")
    mix = _mixers(trial, stage, given)

    def staged(rows, rng, previous):
        rows = mix(rows, rng, previous)
        with named(stage):
            result = supplied(rule, previous=previous)(rows)
            got = getattr(result, "shape", None), getattr(result, "dtype", None)
            if got != (rows.shape[1:], rows.dtype):
                raise ValueError(
                    f"{name} must return (d,) = {rows.shape[1:]} values of the rows' type "
                    f"{rows.dtype}, got {got[1] or type(result).__name__} of shape {got[0]}"
                )
            return result

    return staged, given
