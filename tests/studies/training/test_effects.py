"""Damage, defence, price and their parts on synthetic runs whose effects are known."""

import functools
import itertools
import json
import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from scipy import stats

import reports
from detox_sim import Trial, train
from studies.training.effects import differences, dose, estimates, panels, tables
from studies.training.effects.differences import (
    CONTRADICTED,
    DEPENDS,
    NO_BITE,
    NOT_RUN,
    REPRODUCED,
    SAME_DIRECTION,
    UNDECIDED,
    VERDICTS,
)
from studies.training.effects.figure import draw_effects

PIPELINES = ["Mean", "Median", "Bulyan", "D-Mean", "D-Median", "D-Bulyan"]
UNHARMED = {"Mean": 0.95, "Median": 0.9, "Bulyan": 0.92, "D-Mean": 0.95, "D-Median": 0.93,
            "D-Bulyan": 0.94}  # fmt: skip
STEPS = [0, 10, 20, 30, 40, 50, 60]


def runs(damage, recalibrated=None, *, seeds=5, noise=0.0, compute=None):
    """Return a dataset in which an attack does given damage.

    Parameters
    ----------
    damage, recalibrated : dict
        Pipeline -> damage at equal batch, as one worker evaluates and recalibrated.
    compute : dict, optional
        Rule -> damage at equal compute, in both evaluations; by default as at equal batch.
    """
    axes = {
        "task": ["digits"],
        "attack": ["alie", "nobody"],
        "pipeline": PIPELINES,
        "variant": ["equal batch", "equal compute"],
        "seed": list(range(seeds)),
        "eval_step": STEPS,
    }
    shape = [len(labels) for labels in axes.values()]
    rng = np.random.default_rng(5)
    dataset = xr.Dataset(coords=axes)
    for name, values in (("accuracy", damage), ("recalibrated_accuracy", recalibrated or damage)):
        done = {"equal batch": values, "equal compute": values | (compute or {})}
        array = xr.DataArray(np.zeros(shape), axes, list(axes))
        for pipeline, variant in itertools.product(PIPELINES, axes["variant"]):
            place = {"pipeline": pipeline, "variant": variant}
            array.loc[place] = UNHARMED[pipeline]
            array.loc[place | {"attack": "alie"}] -= done[variant].get(pipeline, 0.0)
        array += noise * rng.standard_normal(array.isel(eval_step=[0]).shape)
        array.loc[{"eval_step": STEPS[:2]}] = 0.1
        detox = array.pipeline.str.startswith("D-") & (array.variant == "equal compute")
        dataset[name] = array.where(~detox)
    return dataset


def means(values, rule, evaluation="one worker"):
    """Return the mean of an effect on a rule over seeds."""
    where = {"rule": rule} | ({"evaluation": evaluation} if "evaluation" in values.dims else {})
    return float(values.sel(where).mean())


def test_known_effects_are_estimated():
    damage = {"Median": 0.6, "Bulyan": 0.5, "D-Median": 0.05, "D-Bulyan": 0.0}
    recalibrated = {"Median": 0.3, "Bulyan": 0.4, "D-Median": 0.04}
    dataset = runs(damage, recalibrated, compute={"Median": 0.2})
    place = {"pipeline": "Median", "variant": "equal compute", "attack": "alie"}
    dataset["accuracy"].loc[place] -= 0.07
    found = differences.effects(dataset)
    assert found.rule.values.tolist() == ["Mean", "Median", "Bulyan"]
    for name, evaluation, expected in (
        ("damage", "one worker", 0.6),
        ("damage", "recalibrated", 0.3),
        ("damage_equal_compute", "one worker", 0.27),
        ("damage_equal_compute", "recalibrated", 0.2),
        ("damage_detox", "one worker", 0.05),
        ("price", "one worker", 0.95 - 0.9),
        ("price_detox", "one worker", 0.95 - 0.93),
        ("defence", "one worker", 0.55),
        ("defence", "recalibrated", 0.26),
        ("defence_equal_compute", "one worker", 0.22),
        ("defence_equal_compute", "recalibrated", 0.16),
        ("lead_equal_compute", "one worker", (0.93 - 0.05) - (0.9 - 0.27)),
    ):
        assert means(found[name], "Median", evaluation) == pytest.approx(expected), name
    parts = differences.decomposition(found).sel(rule="Median").mean(("task", "seed"))
    expected = {"evaluation": 0.3, "compute": 0.1, "vote": 0.16, "remainder": 0.04}
    assert dict(zip(parts.part.values, parts.values, strict=True)) == pytest.approx(expected)


