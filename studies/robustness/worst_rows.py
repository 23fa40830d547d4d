"""Families of honest rows, and a search for Byzantine rows that move a rule far from their mean."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

# Rows (n, d) are in honest spreads from the honest mean; `byzantine` (n,) says which are Byzantine.
FORMATIONS = ("together", "opposite", "staggered")  # how the Byzantine rows stand to each other
SMALLEST_SCALE, SCALES_A_DECADE = 1e-3, 2
RESTARTS = 3
DIRECTIONS = (
    "axis", "signs", "principal", "towards_a_row", "away_from_a_row", "random", "on_a_row",
)  # fmt: skip


def unit(rng: np.random.Generator, d: int) -> np.ndarray:
    """Return a random unit vector (d,)."""
    direction = rng.standard_normal(d)
    return direction / np.linalg.norm(direction)


def centre_of(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the mean (d,) and the spread, the root of the mean squared distance to it."""
    centre = rows.mean(axis=0)
    return centre, float(np.sqrt(((rows - centre) ** 2).sum(axis=1).mean()))


def _normal(honest: int, d: int, f: int, rng) -> np.ndarray:
    return rng.standard_normal((honest, d))


def _heavy_tails(honest: int, d: int, f: int, rng) -> np.ndarray:
    """Return rows of a multivariate Student law with 2 degrees of freedom."""
    return rng.standard_normal((honest, d)) / np.sqrt(rng.chisquare(2, (honest, 1)) / 2)


def _one_direction(honest: int, d: int, f: int, rng) -> np.ndarray:
    return rng.standard_normal((honest, d)) + 10 * rng.standard_normal((honest, 1)) * unit(rng, d)


def _two_clusters(honest: int, d: int, f: int, rng) -> np.ndarray:
    sides = np.where(np.arange(honest) % 2, 3.0, -3.0)
    return rng.standard_normal((honest, d)) + sides[:, None] * unit(rng, d)


def _two_values(honest: int, d: int, f: int, rng, *, apart: Callable[[int, int], int]):
    """Return rows that are equal but for the first few, which are equal too."""
    rows = np.zeros((honest, d))
    rows[: apart(honest + f, f)] = unit(rng, d)
    return rows


