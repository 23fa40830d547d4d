"""Training on a GPU: the answers of a CPU up to rounding, the same bits again, nothing copied."""

import numpy as np
import pytest

from detox_sim.models import device_of
from detox_sim.training import train
from detox_sim.trials.one_process import OneProcessServer
from detox_sim.trials.trial import Trial

SMALL = {"workers": 15, "byzantine": 3, "attack": "alie", "batch": 30, "steps": 5}
PICTURES = {"data": "outside:pictures", "model": "outside:normed", "evaluate_every": 5}


def test_a_torch_without_a_gpu_is_named(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"'cupy' trains on the GPU, and torch .* finds none"):
        device_of("cupy")


@pytest.mark.gpu
@pytest.mark.parametrize("fields", [{"model": "softmax"}, {"model": "cnn"}, {"model": "mlp"}])
def test_a_gpu_trains_as_a_cpu_does(cupy, fields):
    here, there = (train(Trial(**SMALL, **fields, backend=b)) for b in ("numpy", "cupy"))
    assert there.loss.values == pytest.approx(here.loss.values, rel=1e-3)
    assert there.test_loss.values == pytest.approx(here.test_loss.values, rel=1e-3)
    assert (there.distorted_files == here.distorted_files).all()


@pytest.mark.gpu
@pytest.mark.parametrize(
    "options", [{}, {"precision": "tf32"}, {"precision": "bfloat16"}, {"channels_last": True}]
)
def test_the_same_bits_again(cupy, options):
    trial = Trial(**SMALL, **PICTURES, **options, backend="cupy")
    once, again = train(trial), train(trial)
    assert once.drop_vars("seconds").identical(again.drop_vars("seconds"))
    assert np.isfinite(once.test_loss).all()


@pytest.mark.gpu
def test_a_round_stays_on_the_gpu(cupy):
    """Gradients, aggregate and state are CuPy's; rows are torch's own memory."""
    host = OneProcessServer(Trial(**SMALL, **PICTURES, backend="cupy"))
    computed = host.compute(1)
    said = host.attack(computed, 1)
    votes = host.vote(host.send(said, 1), 1)
    aggregate = host.aggregate(votes, 1)
    host.update(aggregate, 1)
    state = host.settle(1, True)
    for array in (computed.rows, votes.rows, aggregate, state.params, state.velocity):
        assert isinstance(array, cupy.ndarray)
    tensor = host.task.model._tensor(computed.rows)
    assert tensor.data_ptr() == computed.rows.data.ptr


@pytest.mark.gpu
def test_a_checkpoint_goes_on_on_a_gpu(cupy, tmp_path):
    trial = Trial(**SMALL, **PICTURES, backend="cupy")
    whole = train(trial, checkpoint=tmp_path / "run", checkpoint_every=2)
    resumed = train(trial, checkpoint=tmp_path / "run")
    assert resumed.drop_vars("seconds").identical(whole.drop_vars("seconds"))
