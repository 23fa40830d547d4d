"""Assignments of Election Coding, whose workers have unequal loads: holders are padded with -1."""

import numpy as np

from detox_sim.assignments.repetition import check_copies


def election(workers: int, copies: int, *, rng: np.random.Generator | None = None) -> np.ndarray:
    """Assign files so that a majority of majorities is right whatever copies // 2 workers send.

    With b = copies // 2, (workers - 1) / 2 - b workers compute one file each; some compute `copies`
    consecutive ones of the other files, each b + 1 further than the one before; the rest compute
    all files.

    Parameters
    ----------
    workers, copies : int
        Both odd, `copies` at most `workers`. There are as many files as workers.
    rng : numpy.random.Generator, optional
        Not used.

    Returns
    -------
    numpy.ndarray of int (workers, most holders of a file)
        -1 where a file has fewer holders. For an encoding only: there is no vote over copies.

    Raises
    ------
    ValueError
        For even numbers, or more copies than workers.

    Notes
    -----
    Exact where every file's gradient has a sign of its own in a coordinate: for every vector of
    signs of the files at least (workers + 1) / 2 + b workers find the majority sign of all files
    to be that of their own. What is found is the sign of most files, not of their mean. The mean
    load is (p + 2 b + 1) / 2 - (floor((p - 2 b - 1) / (2 b + 2)) + 1 / 2) (p - 2 b - 1) / p for p
    workers, about half of all files.

    Examples
    --------
    >>> election(5, 3)
    array([[ 0,  2,  3,  4],
           [ 1,  2,  3,  4],
           [ 1,  2,  3,  4],
           [ 1,  2,  3,  4],
           [ 2,  3,  4, -1]])

    References
    ----------
    Sohn et al., Election coding for distributed learning: protecting signSGD against Byzantine
    attacks, NeurIPS 2020: the deterministic code, from memory; checked by exhaustion in tests.
    """
    n, copies = check_copies(workers, copies)
    if n % 2 == 0:
        raise ValueError(
            f"election needs an odd number of workers, got {n}; use {n - 1} or {n + 1}"
        )
    b = copies // 2
    single = (n - 1) // 2 - b
    windows = (n - 2 * b - 1) // (2 * b + 2) + 1
    computes = np.ones((n, n), dtype=bool)  # (workers, files)
    computes[:single] = np.eye(n, dtype=bool)[:single]
    for m in range(windows):
        first = single + m * (b + 1)
        computes[single + m] = False
        computes[single + m, first : first + copies] = True
    return _padded(computes)


def bernoulli(
    workers: int, copies: int, *, rng: np.random.Generator | None = None, seed: int = 0
) -> np.ndarray:
    """Assign each file to each worker with chance copies / workers, once for all steps.

    Parameters
    ----------
    workers, copies : int
        `copies` is odd and at most `workers`: the expected holders of a file. There are as many
        files as workers. A worker without a file gets the file of its own number, and a file
        without a worker the worker of its number.
    rng : numpy.random.Generator, optional
        Not used.
    seed : int
        Of the draw, which is the same for every seed of a trial.

    Returns
    -------
    numpy.ndarray of int (workers, most holders of a file)
        -1 where a file has fewer holders. For an encoding only: there is no vote over copies.

    Raises
    ------
    ValueError
        For an even number of copies, or more than workers.

    Examples
    --------
    >>> holders = bernoulli(9, 3)
    >>> len(holders), 1 < (holders >= 0).sum() / 9 < 5
    (9, np.True_)

    References
    ----------
    Sohn et al., Election coding, NeurIPS 2020: the random code, whose chance is of order
    sqrt(log p / p) (from memory).
    """
    workers, copies = check_copies(workers, copies)
    draw = np.random.default_rng([seed, workers, copies])
    computes = draw.random((workers, workers)) < copies / workers
    alone = ~computes.any(axis=1) | ~computes.any(axis=0)
    computes[alone, alone] = True
    return _padded(computes)


def _padded(computes: np.ndarray) -> np.ndarray:
    """Return the holders of each file, of bool (workers, files); -1 after the last one.

    Examples
    --------
    >>> _padded(np.array([[True, False], [True, True]])).tolist()
    [[0, 1], [1, -1]]
    """
    files = [np.flatnonzero(workers) for workers in computes.T]
    holders = np.full((len(files), max(map(len, files))), -1)
    for line, workers in zip(holders, files, strict=True):
        line[: workers.size] = workers
    return holders
