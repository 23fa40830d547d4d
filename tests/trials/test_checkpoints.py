"""A run that was killed and goes on is the run that was never killed, bit for bit."""

import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from detox_sim import training
from detox_sim.cluster import connect
from detox_sim.training import SERVERS, train
from detox_sim.trials import checkpoints
from detox_sim.trials.trial import Trial

NORMED = {"model": "outside:normed", "data": "outside:pictures", "batch": 30}
SMALL = {"workers": 15, "byzantine": 3, "attack": "gaussian", "steps": 9, "evaluate_every": 4}
TRIALS = {
    "digits": Trial(**SMALL, model="mlp", batch=30, decay=0.9, decay_every=2),
    "batch norm, augmented": Trial(**SMALL, **NORMED),
    "reshuffled": Trial(**SMALL, model="softmax", batch=30, assignment_options={"reshuffle": True}),
}


def bits(history):
    measured = [n for n in ("seconds", "worker_seconds", "new_processes") if n in history]
    kept = history.drop_vars(measured)
    return {name: kept[name].values.tobytes() for name in kept.variables}


class KilledError(Exception):
    pass


def stop_after(monkeypatch, step):
    """Let `train` fail in the step after a given one."""
    perform = training._round

    def until(host, now, wanted=False):
        if now > step:
            raise KilledError
        return perform(host, now, wanted)

    monkeypatch.setattr(training, "_round", until)


