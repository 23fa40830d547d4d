"""Late and Byzantine workers: times against slow simulations, decoders against plain loops."""

import functools
import json
import re

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import QuadMesh
from matplotlib.patches import Rectangle

from detox_sim import coding
from detox_sim.sweeps import expand
from studies.redundancy import protocols, receiving, stragglers
from studies.redundancy.protocols import FORGED, SCHEMES
from studies.redundancy.stragglers_results import EXACT, finding, outcomes
from studies.style import draw

LIGHT = {"byzantine": [0, 1, 3], "stragglers": [0, 1, 2, 3, 6, 7], "draws": 60, "rounds": 4}
WITHSTANDS = {  # late workers, where none is Byzantine
    "wait for all": 0,
    "tree": 0,
    "repetition, s = 2": 2,
    "repetition, s = 6": 6,
    "gradient code, s = 2": 2,
    "gradient code, s = 6": 6,
    "CodedReduce, s = 1": 1,
    "CodedReduce, s = 2": 2,
    "DETOX, r = 3": 2,
    "DETOX, r = 7": 6,
    "DRACO, r = 3": 1,
    "DRACO, r = 7": 3,
}
FLAT = [name for name in WITHSTANDS if name.startswith(("wait", "rep", "grad", "DRACO"))]
TRUSTING = [name for name in stragglers.PROTOCOLS if not name.startswith(("DETOX", "DRACO"))]


def fields(protocol, **changes):
    base, axes = stragglers.PROFILES["smoke"]
    cells = {labels[0]: given for labels, given in expand(base, axes)}
    return stragglers.prepare(cells[protocol] | LIGHT | changes)


@functools.cache
def cell(protocol):
    return stragglers.run(fields(protocol))


def scheme(protocol):
    given = fields(protocol)
    return SCHEMES[given["scheme"]](6, 2, given["spare"])


@pytest.fixture
def dataset() -> xr.Dataset:
    """All protocols with made-up times and errors: exact, waiting or wrong round by round."""
    names, axes = list(stragglers.PROTOCOLS), {"slowdown": [3.0, 10.0], "byzantine": [0, 1, 3]}
    axes |= {"stragglers": [0, 2, 6], "round": np.arange(4)}
    sizes = {"protocol": len(names)} | {name: len(values) for name, values in axes.items()}
    rng = np.random.default_rng(1)
    values = {}
    for name, (dims, _) in stragglers.VARIABLES.items():
        values[name] = (
            ("protocol", *dims),
            rng.uniform(1, 2, [sizes["protocol"], *(sizes[d] for d in dims)]),
        )
    error = rng.choice([1e-7, 0.5, np.nan], values["error"][1].shape)
    values["error"] = values["error"][0], error
    values["compute_load"] = (
        "protocol",
        np.array([(7 if n.endswith("7") else 1) / 42 for n in names]),
    )
    about = {"profile": "smoke", "scale": stragglers.STUDY.scale, "hardware": ["none"],
             "failures": {}, "settings": {}, "axes": {"protocol": names}}  # fmt: skip
    return xr.Dataset(values, axes | {"protocol": names}, {"provenance": json.dumps(about)})


# --- the model of time ---------------------------------------------------------------------------


def queue(sent, seconds):
    """One message after the other: [(time when it is in, sender)]."""
    clock, taken = 0.0, []
    for ready, worker in sorted((ready, worker) for worker, ready in enumerate(sent)):
        clock = max(clock, ready) + seconds
        taken.append((clock, worker))
    return taken


def master_ready(computed, first, children, layers, spare, seconds):
    """When a parent has what it needs from the children that start at number `first`."""
    sent = []
    for child in range(first, first + children):
        own = computed[child]
        if layers > 1:
            below = master_ready(
                computed, (child + 1) * children, children, layers - 1, spare, seconds
            )
            own = max(own, below)
        sent.append(own)
    return queue(sent, seconds)[children - spare - 1][0]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_receiver_takes_in_messages_as_a_slow_simulation_does(rng):
    sent = rng.exponential(1.0, (20, 9))
    for line in sent:
        for seconds in (0.0, 0.05, 1.0):
            expected = [time for time, _ in queue(line, seconds)]
            assert receiving.receive(line, seconds) == pytest.approx(expected), seconds


