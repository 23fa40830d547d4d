"""Votes over copies that differ: noise, false alarms, slack and policies against plain loops."""

import functools
import itertools
import json
import math
import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import data, models
from detox_sim.streams import stream
from studies.redundancy import forged_copies, noisy_copies
from studies.redundancy import vote_semantics as study
from studies.redundancy.noisy_copies import SOURCES, Computation, as_messages, compute
from studies.redundancy.vote_semantics_results import ACCEPTED, finding, windows
from studies.style import draw

BASE = {
    "workers": 27,
    "byzantine": 3,
    "batch": 72,
    "steps": 2,
    "probes": 1,
    "rate": 0.1,
    "momentum": 0.9,
    "per_decade": 1,
    "tolerance": 1e-4,
    "scale": 100.0,
    "model": "mlp",
    "seed": 0,
}


@functools.cache
def cell(source):
    return study.run(study.prepare(BASE | {"source": source}))


def agree(one, other, tolerance):
    """The definition for scalars, in plain Python."""
    return one == other or abs(one - other) <= tolerance * max(abs(one), abs(other))


def elect(copies, tolerance):
    """Return the place of the majority of a few scalars, None without one."""
    support = [sum(agree(one, other, tolerance) for other in copies) for one in copies]
    best = support.index(max(support))
    return best if 2 * support[best] > len(copies) else None


# --- noise --------------------------------------------------------------------------------------


def test_equal_copies_have_no_noise_no_false_alarm_and_no_slack_in_an_exact_vote():
    control = cell("none")
    assert (control.difference == 0).all()
    assert (control.equal_pairs == 1).all()
    assert (control.undecided == 0).all()
    assert (control.outvoted == 0).all()
    assert (control.slack_vote.sel(vote_tolerance=0) == 0).all()
    assert (control.slack_mean.sel(vote_tolerance=0) == 0).all()


def test_row_order_changes_the_last_bits_of_float32():
    noise = cell("row order")
    assert (noise.equal_pairs == 0).all()
    assert float(noise.difference.min()) > 1e-9
    assert float(noise.difference.max()) < 1e-5


def test_bf16_is_far_noisier_than_float64():
    assert 1e-4 < float(cell("bf16").difference.median()) < 0.1
    coarse, fine = (cell(source).difference.sel(pair="0 and 1") for source in ("bf16", "float64"))
    assert float(coarse.min()) > 100 * float(fine.max()) > 0


@pytest.fixture(scope="module")
def files():
    """A model, its parameters and three files of eight images."""
    images, labels, *_ = data.digits()
    model = models.Model(models.cnn, (1, 8, 8), 10)
    params = model.initial(stream(0, "parameters"))
    return model, params, images[:24].reshape(3, 8, 1, 8, 8), labels[:24].reshape(3, 8)


def test_row_order_is_the_gradient_of_permuted_images(files):
    model, params, images, labels = files
    with models.one_thread():
        found = compute(*files, Computation(order=1), np.random.default_rng(3))
        rng = np.random.default_rng(3)
        order = rng.permuted(np.tile(np.arange(8), (3, 1)), axis=1)
        for file in range(3):
            assert sorted(order[file]) == list(range(8))
            picked = images[file][order[file]], labels[file][order[file]]
            wanted = model.gradients(params, picked[0][None], picked[1][None])[1]
            assert found[file].tobytes() == wanted.tobytes()


def test_float64_is_nearer_to_finite_differences_than_bf16(files):
    """Central differences of the loss along a direction, in float64."""
    model, params, images, labels = files
    direction = stream(0, "direction").standard_normal(params.size)
    direction /= np.linalg.norm(direction)
    exact, step = params.astype(np.float64), 1e-5
    with models.one_thread():
        high, low = (
            model.gradients(exact + side * step * direction, images.astype(np.float64), labels)[0]
            for side in (1, -1)
        )
        slope = (high - low) / (2 * step)
        for arithmetic, error in (("float64", 1e-6), ("float32", 1e-6), ("bf16", 0.05)):
            rows = compute(*files, Computation(arithmetic=arithmetic), np.random.default_rng(0))
            assert rows.dtype == np.float32
            np.testing.assert_allclose(rows @ direction, slope, atol=error)


