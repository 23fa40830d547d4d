"""Dask: connecting to a cluster, and the parameter servers whose workers are its tasks.

`CentralServer` receives every message; `ShardedServer` votes on digests and splits its work by
coordinate. Both perform `detox_sim.training.step`, and are a
`detox_sim.trials.server.ParameterServer`.
"""

from detox_sim.cluster.central import CentralServer
from detox_sim.cluster.connecting import check_client, connect, cores, here, prepare
from detox_sim.cluster.faults import ClusterError, Fault, LostError
from detox_sim.cluster.joining import Tls, versions
from detox_sim.cluster.sharded import ShardedServer

# Whose versions make results; a Dask process with others is refused.
PACKAGES = ("dask", "detox-sim", "distributed", "numpy", "scipy", "torch", "xarray")

__all__ = [
    "CentralServer",
    "ClusterError",
    "Fault",
    "LostError",
    "ShardedServer",
    "Tls",
    "check_client",
    "connect",
    "cores",
    "here",
    "prepare",
    "versions",
]
