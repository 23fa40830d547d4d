"""The verdict on each claim: pick the dataset that decides, and say what it says in one word.

"reproduced" takes a dataset that states the paper's scale.
"""

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from studies import PROFILES, outdated
from studies.evidence import accuracy, entries, theory, times
from studies.evidence.compare import Finding
from studies.evidence.decisions import Decision, short
from studies.evidence.entries import Claim
from studies.evidence.results import MissingError, Results
from studies.training.effects.differences import (
    CONTRADICTED,
    DEPENDS,
    NO_BITE,
    NOT_RUN,
    REPRODUCED,
    SAME_DIRECTION,
    UNDECIDED,
    VERDICTS,
)
from studies.training.effects.estimates import SEEDS

HARMLESS = {"backend", "evaluate_every"}
WORDS = {  # of the outcome of a finding; "met" depends on the scale
    "contradicted": CONTRADICTED,
    "undecided": UNDECIDED,
    "no bite": NO_BITE,
    "depends": DEPENDS,
}
COLUMNS = ("claim", "reported", "ours", "scale", "verdict", "deviations", "detail")

_TOPICS = (accuracy, times, theory)
DECISIONS: dict[str, Decision] = {
    claim: decision for topic in _TOPICS for claim, decision in topic.DECISIONS.items()
}
UNTESTED = {claim: why for topic in _TOPICS for claim, why in topic.UNTESTED.items()}


class Stored(NamedTuple):
    """A dataset, its provenance, whether its folder was named, and what was computed of it."""

    dataset: xr.Dataset
    about: dict[str, Any]
    named: bool
    known: dict[Any, Any]


class Verdict(NamedTuple):
    """What we say of one claim; of the claim and the numbers, in words.

    `observation` is the same for claims of one statement that the same runs decided; `page` is the
    study whose figure shows it.
    """

    claim: Claim
    verdict: str
    ours: str = ""
    scale: str = ""
    deviations: str = ""
    detail: str = ""
    finding: str = ""
    observation: str = ""
    page: str = ""

    @property
    def contradicted(self) -> bool:
        """Whether the interval lies wholly on the other side."""
        return self.verdict == CONTRADICTED

    def row(self) -> dict[str, str]:
        """Return the verdict as one row of a table, over `COLUMNS`."""
        reported = f"{self.claim.reported} [{self.claim.tag}, {self.claim.where}]"
        values = (self.claim.text, reported, self.ours, self.scale, self.verdict)
        return dict(zip(COLUMNS, (*values, self.deviations, self.detail), strict=True))


# --- Datasets -------------------------------------------------------------------------------------


def committed() -> list[Path]:
    """Return the folders of results that come with the repository."""
    return sorted(path for path in (entries.PATH.parent / "data").glob("*") if path.is_dir())


def _files(folders: Sequence[Path]) -> list[Path]:
    """Return the datasets of some folders that decide a claim."""
    names = sorted({decision.study for decision in DECISIONS.values()})
    paths = [folder / f"{name}.nc" for name in names for folder in folders]
    return [path for path in paths if path.exists()]


def open_stored(path: Path) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return the dataset of a study and its provenance.

    Raises
    ------
    ValueError
        When the file cannot be read, or says nothing of where it is from.
    """
    try:
        with xr.open_dataset(path, engine="netcdf4") as stored:
            dataset = stored.load()
        return dataset, json.loads(dataset.attrs["provenance"])
    except KeyError:
        raise ValueError(
            f"{path} is not a dataset of a study: it lacks the attribute provenance"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not a dataset of a study: {error}") from error


def differences(decision: Decision, about: Mapping[str, Any]) -> list[str]:
    """Return what keeps a dataset from the paper's scale: fields, settings, deviations."""
    scale, axes = decision.scale, about["axes"]
    stated = about["base"] | {k: v for k, v in about["settings"].items() if k not in axes}
    found = scale.differences(stated | about.get("fields", {}))
    tasks = axes.get("task", ["not stated"])
    if scale.task and scale.task not in tasks:
        found.append(f"task {', '.join(tasks)}, not {scale.task}")
    if not all(part.startswith(scale.says) for part in about["scale"].split("; ")):
        found.append(f"it does not say {scale.says!r}")
    compared = {*scale.fields, *scale.at_least, *decision.axes, *["task"] * bool(scale.task)}
    found += [
        f"{name}={short(value)} by --set"
        for name, value in about["settings"].items()
        if name not in compared and not _harmless(name, value)
    ]
    return found + list(decision.deviations)


def _harmless(name: str, value: object) -> bool:
    """Return whether a setting changes where a result is computed or how often it is evaluated.

    Nor does a folder of data count: the dataset states their title and how many images there are.
    """
    folder = name == "data_options" and isinstance(value, Mapping) and set(value) <= {"folder"}
    return name in HARMLESS or folder


# --- Verdicts -------------------------------------------------------------------------------------


