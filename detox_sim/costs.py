"""The model of time on a cluster: seconds of one synchronous round, by phase.

The server's constants are of the DETOX research code (measured on a shared 2-core machine);
the network and the nodes are of the paper's cluster as remembered. Nothing here is measured in
the run at hand, and every number it makes is called "modelled".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, log2

from detox_sim.aggregators.facts import FACTS

PHASES = ("compute", "broadcast", "send", "vote", "aggregate")


@dataclass(frozen=True)
class Cluster:
    """What a cluster can do; the defaults stand for 46 m5.2xlarge machines at 10 Gbit/s.

    Attributes
    ----------
    node_flops : float
        Floating-point operations a second of one node in training (assumed: 130 images of
        ResNet-18 a second).
    bandwidth : float
        Bytes a second into and out of the server.
    latency : float
        Seconds a message.
    pass_seconds, sort_seconds, pair_seconds : float
        Server seconds per value read once, per value in a median or trimmed mean, and per
        coordinate of a pair of rows in a distance.

    Examples
    --------
    >>> Cluster().bandwidth
    1250000000.0
    """

    node_flops: float = 4.3e11
    bandwidth: float = 1.25e9
    latency: float = 1e-4
    pass_seconds: float = 2e-10
    sort_seconds: float = 2e-8
    pair_seconds: float = 9.3e-10


# Passes, orderings and pairs of what is not an aggregator; unknown functions count as one pass.
_MIXER_WORK = {"nnm": (1, 0, 1), "bucketing": (1, 0, 0), "clipping": (2, 0, 0), "arc": (2, 0, 0)}


def _work(name: str) -> tuple[int, int, int]:
    facts = FACTS.get(name)
    return facts.work if facts else _MIXER_WORK.get(name, (1, 0, 0))


def rule_seconds(rule: str, rows: int, parameters: int, cluster: Cluster) -> float:
    """Return the modelled server seconds of one rule or mixer on (rows, parameters) values.

    A function from outside counts as one pass.

    Examples
    --------
    >>> pair = rule_seconds("krum", 45, 10**6, Cluster())
    >>> round(pair, 2)
    0.92
    """
    passes, sorts, pairs = _work(rule)
    values, couples = rows * parameters, rows * (rows - 1) / 2 * parameters
    return (
        (passes * cluster.pass_seconds + sorts * cluster.sort_seconds) * values
        + pairs * couples * cluster.pair_seconds
    )  # fmt: skip


def round_seconds(
    *,
    workers: int,
    files: int,
    copies: int,
    groups: int | None,
    inner: str | None,
    outer: str,
    parameters: int,
    batch: int,
    sample_flops: float,
    vote: str = "majority",
    mixers: Sequence[str] | Mapping[str, Sequence[str]] = (),
    cluster: Cluster | None = None,
) -> dict[str, float]:
    """Return the modelled seconds of one round, by phase.

    Parameters
    ----------
    workers, files, copies : int
        Each worker computes files * copies / workers files, all workers at once.
    groups, inner, outer, mixers
        The hierarchy, as in `Trial`. A mixer counts as if it kept the number of rows.
    parameters : int
        d; messages are float32.
    batch : int
        Distinct samples a round, in equal files.
    sample_flops : float
        Operations of one sample's gradient.
    vote : str
        With "cyclic" every worker sends one complex message in place of its copies, and the
        result is one vote; the decoder is counted as two passes over them.
    cluster : Cluster, optional

    Returns
    -------
    dict of str to float
        Seconds for each of `PHASES`.

    Examples
    --------
    >>> shape = dict(parameters=11_173_962, batch=1440, sample_flops=3.3e9)
    >>> slow = round_seconds(workers=45, files=45, copies=1, groups=None, inner=None,
    ...                      outer="multi_krum", **shape)
    >>> fast = round_seconds(workers=45, files=15, copies=3, groups=2, inner="multi_krum",
    ...                      outer="mean", **shape)
    >>> fast["compute"] > slow["compute"] and fast["aggregate"] < slow["aggregate"]
    True

    References
    ----------
    Rajput et al., DETOX, NeurIPS 2019, section 4.1. The server receives every copy.
    """
    cluster = cluster or Cluster()
    message = 4 * parameters / cluster.bandwidth
    load = files * copies / workers
    coded = vote == "cyclic"
    votes = 1 if coded else files
    outer_rows = votes if groups is None else groups
    stages = mixers if isinstance(mixers, Mapping) else {"votes": mixers}
    work = [(name, votes) for name in stages.get("votes", ())]
    work += [(name, outer_rows) for name in (*stages.get("outer", ()), outer)]
    if groups is not None and inner is not None:
        sizes = [votes // groups + (i < votes % groups) for i in range(groups)]
        work += [(name, size) for size in sizes for name in (*stages.get("inner", ()), inner)]
    aggregate = sum(rule_seconds(name, rows, parameters, cluster) for name, rows in work)
    received = 2 * workers if coded else files * copies
    passes = 2 if coded else int(copies > 1)
    return {
        "compute": load * batch / files * sample_flops / cluster.node_flops,
        "broadcast": ceil(log2(workers + 1)) * (message + cluster.latency),
        "send": received * (message + cluster.latency),
        "vote": passes * received * parameters * cluster.pass_seconds,
        "aggregate": aggregate,
    }
