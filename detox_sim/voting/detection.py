"""A vote that first looks for the nodes that lie: Aspis."""

import numpy as np

from detox_sim.messages import Messages
from detox_sim.primitives import equal_rows
from detox_sim.voting.votes import Votes, majority, outcome


def clique(messages: Messages, /, *, holders: np.ndarray) -> Votes:
    """Believe the largest set of nodes that agree with each other on all files they share.

    Where that set is unique, the copies of all other nodes do not count; a file that only such
    others hold, and every file where two sets are as large, goes to a majority vote of all its
    copies.

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
    Worker 0 lies; it shares a file with 1 and 2, and one with 1 and 3:

    >>> rows = np.array([[1.0], [2.0], [9.0]])
    >>> holders = np.array([[0, 1, 2], [0, 1, 3]])
    >>> clique(Messages(rows, np.array([[2, 0, 0], [2, 1, 1]])), holders=holders).rows.tolist()
    [[1.0], [2.0]]

    References
    ----------
    Konstantinidis, Ramamoorthy, Aspis: robust detection for distributed learning, ISIT 2022.
    Cliques are found by Bron and Kerbosch's algorithm (networkx), which is exponential in the
    number of liars at worst.
    """
    labels = equal_rows(messages.rows, messages.all_arrived("clique"))
    trusted = trusted_workers(labels, holders)
    plain = majority(messages)
    if trusted is None:
        return plain
    counted = trusted[holders]
    some = counted.any(axis=1)
    agree = (labels[:, :, None] == labels[:, None, :]).sum(axis=2)
    winner = np.where(some, counted.argmax(axis=1), agree.argmax(axis=1))
    return outcome(messages, winner, plain.undecided & ~some)


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
    for one in range(holders.shape[1]):
        for other in range(one):
            differ = labels[:, one] != labels[:, other]
            agree[holders[differ, one], holders[differ, other]] = False
            agree[holders[differ, other], holders[differ, one]] = False
    # Whoever contradicts nobody belongs to every largest set.
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
