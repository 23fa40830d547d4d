"""Redundancy against late and Byzantine workers: each scheme's time, load and decoder.

The workers are those of a tree below a master; flat schemes use as many, all below one server.
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
from studies.redundancy.receiving import Finish, agreement, fastest, receive, up_the_tree

FORGED = -100.0  # a Byzantine worker sends this many times its message

Decode = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray | None]


class Scheme(NamedTuple):
    """How a batch is split among workers, and how its gradient is decoded.

    Attributes
    ----------
    workers, files : int
        The files are equal parts of the batch.
    load : float
        Share of the batch that each worker computes.
    left_out : float
        Share of the files that the result does without.
    finish : callable
        (seconds at which workers have computed (draws, workers), bool (draws, workers) of which
        are Byzantine, seconds a message) -> seconds (draws,) at which the decoder has what it
        needs. NaN where the scheme cannot withstand so many Byzantine workers.
    decoder : callable
        Gradients (files, d) -> decode; ``decode(byzantine (workers,), late (workers,), rng)`` is
        the sum (d,) from the messages of the workers that are not late, or None where it must
        wait for them.
    """

    workers: int
    files: int
    load: float
    left_out: float
    finish: Finish
    decoder: Callable[[np.ndarray], Decode]


def tree_workers(children: int, layers: int) -> int:
    """Return the number of workers of a tree below its master.

    Examples
    --------
    >>> tree_workers(6, 2)
    42
    """
    return sum(children**layer for layer in range(1, layers + 1))


def uncoded(children: int, layers: int, spare: int) -> Scheme:
    """Give each worker a file of its own, and ignore the `spare` slowest.

    The sum of the others is scaled up.

    Examples
    --------
    >>> scheme = uncoded(6, 2, 2)
    >>> scheme.files, round(scheme.left_out, 3)
    (42, 0.048)
    """
    n = tree_workers(children, layers)
    if spare >= n:
        raise ValueError(f"spare must be below the {n} workers, got {spare}; use at most {n - 1}")

    def decoder(rows: np.ndarray) -> Decode:
        def decode(byzantine, late, rng):
            arrived = rng.permutation(np.flatnonzero(~late))[: n - spare]
            if arrived.size < n - spare:
                return None
            weights = np.zeros(n)
            weights[arrived] = n / (n - spare) * np.where(byzantine[arrived], FORGED, 1.0)
            return combine(weights[None, :], rows)[0]

        return decode

    return Scheme(n, n, 1 / n, spare / n, fastest(n - spare), decoder)


def _gradient_coded(kind: str, n: int, spare: int, finish: Finish) -> Scheme:
    code = coding.gradient_code(n, spare, kind=kind)

    def decoder(rows: np.ndarray) -> Decode:
        messages = combine(code, rows)

        def decode(byzantine, late, rng):
            try:
                weights = coding.decode_weights(code, late)
            except ValueError:
                return None
            return combine((weights * np.where(byzantine, FORGED, 1.0))[None, :], messages)[0]

        return decode

    return Scheme(n, n, (spare + 1) / n, 0.0, finish, decoder)


def cyclic(children: int, layers: int, spare: int) -> Scheme:
    """Use the cyclic gradient code for `spare` late workers.

    Examples
    --------
    >>> round(cyclic(6, 2, 2).load * 42, 9)
    3.0
    """
    n = tree_workers(children, layers)
    return _gradient_coded("cyclic", n, spare, fastest(n - spare))


def repetition(children: int, layers: int, spare: int) -> Scheme:
    """Use fractional repetition: done as soon as one worker of every group is.

    Examples
    --------
    >>> round(repetition(6, 2, 2).load * 42, 9)
    3.0
    """
    n = tree_workers(children, layers)
    groups = np.arange(n - n % (spare + 1)).reshape(-1, spare + 1)
    return _gradient_coded("repetition", n, spare, agreement(groups, 1))


def tree(children: int, layers: int, spare: int) -> Scheme:
    """Use CodedReduce for `spare` late children of every parent; 0 is a tree without a code.

    Examples
    --------
    >>> [round(tree(6, 2, spare).load * 42, 9) for spare in (0, 1, 2)]
    [1.0, 3.5, 7.0]
    """
    coded = coding.coded_reduce(children, layers, spare)

    def decoder(rows: np.ndarray) -> Decode:
        def decode(byzantine, late, rng):
            factors = np.where(byzantine, FORGED, 1.0)  # of what its children sent, too
            for worker, parent in enumerate(coded.parent):
                factors[worker] *= factors[parent] if parent >= 0 else 1.0
            forged = dataclasses.replace(coded, weights=coded.weights * factors[:, None])
            try:
                return coding.reduce(forged, rows, late)
            except ValueError:
                return None

        return decode

    load = coded.load / coded.files
    finish = up_the_tree(children, layers, spare)
    return Scheme(len(coded.parent), coded.files, load, 0.0, finish, decoder)


def vote(children: int, layers: int, spare: int) -> Scheme:
    """Use DETOX's groups of `spare` + 1 workers, and sum their votes.

    Done when more than half of every group agree. If late copies never arrive, the majority of
    those that arrived decides, and a group without one must wait.

    Examples
    --------
    >>> vote(6, 2, 2).files
    14
    """
    holders = assignments.detox(tree_workers(children, layers), spare + 1)
    files = len(holders)

    def decoder(rows: np.ndarray) -> Decode:
        both = np.concatenate([rows, FORGED * rows])

        def decode(byzantine, late, rng):
            row_of = np.arange(files)[:, None] + files * byzantine[holders]
            votes = majority(Messages(both, np.where(late[holders], -1, row_of)))
            return None if votes.undecided.any() else combine(np.ones((1, files)), votes.rows)[0]

        return decode

    return Scheme(holders.size, files, 1 / files, 0.0, agreement(holders, spare // 2 + 1), decoder)


def draco(children: int, layers: int, spare: int) -> Scheme:
    """Use DRACO's cyclic code of `spare` + 1 copies, for s = `spare` / 2 late or Byzantine workers.

    Messages are complex, so twice as long. A worker that it does not wait for counts as a
    Byzantine one: with q Byzantine workers it waits for all but s - q.

    Examples
    --------
    >>> draco(6, 2, 2).files
    42
    """
    n, most = tree_workers(children, layers), spare // 2
    assignments.cyclic(n, spare + 1)

    def finish(computed: np.ndarray, byzantine: np.ndarray, seconds: float) -> np.ndarray:
        left = most - byzantine.sum(axis=1)
        last = n - 1 - np.maximum(left, 0)
        time = np.take_along_axis(receive(computed, 2 * seconds), last[:, None], axis=1)[:, 0]
        return np.where(left < 0, np.nan, time)

    def decoder(rows: np.ndarray) -> Decode:
        honest = coding.cyclic_encode(rows, spare + 1)

        def decode(byzantine, late, rng):
            if late.sum() > most:
                return None
            factors = np.where(late, np.nan, np.where(byzantine, FORGED, 1.0)).astype(rows.dtype)
            received = honest * np.tile(factors, 2)[:, None]
            return coding.cyclic_decode(received, spare + 1, rng=rng).total

        return decode

    return Scheme(n, n, (spare + 1) / n, 0.0, finish, decoder)


SCHEMES = {
    function.__name__: function for function in (uncoded, repetition, cyclic, tree, vote, draco)
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

    Late messages never arrive; NaN where the decoder must wait for them. Which workers are
    Byzantine and which are late does not depend on the scheme.
    """
    honest = rows.sum(axis=0, dtype=np.float64)
    decode = scheme.decoder(rows)
    found = np.full((len(byzantine), len(stragglers), rounds), np.nan)
    for i, j, number in np.ndindex(found.shape):
        rng = stream(
            seed, "stragglers round", number, byzantine[i] * scheme.workers + stragglers[j]
        )
        forging, late = coding.draw(scheme.workers, byzantine[i], stragglers[j], rng)
        total = decode(forging, late, rng)
        if total is not None:
            found[i, j, number] = np.linalg.norm(total - honest) / np.linalg.norm(honest)
    return found
