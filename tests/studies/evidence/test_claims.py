"""The claims: each parses, each rule gives each verdict, and toy scale reproduces nothing."""

import json
from itertools import product

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import studies
from detox_sim import training
from studies import claims
from studies.evidence import entries as claimed
from studies.evidence import verdicts
from studies.redundancy import filtering

CLAIMS, SCALES = claimed.read()
TESTED = [claim for claim in CLAIMS if not claim.untested]
BEING_ADDED = {"sign_sgd", "draco", "tune"}
SCALE = claimed.Scale(text="two nodes", fields={"workers": 2}, at_least={"steps": 5})


def claim(**keys):
    """Return a claim on a small dataset; met by default."""
    base = {"id": "one", "text": "A beats B", "where": "here", "tag": "M", "reported": "yes"}
    rule = {"study": "filtering", "profiles": ["laptop", "paper"], "scale": "two"}
    sides = {"left": {"rule": "A"}, "right": {"rule": "B"}}
    return claimed.Claim(**(base | rule | sides | {"kind": "greater", "variable": "score"} | keys))


def stored(left, right, *, profile="paper", workers=2, steps=5, named=False, **changed):
    """Return a dataset with scores of A and of B, one a seed."""
    scores = np.array([left, right], dtype=float)
    dataset = xr.Dataset(
        {"score": (("rule", "seed"), scores), "loss": (("rule", "seed"), np.nan_to_num(scores))},
        {"rule": np.array(["A", "B"], dtype=object), "seed": np.arange(scores.shape[1])},
    )
    about = {
        "study": "filtering",
        "profile": profile,
        "scale": "small",
        "base": {"workers": workers, "steps": steps},
        "axes": {"rule": ["A", "B"], "seed": dataset.seed.values.tolist()},
        "settings": {},
        "versions": {"filtering": filtering.STUDY.version},
    } | changed
    return claims.Stored(dataset.assign_attrs(provenance=json.dumps(about)), about, named)


def verdict(one, *datasets):
    return claims.judge([one], {"two": SCALE}, datasets)[0]


TOY = "same direction at toy scale"
HIGH, LOW, WIDE = [9.0, 9.1, 9.2], [1.0, 1.1, 1.2], [-90.0, 5.0, 99.0]


# --- The file -------------------------------------------------------------------------------------


def test_every_claim_names_a_study_and_its_profiles():
    for one in TESTED:
        assert one.study in {*studies.names(), *BEING_ADDED}
        if one.study in studies.names():
            known = studies.module(one.study).PROFILES
            assert {"laptop"} & set(known) & set(one.profiles)
    assert {one.tag for one in CLAIMS} <= set(claimed.TAGS)
    assert {one.kind for one in TESTED} == set(verdicts.KINDS)


def test_the_numbers_are_those_of_table_1_and_figure_5():
    said = {one.id: one.reported for one in CLAIMS}
    assert said["table-1-resnet18-median"] == "43.7 -> 86.21 %"
    assert said["table-1-vgg13-bulyan"] == "11.06 -> 46.82 %"
    assert said["figure-5-vgg13"] == "2.12 -> 40.37 %"
    for one in TESTED:
        if one.kind == "greater" and "->" in one.reported:
            low, high = (float(part.strip(" %")) for part in one.reported.split("->"))
            assert one.number == pytest.approx((high - low) / 100)
            assert one.paper_margin == pytest.approx(one.number / 2, abs=6e-4)


