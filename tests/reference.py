"""The oracle: every rule, every vote and ALIE as plain loops over Python floats.

A rule here is ``rule(rows, byzantine, **options) -> list of float`` under the name it has in
`detox_sim.aggregators`; a vote is ``vote(ballots) -> the elected ballot or None``.
"""

import math
import statistics

import numpy as np
from scipy.optimize import minimize


def _columns(rows):
    return zip(*(map(float, row) for row in rows), strict=True)


def _average(values):
    values = list(values)
    return math.fsum(values) / len(values)


def distance(a, b):
    """Squared Euclidean distance of two rows."""
    return math.fsum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def mean(rows, byzantine):
    return [_average(column) for column in _columns(rows)]


def median(rows, byzantine):
    return [statistics.median(column) for column in _columns(rows)]


def trimmed_mean(rows, byzantine):
    kept = slice(byzantine, len(rows) - byzantine)
    return [_average(sorted(column)[kept]) for column in _columns(rows)]


def sum_of_distances(rows, point):
    return math.fsum(math.sqrt(distance(row, point)) for row in rows)


def geometric_median(rows, byzantine, tolerance=None):
    """A row that balances the pull of the others; without one, a descent on the smooth cost."""
    rows = np.asarray(rows, dtype=np.float64)

    def pull(point):
        total = np.zeros(rows.shape[1])
        for row in rows:
            if (row != point).any():
                total += (row - point) / np.linalg.norm(row - point)
        return total

    for row in rows:
        here = sum((other == row).all() for other in rows)
        if np.linalg.norm(pull(row)) <= here:
            return row.tolist()
    start = rows.mean(axis=0)
    found = minimize(
        lambda point: sum_of_distances(rows, point),
        start,
        jac=lambda point: -pull(point),
        method="BFGS",
        options={"gtol": 1e-12, "maxiter": 10_000},
    )
    return found.x.tolist()


def score(rows, i, neighbours):
    """Krum's score of row i: the sum of the squared distances to its nearest neighbours."""
    others = [distance(rows[i], rows[j]) for j in range(len(rows)) if j != i]
    return math.fsum(sorted(others)[:neighbours])


def best(rows, byzantine, keep, neighbours=None):
    """Indices of the `keep` lowest scores, the lower index first on a tie."""
    if neighbours is None:
        neighbours = len(rows) - byzantine - 2
    return sorted(range(len(rows)), key=lambda i: (score(rows, i, neighbours), i))[:keep]


def krum(rows, byzantine, neighbours=None):
    (winner,) = best(rows, byzantine, 1, neighbours)
    return [float(value) for value in rows[winner]]


def multi_krum(rows, byzantine, keep=None, neighbours=None):
    if keep is None:
        keep = len(rows) - byzantine - 2
    return mean([rows[i] for i in best(rows, byzantine, keep, neighbours)], 0)


def bulyan(rows, byzantine, selection="iterative"):
    if selection == "one-shot":
        kept = best(rows, byzantine, len(rows) - byzantine - 2)
        return trimmed_mean([rows[i] for i in kept], byzantine)
    left, chosen = list(rows), []
    while len(chosen) < len(rows) - 2 * byzantine:
        (winner,) = best(left, byzantine, 1, neighbours=max(1, len(left) - byzantine - 2))
        chosen.append(left.pop(winner))
    result = []
    for column in _columns(chosen):
        middle = statistics.median(column)
        nearest = sorted(column, key=lambda value: (abs(value - middle), value))
        result.append(_average(nearest[: len(chosen) - 2 * byzantine]))
    return result


def sign_majority(rows, byzantine):
    result = []
    for column in _columns(rows):
        up, down = sum(v > 0 for v in column), sum(v < 0 for v in column)
        result.append(float((up > down) - (up < down)))
    return result


def majority(ballots):
    for ballot in ballots:
        if ballots.count(ballot) > len(ballots) / 2:
            return ballot
    return None


def streaming(ballots):
    """Different ballots annihilate each other in order; the last survivor wins."""
    pile = []
    for ballot in ballots:
        if pile and pile[-1] != ballot:
            pile.pop()
        else:
            pile.append(ballot)
    return pile[-1]


def alie(rows, forged, z=1.0, spread="population", over="honest", sign=1):
    """The one row that all forged copies are."""
    nodes, bad = forged.size, int(forged.sum())
    supporters = nodes // 2 + 1 - bad
    quantile = statistics.NormalDist().inv_cdf
    if z == "baruch":
        z = quantile((nodes - bad - supporters) / (nodes - bad))
    elif z == "baruch-n":
        z = quantile((nodes - supporters) / nodes)
    if over == "all":
        seen = [row for row, copies in zip(rows, forged, strict=True) for _ in copies]
    else:
        seen = [row for row, copies in zip(rows, forged, strict=True) if not all(copies)]
    deviation = statistics.pstdev if spread == "population" else statistics.stdev
    return [_average(c) + sign * z * deviation(c) for c in _columns(seen)]
