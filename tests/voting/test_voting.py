"""Votes against loops, law 2 (logical copies are real copies), and the hierarchy over votes."""

import itertools

import numpy as np
import pytest
import reference

from detox_sim import aggregators, assignments, attacks, voting
from detox_sim.catalogue import supplied
from detox_sim.messages import Messages
from detox_sim.voting.detection import trusted_workers

VOTES = ["majority", "streaming"]  # file by file, over equal copies
OPTIONS = {"inner_product": {"factor": 3.0}}


def send(attack, rows, forged, rng, **options):
    """What an attack sends that knows everything, to a server that takes the mean."""
    function = supplied(
        getattr(attacks, attack),
        relabelled=rows[::-1].copy(),
        server=lambda messages: voting.majority(messages).rows.mean(axis=0),
    )
    return function(rows, forged, rng=rng, **OPTIONS.get(attack, {}), **options)


LETTERS = np.array([[1.0, -1.0], [2.0, 0.0], [np.nan, 4.0], [0.0, 0.0], [-0.0, 0.0]], np.float32)


def ballots(patterns):
    """One file a pattern of letters; every true gradient is letter a."""
    patterns = np.asarray(patterns)
    true = np.repeat(LETTERS[:1], len(patterns), axis=0)
    return Messages(np.concatenate([true, LETTERS]), len(patterns) + patterns)


def same_votes(one, other):
    return all(
        getattr(one, part).tobytes() == getattr(other, part).tobytes()
        for part in ("rows", "distorted", "undecided")
    )


@pytest.mark.parametrize("name", VOTES)
@pytest.mark.parametrize("copies", [1, 3, 5])
def test_equals_the_slow_reference_on_every_pattern(name, copies):
    patterns = list(itertools.product(range(5), repeat=copies))
    got = getattr(voting, name)(ballots(patterns))
    elected = [getattr(reference, name)(list(pattern)) for pattern in patterns]
    wanted = [np.zeros(2, np.float32) if e is None else LETTERS[e] for e in elected]
    assert got.rows.tobytes() == np.stack(wanted).tobytes()
    assert got.undecided.tolist() == [e is None for e in elected]
    assert got.distorted.tolist() == [e not in (None, 0) for e in elected]


@pytest.mark.parametrize(
    ("pattern", "streaming", "majority"),
    [
        ("abc", "c", None),
        ("abb", "b", "b"),
        ("bab", "b", "b"),
        ("bba", "b", "b"),
        ("abcde", "e", None),
        ("ababc", "c", None),
        ("aabbc", "c", None),
        ("aabcc", "c", None),
    ],
)
def test_published_patterns(pattern, streaming, majority):
    messages = ballots([["abcde".index(letter) for letter in pattern]])
    for name, winner in (("streaming", streaming), ("majority", majority)):
        votes = getattr(voting, name)(messages)
        row = np.zeros(2, np.float32) if winner is None else LETTERS["abcde".index(winner)]
        assert votes.rows[0].tobytes() == row.tobytes()
        assert votes.undecided.tolist() == [winner is None]


@pytest.mark.parametrize("vote", VOTES)
@pytest.mark.parametrize("attack", attacks.__all__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logical_copies_are_real_copies(vote, attack, dtype):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(12, 7)).astype(dtype)
    for copies, share in itertools.product((1, 3, 5), (0.0, 0.5, 1.0)):
        forged = rng.random((12, copies)) < share
        messages = send(attack, rows, forged, rng)
        vote_on = getattr(voting, vote)
        assert same_votes(vote_on(messages), vote_on(messages.copied()))


@pytest.mark.parametrize("vote", VOTES)
@pytest.mark.parametrize(
    ("attack", "options"),
    [
        ("reverse", {"scale": -1.0}),
        ("constant", {"value": 1.0}),
        ("gaussian", {"colluding": False}),
        ("gaussian", {"scale": 0.0, "colluding": False}),
        ("inner_product", {"factor": -1.0}),
    ],
)
def test_forged_copies_may_equal_honest_bits(vote, attack, options):
    rng = np.random.default_rng(4)
    rows = rng.integers(0, 2, size=(40, 1)).astype(np.float32)
    forged = rng.random((40, 3)) < 0.5
    messages = getattr(attacks, attack)(rows, forged, rng=rng, **options)
    logical, real = (getattr(voting, vote)(m) for m in (messages, messages.copied()))
    assert same_votes(logical, real)
    same = logical.rows.view(np.uint32) == rows.view(np.uint32)
    assert logical.distorted.tolist() == (~same[:, 0] & ~logical.undecided).tolist()


