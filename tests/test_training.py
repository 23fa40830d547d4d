"""Laws 1 and 2 in whole runs, what robust rules withstand, and what a history holds."""

import json
import os
import platform
import resource
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from attack_cases import INDEPENDENT

from detox_sim import Trial, aggregators, attacks, data, mixers, models, placements, train, training
from detox_sim.models import Model, one_thread
from detox_sim.streams import stream
from detox_sim.trials import make_trial
from detox_sim.trials.one_process import OneProcessServer
from detox_sim.trials.outcome import UNEXPLAINED

SMALL = {"workers": 15, "model": "softmax", "batch": 30, "steps": 5, "evaluate_every": 5}
VANILLA = {**SMALL, "copies": 1, "assignment": "none", "groups": None}
ATTACK_OPTIONS = {"inner_product": {"factor": 10.0}}
ATTACKS = [name for name in attacks.__all__ if name != "none"]


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

KEPT = {"byzantine": 5, "placement": "outside:one_a_group", "groups": 5}  # a worker a file
CAPTURED = {"byzantine": 2, "placement": "worst_case", "groups": 5}  # both in one file


@pytest.fixture(scope="module")
def unattacked():
    """The runs of `KEPT` and `CAPTURED` without an attack."""
    return run(**KEPT), run(**CAPTURED)


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_changes_no_bit_where_files_keep_honest_majorities(unattacked, attack):
    """And changes some where one file does not: it is distorted, or undecided if copies differ."""
    kept, captured = run(**KEPT, attack=attack), run(**CAPTURED, attack=attack)
    assert learned(kept) == learned(unattacked[0])
    assert not kept.distorted_files.any()
    assert not kept.undecided_files.any()
    assert (captured.distorted_files == (attack not in INDEPENDENT)).all()
    assert (captured.undecided_files == (attack in INDEPENDENT)).all()
    assert not unattacked[1].distorted_files.any()
    assert bits(captured)["gradient_error"] != bits(unattacked[1])["gradient_error"]


ONE = {"byzantine": 1, "groups": 5}
BIBD = {"byzantine": 1, "groups": None, "assignment": "bibd", "batch": 35, "vote": "clique"}
OTHERS = {
    "one Byzantine worker": ONE,
    "worst case": {**ONE, "placement": "worst_case"},
    "real copies": {**KEPT, "vote": "outside:majority_of_real_copies"},
    "five copies": {"byzantine": 2, "copies": 5, "groups": 3},
    "reshuffled": {**ONE, "assignment_options": {"reshuffle": True}},
    "streaming": {**ONE, "vote": "streaming"},
    "no groups": {**ONE, "groups": None, "outer": "multi_krum"},
    "Latin squares": {**ONE, "assignment": "mols", "batch": 50},
    "through the vote": {**ONE, "knowledge": "groups"},
    "own gradients": {**ONE, "knowledge": "own"},
    "placed by the damage": {**ONE, "placement": "adaptive"},
    "worker momentum": {**ONE, "worker_momentum": 0.9},
    "shards": {**ONE, "partition": "labels", "partition_options": {"labels": 2}},
    "layer by layer": {**ONE, "vote_options": {"per_layer": True}},
    "within a tolerance": {**ONE, "vote_options": {"tolerance": 1e-9}},
    "clique": BIBD,
    "clique, all at once": {
        **BIBD,
        "placement": "adaptive",
        "knowledge": "groups",
        "assignment_options": {"reshuffle": True},
    },
}


def test_law_holds_for_every_redundant_pipeline():
    for name, fields in OTHERS.items():
        honest = run(**fields, steps=3)
        for attack in ("constant", "gaussian", "searched"):
            attacked = run(**fields, steps=3, attack=attack)
            assert learned(attacked) == learned(honest), (name, attack)
            assert not attacked.distorted_files.any(), (name, attack)
            assert not attacked.undecided_files.any(), (name, attack)


def test_cyclic_code_trains_as_without_attack_up_to_rounding():
    code = {"assignment": "cyclic", "copies": 5, "vote": "cyclic", "groups": None, "outer": "mean"}
    honest = run(**code, byzantine=0)
    plain = run(**VANILLA, byzantine=0, outer="mean")
    np.testing.assert_allclose(honest.loss, plain.loss, rtol=1e-4)
    for attack in ATTACKS:
        attacked = run(**code, byzantine=2, attack=attack)
        assert not attacked.distorted_files.any(), attack
        assert attacked.votes == 1
        np.testing.assert_allclose(attacked.loss, honest.loss, rtol=1e-4, err_msg=attack)
    assert run(**code, byzantine=3, attack="reverse").distorted_files.all()


