"""Who computes which file, and who is Byzantine: the contracts, over both catalogues."""

import itertools

import numpy as np
import pytest

from detox_sim import assignments, placements, theory

ONE_COPY = {"none"}  # assignments that cannot make more
DISJOINT = {"worst_case"}  # placements for assignments in which each worker holds one file
SIZES = [(1, 1), (7, 1), (9, 3), (15, 3), (45, 3), (45, 5), (45, 9), (21, 21)]
POSSIBLE = [
    (name, workers, copies)
    for name in assignments.__all__
    for workers, copies in SIZES
    if copies == 1 or name not in ONE_COPY
]


def streams(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("name", "workers", "copies"), POSSIBLE)
@pytest.mark.parametrize("rng", [None, streams()], ids=["known", "drawn"])
def test_an_assignment_is_fair(name, workers, copies, rng):
    holders = getattr(assignments, name)(workers, copies, rng=rng)
    assert holders.shape[1] == copies
    assert np.issubdtype(holders.dtype, np.integer)
    assert all(len(set(file)) == copies for file in holders.tolist())
    loads = np.bincount(holders.ravel(), minlength=workers)
    assert len(loads) == workers
    assert len(set(loads.tolist())) == 1


@pytest.mark.parametrize(("workers", "copies"), [(9, 3), (45, 5)])
def test_detox_groups_are_fixed_unless_reshuffled(workers, copies):
    fixed = np.arange(workers).reshape(-1, copies)
    rng = streams()
    assert (assignments.detox(workers, copies) == fixed).all()
    assert (assignments.detox(workers, copies, rng=rng) == fixed).all()
    assert (assignments.detox(workers, copies, reshuffle=True) == fixed).all()
    drawn = [assignments.detox(workers, copies, rng=rng, reshuffle=True) for _ in range(2)]
    assert (drawn[0] != drawn[1]).any()
    again = assignments.detox(workers, copies, rng=streams(), reshuffle=True)
    assert (again == drawn[0]).all()
    for holders in drawn:
        assert sorted(holders.ravel().tolist()) == list(range(workers))


@pytest.mark.parametrize("name", assignments.__all__)
@pytest.mark.parametrize(
    ("workers", "copies", "message"),
    [
        (45, 2, "use 'detox'|copies must be odd.*got 2, use 1 or 3"),
        (45, 7, r"use 'detox'|45 / 7 leaves 3; with 45 workers use copies = 1, 3, 5.*workers = 42"),
        (0, 1, "must be at least 1, got 0 and 1"),
        (3, 0, "use 'detox'|must be at least 1, got 3 and 0"),
    ],
)
def test_impossible_groups_are_refused_with_what_works(name, workers, copies, message):
    with pytest.raises(ValueError, match=message):
        getattr(assignments, name)(workers, copies)


PLACED = [
    (placement, *possible)
    for placement in placements.__all__
    for possible in POSSIBLE
    if placement not in DISJOINT or possible[0] in {"none", "detox"}
]


@pytest.mark.parametrize(("placement", "assignment", "workers", "copies"), PLACED)
def test_exactly_the_asked_number_is_byzantine(placement, assignment, workers, copies):
    holders = getattr(assignments, assignment)(workers, copies)
    for byzantine in {0, 1, workers // 3, (workers - 1) // 2, workers} - {workers + 1}:
        for step in (0, 1, 17):
            bad = getattr(placements, placement)(holders, byzantine, streams(), step=step)
            assert bad.dtype == bool
            assert bad.shape == (workers,)
            assert bad.sum() == byzantine


def place(name, seed, step):
    holders = np.arange(45).reshape(-1, 3)
    return tuple(getattr(placements, name)(holders, 5, streams(seed), step=step).tolist())


@pytest.mark.parametrize("name", placements.__all__)
def test_a_placement_is_fixed_by_its_stream_and_step(name):
    assert place(name, 1, 3) == place(name, 1, 3)
    steps = {place(name, 1, step) for step in range(8)}
    seeds = {place(name, seed, 0) for seed in range(8)}
    assert len(steps) == (8 if name == "random" else 1)
    assert len(seeds) == (1 if name == "worst_case" else 8)


@pytest.mark.parametrize("name", ["random", "fixed"])
def test_every_worker_is_as_likely(name):
    draws, share = 1500, 5 / 45
    counts = np.sum([place(name, seed, 4) for seed in range(draws)], axis=0)
    assert np.abs(counts / draws - share).max() < 4.5 * (share * (1 - share) / draws) ** 0.5


def captured(holders, bad):
    return int((2 * bad[holders].sum(axis=1) > holders.shape[1]).sum())


@pytest.mark.parametrize(("workers", "copies"), [(5, 1), (6, 3), (9, 3), (12, 3), (10, 5), (15, 5)])
def test_worst_case_is_the_worst_of_all_placements(workers, copies):
    holders = assignments.detox(workers, copies)
    for byzantine in range((workers + 1) // 2):
        subsets = itertools.combinations(range(workers), byzantine)
        most = max(captured(holders, np.isin(np.arange(workers), s)) for s in subsets)
        assert captured(holders, placements.worst_case(holders, byzantine, None)) == most
        assert theory.worst_case_lost_votes(workers, byzantine, copies) == most


def test_worst_case_refuses_files_that_share_workers():
    with pytest.raises(ValueError, match="every worker holds one file"):
        placements.worst_case(np.array([[0, 1, 2], [0, 1, 2]]), 1, None)