def test_settings_of_torch_are_restored():
    import torch

    before = torch.get_num_threads()

    def fail():
        with noisy_copies.computing(Computation(threads=before + 1, arithmetic="bf16")):
            assert torch.get_num_threads() == before + 1
            assert torch.is_autocast_enabled("cpu")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before
    assert not torch.is_autocast_enabled("cpu")


def test_cell_is_the_same_bits_every_time():
    for source in ("threads", "bf16"):
        again = study.run(study.prepare(BASE | {"source": source}))
        assert again.identical(cell(source)), source


def test_cells_are_finite_and_shares_lie_between_0_and_1():
    for source in SOURCES:
        found = cell(source)
        assert all(np.isfinite(values).all() for values in found.data_vars.values()), source
        for name in ("equal_pairs", "undecided", "outvoted"):
            assert ((found[name] >= 0) & (found[name] <= 1)).all(), (source, name)
        assert (found.undecided + found.outvoted <= 1 + 1e-12).all(), source


def test_differences_are_relative_to_the_longer_row():
    rng = np.random.default_rng(1)
    one, other = rng.standard_normal((2, 5, 4))
    for row, pair in enumerate(zip(one, other, strict=True)):
        lengths = [sum(x * x for x in vector) ** 0.5 for vector in pair]
        gap = sum((x - y) ** 2 for x, y in zip(*pair, strict=True)) ** 0.5
        found = noisy_copies.differences(one, other)[row]
        assert found == pytest.approx(gap / max(lengths))
    assert noisy_copies.differences(np.zeros((1, 2)), np.zeros((1, 2))) == 0


# --- false alarms -------------------------------------------------------------------------------


def test_false_alarms_are_those_of_a_slow_count():
    patterns = np.array(list(itertools.product([1.0, 1.1, 1.2, 2.0], repeat=3)))
    for tolerance in (0.0, 0.05, 0.15):
        undecided = outvoted = 0
        for copies in patterns:
            elected = elect(list(copies), tolerance)
            undecided += elected is None
            if elected is not None:
                outvoted += not all(agree(copies[elected], one, tolerance) for one in copies)
        found = noisy_copies.false_alarms(patterns[:, :, None], tolerance)
        assert found == (undecided / len(patterns), outvoted / len(patterns)), tolerance
        assert 0 < undecided < len(patterns), tolerance


def test_tolerance_above_the_noise_has_no_false_alarm():
    for source in SOURCES:
        found = cell(source)
        above = found.vote_tolerance > float(found.difference.max())
        assert ((found.undecided + found.outvoted).where(above, 0) == 0).all(), source
        noisy = float(found.difference.max()) > 0
        assert (float((found.undecided + found.outvoted)[0, 0]) > 0) == noisy, source


# --- slack --------------------------------------------------------------------------------------


def test_slack_is_at_most_the_tolerance_and_that_of_the_first_copy_comes_near():
    for source in SOURCES:
        found = cell(source)
        assert (found.slack_vote <= found.vote_tolerance * (1 + 1e-9)).all(), source
        usable = found.sel(vote_tolerance=slice(1e-6, None))
        largest = usable.slack_vote.max("forged_place")
        assert (largest > 0.5 * usable.vote_tolerance).all(), source
        assert (found.slack_vote.sel(vote_tolerance=0) == 0).all(), source
        agreed = usable.vote_tolerance > 2 * float(found.difference.max())
        later = usable.slack_vote.sel(forged_place=[1, 2])
        assert (later.where(agreed, 0) == 0).all(), source


def test_slack_of_the_mean_is_at_most_what_the_lengths_allow():
    """Forged copies in 3 of 9 files, at most the tolerance in lengths of the file's own copy."""
    found = cell("none")
    at = found.sel(vote_tolerance=1e-3, forged_place=0)
    assert 0 < float(at.slack_mean) <= 1e-3 * 3 / 9 * 3 * float(found.spread[0])


