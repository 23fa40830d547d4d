"""Exact variances of the coded messages of ``encodings.mean``, by assignment."""

import numpy as np


def coded_weights(holders: np.ndarray) -> np.ndarray:
    """Return the weight (workers, files) of each file in each worker's message.

    workers / (files * holders of the file) where the worker computes the file, else 0: the mean
    over all workers is the mean of all files.

    Parameters
    ----------
    holders : int (files, copies)
        -1 where a file has fewer workers.

    Examples
    --------
    >>> coded_weights(np.array([[0, 1], [1, 2], [2, 0]])).tolist()
    [[0.5, 0.0, 0.5], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    files, workers = len(holders), int(holders.max()) + 1
    computes = (holders[None, :, :] == np.arange(workers)[:, None, None]).any(axis=2)
    return computes * workers / (files * (holders >= 0).sum(axis=1))


def coded_spread(holders: np.ndarray, *, mean_square: float = 0.0) -> np.ndarray:
    """Return the expected squared distance of each worker's message from the mean of all files.

    In units of G², the mean squared distance of the files' gradients from their mean, which for
    one file a worker is 1; over a random order of the files. The attackers' messages are drawn
    against this spread, and robust rules err in proportion to it.

    Parameters
    ----------
    holders : int (files, copies)
        -1 where a file has fewer workers.
    mean_square : float
        Squared length of the mean of all files in the same units. It matters only where the weights
        of a message do not sum to 1, as with unequal loads.

    Returns
    -------
    numpy.ndarray of float (workers,)

    Notes
    -----
    Let g_k be the gradients less their mean, in random order, so that E|g_k|² = G² and, as they
    sum to zero, E g_j g_k = -G² / (F - 1). A sum with weights w then has the expected square
    G² (F sum w² - (sum w)²) / (F - 1); what the weights lack to 1 adds (sum w - 1)² times the
    squared length of the mean. If all files have as many workers, and all workers as many files,
    the weights sum to 1, and with l files of equal weight the spread is (F - l) / (l (F - 1)).

    Examples
    --------
    >>> from detox_sim import assignments
    >>> [coded_spread(assignments.cyclic(21, r))[0].round(4).item() for r in (1, 5, 21)]
    [1.0, 0.16, 0.0]
    """
    return _spread(coded_weights(holders), mean_square)


def honest_mean_error(
    holders: np.ndarray, byzantine: np.ndarray, *, mean_square: float = 0.0
) -> float:
    """Return the expected squared distance of the honest messages' mean from that of all files.

    In units of G², over a random order of the files. No rule that drops all Byzantine messages and
    averages the others does better.

    Parameters
    ----------
    holders : int (files, copies)
        -1 where a file has fewer workers.
    byzantine : bool (workers,)
    mean_square : float
        As in `coded_spread`.

    Raises
    ------
    ValueError
        When all workers are Byzantine, or `byzantine` is not bool (workers,).

    Examples
    --------
    >>> from detox_sim import assignments
    >>> round(honest_mean_error(assignments.cyclic(21, 5), np.arange(21) < 3), 5)
    0.00341
    """
    weights = coded_weights(holders)
    if getattr(byzantine, "shape", None) != (len(weights),) or byzantine.dtype != bool:
        raise ValueError(f"byzantine must be bool of shape ({len(weights)},), got {byzantine!r}")
    if byzantine.all():
        raise ValueError("an honest message is needed, and all workers are Byzantine")
    error = weights[~byzantine].mean(axis=0)
    return float(_spread(error[None, :], mean_square)[0])


def _spread(weights: np.ndarray, mean_square: float) -> np.ndarray:
    files, sums = weights.shape[1], weights.sum(axis=1)
    biases = (sums - 1) ** 2 * mean_square
    if files == 1:
        return biases
    squares = files * (weights**2).sum(axis=1) - sums**2
    return np.maximum(0.0, squares) / (files - 1) + biases
