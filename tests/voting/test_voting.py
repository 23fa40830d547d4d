"""Votes against plain loops and searches, and law 2: logical copies are real copies."""

import itertools

import numpy as np
import pytest
import reference
from attack_cases import INDEPENDENT, options_of, send
from refusals import assert_refused

from detox_sim import assignments, attacks, voting
from detox_sim.catalogue import supplied
from detox_sim.messages import Messages

FILE_BY_FILE = pytest.mark.parametrize("vote", ["majority", "streaming"])


LETTERS = np.array([[1.0, -1.0], [2.0, 0.0], [np.nan, 4.0], [0.0, 0.0], [-0.0, 0.0]], np.float32)


def letters(patterns):
    """Return one file a pattern of letters; the honest gradient of all is the first letter."""
    patterns = np.asarray(patterns)
    honest = np.repeat(LETTERS[:1], len(patterns), axis=0)
    return Messages(np.concatenate([honest, LETTERS]), len(patterns) + patterns)


def bits(votes):
    return [array.tobytes() for array in (votes.rows, votes.distorted, votes.undecided)]


@FILE_BY_FILE
def test_vote_equals_the_slow_reference_on_every_pattern(vote):
    for copies in (1, 3, 5):
        patterns = list(itertools.product(range(5), repeat=copies))
        got = getattr(voting, vote)(letters(patterns))
        elected = [getattr(reference, vote)(list(pattern)) for pattern in patterns]
        wanted = [np.zeros(2, np.float32) if e is None else LETTERS[e] for e in elected]
        assert got.rows.tobytes() == np.stack(wanted).tobytes(), copies
        assert got.undecided.tolist() == [e is None for e in elected], copies
        assert got.distorted.tolist() == [e not in (None, 0) for e in elected], copies


def test_votes_elect_as_published():
    for pattern, streaming, majority in [
        ("abc", "c", None),
        ("abb", "b", "b"),
        ("bab", "b", "b"),
        ("bba", "b", "b"),
        ("abcde", "e", None),
        ("ababc", "c", None),
        ("aabbc", "c", None),
        ("aabcc", "c", None),
    ]:
        messages = letters([["abcde".index(letter) for letter in pattern]])
        for vote, winner in (("streaming", streaming), ("majority", majority)):
            votes = getattr(voting, vote)(messages)
            row = np.zeros(2, np.float32) if winner is None else LETTERS["abcde".index(winner)]
            assert votes.rows[0].tobytes() == row.tobytes(), (pattern, vote)
            assert votes.undecided.tolist() == [winner is None], (pattern, vote)


@FILE_BY_FILE
def test_logical_copies_are_real_copies(vote):
    vote_on = getattr(voting, vote)
    for attack, dtype in itertools.product(attacks.__all__, (np.float32, np.float64)):
        rng = np.random.default_rng(3)
        rows = rng.normal(size=(12, 7)).astype(dtype)
        for copies, share in itertools.product((1, 3, 5), (0.0, 0.5, 1.0)):
            forged = rng.random((12, copies)) < share
            messages = send(attack, options_of(attack)[0], rows, forged, rng)
            case = attack, dtype, copies, share
            assert bits(vote_on(messages)) == bits(vote_on(reference.copied(messages))), case


@FILE_BY_FILE
def test_forged_copies_with_honest_bits_are_honest(vote):
    for attack, options in [
        ("reverse", {"scale": -1.0}),
        ("constant", {"value": 1.0}),
        ("gaussian", {"colluding": False}),
        ("gaussian", {"scale": 0.0, "colluding": False}),
        ("inner_product", {"factor": -1.0}),
    ]:
        rng = np.random.default_rng(4)
        rows = rng.integers(0, 2, size=(40, 1)).astype(np.float32)
        forged = rng.random((40, 3)) < 0.5
        messages = getattr(attacks, attack)(rows, forged, rng=rng, **options)
        logical, real = (getattr(voting, vote)(m) for m in (messages, reference.copied(messages)))
        assert bits(logical) == bits(real), (attack, options)
        same = logical.rows.view(np.uint32) == rows.view(np.uint32)
        distorted = ~same[:, 0] & ~logical.undecided
        assert logical.distorted.tolist() == distorted.tolist(), (attack, options)


