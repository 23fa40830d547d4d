"""Steps on a real Dask cluster: the bits of one process, whatever goes wrong."""

import dataclasses
import os
import signal
import threading

import numpy as np
import outside
import pytest

from detox_sim import Trial, train, training
from detox_sim.cluster import ClusterError, Fault, connect, processes
from detox_sim.cluster.digests import leaves, root
from detox_sim.cluster.processes import Processes
from detox_sim.cluster.workers import Workers
from detox_sim.training import SERVERS
from detox_sim.trials import PHASES

MEASURED = {"seconds", "worker_seconds", "bytes", "modelled_seconds"}  # the last by the server
SMALL = {"workers": 9, "copies": 3, "groups": 3, "batch": 45, "steps": 3, "evaluate_every": 2}
WIDE = {"model_options": {"hidden": 256}}  # 19,210 parameters: three shards
HONEST = Trial(**SMALL, byzantine=0)
BASE = Trial(**SMALL, **WIDE, byzantine=2, attack="alie")


def assert_same_bits(history, other, case):
    for name in set(history.data_vars) - MEASURED:
        np.testing.assert_array_equal(history[name], other[name], err_msg=f"{case}: {name}")


@pytest.fixture(scope="module")
def honest():
    """The run of `HONEST` in one process."""
    return train(HONEST)


# --- Nothing goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
def test_cluster_gives_bits_of_one_process(client, server):
    """Also what is moved: every copy, or its digest and one copy of each winner."""
    history = train(BASE, client=client, server=server)
    assert_same_bits(train(BASE), history, server)
    vector, count = 4 * 19_210, len(client.nthreads())
    moved = history.bytes.sel(step=1)
    assert moved.sel(phase="broadcast") == count * vector
    sent = {"central": 9 * vector, "sharded": 3 * (vector + count**2 * 32) + 9 * 32}
    assert moved.sel(phase="send") == sent[server]
    slowest, mean = (history.worker_seconds.sel(statistic=name) for name in ("max", "mean"))
    assert (slowest >= mean).all()
    assert (mean > 0).all()
    for phase in PHASES:
        assert (history.seconds.sel(phase=phase) > 0).all(), phase


FEW, TWO = SMALL | {"steps": 1}, SMALL | {"steps": 2}
NO_GROUPS = {"groups": None, "steps": 1}
OTHERS = {
    "no redundancy, mixer, multi-Krum": Trial(
        workers=9, byzantine=2, copies=1, assignment="none", groups=None, outer="multi_krum",
        mixers=["nnm"], attack="gaussian", batch=45, steps=1, **WIDE,
    ),
    "reshuffled, geometric median, relabelled": Trial(
        **FEW, byzantine=2, outer="geometric_median", attack="label_flip",
        assignment_options={"reshuffle": True},
    ),
    "clique": Trial(
        **NO_GROUPS, workers=6, byzantine=1, assignment="subsets", vote="clique",
        attack="constant", batch=40,
    ),
    "streaming, adaptive placement": Trial(
        **FEW, byzantine=2, vote="streaming", attack="reverse", placement="adaptive",
    ),
    "worker momentum, relabelled, from the last aggregate": Trial(
        **TWO, byzantine=2, attack="label_flip", worker_momentum=0.9, knowledge="groups",
        partition="similarity", partition_options={"similarity": 0.2},
        outer="centered_clipping", outer_options={"radius": 1.0, "start": "previous"},
    ),
    "the same, searched": Trial(
        **TWO, byzantine=2, attack="searched", attack_options={"evaluations": 8},
        outer="centered_clipping", outer_options={"radius": 1.0, "start": "previous"},
        mixers=["past_clipping"],
    ),
    "adaptive placement, searched through the vote": Trial(
        **FEW, byzantine=2, attack="searched", knowledge="groups", placement="adaptive",
    ),
    "batch norm, augmented": Trial(
        **FEW, byzantine=1, attack="mimic", model="outside:normed", data="outside:pictures",
    ),
}  # fmt: skip
VALUES = {
    "cyclic code": Trial(
        **NO_GROUPS, workers=7, byzantine=1, assignment="cyclic", vote="cyclic",
        attack="constant", outer="mean", batch=42,
    ),
    "reactive": Trial(
        **SMALL | {"groups": None}, byzantine=1, assignment="cyclic", vote="reactive",
        placement="fixed", attack="constant", attack_rate=0.6, vote_options={"chance": 0.5},
    ),
    "coded, relabelled": Trial(
        **SMALL | {"groups": None}, byzantine=2, assignment="cyclic", encoding="random_part",
        assignment_options={"reshuffle": True}, attack="label_flip",
    ),
    "coded, unequal loads, worker momentum": Trial(
        **SMALL | {"groups": None}, byzantine=2, assignment="election", encoding="sign",
        outer="sign_majority", worker_momentum=0.9, attack="alie",
    ),
    "tolerance": Trial(**FEW, byzantine=2, attack="alie", vote_options={"tolerance": 1e-5}),
}  # fmt: skip


