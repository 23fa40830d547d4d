"""Rules that weigh rows by their distance or direction from a centre."""

import numpy as np

from detox_sim.aggregators.conditions import Facts, require
from detox_sim.aggregators.coordinates import median
from detox_sim.aggregators.weights import (
    average,
    centred_gram,
    last_aggregate,
    near_most,
    shares,
    weighted,
)
from detox_sim.arrays import is_array, namespace, to_host
from detox_sim.catalogue import check_integer, check_number
from detox_sim.primitives import distances, finite
from detox_sim.streams import stream

CENTERED_CLIPPING = Facts(
    "centered_clipping",
    "mean of the rows clipped around a start",
    "Karimireddy et al. 2021",
    breakdown="< 1/2",
    passes=2,
)


def centered_clipping(
    rows, /, *, byzantine: int, radius: float, start="zero", steps: int = 1, previous=None
):
    """Average the rows, each first moved towards a centre to within a radius of it.

    Parameters
    ----------
    rows : array (n, d)
        A row with NaN or Inf counts as the centre itself.
    byzantine : int
        n >= 2 byzantine + 1.
    radius : float
        In the units of the rows; 0 < radius.
    start : {"zero", "median", "previous"} or array (d,)
        The first centre. The published rule starts at "previous".
    steps : int
        Each takes the result as the next centre.
    previous : array (d,), optional
        The last aggregate, which a trial supplies (zeros at the first step). One with NaN or Inf
        counts as zeros.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> centered_clipping(np.array([[1.0], [2.0], [99.0]]), byzantine=1, radius=3.0)
    array([2.])

    References
    ----------
    Karimireddy, He, Jaggi, Learning from history for Byzantine robust optimization, ICML 2021.
    """
    n = require(CENTERED_CLIPPING, rows, byzantine)
    check_number("radius", radius)
    check_integer("steps", steps, 1)
    if not 0 < radius < np.inf:
        raise ValueError(f"centered_clipping needs a finite radius > 0, got {radius!r}")
    if isinstance(start, str) and start == "previous":
        centre = last_aggregate("centered_clipping", rows, previous)
    else:
        centre = _first_centre(rows, start)
    for _ in range(steps):
        radii = np.sqrt(distances(rows, centre[None, :])[:, 0])
        pull = radius / np.maximum(radii, radius) / n
        centre *= 1 - float(pull.sum())
        centre += weighted(rows, pull)
    return centre


def _first_centre(rows, start):
    xp, d = namespace(rows), rows.shape[1]
    if is_array(start) and start.shape == (d,) and np.isfinite(to_host(start)).all():
        return xp.astype(xp.asarray(to_host(start)), rows.dtype, copy=True)
    if isinstance(start, str) and start == "zero":
        return xp.zeros(d, dtype=rows.dtype)
    if isinstance(start, str) and start == "median":
        return median(rows, byzantine=0)
    raise ValueError(
        "centered_clipping's start is 'zero', 'median', 'previous' or "
        f"({d},) finite values: {start!r}"
    )


CAF = Facts(
    "caf",
    "mean reweighted until no direction varies much",
    "Allouah et al. 2025",
    passes=1,
    pairs=1,
    extra="n³ a step",
)


def caf(rows, /, *, byzantine: int):
    """Lower row weights along the direction of most variance; return the mean of least variance.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.

    Returns
    -------
    array (d,)
        The weighted mean whose weighted covariance had the least top eigenvalue, while the
        weights (1 at first) sum to more than n - 2 byzantine.

    Examples
    --------
    >>> caf(np.array([[1.0], [2.0], [3.0], [99.0]]), byzantine=1).round(2)
    array([2.01])

    References
    ----------
    Allouah et al., Towards trustworthy federated learning with untrusted participants, 2025:
    covariance bound-agnostic filter. Exact eigenvectors of the n x n Gram matrix, where ByzFL
    takes one random power step; the longest projection is sought among rows with weight left,
    where ByzFL's may be that of a row whose weight is 0.
    """
    n = require(CAF, rows, byzantine)
    square = distances(rows)
    kept, byzantine = near_most(square, byzantine)
    least, best = np.inf, np.ones(kept.size)
    weights = np.ones(kept.size)
    while weights.sum() > kept.size - 2 * byzantine:
        left = np.flatnonzero(weights)
        some, share = kept[left], shares(weights[left])
        inner = square if len(some) == n else square[some[:, None], some]
        top, projections = _top_direction(inner, share)
        if top < least:
            least, best = top, weights.copy()
        if top <= 0.0:
            break
        weights[left] *= 1 - projections
    full = np.zeros(n)
    full[kept] = shares(best)
    return weighted(rows, full)


