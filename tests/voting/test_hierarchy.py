"""The hierarchy over votes: published pipelines, the groups it draws, and their worst case."""

import itertools

import numpy as np
from refusals import assert_refused

from detox_sim import aggregators, voting

WAVES = np.array([[np.sin(i), np.cos(2 * i)] for i in range(15)])


class InOrder:
    """A stream whose permutations change nothing."""

    permutation = staticmethod(np.arange)


def rule(name, byzantine=0):
    return lambda rows: getattr(aggregators, name)(rows, byzantine=byzantine)


def test_hierarchy_equals_published_pipelines():
    for groups, inner, outer, expected in [
        (5, rule("mean"), rule("median"), (0.29140049, 0.00764390)),
        (3, rule("mean"), rule("median"), (0.16402471, -0.03116462)),
        (2, rule("multi_krum", 2), rule("mean"), (0.11412182, 0.65616436)),
        (5, rule("mean"), rule("geometric_median"), (0.29140049, 0.03616415)),
        (None, None, rule("multi_krum", 2), (0.11494077, 0.35136073)),
        (1, rule("mean"), rule("mean"), WAVES.mean(axis=0)),
    ]:
        got = voting.hierarchy(WAVES, groups=groups, inner=inner, outer=outer, rng=InOrder)
        np.testing.assert_allclose(got, expected, atol=6e-9, err_msg=f"{groups} {expected}")


def test_groups_are_an_even_partition_drawn_anew():
    for count, groups, sizes in [
        (15, 5, [3] * 5),
        (15, 2, [8, 7]),
        (15, 4, [4, 4, 4, 3]),
        (9, 9, [1] * 9),
        (9, 1, [9]),
    ]:
        rows, rng = np.arange(count, dtype=float)[:, None], np.random.default_rng(0)
        drawn = []
        for _ in range(2):
            parts = []
            voting.hierarchy(
                rows,
                groups=groups,
                inner=lambda part, parts=parts: parts.append(part[:, 0].tolist()) or part[0],
                outer=rule("mean"),
                rng=rng,
            )
            drawn.append(parts)
        assert [len(part) for part in drawn[0]] == sizes, (count, groups)
        assert sorted(itertools.chain(*drawn[0])) == rows[:, 0].tolist(), (count, groups)
        assert drawn[0] != drawn[1], (count, groups)


def test_groups_need_an_inner_rule_and_a_stream():
    given = {"outer": rule("mean"), "inner": rule("mean"), "rng": np.random.default_rng(0)}
    for missing in ("inner", "rng"):
        options = {**given, "groups": 2, missing: None}
        assert_refused("an inner rule and a random stream", voting.hierarchy, WAVES, **options)


def test_distorted_groups_assumed_is_the_worst_case():
    for distorted, withstood, groups in [(2, 0, 2), (2, 1, 1), (2, 2, 0), (5, 1, 2), (0, 0, 0)]:
        found = voting.distorted_groups_assumed(distorted, withstood)
        assert found == groups, (distorted, withstood)


def test_distorted_files_change_the_median_of_means_with_the_published_probability():
    for groups, distorted, probability in [
        (5, 3, 0.593407),
        (5, 4, 0.890110),
        (5, 5, 0.980020),
        (5, 6, 0.998002),
        (3, 2, 0.714286),
        (3, 3, 0.934066),
        (3, 4, 0.989011),
    ]:
        votes = (np.arange(15) < distorted).astype(float)[:, None]
        draws, rules = 1500, {"inner": rule("mean"), "outer": rule("median")}
        rng = np.random.default_rng(0)
        changed = [
            voting.hierarchy(votes, groups=groups, rng=rng, **rules)[0] for _ in range(draws)
        ]
        share = np.count_nonzero(changed) / draws
        error = (probability * (1 - probability) / draws) ** 0.5
        assert abs(share - probability) < 4.5 * error, (groups, distorted)
