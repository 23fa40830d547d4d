"""Who is Byzantine, over the catalogue, and where it pays to lie."""

import inspect
import itertools

import numpy as np
import pytest

from detox_sim import assignments, placements, theory
from detox_sim.catalogue import supplied

HOLDERS = {
    "alone": assignments.none(7),
    "groups": assignments.detox(45, 3),
    "one group": assignments.detox(9, 9),
    "Latin squares": assignments.mols(load=4, copies=3),
    "all subsets": assignments.subsets(7, 3),
    "random": assignments.random_regular(20, 5, load=4),
    "cyclic": assignments.cyclic(11, 5),
}
SAME_AT_EVERY_STEP = {"fixed", "whole_group", "benign", "worst_case"}
NOT_DRAWN = {"whole_group", "benign", "worst_case"}


def place(name, holders, byzantine, seed=0, step=0, **options):
    def damage(bad):
        return float((bad * np.arange(bad.size)).sum())

    function = supplied(getattr(placements, name), damage=damage)
    return function(holders, byzantine, np.random.default_rng(seed), step=step, **options)


def captured(holders, bad):
    return int((2 * bad[holders].sum(axis=1) > holders.shape[1]).sum())


@pytest.mark.parametrize("holders", HOLDERS)
@pytest.mark.parametrize("name", placements.__all__)
def test_exactly_the_asked_number_is_byzantine(name, holders):
    workers = HOLDERS[holders].max() + 1
    for byzantine in {0, 1, workers // 3, (workers - 1) // 2}:
        for step in (0, 1, 17):
            bad = place(name, HOLDERS[holders], byzantine, step=step)
            assert bad.dtype == bool
            assert bad.shape == (workers,)
            assert bad.sum() == byzantine


@pytest.mark.parametrize("name", placements.__all__)
def test_a_placement_is_fixed_by_its_stream_and_step(name):
    def seen(seed, step):
        return tuple(place(name, HOLDERS["groups"], 5, seed, step).tolist())

    assert seen(1, 3) == seen(1, 3)
    steps = {seen(1, step) for step in range(1, 9)}
    seeds = {seen(seed, 1) for seed in range(8)}
    assert (len(steps) == 1) == (name in SAME_AT_EVERY_STEP | {"windowed"})
    assert (len(seeds) == 1) == (name in NOT_DRAWN)


@pytest.mark.parametrize("name", ["random", "fixed", "windowed"])
def test_every_worker_is_as_likely(name):
    draws, share = 1500, 5 / 45
    counts = np.sum([place(name, HOLDERS["groups"], 5, seed, 4) for seed in range(draws)], axis=0)
    assert np.abs(counts / draws - share).max() < 4.5 * (share * (1 - share) / draws) ** 0.5


def test_a_window_keeps_its_placement_for_as_many_steps():
    seen = [
        place("windowed", HOLDERS["groups"], 5, 3, step, window=4).tolist() for step in range(1, 13)
    ]
    assert [len(list(same)) for _, same in itertools.groupby(seen)] == [4, 4, 4]
    with pytest.raises(ValueError, match="window must be an integer of 1 or more, got 0"):
        place("windowed", HOLDERS["groups"], 5, window=0)


@pytest.mark.parametrize(("byzantine", "lost"), [(5, 2), (15, 7), (16, 8), (22, 11)])
def test_groups_under_each_placement(byzantine, lost):
    """15 groups of 3: pairs first, whole groups, or one a group before a second in any."""
    groups = HOLDERS["groups"]
    assert captured(groups, place("worst_case", groups, byzantine)) == lost
    whole = (byzantine + 1) // 3
    assert captured(groups, place("whole_group", groups, byzantine)) == whole
    assert captured(groups, place("benign", groups, byzantine)) == max(0, byzantine - 15)


@pytest.mark.parametrize("holders", HOLDERS)
def test_the_worst_case_captures_most_and_the_benign_one_least(holders):
    files = HOLDERS[holders]
    workers = files.max() + 1
    for byzantine in (2, 3):
        subsets = itertools.combinations(range(workers), byzantine)
        most = max(captured(files, np.isin(np.arange(workers), s)) for s in subsets)
        assert captured(files, place("worst_case", files, byzantine)) == most
        found = theory.worst_case_distorted_files(files, byzantine)
        assert (found.distorted, found.proven) == (most, True)
        others = [captured(files, place(name, files, byzantine)) for name in placements.__all__]
        assert captured(files, place("benign", files, byzantine)) == min(others)


def test_the_adaptive_placement_is_where_damage_is_largest():
    """Placement and value together: every candidate is asked for its damage."""
    for name in ("groups", "Latin squares"):
        files, asked = HOLDERS[name], []

        def damage(bad):
            asked.append(float((bad * np.cos(np.arange(bad.size))).sum()))  # noqa: B023
            return asked[-1]  # noqa: B023

        rng = np.random.default_rng(0)
        chosen = placements.adaptive(files, 4, rng, damage=damage, candidates=12)
        assert len(set(asked)) > 6
        assert len(asked) == 12
        assert damage(chosen) == max(asked)
        if name == "groups":
            assert captured(files, chosen) == 2


def test_every_placement_takes_its_options_by_keyword():
    for name in placements.__all__:
        parameters = inspect.signature(getattr(placements, name)).parameters
        assert list(parameters)[:3] == ["holders", "byzantine", "rng"]
        assert parameters["step"].kind is inspect.Parameter.KEYWORD_ONLY
