"""Lines of finite geometries and triple systems: any two points lie on exactly one line.

Points are 0, 1, 2, ...; a line is a row of points.
"""

import numpy as np

from detox_sim.assignments.finite_fields import add, multiply


def affine_lines(order: int, dimension: int) -> np.ndarray:
    """Return the lines of AG(dimension, order), by direction.

    Parameters
    ----------
    order : int
        Points on a line; a prime power.
    dimension : int
        1 or more. There are order^dimension points: the digits of a point in base `order` are its
        coordinates.

    Returns
    -------
    numpy.ndarray of int (directions, order^(dimension - 1), order)
        The lines of one direction are parallel. A direction is a vector whose first nonzero
        coordinate is 1; vectors (1, ...) come first, in the order of the number whose digits are
        the other coordinates, then (0, 1, ...).

    Examples
    --------
    >>> affine_lines(2, 2).tolist()
    [[[0, 2], [1, 3]], [[0, 3], [1, 2]], [[0, 1], [2, 3]]]

    References
    ----------
    Stinson, Combinatorial Designs, 2004, chapter 2.
    """
    steps = np.arange(order)
    lines = []
    for pivot in range(dimension):
        scale = order ** (dimension - 1 - pivot)  # of the coordinates after the pivot
        slope, before, after, step = np.ix_(
            np.arange(scale), np.arange(order**pivot), np.arange(scale), steps
        )
        points = before * order * scale + step * scale
        for unit in (order**digit for digit in range(dimension - 1 - pivot)):
            rise = multiply(step, slope // unit % order, order)
            points = points + add(after // unit % order, rise, order) * unit
        lines.append(np.broadcast_to(points, (scale, order**pivot, scale, order)))
    return np.concatenate([family.reshape(len(family), -1, order) for family in lines])


def projective_lines(order: int, dimension: int) -> np.ndarray:
    """Return the lines of PG(dimension, order).

    Parameters
    ----------
    order : int
        A prime power; order + 1 points on a line.
    dimension : int
        1 or more. There are 1 + order + ... + order^dimension points: those of AG(dimension,
        order), then those at infinity, one for each direction.

    Returns
    -------
    numpy.ndarray of int (lines, order + 1)

    Examples
    --------
    >>> projective_lines(2, 2).shape
    (7, 3)

    References
    ----------
    Stinson, Combinatorial Designs, 2004, chapter 2.
    """
    lines, finite = affine_lines(order, dimension), order**dimension
    ends = np.broadcast_to(np.arange(len(lines))[:, None, None], (*lines.shape[:2], 1))
    ended = np.concatenate([lines, finite + ends], axis=2).reshape(-1, order + 1)
    if dimension == 1:
        return ended
    return np.concatenate([ended, finite + projective_lines(order, dimension - 1)])


def steiner_triples(points: int) -> np.ndarray:
    """Return a Steiner triple system: lines of three points.

    Parameters
    ----------
    points : int
        1 or 3 modulo 6, and 3 or more.

    Returns
    -------
    numpy.ndarray of int (points (points - 1) / 6, 3)

    Examples
    --------
    >>> steiner_triples(7).tolist()
    [[0, 2, 4], [0, 1, 3], [2, 3, 5], [4, 5, 1], [1, 2, 6], [3, 4, 6], [5, 0, 6]]

    References
    ----------
    Bose 1939 for 3 modulo 6, Skolem 1958 for 1 modulo 6; in the form of Lindner and Rodger,
    Design Theory, 2008, chapter 1.
    """
    side, infinity = divmod(points, 3)  # points are (i < side, colour < 3), and one at infinity
    left, right = np.triu_indices(side, 1)
    total = (left + right) % side
    if infinity:
        low = np.arange(side // 2)
        third = total // 2 + total % 2 * len(low)
    else:
        low = np.arange(side)
        third = total * (side // 2 + 1) % side
    triples = [
        np.stack([low, low + side, low + 2 * side], axis=1),
        _in_each_colour(side, (left, 0), (right, 0), (third, 1)),
    ]
    if infinity:
        rays = _in_each_colour(side, (low + len(low), 0), (low, 1))
        triples.append(np.pad(rays, ((0, 0), (0, 1)), constant_values=points - 1))
    return np.concatenate(triples)


def _in_each_colour(side: int, *corners: tuple[np.ndarray, int]) -> np.ndarray:
    """Return rows of points (number, colour), with 0, 1 and 2 added to the colours."""
    turns = np.arange(3)[:, None]
    rows = [number + side * ((colour + turns) % 3) for number, colour in corners]
    return np.stack(rows, axis=-1).reshape(-1, len(corners))
