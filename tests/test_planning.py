"""The planner: every number beside its exact value, and what it recommends."""

import subprocess
import sys
import time

import numpy as np
import pytest

from detox_sim import assignments, planning, theory
from detox_sim.trials.trial import Trial
from studies import plan

FOUND = planning.options(45, 5)


def option(assignment, copies, groups, outer):
    return next(
        o
        for o in FOUND
        if (o.fields["assignment"], o.fields["copies"], o.fields["groups"], o.fields["outer"])
        == (assignment, copies, groups, outer)
    )


def test_the_published_pipeline_has_its_exact_numbers():
    """Five groups of three votes; two lost ones are all that five liars get."""
    d_median = option("detox", 3, 5, "median")
    assert (d_median.votes, d_median.lost_worst, d_median.proven) == (15, 2, True)
    assert d_median.fails == 0
    assert not d_median.fails_informed
    assert d_median.load == 32 * 3
    law = [0.5972773681, 0.3720414583, 0.0306811736]
    least = [1, 1 + 15 * 1 / 13, 1 + 15 * 2 / 11]
    assert d_median.error == pytest.approx(np.dot(law, least), rel=1e-9)
    assert d_median.error_informed == pytest.approx(least[2])


def test_the_plain_mean_fails_whenever_a_vote_is_lost():
    assert option("detox", 3, None, "mean").fails == pytest.approx(1 - 0.5972773681, rel=1e-9)
    assert option("none", 1, None, "mean").fails == 1
    assert option("detox", 9, None, "mean").lost_worst == 1
    enough = option("cyclic", 11, None, "mean")
    assert (enough.fails, enough.fails_informed, enough.error) == (0, False, 1)


def test_a_chance_is_that_of_simulated_rounds():
    """Ten liars of 45 in 3 groups of 5 votes: a group falls to one lost vote, the median to two."""
    found = planning.options(45, 10)
    median = next(
        o
        for o in found
        if (o.fields["assignment"], o.fields["copies"], o.fields["groups"]) == ("detox", 3, 3)
    )
    rng, draws = np.random.default_rng(0), 4000
    holders = assignments.detox(45, 3)
    failed = 0
    for _ in range(draws):
        bad = rng.permutation(45) < 10
        lost = rng.permutation(2 * bad[holders].sum(axis=1) > 3)
        failed += lost.reshape(3, 5).any(axis=1).sum() > 1
    error = (median.fails * (1 - median.fails) / draws) ** 0.5
    assert abs(failed / draws - median.fails) < 4.5 * error
    assert 0.1 < median.fails < 0.9


@pytest.mark.parametrize(("workers", "byzantine"), [(45, 5), (50, 6), (43, 5), (45, 16), (13, 2)])
@pytest.mark.parametrize("informed", [False, True])
def test_what_is_ranked_is_a_trial(workers, byzantine, informed):
    ranked = planning.rank(planning.options(workers, byzantine), informed=informed)
    assert ranked
    for found in ranked:
        if found.files < 1438:
            assert Trial(**found.fields, batch=found.files).byzantine == byzantine


def test_what_almost_never_happens_spoils_no_number():
    """All 8 of 15 votes can be lost to 16 of 45, with a chance far below the risk."""
    found = planning.options(45, 16)
    groups = [o for o in found if (o.fields["assignment"], o.fields["copies"]) == ("detox", 3)]
    assert groups[0].lost_worst == 8
    assert np.isinf(groups[0].error_informed)
    law = theory.distorted_files(45, 16, 3)
    least = [1 + 15 * k / (15 - 2 * k) for k in range(8)]
    assert groups[0].error == pytest.approx(np.dot(law[:8], least) / law[:8].sum())
    large = planning.options(10_000, 4000)
    assert not any(np.isnan(o.error) or np.isnan(o.fails) for o in large)


def test_what_a_simulation_has_not_seen_is_not_impossible():
    for o in planning.options(45, 10):
        assert (o.fails_error > 0) == (o.fails_informed and not exact(o))
        assert o.fails_informed or o.fails == 0


