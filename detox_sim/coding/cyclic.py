"""DRACO's cyclic code: the sum of all gradients in spite of (copies - 1) / 2 Byzantine workers."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from detox_sim.arrays import kind, namespace, to_host
from detox_sim.assignments.repetition import check_copies, cyclic
from detox_sim.coding.locator import Checks, locate
from detox_sim.primitives import combine
from detox_sim.primitives.reference import column_blocks
from detox_sim.primitives.threads import spread


class CyclicDecode(NamedTuple):
    """The decoded sum of all gradients, and the workers that were located as Byzantine.

    Attributes
    ----------
    total : array (d,)
    byzantine : numpy.ndarray of bool (workers,)
    """

    total: Any
    byzantine: np.ndarray


def cyclic_code(workers: int, copies: int) -> np.ndarray:
    """Return the coefficients by which each worker combines the gradients it computed.

    Parameters
    ----------
    workers, copies : int
        As many files as workers; `copies` = 2 s + 1 is odd, for s Byzantine workers.

    Returns
    -------
    numpy.ndarray of complex128 (workers, files)
        Worker i uses files i, ..., i + copies - 1 (mod workers), as in `assignments.cyclic`.
        Columns sum to 1, so the honest messages sum to the sum of all gradients.

    Raises
    ------
    ValueError
        When `copies` is even or above `workers`.

    Examples
    --------
    >>> code = cyclic_code(5, 3)
    >>> (abs(code[0]) > 0).astype(int).tolist(), abs(code.sum(axis=0)).round(12).tolist()
    ([1, 1, 1, 0, 0], [1.0, 1.0, 1.0, 1.0, 1.0])

    Notes
    -----
    Worker i has the root of unity x_i = exp(2 pi j g i / p), and the moments of order 1 to 2 s of
    every column, sum_i W_ij x_i^m, are zero. A column has 2 s + 1 entries, so it is the null vector
    of a Vandermonde matrix, ``|W_ij| = 1 / prod_k |x_i - x_k|``. DRACO has the stride g = 1: the
    roots of a file's workers are neighbours, and for p = 45, s = 5 messages are up to 10^5 times as
    long as gradients, so that float32 leaves the sum three digits. The stride here is the one,
    prime to p, with the best conditioned code: the roots spread around the circle, and messages are
    as long as gradients.

    References
    ----------
    Chen, Wang, Charles, Papailiopoulos, DRACO, ICML 2018, section 4.2; the stride is ours.
    """
    workers, copies = check_copies(workers, copies)
    code = np.zeros((workers, workers), dtype=np.complex128)
    taps = _taps(workers, copies, _stride(workers, copies))
    code[cyclic(workers, copies), np.arange(workers)[:, None]] = taps
    return code


def _taps(workers: int, copies: int, stride: int) -> np.ndarray:
    """Return the coefficients (copies,) of file j at the workers j, j - 1, j - 2, ... (mod p)."""
    points = np.exp(-2j * np.pi * (stride * np.arange(copies) % workers) / workers)
    apart = points[:, None] - points
    np.fill_diagonal(apart, points)
    taps = 1 / apart.prod(axis=1)
    return taps / taps.sum()


@functools.cache
def _stride(workers: int, copies: int) -> int:
    """Return the stride with the least ratio of the greatest and least singular values."""

    def condition(stride: int) -> float:
        spectrum = np.abs(np.fft.fft(_taps(workers, copies, stride), workers)) ** 2
        both = np.sort(spectrum + np.roll(spectrum[::-1], 1))[::-1]
        return round(both[0] / both[_rank(workers, copies) - 1], 9)

    coprime = [g for g in range(1, workers // 2 + 1) if math.gcd(g, workers) == 1]
    return min(coprime or [1], key=condition)


def _rank(workers: int, copies: int) -> int:
    """Return the dimension over the reals of the messages that real gradients can give."""
    return min(workers, 2 * (workers - copies) + 1)


@functools.lru_cache(maxsize=16)
def _spaces(workers: int, copies: int) -> tuple[np.ndarray, Checks]:
    """Return an orthonormal basis (2 workers, rank) of honest messages, and the checks."""
    code = cyclic_code(workers, copies)
    vectors = np.linalg.svd(np.concatenate([code.real, code.imag]))[0]
    rank = _rank(workers, copies)
    angles = 2 * np.pi * (_stride(workers, copies) * np.arange(workers) % workers) / workers
    return vectors[:, :rank], Checks(vectors[:, rank:].T, np.exp(1j * angles), copies // 2)


def cyclic_encode(rows, copies: int):
    """Return the messages of honest workers.

    Parameters
    ----------
    rows : array (files, d)
        The gradient of each file; there are as many workers as files.
    copies : int

    Returns
    -------
    array (2 * workers, d)
        Of the dtype of `rows`: the real parts of all messages, then the imaginary parts.

    Examples
    --------
    >>> cyclic_encode(np.ones((5, 2)), 3)[:5].sum(axis=0).round(12)
    array([5., 5.])
    """
    code = cyclic_code(rows.shape[0], copies)
    return combine(np.concatenate([code.real, code.imag]), rows)


def cyclic_decode(received, copies: int, *, rng: np.random.Generator) -> CyclicDecode:
    """Locate the Byzantine workers, and decode the sum of all gradients from the other messages.

    Parameters
    ----------
    received : array (2 * workers, d)
        The real parts of all messages, then the imaginary parts, as `cyclic_encode` makes them.
    copies : int
        2 s + 1.
    rng : numpy.random.Generator
        Draws the projection after the messages arrived: Byzantine workers must not know it.

    Returns
    -------
    CyclicDecode
        Exact up to rounding while at most s = (copies - 1) / 2 messages are forged; a message with
        NaN or Inf counts as forged. Changes of the size of rounding errors (in float64: of 1e-10)
        may pass. With more than s forged messages the total is wrong, without an error.

    Raises
    ------
    ValueError
        When `copies` is even or above the number of workers, or the rows are odd in number.

    Examples
    --------
    >>> received = cyclic_encode(np.arange(10.0).reshape(5, 2), 3)
    >>> received[[3, 8]] += 100
    >>> total, byzantine = cyclic_decode(received, 3, rng=np.random.default_rng(0))
    >>> total.round(9), byzantine
    (array([20., 25.]), array([False, False, False,  True, False]))

    Notes
    -----
    One pass over the messages projects each on a random vector, one more adds up those of honest
    workers; between them the work depends on p alone. Measured for p = 15 and 45 and up to 7
    Byzantine workers: changes of 0.1 % are located in float32, and the total has a relative error
    below 1e-7 (in float64 1e-14). At p = 45, from about 10 Byzantine workers on, changes that small
    are sometimes attributed to other workers in float32, and the total is off by up to 3e-5.

    Two departures from DRACO's decoder make it work with rounded messages. Its 2 s moments alone
    cannot tell which of neighbouring workers are Byzantine; messages of real gradients satisfy up
    to p real equations, and all are used. And its random vector has mean 1; ours has mean 0, so
    that equal rounding errors in many coordinates do not add up to a false alarm.

    References
    ----------
    Chen, Wang, Charles, Papailiopoulos, DRACO, ICML 2018, section 4.2 and its appendix.
    """
    if received.ndim != 2 or received.shape[0] % 2 or 0 in received.shape:
        raise ValueError(
            "received needs the shape (2 * workers, d), real parts before imaginary parts; "
            f"got {tuple(received.shape)}"
        )
    workers, copies = check_copies(received.shape[0] // 2, copies)
    basis, checks = _spaces(workers, copies)
    eps = float(namespace(received).finfo(received.dtype).eps)
    byzantine = locate(checks, *_project(received, rng), eps, rng)
    clean = ~np.tile(byzantine, 2)
    weights = np.zeros(2 * workers)
    weights[clean] = np.linalg.lstsq(basis[clean].T, basis[:workers].sum(axis=0), rcond=None)[0]
    return CyclicDecode(combine(weights[None, :], received)[0, :], byzantine)


def _project(rows, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the products (n,) of rows with a random vector, and the norms (n,) of their terms."""
    xp = namespace(rows)
    direction = rng.standard_normal(rows.shape[1], dtype=np.float32)

    def work(columns: slice) -> np.ndarray:
        factors = xp.asarray(direction[columns].astype(np.float64))
        with np.errstate(over="ignore", invalid="ignore"):
            terms = xp.astype(rows[:, columns], xp.float64) * factors
            return to_host(xp.stack([xp.sum(terms, axis=1), xp.sum(terms * terms, axis=1)]))

    run = spread if kind(rows) == "numpy" else map
    with np.errstate(over="ignore", invalid="ignore"):
        sums = np.stack(list(run(work, _blocks(rows))), axis=-1).sum(axis=-1)
    return sums[0], np.sqrt(sums[1])


def _blocks(rows) -> list[slice]:
    """Return blocks of columns; those of a Dask array are its chunks, so that each is read once."""
    if kind(rows) != "dask":
        return column_blocks(rows)
    ends = np.cumsum(rows.chunks[1]).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