REACTIVE = {
    **SMALL, "assignment": "cyclic", "copies": 7, "byzantine": 3, "groups": None, "batch": 45,
    "vote": "reactive", "placement": "fixed", "outer": "mean",
}  # fmt: skip


def test_deterministic_checks_train_as_without_attack():
    honest = run(**{**REACTIVE, "byzantine": 3})
    for attack in ("constant", "gaussian", "searched"):
        for local in (False, True):
            case, options = (attack, local), {"local": local}
            attacked = run(**REACTIVE, attack=attack, vote_options=options)
            for name in ("loss", "test_loss", "gradient_error"):
                assert attacked[name].values.tobytes() == honest[name].values.tobytes(), case
            assert attacked.excluded_workers.values.tolist() == [3] * 5, case
            counts = attacked.gradients_computed.values
            assert counts[0] > 15 * (4 if not local else 3), case
            assert counts[1:].tolist() == [15] * 4, case
            assert attacked.checked_files.values.tolist() == [15] * 5, case
            assert bool(attacked.gradients_at_server[0]) == local, case
    assert honest.gradients_computed.values.tolist() == [15 * 4] * 5


def test_after_the_last_exclusion_training_is_as_without_attack():
    """From the state after it, an honest run has the same bits; attackers forge rarely before."""
    shape = {**REACTIVE, "steps": 40, "vote_options": {"chance": 0.3}, "outer": "trimmed_mean"}
    attacked = Trial(**shape, attack="reverse", attack_rate=0.5, knowledge="groups")
    honest = Trial(**shape)
    server = OneProcessServer(attacked)
    with one_thread():
        rows = []
        for step in range(1, 41):
            rows.append(training.step(server, step))
            if rows[-1]["excluded_workers"] == 3:
                break
        taken = sum(row["distorted_files"] for row in rows)
        assert taken > 0
        assert 1 < step < 40
        assert server.state(step).excluded.sum() == 3
        clean = OneProcessServer(honest)
        clean.restore(step, server.state(step))
        for k in range(step + 1, 41):
            rows, others = training.step(server, k), training.step(clean, k)
            assert rows["distorted_files"] == 0
            assert rows["gradient_error"] == others["gradient_error"]
    assert server.state(40).params.tobytes() == clean.state(40).params.tobytes()


def test_rate_of_an_attack_is_the_share_of_steps_of_each_worker():
    shape = {**VANILLA, "byzantine": 4, "placement": "fixed", "attack": "constant", "steps": 60}
    shape["evaluate_every"] = 60
    for rate in (0.0, 0.25, 1.0):
        history = run(**shape, outer="median", attack_rate=rate)
        share = history.distorted_files.values.mean() / 4
        assert abs(share - rate) <= 4 * (rate * (1 - rate) / 240) ** 0.5, rate
    assert len(set(history.distorted_files.values)) == 1


# --- What attackers know, and what they choose -------------------------------------------------

SEARCH = {"attack": "searched", "attack_options": {"evaluations": 8}}


def test_search_is_recorded_and_does_more_than_fixed_attacks():
    shape = {"byzantine": 4, "placement": "worst_case", "groups": None, "steps": 1}
    searched = run(**{**shape, **SEARCH})
    assert searched.search_evaluations.values.tolist() == [8]
    error = float(searched.gradient_error[0])
    assert float(searched.search_value[0]) == pytest.approx(error**2, rel=1e-5)
    for fixed in ("alie", "sign_flip", "inner_product"):
        attacked = run(**shape, attack=fixed)
        assert attacked.search_evaluations.values.tolist() == [0]
        assert attacked.gradient_error[0] <= searched.gradient_error[0] * (1 + 1e-6), fixed


def test_attackers_through_the_vote_are_honest_where_they_have_no_majority():
    """Under an exact vote it makes no difference; a vote that takes the first copy shows it."""
    attacked = {"byzantine": 4, "groups": 5, "attack": "constant"}
    everywhere, owned = run(**attacked), run(**attacked, knowledge="groups")
    assert bits(everywhere) == bits(owned)
    unowned = run(**{**attacked, "byzantine": 1}, vote="outside:first_copy")
    assert unowned.distorted_files.any()
    honest = run(**{**attacked, "byzantine": 1}, vote="outside:first_copy", knowledge="groups")
    assert not honest.distorted_files.any()


def test_adaptive_placement_does_at_least_what_its_candidates_do():
    shape = {"byzantine": 5, "groups": None, "steps": 1, **SEARCH}
    adaptive = run(**shape, placement="adaptive")
    for name in ("worst_case", "whole_group"):
        one = run(**shape, placement=name)
        assert one.gradient_error[0] <= adaptive.gradient_error[0] * (1 + 1e-6), name


