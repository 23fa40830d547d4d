"""Votes over copies that differ: noise, false alarms, slack and policies against loops and hand."""

import functools
import itertools
import math

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import data, models
from detox_sim.streams import stream
from detox_sim.sweeps import assemble
from detox_sim.sweeps.store import Store
from studies.redundancy import noisy_copies as measure
from studies.redundancy import vote_semantics as study
from studies.redundancy.noisy_copies import SOURCES, Way, ballots, compute
from studies.style import draw
from studies.workflow.plans import make_plans

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


def elect(ballot, tolerance):
    """Return the place of the winner of a few scalars, None without a majority."""
    support = [sum(agree(one, other, tolerance) for other in ballot) for one in ballot]
    best = support.index(max(support))
    return best if 2 * support[best] > len(ballot) else None


# --- noise --------------------------------------------------------------------------------------


def test_the_control_has_no_noise_no_false_alarm_and_no_slack_in_an_exact_vote():
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
def one_file():
    """A model, its parameters and three files of eight images."""
    images, labels, *_ = data.digits()
    model = models.Model(models.cnn, (1, 8, 8), 10)
    params = model.initial(stream(0, "parameters"))
    return model, params, images[:24].reshape(3, 8, 1, 8, 8), labels[:24].reshape(3, 8)


def test_a_row_order_is_the_gradient_of_permuted_images(one_file):
    model, params, images, labels = one_file
    with models.one_thread():
        found = compute(*one_file, Way(order=1), np.random.default_rng(3))
        rng = np.random.default_rng(3)
        order = rng.permuted(np.tile(np.arange(8), (3, 1)), axis=1)
        for file in range(3):
            assert sorted(order[file]) == list(range(8))
            picked = images[file][order[file]], labels[file][order[file]]
            wanted = model.gradients(params, picked[0][None], picked[1][None])[1]
            assert found[file].tobytes() == wanted.tobytes()


def test_float64_is_nearer_to_finite_differences_than_bf16(one_file):
    """Central differences of the loss along a direction, in float64."""
    model, params, images, labels = one_file
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
            rows = compute(*one_file, Way(arithmetic=arithmetic), np.random.default_rng(0))
            assert rows.dtype == np.float32
            np.testing.assert_allclose(rows @ direction, slope, atol=error)


def test_torch_is_left_as_it_was():
    import torch

    before = torch.get_num_threads()

    def fail():
        with measure.computing(Way(threads=before + 1, arithmetic="bf16")):
            assert torch.get_num_threads() == before + 1
            assert torch.is_autocast_enabled("cpu")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.get_num_threads() == before
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("source", ["threads", "bf16"])
def test_a_cell_is_the_same_bits_every_time(source):
    again = study.run(study.prepare(BASE | {"source": source}))
    assert again.identical(cell(source))


@pytest.mark.parametrize("source", SOURCES)
def test_everything_is_finite_and_shares_are_shares(source):
    found = cell(source)
    assert all(np.isfinite(values).all() for values in found.data_vars.values())
    for name in ("equal_pairs", "undecided", "outvoted"):
        assert ((found[name] >= 0) & (found[name] <= 1)).all()
    assert (found.undecided + found.outvoted <= 1 + 1e-12).all()


def test_differences_are_relative_to_the_longer_row():
    rng = np.random.default_rng(1)
    one, other = rng.standard_normal((2, 5, 4))
    for row, pair in enumerate(zip(one, other, strict=True)):
        lengths = [sum(x * x for x in vector) ** 0.5 for vector in pair]
        gap = sum((x - y) ** 2 for x, y in zip(*pair, strict=True)) ** 0.5
        found = measure.differences(one, other)[row]
        assert found == pytest.approx(gap / max(lengths))
    assert measure.differences(np.zeros((1, 2)), np.zeros((1, 2))) == 0


# --- false alarms -------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [0.0, 0.05, 0.15])
def test_false_alarms_are_those_of_a_slow_count(tolerance):
    patterns = np.array(list(itertools.product([1.0, 1.1, 1.2, 2.0], repeat=3)))
    undecided = outvoted = 0
    for ballot in patterns:
        winner = elect(list(ballot), tolerance)
        undecided += winner is None
        if winner is not None:
            outvoted += not all(agree(ballot[winner], one, tolerance) for one in ballot)
    found = measure.false_alarms(patterns[:, :, None], tolerance)
    assert found == (undecided / len(patterns), outvoted / len(patterns))
    assert 0 < undecided < len(patterns)


@pytest.mark.parametrize("source", SOURCES)
def test_a_tolerance_above_the_noise_has_no_false_alarm(source):
    found = cell(source)
    above = found.vote_tolerance > float(found.difference.max())
    assert ((found.undecided + found.outvoted).where(above, 0) == 0).all()
    noisy = float(found.difference.max()) > 0
    assert (float((found.undecided + found.outvoted)[0, 0]) > 0) == noisy


