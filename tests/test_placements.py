"""The contract of every placement, and how many files each gives a Byzantine majority."""

import inspect
import itertools

import numpy as np
import pytest
from refusals import assert_refused

from detox_sim import Trial, assignments, placements, theory, train
from detox_sim.catalogue import supplied

HOLDERS = {
    "no redundancy": assignments.none(7),
    "groups": assignments.detox(45, 3),
    "one group": assignments.detox(9, 9),
    "Latin squares": assignments.mols(load=4, copies=3),
    "all subsets": assignments.subsets(7, 3),
    "random graph": assignments.random_regular(20, 5, load=4),
    "cyclic": assignments.cyclic(11, 5),
}
SAME_AT_EVERY_STEP = {"fixed", "whole_group", "benign", "worst_case"}
NOT_DRAWN = {"whole_group", "benign", "worst_case"}
PLACEMENTS = pytest.mark.parametrize("name", placements.__all__)


def place(name, holders, byzantine, seed=0, step=0, **options):
    def damage(marked):
        return float((marked * np.arange(marked.size)).sum())

    function = supplied(getattr(placements, name), damage=damage)
    return function(holders, byzantine, np.random.default_rng(seed), step=step, **options)


def majorities(holders, byzantine):
    """Return the number of files of which Byzantine workers compute most copies."""
    return int((2 * byzantine[holders].sum(axis=1) > holders.shape[1]).sum())


@PLACEMENTS
def test_placement_marks_exactly_the_asked_number(name):
    for label, holders in HOLDERS.items():
        workers = holders.max() + 1
        counts = {0, 1, workers // 3, (workers - 1) // 2}
        for count, step in itertools.product(counts, (0, 1, 17)):
            marked = place(name, holders, count, step=step)
            assert marked.dtype == bool, (label, count, step)
            assert marked.shape == (workers,), (label, count, step)
            assert marked.sum() == count, (label, count, step)


@PLACEMENTS
def test_placement_depends_on_its_stream_and_step_alone(name):
    def seen(seed, step):
        return tuple(place(name, HOLDERS["groups"], 5, seed, step).tolist())

    assert seen(1, 3) == seen(1, 3)
    steps = {seen(1, step) for step in range(1, 9)}
    seeds = {seen(seed, 1) for seed in range(8)}
    assert (len(steps) == 1) == (name in SAME_AT_EVERY_STEP | {"windowed"})
    assert (len(seeds) == 1) == (name in NOT_DRAWN)


@PLACEMENTS
def test_placement_signature_is_the_contract(name):
    parameters = inspect.signature(getattr(placements, name)).parameters
    assert list(parameters)[:3] == ["holders", "byzantine", "rng"]
    assert parameters["step"].kind is inspect.Parameter.KEYWORD_ONLY


def test_drawn_placements_take_every_worker_with_equal_probability():
    draws, share = 1500, 5 / 45
    for name in ("random", "fixed", "windowed"):
        marked = [place(name, HOLDERS["groups"], 5, seed, 4) for seed in range(draws)]
        error = np.abs(np.sum(marked, axis=0) / draws - share).max()
        assert error < 4.5 * (share * (1 - share) / draws) ** 0.5, name


def test_windowed_keeps_its_placement_for_as_many_steps():
    groups = HOLDERS["groups"]
    seen = [place("windowed", groups, 5, 3, step, window=4).tolist() for step in range(1, 13)]
    assert [len(list(same)) for _, same in itertools.groupby(seen)] == [4, 4, 4]
    message = "window must be an integer of 1 or more, got 0"
    assert_refused(message, place, "windowed", groups, 5, window=0)


def test_placements_on_groups_have_the_majorities_of_the_closed_form():
    """15 groups of 3: pairs first, whole groups, or one a group before a second in any."""
    groups = HOLDERS["groups"]
    for byzantine, most in [(5, 2), (15, 7), (16, 8), (22, 11)]:
        wanted = {
            "worst_case": most,
            "whole_group": (byzantine + 1) // 3,
            "benign": max(0, byzantine - 15),
        }
        for name, count in wanted.items():
            assert majorities(groups, place(name, groups, byzantine)) == count, (name, byzantine)


def test_worst_case_has_most_majorities_and_benign_fewest():
    for (label, holders), byzantine in itertools.product(HOLDERS.items(), (2, 3)):
        case, workers = (label, byzantine), holders.max() + 1
        subsets = itertools.combinations(range(workers), byzantine)
        most = max(majorities(holders, np.isin(np.arange(workers), s)) for s in subsets)
        assert majorities(holders, place("worst_case", holders, byzantine)) == most, case
        found = theory.worst_case_distorted_files(holders, byzantine)
        assert (found.distorted, found.proven) == (most, True), case
        for name in placements.__all__:
            other = majorities(holders, place(name, holders, byzantine))
            benign = majorities(holders, place("benign", holders, byzantine))
            assert benign <= other <= most, (*case, name)


def test_adaptive_placement_has_the_largest_damage_of_its_candidates():
    for label in ("groups", "Latin squares"):
        holders, asked = HOLDERS[label], []

        def damage(marked, asked=asked):
            asked.append(float((marked * np.cos(np.arange(marked.size))).sum()))
            return asked[-1]

        rng = np.random.default_rng(0)
        chosen = placements.adaptive(holders, 4, rng, damage=damage, candidates=12)
        assert len(set(asked)) > 6, label
        assert len(asked) == 12, label
        assert damage(chosen) == max(asked), label
        if label == "groups":
            assert majorities(holders, chosen) == 2


def test_byzantine_workers_are_placed_without_knowledge_of_reshuffled_groups():
    fields = {"workers": 9, "byzantine": 2, "placement": "worst_case", "groups": None}
    fields |= {"attack": "constant", "model": "softmax", "batch": 9, "steps": 20}
    for reshuffle, distorted in ((False, 1.0), (True, 0.25)):
        history = train(Trial(**fields, assignment_options={"reshuffle": reshuffle}))
        share = float((history.distorted_files == 1).mean())
        assert abs(share - distorted) <= 4.5 * (distorted * (1 - distorted) / 20) ** 0.5, reshuffle