def test_load_of_schemes_at_equal_compute_is_equal():
    shapes = [
        ({"groups": 5}, 30.0, 5),
        ({"assignment": "mols", "groups": 5}, 30.0, 25),
        ({"assignment": "cyclic", "vote": "cyclic", "groups": None, "outer": "mean"}, 30.0, 1),
        ({"assignment": "subsets", "groups": None, "batch": 910}, 182.0, 455),
    ]
    for shape, load, votes in shapes:
        history = run(**{"byzantine": 1, "batch": 150, "steps": 1, **shape})
        assert (float(history.images_per_worker), int(history.votes)) == (load, votes), shape


# --- Law 2: replication, and repetition of bits ----------------------------------------------


def test_logical_copies_train_as_real_copies_do():
    fields = {"byzantine": 5, "groups": 5, "rate": 0.01, "steps": 3}
    cases = [("majority", attack, 0.0) for attack in attacks.__all__]
    cases += [("majority", attack, 0.9) for attack in ("none", "alie", "label_flip")]
    cases += [(v, attack, 0.0) for v in ("streaming", "clique") for attack in ("none", "gaussian")]
    for vote, attack, beta in cases:
        case, shape = (vote, attack, beta), fields | {"worker_momentum": beta}
        logical = run(**shape, attack=attack, vote=vote)
        real = run(**shape, attack=attack, vote=f"outside:{vote}_of_real_copies")
        assert bits(logical) == bits(real), case
        distorts = attack not in ("none", *INDEPENDENT)
        assert bool(logical.distorted_files.any()) == distorts, case


def test_file_of_different_copies_is_undecided_and_zero():
    alone = {"attack": "gaussian", "attack_options": {"colluding": False}}
    history = run(byzantine=4, placement="worst_case", groups=5, **alone)
    assert (history.undecided_files == 2).all()
    assert not history.distorted_files.any()


def test_same_seed_gives_same_bits():
    for model in ("softmax", "cnn", "outside:normed"):
        fields = {"byzantine": 3, "groups": 5, "attack": "gaussian", "model": model, "steps": 3}
        if model == "outside:normed":
            fields |= {"data": "outside:pictures"}
        once, again, other = run(**fields), run(**fields), run(**fields, seed=1)
        assert bits(once) == bits(again), model
        assert distinct([once, other]) == 2, model


def test_compared_methods_share_data_and_placement():
    methods = [
        {"groups": 5, "inner": "mean", "outer": "median"},
        {"groups": None, "outer": "geometric_median"},
        {"groups": None, "outer": "median", "attack": "constant"},
        {"groups": None, "outer": "trimmed_mean", "model": "mlp"},
    ]
    for placement in (name for name in placements.__all__ if name != "adaptive"):
        shared = {"byzantine": 3, "placement": placement, "attack": "reverse", "rate": 0.01}
        first, *others = histories = [run(**{**shared, **method}) for method in methods]
        assert distinct(histories) == len(methods), placement
        for history in others:
            same = history.distorted_files.values == first.distorted_files.values
            assert same.all(), placement
        for history in others[:2]:
            for name in ("loss", "gradient_norm", "accuracy"):
                assert history[name][0] == first[name][0], (placement, name)


def test_vanilla_and_detox_see_the_same_batches():
    vanilla, detox = run(**VANILLA, byzantine=2, outer="mean"), run(byzantine=2, outer="mean")
    assert vanilla.loss[0] == pytest.approx(float(detox.loss[0]), rel=1e-6)
    assert vanilla.gradient_norm[0] == pytest.approx(float(detox.gradient_norm[0]), rel=1e-5)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="OPENBLAS_CORETYPE names x86 processors")
