"""Time of a round by phase, with and without DETOX: measured on Dask, modelled for EC2."""

from functools import partial

import numpy as np
import xarray as xr

from detox_sim import models
from detox_sim.catalogue import check_integer, check_known
from detox_sim.cluster import here
from detox_sim.training import PHASES, SERVERS, train
from detox_sim.trials.trial import Trial, make_trial
from studies import Study
from studies.timing.rounds import METHODS
from studies.timing.step_time_results import STATISTICS, figure, finding

ATTACK = "alie"
COMPARED = ("loss", "gradient_error", "distorted_files", "accuracy")  # with one process
FIELDS = (
    "workers", "byzantine", "batch", "hidden", "steps", "turns", "pipelines", "sharded",
    "held_out", "seed",
)  # fmt: skip


def _setting(
    workers: int, byzantine: int, batch: int, hidden: int, pipelines, sharded, held_out: int = 0
) -> dict:
    """Return one setting: `pipelines` run with the central server, `sharded` with both."""
    sizes = {"workers": workers, "byzantine": byzantine, "batch": batch, "hidden": hidden}
    return sizes | {
        "pipelines": list(pipelines), "sharded": list(sharded), "held_out": held_out
    }  # fmt: skip


_PAIRS = [name for name in METHODS if "eometric" not in name]
_MEDIANS = ("Median", "D-Median")
_FEW = ("Mean", "D-Mean", "Median")
_OTHERS = ("Median", "D-Geometric median", "Bulyan")
PROFILES: dict[str, tuple[dict, dict]] = {
    "smoke": (
        {"steps": 1, "turns": 1, "seed": 0},
        {
            "setting": {
                "p = 15": _setting(15, 1, 60, 40, ("D-Mean", "Median"), ("D-Mean", "Median")),
                "p = 15, held out": _setting(15, 1, 120, 80, ("D-Mean",), (), 1),
            }
        },
    ),
    "laptop": (
        {"steps": 1, "turns": 2, "seed": 0},
        {
            "setting": {
                "p = 45": _setting(45, 5, 900, 2000, _PAIRS, _MEDIANS),
                "p = 15": _setting(15, 1, 300, 1000, _FEW, _FEW),
                "p = 30, held out": _setting(30, 3, 600, 1500, _OTHERS, (), 1),
            }
        },
    ),
}


def prepare(fields: dict) -> dict:
    """Return the fields, checked, or raise ValueError."""
    check_known("field of step_time", fields, FIELDS)
    for name in FIELDS:
        if name not in ("pipelines", "sharded"):
            check_integer(name, fields[name], 0 if name in ("byzantine", "held_out", "seed") else 1)
    names = fields["pipelines"]
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise ValueError(f"pipelines must be a list of distinct names, got {names!r}")
    check_known("pipeline", names, METHODS)
    for name in names:
        _trial(fields, name)
    check_known("pipeline of sharded, which must be one of pipelines,", fields["sharded"], names)
    return fields


def _trial(fields: dict, pipeline: str) -> Trial:
    numbers = {name: fields[name] for name in ("workers", "byzantine", "batch", "steps", "seed")}
    options = {"model": "mlp", "model_options": {"hidden": fields["hidden"]}, "attack": ATTACK}
    return make_trial(numbers | options | METHODS[pipeline] | {"evaluate_every": fields["steps"]})


def cost(fields: dict) -> tuple[float, float]:
    """Return (seconds, bytes) of a cell, roughly."""
    runs = fields["turns"] * (len(fields["pipelines"]) + 4 * len(fields["sharded"]))
    values = fields["workers"] * fields["hidden"] * 75
    round_seconds = 0.012 * fields["workers"] + 1e-8 * values
    return 1 + runs * (fields["steps"] + 1) * round_seconds, 4e8 + 40.0 * values


