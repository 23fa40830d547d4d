"""Rounds on real Dask workers: the same bits as one process, whatever goes wrong."""

import dataclasses
import os
import signal
import threading
import time

import numpy as np
import outside
import pytest
from distributed import Client, LocalCluster

from detox_sim import Trial, train
from detox_sim.cluster import ClusterError, Fault, connect, workers
from detox_sim.cluster.tasks import leaves, root

MEASURED = {"seconds", "worker_seconds", "bytes", "modelled_seconds"}  # the last by the server
SERVERS = ["central", "sharded"]
SMALL = {"workers": 9, "copies": 3, "groups": 3, "batch": 45, "steps": 3, "evaluate_every": 2}
WIDE = {"model_options": {"hidden": 256}}  # 19,210 parameters: shards for four workers

TRIALS = {
    "D-Median, ALIE": Trial(**SMALL, **WIDE, byzantine=2, attack="alie"),
    "Krum with nnm, noise": Trial(
        workers=9, byzantine=2, copies=1, assignment="none", groups=None, outer="multi_krum",
        mixers=["nnm"], attack="gaussian", batch=45, steps=2, **WIDE,
    ),
    "secret groups, geometric median, relabelled": Trial(
        **SMALL, **WIDE, byzantine=2, outer="geometric_median", attack="label_flip",
        assignment_options={"reshuffle": True},
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=[1, 2, 4])
def client(request):
    with connect(processes=request.param) as client:
        yield client


@pytest.fixture(scope="module")
def two():
    with connect(processes=2) as client:
        yield client


def same_bits(history, other):
    for name in set(history.data_vars) - MEASURED:
        np.testing.assert_array_equal(history[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def alone():
    """The runs in one process."""
    return {name: train(trial) for name, trial in TRIALS.items()}


@pytest.mark.parametrize("name", TRIALS)
@pytest.mark.parametrize("server", SERVERS)
def test_any_number_of_workers_gives_the_bits_of_one_process(client, server, name, alone):
    same_bits(alone[name], train(TRIALS[name], client=client, server=server))


OTHERS = {
    "clique": Trial(
        workers=6, byzantine=1, copies=3, assignment="subsets", vote="clique", attack="constant",
        groups=None, batch=40, steps=2,
    ),
    "streaming": Trial(**SMALL | {"steps": 2}, byzantine=2, vote="streaming", attack="reverse"),
    "adaptive, through the vote, searched": Trial(
        **SMALL | {"steps": 2}, byzantine=2, attack="searched", knowledge="groups",
        placement="adaptive",
    ),
    "Latin squares, mimic": Trial(
        workers=12, byzantine=2, copies=3, assignment="mols", groups=None, outer="median",
        attack="mimic", batch=48, steps=2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("server", SERVERS)
def test_other_votes_and_attackers(two, server, name):
    same_bits(train(OTHERS[name]), train(OTHERS[name], client=two, server=server))


def test_votes_on_values(two):
    cyclic = Trial(
        workers=7, byzantine=1, copies=3, assignment="cyclic", vote="cyclic", attack="constant",
        groups=None, outer="mean", batch=42, steps=2,
    )  # fmt: skip
    near = Trial(**SMALL, byzantine=2, attack="alie", vote_options={"tolerance": 1e-5})
    for trial in (cyclic, near):
        same_bits(train(trial), train(trial, client=two))
        with pytest.raises(ValueError, match=r"votes on digests, and vote .* needs the values"):
            train(trial, client=two, server="sharded")


@pytest.mark.parametrize("server", SERVERS)
def test_every_copy_is_sent_or_only_its_digest(two, server):
    trial = TRIALS["D-Median, ALIE"]
    history = train(trial, client=two, server=server)
    vector = 4 * 19_210
    moved = history.bytes.sel(step=1)
    assert moved.sel(phase="broadcast") == 2 * vector
    if server == "central":
        assert moved.sel(phase="send") == 9 * vector
    else:
        assert moved.sel(phase="send") == 3 * (vector + 2 * 2 * 32) + 9 * 32
    assert (
        history.worker_seconds.sel(statistic="max") >= history.worker_seconds.sel(statistic="mean")
    ).all()
    assert (history.worker_seconds > 0).all()
    for phase in ("broadcast", "compute", "send", "vote", "aggregate", "update"):
        assert (history.seconds.sel(phase=phase) > 0).all()


# --- Messages that are late or malformed ----------------------------------------------------------

HONEST = Trial(**SMALL, byzantine=0)


@pytest.fixture(scope="module")
def honest():
    return train(HONEST)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("fault", "deadline", "counted"),
    [
        (Fault(2, 0, "drop"), 60.0, "late_messages"),
        (Fault(2, 4, "delay", seconds=30.0), 1.0, "late_messages"),
        (Fault(2, 4, "delay", seconds=0.3), None, None),
        (Fault(2, 0, "nan"), None, None),
        (Fault(2, 0, "length"), None, "malformed_messages"),
        (Fault(2, 8, "dtype"), None, "malformed_messages"),
        (Fault(2, 0, "digest"), None, "mismatched_messages"),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_one_faulty_node_of_three_changes_nothing(two, server, fault, deadline, counted, honest):
    history = train(HONEST, client=two, server=server, deadline=deadline, faults=[fault])
    same_bits(honest, history)
    digests = {"malformed_messages": "central", "mismatched_messages": "sharded"}
    for name in ("late_messages", "malformed_messages", "mismatched_messages"):
        seen = name == counted and digests.get(name, server) == server
        assert history[name].values.tolist() == [0, int(seen), 0], name


@pytest.mark.parametrize("server", SERVERS)
def test_votes_are_of_the_copies_that_arrived(two, server):
    """Two of three copies are late: the third decides; all three: the vote is zero, undecided."""
    trial = Trial(**SMALL, byzantine=0)
    holders = [0, 1, 2]
    faults = [Fault(1, node, "drop") for node in holders[:2]]
    history = train(trial, client=two, server=server, deadline=60.0, faults=faults)
    assert history.late_messages.values.tolist() == [2, 0, 0]
    assert history.undecided_files.values.tolist() == [0, 0, 0]
    same = train(trial, client=two, server=server)
    assert np.array_equal(history.test_loss, same.test_loss)
    faults = [Fault(1, node, "drop") for node in holders]
    history = train(trial, client=two, server=server, deadline=60.0, faults=faults)
    assert history.undecided_files.values.tolist() == [1, 0, 0]
    assert not np.array_equal(history.test_loss, same.test_loss)


def test_two_false_digests_win_and_are_found_out(two, honest):
    """Two of three promise what they do not have: they are asked, found out, and outvoted."""
    faults = [Fault(2, node, kind) for node in (0, 1) for kind in ("nan", "digest")]
    history = train(HONEST, client=two, server="sharded", faults=faults)
    same_bits(honest, history)
    assert history.mismatched_messages.values.tolist() == [0, 2, 0]


@pytest.mark.parametrize("server", SERVERS)
def test_a_silent_node_without_a_deadline_is_an_error_that_names_it(two, server):
    message = "step 2: node 4 sent nothing, and without a deadline the server waits for ever"
    with pytest.raises(ClusterError, match=message):
        train(HONEST, client=two, server=server, faults=[Fault(2, 4, "drop")])


@pytest.mark.parametrize("server", SERVERS)
def test_a_vote_that_needs_every_copy_says_so(two, server):
    with pytest.raises(ClusterError, match="step 2: vote: vote 'streaming' needs every copy"):
        train(
            OTHERS["streaming"], client=two, server=server, deadline=60.0,
            faults=[Fault(2, 4, "drop")],
        )  # fmt: skip


@pytest.mark.parametrize("server", SERVERS)
def test_an_error_on_a_worker_names_step_and_node(two, server):
    trial = Trial(**SMALL, byzantine=0, model="outside:fails_on_a_worker")
    train(trial)
    with pytest.raises(ClusterError, match=r"step 1: node 0 could not compute: .*out of luck"):
        train(trial, client=two, server=server)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"server": "central", "deadline": 1.0}, "need a cluster"),
        ({"server": "shaded"}, "unknown server 'shaded'; did you mean 'sharded'"),
        ({"faults": [Fault(1, 1, "drop")]}, "need a cluster"),
    ],
)
def test_options_that_need_a_cluster(options, message):
    with pytest.raises(ValueError, match=message):
        train(HONEST, **options)


@pytest.mark.parametrize("deadline", [0, -1, np.inf, np.nan, "soon"])
def test_impossible_deadlines(two, deadline):
    with pytest.raises(ValueError, match="deadline must be a number"):
        train(HONEST, client=two, deadline=deadline)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([Fault(9, 1, "drop")], "no step 9 in a trial of 3 steps"),
        ([(1, 1, "drop")], "faults must be of detox_sim.cluster.Fault"),
    ],
)
def test_impossible_faults(two, faults, message):
    with pytest.raises(ValueError, match=message):
        train(HONEST, client=two, faults=faults)