GOOD = """
[scales.two]
text = "two"
[rules.some]
study = "filtering"
profiles = ["laptop"]
scale = "two"
kind = "greater"
variable = "score"
[[claim]]
id = "first"
text = "t"
where = "w"
tag = "M"
reported = "r"
rule = "some"
left = { rule = "A" }
right = { rule = "B" }
"""


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('tag = "M"', 'tag = "Q"', "tag"),
        ('tag = "M"', "tag = 3", "tag"),
        ('tag = "M"', "", "tag"),
        ('text = "t"', 'text = "t"\nmargn = 1.0', "margn.*did you mean 'margin'"),
        ('kind = "greater"', 'kind = "greatest"', "kind.*did you mean 'greater'"),
        ('kind = "greater"', 'kind = "value"', "number"),
        ('kind = "greater"', 'kind = "ratio"', "margin"),
        ('right = { rule = "B" }', "", "right"),
        ('left = { rule = "A" }', "", "left"),
        ('left = { rule = "A" }', 'left = { rule = ["A", "C"] }\nover = "some"', "over"),
        ('right = { rule = "B" }', 'right = { rule = ["B"] }\nat = { a = [1, 2] }', None),
        ('left = { rule = "A" }', 'left = { rule = ["A", "C"], x = [1] }', "left"),
        ('rule = "some"', 'rule = "same"', "did you mean 'some'"),
        ('scale = "two"', 'scale = "three"', "scale"),
        ('profiles = ["laptop"]', 'profiles = ["lapdog"]', "profiles"),
        ('rule = "some"', 'rule = "some"\nuntested = "no"', "untested"),
        ('rule = "some"', 'rule = "some"\nreduce = { x = "eval(1)" }', "reduce"),
        ('rule = "some"', 'rule = "some"\nreduce = { x = "exponent" }', "against"),
        ('rule = "some"', 'rule = "some"\nexact = 1', "exact"),
        ('rule = "some"', 'rule = "some"\nmargin = true', "margin"),
        ('rule = "some"', 'rule = "some"\npaper_margin = 1\ndeviations = ["x"]', "paper_margin"),
        ("[[claim]]", GOOD.partition("[[claim]]")[2].join(["[[claim]]", "[[claim]]"]), "id"),
    ],
)
def test_a_malformed_entry_is_one_error_that_names_it(old, new, key, tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(GOOD.replace(old, new, 1))
    if key is None:
        assert len(claimed.read(path)[0]) == 1
        return
    with pytest.raises(ValueError, match=f"(?s)claim first.*{key}|{key}.*claim first"):
        claimed.read(path)


def test_a_file_that_is_no_toml_is_one_error(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text("[[claim")
    with pytest.raises(ValueError, match=r"claims\.toml"):
        claimed.read(path)
    with pytest.raises(ValueError, match=r"absent\.toml"):
        claimed.read(tmp_path / "absent.toml")


# --- The rules ------------------------------------------------------------------------------------

VALUE = {"kind": "value", "right": None, "number": 9.0, "tolerance": 1.0}


@pytest.mark.parametrize(
    ("keys", "left", "right", "outcome"),
    [
        ({}, HIGH, LOW, "met"),
        ({}, LOW, HIGH, "contradicted"),
        ({}, WIDE, LOW, "undecided"),
        ({}, HIGH, HIGH, "undecided"),
        ({"margin": 7.0}, HIGH, LOW, "met"),
        ({"margin": 9.0}, HIGH, LOW, "contradicted"),
        ({"kind": "ratio", "margin": 2.0}, HIGH, LOW, "met"),
        ({"kind": "ratio", "margin": 20.0}, HIGH, LOW, "contradicted"),
        ({"kind": "ratio", "margin": 8.0}, HIGH, LOW, "undecided"),
        ({"kind": "ratio", "margin": 2.0}, [9.0, 0.0, 9.0], LOW, "undecided"),
        (VALUE, HIGH, LOW, "met"),
        (VALUE, LOW, HIGH, "contradicted"),
        (VALUE, [8.5, 9.5, 11.0], LOW, "undecided"),
        (VALUE | {"number": 8.0, "right": {"rule": "B"}}, HIGH, LOW, "met"),
        ({}, [9.0], [1.0], "undecided"),
        ({}, [9.0, np.nan, 9.0], LOW, "undecided"),
        ({"exact": True}, HIGH, LOW, "met"),
        ({"exact": True}, [9.0, 0.0, 9.0], LOW, "contradicted"),
        ({"exact": True}, [9.0], [1.0], "met"),
        ({"right": 5.0}, HIGH, LOW, "met"),
        ({"left": 5.0}, LOW, HIGH, "contradicted"),
        ({"left": {"rule": ["A", "B"]}, "right": 5.0}, HIGH, LOW, "contradicted"),
        ({"left": {"rule": ["A", "B"]}, "right": 5.0, "over": "any"}, HIGH, LOW, "met"),
        ({"left": {"rule": ["A", "B"]}, "right": 99.0, "over": "any"}, HIGH, LOW, "contradicted"),
        ({"left": {"rule": ["A", "A"]}, "right": {"rule": ["B", "A"]}}, HIGH, LOW, "undecided"),
        ({"variable": "none"}, HIGH, LOW, "missing"),
        ({"left": {"rule": "C"}}, HIGH, LOW, "missing"),
        ({"left": {"attack": "alie"}}, HIGH, LOW, "missing"),
        ({"reduce": {"step": "last"}}, HIGH, LOW, "missing"),
        ({"sample": "turn"}, HIGH, LOW, "missing"),
        ({"never": "none"}, HIGH, LOW, "missing"),
    ],
)
def test_outcomes(keys, left, right, outcome):
    found = verdicts.judge(claim(**keys), stored(left, right).dataset)
    assert found.outcome == outcome
    assert found.detail
    assert "nan" not in found.ours


def test_the_interval_is_of_differences_paired_by_seed():
    noise = np.array([0.0, 50.0, 100.0])
    found = verdicts.judge(claim(), stored(noise + np.array([1, 1.1, 1.2]), noise).dataset)
    assert found.outcome == "met"
    assert found.ours == "51.1 - 50: 1.1 (0.852 to 1.35), 3 seeds"
    one = verdicts.judge(claim(), stored([9.0], [1.0]).dataset)
    assert "one seed" in one.detail
    assert one.ours == "9 - 1: 8, 1 seed"


def test_any_of_several_cases_asks_for_more_than_one():
    left, right = [11.0, 12.0, 13.5], [0.0, 0.0, 0.0]
    low = verdicts.student_t(left)[0]
    assert verdicts.student_t(left, 0.975)[0] < low
    keys = {"right": low - 1e-6, "over": "any"}
    dataset = stored(left, right).dataset
    assert verdicts.judge(claim(**keys), dataset).outcome == "met"
    both = claim(**(keys | {"left": {"rule": ["A", "B"]}}))
    assert verdicts.judge(both, dataset).outcome == "undecided"


def test_that_all_of_several_cases_hold_takes_more_than_one_interval_to_contradict():
    left, right = [11.0, 12.0, 13.5], [0.0, 0.0, 0.0]
    high = verdicts.student_t(left)[1]
    assert verdicts.student_t(left, 0.975)[1] > high
    keys = {"right": high + 1e-6, "over": "all"}
    dataset = stored(left, right).dataset
    assert verdicts.judge(claim(**keys), dataset).outcome == "contradicted"
    both = claim(**(keys | {"left": {"rule": ["A", "B"]}}))
    assert verdicts.judge(both, stored(left, left).dataset).outcome == "undecided"
    assert verdicts.judge(both, dataset).outcome == "contradicted"  # B is far below


def test_a_dataset_of_an_older_version_reproduces_nothing():
    assert verdict(claim(), stored(HIGH, LOW)).verdict == "reproduced"
    old = verdict(claim(), stored(HIGH, LOW, versions={"filtering": 0}))
    assert old.verdict == TOY
    assert "made by version 0 of filtering, which is now" in old.deviations


@pytest.mark.parametrize(
    ("how", "expected"),
    [("first", 2), ("last", 8), ("rise", 6), ("mean", 14 / 3), ("median", 4), ("sum", 14),
     ("exponent", 1)],
)  # fmt: skip
def test_reductions(how, expected):
    values = np.outer([1.0, 1.0, 1.0], [2.0, 4.0, 8.0])
    dataset = stored(HIGH, LOW).dataset.assign(
        time=(("seed", "part"), values), size=("part", [1.0, 2.0, 4.0])
    )
    keys = {"kind": "value", "number": expected, "tolerance": 1e-9, "left": {}, "right": None}
    one = claim(**keys, variable="time", reduce={"part": how}, against="size")
    assert verdicts.judge(one, dataset).outcome == "met"
    dataset["time"] = dataset.time.where(dataset.part != 1)
    assert verdicts.judge(one, dataset).outcome in (
        ("met",) if how in ("first", "last", "rise") else ("undecided",)
    )


def test_a_failed_cell_is_not_run_and_a_missing_value_is_undecided():
    one = stored([9.0, np.nan, 9.2], LOW)
    assert verdict(claim(), one).verdict == "not reproduced"
    assert "no value in 1 of 3 seeds" in verdict(claim(), one).detail
    failed = one._replace(dataset=one.dataset.where(one.dataset.score.notnull()))
    assert verdict(claim(), failed).verdict == "not run"
    assert "1 of its 3 cells failed" in verdict(claim(), failed).detail


def timed(left, right, steps):
    """Return a dataset whose scores are times, a second a step, known down to some steps."""
    one = stored(left, right).dataset
    return one.assign(round=xr.ones_like(one.score)).assign_coords(
        eval_step=np.arange(0.0, 7.0 + steps, steps)
    )


def test_a_time_never_reached_is_at_least_the_run():
    one = timed([7.0, np.nan, 7.2], LOW, 0.1)
    found = verdicts.judge(claim(never="round"), one)
    assert found.outcome == "met"
    assert "never gets there" in found.detail
    assert found.ours.startswith("7.07 - 1.1")
    swapped = claim(never="round", left={"rule": "B"}, right={"rule": "A"})
    assert verdicts.judge(swapped, one).outcome == "undecided"


def test_a_time_never_reached_contradicts_nothing():
    for kind in ("greater", "ratio"):
        one = claim(never="round", kind=kind, margin=9.0)
        reached, never = [7.0, 7.1, 7.2], [7.0, np.nan, 7.2]
        assert verdicts.judge(one, timed(reached, LOW, 0.1)).outcome == "contradicted"
        assert verdicts.judge(one, timed(never, LOW, 0.1)).outcome == "undecided"


def test_a_time_never_reached_is_beyond_the_end():
    one = claim(never="round", kind="ratio", margin=1.0)
    never = [np.nan] * 3, [6.5, 6.6, 6.7]
    assert verdicts.judge(one, timed(*never, 1.0)).outcome == "met"


@pytest.mark.parametrize("kind", ["greater", "ratio"])
def test_times_are_known_down_to_the_steps_between_evaluations(kind):
    margin = {"greater": 2.0, "ratio": 2.0}[kind]
    one = claim(never="round", kind=kind, margin=margin)
    same = [6.0, 6.0, 6.0], [2.0, 2.0, 2.0]
    assert verdicts.judge(one, timed(*same, 0.5)).outcome == "met"
    coarse = verdicts.judge(one, timed(*same, 3.5))
    assert coarse.outcome == "undecided"
    assert ("0.5 to 7.5" if kind == "greater" else "1.25 to inf") in coarse.ours


# --- Scales and verdicts --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "word", "said"),
    [
        ({}, "reproduced", ""),
        ({"steps": 6}, "reproduced", ""),
        ({"workers": 3}, TOY, "workers 3, not 2"),
        ({"steps": 4}, TOY, "steps 4, not 5 or more"),
        ({"base": {"workers": 2}}, TOY, "not stated: steps"),
        ({"base": {"steps": 5}, "settings": {"workers": 2}, "named": True}, "reproduced", ""),
        (
            {"settings": {"rate": 9}, "named": True},
            TOY,
            "rate=9 by --set",
        ),
        ({"settings": {"workers": 9}, "named": True}, TOY, "workers 9"),
        ({"settings": {"rate": 9}}, "not run", ""),
        ({"settings": {"backend": "cupy", "evaluate_every": 7}}, "reproduced", ""),
        ({"settings": {"data_options": {"folder": "here"}}}, "reproduced", ""),
        ({"settings": {"data_options": {"augment": False}}}, "not run", ""),
        (
            {"settings": {"data_options": {"augment": False}}, "named": True},
            TOY,
            "data_options={augment} by --set",
        ),
        ({"settings": {"rule": ["A", "B"]}, "named": True}, "reproduced", ""),
        (
            {
                "settings": {"copies": [3]},
                "axes": {"copies": [3], "seed": [0, 1, 2]},
                "named": True,
            },
            TOY,
            "copies=[3] by --set",
        ),
        ({"profile": "smoke"}, "not run", ""),
        ({"profile": "laptop"}, "reproduced", ""),
    ],
)
def test_scale(changed, word, said):
    found = verdict(claim(), stored(HIGH, LOW, **changed))
    assert found.verdict == word
    assert said in found.deviations
    assert bool(said) == bool(found.deviations)


def test_the_fields_that_all_cells_share_state_the_scale():
    found = verdict(claim(), stored(HIGH, LOW, base={}, fields={"workers": 2, "steps": 9}))
    assert found.verdict == "reproduced"


def test_standing_deviations_keep_a_claim_below_the_papers_scale():
    found = verdict(claim(deviations=["modelled"]), stored(HIGH, LOW))
    assert (found.verdict, found.deviations) == (TOY, "modelled")


def test_a_margin_of_the_papers_scale_holds_there_only():
    one = claim(paper_margin=50.0)
    assert verdict(one, stored(HIGH, LOW)).contradicted
    assert verdict(one, stored(HIGH, LOW, steps=1)).verdict == TOY


def test_a_number_is_judged_at_the_papers_scale_only():
    one = claim(**VALUE)
    assert verdict(one, stored(HIGH, LOW)).verdict == "reproduced"
    for scores in ((HIGH, LOW), (LOW, HIGH)):
        found = verdict(one, stored(*scores, steps=1))
        assert found.verdict == "not run"
        assert found.ours


def test_the_largest_scale_decides():
    paper, laptop = stored(HIGH, LOW, steps=4), stored(LOW, HIGH, profile="laptop", steps=4)
    for pair in ((paper, laptop), (laptop, paper)):
        assert "profile paper" in verdict(claim(), *pair).scale
    whole = stored(LOW, HIGH, profile="laptop")
    assert "profile laptop" in verdict(claim(), paper, whole).scale
    assert verdict(claim(), paper, whole).contradicted


def test_nothing_found_says_how_to_run_it():
    found = verdict(claim())
    assert found.verdict == "not run"
    assert "studies.reproduce filtering --profile laptop" in found.detail


# --- The claims of the paper on doctored datasets -------------------------------------------------

EXTRA = {  # axes that a cell of the study has beside those that its claims name
    "filtering": {"workers": [45, 450], "copies": [3, 9, 15], "byzantine_of_45": list(range(1, 9))},
    "mean_estimation": {"dimension": [20, 60, 100]},
    "scaling": {"stage": ["vote", "aggregate"]},
    "step_time": {"step": [1, 2], "setting": ["p = 45"]},
    "accuracy_reverse": {"threshold": [0.8, 0.9], "attack": ["reverse", "nobody"]},
    "draco": {"threshold": [0.8, 0.9]},
}


def labels(one, task="scale"):
    """Return the axes of a dataset that could test a claim."""
    found = {dim: list(values) for dim, values in EXTRA.get(one.study, {}).items()}
    for part in (one.at, one.left, one.right):
        for dim, wanted in part.items() if isinstance(part, dict) else ():
            if dim != "variable":
                several = wanted if isinstance(wanted, list) else [wanted]
                found[dim] = list(dict.fromkeys([*found.get(dim, []), *several]))
    if "threshold" in found and one.variable == "accuracy":
        del found["threshold"]
    for dim in one.reduce:
        found.setdefault(dim, [0, 1])
    wanted = SCALES[one.scale].labels
    found |= {dim: ["other", wanted[dim]] if task == "scale" else [task] for dim in wanted}
    return found | ({} if one.exact else {one.sample: [0, 1, 2, 3]})


def hit(array, side):
    """Return where an array is one side of a claim."""
    found = xr.ones_like(array, dtype=bool)
    for dim, wanted in side.items():
        if dim != "variable":
            found = found & array[dim].isin(wanted if isinstance(wanted, list) else [wanted])
    return found


def doctored(one, base, good=True, profile="paper", task="scale", **changed):
    """Return a dataset in which a claim clearly holds, or clearly does not."""
    axes = labels(one, task)
    shape = [len(values) for values in axes.values()]
    plain = xr.DataArray(1 + 0.001 * np.indices(shape).sum(axis=0), axes, list(axes))
    sides = [side for side in (one.left, one.right) if isinstance(side, dict)]
    large = one.left if good else one.right
    arrays = {side.get("variable", one.variable): plain for side in sides}
    if one.kind == "value":
        arrays[one.variable] = one.number - (not good) + 0.1 * (plain - 1)
    elif isinstance(large, dict):
        growth = 4.0 ** np.arange(plain.sizes["part"]) if one.against else 100.0
        factor = xr.DataArray(growth, dims=["part"] if one.against else [])
        arrays[large.get("variable", one.variable)] = plain.where(
            ~hit(plain, large), plain * factor
        )
    dataset = xr.Dataset(arrays | ({one.never: plain} if one.never else {}))
    if one.against:
        dataset[one.against] = ("part", 2.0 ** np.arange(dataset.sizes["part"]))
    if one.never:
        dataset = dataset.assign_coords(eval_step=[0.0, 0.01])
    about = {
        "study": one.study,
        "profile": profile if profile in one.profiles else one.profiles[-1],
        "scale": "",
        "base": base,
        "axes": {dim: axes[dim] for dim in axes if dim in ("task", one.sample)},
        "settings": {},
        "versions": training.VERSIONS,
    } | changed
    about["scale"] = about["scale"] or SCALES[one.scale].says
    return claims.Stored(dataset.assign_attrs(provenance=json.dumps(about)), about, True)


def whole(scale):
    return scale.fields | scale.at_least


@pytest.mark.parametrize("one", TESTED, ids=lambda one: one.id)
def test_each_claim_can_be_met_and_only_at_the_papers_scale_reproduced(one):
    scale = SCALES[one.scale]
    found = claims.judge([one], SCALES, [doctored(one, whole(scale))])[0]
    wanted = TOY if one.deviations else "reproduced"
    assert found.verdict == wanted, found
    below = "not run" if one.kind == "value" else TOY
    if scale.labels:
        other = claims.judge([one], SCALES, [doctored(one, whole(scale), task="digits")])[0]
        assert other.verdict == below
        assert "task digits, not" in other.deviations
    if scale.says:
        part = claims.judge([one], SCALES, [doctored(one, whole(scale), scale="small")])[0]
        assert part.verdict == below
        assert "does not say" in part.deviations
    for name in whole(scale):
        less = {key: value for key, value in whole(scale).items() if key != name}
        for base in (less, less | {name: "other" if isinstance(whole(scale)[name], str) else 1}):
            found = claims.judge([one], SCALES, [doctored(one, base)])[0]
            assert found.verdict == below
            assert name in found.deviations


@pytest.mark.parametrize("one", TESTED, ids=lambda one: one.id)
def test_each_claim_can_be_contradicted(one):
    found = claims.judge([one], SCALES, [doctored(one, whole(SCALES[one.scale]), good=False)])[0]
    assert found.contradicted, found


@given(st.data())
def test_nothing_below_the_papers_scale_is_reproduced(data):
    one = data.draw(st.sampled_from(TESTED))
    scale = SCALES[one.scale]
    names = st.sampled_from([*whole(scale), "rate", "steps", "backend", "evaluate_every"])
    values = st.one_of(st.integers(0, 3), st.just("other"), st.floats(0, 1))
    steps = scale.at_least.get("steps", 1)
    kept = data.draw(st.dictionaries(st.sampled_from(["workers", "batch"]), values))
    kept |= data.draw(st.dictionaries(st.just("steps"), st.integers(0, 2000)))
    base = {k: v for k, v in (whole(scale) | kept).items() if data.draw(st.booleans())}
    settings = data.draw(st.dictionaries(names.filter(lambda n: n != "steps"), values, max_size=2))
    profile = data.draw(st.sampled_from(claimed.PROFILES))
    task = data.draw(st.sampled_from(["scale", "digits"]))
    said = data.draw(st.sampled_from(["", "small scale", f"small; {scale.says}"]))
    one_stored = doctored(one, base, profile=profile, task=task, settings=settings, scale=said)
    stated = base | settings
    at_scale = (
        not one.deviations
        and (task == "scale" or not scale.labels)
        and (not said or not scale.says)
        and all(stated.get(name) == value for name, value in scale.fields.items())
        and (not scale.at_least or stated.get("steps", 0) >= steps)
        and set(settings) <= {*whole(scale), "seed", "backend", "evaluate_every"}
    )
    found = claims.judge([one], SCALES, [one_stored])[0]
    assert (found.verdict == "reproduced") == at_scale


# --- The command ----------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Return a folder of results whose only claim is `claim()`."""
    found = [claim()], {"two": SCALE}
    monkeypatch.setattr(claims, "read", lambda: found)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, one):
    folder.mkdir(parents=True, exist_ok=True)
    one.dataset.to_netcdf(folder / "filtering.nc", engine="netcdf4")


