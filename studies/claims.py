"""The paper's claims beside our datasets: what each says, and whether it holds here.

The claims and their decision rules, fixed beforehand, are ``reports/claims.toml``;
`studies.evidence.verdicts` applies a rule. A verdict is one of `VERDICTS`; "reproduced" takes a
dataset that states the paper's scale.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import xarray as xr

from studies import outdated
from studies.evidence import verdicts
from studies.evidence.entries import PROFILES, REPORTS, Claim, Scale, read, short

VERDICTS = ("reproduced", "same direction at toy scale", "not reproduced", "not run")


class Stored(NamedTuple):
    """A stored dataset, its provenance, and whether its folder was named."""

    dataset: xr.Dataset
    about: dict[str, Any]
    named: bool


class Verdict(NamedTuple):
    """What we say of one claim; of the claim and the numbers, in words."""

    claim: Claim
    verdict: str
    ours: str = ""
    scale: str = ""
    deviations: str = ""
    detail: str = ""
    contradicted: bool = False


# --- Datasets -------------------------------------------------------------------------------------
HARMLESS = {"backend", "evaluate_every"}


def committed() -> list[Path]:
    """Return the folders of results that come with the package."""
    return sorted(path for path in (REPORTS / "data").glob("*") if path.is_dir())


def usual_folders() -> list[Path]:
    """Return the folders of results below the current folder, then those of the package."""
    return [*sorted(path for path in Path("results").glob("*") if path.is_dir()), *committed()]


def find(claims: Iterable[Claim], folders: Sequence[Path], named: bool) -> list[Stored]:
    """Return the stored datasets of the studies that test some claims.

    Parameters
    ----------
    claims : iterable of Claim
    folders : sequence of pathlib.Path
        With ``<study>.nc``.
    named : bool
        Whether the caller chose these folders; else datasets that ``--set`` changed do not count.

    Raises
    ------
    ValueError
        When a file cannot be read, or says nothing of where it is from.
    """
    names = sorted({claim.study for claim in claims} - {""})
    return [
        Stored(*_open(path), named)
        for path in (folder / f"{name}.nc" for name in names for folder in folders)
        if path.exists()
    ]


def _open(path: Path) -> tuple[xr.Dataset, dict[str, Any]]:
    try:
        with xr.open_dataset(path, engine="netcdf4") as stored:
            dataset = stored.load()
        return dataset, json.loads(dataset.attrs["provenance"])
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a dataset of a study: {error}") from error


def differences(claim: Claim, scale: Scale, about: Mapping[str, Any]) -> list[str]:
    """Return what keeps a dataset from the paper's scale: fields, settings, age, deviations."""
    axes = about["axes"]
    stated = about["base"] | {k: v for k, v in about["settings"].items() if k not in axes}
    found = scale.differences(stated | about.get("fields", {}))
    found += [
        f"{name} {', '.join(axes.get(name, ['not stated']))}, not {label}"
        for name, label in scale.labels.items()
        if label not in axes.get(name, [])
    ]
    if not all(part.startswith(scale.says) for part in about["scale"].split("; ")):
        found.append(f"it does not say {scale.says!r}")
    found += filter(None, [outdated(claim.study, about.get("versions"))])
    compared = {*scale.fields, *scale.at_least, *scale.labels, claim.sample, *claim.selected()}
    found += [
        f"{name}={short(value)} by --set"
        for name, value in about["settings"].items()
        if name not in compared and not _harmless(name, value)
    ]
    return found + claim.deviations


def _harmless(name: str, value: object) -> bool:
    """Return whether a setting changes where a result is computed or how often it is looked at.

    Nor does a folder of data count: the dataset states their title and how many images there are.
    """
    folder = name == "data_options" and isinstance(value, Mapping) and set(value) <= {"folder"}
    return name in HARMLESS or folder


# --- Verdicts -------------------------------------------------------------------------------------


def judge(
    claims: Sequence[Claim], scales: Mapping[str, Scale], stored: Sequence[Stored]
) -> list[Verdict]:
    """Return the verdict on each claim, of the dataset of the largest scale that has its study.

    Parameters
    ----------
    claims, scales
        Of `read`.
    stored : sequence of Stored
        Of `find`. One that ``--set`` changed counts only if its folder was named. At the same
        scale the first counts.
    """
    return [_verdict(claim, scales, stored) for claim in claims]