# --- slack --------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES)
def test_slack_never_exceeds_the_tolerance_and_is_realised_by_the_first_holder(source):
    found = cell(source)
    assert (found.slack_vote <= found.vote_tolerance * (1 + 1e-9)).all()
    usable = found.sel(vote_tolerance=slice(1e-6, None))
    assert (usable.slack_vote.max("liar") > 0.5 * usable.vote_tolerance).all()
    assert (found.slack_vote.sel(vote_tolerance=0) == 0).all()
    agreed = usable.vote_tolerance > 2 * float(found.difference.max())
    assert (usable.slack_vote.sel(liar=[1, 2]).where(agreed, 0) == 0).all()


def test_slack_of_the_mean_is_at_most_what_the_lengths_allow():
    """Liars in 3 of 9 files, each at most the tolerance in lengths of its own file's copy."""
    found = cell("none")
    at = found.sel(vote_tolerance=1e-3, liar=0)
    assert 0 < float(at.slack_mean) <= 1e-3 * 3 / 9 * 3 * float(found.spread[0])


@pytest.mark.parametrize(
    "honest", [(1.0, 1.0, 1.0), (1.0, 1.004, 1.0), (1.0, 1.015, 1.003), (1.0, 1.03, 0.98)]
)
@pytest.mark.parametrize("tolerance", [0.002, 0.01, 0.02])
def test_elected_lies_are_those_of_a_slow_scan(honest, tolerance):
    found, shifts = measure.elected_lies(
        np.array(honest, np.float32)[None, :, None], tolerance, np.array([-1.0])
    )
    for liar in range(3):
        others = [float(np.float32(h)) for holder, h in enumerate(honest) if holder != liar]
        starts = [*others, sum(others) / 2]
        farthest = 0.0
        for start in starts:
            for length in np.linspace(0, 2 * tolerance, 401)[1:]:
                ballot = list(others)
                ballot.insert(liar, float(np.float32(start * (1 - length))))
                if elect(ballot, tolerance) != liar:
                    continue
                gaps = [abs(ballot[liar] - h) / max(ballot[liar], h) for h in others]
                farthest = max(farthest, min(gaps))
        assert found[liar, 0] <= tolerance
        assert abs(shifts[liar, 0, 0]) == pytest.approx(found[liar, 0], rel=0.05)
        assert found[liar, 0] <= farthest * 1.01 + 1e-6
        assert found[liar, 0] >= 0.6 * farthest - 1e-6


def test_a_liar_between_honest_copies_that_disagree_is_elected_from_the_last_place():
    rows = np.array([[[1.0], [1.015], [1.0]]], np.float32)
    found, shifts = measure.elected_lies(rows, 0.01, np.array([-1.0]))
    assert 0 < found[2, 0] <= 0.01
    elected = [float(h) + float(shifts[2, 0, 0]) for h in rows[0, :2, 0]]
    assert any(agree(lie, 1.0, 0.01) and agree(lie, 1.015, 0.01) for lie in elected)


# --- policies -----------------------------------------------------------------------------------


def test_three_different_copies_under_streaming_elect_the_third():
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((4, 3, 6)).astype(np.float32)
    votes = measure.policies([2, 4], 1e-4)
    for name in ("streaming", "streaming by layer"):
        assert votes[name](ballots(rows)).rows.tobytes() == rows[:, 2].tobytes()
    for name, wanted in (
        ("zero", np.zeros((4, 6))),
        ("tolerance", np.zeros((4, 6))),
        ("mean", rows.astype(float).mean(axis=1)),
        ("median", np.median(rows, axis=1)),
    ):
        np.testing.assert_allclose(votes[name](ballots(rows)).rows, wanted, rtol=1e-6, atol=1e-7)


def test_streaming_by_layer_may_elect_half_a_lie():
    """Of two layers one has a majority, and of the other the third copy wins."""
    rows = np.array([[[1, 5], [1, 6], [9, 7]]], np.float32)
    assert measure.policies([1, 1], 0.0)["streaming"](ballots(rows)).rows.tolist() == [[9, 7]]
    by_layer = measure.policies([1, 1], 0.0)["streaming by layer"](ballots(rows))
    assert by_layer.rows.tolist() == [[1, 7]]


@pytest.mark.parametrize(("liars", "files"), [(0, 4), (1, 4), (2, 2)])
def test_liars_do_not_collude_and_leave_honest_copies_alone(liars, files):
    rows = np.random.default_rng(4).standard_normal((9, 3, 5)).astype(np.float32)
    sent = measure.with_liars(rows, liars, files, 100.0, np.random.default_rng(5))
    lied = (sent != rows).any(axis=2)
    assert sorted(lied.sum(axis=1)) == sorted([liars] * files + [0] * (9 - files))
    factors = (sent / rows)[lied]
    assert ((factors <= -49.99) & (factors >= -150.01)).all()
    assert (np.ptp(factors, axis=1) < 1e-3).all() if liars else not factors.size
    assert len(set(factors[:, 0].round(3))) == liars * files


def test_an_exact_vote_with_nothing_but_noise_stands_still():
    found = cell("row order").error.isel(step=0).sel(liars="nobody")
    assert (found.sel(policy="zero") == 1).all()
    assert (
        found.sel(policy=["mean", "median", "tolerance", "streaming"], rule="mean") < 1e-6
    ).all()


