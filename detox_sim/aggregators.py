"""Robust aggregation rules: ``rule(rows (n, d), *, byzantine) -> (d,)``.

Every rule returns the array library, device and dtype it was given, never writes to its
input, breaks ties to the lowest index, and refuses an (n, byzantine) it cannot serve. At most
`byzantine` rows may hold NaN or Inf: the result is finite all the same.

==================  =====================  ============================================
rule                needs                  what it does
==================  =====================  ============================================
mean                n >= 1                 average; one bad row moves it anywhere
median              n >= 2 byzantine + 1   middle value of each coordinate
trimmed_mean        n >= 2 byzantine + 1   mean of each coordinate without its extremes
geometric_median    n >= 2 byzantine + 1   point with the least sum of distances
krum                n >= 2 byzantine + 3   the row nearest to its neighbours
multi_krum          n >= 2 byzantine + 3   mean of the rows Krum scores best
bulyan              n >= 4 byzantine + 3   Krum selection, then a mean near the median
sign_majority       n >= 2 byzantine + 1   majority of the signs of each coordinate
==================  =====================  ============================================
"""

import numpy as np

from detox_sim.arrays import is_array, namespace, to_host
from detox_sim.catalogue import check_integer, check_number
from detox_sim.primitives import BLOCK, combine, distances, finite, order_mean, take

__all__ = [
    "mean",
    "median",
    "trimmed_mean",
    "geometric_median",
    "krum",
    "multi_krum",
    "bulyan",
    "sign_majority",
]


def _require(rule: str, rows, byzantine: int, factor: int, plus: int, instead: str = "") -> int:
    """Return n, or say which inequality fails, with the numbers and what would work."""
    if not is_array(rows):
        raise ValueError(f"{rule} needs an array of rows, got {type(rows).__name__}")
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(f"{rule} needs rows of shape (n >= 1, d >= 1), got {tuple(rows.shape)}")
    if not namespace(rows).isdtype(rows.dtype, "real floating"):
        raise ValueError(f"{rule} needs floating-point rows, got {rows.dtype}")
    if isinstance(byzantine, bool) or not isinstance(byzantine, int | np.integer) or byzantine < 0:
        raise ValueError(f"{rule} needs an integer byzantine >= 0, got {byzantine!r}")
    n, least = rows.shape[0], factor * byzantine + plus
    if n < least:
        most = (n - plus) // factor if factor else -1
        works = f"byzantine <= {most}" if most >= 0 else f"at least {plus} rows"
        raise ValueError(
            f"{rule} needs n >= {factor} * byzantine + {plus} = {least} rows, got {n} with "
            f"byzantine={byzantine}; use {works}{instead}"
        )
    return n


def _without_broken(rows, byzantine: int):
    """Drop rows with NaN or Inf while they are no more than `byzantine`."""
    kept = np.flatnonzero(to_host(finite(rows)))
    broken = rows.shape[0] - kept.size
    return take(rows, kept) if 0 < broken <= byzantine else rows


def _average(rows, indices=None):
    """Return the plain mean of the chosen rows (all of them by default)."""
    weights = np.zeros((1, rows.shape[0]))
    weights[0, slice(None) if indices is None else indices] = 1.0
    return combine(weights / weights.sum(), rows)[0, :]


def mean(rows, /, *, byzantine: int):
    """Average the rows: the rule without any defence, and the baseline of every study.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        At most this many rows with NaN or Inf are dropped; finite bad rows are believed.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> mean(np.array([[1.0, 2.0], [3.0, 6.0]]), byzantine=0)
    array([2., 4.])
    """
    _require("mean", rows, byzantine, 0, 1)
    return _average(_without_broken(rows, byzantine))


