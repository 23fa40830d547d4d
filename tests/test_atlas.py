"""What the planner says of the atlas, with a small made-up summary."""

import functools
import json
from dataclasses import fields

import pytest

from detox_sim import planning
from detox_sim.commands import plan
from detox_sim.planning import atlas
from detox_sim.trials.trial import Trial

SCALE = (
    "small scale: Fashion-MNIST (60,000 + 10,000 images), mlp, 45 workers, batch 405, 50 steps, "
    "5 seeds"
)
SHIPPED = atlas.ATLAS
options = functools.cache(planning.options)


def entry(worst, *, half=0.01, **changed):
    """Return an entry as the file has it; other fields are those of DETOX with a median."""
    known = {"assignment": "detox", "copies": 3, "vote": "majority", "vote_options": {}}
    known |= {"encoding": None, "mixers": [], "outer": "median"}
    numbers = {"worst": worst, "low": worst - half, "high": worst + half}
    numbers |= {"cross_fitted": [worst, worst - half, worst + half], "fails": 0.0}
    return known | numbers | {"attack": "searched", "nobody": 0.8} | changed


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Make the package's summary that of these entries."""

    def write(*entries):
        path = tmp_path / "atlas.json"
        found = {"scale": SCALE, "workers": 45, "byzantine": 5, "entries": entries}
        path.write_text(json.dumps(found))
        monkeypatch.setattr(atlas, "ATLAS", path)
        return planning.read_atlas()

    return write


def ranked(*wanted):
    """Return options of 45 workers, 5 Byzantine, in this order: (assignment, copies, outer)."""
    found = {
        (o.fields["assignment"], o.fields["copies"], o.fields["outer"]): o
        for o in options(45, 5)
        if o.fields["groups"] is None
    }
    return [found[each] for each in wanted]


MEDIAN, KRUM, ALONE = ("detox", 3, "median"), ("detox", 7, "multi_krum"), ("none", 1, "median")
text = functools.partial(planning.atlas_text, workers=45, byzantine=5)


def test_option_matches_an_entry_of_the_same_scheme_and_rules_only(write):
    write(entry(0.7))
    matched = [o for o in options(45, 5) if planning.seen(o)]
    assert matched == ranked(MEDIAN)
    assert planning.seen(matched[0]).worst == 0.7
    for changed in (
        {"mixers": ["nnm"]},
        {"encoding": "sign"},
        {"copies": 4},
        {"vote": "cyclic"},
        {"vote_options": {"chance": 0.1}},
        {"outer": "krum"},
        {"assignment": "cyclic"},
    ):
        write(entry(0.7, **changed))
        assert not any(planning.seen(o) for o in options(45, 5)), changed


def test_vote_groups_match_where_the_entry_has_them(write):
    write(entry(0.7, groups=5, inner="mean"))
    (matched,) = (o for o in options(45, 5) if planning.seen(o))
    assert matched.pipeline == "mean in 5 groups, median"


def test_reactive_votes_match_by_their_options(write):
    reactive = {"assignment": "cyclic", "copies": 11, "vote": "reactive"}
    write(entry(0.7, **reactive, vote_options={"chance": 0.1}))
    (matched,) = (o for o in options(45, 5, fixed=True) if planning.seen(o))
    assert matched.fields["vote_options"] == {"chance": 0.1}


def test_text_names_both_where_the_atlas_contradicts_the_ranking(write):
    write(entry(0.71), entry(0.75, copies=7, outer="multi_krum", attack="alie", nobody=0.79))
    shown = ranked(MEDIAN, KRUM)
    assert text(shown) == (
        f"In the atlas ({SCALE}) detox, r = 3 and median has test accuracy 0.71 [0.70, 0.72] under "
        "the worst attack found (searched), 0.80 without attack. It disagrees: detox, r = 7 and "
        "multi_krum has 0.75 [0.74, 0.76] under the worst attack found (alie)."
    )
    option, run = planning.contradiction(shown)
    assert (option, run) == (shown[1], planning.seen(shown[1]))
    assert planning.contradiction(shown[::-1]) is None


def test_intervals_that_overlap_contradict_nothing(write):
    write(entry(0.71), entry(0.73, copies=7, outer="multi_krum"))  # 0.72 is the end of both
    assert planning.contradiction(ranked(MEDIAN, KRUM)) is None
    assert "No other safe option is shown to be more accurate" in text(ranked(MEDIAN, KRUM))
    # A better mean with a wide interval does not hide one that lies wholly above.
    alone = entry(0.75, assignment="none", copies=1)
    write(entry(0.71), entry(0.8, half=0.2, copies=7, outer="multi_krum"), alone)
    assert planning.contradiction(ranked(MEDIAN, KRUM, ALONE))[0].fields["copies"] == 1