def test_tree_is_ready_when_a_slow_simulation_is(rng):
    for children, layers in [(2, 1), (3, 2), (2, 3)]:
        computed = rng.exponential(1.0, (20, protocols.tree_workers(children, layers)))
        for spare in (0, 1):
            finish = receiving.up_the_tree(children, layers, spare)
            found = finish(computed, computed < 0, 0.1)
            expected = [master_ready(line, 0, children, layers, spare, 0.1) for line in computed]
            assert found == pytest.approx(expected), (children, layers, spare)


def test_flat_decoder_decodes_from_the_modelled_time_on(rng):
    """Workers whose messages are not in yet are late to the decoder itself."""
    for protocol in FLAT:
        chosen = scheme(protocol)
        seconds = 0.1 * (2 if "DRACO" in protocol else 1)
        decode = chosen.decoder(rng.standard_normal((chosen.files, 3)))
        for _ in range(3):
            computed, nobody = rng.exponential(1.0, (1, 42)), np.zeros(42, dtype=bool)
            found = chosen.finish(computed, nobody[None], 0.1)[0]
            late = ~nobody
            for time, worker in queue(computed[0], seconds):
                late[worker] = False
                can = decode(nobody, late, rng) is not None
                assert can == (time >= found - 1e-12), (protocol, time)


