"""The planner: every number beside its exact value, and what it recommends."""

import dataclasses
import functools
import subprocess
import sys
import time

import numpy as np
import pytest
from refusals import check_refusals

from detox_sim import assignments, planning, theory, train
from detox_sim.commands import plan
from detox_sim.trials.rules import distorted_files_assumed
from detox_sim.trials.trial import Trial

EXACT = ("none", "detox", "cyclic")  # assignments whose laws need no simulation
HOLDERS = assignments.cyclic(45, 11)
options = functools.cache(planning.options)


def find(found, **fields):
    """Return the first option with these fields."""
    return next(o for o in found if fields.items() <= o.fields.items())


def test_published_pipeline_has_its_exact_numbers():
    """Five groups of three votes, of which five Byzantine workers distort at most two."""
    d_median = find(options(45, 5), assignment="detox", copies=3, groups=5, outer="median")
    assert (d_median.votes, d_median.distorted_worst, d_median.proven) == (15, 2, True)
    assert d_median.fails == 0
    assert not d_median.fails_informed
    assert d_median.load == 32 * 3
    law = [0.5972773681, 0.3720414583, 0.0306811736]
    least = [1, 1 + 15 * 1 / 13, 1 + 15 * 2 / 11]
    assert d_median.error == pytest.approx(np.dot(law, least), rel=1e-9)
    assert d_median.error_informed == pytest.approx(least[2])


def test_mean_fails_with_any_distorted_vote():
    mean = functools.partial(find, options(45, 5), groups=None, outer="mean")
    detox = mean(assignment="detox", copies=3)
    assert detox.fails == pytest.approx(1 - 0.5972773681, rel=1e-9)
    assert mean(assignment="none").fails == 1
    assert mean(assignment="detox", copies=9).distorted_worst == 1
    enough = mean(assignment="cyclic", copies=11)
    assert (enough.fails, enough.fails_informed, enough.error) == (0, False, 1)


def test_least_error_is_the_coefficient_of_the_trimmed_mean():
    """In variances of one worker's gradient without redundancy: kappa / r, not monotone in r."""
    known = {1: 0.1429, 3: 0.0606, 5: 0.0286, 9: 0.0370}
    for copies, value in known.items():
        scheme = "none" if copies == 1 else "detox"
        one = find(options(45, 5), assignment=scheme, copies=copies, groups=None, outer="median")
        added = (one.error_informed - 1) / 45
        assert added == pytest.approx(value, abs=6e-5), copies
        worst = one.distorted_worst
        kappa = theory.robustness_coefficient("trimmed_mean", one.votes, worst)
        assert added == pytest.approx(kappa / copies), copies


def test_chance_of_failure_equals_simulated_rounds():
    """In 3 groups of 5 votes one distorted vote breaks a group, and two groups the median."""
    median = find(options(45, 10), assignment="detox", copies=3, groups=3)
    rng, draws = np.random.default_rng(0), 4000
    holders = assignments.detox(45, 3)
    failed = 0
    for _ in range(draws):
        byzantine = rng.permutation(45) < 10
        distorted = rng.permutation(2 * byzantine[holders].sum(axis=1) > 3)
        failed += distorted.reshape(3, 5).any(axis=1).sum() > 1
    error = (median.fails * (1 - median.fails) / draws) ** 0.5
    assert abs(failed / draws - median.fails) < 4.5 * error
    assert 0.1 < median.fails < 0.9


def test_ranked_options_are_trials():
    for workers, byzantine in [(45, 5), (43, 5), (45, 16), (13, 2)]:
        found = options(workers, byzantine)
        safe = [planning.rank(found, informed=informed) for informed in (False, True)]
        assert all(safe), (workers, byzantine)
        for option in {id(each): each for each in (*safe[0], *safe[1])}.values():
            if option.files < 1438:
                assert Trial(**option.fields, batch=option.files).byzantine == byzantine