def test_both_intervals_must_lie_above_to_contradict(write):
    above = entry(0.75, copies=7, outer="multi_krum")
    write(entry(0.71), above | {"cross_fitted": [0.71, 0.70, 0.72]})
    assert planning.contradiction(ranked(MEDIAN, KRUM)) is None


def test_runs_whose_condition_fails_say_nothing(write):
    write(entry(0.1, fails=0.5), entry(0.75, copies=7, outer="multi_krum"))
    said = text(ranked(MEDIAN, KRUM))
    assert "says nothing of detox, r = 3 and median: there its rules fail with chance 0.5" in said
    assert planning.contradiction(ranked(MEDIAN, KRUM)) is None
    write(entry(0.7), entry(0.9, copies=7, outer="multi_krum", fails=0.5))
    assert planning.contradiction(ranked(MEDIAN, KRUM)) is None


def test_without_byzantine_workers_no_attack_is_cited(write):
    write(entry(0.1, nobody=0.75, fails=0.5))
    said = planning.atlas_text(ranked(MEDIAN), workers=45, byzantine=0)
    assert said.endswith("detox, r = 3 and median has test accuracy 0.75 without attack.")


def test_text_says_what_is_not_in_the_atlas(write):
    write(entry(0.71), entry(0.6, assignment="none", copies=1))
    said = text(ranked(KRUM, ALONE, MEDIAN))
    assert said.startswith(f"Not in the atlas ({SCALE}): detox, r = 7 and multi_krum. ")
    assert "the best is detox, r = 3 and median: 0.71" in said
    assert "more accurate there" not in said
    assert text(ranked(MEDIAN)).endswith("It has no other safe option.")
    assert text(ranked(KRUM)).endswith("It has no other safe option.")
    assert text([]) == ""


def test_text_names_workers_of_the_atlas_where_they_are_others(write):
    write(entry(0.71))
    there = f"({SCALE}; p = 45 and q = 5, not 100 and 10)"
    shown = ranked(MEDIAN, KRUM)
    assert there in planning.atlas_text(shown, workers=100, byzantine=10)
    assert there in planning.atlas_text(ranked(KRUM), workers=100, byzantine=10)
    assert "p = " not in text(shown)


def test_without_an_atlas_nothing_is_said(write, monkeypatch, tmp_path):
    shown = ranked(MEDIAN, KRUM)
    assert write() == []
    assert text(shown) == ""
    monkeypatch.setattr(atlas, "ATLAS", tmp_path / "none.json")
    assert planning.read_atlas() == []
    assert (planning.seen(shown[0]), planning.contradiction(shown), text(shown)) == (None, None, "")


def test_command_prints_the_atlas_below_the_recommendation(write, monkeypatch, capsys):
    monkeypatch.setattr(plan, "options", options)
    rows = [entry(0.7, groups=3, inner="mean", copies=5), entry(0.75, copies=7, outer="multi_krum")]
    arguments = ["--workers", "45", "--byzantine", "5"]
    for entries in (rows, [*rows, entry(0.9, copies=7, outer="trimmed_mean")]):
        write(*entries)
        for extra in ([], ["--all"]):
            assert plan.main([*arguments, *extra]) == 0
            advice, said, table, legend, trial = capsys.readouterr().out.strip().split("\n\n")
            lines = said.splitlines()
            assert len(lines) <= 4, said
            assert max(map(len, (*lines, *legend.splitlines()))) <= 120
            assert advice.startswith("Use detox, r = 5 and mean in 3 groups, then median.")
            # Also where only --all lists it, as another option dominates it.
            rule = "trimmed_mean has 0.90" if len(entries) == 3 else "multi_krum has 0.75"
            assert f"It disagrees: detox, r = 7 and {rule}" in " ".join(lines)
            assert "Atlas: real training runs" in legend
            assert "multi_krum" in table
            assert trial.startswith("Trial(")


def test_summaries_are_well_formed(write):
    made_up = write(entry(0.7), entry(0.6, copies=5))
    names = {field.name for field in fields(Trial)}
    for runs in (
        made_up,
        planning.read_atlas(atlas.Path(atlas.__file__).parents[1] / "atlas.json"),
    ):
        for run in runs:
            assert run.fields.keys() <= names, run
            assert run.low <= run.worst <= run.high, run
            assert 0 <= run.worst <= 1, run
            assert 0 <= run.nobody <= 1, run
        compared = [repr([(atlas.ABSENT | r.fields)[n] for n in atlas.COMPARED]) for r in runs]
        assert len(set(compared)) == len(compared)