def judge(claims: Iterable[Claim], stored: Sequence[Stored]) -> list[Verdict]:
    """Return the verdict on each claim, of the dataset of the largest scale that has its study.

    Parameters
    ----------
    claims : iterable of Claim
        Of `entries.read`.
    stored : sequence of Stored
        One that ``--set`` changed counts only if its folder was named. At the same scale the
        first counts.
    """
    return [
        decided(claim, DECISIONS[claim.id], stored)
        if claim.id in DECISIONS
        else Verdict(claim, NOT_RUN, detail=UNTESTED[claim.id])
        for claim in claims
    ]


def judged(folders: Sequence[Path], named: bool = False) -> list[Verdict]:
    """Return the verdicts on the paper's claims by the datasets of some folders.

    Parameters
    ----------
    folders : sequence of pathlib.Path
        Of those that hold a study at the same scale the first counts.
    named : bool
        Whether the caller chose these folders; else datasets that ``--set`` changed do not count.

    Raises
    ------
    ValueError
        When a file cannot be read, or says nothing of where it is from.

    Examples
    --------
    >>> {verdict.verdict for verdict in judged([])}
    {'not run'}
    """
    files = tuple((path, path.stat().st_mtime_ns) for path in _files(folders))
    return list(_judged(files, named))


@functools.lru_cache(1)  # two pages show the same verdicts
def _judged(files: tuple[tuple[Path, int], ...], named: bool) -> list[Verdict]:
    """Return the verdicts by some datasets, each with the time of its last change."""
    return judge(entries.read(), [Stored(*open_stored(path), named, {}) for path, _ in files])


def decided(claim: Claim, decision: Decision, stored: Sequence[Stored]) -> Verdict:
    """Return the verdict on one claim; see `judge`. Datasets of too few seeds decide last."""
    fit = [
        each
        for each in stored
        if each.about["study"] == decision.study
        and each.about["profile"] in decision.profiles
        and not outdated(each.about)
        and (each.named or all(_harmless(*item) for item in each.about["settings"].items()))
    ]
    if not fit:
        command = f"python -m studies.reproduce {decision.study} --profile {decision.profiles[0]}"
        detail = f"no dataset; run: {command}"
        return Verdict(claim, NOT_RUN, detail=detail, finding=decision.finding)

    def size(each: Stored) -> tuple[bool, bool, int]:
        about = each.about
        enough = len(about["axes"].get("seed", range(SEEDS))) >= SEEDS
        return enough, not differences(decision, about), PROFILES.index(about["profile"])

    found = [_by(claim, decision, each) for each in sorted(fit, key=size, reverse=True)]
    return next((verdict for verdict in found if verdict.verdict != NOT_RUN), found[0])


def _by(claim: Claim, decision: Decision, one: Stored) -> Verdict:
    """Return the verdict on one claim by one dataset."""
    below = differences(decision, one.about)
    at = _task(decision, one.about["axes"])
    found = _decide(decision, Results(one.dataset, at, claim.number, not below, one.known))
    changed = "".join(f", {k}={short(v)}" for k, v in one.about["settings"].items())
    said = f"{one.about['scale']}; profile {one.about['profile']}{changed}"
    word, detail = _word(claim, found, bool(below))
    return Verdict(
        claim,
        word,
        found.ours,
        said,
        "; ".join(below),
        detail,
        finding=decision.finding,
        observation=f"{decision.decide.__name__} {dict(decision.options)} {at} {said}",
        page=decision.study,
    )


def _task(decision: Decision, axes: Mapping[str, list]) -> dict[str, str]:
    """Return the task of a scale; where that did not run, the first of the dataset."""
    wanted = decision.scale.task
    if not wanted or "task" not in axes:
        return {}
    return {"task": wanted if wanted in axes["task"] else axes["task"][0]}


def _decide(decision: Decision, results: Results) -> Finding:
    try:
        return decision.decide(results, **decision.options)
    except MissingError as error:
        return Finding("missing", str(error))


def _word(claim: Claim, found: Finding, below: bool) -> tuple[str, str]:
    """Return the verdict and why."""
    if found.outcome == "missing":
        return NOT_RUN, found.detail
    if found.asks == "number" and below:
        return NOT_RUN, "a number is judged at the paper's scale only"
    if found.outcome == "met":
        partly = below and found.asks == "direction" and claim.number is not None
        only = f"; the direction only, not the {claim.reported}" * partly
        return SAME_DIRECTION if below else REPRODUCED, found.detail + only
    return WORDS[found.outcome], found.detail


def counts(found: Sequence[Verdict]) -> dict[str, int]:
    """Return how many claims have each verdict; those that share an `observation` are one.

    Examples
    --------
    >>> counts(judged([]))["reproduced"]
    0
    """
    distinct = {each.observation or each.claim.id: each.verdict for each in found}
    words = list(distinct.values())
    return {word: words.count(word) for word in VERDICTS}
