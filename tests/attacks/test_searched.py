"""The searched attack: at least the damage of the fixed attacks, and near that of a dense grid."""

import functools
import itertools
import math
import statistics

import numpy as np
import pytest
from attack_cases import send, sent

from detox_sim import aggregators, mixers, voting
from detox_sim.attacks import forgery, searching

BYZANTINE = 3
RULES = {
    **{
        name: functools.partial(getattr(aggregators, name), byzantine=BYZANTINE)
        for name in ("median", "trimmed_mean", "multi_krum", "geometric_median")
    },
    "nnm and trimmed_mean": lambda rows: aggregators.trimmed_mean(
        mixers.nnm(rows, byzantine=BYZANTINE), byzantine=BYZANTINE
    ),
}
FIXED = [("alie", {})] + [("inner_product", {"factor": factor}) for factor in (1, 10, 100)]


class Server:
    """A majority vote and a rule; keeps the messages of each call and their aggregate."""

    def __init__(self, rule):
        self.rule, self.calls = rule, []

    def __call__(self, messages):
        self.calls.append((messages, self.rule(voting.majority(messages).rows)))
        return self.calls[-1][1]


def heterogeneous(seed, copies=1):
    """Return unlike rows (15, 20) around a common part, and all copies of three files forged."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=20) * rng.choice([0.1, 1.0, 3.0])
    own = np.exp(rng.normal(size=20)) * np.exp(rng.normal(size=(15, 1)) / 2)
    forged = np.zeros((15, copies), dtype=bool)
    forged[rng.choice(15, BYZANTINE, replace=False)] = True
    return (common + own * rng.normal(size=(15, 20))).astype(np.float32), forged


def damage(objective, aggregate, rows):
    centre, aggregate = rows.astype(np.float64).mean(axis=0), aggregate.astype(np.float64)
    moved = aggregate - centre
    return float(moved @ moved if objective == "error" else -aggregate @ centre)


def test_search_does_at_least_the_damage_of_the_fixed_attacks():
    for objective, rule, copies in itertools.product(("error", "descent"), RULES, (1, 3)):
        gains = []
        for seed in range(5):
            case = objective, rule, copies, seed
            rows, forged = heterogeneous(seed, copies)
            server = Server(RULES[rule])
            messages = send("searched", {"objective": objective}, rows, forged, server=server)
            found = damage(objective, server(messages), rows)
            assert messages.search.value == pytest.approx(found, rel=1e-9, abs=1e-12), case
            best = max(
                damage(objective, server(send(name, options, rows, forged)), rows)
                for name, options in FIXED
            )
            assert found >= best, case
            gains.append((found - best) / abs(best))
        assert max(gains) > {"error": 0.05, "descent": 0.001}[objective], (objective, rule, copies)


def test_search_keeps_its_budget_and_reports_its_best_value():
    directions = ["deviation", "mean", "mean"], ["sign"], ["sign", "deviation"]
    rows, forged = heterogeneous(1)
    for case in itertools.product((4, 5, 8, 13, 32, 80), ("median", "multi_krum"), directions):
        server = Server(RULES[case[1]])
        options = {"evaluations": case[0], "directions": case[2]}
        search = send("searched", options, rows, forged, server=server).search
        assert search.evaluations == len(server.calls) <= case[0], case
        values = [damage("error", aggregate, rows) for _, aggregate in server.calls]
        assert search.value == pytest.approx(max(values), rel=1e-9), case
        tried = {messages.rows[-1].tobytes() for messages, _ in server.calls}
        assert len(tried) == len(values), case


def test_search_tries_the_fixed_attacks_first_bit_for_bit():
    rows, forged = heterogeneous(0)
    for directions, fixed in (
        (["mean", "deviation"], [*FIXED[1:], FIXED[0]]),
        (["sign", "deviation", "mean"], FIXED),
    ):
        server = Server(RULES["median"])
        options = {"directions": directions, "evaluations": 4}
        send("searched", options, rows, forged, server=server)
        for (messages, _), (name, options) in zip(server.calls, fixed, strict=True):
            wanted = sent(send(name, options, rows, forged), forged)
            assert sent(messages, forged) == wanted, (directions, name, options)


def test_search_comes_near_the_best_of_a_dense_grid():
    for rule in RULES:
        ratios = []
        for seed in range(5):
            rows, forged = heterogeneous(seed)
            honest = rows[~forged[:, 0]]
            mean, deviation = honest.mean(axis=0), honest.std(axis=0)
            unit = np.linalg.norm(deviation) / np.linalg.norm(mean)
            server = Server(RULES[rule])
            dense = max(
                damage("error", server(forgery.one_row(rows, forged, row)), rows)
                for z in np.geomspace(0.05, 20, 60)
                for row in (mean + z * deviation, mean - z * deviation, (1 - z * unit) * mean)
            )
            found = send("searched", {}, rows, forged, server=server).search.value
            ratios.append(found / dense)
        assert statistics.median(ratios) > 0.98, rule
        assert min(ratios) > 0.9, rule


def test_aggregate_that_is_not_finite_is_the_largest_damage():
    for objective, value in itertools.product(("error", "descent"), (np.nan, np.inf, -np.inf)):
        rows, forged = heterogeneous(2)
        rows[:, 3] = 0.0
        calls = itertools.count(1)

        def server(messages, rows=rows, calls=calls, value=value):
            aggregate = rows.mean(axis=0)
            aggregate[3] = value if next(calls) == 7 else 0.0
            aggregate[0] += next(iter(messages.rows[-1]))
            return aggregate

        search = send("searched", {"objective": objective}, rows, forged, server=server).search
        assert search == (7, np.inf), (objective, value)


def test_search_ends_when_all_rows_do_the_same_damage():
    rows, forged = heterogeneous(0)
    server = Server(lambda votes: rows.mean(axis=0))
    assert send("searched", {}, rows, forged, server=server).search.evaluations == 16
    forged = np.zeros_like(forged)
    assert send("searched", {}, rows, forged, server=server).search.evaluations == 1


def test_drawn_rows_have_the_statistics_of_known_files():
    rows = np.random.default_rng(0).normal(size=(6, 20_000))
    forged = np.arange(6)[:, None] < 3
    server = Server(functools.partial(aggregators.median, byzantine=1))
    known = np.array([True, True, False, True, True, False])
    send("searched", {}, rows, forged, known=known, server=server)
    tried_on = server.calls[0][0].rows[:6]
    assert tried_on[known].tobytes() == rows[known].tobytes()
    mean, deviation = rows[[3, 4]].mean(axis=0), rows[[3, 4]].std(axis=0)
    for row in (tried_on[2], tried_on[5]):
        drawn = (row - mean) / deviation
        assert drawn.mean() == pytest.approx(0.0, abs=4.5 / 20_000**0.5)
        assert drawn.std() == pytest.approx(1.0, abs=4.5 / (2 * 20_000) ** 0.5)
    assert all(messages.rows[:6].tobytes() == tried_on.tobytes() for messages, _ in server.calls)


def test_maximise_finds_the_best_scale_of_a_line():
    for best, cliff in [(0.07, False), *itertools.product((1.0, 5.3, 300.0), (False, True))]:

        def value(scale, best=best, cliff=cliff):
            if cliff and scale > best:
                return 0.0
            return 10.0 - abs(math.log(scale / best))

        line = searching.Line(lambda scale: scale, 1.0)
        found, search = searching.maximise(value, [line], 40)
        assert search.value == value(found), (best, cliff)
        assert search.evaluations <= 40, (best, cliff)
        assert found == pytest.approx(best, rel=0.02), (best, cliff)
