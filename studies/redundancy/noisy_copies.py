"""Honest copies of a gradient that differ in their bits, and the false alarms of a vote."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from detox_sim import models, voting
from detox_sim.messages import Messages

COPIES = 3


class Computation(NamedTuple):
    """How a worker computes: threads of torch, arithmetic, and which order of the images."""

    threads: int = 1
    arithmetic: str = "float32"
    order: int = 0  # 0: as given


SOURCES = {
    "none": (Computation(), Computation(), Computation()),
    "threads": (Computation(), Computation(threads=2), Computation(threads=3)),
    "row order": (Computation(), Computation(order=1), Computation(order=2)),
    "float64": (
        Computation(),
        Computation(arithmetic="float64"),
        Computation(arithmetic="float64", order=1),
    ),
    "bf16": (
        Computation(),
        Computation(arithmetic="bf16"),
        Computation(arithmetic="bf16", order=1),
    ),
}


@contextlib.contextmanager
def computing(how: Computation) -> Iterator[None]:
    """Set the threads and the arithmetic of torch inside a block, and restore them after it.

    Examples
    --------
    >>> import torch
    >>> before = torch.get_num_threads()
    >>> with computing(Computation(threads=2)):
    ...     torch.get_num_threads()
    2
    >>> torch.get_num_threads() == before
    True
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(how.threads)
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=how.arithmetic == "bf16"):
            yield
    finally:
        torch.set_num_threads(before)


def compute(
    model: models.Model,
    params: np.ndarray,
    images: np.ndarray,
    labels: np.ndarray,
    how: Computation,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the gradients (files, d) as a worker computes and sends them.

    Parameters
    ----------
    model : Model
    params : float32 (d,)
    images : float32 (files, images a file, channels, height, width)
    labels : int64 (files, images a file)
    how : Computation
    rng : numpy.random.Generator
        Draws the order of each file's images.

    Returns
    -------
    float32 (files, d)
    """
    dtype = np.float64 if how.arithmetic == "float64" else np.float32
    if how.order:
        order = rng.permuted(np.indices(labels.shape)[1], axis=1)
        files = np.arange(len(labels))[:, None]
        images, labels = images[files, order], labels[files, order]
    with computing(how):
        rows = model.gradients(params.astype(dtype), images.astype(dtype), labels).rows
    return rows.astype(np.float32, copy=False)


def as_messages(copies: np.ndarray) -> Messages:
    """Return the copies (files, copies, d) as messages; copy 0 is the honest gradient of a file.

    Examples
    --------
    >>> as_messages(np.ones((1, 3, 2))).row_of
    array([[1, 2, 3]])
    """
    files, count, d = copies.shape
    rows = np.concatenate([copies[:, 0], copies.reshape(-1, d)])
    return Messages(rows, files + np.arange(files * count).reshape(files, count))


def norm(rows: np.ndarray) -> np.ndarray:
    """Return the lengths (...,) of rows (..., d), in float64."""
    return np.sqrt((rows.astype(np.float64) ** 2).sum(axis=-1))


def differences(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the distances (...,) of rows (..., d) in lengths of the longer one.

    Examples
    --------
    >>> differences(np.array([[3.0, 0.0]]), np.array([[3.0, 4.0]]))
    array([0.8])
    """
    gap = norm(one.astype(np.float64) - other)
    return np.divide(gap, np.maximum(norm(one), norm(other)), out=gap.copy(), where=gap > 0)


def false_alarms(copies: np.ndarray, tolerance: float) -> tuple[float, float]:
    """Return the shares of files without a majority, and of those whose majority outvotes a copy.

    Parameters
    ----------
    copies : (files, copies, d)
    tolerance : float
        Of `voting.majority`.

    Examples
    --------
    >>> false_alarms(np.array([[[1.0], [1.0], [1.1]], [[1.0], [2.0], [3.0]]]), 0.0)
    (0.5, 0.5)
    """
    votes = voting.majority(as_messages(copies), tolerance=tolerance)
    elected = votes.rows[:, None, :]
    agree = (copies == elected).all(axis=-1)
    if tolerance:
        agree |= differences(copies, elected) <= tolerance
    outvoted = ~votes.undecided & ~agree.all(axis=1)
    return float(votes.undecided.mean()), float(outvoted.mean())
