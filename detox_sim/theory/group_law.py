"""The law of the number of groups with many marked members, accurate at any size."""

from decimal import MAX_EMAX, MIN_EMIN, Decimal, localcontext
from math import comb, log
from typing import NamedTuple

import numpy as np

DIGITS = 40
TINY = Decimal("1e-330")  # below the least float
WIDTH = 40  # standard deviations of the tilted sum that the lattice covers
NEGLIGIBLE = 40  # exp(-2 * 40) is nothing beside a rounding error
AT_ONCE = 500_000  # lattice points


def group_law(groups: int, size: int, threshold: int, marked: int) -> np.ndarray:
    """Return the chances that 0, 1, 2, ... groups have at least `threshold` marked members.

    Parameters
    ----------
    groups, size : int
        Disjoint groups of equal size.
    threshold : int
        1 to size.
    marked : int
        Members of all groups together that are marked, uniformly at random.

    Returns
    -------
    numpy.ndarray (min(groups, marked // threshold) + 1,) of float
        Chances below 1e-308 lose digits, and become 0 below 1e-323.

    Examples
    --------
    >>> group_law(15, 3, 2, 5).round(6)
    array([0.597277, 0.372041, 0.030681])

    Notes
    -----
    With B(x) the part of (1 + x)^size from x^threshold on and G(x) the rest, the chance of k is
    C(groups, k) [x^marked] B(x)^k G(x)^(groups - k) / C(groups * size, marked). At any x > 0 the
    coefficient is B(x)^k G(x)^(groups - k) x^-marked times the chance that independent groups of
    these tilted laws sum to `marked`. At the x for which they do so on average (the saddle point)
    that chance is no small difference of large numbers; it is a finite sum of the characteristic
    function over a lattice, which is taken without loss near 1. The other factor, of thousands
    of digits, is taken in decimals.
    """
    k = np.arange(min(groups, marked // threshold) + 1)
    least, most = k * threshold, k * size + (groups - k) * (threshold - 1)
    binomials = [comb(size, i) for i in range(size + 1)]
    law = np.zeros(k.size)
    with localcontext(prec=DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN):
        ways = [Decimal(number) for number in binomials]
        choices = [1 / Decimal(comb(groups * size, marked))]
        for j in range(k.size - 1):
            choices.append(choices[-1] * (groups - j) / (j + 1))
        for j in k[least == marked].tolist():
            law[j] = float(choices[j] * ways[threshold] ** j)
        for j in k[(most == marked) & (least < marked)].tolist():
            law[j] = float(choices[j] * ways[threshold - 1] ** (groups - j))
        between = k[(least < marked) & (marked < most)]
        if between.size == 0:
            return law
        logs = np.array([log(number) for number in binomials])
        tilts = _saddle_points(between, groups, logs, threshold, marked)
        hits = _chance_of_sum(_parts(between, groups, logs, threshold, tilts), marked)
        middle = int(np.abs(tilts - log(marked / (groups * size - marked))).argmin())
        for order in (range(middle, between.size), range(middle - 1, -1, -1)):
            for i in order:  # a concave function of i: once it is tiny it stays so
                j, x = int(between[i]), Decimal(float(np.exp(tilts[i])))
                above, below = _horner(ways[threshold:], x), _horner(ways[:threshold], x)
                factor = choices[j] * above**j * below ** (groups - j)
                factor /= x ** (marked - j * threshold)
                if factor < TINY:
                    break
                law[j] = float(factor * Decimal(float(hits[i])))
    return law


def _horner(coefficients: list[Decimal], x: Decimal) -> Decimal:
    """Return the value of a polynomial at x."""
    value = Decimal(0)
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value


class _Part(NamedTuple):
    """Independent groups of one tilted law, for each of (entries,) laws.

    Attributes
    ----------
    groups, mean, variance : numpy.ndarray (entries,)
    values : numpy.ndarray (terms,)
    chances : numpy.ndarray (entries, terms)
    """

    groups: np.ndarray
    values: np.ndarray
    chances: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def _parts(
    k: np.ndarray, groups: int, logs: np.ndarray, threshold: int, tilts: np.ndarray
) -> tuple[_Part, _Part]:
    """Return the k groups at or above the threshold and the others, at x = exp(tilts)."""
    values = np.arange(logs.size)
    return (
        _part(k, values[threshold:], logs[threshold:], tilts),
        _part(groups - k, values[:threshold], logs[:threshold], tilts),
    )


def _part(groups: np.ndarray, values: np.ndarray, logs: np.ndarray, tilts: np.ndarray) -> _Part:
    terms = logs + np.multiply.outer(tilts, values)
    chances = np.exp(terms - terms.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    mean = chances @ values
    variance = (chances * (values - mean[:, None]) ** 2).sum(axis=1)
    return _Part(groups, values, chances, mean, variance)


def _total(parts: tuple[_Part, _Part]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of the sum over all groups."""
    mean = sum(part.groups * part.mean for part in parts)
    return mean, sum(part.groups * part.variance for part in parts)


def _saddle_points(
    k: np.ndarray, groups: int, logs: np.ndarray, threshold: int, marked: int
) -> np.ndarray:
    """Return the log x at which the sum is `marked` on average, to a millionth of its spread."""
    low, high = np.full(k.size, -100.0), np.full(k.size, 100.0)
    tilts = np.zeros(k.size)
    while True:
        mean, variance = _total(_parts(k, groups, logs, threshold, tilts))
        off = mean - marked
        if (np.abs(off) <= 1e-6 * np.sqrt(variance)).all():
            return tilts
        low, high = np.where(off < 0, tilts, low), np.where(off > 0, tilts, high)
        newton = tilts - off / np.maximum(variance, 1e-300)
        inside = (newton > low) & (newton < high)
        tilts = np.where(inside, newton, (low + high) / 2)


def _chance_of_sum(parts: tuple[_Part, _Part], marked: int) -> np.ndarray:
    """Return the chance (entries,) that the groups sum to `marked`.

    The sum of the characteristic function over the lattice stops where it is negligible: for a
    law p of integers its square is at most 1 - 4 s sin(t / 2)^2, with s the sum of p_i p_(i + 1).
    """
    mean, variance = _total(parts)
    support = sum(part.groups * (part.values.size - 1) for part in parts)
    points = np.minimum(support + 1, WIDTH * np.sqrt(variance) + 32).astype(int) | 1
    steps = sum(
        part.groups * (part.chances[:, 1:] * part.chances[:, :-1]).sum(axis=1) for part in parts
    )
    far = np.arcsin(np.sqrt(np.minimum(1, NEGLIGIBLE / np.maximum(steps, NEGLIGIBLE))))
    used = np.minimum(points // 2, np.ceil(far * points / np.pi).astype(int))
    chance = np.empty(mean.size)
    size = max(1, AT_ONCE // int(used.max() + 1))
    for start in range(0, mean.size, size):
        rows = slice(start, start + size)
        j = np.arange(1, used[rows].max() + 1)
        angles = 2 * np.pi * j / points[rows, None]
        size_log, phase = np.zeros(angles.shape), (mean[rows] - marked)[:, None] * angles
        for part in parts:
            one, two = _log_characteristic(part, rows, angles)
            size_log += part.groups[rows, None] * one
            phase += part.groups[rows, None] * two
        waves = np.where(j <= used[rows, None], np.exp(size_log) * np.cos(phase), 0)
        chance[rows] = (1 + 2 * waves.sum(axis=1)) / points[rows]
    return chance


def _log_characteristic(
    part: _Part, rows: slice, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log size and phase of the characteristic function about the mean, exact near 1."""
    real, imaginary = np.zeros(angles.shape), np.zeros(angles.shape)
    for chance, value in zip(part.chances[rows].T, part.values, strict=True):
        turn = (value - part.mean[rows])[:, None] * angles
        real -= 2 * chance[:, None] * np.sin(turn / 2) ** 2
        imaginary += chance[:, None] * np.sin(turn)
    square = np.maximum(2 * real + real**2 + imaginary**2, -0.5)
    small = np.log(np.maximum(np.hypot(1 + real, imaginary), 1e-300))
    size_log = np.where(square > -0.5, np.log1p(square) / 2, small)
    return size_log, np.arctan2(imaginary, 1 + real)
