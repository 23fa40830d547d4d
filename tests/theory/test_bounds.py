"""Published bounds and prescriptions against exact laws; orders of work."""

import pytest
from refusals import check_refusals

from detox_sim import assignments, costs, theory


def to_digits(digits):
    return {"rel": 0, "abs": 0.6 * 10.0**-digits}


def test_worst_shares_equal_published_values():
    for byzantine, shares in {
        5: {3: 0.133333, 5: 0.111111, 9: 0.200000, 15: 0},
        10: {3: 0.333333, 5: 0.333333, 9: 0.400000, 15: 0.333333},
        22: {3: 0.733333, 5: 0.777778, 9: 0.800000, 15: 0.666667},
    }.items():
        for copies, share in shares.items():
            worst = theory.worst_case_distorted_files(assignments.detox(45, copies), byzantine)
            found = worst.distorted * copies / 45
            assert found == pytest.approx(share, **to_digits(6)), (byzantine, copies)


def test_bounds_equal_published_values():
    for size, form, bound, digits in [
        ((45, 5, 3), "paper", 6.584362, 6),
        ((45, 5, 3), "paper-r3", 0.69958848, 8),
        ((45, 5, 3), "sharp", 0.65843621, 8),
        ((45, 5, 5), "paper", 15.607377, 6),
        ((1000, 10, 5), "paper", 0.313632, 6),
        ((1000, 20, 5), "paper", 2.458624, 6),
        ((220_000, 19_958, 11), "sharp", 7.09559, 5),
        ((220_000, 19_958, 11), "paper", 709_559, 0),
    ]:
        found = theory.expected_distorted_files_bound(*size, form=form)
        assert found == pytest.approx(bound, **to_digits(digits)), (size, form)


def test_bounds_are_above_the_expectation():
    for form in theory.BOUNDS:
        for copies in (3,) if form == "paper-r3" else (3, 5, 7, 9, 11):
            for workers in range(copies, 160, 2 * copies):
                for byzantine in range((workers + 1) // 2):
                    size = (workers, byzantine, copies)
                    exact = theory.expected_distorted_files(*size)
                    bound = theory.expected_distorted_files_bound(*size, form=form)
                    assert bound >= exact * (1 - 1e-12), (form, size)


def test_only_published_bounds_are_called_proven():
    published = {form for form, status in theory.BOUNDS.items() if status.startswith("proven")}
    assert published == {form for form in theory.BOUNDS if form.startswith("paper")}
    assert theory.BOUNDS["sharp"] == "numerical"


def test_recommended_copies_equal_published_values():
    published = {0: 1, 1: 3, 2: 5, 3: 7, 4: 7, 5: 9, 8: 9, 10: 11, 22: 13}
    assert {q: theory.recommended_copies(q) for q in published} == published


def test_corollary_2_holds_with_the_recommended_copies():
    for delta, most in [(0.1, 5.605170), (0.05, 6.991465), (0.01, 10.210340), (0.001, 14.815511)]:
        found = theory.high_probability_distorted_files(delta)
        assert found == pytest.approx(most, **to_digits(6)), delta
        for byzantine, workers in ((1, 45), (2, 45), (3, 70), (5, 90), (10, 220), (22, 650)):
            copies = theory.recommended_copies(byzantine)
            law = theory.distorted_files(workers, byzantine, copies)
            assert law[: int(most) + 1].sum() >= 1 - delta, (delta, workers)


def test_theorem_3_has_the_published_groups():
    resnet18 = costs.MODEL_SIZES["resnet18"]["parameters"]
    for outer, parameters, delta, groups in [
        ("geometric_median", 100, 0.05, 383.453731),
        ("geometric_median", resnet18, 0.01, 589.461784),
        ("median", 100, 0.05, 972.915515),
        ("trimmed_mean", resnet18, 0.05, 2460.778122),
    ]:
        size = {"sigma": 2.0, "batch": 1440, "parameters": parameters, "delta": delta}
        found = theory.hierarchical_error(outer, **size)
        assert found.groups == pytest.approx(groups, **to_digits(6)), outer
        assert found.error == pytest.approx(2 * (groups / 128 / 1440) ** 0.5, rel=1e-8), outer
        assert theory.hierarchical_error(outer, **size, constant=3.0).error == 3 * found.error


def test_complexity_table_has_a_row_for_each_method():
    rows = theory.complexity_markdown().splitlines()[2:]
    assert len(rows) == len(theory.complexity())
    for row, facts in zip(rows, theory.complexity(), strict=True):
        assert [cell.strip() for cell in row.strip("|").split("|")] == list(facts)


def test_arguments_that_a_bound_does_not_cover_are_refused():
    def bound(copies, form):
        return theory.expected_distorted_files_bound(45, 5, copies, form=form)

    def theorem_3(change):
        given = {"outer": "median", "sigma": 1.0, "batch": 10, "parameters": 10, "delta": 0.1}
        return theory.hierarchical_error(**(given | change))

    check_refusals(
        bound,
        [
            ((3, "sharper"), "'sharper'.*paper-r3, sharp"),
            ((5, "paper-r3"), "for copies=3, got 5"),
        ],
    )
    check_refusals(theory.recommended_copies, [((-1,), "0 or more, got -1")])
    check_refusals(
        theory.high_probability_distorted_files,
        [((delta,), "delta must be") for delta in (0, 0.5, -1, "small", None)],
    )
    check_refusals(
        theorem_3,
        [
            (({"outer": "krum"},), "unknown outer rule of theorem 3 'krum'"),
            (({"delta": 0.5},), r"delta must be above 0 and below 1/2, got 0\.5"),
            (({"delta": 0},), "delta must be above 0"),
            (({"sigma": -1.0},), r"sigma must be 0 or more, got -1\.0"),
            (({"batch": 0},), "batch must be an integer of 1 or more, got 0"),
            (({"parameters": 1.5},), "parameters must be an integer"),
        ],
    )