def test_parts_of_the_damage_add_up_seed_by_seed():
    damage = {"Median": 0.5, "Bulyan": 0.2, "D-Median": 0.1}
    found = differences.effects(runs(damage, {"Median": 0.4}, noise=0.05))
    total = differences.decomposition(found).sum("part", skipna=False)
    xr.testing.assert_allclose(total, found.damage.sel(evaluation="one worker", drop=True))


def test_accuracy_is_the_mean_of_the_last_five_evaluations_after_the_first_step():
    dataset = runs({})
    dataset["accuracy"] = xr.zeros_like(dataset.accuracy) + dataset.eval_step
    final = differences.final_accuracy(dataset)
    assert float(final.sel(evaluation="one worker").max()) == 40.0
    few = differences.final_accuracy(dataset.isel(eval_step=slice(3)))
    assert float(few.sel(evaluation="one worker").max()) == 15.0


def test_without_recalibration_or_variants_both_evaluations_are_one_at_equal_batch():
    whole = runs({"Median": 0.4, "D-Median": 0.1}, noise=0.01)
    dataset = whole.drop_vars("recalibrated_accuracy").sel(variant="equal batch", drop=True)
    found = differences.effects(dataset)
    xr.testing.assert_equal(
        found.defence.sel(evaluation="one worker", drop=True),
        found.defence.sel(evaluation="recalibrated", drop=True),
    )
    expected = differences.effects(whole).defence.sel(evaluation="one worker")
    xr.testing.assert_allclose(found.defence.sel(evaluation="one worker"), expected)
    assert found.defence_equal_compute.isnull().all()
    assert differences.verdicts(found).sel(rule="Median").item() == SAME_DIRECTION
    assert (differences.verdicts(found, "defence_equal_compute") == NOT_RUN).all()


# --- Intervals and p values -----------------------------------------------------------------------


def test_interval_of_the_defence_covers_0_under_all_sign_patterns():
    seeds, draws = 8, 20
    signs = np.array(list(itertools.product([1, -1], repeat=seeds)))
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((draws, 1, 2, 2, seeds)) * [[[0.01], [0.2]], [[0.1], [0.02]]]
    nobody = signs[:, None, :] > 0
    values = np.where(nobody, noise[:, :, 0], noise[:, :, 1])
    swapped = np.where(nobody, noise[:, :, 1], noise[:, :, 0])
    accuracy = np.stack([values, swapped], axis=2).reshape(-1, 2, 2, seeds, 1)
    axes = {"attack": ["nobody", "alie"], "pipeline": ["Median", "D-Median"]}
    dims = ("task", "attack", "pipeline", "seed", "eval_step")
    dataset = xr.Dataset({"accuracy": (dims, accuracy)}, axes | {"eval_step": [9]})
    found = estimates.estimate(differences.effects(dataset).defence, threshold=0.0)
    covers = ((found.low <= 0) & (found.high >= 0)).mean().item()
    assert covers == pytest.approx(0.95, abs=0.01)
    assert (found.p > 0.05).mean().item() == pytest.approx(covers)


def test_interval_and_p_agree_with_scipy():
    rng = np.random.default_rng(0)
    values = xr.DataArray(rng.normal(0.05, 0.03, (40, 6)), dims=("rule", "seed"))
    values[:, 0] = values[:, 0].where(values.rule % 2 == 0)
    found = estimates.estimate(values)
    for i in range(40):
        one = values.isel(rule=i).dropna("seed").values
        test = stats.ttest_1samp(one, estimates.THRESHOLD)
        low, high = test.confidence_interval(0.95)
        assert found.p.values[i] == pytest.approx(test.pvalue), i
        assert (found.low.values[i], found.high.values[i]) == pytest.approx((low, high)), i
        assert (found.p.values[i] < 0.05) == (not low <= estimates.THRESHOLD <= high), i
    assert found.seeds.values.tolist() == [6, 5] * 20


