"""Rules that look at each coordinate by itself. NaN counts as +Inf."""

import numpy as np

from detox_sim.aggregators.conditions import Facts, require
from detox_sim.aggregators.weights import average_of_finite
from detox_sim.arrays import namespace
from detox_sim.catalogue import check_integer
from detox_sim.primitives import combine, map_columns, order_mean, sign_sum

MEAN = Facts("mean", "average: no defence", "-", breakdown="0", factor=0, passes=1)


def mean(rows, /, *, byzantine: int):
    """Average the rows, without any defence against finite arbitrary rows.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        At most this many rows with NaN or Inf are dropped; finite ones all count.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> mean(np.array([[1.0, 2.0], [3.0, 6.0]]), byzantine=0)
    array([2., 4.])
    """
    require(MEAN, rows, byzantine)
    return average_of_finite(rows, byzantine)


MEDIAN = Facts(
    "median", "middle value of each coordinate", "Yin et al. 2018", breakdown="< 1/2", sorts=1
)


def median(rows, /, *, byzantine: int, middle: str = "midpoint"):
    """Take the median of each coordinate.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.
    middle : {"midpoint", "lower"}
        For even n: the midpoint of the two middle values, or the lower one, as torch has it.

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
    n = require(MEDIAN, rows, byzantine)
    if middle not in ("midpoint", "lower"):
        raise ValueError(f"median's middle is 'midpoint' or 'lower', got {middle!r}")
    return order_mean(rows, (n - 1) // 2, n // 2 if middle == "midpoint" else (n - 1) // 2)


TRIMMED_MEAN = Facts(
    "trimmed_mean", "mean of each coordinate without its extremes", "Yin et al. 2018", sorts=1
)


def trimmed_mean(rows, /, *, byzantine: int, trim: int | None = None):
    """Average each coordinate without its smallest and largest values.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.
    trim : int, optional
        Values cut on each side, n > 2 trim; default `byzantine`; fewer withstand fewer
        arbitrary rows.

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
    n = require(TRIMMED_MEAN, rows, byzantine)
    cut = byzantine if trim is None else trim
    check_integer("trim", cut, 0)
    if n <= 2 * cut:
        raise ValueError(f"trimmed_mean needs n > 2 * trim = {2 * cut} rows, got {n}")
    return order_mean(rows, cut, n - cut - 1)


MEAMED = Facts("meamed", "mean of the values nearest the median", "Xie et al. 2018", sorts=1)


def meamed(rows, /, *, byzantine: int):
    """Average in each coordinate the n - byzantine values nearest the median.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.

    Returns
    -------
    array (d,)
        Of two values equally near, the lower counts.

    Examples
    --------
    >>> meamed(np.array([[1.0], [2.0], [3.0], [9.0]]), byzantine=1)
    array([2.])

    References
    ----------
    Xie, Koyejo, Gupta, Generalized Byzantine-tolerant SGD, 2018: mean around the median.
    """
    n = require(MEAMED, rows, byzantine)
    return order_mean(rows, (n - 1) // 2, n // 2, nearest=n - byzantine)


PHOCAS = Facts("phocas", "mean of the values nearest the trimmed mean", "Xie et al. 2018", sorts=1)


def phocas(rows, /, *, byzantine: int):
    """Average in each coordinate the n - byzantine values nearest the trimmed mean.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1; as many values are trimmed on each side.

    Returns
    -------
    array (d,)
        Of two values equally near, the lower counts.

    Examples
    --------
    >>> phocas(np.array([[1.0], [2.0], [3.0], [4.0], [90.0]]), byzantine=1)
    array([2.5])

    References
    ----------
    Xie, Koyejo, Gupta, Phocas: dimensional Byzantine-resilient SGD, 2018.
    """
    n = require(PHOCAS, rows, byzantine)
    return order_mean(rows, byzantine, n - byzantine - 1, nearest=n - byzantine)


MEDIAN_OF_MEANS = Facts(
    "median_of_means", "median of the means of buckets", "Chen et al. 2017", passes=1
)


def median_of_means(rows, /, *, byzantine: int, buckets: int | None = None):
    """Take the median of each coordinate over the means of buckets of consecutive rows.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.
    buckets : int, optional
        2 byzantine + 1 <= buckets <= n; default 2 byzantine + 1. Sizes differ by at most one.

    Returns
    -------
    array (d,)

    Examples
    --------
    >>> median_of_means(np.array([[1.0], [3.0], [2.0], [4.0], [9.0], [99.0]]), byzantine=1)
    array([3.])

    References
    ----------
    Chen, Su, Xu, Distributed statistical machine learning in adversarial settings, 2017, with
    the coordinate-wise median for their geometric one.
    """
    n = require(MEDIAN_OF_MEANS, rows, byzantine)
    count = 2 * byzantine + 1 if buckets is None else buckets
    check_integer("buckets", count, 1)
    if not 2 * byzantine + 1 <= count <= n:
        raise ValueError(
            f"median_of_means needs 2 * byzantine + 1 = {2 * byzantine + 1} <= buckets <= n = {n}, "
            f"got {count}"
        )
    weights = np.zeros((count, n))
    for bucket, members in enumerate(np.array_split(np.arange(n), count)):
        weights[bucket, members] = 1 / members.size
    middle = (count - 1) // 2, count // 2
    return map_columns(lambda block: order_mean(combine(weights, block), *middle), rows)


SIGN_MAJORITY = Facts(
    "sign_majority",
    "majority of the signs of each coordinate",
    "Bernstein et al. 2019",
    breakdown="< 1/2",
    passes=2,
)


def sign_majority(rows, /, *, byzantine: int):
    """Return the majority sign of each coordinate: -1, 0 (a tie) or 1.

    Parameters
    ----------
    rows : array (n, d)
        Only signs are used; NaN counts as neither.
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
    require(SIGN_MAJORITY, rows, byzantine)
    votes = sign_sum(rows)
    return namespace(votes).sign(votes)
