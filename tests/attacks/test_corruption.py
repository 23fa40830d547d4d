"""What single bits do, which values of which copies are hit, and what votes and rules do then."""

import itertools
import math

import numpy as np
import pytest
from attack_cases import FORGED, rows_of, send
from refusals import assert_refused

from detox_sim import Trial, aggregators, assignments, theory, train, voting
from detox_sim.messages import Messages
from detox_sim.trials.pipeline import Known, Pipeline

VALUES = np.array([0.01, -0.3, 1.0, 1.5, -1.9, 2.0, 3.7, -1e-3, 640.0, 0.0], np.float32)
ALL = {"values": 1.0, "stride": 1}  # every value of a message


def flipped(bit, values=VALUES, dtype=np.float32):
    """Return the values with one bit flipped."""
    rows = values.astype(dtype)[None]
    return send("bit_flip", {"bits": bit, **ALL}, rows, np.array([[True]])).rows[1]


def words(rows):
    return np.asarray(rows, np.float32).view(np.uint32)


def changed(messages):
    """Return bool (files, copies, d): which values of each copy have other bits than honest."""
    rows = words(messages.rows)
    files = len(messages.row_of)
    return rows[messages.row_of] != rows[:files, None]


# --- Single bits -----------------------------------------------------------------------------


def test_mantissa_bits_change_a_value_by_a_share_of_its_power_of_two():
    for bit, x, y in (
        (b, *pair) for b in range(23) for pair in zip(VALUES, flipped(b), strict=True)
    ):
        power = 2.0 ** math.floor(math.log2(abs(x))) if x else 2.0**-126
        assert abs(float(y) - float(x)) == power * 2.0 ** (bit - 23), (bit, x)


def test_exponent_bits_multiply_or_divide():
    for bit in range(23, 30):
        for x, y in zip(VALUES[:-1], flipped(bit)[:-1], strict=True):
            assert abs(math.log2(float(y) / float(x))) == 2 ** (bit - 23), (bit, x)


def test_top_exponent_bit_makes_small_values_huge():
    for x, y in zip(VALUES, flipped(30), strict=True):
        if x == 0:
            assert y == 2.0
        elif abs(x) == 1:
            assert y == math.copysign(math.inf, x)
        elif 1 < abs(x) < 2:
            assert math.isnan(y), x
        elif 2 <= abs(x) < 4:  # a subnormal number, without a leading 1
            assert float(y) == (float(x) / 2 - 1) * 2.0**-126, x
        else:
            assert float(y) == float(x) * 2.0 ** (128 if abs(x) < 1 else -128), x
    assert float(flipped(30)[0]) == pytest.approx(3.4e36, rel=0.01)


def test_sign_of_zero_is_another_word_and_the_same_number():
    assert flipped(31).tolist() == (-VALUES).tolist()
    assert flipped(31)[-1] == 0.0
    assert words(flipped(31))[-1] == 2**31


def test_uniform_bit_of_small_gradients_has_the_computed_effects():
    """Normal values of deviation 1e-6: 44 % change by less than 1e-3 of the value, and 1 in 32
    becomes larger than 1e3.
    """
    rows = 1e-6 * np.random.default_rng(0).normal(size=(1, 40_000)).astype(np.float32)
    options = {"bits": "any", "flips": 1, **ALL}
    row = send("bit_flip", options, rows, np.array([[True]])).rows[1].astype(float)
    ratio = np.abs(row / rows[0] - 1)
    assert np.isfinite(row).all()
    for share, wanted in (((ratio < 1e-3).mean(), 14 / 32), ((np.abs(row) > 1e3).mean(), 1 / 32)):
        assert share == pytest.approx(wanted, abs=4.5 * (wanted * (1 - wanted) / 40_000) ** 0.5)


def test_other_dtypes_are_corrupted_as_float32():
    for bit in (0, 22, 25, 30, 31):
        got = flipped(bit, dtype=np.float64)
        assert got.dtype == np.float64, bit
        assert got.tobytes() == flipped(bit).astype(np.float64).tobytes(), bit
    rows = np.full((1, 4), 1 / 3)
    row = send("bit_flip", {"bits": 0, "values": 1}, rows, np.array([[True]])).rows[1]
    assert sorted(row == 1 / 3) == [False, True, True, True]