def test_bits_do_not_depend_on_blas():
    """Those of kernels for an old processor, in a new process, and those chosen here."""
    code = (
        "from detox_sim import Trial, train; import hashlib;"
        "h = train(Trial(workers=15, byzantine=2, batch=60, steps=5, groups=5, attack='alie'));"
        "text = h.drop_vars('seconds').to_dataframe().to_csv().encode();"
        "digest = hashlib.sha256(text).hexdigest()"
    )
    here: dict = {}
    exec(code, here)
    there = subprocess.run(
        [sys.executable, "-c", code + "; print(digest)"],
        env=os.environ | {"OPENBLAS_CORETYPE": "Prescott"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here["digest"]


# --- What is recorded ------------------------------------------------------------------------


def test_history_is_labelled():
    cases = [(5, 2, [0, 2, 4, 5]), (4, 2, [0, 2, 4]), (3, 10, [0, 3]), (1, 1, [0, 1])]
    for steps, every, evaluated in cases:
        fields = {**SMALL, "byzantine": 1, "groups": 5, "steps": steps, "evaluate_every": every}
        trial = Trial(**fields)
        history = train(trial)
        assert history.step.values.tolist() == list(range(1, steps + 1))
        assert history.eval_step.values.tolist() == evaluated
        assert make_trial(json.loads(history.attrs["trial"])) == trial
        assert json.loads(history.attrs["versions"]) == training.versions(trial)
        assert history.seconds.dims == ("step", "phase")
        assert (history.seconds >= 0).all()
        assert (history.modelled_seconds > 0).all()
        assert all(np.isfinite(history[name]).all() for name in history.data_vars)
        assert ((history.accuracy >= 0) & (history.accuracy <= 1)).all()


def test_versions_are_those_of_the_parts_a_trial_uses(monkeypatch):
    dense, convolutions = "gradients of dense models", "gradients of convolutions"
    for fields, part in (
        ({"model": "softmax"}, dense),
        ({"model": "mlp", "model_options": {"hidden": 32}}, dense),
        ({"model": "cnn"}, convolutions),
        ({"model": "outside:normed", "data": "outside:pictures"}, convolutions),
    ):
        trial = Trial(**SMALL | fields, byzantine=1)
        before = training.versions(trial)
        assert list(before) == ["round", part], fields
        for name in training.VERSIONS:
            with monkeypatch.context() as patch:
                patch.setitem(training.VERSIONS, name, 99)
                assert (training.versions(trial) != before) == (name in before), (fields, name)


def test_steps_are_momentum_at_the_server_and_at_the_workers():
    """Replayed by hand from the mean of all files, for which the vote and rule are plain."""
    for momentum, beta in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.9), (0.5, 0.9)):
        rates = {"rate": 0.2, "momentum": momentum, "worker_momentum": beta}
        trial = Trial(**VANILLA, byzantine=0, outer="mean", **rates)
        model = Model(models.softmax, (1, 8, 8), 10)
        digits = data.digits()
        params = model.initial(stream(trial.seed, "parameters"))
        velocity, at_workers = np.zeros_like(params), np.zeros_like(params)
        losses = []
        with one_thread():
            for step in range(1, trial.steps + 1):
                chosen = stream(trial.seed, "batch", step).choice(1438, trial.batch, replace=False)
                images, labels = digits.train_images[chosen], digits.train_labels[chosen]
                loss, gradient, _ = model.gradients(params, images[None], labels[None])
                at_workers = beta * at_workers + (1 - beta) * gradient[0]
                velocity = momentum * velocity + at_workers
                params = params - 0.2 * velocity
                losses.append(loss[0])
            end = model.evaluate(params, digits.test_images, digits.test_labels)
        history = train(trial)
        assert history.loss.values == pytest.approx(losses, rel=1e-5)
        assert history.test_loss.values[-1] == pytest.approx(end.loss, rel=1e-5)
        assert history.accuracy.values[-1] == pytest.approx(end.accuracy, abs=1 / 359)
        assert history.gradient_error.values == pytest.approx(0, abs=1e-6)


def test_momentum_at_workers_does_what_momentum_at_the_server_does_where_the_rule_is_linear():
    plain = {**VANILLA, "byzantine": 0, "outer": "mean", "steps": 20, "evaluate_every": 5}
    server = run(**plain, rate=0.05, momentum=0.9)
    workers = run(**plain, rate=0.5, momentum=0.0, worker_momentum=0.9)
    np.testing.assert_allclose(workers.test_loss, server.test_loss, rtol=1e-4)


def test_worker_momentum_shrinks_the_spread_that_alie_hides_in():
    """By sqrt((1 - beta) / (1 + beta)) = 0.23 in the limit, where parameters stand still."""
    still = {**VANILLA, "byzantine": 0, "outer": "mean", "rate": 0.0, "steps": 60}
    plain, beta = run(**still, momentum=0.0), 0.9
    history = run(**still, momentum=0.0, worker_momentum=beta)
    spread = (plain.gradient_spread**2).mean()
    for t in (1, 2, 5, 50):
        law = (1 - beta) / (1 + beta) * (1 - beta ** (2 * t))
        # A file's mean gradient moves the momentum too; over files it is the same for all.
        measured = float(history.gradient_spread[t - 1 : t + 9].mean() ** 2 / spread)
        upper = (1 - beta) / (1 + beta) * (1 - beta ** (2 * (t + 9)))
        assert 0.7 * law < measured < 1.3 * upper, t