def run(fields: dict) -> xr.Dataset:
    """Return times of pipelines and servers on the cluster that runs this cell, in turns."""
    names, servers = list(METHODS), list(SERVERS)
    shape = len(names), len(servers), fields["turns"], fields["steps"]
    seconds = np.full((*shape, len(PHASES)), np.nan)
    compute = np.full((*shape, 2), np.nan)
    moved = np.full((*shape[:2], len(PHASES)), np.nan)
    deviation = np.full(shape[:2], np.nan)
    with here() as client:
        processes = len(client.scheduler_info(-1)["workers"])
        for turn in range(fields["turns"]):
            for name in fields["pipelines"]:
                trial, i = _trial(fields, name), names.index(name)
                alone = None if turn else train(trial)
                for j, server in enumerate(servers):
                    if server == "sharded" and name not in fields["sharded"]:
                        continue
                    history = train(trial, client=client, server=server)
                    seconds[i, j, turn] = history.seconds
                    compute[i, j, turn] = history.worker_seconds.sel(statistic=list(STATISTICS))
                    if alone is not None:
                        moved[i, j] = history.bytes.isel(step=-1)
                        deviation[i, j] = _deviation(history, alone)
    return _dataset(fields, seconds, compute, moved, deviation, processes)


def _deviation(history: xr.Dataset, alone: xr.Dataset) -> float:
    """Return the largest difference from the run in one process; equal NaN or Inf count as 0."""
    gaps = [0.0]
    for name in COMPARED:
        a, b = (np.asarray(each[name], dtype=float) for each in (history, alone))
        differs = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        gaps += np.nan_to_num(abs(a - b)[differs], nan=np.inf).tolist()
    return max(gaps)


def _dataset(fields: dict, seconds, compute, moved, deviation, processes: int) -> xr.Dataset:
    data = _trial(fields, fields["pipelines"][0]).dataset
    like = data.train_images.shape[1:], data.classes
    factory = partial(models.mlp, hidden=fields["hidden"])
    each = ("pipeline", "server")
    scalars = {
        "workers": fields["workers"],
        "batch": fields["batch"],
        "held_out": fields["held_out"],
        "processes": processes,
        "parameters": models.Model(factory, *like).parameters,
        "sample_flops": models.sample_flops(factory, *like),
    }
    return xr.Dataset(
        {
            "seconds": ((*each, "turn", "step", "phase"), seconds, {"units": "s"}),
            "worker_seconds": ((*each, "turn", "step", "statistic"), compute, {"units": "s"}),
            "bytes": ((*each, "phase"), moved, {"units": "bytes"}),
            "deviation": (each, deviation, {"long_name": "largest difference from one process"}),
        }
        | {name: ((), float(value)) for name, value in scalars.items()},
        coords={
            "pipeline": np.array(list(METHODS), dtype=object),
            "server": np.array(list(SERVERS), dtype=object),
            "phase": np.array(PHASES, dtype=object),
            "statistic": np.array(STATISTICS, dtype=object),
        },
    )


STUDY = Study(
    title="Time of a round, by phase",
    claim="With DETOX an iteration takes up to about 3 times less: its compute bar is higher, its "
    "aggregation bar much lower, its communication bar somewhat lower (reported; quoted from "
    "memory, ResNet-18 on 46 m5.2xlarge machines).",
    definitions=[
        "compute: the time of the slowest worker (measured), expected (modelled); workers that "
        "share a Dask process compute one after the other, and each is timed alone",
        "communication: broadcast of the parameters and sending of messages or digests, at the "
        "driver's clock, transport by Dask between processes of one machine; aggregation: "
        "vote, rules and update; the attack is not counted",
        "all pipelines take turns in one cell; a time is the median over rounds, without the "
        "one that warms up; a speed-up is the ratio of whole bars, measured: of the same turn, "
        "median of turns",
        "the same trial in one process gives the same losses, accuracies and errors, to the bit",
        "the sharded server is measured with some pipelines only",
        "modelled: `costs`, with workers and network as quoted for the paper's cluster and the "
        "server's constants either fitted to the rounds measured here, or those of the DETOX "
        "research code",
        "maps: the model over the speed of a worker and the bandwidth, with the constants of "
        "`costs.constants`, at the paper's size (ResNet-18); no cell of this study enters",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    finding=finding,
    scale="toy scale measured: digits of 8 x 8 pixels; the paper's size is modelled",
    version=2,
    exclusive=True,
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
