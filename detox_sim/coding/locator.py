"""Locate Byzantine workers: the smallest set whose messages explain all violated checks."""

import itertools
from typing import NamedTuple

import numpy as np

TOO_LONG = 1e3  # times the scale of honest messages
SUMS = 4e-12  # rounding errors of sums in float64, relative to messages that are not too long
RESTARTS = 50


class Checks(NamedTuple):
    """Linear equations that honest messages satisfy.

    Attributes
    ----------
    rows : numpy.ndarray (m, 2 p)
        Orthonormal; honest messages (real parts, then imaginary parts) give zeros.
    points : numpy.ndarray of complex (p,)
        The root of unity of each worker; moments of order 1 to 2 s of honest messages are zero.
    most : int
        s, the Byzantine workers that can be located.
    """

    rows: np.ndarray
    points: np.ndarray
    most: int


def locate(
    checks: Checks, values: np.ndarray, lengths: np.ndarray, eps: float, rng: np.random.Generator
) -> np.ndarray:
    """Return which workers (p,) are Byzantine, from one projected number a part of each message.

    Parameters
    ----------
    checks : Checks
    values : numpy.ndarray (2 p,)
        Projected messages; a worker with NaN or Inf is Byzantine.
    lengths : numpy.ndarray (2 p,)
        Root of the sum of squares of the terms of each value: its rounding error is at most of
        the order of eps times that.
    eps : float
        Of the dtype of the messages.
    rng : numpy.random.Generator
        Draws new starts of the search when the first ones fail.

    Returns
    -------
    numpy.ndarray of bool (p,)

    Notes
    -----
    Honest messages have a common scale: each gradient is part of 2 s + 1 messages, of which s + 1
    are honest, so the (s + 1)-th longest message is as long as honest ones are, whatever Byzantine
    workers send. Much longer messages are forged. The others are honest if their violation of the
    checks is within rounding errors of that scale: a normal vector of m values is shorter than
    sqrt(m) + 6 standard deviations.
    """
    p = len(values) // 2
    sizes = np.hypot(lengths[:p], lengths[p:])
    sizes[~np.isfinite(values[:p] + values[p:])] = np.inf
    scale = np.sort(sizes)[-1 - checks.most]
    found = ~np.isfinite(sizes) | (sizes > TOO_LONG * scale)
    if found.sum() <= checks.most:
        clean = np.where(np.tile(found, 2), 0.0, values)
        limit = (eps + SUMS) * scale * (len(checks.rows) ** 0.5 + 6)
        found[_search(checks, clean, np.flatnonzero(found), limit, rng)] = True
    return found


def _search(
    checks: Checks, values: np.ndarray, known: np.ndarray, limit: float, rng: np.random.Generator
) -> np.ndarray:
    """Return a set of workers, with the known ones, that explains the values, or the best found."""
    p = len(checks.points)
    blocks = checks.rows.reshape(-1, 2, p).transpose(2, 0, 1)
    syndrome = checks.rows @ values
    fixed, spare = len(known), checks.most - len(known)
    sets = _algebraic(checks, values, known)
    others = np.setdiff1d(np.arange(p), known)
    random = (np.append(known, rng.permutation(others)[:spare]) for _ in range(RESTARTS))
    tries = ((members, _unexplained(blocks, syndrome, members)) for members in sets)
    starts = itertools.chain(sets[-1:], random)
    polished = (_exchange(blocks, syndrome, start, fixed, limit) for start in starts)
    best, least = known, np.inf
    for members, rest in itertools.chain(tries, polished):
        if rest <= limit:
            return _prune(blocks, syndrome, members, fixed, limit)
        if rest < least:
            best, least = members, rest
    return best


def _algebraic(checks: Checks, values: np.ndarray, known: np.ndarray) -> list[np.ndarray]:
    """Return a set of workers for each size from the known ones to s, exact but for rounding.

    A polynomial of degree t that is zero at the points of t Byzantine workers annihilates the
    moments: its coefficients are the null vector of their Hankel matrix.
    """
    p, most = len(checks.points), checks.most
    others = np.setdiff1d(np.arange(p), known)
    orders = np.arange(1, 2 * most + 1)
    moments = checks.points ** orders[:, None] @ (values[:p] + 1j * values[p:])
    sets = [known]
    for count in range(len(known) + 1, most + 1):
        hankel = moments[np.arange(2 * most - count)[:, None] + np.arange(count + 1)]
        polynomial = np.linalg.svd(hankel)[2][-1].conj()
        size = np.abs(np.polyval(polynomial[::-1], checks.points[others]))
        sets.append(np.concatenate([known, others[np.argsort(size)[: count - len(known)]]]))
    return sets


def _without(
    blocks: np.ndarray, syndrome: np.ndarray, members: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Project checks (..., m, 2) and the syndrome (m,) off the columns of members (t, m, 2)."""
    span = np.linalg.qr(members.transpose(1, 0, 2).reshape(len(syndrome), -1))[0]
    return blocks - span @ (span.T @ blocks), syndrome - span @ (span.T @ syndrome)


def _unexplained(blocks: np.ndarray, syndrome: np.ndarray, members: np.ndarray) -> float:
    """Return the norm of the part of the syndrome outside the span of the members' columns."""
    return float(np.linalg.norm(_without(blocks[:0], syndrome, blocks[members])[1]))


def _exchange(
    blocks: np.ndarray, syndrome: np.ndarray, members: np.ndarray, fixed: int, limit: float
) -> tuple[np.ndarray, float]:
    """Exchange one member at a time, not the first `fixed`, while less stays unexplained."""
    rest = _unexplained(blocks, syndrome, members)
    while rest > limit and fixed < len(members):
        swaps = [_swap(blocks, syndrome, members, i) for i in range(fixed, len(members))]
        swapped = min(swaps, key=lambda swap: swap[1])[0]
        better = _unexplained(blocks, syndrome, swapped)
        if better >= rest * (1 - 1e-6):
            break
        members, rest = swapped, better
    return members, rest


def _swap(
    blocks: np.ndarray, syndrome: np.ndarray, members: np.ndarray, position: int
) -> tuple[np.ndarray, float]:
    """Put in one position the worker that explains most of what the other members do not."""
    others = np.delete(members, position)
    left, remain = _without(blocks, syndrome, blocks[others])
    shared = left.transpose(0, 2, 1) @ remain
    gram = left.transpose(0, 2, 1) @ left
    shared[others], gram[others] = 0.0, np.eye(2)
    gain = (shared * np.linalg.solve(gram, shared[:, :, None])[:, :, 0]).sum(axis=1)
    swapped = members.copy()
    swapped[position] = gain.argmax()
    return swapped, remain @ remain - gain.max()


def _prune(
    blocks: np.ndarray, syndrome: np.ndarray, members: np.ndarray, fixed: int, limit: float
) -> np.ndarray:
    """Drop members that are not needed, but none of the first `fixed`."""
    for position in reversed(range(fixed, len(members))):
        fewer = np.delete(members, position)
        if _unexplained(blocks, syndrome, fewer) <= limit:
            members = fewer
    return members