def test_elected_forgeries_are_those_of_a_slow_scan():
    cases = [(1.0, 1.0, 1.0), (1.0, 1.004, 1.0), (1.0, 1.015, 1.003), (1.0, 1.03, 0.98)]
    for honest, tolerance in itertools.product(cases, (0.002, 0.01, 0.02)):
        found, shifts = forged_copies.elected_forgeries(
            np.array(honest, np.float32)[None, :, None], tolerance, np.array([-1.0])
        )
        for place in range(3):
            case = (honest, tolerance, place)
            others = [float(np.float32(h)) for j, h in enumerate(honest) if j != place]
            farthest = 0.0
            for start in [*others, sum(others) / 2]:
                for length in np.linspace(0, 2 * tolerance, 401)[1:]:
                    copies = list(others)
                    copies.insert(place, float(np.float32(start * (1 - length))))
                    if elect(copies, tolerance) != place:
                        continue
                    gaps = [abs(copies[place] - h) / max(copies[place], h) for h in others]
                    farthest = max(farthest, min(gaps))
            assert found[place, 0] <= tolerance, case
            assert abs(shifts[place, 0, 0]) == pytest.approx(found[place, 0], rel=0.05), case
            assert found[place, 0] <= farthest * 1.01 + 1e-6, case
            assert found[place, 0] >= 0.6 * farthest - 1e-6, case


def test_last_copy_is_elected_between_honest_copies_that_disagree():
    rows = np.array([[[1.0], [1.015], [1.0]]], np.float32)
    found, shifts = forged_copies.elected_forgeries(rows, 0.01, np.array([-1.0]))
    assert 0 < found[2, 0] <= 0.01
    elected = [float(h) + float(shifts[2, 0, 0]) for h in rows[0, :2, 0]]
    assert any(agree(one, 1.0, 0.01) and agree(one, 1.015, 0.01) for one in elected)
    apart = np.array([[[1.0], [1.019], [1.0]]], np.float32)  # only a copy midway agrees with both
    found, _ = forged_copies.elected_forgeries(apart, 0.01, np.array([-1.0]))
    assert 0.005 < found[2, 0] <= 0.01


# --- policies -----------------------------------------------------------------------------------


def test_streaming_vote_elects_the_third_of_three_different_copies():
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((4, 3, 6)).astype(np.float32)
    votes = forged_copies.policies([2, 4], 1e-4)
    for name in ("streaming", "streaming by layer"):
        assert votes[name](as_messages(rows)).rows.tobytes() == rows[:, 2].tobytes()
    for name, wanted in (
        ("zero", np.zeros((4, 6))),
        ("tolerance", np.zeros((4, 6))),
        ("mean", rows.astype(float).mean(axis=1)),
        ("median", np.median(rows, axis=1)),
    ):
        np.testing.assert_allclose(
            votes[name](as_messages(rows)).rows, wanted, rtol=1e-6, atol=1e-7
        )


def test_streaming_vote_by_layer_may_elect_one_layer_of_a_forged_copy():
    """Of two layers one has a majority, and of the other the third copy wins."""
    rows = np.array([[[1, 5], [1, 6], [9, 7]]], np.float32)
    assert forged_copies.policies([1, 1], 0.0)["streaming"](as_messages(rows)).rows.tolist() == [
        [9, 7]
    ]
    by_layer = forged_copies.policies([1, 1], 0.0)["streaming by layer"](as_messages(rows))
    assert by_layer.rows.tolist() == [[1, 7]]


def test_forged_copies_do_not_collude_and_others_stay_honest():
    rows = np.random.default_rng(4).standard_normal((9, 3, 5)).astype(np.float32)
    for forged, files in [(0, 4), (1, 4), (2, 2)]:
        rng = np.random.default_rng(5)
        sent = forged_copies.with_forgeries(rows, forged, files, 100.0, rng)
        changed = (sent != rows).any(axis=2)
        counts = [0] * (9 - files) + [forged] * files
        assert sorted(changed.sum(axis=1)) == counts, forged
        factors = (sent / rows)[changed]
        assert ((factors <= -49.99) & (factors >= -150.01)).all(), forged
        assert (np.ptp(factors, axis=1) < 1e-3).all() if forged else not factors.size, forged
        assert len(set(factors[:, 0].round(3))) == forged * files, forged


