"""Worker momentum beside redundancy: the words, the pairing, the fair rate."""

import json

import numpy as np
import pytest
import xarray as xr

from detox_sim.sweeps import expand
from studies.style import draw
from studies.training import momentum
from studies.training.memory import damages, tables
from studies.training.memory.damages import FOUR

SEEDS = 5
AT = {"byzantine": 11, "attack": "ALIE z=1", "rule": "Multi-Krum"}


def made_up(losses: dict, noise: float = 0.001, seeds: int = SEEDS) -> xr.Dataset:
    """Return a dataset where the attack takes `losses` by rule, in the order of `FOUR`.

    When nobody attacks the accuracy is 0.9 for the mean and 0.8 for others, and differs by seed
    much more than the damage does.
    """
    axes = {
        "byzantine": [11],
        "attack": ["ALIE z=1", "nobody"],
        "rule": list(losses),
        "memory": ["server momentum", "worker momentum"],
        "redundancy": ["alone", "DETOX"],
        "seed": list(range(seeds)),
        "eval_step": [0, 1, 2, 3, 4, 5, 6],
    }
    accuracy = np.zeros([len(values) for values in axes.values()])
    by_seed = np.linspace(-0.09, 0.09, seeds)
    small = noise * np.where(np.arange(seeds) % 2, 1, -1)
    for r, (rule, some) in enumerate(losses.items()):
        high = 0.9 if rule == "Mean" else 0.8
        for (m, d), loss, size in zip(np.ndindex(2, 2), some, (1, 2, -1, -2), strict=True):
            accuracy[0, 1, r, m, d] = (high + by_seed)[:, None]
            accuracy[0, 0, r, m, d] = (high + by_seed - loss + size * small)[:, None]
    accuracy[..., :2] = 0.1  # before the last five evaluations
    ones = np.ones_like(accuracy)
    names = {"accuracy": accuracy, "gradient_spread": 3 * ones, "gradient_norm": ones}
    return xr.Dataset({name: (list(axes), values) for name, values in names.items()}, axes)


# The damage with server momentum alone, server and DETOX, worker momentum alone, both.
CASES = {
    damages.REPLACES: (0.5, 0.1, 0.1, 0.1),
    damages.ADDS: (0.5, 0.1, 0.3, 0.0),
    damages.BOTH: (0.5, 0.1, 0.1, 0.0),
    damages.NEITHER: (0.5, 0.1, 0.5, 0.1),
    damages.UNDECIDED: (0.5, 0.1, 0.12, 0.1),
    damages.NO_BITE: (0.01, 0.0, 0.0, 0.0),
    damages.NOT_RUN: (0.5, 0.1, np.nan, np.nan),
}


def test_every_word_is_reached_and_named_in_the_finding():
    assert set(CASES) == set(damages.WORDS)
    for word, losses in CASES.items():
        dataset = made_up({"Multi-Krum": losses})
        answers = damages.answers(damages.damages(dataset)).sel(AT)
        assert answers.word.item() == word
        found = tables.finding(dataset)
        if word == damages.NOT_RUN:
            assert "none is complete" in found
            continue
        assert f"Of 1 pairs of an attack and a rule: {word} in 1 (5 seeds)." in found, word
        assert f"**ALIE z=1, q = 11.** **{word}**: Multi-Krum" in found, word
        assert (f"(damage with server momentum {losses[0]:.3f} ±" in found) == (
            word in tables.DECIDED
        ), word


def test_answers_to_replaces_and_adds_are_told_apart():
    for losses, replaces, adds in [
        ((0.5, 0.1, 0.1, 0.0), "yes", "yes"),
        ((0.5, 0.1, 0.3, 0.0), "no", "yes"),
        ((0.5, 0.1, 0.0, 0.0), "yes", "no"),  # both together are no better than momentum
        ((0.5, 0.1, 0.49, 0.1), "no", "no"),
        ((0.5, 0.5, 0.5, 0.5), "no", "no"),  # no defence: nothing is replaced
        ((0.5, 0.1, 0.12, 0.1), "undecided", "no"),  # a gap of the threshold
    ]:
        found = damages.answers(damages.damages(made_up({"Multi-Krum": losses}))).sel(AT)
        assert (found.replaces.item(), found.adds.item()) == (replaces, adds), losses


def test_few_seeds_or_wide_intervals_decide_nothing():
    for how in ({"seeds": 4}, {"noise": 0.5}):
        dataset = made_up({"Multi-Krum": CASES[damages.REPLACES]}, **how)
        word = damages.answers(damages.damages(dataset)).word.sel(AT).item()
        assert word in (damages.UNDECIDED, damages.NO_BITE), how
    dataset = made_up({"Multi-Krum": CASES[damages.REPLACES]}, seeds=4)
    assert damages.answers(damages.damages(dataset)).word.sel(AT).item() == damages.UNDECIDED


