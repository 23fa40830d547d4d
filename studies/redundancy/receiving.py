"""When a decoder has the messages that it needs: receivers that take in one after the other."""

from collections.abc import Callable

import numpy as np

Finish = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def receive(ready: np.ndarray, seconds: float) -> np.ndarray:
    """Return when a receiver has taken in 1, 2, ..., n messages, one after the other.

    Parameters
    ----------
    ready : (..., n)
        Seconds at which each message is ready; the first that is ready goes first.
    seconds : float
        Seconds that each message takes.

    Returns
    -------
    (..., n)

    Examples
    --------
    >>> receive(np.array([5.0, 0.0, 1.0]), 2.0)
    array([2., 4., 7.])
    """
    before = np.arange(ready.shape[-1]) * seconds
    starts = np.maximum.accumulate(np.sort(ready, axis=-1) - before, axis=-1)
    return starts + before + seconds


def fastest(count: int) -> Finish:
    """Return the time at which any `count` messages are in.

    Examples
    --------
    >>> fastest(2)(np.array([[5.0, 0.0, 1.0]]), np.zeros((1, 3), bool), 2.0)
    array([4.])
    """
    return lambda computed, _, seconds: receive(computed, seconds)[:, count - 1]


def agreement(holders: np.ndarray, quorum: int) -> Finish:
    """Return the time at which `quorum` copies of every file are in that are equal.

    Honest copies of a file are equal, and so are its forged copies.

    Parameters
    ----------
    holders : int (files, copies)
    quorum : int

    Examples
    --------
    >>> computed, byzantine = np.array([[0.0, 1.0, 9.0]]), np.array([[False, True, False]])
    >>> holders = np.array([[0, 1, 2]])
    >>> [agreement(holders, quorum)(computed, byzantine, 2.0) for quorum in (1, 2)]
    [array([2.]), array([11.])]
    """

    def finish(computed: np.ndarray, byzantine: np.ndarray, seconds: float) -> np.ndarray:
        order = computed.argsort(axis=1).argsort(axis=1)
        agreed = [
            np.sort(np.where(same, order, order.shape[1])[:, holders], axis=2)[:, :, quorum - 1]
            for same in (byzantine, ~byzantine)
        ]
        last = np.minimum(*agreed).max(axis=1)
        return np.take_along_axis(receive(computed, seconds), last[:, None], axis=1)[:, 0]

    return finish


def up_the_tree(children: int, layers: int, spare: int) -> Finish:
    """Return the time at which the master has all but `spare` of its children's messages.

    A parent sends when it has computed its own files and has as many of its children's.

    Examples
    --------
    >>> computed = np.array([[1.0, 2.0, 0.0, 6.0, 3.0, 3.0]])
    >>> [up_the_tree(2, 2, spare)(computed, np.zeros((1, 6), bool), 1.0) for spare in (0, 1)]
    [array([8.]), array([2.])]
    """
    ends = np.cumsum(children ** np.arange(1, layers + 1))[:-1]

    def finish(computed: np.ndarray, _: np.ndarray, seconds: float) -> np.ndarray:
        *above, ready = np.split(computed, ends, axis=1)
        while True:
            siblings = ready.reshape(len(computed), -1, children)
            received = receive(siblings, seconds)[:, :, children - spare - 1]
            if not above:
                return received[:, 0]
            ready = np.maximum(above.pop(), received)

    return finish