def test_exact_vote_elects_nothing_where_all_copies_differ():
    found = cell("row order").error.isel(step=0).sel(forged_copies=0)
    assert (found.sel(policy="zero") == 1).all()
    assert (
        found.sel(policy=["mean", "median", "tolerance", "streaming"], rule="mean") < 1e-6
    ).all()


def test_vote_with_tolerance_withstands_one_forged_copy_and_not_two():
    for source in SOURCES:
        found = cell(source).isel(step=0)
        within = float(found.difference.max()) < BASE["tolerance"]
        error = found.error.sel(policy="tolerance", rule="mean")
        assert (float(error.sel(forged_copies=1)) < 1e-4) == within, source
        zeroed = 1 / 9  # one of nine files has two forged copies, and its vote is zero
        pair = float(error.sel(forged_copies=2))
        assert not within or 0 < pair <= zeroed * 3 * float(found.spread), source
        median = found.error.sel(forged_copies=2, policy="median", rule="mean")
        assert (median > 1).all(), source


def test_errors_by_hand():
    rows, honest = np.array([[1.0, 0.0], [2.0, 0.0], [6.0, 3.0]]), np.array([3.0, 4.0])
    assert forged_copies.errors(rows, honest, 1) == pytest.approx([3 / 5, math.hypot(1, 4) / 5])


# --- what a dataset says -------------------------------------------------------------------------


@pytest.fixture
def dataset() -> xr.Dataset:
    """Made-up results of all sources: copies differ by 1e-6, and by 0.5 with bf16."""
    coordinates = {
        "source": list(SOURCES), "model": ["mlp", "cnn"], "seed": [0, 1], "step": [1, 2],
        "pair": ["0 and 1", "0 and 2", "1 and 2"], "file": [0, 1, 2],
        "vote_tolerance": study.tolerances(1), "forged_copies": [0, 1, 2],
        "policy": list(forged_copies.POLICIES), "rule": list(forged_copies.RULES),
        "forged_place": [0, 1, 2],
    }  # fmt: skip
    shape = {name: len(labels) for name, labels in coordinates.items()}
    axes, rng = ("source", "model", "seed"), np.random.default_rng(0)
    values = {
        name: ((*axes, *dims), rng.uniform(0.1, 0.2, [shape[dim] for dim in (*axes, *dims)]))
        for name, (dims, _) in study.VARIABLES.items()
    }
    about = {"profile": "smoke", "scale": "toy", "settings": {}, "hardware": ["none"]}
    about |= {"axes": {"seed": [0, 1]}, "failures": {}}
    found = xr.Dataset(values, coordinates, {"provenance": json.dumps(about)})
    noise = xr.DataArray([0.0, 1e-6, 1e-6, 1e-6, 0.5], {"source": list(SOURCES)})
    allowed = found.vote_tolerance
    slack = (allowed * (found.forged_place == 0)).broadcast_like(found.slack_vote)
    return found.assign(
        difference=(noise * found.difference / 0.2).transpose(*found.difference.dims),
        undecided=(found.undecided.where(allowed < noise, 0)).transpose(*found.undecided.dims),
        outvoted=0 * found.outvoted,
        slack_vote=slack.transpose(*found.slack_vote.dims),
        slack_mean=(slack / 2).transpose(*found.slack_mean.dims),
        policy_tolerance=1e-4,
    )


def test_figure_needs_only_the_dataset_and_is_drawn_without_failed_cells(dataset, monkeypatch):
    def never(*_, **__):
        raise AssertionError("a figure ran something")

    for name in ("run", "compute", "slack", "false_alarms"):
        monkeypatch.setattr(study, name, never)
    for sources in (list(SOURCES), ["none"], ["row order", "bf16"]):
        some = dataset.where(dataset.source.isin(sources)).assign_attrs(dataset.attrs)
        assert isinstance(draw(study.figure, some), Figure), sources
        assert list(windows(some).index) == [s for s in SOURCES if s in sources], sources


def test_windows_lie_between_noise_and_slack(dataset):
    found = windows(dataset)
    assert found["recommended"]["none"] == 0
    assert found["least"]["none"] == found["slack_vote"]["none"] == 0
    row = found.loc["row order"]
    assert (row["least"], row["most"]) == (1e-6, 0.01)
    assert row["recommended"] == 1e-4
    assert row["slack_vote"] <= row["recommended"]
    assert row["slack_mean"] <= ACCEPTED
    assert math.isnan(found["recommended"]["bf16"])