@FILE_BY_FILE
def test_honest_majority_wins_bit_for_bit(vote):
    for copies in (1, 3, 5):
        rng = np.random.default_rng(5)
        rows = rng.normal(size=(30, 4)).astype(np.float32)
        forged = np.zeros((30, copies), dtype=bool)
        forged[:, : copies // 2] = True
        forged = rng.permuted(forged, axis=1)
        messages = attacks.gaussian(rows, forged, rng=rng, colluding=False)
        votes = getattr(voting, vote)(messages)
        assert votes.rows.tobytes() == rows.tobytes(), copies
        assert not votes.distorted.any(), copies
        assert not votes.undecided.any(), copies


# --- Tolerance, layers, and files without a majority ----------------------------------------


def test_noisy_copies_have_a_majority_within_a_tolerance_only():
    rng, files, copies = np.random.default_rng(0), 8, 3
    honest = rng.normal(size=(files, 50))
    noisy = np.repeat(honest, copies, axis=0) + 1e-4 * rng.normal(size=(files * copies, 50))
    row_of = files + np.arange(files * copies).reshape(files, copies)
    messages = Messages(np.concatenate([honest, noisy]).astype(np.float32), row_of)
    assert voting.majority(messages).undecided.all()
    assert voting.majority(messages, tolerance=1e-5).undecided.all()
    votes = voting.majority(messages, tolerance=1e-2)
    assert not votes.undecided.any()
    assert (votes.rows == messages.rows[messages.row_of[:, 0]]).all()


def test_tolerance_counts_supporters_as_loops_do():
    for tolerance in (0.0, 1e-3, 0.3):
        rng = np.random.default_rng(1)
        rows = rng.normal(size=(2, 4))[rng.integers(0, 2, 60)] * (1 + 0.2 * rng.random((60, 1)))
        rows = rows.astype(np.float32)
        rows[5] = np.nan
        messages = Messages(rows, rng.integers(0, 60, (30, 5)))

        def agree(a, b, tolerance=tolerance):
            near = np.linalg.norm(a - b) <= tolerance * max(np.linalg.norm(a), np.linalg.norm(b))
            return a.tobytes() == b.tobytes() or (tolerance > 0 and bool(near))

        votes = voting.majority(messages, tolerance=tolerance)
        for file, row_of in enumerate(messages.row_of):
            copies = rows[row_of].astype(float)
            supporters = [sum(agree(a, b) for b in copies) for a in copies]
            winner = int(np.argmax(supporters))
            assert votes.undecided[file] == (2 * max(supporters) <= 5), (tolerance, file)
            if not votes.undecided[file]:
                wanted = rows[row_of[winner]].tobytes()
                assert votes.rows[file].tobytes() == wanted, (tolerance, file)


def test_forged_copy_within_the_tolerance_is_elected_and_no_other():
    honest = np.ones((1, 100), np.float32)
    for shift, elected in ((0.9e-2, True), (1.1e-2, False)):
        rows = np.concatenate([honest, honest * np.float32(1 + shift)])
        votes = voting.majority(Messages(rows, np.array([[1, 0, 0]])), tolerance=1e-2)
        assert votes.distorted.tolist() == [elected], shift


@FILE_BY_FILE
def test_layers_elect_what_whole_vectors_do_where_workers_collude(vote):
    for attack in set(attacks.__all__) - set(INDEPENDENT):
        rng = np.random.default_rng(6)
        rows = rng.normal(size=(12, 9)).astype(np.float32)
        forged = rng.random((12, 3)) < 0.5
        messages = send(attack, options_of(attack)[0], rows, forged, rng)
        whole = getattr(voting, vote)(messages)
        layered = getattr(voting, vote)(messages, per_layer=True, sizes=[4, 1, 4])
        assert layered.rows.tobytes() == whole.rows.tobytes(), attack
        assert (layered.distorted == whole.distorted).all(), attack


def test_layers_may_elect_a_vector_that_no_worker_sent():
    rows = np.array([[1.0, 1.0], [1.0, 7.0], [8.0, 1.0]])
    messages = Messages(rows, np.array([[0, 1, 2]]))
    assert voting.majority(messages).undecided.tolist() == [True]
    layered = voting.majority(messages, per_layer=True, sizes=[1, 1])
    assert layered.rows.tolist() == [[1.0, 1.0]]
    messages = Messages(np.array([[1.0, 1.0], [1.0, 7.0], [1.0, 9.0]]), np.array([[0, 1, 2]]))
    partly = voting.majority(messages, per_layer=True, sizes=[1, 1])
    assert (partly.rows.tolist(), partly.undecided.tolist()) == ([[1.0, 0.0]], [True])


def test_file_without_a_majority_follows_the_policy():
    copies = np.array([[1.0, 2.0], [2.0, 10.0], [8.0, 0.0]])
    messages = Messages(np.concatenate([copies[:1], copies]), np.array([[1, 2, 3], [1, 1, 2]]))
    for policy, row in {"zero": [0.0, 0.0], "mean": [11 / 3, 4.0], "median": [2.0, 2.0]}.items():
        votes = voting.majority(messages, no_majority=policy)
        np.testing.assert_allclose(votes.rows[0], row, err_msg=policy)
        assert votes.rows[1].tolist() == [1.0, 2.0], policy
        assert votes.undecided.tolist() == [True, False], policy
        assert not votes.distorted.any(), policy


def test_impossible_options_are_refused():
    for options, message in [
        ({"tolerance": -1}, "tolerance must be a number of 0 or more, got -1"),
        ({"tolerance": np.nan}, "tolerance must be a number of 0 or more, got nan"),
        ({"tolerance": "some"}, "tolerance must be a number, got 'some'"),
        ({"no_majority": "first"}, "no_majority is one of zero, mean, median; got 'first'"),
        ({"per_layer": True}, "per_layer needs sizes"),
        ({"per_layer": 1}, "per_layer is True or False, got 1"),
        ({"per_layer": True, "sizes": [1, 2]}, "sizes must sum to the 2 coordinates, got 3"),
    ]:
        assert_refused(message, voting.majority, letters([[0, 1, 1]]), **options)


def test_copies_that_arrived_vote_alone():
    rows = np.array([[1.0], [1.0], [2.0]])
    winners = {"aa-": "a", "a--": "a", "ab-": None, "-bb": "b", "---": None, "aab-b": None}
    for pattern, elected in winners.items():
        row_of = np.array([["-ab".index(letter) if letter != "-" else -1 for letter in pattern]])
        messages = Messages(rows, row_of)
        for received in (messages, reference.copied(messages)):
            votes = voting.majority(received)
            assert votes.undecided.tolist() == [elected is None], pattern
            assert votes.rows.tolist() == [[{None: 0.0, "a": 1.0, "b": 2.0}[elected]]], pattern
            assert votes.distorted.tolist() == [elected == "b"], pattern


def test_other_votes_need_every_copy():
    holders = assignments.cyclic(3, 3)
    messages = Messages(np.ones((3, 1)), np.array([[0, -1, 0], [1, 1, 1], [2, 2, -1]]))
    for vote in voting.__all__:
        if vote not in ("majority", "reactive"):
            rng = np.random.default_rng(0)
            function = supplied(getattr(voting, vote), holders=holders, rng=rng)
            message = f"vote '{vote}' needs every copy, but 2 of 9 did not"
            assert_refused(message, function, messages)


def test_more_rows_must_fit_the_first():
    first, row_of = np.ones((2, 3), np.float32), np.array([[0, 2, 0], [1, 1, 2]])
    for more in (np.ones((1, 2), np.float32), np.ones((1, 3))):
        with pytest.raises(ValueError, match="more must be rows of 3 values of type float32"):
            Messages(first, row_of, more=more)