def test_as_many_distinct_bits_flip_as_asked():
    rows = rows_of(d=300)
    for bits, allowed, flips in (("exponent", range(23, 31), 3), ([1, 5, 30], (1, 5, 30), 2)):
        options = {"bits": bits, "flips": flips, **ALL}
        messages = send("bit_flip", options, rows, FORGED["one copy of three"])
        masks = words(messages.rows[-1]) ^ words(rows[2])
        assert {int(mask).bit_count() for mask in masks} == {flips}, bits
        counts = [int((masks >> np.uint32(bit) & 1).sum()) for bit in range(32)]
        assert [bit for bit in range(32) if counts[bit]] == list(allowed), bits
        share = flips / len(allowed)
        error = 4.5 * (share * (1 - share) / 300) ** 0.5
        assert max(abs(counts[bit] / 300 - share) for bit in allowed) < error, bits


# --- Which values, messages and steps ----------------------------------------------------------


def test_as_many_values_are_hit_as_asked_at_the_stride():
    rows = rows_of(d=100)
    for name, values, stride, count in [
        ("bit_flip", 7, None, 7),
        ("bit_flip", 7, 3, 7),
        ("bit_flip", 0.25, 1, 25),
        ("bit_flip", 1e-9, None, 1),
        ("bit_flip", 500, None, 100),
        ("bit_flip", 16, 40, 3),
        ("stuck", 7, None, 7),
        ("stuck", 7, 3, 7),
    ]:
        options = {"values": values, "stride": stride}
        if name == "stuck":
            options |= {"bits": "sign"}
        messages = send(name, options, np.abs(rows), FORGED["everything"])
        hit, case = changed(messages), (name, values, stride)
        assert (hit.sum(axis=2) == count).all(), case
        if stride:
            gaps = {gap for row in hit.reshape(18, 100) for gap in np.diff(np.flatnonzero(row))}
            assert gaps == {stride}, case
        starts = {np.flatnonzero(row)[0] for row in hit.reshape(18, 100)}
        assert len(starts) > 3 or count == 100, case


def test_values_of_one_layer_are_hit():
    rows, sizes = np.abs(rows_of(d=60)), [10, 30, 20]
    for name, layer in itertools.product(("bit_flip", "stuck"), range(-3, 3)):
        options = {"bits": "sign", "values": 1.0, "stride": 1, "layer": layer}
        messages = send(name, options, rows, FORGED["everything"], sizes=sizes)
        wanted = np.repeat(np.arange(3) == layer % 3, sizes)
        assert (changed(messages) == wanted).all(), (name, layer)


def test_rate_is_the_chance_of_a_hit():
    holders = assignments.mols(load=4, copies=3)
    rows = np.ones((len(holders), 40), np.float32)
    forged = np.ones(holders.shape, dtype=bool)
    for per, rate in itertools.product(("worker", "message"), (0.1, 0.6)):
        count, together = 0, []
        for seed in range(200):
            options = {"rate": rate, "per": per}
            messages = send("bit_flip", options, rows, forged, rng=seed, holders=holders)
            hit = changed(messages).any(axis=2)
            count += hit.sum()
            together += [len(set(hit[holders == worker])) == 1 for worker in range(12)]
        effective = 200 * (12 if per == "worker" else holders.size)  # independent draws
        error = 4.5 * (rate * (1 - rate) / effective) ** 0.5
        assert abs(count / (200 * holders.size) - rate) < error, (per, rate)
        assert all(together) == (per == "worker"), (per, rate)
    assert not changed(send("bit_flip", {"rate": 0.0}, rows, forged)).any()


def test_stuck_values_are_those_of_the_worker_at_every_step():
    holders = assignments.mols(load=4, copies=3)
    forged, seen = np.isin(holders, [2, 7, 11]), {}
    for step in range(3):
        rows = np.random.default_rng(step).normal(size=(len(holders), 80)).astype(np.float32)
        messages = send("stuck", {}, rows, forged, rng=step, holders=holders)
        differ = words(messages.rows)[messages.row_of] ^ words(rows)[:, None]
        for file, copy in zip(*np.nonzero(forged), strict=True):
            seen.setdefault(int(holders[file, copy]), []).append(differ[file, copy])
    places = {}
    for worker, masks in seen.items():
        assert len(masks) == 12, worker
        every = np.bitwise_or.reduce(masks)
        assert {int(mask).bit_count() for mask in every[every > 0]} == {1}, worker
        assert len(set(every[every > 0])) == 1, worker  # one bit of a worker
        assert 7 <= (every > 0).sum() <= 16, worker
        assert {gap % 8 for gap in np.diff(np.flatnonzero(every))} == {0}, worker
        places[worker] = every.tolist()
    assert len({tuple(row) for row in places.values()}) == 3
    other = send("stuck", {"seed": 1}, rows, forged, holders=holders)
    assert other.rows.tobytes() != messages.rows.tobytes()


