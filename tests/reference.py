"""The slow reference: every rule, mixer and vote, and ALIE, as plain loops over Python floats.

A rule here is ``rule(rows, byzantine, **options) -> list of float`` under the name it has in
`detox_sim.aggregators`; a mixer of `detox_sim.mixers` is ``mix_name(rows, byzantine, **options)
-> list of lists``; a vote is ``vote(ballots) -> the elected ballot or None``. Rows are finite.
"""

import itertools
import math
import statistics

import numpy as np
from scipy.optimize import minimize

from detox_sim.arrays import namespace
from detox_sim.messages import Messages
from detox_sim.primitives import take


def _columns(rows):
    return zip(*(map(float, row) for row in rows), strict=True)


def _average(values):
    values = list(values)
    return math.fsum(values) / len(values)


def _norm(row):
    return math.hypot(*map(float, row))


def _least(count, keys):
    """Return the indices of the `count` least keys, the lower index first on a tie."""
    return sorted(range(len(keys)), key=lambda i: (keys[i], i))[:count]


def _mean_near(values, centre, count):
    """Return the mean of the `count` values nearest the centre, the lower first on a tie."""
    return _average(sorted(values, key=lambda value: (abs(value - centre), value))[:count])


def distance(a, b):
    """Return the squared Euclidean distance of two rows."""
    return math.fsum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def mean(rows, byzantine):
    return [_average(column) for column in _columns(rows)]


def median(rows, byzantine, middle="midpoint"):
    pick = statistics.median_low if middle == "lower" else statistics.median
    return [pick(column) for column in _columns(rows)]


def trimmed_mean(rows, byzantine, trim=None):
    trim = byzantine if trim is None else trim
    kept = slice(trim, len(rows) - trim)
    return [_average(sorted(column)[kept]) for column in _columns(rows)]


def sum_of_distances(rows, point):
    return math.fsum(math.sqrt(distance(row, point)) for row in rows)


def weiszfeld(rows, steps, smoothing):
    """Take Weiszfeld steps from zero in which no distance counts as less than `smoothing`."""
    point = [0.0] * len(rows[0])
    for _ in range(steps):
        pulls = [1 / max(math.sqrt(distance(row, point)), smoothing) for row in rows]
        total = math.fsum(pulls)
        point = [
            math.fsum(p * x for p, x in zip(pulls, column, strict=True)) / total
            for column in _columns(rows)
        ]
    return point


def geometric_median(
    rows, byzantine, tolerance=None, max_iterations=None, start=None, smoothing=None
):
    """Return a row that is the minimum; if none is, descend on the cost, smooth elsewhere."""
    if smoothing is not None:
        return weiszfeld(rows, max_iterations, smoothing)
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


def score(rows, i, neighbours, power=2):
    """Return Krum's score of row i: the sum of distance**power to its nearest neighbours."""
    others = [distance(rows[i], rows[j]) ** (power / 2) for j in range(len(rows)) if j != i]
    return math.fsum(sorted(others)[:neighbours])


def best(rows, byzantine, keep, neighbours=None, power=2):
    """Return the indices of the `keep` lowest scores, the lower index first on a tie."""
    if neighbours is None:
        neighbours = len(rows) - byzantine - 2
    return _least(keep, [score(rows, i, neighbours, power) for i in range(len(rows))])


def krum(rows, byzantine, neighbours=None, power=2):
    (winner,) = best(rows, byzantine, 1, neighbours, power)
    return [float(value) for value in rows[winner]]


def multi_krum(rows, byzantine, keep=None, neighbours=None, power=2):
    if keep is None:
        keep = len(rows) - byzantine - 2
    return mean([rows[i] for i in best(rows, byzantine, keep, neighbours, power)], 0)