@pytest.mark.parametrize("faults", [Fault(1, 1, "drop"), (f for f in [Fault(1, 1, "drop")])])
def test_faults_may_come_in_any_way(two, faults):
    history = train(HONEST, client=two, deadline=60.0, faults=faults)
    assert history.late_messages.values.tolist() == [1, 0, 0]


def test_a_cluster_is_a_connected_client():
    with connect(processes=1) as client:
        pass
    for cluster in ("tcp://127.0.0.1:8786", client):
        with pytest.raises(ValueError, match="cluster must be a connected"):
            train(HONEST, client=cluster)


def test_a_fault_of_nobody(two):
    with pytest.raises(ValueError, match="no node 9 in a trial of 9 workers"):
        train(HONEST, client=two, faults=[Fault(1, 9, "drop")])


# --- Workers that die -----------------------------------------------------------------------------


def during(seconds, action):
    """Do something a while after now, in a thread."""
    thread = threading.Timer(seconds, action)
    thread.start()
    return thread


def kill(client, number=0):
    address = sorted(client.scheduler_info(-1)["workers"])[number]
    pid = client.run(os.getpid, workers=[address])[address]
    return pid, lambda: os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("server", SERVERS)
def test_a_worker_killed_in_a_round_changes_nothing(server):
    """In the third step after the state was last saved: the shards go back to it."""
    trial = dataclasses.replace(HONEST, steps=4, evaluate_every=4)
    with connect(processes=2) as client:
        train(HONEST, client=client, server=server)  # all is warm: the timer falls into step 3
        pid, murder = kill(client)
        slow = Fault(3, 0, "delay", seconds=4.0)
        thread = during(3.0, murder)
        history = train(trial, client=client, server=server, faults=[slow])
        thread.join()
        assert pid not in client.run(os.getpid).values()
    same_bits(train(trial), history)


