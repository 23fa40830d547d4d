"""False alarms and elected forgeries of votes when honest copies differ in their bits."""

from itertools import combinations

import numpy as np
import xarray as xr

from detox_sim import data, models
from detox_sim.catalogue import bind, check_integer, check_known, check_number
from detox_sim.streams import stream
from studies import Study
from studies.redundancy.forged_copies import (
    POLICIES,
    RULES,
    errors,
    policies,
    slack,
    with_forgeries,
)
from studies.redundancy.noisy_copies import (
    COPIES,
    SOURCES,
    as_messages,
    compute,
    differences,
    false_alarms,
    norm,
)
from studies.redundancy.vote_semantics_results import figure, finding

FORGED = (0, 1, 2)  # copies of a file, where any are
PAIRS = list(combinations(range(COPIES), 2))

FIELDS = (
    "source", "model", "workers", "byzantine", "batch", "steps", "probes", "rate", "momentum",
    "per_decade", "tolerance", "scale", "seed",
)  # fmt: skip

_BASE = {"workers": 45, "byzantine": 5, "batch": 180, "rate": 0.1, "momentum": 0.9}
_BASE |= {"tolerance": 1e-4, "scale": 100.0}
_LONGER = _BASE | {"steps": 30, "probes": 3, "per_decade": 2}
_WITHOUT_THREADS = [source for source in SOURCES if source != "threads"]  # slow on few cores
PROFILES: dict = {
    "smoke": (
        _BASE
        | {"workers": 27, "byzantine": 3, "batch": 72, "steps": 2, "probes": 1, "per_decade": 1},
        {"source": list(SOURCES), "model": ["mlp"], "seed": [0]},
    ),
    "laptop": [
        (_LONGER, {"source": list(SOURCES), "model": ["mlp"], "seed": [0, 1]}),
        (_LONGER, {"source": _WITHOUT_THREADS, "model": ["cnn"], "seed": [0, 1]}),
    ],
}


def prepare(fields: dict) -> dict:
    """Return the fields, checked, or raise ValueError."""
    check_known("field of vote_semantics", fields, FIELDS)
    check_known("noise source", [fields["source"]], SOURCES)
    least = {"workers": COPIES, "byzantine": 2, "batch": 1, "steps": 1, "probes": 1}
    for name, smallest in (least | {"per_decade": 1, "seed": 0}).items():
        check_integer(name, fields[name], smallest)
    for name in ("rate", "momentum", "tolerance", "scale"):
        check_number(name, fields[name])
        if not 0 <= fields[name] < 1e6:
            raise ValueError(f"{name} must be a number of 0 or more, got {fields[name]!r}")
    files, rest = divmod(fields["workers"], COPIES)
    if rest:
        near = files * COPIES
        raise ValueError(
            f"workers must be a multiple of the {COPIES} copies of a file, got "
            f"{fields['workers']}; use {near} or {near + COPIES}"
        )
    if 2 * fields["byzantine"] >= files:
        raise ValueError(
            f"byzantine must be below half of the {files} votes, which the median withstands, got "
            f"{fields['byzantine']}; use at most {(files - 1) // 2}"
        )
    _check_batch(fields["batch"], files)
    if fields["probes"] > fields["steps"]:
        raise ValueError(
            f"probes must be at most steps = {fields['steps']}, got {fields['probes']}"
        )
    digits = data.digits()
    images, classes = digits.train_images, digits.classes
    models.check(bind(models, fields["model"], {}), images.shape[1:], classes)
    return fields


def _check_batch(batch: int, files: int) -> None:
    least, images = 2 * files, len(data.digits().train_images)
    most = images // files * files
    if batch % files or not least <= batch <= most:
        near = min(max(round(batch / files) * files, least), most)
        raise ValueError(
            f"batch must split into {files} equal files of 2 images or more and be at most {most} "
            f"of the {images} images, got {batch}; use {near}"
        )


def tolerances(per_decade: int) -> np.ndarray:
    """Return 0, which is the exact vote, and tolerances from 1e-9 to 1e-1.

    Examples
    --------
    >>> tolerances(1)[:3]
    array([0.e+00, 1.e-09, 1.e-08])
    """
    exponents = np.linspace(-9, -1, 8 * per_decade + 1)
    return np.array([0.0, *(float(f"{10.0**exponent:.3g}") for exponent in exponents)])


def probed_steps(steps: int, probes: int) -> np.ndarray:
    """Return the steps, evenly spread and with the last, at which copies are compared.

    Examples
    --------
    >>> probed_steps(60, 3), probed_steps(60, 1)
    (array([ 1, 30, 60]), array([60]))
    """
    return np.linspace(1, steps, probes).round().astype(int) if probes > 1 else np.array([steps])


# --- one cell -----------------------------------------------------------------------------------


def run(fields: dict) -> xr.Dataset:
    """Return noise, false alarms, slack and errors along a training without an attack."""
    digits = data.digits()
    images, labels = digits.train_images, digits.train_labels
    model = models.Model(bind(models, fields["model"], {}), images.shape[1:], digits.classes)
    seed, files = fields["seed"], fields["workers"] // COPIES
    params = model.initial(stream(seed, "parameters"))
    velocity = np.zeros_like(params)
    probed = probed_steps(fields["steps"], fields["probes"])
    found = []
    with models.one_thread():
        for step in range(1, fields["steps"] + 1):
            batch = stream(seed, "batch", step).choice(len(images), fields["batch"], False)
            batch = batch.reshape(files, -1)
            losses, rows, _ = model.gradients(params, images[batch], labels[batch])
            if step in probed:
                drawn = (images[batch], labels[batch])
                copies = np.stack([
                    compute(model, params, *drawn, how, stream(seed, "order", step, how.order))
                    for how in SOURCES[fields["source"]]
                ], axis=1)  # fmt: skip
                found.append(_probe(copies, model.sizes, fields, step) | {"loss": losses.mean()})
            velocity = np.float32(fields["momentum"]) * velocity + rows.mean(axis=0)
            params = params - np.float32(fields["rate"]) * velocity
    allowed = tolerances(fields["per_decade"])
    return _dataset(found, [slack(copies, fields["byzantine"], t) for t in allowed], fields)


