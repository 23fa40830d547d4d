"""Law 4 where up to `byzantine` rows are arbitrary: how far they move each rule.

Every kind of arbitrary value, dtype, number of Byzantine rows and variant is a case of one test.
"""

import numpy as np
import pytest
import reference
from rule_cases import (
    ARBITRARY,
    NOT_FINITE,
    REGION,
    apply,
    attacked,
    by_rule,
    call,
    close,
    draw_rows,
    least,
    of,
    put_into_rows,
    slow,
    variants,
    with_required,
)

from detox_sim import aggregators

DTYPES = (np.float32, np.float64)


def outcomes(name, options, kind, dtype, seeds=range(6)):
    """Yield the number of Byzantine rows, all rows, the honest ones and the result."""
    trusted = options if name in ("monna", "fltrust") else None
    for byzantine in (1, 2, 3):
        for seed in seeds:
            rows, honest = attacked(name, kind, dtype, byzantine, seed, trusted=trusted)
            yield byzantine, rows, honest, apply(name, options, rows, byzantine)


def every_outcome(name, some, kinds=ARBITRARY, seeds=range(6)):
    for label, options in some:
        for kind in kinds:
            for dtype in DTYPES:
                for outcome in outcomes(name, options, kind, dtype, seeds):
                    case = f"{name}[{label}], {kind}, {dtype.__name__}, byzantine={outcome[0]}"
                    yield case, options, *outcome


def check_in_box(got, honest, case):
    assert np.isfinite(got).all(), case
    assert (got >= honest.min(axis=0) - 1e-5).all(), case
    assert (got <= honest.max(axis=0) + 1e-5).all(), case


def check_in_boxes(name, some, kinds=ARBITRARY, seeds=range(6)):
    for case, _, _, _, honest, got in every_outcome(name, some, kinds, seeds):
        check_in_box(got, honest, case)


@by_rule("robust")
def test_arbitrary_rows_keep_rule_within_honest_spread(name):
    check_in_boxes(name, variants(name, "robust"))


def longest(rows):
    return np.linalg.norm(rows, axis=1).max()


def region(name, options, rows, honest, byzantine):
    """Return a point and how far from it the rule may end, by the definition of the rule."""
    n, centre = len(rows), honest.mean(axis=0)
    radius, box = longest(honest - centre), np.linalg.norm(np.ptp(honest, axis=0))
    share = (n - byzantine) / max(1, n - 2 * byzantine)
    if name == "geometric_median" and "smoothing" in options:
        return 0.0, ((1 + n / (n - byzantine)) ** 3 - 1) * longest(honest)
    if name == "fltrust":
        return 0.0, np.linalg.norm(rows[options.get("trusted", 0)])
    if name == "centered_clipping" and "start" in options:
        return centre, box + options["steps"] * options["radius"]
    return {
        "geometric_median": (centre, 2 * share * radius),
        "multi_krum": (centre, radius + (n - byzantine - 2) * box),
        "medoid": (centre, radius + 2 * share * box),
        "mda": (centre, radius + box),
        "monna": (centre, radius + box),
        "meamed": (centre, 2 * box),
        "phocas": (centre, 2 * box),
        "cge": (0.0, longest(honest)),
        "centered_clipping": (0.0, options.get("radius")),
        "caf": (centre, 2 * share * radius),
        "smea": (centre, 2 * share**0.5 * radius),
    }[name]


@by_rule("robust", reason=REGION)
def test_arbitrary_rows_keep_rule_within_its_region(name):
    regional = variants(name, "robust", REGION)
    for case, options, byzantine, rows, honest, got in every_outcome(name, regional):
        chosen = with_required(name, options(len(rows), byzantine))
        point, distance = region(name, chosen, rows, honest.astype(np.float64), byzantine)
        assert np.isfinite(got).all(), case
        away = np.linalg.norm(got.astype(np.float64) - point)
        assert away <= distance * (1 + 1e-5), case


def test_arbitrary_rows_of_one_direction_keep_dnc_within_honest_spread():
    for case, _, _, _, _, got in every_outcome("dnc", variants("dnc")):
        assert np.isfinite(got).all(), case
    kinds = [kind for kind in ARBITRARY if kind != "mixed"]  # which are not always far
    check_in_boxes("dnc", variants("dnc"), kinds, seeds=[0, 2, 4])


def test_arbitrary_rows_move_clipped_step_by_their_share_of_radius():
    some = [("", lambda n, f: {"radius": 0.5})]
    for case, _, byzantine, rows, honest, got in every_outcome("centered_clipping", some):
        without = np.zeros_like(rows)
        without[: len(honest)] = honest
        moved = got - call("centered_clipping", without, byzantine, radius=0.5)
        rounding = 1e-9 if rows.dtype == np.float64 else 1e-6
        assert np.linalg.norm(moved) <= 0.5 * byzantine / len(rows) + rounding, case