def test_tiny_chances_keep_the_numbers_finite():
    """All 8 of 15 votes can be distorted by 16 of 45, with a chance far below the risk."""
    one = find(options(45, 16), assignment="detox", copies=3)
    assert one.distorted_worst == 8
    assert np.isinf(one.error_informed)
    law = theory.distorted_files(45, 16, 3)
    least = [1 + 15 * k / (15 - 2 * k) for k in range(8)]
    assert one.error == pytest.approx(np.dot(law[:8], least) / law[:8].sum())
    large = options(2000, 800)
    assert not any(np.isnan(o.error) or np.isnan(o.fails) for o in large)


def test_budget_leaves_out_only_schemes_of_more_copies():
    for most in (1, 3, 4, 9):
        within = [o for o in options(45, 5) if o.fields["copies"] <= most]
        assert options(45, 5, most_copies=most) == within, most


def test_reactive_checks_are_compared_where_the_same_workers_stay_byzantine():
    plain, found = options(45, 5), options(45, 5, fixed=True)
    reactive = [o for o in found if o.fields["vote"] == "reactive"]
    assert [o for o in found if o not in reactive] == plain
    assert {o.computed for o in reactive} == {6.0, 3.5, 1.5}
    for o in reactive:
        chance = o.fields["vote_options"]["chance"]
        assert o.load == pytest.approx(32 * (1 + 5 * chance))
        assert o.distorted_worst == (0 if chance == 1 else 5)
        assert o.error == 1
        assert o.error_informed == pytest.approx(1 if chance == 1 else 1 + 45 * 5 / 35)
        if o.fields["outer"] == "mean" and o.fields["groups"] is None:
            assert o.fails == (chance < 1), o.scheme
        assert 0 <= o.fails <= 1
        trial = Trial(**o.fields, batch=o.files) if o.fails == 0 else None
        assert trial is None or distorted_files_assumed(trial, HOLDERS) == o.distorted_worst
    # Few gradients but many messages: the best where workers are slow, not as modelled by default.
    assert planning.rank(found)[0] not in reactive
    slow = planning.rank(options(45, 5, fixed=True, sample_seconds=2.0))
    assert slow[0].fields["vote_options"] == {"chance": 0.1}
    said = plan.recommendation(slow, risk=1e-3, most_copies=None, informed=False)
    assert "Use reactive, checks with chance 0.1" in said
    assert "1.5 times the computation without redundancy" in said


def test_simulated_chances_have_an_error_above_zero():
    for o in options(45, 10):
        simulated = o.fields["assignment"] not in EXACT
        assert (o.fails_error > 0) == (o.fails_informed and simulated), o.scheme
        assert o.fails_informed or o.fails == 0, o.scheme


def test_ranking_is_by_time_times_error_among_the_safe():
    found = options(45, 5)
    for informed in (False, True):
        ranked = planning.rank(found, informed=informed)
        price = [o.seconds * (o.error_informed if informed else o.error) for o in ranked]
        assert price == sorted(price)
        assert not any(o.fails_informed if informed else o.fails > 1e-3 for o in ranked)
        left = [o for o in found if o not in ranked]
        assert left
        unsafe = [
            o.fails_informed if informed else o.fails + 2 * o.fails_error > 1e-3 for o in left
        ]
        assert all(unsafe)


