"""The reactive vote: what it asks for, whom it exposes, and its laws."""

import numpy as np
import pytest

from detox_sim import assignments, theory
from detox_sim.messages import Messages
from detox_sim.voting import reactive


def step(holders, forging, byzantine, excluded, rng, chance=1.0, local=False, late=None):
    """Vote on one coordinate: file j's honest value is j; each forging worker sends its own."""
    files = len(holders)
    row_of = np.repeat(np.arange(files)[:, None], holders.shape[1], axis=1)
    forged = forging[holders]
    row_of[forged] = files + holders[forged]
    row_of[excluded[holders] if late is None else excluded[holders] | late] = -1
    rows = np.concatenate([np.arange(files), -1.0 - np.arange(len(forging))])[:, None]
    return reactive(
        Messages(rows, row_of), holders=holders, byzantine=byzantine, excluded=excluded, rng=rng,
        chance=chance, local=local,
    )  # fmt: skip


def placed(workers, byzantine, rng):
    marked = np.zeros(workers, bool)
    marked[rng.choice(workers, byzantine, replace=False)] = True
    return marked


def test_checked_step_elects_honest_values_and_exposes_forgers_only():
    rng = np.random.default_rng(0)
    for workers, byzantine in ((3, 1), (7, 3), (15, 4)):
        for local in (False, True):
            holders = assignments.cyclic(workers, 2 * byzantine + 1)
            for _ in range(20):
                case = (workers, byzantine, local)
                marked = placed(workers, byzantine, rng)
                forging = marked & (rng.random(workers) < 0.7)
                excluded = marked & (rng.random(workers) < 0.3)
                votes = step(holders, forging, byzantine, excluded, rng, local=local)
                assert votes.rows.ravel().tolist() == list(range(workers)), case
                assert not votes.distorted.any(), case
                assert not votes.undecided.any(), case
                exposed, asked, checked, at_server = votes.reaction
                assert checked == workers, case
                assert not (exposed & ~forging).any(), case
                assert not (exposed & excluded).any(), case
                assert exposed[forging & ~excluded].all(), case  # each is the first for a file
                left = byzantine - excluded.sum()
                counts = asked.sum(axis=1)
                disputed = counts > left + 1 if not local else None
                if local:
                    assert (counts == left + 1).all(), case
                    assert at_server == 0 if not (forging & ~excluded).any() else at_server > 0
                else:
                    assert at_server == 0, case
                    assert set(counts) <= {left + 1, 2 * left + 1}, case
                    assert disputed.any() == bool((forging & ~excluded).any() and left), case


def test_colluding_workers_do_not_outvote_honest_ones():
    """All Byzantine workers of a file send the same value, and all the files are theirs first."""
    for local in (False, True):
        holders = np.array([[0, 1, 2, 3, 4]])
        row_of = np.array([[1, 1, 0, 0, 0]])
        votes = reactive(
            Messages(np.array([[1.0], [9.0]]), row_of), holders=holders, byzantine=2,
            excluded=np.zeros(5, bool), rng=np.random.default_rng(0), local=local,
        )  # fmt: skip
        assert votes.rows.tolist() == [[1.0]]
        assert votes.reaction.exposed.tolist() == [True, True, False, False, False]
        assert votes.reaction.asked.sum() == (3 if local else 5)


def test_unchecked_step_takes_the_first_copy_that_arrived():
    rng = np.random.default_rng(0)
    holders = assignments.cyclic(7, 5)
    forging = np.arange(7) == 2
    late = np.zeros(holders.shape, bool)
    late[4, 0] = True
    votes = step(holders, forging, 2, np.zeros(7, bool), rng, chance=0.0, late=late)
    assert votes.distorted.tolist() == [False, False, True, False, False, False, False]
    exposed, asked, checked, _ = votes.reaction
    assert not exposed.any()
    assert checked == 0
    assert asked.sum(axis=1).tolist() == [1] * 7
    assert asked[4].tolist() == [False, True, False, False, False]


def test_file_without_enough_copies_is_undecided_and_exposes_nobody():
    """Of five workers two are Byzantine; of the file's copies only two arrive, and they differ."""
    holders, late = np.array([[0, 1, 2, 3, 4]]), np.array([[False, False, True, True, True]])
    votes = step(
        holders, np.arange(5) == 0, 2, np.zeros(5, bool), np.random.default_rng(0), late=late
    )
    assert votes.undecided.tolist() == [True]
    assert not votes.reaction.exposed.any()
    agreeing = late.copy()
    agreeing[0, 1] = True  # one copy is left: f + 1 = 3 do not agree
    for local in (False, True):
        few = step(
            holders, np.arange(5) == 0, 2, np.zeros(5, bool), np.random.default_rng(0),
            late=agreeing, local=local,
        )  # fmt: skip
        assert few.undecided.tolist() == [True]
        assert few.reaction.exposed.tolist() == [local, False, False, False, False]
        assert few.reaction.at_server == local
    gone = step(holders, np.arange(5) == 0, 2, np.zeros(5, bool), np.random.default_rng(0),
                late=np.ones((1, 5), bool))  # fmt: skip
    assert gone.undecided.tolist() == [True]


