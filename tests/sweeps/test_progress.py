"""The time left of a sweep, from what its finished cells took."""

import pytest

from detox_sim.sweeps import Cell
from detox_sim.sweeps.progress import Progress


def cells(study, count, seconds):
    return [Cell(study, (k,), {}, {}, dict, seconds, 0.0) for k in range(count)]


def test_time_left_is_that_of_two_processes_at_work():
    """Four cells of 10 s on two processes, although 1 s is expected."""
    made = cells("slow", 4, 1.0)
    progress = Progress(made, processes=2)
    for finished, taken, left in ((1, 10.0, 10.0), (2, 10.0, 10.0), (3, 19.0, 1.0), (4, 20.0, 0.0)):
        progress.done(made[finished - 1], None, 10.0)
        assert progress.left(taken) == pytest.approx(left), finished


def test_studies_have_speeds_of_their_own_and_a_cell_alone_takes_all_processes():
    slow, fast, timed = cells("slow", 2, 1.0), cells("fast", 2, 1.0), cells("timed", 1, 3.0)
    progress = Progress([*slow, *fast, *timed], processes=2, alone=timed)
    progress.done(slow[0], None, 5.0)
    assert progress.left(5.0) == pytest.approx((3 * 5 + 2 * 3 * 5 - 5) / 2), "all like the slow one"
    progress.done(fast[0], None, 1.0)
    ratio = 6 / 2
    assert progress.left(3.0) == pytest.approx((5 + 1 + 2 * 3 * ratio) / 2)


def test_failed_cell_says_nothing_of_the_time():
    made = cells("slow", 2, 4.0)
    progress = Progress(made)
    progress.done(made[0], "ValueError", 0.0)
    assert progress.left(0.0) == pytest.approx(4.0)
