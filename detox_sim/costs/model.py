"""Modelled seconds of one synchronous round, by phase: operations times seconds for each."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2
from typing import Any

from detox_sim.aggregators.facts import FACTS
from detox_sim.aggregators.geometric import MOST_ROWS

PHASES = ("compute", "broadcast", "send", "vote", "aggregate", "update")
SERVERS = ("central", "sharded")
DIGEST = 32  # bytes

# The paper's models: parameters, and operations of the gradient of one image of 32 x 32 pixels
# (`models.sample_flops`).
MODEL_SIZES: dict[str, dict[str, Any]] = {
    "resnet18": {"parameters": 11_173_962, "sample_flops": 3.329e9},
    "vgg13_bn": {"parameters": 9_462_180, "sample_flops": 1.366e9},
}


@dataclass(frozen=True)
class Cluster:
    """Seconds of each operation; the defaults stand for the paper's cluster and the DETOX code.

    Nothing of the defaults is measured in the run at hand: `constants` says where each is from and
    how far it may be off. `fit` replaces them.

    Attributes
    ----------
    worker_flops : float
        Floating-point operations a second of one worker in training.
    file_seconds : float
        Seconds of a worker for each file, whatever its size.
    gradient_seconds : float
        Seconds of a worker for each value of a file's gradient, whatever its number of images.
    tail : float
        A worker takes its mean time times 1 - tail + tail E, with E exponential of mean 1; 0 has no
        stragglers.
    bandwidth : float
        Bytes a second into and out of a server.
    latency : float
        Seconds a message.
    pass_seconds : float
        Server seconds per value read once.
    vote_seconds : float
        Per value compared with the other copies.
    sort_seconds : float
        Per value sorted among n values, times log2(n + 1).
    pair_seconds : float
        Per coordinate of a pair of rows in a distance.
    hash_seconds : float
        Per value in a digest.
    call_seconds : float
        Per call of a rule or vote.

    Examples
    --------
    >>> Cluster().bandwidth
    1250000000.0
    """

    worker_flops: float = 4.3e11
    file_seconds: float = 0.0
    gradient_seconds: float = 0.0
    tail: float = 0.0
    bandwidth: float = 1.25e9
    latency: float = 1e-4
    pass_seconds: float = 2e-10
    vote_seconds: float = 7e-10
    sort_seconds: float = 5.5e-9
    pair_seconds: float = 9.3e-10
    hash_seconds: float = 2.5e-9
    call_seconds: float = 0.0

    def seconds(self, work: Mapping[str, float]) -> float:
        """Return the seconds of counted operations.

        Examples
        --------
        >>> Cluster(bandwidth=8.0, latency=0.5).seconds({"byte": 16, "message": 2})
        3.0
        """
        return sum(count * self.price(name) for name, count in work.items())

    def price(self, operation: str) -> float:
        """Return the seconds of one operation, such as "byte", "message", "flop" or "pair"."""
        special = {
            "byte": 1 / self.bandwidth,
            "flop": 1 / self.worker_flops,
            "message": self.latency,
        }
        return special[operation] if operation in special else getattr(self, f"{operation}_seconds")


# Passes, sorts and pairs of mixers; a function from outside counts as one pass.
_MIXER_WORK = {"nnm": (1, 0, 1), "bucketing": (1, 0, 0), "clipping": (2, 0, 0), "arc": (2, 0, 0)}
_MIXER_WORK["past_clipping"] = _MIXER_WORK["clipping"]
_STEPS = 40  # passes of the geometric median above `MOST_ROWS` rows, where it takes no distances


def _rule(name: str, rows: int, parameters: float, distorted: int | None) -> dict[str, float]:
    """Count the operations of a rule or mixer on (rows, parameters) values.

    Work that does not grow with the parameters (`FACTS[name].extra`) is left out.
    """
    facts = FACTS.get(name)
    passes, sorts, pairs = facts.work if facts else _MIXER_WORK.get(name, (1, 0, 0))
    if name == "geometric_median" and rows > MOST_ROWS:
        passes, pairs = _STEPS, 0
    values = rows * parameters
    ordered = facts.ordered(rows, distorted) if facts else rows
    return {
        "pass": passes * values,
        "sort": sorts * ordered * parameters * log2(ordered + 1),
        "pair": pairs * (rows - 1) / 2 * values,
        "call": 1,
    }


def counts(
    *,
    workers: int,
    files: int,
    copies: float,
    groups: int | None,
    inner: str | None,
    outer: str,
    parameters: int,
    batch: int,
    sample_flops: float,
    vote: str = "majority",
    message_bytes: float | None = None,
    largest_load: float | None = None,
    mixers: Sequence[str] | Mapping[str, Sequence[str]] = (),
    distorted: int | None = None,
    server: str = "central",
    machines: int | None = None,
) -> dict[str, dict[str, float]]:
    """Count the operations of one round, by phase; see `round_seconds` for the parameters.

    "compute" is that of one worker, without stragglers.

    Examples
    --------
    >>> work = counts(workers=45, files=15, copies=3, groups=5, inner="mean", outer="median",
    ...               parameters=1000, batch=1440, sample_flops=6000.0)
    >>> work["compute"]["flop"] / 6000, work["send"]["byte"], work["vote"]["vote"]
    (96.0, 180000.0, 45000)
    """
    if server not in SERVERS:
        raise ValueError(f"server is one of {', '.join(SERVERS)}; got {server!r}")
    machines = workers if machines is None else machines
    load = files * copies / workers if largest_load is None else largest_load
    complex_ = vote == "cyclic"
    votes = 1 if complex_ else files
    received = 2 * workers if complex_ else files * copies
    compared = (2 if complex_ else int(copies > 1)) * received * parameters
    values: float = parameters
    if message_bytes is not None:
        votes, received, compared, values = workers, workers, 0, message_bytes / 4
    shards = machines if server == "sharded" else 1
    work: dict[str, dict[str, float]] = {
        "compute": {
            "file": load,
            "flop": load * batch / files * sample_flops,
            "gradient": load * parameters,
        },
        "broadcast": _messages(ceil(log2(machines + 1)), parameters),
        "send": _messages(received, values),
        "vote": {"vote": compared, "call": int(compared > 0)},
        "aggregate": _total(
            _rule(name, rows, parameters / shards, distorted)
            for name, rows in _stages(votes, groups, inner, outer, mixers)
        ),
        "update": {"pass": 3 * parameters / shards},
    }
    if server == "sharded":
        digests = {"message": received, "byte": received * DIGEST}
        hashed = {"hash": (received / machines + votes / shards) * parameters}
        work["broadcast"] = _messages(machines, parameters / machines)
        work["send"] = _total([digests, hashed, _messages(votes, parameters / shards)])
        work["vote"] = {"vote": received * DIGEST / 4}
        work["update"]["call"] = 1
    return work


def _messages(number: float, values: float) -> dict[str, float]:
    """Count messages of so many float32 values each."""
    return {"message": number, "byte": 4.0 * number * values}


def _total(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the sum of several counts."""
    total: dict[str, float] = {}
    for part in parts:
        for name, count in part.items():
            total[name] = total.get(name, 0) + count
    return total


