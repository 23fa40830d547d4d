"""Training on a GPU: the answers of a CPU up to rounding, the same bits again, nothing copied."""

import numpy as np
import pytest

from detox_sim import Trial, train
from detox_sim.models import device_of
from detox_sim.trials import OneProcessServer

SMALL = {"workers": 15, "byzantine": 3, "attack": "alie", "batch": 30, "steps": 5}
PICTURES = {"data": "outside:pictures", "model": "outside:normed", "evaluate_every": 5}


def test_torch_without_gpu_is_named(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"'cupy' trains on the GPU, and torch .* finds none"):
        device_of("cupy")


@pytest.mark.gpu
def test_gpu_trains_as_cpu_does(cupy):
    for model in ("softmax", "cnn", "mlp"):
        here, there = (train(Trial(**SMALL, model=model, backend=b)) for b in ("numpy", "cupy"))
        for name in ("loss", "test_loss"):
            wanted = pytest.approx(here[name].values, rel=1e-3)
            assert there[name].values == wanted, (model, name)
        assert (there.distorted_files == here.distorted_files).all(), model


@pytest.mark.gpu
def test_same_seed_gives_same_bits(cupy):
    for options in (
        {},
        {"precision": "tf32"},
        {"precision": "bfloat16"},
        {"channels_last": True},
    ):
        trial = Trial(**SMALL, **PICTURES, **options, backend="cupy")
        once, again = train(trial), train(trial)
        assert once.drop_vars("seconds").identical(again.drop_vars("seconds")), options
        assert np.isfinite(once.test_loss).all(), options


@pytest.mark.gpu
def test_step_stays_on_the_gpu(cupy):
    """Gradients, aggregate and state are CuPy's; rows are torch's own memory."""
    server = OneProcessServer(Trial(**SMALL, **PICTURES, backend="cupy"))
    gradients = server.compute(server.pipeline.assign(1), server.task.draw(1), 1)
    messages = server.send(server.forge(gradients, server.place(gradients, 1), 1), 1)
    votes = server.vote(messages, 1)
    aggregate = server.aggregate(votes, 1)
    server.update(aggregate, gradients, 1)
    state = server.state(1)
    for array in (gradients.rows, votes.rows, aggregate, state.params, state.velocity):
        assert isinstance(array, cupy.ndarray)
    tensor = server.task.model._tensor(gradients.rows)
    assert tensor.data_ptr() == gradients.rows.data.ptr


@pytest.mark.gpu
def test_checkpoint_resumes_on_a_gpu(cupy, tmp_path):
    trial = Trial(**SMALL, **PICTURES, backend="cupy")
    whole = train(trial, checkpoint=tmp_path / "run", checkpoint_every=2)
    resumed = train(trial, checkpoint=tmp_path / "run")
    assert resumed.drop_vars("seconds").identical(whole.drop_vars("seconds"))