def test_seeds_that_all_agree_are_sure_and_one_seed_is_not():
    same = estimates.estimate(
        xr.DataArray([[0.5] * 5, [0.02] * 5, [0.0] * 5], dims=("rule", "seed"))
    )
    assert same.p.values.tolist() == [0.0, 1.0, 0.0]
    assert estimates.decisions(same).values.tolist() == ["above", UNDECIDED, "below"]
    one = estimates.estimate(xr.DataArray([[0.5, np.nan], [np.nan] * 2], dims=("rule", "seed")))
    assert one.p.isnull().all()
    assert one.low.isnull().all()
    assert estimates.decisions(one).values.tolist() == [UNDECIDED, NOT_RUN]


def test_holm_rejects_at_most_5_percent_of_families_without_effect():
    rng = np.random.default_rng(1)
    families = rng.uniform(size=(4000, 6))
    wrong = np.mean([(estimates.holm(p) < 0.05).any() for p in families])
    assert wrong == pytest.approx(1 - (1 - 0.05 / 6) ** 6, abs=0.012)
    for p in families[:50]:
        adjusted = estimates.holm(p)
        assert (adjusted >= p).all()
        assert (np.argsort(adjusted, kind="stable") == np.argsort(p)).all() or adjusted.max() == 1
    assert estimates.holm([0.004, 0.02, 0.5]).tolist() == [0.012, 0.04, 0.5]


def test_more_rules_make_a_decision_harder():
    values = xr.DataArray(np.array([[0.03, 0.06, 0.08, 0.1, 0.05]] * 3), dims=("rule", "seed"))
    alone, family = estimates.estimate(values[:1]), estimates.estimate(values)
    assert alone.p.values[0] == family.p.values[0]
    assert estimates.decisions(alone).values.tolist() == ["above"]
    assert estimates.decisions(family).values.tolist() == [UNDECIDED] * 3


# --- Verdicts -------------------------------------------------------------------------------------


def words(dataset, quantity="defence", **how):
    found = differences.verdicts(differences.effects(dataset), quantity, **how).isel(task=0)
    assert set(found.values) <= set(VERDICTS)
    return dict(zip(found.rule.values.tolist(), found.values.tolist(), strict=True))


def test_attack_that_does_nothing_did_not_bite():
    for noise in (0.0, 0.002, 0.05):
        for quantity in ("defence", "defence_equal_compute"):
            found = words(runs({}, noise=noise), quantity)
            assert set(found.values()) == {NO_BITE}, (noise, quantity)


def test_verdict_follows_the_defence_at_each_comparison():
    damage = {"Median": 0.6, "Bulyan": 0.5, "D-Bulyan": 0.5}
    dataset = runs(damage, noise=0.003, compute={"Median": 0.0, "Bulyan": 0.5})
    assert words(dataset) == {"Mean": NO_BITE, "Median": SAME_DIRECTION, "Bulyan": CONTRADICTED}
    at_scale = words(dataset, paper_scale=True)
    assert at_scale == {"Mean": NO_BITE, "Median": REPRODUCED, "Bulyan": CONTRADICTED}
    found = words(dataset, "defence_equal_compute")
    assert found == {"Mean": NO_BITE, "Median": CONTRADICTED, "Bulyan": CONTRADICTED}


def test_redundancy_without_a_vote_is_no_defence_at_equal_compute():
    damage = {"Median": 0.6, "D-Median": 0.2}
    dataset = runs(damage, noise=0.003, compute={"Median": 0.2})
    assert words(dataset)["Median"] == SAME_DIRECTION
    assert words(dataset, "defence_equal_compute")["Median"] == CONTRADICTED
    parts = differences.decomposition(differences.effects(dataset)).sel(rule="Median").mean("seed")
    assert abs(parts.sel(part="vote").item()) < 0.02
    assert parts.sel(part="compute").item() == pytest.approx(0.4, abs=0.02)


def test_damage_that_only_one_evaluation_sees_depends_on_the_evaluation():
    damage = {"Median": 0.6, "Bulyan": 0.6}
    found = words(runs(damage, {"Bulyan": 0.3}, noise=0.003))
    assert (found["Median"], found["Bulyan"]) == (DEPENDS, SAME_DIRECTION)