def test_run_that_diverges_is_a_result():
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


def assert_learns(history, case):
    """All is finite, but for weights that leave most of an aggregate unexplained: these are NaN."""
    weights = ["weight", "distorted_weight", "effective_votes"]
    explained = history.unexplained <= UNEXPLAINED
    for name in history.data_vars:
        finite = np.isfinite(history[name])
        assert (finite == explained).all() if name in weights else finite.all(), (case, name)
    assert history.accuracy[-1] > 0.8, case


@pytest.mark.parametrize("outer", [name for name in aggregators.__all__ if name not in BREAKABLE])
def test_robust_rule_learns_whatever_is_sent(outer):
    """Three of 15 workers are Byzantine, which is all that bulyan bears; or one file of 15."""
    redundant = {"workers": 45, "groups": None, "placement": "worst_case"}
    cases = ((np.nan, VANILLA, 3), (1e30, VANILLA, 3), (np.inf, redundant, 1))
    for value, shape, distorted in cases:
        history = run(
            **{**SMALL, **shape, **LONGER},
            byzantine=3,
            rate=RATES.get(outer, 0.3),
            outer=outer,
            outer_options=OPTIONS.get(outer, {}),
            attack="constant",
            attack_options={"value": value},
        )
        assert_learns(history, value)
        assert (history.distorted_files == distorted).all(), value


@pytest.mark.parametrize("mixer", mixers.__all__)
def test_robust_rule_learns_with_mixer_at_every_stage(mixer):
    """One of 15 workers is Byzantine, and buckets of 2 leave rows enough."""
    shape = {"assignment": "none", "copies": 1, "byzantine": 1}
    stages = [
        {"mixers": [mixer], "groups": None},
        {"mixers": {"outer": [mixer]}, "groups": None},
        {"mixers": {"inner": [mixer]}, "groups": 2, "inner": "median"},
        {"mixers": [mixer, "nnm"], "groups": 2, "inner": "median"},
    ]
    for i, stage in enumerate(stages):
        history = run(
            **{**SMALL, **LONGER, **shape, **stage},
            rate=0.3,
            mixers_options={mixer: OPTIONS[mixer]} if mixer in OPTIONS else {},
            attack="constant",
            attack_options={"value": (np.nan, 1e30)[i % 2]},
        )
        assert_learns(history, stage)


def test_mixers_change_what_a_rule_sees():
    plain = run(**VANILLA, outer="median")
    mixed = run(**VANILLA, outer="median", mixers=["nnm"])
    staged = run(**VANILLA, outer="median", mixers={"outer": ["nnm"]})
    assert mixed.loss.values.tolist() == staged.loss.values.tolist()
    assert mixed.loss.values.tolist() != plain.loss.values.tolist()


def test_mean_is_broken_by_one_large_value():
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


def test_rule_from_outside_trains(tmp_path, monkeypatch):
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


def test_brief_run_ends_with_the_same_accuracy_and_keeps_nothing_else(tmp_path):
    trial = Trial(workers=9, byzantine=1, batch=45, groups=3, steps=3, validation=0.1)
    whole, brief = train(trial), train(trial, brief=True)
    assert brief.eval_step.values.tolist() == [3]
    assert "step" not in brief.dims
    xr.testing.assert_identical(brief, whole[list(brief.data_vars)].sel(eval_step=[3]))
    with pytest.raises(ValueError, match="a brief run keeps no checkpoint"):
        train(trial, brief=True, checkpoint=tmp_path / "run")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc keeps freed memory if asked")
def test_steps_use_the_same_memory_again():
    """A page that is given back is a fault at its next use; the gradients of a step have 3,400."""
    fields = {"copies": 1, "assignment": "none", "groups": None, "batch": 90, "steps": 4}
    trial = Trial(**fields, model_options={"hidden": 1024})
    train(trial)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    train(trial)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 3400


def test_rule_and_judgement_share_the_distances_between_votes(monkeypatch):
    from detox_sim.primitives import cpu

    measured, distances_of = [], cpu.distances
    monkeypatch.setattr(cpu, "distances", lambda rows: measured.append(rows) or distances_of(rows))
    fields = {"copies": 1, "assignment": "none", "groups": None, "batch": 45, "steps": 1}
    for rule, mixed in (("multi_krum", []), ("mean", ["nnm"]), ("median", [])):
        measured.clear()
        train(Trial(**fields, outer=rule, mixers=mixed))
        votes = [rows for rows in measured if rows.shape == (45, 4810)]
        assert len(votes) == 2, rule  # the step that warms up, and the step
