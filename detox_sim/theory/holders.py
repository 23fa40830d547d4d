"""Checks and tables of an assignment, the array `holders` (files, copies) of workers."""

import numpy as np

from detox_sim.catalogue import check_integer


def check_byzantine(workers: int, byzantine: int) -> None:
    """Raise unless so many of the workers can be Byzantine.

    Examples
    --------
    >>> check_byzantine(3, 4)
    Traceback (most recent call last):
    ValueError: byzantine must be at most the 3 workers, got 4
    """
    check_integer("byzantine", byzantine, 0)
    if byzantine > workers:
        raise ValueError(f"byzantine must be at most the {workers} workers, got {byzantine}")


def check_holders(holders: np.ndarray, byzantine: int) -> np.ndarray:
    """Return the holders as int64 in C order if they are an assignment of equal load.

    Raises also unless `byzantine` of the workers can be Byzantine.

    Examples
    --------
    >>> check_holders(np.array([[0, 1, 2], [0, 1, 3]]), 1)
    Traceback (most recent call last):
    ValueError: every worker must hold equally many files; worker 0 holds 2, worker 2 holds 1
    """
    holders = np.asarray(holders)
    if holders.ndim != 2 or not holders.size or not np.issubdtype(holders.dtype, np.integer):
        raise ValueError(
            "holders must be integers (files, copies), the worker of each copy; "
            f"got {holders.dtype} of shape {holders.shape}"
        )
    if holders.min() < 0:
        raise ValueError(f"workers are numbered from 0, got {holders.min()}")
    ordered = np.sort(holders, axis=1)
    twice = np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1))
    if twice.size:
        file = int(twice[0])
        raise ValueError(
            f"the copies of a file must be on distinct workers; file {file} is on "
            f"{holders[file].tolist()}"
        )
    loads = np.bincount(holders.ravel())
    if (loads != loads[0]).any():
        other = int((loads != loads[0]).argmax())
        raise ValueError(
            f"every worker must hold equally many files; worker 0 holds {loads[0]}, "
            f"worker {other} holds {loads[other]}"
        )
    check_byzantine(loads.size, byzantine)
    return np.ascontiguousarray(holders, dtype=np.int64)


def majority(holders: np.ndarray) -> int:
    """Return the Byzantine copies that distort a file: more than half.

    Examples
    --------
    >>> majority(np.array([[0, 1, 2]]))
    2
    """
    return holders.shape[1] // 2 + 1


def files_by_worker(holders: np.ndarray) -> np.ndarray:
    """Return the files of each worker (workers, load).

    Examples
    --------
    >>> files_by_worker(np.array([[0, 1], [1, 2], [2, 0]])).tolist()
    [[0, 2], [0, 1], [1, 2]]
    """
    workers = int(holders.max()) + 1
    return np.argsort(holders.ravel(), kind="stable").reshape(workers, -1) // holders.shape[1]


def shared_files(holders: np.ndarray) -> np.ndarray:
    """Return how many files two workers share (workers, workers), with zeros on the diagonal.

    Examples
    --------
    >>> shared_files(np.array([[0, 1], [1, 2], [2, 0]])).tolist()
    [[0, 1, 1], [1, 0, 1], [1, 1, 0]]
    """
    workers = int(holders.max()) + 1
    shared = np.zeros((workers, workers), dtype=np.int64)
    for first in holders.T:
        for second in holders.T:
            np.add.at(shared, (first, second), 1)
    np.fill_diagonal(shared, 0)
    return shared