def test_few_seeds_wide_intervals_and_missing_runs_decide_nothing():
    damage = {"Median": 0.6, "Bulyan": 0.6}
    assert words(runs(damage, seeds=4, noise=0.003))["Median"] == UNDECIDED
    assert words(runs({}, seeds=4, noise=0.003))["Median"] == UNDECIDED
    wide = runs(damage | {"D-Median": 0.57}, noise=0.02)
    assert words(wide)["Median"] == UNDECIDED
    partly = runs(damage, noise=0.003)
    partly = partly.where((partly.pipeline != "D-Bulyan") | (partly.attack != "nobody"))
    assert words(partly)["Bulyan"] == NOT_RUN
    assert words(partly)["Median"] == SAME_DIRECTION
    lost = runs(damage, noise=0.003)
    lost = lost.where((lost.pipeline != "Median") | (lost.seed != 2))
    assert words(lost)["Median"] == UNDECIDED


# --- Collapsed runs -------------------------------------------------------------------------------


def test_collapsed_runs_are_those_below_twice_chance():
    dataset = runs({"Median": 0.75, "Bulyan": 0.7})
    found = differences.collapsed(dataset, 0.1).sel(evaluation="one worker", task="digits")
    attacked = found.sel(attack="alie", variant="equal batch")
    counted = dict(zip(PIPELINES, attacked.collapsed.values.tolist(), strict=True))
    assert counted == {name: 5 * (name == "Median") for name in PIPELINES}
    assert (found.sel(attack="nobody").collapsed == 0).all()
    absent = found.sel(pipeline="D-Median", variant="equal compute", attack="alie")
    assert absent.runs.item() == 0
    assert np.isnan([absent.low.item(), absent.high.item()]).all()


def test_binomial_interval_is_exact_and_covers_every_share():
    for runs_ in (1, 5, 8):
        low, high = estimates.binomial_interval(np.arange(runs_ + 1), runs_)
        for count in range(runs_ + 1):
            expected = stats.binomtest(count, runs_).proportion_ci(0.95, method="exact")
            assert (low[count], high[count]) == pytest.approx(tuple(expected)), (count, runs_)
        for share in np.linspace(0.01, 0.99, 50):
            law = stats.binom.pmf(np.arange(runs_ + 1), runs_, share)
            assert law[(low <= share) & (share <= high)].sum() >= 0.95 - 1e-12, (runs_, share)


# --- Panels, tables, and the finding --------------------------------------------------------------

KNOWN = {"Median": 0.5, "Bulyan": 0.1, "D-Median": 0.05, "D-Mean": 0.0}
RECALIBRATED = {"Median": 0.3, "Bulyan": 0.1, "D-Median": 0.04, "D-Mean": 0.0}


def test_finding_states_every_part_of_the_damage():
    dataset = runs(KNOWN, RECALIBRATED, compute={"Median": 0.15})
    said = tables.finding(dataset)
    median = next(line for line in said.splitlines() if "**Median**" in line)
    numbers = [float(number) for number in re.findall(r"(-?\d\.\d+) \[", median)]
    assert numbers == pytest.approx([0.5, 0.2, 0.15, 0.11, 0.04, 0.05, 0.45])
    assert "ends at 0.90 when nobody attacks and at 0.40 under ALIE" in median
    assert "(5 seeds)" in median
    summary = said.splitlines()[0]
    assert "the damage of 0.10 to 0.50, by rule, 0.00 to 0.20 is the evaluation" in summary
    assert "0.00 to 0.15 what three times" in summary
    mean = next(line for line in said.splitlines() if "**Mean**" in line)
    assert mean.endswith("The attack did not bite, so these runs say nothing of a defence.")
    assert "recalibrated" not in mean
    assert "accuracy: 2 of 3 at equal batch, 2 of 3 at equal compute" in summary
    assert "With 4 seeds no defence is decided" in tables.finding(dataset.isel(seed=slice(4)))
    alone = dataset.sel(pipeline=["Mean", "Median"]).reindex(pipeline=PIPELINES)
    assert "No rule ran yet in all the ways" in tables.finding(alone)
    only_batch = dataset.sel(variant=["equal batch"])
    median = next(m for m in tables.finding(only_batch).splitlines() if "**Median**" in m)
    numbers = [float(number) for number in re.findall(r"(-?\d\.\d+) \[", median)]
    assert numbers == pytest.approx([0.5, 0.05, 0.45])
    assert median.endswith("Does DETOX defend? yes, at this scale, at equal batch.")


