"""Rules that start at the last aggregate."""

import numpy as np
import pytest
import reference
from rule_cases import close, draw_rows

from detox_sim import aggregators
from detox_sim.aggregators.geometric import weiszfeld


def test_centered_clipping_from_the_last_aggregate_equals_slow_reference():
    for dtype in (np.float32, np.float64):
        for seed in range(4):
            rows = draw_rows("distinct", 9, 5, dtype, seed)
            last = draw_rows("distinct", 1, 5, dtype, seed + 50)[0]
            before = last.copy()
            for radius in (0.1, 3.0, 1e3):
                for steps in (1, 3):
                    got = aggregators.centered_clipping(
                        rows, byzantine=2, radius=radius, steps=steps, start="previous",
                        previous=last,
                    )  # fmt: skip
                    wanted = rows_clipped(rows, last, radius, steps)
                    close(got, wanted, dtype, slack=10, case=(dtype, seed, radius, steps))
                    moved = np.linalg.norm((got - last).astype(np.float64))
                    assert moved <= steps * radius * (1 + 1e-5)
            assert last.tobytes() == before.tobytes()  # never written to


def rows_clipped(rows, centre, radius, steps):
    centre = centre.astype(np.float64)
    for _ in range(steps):
        moves = [row.astype(np.float64) - centre for row in rows]
        centre = centre + sum(m * min(1, radius / np.linalg.norm(m)) for m in moves) / len(rows)
    return centre


def test_one_row_moves_centered_clipping_by_no_more_than_its_share_of_the_radius():
    rows = draw_rows("distinct", 9, 5, np.float64, seed=1)
    last = rows.mean(axis=0)
    options = {"byzantine": 1, "radius": 0.5, "start": "previous", "previous": last}
    honest = aggregators.centered_clipping(rows, **options)
    for value in (1e9, -1e30, np.inf, np.nan):
        attacked = rows.copy()
        attacked[0] = value
        got = aggregators.centered_clipping(attacked, **options)
        assert np.linalg.norm(got - honest) <= 2 * 0.5 / 9 * (1 + 1e-9), value


def test_geometric_median_does_not_depend_on_its_start_unless_it_is_stopped():
    rows = draw_rows("distinct", 9, 5, np.float64, seed=3)
    last = np.full(5, 7.0)
    rule = aggregators.geometric_median
    wanted = rule(rows, byzantine=2)
    got = rule(rows, byzantine=2, start="previous", previous=last)
    close(got, wanted, np.float64, slack=1000)
    stopped = rule(rows, byzantine=2, start="previous", previous=last, max_iterations=1)
    weights = 1 / np.linalg.norm(rows - last, axis=1)
    close(stopped, weights @ rows / weights.sum(), np.float64)
    near, _, _ = weiszfeld(rows, start="previous", previous=wanted)
    assert reference.sum_of_distances(rows, near) <= reference.sum_of_distances(rows, wanted) + 1e-9


def test_last_aggregate_that_is_not_finite_counts_as_zero_and_a_missing_one_is_refused():
    rows = draw_rows("distinct", 9, 5, np.float64, seed=3)
    for rule, options in (
        (aggregators.centered_clipping, {"radius": 1.0}),
        (aggregators.geometric_median, {"max_iterations": 2}),
    ):
        options = options | {"byzantine": 2, "start": "previous"}
        zero = rule(rows, previous=np.zeros(5), **options)
        for value in (np.nan, np.inf):
            last = np.zeros(5)
            last[2] = value
            assert rule(rows, previous=last, **options).tobytes() == zero.tobytes()
        for wrong in (None, "zero", np.zeros(4)):
            with pytest.raises(ValueError, match=rf"{rule.__name__} needs previous, the last agg"):
                rule(rows, previous=wrong, **options)