def test_rules_of_an_attack_are_tested_together():
    """A p between 0.025 and 0.05 decides for one rule, and for none of two."""
    gap = 0.02 - 0.0044 + 0.002 * np.arange(-2, 3)  # t = 3.1 with 4 degrees of freedom: p = 0.036
    worker = {"attack": "ALIE z=1", "memory": "worker momentum", "redundancy": "alone"}
    words = []
    for rules in (["Median"], ["Median", "Multi-Krum"]):
        dataset = made_up(dict.fromkeys(rules, CASES[damages.REPLACES]), noise=0.0)
        dataset.accuracy.loc[worker] -= xr.DataArray(gap, dims="seed")
        answers = damages.answers(damages.damages(dataset))
        words.append(answers.word.sel(AT | {"rule": "Median"}).item())
    assert words == [damages.REPLACES, damages.UNDECIDED]


def test_damage_and_price_are_paired_by_seed():
    """The accuracies of seeds differ by 0.18; the damage and the price by nothing."""
    losses = {"Mean": (0.5, 0.4, 0.3, 0.2), "Multi-Krum": (0.25, 0.125, 0.0625, 0.0)}
    dataset = made_up(losses, noise=0.0)
    damage, price = damages.damages(dataset), damages.prices(dataset)
    assert damages.accuracies(dataset).std("seed").min() > 0.05
    for rule, some in losses.items():
        for name, loss in zip(FOUR, some, strict=True):
            at = {"rule": rule, "configuration": name}
            assert damage.sel(at).values == pytest.approx(loss), at
            assert price.sel(at).values == pytest.approx(0.0 if rule == "Mean" else 0.1), at
    shuffled = dataset.isel(seed=[3, 1, 0, 4, 2])
    assert float(abs(damages.damages(shuffled) - damage).max()) == pytest.approx(0.0)
    alone = dataset.sel(rule=["Multi-Krum"])
    assert damages.prices(alone).isnull().all(), "no price without the mean"


def test_tables_show_intervals_answers_and_what_was_not_run():
    dataset = made_up({"Multi-Krum": CASES[damages.REPLACES], "Median": CASES[damages.NOT_RUN]})
    damage = damages.damages(dataset)
    at = {"byzantine": 11, "attack": "ALIE z=1"}
    there = damage.sel(at), damages.answers(damage).sel(at)
    frame = tables.damage_table(*there)
    assert list(frame.columns) == [*FOUR, "word"]
    assert frame.loc["Multi-Krum", FOUR[0]].startswith("0.500 [")
    assert frame.loc["Median", FOUR[2]] == "not run"
    frame = tables.deciding_table(*there)
    assert list(frame.loc["Multi-Krum"].iloc[:2]) == ["yes", "no"]
    assert frame.loc["Multi-Krum", tables.DIFFERENCES["gap"]].endswith("p < 0.001")
    spread = damages.spreads(dataset).sel(byzantine=11).mean("eval_step")
    spread = tables.by_rule(spread).loc["Multi-Krum"]
    assert list(spread) == ["3.000 [3.000, 3.000]"] * len(FOUR)


def test_worker_momentum_has_the_rate_that_is_the_same_training_with_the_mean(smoke):
    """One step of momentum 0.9 at the workers enters with weight 0.1, so the rate is tenfold."""
    server, worker = momentum.MEMORY.values()
    beta = server["momentum"]
    assert (worker["momentum"], worker["worker_momentum"]) == (0.0, beta)
    assert worker["rate"] * (1 - beta) == pytest.approx(server["rate"])
    dataset = xr.load_dataset(smoke[0] / "momentum.nc", engine="netcdf4")
    mean = dataset.sel(rule="Mean", attack="nobody")
    one, other = (mean.sel(memory=name, drop=True) for name in momentum.MEMORY)
    assert one.loss.notnull().sum() > 0
    xr.testing.assert_allclose(one.loss, other.loss, rtol=1e-4)
    assert float(abs(one.gradient_norm - other.gradient_norm).max()) > 0.1  # other messages


def test_compared_runs_differ_in_momentum_redundancy_and_radius_only():
    for base, axes in momentum.STUDY.grids("digits"):
        for labels, fields in expand(base, axes):
            radius = fields.get("outer_options", {}).get("radius")
            assert radius in (None, 0.5 if fields["worker_momentum"] else 2.2), labels
            assert fields["batch"] == (270 if damages.COMPUTE in labels else 90), labels
            assert fields["steps"] == 48
    assert pytest.approx(0.2294, abs=1e-4) == momentum.DEVIATION


def test_figure_and_finding_need_no_attack_and_no_mean():
    dataset = made_up({"Multi-Krum": CASES[damages.ADDS]})
    about = {"scale": "toy", "profile": "p", "hardware": []}
    about = json.dumps(about | {"axes": {}, "settings": {}, "failures": {}})
    for part in (dataset, dataset.sel(attack=["nobody"]), dataset.sel(attack=["ALIE z=1"])):
        assert draw(momentum.STUDY.figure, part.assign_attrs(provenance=about)).axes
        assert ("No rule ran yet" in tables.finding(part)) == (part.attack.size == 1)