@pytest.mark.parametrize("name", TRIALS)
@pytest.mark.parametrize(("every", "stop"), [(1, 5), (3, 5), (4, 8), (9, 4)])
def test_a_resumed_run_has_the_same_bits(tmp_path, monkeypatch, name, every, stop):
    trial, path = TRIALS[name], tmp_path / "run"
    whole = train(trial)
    with monkeypatch.context() as patch:
        stop_after(patch, stop)
        with pytest.raises(KilledError):
            train(trial, checkpoint=path, checkpoint_every=every)
    assert path.exists() == (every <= stop)
    begun = []
    with monkeypatch.context() as patch:
        perform = training._round
        patch.setattr(
            training,
            "_round",
            lambda host, step, **k: begun.append(step) or perform(host, step, **k),
        )
        resumed = train(trial, checkpoint=path, checkpoint_every=every)
    assert begun == [1, *range(stop // every * every + 1, 10)]  # the first one warms up
    assert bits(resumed) == bits(whole)
    assert bits(train(trial, checkpoint=path)) == bits(whole)  # it stays, and is done


@pytest.mark.parametrize("server", SERVERS)
def test_on_a_cluster_too(tmp_path, monkeypatch, server):
    trial = TRIALS["batch norm, augmented"]
    whole = train(trial)
    with connect(processes=2) as client:
        with monkeypatch.context() as patch:
            stop_after(patch, 5)
            with pytest.raises(KilledError):
                train(trial, client=client, server=server, checkpoint=tmp_path / "run",
                      checkpoint_every=2)  # fmt: skip
        resumed = train(trial, client=client, server=server, checkpoint=tmp_path / "run")
    assert resumed.bytes.shape[0] == 9
    common = bits(whole).keys() - {"modelled_seconds"}
    assert {k: bits(resumed)[k] for k in common} == {k: bits(whole)[k] for k in common}


def test_a_killed_process_goes_on(tmp_path):
    code = (
        "import sys; from detox_sim import Trial, train;"
        "h = train(Trial(model='mlp', batch=90, steps=400, attack='alie'), checkpoint=sys.argv[1],"
        " checkpoint_every=20);"
        "h.drop_vars('seconds').to_netcdf(sys.argv[2])"
    )
    path, end = tmp_path / "run", tmp_path / "end.nc"
    process = subprocess.Popen([sys.executable, "-c", code, path, end])
    for _ in range(600):
        if path.exists():
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not end.exists()
    body = path.read_bytes()[len(checkpoints.MARK) + checkpoints.DIGEST :]
    assert 0 < int(np.load(io.BytesIO(body))["step"]) < 400
    subprocess.run([sys.executable, "-c", code, path, end], check=True)
    undisturbed = tmp_path / "whole.nc"
    subprocess.run([sys.executable, "-c", code, tmp_path / "other", undisturbed], check=True)
    import xarray as xr

    with xr.open_dataset(end) as resumed, xr.open_dataset(undisturbed) as whole:
        assert resumed.identical(whole)


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "run"
    train(TRIALS["digits"], checkpoint=path, checkpoint_every=3)
    other = Trial(**SMALL, model="mlp", batch=30, seed=1)
    with pytest.raises(ValueError, match=f"checkpoint {path} is of another run; name another"):
        train(other, checkpoint=path)


@pytest.mark.parametrize("content", [b"", checkpoints.MARK[:1], checkpoints.MARK + b" damaged"])
def test_a_damaged_checkpoint_is_begun_again(tmp_path, content):
    path = tmp_path / "run"
    path.write_bytes(content)
    history = train(TRIALS["digits"], checkpoint=path, checkpoint_every=5)
    assert bits(history) == bits(train(TRIALS["digits"]))
    assert path.read_bytes().startswith(checkpoints.MARK)


def test_a_cut_checkpoint_is_begun_again(tmp_path):
    path = tmp_path / "run"
    train(TRIALS["digits"], checkpoint=path, checkpoint_every=3)
    raw = path.read_bytes()
    for size in range(0, len(raw), len(raw) // 7):
        path.write_bytes(raw[:size])
        assert bits(train(TRIALS["digits"], checkpoint=path)) == bits(train(TRIALS["digits"]))


def test_a_changed_byte_anywhere_is_seen(tmp_path):
    path = tmp_path / "run"
    checkpoints.save(path, "run", {"step": np.arange(9)})
    raw = path.read_bytes()
    for place in range(len(raw)):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        if place < len(checkpoints.MARK):
            with pytest.raises(ValueError, match="is no checkpoint"):
                checkpoints.load(path, "run")
        else:
            assert checkpoints.load(path, "run") is None


def test_it_is_whole_or_not_there(tmp_path, monkeypatch):
    """A write that fails leaves the last checkpoint, and no other file."""
    path = tmp_path / "run"
    checkpoints.save(path, "run", {"step": np.array(1)})

    def fails(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fails)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(path, "run", {"step": np.array(2)})
    assert int(checkpoints.load(path, "run")["step"]) == 1
    assert [file.name for file in Path(tmp_path).iterdir()] == ["run"]


def test_every_step_count_is_checked():
    with pytest.raises(ValueError, match="checkpoint_every must be an integer of 1 or more, got 0"):
        train(TRIALS["digits"], checkpoint="x", checkpoint_every=0)


def test_a_run_on_a_cluster_is_another_run(tmp_path):
    trial, path = TRIALS["digits"], tmp_path / "run"
    train(trial, checkpoint=path, checkpoint_every=4)
    with connect(processes=1) as client, pytest.raises(ValueError, match="is of another run"):
        train(trial, client=client, checkpoint=path)


@pytest.mark.parametrize(
    ("place", "message"), [("no/run", "no folder .*/no for the checkpoint run"), (".", "be a file")]
)
def test_a_place_where_none_can_lie_is_refused_before_training(tmp_path, place, message):
    with pytest.raises(ValueError, match=message):
        train(TRIALS["digits"], checkpoint=tmp_path / place)
    with pytest.raises(ValueError, match="must be a file"):
        train(TRIALS["digits"], checkpoint="/dev/null")
    with pytest.raises(ValueError, match="'/proc/run' cannot be written: No such file"):
        train(TRIALS["digits"], checkpoint="/proc/run")


def test_a_file_of_another_kind_is_refused_and_kept(tmp_path):
    np.save(tmp_path / "run.npy", np.ones(3))
    (tmp_path / "run.txt").write_text("not an archive")
    (tmp_path / "run.docx").write_bytes(b"PK my thesis")
    np.savez(tmp_path / "run.npz", weights=np.ones(3))
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
        archive.writestr("word/document.xml", "text")
    for name in ("run.npy", "run.txt", "run.docx", "run.npz", "run.zip"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ValueError, match=f"{name} is no checkpoint; name another file"):
            train(TRIALS["digits"], checkpoint=tmp_path / name, checkpoint_every=9)
        assert (tmp_path / name).read_bytes() == before