def test_tables_use_seeds_with_all_parts_only():
    dataset = runs(KNOWN, RECALIBRATED, compute={"Median": 0.15})
    hole = {"pipeline": "Median", "variant": "equal compute", "seed": 3}
    for name in ("accuracy", "recalibrated_accuracy"):
        dataset[name].loc[hole] = np.nan
    found = differences.effects(dataset).isel(task=0)
    parts = tables.parts_table(differences.decomposition(found))
    assert parts.loc["Median", "seeds"] == "4"
    assert parts.loc["Bulyan", "seeds"] == "5"
    table = tables.effects_table(found, "one worker")
    assert table.loc["Median", "damage to the rule alone"].startswith("0.500 [")
    verdicts = tables.verdicts_table(found)
    assert verdicts.loc["Median", "at equal compute"] == UNDECIDED
    assert verdicts.loc["Median", "at equal batch"] == SAME_DIRECTION
    collapsed = tables.collapsed_table(dataset.isel(task=0), 2)
    assert collapsed.loc["Median, equal batch", "alie: one worker"].startswith("5 of 5")


def test_bars_of_the_parts_add_up_to_the_damage():
    found = differences.effects(runs(KNOWN, RECALIBRATED, compute={"Median": 0.15})).isel(task=0)
    ax = Figure().add_subplot()
    panels.decomposition_panel(ax, differences.decomposition(found))
    rules = [tick.get_text() for tick in ax.get_yticklabels()]
    for place, rule in enumerate(rules):
        bars = [b for b in ax.patches if abs(b.get_y() + 0.3 - place) < 1e-9]
        assert sum(b.get_width() for b in bars) == pytest.approx(KNOWN.get(rule, 0.0)), rule


# --- The dataset that comes with the repository ---------------------------------------------------


def test_recalibration_moves_the_unattacked_mean_by_less_than_a_hundredth():
    dataset, _ = reports.open_study("accuracy_alie", "digits")
    at = {"pipeline": "Mean", "attack": "nobody", "variant": "equal batch"}
    at |= {"task": "ResNet-8 on digits"}
    final = differences.final_accuracy(dataset).sel(at)
    moved = final.sel(evaluation="recalibrated") - final.sel(evaluation="one worker")
    assert moved.size == 5
    assert float(abs(moved).max()) < 0.01


# --- Dose -----------------------------------------------------------------------------------------


def in_settings():
    """Return runs of two tasks: at equal batch and batch 90 the one, at batch 90 the other."""
    strong, weak = runs({"Median": 0.6, "D-Median": 0.1}), runs({"Median": 0.3})
    price = runs({})
    price["accuracy"] = price.accuracy - 0.4 * (price.pipeline == "Median")
    named = [
        strong.sel(variant=["equal batch", "equal compute"]),
        weak.sel(variant=["equal batch"]).assign_coords(variant=["batch 90"]),
        price.sel(variant=["equal batch"]).assign_coords(variant=["batch 90"], task=["small"]),
    ]
    spreads = (3.0, 2.0, 1.0)
    named = [
        one.assign(gradient_spread=spread + 0 * one.accuracy, gradient_norm=1 + 0 * one.accuracy)
        for one, spread in zip(named, spreads, strict=True)
    ]
    dataset = xr.merge(named, join="outer", compat="no_conflicts")
    return dataset.assign_attrs(
        provenance='{"scale": "toy", "axes": {}, "settings": {}, "profile": "digits", '
        '"hardware": ["a machine"], "failures": {}}'
    )


def test_doses_are_ordered_by_spread_and_tell_a_price_from_a_damage():
    found = dose.doses(in_settings())
    assert list(found) == ["small, batch 90", "digits, batch 90", "digits, equal batch"]
    expected = {  # spread, lead, damage, damage with DETOX, defence
        "small, batch 90": (1.0, 0.43, 0.0, 0.0, 0.0),
        "digits, batch 90": (2.0, 0.33, 0.3, 0.0, 0.3),
        "digits, equal batch": (3.0, 0.53, 0.6, 0.1, 0.5),
    }
    for name, values in expected.items():
        one = found[name].sel(evaluation="one worker")
        names = ("spread", "lead", "damage", "damage_detox", "defence")
        assert [float(one[n].mean()) for n in names] == pytest.approx(values), name
    table = dose.dose_table(in_settings())
    assert table.loc["small, batch 90", "price of the rule alone"].startswith("0.450 ")
    assert table.seeds.tolist() == ["5", "5", "5"]


