"""What the page of reactive checks says of a dataset, and what a cell derives."""

import numpy as np
import pytest
import xarray as xr

from detox_sim import theory
from detox_sim.sweeps import expand
from studies.style import draw
from studies.training import pipelines, reactive
from studies.training import reactive_results as results

ATTACKS = ["every step", "1 step in 10", "nobody"]
RATES = [1.0, 0.1, 0.0]


def made_up(lost: dict[str, list], loads: dict[str, list], seeds: int = 5) -> xr.Dataset:
    """Return runs with these mean damages and loads by attack; loads have one more, of nobody.

    Seeds differ in accuracy by 0.01, in damage by up to 0.004 where there is one.
    """
    number = np.arange(seeds)
    spread = 0.004 * (number / max(seeds - 1, 1) - 0.5)
    names = list(lost)
    harm = np.array([[*lost[name], 0.0] for name in names])[..., None] * np.ones(seeds)
    harm += spread * (harm != 0)
    last = 0.8 + 0.01 * number - harm
    accuracy = np.stack([np.zeros_like(last), last, last], axis=-1)
    load = np.array([loads[name] for name in names])[..., None] * np.ones(seeds)
    checks = np.array([name.startswith("reactive") for name in names])[:, None, None]
    nan_else = np.where(checks, 1.0, np.nan) * np.ones_like(load)
    rate = np.array(RATES)[None, :, None] * np.ones_like(load)
    values = {
        "mean_load": load,
        "accepted": 0 * load,
        "steps_at_risk": 3 + 0 * load,
        "steps_to_last_exclusion": 3 + 0 * load,
        "images_per_worker": 2 * load,
        "server_gradients": 0 * load,
        "bytes_per_worker": 1000 * load,
        "modelled_round_seconds": load,
        "chance": nan_else,
        "attack_rate": rate,
        "expected_load": load * nan_else,
        "expected_accepted": 0 * nan_else,
        "expected_steps_at_risk": 3.5 * nan_else,
        "expected_steps_to_last_exclusion": 3.5 * nan_else,
        "expected_clean": nan_else,
    }
    axes = ("scheme", "attack", "seed")
    return xr.Dataset(
        {name: (axes, value) for name, value in values.items()}
        | {"accuracy": ((*axes, "eval_step"), accuracy)},
        {"scheme": names, "attack": ATTACKS, "seed": number, "eval_step": [0, 10, 20]},
    )


def usual(seeds: int = 5) -> xr.Dataset:
    lost = {
        "alone": [0.3, 0.01],
        "DETOX": [0.005, 0.001],
        "DRACO": [0, 0],
        "reactive, chance 1": [0, 0],
    }
    loads = {
        "alone": [1, 1, 1],
        "DETOX": [3, 3, 3],
        "DRACO": [7, 7, 7],
        "reactive, chance 1": [1.1, 1.7, 4],
    }
    return made_up(lost, loads, seeds)


def test_scheme_is_charged_with_the_rate_of_most_damage_then_of_most_load():
    assert results.worst(usual()) == {
        "alone": "every step",
        "DETOX": "every step",
        "DRACO": "every step",  # all rates are equal: the first
        "reactive, chance 1": "1 step in 10",
    }
    seldom = made_up({"alone": [0.1, 0.2]}, {"alone": [9, 1, 1]})
    assert results.worst(seldom) == {"alone": "1 step in 10"}
    found = results.charged(usual()).sel(scheme="reactive, chance 1")
    assert (found.mean_load == 1.7).all()
    assert (found.idle_load == 4).all()


def test_damage_pairs_by_seed():
    lost = results.damage(usual())
    assert list(lost.attack.values) == ATTACKS[:-1]
    assert lost.sel(scheme="alone", attack="every step").std() < 0.002  # accuracies differ by 0.01
    without = usual().sel(attack=ATTACKS[:-1])
    assert results.damage(without).isnull().all()
    assert results.worst(without) == {}
    assert "No scheme has runs" in results.finding(without)


def test_finding_decides_by_intervals():
    found = results.finding(usual())
    assert "**No damage at any tested rate**" in found.splitlines()[0]
    assert "reactive, chance 1 (load 1.70); DRACO (load 7.00)" in found  # the least load first
    assert "More: alone (0.300 ± 0.002, load 1.00). Less: DETOX (0.005 ± 0.002" in found
    assert "Not decided" not in found
    assert "Less load, more damage: alone" in found
    assert "Less load, less damage: reactive, chance 1 (-0.005" in found
    assert "More load, less damage: DRACO" in found
    assert "Their load beside that of DETOX, 3.00. More: reactive, chance 1 (4.00)." in found
    assert "3 of 3 of the load" in found
    assert "0 of 2 of steps until the last exclusion" in found  # 3 steps, the law says 3.5