def _verdict(claim: Claim, scales: Mapping[str, Scale], stored: Sequence[Stored]) -> Verdict:
    if claim.untested:
        return Verdict(claim, "not run", detail=claim.untested)
    fit = [
        each
        for each in stored
        if each.about["study"] == claim.study
        and each.about["profile"] in claim.profiles
        and (each.named or all(_harmless(*item) for item in each.about["settings"].items()))
    ]
    if not fit:
        command = f"python -m studies.reproduce {claim.study} --profile {claim.profiles[0]}"
        return Verdict(claim, "not run", detail=f"no dataset; run: {command}")
    scale = scales[claim.scale]

    def size(each: Stored) -> tuple[bool, int]:
        below = differences(claim, scale, each.about)
        return not below, PROFILES.index(each.about["profile"])

    best = max(fit, key=size)
    below = differences(claim, scale, best.about)
    placed = dataclasses.replace(claim, at=_labels(scale, best.about["axes"]) | claim.at)
    finding = verdicts.judge(placed, best.dataset, paper_scale=not below)
    changed = "".join(f", {k}={short(v)}" for k, v in best.about["settings"].items())
    said = f"{best.about['scale']}; profile {best.about['profile']}{changed}"
    word, detail = _word(claim, finding, bool(below))
    contradicted = word == VERDICTS[2] and finding.outcome == "contradicted"
    return Verdict(claim, word, finding.ours, said, "; ".join(below), detail, contradicted)


def _labels(scale: Scale, axes: Mapping[str, list]) -> dict[str, Any]:
    """Return the labels of a scale; on an axis with a single label, that one."""
    return {
        name: axes[name][0] if len(axes[name]) == 1 else label
        for name, label in scale.labels.items()
        if name in axes
    }


def _word(claim: Claim, finding: verdicts.Finding, below: bool) -> tuple[str, str]:
    """Return the verdict and why."""
    if finding.outcome == "missing":
        return VERDICTS[3], finding.detail
    if claim.kind == "value" and below:
        return VERDICTS[3], "a number is judged at the paper's scale only"
    if finding.outcome == "met":
        only = f"; the direction only, not the {claim.reported}"
        return VERDICTS[below], finding.detail + only * (below and claim.asks_direction())
    return VERDICTS[2], finding.detail


# --- The command ----------------------------------------------------------------------------------

COLUMNS = ("claim", "reported", "ours", "scale", "verdict", "deviations", "detail")


def row(verdict: Verdict) -> dict[str, str]:
    """Return a verdict as one row of a table, over `COLUMNS`."""
    claim = verdict.claim
    reported = f"{claim.reported} [{claim.tag}, {claim.where}]"
    values = (claim.text, reported, verdict.ours, verdict.scale, verdict.verdict)
    return dict(zip(COLUMNS, (*values, verdict.deviations, verdict.detail), strict=True))


def counts(found: Sequence[Verdict]) -> dict[str, int]:
    """Return how many claims have each verdict, and how many are contradicted.

    Examples
    --------
    >>> claims, scales = read()
    >>> counts(judge(claims, scales, []))["not run"] == len(claims)
    True
    """
    words = [each.verdict for each in found]
    return {word: words.count(word) for word in VERDICTS} | {
        "of the not reproduced, contradicted": sum(each.contradicted for each in found)
    }


def as_markdown(found: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table."""
    lines = [("id", *COLUMNS), ("---",) * (len(COLUMNS) + 1)]
    lines += [(each.claim.id, *row(each).values()) for each in found]
    return "\n".join(
        f"| {' | '.join(c.replace('|', '/') or '-' for c in line)} |" for line in lines
    )


def as_text(found: Sequence[Verdict]) -> str:
    """Return the verdicts as paragraphs for a terminal."""
    blocks = []
    for each in found:
        lines = [f"  {k}: {v}" for k, v in row(each).items() if v and k != "verdict"]
        blocks.append("\n".join([f"{each.claim.id}: {each.verdict.upper()}", *lines]))
    return "\n\n".join(blocks)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the verdicts; return 1 when a claim is contradicted, 2 when the call is wrong."""
    parser = argparse.ArgumentParser(prog="python -m studies.claims", description=main.__doc__)
    parser.add_argument("--results", type=Path, nargs="+", action="extend", metavar="DIR",
                        help="folders with <study>.nc; default: results/* and those that come "
                        "with the package")  # fmt: skip
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    options = parser.parse_args(arguments)
    folders = options.results or usual_folders()
    try:
        absent = [str(folder) for folder in folders if not folder.is_dir()]
        if absent:
            raise ValueError(f"--results: {absent[0]} is not a folder")
        claims, scales = read()
        stored = find(claims, folders, bool(options.results))
        found = judge(claims, scales, stored)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(as_markdown(found) if options.markdown else as_text(found))
    total = ", ".join(f"{count} {name}" for name, count in counts(found).items())
    print(f"\n{len(found)} claims: {total}.")
    return int(any(each.contradicted for each in found))


if __name__ == "__main__":
    sys.exit(main())