@pytest.mark.parametrize(
    ("left", "right", "code"), [(HIGH, LOW, 0), (LOW, HIGH, 1), (WIDE, LOW, 0), (HIGH, HIGH, 0)]
)
def test_exit_codes(file, capsys, left, right, code):
    write(file / "results" / "laptop", stored(left, right, profile="laptop"))
    assert claims.main([]) == code
    assert ("1 of the not reproduced, contradicted" in capsys.readouterr().out) == bool(code)


def test_no_results_contradict_nothing(file, capsys):
    assert claims.main([]) == 0
    assert "1 not run" in capsys.readouterr().out


def test_a_changed_dataset_counts_only_where_it_is_named(file, capsys):
    write(file / "results" / "laptop", stored(LOW, HIGH, settings={"rate": 3}))
    assert claims.main([]) == 0
    assert claims.main(["--results", "results/laptop"]) == 1
    assert "rate=3 by --set" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"nothing", None])
def test_bad_usage(file, capsys, content):
    folder = file / "here"
    if content:
        folder.mkdir()
        (folder / "filtering.nc").write_bytes(content)
    assert claims.main(["--results", str(folder)]) == 2
    assert "here" in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        claims.main(["--resluts"])
    assert error.value.code == 2


def test_a_dataset_without_provenance_is_bad_usage(file, capsys):
    one = stored(HIGH, LOW)
    write(file / "here", one._replace(dataset=one.dataset.drop_attrs()))
    assert claims.main(["--results", "here"]) == 2
    assert "provenance" in capsys.readouterr().err


def test_markdown_is_a_table_with_a_row_for_each_claim(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    claims.main(["--markdown"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(lines) == len(CLAIMS) + 2
    assert len({line.count("|") for line in lines}) == 1
    assert lines[0] == "| id | " + " | ".join(claims.COLUMNS) + " |"
    for one, line in zip(CLAIMS, lines[2:], strict=True):
        assert line.startswith(f"| {one.id} | ")


def test_every_verdict_is_one_of_four(file):
    found = [
        verdict(claim(), stored(*scores, steps=steps))
        for scores, steps in product([(HIGH, LOW), (LOW, HIGH), (WIDE, LOW)], [1, 5])
    ]
    counted = claims.counts(found)
    assert [counted[word] for word in claims.VERDICTS] == [1, 1, 4, 0]
    assert counted["of the not reproduced, contradicted"] == 2
    assert "NOT REPRODUCED" in claims.as_text(found)


def test_untested_claims_say_why():
    for one in CLAIMS:
        if one.untested:
            found = claims.judge([one], SCALES, [])[0]
            assert (found.verdict, found.detail) == ("not run", one.untested)