def bulyan(rows, byzantine, selection="iterative"):
    if selection == "one-shot":
        kept = best(rows, byzantine, len(rows) - byzantine - 2)
        return trimmed_mean([rows[i] for i in kept], byzantine)
    if selection == "one-shot-median":
        chosen = [rows[i] for i in best(rows, byzantine, len(rows) - 2 * byzantine)]
    else:
        left, chosen = list(rows), []
        while len(chosen) < len(rows) - 2 * byzantine:
            (winner,) = best(left, byzantine, 1, neighbours=max(1, len(left) - byzantine - 2))
            chosen.append(left.pop(winner))
    count = len(chosen) - 2 * byzantine
    return [_mean_near(column, statistics.median(column), count) for column in _columns(chosen)]


def medoid(rows, byzantine):
    """Sum the nearer half of the distances where one is so large that the others are rounded."""
    apart = [sorted(math.sqrt(distance(row, other)) for other in rows) for row in rows]
    half = len(rows) // 2
    largest = max((d for each in apart for d in each if math.isfinite(d)), default=0.0)
    lost = largest > 1e14 * min(each[half] for each in apart)
    count = half + 1 if lost else len(rows)  # a row's distance from itself is the first
    (winner,) = _least(1, [math.fsum(each[:count]) for each in apart])
    return [float(value) for value in rows[winner]]


def _diameter(rows):
    return max((distance(a, b) for a, b in itertools.combinations(rows, 2)), default=0.0)


def _subsets(rows, byzantine):
    return itertools.combinations(rows, len(rows) - byzantine)


def mda(rows, byzantine):
    return mean(min(_subsets(rows, byzantine), key=_diameter), 0)


def monna(rows, byzantine, trusted=0):
    near = _least(len(rows) - byzantine, [distance(row, rows[trusted]) for row in rows])
    return mean([rows[i] for i in near], 0)


def meamed(rows, byzantine):
    count = len(rows) - byzantine
    return [_mean_near(column, statistics.median(column), count) for column in _columns(rows)]


def phocas(rows, byzantine):
    count, centre = len(rows) - byzantine, trimmed_mean(rows, byzantine)
    return [_mean_near(c, middle, count) for c, middle in zip(_columns(rows), centre, strict=True)]


def cge(rows, byzantine):
    short = _least(len(rows) - byzantine, [_norm(row) for row in rows])
    return mean([rows[i] for i in short], 0)


def centered_clipping(rows, byzantine, radius, start="zero", steps=1):
    if isinstance(start, str):
        start = median(rows, 0) if start == "median" else [0.0] * len(rows[0])
    point = [float(value) for value in start]
    for _ in range(steps):
        pulls = [[float(x) - v for x, v in zip(row, point, strict=True)] for row in rows]
        moved = mean(mix_clipping(pulls, 0, radius), 0)
        point = [v + step for v, step in zip(point, moved, strict=True)]
    return point


def _top(rows, weights):
    """Return the weighted mean, the top eigenvalue of the covariance, and projections on it."""
    rows = np.asarray(rows, dtype=np.float64)
    centre = weights @ rows / weights.sum()
    spread = (rows - centre).T @ ((rows - centre) * weights[:, None]) / weights.sum()
    values, vectors = np.linalg.eigh(spread)
    return centre, values[-1], (rows - centre) @ vectors[:, -1]


def caf(rows, byzantine):
    weights, least = np.ones(len(rows)), math.inf
    kept = np.asarray(mean(rows, byzantine))
    while weights.sum() > len(rows) - 2 * byzantine:
        centre, value, along = _top(rows, weights)
        if value < least:
            kept, least = centre, value
        furthest = max(along[weights > 0] ** 2)
        if furthest == 0:
            break
        weights = weights * (1 - along**2 / furthest)
    return kept.tolist()


def smea(rows, byzantine):
    ones = np.ones(len(rows) - byzantine)
    return mean(min(_subsets(rows, byzantine), key=lambda some: _top(some, ones)[1]), 0)


def dnc(rows, byzantine, filter=1.0, iterations=1, columns=None):
    """`columns` lists the coordinates of each iteration; all coordinates unless it is given."""
    kept = set(range(len(rows)))
    for some in columns or [list(range(len(rows[0])))] * iterations:
        sketch = [[float(row[k]) for k in some] for row in rows]
        along = _top(sketch, np.ones(len(rows)))[2]
        kept &= set(_least(len(rows) - math.ceil(filter * byzantine), (along**2).tolist()))
    return mean([rows[i] for i in sorted(kept)], 0)


