"""Time of a round with slow workers, and error of the decoded sum when some are Byzantine."""

import itertools
from functools import partial

import numpy as np
import xarray as xr

from detox_sim import data, models
from detox_sim.catalogue import check_integer, check_known, check_number
from detox_sim.costs import MODEL_SIZES, Cluster
from detox_sim.streams import stream
from studies import Study
from studies.redundancy.protocols import (
    SCHEMES,
    Scheme,
    errors,
    file_gradients,
    tree_workers,
    uncoded,
)
from studies.redundancy.stragglers_results import figure, finding

FIELDS = (
    "scheme", "spare", "children", "layers", "parameters", "batch", "sample_seconds", "bandwidth",
    "tail", "slowdowns", "byzantine", "stragglers", "draws", "rounds", "images", "seed",
)  # fmt: skip


def _protocol(scheme: str, spare: int = 0) -> dict:
    return {"scheme": scheme, "spare": spare}


PROTOCOLS = {
    "wait for all": _protocol("uncoded"),
    "ignore 2": _protocol("uncoded", 2),
    "ignore 6": _protocol("uncoded", 6),
    "tree": _protocol("tree"),
    "repetition, s = 2": _protocol("repetition", 2),
    "repetition, s = 6": _protocol("repetition", 6),
    "gradient code, s = 2": _protocol("cyclic", 2),
    "gradient code, s = 6": _protocol("cyclic", 6),
    "CodedReduce, s = 1": _protocol("tree", 1),
    "CodedReduce, s = 2": _protocol("tree", 2),
    "DETOX, r = 3": _protocol("vote", 2),
    "DETOX, r = 7": _protocol("vote", 6),
    "DRACO, r = 3": _protocol("draco", 2),
    "DRACO, r = 7": _protocol("draco", 6),
}

_BASE = {
    "children": 6,
    "layers": 2,
    "parameters": MODEL_SIZES["resnet18"]["parameters"],
    "batch": 1440,
    "sample_seconds": 1 / 130,
    "bandwidth": Cluster().bandwidth,
    "tail": 0.2,
    "images": 1008,
    "seed": 0,
}
PROFILES: dict = {
    "smoke": (
        _BASE
        | {"slowdowns": [3.0, 10.0], "byzantine": [0, 1], "stragglers": [0, 1, 2, 6]}
        | {"draws": 40, "rounds": 2},
        {"protocol": PROTOCOLS},
    ),
    "laptop": (
        _BASE
        | {"slowdowns": [2.0, 3.0, 5.0, 10.0, 20.0], "byzantine": [0, 1, 2, 3]}
        | {"stragglers": [0, 1, 2, 3, 4, 6, 8, 12], "draws": 400, "rounds": 20},
        {"protocol": PROTOCOLS},
    ),
}


