"""The mean of very many workers: theory by hand, and measured errors at theory."""

import json

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from studies.robustness import mean_estimation
from studies.style import draw

SMALL, _ = mean_estimation.PROFILES["smoke"]
PAPER, _ = mean_estimation.PROFILES["laptop"]


def test_theory_by_hand():
    assert (PAPER["workers"], PAPER["copies"], PAPER["byzantine"]) == (220_000, 11, 19_958)
    cases = [
        (20, "mean", 9.071818),
        (20, "median", 0.560670),
        (100, "median", 1.253696),
        (100, "geometric median", 0.99769),
        (100, "D-median", 0.026721),
        (100, "D-geometric median", 0.021320),
    ]
    for dimension, estimator, value in cases:
        expected = mean_estimation.expected(PAPER | {"dimension": dimension, "seed": 0})
        found = dict(zip(mean_estimation.ESTIMATORS, expected, strict=True))[estimator]
        assert found == pytest.approx(value, abs=1e-5), (dimension, estimator)


def test_measured_errors_lie_at_theory_and_the_vote_lowers_them():
    cells = [mean_estimation.run(SMALL | {"dimension": 60, "seed": seed}) for seed in (0, 1)]
    dataset = xr.concat(cells, "seed", coords="minimal", compat="equals", join="exact")
    ratio = (dataset.error / dataset.theory).mean("seed")
    assert (abs(ratio.sel(estimator=["mean", "median"]) - 1) < 0.1).all()
    assert (abs(ratio.sel(estimator="geometric median") - 1) < 0.15).all()
    assert (dataset.distorted_files < 10).all()
    for rule in ("median", "geometric median"):
        alone = dataset.error.sel(estimator=rule)
        assert (dataset.error.sel(estimator=f"D-{rule}") < 0.4 * alone).all(), rule
    dataset = dataset.expand_dims(dimension=[60])
    found = mean_estimation.finding(dataset)
    assert found.startswith("* 998 of 11,000 workers are Byzantine.")
    assert "error in 60 dimensions" in found
    assert "No cell" in mean_estimation.finding(dataset.where(False))


def test_figure_draws_every_estimator_and_its_theory():
    axes = {"dimension": [20, 100], "seed": [0, 1], "estimator": list(mean_estimation.ESTIMATORS)}
    error = np.random.default_rng(0).uniform(1, 2, (2, 2, 7))
    scalars = {name: SMALL[name] for name in ("workers", "byzantine", "copies")}
    about = {"profile": "smoke", "scale": "synthetic", "settings": {}, "failures": {}}
    about |= {"axes": {"seed": [0, 1]}, "hardware": ["none"]}
    dataset = xr.Dataset(
        {"error": (tuple(axes), error), "theory": (tuple(axes), error), **scalars},
        axes,
        {"provenance": json.dumps(about)},
    )
    figure = draw(mean_estimation.figure, dataset)
    assert isinstance(figure, Figure)
    dashed = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == "--"]
    assert len(dashed) == 7 + 1  # and one that explains them