def test_pareto_front_holds_the_recommendation_and_nothing_dominated():
    """Against a slow reference: an option goes if another is no worse in all and better in one."""

    def numbers(option, informed):
        return option.seconds, option.error_informed if informed else option.error, option.computed

    def dominates(one, other):
        pairs = list(zip(one, other, strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    for found in (options(45, 5), options(45, 5, fixed=True), options(13, 2)):
        for informed in (False, True):
            ranked = planning.rank(found, informed=informed)
            front = planning.pareto(ranked, informed=informed)
            assert front[0] == ranked[0]
            assert [o for o in ranked if o in front] == front
            left = [numbers(o, informed) for o in ranked if o not in front]
            shown = [numbers(o, informed) for o in front]
            assert left
            assert not any(dominates(a, b) for a in (*shown, *left) for b in shown)
            assert all(any(dominates(a, b) for a in shown) for b in left)


def test_pareto_front_keeps_ties_and_drops_what_is_worse_in_one():
    one = options(9, 1)[0]._replace(seconds=1.0, error=2.0)
    slower, tie = one._replace(seconds=1.5), one._replace(fails=0.5)
    other = one._replace(seconds=1.5, error=1.5)
    assert planning.pareto([one, slower, tie, other]) == [one, tie, other]
    assert planning.pareto([]) == []
    # Equal products of seconds and error: the option that is slower at no gain comes last.
    infinite = one._replace(error=float("inf"))
    pair = [infinite._replace(seconds=3.0), infinite]
    assert planning.rank(pair, risk=1)[0] == infinite == planning.pareto(pair)[0]


def test_ten_thousand_workers_take_seconds():
    start = time.perf_counter()
    found = options(10_000, 1000)
    assert time.perf_counter() - start < 30
    groups = [o for o in found if o.fields["assignment"] == "detox" and o.fields["copies"] == 3]
    assert {o.votes for o in groups} == {3333}
    assert {o.distorted_worst for o in groups} == {500}


def test_impossible_questions_are_refused():
    def ask(workers, byzantine, **given):
        return planning.options(workers, byzantine, **given)

    check_refusals(
        ask,
        [
            ((10_001, 5), "at most 10000 workers, got 10001; theory.distorted_files answers"),
            ((0, 0), "workers must be an integer of 1 or more, got 0"),
            ((45, 23), r"byzantine must be below workers / 2 = 22\.5, got 23; use at most 22"),
            ((45, -1), "byzantine must be an integer of 0 or more, got -1"),
        ],
    )
    for name, value, pattern in [
        ("most_copies", 0, "most_copies must be an integer of 1 or more, got 0"),
        ("batch", 3, "batch must be an integer of 45 or more, got 3"),
        ("sample_seconds", -1, "sample_seconds must be a number of 0 or more, got -1"),
        ("parameters", 0, "parameters must be an integer of 1 or more, got 0"),
    ]:
        check_refusals(functools.partial(ask, **{name: value}), [((45, 5), pattern)])


@pytest.fixture
def _cached_options(monkeypatch, tmp_path):
    """Let the command share the options that other tests computed, and say nothing of the atlas."""
    monkeypatch.setattr(plan, "options", options)
    monkeypatch.setattr(planning.atlas, "ATLAS", tmp_path / "no atlas")


QUESTIONS = [
    ["--workers", "45", "--byzantine", "5"],
    ["--workers", "45", "--byzantine", "5", "--fixed"],
    ["--workers", "45", "--byzantine", "5", "--parameters", "11.2e6", "--most-copies", "3"],
    ["--workers", "45", "--byzantine", "10", "--attackers", "informed", "--most-copies", "5"],
    ["--workers", "45", "--byzantine", "0"],
    ["--workers", "45", "--byzantine", "16", "--most-copies", "1"],
    ["--workers", "5", "--byzantine", "2", "--batch", str(10**20)],
]


@pytest.mark.usefixtures("_cached_options")
def test_command_recommends_in_two_sentences(capsys):
    for arguments in QUESTIONS:
        assert plan.main(arguments) == 0, arguments
        advice, table, legend, trial = capsys.readouterr().out.strip().split("\n\n")
        assert advice.startswith("Use "), arguments
        assert advice.replace("\n", " ").count(". ") == 1, arguments
        head, *rows = table.partition("\nNot listed")[0].splitlines()
        assert "fails" in head, arguments
        assert 1 <= len(rows) <= 10, arguments
        assert all(row.startswith("* ") for row in rows), arguments
        assert "theory.recommended_copies(" in legend, arguments
        made = eval(trial, {"Trial": Trial})
        copies = [float(row[head.index(" r ") :].split()[0]) for row in rows]
        assert made.copies == copies[0], arguments
        if "--most-copies" in arguments:
            most = int(arguments[-1])
            assert max(copies) <= most, arguments


@pytest.mark.usefixtures("_cached_options")
def test_command_fits_120_columns(capsys):
    for question in [*QUESTIONS, ["--workers", "100", "--byzantine", "49", "--fixed"]]:
        for arguments in (question, [*question, "--all"]):
            assert plan.main(arguments) == 0, arguments
            said = capsys.readouterr().out.partition("\nTrial(")[0].partition("\n# The digits")[0]
            assert max(map(len, said.splitlines())) <= 120, arguments


def test_table_lists_the_front_or_all_options_and_counts_the_rest():
    found = options(45, 5, fixed=True)
    for informed in (False, True):
        ranked = planning.rank(found, informed=informed)
        front = planning.pareto(ranked, informed=informed)
        _, *rows = plan.table(found, ranked, informed=informed)
        _, *all_rows = plan.table(found, ranked, informed=informed, everything=True)
        assert [row[0] for row in all_rows].count("*") == len(front) == len(rows) - 1
        assert [row[0] for row in all_rows].count("o") == len(ranked) - len(front)
        assert len(all_rows) == len(found)
        assert all_rows[0].split() == rows[0].split()
        counts = (len(ranked) - len(front), len(found) - len(ranked))
        assert rows[-1] == (
            f"Not listed: {counts[0]} safe but not worth choosing; {counts[1]} not safe. "
            "--all lists them."
        )


def test_table_cuts_a_longer_front_after_ten():
    one = options(9, 1)[0]
    front = [one._replace(seconds=1.0 + k, error=2.0**-k) for k in range(12)]
    ranked = planning.rank(front, risk=1)
    assert len(planning.pareto(ranked)) == 12
    _, *rows = plan.table(front, ranked, informed=False)
    seconds = [row.split()[-2] for row in rows[:-1]]
    assert seconds == [f"{o.seconds:.2f}" for o in ranked[:10]]
    assert (
        rows[-1] == "Not listed: 2 worth choosing, of a larger seconds x error. --all lists them."
    )


def test_printed_trials_run():
    for workers, byzantine in ((9, 1), (45, 5), (13, 6)):
        for most in (1, 3, None):
            found = options(workers, byzantine, most_copies=most)
            trial = eval(plan.trial_line(planning.rank(found)[0]), {"Trial": Trial})
            history = train(dataclasses.replace(trial, steps=2))
            assert history.sizes["step"] == 2, (workers, byzantine, most)


def test_trial_of_more_files_than_images_is_printed_as_a_comment():
    best = planning.rank(options(2000, 10, most_copies=1))[0]
    assert plan.trial_line(best).startswith("# The digits have 1438 images; with larger data")


def test_command_gives_an_example_that_is_affordable(capsys):
    with pytest.raises(SystemExit):
        plan.main(["--help"])
    text = capsys.readouterr().out
    example = text.partition("example: detox-sim plan ")[2].split()
    assert example[-2:] == ["--most-copies", "3"]
    assert f"detox-sim plan {' '.join(example)}``" in plan.__doc__


@pytest.mark.usefixtures("_cached_options")
def test_command_reports_that_nothing_withstands_the_attackers(capsys, monkeypatch):
    monkeypatch.setattr(plan, "rank", lambda found, **_: [])
    assert plan.main(["--workers", "13", "--byzantine", "2", "--attackers", "informed"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("There is no option whose rules withstand informed attackers")
    assert "Trial(" not in output


def test_command_refuses_in_one_line(capsys):
    workers = ["--workers", "45", "--byzantine"]
    for arguments, message in [
        ([*workers, "30"], "byzantine must be below workers / 2"),
        ([*workers, "5", "--risk", "2"], "--risk must be a chance"),
        ([*workers, "5", "--most-copies", "0"], "--most-copies must be 1 or more"),
        (["--byzantine", "5", "--workers", "100000"], "the planner compares at most 10000"),
        ([*workers, "some"], "argument --byzantine: invalid int value: 'some'"),
        (workers[:2], "the following arguments are required: --byzantine"),
        ([*workers, "5", "--parameters", "nan"], "--parameters must be"),
        ([*workers, "5", "--batch", "4"], "batch must be an integer"),
    ]:
        try:
            code = plan.main(arguments)
        except SystemExit as exit_:
            code = exit_.code
        assert code == 2, arguments
        output = capsys.readouterr()
        assert output.err.startswith(f"detox-sim plan: {message}"), arguments
        assert output.err.count("\n") == 1, arguments
        assert not output.out, arguments


def test_command_runs_as_a_module():
    command = [sys.executable, "-m", "detox_sim", "plan", "--workers", "9", "--byzantine", "1"]
    assert "Use " in subprocess.run(command, capture_output=True, text=True, check=True).stdout