def hog():
    held = []
    while True:
        held.append(np.ones(1 << 22))
        time.sleep(0.005)


def test_a_worker_out_of_memory_changes_nothing(honest):
    local = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "threads_per_worker": 1}
    with (
        LocalCluster(n_workers=2, memory_limit="1.5GiB", **local) as cluster,
        Client(cluster) as client,
    ):
        train(HONEST, client=client)
        address, pid = sorted(client.run(os.getpid).items())[0]
        slow = Fault(2, 1, "delay", seconds=3.0)
        hogs = []
        thread = during(0.5, lambda: hogs.append(client.submit(hog, workers=[address])))
        history = train(HONEST, client=client, faults=[slow])
        thread.join()
        until = time.monotonic() + 20
        while pid in client.run(os.getpid).values():
            assert time.monotonic() < until, "the worker was not killed"
            time.sleep(0.2)
    same_bits(honest, history)


@pytest.mark.parametrize("server", SERVERS)
def test_a_worker_that_goes_before_it_is_sent_anything(server, monkeypatch, honest):
    """After the server looked who is there."""
    real, calls = workers.Workers.refresh, []

    def refresh(self):
        real(self)
        calls.append(1)
        if len(calls) == 4:
            self.client.retire_workers([self.addresses[0]])

    monkeypatch.setattr(workers.Workers, "refresh", refresh)
    with connect(processes=2) as client:
        same_bits(honest, train(HONEST, client=client, server=server))


@pytest.mark.parametrize("server", SERVERS)
def test_a_worker_that_joins_is_told(server, honest):
    slow = Fault(1, 0, "delay", seconds=4.0)
    with connect(processes=1) as client:
        train(HONEST, client=client, server=server)
        thread = during(0.5, lambda: client.cluster.scale(2))
        history = train(HONEST, client=client, server=server, faults=[slow])
        thread.join()
    same_bits(honest, history)
    assert history.new_processes.sum() == 1


@pytest.mark.parametrize("server", SERVERS)
def test_a_lost_scheduler_is_one_clear_error(server):
    slow = Fault(2, 0, "delay", seconds=20.0)
    with connect(processes=1) as client:
        train(HONEST, client=client, server=server)
        thread = during(2.0, client.cluster.close)
        with pytest.raises(ClusterError, match=r"step \d: the scheduler was lost while .*start it"):
            train(HONEST, client=client, server=server, faults=[slow])
        thread.join()


def test_without_workers_a_round_ends(monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE_SECONDS", 1.0)
    slow = Fault(2, 0, "delay", seconds=20.0)
    with connect(processes=1) as client:
        train(HONEST, client=client)
        thread = during(1.5, lambda: client.cluster.scale(0))
        with pytest.raises(ClusterError, match=r"step \d: (all workers are gone|.*no workers)"):
            train(HONEST, client=client, faults=[slow])
        thread.join()


def test_no_gpu_is_an_error_not_a_hang(two):
    trial = Trial(**SMALL, byzantine=0)
    object.__setattr__(trial, "backend", "cupy")  # a Trial of it cannot be made without a GPU
    with pytest.raises(ClusterError, match="has no worker with a GPU; start one with: dask worker"):
        train(trial, client=two)


@pytest.mark.parametrize("server", SERVERS)
def test_tasks_that_need_a_gpu_go_where_one_is_offered(server, monkeypatch, honest):
    """As if NumPy needed one; also from a task that holds the only one."""
    monkeypatch.setitem(workers.RESOURCES, "numpy", {"GPU": 1.0})
    with connect(gpu=True) as client:
        same_bits(honest, train(HONEST, client=client, server=server))
        nested = client.submit(outside.train_as_if_on_a_gpu, HONEST, server, resources={"GPU": 1.0})
        same_bits(honest, nested.result(timeout=60))


# --- Digests --------------------------------------------------------------------------------------


def test_digests_tell_apart_what_differs():
    vector = np.arange(10, dtype=np.float32)
    others = [
        np.append(vector, vector[:1]),
        vector.astype(np.float64),
        np.where(vector == 3, np.float32(np.nan), vector),
        np.where(vector == 0, np.float32(-0.0), vector),
    ]
    roots = {root(leaves(each, [0, 4, 8, 10])) for each in (vector, vector.copy(), *others)}
    assert len(roots) == 5
    assert all(len(each) == 32 for each in roots)
