"""Rules that choose rows by their distances. A row with NaN or Inf is infinitely far from all."""

import numpy as np

from detox_sim.aggregators.conditions import Facts, require
from detox_sim.aggregators.weights import average, has_far_row, norms
from detox_sim.catalogue import check_integer, check_number
from detox_sim.primitives import distances, order_mean, take

KRUM = Facts(
    "krum",
    "row nearest to its neighbours",
    "Blanchard et al. 2017",
    plus=3,
    pairs=1,
    extra="n² log n",
    instead="median (n >= 2 * byzantine + 1)",
)


def krum(rows, /, *, byzantine: int, neighbours: int | None = None, power: float = 2):
    """Return the row with the least sum of squared distances to its nearest neighbours.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 3.
    neighbours : int, optional
        Other rows counted in a score; default n - byzantine - 2, the paper's. ByzFL and
        Garfield count n - byzantine - 1.
    power : float
        A score sums distances to this power: 2 in the paper, 1 in Garfield, 4 in Blades.

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
    Blanchard et al., Machine learning with adversaries, NeurIPS 2017.
    """
    require(KRUM, rows, byzantine)
    return take(rows, _ranked(rows, byzantine, neighbours, power)[:1])[0, :]


MULTI_KRUM = Facts(
    "multi_krum",
    "mean of the rows Krum scores best",
    "Blanchard et al. 2017",
    plus=3,
    passes=1,
    pairs=1,
    extra="n² log n",
    instead="median (n >= 2 * byzantine + 1)",
)


def multi_krum(
    rows,
    /,
    *,
    byzantine: int,
    keep: int | None = None,
    neighbours: int | None = None,
    power: float = 2,
):
    """Average the `keep` rows with the lowest Krum scores.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 3.
    keep : int, optional
        Rows averaged, at most n - byzantine; default n - byzantine - 2, as in the DETOX code.
        ByzFL averages n - byzantine.
    neighbours, power : optional
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
    n = require(MULTI_KRUM, rows, byzantine)
    kept = n - byzantine - 2 if keep is None else keep
    check_integer("keep", kept, 0)
    if not 1 <= kept <= n - byzantine:
        raise ValueError(f"multi_krum needs 1 <= keep <= n - byzantine = {n - byzantine}: {kept}")
    return average(rows, _ranked(rows, byzantine, neighbours, power)[:kept])


BULYAN = Facts(
    "bulyan",
    "Krum selection, then a mean near the median",
    "El Mhamdi et al. 2018",
    factor=4,
    plus=3,
    sorts=1,
    pairs=1,
    left_out=(1, 2),  # of the one-shot selection; the iterative one leaves out 2 f
    extra="n³ log n",
    instead="multi_krum (n >= 2 * byzantine + 3)",
)


def bulyan(rows, /, *, byzantine: int, selection: str = "iterative"):
    """Select rows by Krum, then average in each coordinate the values near the median.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 4 byzantine + 3.
    selection : {"iterative", "one-shot", "one-shot-median"}
        "iterative" is the paper's: n - 2 byzantine rows, each the winner of Krum among those
        left (at least one neighbour counts), then the mean of the values nearest the median.
        "one-shot" is the DETOX code's: the n - byzantine - 2 best scores at once, then a
        trimmed mean of them, which the figures of DETOX use. "one-shot-median" is recent
        Flower's: the n - 2 byzantine best scores at once, then the paper's second stage.

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
    n = require(BULYAN, rows, byzantine)
    if selection not in ("iterative", "one-shot", "one-shot-median"):
        raise ValueError(
            "bulyan's selection is 'iterative' or 'one-shot' or 'one-shot-median', "
            f"got {selection!r}"
        )
    if selection == "one-shot":
        best = _ranked(rows, byzantine)[: n - byzantine - 2]
        return order_mean(rows, byzantine, best.size - byzantine - 1, chosen=best)
    picks = n - 2 * byzantine
    if selection == "one-shot-median":
        chosen = _ranked(rows, byzantine)[:picks]
    else:
        chosen = _picked_in_turn(distances(rows), byzantine, picks)
    middle = (picks - 1) // 2, picks // 2
    return order_mean(rows, *middle, nearest=picks - 2 * byzantine, chosen=chosen)


