"""What a worker sends of its files: ``encoding(rows (l, d), *, weights, rng) -> message (d,)``.

With an encoding a worker sends one message in place of the gradient of each of its files. There is
no vote: the rules are given the messages of all workers, of which q are Byzantine, and attackers
forge messages. `rows` are the honest gradients of a worker's files, in ascending order of their
numbers; `weights` (l,) are such that the mean over all workers of the weighted sums is the mean of
all files: workers / (files * holders of the file). `rng` is a stream of the worker's own.

===========  ================================================================  ==================
mean         the weighted sum, on average the mean of all files                4 d bytes
sign         of each coordinate, the sign that most of its files have          d / 4 bytes
random_part  `mean` at random coordinates only, scaled so that it is unbiased  8 bytes a kept one
===========  ================================================================  ==================

With the assignment "cyclic" and ``reshuffle=True`` `mean` is LAD and `random_part` its compressed
form; with any other overlapping assignment `mean` is CRA-DL. With ``outer="sign_majority"`` `sign`
is signSGD without redundancy, and Election Coding with the assignments "election" and "bernoulli".

With overlapping files of unequal loads (`election`, `bernoulli`) messages of `mean` differ in
length, and only their mean estimates that of all files. A message that does not arrive counts as
zeros. The error of an aggregate of signs says little, as gradients have other lengths.

`bytes_of` says how long a message is. An encoding from outside the package, ``"module:function"``,
sends float32 values.

References
----------
CRA-DL: arXiv 2506.01989; LAD and Com-LAD: arXiv 2603.28780 (abstracts read: weights and windows
are derived here). Sohn et al., Election coding for distributed learning: protecting signSGD against
Byzantine attacks, NeurIPS 2020. Bernstein et al., signSGD with majority vote, ICLR 2019.
"""

from collections.abc import Mapping

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.catalogue import check_number
from detox_sim.primitives import combine

__all__ = ["mean", "sign", "random_part"]


def mean(rows, /, *, weights: np.ndarray, rng: np.random.Generator):
    """Return the weighted sum of the rows.

    Parameters
    ----------
    rows : array (l, d)
    weights : float (l,)
    rng : numpy.random.Generator
        Not used.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> mean(np.array([[1.0], [3.0]]), weights=np.array([0.5, 0.5]), rng=None)
    array([2.])
    """
    return combine(weights[None, :], rows)[0, :]


def sign(rows, /, *, weights: np.ndarray, rng: np.random.Generator):
    """Return of each coordinate the sign that most rows have: -1, 0 (a tie) or 1.

    Parameters
    ----------
    rows : array (l, d)
    weights : float (l,)
        Not used: all files of a worker count the same.
    rng : numpy.random.Generator
        Not used.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> sign(np.array([[1.0, -2.0], [3.0, 1.0], [-9.0, -1.0]]), weights=None, rng=None)
    array([ 1., -1.])
    """
    xp = namespace(rows)
    return xp.sign(xp.sum(xp.sign(rows), axis=0, dtype=rows.dtype))


def random_part(rows, /, *, weights: np.ndarray, rng: np.random.Generator, share: float = 0.1):
    """Return the weighted sum at random coordinates, over their share; zero elsewhere.

    Parameters
    ----------
    rows : array (l, d)
    weights : float (l,)
    rng : numpy.random.Generator
        Draws the coordinates, of each worker its own.
    share : float
        Of the d coordinates, 0 < share <= 1: max(1, floor(share d)) are kept. For a sum of length
        n the expected squared error is (d / kept - 1) n².

    Returns
    -------
    array (d,)

    Raises
    ------
    ValueError
        For a share outside 0..1.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> part = random_part(np.ones((1, 8)), weights=np.ones(1), rng=rng, share=0.25)
    >>> sorted(part.tolist())
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 4.0, 4.0]
    """
    whole = mean(rows, weights=weights, rng=rng)
    d, kept = whole.size, _kept(whole.size, share)
    scale = np.zeros(d)
    scale[rng.choice(d, kept, replace=False)] = d / kept
    xp = namespace(rows)
    return xp.where(xp.asarray(scale > 0), whole * xp.astype(xp.asarray(scale), whole.dtype), 0)


def _kept(d: int, share: float = 0.1) -> int:
    check_number("share", share)
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share!r}")
    return max(1, int(share * d))


def bytes_of(name: str | None, parameters: int, options: Mapping[str, object]) -> float:
    """Return the bytes of a message of so many parameters; None is one gradient.

    Examples
    --------
    >>> [bytes_of(name, 800, {}) for name in (None, "mean", "sign", "random_part")]
    [3200.0, 3200.0, 200.0, 640.0]
    """
    if name == "sign":
        return parameters / 4  # 2 bits: -1, 0 or 1
    if name == "random_part":
        return 8.0 * _kept(parameters, **options)  # type: ignore[arg-type]  # index and value
    return 4.0 * parameters