def test_mean_leaves_honest_spread():
    for kind in ("1e30", "-1e30", "far"):
        with pytest.raises(AssertionError, match=kind):
            check_in_boxes("mean", variants("mean"), [kind])


def test_rows_with_nan_or_inf_leave_mean_and_sign_majority_finite():
    for name in ("mean", "sign_majority"):
        for kind in ("nan", "+inf", "-inf"):
            for dtype in DTYPES:
                for seed in range(6):
                    rows, _ = attacked(name, kind, dtype, 2, seed)
                    rows = np.concatenate([rows, np.ones((1, 4), dtype)])
                    assert np.isfinite(call(name, rows, 2)).all(), (name, kind, dtype, seed)


def test_arbitrary_rows_do_not_change_unanimous_sign():
    for kind in ARBITRARY:
        for seed in range(6):
            rows, honest = attacked("sign_majority", kind, np.float64, 2, seed)
            agreed = np.abs(np.sign(honest).sum(axis=0)) == len(honest)
            got = aggregators.sign_majority(rows, byzantine=2)
            assert agreed.any()
            assert (got[agreed] == np.sign(honest[0])[agreed]).all(), (kind, seed)


@of("geometric_median", "krum", "multi_krum", "medoid", "mda", "monna", "cge", "caf", "smea", "dnc")
def test_row_with_nan_or_inf_is_dropped_with_one_byzantine(name):
    for label, options in variants(name):
        for value in NOT_FINITE:
            for count in (1, 2, 3):
                for seed in range(4):
                    whole = draw_rows("distinct", least(name, 3) + seed, 4, np.float64, seed)
                    rows, dropped = put_into_rows(whole, count, value, seed)
                    chosen, left = options(len(rows), 3), options(len(rows) - count, 3 - count)
                    if chosen != left:
                        continue
                    got = call(name, rows, 3, **chosen)
                    wanted = call(name, np.delete(rows, dropped, axis=0), 3 - count, **chosen)
                    slack = 1e3 if "tolerance" in chosen else 1
                    close(got, wanted, np.float64, slack=slack, case=(label, value, count, seed))


@of("krum", "multi_krum", "bulyan")
def test_row_with_nan_or_inf_is_infinitely_far_for_krum(name):
    for label, options in variants(name):
        if "neighbours" in options(9, 1):
            continue  # the finite part of a score that counts a far row is lost to rounding
        for value in NOT_FINITE:
            for seed in range(6):
                rows = draw_rows("distinct", least(name, 2) + seed % 3, 4, np.float64, seed)
                rows, far = put_into_rows(rows, 2, value, seed)
                got = apply(name, options, rows, 2)
                rows[far] = np.array([[1e30], [-1e40]])
                wanted = slow(name, options, rows, 2)
                close(got, wanted, np.float64, case=(label, value, seed))


@of("median", "trimmed_mean", "meamed", "phocas", "median_of_means")
def test_nan_counts_as_infinity_in_rule_of_coordinates(name):
    for label, options in variants(name):
        for value, huge in ((np.nan, 1e60), (np.inf, 1e60), (-np.inf, -1e60)):
            for seed in range(6):
                rows = draw_rows("distinct", least(name, 2) + seed % 3, 4, np.float64, seed)
                rows, _ = put_into_rows(rows, 2, value, seed)
                got = apply(name, options, rows, 2)
                wanted = slow(name, options, np.where(np.isfinite(rows), rows, huge), 2)
                close(got, wanted, np.float64, case=(label, value, seed))


def test_row_with_nan_or_inf_has_no_pull_and_no_trust():
    for value in NOT_FINITE:
        for seed in range(6):
            whole = draw_rows("distinct", 6, 4, np.float64, seed)
            rows, changed = put_into_rows(whole, 2, value, seed)
            whole[changed] = 0.0
            for name in ("centered_clipping", "fltrust"):
                wanted = slow(name, lambda n, f: {}, whole, 2)
                close(call(name, rows, 2), wanted, np.float64, case=(name, value, seed))
            start = np.ones(4)
            got = call("centered_clipping", rows, 2, radius=2.0, start=start)
            whole[changed] = start
            wanted = reference.centered_clipping(whole, 2, 2.0, start)
            close(got, wanted, np.float64, case=(value, seed))


def test_trusted_row_must_be_finite():
    for name in ("monna", "fltrust"):
        for value in NOT_FINITE:
            rows = draw_rows("distinct", 5, 2, np.float64, seed=0)
            rows[1, 1] = value
            assert np.isfinite(call(name, rows, 1)).all(), (name, value)
            with pytest.raises(ValueError, match="trusted"):
                call(name, rows, 1, trusted=1)
