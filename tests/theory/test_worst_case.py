"""Worst placements: against all sets of workers, published values and closed forms."""

from math import comb

import numpy as np
import pytest
from exact_laws import (
    SIZES,
    count_all_sets,
    count_distorted,
    numbers_of_byzantine,
    small_assignments,
)
from refusals import check_refusals

from detox_sim import assignments, theory
from detox_sim.theory import worst_case

# (workers, copies) of MOLS and of Ramanujan case 2: q -> (most distorted files, gamma).
BYZSHIELD = {
    ("mols", 15, 3): {
        2: (1, 2.105263),
        3: (3, 4.285714),
        4: (5, 6.956522),
        5: (8, 10.000000),
        6: (12, 13.333333),
        7: (14, 16.896552),
    },
    ("ramanujan", 25, 5): {
        3: (1, 2.432432),
        4: (1, 3.902439),
        5: (2, 5.555556),
        6: (4, 7.346939),
        7: (5, 9.245283),
        8: (7, 11.228070),
    },
}


def search(holders, byzantine, seconds=10.0):
    """Return the worst case without the cache."""
    return worst_case._worst_case.__wrapped__(holders.tobytes(), holders.shape, byzantine, seconds)


@pytest.mark.parametrize("name", SIZES)
def test_worst_case_is_that_of_all_sets_of_workers(name):
    for holders in small_assignments(name):
        workers = int(holders.max()) + 1
        for byzantine in numbers_of_byzantine(workers):
            most = len(count_all_sets(holders, byzantine)) - 1
            for seconds in (0, 10):
                case = (workers, holders.shape[1], byzantine, seconds)
                worst = theory.worst_case_distorted_files(holders, byzantine, seconds=seconds)
                assert worst.distorted == worst.bound == most, case
                assert worst.proven, case
                assert worst.workers.shape == (workers,), case
                assert worst.workers.sum() == byzantine, case
                assert count_distorted(holders, worst.workers) == most, case
            bound = theory.second_moment_bound(holders, byzantine)
            assert most <= bound <= theory.spectral_bound(holders, byzantine) + 1e-9, case


def test_worst_cases_and_bounds_equal_those_of_byzshield():
    for (name, workers, copies), table in BYZSHIELD.items():
        holders = getattr(assignments, name)(workers, copies)
        for byzantine, (most, gamma) in table.items():
            case = (name, byzantine)
            for seconds in (0, 10):
                worst = theory.worst_case_distorted_files(holders, byzantine, seconds=seconds)
                assert (worst.distorted, worst.bound, worst.proven) == (most, most, True), case
            spectral = theory.spectral_bound(holders, byzantine)
            assert spectral == pytest.approx(gamma, rel=0, abs=0.6e-6), case
            assert most <= theory.second_moment_bound(holders, byzantine) <= gamma, case


def test_few_byzantine_workers_against_latin_squares():
    """ByzShield: nothing below a majority, one file below a whole group; then 3 or 2."""
    for workers, copies in [(15, 3), (21, 3), (39, 3), (35, 5)]:
        holders, majority = assignments.mols(workers, copies), copies // 2 + 1
        for byzantine in range(copies + 1):
            whole = 3 if copies == 3 else 2
            most = 0 if byzantine < majority else 1 if byzantine < copies else whole
            found = theory.worst_case_distorted_files(holders, byzantine).distorted
            assert found == most, (workers, byzantine)


def test_all_subsets_lose_what_counting_gives():
    """Aspis's files under a plain majority: every placement distorts as many."""
    holders = assignments.subsets(15, 3)
    for byzantine in range(2, 8):
        most = comb(byzantine, 2) * (15 - byzantine) + comb(byzantine, 3)
        assert theory.worst_case_distorted_files(holders, byzantine).distorted == most, byzantine
        law = theory.distorted_files_law(holders, byzantine).chances.tolist()
        assert law == [0] * most + [1], byzantine


def test_groups_need_one_majority_each():
    for workers, copies in [(45, 3), (45, 45), (9999, 3), (220_000, 11)]:
        holders, majority = assignments.detox(workers, copies), copies // 2 + 1
        for byzantine in (0, 1, majority - 1, majority, workers // 2, workers - 1, workers):
            case = (workers, copies, byzantine)
            worst = theory.worst_case_distorted_files(holders[::-1], byzantine)
            assert worst.method == "groups", case
            assert worst.distorted == min(workers // copies, byzantine // majority), case
            assert worst.workers.sum() == byzantine, case
            distorted = (2 * worst.workers[holders].sum(axis=1) > copies).sum()
            assert distorted == worst.distorted, case


def test_branch_and_bound_improves_on_its_start_up_to_the_enumerated_law(monkeypatch):
    """It starts from a set that distorts nothing, or from one that is one file short."""
    for name, workers, copies, options, byzantine in [
        ("mols", 35, 5, {}, 5),
        ("random_regular", 45, 3, {"load": 5}, 6),
        ("random_regular", 45, 5, {"load": 5}, 6),
        ("cyclic", 45, 5, {}, 6),
        ("bibd", 31, 3, {}, 5),
    ]:
        holders = getattr(assignments, name)(workers, copies, **options)
        law = theory.distorted_files_law(holders, byzantine)
        assert law.method == "enumeration"
        most = law.chances.size - 1
        for start in (0, most - 1):
            case = (name, workers, copies, byzantine, start)
            found = (start, np.arange(byzantine))
            monkeypatch.setattr(worst_case, "_climb", lambda *_, found=found: found)
            worst = search(holders, byzantine)
            assert (worst.distorted, worst.method) == (most, "branch and bound"), case
            assert worst.proven, case
            assert count_distorted(holders, worst.workers) == most, case


def test_unfinished_search_gives_an_unproven_bound():
    holders = assignments.mols(35, 5)
    worst = theory.worst_case_distorted_files(holders, 15, seconds=0)
    assert not worst.proven
    assert worst.distorted < worst.bound <= theory.spectral_bound(holders, 15)
    assert count_distorted(holders, worst.workers) == worst.distorted >= 26
    again = search(holders, 15, 0.0)
    assert (again.distorted, again.workers.tolist()) == (worst.distorted, worst.workers.tolist())


def test_more_seconds_prove_the_worst_case():
    holders = assignments.mols(35, 5)
    hasty = theory.worst_case_distorted_files(holders, 11, seconds=0)
    slow = theory.worst_case_distorted_files(holders, 11, seconds=60)
    assert slow.proven
    assert hasty.distorted <= slow.distorted == slow.bound <= hasty.bound


def test_search_is_done_once():
    holders = assignments.mols(15, 3)
    worst = theory.worst_case_distorted_files(holders, 7)
    assert theory.worst_case_distorted_files(holders.astype(np.int32), np.int64(7)) is worst
    assert not worst.workers.flags.writeable


def test_many_workers_have_a_bound_and_a_placement():
    holders = assignments.cyclic(2500, 3)
    worst = theory.worst_case_distorted_files(holders, 20)
    assert (worst.bound, worst.proven) == (30, False)
    assert count_distorted(holders, worst.workers) == worst.distorted >= 20


def test_impossible_seconds_are_refused():
    holders = assignments.mols(15, 3)

    def worst(seconds):
        theory.worst_case_distorted_files(holders, 3, seconds=seconds)

    check_refusals(worst, [((each,), "seconds must be") for each in (-1, float("nan"), "long")])