def prepare(fields: dict) -> dict:
    """Return the fields, checked, or raise ValueError."""
    check_known("field of stragglers", fields, FIELDS)
    check_known("scheme of stragglers", [fields["scheme"]], SCHEMES)
    least = {"children": 1, "layers": 1, "parameters": 1, "batch": 1, "draws": 2, "rounds": 1}
    for name, smallest in (least | {"spare": 0, "images": 1, "seed": 0}).items():
        check_integer(name, fields[name], smallest)
    for name in ("sample_seconds", "bandwidth", "tail"):
        _check_at_least(name, fields[name], 0)
    if not fields["bandwidth"]:
        raise ValueError("bandwidth must be above 0 bytes a second, got 0")
    for name in ("slowdowns", "byzantine", "stragglers"):
        values = fields[name]
        if not isinstance(values, list) or not values or len(set(map(str, values))) < len(values):
            raise ValueError(f"{name} must be a list of distinct numbers, got {values!r}")
    for value in fields["slowdowns"]:
        _check_at_least("slowdowns", value, 1)
    workers = tree_workers(fields["children"], fields["layers"])
    for name in ("byzantine", "stragglers"):
        for value in fields[name]:
            check_integer(name, value, 0)
            if value >= workers:
                raise ValueError(
                    f"{name} must be below the {workers} workers of the tree, got {value}; use at "
                    f"most {workers - 1}"
                )
    files, most = _scheme(fields).files, len(data.digits().train_images)
    images = fields["images"]
    if images % files or images > most:
        use = min(max(images // files, 1), most // files) * files
        raise ValueError(
            f"images must split into {files} equal files and be at most {most}, got {images}; "
            f"use {use}"
        )
    return fields


def _check_at_least(name: str, value: object, least: float) -> None:
    check_number(name, value)
    if not least <= value < np.inf:  # type: ignore[operator]
        raise ValueError(f"{name} must be a number of {least} or more, got {value!r}")


def _scheme(fields: dict) -> Scheme:
    return SCHEMES[fields["scheme"]](fields["children"], fields["layers"], fields["spare"])


_TIMED = ("slowdown", "byzantine", "stragglers")
VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "seconds": (_TIMED, "modelled seconds of a round, mean over draws"),
    "seconds_error": (_TIMED, "standard error of that mean"),
    "saved": (_TIMED, "modelled seconds less than waiting for all, mean over paired draws"),
    "saved_error": (_TIMED, "standard error of that mean"),
    "error": (
        ("byzantine", "stragglers", "round"),
        "relative error of the decoded sum, messages in float32; NaN: must wait",
    ),
    "error_float64": (
        ("stragglers", "round"),
        "the same with messages in float64, no Byzantine workers",
    ),
    "compute_load": ((), "share of the batch that a worker computes"),
    "left_out": ((), "share of the files that the result does without"),
    "compute_seconds": ((), "modelled seconds that a worker computes at least"),
    "message_seconds": ((), "modelled seconds that a message takes"),
    "draws": ((), "draws of the modelled times"),
}


def run(fields: dict) -> xr.Dataset:
    """Return modelled times, and errors of real decoding, by stragglers and Byzantine workers."""
    seed, late = fields["seed"], fields["stragglers"]
    with models.one_thread():
        scheme = _scheme(fields)
        rows = file_gradients(scheme.files, fields["images"], seed)
        single = errors(scheme, rows, fields["byzantine"], late, fields["rounds"], seed)
        double = errors(scheme, rows.astype(np.float64), [0], late, fields["rounds"], seed)
    values = _times(scheme, fields) | {
        "error": single,
        "error_float64": double[0],
        "compute_load": scheme.load,
        "left_out": scheme.left_out,
        "compute_seconds": scheme.load * fields["batch"] * fields["sample_seconds"],
        "message_seconds": _message(fields),
        "draws": float(fields["draws"]),
    }
    table = {
        name: (dims, values[name], {"long_name": text}) for name, (dims, text) in VARIABLES.items()
    }
    labels = {"slowdown": fields["slowdowns"], "round": np.arange(fields["rounds"])}
    return xr.Dataset(table, labels | {name: fields[name] for name in ("byzantine", "stragglers")})


def _message(fields: dict) -> float:
    """Return the modelled seconds of a message."""
    return 4 * fields["parameters"] / fields["bandwidth"] + Cluster().latency


def _times(scheme: Scheme, fields: dict) -> dict[str, np.ndarray]:
    """Return the four times (slowdowns, byzantine, stragglers); all schemes use the same draws."""
    waiting = uncoded(fields["children"], fields["layers"], 0)
    shape = fields["draws"], tree_workers(fields["children"], fields["layers"])
    draw = partial(stream, fields["seed"])
    stretched = 1 + draw("stragglers tail").exponential(fields["tail"], shape)
    order = np.broadcast_to(np.arange(shape[1]), shape)
    slow, byzantine = (
        draw(f"stragglers {name}").permuted(order, axis=1) for name in ("late", "bad")
    )
    axes = [fields[name] for name in ("slowdowns", "byzantine", "stragglers")]
    found = []
    for slowdown, q, s in itertools.product(*axes):
        images = fields["batch"] * stretched * np.where(slow < s, slowdown, 1.0)
        time, waited = (
            each.finish(
                images * each.load * fields["sample_seconds"], byzantine < q, _message(fields)
            )
            for each in (scheme, waiting)
        )
        found.append((*_mean(time), *_mean(waited - time)))
    table = np.array(found).T.reshape(-1, *map(len, axes))
    return dict(zip(("seconds", "seconds_error", "saved", "saved_error"), table, strict=True))


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Return the mean and its standard error."""
    return float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5)


STUDY = Study(
    title="Slow and Byzantine workers",
    claim=(
        "Not of the DETOX paper. CodedReduce (Reisizadeh et al., arXiv 1902.01981) combines "
        "parallel communication over a tree with robustness to stragglers, and reports speedups "
        "of up to 27.2 over gradient coding and 7.0 over ring all-reduce on Amazon EC2 "
        "(reported; of the abstract)."
    ),
    definitions=[
        "a worker computes its images in images x seconds an image x (1 + E), E exponential: the "
        "shifted exponential time of Lee et al. 2018. A straggler takes `slowdown` times as "
        "long; its network is as fast as any",
        "a receiver (server, master or parent) takes in one message after the other, the first "
        "that is ready first; a message takes 4 d bytes / bandwidth + latency. Parents work in "
        "parallel",
        "round time: until the decoder has what it needs. Left out: the broadcast, decoding and "
        "the update of the model",
        "load: share of the batch that each worker computes. All protocols have the same workers, "
        "batch and random draws; `saved` is the paired difference from waiting for all",
        "ignore s: the sum of the first p - s, scaled up. Repetition: one worker of each group of "
        "s + 1. Gradient code: any p - s. CodedReduce: all but s children of every parent, the "
        "master too; tree: the same with s = 0. DETOX: more than half of each group agree. "
        "DRACO: all but (r - 1) / 2 - q, so it must know the number q of Byzantine workers; a late "
        "message counts as a forged one, as in the decoder here (one that separates them could "
        "spare twice as many late ones)",
        "error: distance of the decoded sum from the sum of all files' gradients, relative to "
        "its norm. Here late messages never arrive: a decoder that cannot do without them waits. "
        "DETOX then takes the majority of the copies that arrived, be it a single one; DRACO's "
        "decoder does not know the number of Byzantine workers, and waits only when more than "
        "(r - 1) / 2 messages are missing",
        "a Byzantine worker sends -100 times its message; in a tree that contains what its "
        "children sent",
        "exact: relative error of at most 0.001, above what rounding to float32 does to any "
        "code here",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    finding=finding,
    scale="modelled times; real gradients of digits for the decoding",
    version=2,
    fields=FIELDS,
    prepare=prepare,
)