def _top_direction(square: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the top eigenvalue of the weighted covariance, and squared projections (n,) on it.

    The projections are relative to the longest.
    """
    scale = float(square.max())
    if not 0 < scale < np.inf:
        return 0.0, np.zeros(len(square))
    gram, roots = centred_gram(square / scale, weights), np.sqrt(weights)
    values, vectors = np.linalg.eigh(roots[:, None] * gram * roots[None, :])
    along = np.abs((gram * (roots * vectors[:, -1])).sum(axis=1))
    return float(values[-1]) * scale, (along / along.max()) ** 2


DNC = Facts(
    "dnc",
    "mean without the outliers of the top direction",
    "Shejwalkar, Houmansadr 2021",
    breakdown="1 row",
    passes=1,
    pairs=1,
    extra="n³",
)


def dnc(
    rows,
    /,
    *,
    byzantine: int,
    filter: float = 1.0,
    iterations: int = 1,
    coordinates: int | None = None,
    seed: int = 0,
):
    """Drop the rows that lie farthest along the direction of most variance, and average.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.
    filter : float
        ceil(filter * byzantine) rows are dropped, at most n - 1; of equal scores the highest
        index. Rows with NaN or Inf go first, each for one of the `byzantine`.
    iterations : int
        A row is kept if it is kept each time; more than one needs `coordinates`.
    coordinates : int, optional
        Random coordinates looked at, drawn anew each time; default all, exactly.
    seed : int
        Of those draws.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> dnc(np.array([[1.0], [2.0], [3.0], [99.0]]), byzantine=1)
    array([2.])

    References
    ----------
    Shejwalkar, Houmansadr, Manipulating the Byzantine, NDSS 2021: divide and conquer. Exact
    eigenvectors, and by default all coordinates, so that nothing is drawn.
    """
    n = require(DNC, rows, byzantine)
    check_integer("iterations", iterations, 1)
    check_number("filter", filter)
    if not 0 <= np.ceil(filter * byzantine) < n:
        raise ValueError(f"dnc needs 0 <= filter * byzantine < n = {n}, got filter={filter!r}")
    if coordinates is None and iterations > 1:
        raise ValueError(
            "dnc needs coordinates=... for iterations > 1: all coordinates give the same each time"
        )
    if coordinates is None:
        samples, whole = [distances(rows)], np.ones(n, dtype=bool)
    else:
        check_integer("coordinates", coordinates, 1)
        draws = (stream(seed, "dnc", index) for index in range(iterations))
        samples = [distances(_sample(rows, coordinates, rng)) for rng in draws]
        whole = finite(rows)
    for square in samples:
        whole &= np.isin(np.arange(n), near_most(square, byzantine)[0])
    if n - whole.sum() > byzantine:
        whole[:] = True
    kept, byzantine = np.flatnonzero(whole), max(0, byzantine - int(n - whole.sum()))
    good = whole.copy()
    for square in samples:
        _, scores = _top_direction(square[np.ix_(kept, kept)], shares(np.ones(kept.size)))
        worst = np.lexsort((-kept, -scores))[: int(np.ceil(filter * byzantine))]
        good[kept[worst]] = False
    if not good.any():
        raise ValueError(f"dnc kept no row in {iterations} iterations; use fewer")
    return average(rows, np.flatnonzero(good))


def _sample(rows, coordinates: int, rng: np.random.Generator):
    """Return the rows at randomly drawn coordinates (n, min(coordinates, d))."""
    xp, d = namespace(rows), rows.shape[1]
    drawn = np.sort(rng.choice(d, min(coordinates, d), replace=False))
    return xp.take(rows, xp.asarray(drawn), axis=1)