def test_one_setting_is_no_dose():
    dataset = in_settings().sel(variant=["equal batch", "equal compute"], task=["digits"])
    assert list(dose.doses(dataset)) == ["digits, equal batch"]
    assert dose.dose_table(dataset).empty
    assert dose.doses(dataset.drop_vars("variant").isel(variant=0)) == {}


def test_figure_has_a_panel_of_doses_and_leaves_out_tasks_without_equal_batch():
    figure = draw_effects(in_settings())
    titles = [ax.get_title() for ax in figure.axes]
    assert titles[-1] == "Median: other batches and models"
    assert sum(title == "the damage, in parts" for title in titles) == 1
    narrowed = in_settings().sel(variant=["equal batch", "equal compute"])
    assert len(draw_effects(narrowed).axes) == len(figure.axes) - 1


# --- Real runs ------------------------------------------------------------------------------------

ALONE = {"assignment": "none", "copies": 1, "groups": None, "outer": "mean"}
COPIED = {"assignment": "detox", "copies": 3, "groups": None, "outer": "mean"}
REAL = {
    ("Mean", "equal batch"): ALONE | {"batch": 45},
    ("Mean", "equal compute"): ALONE | {"batch": 135},
    ("D-Mean", "equal batch"): COPIED | {"batch": 45},
}
ATTACKED = {
    "nobody": {"attack": "none"},
    "z = 0": {"attack": "alie", "attack_options": {"z": 0.0}},
    "z = 40": {"attack": "alie", "attack_options": {"z": 40.0}},
}


@pytest.fixture(scope="module")
def trained():
    """Train the mean alone, at equal compute, with a vote, and with the first copy in its place."""
    made_of = {"vote": REAL, "first copy": REAL | {
        ("D-Mean", "equal batch"): REAL["D-Mean", "equal batch"] | {"vote": "outside:first_copy"}
    }}  # fmt: skip
    base = {"workers": 15, "byzantine": 1, "steps": 40, "evaluate_every": 4, "rate": 0.1}
    accuracy = functools.cache(lambda text: train(Trial(**json.loads(text))).accuracy)
    found = {}
    for vote, pipelines in made_of.items():
        axes = {
            "attack": list(ATTACKED),
            "pipeline": ["Mean", "D-Mean"],
            "variant": ["equal batch", "equal compute"],
            "seed": list(range(5)),
            "eval_step": list(range(0, 41, 4)),
        }
        values = xr.DataArray(np.full([len(each) for each in axes.values()], np.nan), axes)
        for (pipeline, variant), attack, seed in itertools.product(pipelines, ATTACKED, range(5)):
            fields = base | pipelines[pipeline, variant] | ATTACKED[attack] | {"seed": seed}
            values.loc[attack, pipeline, variant, seed] = accuracy(json.dumps(fields)).values
        found[vote] = xr.Dataset({"accuracy": values}).expand_dims(task=["digits"])
    return found


def real_effects(dataset, attack):
    """Return effects of an attack on the mean, and the verdicts at equal batch and compute."""
    found = differences.effects(dataset.sel(attack=[attack, "nobody"]))
    quantities = ("defence", "defence_equal_compute")
    return found, [differences.verdicts(found, name).item() for name in quantities]


def test_real_attack_of_strength_0_does_not_bite(trained):
    for vote, dataset in trained.items():
        found, words = real_effects(dataset, "z = 0")
        assert words == [NO_BITE, NO_BITE], vote
        assert float(abs(found.damage.mean("seed")).max()) < estimates.THRESHOLD, vote


def test_real_copies_defend_by_their_vote_and_not_by_their_number(trained):
    """With the first copy in place of the majority, three copies save nothing."""
    found, words = real_effects(trained["vote"], "z = 40")
    assert words == [SAME_DIRECTION, SAME_DIRECTION]
    assert means(found.defence_equal_compute, "Mean") > 0.7
    found, words = real_effects(trained["first copy"], "z = 40")
    assert SAME_DIRECTION not in words
    assert means(found.damage_detox, "Mean") > 0.7
    assert means(found.defence_equal_compute, "Mean") < 0.1