@pytest.mark.parametrize("vote", VOTES)
@pytest.mark.parametrize("copies", [1, 3, 5])
def test_an_honest_majority_wins_bit_for_bit(vote, copies):
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(30, 4)).astype(np.float32)
    forged = np.zeros((30, copies), dtype=bool)
    forged[:, : copies // 2] = True
    forged = rng.permuted(forged, axis=1)
    messages = attacks.gaussian(rows, forged, rng=rng, colluding=False)
    votes = getattr(voting, vote)(messages)
    assert votes.rows.tobytes() == rows.tobytes()
    assert not votes.distorted.any()
    assert not votes.undecided.any()


# --- Tolerance, layers, and files without a majority ----------------------------------------


def noisy(rng, files=8, copies=3, d=50, noise=1e-4):
    """Honest copies that differ by relative noise, each a row of its own."""
    true = rng.normal(size=(files, d))
    copies_of = np.repeat(true, copies, axis=0) + noise * rng.normal(size=(files * copies, d))
    rows = np.concatenate([true, copies_of]).astype(np.float32)
    return Messages(rows, files + np.arange(files * copies).reshape(files, copies))


def test_noise_leaves_no_majority_of_bits_and_one_within_the_tolerance():
    messages = noisy(np.random.default_rng(0))
    assert voting.majority(messages).undecided.all()
    assert voting.majority(messages, tolerance=1e-5).undecided.all()
    votes = voting.majority(messages, tolerance=1e-2)
    assert not votes.undecided.any()
    assert (votes.rows == messages.rows[messages.row_of[:, 0]]).all()


@pytest.mark.parametrize("tolerance", [0.0, 1e-3, 0.3])
def test_a_tolerance_counts_supporters_as_loops_do(tolerance):
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(2, 4))
    rows = (centres[rng.integers(0, 2, 60)] * (1 + 0.2 * rng.random((60, 1)))).astype(np.float32)
    rows[5] = np.nan
    messages = Messages(rows, rng.integers(0, 60, (30, 5)))
    votes = voting.majority(messages, tolerance=tolerance)
    for file, row_of in enumerate(messages.row_of):
        copies = rows[row_of].astype(float)

        def agree(a, b):
            near = np.linalg.norm(a - b) <= tolerance * max(np.linalg.norm(a), np.linalg.norm(b))
            return a.tobytes() == b.tobytes() or (tolerance > 0 and bool(near))

        supporters = [sum(agree(a, b) for b in copies) for a in copies]
        winner = int(np.argmax(supporters))
        assert votes.undecided[file] == (2 * max(supporters) <= 5)
        if not votes.undecided[file]:
            assert votes.rows[file].tobytes() == rows[row_of[winner]].tobytes()


def test_a_liar_within_the_tolerance_shifts_the_vote_by_as_much_and_no_more():
    true = np.ones((1, 100), np.float32)
    for shift, elected in ((0.9e-2, True), (1.1e-2, False)):
        lie = true * np.float32(1 + shift)
        messages = Messages(np.concatenate([true, lie]), np.array([[1, 0, 0]]))
        votes = voting.majority(messages, tolerance=1e-2)
        assert votes.distorted.tolist() == [elected]


@pytest.mark.parametrize("vote", VOTES)
@pytest.mark.parametrize("attack", attacks.__all__)
def test_layers_elect_what_whole_vectors_do_where_liars_collude(vote, attack):
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(12, 9)).astype(np.float32)
    messages = send(attack, rows, rng.random((12, 3)) < 0.5, rng)
    whole = getattr(voting, vote)(messages)
    layered = getattr(voting, vote)(messages, per_layer=True, sizes=[4, 1, 4])
    assert layered.rows.tobytes() == whole.rows.tobytes()
    assert (layered.distorted == whole.distorted).all()


def test_layers_may_elect_what_no_node_sent():
    rows = np.array([[1.0, 1.0], [1.0, 7.0], [8.0, 1.0]])
    messages = Messages(rows, np.array([[0, 1, 2]]))
    assert voting.majority(messages).undecided.tolist() == [True]
    layered = voting.majority(messages, per_layer=True, sizes=[1, 1])
    assert layered.rows.tolist() == [[1.0, 1.0]]
    partly = voting.majority(
        Messages(np.array([[1.0, 1.0], [1.0, 7.0], [1.0, 9.0]]), np.array([[0, 1, 2]])),
        per_layer=True,
        sizes=[1, 1],
    )
    assert (partly.rows.tolist(), partly.undecided.tolist()) == ([[1.0, 0.0]], [True])


