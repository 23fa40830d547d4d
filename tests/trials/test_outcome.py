"""Which votes an aggregate is made of: `outcomes.weights`, and what histories tell."""

import numpy as np
import pytest

from detox_sim import aggregators
from detox_sim.training import train
from detox_sim.trials.outcome import MOST_WEIGHED, unexplained, weights
from detox_sim.trials.trial import Trial

SMALL = {"workers": 15, "model": "softmax", "batch": 30, "steps": 4, "evaluate_every": 2}


def found(rows, aggregate):
    """The weights of rows (n, d) in an aggregate (d,)."""
    rows, aggregate = np.asarray(rows, np.float64), np.asarray(aggregate, np.float64)
    squares = ((rows[:, None] - rows) ** 2).sum(-1)
    return weights(squares, ((rows - aggregate) ** 2).sum(-1))


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4])
@pytest.mark.parametrize("liars", [0, 1, 4])
def test_the_weights_of_a_mean_are_found(scale, liars):
    rng = np.random.default_rng(0)
    rows = scale * rng.normal(size=(12, 300))
    rows[:liars] = 100.0
    true = rng.random(12) * (rng.random(12) < 0.7)
    true[:liars] = 0
    true /= true.sum()
    assert found(rows, true @ rows) == pytest.approx(true, abs=1e-6)


def test_equal_votes_share_and_sum_to_one():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(6, 50))
    rows[3] = rows[1]
    rows[5] = rows[1]
    weight = found(rows, 0.6 * rows[1] + 0.4 * rows[0])
    assert weight == pytest.approx([0.4, 0.2, 0, 0.2, 0, 0.2])
    assert found(np.ones((4, 3)), np.ones(3)) == pytest.approx(0.25)


def test_votes_that_are_not_finite_have_no_weight():
    rows = np.random.default_rng(2).normal(size=(5, 40))
    rows[2] = np.nan
    rows[4] = np.inf
    with np.errstate(invalid="ignore"):
        assert found(rows, rows[[0, 1]].mean(0)) == pytest.approx([0.5, 0.5, 0, 0, 0])
        assert np.isnan(found(rows, np.full(40, np.nan))).all()


def test_more_votes_than_coordinates_still_make_the_aggregate():
    rows = np.random.default_rng(3).normal(size=(10, 3))
    aggregate = rows[[1, 4, 5]].mean(0)
    weight = found(rows, aggregate)
    assert weight.sum() == pytest.approx(1)
    assert weight @ rows == pytest.approx(aggregate)


def test_of_a_median_no_other_weights_are_nearer():
    rows = np.random.default_rng(4).normal(size=(7, 100))
    median = np.median(rows, axis=0)
    weight = found(rows, median)
    best = ((weight @ rows - median) ** 2).sum()
    for direction in np.random.default_rng(5).normal(size=(50, 7)):
        other = weight + 1e-3 * (direction - direction.mean())
        assert ((other @ rows - median) ** 2).sum() >= best


def run(**fields):
    return train(Trial(**{**SMALL, **fields}))


def test_a_mean_uses_all_votes_alike():
    history = run(byzantine=0, groups=None, outer="mean")
    assert history.weight.values == pytest.approx(1 / 5, abs=1e-6)
    assert history.effective_votes.values == pytest.approx(5, rel=1e-5)
    assert history.cosine.values == pytest.approx(1, abs=1e-6)
    assert history.gradient_error.values == pytest.approx(0, abs=1e-6)
    assert not history.distorted_weight.any()


def test_multi_krum_leaves_the_loud_out():
    alone = {"copies": 1, "assignment": "none", "groups": None, "outer": "multi_krum"}
    history = run(byzantine=3, attack="reverse", **alone)
    kept = 15 - 3 - 2
    assert (history.distorted_files == 3).all()
    assert history.distorted_weight.values == pytest.approx(0, abs=1e-5)
    assert history.effective_votes.values == pytest.approx(kept, rel=1e-3)
    assert (np.sort(history.weight.values, axis=1)[:, -kept:] > 0.9 / kept).all()


@pytest.mark.parametrize("n", [3, 7])
def test_what_weights_leave_unexplained_is_the_rest(n):
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(n, 40))
    squares = ((rows[:, None] - rows) ** 2).sum(-1)
    for aggregate in (rows.mean(0), np.median(rows, axis=0), np.sign(rows.sum(0)), rows[1]):
        away = ((rows - aggregate) ** 2).sum(-1)
        weight = weights(squares, away)
        left = ((weight @ rows - aggregate) ** 2).sum() / (aggregate @ aggregate)
        said = unexplained(weight, squares, away, aggregate @ aggregate)
        assert said == pytest.approx(left, abs=1e-12)
    assert np.isnan(unexplained(weight, squares, away * np.nan, 1.0))
    assert np.isnan(unexplained(weight, squares, away, 0.0))


def test_the_mean_is_explained_and_signs_are_not():
    history = run(byzantine=0, groups=None, outer="mean")
    assert history.unexplained.values == pytest.approx(0, abs=1e-5)
    history = run(byzantine=0, groups=None, outer="median")
    assert (history.unexplained > 0.01).all()
    assert (history.unexplained < 0.75).all()
    history = run(byzantine=0, groups=None, outer="sign_majority", rate=0.001)
    assert (history.unexplained > 0.75).all()
    assert np.isnan(history.weight).all()
    assert np.isnan(history.effective_votes).all()


def test_distorted_files_weigh_in_the_mean():
    history = run(byzantine=4, placement="worst_case", attack="reverse", groups=None, outer="mean")
    assert (history.distorted_files == 2).all()
    assert history.distorted_weight.values == pytest.approx(2 / 5, abs=1e-5)
    assert (history.cosine < 0).all()


def test_the_hierarchy_of_multi_krum_weighs_its_groups():
    """Two groups of votes, each the mean of those it keeps, count half."""
    history = run(byzantine=0, workers=45, batch=45, groups=2, inner="multi_krum", outer="mean")
    rows = np.random.default_rng(0).normal(size=(8, 20)).astype(np.float32)
    kept = np.count_nonzero(np.abs(found(rows, aggregators.multi_krum(rows, byzantine=0))) > 1e-6)
    assert kept == 6
    used = 1 / (0.25 / kept + 0.25 / 5)  # of the groups of 8 and of 7
    assert history.effective_votes.values == pytest.approx(used, rel=1e-3)


def test_more_votes_than_can_be_weighed_have_none():
    more = MOST_WEIGHED + 1
    alone = {"copies": 1, "assignment": "none", "groups": None, "outer": "mean"}
    history = run(workers=more, byzantine=0, batch=more, steps=1, **alone)
    assert np.isnan(history.weight).all()
    assert history.cosine.values == pytest.approx(1, abs=1e-6)
