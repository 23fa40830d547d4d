"""The primitives on the array API: slow, for any array library; the others must equal them."""

import numpy as np

from detox_sim.arrays import bits, namespace, to_host

BLOCK = 1 << 20  # values worked on at a time, so that temporaries stay small


def column_blocks(rows) -> list[slice]:
    """Return slices of columns with about `BLOCK` values each."""
    n, d = rows.shape
    width = max(1, BLOCK // n)
    return [slice(start, min(start + width, d)) for start in range(0, d, width)]


def order_mean(rows, lo, hi, nearest, chosen):
    xp = namespace(rows)
    infinity = xp.asarray(xp.inf, dtype=rows.dtype)
    parts = []
    for columns in column_blocks(rows):
        block = take(rows[:, columns], chosen)
        block = xp.sort(xp.where(xp.isnan(block), infinity, block), axis=0)
        parts.append(mean_of_sorted(block, lo, hi, nearest))
    return xp.astype(xp.concat(parts), rows.dtype)


def mean_of_sorted(block, lo, hi, nearest):
    """Average in each sorted column the ranks lo..hi, or the values nearest to that average."""
    xp = namespace(block)
    block = xp.astype(block, xp.float64)
    mean = xp.mean(block[lo : hi + 1, :], axis=0)
    return _mean_of_nearest(xp, block, nearest, mean) if nearest else mean


def _mean_of_nearest(xp, block, count, centre):
    """Average in each sorted column the `count` values nearest its centre, the lower on a tie."""
    spare = block.shape[0] - count
    with np.errstate(invalid="ignore"):
        further = centre - block[:spare, :] > block[count:, :] - centre
    first = xp.sum(xp.astype(further, xp.int64), axis=0)
    place = xp.arange(block.shape[0])[:, None]
    inside = (place >= first) & (place < first + count)
    return xp.sum(xp.where(inside, block, xp.zeros_like(block)), axis=0) / count


def distances(rows):
    n = rows.shape[0]
    return np.stack([cross_distances(rows, rows[i : i + 1, :])[:, 0] for i in range(n)])


def cross_distances(rows, points):
    xp = namespace(rows)
    square = xp.zeros((rows.shape[0], points.shape[0]), dtype=xp.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        for columns in column_blocks(rows):
            block = xp.astype(rows[:, columns], xp.float64)
            others = xp.astype(points[:, columns], xp.float64)
            lines = [xp.sum((block - others[j, :]) ** 2, axis=1) for j in range(points.shape[0])]
            square = square + xp.stack(lines, axis=1)
    return to_host(square)


def combine(weights, rows, dtype):
    xp = namespace(rows)
    results = []
    for line in weights:
        kept = np.flatnonzero(line)
        factors = xp.asarray(line[kept])[:, None]
        parts = []
        with np.errstate(over="ignore", invalid="ignore"):
            for columns in column_blocks(rows):
                block = xp.astype(take(rows[:, columns], kept), xp.float64)
                parts.append(xp.sum(factors * block, axis=0))
            results.append(xp.astype(xp.concat(parts), dtype or rows.dtype))
    return xp.stack(results)


def mean(rows, combine=combine):
    n, xp = rows.shape[0], namespace(rows)
    found = combine(np.full((1, n), 1 / n), rows, None)[0, :]
    return found, bool(xp.all(xp.isfinite(found)))


def moments(weights, rows, combine=combine):
    with np.errstate(over="ignore", invalid="ignore"):
        centre = combine(weights[None, :], rows, None)[0, :]
        moved = rows - centre[None, :]
        moved *= moved
        return centre, combine(weights[None, :], moved, None)[0, :]


def sign_sum(rows):
    xp = namespace(rows)
    signs = [
        xp.sign(xp.where(xp.isnan(block), xp.zeros_like(block), block))
        for block in (rows[:, columns] for columns in column_blocks(rows))
    ]
    return xp.concat([xp.sum(block, axis=0) for block in signs])


def equal_rows(rows, groups, more):
    return first_equal(joined(rows, more), groups, differ)


def joined(rows, more):
    return rows if more is None else namespace(rows).concat([rows, more])


def first_equal(rows, groups, differ):
    """Return for each member of a group the first one that does not differ from it.

    ``differ(rows, groups (m, r)) -> bool (m, r)``: whether a member differs from the first one.
    """
    labels = np.full(groups.shape, -1)
    while (left := labels < 0).any():
        waiting = left.any(axis=1)
        leader = left[waiting].argmax(axis=1)
        first = groups[waiting, leader]
        # Compare with the leader, in column 0; the leader replaces members already labelled.
        members = np.where(left[waiting], groups[waiting], first[:, None])
        some = np.concatenate([first[:, None], members], axis=1)
        looked = (some != first[:, None]).any(axis=1)
        equal = np.ones(members.shape, dtype=bool)
        if looked.any():
            equal[looked] = ~differ(rows, some[looked])[:, 1:]
        labels[waiting] = np.where(equal & left[waiting], leader[:, None], labels[waiting])
    return labels


def differ(rows, groups):
    patterns, different = bits(rows), np.zeros(groups.shape, dtype=bool)
    for place, (leader, *members) in enumerate(groups):
        for j, member in enumerate(members, 1):
            different[place, j] = bool((patterns[leader] != patterns[member]).any())
    return different


def majority(rows, groups, more, equal_rows=equal_rows):
    rows, arrived = joined(rows, more), groups >= 0
    labels = equal_rows(rows, np.where(arrived, groups, 0), None)
    winner, undecided = most_supported(labels[:, :, None] == labels[:, None, :], arrived)
    return winner, undecided, take(rows, np.maximum(groups[np.arange(len(groups)), winner], 0))


def most_supported(agree: np.ndarray, arrived: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the member (m,) that most members agree with, and where these are half or fewer.

    Parameters
    ----------
    agree : bool (m, r, r)
    arrived : bool (m, r)
        Others do not count.
    """
    supporters = (agree & arrived[:, :, None] & arrived[:, None, :]).sum(axis=2)
    return supporters.argmax(axis=1), 2 * supporters.max(axis=1) <= arrived.sum(axis=1)


def take(rows, indices):
    xp = namespace(rows)
    return xp.take(rows, xp.asarray(indices), axis=0)