def test_run_follows_the_exact_laws():
    """Gradients computed, forged values taken, and steps to the last exclusion, in many runs."""
    rng = np.random.default_rng(5)
    workers, byzantine, runs = 11, 3, 300
    holders = assignments.cyclic(workers, 7)
    for chance, rate in ((0.5, 1.0), (0.25, 0.3)):
        taken, steps, spent = [], [], []
        for _ in range(runs):
            marked, excluded = placed(workers, byzantine, rng), np.zeros(workers, bool)
            count = k = 0
            while not (excluded >= marked).all():
                k += 1
                forging = marked & (rng.random(workers) < rate)
                first = np.where(~excluded[holders], np.arange(7), 99).argmin(axis=1)
                forging_first = forging[holders[np.arange(workers), first]]
                votes = step(holders, forging, byzantine, excluded, rng, chance)
                if k == 1:
                    spent.append(votes.reaction.asked.sum() / workers)
                honest_first = marked[holders[:, 0]] & (first == 0)
                count += (votes.distorted & honest_first).sum()
                assert not (votes.distorted & ~forging_first).any()
                excluded = excluded | votes.reaction.exposed
            taken.append(count)
            steps.append(k)
            assert (excluded == marked).all()  # no honest worker is ever excluded
        for values, law in (
            (taken, theory.expected_accepted(byzantine, chance)),
            (steps, theory.expected_steps_to_last_exclusion(byzantine, chance, rate)),
        ):
            error = np.std(values, ddof=1) / np.sqrt(runs)
            assert abs(np.mean(values) - law) < 5 * error, (chance, rate, np.mean(values), law)
        least = theory.expected_gradients(byzantine, chance)
        most = theory.expected_gradients(byzantine, chance, 1.0)
        assert least < np.mean(spent) < most, (chance, rate)


def test_load_without_lies_is_exact():
    rng, excluded = np.random.default_rng(1), np.zeros(11, bool)
    holders = assignments.cyclic(11, 7)
    for chance in (0.0, 0.2, 1.0):
        counts = np.array([
            step(holders, excluded, 3, excluded, rng, chance).reaction.asked.sum() / 11
            for _ in range(2000)
        ])  # fmt: skip
        assert abs(counts.mean() - theory.expected_gradients(3, chance)) < 5 * (
            counts.std() / 2000**0.5 + 1e-12
        )
        used = (1 / counts).mean()
        law = theory.expected_efficiency(3, chance)
        assert abs(used - law) < 5 * ((1 / counts).std() / 2000**0.5 + 1e-12)


def test_values_of_the_laws():
    assert [theory.expected_efficiency(5, c) for c in (0.05, 0.5, 1.0)] == pytest.approx(
        [0.9583, 0.5833, 0.1667], abs=5e-5
    )
    longest = [theory.expected_steps_to_last_exclusion(5, 1.0, rate) for rate in (1.0, 0.5, 0.1)]
    assert longest == pytest.approx([1.0, 3.7942, 22.1716], abs=5e-5)
    assert theory.expected_steps_to_last_exclusion(5, 0.0) == np.inf
    assert theory.expected_steps_to_last_exclusion(1, 0.5, 1e-9) == pytest.approx(2e9)
    assert theory.expected_steps_to_last_exclusion(200, 1.0, 0.5) == pytest.approx(9.0, abs=0.1)
    assert theory.expected_accepted(0, 0.0) == 0
    assert theory.expected_gradients(5, 0.1, 1.0, local=True) == pytest.approx(1.6)
    for chance in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match="chance must be between 0 and 1"):
            theory.expected_gradients(5, chance)


def test_unexposed_law_has_the_exact_moments():
    """The mean follows one worker; the steps to the last exclusion sum what is left."""
    for byzantine, chance, rate in ((3, 0.5, 0.3), (5, 1.0, 0.1), (2, 0.1, 1.0), (4, 0.3, 0.0)):
        case = (byzantine, chance, rate)
        law = theory.unexposed_law(byzantine, chance, rate, 2000)
        steps, counts = np.arange(2001), np.arange(byzantine + 1)
        assert law.sum(axis=1) == pytest.approx(np.ones(2001)), case
        assert law @ counts == pytest.approx(byzantine * (1 - chance * rate) ** steps), case
        if rate:
            mean = (1 - law[:, 0]).sum()
            assert mean == pytest.approx(
                theory.expected_steps_to_last_exclusion(byzantine, chance, rate)
            ), case
    with pytest.raises(ValueError, match="steps must be"):
        theory.unexposed_law(1, 0.5, 0.5, -1)


def test_impossible_checks_are_refused():
    holders = assignments.cyclic(7, 3)
    for options, message in (
        ({"excluded": np.arange(7) < 2}, "excluded 2 workers, more than byzantine=1"),
        ({"chance": 1.5}, "chance must be between 0 and 1, got 1.5"),
        ({"chance": "often"}, "chance must be a number"),
        ({"local": 1}, "local is True or False"),
        ({"byzantine": 2}, r"needs 5 copies for 2 Byzantine workers, got 3; use copies=5"),
        ({"byzantine": 3, "local": True}, "needs 4 copies for 3 Byzantine workers, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            reactive(
                Messages(np.zeros((7, 1)), np.repeat(np.arange(7)[:, None], 3, axis=1)),
                **{"holders": holders, "byzantine": 1, "excluded": np.zeros(7, bool),
                   "rng": np.random.default_rng(0), **options},
            )  # fmt: skip