@pytest.mark.parametrize(
    ("policy", "row"),
    [("zero", [0.0, 0.0]), ("mean", [11 / 3, 4.0]), ("median", [2.0, 2.0])],
)
def test_a_file_without_a_majority_follows_the_policy(policy, row):
    copies = np.array([[1.0, 2.0], [2.0, 10.0], [8.0, 0.0]])
    messages = Messages(np.concatenate([copies[:1], copies]), np.array([[1, 2, 3], [1, 1, 2]]))
    votes = voting.majority(messages, no_majority=policy)
    np.testing.assert_allclose(votes.rows[0], row)
    assert votes.rows[1].tolist() == [1.0, 2.0]
    assert votes.undecided.tolist() == [True, False]
    assert not votes.distorted.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": -1}, "tolerance must be a number of 0 or more, got -1"),
        ({"tolerance": np.nan}, "tolerance must be a number of 0 or more, got nan"),
        ({"tolerance": "some"}, "tolerance must be a number, got 'some'"),
        ({"no_majority": "first"}, "no_majority is one of zero, mean, median; got 'first'"),
        ({"per_layer": True}, "per_layer needs sizes"),
        ({"per_layer": 1}, "per_layer is True or False, got 1"),
        ({"per_layer": True, "sizes": [1, 2]}, "sizes must sum to the 2 coordinates, got 3"),
    ],
)
def test_a_majority_refuses_what_it_does_not_know(options, message):
    with pytest.raises(ValueError, match=message):
        voting.majority(ballots([[0, 1, 1]]), **options)


@pytest.mark.parametrize(
    ("pattern", "elected"),
    [("aa-", "a"), ("a--", "a"), ("ab-", None), ("-bb", "b"), ("---", None), ("aab-b", None)],
)
def test_copies_that_arrived_vote_alone(pattern, elected):
    rows = np.array([[1.0], [1.0], [2.0]])
    row_of = np.array([["-ab".index(letter) if letter != "-" else -1 for letter in pattern]])
    messages = Messages(rows, row_of)
    for sent in (messages, messages.copied()):
        votes = voting.majority(sent)
        assert votes.undecided.tolist() == [elected is None]
        assert votes.rows.tolist() == [[{None: 0.0, "a": 1.0, "b": 2.0}[elected]]]
        assert votes.distorted.tolist() == [elected == "b"]


@pytest.mark.parametrize("vote", ["streaming", "clique", "cyclic"])
def test_other_votes_need_every_copy(vote):
    holders = assignments.cyclic(3, 3)
    messages = Messages(np.ones((3, 1)), np.array([[0, -1, 0], [1, 1, 1], [2, 2, -1]]))
    function = supplied(getattr(voting, vote), holders=holders, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=f"vote '{vote}' needs every copy, but 2 of 9 did not"):
        function(messages)


# --- Detection: the largest set of nodes that agree -------------------------------------------


def test_a_clique_vote_equals_a_search_over_all_sets():
    rng = np.random.default_rng(8)
    holders = assignments.subsets(6, 3)
    for _ in range(40):
        labels = rng.integers(0, 2, holders.shape) * (rng.random(holders.shape) < 0.2)
        agree = [
            [
                all(
                    len({label for worker, label in zip(h, row, strict=True) if worker in (a, b)})
                    == 1
                    for h, row in zip(holders.tolist(), labels.tolist(), strict=True)
                    if a in h and b in h
                )
                for b in range(6)
            ]
            for a in range(6)
        ]
        sets = [
            set(members)
            for size in range(7)
            for members in itertools.combinations(range(6), size)
            if all(agree[a][b] for a, b in itertools.combinations(members, 2))
        ]
        largest = [s for s in sets if len(s) == max(map(len, sets))]
        trusted = trusted_workers(labels, holders)
        if len(largest) > 1:
            assert trusted is None
        else:
            assert set(np.flatnonzero(trusted).tolist()) == largest[0]


# --- DRACO's decoder as a vote -----------------------------------------------------------------