FAMILIES: dict[str, Callable[..., np.ndarray]] = {
    "normal": _normal,
    "heavy tails": _heavy_tails,
    "one direction": _one_direction,
    "two clusters": _two_clusters,
    "one apart": partial(_two_values, apart=lambda n, f: 1),
    "f apart": partial(_two_values, apart=lambda n, f: f),
    "close vote": partial(_two_values, apart=lambda n, f: n // 2 + 1 - f),
}


class Finding(NamedTuple):
    """The worst that a search found.

    Attributes
    ----------
    ratio : float
        Squared distance of the output from the honest mean, in squared honest spreads.
    unrefined : float
        The same before refinement.
    scale : float
        Distance of the farthest Byzantine row from the honest mean, in honest spreads.
    direction, formation : int
        Of the Byzantine rows where refinement began: indices of `DIRECTIONS` and `FORMATIONS`.
    evaluations : int
    rows : numpy.ndarray (n, d)
        In honest spreads from the honest mean.
    """

    ratio: float
    unrefined: float
    scale: float
    direction: int
    formation: int
    evaluations: int
    rows: np.ndarray


def places(n: int, f: int) -> np.ndarray:
    """Return which of n rows (n,) are Byzantine: evenly spread, never row 0.

    Examples
    --------
    >>> np.flatnonzero(places(11, 2))
    array([ 1, 10])
    """
    return np.isin(np.arange(n), np.linspace(1, n - 1, f).round())


def search(
    rule: Callable[..., np.ndarray],
    honest: np.ndarray,
    byzantine: int,
    *,
    evaluations: int,
    largest_scale: float,
    rng: np.random.Generator,
) -> Finding:
    """Search Byzantine rows that move a rule far from the honest mean.

    Parameters
    ----------
    rule : callable
        rows (n, d) -> (d,).
    honest : numpy.ndarray (n - f, d)
        Not all equal.
    byzantine : int
        f >= 1, in the `places`.
    evaluations : int
        How often the rule may be called; half of them refine.
    largest_scale : float
        No Byzantine row is farther from the honest mean, in honest spreads.
    rng : numpy.random.Generator

    Returns
    -------
    Finding
        Its ratio is a lower bound on kappa.

    Examples
    --------
    The mean of two honest rows and one that may be 10 spreads away moves by 10 / 3 spreads:

    >>> found = search(lambda rows: rows.mean(axis=0), np.array([[0.0], [2.0]]), 1,
    ...                evaluations=20, largest_scale=10.0, rng=np.random.default_rng(0))
    >>> round(found.ratio, 6), round(found.scale, 6)
    (11.111111, 10.0)
    """
    centre, spread = centre_of(honest)
    around = (honest - centre) / spread
    mask = places(len(honest) + byzantine, byzantine)
    score = scorer(rule, centre, spread)
    tried = []
    for direction, formation, moved in _starts(
        around, byzantine, evaluations // 2, largest_scale, rng
    ):
        rows = np.empty((mask.size, around.shape[1]))
        rows[~mask], rows[mask] = around, moved
        tried.append((score(rows), direction, formation, rows))
    tried.sort(key=lambda one: -one[0])
    steps = (evaluations - len(tried)) // RESTARTS
    found = [
        (*refine(score, value, rows, mask, steps, largest_scale, rng, BYZANTINE_MOVES), *where)
        for value, *where, rows in tried[:RESTARTS]
    ]
    ratio, rows, direction, formation = max(found, key=lambda one: one[0])
    used = len(tried) + len(found) * steps
    return Finding(ratio, tried[0][0], farthest(rows[mask]), direction, formation, used, rows)


def scorer(rule, centre: np.ndarray, spread: float) -> Callable[[np.ndarray], float]:
    """Return ``score(rows)``: the squared distance of the rule's output from the honest mean."""

    def score(rows: np.ndarray) -> float:
        given = centre + spread * rows
        ratio = float((((rule(given) - centre) / spread) ** 2).sum())
        if not math.isfinite(ratio):
            raise ValueError(f"the rule's result is not finite for the rows {given.tolist()}")
        return ratio

    return score


def farthest(rows: np.ndarray) -> float:
    """Return the largest length of the rows (n, d)."""
    return float(np.linalg.norm(rows, axis=1).max())


def _starts(around: np.ndarray, f: int, count: int, largest: float, rng) -> list[tuple]:
    """Return `count` (direction, formation, Byzantine rows (f, d)) at most.

    The largest scale in each formation, some honest rows exactly, and of all combinations of
    direction, formation and scale a random part.
    """
    directions = _directions(around, rng)
    decades = math.log10(largest / SMALLEST_SCALE)
    scales = np.geomspace(largest, SMALLEST_SCALE, math.ceil(SCALES_A_DECADE * decades) + 1)
    other = np.arange(f) % 2 == 1
    factors = [np.where(other, factor, 1.0)[:, None] for factor in (1.0, -1.0, 0.1)]
    formations = range(len(FORMATIONS) if f > 1 else 1)
    reached = around[np.linalg.norm(around, axis=1) <= largest]
    exact = [
        (DIRECTIONS.index("on_a_row"), 0, factors[0] * reached[i])
        for i in rng.permutation(len(reached))[: count // 4]
    ]
    size = len(directions), len(formations), len(scales)
    grid = [(0, formation, 0) for formation in formations]
    grid += [np.unravel_index(i, size) for i in rng.permutation(math.prod(size))]
    return exact + [
        (directions[p][0], int(q), factors[q] * scales[s] * directions[p][1])
        for p, q, s in grid[: count - len(exact)]
    ]


def _directions(around: np.ndarray, rng) -> list[tuple[int, np.ndarray]]:
    """Return (index of `DIRECTIONS`, unit vector (d,)) of all candidates and their opposites."""
    d = around.shape[1]
    lengths = np.linalg.norm(around, axis=1, keepdims=True)
    towards = (around / np.where(lengths > 0, lengths, 1.0))[lengths[:, 0] > 0]
    principal = np.linalg.svd(around, full_matrices=False)[2][:2]
    signs = np.concatenate([np.ones((1, d)), rng.choice([-1.0, 1.0], (2, d))]) / math.sqrt(d)
    drawn = np.array([unit(rng, d) for _ in range(d + 1)])
    kinds = {"axis": np.eye(d), "signs": signs, "principal": principal, "random": drawn}
    both = [
        (DIRECTIONS.index(kind), s * u) for kind, us in kinds.items() for u in us for s in (1, -1)
    ]
    rows = [(DIRECTIONS.index("towards_a_row"), u) for u in towards]
    return both + rows + [(DIRECTIONS.index("away_from_a_row"), -u) for u in towards]


def refine(score, value: float, rows, byzantine, steps: int, largest: float, rng, moves):
    """Return the value and the rows after random moves, each kept if it is no worse.

    Moves take turns; their length grows after a success and shrinks after a failure.
    """
    length = 0.5
    for index in range(steps):
        trial = rows.copy()
        moves[index % len(moves)](trial, byzantine, length, rng)
        trial = _rescaled(trial, byzantine, largest)
        found = score(trial)
        length = min(2.0, 1.5 * length) if found > value else max(1e-6, 0.85 * length)
        if found >= value:
            value, rows = found, trial
    return value, rows


def _rescaled(rows: np.ndarray, byzantine: np.ndarray, largest: float) -> np.ndarray:
    """Return the rows in honest spreads from the honest mean, no Byzantine one too far."""
    centre, spread = centre_of(rows[~byzantine])
    rows = (rows - centre) / spread
    lengths = np.linalg.norm(rows[byzantine], axis=1, keepdims=True)
    rows[byzantine] *= largest / np.maximum(lengths, largest)
    return rows


def _stretch(rows, byzantine, length: float, rng) -> None:
    rows[byzantine] *= math.exp(length * rng.standard_normal())


def _shift(rows, byzantine, length: float, rng) -> None:
    rows[byzantine] += _noise(rows[byzantine], 1, length, rng)


def _scatter(rows, byzantine, length: float, rng) -> None:
    rows[byzantine] += _noise(rows[byzantine], int(byzantine.sum()), length, rng)


def _move_one(rows, byzantine, length: float, rng) -> None:
    row = rng.integers(len(rows))
    rows[row] += _noise(rows[row : row + 1], 1, length, rng)[0]


def _move_all(rows, byzantine, length: float, rng) -> None:
    rows += _noise(rows[~byzantine], len(rows), length, rng)


def _noise(rows: np.ndarray, count: int, length: float, rng) -> np.ndarray:
    """Return steps (count, d), relative to how far from the honest mean the rows are."""
    d = rows.shape[1]
    return length * farthest(rows) / math.sqrt(d) * rng.standard_normal((count, d))


BYZANTINE_MOVES = (_stretch, _shift, _scatter)
ALL_MOVES = (_move_all, _shift, _move_one)  # of honest rows too
