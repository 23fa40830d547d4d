"""What redundancy costs at the damage it leaves: DETOX, DRACO, coded messages, reactive checks."""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from detox_sim import theory
from detox_sim.trials.trial import Trial
from studies.training import cells, pipelines
from studies.training.reactive_results import EVERY_STEP, figure, finding
from studies.training.scale import scale

IMAGES = 2  # of a worker in a step without redundancy: the unit of a load
ATTACK = {"attack": "alie", "attack_options": {"z": 1.5}}
RATES = {EVERY_STEP: 1.0, "3 steps in 10": 0.3, "1 step in 10": 0.1}
_NOBODY = {"nobody": {"attack": "none"}}
_SECRET = {"assignment_options": {"reshuffle": True}}
_RULE = {"outer": "trimmed_mean"}


def _settings(workers: int, byzantine: int) -> dict[str, Any]:
    """Return the fields of all cells; few images a file make the gradients spread."""
    return {
        "workers": workers,
        "byzantine": byzantine,
        "batch": IMAGES * workers,
        "placement": "fixed",
        "groups": None,
        "inner": None,
    }


def _schemes(workers: int, byzantine: int, coded_files: tuple[int, ...]) -> dict[str, dict]:
    """Return the schemes: those whose vote lets forged values through have a robust rule."""
    most = 2 * byzantine + 1
    alone = {"assignment": "none", "copies": 1} | _RULE
    detox = {"assignment": "detox", "copies": 3} | _SECRET | _RULE
    coded = {"assignment": "cyclic", "encoding": "mean"} | _SECRET | _RULE
    checks = {"assignment": "cyclic", "copies": most, "vote": "reactive", "knowledge": "groups"}
    return {
        "alone": alone,
        "alone, batch x 3": alone | {"batch": 3 * IMAGES * workers},
        "DETOX": detox,
        "DRACO": {"assignment": "detox", "copies": most, "outer": "mean"},
        **{f"LAD, {files} files": coded | {"copies": files} for files in coded_files},
        "reactive, chance 1, local": checks | {"outer": "mean", "vote_options": {"local": True}},
        "reactive, chance 1": checks | {"outer": "mean"},
        "reactive, chance 0.5": checks | _RULE | {"vote_options": {"chance": 0.5}},
        "reactive, chance 0.1": checks | _RULE | {"vote_options": {"chance": 0.1}},
    }


def _axes(schemes: dict[str, dict], rates: dict[str, float], seeds: int) -> dict:
    """Return the axes of a grid: schemes, attacks at these rates and nobody, and seeds."""
    attacks = {name: ATTACK | {"attack_rate": rate} for name, rate in rates.items()}
    return {"scheme": schemes, "attack": attacks | _NOBODY, "seed": list(range(seeds))}


PROFILES = {
    "smoke": (
        _settings(9, 1) | {"steps": 4, "evaluate_every": 2},
        _axes(_schemes(9, 1, (3,)), {EVERY_STEP: 1.0}, seeds=2),
    ),
    "laptop": (
        _settings(21, 3) | {"steps": 36, "evaluate_every": 3},
        _axes(_schemes(21, 3, (3,)), RATES, seeds=5),
    ),
    "digits": (
        _settings(45, 7) | {"steps": 120, "evaluate_every": 4},
        _axes(_schemes(45, 7, (3, 15)), RATES, seeds=5),
    ),
}


def run(fields: dict, *, checkpoint: Path | None = None) -> xr.Dataset:
    """Train one trial; keep also what it computed and sent, and whom it excluded.

    Returns
    -------
    xarray.Dataset
        As `cells.kept` without the weights, with `gradients_computed` by workers over `eval_step`;
        and of the whole run `worker_gradients` and `server_gradients`, computed for files, means
        over steps; `bytes_per_worker` sent in a step; `accepted`, the forged values that the rule
        was given; `steps_to_last_exclusion`, NaN where some Byzantine worker was never excluded;
        and `steps_at_risk`, the steps before which some was not excluded.
    """
    history = cells.history_of(fields, checkpoint)
    trial = Trial(**fields)
    computed = float(history.gradients_computed.mean())
    copies = trial.files * trial.copies
    messages = 1 if trial.encoding else computed / trial.workers  # that a worker sends
    message = round(float(history.bytes_per_worker) / messages)
    sent = message * (1 if trial.encoding else copies / trial.workers)  # if all copies are asked
    left = int((history.excluded_workers.values < trial.byzantine).sum())  # steps that leave some
    once = {
        "worker_gradients": computed,
        "server_gradients": float(history.gradients_at_server.mean()),
        "bytes_per_worker": sent * (computed / copies),
        "accepted": float(history.distorted_files.sum()),
        "steps_to_last_exclusion": left + 1.0 if left < trial.steps else np.nan,
        "steps_at_risk": float(min(left + 1, trial.steps)),
    }
    kept = cells.kept(history, ["gradients_computed"]).drop_vars("weight")
    return kept.assign({name: ((), value) for name, value in once.items()})


def derive(fields: dict, cell: xr.Dataset) -> xr.Dataset:
    """Add the load, the modelled seconds of a round, and what the exact laws expect of checks.

    Returns
    -------
    xarray.Dataset
        With `mean_load`, the images whose gradients workers and server compute in a step, counted
        as often as they are computed, over `IMAGES` images a worker; `images_per_worker` computed
        in a step; `modelled_round_seconds`; `chance` of a check, NaN without checks;
        `attack_rate`; and what `laws` returns.
    """
    files, workers = pipelines.files(fields), fields["workers"]
    images = fields["batch"] / files
    computed, at_server = float(cell.worker_gradients), float(cell.server_gradients)
    once = {
        "mean_load": (computed + at_server) * images / (IMAGES * workers),
        "images_per_worker": computed * images / workers,
        "modelled_round_seconds": cells.modelled_seconds(
            fields, IMAGES * workers, computed, at_server
        ),
        "chance": chance(fields),
        "attack_rate": attack_rate(fields),
    }
    return cell.assign({name: ((), value) for name, value in (once | laws(fields)).items()})