def test_stuck_forces_the_level():
    rows = rows_of(d=400)
    for level in (0, 1):
        options = {"bits": 10, "level": level, **ALL}
        messages = send("stuck", options, rows, FORGED["everything"])
        found = words(messages.rows[6:])
        assert set((found >> np.uint32(10) & 1).ravel().tolist()) == {level}
        mask = ~np.uint32(1 << 10)
        assert (found & mask == np.repeat(words(rows) & mask, 3, axis=0)).all(), level


def test_trial_supplies_the_workers_and_the_layers():
    fields = {"workers": 15, "byzantine": 4, "placement": "whole_group", "model": "softmax"}
    fields |= {"assignment": "mols", "copies": 3, "batch": 25, "groups": None}
    options = {"bits": "sign", "layer": 1, **ALL}
    pipeline = Pipeline(Trial(**fields, attack="stuck", attack_options=options), sizes=(6, 4))
    rows = np.ones((25, 10), np.float32)
    placement = pipeline.place(Known(rows), step=1)
    hit = changed(pipeline.forge(Known(rows), placement, step=1))
    assert (hit == (placement.byzantine[pipeline.holders][:, :, None] & (np.arange(10) >= 6))).all()


# --- Votes and rules --------------------------------------------------------------------------


def test_single_corrupt_copy_of_three_is_outvoted_whatever_its_bit():
    """Also the lowest bit of one value, and a zero that became -0.0."""
    rows = rows_of(d=6)
    rows[:, 3] = 0.0
    for bit, copy, name in itertools.product(range(32), range(3), ("bit_flip", "stuck")):
        forged = np.zeros((6, 3), dtype=bool)
        forged[:, copy] = True
        options = {"bits": bit, "values": 1, "stride": None}
        messages = send(name, options, rows, forged, rng=bit)
        if name == "bit_flip":
            assert (changed(messages).sum(axis=2) == forged).all(), (bit, copy)
        votes = voting.majority(messages)
        assert votes.rows.tobytes() == rows.tobytes(), (bit, copy, name)
        assert not (votes.undecided | votes.distorted).any(), (bit, copy, name)


def test_corruption_within_the_tolerance_may_be_elected():
    """The first of the copies that agree wins; a large change is outvoted."""
    rows, forged = rows_of(d=6), np.zeros((6, 3), dtype=bool)
    forged[:, 0] = True
    for bits, elected in ((0, True), (10, True), (22, False), (29, False)):
        messages = send("bit_flip", {"bits": bits, **ALL}, rows, forged)
        votes = voting.majority(messages, tolerance=0.01)
        assert votes.distorted.tolist() == [elected] * 6, bits
        assert not voting.majority(messages).distorted.any(), bits


def test_robust_rules_alone_stay_finite_and_the_mean_does_not():
    rows = 0.3 + 0.1 * rows_of(d=20)
    rows = np.concatenate([rows, rows + 0.01, rows - 0.01])
    forged = np.arange(18)[:, None] < 3
    for bits in (30, "exponent"):
        messages = send("bit_flip", {"bits": bits, **ALL}, rows, forged)
        received = messages.rows[messages.row_of[:, 0]]
        for rule in ("median", "trimmed_mean", "geometric_median", "krum", "multi_krum"):
            aggregate = getattr(aggregators, rule)(received, byzantine=3)
            assert np.abs(aggregate - 0.3).max() < 0.5, (bits, rule)
    with np.errstate(over="ignore"):
        assert not np.abs(received.mean(axis=0) - 0.3).max() < 1e30


def test_vote_corrects_as_often_as_the_formula_says():
    """Independent hits with chance s a copy; equal corruptions would need the same bits."""
    rows = np.random.default_rng(0).normal(size=(4000, 64)).astype(np.float32)
    for copies, chance in ((3, 0.02), (3, 0.2), (5, 0.15)):
        forged = np.ones((4000, copies), dtype=bool)
        options = {"rate": chance, "per": "message"}
        messages = send("bit_flip", options, rows, forged, rng=copies)
        votes, hit = voting.majority(messages), changed(messages).any(axis=(1, 2))
        corrected = hit & ~votes.undecided
        assert not votes.distorted.any(), (copies, chance)
        for found, law in (
            (corrected.mean(), theory.corrected_by_vote(copies, chance)),
            (votes.undecided.mean(), theory.majority_corrupt(copies, chance)),
        ):
            assert abs(found - law) <= 4.5 * (law * (1 - law) / 4000) ** 0.5, (copies, chance)
            assert law * 4000 > 4, "the sample is too small to see the law"


