"""Numba kernels over sets of Byzantine workers: all of them, random ones, and the worst.

`held` (workers, load) are the files of each worker and `holders` (files, copies) the workers of
each file. `need` (files,) counts the Byzantine workers that are missing to distort a file.
"""

from typing import NamedTuple

import numba
import numpy as np

kernel = numba.njit(nogil=True, cache=True, error_model="numpy")


@kernel
def _move(worker, sign, held, holders, need, gain, share, unit):
    """Put a worker into the set (sign 1) or take it out (-1); return the change of distorted files.

    `gain` (workers,) counts the files that each worker alone would distort; `share` (workers,) sums
    `unit[need]` over its files that need more than one.
    """
    distorted = 0
    for i in range(held.shape[1]):
        file = held[worker, i]
        before = max(need[file], 0)
        need[file] -= sign
        after = max(need[file], 0)
        if after != before:
            distorted += (after == 0) - (before == 0)
            more, shared = (after == 1) - (before == 1), unit[after] - unit[before]
            for j in range(holders.shape[1]):
                gain[holders[file, j]] += more
                share[holders[file, j]] += shared
    return distorted


@kernel
def enumerate_sets(held, holders, byzantine, majority):
    """Return how many sets of `byzantine` >= 1 workers distort 0, 1, 2, ... files."""
    workers, files = held.shape[0], holders.shape[0]
    need = np.full(files, majority)
    gain = np.full(workers, held.shape[1] if majority == 1 else 0)
    share, unit = np.zeros(workers, np.int64), np.zeros(majority + 1, np.int64)
    counts = np.zeros(files + 1, np.int64)
    chosen = np.zeros(byzantine, np.int64)
    depth, distorted, worker = 0, 0, 0
    while True:
        if depth == byzantine - 1:
            for last in range(worker, workers):
                counts[distorted + gain[last]] += 1
        elif worker <= workers - byzantine + depth:
            distorted += _move(worker, 1, held, holders, need, gain, share, unit)
            chosen[depth] = worker
            depth, worker = depth + 1, worker + 1
            continue
        if depth == 0:
            return counts
        depth -= 1
        distorted += _move(chosen[depth], -1, held, holders, need, gain, share, unit)
        worker = chosen[depth] + 1


@kernel
def draw_sets(held, files, majority, picks):
    """Return how many of the random sets distort 0, 1, 2, ... files.

    `picks` (draws, byzantine) are the steps of a shuffle: place i is swapped with i + picks[:, i].
    """
    draws, byzantine = picks.shape
    order = np.arange(held.shape[0])
    members = np.zeros(files, np.int64)
    counts = np.zeros(files + 1, np.int64)
    for draw in range(draws):
        distorted = 0
        for i in range(byzantine):
            j = i + picks[draw, i]
            order[i], order[j] = order[j], order[i]
            for k in range(held.shape[1]):
                file = held[order[i], k]
                members[file] += 1
                distorted += members[file] == majority
        counts[distorted] += 1
        for i in range(byzantine):
            for k in range(held.shape[1]):
                members[held[order[i], k]] = 0
    return counts


@kernel
def _change(files, members, values, sign):
    """Return the change of the summed values when a holder of `files` joins or leaves the set."""
    total = 0.0
    for i in range(files.size):
        count = members[files[i]]
        total += values[count + sign] - values[count]
    return total


@kernel
def _add(files, members, sign):
    """Count a worker that holds `files` in or out of the Byzantine copies of each."""
    for i in range(files.size):
        members[files[i]] += sign


@kernel
def climb(held, files, values, byzantine, majority, patience, budget):
    """Return the most files that a local search distorts, and the set bool (workers,).

    From each worker in turn, workers are added greedily, then one is swapped for another: the
    best swap of those not just moved, uphill or not, until `patience` swaps found nothing better.
    `values` (copies + 1,) is what a file counts by its number of Byzantine copies; `budget` limits
    the work.
    """
    workers, load = held.shape
    most, best = -1, np.zeros(workers, np.bool_)
    for start in range(workers):
        members = np.zeros(files, np.int64)
        chosen, until = np.zeros(workers, np.bool_), np.zeros(workers, np.int64)
        for step in range(byzantine):
            worker = start if step == 0 else _best_to_add(held, members, values, chosen, start)
            chosen[worker] = True
            _add(held[worker], members, 1)
        budget -= byzantine * workers * load
        swap, last = 0, patience
        while True:
            distorted = 0
            for file in range(files):
                distorted += members[file] >= majority
            if distorted > most:
                most, best[:], last = distorted, chosen, swap + patience
            if swap >= last or budget < 0:
                break
            swap += 1
            left, entered = _best_swap(held, members, values, chosen, until, swap)
            budget -= byzantine * (workers - byzantine) * load
            if left < 0:
                break
            chosen[left], chosen[entered] = False, True
            _add(held[left], members, -1)
            _add(held[entered], members, 1)
            until[left], until[entered] = swap + 4 + swap % 4, swap + 2 + swap % 3
        if budget < 0:
            break
    return most, best


