"""A run that was killed continues to the bits of one that was not."""

import io
import os
import signal
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from detox_sim import Trial, train, training
from detox_sim.trials import checkpoints
from detox_sim.trials.state import State

SMALL = {"workers": 15, "byzantine": 3, "steps": 9, "evaluate_every": 4, "batch": 30}
BASE = Trial(**SMALL, attack="gaussian", decay=0.9, decay_every=2)
TRIALS = {
    "batch norm, augmented, validation": Trial(
        **SMALL | {"steps": 5}, model="outside:normed", data="outside:pictures", validation=0.2
    ),
    "reshuffled": Trial(
        **SMALL | {"steps": 5}, model="softmax", assignment_options={"reshuffle": True}
    ),
    "worker momentum, relabelled, from the last aggregate": Trial(
        **SMALL | {"steps": 5}, attack="label_flip", worker_momentum=0.9, model="softmax",
        outer="centered_clipping", outer_options={"radius": 1.0, "start": "previous"},
    ),
}  # fmt: skip


def bits(history):
    kept = history.drop_vars(["seconds", "worker_seconds", "new_processes"], errors="ignore")
    return {name: kept[name].values.tobytes() for name in kept.variables}


STATE = {f"state_{name}" for name in State._fields}


class KilledError(Exception):
    pass


def watch_steps(monkeypatch, last=99):
    """Return a list to which `train` adds each step it performs; fail after the last."""
    performed, step = [], training.step

    def watched(server, k):
        if k > last:
            raise KilledError
        performed.append(k)
        return step(server, k)

    monkeypatch.setattr(training, "step", watched)
    return performed


def resumed(monkeypatch, trial, path, every, stop, **where):
    """Kill a run after step `stop`, and finish it; return the history and the steps performed."""
    with monkeypatch.context() as patch:
        watch_steps(patch, last=stop)
        with pytest.raises(KilledError):
            train(trial, checkpoint=path, checkpoint_every=every, **where)
    assert path.exists() == (every <= stop)
    with monkeypatch.context() as patch:
        performed = watch_steps(patch)
        return train(trial, checkpoint=path, checkpoint_every=every, **where), performed


def test_resumed_run_has_bits_of_whole_run(tmp_path, monkeypatch):
    whole = bits(train(BASE))
    for every, stop in ((1, 5), (3, 5), (4, 8), (9, 4)):
        case, path = (every, stop), tmp_path / f"{every}"
        history, performed = resumed(monkeypatch, BASE, path, every, stop)
        begun = stop // every * every + 1
        assert performed == [1, *range(begun, 10)], case  # the first one warms up
        assert bits(history) == whole, case
        assert bits(train(BASE, checkpoint=path)) == whole, case  # it stays, and is done
    for name, trial in TRIALS.items():
        history, _ = resumed(monkeypatch, trial, tmp_path / name, every=2, stop=3)
        assert bits(history) == bits(train(trial)), name


def test_run_of_a_killed_process_resumes_here(tmp_path):
    trial, path = Trial(batch=90, steps=200, attack="alie"), tmp_path / "run"
    code = (
        "import sys; from detox_sim import Trial, train;"
        "train(Trial(batch=90, steps=200, attack='alie'), checkpoint=sys.argv[1],"
        " checkpoint_every=20)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, path])
    until = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    body = path.read_bytes()[len(checkpoints.MARK) + checkpoints.DIGEST :]
    with np.load(io.BytesIO(body)) as stored:
        assert 0 < int(stored["step"]) < 200
        assert {name for name in stored if name.startswith("state_")} == STATE
    assert bits(train(trial, checkpoint=path, checkpoint_every=20)) == bits(train(trial))


def test_checkpoint_of_another_run_is_refused(tmp_path, monkeypatch):
    """Another trial, or another version of a part that the trial uses."""
    path = tmp_path / "run"
    train(BASE, checkpoint=path, checkpoint_every=3)
    message = f"checkpoint {path} is of another run; name another"
    with pytest.raises(ValueError, match=message):
        train(Trial(**SMALL, seed=1), checkpoint=path)
    monkeypatch.setitem(training.VERSIONS, "gradients of convolutions", 99)
    assert train(BASE, checkpoint=path).sizes["step"] == 9  # a part that it does not use
    monkeypatch.setitem(training.VERSIONS, "gradients of dense models", 99)
    with pytest.raises(ValueError, match=message):
        train(BASE, checkpoint=path)


def test_damaged_checkpoint_is_ignored(tmp_path):
    """A changed byte anywhere, or a cut anywhere, and the run starts anew."""
    path = tmp_path / "run"
    checkpoints.save(path, "run", {"step": np.arange(9)})
    raw = path.read_bytes()
    for i in range(len(raw)):
        path.write_bytes(raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1 :])
        if i < len(checkpoints.MARK):
            with pytest.raises(ValueError, match="is no checkpoint"):
                checkpoints.load(path, "run")
        else:
            assert checkpoints.load(path, "run") is None, f"byte {i} changed"
    for size in range(len(raw)):
        path.write_bytes(raw[:size])
        assert checkpoints.load(path, "run") is None, f"cut to {size} bytes"
    path.write_bytes(checkpoints.MARK + b" damaged")
    assert bits(train(BASE, checkpoint=path)) == bits(train(BASE))


def test_failed_write_keeps_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run"
    checkpoints.save(path, "run", {"step": np.array(1)})

    def fails(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.save(path, "run", {"step": np.array(2)})
    assert int(checkpoints.load(path, "run")["step"]) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_impossible_checkpoint_is_refused_before_training(tmp_path, monkeypatch):
    performed = watch_steps(monkeypatch)
    cases = [
        ({"checkpoint": "x", "checkpoint_every": 0}, "checkpoint_every must be an integer of 1"),
        ({"checkpoint": tmp_path / "no/run"}, "no folder .*/no for the checkpoint run"),
        ({"checkpoint": tmp_path}, "must be a file"),
        ({"checkpoint": "/dev/null"}, "must be a file"),
        ({"checkpoint": "/proc/run"}, "'/proc/run' cannot be written: No such file"),
    ]
    for setting, message in cases:
        with pytest.raises(ValueError, match=message):
            train(BASE, **setting)
    assert performed == []


def test_file_of_another_kind_is_refused_and_kept(tmp_path):
    np.save(tmp_path / "run.npy", np.ones(3))
    (tmp_path / "run.txt").write_text("not an archive")
    (tmp_path / "run.docx").write_bytes(b"PK my thesis")
    np.savez(tmp_path / "run.npz", weights=np.ones(3))
    with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
        archive.writestr("word/document.xml", "text")
    for path in list(tmp_path.iterdir()):
        before = path.read_bytes()
        with pytest.raises(ValueError, match=f"{path.name} is no checkpoint; name another file"):
            train(BASE, checkpoint=path, checkpoint_every=9)
        assert path.read_bytes() == before
