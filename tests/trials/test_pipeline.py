"""The pipeline of a trial, phase by phase on a few coordinates."""

import numpy as np
import pytest

from detox_sim import Trial, placements
from detox_sim.trials import Pipeline
from detox_sim.trials.pipeline import Known
from detox_sim.trials.rules import distorted_files_assumed

SMALL = {"workers": 15, "batch": 30, "byzantine": 3}


def pipeline(**fields):
    return Pipeline(Trial(**SMALL | fields), sizes=(4,))


def rows_of(files=5):
    return np.random.default_rng(0).normal(size=(files, 4)).astype(np.float32)


def known(files=5):
    return Known(rows_of(files))


def test_reshuffled_assignment_is_drawn_at_every_step():
    fixed, secret = pipeline(), pipeline(assignment_options={"reshuffle": True})
    assert (fixed.assign(1) == fixed.assign(2)).all()
    assert (fixed.assign(1) == fixed.holders).all()
    assert (secret.assign(1) == secret.assign(1)).all()
    drawn = [secret.assign(step).tolist() for step in (1, 2, 3)]
    assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_attackers_do_not_see_reshuffled_assignment():
    """They are placed on the assignment that they can know."""
    secret = pipeline(placement="whole_group", assignment_options={"reshuffle": True})
    expected = placements.whole_group(secret.holders, 3, None)
    for step in range(1, 6):
        assert (secret.place(known(), step).byzantine == expected).all()


def test_byzantine_workers_are_drawn_at_every_step_and_for_every_seed():
    drawn = [
        tuple(pipeline(seed=seed).place(known(), step).byzantine)
        for seed, step in ((0, 1), (0, 1), (0, 2), (1, 1))
    ]
    assert [sum(byzantine) for byzantine in drawn] == [3] * 4
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_vote_groups_are_drawn_at_every_step_and_for_every_seed():
    votes, shape = rows_of(15), {"workers": 45, "batch": 45, "groups": 5}
    aggregates = {
        pipeline(**shape, seed=seed).aggregate(votes, step).tobytes()
        for seed in (0, 1)
        for step in (1, 2, 3)
    }
    assert len(aggregates) == 6
    one = pipeline(**shape)
    assert (one.aggregate(votes, 1) == one.aggregate(votes, 1)).all()


def test_bucketing_is_drawn_at_every_step_and_for_every_seed():
    shape = {"copies": 1, "assignment": "none", "groups": None, "mixers": ["bucketing"]}
    votes = rows_of(15)
    aggregates = {
        pipeline(**shape, seed=seed).aggregate(votes, step).tobytes()
        for seed in (0, 1)
        for step in (1, 2, 3)
    }
    assert len(aggregates) == 6


def test_draws_of_attackers_differ_from_those_of_the_server():
    """They know how the server draws, not what."""
    searching = pipeline(attack="outside:aggregate_of_honest", groups=5, byzantine=1)
    differ = []
    for step in range(1, 5):
        messages = searching.forge(known(), searching.place(known(), step), step)
        server = searching.aggregate(searching.vote(messages, step).rows, step)
        differ.append((messages.rows[-1] != server).any())
    assert not any(differ)  # one vote a group: the draw does not matter
    shape = {"workers": 45, "batch": 45}
    searching = pipeline(attack="outside:aggregate_of_honest", groups=5, byzantine=1, **shape)
    for step in range(1, 5):
        messages = searching.forge(known(15), searching.place(known(15), step), step)
        server = searching.aggregate(searching.vote(messages, step).rows, step)
        assert (messages.rows[-1] != server).any()


def test_evaluations_of_placement_and_attack_are_added():
    tried = pipeline(
        attack="searched", attack_options={"evaluations": 8}, placement="adaptive", groups=None
    )
    placement = tried.place(known(), 1)
    assert placement.evaluations == 4 * (8 + 1)  # a search and one look for each candidate
    assert tried.forge(known(), placement, 1).search.evaluations == 4 * (8 + 1) + 8
    plain = pipeline(attack="reverse")
    assert plain.forge(known(), plain.place(known(), 1), 1).search is None


def test_distorted_files_assumed_is_the_worst_case():
    cases = [
        (45, 5, 1, 5), (45, 5, 3, 2), (45, 7, 3, 3), (45, 1, 3, 0), (45, 0, 3, 0), (45, 10, 5, 3),
        (45, 22, 9, 4), (99, 5, 11, 0),
    ]  # fmt: skip
    for workers, byzantine, copies, distorted in cases:
        shape = {"groups": None, "outer": "mean", "batch": 99}
        if copies == 1:
            shape |= {"assignment": "none"}
        shape["batch"] = workers // copies
        trial = Trial(workers=workers, byzantine=byzantine, copies=copies, **shape)
        found = distorted_files_assumed(trial, Pipeline(trial, (1,)).holders)
        assert found == distorted, (workers, byzantine, copies)
    for byzantine in (0, 1, 2, 3):  # the cyclic code corrects (copies - 1) / 2 = 2 workers
        code = {"assignment": "cyclic", "vote": "cyclic", "groups": None, "outer": "mean"}
        trial = Trial(workers=15, copies=5, byzantine=byzantine, batch=15, **code)
        found = distorted_files_assumed(trial, Pipeline(trial, (1,)).holders)
        assert found == (byzantine > 2), byzantine


def test_known_gradients_are_those_of_the_attackers_files():
    for knowledge in ("own", "all", "groups"):
        seen = pipeline(attack="outside:known_to_attackers", knowledge=knowledge, byzantine=4)
        placement = seen.place(known(), 1)
        mine = placement.byzantine[seen.holders].any(axis=1)
        assert 0 < mine.sum() < 5
        found = seen.forge(known(), placement, 1).rows[-1]
        assert (found == (mine.sum() if knowledge == "own" else -1)).all(), knowledge


def test_adaptive_placement_needs_all_gradients():
    with pytest.raises(ValueError, match="adaptive measures the damage to all gradients; use"):
        pipeline(placement="adaptive", knowledge="own")
