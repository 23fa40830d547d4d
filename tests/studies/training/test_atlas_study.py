"""How the atlas tunes a pair and chooses its worst attack, and what its page says of a dataset."""

import json
import re

import numpy as np
import pytest
import xarray as xr

import reports
from detox_sim import theory
from detox_sim.planning.atlas import ATLAS as ATLAS_FILE
from detox_sim.sweeps import expand_all
from studies.style import draw
from studies.training import atlas
from studies.training.worst_case import comparisons, figure, findings, protocol, tables

SMOKE = {labels: fields for labels, fields, _ in expand_all(atlas.STUDY.grids("smoke"))}
ATLAS = {labels: fields for labels, fields, _ in expand_all(atlas.STUDY.grids("atlas"))}
ATTACKS = ["nobody", "mimic", "min-max"]
SCHEMES = [comparisons.ALONE, comparisons.TIMES_3, comparisons.DETOX_3]
RULES = ["mean", "median", "nnm + median"]
CASES = [comparisons.MAIN, comparisons.AT_SERVER, comparisons.AT_WORKERS]


def made_up(gains: dict[str, float], seeds: int = 5) -> xr.Dataset:
    """Return a dataset whose pairs have accuracy 0.5 under min-max, more by scheme, 0.6 else."""
    rng = np.random.default_rng(0)
    shape = (len(CASES), len(RULES), len(SCHEMES), len(ATTACKS), seeds)
    accuracy = np.full(shape, 0.6) + 0.002 * rng.standard_normal(shape)
    accuracy[..., 0, :] += 0.1
    for place, scheme in enumerate(SCHEMES):
        accuracy[:, :, place, 2] += gains.get(scheme, 0.0) - 0.1
    pairs = ("case", "rule", "scheme")
    ones = np.ones(shape[:3])
    about = {
        "scale": "made up",
        "profile": "smoke",
        "hardware": ["none"],
        "axes": {},
        "failures": {},
        "settings": {},
    }
    costs = ("mean_load", "megabytes_per_worker", "modelled_round_seconds")
    return xr.Dataset(
        {
            "accuracy": ((*pairs, "attack", "seed"), accuracy),
            "worst_attack": (pairs, 2 * ones),
            "chosen": (pairs, 0 * ones),
            "rate": (pairs, ones),
            "worker_momentum": (pairs, 0.9 * ones),
            "fails": (pairs, 0 * ones),
            **{name: (pairs, ones * np.array([1.0, 3.0, 3.0])) for name in costs},
        },
        {
            "case": CASES,
            "rule": RULES,
            "scheme": SCHEMES,
            "attack": ATTACKS,
            "seed": np.arange(seeds),
        },
        {"provenance": json.dumps(about)},
    )


def test_pair_is_tuned_on_worst_attack_and_tested_on_fresh_seeds():
    fields = SMOKE[(comparisons.MAIN, "median", comparisons.ALONE)] | {"rates": [0.01, 0.3]}
    found = protocol.run(fields)
    tuned = (
        found.validation_accuracy.sel(attack=protocol.TUNED_ON).mean("tuning_seed").min("attack")
    )
    assert int(found.chosen) == int(tuned.values.argmax())
    kept = found.validation_accuracy.isel(setting=int(found.chosen)).mean("tuning_seed")
    assert int(found.worst_attack) == 1 + int(kept[1:].values.argmin())
    others = np.delete(found.validation_accuracy.values, int(found.chosen), axis=0)
    ran = np.isin(found.attack, protocol.TUNED_ON)
    assert np.isfinite(others[:, ran]).all(), "settings are tried under the attacks tuned on"
    assert np.isnan(others[:, ~ran]).all(), "and under no other"
    assert not set(found.seed.values) & set(found.tuning_seed.values)
    assert found.accuracy.notnull().all()
    again = protocol.run(fields)
    xr.testing.assert_identical(found, again)


