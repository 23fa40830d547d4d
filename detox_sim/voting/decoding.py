"""The vote that decodes DRACO's cyclic code."""

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.coding import cyclic_code, cyclic_decode
from detox_sim.messages import Messages, check_messages
from detox_sim.primitives import combine
from detox_sim.voting.votes import Votes

DISTORTED = 1e-2  # least relative error of a distorted mean; rounding leaves far less


def cyclic(messages: Messages, /, *, holders: np.ndarray, rng: np.random.Generator) -> Votes:
    """Decode the mean of all files from one coded message of each worker.

    Every worker sends one complex combination of the gradients it computed, a Byzantine worker
    that of its forged ones. Up to (copies - 1) / 2 Byzantine workers are located and left out; with
    more of them the decoded mean can be anything.

    Parameters
    ----------
    messages : Messages
    holders : numpy.ndarray of int (files, copies)
        Of `assignments.cyclic`: as many files as workers.
    rng : numpy.random.Generator
        Draws the projection in which Byzantine workers are located.

    Returns
    -------
    Votes
        One row: the mean of all files, exact up to rounding (not bit for bit). It is distorted
        when its relative error is above 1 %.

    Raises
    ------
    ValueError
        When the holders are not those of the cyclic code.

    Examples
    --------
    >>> from detox_sim.assignments import cyclic as code
    >>> honest, forged = np.arange(5.0)[:, None], np.array([[100.0]])
    >>> holders = code(5, 3)
    >>> row_of = np.where(holders == 2, 5, np.arange(5)[:, None])
    >>> votes = cyclic(Messages(np.concatenate([honest, forged]), row_of), holders=holders,
    ...                rng=np.random.default_rng(0))
    >>> votes.rows.round(6).tolist()
    [[2.0]]

    References
    ----------
    Chen, Wang, Charles, Papailiopoulos, DRACO, ICML 2018.
    """
    check_messages(messages)
    files, copies = holders.shape
    expected = (np.arange(files)[:, None] - np.arange(copies)) % files
    if not np.array_equal(holders, expected):
        raise ValueError("vote 'cyclic' decodes the cyclic code; use assignment='cyclic'")
    code = cyclic_code(files, copies)
    sent = np.zeros((files, messages.rows.shape[0]), dtype=complex)
    for file, rows_of in enumerate(messages.all_arrived("cyclic")):
        np.add.at(sent, (holders[file], rows_of), code[holders[file], file])
    received = combine(np.concatenate([sent.real, sent.imag]), messages.rows)
    total = cyclic_decode(received, copies, rng=rng).total
    mean = total[None, :] / files

    def not_honest() -> np.ndarray:
        xp = namespace(mean)
        honest = combine(np.full((1, files), 1 / files), messages.rows[:files, :])
        error, norm = (float(xp.sum((x * x)[0, :])) for x in (mean - honest, honest))
        return np.array([not error <= DISTORTED**2 * norm])

    return Votes(mean, np.zeros(1, dtype=bool), not_honest)