def test_persistent_defects_corrupt_as_many_groups_as_the_formula_says():
    groups, share = 4000, 0.1
    for copies in (1, 3, 5):
        holders = np.arange(groups * copies).reshape(groups, copies)
        defective = np.random.default_rng(copies).random(groups * copies) < share
        rows = np.random.default_rng(0).normal(size=(groups, 64)).astype(np.float32)
        messages = send("stuck", {**ALL, "stride": None}, rows, defective[holders], holders=holders)
        votes = voting.majority(messages)
        found, law = (
            (votes.undecided | votes.distorted).mean(),
            theory.majority_corrupt(copies, share),
        )
        assert abs(found - law) <= 4.5 * (law * (1 - law) / groups) ** 0.5, copies


def test_training_with_one_corrupt_copy_a_file_is_training_without():
    fields = {"workers": 15, "byzantine": 5, "placement": "outside:one_a_group", "groups": 5}
    fields |= {"model": "softmax", "batch": 30, "steps": 4, "evaluate_every": 4}
    corrupt = {"attack": "bit_flip", "attack_options": {"bits": "any", "rate": 0.7}}
    alone = {"copies": 1, "assignment": "none", "placement": "random", "groups": None}
    honest, voted, rule, ruled = (
        train(Trial(**fields | more)).test_loss.values.tobytes()
        for more in ({}, corrupt, alone, {**alone, **corrupt})
    )
    assert voted == honest
    assert ruled != rule


# --- Errors and other libraries ----------------------------------------------------------------


def test_impossible_options_are_refused():
    rows, forged = rows_of(), FORGED["some copies"]
    for options, message in [
        ({"bits": "mantisa"}, "unknown bits 'mantisa'; did you mean 'mantissa'"),
        ({"bits": 32}, "a bit must be one of a float32, 0 to 31, got 32"),
        ({"bits": -1}, "a bit must be an integer of 0 or more, got -1"),
        ({"bits": [3, 1.5]}, "a bit must be an integer of 0 or more, got 1.5"),
        ({"bits": []}, "bits must be one or more of 0 to 31, or one of mantissa, exponent"),
        ({"bits": None}, "a bit must be an integer .* got None"),
        ({"values": 0}, "values must be an integer of 1 or more, got 0"),
        ({"values": 0.0}, "values must be a count, or a share above 0 up to 1.0, got 0.0"),
        ({"values": 1.5}, "values must be a count, or a share above 0 up to 1.0, got 1.5"),
        ({"values": math.nan}, "values must be a count, or a share .* got nan"),
        ({"values": "all"}, "values must be an integer of 1 or more, got 'all'"),
        ({"stride": 0}, "stride must be an integer of 1 or more, got 0"),
        ({"layer": 0, "sizes": None}, "layer needs sizes"),
        ({"layer": 2}, "layer must be -2 to 1, one of the 2 tensors of the model, got 2"),
        ({"layer": -3}, "layer must be -2 to 1"),
        ({"layer": 0.0}, "layer must be an integer or None, got 0.0"),
        ({"holders": np.arange(6)[:, None]}, r"holders must have the shape of forged, \(6, 3\)"),
    ]:
        facts = {"sizes": [2, 3], "holders": None} | options
        facts = {name: facts.pop(name) for name in ("sizes", "holders")} | facts
        options = {k: v for k, v in facts.items() if k not in ("sizes", "holders")}
        for name in ("bit_flip", "stuck"):
            given = {"sizes": facts["sizes"], "holders": facts["holders"]}
            assert_refused(message, send, name, options, rows, forged, **given)
    for name, options, message in [
        ("bit_flip", {"rate": 1.5}, "rate must be a chance a step, 0 to 1, got 1.5"),
        ("bit_flip", {"rate": -0.1}, "rate must be a chance a step"),
        ("bit_flip", {"rate": math.nan}, "rate must be a chance a step"),
        ("bit_flip", {"rate": "llama3"}, "rate must be a number, got 'llama3'"),
        ("bit_flip", {"per": "step"}, "per must be 'worker' or 'message', got 'step'"),
        ("bit_flip", {"flips": 0}, "flips must be an integer of 1 or more, got 0"),
        ("stuck", {"level": 2}, "level must be 0 or 1, got 2"),
        ("stuck", {"level": True}, "level must be 0 or 1, got True"),
        ("stuck", {"seed": -1}, "seed must be an integer of 0 or more, got -1"),
    ]:
        assert_refused(message, send, name, options, rows, forged)


@pytest.mark.gpu
def test_gpu_corrupts_the_same_bits(cupy):
    for name, dtype in itertools.product(("bit_flip", "stuck"), (np.float32, np.float64)):
        rows, forged = rows_of(dtype, d=90), FORGED["some copies"]
        there = send(name, {"bits": "any"}, cupy.asarray(rows), forged)
        here = send(name, {"bits": "any"}, rows, forged)
        assert isinstance(there, Messages), (name, dtype)
        assert there.rows.get().tobytes() == here.rows.tobytes(), (name, dtype)