def median_of_means(rows, byzantine, buckets=None):
    parts = np.array_split(np.arange(len(rows)), buckets or 2 * byzantine + 1)
    return median([mean([rows[i] for i in part], 0) for part in parts], 0)


def fltrust(rows, byzantine, trusted=0):
    server, norms = [float(value) for value in rows[trusted]], [_norm(row) for row in rows]
    total, trust = [0.0] * len(server), 0.0
    for row, norm in zip(rows, norms, strict=True):
        if norm == 0 or norms[trusted] == 0:
            continue
        dot = math.fsum(float(x) * s for x, s in zip(row, server, strict=True))
        score = max(0.0, dot / (norm * norms[trusted]))
        trust += score
        total = [
            t + score * norms[trusted] / norm * float(x) for t, x in zip(total, row, strict=True)
        ]
    return [t / trust if trust else 0.0 for t in total]


def sign_majority(rows, byzantine):
    result = []
    for column in _columns(rows):
        up, down = sum(v > 0 for v in column), sum(v < 0 for v in column)
        result.append(float((up > down) - (up < down)))
    return result


def mix_nnm(rows, byzantine):
    return [monna(rows, byzantine, trusted=i) for i in range(len(rows))]


def mix_bucketing(rows, byzantine, order, size=2):
    starts = range(0, len(rows), size)
    return [mean([rows[i] for i in order[start : start + size]], 0) for start in starts]


def _shorten(row, longest):
    norm = _norm(row)
    return [float(x) * (longest / norm if norm > longest else 1.0) for x in row]


def mix_past_clipping(rows, byzantine, factor=2.0):
    return mix_clipping(rows, byzantine, factor * sorted(map(_norm, rows))[(len(rows) - 1) // 2])


def mix_clipping(rows, byzantine, radius):
    return [_shorten(row, radius) for row in rows]


def mix_arc(rows, byzantine):
    n = len(rows)
    clipped = 2 * byzantine * (n - byzantine) // n
    longest = sorted(map(_norm, rows))[n - clipped - 1]
    return mix_clipping(rows, byzantine, longest)


def copied(messages):
    """Return the same messages with each copy a row of its own, after the honest rows."""
    files, arrived = len(messages.row_of), messages.row_of >= 0
    honest, copies = messages.rows[:files, :], take(messages.rows, messages.row_of[arrived])
    rows = namespace(honest).concat([honest, copies])
    row_of = np.full(messages.row_of.shape, -1)
    row_of[arrived] = files + np.arange(arrived.sum())
    return Messages(rows, row_of, messages.search)


def majority(ballots):
    """Return the ballot of more than half, or None."""
    for ballot in ballots:
        if ballots.count(ballot) > len(ballots) / 2:
            return ballot
    return None


def streaming(ballots):
    """Remove pairs of different ballots in order; return the last one left."""
    pile = []
    for ballot in ballots:
        if pile and pile[-1] != ballot:
            pile.pop()
        else:
            pile.append(ballot)
    return pile[-1]


def alie(rows, forged, z=1.0, spread="population", over="honest", sign=1):
    """Return the row that all forged copies are."""
    workers, byzantine = forged.size, int(forged.sum())
    supporters = workers // 2 + 1 - byzantine
    quantile = statistics.NormalDist().inv_cdf
    if z == "baruch":
        z = quantile((workers - byzantine - supporters) / (workers - byzantine))
    elif z == "baruch-n":
        z = quantile((workers - supporters) / workers)
    if over == "all":
        seen = [row for row, copies in zip(rows, forged, strict=True) for _ in copies]
    else:
        seen = [row for row, copies in zip(rows, forged, strict=True) if not all(copies)]
    deviation = statistics.pstdev if spread == "population" else statistics.stdev
    return [_average(c) + sign * z * deviation(c) for c in _columns(seen)]
