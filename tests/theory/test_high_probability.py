"""Corollary 2 against exact laws: each step of its proof; theorem 3; orders of work."""

from math import exp, factorial, log, log2

import pytest
from exact_laws import exact_distorted_files
from refusals import check_refusals

from detox_sim import costs, theory

LIMITS = {0.1: 5.605170, 0.05: 6.991465, 0.01: 10.210340, 0.001: 14.815511}  # published


def to_digits(digits):
    return {"rel": 0, "abs": 0.6 * 10.0**-digits}


def least_workers(byzantine, copies, share):
    """Return the least multiple of `copies` at which the share of Byzantine workers is allowed."""
    workers = copies
    while byzantine > share * workers:
        workers += copies
    return workers


def exceeds(law, delta):
    """Return the chance of more than 1 + 2 ln(1 / delta) distorted files."""
    return law[int(1 + 2 * log(1 / delta)) + 1 :].sum()


def test_recommended_copies_equal_published_values():
    published = {0: 1, 1: 3, 2: 5, 3: 7, 4: 7, 5: 9, 8: 9, 10: 11, 22: 13}
    assert {q: theory.recommended_copies(q) for q in published} == published


def test_tail_is_below_that_of_rare_events():
    """Lemma 3 in fractions, at any share; the factorial has less than a quarter to spare."""
    for size in [(45, 5, 3), (45, 15, 3), (45, 22, 5), (90, 30, 9), (150, 60, 5), (600, 9, 3)]:
        law = exact_distorted_files(*size)
        mean = sum(k * chance for k, chance in enumerate(law))
        for j in range(len(law)):
            assert sum(law[j:]) <= mean**j / factorial(j), (size, j)
    law, mean = theory.distorted_files(3000, 20, 3), theory.expected_distorted_files(3000, 20, 3)
    assert law[2:].sum() > 0.75 * mean**2 / 2


def test_expectation_with_the_recommended_copies_is_below_its_bound():
    """mu <= 1 / (2 r), at the largest share that is proven."""
    for byzantine in range(1, 200):
        copies = theory.recommended_copies(byzantine)
        workers = least_workers(byzantine, copies, theory.PROVEN_SHARE)
        exact = theory.expected_distorted_files(workers, byzantine, copies)
        assert exact <= 1 / (2 * copies), (workers, byzantine, copies)


def test_proven_share_is_the_largest_that_the_proof_allows():
    """(q / r) (4 e (1 - e))^(1 + log2 q) <= 1 / (2 r) for all q, and not at a larger share."""

    def holds(share):
        few = (1, 2, 8, 128, 2**20)
        halves = [(4 * share * (1 - share)) ** (1 + log2(q)) * 2 * q for q in few]
        return all(half <= 1 + 1e-9 for half in halves)

    assert holds(theory.PROVEN_SHARE)
    assert not holds(theory.PROVEN_SHARE + 1e-4)


def test_corollary_2_holds_with_the_recommended_copies():
    for delta, most in LIMITS.items():
        found = theory.high_probability_distorted_files(delta)
        assert found == pytest.approx(most, **to_digits(6)), delta
    for byzantine in (1, 2, 3, 5, 10, 22, 64, 128):
        copies = theory.recommended_copies(byzantine)
        workers = least_workers(byzantine, copies, theory.PROVEN_SHARE)
        law = theory.distorted_files(workers, byzantine, copies)
        for delta in LIMITS:
            # the sharper end of the proof: delta^(2 ln 6) / 6
            assert exceeds(law, delta) <= delta ** (2 * log(6)) / 6, (delta, workers)


def test_largest_share_is_where_the_exact_law_stops_to_meet_corollary_2():
    """From its p on the statement holds; one group fewer breaks it or leaves no honest majority."""
    deltas = [exp((1 - j) / 2) * (1 + 1e-9) for j in range(3, 60)] + [0.05, 0.3]

    def meets(workers, byzantine, copies):
        law = theory.distorted_files(workers, byzantine, copies)
        return all(exceeds(law, delta) <= delta for delta in deltas)

    shares = {copies: theory.high_probability_share(copies) for copies in range(3, 19, 2)}
    for copies, share in shares.items():
        byzantine = 2 ** ((copies - 3) // 2)
        assert theory.recommended_copies(byzantine) == copies
        workers = round(byzantine / share)
        assert share == byzantine / workers > theory.PROVEN_SHARE, copies
        assert meets(workers, byzantine, copies), copies
        fewer = workers - copies
        assert fewer <= 2 * byzantine or not meets(fewer, byzantine, copies), copies
        for some in range(1, byzantine, 1 + byzantine // 16):  # fewer Byzantine workers, same share
            assert meets(least_workers(some, copies, share), some, copies), (copies, some)
    assert {r: round(shares[r], 4) for r in (13, 15, 17)} == {13: 0.4103, 15: 0.3879, 17: 0.3422}


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


def test_arguments_that_a_statement_does_not_cover_are_refused():
    def theorem_3(change):
        given = {"outer": "median", "sigma": 1.0, "batch": 10, "parameters": 10, "delta": 0.1}
        return theory.hierarchical_error(**(given | change))

    check_refusals(
        theory.high_probability_share,
        [
            ((1,), "copies must be an integer of 3 or more, got 1"),
            ((4,), "copies must be odd and at most 25, got 4"),
            ((27,), "odd and at most 25, got 27"),
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
