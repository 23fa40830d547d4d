"""The files that Byzantine workers can distort, by redundancy scheme."""

from collections.abc import Callable
from math import comb, inf, nan

import numpy as np
import xarray as xr

from detox_sim import assignments, attacks, placements, theory, voting
from detox_sim.attacks import through_vote
from detox_sim.catalogue import bind, check_integer, check_known, supplied
from detox_sim.streams import stream
from studies import Study
from studies.redundancy.arrangements import FORGED, arrangements
from studies.redundancy.schemes_results import figure, finding

FIELDS = (
    "assignment", "assignment_options", "workers", "copies", "vote", "forged", "byzantine",
    "complete", "draws", "seed",
)  # fmt: skip
MOST_BYZANTINE = 10  # of the stored axis
COORDINATES = 8  # of a simulated gradient

_ALL = arrangements()
_FEW = {name: fields for name, fields in _ALL.items() if fields["workers"] == 15}
_FEW |= {name: _ALL[name] for name in ("DETOX p=45 r=3", "no redundancy p=45 r=1")}
PROFILES: dict = {
    "smoke": ({"complete": False, "draws": 20, "seed": 0}, {"arrangement": _FEW}),
    "laptop": ({"complete": True, "draws": 200, "seed": 0}, {"arrangement": _ALL}),
}
# The assignments for which the worst case is known under each vote.
VOTED = [name for name in assignments.__all__ if name not in assignments.UNEQUAL]
EXACT = {"majority": VOTED, "clique": ["subsets"], "cyclic": ["cyclic"]}