def test_worker_momentum_has_the_rate_that_does_the_same_without_attack():
    fields = {"rates": [0.1], "memories": ["server", "worker"]}
    server, worker = protocol.settings(fields).values()
    assert server["rate"] / (1 - server["momentum"]) == pytest.approx(worker["rate"])


@pytest.mark.parametrize(
    ("scheme", "applies"),
    [
        (comparisons.ALONE, False),
        ("DETOX, r=3", True),
        ("Latin squares, r=5", True),
        ("coded mean, 3 files", False),
        ("reactive, r=11", False),
        ("cyclic code, r=11", False),
    ],
)
def test_attack_through_vote_applies_only_to_majority_votes(scheme, applies):
    fields = ATLAS[(comparisons.MAIN, "mean", scheme)]
    assert (protocol.THROUGH_VOTE in protocol.attacks_on(fields)) == applies


def test_pair_forbidden_by_its_rule_is_a_cell_with_a_reason():
    fields = ATLAS[("q=9", "Bulyan", comparisons.DETOX_3)]
    assert "bulyan needs n >= 4 * byzantine + 3 = 19 rows, got 15" in protocol.refusal(fields)
    found = protocol.run(fields)
    assert int(found.chosen) == int(found.worst_attack) == -1
    assert found.accuracy.isnull().all()
    axes = {"case": ["q=9"], "rule": ["Bulyan"], "scheme": [comparisons.DETOX_3]}
    dataset = found.expand_dims(axes)
    (row,) = tables.refused(atlas.STUDY.grids("atlas"), dataset).itertuples()
    assert row.rule == "Bulyan"
    assert "19 rows" in row.reason


def test_impossible_settings_are_refused_before_a_run():
    fields = ATLAS[(comparisons.MAIN, "mean", comparisons.DETOX_3)]
    with pytest.raises(ValueError, match="workers"):
        atlas.prepare(fields | {"workers": 44})


def test_impossible_protocol_is_refused_before_a_run():
    fields = ATLAS[(comparisons.MAIN, "mean", comparisons.DETOX_3)]
    for wrong, message in (
        ({"attacks": ["mimick"]}, "did you mean 'mimic'"),
        ({"attacks": ["nobody"], "tuned_on": ["nobody"]}, "besides 'nobody'"),
        ({"tuned_on": ["gaussian"]}, "unknown attack of tuned_on"),
        ({"memories": ["client"]}, "unknown memory"),
        ({"rates": []}, "rates must be a list of one or more"),
        ({"rates": ["fast"]}, "a rate"),
        ({"seeds": "x"}, "seeds must be a list"),
        ({"seeds": [-1]}, "a seed"),
        ({"seeds": [0, 0]}, "seeds must be different values"),
        ({"tuning_seeds": [0]}, "a tuning seed must be no fresh one"),
        ({"rates": [0]}, "a rate must be above 0"),
        ({"common_batch": 0}, "common_batch"),
    ):
        with pytest.raises(ValueError, match=message):
            atlas.prepare(fields | wrong)


def test_costs_of_a_pair_are_those_of_its_scheme():
    empty = xr.Dataset({"chosen": -1})
    for scheme, load, messages in (
        (comparisons.ALONE, 1, 1),
        (comparisons.TIMES_5, 5, 1),
        ("DETOX, r=3", 3, 1),
        ("coded mean, 3 files", 3, 1),
        ("Latin squares, r=5", 5, 9),
        ("cyclic code, r=11", 11, 2),
    ):
        one = protocol.derive(ATLAS[(comparisons.MAIN, "mean", scheme)], empty)
        assert float(one.mean_load) == pytest.approx(load), scheme
        assert float(one.megabytes_per_worker) == pytest.approx(messages * 44.695848), scheme
    detox = protocol.derive(ATLAS[(comparisons.MAIN, "median", comparisons.DETOX_3)], empty)
    assert float(detox.fails) == 0
    mean = protocol.derive(ATLAS[(comparisons.MAIN, "mean", comparisons.DETOX_3)], empty)
    exact = theory.distorted_files_law(np.arange(45).reshape(15, 3), 5).chances
    assert float(mean.fails) == pytest.approx(1 - exact[0])


