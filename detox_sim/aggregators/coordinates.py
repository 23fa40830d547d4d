"""Rules that look at each coordinate by itself. NaN counts as +Inf."""

import numpy as np

from detox_sim.aggregators.facts import require
from detox_sim.aggregators.weights import average_of_unbroken
from detox_sim.arrays import namespace
from detox_sim.catalogue import check_integer
from detox_sim.primitives import combine, map_columns, order_mean, sign_sum


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
    require("mean", rows, byzantine)
    return average_of_unbroken(rows, byzantine)


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
    n = require("median", rows, byzantine)
    if middle not in ("midpoint", "lower"):
        raise ValueError(f"median's middle is 'midpoint' or 'lower', got {middle!r}")
    return order_mean(rows, (n - 1) // 2, n // 2 if middle == "midpoint" else (n - 1) // 2)


def trimmed_mean(rows, /, *, byzantine: int, trim: int | None = None):
    """Average each coordinate without its smallest and largest values.

    Parameters
    ----------
    rows : array (n, d)
    byzantine : int
        n >= 2 byzantine + 1.
    trim : int, optional
        Values cut on each side, n > 2 trim; default `byzantine`. Less than that withstands less.

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
    n = require("trimmed_mean", rows, byzantine)
    cut = byzantine if trim is None else trim
    check_integer("trim", cut, 0)
    if n <= 2 * cut:
        raise ValueError(f"trimmed_mean needs n > 2 * trim = {2 * cut} rows, got {n}")
    return order_mean(rows, cut, n - cut - 1)


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
    n = require("meamed", rows, byzantine)
    return order_mean(rows, (n - 1) // 2, n // 2, nearest=n - byzantine)


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
    n = require("phocas", rows, byzantine)
    return order_mean(rows, byzantine, n - byzantine - 1, nearest=n - byzantine)


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
    n = require("median_of_means", rows, byzantine)
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
    require("sign_majority", rows, byzantine)
    votes = sign_sum(rows)
    return namespace(votes).sign(votes)
