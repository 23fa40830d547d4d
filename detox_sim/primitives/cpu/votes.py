"""Which rows are the same bits, and which row most members of a group are."""

import numpy as np

from detox_sim.primitives.cpu.compiled import CHUNK, copy, kernel, read_only, same_bits
from detox_sim.primitives.threads import spread

COMPARED = 256  # columns at a time: few, so that they are in the nearest cache when they are copied


@kernel
def _row(rows, more, index):
    return rows[index] if index < rows.shape[0] else more[index - rows.shape[0]]


@kernel
def _label_group(rows, more, group, labels, out):
    """Label the members (r,) of a group; copy the first of them to `out` while it is compared.

    Returns how many values were copied; none where `out` is empty.
    """
    copies, d = group.size, rows.shape[1]
    compared = np.empty(copies, np.bool_)
    copied = 0
    labels[:] = -1
    for leader in range(copies):
        if labels[leader] >= 0:
            continue
        left = 0
        for j in range(leader, copies):
            compared[j] = labels[j] < 0 and group[j] != group[leader]
            if labels[j] < 0 and not compared[j]:
                labels[j] = leader
            left += compared[j]
        own = _row(rows, more, group[leader])
        for column in range(0, d, COMPARED):
            if not left:
                break
            end = min(column + COMPARED, d)
            values = own[column:end]
            for j in range(leader + 1, copies):
                if compared[j]:
                    compared[j] = same_bits(values, _row(rows, more, group[j])[column:end])
                    left -= not compared[j]
            if leader == 0 and out.size:
                copy(values, out[column:end])
                copied = end
        for j in range(leader + 1, copies):
            if compared[j]:
                labels[j] = leader
    return copied


@kernel
def _label_groups(rows, more, groups, first, last, labels):
    for g in range(first, last):
        _label_group(rows, more, groups[g], labels[g], rows[0, :0].copy())


@kernel
def _copy_rows(rows, more, indices, first, last, out):
    for i in range(first, last):
        copy(_row(rows, more, indices[i]), out[i])


@kernel
def _elect_groups(rows, more, groups, first, last, labels, winner, undecided, elected, out):
    """Count the copies of each group; copy the elected rows, too, if `out` has room for them."""
    copies = groups.shape[1]
    for g in range(first, last):
        target = out[g] if out.shape[0] else out.ravel()
        copied = _label_group(rows, more, groups[g], labels[g], target)
        present, most, winner[g] = 0, 0, 0
        for j in range(copies):
            present += groups[g, j] >= 0
            support = 0
            for i in range(copies if groups[g, j] >= 0 else 0):
                support += groups[g, i] >= 0 and labels[g, i] == labels[g, j]
            if support > most:
                winner[g], most = j, support
        undecided[g] = 2 * most <= present
        elected[g] = max(groups[g, winner[g]], 0)
        if target.size:
            same = groups[g, 0] >= 0 and labels[g, winner[g]] == 0
            kept = copied if same else 0
            copy(_row(rows, more, elected[g])[kept:], target[kept:])


def _patterns(rows, more) -> tuple[np.ndarray, np.ndarray]:
    """Return the bit patterns of the rows and of more, which may be None."""
    both = rows, rows[:0] if more is None else more
    rows, more = (read_only(each).view(f"u{rows.dtype.itemsize}") for each in both)
    return rows, more


def _over_groups(work, groups, columns: int) -> None:
    """Call ``work(first, last)`` for ranges of groups."""
    at_a_time = max(1, CHUNK // (groups.shape[1] * columns))
    if len(groups) <= at_a_time:
        work(0, len(groups))
        return
    starts = range(0, len(groups), at_a_time)
    spread(lambda first: work(first, min(first + at_a_time, len(groups))), starts)


def equal_rows(rows, groups, more):
    patterns, groups = _patterns(rows, more), read_only(groups)
    labels = np.empty(groups.shape, np.int64)
    _over_groups(
        lambda first, last: _label_groups(*patterns, groups, first, last, labels),
        groups,
        rows.shape[1],
    )
    return labels


def majority(rows, groups, more):
    patterns, groups = _patterns(rows, more), read_only(groups)
    m, d = len(groups), rows.shape[1]
    own = m == len(rows)  # then each group may elect its own row, and nothing need be copied
    labels, undecided = np.empty(groups.shape, np.int64), np.empty(m, np.bool_)
    winner, elected = np.empty((2, m), np.int64)
    out = np.empty((0 if own else m, d), rows.dtype)
    found = labels, winner, undecided, elected, out.view(patterns[0].dtype)
    _over_groups(
        lambda first, last: _elect_groups(*patterns, groups, first, last, *found), groups, d
    )
    if own and (elected == np.arange(m)).all():
        return winner, undecided, rows[:]
    if own:
        out = np.empty((m, d), rows.dtype)
        target = out.view(patterns[0].dtype)
        _over_groups(
            lambda first, last: _copy_rows(*patterns, elected, first, last, target), groups, d
        )
    return winner, undecided, out


def take(rows, indices):
    out = np.empty((len(indices), rows.shape[1]), rows.dtype)
    if out.size <= CHUNK:
        return np.take(rows, indices, axis=0, out=out, mode="clip")  # "raise" would copy twice
    spread(lambda place: np.copyto(out[place], rows[indices[place]]), range(len(indices)))
    return out
