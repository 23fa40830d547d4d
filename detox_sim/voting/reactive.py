"""The vote that asks for copies only when a check fails, and exposes workers that forged."""

import dataclasses

import numpy as np

from detox_sim.catalogue import check_number
from detox_sim.messages import Messages, check_messages
from detox_sim.primitives import equal_rows
from detox_sim.voting.votes import Reaction, Votes, outcome


def reactive(
    messages: Messages,
    /,
    *,
    holders: np.ndarray,
    byzantine: int,
    excluded: np.ndarray,
    rng: np.random.Generator,
    chance: float = 1.0,
    local: bool = False,
) -> Votes:
    """Take the first copy of each file; in a check compare it with others, and expose dissenters.

    Let f be the Byzantine workers that are not excluded yet. A check asks f + 1 workers of each
    file. Where these agree, one of them is honest, so the value is. Where they do not, f more are
    asked, and the value of the majority of all 2 f + 1 is honest; with `local` the server computes
    the file itself instead. Workers that sent another value are exposed, and a trial excludes them
    from all later steps.

    Parameters
    ----------
    messages : Messages
        The copies that any worker would send. The columns of `holders` are the order in which the
        workers of a file are asked; one whose copy did not arrive is passed over.
    holders : int (files, copies)
        With 2 `byzantine` + 1 copies or more; with `local` `byzantine` + 1.
    byzantine : int
        q: at most so many workers send other values than they should, at all steps together. A
        worker whose message a fault changes counts, and may be excluded.
    excluded : bool (workers,)
        Workers exposed before.
    rng : numpy.random.Generator
        Draws whether this step is checked, after all messages are in.
    chance : float
        That a step is checked: 1 is the deterministic scheme, which lets no forged value through.
    local : bool
        The server settles disagreements by its own computation.

    Returns
    -------
    Votes
        With `reaction`. In a check a file is undecided where so few copies arrived that no value
        has f + 1; with `local`, that none of the copies has the value that the server computes.

    Raises
    ------
    ValueError
        For a chance outside 0..1, too few copies, or more excluded workers than `byzantine`.

    Examples
    --------
    Worker 0 of three is Byzantine, and first for file 0:

    >>> rows = np.array([[1.0], [2.0], [3.0], [9.0]])
    >>> holders = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]])
    >>> row_of = np.where(holders == 0, 3, np.arange(3)[:, None])
    >>> votes = reactive(Messages(rows, row_of), holders=holders, byzantine=1,
    ...                  excluded=np.zeros(3, bool), rng=np.random.default_rng(0))
    >>> votes.rows.ravel().tolist(), votes.reaction.exposed.tolist()
    ([1.0, 2.0, 3.0], [True, False, False])
    >>> votes.reaction.asked.sum(axis=1).tolist()
    [3, 2, 3]

    References
    ----------
    Gupta, Vaidya, Randomized reactive redundancy for Byzantine fault-tolerance in parallelized
    learning, 2019 (abstract read; the protocol from memory). `local`: after Hofmeister et al.,
    Byzantine-resilient gradient coding through local gradient computations, 2024 (abstract read),
    who descend to one sample; here the server computes the whole file.
    """
    check_messages(messages)
    check_number("chance", chance)
    if not 0 <= chance <= 1:
        raise ValueError(f"chance must be between 0 and 1, got {chance!r}")
    if not isinstance(local, bool):
        raise ValueError(f"local is True or False, got {local!r}")
    files, copies = holders.shape
    needed = byzantine + 1 if local else 2 * byzantine + 1
    if copies < needed:
        raise ValueError(
            f"vote 'reactive' needs {needed} copies for {byzantine} Byzantine workers, got "
            f"{copies}; use copies={needed + 1 - needed % 2}"
        )
    left = byzantine - int(excluded.sum())
    if left < 0:
        raise ValueError(
            f"vote 'reactive' excluded {excluded.sum()} workers, more than byzantine={byzantine}: "
            "workers with faults that change messages count among these"
        )
    checked = bool(rng.random() < chance)
    arrived = messages.row_of >= 0
    turn = np.where(arrived, arrived.cumsum(axis=1), copies + 1)  # 1 for who is asked first
    own = np.where(arrived, messages.row_of, np.arange(files)[:, None])
    labels = equal_rows(messages.rows, np.column_stack([np.arange(files), own]))[:, 1:]
    first = turn.argmin(axis=1)
    asked = turn <= (left + 1 if checked else 1)
    same = labels == labels[np.arange(files), first][:, None]
    disputed = (asked & ~same).any(axis=1)
    if not local:
        asked |= disputed[:, None] & (turn <= 2 * left + 1)
    winner, undecided = first.copy(), np.asarray(~arrived.any(axis=1))
    exposed = np.zeros(excluded.size, dtype=bool)
    unsure = checked & ((asked & same).sum(axis=1) <= left) | disputed
    for file in np.flatnonzero(unsure & ~undecided):
        mine = np.flatnonzero(asked[file])
        right = labels[file, mine] == 0  # of the honest value, which the server computes
        if not local:
            agree = labels[file, mine][:, None] == labels[file, mine]
            right = agree[int(agree.sum(axis=1).argmax())]
            if right.sum() <= left:
                undecided[file] = True
                continue
        exposed[holders[file, mine[~right]]] = True
        winner[file], undecided[file] = mine[right.argmax()], not right.any()
    votes = outcome(messages, winner, undecided)
    at_server = int(unsure.sum()) if local else 0
    return dataclasses.replace(votes, reaction=Reaction(exposed, asked, files * checked, at_server))