def test_vote_is_done_when_more_than_half_of_every_group_agree(rng):
    for copies in (3, 7):
        chosen = SCHEMES["vote"](6, 2, copies - 1)
        for _ in range(20):
            computed, byzantine = rng.exponential(1.0, (1, 42)), rng.random((1, 42)) < 0.2
            count = np.zeros((42 // copies, 2), dtype=int)
            found = chosen.finish(computed, byzantine, 0.1)[0]
            for time, worker in queue(computed[0], 0.1):
                count[worker // copies, int(byzantine[0, worker])] += 1
                agreed = (2 * count.max(axis=1) > copies).all()
                assert agreed == (time >= found - 1e-12), (copies, time)


def test_draco_waits_for_those_that_it_needs_to_locate_forged_messages():
    finish = SCHEMES["draco"](6, 2, 6).finish
    computed = np.repeat(np.arange(42.0)[None], 5, axis=0)
    byzantine = np.arange(42) < np.arange(5)[:, None]
    expected = [38.2, 39.2, 40.2, 41.2, np.nan]
    assert finish(computed, byzantine, 0.1) == pytest.approx(expected, nan_ok=True)


def test_times_by_hand():
    """Without a tail: c seconds of computing, m a message, stragglers x times slower."""
    hand = {"tail": 0.0, "parameters": 1_249_875, "bandwidth": 1e7, "batch": 420}
    hand |= {"sample_seconds": 0.1, "slowdowns": [10.0], "stragglers": [0, 1, 2, 3]}
    c, m = 1.0, 0.5 + 5e-5  # 10 images, 5 MB
    seconds = {
        name: stragglers.run(fields(name, **hand)).seconds.sel(byzantine=0).values[0]
        for name in ("wait for all", "ignore 2", "gradient code, s = 2", "tree", "DRACO, r = 3")
    }
    assert seconds["wait for all"] == pytest.approx(
        [c + 42 * m] + [max(10 * c, c + (42 - s) * m) + s * m for s in (1, 2, 3)]
    )
    assert seconds["ignore 2"] == pytest.approx([c + 40 * m] * 3 + [max(10 * c, c + 39 * m) + m])
    assert seconds["gradient code, s = 2"] == pytest.approx([3 * c + 40 * m] * 3 + [30 * c + m])
    assert seconds["tree"][0] == pytest.approx(c + 12 * m)
    assert 10 * c + m < seconds["tree"][1] < 10 * c + 2 * m  # a child of the master, or a leaf
    assert seconds["DRACO, r = 3"][:2] == pytest.approx([3 * c + 82 * m] * 2)


def test_no_straggler_shortens_a_round_that_counts_messages():
    for protocol in (
        "wait for all", "ignore 2", "tree", "gradient code, s = 2", "DRACO, r = 7"
    ):  # fmt: skip
        seconds = cell(protocol).seconds
        assert (seconds.diff("stragglers") >= -1e-12).fillna(True).all(), protocol
        assert (seconds.diff("slowdown") >= -1e-12).fillna(True).all(), protocol
        unslowed = seconds.isel(stragglers=0).diff("slowdown").fillna(0).values
        assert unslowed == pytest.approx(0), protocol


def test_straggler_can_shorten_a_round_that_needs_one_copy():
    finish = receiving.agreement(np.array([[0, 1], [2, 3]]), 1)
    nobody = np.zeros((1, 4), dtype=bool)
    assert finish(np.array([[0.0, 0.1, 0.2, 9.0]]), nobody, 1.0) == 3
    assert finish(np.array([[0.0, 9.0, 0.2, 9.0]]), nobody, 1.0) == 2


def test_saved_seconds_are_differences_of_the_same_draws():
    waiting = cell("wait for all")
    assert (waiting.saved == 0).all()
    for name in ("tree", "CodedReduce, s = 1", "DETOX, r = 3"):
        data = cell(name)
        expected = (waiting.seconds - data.seconds).values
        assert data.saved.values == pytest.approx(expected), name
    at = {"slowdown": 10.0, "byzantine": 0, "stragglers": 3}
    tree = cell("tree").sel(at)
    assert tree.saved_error < 0.2 * tree.seconds_error


def test_byzantine_workers_cost_time_only_where_messages_are_compared():
    for name in TRUSTING:
        seconds = cell(name).seconds
        assert (seconds == seconds.sel(byzantine=0)).all(), name
    for name in ("DETOX, r = 3", "DRACO, r = 7"):
        seconds = cell(name).seconds.sel(slowdown=10.0, stragglers=3)
        assert seconds.sel(byzantine=3) > seconds.sel(byzantine=0) + 0.5, name
    assert cell("DRACO, r = 3").seconds.sel(byzantine=3).isnull().all()


def test_code_saves_time_within_its_limit_and_costs_time_beyond():
    saved = cell("gradient code, s = 2").saved.sel(slowdown=10.0, byzantine=0)
    assert (saved.sel(stragglers=[1, 2]) > 0.5).all()
    assert saved.sel(stragglers=0) < 0
    assert (saved.sel(stragglers=[3, 6]) < -3).all()


def test_load_is_what_workers_compute():
    for protocol in stragglers.PROTOCOLS:
        given, chosen = fields(protocol), scheme(protocol)
        if given["scheme"] == "tree":
            growth = 6 / (given["spare"] + 1)
            expected = 1 / (growth + growth**2)
        else:
            expected = 1 / 42 if given["scheme"] == "uncoded" else (given["spare"] + 1) / 42
        assert chosen.load == pytest.approx(expected), protocol
        assert chosen.workers == 42, protocol


# --- the decoded sum -----------------------------------------------------------------------------


def test_sum_of_gradients_does_not_depend_on_the_files():
    sums = [
        protocols.file_gradients(files, 1008, 0).sum(axis=0, dtype=float) for files in (6, 24, 42)
    ]
    for other in sums[1:]:
        assert np.linalg.norm(other - sums[0]) < 1e-6 * np.linalg.norm(sums[0])


@pytest.mark.parametrize("protocol", WITHSTANDS)
def test_sum_is_exact_while_the_scheme_withstands_the_late_workers(protocol):
    data = cell(protocol)
    within = data.stragglers <= WITHSTANDS[protocol]
    single = data.error.sel(byzantine=0).where(within, drop=True)
    double = data.error_float64.where(within, drop=True)
    assert (double < 1e-10).all()
    assert (single < EXACT).all()
    assert (single > 0).all()


def test_decoder_waits_beyond_what_it_withstands():
    for protocol in ("wait for all", "gradient code, s = 2", "DRACO, r = 3"):
        data = cell(protocol)
        beyond = data.error.where(data.stragglers > WITHSTANDS[protocol], drop=True)
        assert beyond.isnull().all(), protocol


def test_ignoring_workers_leaves_out_files_and_errs(rng):
    data = cell("ignore 6")
    assert float(data.left_out) == pytest.approx(6 / 42)
    answered = data.error.sel(byzantine=0, stragglers=slice(0, 6))
    assert ((answered > 0.02) & (answered < 0.5)).all()
    assert data.error.sel(stragglers=7).isnull().all()
    rows, nobody = rng.standard_normal((42, 3)), np.zeros(42, dtype=bool)
    late = np.arange(42) < 2
    total = SCHEMES["uncoded"](6, 2, 2).decoder(rows)(nobody, late, rng)
    assert total == pytest.approx(rows[2:].mean(axis=0) * 42)
    everyone = SCHEMES["uncoded"](6, 2, 2).decoder(np.ones((42, 1)))(nobody, nobody, rng)
    assert everyone == pytest.approx(42)


def test_one_byzantine_worker_distorts_what_no_vote_or_code_checks():
    for protocol in TRUSTING:
        errors = cell(protocol).error.sel(byzantine=1, stragglers=0)
        assert (errors > EXACT).all(), protocol


def test_votes_and_draco_withstand_byzantine_workers():
    for protocol, byzantine, late in [
        ("DETOX, r = 3", 1, 0), ("DETOX, r = 7", 3, 0), ("DETOX, r = 7", 1, 3),
        ("DRACO, r = 3", 1, 0), ("DRACO, r = 7", 3, 0), ("DRACO, r = 7", 1, 2),
    ]:  # fmt: skip
        errors = cell(protocol).error.sel(byzantine=byzantine, stragglers=late)
        assert (errors < 1e-6).all(), (protocol, byzantine, late)


def test_draco_is_wrong_when_late_and_byzantine_workers_are_too_many_together(rng):
    chosen = SCHEMES["draco"](6, 2, 6)
    rows = rng.standard_normal((42, 50))
    decode, honest = chosen.decoder(rows), rows.sum(axis=0)
    workers = np.arange(42)
    assert decode(workers < 2, workers == 40, rng) == pytest.approx(honest)
    wrong = decode(workers < 3, workers == 40, rng)
    assert np.linalg.norm(wrong - honest) > np.linalg.norm(honest)
    assert decode(workers < 0, workers > 37, rng) is None


def test_vote_counts_the_copies_that_arrived(rng):
    for copies in (3, 7):
        files = 42 // copies
        rows = rng.standard_normal((files, 4))
        decode = SCHEMES["vote"](6, 2, copies - 1).decoder(rows)
        seen = set()
        for q, s in [(0, 1), (1, 1), (2, 2), (2, 30), (8, 6), (12, 12), (20, 10)] * 6:
            byzantine, late = coding.draw(42, q, s, rng)
            total, ties, expected = decode(byzantine, late, rng), False, np.zeros(4)
            for file, row in enumerate(rows):
                group = range(file * copies, (file + 1) * copies)
                arrived = [worker for worker in group if not late[worker]]
                forged = sum(byzantine[worker] for worker in arrived)
                ties |= 2 * forged == len(arrived)
                expected += FORGED * row if 2 * forged > len(arrived) else row
            seen.add((ties, bool(np.allclose(expected, rows.sum(axis=0)))))
            assert (total is None) == ties, (copies, q, s)
            assert ties or total == pytest.approx(expected), (copies, q, s)
        assert {(False, True), (False, False), (True, True)} <= seen


def sent_by(tree, rows, worker, byzantine, late):
    """What one worker of the tree sends, -1 being the master: messages by plain recursion."""
    own = tree.weights[worker] @ rows if worker >= 0 else np.zeros(rows.shape[1])
    below = [child for child in range(len(byzantine)) if tree.parent[child] == worker]
    if below:
        weights = coding.decode_weights(tree.code, late[below])
        for child, weight in zip(below, weights, strict=True):
            if not late[child]:
                own = own + weight * sent_by(tree, rows, child, byzantine, late)
    return own * (FORGED if worker >= 0 and byzantine[worker] else 1.0)


def test_byzantine_worker_in_a_tree_forges_what_its_children_sent(rng):
    for spare in (0, 1):
        tree = coding.coded_reduce(3, 2, spare)
        rows = rng.standard_normal((tree.files, 4))
        decode = SCHEMES["tree"](3, 2, spare).decoder(rows)
        late = np.zeros(12, dtype=bool)
        late[[1, 3, 7][: 3 * spare]] = True
        for chosen in ([], [0], [5], [0, 4], [0, 2, 10]):
            byzantine = np.isin(np.arange(12), chosen)
            expected = sent_by(tree, rows, -1, byzantine, late)
            assert decode(byzantine, late, rng) == pytest.approx(expected), (spare, chosen)
            assert np.allclose(expected, rows.sum(axis=0)) == (not chosen), (spare, chosen)


# --- the sweep and its figure --------------------------------------------------------------------


def test_outcomes_add_up(dataset):
    found = outcomes(dataset)
    total = found.exact + found.waits + found.wrong
    assert total.values == pytest.approx(1)
    failed = dataset.where(dataset.protocol != "tree")
    assert outcomes(failed).sel(protocol="tree").waits.isnull().all()


def test_cell_depends_on_its_fields_and_on_nothing_else():
    few = {"byzantine": [1], "stragglers": [2]}
    for protocol in ("CodedReduce, s = 1", "DETOX, r = 3"):
        alone = stragglers.run(fields(protocol, **few))
        assert alone.drop_vars("error_float64").identical(
            cell(protocol).sel(few).drop_vars("error_float64")
        ), protocol
        other = stragglers.run(fields(protocol, **few, seed=1))
        assert (other.seconds != alone.seconds).all(), protocol


def test_finding_is_of_protocols_that_leave_no_file_out(dataset):
    out = np.array([name.startswith("ignore") for name in dataset.protocol.values])
    some = dataset.assign(left_out=("protocol", out.astype(float)))
    some["seconds"] = some.seconds.where(some.protocol != "tree", 0.5)
    some["seconds_error"] = 0 * some.seconds_error
    found = finding(some)
    assert "**2 stragglers**, 10 times slower: the fastest is *tree* with 0.50 ± 0.00 s" in found
    assert "**1 Byzantine worker**" in found
    assert "ignore" not in found
    assert finding(dataset.where(False)) == "No cell of this dataset is finished."


def test_figure_draws_times_and_errors(dataset):
    panels = draw(stragglers.figure, dataset).axes
    assert len(panels) == 4  # and the bar of colours
    lines, names, errors = panels[:3]
    drawn = {tuple(np.round(line.get_ydata().astype(float), 6)) for line in lines.get_lines()}
    times = dataset.seconds.sel(slowdown=10.0, byzantine=0)
    assert tuple(times.sel(protocol="CodedReduce, s = 1").values.round(6)) in drawn
    assert tuple(times.sel(protocol="CodedReduce, s = 2").values.round(6)) not in drawn
    assert "DETOX, r = 7   16.7%" in [text.get_text() for text in names.get_yticklabels()]
    (mesh,) = (part for part in errors.collections if isinstance(part, QuadMesh))
    found = outcomes(dataset)
    waits = int((found.waits > 0.5).sum())
    assert waits > 0
    assert np.ma.getmaskarray(np.ma.masked_invalid(mesh.get_array())).sum() == waits
    assert sum(isinstance(patch, Rectangle) for patch in errors.patches) == waits
    drawn = {text.get_text() for text in errors.texts} - {f"{q} Byzantine" for q in (0, 1, 3)}
    some = found.exact.values[(found.exact > 0).values & (found.exact < 1).values]
    assert drawn == {f"{100 * share:.0f}" for share in some}


def refusal(protocol: str, changes: dict) -> str:
    try:
        fields(protocol, **changes)
    except ValueError as error:
        return str(error)
    return "accepted"


def test_impossible_fields_are_refused():
    cases = [
        ("tree", {"sed": 1}, "did you mean 'seed'"),
        ("tree", {"scheme": "tre"}, "did you mean 'tree'"),
        ("tree", {"spare": 6}, "stragglers must be below the 6 workers, got 6; use at most 5"),
        (
            "wait for all",
            {"spare": 42},
            "spare must be below the 42 workers, got 42; use at most 41",
        ),
        ("DETOX, r = 3", {"spare": 3}, "copies must be odd"),
        ("DETOX, r = 3", {"spare": 4}, "copies must divide workers"),
        ("DRACO, r = 3", {"spare": 3}, "copies must be odd"),
        ("repetition, s = 2", {"spare": 3}, "needs stragglers . 1 = 4 to divide"),
        ("tree", {"stragglers": 3}, "stragglers must be a list of distinct numbers, got 3"),
        ("tree", {"stragglers": [1, 1]}, "list of distinct numbers"),
        ("tree", {"stragglers": [42]}, "below the 42 workers of the tree, got 42; use at most 41"),
        ("tree", {"byzantine": [1.5]}, "byzantine must be an integer of 0 or more, got 1.5"),
        ("tree", {"slowdowns": [0.5]}, "slowdowns must be a number of 1 or more, got 0.5"),
        ("tree", {"tail": float("inf")}, "tail must be a number of 0 or more, got inf"),
        ("tree", {"bandwidth": 0}, "bandwidth must be above 0"),
        ("tree", {"images": 1000}, "42 equal files and be at most 1438, got 1000; use 966"),
        ("tree", {"images": 1470}, "got 1470; use 1428"),
        ("tree", {"draws": 1}, "draws must be an integer of 2 or more, got 1"),
    ]
    for protocol, changes, message in cases:
        assert re.search(message, refusal(protocol, changes)), (protocol, changes)
