"""Laws 1 and 2 in whole runs, what robust rules withstand, and what a Trial refuses."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import types

import numpy as np
import pytest

from detox_sim import aggregators, assignments, attacks, data, mixers, models, placements, voting
from detox_sim.training import train
from detox_sim.trials import outcome as outcomes
from detox_sim.trials import pipeline as rounds
from detox_sim.trials.trial import Trial, make_trial

SMALL = {"workers": 15, "model": "softmax", "batch": 30, "steps": 5, "evaluate_every": 2}
VANILLA = {**SMALL, "copies": 1, "assignment": "none", "groups": None}
ATTACK_OPTIONS = {"inner_product": {"factor": 10.0}}


def run(**fields):
    attack = fields.get("attack", "none")
    return train(Trial(**{**SMALL, "attack_options": ATTACK_OPTIONS.get(attack, {}), **fields}))


def bits(history):
    """Everything a run computed but how long it took."""
    return {name: history[name].values.tobytes() for name in history.drop_vars("seconds").variables}


def learned(history):
    """The bits of a run but for what its attackers tried."""
    return bits(history.drop_vars(["search_evaluations", "search_value"]))


def distinct(histories):
    return len({tuple(bits(history).items()) for history in histories})


# --- Law 1: DETOX ----------------------------------------------------------------------------

KEPT = {
    "one liar": {"byzantine": 1, "groups": 5},
    "one liar, worst case": {"byzantine": 1, "placement": "worst_case", "groups": 5},
    "one a group": {"byzantine": 5, "placement": "outside:one_a_group", "groups": 5},
    "one a group, real copies": {
        "byzantine": 5,
        "placement": "outside:one_a_group",
        "groups": 5,
        "vote": "outside:majority_of_real_copies",
    },
    "two of five": {"byzantine": 2, "copies": 5, "groups": 3},
    "reshuffled": {"byzantine": 1, "groups": 5, "assignment_options": {"reshuffle": True}},
    "streaming": {"byzantine": 1, "groups": 5, "vote": "streaming"},
    "no hierarchy": {"byzantine": 1, "groups": None, "outer": "multi_krum"},
    "Latin squares": {"byzantine": 1, "groups": 5, "assignment": "mols", "batch": 50},
    "through the vote": {"byzantine": 1, "groups": 5, "knowledge": "groups"},
    "own gradients": {"byzantine": 1, "groups": 5, "knowledge": "own"},
    "placed by the damage": {"byzantine": 1, "groups": 5, "placement": "adaptive"},
    "layer by layer": {"byzantine": 1, "groups": 5, "vote_options": {"per_layer": True}},
    "within a tolerance": {"byzantine": 1, "groups": 5, "vote_options": {"tolerance": 1e-9}},
    "a clique in secret": {"byzantine": 1, "groups": None, "assignment": "bibd", "batch": 35,
                           "vote": "clique", "placement": "adaptive", "knowledge": "groups",
                           "assignment_options": {"reshuffle": True}},
    "a clique": {"byzantine": 1, "groups": None, "assignment": "bibd", "batch": 35,
                 "vote": "clique"},
}  # fmt: skip


@pytest.fixture(scope="module")
def unattacked():
    """Runs without an attack, made once."""
    made = {}

    def get(kept):
        if kept not in made:
            made[kept] = run(**KEPT[kept])
        return made[kept]

    return get


@pytest.mark.parametrize("attack", [name for name in attacks.__all__ if name != "none"])
@pytest.mark.parametrize("kept", KEPT)
def test_with_honest_majorities_an_attack_changes_no_bit(unattacked, kept, attack):
    attacked = run(**KEPT[kept], attack=attack)
    assert learned(attacked) == learned(unattacked(kept))
    assert not attacked.distorted_files.any()
    assert not attacked.undecided_files.any()


@pytest.mark.parametrize("attack", [name for name in attacks.__all__ if name != "none"])
def test_the_law_needs_the_honest_majority(attack):
    captured = {"byzantine": 2, "placement": "worst_case", "groups": 5}
    honest, attacked = run(**captured), run(**captured, attack=attack)
    assert (attacked.distorted_files == 1).all()
    assert not honest.distorted_files.any()
    assert bits(attacked)["gradient_error"] != bits(honest)["gradient_error"]


@pytest.mark.parametrize("attack", [name for name in attacks.__all__ if name != "none"])
def test_the_cyclic_code_trains_as_if_nobody_lied_up_to_rounding(attack):
    code = {"assignment": "cyclic", "copies": 5, "vote": "cyclic", "groups": None, "outer": "mean"}
    honest = run(**code, byzantine=0)
    attacked = run(**code, byzantine=2, attack=attack)
    assert not attacked.distorted_files.any()
    assert attacked.votes == 1
    np.testing.assert_allclose(attacked.loss, honest.loss, rtol=1e-4)
    plain = run(**VANILLA, byzantine=0, outer="mean")
    np.testing.assert_allclose(honest.loss, plain.loss, rtol=1e-4)
    assert run(**code, byzantine=3, attack="reverse").distorted_files.all()


@pytest.mark.parametrize(
    ("byzantine", "copies", "lost"),
    [(5, 1, 5), (5, 3, 2), (7, 3, 3), (1, 3, 0), (0, 3, 0), (10, 5, 3), (22, 9, 4), (5, 11, 0)],
)
def test_distorted_files_assumed(byzantine, copies, lost):
    holders = assignments.detox(99 if copies == 11 else 45, copies)
    trial = types.SimpleNamespace(vote="majority", byzantine=byzantine, copies=copies)
    assert rounds.distorted_files_assumed(trial, holders) == lost


# --- What attackers know, and what they choose -------------------------------------------------

SEARCH = {"attack": "searched", "attack_options": {"evaluations": 8}}


def test_a_search_is_recorded_and_does_more_than_the_fixed_attacks():
    shape = {"byzantine": 4, "placement": "worst_case", "groups": None, "steps": 1}
    searched = run(**{**shape, **SEARCH})
    assert searched.search_evaluations.values.tolist() == [8]
    error = float(searched.gradient_error[0])
    assert float(searched.search_value[0]) == pytest.approx(error**2, rel=1e-5)
    for fixed in ("alie", "sign_flip", "inner_product"):
        attacked = run(**shape, attack=fixed)
        assert attacked.search_evaluations.values.tolist() == [0]
        assert attacked.gradient_error[0] <= searched.gradient_error[0] * (1 + 1e-6)


def test_attackers_through_the_vote_behave_where_they_own_no_majority():
    """Under an exact vote it makes no difference; without one, all copies of a file are theirs."""
    lying = {"byzantine": 4, "groups": 5, "attack": "constant"}
    everywhere, owned = run(**lying), run(**lying, knowledge="groups")
    assert bits(everywhere) == bits(owned)
    unowned = run(**{**lying, "byzantine": 1}, vote="outside:first_copy")
    assert unowned.distorted_files.any()
    behaved = run(**{**lying, "byzantine": 1}, vote="outside:first_copy", knowledge="groups")
    assert not behaved.distorted_files.any()


def test_attackers_who_know_only_their_own_gradients_send_other_statistics():
    shape = {**VANILLA, "byzantine": 4, "attack": "alie", "outer": "median"}
    assert distinct([run(**shape), run(**shape, knowledge="own")]) == 2


def test_an_adaptive_placement_does_at_least_what_its_candidates_do():
    shape = {"byzantine": 5, "groups": None, "steps": 1, **SEARCH}
    adaptive = run(**shape, placement="adaptive")
    for name in ("worst_case", "whole_group"):
        one = run(**shape, placement=name)
        assert one.gradient_error[0] <= adaptive.gradient_error[0] * (1 + 1e-6)


def test_the_load_of_schemes_at_equal_compute_is_equal():
    shapes = [
        {"groups": 5},
        {"assignment": "mols", "groups": 5},
        {"assignment": "cyclic", "vote": "cyclic", "groups": None, "outer": "mean"},
        {"assignment": "subsets", "groups": None, "batch": 910},
    ]
    loads = [run(**{"byzantine": 1, "batch": 150, "steps": 1, **shape}) for shape in shapes]
    assert [float(history.images_per_worker) for history in loads] == [30.0, 30.0, 30.0, 182.0]
    assert [int(history.votes) for history in loads] == [5, 25, 1, 455]


# --- Law 2: replication, and repetition of bits ----------------------------------------------


@pytest.mark.parametrize("vote", ["majority", "streaming", "clique"])
@pytest.mark.parametrize("attack", attacks.__all__)
def test_logical_copies_train_as_real_copies_do(vote, attack):
    fields = {"byzantine": 5, "groups": 5, "attack": attack, "rate": 0.01}
    logical = run(**fields, vote=vote)
    real = run(**fields, vote=f"outside:{vote}_of_real_copies")
    assert bits(logical) == bits(real)
    assert bool(logical.distorted_files.any()) == (attack != "none")


def test_a_file_of_different_copies_is_undecided_and_counted_as_zero():
    alone = {"attack": "gaussian", "attack_options": {"colluding": False}}
    history = run(byzantine=4, placement="worst_case", groups=5, **alone)
    assert (history.undecided_files == 2).all()
    assert not history.distorted_files.any()


@pytest.mark.parametrize("model", models.__all__)
def test_the_same_seed_gives_the_same_bits(model):
    fields = {"byzantine": 3, "groups": 5, "attack": "gaussian", "model": model}
    if model not in ("softmax", "mlp", "cnn"):
        fields |= {"data": "outside:pictures", "steps": 2, "batch": 10}
    once, again, other = run(**fields), run(**fields), run(**fields, seed=1)
    assert bits(once) == bits(again)
    assert distinct([once, other]) == 2


@pytest.mark.parametrize("placement", [n for n in placements.__all__ if n != "adaptive"])
def test_compared_methods_share_data_and_placement(placement):
    shared = {"byzantine": 3, "placement": placement, "attack": "reverse", "rate": 0.01}
    methods = [
        {"groups": 5, "inner": "mean", "outer": "median"},
        {"groups": None, "outer": "geometric_median"},
        {"groups": None, "outer": "multi_krum"},
        {"groups": None, "outer": "trimmed_mean", "model": "mlp"},
        {"groups": None, "outer": "median", "attack": "constant"},
    ]
    histories = [run(**{**shared, **method}) for method in methods]
    first = histories[0]
    for history in histories[1:]:
        assert history.distorted_files.values.tolist() == first.distorted_files.values.tolist()
    for history in (histories[1], histories[2], histories[4]):
        assert history.loss[0] == first.loss[0]
        assert history.gradient_norm[0] == first.gradient_norm[0]
        assert history.accuracy[0] == first.accuracy[0]
    assert distinct(histories) == len(methods)


def test_vanilla_and_detox_see_the_same_batches():
    vanilla, detox = run(**VANILLA, byzantine=2, outer="mean"), run(byzantine=2, outer="mean")
    assert vanilla.loss[0] == pytest.approx(float(detox.loss[0]), rel=1e-6)
    assert vanilla.gradient_norm[0] == pytest.approx(float(detox.gradient_norm[0]), rel=1e-5)


# --- What is recorded ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "every", "evaluated"),
    [(5, 2, [0, 2, 4, 5]), (4, 2, [0, 2, 4]), (3, 10, [0, 3]), (1, 1, [0, 1])],
)
def test_a_history_is_labelled(steps, every, evaluated):
    fields = {**SMALL, "byzantine": 1, "groups": 5, "steps": steps, "evaluate_every": every}
    trial = Trial(**fields)
    history = train(trial)
    assert history.step.values.tolist() == list(range(1, steps + 1))
    assert history.eval_step.values.tolist() == evaluated
    assert make_trial(json.loads(history.attrs["trial"])) == trial
    assert history.seconds.dims == ("step", "phase")
    assert (history.seconds >= 0).all()
    assert (history.modelled_seconds > 0).all()
    assert all(np.isfinite(history[name]).all() for name in history.data_vars)
    assert ((history.accuracy >= 0) & (history.accuracy <= 1)).all()


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_the_steps_are_momentum_at_the_server(momentum):
    """Replayed by hand from the mean of all files, for which the vote and rule are plain."""
    trial = Trial(**VANILLA, byzantine=0, outer="mean", rate=0.2, momentum=momentum)
    from detox_sim.models import Model, one_thread
    from detox_sim.streams import stream

    model = Model(models.softmax, (1, 8, 8), 10)
    digits = data.digits()
    params = model.initial(stream(trial.seed, "parameters"))
    velocity = np.zeros_like(params)
    losses = []
    with one_thread():
        for step in range(1, trial.steps + 1):
            chosen = stream(trial.seed, "batch", step).choice(1438, trial.batch, replace=False)
            images, labels = digits.train_images[chosen], digits.train_labels[chosen]
            loss, gradient, _ = model.gradients(params, images[None], labels[None])
            velocity = momentum * velocity + gradient[0]
            params = params - 0.2 * velocity
            losses.append(loss[0])
        end = model.evaluate(params, digits.test_images, digits.test_labels)
    history = train(trial)
    assert history.loss.values == pytest.approx(losses, rel=1e-5)
    assert history.test_loss.values[-1] == pytest.approx(end.loss, rel=1e-5)
    assert history.accuracy.values[-1] == pytest.approx(end.accuracy, abs=1 / 359)
    assert history.gradient_error.values == pytest.approx(0, abs=1e-6)


def test_a_run_that_diverges_is_a_result():
    wild = {"attack": "constant", "attack_options": {"value": 1e38}, "rate": 1e5}
    history = run(**VANILLA, byzantine=2, outer="mean", **wild)
    assert not np.isfinite(history.loss[-1])
    assert np.isfinite(history.loss[0])


# --- Learning under attack -------------------------------------------------------------------

LONGER = {"batch": 150, "steps": 40, "evaluate_every": 40, "momentum": 0.5}
RATES = {"sign_majority": 0.01}  # its steps are signs, whatever the gradient
OPTIONS = {"centered_clipping": {"radius": 1.0}, "clipping": {"radius": 1.0}}
BREAKABLE = {
    "mean": "believes every finite row",
    "monna": "believes its trusted row, which is as often Byzantine as any here",
    "fltrust": "the same",
}


def assert_finite(history):
    """All is finite, but for weights that leave most of an aggregate unexplained: these are NaN."""
    weights = ["weight", "distorted_weight", "effective_votes"]
    told = history.unexplained <= outcomes.UNEXPLAINED
    for name in history.data_vars:
        known = np.isfinite(history[name])
        assert (known == told).all() if name in weights else known.all(), name


@pytest.mark.parametrize("outer", [name for name in aggregators.__all__ if name not in BREAKABLE])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("copies", [1, 3])
def test_no_robust_rule_is_broken(outer, value, copies):
    """Three of 15 nodes lie, which is all that bulyan bears; or one captured group of 5."""
    shape = (
        {**VANILLA, "byzantine": 3}
        if copies == 1
        else {"workers": 45, "byzantine": 3, "groups": None, "placement": "worst_case"}
    )
    history = run(
        **{**SMALL, **shape, **LONGER},
        rate=RATES.get(outer, 0.3),
        outer=outer,
        outer_options=OPTIONS.get(outer, {}),
        attack="constant",
        attack_options={"value": value},
    )
    assert_finite(history)
    assert (history.distorted_files == (3 if copies == 1 else 1)).all()
    assert history.accuracy[-1] > 0.8


@pytest.mark.parametrize("mixer", mixers.__all__)
@pytest.mark.parametrize("value", [np.nan, 1e30])
@pytest.mark.parametrize(
    "stages",
    [
        lambda mixer: {"mixers": [mixer], "groups": None},
        lambda mixer: {"mixers": {"outer": [mixer]}, "groups": None},
        lambda mixer: {"mixers": {"inner": [mixer]}, "groups": 2, "inner": "median"},
        lambda mixer: {"mixers": [mixer, "nnm"], "groups": 2, "inner": "median"},
    ],
)
def test_mixers_keep_a_robust_rule_robust(mixer, value, stages):
    """At every stage; one of 15 nodes lies, and buckets of 2 leave rows enough."""
    shape = {"assignment": "none", "copies": 1, "byzantine": 1, "workers": 15} | stages(mixer)
    history = run(
        **{**SMALL, **LONGER, **shape},
        rate=0.3,
        mixers_options={mixer: OPTIONS[mixer]} if mixer in OPTIONS else {},
        attack="constant",
        attack_options={"value": value},
    )
    assert_finite(history)
    assert history.accuracy[-1] > 0.8


def test_mixers_change_what_a_rule_sees():
    plain = run(**VANILLA, outer="median")
    mixed = run(**VANILLA, outer="median", mixers=["nnm"])
    staged = run(**VANILLA, outer="median", mixers={"outer": ["nnm"]})
    assert mixed.loss.values.tolist() == staged.loss.values.tolist()
    assert mixed.loss.values.tolist() != plain.loss.values.tolist()


def test_bucketing_is_drawn_anew_at_each_step_and_repeats_with_the_seed():
    shape = {**VANILLA, "byzantine": 3, "outer": "median", "mixers": ["bucketing"]}
    runs = [run(**shape, seed=seed) for seed in (0, 0, 1)]
    losses = [history.loss.values.tolist() for history in runs]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixers": ["nmm"]}, "mixers: unknown mixer 'nmm'; did you mean 'nnm'?"),
        ({"mixers": "nnm"}, "mixers must be names in a list, got 'nnm'"),
        ({"mixers": {"inside": ["nnm"]}}, "unknown stage of mixers 'inside'; did you mean"),
        ({"mixers": ["clipping"]}, "mixers: .*radius"),
        ({"mixers": ["nnm"], "mixers_options": {"arc": {}}}, "unknown mixer in mixers_options"),
        (
            {"mixers": ["bucketing"], "mixers_options": {"bucketing": {"size": 0}}},
            "mixers: size must be an integer of 1 or more, got 0",
        ),
        (
            {"mixers": ["bucketing"], "mixers_options": {"bucketing": {"sizes": 2}}},
            "mixers: unknown option of bucketing 'sizes'; did you mean 'size'?",
        ),
        (
            {"groups": None, "inner": None, "mixers": {"inner": ["nnm"]}},
            "mixers for the inner stage need an inner rule",
        ),
        (
            {"copies": 1, "assignment": "none", "groups": None, "outer": "krum", "byzantine": 5,
             "workers": 15, "batch": 150, "mixers": ["bucketing"]},
            "outer: krum needs n >= 2 .* byzantine . 3 = 13 rows, got 8",
        ),
    ],
)  # fmt: skip
def test_refuses_mixers_that_cannot_work(fields, message):
    with pytest.raises(ValueError, match=message):
        Trial(**fields)


def test_the_mean_is_broken():
    wild = {"attack": "constant", "attack_options": {"value": 1e30}}
    history = run(**{**VANILLA, **LONGER}, byzantine=3, outer="mean", **wild)
    assert not history.accuracy[-1] > 0.2


RULE = '''
import numpy as np

def midpoint(rows, /, *, byzantine, share=0.5):
    """Half-way between the extremes that are left without `byzantine` values on each side."""
    ordered = np.sort(rows, axis=0)
    return share * ordered[byzantine] + (1 - share) * ordered[len(rows) - byzantine - 1]
'''


def test_a_rule_from_outside_trains(tmp_path, monkeypatch):
    (tmp_path / "my_rules.py").write_text(RULE)
    monkeypatch.syspath_prepend(tmp_path)
    fields = {"byzantine": 4, "placement": "worst_case", "attack": "reverse", **LONGER}
    rule = {"outer": "my_rules:midpoint", "outer_options": {"share": 0.4}}
    history = run(**fields, groups=5, **rule, rate=0.3)
    assert (history.distorted_files == 2).all()
    assert history.accuracy[-1] > 0.7
    assert "my_rules:midpoint" in history.attrs["trial"]
    with pytest.raises(ValueError, match="unknown option of my_rules:midpoint 'shares'"):
        Trial(**SMALL, outer="my_rules:midpoint", outer_options={"shares": 1})


# --- What a Trial refuses --------------------------------------------------------------------

FIELDS = {
    "assignment": assignments,
    "placement": placements,
    "attack": attacks,
    "vote": voting,
    "inner": aggregators,
    "outer": aggregators,
    "model": models,
    "data": data,
}


@pytest.mark.parametrize("field", FIELDS)
def test_an_unknown_name_is_answered_with_the_nearest(field):
    name = FIELDS[field].__all__[-1]
    known = ", ".join(FIELDS[field].__all__)
    with pytest.raises(ValueError, match=f"did you mean '{name}'.* known: {known}"):
        Trial(**{field: name + "x"})


@pytest.mark.parametrize("field", FIELDS)
def test_an_unknown_option_is_answered_with_the_known(field):
    with pytest.raises(ValueError, match=r"unknown option of \w+ 'colour';? ?.*known: "):
        Trial(**{f"{field}_options": {"colour": 1}})


# Without a field: 45 workers, 5 of them Byzantine, 3 copies, 15 votes in 5 groups, 1438 images
PLAIN = {"copies": 1, "assignment": "none", "groups": None}
TOO_FEW = r"outer: {} needs n >= {} \* byzantine \+ {} = {} rows, got {} with byzantine={}; use "


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"knowledge": "everything"}, "unknown knowledge 'everything'; .*known: own, all, groups"),
        (
            {"vote": "cyclic"},
            "vote: vote 'cyclic' decodes the cyclic code; use assignment='cyclic'",
        ),
        ({"vote_options": {"tolerance": -1}}, "vote: tolerance must be a number of 0 or more"),
        ({"attack": "searched", "attack_options": {"evaluations": 1}}, "attack: evaluations must"),
        ({"attack_options": {"known": 1}}, "unknown option of none 'known'"),
        ({"placement_options": {"step": 1}}, "unknown option of random 'step'"),
        ({"assignment": "mols"}, "assignment: mols needs workers = load .* copies"),
        ({"byzantine": 23}, "byzantine must be below workers / 2 = 22.5, got 23; use at most 22"),
        ({"copies": 4}, "copies must be odd.*got 4, use 3 or 5"),
        ({"copies": 2}, "copies must be odd.*got 2, use 1 or 3"),
        ({"copies": 7}, "copies must divide workers: 45 / 7 leaves 3"),
        ({"assignment": "none"}, "assignment 'none' makes 1 copy, got copies=3; use 'detox'"),
        # too few rows for a rule, in both of its places
        (
            {**PLAIN, "outer": "krum", "byzantine": 22},
            TOO_FEW.format("krum", 2, 3, 47, 45, 22) + "byzantine <= 21, or median",
        ),
        (
            {**PLAIN, "outer": "multi_krum", "byzantine": 22},
            TOO_FEW.format("multi_krum", 2, 3, 47, 45, 22) + "byzantine <= 21, or median",
        ),
        (
            {**PLAIN, "outer": "bulyan", "byzantine": 11},
            TOO_FEW.format("bulyan", 4, 3, 47, 45, 11) + "byzantine <= 10, or multi_krum",
        ),
        (
            {"groups": None, "outer": "bulyan", "byzantine": 8},
            TOO_FEW.format("bulyan", 4, 3, 19, 15, 4) + "byzantine <= 3, or multi_krum",
        ),
        (
            {"groups": 3, "outer": "median"},
            TOO_FEW.format("median", 2, 1, 5, 3, 2) + "byzantine <= 1",
        ),
        ({"groups": 3, "outer": "trimmed_mean"}, TOO_FEW.format("trimmed_mean", 2, 1, 5, 3, 2)),
        (
            {"groups": 3, "outer": "geometric_median"},
            TOO_FEW.format("geometric_median", 2, 1, 5, 3, 2),
        ),
        ({"groups": 3, "outer": "sign_majority"}, TOO_FEW.format("sign_majority", 2, 1, 5, 3, 2)),
        (
            {"groups": 5, "inner": "multi_krum", "outer": "mean"},
            r"inner: multi_krum needs n >= 2 \* byzantine \+ 3 = 7 rows, got 3 with byzantine=2",
        ),
        # options
        ({"attack": "inner_product"}, "attack: .*factor"),
        ({"attack": "alie", "attack_options": {"z": "max"}}, "attack: .*'baruch'"),
        ({"outer_options": {"byzantine": -1}}, "outer: median needs an integer byzantine >= 0"),
        ({"inner_options": {"byzantine": -1}}, "inner: mean needs an integer byzantine >= 0"),
        ({"inner_options": {"byzantine": "two"}}, "inner: .*'two'"),
        ({"outer_options": {"byzantine": None}}, "outer: .*None"),
        ({"attack": "reverse", "attack_options": {"rng": 1}}, "unknown option of reverse 'rng'"),
        ({"assignment_options": {"rng": 1}}, "unknown option of detox 'rng'"),
        ({"model_options": {"hidden": "wide"}}, "model: .*hidden|model: .*'wide'|model: .*str"),
        ({"outer": "outside:not_a_vector"}, "must return .* of shape"),
        ({"outer": "outside:seventeen"}, "outer: .*17|outer: .*callable"),
        ({"outer": "outside:missing"}, "cannot load aggregator 'outside:missing'"),
        ({"outer": "nowhere:rule"}, "cannot load aggregator 'nowhere:rule'"),
        # batches
        ({"batch": 181}, "batch must split into 15 equal files, got 181; use 180 or 195"),
        ({"batch": 7}, "batch must split into 15 equal files, got 7; use 15 or 30"),
        ({"batch": 1440}, "batch must be at most 1425 of the 1438 images, got 1440"),
        # vote groups
        ({"groups": 4}, "groups must divide the 15 votes.*got 4, use one of .1, 3, 5, 15."),
        ({"groups": 16, "inner": "median"}, "groups must be at most the 15 votes, got 16"),
        ({"groups": 0}, "groups must be None or an integer >= 1, got 0"),
        ({"groups": 2.0}, "groups must be None or an integer >= 1, got 2.0"),
        ({"groups": True}, "groups must be None or an integer >= 1, got True"),
        ({"inner": None}, "groups needs an inner rule; use inner='mean', or groups=None"),
        ({"groups": None, "inner": "medain"}, "did you mean 'median'"),
        # data and libraries
        (
            {"data": "fashion_mnist", "data_options": {"folder": "/nowhere"}},
            "fashion_mnist finds no train-images-idx3-ubyte.gz in /nowhere: put .*apt-get",
        ),
        ({"data": "fashion_mnist", "data_options": {"folder": ["/nowhere"]}}, "data: "),
        ({"backend": "cuda"}, "unknown backend 'cuda'; known: numpy, cupy"),
        # types and ranges
        ({"workers": 0}, "workers must be an integer of 1 or more, got 0"),
        ({"workers": 45.0}, "workers must be an integer of 1 or more, got 45.0"),
        ({"workers": "45"}, "workers must be an integer of 1 or more, got '45'"),
        ({"byzantine": -1}, "byzantine must be an integer of 0 or more, got -1"),
        ({"copies": True}, "copies must be an integer of 1 or more, got True"),
        ({"steps": 0}, "steps must be an integer of 1 or more, got 0"),
        ({"evaluate_every": 0}, "evaluate_every must be an integer of 1 or more, got 0"),
        ({"seed": -1}, "seed must be an integer of 0 or more, got -1"),
        ({"seed": None}, "seed must be an integer of 0 or more, got None"),
        ({"rate": -0.1}, "rate must be a number of 0 or more, got -0.1"),
        ({"rate": float("nan")}, "rate must be a number of 0 or more, got nan"),
        ({"rate": "fast"}, "rate must be a number, got 'fast'"),
        ({"momentum": float("inf")}, "momentum must be a number of 0 or more, got inf"),
        ({"outer": 3}, "aggregator must be a name, got 3"),
        ({"attack": None}, "attack must be a name, got None"),
        ({"attack_options": None}, "attack_options must be a dict, got None"),
        ({"outer_options": [1]}, "outer_options must be a dict"),
    ],
)
def test_an_impossible_trial_cannot_be_made(fields, message):
    with pytest.raises(ValueError, match=message):
        Trial(**fields)


def test_cupy_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(ValueError, match=r"needs CuPy: pip install .*cuda12.*backend 'numpy'"):
        Trial(backend="cupy")


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Trial)])
def test_a_misspelt_field_is_answered_with_the_name(field):
    with pytest.raises(ValueError, match=f"unknown field of Trial '{field}x'; did you mean"):
        make_trial({field + "x": 1})


def test_a_trial_is_frozen_and_its_defaults_are_possible():
    trial = Trial()
    assert make_trial(dataclasses.asdict(trial)) == trial
    with pytest.raises(dataclasses.FrozenInstanceError):
        trial.seed = 1


@pytest.mark.parametrize(
    "fields",
    [
        {"groups": 5, "inner": "mean", "outer": "median"},
        {"groups": 2, "inner": "multi_krum", "outer": "mean"},
        {"groups": None, "outer": "bulyan", "outer_options": {"selection": "one-shot"}},
        {"groups": None, "outer": "bulyan", "byzantine": 7},
        {**PLAIN, "outer": "bulyan", "byzantine": 10},
        {"groups": 3, "outer": "median", "outer_options": {"byzantine": 1}},
    ],
)
def test_published_pipelines_are_possible(fields):
    assert Trial(**fields).byzantine == fields.get("byzantine", 5)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="OPENBLAS_CORETYPE names x86 processors")
def test_no_blas_decides_a_bit():
    code = (
        "from detox_sim import Trial, train; import hashlib;"
        "h = train(Trial(workers=15, byzantine=2, batch=60, steps=5, groups=5, attack='alie'));"
        "print(hashlib.sha256(h.drop_vars('seconds').to_dataframe().to_csv().encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"OPENBLAS_CORETYPE": processor},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for processor in ("Haswell", "Prescott")
    }
    assert len(found) == 1