def test_setting_of_a_pair_is_named_by_what_it_is():
    """A case that knows one memory has other settings than the others of the dataset."""
    fields = ATLAS[(comparisons.AT_WORKERS, "mean", comparisons.ALONE)]
    one = protocol.derive(fields, xr.Dataset({"chosen": 1}))
    assert (float(one.rate), float(one.worker_momentum)) == (1.0, 0.9)


def test_profile_atlas_has_what_the_protocol_promises():
    cases = {case for case, _, _ in ATLAS}
    main = {(rule, scheme) for case, rule, scheme in ATLAS if case == comparisons.MAIN}
    assert len(set(atlas.RULES) - {rule for rule in atlas.RULES if " + " in rule}) >= 14
    assert {f"{mixer} + {rule}" for mixer in comparisons.MIXERS for rule in atlas.MIXED} <= {
        *atlas.RULES
    }
    assert len(protocol.ATTACKS) - 1 >= 10
    every = [name for name in atlas.SCHEMES if name not in (atlas.CODE, comparisons.TIMES_5)]
    assert {(rule, scheme) for rule in atlas.RULES for scheme in every} <= main
    assert (("mean", atlas.CODE)) in main
    for case in cases - {*CASES}:
        assert sum(one == case for one, _, _ in ATLAS) >= 4 * 6
    assert all(len(fields["seeds"]) == 5 for fields in ATLAS.values())
    assert not any(set(f["seeds"]) & set(f["tuning_seeds"]) for f in ATLAS.values())


def test_plain_minimum_of_equal_attacks_is_lower_than_the_worst_case():
    dataset = made_up({})
    rng = np.random.default_rng(1)
    dataset["accuracy"] = dataset.accuracy.copy(
        data=0.5 + 0.01 * rng.standard_normal(dataset.accuracy.shape)
    )
    found = comparisons.plain_minimum(dataset)
    worst = comparisons.worst(dataset).mean("seed")
    assert float((worst - found["mean"]).mean()) > 0.001
    assert (found.low <= found["mean"]).all()
    assert (found.high >= found["mean"]).all()
    by_hand = dataset.accuracy.mean("seed").sel(attack=ATTACKS[1:]).min("attack")
    xr.testing.assert_allclose(found["mean"], by_hand)


def test_cross_fitted_attack_is_chosen_on_the_other_seeds():
    dataset = made_up({})
    low = (dataset.attack == "mimic") & (dataset.seed == 3)
    dataset["accuracy"] = dataset.accuracy * 0 + xr.where(dataset.attack == "min-max", 0.49, 0.5)
    dataset["accuracy"] = dataset.accuracy.where(~low, 0.1)
    found = comparisons.cross_fitted(dataset)
    assert (found.sel(seed=3) == 0.49).all(), "seed 3 does not choose for itself"
    assert (found.sel(seed=[0, 1, 2, 4]) == 0.5).all(), "the others choose mimic because of it"
    dataset["accuracy"] = dataset.accuracy.where(dataset.attack != "min-max")
    assert (comparisons.cross_fitted(dataset).sel(seed=3) == 0.1).all(), "the only one that applies"


def test_price_is_against_the_most_accurate_rule_alone():
    dataset = made_up({})
    dataset["accuracy"] = dataset.accuracy + 0.05 * (dataset.rule == "median")
    found = comparisons.prices(dataset).sel(scheme=comparisons.ALONE)
    assert (found.sel(rule="median") == 0).all()
    assert float(found.sel(rule="mean").mean()) == pytest.approx(0.05, abs=0.005)


