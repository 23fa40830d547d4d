"""The vote that first detects Byzantine workers: Aspis."""

import itertools

import numpy as np

from detox_sim.messages import Messages, check_messages
from detox_sim.primitives import equal_rows
from detox_sim.voting.votes import Votes, majority, outcome


def clique(messages: Messages, /, *, holders: np.ndarray) -> Votes:
    """Count only the copies of the largest set of workers that agree on all files they share.

    If that set is unique, the copies of all other workers do not count. A file that the set does
    not compute, and every file if two sets are as large, gets a majority vote over all its copies.

    Parameters
    ----------
    messages : Messages
    holders : numpy.ndarray of int (files, copies)
        The worker of each copy.

    Returns
    -------
    Votes

    Examples
    --------
    Worker 0 is Byzantine; it shares a file with 1 and 2, and one with 1 and 3:

    >>> rows = np.array([[1.0], [2.0], [9.0]])
    >>> holders = np.array([[0, 1, 2], [0, 1, 3]])
    >>> clique(Messages(rows, np.array([[2, 0, 0], [2, 1, 1]])), holders=holders).rows.tolist()
    [[1.0], [2.0]]

    References
    ----------
    Konstantinidis, Ramamoorthy, Aspis: robust detection for distributed learning, ISIT 2022.
    Cliques are found by Bron and Kerbosch's algorithm (networkx), which is exponential in the
    number of Byzantine workers at worst.
    """
    check_messages(messages)
    labels = equal_rows(messages.rows, messages.all_arrived("clique"))
    trusted = trusted_workers(labels, holders)
    plain = majority(messages)
    if trusted is None:
        return plain
    counted = trusted[holders]
    any_counted = counted.any(axis=1)
    agree = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
    winner = np.where(any_counted, counted.argmax(axis=1), agree.argmax(axis=1))
    return outcome(messages, winner, plain.undecided & ~any_counted)


def trusted_workers(labels: np.ndarray, holders: np.ndarray) -> np.ndarray | None:
    """Return the unique largest set (workers,) whose members agree; None if it is not unique.

    Parameters
    ----------
    labels : int (files, copies)
        Equal copies of a file have equal labels.
    holders : int (files, copies)

    Examples
    --------
    >>> trusted_workers(np.array([[0, 1, 1]]), np.array([[0, 1, 2]])).tolist()
    [False, True, True]
    >>> trusted_workers(np.array([[0, 1]]), np.array([[0, 1]])) is None
    True
    """
    import networkx

    workers = int(holders.max()) + 1
    agree = np.ones((workers, workers), dtype=bool)
    for left, right in itertools.combinations(range(holders.shape[1]), 2):
        differ = labels[:, left] != labels[:, right]
        agree[holders[differ, left], holders[differ, right]] = False
        agree[holders[differ, right], holders[differ, left]] = False
    # A worker that contradicts nobody belongs to every largest set.
    doubtful = np.flatnonzero(~agree.all(axis=1))
    graph = networkx.from_numpy_array(agree[np.ix_(doubtful, doubtful)])
    graph.remove_edges_from(networkx.selfloop_edges(graph))
    largest: list[list[int]] = []
    for found in networkx.find_cliques(graph):
        if not largest or len(found) >= len(largest[0]):
            largest = [*(largest if largest and len(found) == len(largest[0]) else []), found]
    if len(largest) > 1:
        return None
    trusted = np.array(agree.all(axis=1))
    for found in largest:
        trusted[doubtful[found]] = True
    return trusted