@pytest.mark.parametrize(("workers", "copies"), [(7, 3), (15, 5), (15, 7)])
@pytest.mark.parametrize("attack", [name for name in attacks.__all__ if name != "none"])
def test_the_cyclic_code_gives_the_mean_under_as_many_liars_as_it_bears(workers, copies, attack):
    rng = np.random.default_rng(9)
    rows = rng.normal(size=(workers, 20))
    holders = assignments.cyclic(workers, copies)
    for liars in range((copies - 1) // 2 + 1):
        bad = rng.permutation(workers) < liars
        messages = send(attack, rows, bad[holders], rng)
        votes = voting.cyclic(messages, holders=holders, rng=rng)
        assert votes.rows.shape == (1, 20)
        assert not votes.distorted.any()
        np.testing.assert_allclose(votes.rows[0], rows.mean(axis=0), rtol=0, atol=1e-7)


def test_the_cyclic_code_falls_to_one_liar_more():
    rng = np.random.default_rng(9)
    rows, holders = rng.normal(size=(15, 20)), assignments.cyclic(15, 5)
    messages = attacks.reverse(rows, (np.arange(15) < 3)[holders], rng=rng)
    assert voting.cyclic(messages, holders=holders, rng=rng).distorted.tolist() == [True]


def test_the_decoder_refuses_other_holders():
    messages = ballots([[0, 1, 1]] * 3)
    with pytest.raises(ValueError, match="use assignment='cyclic'"):
        voting.cyclic(messages, holders=np.arange(9).reshape(3, 3), rng=None)


# --- The hierarchy ---------------------------------------------------------------------------

WAVES = np.array([[np.sin(i), np.cos(2 * i)] for i in range(15)])


class InOrder:
    """A stream whose permutations change nothing."""

    permutation = staticmethod(np.arange)


def rule(name, byzantine=0):
    return lambda rows: getattr(aggregators, name)(rows, byzantine=byzantine)


@pytest.mark.parametrize(
    ("groups", "inner", "outer", "expected"),
    [
        (5, rule("mean"), rule("median"), (0.29140049, 0.00764390)),
        (3, rule("mean"), rule("median"), (0.16402471, -0.03116462)),
        (2, rule("multi_krum", 2), rule("mean"), (0.11412182, 0.65616436)),
        (5, rule("mean"), rule("geometric_median"), (0.29140049, 0.03616415)),
        (None, None, rule("multi_krum", 2), (0.11494077, 0.35136073)),
        (1, rule("mean"), rule("mean"), WAVES.mean(axis=0)),
    ],
)
def test_published_pipelines(groups, inner, outer, expected):
    got = voting.hierarchy(WAVES, groups=groups, inner=inner, outer=outer, rng=InOrder)
    np.testing.assert_allclose(got, expected, atol=6e-9)


@pytest.mark.parametrize(
    ("votes", "groups", "sizes"),
    [(15, 5, [3] * 5), (15, 2, [8, 7]), (15, 4, [4, 4, 4, 3]), (9, 9, [1] * 9), (9, 1, [9])],
)
def test_groups_are_an_even_partition_drawn_anew(votes, groups, sizes):
    rows = np.arange(votes, dtype=float)[:, None]
    rng = np.random.default_rng(0)

    def draw():
        seen = []
        voting.hierarchy(
            rows,
            groups=groups,
            inner=lambda part: seen.append(part[:, 0].tolist()) or part[0],
            outer=rule("mean"),
            rng=rng,
        )
        return seen

    first, second = draw(), draw()
    assert [len(part) for part in first] == sizes
    assert sorted(itertools.chain(*first)) == rows[:, 0].tolist()
    assert first != second


@pytest.mark.parametrize(("given", "missing"), [({"groups": 2}, "inner"), ({"groups": 2}, "rng")])
def test_groups_need_an_inner_rule_and_a_stream(given, missing):
    given = {**given, "inner": rule("mean"), "rng": np.random.default_rng(0), missing: None}
    with pytest.raises(ValueError, match="an inner rule and a random stream"):
        voting.hierarchy(WAVES, outer=rule("mean"), **given)


@pytest.mark.parametrize(
    ("distorted", "withstood", "groups"), [(2, 0, 2), (2, 1, 1), (2, 2, 0), (5, 1, 2), (0, 0, 0)]
)
def test_distorted_groups_assumed(lost, withstood, groups):
    """Worst case by hand: a group falls only to one bad vote more than it withstands."""
    assert voting.distorted_groups_assumed(lost, withstood) == groups


@pytest.mark.parametrize(
    ("groups", "distorted", "chance"),
    [
        (5, 3, 0.593407),
        (5, 4, 0.890110),
        (5, 5, 0.980020),
        (5, 6, 0.998002),
        (3, 2, 0.714286),
        (3, 3, 0.934066),
        (3, 4, 0.989011),
    ],
)
def test_published_chance_that_distorted_files_drive_the_median_of_means(groups, lost, chance):
    votes = (np.arange(15) < lost).astype(float)[:, None]
    rng, draws = np.random.default_rng(0), 1500
    driven = [
        voting.hierarchy(votes, groups=groups, inner=rule("mean"), outer=rule("median"), rng=rng)[0]
        for _ in range(draws)
    ]
    error = (chance * (1 - chance) / draws) ** 0.5
    assert abs(np.count_nonzero(driven) / draws - chance) < 4.5 * error