def test_rules_whose_condition_fails_are_not_averaged():
    dataset = made_up({comparisons.DETOX_3: 0.05})
    failing = (dataset.rule == "mean") & (dataset.scheme == comparisons.TIMES_3)
    dataset["fails"] = xr.where(failing, 1.0, dataset.fails).transpose(*dataset.fails.dims)
    found = comparisons.equal_compute(dataset, comparisons.MAIN)
    assert list(found.rule) == ["median", "nnm + median"]
    assert "usable with it only: mean" in findings.finding(dataset)


def test_worst_case_is_the_accuracy_under_the_chosen_attack():
    dataset = made_up({})
    expected = dataset.accuracy.sel(attack="min-max", drop=True)
    xr.testing.assert_allclose(comparisons.worst(dataset), expected)
    assert set(comparisons.worst_names(dataset).values.ravel()) == {"min-max"}
    dataset["worst_attack"] = dataset.worst_attack * np.nan
    assert comparisons.worst(dataset).isnull().all()
    assert set(comparisons.worst_names(dataset).values.ravel()) == {""}


def test_differences_find_what_was_put_in_and_nothing_where_nothing_was():
    for gain, word in ((0.05, "above"), (-0.05, "below")):
        dataset = made_up({comparisons.DETOX_3: gain})
        for values in (
            comparisons.equal_compute(dataset, comparisons.MAIN),
            comparisons.equal_compute_cross_fitted(dataset, comparisons.MAIN),
            comparisons.vote_or_mixer(dataset, comparisons.MAIN),
            comparisons.vote_or_mixer(dataset, comparisons.MAIN, comparisons.ALONE),
            comparisons.momentum_and_vote(dataset).sel(difference="vote"),
        ):
            assert set(comparisons.decided(values).word.values.ravel()) == {word}
            assert float(values.mean()) == pytest.approx(gain, abs=0.005)
        rest = comparisons.momentum_and_vote(dataset).sel(difference=[*comparisons.DIFFERENCES[1:]])
        assert set(comparisons.decided(rest).word.values.ravel()) == {"undecided"}
    wrong = sum(
        (
            comparisons.decided(
                comparisons.equal_compute(made_up({}, seeds=n), comparisons.MAIN)
            ).word
            != "undecided"
        )
        .sum()
        .item()
        for n in (5, 6, 7, 8)
    )
    assert wrong <= 1
    few = comparisons.decided(
        comparisons.equal_compute(made_up({comparisons.DETOX_3: 0.05}, 4), comparisons.MAIN)
    )
    assert set(few.word.values.ravel()) == {"undecided"}, "fewer than five seeds decide nothing"


def test_best_rule_is_not_compared_with_itself():
    dataset = made_up({})
    dataset["accuracy"] = dataset.accuracy + 0.05 * (dataset.rule == "median")
    behind = comparisons.behind_best(dataset, comparisons.MAIN)
    assert behind.sel(rule="median").isnull().all()
    assert (comparisons.decided(behind).word.sel(rule=["mean"]) == "above").all()


def test_front_has_no_pair_that_a_cheaper_one_beats():
    dataset = made_up({comparisons.TIMES_3: 0.02})
    front = comparisons.pareto(dataset, "mean_load", comparisons.MAIN)
    mean = comparisons.worst(dataset).mean("seed").sel(case=comparisons.MAIN)
    points = [
        (float(dataset.mean_load.sel(scheme=s, rule=r)[0]), float(mean.sel(scheme=s, rule=r)))
        for s, r in front
    ]
    assert points == sorted(points)
    for scheme in SCHEMES:
        for rule in RULES:
            cost = float(dataset.mean_load.sel(scheme=scheme, rule=rule)[0])
            value = float(mean.sel(scheme=scheme, rule=rule))
            assert any(c <= cost and v >= value for c, v in points), (scheme, rule)


