"""Which workers compute which files, as matrices."""

import numpy as np


def incidence(holders):
    """Return zeros and ones (workers, files): which worker computes which file."""
    computes = np.zeros((holders.max() + 1, len(holders)), dtype=np.int64)
    computes[holders, np.arange(len(holders))[:, None]] = 1
    return computes


def shared(holders):
    """Return how many files each two workers share (workers, workers); the diagonal is the load."""
    computes = incidence(holders)
    return computes @ computes.T
