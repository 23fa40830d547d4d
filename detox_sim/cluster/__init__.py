"""Dask: connecting to a cluster, and the parameter server whose compute nodes are its workers."""

from detox_sim.cluster.central import CentralServer, Traffic
from detox_sim.cluster.connecting import Tls, connect, cores, here, versions
from detox_sim.cluster.faults import ClusterError, Fault, LostError
from detox_sim.cluster.sharded import ShardedServer

__all__ = [
    "CentralServer",
    "ClusterError",
    "Fault",
    "LostError",
    "ShardedServer",
    "Tls",
    "Traffic",
    "connect",
    "cores",
    "here",
    "versions",
]
