"""Coded messages: their laws, and the codes of Election Coding by exhaustion."""

import itertools

import numpy as np
import pytest

from detox_sim import Trial, assignments, encodings, theory, train
from detox_sim.trials import Pipeline
from detox_sim.trials.pipeline import Known

SMALL = {"workers": 15, "byzantine": 3, "batch": 45, "groups": None, "outer": "trimmed_mean"}
LAD = {"assignment": "cyclic", "copies": 5, "encoding": "mean"}
SIGNS = {"encoding": "sign", "outer": "sign_majority"}


def rows_of(n, d=6, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(dtype)


def messages_of(pipeline, rows, step=1):
    """The honest messages (workers, d) of one step."""
    holders = pipeline.assign(step)
    coded = []
    for worker in range(int(holders.max()) + 1):
        files = np.flatnonzero((holders == worker).any(axis=1))
        coded.append(pipeline.encode(worker, files, rows[files], holders, step)[0])
    return np.array(coded)


# --- Encodings -----------------------------------------------------------------------------------


def test_mean_of_coded_messages_is_the_mean_of_all_files():
    """Whatever the assignment, also with unequal loads; for `random_part` in expectation."""
    for name, workers, copies in (
        ("none", 15, 1), ("cyclic", 15, 5), ("mols", 15, 3), ("random_regular", 15, 3),
        ("bibd", 15, 3), ("election", 15, 5), ("bernoulli", 15, 5), ("detox", 15, 3),
    ):  # fmt: skip
        trial = Trial(**SMALL | {"workers": workers, "copies": copies, "assignment": name,
                                 "encoding": "mean", "batch": 1050})  # fmt: skip
        rows = rows_of(trial.files, dtype=np.float64)
        got = messages_of(Pipeline(trial, (6,)), rows)
        np.testing.assert_allclose(got.mean(axis=0), rows.mean(axis=0), rtol=1e-9, err_msg=name)


def test_random_part_is_unbiased_with_the_error_of_its_law():
    rows, weights = rows_of(3, d=20, dtype=np.float64), np.array([0.5, 0.2, 0.3])
    whole = weights @ rows
    for share, kept in ((0.1, 2), (0.5, 10), (1.0, 20), (0.001, 1)):
        drawn = np.array([
            encodings.random_part(
                rows, weights=weights, rng=np.random.default_rng(i), share=share
            )
            for i in range(4000)
        ])  # fmt: skip
        assert ((drawn != 0).sum(axis=1) == kept).all(), share
        law = (20 / kept - 1) * (whole**2).sum()
        error = ((drawn - whole) ** 2).sum(axis=1)
        assert abs(error.mean() - law) <= 5 * error.std() / 4000**0.5 + 1e-9, share
        deviation = drawn.std(axis=0) / 4000**0.5
        assert (abs(drawn.mean(axis=0) - whole) <= 5 * deviation + 1e-9).all(), share
    for share in (0, 1.5, -1, np.nan):
        with pytest.raises(ValueError, match="share must be above 0 and at most 1"):
            encodings.random_part(rows, weights=weights, rng=None, share=share)


def test_signs_of_a_message_are_those_of_most_files():
    rows = rows_of(5)
    got = encodings.sign(rows, weights=None, rng=None)
    assert got.dtype == rows.dtype
    assert got.tolist() == [np.sign(np.sign(column).sum()) for column in rows.T]
    assert encodings.sign(rows[:2] * 0, weights=None, rng=None).tolist() == [0] * 6


def test_spread_of_coded_messages_follows_its_law():
    """Over random orders of the files; of LAD it is G^2 (n - r) / (r (n - 1))."""
    rng, n, byzantine = np.random.default_rng(1), 15, np.arange(15) < 3
    for name, copies in (
        ("cyclic", 1), ("cyclic", 5), ("cyclic", 15), ("bibd", 3), ("mols", 3), ("bernoulli", 5),
    ):  # fmt: skip
        holders = getattr(assignments, name)(n, copies)
        law = theory.coded_spread(holders)
        if name == "cyclic":
            np.testing.assert_allclose(law, (n - copies) / (copies * (n - 1)), atol=1e-12)
        rows = rng.normal(size=(len(holders), 8))
        rows -= rows.mean(axis=0)
        rows /= np.sqrt((rows**2).sum(axis=1).mean())
        weights = theory.coded_weights(holders)
        sums = [weights @ rng.permutation(rows) for _ in range(2000)]
        apart = np.array([(one**2).sum(axis=1) for one in sums])
        error = apart.std(axis=0) / 2000**0.5
        assert (abs(apart.mean(axis=0) - law) <= 5 * error + 1e-12).all(), (name, copies)
        means = np.array([(one[~byzantine].mean(axis=0) ** 2).sum() for one in sums])
        expected = theory.honest_mean_error(holders, byzantine)
        assert abs(means.mean() - expected) <= 5 * means.std() / 2000**0.5 + 1e-12, (name, copies)
    four = theory.honest_mean_error(assignments.cyclic(20, 5), np.arange(20) < 4)
    assert four == pytest.approx(0.0065789, abs=1e-7)
    holders = assignments.bernoulli(15, 3)
    weights, mean = theory.coded_weights(holders), rng.normal(size=8)
    rows = rng.normal(size=(15, 8))
    rows -= rows.mean(axis=0)
    rows /= np.sqrt((rows**2).sum(axis=1).mean())
    apart = [
        ((weights @ (rng.permutation(rows) + mean) - mean) ** 2).sum(axis=1) for _ in range(2000)
    ]
    law = theory.coded_spread(holders, mean_square=float((mean**2).sum()))
    error = np.std(apart, axis=0) / 2000**0.5
    assert (abs(np.mean(apart, axis=0) - law) <= 5 * error + 1e-12).all()
    for wrong in (np.ones(15, bool), np.zeros(14, bool), np.zeros(15)):
        with pytest.raises(ValueError, match=r"must be bool|an honest message is needed"):
            theory.honest_mean_error(assignments.cyclic(15, 5), wrong)


def test_messages_of_lad_have_the_spread_of_its_law():
    """In the pipeline of a trial, whose order of files is drawn anew at each step."""
    rows = rows_of(15, d=8, dtype=np.float64)
    spread = ((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean()
    for copies in (3, 15):
        options = {"assignment_options": {"reshuffle": True}}
        pipeline, found = Pipeline(Trial(**SMALL | LAD | {"copies": copies} | options), (8,)), []
        for step in range(1, 200):
            messages = messages_of(pipeline, rows, step)
            found.append(((messages - rows.mean(axis=0)) ** 2).sum(axis=1).mean() / spread)
        law = theory.coded_spread(assignments.cyclic(15, copies)).mean()
        assert abs(np.mean(found) - law) <= 5 * np.std(found) / len(found) ** 0.5 + 1e-12, copies


# --- Election Coding -----------------------------------------------------------------------------


def computed(name, workers, copies):
    """Which files each worker computes, bool (workers, files)."""
    holders = getattr(assignments, name)(workers, copies)
    return np.array([(holders == worker).any(axis=1) for worker in range(workers)])


def test_deterministic_code_is_exact_for_every_vector_of_signs():
    """And no code of the family tolerates one worker more: some vector meets it with equality."""
    for n, b in ((5, 1), (7, 2), (9, 1), (9, 2), (11, 3), (13, 2)):
        code = computed("election", n, 2 * b + 1)
        signs = np.array(list(itertools.product((-1, 1), repeat=n)))
        right = np.sign(signs.sum(axis=1))[:, None]
        local = np.sign(signs @ code.T)
        correct = (local == right).sum(axis=1)
        assert correct.min() == (n + 1) // 2 + b, (n, b)
        load = (n + 2 * b + 1) / 2
        load -= ((n - 2 * b - 1) // (2 * b + 2) + 0.5) * (n - 2 * b - 1) / n
        assert code.sum() / n == pytest.approx(load), (n, b)


def test_random_code_has_the_expected_load_and_no_idle_worker_or_file():
    loads = []
    for seed in range(200):
        holders = assignments.bernoulli(15, 5, seed=seed)
        code = np.array([(holders == worker).any(axis=1) for worker in range(15)])
        assert code.any(axis=0).all()
        assert code.any(axis=1).all()
        assert ((holders >= 0).sum(axis=1) == code.sum(axis=0)).all()
        loads.append(code.sum() / 15)
    assert abs(np.mean(loads) - 5) < 5 * np.std(loads) / 200**0.5 + 0.05
    again = assignments.bernoulli(15, 5, rng=np.random.default_rng(3))
    assert (again == assignments.bernoulli(15, 5)).all()


def test_election_elects_the_majority_sign_under_any_attack():
    """Of b Byzantine workers; without the code some of these coordinates are lost."""
    election = {"workers": 9, "byzantine": 2, "batch": 45, "groups": None, **SIGNS}
    right = np.sign(np.sign(rows_of(9, d=400, seed=3)).sum(axis=0))
    lost = {}
    for name, copies in (("election", 5), ("none", 1)):
        trial = Trial(**election, assignment=name, copies=copies, attack="reverse")
        pipeline = Pipeline(trial, (400,))
        known = Known(messages_of(pipeline, rows_of(9, d=400, seed=3)))
        lost[name] = 0
        for byzantine in itertools.combinations(range(9), 2):
            marked = np.isin(np.arange(9), byzantine)
            placement = pipeline.place(known, 1)._replace(byzantine=marked)
            votes = pipeline.vote(pipeline.forge(known, placement, 1), 1)
            lost[name] += (pipeline.aggregate(votes.rows, 1) != right).sum()
    assert lost["election"] == 0
    assert lost["none"] > 100


# --- In a trial ----------------------------------------------------------------------------------


def test_rules_are_given_all_messages_with_as_many_byzantine_as_workers():
    trial = Trial(**SMALL | LAD, attack="constant", placement="fixed", steps=3)
    history = train(trial)
    assert history.votes == 15
    assert history.distorted_files.values.tolist() == [3] * 3
    assert history.images_per_worker == 15
    message = 4 * 4810
    assert history.bytes_per_worker == message
    detox = train(Trial(workers=15, byzantine=3, batch=45, groups=None, steps=1))
    assert detox.bytes_per_worker == message
    load = {"assignment": "mols", "copies": 3, "encoding": None}
    assert train(Trial(**SMALL | load | {"batch": 50}, steps=1)).bytes_per_worker == 5 * message
    signs = train(Trial(**SMALL | {"assignment": "election", "copies": 7} | SIGNS, steps=1))
    assert signs.bytes_per_worker == message / 16
    assert signs.images_per_worker == pytest.approx(10.2 * 45 / 15)


def test_full_window_leaves_the_rules_nothing_to_choose():
    """Where every worker computes all files the honest messages are equal, and so is the result."""
    full = SMALL | LAD | {"copies": 15, "steps": 4}
    honest = train(Trial(**full | {"byzantine": 0, "outer": "mean"}))
    attacked = train(Trial(**full, attack="constant"))
    np.testing.assert_allclose(attacked.test_loss, honest.test_loss, rtol=1e-4)
    assert (attacked.gradient_error <= 1e-4 * attacked.gradient_norm).all()


IMPOSSIBLE = [
    ({"encoding": "sing"}, "encoding: unknown encoding 'sing'; did you mean 'sign'"),
    ({**LAD, "vote": "streaming"}, "on which no vote is held; leave vote and vote_options out"),
    ({**LAD, "vote_options": {"tolerance": 0.1}}, "on which no vote is held"),
    ({**LAD, "knowledge": "groups"}, "there is none with encoding 'mean'; use 'all' or 'own'"),
    ({"assignment": "election"}, "assignment 'election' gives files unequal copies, on which no"),
    ({"encoding_options": {"share": 0.5}}, "encoding_options need an encoding"),
    ({**LAD, "encoding_options": {"share": 0.5}}, "unknown option of mean 'share'"),
    ({**LAD, "encoding_options": {"weights": 1}}, "unknown option of mean 'weights'"),
    (
        {**LAD, "encoding": "random_part", "encoding_options": {"share": 2}},
        "encoding: share must be above 0",
    ),
    ({**LAD, "encoding": "outside:not_a_message"}, r"encoding: .* must return \(d,\) = \(1,\)"),
    ({**LAD, "byzantine": 7, "outer": "krum"}, "outer: krum needs n >= 2 .* got 15 with byzant"),
    (
        {"assignment": "outside:idle_workers", **SIGNS},
        r"leaves 6 of 15 workers without",
    ),
    (
        {"assignment": "outside:twice_the_same", **SIGNS},
        "gives a worker the same file twice",
    ),
    ({"assignment": "election", "workers": 14, **SIGNS}, "election needs an odd number of workers"),
]


def test_impossible_encodings_are_refused():
    for fields, message in IMPOSSIBLE:
        with pytest.raises(ValueError, match=message):
            Trial(**SMALL | {"copies": 3} | fields)
