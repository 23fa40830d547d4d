"""Which dataset decides, the verdict in one word, and that small runs reproduce nothing."""

import dataclasses
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_claims import CLAIMS, doctored, stated, verdict

from studies.evidence import verdicts
from studies.evidence.accuracy import DETOX
from studies.evidence.compare import greater, within
from studies.evidence.decisions import Decision, Scale
from studies.evidence.entries import Claim
from studies.redundancy import filtering

TOY = "same direction, smaller scale"
HIGH, LOW, WIDE = [9.0, 9.1, 9.2], [1.0, 1.1, 1.2], [-90.0, 5.0, 99.0]
ONE = Claim(id="one", text="A beats B", where="here", tag="M", reported="twice", number=2.0)


def beats(results, margin=0.0):
    """A scores more than B."""
    values = results.values
    return greater(values("score", rule="A"), values("score", rule="B"), margin)


def scores_9(results):
    """A scores 9."""
    return within(results.values("score", rule="A"), 9.0, 1.0)


DECISION = Decision(
    decide=beats,
    study="filtering",
    axes=("rule", "seed"),
    scale=Scale(text="two workers", fields={"workers": 2}, at_least={"steps": 5}),
)


def stored(left, right, *, profile="paper", workers=2, steps=5, named=False, **changed):
    """Return a dataset with scores of A and of B, one a seed."""
    scores = np.array([left, right], dtype=float)
    axes = {"rule": np.array(["A", "B"], dtype=object), "seed": np.arange(scores.shape[1])}
    about = {
        "study": "filtering",
        "profile": profile,
        "scale": "small",
        "base": {"workers": workers, "steps": steps},
        "axes": {"rule": ["A", "B"], "seed": axes["seed"].tolist()},
        "settings": {},
        "versions": {"filtering": filtering.STUDY.version},
    } | changed
    dataset = xr.Dataset({"score": (("rule", "seed"), scores)}, axes)
    return verdicts.Stored(dataset.assign_attrs(provenance=json.dumps(about)), about, named, {})


def decided(*datasets, **changed):
    return verdicts.decided(ONE, dataclasses.replace(DECISION, **changed), datasets)


# --- Scale ----------------------------------------------------------------------------------------


