"""Votes against loops, law 2 (logical copies are real copies), and the hierarchy over votes."""

import itertools

import numpy as np
import pytest
import reference

from detox_sim import aggregators, attacks, voting
from detox_sim.messages import Messages

VOTES = voting.__all__
OPTIONS = {"inner_product": {"factor": 3.0}}
LETTERS = np.array([[1.0, -1.0], [2.0, 0.0], [np.nan, 4.0], [0.0, 0.0], [-0.0, 0.0]], np.float32)


def ballots(patterns):
    """One file a pattern of letters; every true gradient is letter a."""
    patterns = np.asarray(patterns)
    true = np.repeat(LETTERS[:1], len(patterns), axis=0)
    return Messages(np.concatenate([true, LETTERS]), len(patterns) + patterns)


def same_votes(one, other):
    return all(
        getattr(one, part).tobytes() == getattr(other, part).tobytes()
        for part in ("rows", "lost", "undecided")
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
    assert got.lost.tolist() == [e not in (None, 0) for e in elected]


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
        messages = getattr(attacks, attack)(rows, forged, rng=rng, **OPTIONS.get(attack, {}))
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
    assert logical.lost.tolist() == (~same[:, 0] & ~logical.undecided).tolist()


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
    assert not votes.lost.any()
    assert not votes.undecided.any()


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
    ("byzantine", "copies", "lost"),
    [(5, 1, 5), (5, 3, 2), (7, 3, 3), (1, 3, 0), (0, 3, 0), (10, 5, 3), (22, 9, 4), (5, 11, 0)],
)
def test_lost_votes_assumed(byzantine, copies, lost):
    assert voting.lost_votes_assumed(byzantine, copies) == lost


@pytest.mark.parametrize(
    ("lost", "withstood", "groups"), [(2, 0, 2), (2, 1, 1), (2, 2, 0), (5, 1, 2), (0, 0, 0)]
)
def test_lost_groups_assumed(lost, withstood, groups):
    """Worst case by hand: a group falls only to one bad vote more than it withstands."""
    assert voting.lost_groups_assumed(lost, withstood) == groups


@pytest.mark.parametrize(
    ("groups", "lost", "chance"),
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
def test_published_chance_that_lost_votes_drive_the_median_of_means(groups, lost, chance):
    votes = (np.arange(15) < lost).astype(float)[:, None]
    rng, draws = np.random.default_rng(0), 1500
    driven = [
        voting.hierarchy(votes, groups=groups, inner=rule("mean"), outer=rule("median"), rng=rng)[0]
        for _ in range(draws)
    ]
    error = (chance * (1 - chance) / draws) ** 0.5
    assert abs(np.count_nonzero(driven) / draws - chance) < 4.5 * error