@kernel
def _best_to_add(held, members, values, chosen, start):
    """Return the worker that adds most to the values, the first from `start` on of equals."""
    most, best = -np.inf, -1
    for i in range(chosen.size):
        worker = (start + i) % chosen.size
        if not chosen[worker]:
            rise = _change(held[worker], members, values, 1)
            if rise > most + 1e-12:
                most, best = rise, worker
    return best


@kernel
def _best_swap(held, members, values, chosen, until, swap):
    """Return the worker to drop and the worker to add that gain most, of those free to move."""
    most, left, entered = -np.inf, -1, -1
    for out in range(chosen.size):
        if chosen[out] and until[out] < swap:
            fall = _change(held[out], members, values, -1)
            _add(held[out], members, -1)
            for into in range(chosen.size):
                if not chosen[into] and until[into] < swap:
                    rise = fall + _change(held[into], members, values, 1)
                    if rise > most + 1e-12:
                        most, left, entered = rise, out, into
            _add(held[out], members, 1)
    return left, entered


class Search(NamedTuple):
    """The state of a branch and bound over sets of workers, by depth: workers chosen so far.

    `unit` (majority + 1,) holds `one` / need, rounded up, for a need of 2 and more.
    `tops` (byzantine, workers) sums the largest 0, 1, 2, ... numbers of files shared with another
    worker. `order` and `score` (byzantine, workers) are the candidates, best first, and `cursor`
    (byzantine, 2) the next of them and their number. `counters` are the depth, the distorted files
    of the workers chosen so far, and the most found.
    """

    held: np.ndarray
    holders: np.ndarray
    unit: np.ndarray
    tops: np.ndarray
    need: np.ndarray
    gain: np.ndarray
    share: np.ndarray
    order: np.ndarray
    score: np.ndarray
    cursor: np.ndarray
    chosen: np.ndarray
    best: np.ndarray
    counters: np.ndarray


@kernel
def rank(state, one, depth):
    """Score the candidates of a depth and sort them, best first.

    A score bounds what a worker adds: the files that it alone distorts, and its share of those that
    it distorts with later workers, which is at most 1 / need of each, and half of what pairs can
    do.
    """
    order, score = state.order[depth], state.score[depth]
    picks = state.chosen.size - depth
    pairs = max(2, state.unit.size - 1 - depth)
    scale = -(-one // (pairs * (pairs - 1)))
    for i in range(state.cursor[depth, 1]):
        worker = order[i]
        later = min(state.share[worker], scale * state.tops[picks - 1, worker])
        value = state.gain[worker] * one + later
        j = i
        while j > 0 and score[j - 1] < value:
            score[j], order[j] = score[j - 1], order[j - 1]
            j -= 1
        score[j], order[j] = value, worker


@kernel
def _reach(state, one, depth, distorted):
    """Bound the distorted files with the next candidate and those after it; -1 if too few."""
    start, size = state.cursor[depth]
    stop = start + state.chosen.size - depth
    if stop > size:
        return -1
    return distorted + state.score[depth, start:stop].sum() // one


@kernel
def _step(state, depth, sign):
    """Put the worker chosen at a depth into the set (sign 1) or take it out (-1)."""
    worker = state.chosen[depth]
    held, holders, need = state.held, state.holders, state.need
    return _move(worker, sign, held, holders, need, state.gain, state.share, state.unit)


@kernel
def advance(state, one, goal, steps):
    """Go on with a search for at most `steps` steps; return whether it is complete.

    It is complete also when `goal` files are distorted. Call `rank` on depth 0 first.
    """
    depth, distorted, most = state.counters
    last = state.chosen.size - 1
    while depth >= 0 and steps > 0 and most < goal:
        reach = _reach(state, one, depth, distorted)
        start, size = state.cursor[depth]
        if reach > most:
            state.chosen[depth] = state.order[depth, start]
            state.cursor[depth, 0] += 1
            if depth == last:
                most = reach
                state.best[:] = state.chosen
                continue
            state.order[depth + 1, : size - start - 1] = state.order[depth, start + 1 : size]
            state.cursor[depth + 1] = 0, size - start - 1
            distorted += _step(state, depth, 1)
            depth += 1
            steps -= 1
            rank(state, one, depth)
        else:
            depth -= 1
            if depth >= 0:
                distorted += _step(state, depth, -1)
    state.counters[:] = depth, distorted, most
    return depth < 0 or most >= goal