def exact(o):
    return o.fields["assignment"] in ("none", "detox", "cyclic")


@pytest.mark.parametrize("informed", [False, True])
def test_the_ranking_is_by_time_times_error_among_the_safe(informed):
    ranked = planning.rank(FOUND, informed=informed)
    price = [o.seconds * (o.error_informed if informed else o.error) for o in ranked]
    assert price == sorted(price)
    assert not any(o.fails_informed if informed else o.fails > 1e-3 for o in ranked)
    left = [o for o in FOUND if o not in ranked]
    assert left
    assert all(o.fails_informed if informed else o.fails + 2 * o.fails_error > 1e-3 for o in left)


def test_it_works_at_ten_thousand_workers_in_seconds():
    start = time.perf_counter()
    found = planning.options(10_000, 1000)
    assert time.perf_counter() - start < 30
    groups = [o for o in found if o.fields["assignment"] == "detox" and o.fields["copies"] == 3]
    assert {o.votes for o in groups} == {3333}
    assert {o.lost_worst for o in groups} == {500}
    expected = theory.expected_distorted_files(9999, 1000, 3)
    law = theory.distorted_files(9999, 1000, 3)
    assert (law * np.arange(law.size)).sum() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0), "workers must be an integer of 1 or more, got 0"),
        ((45, 23), "byzantine must be below workers / 2 = 22.5, got 23; use at most 22"),
        ((45, -1), "byzantine must be an integer of 0 or more, got -1"),
        ((45, 5, {"batch": 3}), "batch must be an integer of 45 or more, got 3"),
        ((45, 5, {"sample_seconds": -1}), "sample_seconds must be a number of 0 or more, got -1"),
        ((45, 5, {"parameters": 0}), "parameters must be an integer of 1 or more, got 0"),
    ],
)
def test_impossible_questions_are_refused(arguments, message):
    workers, byzantine, *options = arguments
    with pytest.raises(ValueError, match=message):
        planning.options(workers, byzantine, **(options[0] if options else {}))


def test_the_command_recommends_in_two_sentences(capsys):
    assert plan.main(["--workers", "45", "--byzantine", "5", "--parameters", "11.2e6"]) == 0
    said = capsys.readouterr().out
    table, _, advice = said.partition("Use ")
    assert "detox, r = 3" in table
    assert "cyclic, r = 11" in table
    use, why = advice.partition("Its condition ")[::2]
    assert " with " in use
    assert why.partition("\nTrial(")[0].count(". ") == 1
    fields = eval(f"dict({why.partition('Trial(')[2].partition(', batch=')[0]})")
    assert Trial(**fields, batch=1260, attack="alie").workers == fields["workers"]


def test_the_command_says_when_nothing_withstands(capsys):
    assert plan.main(["--workers", "7", "--byzantine", "3", "--attackers", "informed"]) == 0
    said = capsys.readouterr().out
    assert "Use " in said or "No scheme here withstands informed attackers" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workers", "45", "--byzantine", "30"], "byzantine must be below workers / 2"),
        (["--workers", "45", "--byzantine", "5", "--risk", "2"], "--risk must be a chance"),
        (["--workers", "45", "--byzantine", "5", "--top", "0"], "--top must be 1 or more"),
        (["--workers", "45", "--byzantine", "5", "--parameters", "nan"], "--parameters must be"),
        (["--workers", "45", "--byzantine", "5", "--batch", "4"], "batch must be an integer"),
    ],
)
def test_the_command_refuses_in_one_line(arguments, message, capsys):
    assert plan.main(arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"studies.plan: {message}")
    assert said.err.count("\n") == 1
    assert not said.out


def test_the_command_runs_as_a_module():
    command = [sys.executable, "-m", "studies.plan", "--workers", "9", "--byzantine", "1"]
    assert "Use " in subprocess.run(command, capture_output=True, text=True, check=True).stdout
