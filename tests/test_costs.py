"""The model of time: published counts, and shapes that any model of a round must have."""

import pytest

from detox_sim import aggregators, costs
from detox_sim.aggregators.facts import FACTS

PAIRS_ONLY = costs.Cluster(pass_seconds=0, sort_seconds=0, pair_seconds=1)
ROUND = {"workers": 45, "parameters": 11_173_962, "batch": 1440, "sample_flops": 3.3e9}
VANILLA = {**ROUND, "files": 45, "copies": 1, "groups": None, "inner": None}
DETOX = {**ROUND, "files": 15, "copies": 3}


@pytest.mark.parametrize("rule", ["krum", "multi_krum", "bulyan"])
@pytest.mark.parametrize(("rows", "pairs"), [(45, 990), (15, 105), (8, 28), (7, 21)])
def test_published_pairs_of_rows(rule, rows, pairs):
    assert costs.rule_seconds(rule, rows, 1, PAIRS_ONLY) == pairs


def test_published_pairs_of_the_two_groups():
    two = costs.round_seconds(
        **DETOX, groups=2, inner="multi_krum", outer="mean", cluster=PAIRS_ONLY
    )
    assert two["aggregate"] / ROUND["parameters"] == 49


def test_published_traffic_and_work():
    cluster = costs.Cluster(latency=0)
    for shape in (VANILLA, {**DETOX, "groups": None, "inner": None}):
        seconds = costs.round_seconds(**shape, outer="mean", cluster=cluster)
        received = seconds["send"] * cluster.bandwidth
        assert received / 2**30 == pytest.approx(1.873181, abs=6e-7)
        samples = seconds["compute"] * cluster.node_flops / ROUND["sample_flops"]
        assert samples == pytest.approx(1440 * shape["copies"] / 45)


@pytest.mark.parametrize("rule", aggregators.__all__)
def test_every_rule_has_a_cost_that_grows(rule):
    assert sum(FACTS[rule].work) > 0
    few, many = (costs.rule_seconds(rule, n, 1000, costs.Cluster()) for n in (15, 45))
    assert 3 * few <= many * (1 + 1e-12)


@pytest.mark.parametrize("outer", aggregators.__all__)
def test_a_round_has_every_phase(outer):
    seconds = costs.round_seconds(**VANILLA, outer=outer)
    assert tuple(seconds) == costs.PHASES
    assert all(value > 0 for phase, value in seconds.items() if phase != "vote")
    assert seconds["vote"] == 0
    assert costs.round_seconds(**DETOX, groups=5, inner="mean", outer=outer)["vote"] > 0


def test_mixers_cost_where_they_work():
    plain = costs.round_seconds(**DETOX, groups=5, inner="mean", outer="median")["aggregate"]
    for stages in (["nnm"], {"votes": ["nnm"]}, {"inner": ["nnm"]}, {"outer": ["nnm"]}):
        mixed = costs.round_seconds(**DETOX, groups=5, inner="mean", outer="median", mixers=stages)
        assert mixed["aggregate"] > plain
