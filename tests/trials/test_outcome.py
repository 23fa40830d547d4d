"""What a simulation knows of a step: the weights of votes in the aggregate, and its errors."""

import numpy as np
import pytest

from detox_sim import Trial, aggregators, train
from detox_sim.messages import Search
from detox_sim.trials.outcome import MOST_WEIGHED, judge, unexplained, weights
from detox_sim.voting import Votes

SMALL = {"workers": 15, "model": "softmax", "batch": 30, "steps": 4, "evaluate_every": 2}

NOBODY = np.array([[0]]), np.zeros(1, bool)  # holders and excluded, of which no value depends


def run(**fields):
    return train(Trial(**{**SMALL, **fields}))


def found(rows, aggregate):
    """The weights of rows (n, d) in an aggregate (d,)."""
    rows, aggregate = np.asarray(rows, np.float64), np.asarray(aggregate, np.float64)
    squares = ((rows[:, None] - rows) ** 2).sum(-1)
    return weights(squares, ((rows - aggregate) ** 2).sum(-1))


# --- Errors ---------------------------------------------------------------------------------------


def test_errors_are_those_of_plain_numpy():
    rng = np.random.default_rng(0)
    rows, aggregate = rng.normal(1, 1, size=(6, 50)), rng.normal(1, 1, size=50)
    distorted = np.array([True, False, True, False, False, False])
    undecided = np.array([False, False, False, True, True, True])
    votes = Votes(rng.normal(1, 1, size=(6, 50)), undecided, lambda: distorted)
    losses = rng.random(6)
    outcome = judge(losses, rows, aggregate, votes, Search(7, 2.5), *NOBODY)
    mean = rows.mean(axis=0)
    assert outcome.loss == pytest.approx(losses.mean())
    assert outcome.gradient_error == pytest.approx(np.linalg.norm(aggregate - mean))
    assert outcome.gradient_norm == pytest.approx(np.linalg.norm(mean))
    spread = np.sqrt(np.mean(np.linalg.norm(rows - mean, axis=1) ** 2))
    assert outcome.gradient_spread == pytest.approx(spread)
    cosine = aggregate @ mean / np.linalg.norm(aggregate) / np.linalg.norm(mean)
    assert outcome.cosine == pytest.approx(cosine)
    assert (outcome.distorted_files, outcome.undecided_files) == (2, 3)
    assert (outcome.search_evaluations, outcome.search_value) == (7, 2.5)
    assert outcome.weight == pytest.approx(found(votes.rows, aggregate))
    assert outcome.distorted_weight == pytest.approx(outcome.weight[[0, 2]].sum())
    assert outcome.effective_votes == pytest.approx(1 / (outcome.weight**2).sum())
    rest = outcome.weight @ votes.rows - aggregate
    assert outcome.unexplained == pytest.approx(rest @ rest / (aggregate @ aggregate))


def test_aggregate_that_is_not_finite_has_no_weights():
    rows = np.ones((3, 4))
    votes = Votes(rows, np.zeros(3, bool), lambda: np.zeros(3, bool))
    with np.errstate(invalid="ignore"):
        outcome = judge(np.ones(3), rows, np.full(4, np.nan), votes, None, *NOBODY)
    assert outcome.gradient_error == np.inf
    assert np.isnan(outcome.weight).all()
    assert np.isnan(outcome.unexplained)


# --- Weights --------------------------------------------------------------------------------------


def test_weights_of_a_mean_are_found():
    for scale in (1.0, 1e-3, 1e4):
        for outliers in (0, 1, 4):
            rng = np.random.default_rng(0)
            rows = scale * rng.normal(size=(12, 300))
            rows[:outliers] = 100.0
            true = rng.random(12) * (rng.random(12) < 0.7)
            true[:outliers] = 0
            true /= true.sum()
            assert found(rows, true @ rows) == pytest.approx(true, abs=1e-6), (scale, outliers)


def test_equal_votes_share_a_weight():
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