def _picked_in_turn(square: np.ndarray, byzantine: int, picks: int) -> np.ndarray:
    """Return the rows (picks,) that Krum chooses one after the other, each among those left."""
    n = len(square)
    away = square.copy()
    np.fill_diagonal(away, np.nan)  # sorted last: no row is its own neighbour
    order = np.argsort(away, axis=1, kind="stable")[:, :-1]
    ordered, left = np.take_along_axis(away, order, axis=1), np.ones(n, dtype=bool)
    chosen = []
    for size in range(n, n - picks, -1):
        others = ordered[left][left[order[left]]].reshape(size, size - 1)
        winner = _least_sum(others[:, : max(1, size - byzantine - 2)])[0]
        chosen.append(np.flatnonzero(left)[winner])
        left[chosen[-1]] = False
    return np.array(chosen)


def _ranked(rows, byzantine: int, neighbours: int | None = None, power: float = 2) -> np.ndarray:
    """Return the indices (n,) of the rows by Krum's score, the best first."""
    n = rows.shape[0]
    count = n - byzantine - 2 if neighbours is None else neighbours
    check_integer("neighbours", count, 0)
    check_number("power", power)
    if not 1 <= count <= n - 1:
        raise ValueError(f"Krum's score needs 1 <= neighbours <= n - 1 = {n - 1}, got {count}")
    if not power > 0:
        raise ValueError(f"Krum's score needs power > 0, got {power!r}")
    square = distances(rows)
    return _by_score(square if power == 2 else square ** (power / 2), count)


def _by_score(distance: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of rows by the sum of their `count` least distances to others.

    Rows with fewer infinite distances among them come first; equal rows keep their order.
    """
    n = len(distance)
    others = distance[~np.eye(n, dtype=bool)].reshape(n, -1)
    return _least_sum(np.sort(others, axis=1)[:, :count])


def _least_sum(nearest: np.ndarray) -> np.ndarray:
    """Return the indices of lines by their number of infinite values, then by their sum."""
    far = np.isinf(nearest)
    with np.errstate(over="ignore"):
        scores = np.where(far, 0.0, nearest).sum(axis=1)
    return np.lexsort((scores, far.sum(axis=1)))


FAR = 1e14  # times the distance of most rows: sums of distances are rounded by a hundredth of it
MEDOID = Facts(
    "medoid", "row with the least sum of distances", "Xie et al. 2018", breakdown="< 1/2", pairs=1
)


def medoid(rows, /, *, byzantine: int):
    """Return the row with the least sum of Euclidean distances to the others.

    Where a row is more than 1e14 times as far as most are from each other, such a sum rounds away
    their differences; the nearer half of the others is summed then.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.

    Returns
    -------
    array (d,)
        One of the rows, bit for bit.

    Examples
    --------
    >>> medoid(np.array([[0.0], [1.0], [3.0], [99.0]]), byzantine=1)
    array([1.])

    References
    ----------
    Xie, Koyejo, Gupta, Generalized Byzantine-tolerant SGD, 2018, where it approximates the
    geometric median.
    """
    n = require(MEDOID, rows, byzantine)
    distance = np.sqrt(distances(rows))
    count = n // 2 if has_far_row(distance, FAR) else n - 1
    best = 0 if n == 1 else _by_score(distance, count)[0]
    return take(rows, [best])[0, :]


CGE = Facts("cge", "mean of the n - f shortest rows", "Gupta, Liu, Vaidya 2021", passes=2)


def cge(rows, /, *, byzantine: int):
    """Average the n - byzantine rows of least Euclidean length.

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
    >>> cge(np.array([[1.0], [-2.0], [4.0], [-99.0]]), byzantine=1)
    array([1.])

    References
    ----------
    Gupta, Liu, Vaidya, Byzantine fault-tolerance in distributed optimization under
    2f-redundancy, 2021: comparative gradient elimination. The mean, where the paper sums.
    """
    n = require(CGE, rows, byzantine)
    return average(rows, np.argsort(norms(rows), kind="stable")[: n - byzantine])
