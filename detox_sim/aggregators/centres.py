"""Rules that weigh rows by how far from a centre they lie, or in which direction."""

import numpy as np

from detox_sim.aggregators.coordinates import median
from detox_sim.aggregators.facts import require
from detox_sim.aggregators.selection import check_trusted
from detox_sim.aggregators.weights import average, centred_gram, norms, shares, unbroken, weighted
from detox_sim.arrays import is_array, namespace, to_host
from detox_sim.catalogue import check_integer, check_number
from detox_sim.primitives import distances, finite, take
from detox_sim.primitives.reference import column_blocks
from detox_sim.streams import stream

SHORTEST = 1e-150  # squares of shorter rows vanish in float64; they count as zero


def centered_clipping(rows, /, *, byzantine: int, radius: float, start="zero", steps: int = 1):
    """Average the rows, each pulled towards the centre to within a radius of it.

    Parameters
    ----------
    rows : array (n, d)
        A row with NaN or Inf pulls nothing, but counts in the mean.
    byzantine : int
        n >= 2 byzantine + 1.
    radius : float
        In the units of the rows; 0 < radius.
    start : {"zero", "median"} or array (d,)
        The first centre; training with momentum passes its last result.
    steps : int
        Each takes the result as the next centre.

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
    No state is kept between calls, where ByzFL keeps one.
    """
    n = require("centered_clipping", rows, byzantine)
    check_number("radius", radius)
    check_integer("steps", steps, 1)
    if not 0 < radius < np.inf:
        raise ValueError(f"centered_clipping needs a finite radius > 0, got {radius!r}")
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
        f"centered_clipping's start is 'zero', 'median' or ({d},) finite values: {start!r}"
    )


def caf(rows, /, *, byzantine: int):
    """Lower the weights of rows along the direction of most variance, and keep the best mean.

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
    where ByzFL's may be that of a row it no longer hears.
    """
    n = require("caf", rows, byzantine)
    square = distances(rows)
    kept, byzantine = unbroken(square, byzantine)
    least, best = np.inf, np.ones(kept.size)
    weights = np.ones(kept.size)
    while weights.sum() > kept.size - 2 * byzantine:
        alive = np.flatnonzero(weights)
        inner, share = square[np.ix_(kept[alive], kept[alive])], shares(weights[alive])
        top, projections = _top_direction(inner, share)
        if top < least:
            least, best = top, weights.copy()
        if top <= 0.0:
            break
        weights[alive] *= 1 - projections
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
    eigenvectors, and all coordinates by default, which needs no chance.
    """
    n = require("dnc", rows, byzantine)
    check_integer("iterations", iterations, 1)
    check_number("filter", filter)
    if not 0 <= np.ceil(filter * byzantine) < n:
        raise ValueError(f"dnc needs 0 <= filter * byzantine < n = {n}, got filter={filter!r}")
    if coordinates is None and iterations > 1:
        raise ValueError("dnc looks at the same each time; use iterations=1, or coordinates=...")
    if coordinates is None:
        samples, heard = [distances(rows)], np.ones(n, dtype=bool)
    else:
        check_integer("coordinates", coordinates, 1)
        draws = (stream(seed, "dnc", index) for index in range(iterations))
        samples = [distances(_sample(rows, coordinates, rng)) for rng in draws]
        heard = finite(rows)
    for square in samples:
        heard &= np.isin(np.arange(n), unbroken(square, byzantine)[0])
    if n - heard.sum() > byzantine:
        heard[:] = True
    kept, byzantine = np.flatnonzero(heard), max(0, byzantine - int(n - heard.sum()))
    good = heard.copy()
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


def fltrust(rows, /, *, byzantine: int, trusted: int = 0):
    """Weigh the rows by their cosine to a trusted one, each scaled to its length.

    Parameters
    ----------
    rows : array (n, d)
        A row with NaN or Inf has no weight.
    byzantine : int
        n >= byzantine + 1.
    trusted : int
        Index of the server's own row, known to be honest; it must be finite.

    Returns
    -------
    array (d,)
        The mean of the scaled rows weighted by max(0, cosine); the trusted row has weight 1.

    Examples
    --------
    >>> fltrust(np.array([[2.0, 0.0], [9.0, 0.0], [0.0, 5.0], [-99.0, 0.0]]), byzantine=2)
    array([2., 0.])

    References
    ----------
    Cao et al., FLTrust: Byzantine-robust federated learning via trust bootstrapping, NDSS 2021.
    There the server's row only judges; here it is one of the rows and counts too.
    """
    n = require("fltrust", rows, byzantine)
    check_trusted("fltrust", trusted, n)
    lengths = norms(rows)
    own = lengths[trusted]
    if np.isinf(own):
        raise ValueError(f"fltrust needs a finite trusted row, row {trusted} is not")
    heard = np.isfinite(lengths) & (lengths > SHORTEST)
    products = _inner_products(rows, take(rows, [trusted])[0, :])
    with np.errstate(invalid="ignore"):
        cosines = products / np.where(heard, lengths, 1.0) / (own or 1.0)
    scores = np.where(heard, np.clip(cosines, 0.0, 1.0), 0.0)
    if own <= SHORTEST or not scores.any():
        return weighted(rows, np.zeros(n))
    return weighted(rows, scores / scores.sum() * own / np.where(heard, lengths, 1.0))


def _inner_products(rows, point) -> np.ndarray:
    """Return the inner products (n,) of the rows with one vector (d,), in float64."""
    xp, total = namespace(rows), np.zeros(rows.shape[0])
    for columns in column_blocks(rows):
        block = xp.astype(rows[:, columns], xp.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            total = total + to_host(xp.sum(block * xp.astype(point[columns], xp.float64), axis=1))
    return total