def _probe(copies: np.ndarray, sizes: list[int], fields: dict, step: int) -> dict:
    """Return the variables of one step from its copies (files, copies, d)."""
    honest = copies[:, 0].mean(axis=0, dtype=np.float64)
    pairs = [(copies[:, one], copies[:, other]) for one, other in PAIRS]
    alarms = [false_alarms(copies, t) for t in tolerances(fields["per_decade"])]
    votes, q = policies(sizes, fields["tolerance"]), fields["byzantine"]

    def error(forged: int) -> list[list[float]]:
        rng = stream(fields["seed"], "liars", step, forged)  # the old name: the same draws
        sent = with_forgeries(copies, forged, q // max(forged, 1), fields["scale"], rng)
        return [errors(votes[name](as_messages(sent)).rows, honest, q) for name in POLICIES]

    return {
        "difference": [differences(one, other) for one, other in pairs],
        "equal_pairs": [(one == other).all(axis=1).mean() for one, other in pairs],
        "undecided": [undecided for undecided, _ in alarms],
        "outvoted": [outvoted for _, outvoted in alarms],
        "error": [error(forged) for forged in FORGED],
        "honest_error": errors(copies[:, 0], honest, q),
        "spread": norm(copies[:, 0]).mean() / norm(honest),
    }


VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "difference": (("step", "pair", "file"), "distance of two copies / length of the longer one"),
    "equal_pairs": (("step", "pair"), "share of files in which two copies are the same bits"),
    "undecided": (("step", "vote_tolerance"), "share of files without a majority"),
    "outvoted": (("step", "vote_tolerance"), "share of files whose majority outvotes a copy"),
    "error": (
        ("step", "forged_copies", "policy", "rule"),
        "error of the aggregate / honest mean's length",
    ),
    "honest_error": (("step", "rule"), "the same for the honest gradients"),
    "spread": (("step",), "mean length of a file's gradient / length of the mean gradient"),
    "loss": (("step",), "training loss"),
    "slack_vote": (
        ("vote_tolerance", "forged_place"),
        "largest difference of a vote from honest copies",
    ),
    "slack_mean": (
        ("vote_tolerance", "forged_place"),
        "shift of the mean of all votes / honest mean's length",
    ),
}


def _dataset(found: list[dict], slacks: list[tuple], fields: dict) -> xr.Dataset:
    values = {name: np.array([probe[name] for probe in found], float) for name in found[0]}
    values["slack_vote"], values["slack_mean"] = np.array(slacks).swapaxes(0, 1)
    table: dict = {
        name: (dims, values[name], {"long_name": text}) for name, (dims, text) in VARIABLES.items()
    }
    chosen = {"long_name": "tolerance of the policy of that name"}
    table["policy_tolerance"] = ((), float(fields["tolerance"]), chosen)
    words = {
        "pair": [f"{one} and {other}" for one, other in PAIRS],
        "policy": list(POLICIES),
        "rule": list(RULES),
    }
    coordinates = {name: np.array(labels, dtype=object) for name, labels in words.items()}
    coordinates["step"] = probed_steps(fields["steps"], fields["probes"])
    coordinates["vote_tolerance"] = tolerances(fields["per_decade"])
    coordinates["forged_copies"] = np.array(FORGED)
    coordinates["forged_place"] = np.arange(COPIES)
    return xr.Dataset(table, coordinates)


STUDY = Study(
    title="Votes over copies that are not bit-equal",
    claim=(
        "The DETOX code compares copies for exact equality, layer by layer in one unverified "
        "pass, which works because the same CPU and libraries give the same bits; its fork for "
        "Aspis compares with a tolerance instead (reported; quoted from memory)."
    ),
    definitions=[
        "three copies of every file: copy 0 is computed as in all training here (torch, float32, "
        "one thread, images as given), copies 1 and 2 as the noise source says",
        "none: all three as copy 0. threads: 2 and 3 threads. row order: the file's images in two "
        "random orders. float64, bf16: all arithmetic in float64, or torch's bf16 autocast, for "
        "copy 2 with the images in another order too; every copy is sent as float32",
        "difference of two copies: their distance in lengths of the longer one, the tolerance's "
        "unit; the copy that most agree with wins, the first of several",
        "false alarm: no copy is forged, and a file has no majority or one of its copies is "
        "outvoted (it does not agree with the elected one)",
        "slack: at the last step one copy of each of the first q files is forged, all at the same "
        "place; it starts at an honest copy or midway between both and goes against the mean "
        "gradient as far as the vote still elects it (bisection on the vote); a vote's shift is "
        "its difference from the nearest honest copy, that of the mean of all votes is in lengths "
        "of the honest mean",
        "the forged copies of the votes compared do not collude: each is -scale times its own draw "
        "from 0.5 to 1.5 times the gradient; one: in each of q files; two: in each of "
        "floor(q / 2) files",
        "error: distance of the mean or the coordinate-wise median of all votes from the mean "
        "of all honest gradients (copy 0), in lengths of that mean",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    finding=finding,
    version=2,
    scale="toy scale: digits of 8 x 8 pixels, thousands of parameters, one machine",
    fields=FIELDS,
    prepare=prepare,
)
