"""The geometric median: Weiszfeld iteration on row weights, from pairwise distances if it can."""

import functools

import numpy as np

from detox_sim.aggregators.conditions import Facts, require
from detox_sim.aggregators.coordinates import median
from detox_sim.aggregators.weights import (
    has_far_row,
    last_aggregate,
    near_most,
    norms,
    shares,
    weighted,
)
from detox_sim.arrays import namespace
from detox_sim.catalogue import check_integer, check_number
from detox_sim.primitives import combine, distances

MOST_ROWS = 1000  # with more rows, distances to the centre are cheaper than pairwise ones
CONDITION = 1e8  # largest over typical squared distance up to which weights give exact radii
FAR = 1e10  # times the distance of most rows, from which on the nearer half says where they are
ROUNDING_AFTER = 50  # iterations after which a step within rounding of the rows is the last
STARTS = ("inside", "zero", "previous")
AT_A_ROW = 1e-7  # relative to the typical distance: as near counts as on the row


GEOMETRIC_MEDIAN = Facts(
    "geometric_median",
    "point with the least sum of distances",
    "Weiszfeld 1937; Chen et al. 2017",
    breakdown="< 1/2",
    passes=1,
    pairs=1,
    extra="n² a step",
)


def geometric_median(
    rows,
    /,
    *,
    byzantine: int,
    tolerance: float = 1e-9,
    max_iterations: int = 1000,
    start: str = "inside",
    smoothing: float | None = None,
    previous=None,
):
    """Find the point with the least sum of Euclidean distances to the rows.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.
    tolerance, max_iterations, start, smoothing
        As in `weiszfeld`, which also returns iterations and residual. ByzFL's rule is
        ``start="zero", max_iterations=3, smoothing=0.1``.
    previous : array (d,), optional
        The last aggregate, which a trial supplies; ``start="previous"`` needs it.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> rows = np.array([[0.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0], [1.0, 1.0]])
    >>> geometric_median(rows, byzantine=1).round(6)
    array([1., 1.])

    References
    ----------
    Weiszfeld 1937; Chen, Su, Xu, Distributed statistical machine learning in adversarial
    settings, 2017. On the whole vector, where the DETOX code works layer by layer.
    """
    require(GEOMETRIC_MEDIAN, rows, byzantine)
    options = tolerance, max_iterations, start, smoothing, previous
    return weighted(rows, _weiszfeld(rows, byzantine, *options)[0])


def weiszfeld(
    rows,
    tolerance: float = 1e-9,
    max_iterations: int = 1000,
    start: str = "inside",
    smoothing: float | None = None,
    previous=None,
):
    """Iterate Weiszfeld's step; return the geometric median, the iterations and the last step.

    An iterate that meets a row leaves it or stays there, by the rule of Vardi and Zhang.

    Parameters
    ----------
    rows : array (n, d)
        Finite, or infinite in fewer than half of the rows.
    tolerance : float
        Stop when a step is shorter than this times the typical (median) distance to the start.
    max_iterations : int
        Near a row, or with the rows almost on a line, steps become short before the point is
        reached; the residual tells how short.
    start : {"inside", "zero", "previous"}
        The mean of the half of the rows nearest to the medoid, the origin, or `previous`. The point
        does not depend on it, unless `max_iterations` ends the iteration before.
    smoothing : float, optional
        Count shorter distances as this length, without Vardi and Zhang's rule.
    previous : array (d,), optional
        One with NaN or Inf counts as the origin.

    Returns
    -------
    point : array (d,)
    iterations : int
    residual : float
        Length of the last step, relative to the typical distance.

    Examples
    --------
    >>> point, iterations, residual = weiszfeld(np.array([[0.0], [1.0], [5.0]]))
    >>> bool(abs(point[0] - 1) < 1e-6 and residual < 1e-9)
    True

    References
    ----------
    Vardi, Zhang, The multivariate L1-median and associated data depth, PNAS 2000.
    """
    byzantine = (rows.shape[0] - 1) // 2
    options = tolerance, max_iterations, start, smoothing, previous
    weights, iterations, residual = _weiszfeld(rows, byzantine, *options)
    return weighted(rows, weights), iterations, residual()