def test_other_pipelines_give_bits_of_one_process(client):
    for name, trial in OTHERS.items():
        alone = train(trial)
        for server in SERVERS:
            assert_same_bits(alone, train(trial, client=client, server=server), (name, server))


def test_votes_on_values_need_central_server(client):
    for name, trial in VALUES.items():
        assert_same_bits(train(trial), train(trial, client=client), name)
        with pytest.raises(ValueError, match=r"votes on digests.* use server='central'"):
            train(trial, client=client, server="sharded")


def test_checkpoint_of_a_cluster_resumes_with_same_bits(client, tmp_path, monkeypatch):
    """Killed after step 2 of 3; a run in one process, or of another server, is another run."""
    trial, step = OTHERS["batch norm, augmented"], training.step
    trial = dataclasses.replace(trial, steps=3, worker_momentum=0.9)
    alone = train(trial)
    for server in SERVERS:
        path = tmp_path / server
        where = {"client": client, "server": server, "checkpoint": path, "checkpoint_every": 2}
        with monkeypatch.context() as patch:
            patch.setattr(training, "step", lambda server, k: step(server, k) if k < 3 else 1 / 0)
            with pytest.raises(ZeroDivisionError):
                train(trial, **where)
        resumed = train(trial, **where)
        assert resumed.bytes.shape[0] == 3
        assert_same_bits(alone, resumed, server)
        with pytest.raises(ValueError, match="is of another run"):
            train(trial, checkpoint=path)


# --- Messages that are late or malformed ----------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
def test_one_faulty_copy_of_three_changes_nothing(client, server, honest):
    """At most one of the three workers of a file (0-2, 3-5, 6-8) is faulty at each step."""
    faults = [
        Fault(1, 0, "nan"),
        Fault(1, 3, "length"),
        Fault(1, 8, "dtype"),
        Fault(2, 0, "digest"),
        Fault(2, 4, "drop"),
        Fault(2, 6, "delay", seconds=3.0),  # arrives after the deadline of 2 s
        Fault(3, 0, "delay", seconds=0.3),
        Fault(3, 4, "delay", seconds=60.0),  # the server stops waiting for it
    ]
    history = train(HONEST, client=client, server=server, deadline=2.0, faults=iter(faults))
    assert_same_bits(honest, history, server)
    counted = {
        "late_messages": [0, 2, 1],
        "malformed_messages": [2, 0, 0] if server == "central" else [0, 0, 0],
        "mismatched_messages": [0, 1, 0] if server == "sharded" else [0, 0, 0],
    }
    assert {name: history[name].values.tolist() for name in counted} == counted


@pytest.mark.parametrize("server", SERVERS)
def test_vote_counts_copies_that_arrived(client, server, honest):
    """With two of three copies late the third decides; with all three the vote is undecided."""
    faults = [Fault(1, worker, "drop") for worker in range(3)]
    setting = {"client": client, "server": server, "deadline": 60.0}
    one_left = train(HONEST, **setting, faults=faults[:2])
    assert one_left.late_messages.values.tolist() == [2, 0, 0]
    assert not one_left.undecided_files.any()
    assert np.array_equal(one_left.test_loss, honest.test_loss)
    none_left = train(HONEST, **setting, faults=faults)
    assert none_left.undecided_files.values.tolist() == [1, 0, 0]
    assert not np.array_equal(none_left.test_loss, honest.test_loss)


def test_two_false_digests_lose_their_majority(client, honest):
    """Two of three workers announce a digest that their vectors do not have."""
    faults = [Fault(2, worker, kind) for worker in (0, 1) for kind in ("nan", "digest")]
    history = train(HONEST, client=client, server="sharded", faults=faults)
    assert_same_bits(honest, history, "two of three")
    assert history.mismatched_messages.values.tolist() == [0, 2, 0]


@pytest.mark.parametrize("server", SERVERS)
def test_step_that_cannot_be_finished_names_step_and_worker(client, server):
    silent = [Fault(2, 4, "drop")]
    streaming = dataclasses.replace(HONEST, vote="streaming")
    failing = dataclasses.replace(HONEST, model="outside:fails_in_a_process")
    cases = {
        "step 2: worker 4 sent nothing, and without a deadline": (HONEST, {"faults": silent}),
        "step 2: vote: vote 'streaming' needs every copy": (
            streaming,
            {"deadline": 60.0, "faults": silent},
        ),
        r"step 1: worker 0 could not compute: .*out of luck": (failing, {}),
    }
    for message, (trial, setting) in cases.items():
        with pytest.raises(ClusterError, match=message):
            train(trial, client=client, server=server, **setting)