@pytest.mark.parametrize("source", SOURCES)
def test_a_lone_liar_is_outvoted_within_the_tolerance_and_a_pair_is_not(source):
    found = cell(source).isel(step=0)
    within = float(found.difference.max()) < BASE["tolerance"]
    error = found.error.sel(policy="tolerance", rule="mean")
    assert (float(error.sel(liars="one")) < 1e-4) == within
    lost = 1 / 9  # one of nine files has two liars, and its vote is zero
    assert not within or 0 < float(error.sel(liars="two")) <= lost * 3 * float(found.spread)
    assert (found.error.sel(liars="two", policy="median", rule="mean") > 1).all()


def test_errors_by_hand():
    rows, true = np.array([[1.0, 0.0], [2.0, 0.0], [6.0, 3.0]]), np.array([3.0, 4.0])
    assert measure.errors(rows, true, 1) == pytest.approx([3 / 5, math.hypot(1, 4) / 5])


# --- what is said of it -------------------------------------------------------------------------


def stored(tmp_path, sources):
    """Assemble the given cells as the command does; the other sources count as failed."""
    (plan,) = make_plans(
        ["vote_semantics"], "smoke", {k: v for k, v in BASE.items() if k not in ("model", "seed")}
    )
    store = Store(tmp_path)
    for one in plan.cells:
        if one.labels[0] in sources:
            about = {"hardware": "none", "seconds": 0.0, "time": "2000"}
            about |= {"packages": {}, "commit": None, "dirty": None, "host": "none"}
            store.write(one, cell(one.labels[0]), about)
    about = {"profile": "smoke", "scale": study.STUDY.scale, "settings": {}}
    return assemble(plan.cells, plan.axes, store, about)


@pytest.mark.parametrize("sources", [list(SOURCES), ["none"], ["row order", "bf16"]])
def test_the_figure_needs_only_the_dataset_and_survives_failed_cells(
    tmp_path, monkeypatch, sources
):
    dataset = stored(tmp_path, sources)

    def never(*_, **__):
        raise AssertionError("a figure ran something")

    for name in ("run", "compute", "slack", "false_alarms"):
        monkeypatch.setattr(study, name, never)
    assert isinstance(draw(study.figure, dataset), Figure)
    assert list(study.windows(dataset).index) == [name for name in SOURCES if name in sources]


def test_windows_of_measured_noise(tmp_path):
    found = study.windows(stored(tmp_path, list(SOURCES)))
    assert found["recommended"]["none"] == 0
    assert found["least"]["none"] == found["slack_vote"]["none"] == 0
    row = found.loc["row order"]
    assert 1e-8 <= row["least"] < row["recommended"] < row["most"] <= 0.1
    assert row["slack_vote"] <= row["recommended"]
    assert row["slack_mean"] <= study.BEARABLE
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
            "slack_vote": ((*dims, "vote_tolerance", "liar"), values),
            "slack_mean": ((*dims, "vote_tolerance", "liar"), values),
        },
        {"source": ["noise"], "vote_tolerance": [0, 1e-4, 1e-3, 1e-2, 1e-1]},
    )


@pytest.mark.parametrize(
    ("alarms", "slack", "least", "most", "recommended"),
    [
        ([0, 0, 0, 0, 0], [0, 1e-4, 1e-3, 1e-2, 1e-1], 0, 1e-2, 0),
        ([1, 0, 0, 0, 0], [0, 1e-4, 1e-3, 1e-2, 1e-1], 1e-4, 1e-2, 1e-3),
        ([1, 0, 1, 0, 0], [0, 1e-4, 1e-3, 1e-2, 1e-1], 1e-2, 1e-2, 1e-2),
        ([1, 1, 1, 1, 0], [0, 1e-4, 1e-3, 1e-2, 1e-1], 1e-1, 1e-2, None),
        ([1, 1, 1, 1, 1], [0, 1e-4, 1e-3, 2e-2, 2e-1], None, 1e-3, None),
        ([1, 0, 0, 0, 0], [0, 0, 0, 0, 0], 1e-4, 1e-1, None),
    ],
)
def test_windows_by_hand(alarms, slack, least, most, recommended):
    row = study.windows(windowed(alarms, slack)).loc["noise"]
    assert row["most"] == most
    assert math.isnan(row["least"]) if least is None else row["least"] == least
    if slack[1:] == [0, 0, 0, 0]:
        assert row["recommended"] in (1e-3, 1e-2)  # either is as near to the middle
    elif recommended is None:
        assert math.isnan(row["recommended"])
    else:
        assert row["recommended"] == recommended


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "row odrer"}, "unknown noise source 'row odrer'; did you mean 'row order'?"),
        ({"tolerence": 0.1}, "unknown field of vote_semantics 'tolerence'; did you mean 'toler"),
        ({"workers": 44}, "multiple of the 3 holders of a file, got 44; use 42 or 45"),
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
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        study.prepare(BASE | {"source": "none"} | change)