def _weiszfeld(rows, byzantine, tolerance, max_iterations, start, smoothing, previous):
    """Return the weights (n,) of the rows in their geometric median, iterations, () -> residual."""
    check_integer("max_iterations", max_iterations, 1)
    for name, value in (("tolerance", tolerance), ("smoothing", smoothing)):
        if value is not None:
            check_number(name, value)
            if not 0 < value < np.inf:
                raise ValueError(f"the geometric median needs a finite {name} > 0, got {value!r}")
    if start not in STARTS:
        raise ValueError(f"the geometric median's start is one of {STARTS}, got {start!r}")
    radii_of, length_of, inside, near = _geometry(rows, byzantine)
    if start == "inside":
        weights = inside()
        radii = radii_of(weights)
    elif start == "zero":
        weights, radii = None, norms(rows)
    else:
        centre = last_aggregate("geometric_median", rows, previous)
        weights, radii = None, np.sqrt(distances(rows, centre[None, :])[:, 0])
    typical = float(np.sort(radii)[(len(radii) - 1) // 2])
    if typical == 0.0 and smoothing is None:
        return shares(radii == 0.0), 0, lambda: 0.0

    def residual(move) -> float:
        return np.inf if move is None else float(length_of(move) / (typical or 1.0))

    for iterations in range(1, max_iterations + 1):
        if iterations > 1:
            radii = radii_of(weights)
        if iterations == ROUNDING_AFTER:  # no step is shorter if rows differ by rounding only
            tolerance = max(tolerance, _rounding(rows) / (typical or 1.0))
        target = _step(radii, weights, length_of, near * typical, smoothing)
        move = None if weights is None else target - weights
        weights = target
        if iterations < max_iterations and not residual(move) > tolerance:
            break
    return weights, iterations, functools.partial(residual, move)


def _rounding(rows) -> float:
    """Return how far apart float64 rows can be that are equal but for rounding."""
    return 4.0 * float(np.finfo(np.float64).eps * np.median(norms(rows)))


def _step(radii, weights, length_of, near: float, smoothing: float | None) -> np.ndarray:
    """Return the weights after one step from a point with these distances (n,) to the rows."""
    if smoothing is not None:
        return shares(1 / np.maximum(radii, smoothing))
    here = radii <= near
    pull = np.where(here, 0.0, 1 / np.where(here, 1.0, radii))
    if not pull.any():
        return shares(here)
    target = shares(pull)
    if weights is None or not here.any():
        return target
    force = pull.sum() * length_of(target - weights)
    if force <= here.sum():
        return shares(here)
    return target + here.sum() / force * (weights - target)


def _geometry(rows, byzantine: int):
    """Return functions for radii (n,), lengths and weights to start from, and a tolerance.

    The first two take weights (n,). They use pairwise distances alone where there are few rows
    of comparable distances, else two passes over the rows for each point.
    """
    n = rows.shape[0]
    half = (n + 1) // 2
    if n > MOST_ROWS:
        centre = median(rows, byzantine=0)
        order = np.argsort(distances(rows, centre[None, :])[:, 0], kind="stable")
        return *_by_passes(rows), lambda: _equal_shares(order[:half], n), 0.0
    square = distances(rows)
    kept, _ = near_most(square, byzantine)
    every = len(kept) == n
    inner = square if every else square[np.ix_(kept, kept)]
    apart = np.sqrt(inner)
    if has_far_row(apart, FAR):
        apart = np.sort(apart, axis=1)[:, :half]
    medoid = kept[apart.sum(axis=1).argmin()]
    from_medoid = square[medoid]
    typical = np.sort(from_medoid)[(n - 1) // 2]

    def inside():
        return _equal_shares(np.argsort(from_medoid, kind="stable")[:half], n)

    if inner.max() > CONDITION * typical:
        return *_by_passes(rows), inside, 0.0

    def radii_of(weights):
        some = weights if every else weights[kept]
        far = (inner * some).sum(axis=1)
        near = np.sqrt(np.maximum(far - (some * far).sum() / 2, 0.0))
        if every:
            return near
        radii = np.full(n, np.inf)
        radii[kept] = near
        return radii

    def length_of(move):
        some = move if every else move[kept]
        return float(np.sqrt(max(0.0, -(some * (inner * some).sum(axis=1)).sum() / 2)))

    return radii_of, length_of, inside, AT_A_ROW


def _equal_shares(chosen, n: int) -> np.ndarray:
    return shares(np.bincount(chosen, minlength=n))


def _by_passes(rows):
    xp = namespace(rows)

    def radii_of(weights):
        point = combine(weights[None, :], rows, dtype=xp.float64)
        return np.sqrt(distances(rows, point)[:, 0])

    def length_of(move):
        return float(norms(combine(move[None, :], rows, dtype=xp.float64))[0])

    return radii_of, length_of