def test_weights_of_more_votes_than_coordinates_make_the_aggregate():
    rows = np.random.default_rng(3).normal(size=(10, 3))
    aggregate = rows[[1, 4, 5]].mean(0)
    weight = found(rows, aggregate)
    assert weight.sum() == pytest.approx(1)
    assert weight @ rows == pytest.approx(aggregate)


def test_no_other_weights_are_nearer_to_a_median():
    rows = np.random.default_rng(4).normal(size=(7, 100))
    median = np.median(rows, axis=0)
    weight = found(rows, median)
    best = ((weight @ rows - median) ** 2).sum()
    for direction in np.random.default_rng(5).normal(size=(50, 7)):
        other = weight + 1e-3 * (direction - direction.mean())
        assert ((other @ rows - median) ** 2).sum() >= best


def test_unexplained_is_what_weights_leave():
    for n in (3, 7):
        rng = np.random.default_rng(n)
        rows = rng.normal(size=(n, 40))
        squares = ((rows[:, None] - rows) ** 2).sum(-1)
        for aggregate in (rows.mean(0), np.median(rows, axis=0), np.sign(rows.sum(0)), rows[1]):
            away = ((rows - aggregate) ** 2).sum(-1)
            weight = weights(squares, away)
            left = ((weight @ rows - aggregate) ** 2).sum() / (aggregate @ aggregate)
            share = unexplained(weight, squares, away, aggregate @ aggregate)
            assert share == pytest.approx(left, abs=1e-12)
        assert np.isnan(unexplained(weight, squares, away * np.nan, 1.0))
        assert np.isnan(unexplained(weight, squares, away, 0.0))


# --- In a run -------------------------------------------------------------------------------------


def test_mean_weighs_all_votes_alike():
    history = run(byzantine=0, groups=None, outer="mean")
    assert history.weight.values == pytest.approx(1 / 5, abs=1e-6)
    assert history.effective_votes.values == pytest.approx(5, rel=1e-5)
    assert history.cosine.values == pytest.approx(1, abs=1e-6)
    assert history.gradient_error.values == pytest.approx(0, abs=1e-6)
    assert history.unexplained.values == pytest.approx(0, abs=1e-5)
    assert not history.distorted_weight.any()


def test_multi_krum_gives_loud_votes_no_weight():
    alone = {"copies": 1, "assignment": "none", "groups": None, "outer": "multi_krum"}
    history = run(byzantine=3, attack="reverse", **alone)
    kept = 15 - 3 - 2
    assert (history.distorted_files == 3).all()
    assert history.distorted_weight.values == pytest.approx(0, abs=1e-5)
    assert history.effective_votes.values == pytest.approx(kept, rel=1e-3)
    assert (np.sort(history.weight.values, axis=1)[:, -kept:] > 0.9 / kept).all()


def test_median_is_explained_in_part_and_signs_are_not():
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


def test_hierarchy_of_multi_krum_weighs_its_groups():
    """Two groups of votes, each the mean of those it keeps, count half."""
    history = run(byzantine=0, workers=45, batch=45, groups=2, inner="multi_krum", outer="mean")
    rows = np.random.default_rng(0).normal(size=(8, 20)).astype(np.float32)
    kept = np.count_nonzero(np.abs(found(rows, aggregators.multi_krum(rows, byzantine=0))) > 1e-6)
    assert kept == 6
    used = 1 / (0.25 / kept + 0.25 / 5)  # of the groups of 8 and of 7
    assert history.effective_votes.values == pytest.approx(used, rel=1e-3)


def test_more_votes_than_can_be_weighed_have_no_weights():
    more = MOST_WEIGHED + 1
    rows = np.ones((more, 3))
    votes = Votes(rows, np.zeros(more, bool), lambda: np.zeros(more, bool))
    outcome = judge(np.ones(more), rows, np.ones(3), votes, None, *NOBODY)
    assert np.isnan(outcome.weight).all()
    assert outcome.cosine == pytest.approx(1)
