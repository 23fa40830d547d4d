"""Rounds with late and lying nodes: when a decoder has what it needs, and what it returns.

The nodes are those of a tree below a master; flat schemes use as many, all below one server.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from detox_sim import assignments, coding, data, models
from detox_sim.messages import Messages
from detox_sim.primitives import combine
from detox_sim.streams import stream
from detox_sim.voting import majority

LIE = -100.0  # a liar sends this many times its message

Finish = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
Decode = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray | None]


class Scheme(NamedTuple):
    """How a batch is shared out, and how its gradient comes back.

    Attributes
    ----------
    nodes, files : int
        The files are equal parts of the batch.
    load : float
        Share of the batch that each node computes.
    left_out : float
        Share of the files that the result does without.
    finish : callable
        (seconds at which nodes have computed (draws, nodes), bool (draws, nodes) of who lies,
        seconds a message) -> seconds (draws,) at which the decoder has what it needs. NaN where
        the scheme cannot withstand so many liars.
    decoder : callable
        Gradients (files, d) -> decode; ``decode(bad (nodes,), late (nodes,), rng)`` is the sum
        (d,) from the messages of those that are not late, or None where it must wait for them.
    """

    nodes: int
    files: int
    load: float
    left_out: float
    finish: Finish
    decoder: Callable[[np.ndarray], Decode]


# --- time -----------------------------------------------------------------------------------------


def drain(sent: np.ndarray, seconds: float) -> np.ndarray:
    """Return when a receiver has taken in 1, 2, ..., n messages, one after the other.

    Parameters
    ----------
    sent : (..., n)
        Seconds at which each message is ready; the first that is ready goes first.
    seconds : float
        That each takes.

    Returns
    -------
    (..., n)

    Examples
    --------
    >>> drain(np.array([5.0, 0.0, 1.0]), 2.0)
    array([2., 4., 7.])
    """
    before = np.arange(sent.shape[-1]) * seconds
    starts = np.maximum.accumulate(np.sort(sent, axis=-1) - before, axis=-1)
    return starts + before + seconds


def fastest(count: int) -> Finish:
    """Return the time at which any `count` messages are in.

    Examples
    --------
    >>> fastest(2)(np.array([[5.0, 0.0, 1.0]]), np.zeros((1, 3), bool), 2.0)
    array([4.])
    """
    return lambda done, _, seconds: drain(done, seconds)[:, count - 1]


def agreement(holders: np.ndarray, quorum: int) -> Finish:
    """Return the time at which `quorum` copies of every file are in that are equal.

    Honest copies of a file are equal, and so are those of liars.

    Parameters
    ----------
    holders : int (files, copies)
    quorum : int

    Examples
    --------
    >>> done, lying = np.array([[0.0, 1.0, 9.0]]), np.array([[False, True, False]])
    >>> groups = np.array([[0, 1, 2]])
    >>> agreement(groups, 1)(done, lying, 2.0), agreement(groups, 2)(done, lying, 2.0)
    (array([2.]), array([11.]))
    """

    def finish(done: np.ndarray, lying: np.ndarray, seconds: float) -> np.ndarray:
        place = done.argsort(axis=1).argsort(axis=1)
        agreed = [
            np.sort(np.where(same, place, place.shape[1])[:, holders], axis=2)[:, :, quorum - 1]
            for same in (lying, ~lying)
        ]
        last = np.minimum(*agreed).max(axis=1)
        return np.take_along_axis(drain(done, seconds), last[:, None], axis=1)[:, 0]

    return finish


def up_the_tree(children: int, layers: int, spare: int) -> Finish:
    """Return the time at which the master has all but `spare` of its children's messages.

    A parent sends when it has computed its own files and has as many of its children's.

    Examples
    --------
    >>> done = np.array([[1.0, 2.0, 0.0, 6.0, 3.0, 3.0]])
    >>> everyone = up_the_tree(2, 2, 0)(done, np.zeros((1, 6), bool), 1.0)
    >>> everyone, up_the_tree(2, 2, 1)(done, np.zeros((1, 6), bool), 1.0)
    (array([8.]), array([2.]))
    """
    ends = np.cumsum(children ** np.arange(1, layers + 1))[:-1]

    def finish(done: np.ndarray, _: np.ndarray, seconds: float) -> np.ndarray:
        *above, ready = np.split(done, ends, axis=1)
        while True:
            families = ready.reshape(len(done), -1, children)
            received = drain(families, seconds)[:, :, children - spare - 1]
            if not above:
                return received[:, 0]
            ready = np.maximum(above.pop(), received)

    return finish


# --- schemes --------------------------------------------------------------------------------------


def nodes(children: int, layers: int) -> int:
    """Return the nodes of a tree below its master.

    Examples
    --------
    >>> nodes(6, 2)
    42
    """
    return sum(children**layer for layer in range(1, layers + 1))


def alone(children: int, layers: int, spare: int) -> Scheme:
    """Give each node a file of its own, and do without the `spare` slowest.

    The sum of the others is scaled up.

    Examples
    --------
    >>> scheme = alone(6, 2, 2)
    >>> scheme.files, round(scheme.left_out, 3)
    (42, 0.048)
    """
    n = nodes(children, layers)
    if spare >= n:
        raise ValueError(f"spare must be below the {n} nodes, got {spare}; use at most {n - 1}")

    def decoder(rows: np.ndarray) -> Decode:
        def decode(bad, late, rng):
            arrived = rng.permutation(np.flatnonzero(~late))[: n - spare]
            if arrived.size < n - spare:
                return None
            weights = np.zeros(n)
            weights[arrived] = n / (n - spare) * np.where(bad[arrived], LIE, 1.0)
            return combine(weights[None, :], rows)[0]

        return decode

    return Scheme(n, n, 1 / n, spare / n, fastest(n - spare), decoder)


def _gradient_coded(kind: str, n: int, spare: int, finish: Finish) -> Scheme:
    code = coding.gradient_code(n, spare, kind=kind)

    def decoder(rows: np.ndarray) -> Decode:
        messages = combine(code, rows)

        def decode(bad, late, rng):
            try:
                weights = coding.decode_weights(code, late)
            except ValueError:
                return None
            return combine((weights * np.where(bad, LIE, 1.0))[None, :], messages)[0]

        return decode

    return Scheme(n, n, (spare + 1) / n, 0.0, finish, decoder)


def cyclic(children: int, layers: int, spare: int) -> Scheme:
    """Use the cyclic gradient code for `spare` late nodes.

    Examples
    --------
    >>> round(cyclic(6, 2, 2).load * 42, 9)
    3.0
    """
    n = nodes(children, layers)
    return _gradient_coded("cyclic", n, spare, fastest(n - spare))


def repetition(children: int, layers: int, spare: int) -> Scheme:
    """Use fractional repetition: done as soon as one node of every group is.

    Examples
    --------
    >>> round(repetition(6, 2, 2).load * 42, 9)
    3.0
    """
    n = nodes(children, layers)
    groups = np.arange(n - n % (spare + 1)).reshape(-1, spare + 1)
    return _gradient_coded("repetition", n, spare, agreement(groups, 1))


def tree(children: int, layers: int, spare: int) -> Scheme:
    """Use CodedReduce for `spare` late children of every parent; 0 is a tree without a code.

    Examples
    --------
    >>> [round(tree(6, 2, spare).load * 42, 9) for spare in (0, 1, 2)]
    [1.0, 3.5, 7.0]
    """
    laid = coding.coded_reduce(children, layers, spare)

    def decoder(rows: np.ndarray) -> Decode:
        def decode(bad, late, rng):
            factors = np.where(bad, LIE, 1.0)  # a liar scales what its children told it too
            for node, parent in enumerate(laid.parent):
                factors[node] *= factors[parent] if parent >= 0 else 1.0
            told = dataclasses.replace(laid, weights=laid.weights * factors[:, None])
            try:
                return coding.reduce(told, rows, late)
            except ValueError:
                return None

        return decode

    share = laid.load / laid.files
    return Scheme(
        len(laid.parent), laid.files, share, 0.0, up_the_tree(children, layers, spare), decoder
    )


def vote(children: int, layers: int, spare: int) -> Scheme:
    """Use DETOX's groups of `spare` + 1 nodes, and sum their votes.

    Done when more than half of every group agree. If late copies do not come at all, the majority
    of those that came decides, and a group without one must wait.

    Examples
    --------
    >>> vote(6, 2, 2).files
    14
    """
    holders = assignments.detox(nodes(children, layers), spare + 1)
    files = len(holders)

    def decoder(rows: np.ndarray) -> Decode:
        both = np.concatenate([rows, LIE * rows])

        def decode(bad, late, rng):
            row_of = np.arange(files)[:, None] + files * bad[holders]
            votes = majority(Messages(both, np.where(late[holders], -1, row_of)))
            return None if votes.undecided.any() else combine(np.ones((1, files)), votes.rows)[0]

        return decode

    return Scheme(holders.size, files, 1 / files, 0.0, agreement(holders, spare // 2 + 1), decoder)


def draco(children: int, layers: int, spare: int) -> Scheme:
    """Use DRACO's cyclic code of `spare` + 1 copies, for s = `spare` / 2 late or lying nodes.

    Messages are complex, so twice as long. A node that it does not wait for is lost to it like a
    liar: with q liars it waits for all but s - q.

    Examples
    --------
    >>> draco(6, 2, 2).files
    42
    """
    n, most = nodes(children, layers), spare // 2
    assignments.cyclic(n, spare + 1)

    def finish(done: np.ndarray, lying: np.ndarray, seconds: float) -> np.ndarray:
        left = most - lying.sum(axis=1)
        last = n - 1 - np.maximum(left, 0)
        time = np.take_along_axis(drain(done, 2 * seconds), last[:, None], axis=1)[:, 0]
        return np.where(left < 0, np.nan, time)

    def decoder(rows: np.ndarray) -> Decode:
        honest = coding.cyclic_encode(rows, spare + 1)

        def decode(bad, late, rng):
            if late.sum() > most:
                return None
            factors = np.where(late, np.nan, np.where(bad, LIE, 1.0)).astype(rows.dtype)
            received = honest * np.tile(factors, 2)[:, None]
            return coding.cyclic_decode(received, spare + 1, rng=rng).total

        return decode

    return Scheme(n, n, (spare + 1) / n, 0.0, finish, decoder)


SCHEMES = {
    function.__name__: function for function in (alone, repetition, cyclic, tree, vote, draco)
}


# --- real gradients -------------------------------------------------------------------------------


def file_gradients(files: int, images: int, seed: int) -> np.ndarray:
    """Return the gradients (files, d) of the loss summed over the images of each file.

    Of a perceptron on digits, at its initial parameters. Their sum does not depend on the number
    of files, up to rounding.
    """
    digits = data.digits()
    pictures, labels = digits.train_images, digits.train_labels
    model = models.Model(models.mlp, pictures.shape[1:], digits.classes)
    chosen = stream(seed, "stragglers images").permutation(len(pictures))[:images]
    each = pictures[chosen].reshape(files, -1, *pictures.shape[1:])
    params = model.initial(stream(seed, "parameters"))
    means = model.gradients(params, each, labels[chosen].reshape(files, -1))[1]
    return means * np.float32(images // files)


def errors(
    scheme: Scheme,
    rows: np.ndarray,
    byzantine: Sequence[int],
    stragglers: Sequence[int],
    rounds: int,
    seed: int,
) -> np.ndarray:
    """Return relative errors (byzantine, stragglers, rounds) of the decoded sum of rows (files, d).

    Late messages do not come at all; NaN where the decoder must wait for them. Who lies and who
    is late does not depend on the scheme.
    """
    true = rows.sum(axis=0, dtype=np.float64)
    decode = scheme.decoder(rows)
    found = np.full((len(byzantine), len(stragglers), rounds), np.nan)
    for i, j, number in np.ndindex(found.shape):
        rng = stream(seed, "stragglers round", number, byzantine[i] * scheme.nodes + stragglers[j])
        bad, late = coding.draw(scheme.nodes, byzantine[i], stragglers[j], rng)
        total = decode(bad, late, rng)
        if total is not None:
            found[i, j, number] = np.linalg.norm(total - true) / np.linalg.norm(true)
    return found
