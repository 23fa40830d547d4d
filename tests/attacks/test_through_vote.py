"""The optimal attack through each vote, for detection against every attack that is possible."""

import itertools
from math import comb

import numpy as np

from detox_sim import assignments, attacks, placements, voting
from detox_sim.attacks.through_vote import (
    best_decoys,
    contradicting_copies,
    distorted_despite_detection,
    forged_copies,
)


def test_majorities_are_forged_and_nothing_else():
    for holders in (
        assignments.none(7),
        assignments.detox(45, 3),
        assignments.mols(load=4, copies=3),
        assignments.subsets(7, 3),
        assignments.cyclic(11, 5),
    ):
        workers = holders.max() + 1
        for seed in range(5):
            byzantine = placements.fixed(holders, workers // 3, np.random.default_rng(seed))
            forged = forged_copies(holders, byzantine, "majority")
            for row, members in zip(forged, byzantine[holders], strict=True):
                majority = 2 * members.sum() > len(members)
                assert row.tolist() == (members & majority).tolist(), (holders.shape, seed)


def test_cyclic_code_is_attacked_by_more_workers_than_it_withstands():
    holders = assignments.cyclic(11, 5)
    few, many = (np.arange(11) < count for count in (2, 3))
    assert not forged_copies(holders, few, "cyclic").any()
    assert (forged_copies(holders, many, "cyclic") == many[holders]).all()


# --- Detection -------------------------------------------------------------------------------


def detect(holders, byzantine, forged):
    """Return the clique vote where all `forged` copies are one vector."""
    assert not (forged & ~byzantine[holders]).any()
    rows = np.arange(1.0, len(holders) + 1)[:, None]
    return voting.clique(attacks.constant(rows, forged, rng=None), holders=holders)


def test_forging_everything_distorts_only_files_without_an_honest_worker():
    for workers, copies, byzantine in ((7, 3, 3), (9, 3, 4), (9, 5, 4)):
        holders = assignments.subsets(workers, copies)
        for seed in range(3):
            chosen = np.random.default_rng(seed).permutation(workers) < byzantine
            votes = detect(holders, chosen, chosen[holders])
            assert votes.distorted.sum() == comb(byzantine, copies), (workers, copies, seed)
            assert not votes.undecided.any(), (workers, copies, seed)


def test_published_attack_on_aspis_distorts_the_published_number_of_files():
    """All contradict one set of q honest workers: half of the files within those 2 q."""
    holders = assignments.subsets(15, 3)
    for q, published in ((2, 2), (3, 10), (4, 28), (5, 60), (6, 110)):
        byzantine = np.arange(15) < q
        inside = (holders < 2 * q).all(axis=1) & (2 * byzantine[holders].sum(axis=1) > 3)
        votes = detect(holders, byzantine, byzantine[holders] & inside[:, None])
        assert votes.distorted.sum() == published == comb(2 * q, 3) // 2, q


def test_forged_copies_distort_more_than_the_published_attack():
    holders = assignments.subsets(15, 3)
    for q, most in ((2, 2), (3, 15), (4, 40), (5, 80), (6, 155)):
        byzantine = np.arange(15) >= 15 - q
        votes = detect(holders, byzantine, forged_copies(holders, byzantine, "clique"))
        assert votes.distorted.sum() == most, q
        assert most == max(distorted_despite_detection(15, q, 3, d) for d in range(q + 1)), q


def test_forged_copies_are_the_best_of_all_numbers_of_decoys():
    holders = assignments.bibd(15, 3)
    for q in (2, 4, 6):
        byzantine = np.arange(15) < q
        most = max(
            detect(
                holders, byzantine, contradicting_copies(holders, byzantine, decoys)
            ).distorted.sum()
            for decoys in range(q + 1)
        )
        forged = forged_copies(holders, byzantine, "clique")
        assert detect(holders, byzantine, forged).distorted.sum() == most, q


def test_contradicting_copies_distort_as_many_files_as_computed():
    for workers, copies in ((9, 3), (11, 3), (13, 5)):
        holders = assignments.subsets(workers, copies)
        for q in range(1, (workers + 1) // 2):
            byzantine = placements.fixed(holders, q, np.random.default_rng(q))
            for decoys in range(q + 1):
                forged = contradicting_copies(holders, byzantine, decoys)
                found = detect(holders, byzantine, forged).distorted.sum()
                expected = distorted_despite_detection(workers, q, copies, decoys)
                if decoys or expected:  # with nothing to gain there is no larger set
                    assert found == expected, (workers, copies, q, decoys)


def distorted_in_loops(files: list[tuple[int, ...]], workers: int, forged: set) -> int:
    """Detect and vote in plain loops; `forged` are pairs (file, worker)."""
    received = [{worker: (i, worker) in forged for worker in file} for i, file in enumerate(files)]
    agree = {
        (a, b): all(copies[a] == copies[b] for copies in received if a in copies and b in copies)
        for a, b in itertools.combinations(range(workers), 2)
    }
    for size in range(workers, 0, -1):
        largest = [
            members
            for members in itertools.combinations(range(workers), size)
            if all(agree[pair] for pair in itertools.combinations(members, 2))
        ]
        if largest:
            break
    distorted = 0
    for copies in received:
        trusted = [copies[w] for w in copies if len(largest) == 1 and w in largest[0]]
        counted = trusted or list(copies.values())
        distorted += 2 * sum(counted) > len(counted)
    return distorted


def test_no_attack_on_detection_distorts_more_than_the_best_number_of_decoys():
    """Every choice of forged copies of 2 among 5 workers."""
    holders = assignments.subsets(5, 3)
    files, byzantine = [tuple(row) for row in holders.tolist()], np.arange(5) < 2
    copies = [(i, worker) for i, file in enumerate(files) for worker in file if worker < 2]
    rng, most = np.random.default_rng(0), 0
    for chosen in itertools.product([False, True], repeat=len(copies)):
        forged = set(itertools.compress(copies, chosen))
        distorted = distorted_in_loops(files, 5, forged)
        most = max(most, distorted)
        if rng.random() < 0.02:
            marked = np.array([[(i, w) in forged for w in file] for i, file in enumerate(files)])
            assert detect(holders, byzantine, marked).distorted.sum() == distorted, forged
    decoys = best_decoys(5, 2, 3)
    assert most == distorted_despite_detection(5, 2, 3, decoys) == 2