def _stages(votes, groups, inner, outer, mixers) -> list[tuple[str, int]]:
    """Return the rules and mixers of a pipeline with the number of rows that each is given."""
    outer_rows = votes if groups is None else groups
    named = mixers if isinstance(mixers, Mapping) else {"votes": mixers}
    stages = [(name, votes) for name in named.get("votes", ())]
    stages += [(name, outer_rows) for name in (*named.get("outer", ()), outer)]
    if groups is not None and inner is not None:
        sizes = [votes // groups + (i < votes % groups) for i in range(groups)]
        stages += [(name, size) for size in sizes for name in (*named.get("inner", ()), inner)]
    return stages


def round_seconds(*, cluster: Cluster | None = None, **shape) -> dict[str, float]:
    """Return the modelled seconds of one round, by phase.

    Parameters
    ----------
    workers, files, copies
        Each worker computes files * copies / workers files, all workers at once.
    groups, inner, outer, mixers
        The pipeline, as in `Trial`. A mixer counts as if it kept the number of rows.
    distorted : int, optional
        Distorted rows that the rules withstand, as in `outer(rows, byzantine=distorted)`; it
        decides how many rows Bulyan orders after its selection (one-shot: all but distorted + 2).
        By default as many as the rule can withstand.
    parameters : int
        d; a message is d values of 4 bytes.
    batch : int
        Distinct samples a round, in equal files.
    sample_flops : float
        Floating-point operations of one sample's gradient, as ``models.sample_flops`` counts.
    vote : str
        With "cyclic" every worker sends one complex message in place of its copies, and the
        result is one vote; the decoder is counted as two passes over them.
    message_bytes : float, optional
        With an encoding: of the one message that each worker sends in place of its copies. There
        is no vote.
    largest_load : float, optional
        Files of the worker with most of them, where loads are unequal.
    server : {"central", "sharded"}
        One server receives every copy; or it votes on digests, and the coordinates of the elected
        messages are split over the machines, which aggregate and update in parallel.
    machines : int, optional
        The processes that hold the workers; one each by default.
    cluster : Cluster, optional

    Returns
    -------
    dict of str to float
        Seconds for each of `PHASES`. "compute" is the expected time of the slowest worker.

    Raises
    ------
    ValueError
        For an unknown server.

    Examples
    --------
    >>> shape = {"batch": 1440, **MODEL_SIZES["resnet18"]}
    >>> slow = round_seconds(workers=45, files=45, copies=1, groups=None, inner=None,
    ...                      outer="multi_krum", **shape)
    >>> fast = round_seconds(workers=45, files=15, copies=3, groups=2, inner="multi_krum",
    ...                      outer="mean", **shape)
    >>> fast["compute"] > slow["compute"] and fast["aggregate"] < slow["aggregate"]
    True

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, section 4.1. Lee et al., Speeding up distributed machine
    learning using codes, 2018, for the shifted exponential time of a worker.
    """
    cluster = cluster or Cluster()
    seconds = {phase: cluster.seconds(work) for phase, work in counts(**shape).items()}
    seconds["compute"] *= slowest(shape["workers"], cluster.tail)
    return seconds


def slowest(workers: int, tail: float) -> float:
    """Return the expected time of the slowest of so many workers, over the mean time.

    Examples
    --------
    >>> slowest(45, 0.0), round(slowest(2, 0.1), 3)
    (1.0, 1.05)
    """
    return 1 + tail * (_harmonic(workers) - 1)


@functools.cache
def _harmonic(count: int) -> float:
    """Return 1 + 1/2 + ... + 1/count."""
    return sum(1 / k for k in range(1, count + 1))
