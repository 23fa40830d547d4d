"""The attack that tries rows on the server's own pipeline and sends the most damaging one."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from detox_sim.arrays import namespace
from detox_sim.attacks.forgery import (
    known_files,
    known_honest_files,
    mean_and_variance,
    mean_of,
    one_row,
)
from detox_sim.catalogue import check_integer, check_known
from detox_sim.messages import Messages, Search
from detox_sim.primitives import distances, take

FEWEST = 4  # evaluations: the points of the fixed attacks
DIRECTIONS = ("deviation", "mean", "sign")
LOW, HIGH = 0.25, 16.0  # of the grid, in honest spreads
GOLDEN = (3 - 5**0.5) / 2
NARROW = 1.01  # a bracket whose ends have a smaller ratio is not refined
BEYOND = 4.0  # factor by which a search goes on where the best scale is the last one tried


class Line(NamedTuple):
    """Candidate rows along one direction, told apart by a scale.

    Attributes
    ----------
    row : callable
        scale > 0 -> row (d,).
    unit : float
        The scale at which the row is about one honest spread from the mean.
    fixed : tuple of float
        Scales at which the row is the one that another attack sends.
    """

    row: Callable[[float], Any]
    unit: float
    fixed: tuple[float, ...] = ()


def searched(
    rows,
    forged: np.ndarray,
    /,
    *,
    rng: np.random.Generator,
    known: np.ndarray | None = None,
    server: Callable[[Messages], Any] | None = None,
    directions: Sequence[str] = ("deviation", "mean"),
    evaluations: int = 32,
    objective: str = "error",
) -> Messages:
    """Try rows on the server's own pipeline of this round, and send the most damaging one.

    The first rows tried are those of `alie` with z = 1 and of `inner_product` with factors 1, 10
    and 100, so the damage is at least theirs. A grid of scales over all directions follows, with
    half of the evaluations, then a golden-section search around the best ones. The search ends
    early when all rows do the same damage, or when the aggregate is not finite.

    Parameters
    ----------
    rows : array (files, d)
    forged : bool (files, copies)
    rng : numpy.random.Generator
        Used only where attackers do not know all files.
    known : bool (files,), optional
        Supplied; default all files. For each file that attackers do not know they try with a normal
        draw that has the mean and deviation of the known files.
    server : callable
        ``server(messages) -> aggregate (d,)``, deterministic. It is supplied.
    directions : sequence of {"deviation", "mean", "sign"}
        The honest mean plus or minus a multiple of the deviation of each coordinate; a multiple
        of the mean below one, negative ones included; the mean minus a multiple of its sign.
    evaluations : int
        Calls of the server, at most; 4 or more.
    objective : {"error", "descent"}
        The squared distance of the aggregate from the mean of the known honest gradients, or minus
        its inner product with that mean. An aggregate that is not finite counts as Inf.

    Returns
    -------
    Messages
        With `search`: the calls made, and the largest value of the objective in them. It is the
        value that the round reaches if all files are known, else an estimate.

    Raises
    ------
    ValueError
        Without a server, or for unknown values of the options.

    Examples
    --------
    >>> rows = np.array([[1.0], [2.0], [3.0], [9.0], [9.0]])
    >>> forged = np.array([[False], [False], [False], [True], [True]])
    >>> def middle(messages):
    ...     return np.median(messages.rows[messages.row_of[:, 0]], axis=0)
    >>> messages = searched(rows, forged, rng=None, server=middle, evaluations=8)
    >>> messages.search.evaluations, messages.search.value  # a median of 1: 4.8 less 1, squared
    (8, 14.44)

    References
    ----------
    The strongest attacks of Shejwalkar, Houmansadr, Manipulating the Byzantine, NDSS 2021, and
    of ByzFL search for one scale on the server's rule in this way, on one direction.
    """
    _check(directions, objective)
    check_integer("evaluations", evaluations, FEWEST)
    if server is None:
        raise ValueError(
            "searched needs a server, a function from messages to the aggregate; training "
            "supplies it, and 'min_max' needs none"
        )
    serve = server
    known_mask = known_files(forged, known)
    centre = mean_of(rows, known_mask, dtype=namespace(rows).float64)
    mean, variance = mean_and_variance(rows, known_honest_files(forged, known))
    deviation = namespace(rows).sqrt(variance)

    def damage(row) -> float:
        return _value(objective, serve(one_row(tried_on, forged, row)), centre)

    with np.errstate(over="ignore", invalid="ignore"):
        tried_on = _with_drawn_rows(rows, known_mask, mean, deviation, rng)
        if not forged.any():
            return _sent(rows, forged, mean, Search(1, damage(mean)))
        lines = _lines(directions, mean, deviation)
        row, search = maximise(damage, lines, evaluations)
        return _sent(rows, forged, row, search)


def _check(directions: Sequence[str], objective: str) -> None:
    check_known("objective", [objective], ["error", "descent"])
    if not isinstance(directions, list | tuple) or not directions:
        raise ValueError(
            f"directions must be a list of one or more of {', '.join(DIRECTIONS)}; "
            f"got {directions!r}"
        )
    check_known("direction", directions, DIRECTIONS)


def _sent(rows, forged: np.ndarray, row, search: Search) -> Messages:
    return dataclasses.replace(one_row(rows, forged, row), search=search)


def _with_drawn_rows(rows, known: np.ndarray, mean, deviation, rng: np.random.Generator):
    """Return the rows with a normal draw in place of each unknown one."""
    unknown = np.flatnonzero(~known)
    if not unknown.size:
        return rows
    xp = namespace(rows)
    noise = xp.asarray(rng.standard_normal((unknown.size, rows.shape[1])))
    drawn = mean + xp.astype(noise, rows.dtype) * deviation
    index = np.arange(len(known))
    index[unknown] = len(known) + np.arange(unknown.size)
    return take(xp.concat([rows, drawn]), index)


def _value(objective: str, aggregate, centre) -> float:
    """Return the damage of an aggregate (d,); Inf if it is not finite."""
    xp = namespace(centre)
    aggregate = xp.astype(aggregate, xp.float64)
    if objective == "error":
        return float(distances(aggregate[None, :], centre[None, :])[0, 0])
    value = -float(xp.sum(aggregate * centre))
    return value if np.isfinite(value) else np.inf


def _lines(directions: Sequence[str], mean, deviation) -> list[Line]:
    """Return the lines to search."""
    xp = namespace(mean)
    spread, size, sign = _norm(deviation), _norm(mean), xp.sign(mean)

    def unit(length: float) -> float:
        return spread / length if 0 < spread < np.inf and 0 < length < np.inf else 1.0

    lines = {
        "deviation": [
            Line(lambda z: mean + z * deviation, 1.0, (1.0,)),
            Line(lambda z: mean - z * deviation, 1.0),
        ],
        "mean": [Line(lambda scale: (1.0 - scale) * mean, unit(size), (2.0, 11.0, 101.0))],
        "sign": [Line(lambda scale: mean - scale * sign, unit(_norm(sign)))],
    }
    return [line for name in dict.fromkeys(directions) for line in lines[name]]


def _norm(row) -> float:
    xp = namespace(row)
    return float(xp.sum(xp.astype(row, xp.float64) ** 2)) ** 0.5


def maximise(
    damage: Callable[[Any], float], lines: Sequence[Line], evaluations: int
) -> tuple[Any, Search]:
    """Search the rows of some lines; return the one with the largest damage, and the search.

    Parameters
    ----------
    damage : callable
        row (d,) -> float; never called more than `evaluations` times.
    lines : sequence of Line
    evaluations : int

    Examples
    --------
    >>> row, search = maximise(lambda x: -((x - 3) ** 2), [Line(lambda scale: scale, 1.0)], 20)
    >>> abs(row - 3) < 0.05, search.evaluations <= 20
    (True, True)
    """
    tried: list[dict[float, float]] = [{} for _ in lines]
    for index, scale in itertools.islice(_candidates(lines, tried, evaluations), evaluations):
        tried[index][scale] = damage(lines[index].row(scale))
        if tried[index][scale] == np.inf:
            break
    index = max(range(len(lines)), key=lambda i: _best(tried[i])[1])
    scale, value = _best(tried[index])
    return lines[index].row(scale), Search(sum(map(len, tried)), value)


def _candidates(
    lines: Sequence[Line], tried: list[dict[float, float]], evaluations: int
) -> Iterator[tuple[int, float]]:
    """Yield the line and the scale to try next, from the values of those tried."""
    fixed = [(index, scale) for index, line in enumerate(lines) for scale in line.fixed]
    yield from fixed
    per_line = max(1, (evaluations // 2 - len(fixed)) // len(lines))
    grid = LOW * (HIGH / LOW) ** ((np.arange(per_line) + 0.5) / per_line)
    for scale in grid:
        for index, line in enumerate(lines):
            yield index, float(scale) * line.unit
    if len({value for values in tried for value in values.values()}) == 1:
        return
    for index in sorted(range(len(lines)), key=lambda i: -_best(tried[i])[1]):
        while (scale := _next_scale(tried[index])) is not None:
            yield index, scale


def _best(tried: dict[float, float]) -> tuple[float, float]:
    """Return the scale with the largest value, the first tried of equals, and the value."""
    return max(tried.items(), key=lambda item: item[1], default=(0.0, -np.inf))


def _next_scale(tried: dict[float, float]) -> float | None:
    """Return the scale to try next around the best one, None if its neighbours are near.

    Where the best scale is the least or the largest tried, it is a fixed factor beyond it; else the
    golden section of the wider gap.
    """
    best = _best(tried)[0]
    below = max((scale for scale in tried if scale < best), default=None)
    above = min((scale for scale in tried if scale > best), default=None)
    if below is None:
        return best / BEYOND
    if above is None:
        return best * BEYOND
    if above / below < NARROW:
        return None
    side = above if above * below > best * best else below
    return best * (side / best) ** GOLDEN