def test_finding_says_who_is_more_accurate():
    text = findings.finding(made_up({comparisons.DETOX_3: 0.05}))
    assert "with DETOX, r=3, training is more accurate by 0.05" in text
    assert "after Holm's method more for 3, less for 0, undecided for 0" in text
    assert len(text.splitlines()) == 5
    text = findings.finding(made_up({comparisons.DETOX_3: -0.05}))
    assert "with DETOX, r=3, training is less accurate by 0.0" in text
    one = made_up({}).sel(scheme=[comparisons.ALONE], case=[comparisons.MAIN])
    assert "more images" not in findings.finding(one)


def test_ranked_table_sorts_by_worst_case_and_says_who_is_shown_to_be_lower():
    shown, numbers = tables.ranked(made_up({comparisons.DETOX_3: 0.05}), comparisons.MAIN)
    assert list(shown.index) == [*range(1, 10)]
    assert set(shown.scheme[:3]) == {comparisons.DETOX_3}
    assert list(shown["than the first"]) == ["", *["not shown"] * 2, *["lower"] * 6]
    assert numbers["worst case"].is_monotonic_decreasing
    assert set(numbers) < set(shown)
    assert set(shown.momentum) == {"workers"}


def test_summary_leaves_out_schemes_with_more_images():
    dataset = made_up({}).sel(case=[comparisons.MAIN])
    dataset = dataset.sel(rule=["mean", "median"])
    found = tables.summary(dataset, atlas.STUDY.grids("smoke"))
    assert {(e["assignment"], e["outer"]) for e in found} == {
        (a, o) for a in ("none", "detox") for o in ("mean", "median")
    }
    assert all(e["low"] <= e["worst"] <= e["high"] <= e["nobody"] for e in found)


def test_package_holds_the_summary_of_the_dataset_in_the_repository(tmp_path):
    dataset, _ = reports.open_study("atlas", "atlas")
    tables.write_summary(dataset, tmp_path / "atlas.json")
    assert (tmp_path / "atlas.json").read_bytes() == ATLAS_FILE.read_bytes()


def test_pairs_that_were_not_run_are_left_out():
    dataset = made_up({})
    dataset["worst_attack"] = dataset.worst_attack.where(
        (dataset.rule != "mean") | (dataset.scheme != comparisons.DETOX_3)
    )
    assert draw(figure.figure, dataset).axes
    for scheme, kept in ((comparisons.ALONE, RULES), (comparisons.DETOX_3, RULES[1:])):
        content = tables.by_attack(dataset, comparisons.MAIN, scheme)
        assert sorted(re.findall("row_heading[^>]*>([^<]*)<", content)) == kept


def test_table_by_attack_frames_the_worst_attack_and_escapes_labels():
    dataset = made_up({}).assign_coords(
        rule=[f"<script>{name}" for name in RULES], attack=[f"<b>{name}" for name in ATTACKS]
    )
    content = tables.by_attack(dataset, comparisons.MAIN, comparisons.ALONE)
    assert content.count("&lt;script&gt;") == len(RULES)
    assert not re.search("<script|<b>", content)
    texts = re.findall(r'class="data row(\d) col(\d)" >(\d+)±\d+<', content)
    assert len(texts) == len(RULES) * (len(ATTACKS) + 1)
    expected = {"0": "70", "1": "60", "2": "50", "3": "50"}  # the last is the worst case
    assert all(abs(int(text) - int(expected[column])) <= 1 for _, column, text in texts)
    framed = re.findall(r"([^{}]*)\{[^}]*outline: 2px", content)
    assert set(re.findall(r"_row(\d)_col(\d)", " ".join(framed))) == {
        (str(k), "2") for k in range(3)
    }


def test_run_narrowed_to_another_case_is_drawn_and_told():
    dataset = made_up({}).sel(case=[comparisons.AT_WORKERS])
    assert draw(figure.figure, dataset).axes
    assert "Which attack is the worst?" in findings.finding(dataset)
    assert len(tables.ranked(dataset, comparisons.AT_WORKERS)[0]) == 9