def test_few_seeds_decide_nothing():
    found = results.finding(usual(seeds=3))
    assert "of accuracy.** Not decided: alone" in found
    assert "With fewer than 5 seeds nothing is decided." in found


def test_scheme_whose_runs_failed_is_left_out():
    dataset = usual()
    failed = dataset.where(~((dataset.scheme == "alone") & (dataset.attack == "nobody")))
    assert "alone" not in results.finding(failed)
    assert list(results.costs_table(failed).index) == ["DETOX", "DRACO", "reactive, chance 1"]
    assert results.finding(dataset.where(False)) == (
        "No scheme has runs both under an attack and without."
    )
    for one in (failed, dataset.where(False)):
        one = one.assign_attrs(provenance=PROVENANCE)
        assert len(draw(results.figure, one).axes) == 3


PROVENANCE = """{"profile": "smoke", "scale": "", "hardware": [""], "axes": {"seed": [0]},
"failures": {}, "settings": {}}"""


def test_load_counts_images_in_units_of_the_common_batch():
    """Also those of the larger batch, and the server's."""
    base, axes = reactive.PROFILES["laptop"]
    cells = {labels[0]: fields for labels, fields in expand(base, axes) if labels[1] == "nobody"}
    for name, computed, at_server, load, images in (
        ("alone", 21, 0, 1, 2),
        ("alone, batch x 3", 21, 0, 3, 6),
        ("DETOX", 21, 0, 3, 6),
        ("DRACO", 21, 0, 7, 14),
        ("LAD, 3 files", 63, 0, 3, 6),
        ("reactive, chance 1", 84, 0, 4, 8),
        ("reactive, chance 1, local", 84, 2.1, 4.1, 8),
    ):
        fields = pipelines.prepare(cells[name])
        cell = xr.Dataset({"worker_gradients": computed, "server_gradients": at_server})
        found = reactive.derive(fields, cell)
        assert float(found.mean_load) == pytest.approx(load), name
        assert float(found.images_per_worker) == pytest.approx(images), name
        assert np.isnan(float(found.chance)) == (not name.startswith("reactive")), name


def test_laws_of_a_run_sum_those_of_its_steps():
    base, axes = reactive.PROFILES["laptop"]
    fields = pipelines.prepare(
        base | axes["scheme"]["reactive, chance 0.5"] | axes["attack"]["every step"]
    )
    found = reactive.laws(fields)
    left = [3 * 0.5**step for step in range(36)]  # all are exposed by the first check
    loads = [1 + 0.5 * k * (1 + 3 / 21) for k in left]
    assert found["expected_load"] == pytest.approx(np.mean(loads))
    assert found["expected_accepted"] == pytest.approx(3 * sum(0.5**step for step in range(1, 37)))
    assert found["expected_steps_at_risk"] == pytest.approx(sum(0.5**step for step in range(36)))
    assert found["expected_clean"] == pytest.approx(1 - 0.5**36)
    endless = reactive.laws(fields | {"steps": 100_000})
    assert endless["expected_accepted"] == theory.expected_accepted(3, 0.5)
    assert endless["expected_steps_at_risk"] == pytest.approx(
        endless["expected_steps_to_last_exclusion"]
    )


def test_runs_compute_what_their_scheme_says(smoke):
    """q = 1 of 9 workers: attackers at every step are excluded by the first check."""
    with xr.open_dataset(smoke[0] / "reactive.nc", engine="netcdf4") as stored:
        dataset = stored.load()
    always, nobody = (dataset.mean_load.sel(attack=name) for name in ("every step", "nobody"))
    for name, load in (("alone", 1), ("alone, batch x 3", 3), ("DETOX", 3), ("LAD, 3 files", 3)):
        assert (always.sel(scheme=name) == load).all(), name
    checks = dataset.sel(scheme="reactive, chance 1")
    assert nobody.sel(scheme="reactive, chance 1").values == pytest.approx([2.0, 2.0])
    assert checks.mean_load.sel(attack="every step").values == pytest.approx(
        checks.expected_load.sel(attack="every step").values
    )
    attacked = checks.sel(attack="every step")
    assert (attacked.steps_to_last_exclusion == 1).all()
    assert (attacked.accepted == 0).all()
    assert {"DRACO", "reactive, chance 1"} <= set(results.unhurt(dataset))
    local = dataset.sel(scheme="reactive, chance 1, local", attack="every step")
    assert (local.server_gradients > 0).all()
