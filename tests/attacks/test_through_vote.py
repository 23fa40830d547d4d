"""Where it pays to lie: every vote by itself, and detection against all that can be done."""

import itertools
from math import comb

import numpy as np
import pytest

from detox_sim import assignments, attacks, placements, voting
from detox_sim.attacks import through_vote as lies

HOLDERS = {
    "alone": assignments.none(7),
    "groups": assignments.detox(45, 3),
    "Latin squares": assignments.mols(load=4, copies=3),
    "all subsets": assignments.subsets(7, 3),
    "cyclic": assignments.cyclic(11, 5),
}


@pytest.mark.parametrize("holders", HOLDERS)
def test_through_a_majority_vote_attackers_lie_where_they_own_it(holders):
    files = HOLDERS[holders]
    for seed in range(5):
        bad = placements.fixed(files, (files.max() + 1) // 3, np.random.default_rng(seed))
        forged = lies.through(files, bad, "majority")
        assert not (forged & ~bad[files]).any()
        for row, members in zip(forged, bad[files], strict=True):
            owned = 2 * members.sum() > len(members)
            assert row.tolist() == (members & owned).tolist()


def test_through_the_cyclic_code_attackers_lie_once_they_are_too_many():
    files = HOLDERS["cyclic"]
    few, many = (np.arange(11) < count for count in (2, 3))
    assert not lies.through(files, few, "cyclic").any()
    assert (lies.through(files, many, "cyclic") == many[files]).all()


# --- Detection ---


def aspis(workers, copies, bad, forged):
    """Lies lost to a clique vote over all subsets, when `forged` copies are all the same lie."""
    holders = assignments.subsets(workers, copies)
    rows = np.arange(1.0, len(holders) + 1)[:, None]
    lying = forged(holders, bad)
    assert not (lying & ~bad[holders]).any()
    messages = attacks.constant(rows, lying, rng=None)
    return voting.clique(messages, holders=holders)


@pytest.mark.parametrize(("workers", "copies", "byzantine"), [(7, 3, 3), (9, 3, 4), (9, 5, 4)])
def test_liars_who_distort_everything_keep_only_files_that_are_all_theirs(
    workers, copies, byzantine
):
    for seed in range(3):
        chosen = np.random.default_rng(seed).permutation(workers)
        votes = aspis(workers, copies, chosen < byzantine, lambda holders, bad: bad[holders])
        assert votes.distorted.sum() == comb(byzantine, copies)
        assert not votes.undecided.any()


@pytest.mark.parametrize(("q", "published"), [(2, 2), (3, 10), (4, 28), (5, 60), (6, 110)])
def test_the_published_attack_on_aspis_gets_what_is_published(q, published):
    """All liars contradict one set of q honest nodes: half of the files within those 2 q."""
    bad = np.arange(15) < q

    def forged(holders, bad):
        inside = (holders < 2 * q).all(axis=1)
        return bad[holders] & (inside & (2 * bad[holders].sum(axis=1) > 3))[:, None]

    votes = aspis(15, 3, bad, forged)
    assert votes.distorted.sum() == published == comb(2 * q, 3) // 2


@pytest.mark.parametrize(("q", "most"), [(2, 2), (3, 15), (4, 40), (5, 80), (6, 155)])
def test_decoys_and_slander_get_more_than_is_published(q, most):
    bad = np.arange(15) >= 15 - q
    votes = aspis(15, 3, bad, lambda holders, bad: lies.through(holders, bad, "clique"))
    assert votes.distorted.sum() == most
    assert most == max(lies.undetected(15, q, 3, decoys) for decoys in range(q + 1))


def test_on_other_designs_what_is_chosen_is_the_best_of_what_was_tried():
    holders = assignments.bibd(15, 3)
    for q in (2, 4, 6):
        bad = np.arange(15) < q
        lost = [
            voting.clique(
                attacks.constant(np.ones((35, 1)), forged, rng=None), holders=holders
            ).distorted.sum()
            for forged in (lies.slander(holders, bad, d) for d in range(q + 1))
        ]
        chosen = lies.through(holders, bad, "clique")
        votes = voting.clique(attacks.constant(np.ones((35, 1)), chosen, rng=None), holders=holders)
        assert votes.distorted.sum() == max(lost)


@pytest.mark.parametrize(("workers", "copies"), [(9, 3), (11, 3), (13, 5)])
def test_every_attack_on_detection_loses_what_is_computed(workers, copies):
    holders = assignments.subsets(workers, copies)
    rows = np.random.default_rng(0).standard_normal((len(holders), 2))
    for q in range(1, (workers + 1) // 2):
        bad = np.zeros(workers, dtype=bool)
        bad[np.random.default_rng(q).choice(workers, q, replace=False)] = True
        for decoys in range(q + 1):
            forged = lies.slander(holders, bad, decoys)
            assert not forged[~bad[holders]].any()
            votes = voting.clique(attacks.constant(rows, forged, rng=None), holders=holders)
            expected = lies.undetected(workers, q, copies, decoys)
            if decoys or expected:  # with nothing to gain there is no larger set
                assert votes.distorted.sum() == expected


def lost_after_detection(files: list[tuple[int, ...]], workers: int, liars: set) -> int:
    """Detection and majority in plain loops; `liars` are the pairs (file, worker) that lie."""
    sends = [{node: (file, node) in liars for node in nodes} for file, nodes in enumerate(files)]
    agree = {
        (a, b): all(s[a] == s[b] for s in sends if a in s and b in s)
        for a, b in itertools.combinations(range(workers), 2)
    }
    for size in range(workers, 0, -1):
        largest = [
            nodes
            for nodes in itertools.combinations(range(workers), size)
            if all(agree[pair] for pair in itertools.combinations(nodes, 2))
        ]
        if largest:
            break
    lost = 0
    for sent in sends:
        believed = [sent[node] for node in sent if len(largest) == 1 and node in largest[0]]
        votes = believed or list(sent.values())
        lost += 2 * sum(votes) > len(votes)
    return lost


def test_no_attack_on_detection_beats_the_best():
    """Every set of lies of 2 among 5 nodes."""
    files = list(itertools.combinations(range(5), 3))
    copies = [(file, node) for file, nodes in enumerate(files) for node in nodes if node < 2]
    rng, holders = np.random.default_rng(0), np.array(files)
    rows = rng.standard_normal((len(files), 2))
    most = 0
    for chosen in itertools.product([False, True], repeat=len(copies)):
        liars = set(itertools.compress(copies, chosen))
        lost = lost_after_detection(files, 5, liars)
        most = max(most, lost)
        if rng.random() < 0.02:
            forged = np.array(
                [[(i, node) in liars for node in nodes] for i, nodes in enumerate(files)]
            )
            votes = voting.clique(attacks.constant(rows, forged, rng=None), holders=holders)
            assert votes.distorted.sum() == lost
    decoys = lies.best_decoys(5, 2, 3)
    assert most == lies.undetected(5, 2, 3, decoys) == 2
