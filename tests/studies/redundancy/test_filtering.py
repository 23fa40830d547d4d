"""Distorted files after a vote: simulation at the exact law, and the law's own bounds."""

import json
from math import comb

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import theory
from studies.redundancy import filtering
from studies.style import draw

SHARES = [1, 5, 10, 20]


@pytest.fixture(scope="module")
def cell() -> xr.Dataset:
    fields = {"workers": 45, "copies": 3, "byzantine_of_45": SHARES, "draws": 400, "seed": 0}
    return filtering.run(filtering.prepare(fields))


def test_exact_law_is_that_of_groups_drawn_at_random(cell):
    for q in SHARES:
        majority = comb(q, 2) * (45 - q) + comb(q, 3)
        point = cell.sel(byzantine_of_45=q)
        assert float(point.exact) == pytest.approx(15 * majority / comb(45, 3)), q
        assert float(point.worst_case) == min(q // 2, 15), q
        assert point.exact <= point.bound_sharp <= point.bound_paper, q


def test_simulated_placements_lie_at_the_exact_law(cell):
    score = abs(cell.simulated - cell.exact) / cell.simulated_error
    assert (score.where(cell.simulated_error > 0, 0) < 4.5).all()
    assert float(cell.none_distorted.sel(byzantine_of_45=1)) == 1
    assert (cell.upper_95 >= np.floor(cell.exact)).all()


def test_condition_of_a_hierarchy_fails_with_the_law_of_its_rule(cell):
    fails = cell.condition_fails
    assert ((fails >= 0) & (fails <= 1) | fails.isnull()).all()
    some = 1 - cell.none_distorted
    assert fails.sel(hierarchy="D-Mean").values == pytest.approx(some.values)
    law = np.asarray(theory.distorted_files(45, 20, 3))
    beyond = law[theory.withstands("median", 15) + 1 :].sum()
    found = float(fails.sel(hierarchy="vote, then median", byzantine_of_45=20))
    assert found == pytest.approx(beyond)


def test_figure_has_a_panel_for_each_size(cell):
    sizes = [cell.expand_dims(workers=[45], copies=[copies]) for copies in (3, 5)]
    dataset = xr.concat(sizes, "copies", coords="minimal", compat="equals", join="exact")
    about = {"profile": "smoke", "scale": "exact", "settings": {}, "failures": {}}
    about |= {"axes": {"copies": [3, 5]}, "hardware": ["none"]}
    figure = draw(filtering.figure, dataset.assign_attrs(provenance=json.dumps(about)))
    assert isinstance(figure, Figure)
    assert [ax.get_title() for ax in figure.axes] == ["p = 45, r = 3", "p = 45, r = 5"]
