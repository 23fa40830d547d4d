"""Dask: connecting to a cluster, and the parameter server whose compute nodes are its workers."""

from detox_sim.cluster.connecting import connect, cores, versions

__all__ = ["connect", "cores", "versions"]
