"""When a pipeline of rules withstands distorted votes: exact counts of all splits."""

from collections import Counter
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from refusals import check_refusals
from scipy.stats import hypergeom

from detox_sim import aggregators, theory
from detox_sim.aggregators.conditions import require
from detox_sim.aggregators.facts import FACTS

PIPELINES = [  # votes, groups, inner, outer
    (15, 5, "mean", "median"),
    (15, 2, "multi_krum", "mean"),
    (33, 7, "median", "median"),
    (25, 25, "median", "median"),
    (26, 4, "median", "mean"),
    (47, 11, "trimmed_mean", "bulyan"),
    (20, 3, "bulyan", "median"),
    (31, 3, "krum", "dnc"),
    (9, 4, "krum", "median"),
    (9, 9, "bulyan", "fltrust"),
]


@pytest.mark.parametrize("rule", aggregators.__all__)
def test_rule_withstands_the_most_byzantine_rows_it_accepts(rule):
    for rows in (1, 2, 3, 4, 7, 15, 16):
        accepted = [f for f in range(-1, rows) if accepts(rule, rows, f)]
        limit = {"mean": 0, "dnc": 1}.get(rule, rows)
        withstood = theory.withstands(rule, rows)
        assert max(withstood, -1) == min(max(accepted, default=-1), limit), rows


def accepts(rule, rows, byzantine):
    try:
        require(FACTS[rule], np.ones((rows, 1)), byzantine)
    except ValueError:
        return False
    return True


def violated(votes, distorted, groups, inner, outer):
    """Return the chance of a violation with exactly so many distorted votes."""
    law = np.zeros(distorted + 1)
    law[distorted] = 1
    return theory.condition_violated(votes, law, groups=groups, inner=inner, outer=outer)


def test_median_of_means_has_the_published_chances():
    for groups, distorted, chance in [
        (5, 3, 0.593407),
        (5, 4, 0.890110),
        (5, 5, 0.980020),
        (5, 6, 0.998002),
        (3, 2, 0.714286),
        (3, 3, 0.934066),
        (3, 4, 0.989011),
    ]:
        found = violated(15, distorted, groups, "mean", "median")
        assert found == pytest.approx(chance, rel=0, abs=0.6e-6), (groups, distorted)


def count_splits(votes, groups, inner, outer):
    """Return the chance of a violation for 0, 1, 2, ... distorted votes, as fractions.

    From the number of ways to distort so many votes with so many broken groups, in integers.
    """
    ways = {(0, 0): 1}
    for part in np.array_split(np.arange(votes), groups):
        more = Counter()
        for (broken, distorted), count in ways.items():
            for i in range(len(part) + 1):
                breaks = i > theory.withstands(inner, len(part))
                more[broken + breaks, distorted + i] += count * comb(len(part), i)
        ways = more
    limit = theory.withstands(outer, groups)
    over = Counter()
    for (broken, distorted), count in ways.items():
        over[distorted] += count * (broken > limit)
    return [Fraction(over[distorted], comb(votes, distorted)) for distorted in range(votes + 1)]


def test_condition_counts_all_splits():
    for pipeline in PIPELINES:
        votes, groups, inner, outer = pipeline
        chances = count_splits(*pipeline)
        for distorted, chance in enumerate(chances):
            case = (pipeline, distorted)
            found = violated(votes, distorted, groups, inner, outer)
            assert found == pytest.approx(float(chance), rel=0, abs=1e-12), case
            possible = theory.worst_condition(votes, distorted, groups, inner, outer)
            assert possible == (chance > 0), case
        law = np.random.default_rng(0).dirichlet(np.ones(votes + 1))
        mixed = theory.condition_violated(votes, law, groups=groups, inner=inner, outer=outer)
        assert mixed == pytest.approx(float(law @ np.array(chances, float)), rel=0, abs=1e-12)


def test_condition_of_thousands_of_votes_in_two_groups():
    """Either of 1,667 and 1,666 votes has too many distorted ones: two hypergeometric tails."""
    for distorted in (0, 1, 500, 1600, 1666, 1667, 1700, 2499, 3332, 3333):
        first = hypergeom(3333, distorted, 1667)
        holds = first.pmf([i for i in range(834) if distorted - i <= 832]).sum()
        found = violated(3333, distorted, 2, "median", "mean")
        assert found == pytest.approx(1 - holds, rel=0, abs=1e-11), distorted
        one_group = violated(3333, distorted, 1, "median", "median")
        assert one_group == pytest.approx(float(distorted > 1666), rel=0, abs=1e-12), distorted


def test_condition_of_thousands_of_votes_where_one_distorted_vote_breaks_a_group():
    """With the mean inside and one group withstood: all distorted votes are in one group."""
    law = theory.distorted_files(9999, 300, 3)
    for groups in (10, 50, 99, 100):
        sizes = [len(part) for part in np.array_split(np.arange(3333), groups)]
        holds = [
            Fraction(sum(comb(size, k) for size in sizes), comb(3333, k)) if k else 1
            for k in range(40)
        ]
        wanted = 1 - sum(float(p) * float(h) for p, h in zip(law, holds, strict=False))
        found = theory.condition_violated(3333, law, groups=groups, inner="mean", outer="dnc")
        assert found == pytest.approx(wanted, rel=0, abs=1e-12), groups


def test_condition_without_groups_is_a_tail_of_the_law():
    law = theory.distorted_files(45, 10, 3)
    got = theory.condition_violated(15, law, groups=None, inner=None, outer="bulyan")
    assert got == pytest.approx(law[4:].sum(), rel=1e-12)
    some = theory.condition_violated(15, law, groups=None, inner=None, outer="mean")
    assert some == pytest.approx(1 - law[0], rel=1e-12)
    assert theory.condition_violated(2, [1.0], groups=None, inner=None, outer="bulyan") == 1
    for distorted in range(16):
        worst = theory.worst_condition(15, distorted, None, None, "bulyan")
        assert worst == (distorted > 3), distorted


def test_impossible_pipelines_are_refused():
    def condition(votes, law, groups, inner, outer):
        return theory.condition_violated(votes, law, groups=groups, inner=inner, outer=outer)

    check_refusals(
        condition,
        [
            ((15, [1.0], 5, None, "median"), "need an inner rule"),
            ((15, [1.0], 5, "maen", "median"), "did you mean 'mean'"),
            ((15, [1.0], 5, "mean", "my_rules:mine"), "unknown aggregator 'my_rules:mine'"),
            ((15, [1.0], 16, "mean", "median"), "at most the 15 votes, got 16"),
            ((15, [1.0], 0, "mean", "median"), "groups must be an integer of 1 or more, got 0"),
            ((1, [0.5, 0.25, 0.25], None, None, "median"), "distorted votes of 1, got shape"),
            ((15, [0.5, 0.4], None, None, "median"), r"a sum of 0\.9"),
            ((15, [1.5, -0.5], None, None, "median"), "chances that sum to 1"),
            ((0, [1.0], None, None, "median"), "votes must be an integer of 1 or more, got 0"),
        ],
    )
    message = "distorted must be at most the 15 votes, got 16"
    check_refusals(theory.worst_condition, [((15, 16, 5, "mean", "median"), message)])