def windowed(alarms, slack):
    """A dataset of one source on the tolerances 0, 1e-4, 1e-3, 1e-2, 1e-1."""
    dims = ("source", "model", "seed")
    zeros = np.zeros((1, 1, 1, 1, 5))
    values = np.array(slack, float)[None, None, None, :, None]
    return xr.Dataset(
        {
            "undecided": ((*dims, "step", "vote_tolerance"), zeros + np.array(alarms, float)),
            "outvoted": ((*dims, "step", "vote_tolerance"), zeros),
            "slack_vote": ((*dims, "vote_tolerance", "forged_place"), values),
            "slack_mean": ((*dims, "vote_tolerance", "forged_place"), values),
        },
        {"source": ["noise"], "vote_tolerance": [0, 1e-4, 1e-3, 1e-2, 1e-1]},
    )


def test_finding_names_only_what_the_dataset_has(dataset):
    found = finding(dataset)
    assert "**An exact vote needs equal computation.**" in found
    control = dataset.sel(source=["none"])
    assert finding(control).startswith("* Every exact vote had a majority")
    empty = dataset.where(False)
    assert finding(empty) == "No cell of this dataset is finished."


def test_windows_by_hand():
    cases = [
        ([0, 0, 0, 0, 0], [0, 1e-4, 1e-3, 1e-2, 1e-1], 0, 1e-2, [0]),
        ([1, 0, 0, 0, 0], [0, 1e-4, 1e-3, 1e-2, 1e-1], 1e-4, 1e-2, [1e-3]),
        ([1, 0, 1, 0, 0], [0, 1e-4, 1e-3, 1e-2, 1e-1], 1e-2, 1e-2, [1e-2]),
        ([1, 1, 1, 1, 0], [0, 1e-4, 1e-3, 1e-2, 1e-1], 1e-1, 1e-2, []),
        ([1, 1, 1, 1, 1], [0, 1e-4, 1e-3, 2e-2, 2e-1], None, 1e-3, []),
        ([1, 0, 0, 0, 0], [0, 0, 0, 0, 0], 1e-4, 1e-1, [1e-3, 1e-2]),  # both as near to the middle
    ]
    for alarms, slack, least, most, recommended in cases:
        row, case = windows(windowed(alarms, slack)).loc["noise"], (alarms, slack)
        assert row["most"] == most, case
        assert math.isnan(row["least"]) if least is None else row["least"] == least, case
        if recommended:
            assert row["recommended"] in recommended, case
        else:
            assert math.isnan(row["recommended"]), case


def refusal(given: dict) -> str:
    try:
        study.prepare(given)
    except ValueError as error:
        return str(error)
    return "accepted"


def test_impossible_fields_are_refused():
    cases = [
        ({"source": "row odrer"}, "unknown noise source 'row odrer'; did you mean 'row order'?"),
        ({"tolerence": 0.1}, "unknown field of vote_semantics 'tolerence'; did you mean 'toler"),
        ({"workers": 44}, "multiple of the 3 copies of a file, got 44; use 42 or 45"),
        ({"byzantine": 5}, "below half of the 9 votes, which the median withstands, got 5; use at"),
        ({"batch": 40}, "9 equal files of 2 images or more and be at most 1431 .* got 40; use 36"),
        ({"batch": 9}, "got 9; use 18"),
        ({"batch": 1440}, "got 1440; use 1431"),
        ({"probes": 3}, "probes must be at most steps = 2, got 3"),
        ({"tolerance": -0.1}, "tolerance must be a number of 0 or more, got -0.1"),
        ({"scale": math.nan}, "scale must be a number of 0 or more, got nan"),
        ({"rate": "fast"}, "rate must be a number, got 'fast'"),
        ({"per_decade": 0}, "per_decade must be an integer of 1 or more, got 0"),
        ({"model": "mpl"}, "unknown model 'mpl'; did you mean 'mlp'?"),
    ]
    for change, message in cases:
        found = refusal(BASE | {"source": "none"} | change)
        assert re.search(message, found), (change, found)