def test_refused_settings(client):
    with connect(processes=1) as closed:
        pass
    drop, deadline = Fault(1, 1, "drop"), "deadline must be a number"
    cases = [
        ({"deadline": 1.0}, "need a client"),
        ({"faults": [drop]}, "need a client"),
        ({"server": "sharded"}, "need a client"),
        ({"server": "shaded"}, "unknown server 'shaded'; did you mean 'sharded'"),
        ({"client": "tcp://127.0.0.1:8786"}, "client must be a connected"),
        ({"client": closed}, "client must be a connected"),
        *[({"client": client, "deadline": d}, deadline) for d in (0, -1, np.inf, np.nan, "soon")],
        ({"client": client, "faults": [Fault(9, 1, "drop")]}, "no step 9 in a trial of 3 steps"),
        ({"client": client, "faults": Fault(1, 9, "drop")}, "no worker 9 in a trial of 9 workers"),
        ({"client": client, "faults": [(1, 1, "drop")]}, "faults must be of detox_sim.cluster"),
    ]
    for setting, message in cases:
        with pytest.raises(ValueError, match=message):
            train(HONEST, **setting)


# --- Processes that die, leave and join -----------------------------------------------------------


def once_in(monkeypatch, step, action):
    """Do something once, after the workers computed and before they send at one step."""
    forge, done = Workers.forge, []

    def forge_after_action(self, gradients, placement, k):
        if k == step and not done:
            done.append(k)
            action()
        return forge(self, gradients, placement, k)

    monkeypatch.setattr(Workers, "forge", forge_after_action)


def test_killed_process_changes_nothing(monkeypatch):
    """In the third step after the state was last saved: shards and momenta are restored from it."""
    plain = dataclasses.replace(HONEST, steps=4, evaluate_every=4)
    cases = [("central", 0.0), ("central", 0.9), ("sharded", 0.9)]
    with connect(processes=2) as client:
        for server, beta in cases:
            trial = dataclasses.replace(plain, worker_momentum=beta)
            client.wait_for_workers(2, timeout=60)
            pid = min(client.run(os.getpid).items())[1]
            with monkeypatch.context() as patch:
                once_in(patch, 3, lambda pid=pid: os.kill(pid, signal.SIGKILL))
                history = train(trial, client=client, server=server)
            assert_same_bits(train(trial), history, (server, beta))
            assert pid not in client.run(os.getpid).values()


def test_process_that_joins_or_leaves_changes_nothing(monkeypatch):
    """It joins in step 2; it leaves in step 4 after the server looked up which there are."""
    refresh, step = Processes.refresh, training.step
    trial = dataclasses.replace(HONEST, steps=4)
    alone = train(trial)
    for server in SERVERS:
        with connect(processes=1) as client:
            now, left = [], []

            def watched_step(server, k, now=now):
                now.append(k)
                return step(server, k)

            def refresh_and_leave(self, now=now, left=left):
                refresh(self)
                if now and now[-1] == 4 and not left:
                    left.append(self.addresses[0])
                    self.client.retire_workers(left)

            def join(client=client):
                client.cluster.scale(2)
                client.wait_for_workers(2, timeout=60)

            with monkeypatch.context() as patch:
                once_in(patch, 2, join)
                patch.setattr(training, "step", watched_step)
                patch.setattr(Processes, "refresh", refresh_and_leave)
                history = train(trial, client=client, server=server)
            assert_same_bits(alone, history, server)
            assert history.new_processes.values.tolist() == [0, 0, 1, 0], server
            assert left[0] not in client.nthreads(), server


def test_lost_scheduler_is_one_clear_error(monkeypatch):
    slow = Fault(2, 0, "delay", seconds=20.0)
    with connect(processes=1) as client:
        timer = threading.Timer(0.5, client.cluster.close)
        once_in(monkeypatch, 2, timer.start)
        message = r"step 2: the scheduler was lost while .*start it"
        with pytest.raises(ClusterError, match=message):
            train(HONEST, client=client, server="sharded", faults=[slow])
        timer.join()


def test_step_without_processes_ends(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", 1.0)
    slow = Fault(2, 0, "delay", seconds=20.0)
    with connect(processes=1) as client:
        timer = threading.Timer(0.5, lambda: client.cluster.scale(0))
        once_in(monkeypatch, 2, timer.start)
        message = r"step 2: (all processes are gone|.*no workers)"
        with pytest.raises(ClusterError, match=message):
            train(HONEST, client=client, faults=[slow])
        timer.join()


def test_missing_gpu_is_an_error(client):
    trial = Trial(**SMALL, byzantine=0)
    object.__setattr__(trial, "backend", "cupy")  # a Trial of it cannot be made without a GPU
    with pytest.raises(ClusterError, match="has no worker with a GPU; start one with: dask worker"):
        train(trial, client=client)


def test_tasks_that_need_a_gpu_run_where_one_is_offered(monkeypatch):
    """As if NumPy needed one; also from a task that holds the only one."""
    monkeypatch.setitem(processes.RESOURCES, "numpy", {"GPU": 1.0})
    trial = dataclasses.replace(HONEST, steps=1)
    alone = train(trial)
    with connect(gpu=True) as client:
        for server in SERVERS:
            assert_same_bits(alone, train(trial, client=client, server=server), server)
            nested = client.submit(
                outside.train_as_if_on_a_gpu, trial, server, resources={"GPU": 1.0}
            )
            assert_same_bits(alone, nested.result(timeout=60), (server, "nested"))


# --- Digests --------------------------------------------------------------------------------------


def test_digests_differ_where_vectors_do():
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