def test_datasets_of_the_package_come_from_clean_commits_of_the_repository():
    root = Path(__file__).parents[3]
    if not (root / ".git").exists() or _git(root, "rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("this is no whole clone")
    commits = set(_git(root, "rev-list", "HEAD").split())
    for folder in verdicts.committed():
        for path in folder.glob("*.nc"):
            _, about = verdicts.open_stored(path)
            for environment in about["environments"]:
                assert environment["commit"] in commits, path
                assert not environment["dirty"], path


def _git(root, *arguments):
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_only_a_dataset_that_states_the_papers_scale_reproduces():
    no_augment = {"data_options": {"augment": False}}
    cut = {"settings": {"copies": [3]}, "axes": {"copies": [3], "seed": [0, 1, 2]}}
    for changed, word, said in (
        ({}, "reproduced", ""),
        ({"steps": 6}, "reproduced", ""),
        ({"workers": 3}, TOY, "workers 3, not 2"),
        ({"steps": 4}, TOY, "steps 4, not 5 or more"),
        ({"base": {"workers": 2}}, TOY, "not stated: steps"),
        ({"base": {}, "fields": {"workers": 2, "steps": 9}}, "reproduced", ""),
        ({"base": {"steps": 5}, "settings": {"workers": 2}, "named": True}, "reproduced", ""),
        ({"settings": {"rate": 9}, "named": True}, TOY, "rate=9 by --set"),
        ({"settings": {"workers": 9}, "named": True}, TOY, "workers 9"),
        ({"settings": {"rate": 9}}, "not run", ""),
        ({"settings": {"backend": "cupy", "evaluate_every": 7}}, "reproduced", ""),
        ({"settings": {"data_options": {"folder": "here"}}}, "reproduced", ""),
        ({"settings": no_augment}, "not run", ""),
        ({"settings": no_augment, "named": True}, TOY, "data_options={augment} by --set"),
        ({"settings": {"rule": ["A", "B"]}, "named": True}, "reproduced", ""),
        (cut | {"named": True}, TOY, "copies=[3] by --set"),
        ({"profile": "smoke"}, "not run", ""),
        ({"profile": "laptop"}, "reproduced", ""),
        ({"versions": {"filtering": 0}}, "not run", ""),
        ({"versions": None}, "not run", ""),
    ):
        found = decided(stored(HIGH, LOW, **changed))
        assert found.verdict == word, changed
        assert said in found.deviations, changed
        assert bool(said) == bool(found.deviations), changed


def test_standing_deviation_keeps_a_claim_below_the_papers_scale():
    found = decided(stored(HIGH, LOW), deviations=("modelled",))
    assert (found.verdict, found.deviations) == (TOY, "modelled")


# --- The dataset and the word ---------------------------------------------------------------------


def test_largest_scale_decides():
    paper, laptop = stored(HIGH, LOW, steps=4), stored(LOW, HIGH, profile="laptop", steps=4)
    for pair in ((paper, laptop), (laptop, paper)):
        assert "profile paper" in decided(*pair).scale
    whole = stored(LOW, HIGH, profile="laptop")
    assert "profile laptop" in decided(paper, whole).scale
    assert decided(paper, whole).contradicted
    assert decided(stored(HIGH, LOW), stored(LOW, HIGH)).verdict == "reproduced"


def test_verdict_is_one_word_and_counts_add_up():
    found = [
        decided(stored(*scores, steps=steps))
        for scores in ((HIGH, LOW), (LOW, HIGH), (WIDE, LOW))
        for steps in (1, 5)
    ]
    words = [TOY, "reproduced", *["contradicted"] * 2, *["undecided"] * 2]
    assert [each.verdict for each in found] == words
    apart = [one._replace(observation=str(i)) for i, one in enumerate(found)]
    counted = verdicts.counts(apart)
    assert {word: counted[word] for word in words} == {word: words.count(word) for word in words}
    assert sum(verdicts.counts([one._replace(observation="same") for one in found]).values()) == 1
    assert found[0].detail.endswith("; the direction only, not the twice")
    assert "direction" not in found[1].detail
    met = decided(stored(HIGH, LOW, steps=1), options={"margin": 0.5})
    assert (met.verdict, met.detail) == (TOY, "above 0.5")


def test_largest_dataset_that_decides_is_taken():
    whole, part = stored(HIGH, LOW, profile="laptop"), stored([9.0, np.nan, 9.2], LOW)
    assert decided(part, whole).verdict == "reproduced"
    small = stored(HIGH * 2, LOW * 2, profile="laptop", steps=4)  # six seeds decide before three
    assert "profile laptop" in decided(stored(LOW, HIGH), small).scale
    assert "profile paper" in decided(stored(LOW * 2, HIGH * 2), small).scale


def test_number_is_judged_at_the_papers_scale_only():
    assert decided(stored(HIGH, LOW), decide=scores_9).verdict == "reproduced"
    for scores in ((HIGH, LOW), (LOW, HIGH)):
        found = decided(stored(*scores, steps=1), decide=scores_9)
        assert found.verdict == "not run", scores
        assert found.ours, scores


def test_without_a_dataset_or_with_part_of_one_a_claim_is_not_run():
    found = decided()
    assert found.verdict == "not run"
    assert "studies.reproduce filtering --profile laptop" in found.detail
    found = decided(stored([9.0, np.nan, 9.2], LOW))
    assert (found.verdict, found.detail) == ("not run", "1 of its 3 cells have no result")


# --- The claims of the paper ----------------------------------------------------------------------


def test_each_claim_is_met_and_only_at_the_papers_scale_reproduced():
    for name, decision in verdicts.DECISIONS.items():
        small = "not run" if decision.decide.__name__ == "ends_at" else TOY
        found = verdict(name, doctored(name))
        assert found.verdict == (TOY if decision.deviations else "reproduced"), found
        below = []
        if decision.scale.task:
            below += [({"task": "digits"}, "task digits, not"), ({"scale": "no"}, "does not say")]
        for changed, said in below:
            found = verdict(name, doctored(name, **changed))
            assert found.verdict == small, found
            assert said in found.deviations, found


def test_each_claim_is_contradicted_by_the_opposite():
    for name in verdicts.DECISIONS:
        found = verdict(name, doctored(name, good=False))
        assert found.contradicted, found


def test_each_field_of_the_papers_scale_is_needed():
    for name, decision in verdicts.DECISIONS.items():
        whole = stated(decision)
        about = doctored(name).about | {"base": whole}
        assert verdicts.differences(decision, about) == list(decision.deviations), name
        for field in whole:
            less = {key: value for key, value in whole.items() if key != field}
            for base in (less, less | {field: 1}):
                found = verdicts.differences(decision, about | {"base": base})
                assert field in "; ".join(found), (name, base)


def test_gap_of_a_claim_is_asked_at_the_papers_scale_only():
    name = "table-1-resnet18-median"
    one = doctored(name)
    one.dataset["accuracy"] = 0.1 * one.dataset.accuracy
    assert verdict(name, one).contradicted
    one.about["base"] = {}
    assert verdict(name, one).verdict == TOY


def test_untested_claims_say_why():
    for name, why in verdicts.UNTESTED.items():
        found = verdict(name)
        assert (found.verdict, found.detail) == ("not run", why)


def test_statement_on_two_tasks_is_one_observation_when_the_same_runs_decide():
    pairs = [(name, name.replace("resnet18", "vgg13")) for name in CLAIMS if "resnet18" in name]
    twins = [pair for pair in pairs if pair[1] in CLAIMS]
    assert len(twins) == 10
    for one, other in twins:
        decisions = [verdicts.DECISIONS[name] for name in (one, other)]
        assert decisions[0].on(decisions[1].scale) == decisions[1], one
        small = doctored(one, task="digits")
        assert verdict(one, small).observation == verdict(other, small).observation, one
        large = [verdict(name, doctored(name)).observation for name in (one, other)]
        assert large[0] != large[1], one
    small = doctored("table-1-vgg13-median", task="digits")
    others = ("table-1-vgg13-median", "table-1-vgg13-bulyan", "introduction-accuracy")
    assert len({verdict(name, small).observation for name in others}) == 3


@settings(max_examples=60)
@given(st.data())
def test_nothing_below_the_papers_scale_is_reproduced(data):
    name = data.draw(st.sampled_from(sorted(verdicts.DECISIONS)))
    decision = verdicts.DECISIONS[name]
    scale, whole = decision.scale, stated(decision)
    names = st.sampled_from([*whole, "rate", "backend", "evaluate_every"])
    values = st.one_of(st.integers(0, 3), st.just("other"), st.floats(0, 1))
    kept = data.draw(st.dictionaries(st.sampled_from(["workers", "batch"]), values))
    kept |= data.draw(st.dictionaries(st.just("steps"), st.integers(0, 2000)))
    base = {k: v for k, v in (whole | kept).items() if data.draw(st.booleans())}
    changed = data.draw(st.dictionaries(names.filter(lambda n: n != "steps"), values, max_size=2))
    profile = data.draw(st.sampled_from(decision.profiles))
    task = data.draw(st.sampled_from([None, "digits"])) if scale.task else None
    said = data.draw(st.sampled_from([scale.says, "small scale", f"small; {scale.says}"]))
    one = doctored(name, task=task, base=base, profile=profile, settings=changed, scale=said)
    now = base | changed
    at_scale = (
        not decision.deviations
        and task is None
        and (said == scale.says or not scale.says)
        and all(now.get(key) == value for key, value in scale.fields.items())
        and all(now.get(key, 0) >= value for key, value in scale.at_least.items())
        and set(changed) <= {*whole, "backend", "evaluate_every"}
    )
    assert (verdict(name, one).verdict == "reproduced") == at_scale


# --- Accuracy below the paper's scale -------------------------------------------------------------


def small(alone, detox, recalibrated=None, seeds=5):
    """Return a small dataset with given damage to the median alone and with DETOX."""
    one = doctored("table-1-resnet18-median", task="digits")
    noise = 0.02 * (one.dataset.accuracy - 1)
    for name, damage in (("accuracy", (alone, detox)), ("recalibrated_accuracy", recalibrated)):
        if damage is not None:
            one.dataset[name] = 0.9 + noise
            for pipeline, lost in zip(("Median", "D-Median"), damage, strict=True):
                at = {"attack": "alie", "pipeline": pipeline}
                one.dataset[name].loc[at] = 0.9 - lost + noise.loc[at]
    return one._replace(dataset=one.dataset.isel(seed=slice(seeds)))


def test_defence_is_judged_by_damage_at_equal_batch():
    for runs, word in (
        (small(0.5, 0.0), TOY),
        (small(0.5, 0.0, seeds=4), "undecided"),
        (small(0.001, 0.0), "attack did not bite"),
        (small(0.5, 0.6), "contradicted"),
        (small(0.5, 0.0, recalibrated=(0.4, 0.0)), TOY),
        (small(0.5, 0.0, recalibrated=(0.001, 0.0)), "depends on the evaluation"),
    ):
        assert verdict("table-1-resnet18-median", runs).verdict == word


def test_orders_of_magnitude_need_twice_at_a_smaller_scale():
    for factor, word in ((1.5, "contradicted"), (3.0, TOY)):
        one = doctored("abstract-accuracy", task="digits")
        one.dataset["accuracy"] = 0.3 + 0.001 * (one.dataset.accuracy - 1)
        detox = one.dataset.pipeline.isin(DETOX)
        one.dataset["accuracy"] = one.dataset.accuracy.where(~detox, one.dataset.accuracy * factor)
        assert verdict("abstract-accuracy", one).verdict == word, factor