def scale_of(fields: dict) -> str:
    """Return what a figure must say of the size of a trial: that of the common batch."""
    common = IMAGES * fields["workers"]
    return scale(fields | {"batch": common} if fields["batch"] == 3 * common else fields)


def chance(fields: dict) -> float:
    """Return the chance that a step is checked; NaN without checks."""
    if fields["vote"] != "reactive":
        return float("nan")
    return float(fields["vote_options"].get("chance", 1.0))


def attack_rate(fields: dict) -> float:
    """Return the chance that a Byzantine worker attacks in a step; 0 where nobody attacks."""
    return 0.0 if fields["attack"] == "none" else fields["attack_rate"]


def laws(fields: dict) -> dict[str, float]:
    """Return what the exact laws expect of the checks in a run; all NaN without checks.

    Returns
    -------
    dict of str to float
        `expected_load`, `expected_accepted` and `expected_steps_at_risk` of a run of so many steps;
        `expected_steps_to_last_exclusion` of a run without end; `expected_clean`, the chance that
        all Byzantine workers are excluded by the end.

    Notes
    -----
    `theory.unexposed_law` says how likely it is that k Byzantine workers are not excluded before a
    step. Each is the first for one file, so that a file is disputed in a check with chance
    k rate / files. At step t such a worker is left with chance (1 - chance rate)**(t - 1), and
    forges without a check with chance (1 - chance) rate; the sum over the steps is that of a run
    without end, (1 / chance - 1), times 1 - (1 - chance rate)**steps.

    Examples
    --------
    >>> base, axes = PROFILES["laptop"]
    >>> fields = pipelines.prepare(base | axes["scheme"]["reactive, chance 0.5"])
    >>> found = laws(fields)
    >>> found["expected_load"], found["expected_accepted"]  # nobody attacks
    (2.5, 0.0)
    """
    names = ("load", "accepted", "steps_at_risk", "steps_to_last_exclusion", "clean")
    checked, rate = chance(fields), attack_rate(fields)
    found = dict.fromkeys(names, float("nan"))
    if checked > 0:
        q, files, steps = fields["byzantine"], pipelines.files(fields), fields["steps"]
        local = fields["vote_options"].get("local", False)
        law = theory.unexposed_law(q, checked, rate, steps)
        loads = [
            theory.expected_gradients(k, checked, k * rate / files, local) for k in range(q + 1)
        ]
        found["load"] = float((law[:-1] * loads).sum(axis=1).mean())
        excluded = 1 - (1 - checked * rate) ** steps
        found["accepted"] = theory.expected_accepted(q, checked) * excluded
        found["steps_at_risk"] = float((1 - law[:-1, 0]).sum())
        if rate:
            last = theory.expected_steps_to_last_exclusion(q, checked, rate)
            found |= {"steps_to_last_exclusion": last, "clean": float(law[-1, 0])}
    return {f"expected_{name}": value for name, value in found.items()}


STUDY = cells.study(
    kind="reactive",
    run=run,
    scale=scale_of,
    title="Load and damage of redundancy schemes",
    claim=(
        "Nothing is reported. At equal damage, what do the schemes cost: copies that are always "
        "computed (DETOX, DRACO), coded messages (LAD), and checks that ask for copies only where "
        "values differ?"
    ),
    definitions=[
        "load: images whose gradients workers and server compute in a step, counted as often as "
        "they are computed, over a batch of two images a worker; mean over the steps of a run",
        "damage: accuracy when nobody attacks less accuracy under the attack, of the same scheme "
        "and seed; accuracy is the mean of the last five evaluations on the test images",
        "worst rate: of the tested chances with which each Byzantine worker attacks in a step, the "
        "one with the largest mean damage; where damages are equal, with the largest load. The "
        "worst of those tried, chosen on the same seeds",
        "ALIE: z = 1.5, sign plus, population deviation over the distinct honest gradients; z was "
        "chosen because it harms the trimmed mean alone",
        "the same workers are Byzantine at all steps; with DETOX and LAD the groups and windows "
        "are drawn anew and in secret at each step",
        "alone: the trimmed mean of the gradients, without redundancy; batch x 3: of three times "
        "the images, as many as with DETOX",
        "DETOX: 3 copies, a majority vote, the trimmed mean of the votes. DRACO: 2q + 1 copies in "
        "groups, a majority vote, the mean. Its cyclic code has the same load, and a worker sends "
        "twice the bytes",
        "LAD: each worker sends the mean gradient of its files; the trimmed mean of all messages "
        "(the windows are derived here from the paper's abstract)",
        "reactive: cyclic assignment; a step is checked with the given chance, then q + 1 workers "
        "compute each file, less one for each excluded worker. Chance 1 uses the mean, smaller "
        "chances the trimmed mean. local: the server computes a disputed file itself. Attackers "
        "know the assignment and forge only where they are asked first",
        "trimmed mean: the q largest and the q smallest values of a coordinate are left out, with "
        "DETOX as many as the files that q workers can distort",
        "bytes: every copy that is computed is sent whole",
        "modelled time: a mean round of ResNet-18 with 1440 images (batch x 3: 4320) on the "
        "paper's cluster, its gradients spread evenly over the workers, and the server as fast as "
        "one; not measured. After an exclusion the next worker has two files, which the model "
        "leaves out",
        "momentum at the server",
    ],
    profiles=PROFILES,
    figure=figure,
    finding=finding,
    derive=derive,
)
