"""Votes over all files at once: the detection of Aspis, and DRACO's decoder as a vote."""

import itertools

import numpy as np
from attack_cases import options_of, send
from refusals import assert_refused

from detox_sim import assignments, attacks, voting
from detox_sim.messages import Messages
from detox_sim.voting.detection import trusted_workers


def test_trusted_workers_are_the_unique_largest_set_that_agrees():
    rng = np.random.default_rng(8)
    holders = assignments.subsets(6, 3)
    for draw in range(40):
        labels = rng.integers(0, 2, holders.shape) * (rng.random(holders.shape) < 0.2)
        copies_of = [dict(zip(*pair, strict=True)) for pair in zip(holders, labels, strict=True)]
        agree = {
            (a, b): all(of[a] == of[b] for of in copies_of if a in of and b in of)
            for a, b in itertools.combinations(range(6), 2)
        }
        sets = [
            set(members)
            for size in range(7)
            for members in itertools.combinations(range(6), size)
            if all(agree[pair] for pair in itertools.combinations(members, 2))
        ]
        largest = [s for s in sets if len(s) == max(map(len, sets))]
        trusted = trusted_workers(labels, holders)
        if len(largest) > 1:
            assert trusted is None, draw
        else:
            assert set(np.flatnonzero(trusted).tolist()) == largest[0], draw


# --- DRACO's decoder as a vote -----------------------------------------------------------------


def test_cyclic_code_decodes_the_mean_under_as_many_byzantine_workers_as_it_withstands():
    for attack, (workers, copies) in itertools.product(attacks.__all__, [(7, 3), (15, 5), (15, 7)]):
        rng = np.random.default_rng(9)
        rows = rng.normal(size=(workers, 20))
        holders = assignments.cyclic(workers, copies)
        for count in range((copies - 1) // 2 + 1):
            byzantine = rng.permutation(workers) < count
            messages = send(attack, options_of(attack)[0], rows, byzantine[holders], rng)
            votes = voting.cyclic(messages, holders=holders, rng=rng)
            case = attack, workers, copies, count
            assert votes.rows.shape == (1, 20), case
            assert not votes.distorted.any(), case
            error = np.abs(votes.rows[0] - rows.mean(axis=0)).max()
            assert error <= 1e-7, case


def test_cyclic_code_is_distorted_by_one_byzantine_worker_more():
    rng = np.random.default_rng(9)
    rows, holders = rng.normal(size=(15, 20)), assignments.cyclic(15, 5)
    messages = attacks.reverse(rows, (np.arange(15) < 3)[holders], rng=rng)
    assert voting.cyclic(messages, holders=holders, rng=rng).distorted.tolist() == [True]


def test_cyclic_vote_refuses_other_holders():
    messages = Messages(np.ones((3, 2)), np.repeat(np.arange(3)[:, None], 3, axis=1))
    holders = np.arange(9).reshape(3, 3)
    refusal = "use assignment='cyclic'"
    assert_refused(refusal, voting.cyclic, messages, holders=holders, rng=None)