def median(rows, /, *, byzantine: int):
    """Take the median of each coordinate; for even n the midpoint of the two middle values.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> median(np.array([[1.0], [2.0], [50.0]]), byzantine=1)
    array([2.])

    References
    ----------
    Yin et al., Byzantine-robust distributed learning, ICML 2018.
    """
    n = _require("median", rows, byzantine, 2, 1)
    return order_mean(rows, (n - 1) // 2, n // 2)


def trimmed_mean(rows, /, *, byzantine: int):
    """Average each coordinate without its `byzantine` smallest and largest values.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> trimmed_mean(np.array([[1.0], [2.0], [3.0], [4.0], [90.0]]), byzantine=1)
    array([3.])

    References
    ----------
    Yin et al., Byzantine-robust distributed learning, ICML 2018.
    """
    n = _require("trimmed_mean", rows, byzantine, 2, 1)
    return order_mean(rows, byzantine, n - byzantine - 1)


def geometric_median(
    rows, /, *, byzantine: int, tolerance: float = 1e-9, max_iterations: int = 1000
):
    """Find the point with the least sum of Euclidean distances to the rows.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.
    tolerance, max_iterations
        As in `weiszfeld`, which also reports iterations and residual.

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
    _require("geometric_median", rows, byzantine, 2, 1)
    xp = namespace(rows)
    point, _, _ = weiszfeld(_without_broken(rows, byzantine), tolerance, max_iterations)
    return xp.astype(point, rows.dtype)


def weiszfeld(rows, tolerance: float = 1e-9, max_iterations: int = 1000):
    """Iterate Weiszfeld's step from the coordinate-wise median.

    Distances below ``tolerance`` times the typical distance are rounded up smoothly to it, so
    an iterate on a row neither divides by zero nor stays there wrongly.

    Parameters
    ----------
    rows : array (n, d), finite
    tolerance : float
        Stop when a step is shorter than this times the median distance to the start.
    max_iterations : int

    Returns
    -------
    point : array (d,) of float64
    iterations : int
    residual : float
        Length of the last step, relative to the median distance to the start.

    Examples
    --------
    >>> point, iterations, residual = weiszfeld(np.array([[0.0], [1.0], [5.0]]))
    >>> bool(abs(point[0] - 1) < 1e-6 and residual < 1e-9)
    True
    """
    check_integer("max_iterations", max_iterations, 1)
    check_number("tolerance", tolerance)
    if not tolerance > 0:
        raise ValueError(f"the geometric median needs tolerance > 0, got {tolerance!r}")
    xp = namespace(rows)
    n = rows.shape[0]
    rows = xp.astype(rows, xp.float64)
    point = order_mean(rows, (n - 1) // 2, n // 2)
    typical = float(order_mean(_radii(rows, point)[:, None], (n - 1) // 2, (n - 1) // 2)[0])
    if typical == 0.0:
        return point, 0, 0.0
    residual, floor, iterations = float("inf"), tolerance * typical, 0
    while residual > tolerance and iterations < max_iterations:
        weights = to_host(1.0 / xp.sqrt(_radii(rows, point) ** 2 + floor**2))
        step = combine((weights / weights.sum())[None, :], rows)[0, :]
        residual = float(xp.sqrt(xp.sum((step - point) ** 2))) / typical
        point, iterations = step, iterations + 1
    return point, iterations, residual


def _radii(rows, point):
    """Return the distance of every row (n, d) to one point (d,)."""
    xp = namespace(rows)
    n, d = rows.shape
    count = max(1, BLOCK // d)
    with np.errstate(over="ignore"):
        parts = [
            xp.sqrt(xp.sum((rows[start : min(start + count, n), :] - point) ** 2, axis=1))
            for start in range(0, n, count)
        ]
    return xp.concat(parts)


def _ranked(rows, byzantine: int, neighbours: int | None = None) -> np.ndarray:
    """Return the indices (n,) of the rows by Krum's score, the best first."""
    n = rows.shape[0]
    count = n - byzantine - 2 if neighbours is None else neighbours
    check_integer("neighbours", count, 0)
    if not 1 <= count <= n - 1:
        raise ValueError(f"Krum's score needs 1 <= neighbours <= n - 1 = {n - 1}, got {count}")
    return _by_score(to_host(distances(rows)), count)


def _by_score(square: np.ndarray, count: int) -> np.ndarray:
    """Order rows by the sum of their `count` least squared distances to others, stably.

    A row with fewer infinite distances among them comes first, whatever the rest.
    """
    others = square[~np.eye(square.shape[0], dtype=bool)].reshape(square.shape[0], -1)
    nearest = np.sort(others, axis=1)[:, :count]
    far = np.isinf(nearest)
    with np.errstate(over="ignore"):
        scores = np.where(far, 0.0, nearest).sum(axis=1)
    return np.lexsort((scores, far.sum(axis=1)))


def krum(rows, /, *, byzantine: int, neighbours: int | None = None):
    """Return the row whose nearest neighbours are nearest.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 3.
    neighbours : int, optional
        Other rows counted in a score; default n - byzantine - 2, the paper's. ByzFL and
        Garfield count n - byzantine - 1.

    Returns
    -------
    array (d,)
        One of the rows, bit for bit.

    Examples
    --------
    >>> krum(np.array([[1.0], [1.1], [1.2], [1.5], [99.0]]), byzantine=1)
    array([1.1])

    References
    ----------
    Blanchard et al., Machine learning with adversaries, NeurIPS 2017. Squared distances.
    """
    _require("krum", rows, byzantine, 2, 3, ", or median (n >= 2 * byzantine + 1)")
    return take(rows, _ranked(rows, byzantine, neighbours)[:1])[0, :]


def multi_krum(rows, /, *, byzantine: int, keep: int | None = None, neighbours: int | None = None):
    """Average the `keep` rows with the lowest Krum scores.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 3.
    keep : int, optional
        Rows averaged, at most n - byzantine; default n - byzantine - 2, as in the DETOX code.
        ByzFL averages n - byzantine.
    neighbours : int, optional
        As in `krum`.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> multi_krum(np.array([[1.0], [2.0], [3.0], [4.0], [99.0]]), byzantine=1, keep=2)
    array([2.5])

    References
    ----------
    Blanchard et al., Machine learning with adversaries, NeurIPS 2017.
    """
    n = _require("multi_krum", rows, byzantine, 2, 3, ", or median (n >= 2 * byzantine + 1)")
    kept = n - byzantine - 2 if keep is None else keep
    check_integer("keep", kept, 0)
    if not 1 <= kept <= n - byzantine:
        raise ValueError(f"multi_krum needs 1 <= keep <= n - byzantine = {n - byzantine}: {kept}")
    return _average(rows, _ranked(rows, byzantine, neighbours)[:kept])


def bulyan(rows, /, *, byzantine: int, selection: str = "iterative"):
    """Select rows by Krum, then average in each coordinate the values near the median.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 4 byzantine + 3.
    selection : {"iterative", "one-shot"}
        "iterative" is the paper's: n - 2 byzantine rows, each the winner of Krum among those
        left (at least one neighbour counts), then the mean of the values nearest the median.
        "one-shot" is the DETOX code's: the n - byzantine - 2 best scores at once, then a
        trimmed mean of them. Its figures need it.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> rows = np.array([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [99.0]])
    >>> bulyan(rows, byzantine=1), bulyan(rows, byzantine=1, selection="one-shot")
    (array([3.]), array([3.5]))

    References
    ----------
    El Mhamdi, Guerraoui, Rouault, The hidden vulnerability of distributed learning in
    Byzantium, ICML 2018.
    """
    instead = ", or multi_krum (n >= 2 * byzantine + 3)"
    n = _require("bulyan", rows, byzantine, 4, 3, instead)
    if selection not in ("iterative", "one-shot"):
        raise ValueError(f"bulyan's selection is 'iterative' or 'one-shot', got {selection!r}")
    if selection == "one-shot":
        best = _ranked(rows, byzantine)[: n - byzantine - 2]
        return order_mean(take(rows, best), byzantine, best.size - byzantine - 1)
    square = to_host(distances(rows))
    chosen: list[int] = []
    left = np.arange(n)
    for _ in range(n - 2 * byzantine):
        count = max(1, left.size - byzantine - 2)
        winner = _by_score(square[np.ix_(left, left)], count)[0]
        chosen.append(left[winner])
        left = np.delete(left, winner)
    return _mean_near_median(take(rows, chosen), len(chosen) - 2 * byzantine)


def _mean_near_median(rows, count: int):
    """Average in each coordinate the `count` values nearest the median, the lower on a tie."""
    xp = namespace(rows)
    n = rows.shape[0]
    ordered = xp.sort(rows, axis=0)
    gaps = xp.abs(ordered - order_mean(rows, (n - 1) // 2, n // 2))
    nearest = xp.argsort(gaps, axis=0, stable=True)[:count, :]
    return _average(xp.take_along_axis(ordered, nearest, axis=0))


def sign_majority(rows, /, *, byzantine: int):
    """Return the majority sign of each coordinate: -1, 0 (a tie) or 1.

    Parameters
    ----------
    rows : array (n, d)
        Only signs are used; NaN abstains.
    byzantine : int
        n >= 2 byzantine + 1.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> sign_majority(np.array([[0.1, -2.0], [3.0, -1.0], [-9.0, 5.0]]), byzantine=1)
    array([ 1., -1.])

    References
    ----------
    Bernstein et al., signSGD with majority vote is communication efficient and fault
    tolerant, ICLR 2019.
    """
    _require("sign_majority", rows, byzantine, 2, 1)
    xp = namespace(rows)
    signs = xp.sign(xp.where(xp.isnan(rows), xp.zeros_like(rows), rows))
    return xp.sign(xp.sum(signs, axis=0))