def prepare(fields: dict) -> dict:
    """Return the fields, checked, or raise ValueError."""
    check_known("field of schemes", fields, FIELDS)
    for name, least in (("workers", 3), ("copies", 1), ("draws", 2), ("seed", 0)):
        check_integer(name, fields[name], least)
    if not isinstance(fields["complete"], bool):
        raise ValueError(f"complete is True or False, got {fields['complete']!r}")
    check_known("forged", [fields["forged"]], FORGED)
    check_known("vote of schemes", [fields["vote"]], EXACT)
    check_known(f"assignment with vote {fields['vote']}", [fields["assignment"]],
                EXACT[fields["vote"]])  # fmt: skip
    byzantine, workers = fields["byzantine"], fields["workers"]
    if not isinstance(byzantine, list) or not byzantine:
        raise ValueError(f"byzantine must be a list of integers, got {byzantine!r}")
    most = min(MOST_BYZANTINE, (workers - 1) // 2)
    for q in byzantine:
        check_integer("byzantine", q, 1)
        if q > most:
            raise ValueError(
                f"byzantine must be at most {MOST_BYZANTINE} and below workers / 2 = "
                f"{workers / 2:g}, got {q}; use at most {most}"
            )
    _holders(fields)
    return fields


def _holders(fields: dict) -> np.ndarray:
    assign = bind(assignments, fields["assignment"], fields["assignment_options"])
    return assign(fields["workers"], fields["copies"])


VARIABLES = {
    "worst_case": "distorted files when attackers choose their workers, the most that is known",
    "bound": "proven upper bound on distorted files",
    "proven": "1 where the worst case is exact",
    "spectral": "spectral bound on distorted files",
    "expected": "expected distorted files with random Byzantine workers",
    "simulated_worst": "distorted files after a real vote, Byzantine workers in the worst places",
    "simulated": "mean distorted files after real votes, random Byzantine workers",
    "simulated_error": "standard error of that mean",
}


def run(fields: dict) -> xr.Dataset:
    """Return distorted files by the number of Byzantine workers: exact, bounds and simulated."""
    holders = _holders(fields)
    table = {name: np.full(MOST_BYZANTINE, nan) for name in VARIABLES}
    for q in fields["byzantine"]:
        for name, value in _row(holders, q, fields).items():
            table[name][q - 1] = value
    names: dict = {
        name: ("byzantine", values, {"long_name": VARIABLES[name]})
        for name, values in table.items()
    }
    names["votes"] = ((), 1.0 if fields["vote"] == "cyclic" else float(len(holders)))
    names["files"] = ((), float(len(holders)))
    for name in ("workers", "copies", "draws"):
        names[name] = ((), float(fields[name]))
    return xr.Dataset(names, coords={"byzantine": np.arange(1, MOST_BYZANTINE + 1)})


def _row(holders: np.ndarray, byzantine: int, fields: dict) -> dict[str, float]:
    """Return `VARIABLES` for one number of Byzantine workers."""
    known, worst = _known(holders, byzantine, fields)
    distorted = _simulation(holders, byzantine, fields)
    rng = stream(fields["seed"], "schemes nodes", byzantine)  # the old name: the same draws
    counts = [
        distorted(placements.fixed(holders, byzantine, rng), draw + 1)
        for draw in range(fields["draws"])
    ]
    return known | {
        "simulated_worst": distorted(worst, 0),
        "simulated": float(np.mean(counts)),
        "simulated_error": float(np.std(counts, ddof=1) / len(counts) ** 0.5),
    }


def _known(
    holders: np.ndarray, byzantine: int, fields: dict
) -> tuple[dict[str, float], np.ndarray]:
    """Return what is known without a simulation, and the worst placement (workers,)."""
    workers, copies = fields["workers"], fields["copies"]
    if fields["vote"] == "majority":
        seconds = inf if fields["complete"] else 0  # no result depends on the clock
        worst = theory.worst_case_distorted_files(holders, byzantine, seconds=seconds)
        expected = theory.expected_distorted_files(workers, byzantine, copies, files=len(holders))
        known = {"worst_case": worst.distorted, "bound": worst.bound, "proven": worst.proven}
        spectral = theory.spectral_bound(holders, byzantine)
        return known | {"spectral": spectral, "expected": expected}, worst.workers
    if fields["vote"] == "cyclic":
        files = int(byzantine > (copies - 1) // 2)
    elif fields["forged"] == "everywhere":
        files = comb(byzantine, copies)
    else:
        decoys = through_vote.best_decoys(workers, byzantine, copies)
        files = through_vote.distorted_despite_detection(workers, byzantine, copies, decoys)
    alike = dict.fromkeys(("worst_case", "bound", "expected"), float(files))
    return alike | {"proven": 1.0}, np.arange(workers) < byzantine


def _simulation(
    holders: np.ndarray, byzantine: int, fields: dict
) -> Callable[[np.ndarray, int], int]:
    """Return ``distorted(placement (workers,), draw)``, which counts files after a real vote."""
    vote = bind(voting, fields["vote"], {})
    shape = (len(holders), COORDINATES)
    rows = stream(fields["seed"], "schemes rows").standard_normal(shape, dtype=np.float32)
    decoys = through_vote.best_decoys(fields["workers"], byzantine, fields["copies"])

    def distorted(placement: np.ndarray, draw: int) -> int:
        if fields["forged"] == "everywhere":
            forged = placement[holders]
        elif fields["vote"] == "clique":
            forged = through_vote.contradicting_copies(holders, placement, decoys)
        else:
            forged = through_vote.forged_copies(holders, placement, fields["vote"])
        rng = stream(fields["seed"], "schemes vote", byzantine, draw)
        messages = attacks.constant(rows, forged, rng=rng)
        return int(supplied(vote, holders=holders, rng=rng)(messages).distorted.sum())

    return distorted


STUDY = Study(
    title="Distorted files by scheme",
    claim="Not of the DETOX paper. ByzShield (MLSys 2021): with files placed by Latin squares or "
    "Ramanujan graphs, attackers who choose their workers distort 36 % fewer files than with "
    "DETOX, on average. Aspis (ISIT 2022): detecting Byzantine workers leaves 16 to 99 % fewer "
    "distorted gradients (reported; quoted from memory).",
    definitions=[
        "distorted fraction: distorted files / files. A file is distorted when the outcome of its "
        "vote is not the honest gradient; the cyclic code has one outcome, the decoded mean, so "
        "its fraction is 0 or 1",
        "worst case: attackers know which worker computes what and choose their workers; exact by "
        "a closed form or a complete search, else the best that a short search found, with a "
        "proven bound beside it",
        "random workers: every set of q workers is as likely; the expectation is exact",
        "simulated: the constant attack on random gradients, through the vote itself",
        "all subsets: each set of r workers computes a file, and the majority wins. With detection "
        "(Aspis), workers outside the unique largest set of workers that agree do not count",
        "weak attack on detection: every copy of a Byzantine worker is forged. Strong attack: "
        "attackers know the vote, and forge the copies that distort most files",
        "random graph: one random regular graph, public, the same in every round",
        "load: images that a worker computes, relative to no redundancy. It is r in every scheme",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    finding=finding,
    scale="exact counts, and votes on simulated messages",
    version=2,
    fields=FIELDS,
    prepare=prepare,
)
